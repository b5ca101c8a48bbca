r"""Deterministic equivalents of the ridge that random masks amount to.

Masking with probability p = 1 - q adds :math:`L = \tfrac pq S + \tfrac{\alpha}{q^2} I`,
:math:`S = \mathrm{diag}(\Sigma)`, to the second moments: the ridge regression of
:math:`M = L^{-1/2} \Sigma L^{-1/2}` at penalty one. Derived in docs/masked-regression.md,
"Other masks".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.spectrum import Spectrum, check_covariance

ALIKE = 1e-12  # relative spread of variances up to which they count as equal


class ScaledCovariance(NamedTuple):
    """M at one mask rate: its spectrum, and L and S per type of coordinate, shape (g,)."""

    spectrum: Spectrum
    ridge: Array
    variances: Array
    vectors: Array | None


class MaskedEquivalents(NamedTuple):
    """Diagonals of Q Sigma Q and Q S Q over that of Q squared, per type, shape (g,)."""

    single: Array
    weighted: Array


class MaskingRidge:
    """A covariance and a penalty, scaled at any mask rate.

    Where all variances are equal, or without a penalty, L is a multiple of one diagonal, and a
    single eigendecomposition serves all rates: ``is_quick``.

    Raises
    ------
    InputError
        If the penalty is negative, the covariance is none, or variances differ and there is no
        matrix.
    """

    def __init__(self, covariance: Any, alpha: float) -> None:
        if not 0 <= alpha < np.inf:
            raise InputError(f"alpha is a finite penalty, not negative; found {alpha}")
        self._alpha = float(alpha)
        self._spectrum = Spectrum.of(covariance)
        self._variances = self._spectrum.diagonal(self._spectrum.eigenvalues)
        self._is_even = np.ptp(self._variances) <= ALIKE * self._variances.max()
        self.is_quick = self._is_even or alpha == 0
        if not self._is_even:
            self._matrix = _matrix(covariance)
            self._variances = np.diag(self._matrix)
            if alpha == 0:
                ones = masking_ridge(self._variances, 0.0, 0.5)
                self._unit = _eigen(self._matrix / np.sqrt(np.outer(ones, ones)))

    def at(self, rate: float, odds: float | None = None) -> ScaledCovariance:
        """M at this mask rate, in (0, 1); the odds p/q keep digits where the rate is near one."""
        ridge = masking_ridge(self._variances, self._alpha, rate, odds)
        if self._is_even:
            return ScaledCovariance(_over(self._spectrum, ridge[0]), ridge, self._variances, None)
        if self._alpha == 0:
            spectrum, vectors = self._unit
            spectrum = _over(spectrum, ridge[0] / self._variances[0])
        else:
            spectrum, vectors = _eigen(self._matrix / np.sqrt(np.outer(ridge, ridge)))
        return ScaledCovariance(spectrum, ridge, self._variances, vectors)


def equivalents(scaled: ScaledCovariance, kappa: float, n: float) -> MaskedEquivalents:
    r"""Second-order equivalents in terms of :math:`R = (M + \kappa I)^{-1}` and :math:`T = S/L`.

    With :math:`Q = (C + L)^{-1}` and :math:`W = L^{-1/2}`,

    .. math:: Q \sim \kappa W R W, \qquad
              Q B Q \sim \kappa^2 W \Bigl[ R \tilde B R + \frac{\mathrm{tr}(\tilde B R M R)/n}
              {1 - \mathrm{df}_2/n} R M R \Bigr] W, \qquad \tilde B = W B W .
    """
    spectrum, ridge, variances, vectors = scaled
    tau = spectrum.eigenvalues
    inverse = 1 / (tau + kappa)
    free = 1 - float(spectrum.trace((tau * inverse) ** 2)) / n
    resolvent = spectrum.diagonal(inverse)
    rmr = spectrum.diagonal(tau * inverse**2)
    share = variances / ridge
    if vectors is None:
        rtr = share * spectrum.diagonal(inverse**2)
    else:
        rtr = ((vectors * inverse) @ vectors.T) ** 2 @ share
    fed = float((share * rmr) @ spectrum.copies) / n
    scale = ridge / resolvent**2
    return MaskedEquivalents(scale * rmr / free, scale * (rtr + rmr * fed / free))


def masking_ridge(variances: Array, alpha: float, rate: float, odds: float | None = None) -> Array:
    """L = (p/q) S + alpha/q^2 per coordinate or type, positive.

    Raises
    ------
    InputError
        If the penalty is negative, or it is zero and a variance too.
    """
    if not 0 <= alpha < np.inf:
        raise InputError(f"alpha is a finite penalty, not negative; found {alpha}")
    odds = rate / (1 - rate) if odds is None else odds
    ridge = np.asarray(odds * variances + alpha * (1 + odds) ** 2)
    if (zero := int((ridge <= 0).sum())) > 0:
        raise InputError(
            f"{zero} columns are constant, so masking does not penalize them; drop them or give "
            "alpha > 0"
        )
    return ridge


def _over(spectrum: Spectrum, factor: float) -> Spectrum:
    return Spectrum(
        spectrum.eigenvalues / factor, spectrum.counts, spectrum.profile, spectrum.types
    )


def _eigen(matrix: Array) -> tuple[Spectrum, Array]:
    values, vectors = np.linalg.eigh(matrix)
    d = len(values)
    spectrum = Spectrum(np.maximum(values, 0.0), np.ones(d), vectors**2, np.arange(d))
    return spectrum, vectors


def _matrix(covariance: Any) -> Array:
    if callable(getattr(covariance, "matrix", None)):
        covariance = covariance.matrix()
    if isinstance(covariance, Spectrum) or hasattr(covariance, "spectrum"):
        raise InputError(
            "columns have different variances, so random masks need the covariance itself; found "
            "its spectrum only; give the matrix, shape (d, d)"
        )
    return check_covariance(covariance)
