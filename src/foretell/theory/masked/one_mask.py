"""One ridge regression per mask: hidden coordinates from all that are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.effective_ridge import effective_ridge
from foretell.theory.spectra.spectrum import SEMIDEFINITE, Spectrum, check_covariance


@dataclass(frozen=True, eq=False)
class OneMaskErrors:
    """Errors of hidden coordinates, each predicted by ridge from the same seen ones.

    Attributes
    ----------
    hidden
        Positions of the hidden coordinates, ascending, shape (h,).
    kappa
        Effective ridge of the covariance of the seen coordinates.
    test_error_per_coordinate, train_error_per_coordinate
        Mean squared errors, shape (h,).
    """

    hidden: Array
    kappa: float
    test_error_per_coordinate: Array
    train_error_per_coordinate: Array

    @property
    def test_error(self) -> float:
        """Mean over hidden coordinates."""
        return float(self.test_error_per_coordinate.mean())

    @property
    def train_error(self) -> float:
        """Mean over hidden coordinates."""
        return float(self.train_error_per_coordinate.mean())


def one_mask_errors(covariance: Any, n_samples: float, alpha: float, hidden: Any) -> OneMaskErrors:
    r"""Errors of ridge regressions of hidden coordinates on the seen ones, n rows of training.

    With O the seen coordinates, :math:`\kappa` the effective ridge of :math:`\Sigma_{OO}`,
    :math:`R = (\Sigma_{OO} + \kappa I)^{-1}`, :math:`b_k = \Sigma_{OO}^{-1} \Sigma_{Ok}` and
    :math:`\sigma_k^2` the variance of :math:`x_k` given :math:`x_O`,

    .. math:: \mathrm{test}_k = \frac{\kappa^2 b_k^\top R \Sigma_{OO} R b_k + \sigma_k^2}
                                     {1 - \mathrm{df}_2/n}, \qquad
              \mathrm{train}_k = (\alpha/\kappa)^2\, \mathrm{test}_k.

    Relative errors of means over coordinates are of order 1/d; measured at d = 720, n = d/2 and
    2d: test at most 0.6 %, training 0.7 % (2 % for a power law on the diagonal).

    Parameters
    ----------
    covariance
        Covariance (d, d), or a named covariance; semidefinite too.
    n_samples
        Number n of rows, from 2; ``inf`` for the population, where :math:`\kappa = \alpha`. With
        ``alpha = 0`` that is the conditional variance :math:`((\Omega_{MM})^{-1})_{kk}`, exactly.
    alpha
        Ridge penalty, not negative.
    hidden
        True for hidden coordinates, shape (d,), or their positions.

    Raises
    ------
    InputError
        If all coordinates or none are hidden, positions are not in 0..d-1, a number lies outside
        its range, or n is the rank of the seen coordinates and the penalty zero (the error
        diverges).

    References
    ----------
    .. [1] Hastie, Montanari, Rosset & Tibshirani (2022). Surprises in high-dimensional ridgeless
       least squares interpolation. Annals of Statistics 50. Theorem 5.

    Examples
    --------
    >>> import numpy as np
    >>> covariance = np.array([[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]])
    >>> round(one_mask_errors(covariance, np.inf, 0.0, hidden=[1]).test_error, 12)
    0.6
    """
    sigma = _matrix(covariance)
    is_hidden = _hidden(hidden, len(sigma))
    seen = ~is_hidden
    if not 0 <= alpha < np.inf:
        raise InputError(f"alpha is a finite penalty, not negative; found {alpha}")
    tau, vectors = np.linalg.eigh(sigma[np.ix_(seen, seen)])
    rounding = SEMIDEFINITE * len(tau) * np.abs(sigma).max()
    if tau[0] < -rounding:
        raise InputError(f"a covariance has no negative eigenvalue; found {tau[0]:.3g}")
    kept = tau > rounding
    tau = tau[kept]
    cross = vectors[:, kept].T @ sigma[np.ix_(seen, is_hidden)]
    kappa, free = _effective(tau, n_samples, float(alpha))
    # sigma_k^2 + kappa^2 b' R Sigma R b: the error of the population ridge with penalty kappa.
    explained = ((tau + 2 * kappa) / (tau + kappa) ** 2) @ cross**2
    test = (np.diag(sigma)[is_hidden] - explained) / free
    shrink = alpha / kappa if kappa > 0 else 1 - len(tau) / n_samples
    return OneMaskErrors(np.flatnonzero(is_hidden), kappa, test, shrink**2 * test)


def _effective(tau: Array, n_samples: float, alpha: float) -> tuple[float, float]:
    """The effective ridge, and 1 - df2/n."""
    if n_samples == np.inf or not len(tau):
        return alpha, 1.0
    kappa = float(effective_ridge(tau, n_samples, alpha))
    free = 1 - float(((tau / (tau + kappa)) ** 2).sum()) / n_samples
    if free <= 0:
        raise InputError(
            f"the error diverges without a penalty where n = {n_samples:g} is the rank of the "
            "seen coordinates; give alpha > 0"
        )
    return kappa, free


def _hidden(hidden: Any, d: int) -> Array:
    """True where hidden, shape (d,), from that or positions."""
    given = np.asarray(hidden)
    if given.dtype == bool and given.shape == (d,):
        is_hidden = given
    elif given.ndim == 1 and given.dtype.kind in "iu" and ((given >= 0) & (given < d)).all():
        is_hidden = np.zeros(d, bool)
        is_hidden[given] = True
    else:
        raise InputError(
            f"hidden is a vector of {d} truth values or positions from 0 to {d - 1}; found "
            f"{given.dtype} of shape {given.shape}"
        )
    if is_hidden.all() or not is_hidden.any():
        raise InputError(
            f"some of the {d} coordinates are hidden, others seen; found {is_hidden.sum()} hidden"
        )
    return is_hidden


def _matrix(covariance: Any) -> Array:
    if callable(getattr(covariance, "matrix", None)):
        covariance = covariance.matrix()
    if isinstance(covariance, Spectrum):
        raise InputError("hidden sets need the covariance, shape (d, d); found its spectrum only")
    return check_covariance(covariance)
