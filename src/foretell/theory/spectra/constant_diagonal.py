r"""Spectrum of masked regression where the resolvent has a constant diagonal.

Then :math:`A = I - Q \mathrm{diag}(Q)^{-1}` has the eigenvalues
:math:`\nu = 1 - 1/(\delta (s + \lambda))` with s those of the sample covariance and
:math:`\delta = (\kappa/\lambda)\,\mathrm{tr}R/d`: the law is an image of the generalised
Marchenko-Pastur law. Derived in docs/masked-regression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.law_points import Atom, Points, real_points
from foretell.theory.spectra.marchenko_pastur import MarchenkoPastur
from foretell.theory.spectra.outliers import Outlier


@dataclass(frozen=True, eq=False)
class ConstantDiagonalLaw:
    """Limit law of the eigenvalues of the coefficients, coordinates alike.

    Attributes
    ----------
    sample
        Law of the eigenvalues of the sample covariance.
    scale
        Diagonal of its resolvent, a number.
    alpha, n_samples, kappa
        Penalty, number of rows and effective ridge.
    outliers
        Limits of the eigenvalues of spikes, where the covariance is a spiked one.
    """

    sample: MarchenkoPastur
    scale: float
    alpha: float
    n_samples: float
    kappa: float
    outliers: tuple[Outlier, ...] = ()

    def pdf(self, nu: Any) -> Any:
        """Density of the continuous part at eigenvalues nu, any shape; zero above one."""
        nu = real_points(nu)
        out = np.zeros(nu.shape)
        below = nu < 1
        gap = 1 - nu[below]
        density = self.sample.pdf(1 / (self.scale * gap) - self.alpha)
        out[below] = density / (self.scale * gap**2)
        return out[()]

    def cdf(self, nu: Any) -> Any:
        """Share of eigenvalues up to nu, any shape."""
        nu = real_points(nu)
        out = np.where(np.isnan(nu), np.nan, 1.0)
        below = nu < 1
        s = 1 / (self.scale * (1 - nu[below])) - self.alpha
        rounding = np.abs(s) < 4e-15 * self.alpha  # the atom of the sample law is at zero
        out[below] = self._sample_cdf(np.where(rounding, 0.0, s))
        return out[()]

    def _sample_cdf(self, s: Array) -> Array:
        """Distribution of the sample law, known exactly between its intervals."""
        edges = self.sample.edges
        interval = np.searchsorted(edges[:, 0], s, side="right") - 1
        reached = np.concatenate([[0.0], np.cumsum(self.sample.masses)]) + self.sample.atom
        inside = (interval >= 0) & (s < edges[interval, 1])
        out = np.where(s < 0, 0.0, reached[interval + 1])
        out[inside] = self.sample.cdf(s[inside])
        return out

    def ppf(self, q: Any) -> Any:
        """Eigenvalue with a share q below it, any shape."""
        q = real_points(q, "a share")
        if not ((q >= 0) & (q <= 1)).all():
            raise InputError(f"a share lies between 0 and 1; found {q.min():.3g} to {q.max():.3g}")
        return self._image(self.sample.ppf(q))

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """Eigenvalue of the null space of the sample covariance, if any.

        In data it is spread with a standard deviation of order d^-1/2.
        """
        mass = float(self.sample.atom)
        return (Atom(float(self._image(0.0)), mass),) if mass > 0 else ()

    @property
    def edges(self) -> Array:
        """Ends of the intervals that carry the continuous part, ascending, shape (k, 2)."""
        return np.asarray(self._image(self.sample.edges))

    def curve(self, n_nodes: int | None = None) -> Points:
        """Points along each interval, with weights that integrate against the law."""
        curve = self.sample.curve(n_nodes)
        nu = self._image(curve.x)
        return Points(nu, self.pdf(nu), curve.weight)

    def mean(self) -> float:
        """Mean by the curve and the atoms; zero, up to the error of that quadrature."""
        points = self.curve()
        atoms = sum(atom.mass * atom.location for atom in self.atoms)
        return float(points.weight @ points.nu + atoms)

    def _image(self, s: Any) -> Any:
        return 1 - 1 / (self.scale * (np.asarray(s) + self.alpha))
