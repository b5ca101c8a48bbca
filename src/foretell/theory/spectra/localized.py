"""Singular points of the resolvent restricted to few coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.theory.spectra.bulk import Bulk

Pencil = Callable[[float], Array]


class Mode(NamedTuple):
    """An outlier of the coefficients, by the eigenvalue of the covariance in its place.

    ``symmetric`` is the squared length of the symmetric eigenvector on the coordinates,
    ``right`` and ``left`` what that becomes in the others' metric.
    """

    place: float
    right: float
    left: float
    symmetric: float


def modes(law: Bulk, kappa: float, alpha: float, sigma: Array, ratio: Array) -> list[Mode]:
    r"""Points z where :math:`K = \omega\Sigma + \lambda - (z+\lambda)P` is singular, and vectors.

    P is diagonal with entries 1 / ratio, where ratio is the diagonal of the resolvent in units of
    that in the bulk. Minus the inverse of K is the limit of a resolvent, so that each eigenvalue
    of K decreases in z on an interval outside the bulk, and vanishes at most once there.
    """
    metric = 1 / ratio

    def matrix(w: float) -> Array:
        z = law.z(w)
        return law.omega(w) * sigma + np.diag(alpha - (z + alpha) * metric)

    found = []
    for low, high in law.outside(kappa):
        top = high if np.isfinite(high) else _beyond(matrix, low)
        first = np.linalg.eigvalsh(matrix(low))
        last = np.linalg.eigvalsh(matrix(top))
        crossing = np.flatnonzero((first > 0) & (last < 0))
        found += [
            _mode(law, matrix, _zero(matrix, int(i), low, top), int(i), sigma, metric)
            for i in crossing
        ]
    return found


def _beyond(matrix: Pencil, low: float) -> float:
    """A point from which on every eigenvalue is negative."""
    step = 1.0 + abs(low)
    while np.linalg.eigvalsh(matrix(low + step))[-1] > 0:
        step *= 2
    return low + step


def _zero(matrix: Pencil, index: int, low: float, high: float) -> float:
    from scipy.optimize import brentq

    def value(w: float) -> float:
        return float(np.linalg.eigvalsh(matrix(w))[index])

    return float(brentq(value, low, high, xtol=1e-14, rtol=1e-14))


def _mode(law: Bulk, matrix: Pencil, w: float, index: int, sigma: Array, metric: Array) -> Mode:
    g = np.linalg.eigh(matrix(w))[1][:, index]
    slope, advance = law.slopes(w)
    norm = float(g**2 @ metric) - slope / advance * float(g @ sigma @ g)
    right, symmetric, left = (float(g**2 @ metric**power) / norm for power in (0, 1, 2))
    return Mode(law.z(w), right, left, symmetric)
