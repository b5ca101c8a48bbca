"""Deterministic equivalents of the errors of masked regression at given effective ridges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.theory.masked.elliptical import RowScales
from foretell.theory.spectra.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class Equivalent:
    r"""Second-order equivalents at L effective ridges, derived in docs/masked-regression.md.

    With :math:`R = (\Sigma + \kappa I)^{-1}` the test error of coordinate k is

    .. math:: \frac{(R \Sigma R)_{kk}}{R_{kk}^2} \Big/ u, \qquad
              u = 1 - \mathrm{df}_2/n \text{ for rows of equal length},

    and the training error is that times ``shrinkage``, :math:`(1 - \mathrm{df}_1/n)^2` for such
    rows. Differences are sums of positive terms, so that none cancels near n = d.

    Attributes
    ----------
    kappa, weight
        Effective ridges and the s of :class:`~.elliptical.RowScales`, shape (L,).
    df1, df2
        :math:`\mathrm{tr}\,\Sigma R` and :math:`\mathrm{tr}\,\Sigma^2 R^2`, shape (L,).
    spread
        The u above, shape (L,).
    log_spread_slope
        Derivative of its logarithm in :math:`\kappa`, shape (L,).
    shrinkage
        Training error over test error, shape (L,).
    alpha_slope
        :math:`d\alpha/d\kappa`, shape (L,).
    response
        Derivative of :math:`\alpha/\kappa` in :math:`\alpha`, shape (L,).
    """

    spectrum: Spectrum
    kappa: Array
    weight: Array
    df1: Array
    df2: Array
    spread: Array
    log_spread_slope: Array
    shrinkage: Array
    alpha_slope: Array
    response: Array

    @classmethod
    def at(
        cls, spectrum: Spectrum, n: float, kappa: Array, weight: Array, rows: RowScales
    ) -> Equivalent:
        """Equivalents at effective ridges and weights that belong together, shape (L,) each.

        Ridges are finite, and positive where the covariance has no inverse.
        """
        tau, counts = spectrum.eigenvalues[:, None], spectrum.counts
        inverse = 1 / (tau + kappa)
        p = tau * inverse
        p_inverse = p * inverse
        df1, df2, fall = counts @ p, counts @ (p * p), counts @ p_inverse / n
        bend, cube = kappa * fall, counts @ (p * p_inverse) / n
        h, a1, a2, b1, b2 = rows.moments(weight)
        spread = weight * a1 / h + a2 * bend / h**2
        if rows.alike:
            slope = 2 * cube
        else:
            weight_slope = fall / a1
            slope = (
                (a1 - 2 * weight * b1 - 2 * b2 * bend / h) * weight_slope / h
                + (weight * a1 + 2 * a2 * bend / h) * fall / h**2
                + a2 * (2 * cube - fall) / h**2
            )
        return cls(
            spectrum=spectrum,
            kappa=kappa,
            weight=weight,
            df1=df1,
            df2=df2,
            spread=spread,
            log_spread_slope=slope / spread,
            shrinkage=weight**2 * a1,
            alpha_slope=h**2 * spread / a1,
            response=a2 * fall / (h**2 * spread),
        )

    def test_errors(self) -> Array:
        """Mean squared error of each type of coordinate on new rows, shape (g, L)."""
        first, second = self._diagonals()
        return second / first**2 / self.spread

    def norms(self) -> Array:
        """Squared norm of the column of A of each type of coordinate, shape (g, L)."""
        scaled, center, _ = self._scaled()
        profile, tau = self.spectrum.profile, self.spectrum.eigenvalues[:, None]
        first, off = profile @ scaled, scaled - center
        variance = np.maximum(profile @ off**2 - (profile @ off) ** 2, 0.0)
        return (variance + self.response * (profile @ (tau * scaled**2))) / first**2

    def test_error_slopes(self) -> Array:
        r"""Derivative of the test errors in :math:`\kappa`, shape (g, L)."""
        scaled, center, unit = self._scaled()
        profile, tau = self.spectrum.profile, self.spectrum.eigenvalues[:, None]
        first, curved = profile @ scaled, tau * scaled**2
        second, off = profile @ curved, scaled - center
        bent = profile @ (curved * off)
        pull = (profile @ (scaled * off)) / first
        pull = pull - np.divide(bent, second, out=np.zeros_like(bent), where=second > 0)
        slope = 2 * pull / unit - self.log_spread_slope
        return second / first**2 / self.spread * slope

    def _diagonals(self) -> tuple[Array, Array]:
        """Diagonals of R and of R Sigma R, up to one factor and its square, shape (g, L)."""
        scaled, _, _ = self._scaled()
        profile, tau = self.spectrum.profile, self.spectrum.eigenvalues[:, None]
        return profile @ scaled, profile @ (tau * scaled**2)

    def _scaled(self) -> tuple[Array, Array, Array]:
        """Eigenvalues of R in units of the largest, (p, L), the smallest, and that unit's inverse.

        Variances are taken around the smallest, which is of their own size both at large ridges
        and for coordinates without a share in a null space, whose ridge is small.
        """
        tau = self.spectrum.eigenvalues[:, None]
        unit = tau[0] + self.kappa
        scaled = unit / (tau + self.kappa)
        return scaled, scaled[-1], unit
