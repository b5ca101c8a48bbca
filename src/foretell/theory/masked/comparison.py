r"""Masked regression beside PCA: who predicts better, and up to which number of components.

Two comparisons give two answers. Plain PCA reconstructs a coordinate that it sees, so it wins from
a small share of components on, also on AR(1). Masked PCA has the information of masked regression;
it loses for every number of components on AR(1), and wins where few or many spikes hold what there
is to learn. See docs/masked-regression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.errors import masked_regression
from foretell.theory.masked.optimal import best_penalty
from foretell.theory.masked.pca import population_pca_error
from foretell.theory.masked.pca_limit import PCALimit, check_rank
from foretell.theory.masked.ridgeless import best_linear_errors
from foretell.theory.spectra.spectrum import Spectrum

CURVE = 64  # ranks of the default curves, evenly spaced
FIRST = 9  # and this many first ranks, where spikes are
ETA = 1e-10  # precision of a crossover
ZERO = 1e-12  # error, over the variance, that counts as none


@dataclass(frozen=True, eq=False)
class PCAComparison:
    r"""Errors of masked regression, PCA and masked PCA on n rows of d coordinates.

    Errors are means over coordinates of mean squared errors on a new row, limits for n and d large.

    Attributes
    ----------
    d, n_samples
        Coordinates and rows.
    alpha
        Penalty of the masked regression; ``inf`` predicts zero.
    regression
        Its error.
    null_error
        Error of predicting zero: the mean variance.
    ranks
        Numbers of components of the curves, ascending, shape (r,).
    pca
        Error of PCA, which sees the coordinate it reconstructs, shape (r,).
    masked_pca
        Error of PCA that predicts a coordinate from the others, shape (r,).
    crossover
        Share k/d of components at which PCA and masked regression err alike; masked regression
        is better below it. 0 where it is never better.
    best_masked_rank, best_masked_pca
        Best whole number of components of masked PCA, and its error.
    """

    d: int
    n_samples: float
    alpha: float
    regression: float
    null_error: float
    ranks: Array
    pca: Array
    masked_pca: Array
    crossover: float
    best_masked_rank: int
    best_masked_pca: float

    @property
    def beats_masked_pca(self) -> bool:
        """Whether masked regression is better than masked PCA of every rank."""
        return self.regression < self.best_masked_pca

    @property
    def ranks_beaten(self) -> int:
        """How many ranks 0, 1, ... of PCA masked regression is better than."""
        return int(np.ceil(self.crossover * self.d - 100 * ETA * self.d))

    def summary(self) -> str:
        """The numbers in words, one a line."""
        verdict = "better" if self.beats_masked_pca else "not better"
        if self.regression > 0:
            ratio = f"{self.best_masked_pca / self.regression:.4g} times the regression"
        else:
            ratio = "the regression errs by none"
        return "\n".join(
            [
                f"Masked regression and PCA: d = {self.d}, n = {self.n_samples:g}",
                f"masked regression    {self.regression:.6g}   (alpha = {self.alpha:.4g})",
                f"variance             {self.null_error:.6g}",
                f"best masked PCA      {self.best_masked_pca:.6g}   ({self.best_masked_rank} "
                f"components; {ratio}, which is {verdict})",
                f"crossover with PCA   k/d = {self.crossover:.6g}   (regression better below: "
                f"{self.ranks_beaten} of {self.d + 1} ranks)",
            ]
        )


def compare_with_pca(
    covariance: Any,
    n_samples: float,
    *,
    alpha: float | str = "optimal",
    ranks: Any = None,
) -> PCAComparison:
    r"""Masked regression, PCA and masked PCA fitted to the same n rows.

    What holds, in theory and simulation. Against PCA, which sees the coordinate, masked regression
    is better exactly for k/d below the crossover, so for every k = o(d) on AR(1); at correlation
    0.9 and n = 2 d the crossover is 0.163. With equal information (masked PCA) it is better for
    every k on AR(1), and worse on spikes: a few (:func:`~.spiked_pca.spiked_comparison`), a share
    of all eigenvalues, or one for each block of equally correlated columns.

    Parameters
    ----------
    covariance
        Covariance (d, d), its eigenvalues (d,) if coordinates are alike, or what has an attribute
        ``spectrum``; d >= 2.
    n_samples
        Rows n, at least 2, of mean zero.
    alpha
        Penalty of the masked regression, or ``"optimal"``.
    ranks
        Numbers of components of the curves, from 0 to d - 1, shape (r,); None for about 70.

    Warns
    -----
    EquivalentWarning
        As :func:`~foretell.theory.masked.errors.masked_regression` at that penalty.

    Raises
    ------
    InputError
        If a rank lies outside 0, ..., d - 1, n_samples < 2, alpha is negative, or the covariance
        is not semidefinite.

    Examples
    --------
    >>> from foretell.theory.masked.covariances import AutoRegressive
    >>> c = compare_with_pca(AutoRegressive(1000, 0.9, ring=True), 2000)
    >>> round(c.regression, 4), round(c.crossover, 4), c.beats_masked_pca
    (0.1395, 0.1631, True)
    """
    spectrum = Spectrum.of(covariance)
    d = spectrum.d
    if d < 2:
        raise InputError("a coordinate is predicted from others; found d = 1")
    limit = PCALimit(spectrum, n_samples)
    chosen = _curve_ranks(d) if ranks is None else np.unique(check_rank(ranks, d, masked=True))
    null = spectrum.mean(spectrum.diagonal(spectrum.eigenvalues))
    penalty, error = _regression(spectrum, limit.n_samples, alpha, null)
    pca, masked = limit.error(chosen), limit.masked_error(chosen)
    best, least = _best_rank(limit, d)
    return PCAComparison(
        d=d,
        n_samples=limit.n_samples,
        alpha=penalty,
        regression=error,
        null_error=null,
        ranks=chosen,
        pca=pca,
        masked_pca=masked,
        crossover=_crossover(lambda eta: limit.error(eta * d), error, null),
        best_masked_rank=best,
        best_masked_pca=least if best else null,
    )


def population_crossover(covariance: Any) -> float:
    r"""Share k/d from which population PCA beats the best linear predictor of each coordinate.

    The latter errs by :math:`\tfrac1d\sum_k 1/\Omega_{kk}`, :math:`\Omega = \Sigma^{-1}`.
    Exact; between whole k the error of PCA is interpolated. Where neither errs, its rank over d.

    Raises
    ------
    InputError
        If the covariance is not semidefinite.

    Examples
    --------
    >>> round(population_crossover([3.0, 1.0]), 4)  # correlation 1/2 and variance 2
    0.1667
    """
    spectrum = Spectrum.of(covariance)
    error = spectrum.mean(best_linear_errors(spectrum))
    null = spectrum.mean(spectrum.diagonal(spectrum.eigenvalues))
    return _crossover(lambda eta: population_pca_error(spectrum, eta * spectrum.d), error, null)


def autoregressive_crossover(rho: float) -> float:
    r"""Population crossover of an AR(1) as d grows.

    .. math:: \eta^* = \frac2\pi \arctan\Bigl[\frac{1-\rho}{1+\rho}
              \tan\frac{\pi\rho^2}{1+\rho^2}\Bigr],

    zero at :math:`\rho = 0`, :math:`\tfrac2\pi\arctan\tfrac1\pi = 0.1962` as
    :math:`|\rho| \to 1`. Derived from the spectral density: with
    :math:`\tau(\phi) = (1-\rho^2)/(1 - 2\rho\cos\phi + \rho^2)` the components beyond k leave
    :math:`\frac1\pi\int_{\pi k/d}^{\pi} \tau`, regression :math:`(1-\rho^2)/(1+\rho^2)`.

    Raises
    ------
    InputError
        If rho lies outside (-1, 1).

    Examples
    --------
    >>> [round(autoregressive_crossover(rho), 3) for rho in (0.1, 0.5, 0.9)]
    [0.016, 0.151, 0.195]
    """
    if not -1 < rho < 1:
        raise InputError(f"rho is a correlation in (-1, 1); found {rho}")
    r = abs(rho)
    rest = np.pi / 2 * (1 - r) * (1 + r) / (1 + r * r)  # keeps its digits as |rho| tends to one
    return float(2 / np.pi * np.arctan2(1 - r, (1 + r) * np.tan(rest)))


def _regression(
    spectrum: Spectrum, n: float, alpha: float | str, null: float
) -> tuple[float, float]:
    """Penalty and error of masked regression."""
    if isinstance(alpha, str) and alpha != "optimal":
        raise InputError(f"alpha is 'optimal' or a penalty, not negative; found {alpha!r}")
    penalty = best_penalty(spectrum, n) if isinstance(alpha, str) else float(alpha)
    if penalty == np.inf:
        return penalty, null
    return penalty, masked_regression(spectrum, n, penalty).test_error


def _crossover(pca: Any, error: float, null: float) -> float:
    from scipy.optimize import brentq

    if error >= null:
        return 0.0
    level = max(error, ZERO * null)  # a singular covariance: where PCA first has no error
    return float(brentq(lambda eta: pca(eta) - level, 0.0, 1.0, xtol=ETA))


def _curve_ranks(d: int) -> Array:
    even = np.round(np.linspace(0, d - 1, CURVE))
    return np.unique(np.concatenate([np.arange(min(FIRST, d)), even])).astype(float)


def _best_rank(limit: PCALimit, d: int) -> tuple[int, float]:
    """Best whole rank of masked PCA: the best of a grid, which then closes in on it."""
    ranks = _curve_ranks(d)
    while True:
        errors = limit.masked_error(ranks)
        i = int(np.argmin(errors))
        low, high = ranks[max(i - 1, 0)], ranks[min(i + 1, len(ranks) - 1)]
        if high - low <= 2:
            return int(ranks[i]), float(errors[i])
        ranks = np.unique(np.append(np.round(np.linspace(low, high, 17)), ranks[i]))
