r"""The bulk of a sample covariance as seen by few other directions.

With :math:`\tau` the eigenvalues of the bulk, of distribution H, and :math:`\gamma = d/n`,

.. math:: z(w) = w\,\omega(w), \qquad \omega(w) = 1 + \gamma \int \frac{\tau}{w - \tau} dH(\tau),

is increasing in w on the real intervals outside the bulk. A direction of variance w that the bulk
does not contain shows in the sample covariance at z(w) (Bai & Yao 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.atoms import as_atoms
from foretell.theory.spectra.edges import support
from foretell.theory.spectra.effective_ridge import effective_ridge
from foretell.theory.spectra.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class Bulk:
    """Eigenvalues and weights of the bulk, shape (p,), and columns per row."""

    tau: Array
    weight: Array
    aspect_ratio: float

    @classmethod
    def of(cls, bulk: Any, aspect_ratio: float) -> Bulk:
        """From a covariance or its spectrum; None is a bulk of variance one."""
        gamma = check_aspect_ratio(aspect_ratio)
        if bulk is None:
            return cls(np.ones(1), np.ones(1), gamma)
        spectrum = Spectrum.of(bulk)
        return cls(spectrum.eigenvalues, spectrum.counts / spectrum.d, gamma)

    @property
    def is_flat(self) -> bool:
        """Whether all variances are one."""
        return len(self.tau) == 1 and bool(self.tau[0] == 1)

    def omega(self, w: float) -> float:
        """Companion of the resolvent at a real point outside the bulk."""
        return 1 + self.aspect_ratio * float(self.weight @ (self.tau / (w - self.tau)))

    def z(self, w: float) -> float:
        """Eigenvalue of the sample covariance."""
        return w * self.omega(w)

    def slopes(self, w: float) -> tuple[float, float]:
        """Derivatives of omega and z in w."""
        squares = self.weight * self.tau / (w - self.tau) ** 2
        gamma = self.aspect_ratio
        return -gamma * float(squares.sum()), 1 - gamma * float(squares @ self.tau)

    def kappa(self, alpha: float) -> float:
        """Effective ridge of a penalty."""
        unit = 1e6  # any number of rows: only the ratio enters
        spectrum = Spectrum(self.tau, self.weight * (self.aspect_ratio * unit), np.ones((1, 1)))
        return float(effective_ridge(spectrum, unit, alpha))

    def resolvent(self, kappa: float) -> float:
        """Diagonal of the population resolvent in the bulk."""
        return float(self.weight @ (1 / (self.tau + kappa)))

    def outside(self, kappa: float) -> list[tuple[float, float]]:
        """Intervals of w that are outside the bulk and above minus kappa, ascending."""
        if self.is_flat:
            root = np.sqrt(self.aspect_ratio)
            ends = np.array([1 - root, 1 + root])
        else:
            atoms = as_atoms(self.tau, self.aspect_ratio, self.weight)
            ends = (support(atoms).u * atoms.scale).ravel()
        stops = [-kappa, *(float(end) for end in ends), np.inf]
        return list(zip(stops[::2], stops[1::2], strict=True))


def check_aspect_ratio(aspect_ratio: float) -> float:
    """Columns per row, finite and positive."""
    gamma = float(aspect_ratio)
    if not 0 < gamma < np.inf:
        raise InputError(f"aspect_ratio is d / n, finite and positive; found {aspect_ratio!r}")
    return gamma
