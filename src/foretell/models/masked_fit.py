"""A fitted masked regression: predictions, left-out residuals, spectrum, conditional means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.models.masked_missing import IncompleteFit, conditional_fill, conditional_sd
from foretell.models.masked_path import (
    Eigenspaces,
    Resolvent,
    Rows,
    complement,
    loo_residuals,
    residuals,
    resolvent,
)


@dataclass(frozen=True, eq=False)
class PenaltyPath:
    """Mean squared errors along the penalties, means over columns.

    In units of the variances of the columns if they were standardized.

    Attributes
    ----------
    alphas
        Penalties, ascending, shape (m,); the last may be infinite (every column by its mean).
    train, gcv, egcv
        Training error, generalized cross-validation, and its correction for rows of unequal
        length, shape (m,).
    loo
        Leave-one-out error, shape (m,); None unless it chose the penalty.
    """

    alphas: Array
    train: Array
    gcv: Array
    egcv: Array
    loo: Array | None


class ColumnErrors(NamedTuple):
    """Mean squared error of each column in its units squared, each of shape (d,).

    In the fit, left out row by row, by generalized cross-validation, and by the latter corrected
    for rows of unequal length.
    """

    train: Array
    loo: Array
    gcv: Array
    egcv: Array


@dataclass(frozen=True, eq=False)
class MaskedFit:
    r"""A fitted masked regression.

    Attributes
    ----------
    mean, scale
        Of the columns, shape (d,); zeros and ones where they were not estimated.
    spaces
        Eigenspaces of the covariance of :math:`z = (x - \mathrm{mean}) / \mathrm{scale}`.
    alpha
        Penalty, or one for each column, shape (d,).
    n_rows, total_weight
        Size of the sample.
    centered
        Whether the mean was estimated.
    path
        Errors along the penalties; None for rows with missing cells.
    errors
        Errors of each column at ``alpha``; None for rows with missing cells.
    incomplete
        How moments were found for rows with missing cells, without the rows; None for others.
    """

    mean: Array
    scale: Array
    spaces: Eigenspaces
    alpha: float | Array
    n_rows: int
    total_weight: float
    centered: bool
    path: PenaltyPath | None = None
    errors: ColumnErrors | None = None
    incomplete: IncompleteFit | None = None

    @cached_property
    def resolvent(self) -> Resolvent:
        """Q at the penalty."""
        return resolvent(self.spaces, self.alpha)

    @cached_property
    def complement(self) -> Array:
        """I - A in the coordinates z, shape (d, d)."""
        return complement(self.spaces, self.resolvent)

    @property
    def variance(self) -> Array:
        """Variances of the columns, second moments where no mean was estimated, shape (d,)."""
        return np.asarray(self.spaces.vectors**2 @ self.spaces.values * self.scale**2)

    @property
    def size(self) -> float:
        """Sum of the variances in the coordinates z."""
        return float(self.spaces.values.sum())

    @property
    def coef(self) -> Array:
        """A in the units of the columns, shape (d, d): column k predicts column k."""
        matrix = -self.complement / self.scale[:, None] * self.scale
        np.fill_diagonal(matrix, 0.0)
        return matrix

    @property
    def intercept(self) -> Array:
        """Constant of each prediction in the units of the columns, shape (d,)."""
        zero = np.zeros((1, len(self.mean)))
        return np.asarray(self.predict(zero)[0])

    @property
    def precision(self) -> Array:
        r"""Q in the units of the columns, up to a positive factor, shape (d, d).

        All that conditional means need; it has a limit at a penalty of zero and of infinity.
        """
        return self._precision / np.outer(self.scale, self.scale)

    @property
    def _precision(self) -> Array:
        """The same in the coordinates z."""
        if np.ndim(self.alpha):
            raise InputError(
                "with one penalty for each column there is no common precision matrix, which rows "
                "with missing cells (NaN) need; fit with alpha_per_target=False"
            )
        matrix = self.complement * self.resolvent.diagonal
        return np.asarray((matrix + matrix.T) / 2)

    def predict(self, X: Array) -> Array:
        """Each cell from the other cells of its row that are present, shape (n, d)."""
        if (missing := np.isnan(X)).any():
            return self._predict_incomplete(X, missing)
        Z = (X - self.mean) / self.scale
        if 2 * len(self.spaces.values) > len(self.scale):  # one product in place of two
            left = Z @ self.complement
        else:
            left = residuals(self.spaces, self.resolvent, Z)
        return np.asarray(X - left * self.scale)

    def fill(self, X: Array) -> Array:
        """Rows with missing cells (NaN) replaced by conditional means, shape (n, d)."""
        if not np.isnan(X).any():
            return X.copy()
        precision = self._determined()
        filled = conditional_fill((X - self.mean) / self.scale, 0.0 * self.mean, precision)
        return np.where(np.isnan(X), self.mean + self.scale * filled, X)

    def fill_sd(self, X: Array, ratio: Array) -> Array:
        r"""Standard deviations of filled cells, zero where a cell is present, shape (n, d).

        .. math:: \sqrt{r_k \, [Q_{MM}^{-1}]_{kk}}

        Parameters
        ----------
        X
            Rows, NaN where a cell is missing, shape (n, d).
        ratio
            Mean square r of left-out errors of each column, over their conditional variances by
            ``precision``, shape (d,).
        """
        if not np.isnan(X).any():
            return np.zeros(X.shape)
        spread = conditional_sd((X - self.mean) / self.scale, self._determined())
        return np.asarray(spread * self.scale * np.sqrt(ratio))

    def _determined(self) -> Array:
        """The precision in the coordinates z, if it determines all conditional means."""
        precision = self._precision
        if self.alpha == 0 and not self.spaces.full:
            raise InputError(
                f"without a penalty {self.n_rows} rows of {len(self.mean)} columns leave "
                "conditional means of missing cells undetermined; fit with alpha > 0"
            )
        return precision

    def _predict_incomplete(self, X: Array, missing: Array) -> Array:
        filled, precision = self.fill(X), self._precision
        left = (filled - self.mean) / self.scale @ precision
        left /= present_diagonal(precision, missing)
        return np.where(missing, filled, filled - left * self.scale)

    @property
    def mean_error(self) -> Array:
        """Error of the mean of each column when rows are left out, variances if not centered, (d,).

        In the units of the columns squared; for rows with missing cells that of the observed ones.
        """
        if not self.centered:
            return self.variance
        n = np.full(len(self.mean), max(self.n_rows, self.total_weight))
        if self.incomplete is not None:
            n = n * self.incomplete.observed_weight / self.total_weight
        return np.asarray(self.variance / (1.0 - 1.0 / np.maximum(n, 2.0)) ** 2)

    def loo_residuals(self, X: Array, weights: Array | None) -> Array:
        """Errors of each cell of the rows of the fit when its row is left out, shape (n, d).

        For rows with missing cells an approximation, NaN where a cell is missing.
        """
        if self.incomplete is not None:
            return self.incomplete.loo_errors(X, weights)
        weights = np.ones(len(X)) if weights is None else weights
        Z = (X - self.mean) / self.scale
        rows = Rows(Z, weights, self.total_weight, self.centered)
        return loo_residuals(self.spaces, self.resolvent, rows) * self.scale

    def spectrum(self) -> Array:
        """Eigenvalues of A, all real and below 1, descending, shape (d,); their sum is 0."""
        if np.ndim(self.alpha):
            raise InputError(
                "with one penalty for each column the eigenvalues of A need not be real; fit with "
                "alpha_per_target=False"
            )
        root = np.sqrt(self.resolvent.diagonal)
        symmetric = self.complement * root / root[:, None]
        return np.asarray(1.0 - np.linalg.eigvalsh((symmetric + symmetric.T) / 2))


def present_diagonal(precision: Array, missing: Array) -> Array:
    r"""Diagonal of the precision of the cells that are present in each row, shape (n, d).

    :math:`Q_{kk} - Q_{kM} Q_{MM}^{-1} Q_{Mk}` for the missing cells M of the row.
    """
    patterns, which = np.unique(missing, axis=0, return_inverse=True)
    out = np.tile(np.diag(precision), (len(patterns), 1))
    for diagonal, pattern in zip(out, patterns, strict=True):
        beside = precision[pattern][:, ~pattern]
        if beside.size:
            solved = np.linalg.solve(precision[np.ix_(pattern, pattern)], beside)
            diagonal[~pattern] -= (beside * solved).sum(axis=0)
    return np.asarray(out[which.ravel()])
