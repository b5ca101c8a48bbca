r"""One linear predictor trained over random zero-masks: from data, and its error in theory.

Entries are hidden (set to zero) independently with probability p = 1 - q. The predictor of all
columns that is best on average over masks, with zero diagonal and penalty :math:`\alpha`, is

.. math:: A_p = \tfrac1q \bigl(I - Q\,\mathrm{diag}(Q)^{-1}\bigr), \qquad
   Q = \bigl(C + \tfrac pq \mathrm{diag}(C) + \tfrac{\alpha}{q^2} I\bigr)^{-1},
   \qquad C = X^\top X / n,

exactly: masking is a ridge in the units of each column. Its error follows from the effective ridge
of :math:`M = L^{-1/2} \Sigma L^{-1/2}` at penalty one, with :math:`S = \mathrm{diag}(\Sigma)` and
:math:`L = \tfrac pq S + \tfrac{\alpha}{q^2} I`. Derived in docs/masked-regression.md,
"Other masks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.elliptical import RowScales, elliptical_ridges
from foretell.theory.masked.equivalent import Equivalent
from foretell.theory.masked.finite_size import finite_size_corrections, warn_if_far
from foretell.theory.masked.masking_ridge import MaskingRidge, equivalents, masking_ridge
from foretell.theory.spectra.effective_ridge import check_samples, effective_ridge
from foretell.theory.spectra.spectrum import Spectrum, check_covariance

TIE = 1e-12  # relative difference of errors that counts as none
ODDS = 1e8  # largest odds p/q of hiding that the search for the best rate looks at


@dataclass(frozen=True, eq=False)
class RandomMaskErrors:
    """Errors of one predictor trained over random masks, per coordinate, shape (d,).

    Attributes
    ----------
    mask_rate, alpha, n_samples
        As given.
    kappa
        Effective ridge of the scaled covariance M at penalty one; no unit.
    test_error_per_coordinate
        Mean squared error of x A_p where each other entry of a new row is hidden with probability
        p.
    single_test_error_per_coordinate
        The same where only the predicted entry is hidden; the predictor is then q A_p.
    train_error_per_coordinate, single_train_error_per_coordinate
        Both on the rows of training, without the penalty.
    """

    mask_rate: float
    alpha: float
    n_samples: float
    kappa: float
    test_error_per_coordinate: Array
    single_test_error_per_coordinate: Array
    train_error_per_coordinate: Array
    single_train_error_per_coordinate: Array

    @property
    def test_error(self) -> float:
        """Mean over coordinates, random masks."""
        return float(self.test_error_per_coordinate.mean())

    @property
    def single_test_error(self) -> float:
        """Mean over coordinates, one entry hidden."""
        return float(self.single_test_error_per_coordinate.mean())

    @property
    def train_error(self) -> float:
        """Mean over coordinates, random masks."""
        return float(self.train_error_per_coordinate.mean())

    @property
    def single_train_error(self) -> float:
        """Mean over coordinates, one entry hidden."""
        return float(self.single_train_error_per_coordinate.mean())

    def summary(self) -> str:
        """The numbers in words, one a line."""
        d = len(self.test_error_per_coordinate)
        return "\n".join(
            [
                f"Masked regression, random masks: d = {d}, n = {self.n_samples:g}, mask rate = "
                f"{self.mask_rate:.4g}, alpha = {self.alpha:.4g}",
                f"effective ridge      {self.kappa:.6g}   (of the scaled covariance)",
                f"test error           {self.single_test_error:.6g}   (one entry hidden)",
                f"                     {self.test_error:.6g}   (random masks)",
                f"training error       {self.single_train_error:.6g}   (one entry hidden)",
                f"                     {self.train_error:.6g}   (random masks)",
            ]
        )


def random_mask_errors(
    covariance: Any, n_samples: float, alpha: float, mask_rate: float
) -> RandomMaskErrors:
    r"""Errors of the predictor trained over random zero-masks on n rows.

    Deterministic equivalents for rows :math:`\Sigma^{1/2} z` with independent z: relative errors of
    means over coordinates are of order 1/d. Measured at d = 720, n = d/2 and 2d, ten covariances:
    test errors at most 0.6 %, training errors 0.5 % (3 % for a power law on the diagonal, where few
    columns have most of the variance).

    Parameters
    ----------
    covariance
        Covariance (d, d), a named covariance, eigenvalues (d,) or a ``Spectrum``. Where variances
        of the columns differ, the matrix must be had.
    n_samples
        Number n of rows, from 2.
    alpha
        Ridge penalty, not negative; zero is fine, as masking regularizes, and ``inf`` predicts
        zero.
    mask_rate
        Probability p of hiding an entry, in (0, 1).

    Warns
    -----
    EquivalentWarning
        If the errors with one entry hidden are expected to be more than 2 % (test) or 5 %
        (training) off: few samples, and rare masks with a small penalty. An estimate, with the
        variances of the columns taken as known.

    Raises
    ------
    InputError
        If a number lies outside its range, the covariance is none, a column is constant and the
        penalty zero, or variances differ and only a spectrum is given.

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv:2601.23208. The formulas are
       derived in docs/masked-regression.md, "Other masks".

    Examples
    --------
    >>> import numpy as np
    >>> gap = np.subtract.outer(np.arange(50), np.arange(50))
    >>> errors = random_mask_errors(0.9 ** abs(gap), 100, 0.0, mask_rate=0.15)
    >>> round(errors.test_error, 4), round(errors.single_test_error, 4)
    (0.1962, 0.1476)
    """
    _check_rate(mask_rate)
    if alpha == np.inf:
        return _null_errors(covariance, check_samples(n_samples), mask_rate)
    scaled = MaskingRidge(covariance, alpha).at(mask_rate)
    kappa = float(effective_ridge(scaled.spectrum, n_samples, 1.0))
    parts = equivalents(scaled, kappa, float(n_samples))
    _warn(scaled.spectrum, float(n_samples), float(alpha), parts.single)
    single = parts.single
    others = mask_rate / (1 - mask_rate) * (parts.weighted - scaled.variances)
    errors = (single + others, single, single / kappa**2 + others, single / kappa**2)
    each = (scaled.spectrum.per_coordinate(error) for error in errors)
    return RandomMaskErrors(mask_rate, float(alpha), float(n_samples), kappa, *each)


def _null_errors(covariance: Any, n: float, mask_rate: float) -> RandomMaskErrors:
    spectrum = Spectrum.of(covariance)
    variances = spectrum.per_coordinate(spectrum.diagonal(spectrum.eigenvalues))
    return RandomMaskErrors(mask_rate, np.inf, n, np.inf, *[variances] * 4)


def _warn(scaled: Spectrum, n: float, alpha: float, single: Array) -> None:
    """Warn by the corrections of the ridge regression that the masks amount to."""
    rows = RowScales.of(None)
    pair = elliptical_ridges(scaled.eigenvalues, scaled.counts, n, np.ones(1), rows)
    at = Equivalent.at(scaled, n, *pair, rows)
    weights = scaled.copies * single
    test, train = (weights @ size / weights.sum() for size in finite_size_corrections(at, n))
    warn_if_far(n, scaled.d, np.array([alpha]), test, train, n - at.df2)


def optimal_mask_rate(covariance: Any, n_samples: float, alpha: float = 0.0) -> float:
    r"""Rate of random masks that makes the error with one entry hidden least.

    Without a penalty and for variances of one it is :math:`\alpha^*/(1 + \alpha^*)` with the
    optimal ridge penalty :math:`\alpha^*`: masking and ridge are then the same.

    Returns
    -------
    float
        In [0, 1]; relative accuracy 1e-6. 1.0 where the error falls up to the rate one (columns do
        not predict each other), 0.0 where it rises from the rate zero on (the penalty alone is
        too large already).

    Raises
    ------
    InputError
        As ``random_mask_errors``.

    Examples
    --------
    >>> import numpy as np
    >>> gap = np.subtract.outer(np.arange(50), np.arange(50))
    >>> round(optimal_mask_rate(0.9 ** abs(gap), 100), 4)
    0.0876
    """
    from scipy.optimize import minimize_scalar

    problem = MaskingRidge(covariance, alpha)

    def error(log_odds: float) -> float:
        rate = float(1 / (1 + np.exp(-log_odds)))
        scaled = problem.at(rate, float(np.exp(log_odds)))
        kappa = float(effective_ridge(scaled.spectrum, n_samples, 1.0))
        return scaled.spectrum.mean(equivalents(scaled, kappa, float(n_samples)).single)

    grid = np.linspace(-np.log(ODDS), np.log(ODDS), 41 if problem.is_quick else 21)
    values = [error(odds) for odds in grid]
    best = int(np.argmin(values))
    least = values[best] * (1 + TIE)
    if values[-1] <= least or values[0] <= least:
        return 1.0 if values[-1] <= least else 0.0
    around = (grid[best - 1], grid[best + 1])
    found = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-8})
    return float(1 / (1 + np.exp(-found.x)))


def random_mask_coefficients(second_moment: Any, alpha: float, mask_rate: float) -> Array:
    r"""The predictor A_p trained over random zero-masks, exact over all masks, shape (d, d).

    Minimizes the mean over masks m of :math:`\|X - (X \circ m) A\|^2 / n + \alpha \|A\|^2` over A
    with zero diagonal. On a row of which only the predicted entry is hidden use
    ``(1 - mask_rate) * A``.

    Parameters
    ----------
    second_moment
        C = X'X/n of the centered rows, shape (d, d).
    alpha
        Ridge penalty, not negative.
    mask_rate
        Probability of hiding an entry, in (0, 1).

    Raises
    ------
    InputError
        If C is not symmetric and finite, a number lies outside its range, or a column is zero and
        the penalty too.

    References
    ----------
    .. [1] Bishop (1995). Training with noise is equivalent to Tikhonov regularization. Neural
       Computation 7. The identity is derived in docs/masked-regression.md, "Other masks".

    Examples
    --------
    >>> random_mask_coefficients([[2.0, 1.0], [1.0, 2.0]], alpha=0.0, mask_rate=0.5).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    _check_rate(mask_rate)
    C = check_covariance(second_moment)
    ridge = masking_ridge(np.diag(C), alpha, mask_rate)
    Q = np.linalg.inv(C + np.diag(ridge))
    A = -Q / np.diag(Q) / (1 - mask_rate)
    np.fill_diagonal(A, 0.0)
    return np.asarray(A)


def _check_rate(mask_rate: float) -> None:
    if not 0 < mask_rate < 1:
        raise InputError(
            f"mask_rate is the probability of hiding an entry, in (0, 1); found {mask_rate}"
        )
