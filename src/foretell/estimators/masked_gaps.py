"""What rows with missing cells tell beside the fit: errors of columns, and what was never seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.models.masked_fit import MaskedFit, present_diagonal

CELLS = 100_000  # left out to estimate the errors of columns
LEAST = 50  # observed cells of a column among them, if it has as many


class Gaps(NamedTuple):
    r"""Of the rows of a fit with missing cells.

    Attributes
    ----------
    error
        Approximate leave-one-out mean squared error of each column in its units, shape (d,).
    ratio
        Mean square of the left-out errors of each column over their conditional variances by Q
        (in any unit), shape (d,).
    observed
        Number of observed cells of each column, shape (d,).
    apart
        Pairs of columns that no row observes together, shape (m, 2).
    """

    error: Array
    ratio: Array
    observed: Array
    apart: Array

    @classmethod
    def of(cls, fit: MaskedFit, X: Array, weights: Array | None) -> Gaps:
        """Leave out at most some 100,000 cells, of evenly chosen rows of the fit, shape (n, d)."""
        weights = np.ones(len(X)) if weights is None else weights
        X, weights = X[weights > 0], weights[weights > 0]
        seen = ~np.isnan(X)
        some = _some(seen)
        X, weights = X[some], weights[some]
        errors = fit.loo_residuals(X, weights)
        precisions = present_diagonal(fit.precision, np.isnan(X))
        share = weights[:, None] * seen[some]
        share /= share.sum(axis=0)
        squares = np.where(seen[some], errors**2, 0.0)
        counts = seen.astype(np.float64)
        apart = np.argwhere(np.triu(counts.T @ counts == 0, 1))
        return cls(
            (share * squares).sum(axis=0),
            (share * squares * precisions).sum(axis=0),
            seen.sum(axis=0),
            apart,
        )


def _some(seen: Any) -> Array:
    """Numbers of evenly chosen rows, and of the first ones that observe rarely seen columns."""
    n, d = seen.shape
    wanted = max(CELLS // d, LEAST)
    if wanted >= n:
        return np.arange(n)
    chosen = np.linspace(0, n - 1, wanted).astype(int)
    rare = np.flatnonzero(seen[chosen].sum(axis=0) < LEAST)
    return np.unique(np.concatenate([chosen, *(np.flatnonzero(seen[:, j])[:LEAST] for j in rare)]))
