"""The penalty that makes the test error of masked regression least."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.theory.masked.elliptical import RowScales
from foretell.theory.masked.equivalent import Equivalent
from foretell.theory.masked.finite_size import finite_size_corrections, warn_if_far
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.effective_ridge import LARGE, check_samples, exact_count, ridges
from foretell.theory.spectra.spectrum import Spectrum

UNCORRELATED = 1e-13  # share of squared correlations below which coordinates predict nothing
GRID = 161  # effective ridges at which the sign of the slope is looked at
EXTENT = 1e3  # how far the grid goes beyond the eigenvalues
FARTHEST = 690.0  # logarithm of the largest effective ridge
PRECISION = 1e-13


def optimal_alpha(covariance: Any, n_samples: float, *, row_scales: Any = None) -> float:
    r"""Penalty that minimizes the test error of masked regression.

    Minimizes in the effective ridge, where the slope of the error is

    .. math:: \frac2d \sum_k \mathrm{test}_k \Bigl[\frac{(R^2)_{kk}}{R_{kk}} -
              \frac{(\Sigma R^3)_{kk}}{(\Sigma R^2)_{kk}} -
              \frac{\mathrm{tr}\,\Sigma^2R^3}{n - \mathrm{df}_2}\Bigr]

    (equal rows): on a grid of effective ridges, then at a root of the slope, to 1e-12. For
    n > d the optimum is positive. The error is flat there: a penalty wrong by a factor two costs 1
    to 3 %.

    Parameters
    ----------
    covariance, n_samples, row_scales
        As in :func:`~foretell.theory.masked.errors.masked_regression`.

    Returns
    -------
    float
        The penalty. ``inf`` where coordinates are uncorrelated (a diagonal covariance): the best
        predictor is zero; only then, since correlations make the error at a large penalty
        smaller than the variance. 0.0 where the error rises from no penalty on: coordinates that
        are combinations of others (a singular covariance of rank up to n), which are then
        predicted without error as the penalty vanishes. Not met otherwise.

    Raises
    ------
    InputError
        As ``masked_regression``.

    Warns
    -----
    EquivalentWarning
        If the test error at the optimum is expected to be more than 2 % off, as
        ``masked_regression``.

    Examples
    --------
    >>> import numpy as np
    >>> gap = np.subtract.outer(np.arange(200), np.arange(200))
    >>> round(optimal_alpha(0.9 ** abs(gap), n_samples=400), 3)
    0.095
    >>> optimal_alpha(np.eye(3), n_samples=400)
    inf

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv 2601.23208. The slope is that of
       docs/masked-regression.md, "Deterministic equivalents, n and d large".
    """
    return best_penalty(covariance, n_samples, row_scales=row_scales, warn=True)


def best_penalty(
    covariance: Any, n_samples: float, *, row_scales: Any = None, warn: bool = False
) -> float:
    """The same; without a warning for callers that need the errors at it."""
    n = check_samples(n_samples)
    rows = RowScales.of(row_scales)
    spectrum = Spectrum.of(covariance)
    if spectrum.alike and len(spectrum.eigenvalues) > LARGE:
        eigenvalues, counts = compressed(spectrum.eigenvalues, spectrum.counts)
        spectrum = Spectrum(eigenvalues, counts, (counts / counts.sum())[None, :])
    top = _where_correlations_matter(spectrum, n)
    if not np.isfinite(top):
        return np.inf
    return _Problem(spectrum, n, rows, warn).minimizer(top)


class _Problem:
    """The error as a function of log(kappa - least), least being the effective ridge at alpha 0."""

    def __init__(self, spectrum: Spectrum, n: float, rows: RowScales, warn: bool) -> None:
        self._spectrum, self._n, self._rows, self._warn = spectrum, n, rows, warn
        tau, counts = spectrum.eigenvalues, spectrum.counts
        self._least = float(ridges(tau, counts, n, np.zeros(1))[0])

    def minimizer(self, top: float) -> float:
        from scipy.optimize import brentq

        tau = self._spectrum.eigenvalues
        low = np.log(float(tau[tau > 0][0]) / EXTENT**2)
        grid = np.linspace(low, np.log(max(EXTENT * float(tau[-1]), 10 * top)), GRID)
        errors, slopes = self._at(grid)
        is_bounded = self._least > 0 or tau[0] == 0  # the error at no penalty
        while slopes[0] >= 0 and not is_bounded:
            grid, errors, slopes = self._extended(grid, errors, slopes, -1)
        while slopes[-1] < 0:
            grid, errors, slopes = self._extended(grid, errors, slopes, 1)
        turns = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
        least = np.minimum(errors[turns], errors[turns + 1])
        if slopes[0] >= 0 and not (least < errors[0]).any():
            return 0.0
        best = turns[np.argmin(least)]
        root = brentq(
            lambda place: float(self._at(np.array([place]))[1][0]),
            grid[best],
            grid[best + 1],
            xtol=PRECISION,
            rtol=4 * PRECISION,
        )
        if self._warn:
            self._warn_if_far(float(root))
        return self._alpha(float(root))

    def _warn_if_far(self, place: float) -> None:
        kappa, weight = self._pair(np.array([place]))
        at = Equivalent.at(self._spectrum, self._n, kappa, weight, self._rows)
        errors, copies = at.test_errors(), self._spectrum.copies
        size = copies @ (errors * finite_size_corrections(at, self._n)[0]) / (copies @ errors)
        alphas = np.array([self._alpha(place)])
        rest = self._n - at.df2
        warn_if_far(self._n, self._spectrum.d, alphas, size, np.zeros(1), rest)

    def _extended(
        self, grid: Array, errors: Array, slopes: Array, side: int
    ) -> tuple[Array, Array, Array]:
        """The grid with a point more at its lower (-1) or upper (1) end."""
        end = 0 if side < 0 else len(grid)
        place = grid[0 if side < 0 else -1] + side * np.log(EXTENT)
        if abs(place) > FARTHEST:
            raise ConvergenceError(
                f"the slope of the test error keeps its sign from effective ridge "
                f"{np.exp(grid[0]):.3g} to {np.exp(grid[-1]):.3g}; drop eigenvalues that are "
                "rounding, or rescale the covariance"
            )
        error, slope = self._at(np.array([place]))
        return (
            np.insert(grid, end, place),
            np.insert(errors, end, error),
            np.insert(slopes, end, slope),
        )

    def _at(self, places: Array) -> tuple[Array, Array]:
        """Test error and its slope in kappa."""
        kappa, weight = self._pair(places)
        at = Equivalent.at(self._spectrum, self._n, kappa, weight, self._rows)
        copies = self._spectrum.copies / self._spectrum.d
        return copies @ at.test_errors(), copies @ at.test_error_slopes()

    def _pair(self, places: Array) -> tuple[Array, Array]:
        beyond = np.exp(places)
        kappa = self._least + beyond
        positive = self._spectrum.eigenvalues > 0
        tau = self._spectrum.eigenvalues[positive, None]
        counts = self._spectrum.counts[positive]
        inverse = tau / (tau + kappa)
        share = counts @ inverse / self._n
        rest = max(self._n - exact_count(counts), 0.0)
        free = (rest + counts @ (inverse / (tau + self._least) * beyond)) / self._n
        return kappa, np.array([self._rows.solve(*pair) for pair in zip(share, free, strict=True)])

    def _alpha(self, place: float) -> float:
        kappa, weight = self._pair(np.array([place]))
        share = self._rows.moment(1, 1, float(weight[0]))
        return float(kappa[0] * weight[0] * share)


def _where_correlations_matter(spectrum: Spectrum, n: float) -> float:
    r"""Effective ridge from which on correlations help less than noise harms; inf without any.

    For large :math:`\kappa` the error is :math:`v - 2c/\kappa + v\,\mathrm{tr}\,\Sigma^2 /
    (n\kappa^2)` with v the mean variance and c the mean sum of squared covariances.
    """
    tau = spectrum.eigenvalues
    variances = spectrum.diagonal(tau)
    off = tau - spectrum.mean(variances)
    squares = np.maximum(spectrum.diagonal(off**2) - spectrum.diagonal(off) ** 2, 0.0)
    total, correlated = float(spectrum.trace(tau**2)), spectrum.mean(squares)
    if correlated <= UNCORRELATED * total / spectrum.d:
        return np.inf
    return spectrum.mean(variances) * total / (n * correlated)
