"""Errors at more labels than there are, and where pre-training stops paying, from a pilot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.experiments.crossings import Crossing, rounded
from foretell.experiments.label_curves import shown, table
from foretell.experiments.labeled_features import (
    LabeledFeatures,
    checked_pair,
    checked_probe,
    checked_sizes,
)
from foretell.experiments.learning_curves import MeasuredCurves, PowerLaws, sample_power_laws
from foretell.experiments.subsamples import subsampled_errors

LEAST_PILOT = 40
FRACTIONS = (0.2, 0.3, 0.45, 0.65, 0.9)  # of the pilot, learned from; the rest tests
N_DRAWS = 4000
N_EXAMINED, LEAST_EXAMINED = 200, 10
UNSURE = 0.4  # odds of being ahead between this and one less it tell nothing


@dataclass(frozen=True)
class LabelForecast:
    """Forecast errors of several feature sets, from a pilot of labels alone.

    Attributes
    ----------
    names
        Feature sets, F of them.
    sizes
        Numbers of labels, S of them, increasing.
    mean, low, high
        Median forecast of the expected error and its band, shape (F, S).
    level
        Probability of bands and intervals.
    pays_until
        Number of labels beyond which the first feature set is no longer better than the
        comparator (``"raw"``, or the second one), with its interval; None with one feature set.
        0 stands for fewer than 10, ``inf`` for more than the largest size.
    n_pilot
        Number of labels in the pilot.
    pilot_sizes, pilot_errors
        What the pilot itself shows at parts of its labels, shapes (P,) and (F, P).
    is_classification
        Whether these are misclassification rates or mean squared errors.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    mean: Array
    low: Array
    high: Array
    level: float
    pays_until: Crossing | None
    n_pilot: int
    pilot_sizes: tuple[int, ...]
    pilot_errors: Array
    is_classification: bool

    def verdict(self) -> str:
        """What to expect of pre-training, in plain words, no surer than the interval."""
        crossing = self.pays_until
        if crossing is None:
            return f"One feature set, nothing to compare. {self._expected(self.names)}"
        interval = f"({100 * self.level:g} % interval: {crossing.span()})"
        claim = forecast_claim(crossing, self.n_pilot)
        return f"{claim} {interval}. {self._expected((crossing.first, crossing.second))}"

    def frame(self, backend: str | None = None) -> Any:
        """Data frame with a row for each feature set and size: n_labels, error, low, high."""
        F, S = self.mean.shape
        columns = {
            "features": np.repeat(np.asarray(self.names), S).tolist(),
            "n_labels": np.tile(self.sizes, F),
            "error": self.mean.ravel(),
            "low": self.low.ravel(),
            "high": self.high.ravel(),
        }
        return to_frame(columns, backend)

    def __str__(self) -> str:
        kind = "misclassification" if self.is_classification else "mean squared error"
        head = f"forecast {kind} ({100 * self.level:g} % bands) from {self.n_pilot} labels"
        unit, digits = (100.0, ".1f") if self.is_classification else (1.0, ".3g")
        bands = zip(self.mean, self.low, self.high, strict=True)
        cells = [
            [
                f"{unit * m:{digits}} ({unit * a:{digits}} to {unit * b:{digits}})"
                for m, a, b in zip(*band, strict=True)
            ]
            for band in bands
        ]
        return f"{head}\n{table(self.names, self.sizes, cells)}\n{self.verdict()}"

    def _expected(self, names: tuple[str, ...]) -> str:
        rows = [self.names.index(name) for name in names]
        found = " against ".join(shown(self.mean[f, -1], self.is_classification) for f in rows)
        return f"With {self.sizes[-1]:,} labels expect an error of {found}."


def forecast_claim(crossing: Crossing, n_pilot: int) -> str:
    """The claim that the distribution of a crossing allows."""
    first, second = crossing.first, crossing.second
    last, ahead = f"{crossing.largest:,}", crossing.better_at_largest
    if np.isinf(crossing.low):
        return f"{first} pays at every number of labels up to {last}"
    if crossing.high <= n_pilot:
        if crossing.high == 0:
            return f"{first} does not pay at {crossing.smallest:,} labels or more"
        before = rounded(crossing.high)
        return f"{first} stopped paying before about {before} labels, within the pilot of {n_pilot}"
    if UNSURE < ahead < 1 - UNSURE:
        guess = f"more than {last}"
        if np.isfinite(crossing.labels):
            small = crossing.labels < crossing.smallest
            guess = f"fewer than {crossing.smallest:,}" if small else rounded(crossing.labels)
        return (
            f"The pilot of {n_pilot} labels cannot tell where {first} stops paying, best guess "
            f"{'' if guess.startswith(('more', 'fewer')) else 'about '}{guess} labels; the odds "
            f"that it is ahead of {second} at {last} labels are {100 * ahead:.0f} %"
        )
    if np.isinf(crossing.labels):
        return f"{first} probably pays up to {last} labels, with odds of {100 * ahead:.0f} %"
    best = f"up to about {rounded(crossing.labels)} labels"
    if crossing.labels == 0:
        best = f"at {crossing.smallest:,} labels or more"
    if np.isinf(crossing.high) or crossing.labels == 0:
        pays = "pays" if crossing.labels else "does not pay"
        return (
            f"{first} probably {pays} {best}; {second} is ahead at {last} labels with odds of "
            f"{100 - 100 * ahead:.0f} %"
        )
    return f"{first} pays {best}; beyond that {second} is as good or better"


def forecast_labels(
    features: Mapping[str, Any],
    y_pilot: Any,
    sizes: Any,
    *,
    probe: Any = "linear",
    n_splits: int = 20,
    level: float = 0.9,
    standardize: bool = False,
    random_state: int = 0,
) -> LabelForecast:
    r"""Forecast of the error at more labels, and of where pre-training stops paying.

    Nothing but the pilot is used. Probes learn from a fifth to nine tenths of it and are tested on
    the rest, every row equally often and on the same splits for all feature sets. Power laws
    :math:`a + b n^{-c}` through these errors, weighted by the covariance between rows, are
    extrapolated with the posterior distribution of a, b and c; the prior of the share of the error
    that stays is Beta(1/2, 1/2), that of c log-normal with median 0.5 and log-deviation 0.7.

    The forecast is of the expected error over draws of labels and new rows. It assumes that the
    pilot is a random sample of the rows to be labeled later, and that the curve stays a power law:
    it cannot see a plateau, or a second descent, that starts beyond the pilot. Where curves run
    close together 100 labels say little: on Fashion-MNIST, where the curves cross at 120 labels,
    the estimate is within a factor of 3 from all of 12 pilots of 300 labels, 9 of 200, 7 of 100.

    Parameters
    ----------
    features
        Name to array (n, d) of the n rows of the pilot; the features to be judged first, the raw
        inputs as ``"raw"`` or second.
    y_pilot
        Their labels, shape (n,), at least 40: integers, booleans or text are classes,
        floating-point numbers a target to regress on.
    sizes
        Numbers of labels to forecast; the largest is also how far the crossing is sought.
    probe
        As in :func:`~.label_curves.label_efficiency`.
    n_splits
        Least number of splits at each part of the pilot.
    level
        Probability of bands and intervals.
    standardize
        Divide columns by their standard deviation; for columns of different units.
    random_state
        Seed of splits and draws, a whole number >= 0.

    Raises
    ------
    InputError
        If the pilot has fewer than 40 rows or one class, arrays are of different lengths or not
        finite, or an argument is not one of the above.

    References
    ----------
    .. [1] Viering & Loog (2022). The shape of learning curves: a review. IEEE TPAMI 45.
    .. [2] Cortes et al. (1993). Learning curves: asymptotic values and rate of convergence. NIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> forecast = forecast_labels({"one": X[:, 3:], "raw": X}, y, [150, 600], probe="ridge")
    >>> forecast.mean.shape, forecast.pays_until.largest
    ((2, 2), 600)
    """
    data = LabeledFeatures.of(features, y_pilot, standardize=standardize, what="y_pilot")
    n, is_classification = len(data.y), data.n_classes is not None
    if n < LEAST_PILOT:
        raise InputError(f"a pilot has at least {LEAST_PILOT} labels; found {n}; label more rows")
    ordered = checked_sizes(sizes, np.inf, "")
    n_splits, probe = whole_number(n_splits, "n_splits", 2), checked_probe(probe)
    seed = whole_number(random_state, "random_state", 0)
    if not 0 < level < 1:
        raise InputError(f"level is between 0 and 1; found {level!r}")
    parts = [round(n * fraction) for fraction in FRACTIONS]
    errors = subsampled_errors(
        data.features,
        data.y,
        parts,
        n_splits=n_splits,
        probe=probe,
        n_classes=data.n_classes,
        seed=seed,
    )
    measured = MeasuredCurves.of(errors, parts, is_classification=is_classification)
    names, tail = tuple(data.features), (1 - level) / 2
    draws = [_laws(measured.only(f), n, seed)[0].at(ordered) for f in range(len(names))]
    mean, low, high = np.quantile(draws, [0.5, tail, 1 - tail], axis=1)
    crossing = None
    if len(names) > 1:
        crossing = _crossing(measured, names, n, ordered[-1], level, seed)
    return LabelForecast(
        names,
        ordered,
        mean,
        low,
        high,
        level,
        crossing,
        n,
        tuple(parts),
        measured.mean,
        is_classification,
    )


def _crossing(
    measured: MeasuredCurves,
    names: tuple[str, ...],
    n_pilot: int,
    largest: int,
    level: float,
    seed: int,
) -> Crossing:
    first, second = checked_pair(names, None, None)
    pair = measured.only(names.index(first), names.index(second))
    examined = np.geomspace(LEAST_EXAMINED, max(largest, n_pilot), N_EXAMINED)
    learned, raw = (laws.at(examined) for laws in _laws(pair, n_pilot, seed))
    return Crossing.of(first, second, learned - raw, examined, level=level)


def _laws(measured: MeasuredCurves, n_pilot: int, seed: int) -> list[PowerLaws]:
    return sample_power_laws(measured, n_pilot, n_draws=N_DRAWS, seed=seed)
