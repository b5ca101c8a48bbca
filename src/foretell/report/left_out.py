"""Errors of a masked regression on rows that it has not seen, and how they fall with rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ForetellWarning

FOLDS = 10  # where cells are missing
PARTS = (2, 4, 8)  # that the rows are divided into
LEAST = 8  # rows of the smallest part
CELLS = 100_000  # that are left out where cells are missing, if there are as many
FITS = 2  # to parts of the rows where there are more


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Errors in rows that were left out, beside the deviations from the mean without them.

    Attributes
    ----------
    errors, deviations
        In the units of the columns, shape (n, d); NaN where a cell is missing, or its row was not
        left out.
    deviation
        Standard deviation of each column, shape (d,).
    weights
        What squares of each column count, one over its variance if columns are standardized,
        shape (d,).
    """

    errors: Array
    deviations: Array
    deviation: Array
    weights: Array

    @property
    def tested(self) -> Any:
        """Which rows were left out, shape (n,)."""
        return ~np.isnan(self.deviations).all(axis=1)

    @property
    def total(self) -> float:
        """Weighted sum of the squared deviations."""
        return float(np.nansum(self.deviations**2 * self.weights))

    @property
    def by_row(self) -> Array:
        """Weighted sum of the squared errors of each row, shape (n,)."""
        return np.asarray(np.nansum(self.errors**2 * self.weights, axis=1))

    @property
    def unexplained(self) -> float:
        """Error as a share of that of the means, all columns together."""
        return float(self.by_row.sum()) / self.total

    @property
    def unexplained_se(self) -> float:
        """Standard error of this share, from its spread over rows."""
        spread = np.nansum(self.deviations**2 * self.weights, axis=1)
        excess = self.by_row - self.unexplained * spread
        return float(np.sqrt((excess**2).sum())) / self.total

    @property
    def rmse(self) -> Array:
        """Root mean squared error of each column, NaN if none of its cells was left out, (d,)."""
        count = (~np.isnan(self.errors)).sum(axis=0)
        return np.sqrt(_over(np.nansum(self.errors**2, axis=0), count))

    @property
    def explained(self) -> Array:
        """By how much less than its mean each column is missed, as a share, shape (d,)."""
        squares = np.nansum(self.deviations**2, axis=0)
        return 1.0 - _over(np.nansum(self.errors**2, axis=0), squares)

    @property
    def explained_se(self) -> Array:
        """Standard error of these shares, from their spread over rows, shape (d,).

        It does not count that another sample gives another fit: measured, shares of columns that
        are hardly predicted deviate 1.7 times as far from those in new rows, others as far. Of
        unrelated columns 1 in 400 or fewer exceed two of it, because their shares are negative.
        """
        share = 1.0 - self.explained
        excess = self.errors**2 - share * self.deviations**2
        total = np.nansum(self.deviations**2, axis=0)
        return _over(np.sqrt(np.nansum(excess**2, axis=0)), total)


@dataclass(frozen=True)
class Part:
    """Error of fits to a part of the rows, in the other rows.

    Attributes
    ----------
    n_rows
        Rows of a fit.
    unexplained
        Share of the variance that it leaves unexplained.
    gain, gain_se
        By how much twice as many rows lower it, and the standard error of that over rows.
    """

    n_rows: int
    unexplained: float
    gain: float
    gain_se: float


def left_out(X: Array, estimator: Any) -> LeftOut:
    """Errors in each cell from a fit without its row, or without its part of the rows.

    Exact leave-one-out for complete rows. Where cells are missing ten parts, each predicted from
    the others at the chosen penalty; of many rows only the first parts, of 100,000 cells together.

    Parameters
    ----------
    X
        The rows of the fit, shape (n, d).
    estimator
        A fitted ``MaskedRegression``.
    """
    weights = 1.0 / estimator.scale_**2
    spread = X - estimator.mean_
    deviation = np.sqrt(np.nanmean(spread**2, axis=0))
    if not np.isnan(X).any():
        kept = 1.0 - bool(estimator.center) / len(X)
        errors = estimator.fit_.loo_residuals(X, None)
        return LeftOut(errors, spread / kept, deviation, weights)
    count = min(FOLDS, len(X))
    part = _parts(len(X), count)
    errors, deviations = np.full(X.shape, np.nan), np.full(X.shape, np.nan)
    for k in range(min(count, int(np.ceil(count * CELLS / X.size)))):
        inside, others = X[part == k], X[part != k]
        errors[part == k] = inside - predict(others, inside, estimator, estimator.alpha_)
        deviations[part == k] = inside - _means(others, estimator)
    return LeftOut(errors, deviations, deviation, weights)


def learning_curve(
    X: Array, estimator: Any, found: LeftOut, *, advance: Callable[[str], None] = lambda step: None
) -> list[Part]:
    """Errors of fits to an eighth, a quarter and half of the rows, tested on the others.

    The rows are divided into 8, 4 and 2 random parts; a fit to each, its penalty chosen in it, is
    tested on all others, as far as they were left out. Gains are differences on the same rows. Of
    large tables with missing cells two parts are fitted.

    Parameters
    ----------
    X
        The rows, shape (n, d).
    estimator
        What to fit.
    found
        Errors of the fit to all rows.
    advance
        Called before each number of parts.
    """
    rows: list[Part] = []
    spread = np.nansum(found.deviations**2 * found.weights, axis=1)
    after, tested = found.by_row, found.tested
    for count in PARTS:
        if len(X) // count < LEAST:
            break
        advance(f"fit to one in {count} rows")
        part = _parts(len(X), count, seed=count)
        total, tests = np.zeros(len(X)), np.zeros(len(X))
        for k in range(count if tested.all() else FITS):
            rest = (part != k) & tested
            if not rest.any():
                continue
            errors = X[rest] - predict(X[part == k], X[rest], estimator, estimator.alpha)
            total[rest] += np.nansum(errors**2 * found.weights, axis=1)
            tests += rest
        before = total / np.maximum(tests, 1)
        gain = float((before - after).sum()) / found.total
        excess = before - after - gain * spread
        rows.append(
            Part(
                len(X) // count,
                float(before.sum()) / found.total,
                gain,
                float(np.sqrt((excess**2).sum())) / found.total,
            )
        )
        after = before
    return rows[::-1]


def predict(train: Array, test: Array, estimator: Any, alpha: Any) -> Array:
    """Cells of other rows from the other cells of their row, by a fit to these rows.

    A column that is constant in the rows of the fit is predicted by its mean, and predicts none.

    Parameters
    ----------
    train, test
        Rows, shapes (m, d) and (t, d).
    estimator
        Its copy is fitted.
    alpha
        Penalty or rule of the copy.

    Returns
    -------
    Array
        Shape (t, d).
    """
    from sklearn.base import clone

    seen = ~np.isnan(train)
    mean = _means(train, estimator)
    low = np.where(seen, train, np.inf).min(axis=0)
    varies = np.where(seen, train, -np.inf).max(axis=0) > low
    out = np.tile(mean, (len(test), 1))
    usable = train[:, varies]
    usable = usable[~np.isnan(usable).all(axis=1)]
    if varies.sum() < 2 or len(usable) < 2:
        return out
    with warnings.catch_warnings():  # the fit to all rows gives those that its user is to read
        warnings.simplefilter("ignore", ForetellWarning)
        fitted = clone(estimator).set_params(alpha=alpha).fit(usable)
        out[:, varies] = fitted.transform(test[:, varies])
    return out


def _over(sums: Array, totals: Array) -> Array:
    """Ratios, NaN where the total is zero."""
    out = np.full(len(sums), np.nan)
    np.divide(sums, totals, out=out, where=totals > 0)
    return out


def _means(X: Array, estimator: Any) -> Array:
    """Means of observed cells, zeros if the estimator does not center, shape (d,)."""
    seen = ~np.isnan(X)
    counts = np.maximum(seen.sum(axis=0), 1)
    return np.asarray(np.where(seen, X, 0.0).sum(axis=0) / counts * bool(estimator.center))


def _parts(n: int, count: int, seed: int = 0) -> Array:
    """Number of the part of each row, parts as equal as can be, shape (n,)."""
    return np.random.default_rng(seed).permutation(n) % count
