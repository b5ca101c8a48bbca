"""Errors, norms and slopes of masked regression at many penalties, limits and exact means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.theory.masked.elliptical import RowScales, elliptical_ridges
from foretell.theory.masked.equivalent import Equivalent
from foretell.theory.masked.finite_size import finite_size_corrections
from foretell.theory.masked.ridgeless import least_squares_errors
from foretell.theory.spectra.spectrum import Spectrum

INTERPOLATED = 1e-9  # training error over test error that is none


def error_columns(
    spectrum: Spectrum, n: float, alphas: Array, rows: RowScales, exact: bool
) -> tuple[Array, Array, dict[str, Any]]:
    """Test and training errors of types, shape (g, L), and the columns of a path, shape (L,).

    Among the columns are the corrections of order 1/n, by the names ``"test"`` and ``"train"``.
    """
    kappa, weight = elliptical_ridges(spectrum.eigenvalues, spectrum.counts, n, alphas, rows)
    out = _Columns(spectrum, n, kappa)
    at_peak = (kappa == 0) & (n == spectrum.rank)
    is_endless = kappa == np.inf
    on_range = (kappa == 0) & ~at_peak
    inside = (kappa > 0) & ~is_endless
    if inside.any():
        out.fill(inside, Equivalent.at(spectrum, n, kappa[inside], weight[inside], rows))
    if on_range.any():
        part = _on_range(spectrum)
        out.fill(on_range, Equivalent.at(part, n, kappa[on_range], weight[on_range], rows))
    if is_endless.any():
        out.null(is_endless, rows.mean)
    vanishing = kappa == 0
    if vanishing.any() and spectrum.rank < spectrum.d:
        out.determined(vanishing)
    if exact and (alphas == 0).any():
        out.means(alphas == 0, least_squares_errors(spectrum, n))
    return out.test, out.train, out.columns()


class _Columns:
    """Errors and norms of types, shape (g, L), and numbers of penalties, shape (L,), to be filled.

    They start as those without a penalty where n is the rank.
    """

    def __init__(self, spectrum: Spectrum, n: float, kappa: Array) -> None:
        shape = len(spectrum.profile), len(kappa)
        self._spectrum, self._n, self._kappa = spectrum, n, kappa
        self.test, self.train = np.full(shape, np.inf), np.zeros(shape)
        self._norm = np.full(shape, np.inf)
        self._slope = np.full(shape, -np.inf)
        self._df1, self._df2 = np.full((2, len(kappa)), n)
        self._corrections = np.zeros((2, *shape))

    def fill(self, where: Array, at: Equivalent) -> None:
        self.test[:, where], self._norm[:, where] = at.test_errors(), at.norms()
        self.train[:, where] = self.test[:, where] * at.shrinkage
        self._slope[:, where] = at.test_error_slopes() / at.alpha_slope
        self._df1[where], self._df2[where] = at.df1, at.df2
        self._corrections[:, :, where] = finite_size_corrections(at, self._n)

    def null(self, where: Array, row_scale: float) -> None:
        """Predictions of zero, at an infinite penalty."""
        variances = self._spectrum.diagonal(self._spectrum.eigenvalues)[:, None]
        self.test[:, where], self.train[:, where] = variances, variances * row_scale
        self._norm[:, where] = self._slope[:, where] = 0.0
        self._df1[where] = self._df2[where] = 0.0

    def determined(self, where: Array) -> None:
        """Coordinates that are combinations of others, in the limit of small penalties."""
        null = self._spectrum.null_shares
        rows = np.ix_(null > 0, where)
        self.test[rows] = self.train[rows] = self._slope[rows] = 0.0
        self._norm[rows] = (1 / null[null > 0] - 1)[:, None]

    def means(self, where: Array, means: tuple[Array, Array, Array]) -> None:
        """Exact means of test error, training error and norm instead of limits."""
        for errors, mean in zip((self.test, self.train, self._norm), means, strict=True):
            errors[:, where] = mean[:, None]
        self._corrections[:, :, where] = 0.0

    def columns(self) -> dict[str, Any]:
        share = self._spectrum.copies / self._spectrum.d
        finite = np.isfinite(self.test)
        sizes = [
            share @ np.where(finite, errors * correction, 0.0)
            for errors, correction in zip(
                (np.where(finite, self.test, 0.0), self.train), self._corrections, strict=True
            )
        ]
        test, train = share @ self.test, share @ self.train
        sizes[1] = np.where(train > INTERPOLATED * test, sizes[1], 0.0)
        return {
            "kappa": self._kappa,
            "degrees_of_freedom": self._df1,
            "second_degrees_of_freedom": self._df2,
            "test_error": test,
            "train_error": train,
            "norm": share @ self._norm,
            "test_error_slope": share @ self._slope,
            "test": _over(sizes[0], test),
            "train": _over(sizes[1], train),
        }


def _over(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _on_range(spectrum: Spectrum) -> Spectrum:
    """The spectrum without the null space, right for coordinates that are free of it."""
    kept = spectrum.eigenvalues > 0
    if kept.all():
        return spectrum
    counts = spectrum.counts[kept]
    free = (spectrum.null_shares == 0)[:, None]
    return replace(
        spectrum,
        eigenvalues=spectrum.eigenvalues[kept],
        counts=counts,
        profile=np.where(free, spectrum.profile[:, kept], counts / counts.sum()),
    )
