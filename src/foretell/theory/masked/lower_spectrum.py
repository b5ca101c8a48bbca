"""Integrals over the lower part of a sample spectrum, as PCA leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from foretell._types import Array
from foretell.theory.spectra.curve import ORDER
from foretell.theory.spectra.marchenko_pastur import MarchenkoPastur

STEPS = 100


@dataclass(frozen=True, eq=False)
class LowerSpectrum:
    """The continuous part of a law below a quantile, by Gauss nodes on panels.

    What is integrated is a polynomial on each panel, to the accuracy of the curve of the law (1e-8
    of the panel, its square on whole panels), so that the panel that holds the quantile is cut by
    integrating that polynomial up to it.

    Attributes
    ----------
    law
        The limiting law of the sample eigenvalues.
    x, w, weight
        Nodes, the w with z(w) = x there, and their probabilities, shape (m,).
    """

    law: MarchenkoPastur
    x: Array
    w: Array
    weight: Array

    @classmethod
    def of(cls, law: MarchenkoPastur) -> LowerSpectrum:
        """Nodes until the density is resolved, and weights that give intervals exact masses.

        Otherwise what is missing below an interval of mass 1/d would be taken from its top.
        """
        curve = law.curve()
        interval = np.searchsorted(law.edges[1:, 0], curve.x)
        found = np.bincount(interval, curve.weight, len(law.edges))
        return cls(law, curve.x, curve.w, curve.weight * (law.masses / found)[interval])

    @cached_property
    def _panels(self) -> Array:
        """Probabilities by panel, shape (m / ORDER, ORDER)."""
        return self.weight.reshape(-1, ORDER)

    @cached_property
    def _ends(self) -> Array:
        return np.append(0.0, np.cumsum(self._panels.sum(axis=1)))

    def integral(self, values: Array, mass: Array) -> Array:
        """Integrals of a function at the nodes (m,) over the parts of these masses (r,)."""
        panel, share = self._cut(mass)
        terms = (self.weight * values).reshape(-1, ORDER)
        below = np.append(0.0, np.cumsum(terms.sum(axis=1)))
        return np.asarray(below[panel] + (terms[panel] * share).sum(axis=1))

    def shares(self, mass: Array) -> Array:
        """How much of each node counts in the parts of these masses (r,), shape (m, r)."""
        panel, share = self._cut(mass)
        out = np.zeros((len(mass), len(self._panels), ORDER))
        out[np.arange(len(self._panels)) < panel[:, None]] = 1.0
        out[np.arange(len(mass)), panel] = share
        return np.ascontiguousarray(out.reshape(len(mass), -1).T)

    def _cut(self, mass: Array) -> tuple[Array, Array]:
        """Panel that holds the quantile of each mass (r,), and shares of its nodes (r, ORDER)."""
        panel = np.clip(np.searchsorted(self._ends, mass) - 1, 0, len(self._panels) - 1)
        return panel, _shares(_places(self._panels[panel], mass - self._ends[panel]))


@lru_cache(maxsize=1)
def _nodes() -> Array:
    """Legendre polynomials at the nodes of a panel, shape (ORDER, ORDER) and ascending degree."""
    node = np.polynomial.legendre.leggauss(ORDER)[0]
    return np.asarray(np.polynomial.legendre.legvander(node, ORDER - 1))


def _shares(place: Array) -> Array:
    r"""Integrals of the Lagrange polynomials up to places in (0, 1), over their Gauss weights.

    :math:`t + \tfrac12 \sum_{l \ge 1} P_l(s_i)\,[P_{l+1}(s) - P_{l-1}(s)]`, s = 2 t - 1.
    """
    upper = np.polynomial.legendre.legvander(2 * place - 1, ORDER)
    return np.asarray(place[:, None] + (upper[:, 2:] - upper[:, :-2]) @ _nodes()[:, 1:].T / 2)


def _places(weights: Array, mass: Array) -> Array:
    """Places (r,) in (0, 1) below which panels with these weights (r, ORDER) hold a mass (r,)."""
    slopes = weights @ (_nodes() * (2 * np.arange(ORDER) + 1))
    total = weights.sum(axis=1)
    low, high = np.zeros(len(mass)), np.ones(len(mass))
    place = np.clip(mass / total, 0.0, 1.0)
    for _ in range(STEPS):
        miss = (weights * _shares(place)).sum(axis=1) - mass
        slope = (slopes * np.polynomial.legendre.legvander(2 * place - 1, ORDER - 1)).sum(axis=1)
        low, high = np.where(miss <= 0, place, low), np.where(miss >= 0, place, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = place - miss / slope
        moved = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
        settled = bool(np.all(np.abs(moved - place) < 1e-15))
        place = moved
        if settled:
            break
    return place
