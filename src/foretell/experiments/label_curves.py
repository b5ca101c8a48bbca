"""Error against number of labels, for learned features beside raw inputs and any others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.experiments.crossings import Crossing, last_advantage, rounded
from foretell.experiments.labeled_features import (
    LabeledFeatures,
    checked_pair,
    checked_probe,
    checked_sizes,
)
from foretell.experiments.probes import loss, predictions

LEAST_TEST_ROWS = 10
N_BOOTSTRAPS = 2000
CLEAR = 2.5  # standard errors from which on a difference counts


@dataclass(frozen=True)
class LabelEfficiency:
    """Test errors of several feature sets at several numbers of labels.

    Attributes
    ----------
    names
        Feature sets, F of them.
    sizes
        Numbers of labels, S of them, increasing.
    errors
        Shape (F, S, R): misclassification rates, or mean squared errors, on the test rows of R
        draws of labels, which all feature sets share.
    is_classification
        Whether these are misclassification rates.
    n_test
        Number of test rows in each draw.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    errors: Array
    is_classification: bool
    n_test: int

    @property
    def mean(self) -> Array:
        """Mean over draws, shape (F, S)."""
        return self.errors.mean(axis=2)

    @property
    def spread(self) -> Array:
        """Standard deviation from draw to draw, shape (F, S)."""
        return self.errors.std(axis=2, ddof=1)

    @property
    def standard_error(self) -> Array:
        """Standard error of the mean over draws, shape (F, S)."""
        return self.spread / np.sqrt(self.errors.shape[2])

    def difference(
        self, first: str | None = None, second: str | None = None
    ) -> tuple[Array, Array]:
        """Mean paired difference of errors, first less second, and its standard error, (S,) each.

        None takes the first feature set, and ``"raw"`` (or the second one).
        """
        paired = self._paired(first, second)[2]
        return paired.mean(axis=1), paired.std(axis=1, ddof=1) / np.sqrt(paired.shape[1])

    def crossing(
        self, first: str | None = None, second: str | None = None, *, level: float = 0.9
    ) -> Crossing:
        """Number of labels beyond which the first set is no longer better than the second.

        On the mean curves, linear in the logarithm of the number of labels between ``sizes``. The
        interval is that of 2,000 bootstrap samples of the draws: it is about more draws from the
        same rows.
        """
        if not 0 < level < 1:
            raise InputError(f"level is between 0 and 1; found {level!r}")
        first, second, paired = self._paired(first, second)
        n_draws = paired.shape[1]
        chosen = np.random.default_rng(0).integers(n_draws, size=(N_BOOTSTRAPS, n_draws))
        curves = paired[:, chosen].mean(axis=2).T
        best = float(last_advantage(paired.mean(axis=1)[None], self.sizes)[0])
        return Crossing.of(first, second, curves, self.sizes, level=level, best=best)

    def verdict(self, first: str | None = None, second: str | None = None) -> str:
        """What the curves say about the first feature set beside the second, in plain words."""
        crossing = self.crossing(first, second)
        first, second = crossing.first, crossing.second
        mean, se = self.difference(first, second)
        claim = f"{first} and {second} cannot be told apart on these draws"
        if (abs(mean) > CLEAR * se).any():
            claim = measured_claim(crossing)
        i, j = self.names.index(first), self.names.index(second)
        found = " against ".join(shown(self.mean[k, -1], self.is_classification) for k in (i, j))
        return f"{claim}. With {self.sizes[-1]:,} labels the error is {found}."

    def frame(self, backend: str | None = None) -> Any:
        """Data frame with a row for each feature set and size (see :mod:`~..data.frames`).

        Columns: features, n_labels, error, standard_error, spread, and the paired difference to
        the comparator with its standard error (zero for the comparator itself).
        """
        F, S = len(self.names), len(self.sizes)
        base = (
            self.errors[self.names.index(checked_pair(self.names, None, None)[1])] if F > 1 else 0
        )
        gaps = self.errors - base
        columns = {
            "features": np.repeat(np.asarray(self.names), S).tolist(),
            "n_labels": np.tile(self.sizes, F),
            "error": self.mean.ravel(),
            "standard_error": self.standard_error.ravel(),
            "spread": self.spread.ravel(),
        }
        if F > 1:
            columns["difference"] = gaps.mean(axis=2).ravel()
            scale = np.sqrt(gaps.shape[2])
            columns["difference_standard_error"] = gaps.std(axis=2, ddof=1).ravel() / scale
        return to_frame(columns, backend)

    def __str__(self) -> str:
        kind = "misclassification" if self.is_classification else "mean squared error"
        n_draws = self.errors.shape[2]
        head = f"{kind} (± standard error over {n_draws} draws), {self.n_test:,} test rows"
        return head + "\n" + table(self.names, self.sizes, self._cells())

    def _cells(self) -> list[list[str]]:
        pairs = zip(self.mean, self.standard_error, strict=True)
        unit = 100.0 if self.is_classification else 1.0
        digits = ".2f" if self.is_classification else ".4g"
        return [
            [f"{unit * m:{digits}} ± {unit * s:{digits}}" for m, s in zip(*row, strict=True)]
            for row in pairs
        ]

    def _paired(self, first: str | None, second: str | None) -> tuple[str, str, Array]:
        first, second = checked_pair(self.names, first, second)
        gap = self.errors[self.names.index(first)] - self.errors[self.names.index(second)]
        return first, second, gap


def measured_claim(crossing: Crossing) -> str:
    """The claim that the interval of a measured crossing allows."""
    first, second, span = crossing.first, crossing.second, crossing.span()
    if np.isinf(crossing.low):
        return f"{first} pays at every number of labels up to {crossing.largest:,}"
    if crossing.high == 0:
        return f"{first} pays at no number of labels from {crossing.smallest:,} on"
    if np.isinf(crossing.labels):
        return f"{first} pays up to the {crossing.largest:,} labels drawn, or nearly so ({span})"
    if crossing.labels == 0:
        return f"{first} pays at few labels if at any ({span}); beyond, {second} is as good"
    claim = f"{first} pays up to about {rounded(crossing.labels)} labels ({span})"
    if np.isinf(crossing.high):
        return f"{claim}, perhaps further"
    return f"{claim}; beyond that {second} is as good or better"


def label_efficiency(
    features: Mapping[str, Any],
    y: Any,
    sizes: Any,
    *,
    n_draws: int = 20,
    probe: Any = "linear",
    test: Any = None,
    standardize: bool = False,
    random_state: int = 0,
) -> LabelEfficiency:
    """Test error against number of labels, on the same draws of labels for all feature sets.

    Every draw orders the rows at random; the first n are labeled, for each n in ``sizes``, and a
    probe is tuned and fitted on these labels alone. Draws are plain: classes may be absent, and
    then cannot be predicted.

    Parameters
    ----------
    features
        Name to array (N, d) of all rows: learned features, raw inputs, :func:`random_features`,
        in any number. Features must have been learned without these labels.
    y
        Labels of all rows, shape (N,): integers, booleans or text are classes, floating-point
        numbers are a target to regress on.
    sizes
        Numbers of labels, at least 4 and at most N - 10.
    n_draws
        Number of draws, at least 2.
    probe
        ``"linear"``: multinomial logistic regression with a ridge penalty chosen by five-fold
        cross-validated log-loss, and for numbers ridge regression with a penalty chosen by the
        exact leave-one-out error. ``"ridge"``: the same ridge regression, on indicators of
        classes; ten times as fast, up to two points better on learned features and two to four
        points worse on raw images with 100 labels, so not the honest comparator for these.
        ``"neighbors"``: nearest neighbors, their number chosen by leave-one-out. Or a scikit-learn
        estimator with its own tuning.
    test
        None tests on all rows outside the largest draw, a number on at most so many of them
        (random ones), an array on these rows, which are then never drawn.
    standardize
        Divide columns by their standard deviation over all rows; for columns of different units.
        Otherwise each feature set is divided by one number.
    random_state
        Seed of draws and folds, a whole number >= 0.

    Returns
    -------
    LabelEfficiency
        Its standard errors are over draws from these rows. With N rows, the error of the whole
        table stays uncertain by another sqrt(e (1 - e) / n_test) or so.

    Raises
    ------
    InputError
        If features and labels are not finite or of different lengths, there is one class only,
        a size leaves fewer than 10 rows to test on, or there are fewer than two draws.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> curves = label_efficiency({"two": X[:, 2:], "raw": X}, y, [10, 40], n_draws=5)
    >>> curves.mean.shape
    (2, 2)
    """
    data = LabeledFeatures.of(features, y, standardize=standardize)
    n_draws, probe = whole_number(n_draws, "n_draws", 2), checked_probe(probe)
    seed = whole_number(random_state, "random_state", 0)
    N = len(data.y)
    fixed = None if test is None or np.ndim(test) == 0 else rows_to_test(test, N)
    n_free = N - (LEAST_TEST_ROWS if fixed is None else len(fixed))
    ordered = checked_sizes(sizes, n_free, f", with test rows out of {N} rows")
    n_test = N - ordered[-1] if fixed is None else len(fixed)
    if fixed is None and test is not None:
        n_test = min(n_test, whole_number(test, "test", LEAST_TEST_ROWS))
    errors = np.empty((len(data.features), len(ordered), n_draws))
    for r in range(n_draws):
        rng = np.random.default_rng([seed, r])
        free = np.arange(N) if fixed is None else np.setdiff1d(np.arange(N), fixed)
        order = rng.permutation(free)
        held_out = order[ordered[-1] :][:n_test] if fixed is None else fixed
        errors[:, :, r] = _draw(data, order, held_out, ordered, probe, int(rng.integers(2**32)))
    is_classification = data.n_classes is not None
    return LabelEfficiency(tuple(data.features), ordered, errors, is_classification, n_test)


def _draw(
    data: LabeledFeatures,
    order: Array,
    test: Array,
    sizes: tuple[int, ...],
    probe: Any,
    seed: int,
) -> Array:
    """Errors of one draw, shape (F, S)."""
    y, K = data.y, data.n_classes
    errors = np.empty((len(data.features), len(sizes)))
    for f, X in enumerate(data.features.values()):
        for s, n in enumerate(sizes):
            labeled = order[:n]
            found = predictions(probe, X[labeled], y[labeled], X[test], n_classes=K, seed=seed)
            errors[f, s] = loss(found, y[test], K).mean()
    return errors


def rows_to_test(rows: Any, n_rows: int) -> Array:
    """Distinct rows to test on, at least 10 of them."""
    found = np.asarray(rows)
    is_valid = found.ndim == 1 and found.dtype.kind in "iu" and len(found) >= LEAST_TEST_ROWS
    if not is_valid or found.min() < 0 or found.max() >= n_rows:
        raise InputError(
            f"test is None, a number of rows, or at least {LEAST_TEST_ROWS} row numbers from 0 to "
            f"{n_rows - 1}; found {rows!r}"
        )
    if len(np.unique(found)) < len(found):
        raise InputError("rows to test on are distinct; found some twice; pass np.unique(test)")
    return found


def shown(error: float, is_classification: bool) -> str:
    """An error as a percentage, or a mean squared error."""
    return f"{100 * error:.1f} %" if is_classification else f"{error:.3g}"


def table(names: tuple[str, ...], sizes: tuple[int, ...], cells: list[list[str]]) -> str:
    """Rows of text for sizes, columns for feature sets."""
    widths = [max(len(name), *map(len, column)) for name, column in zip(names, cells, strict=True)]
    head = f"{'labels':>8}  " + "  ".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True))
    lines = [
        f"{size:>8,}  " + "  ".join(f"{cells[f][s]:>{w}}" for f, w in enumerate(widths))
        for s, size in enumerate(sizes)
    ]
    return "\n".join([head, *lines])
