"""The eigenvalues of a population as atoms of a probability, and the sums over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.spectrum import Spectrum

BLOCK = 2**15  # entries of a block of points by atoms, so that it stays in the cache
MANY = 4096  # atoms beyond which they are compressed
FINE = 14  # finest bins of the compression have width 2**-FINE in the logarithm
LARGE = 2.0  # aspect ratio
NEGLIGIBLE = 1e-24  # weight times aspect ratio whose interval is no wider than rounding resolves
RANGE = 1e60  # largest ratio of two eigenvalues
EPS = float(np.finfo(float).eps)
ROUNDING = 8 * EPS


@dataclass(frozen=True, eq=False)
class Atoms:
    r"""Positive atoms :math:`\tau_j` of a population spectrum H, and an aspect ratio.

    With :math:`w = -1/v`, v the Stieltjes transform of the eigenvalues of XX'/n, the equation of
    Marchenko & Pastur is

    .. math:: z(w) = w \Big(1 + \gamma \int \frac{\tau \, dH}{w - \tau}\Big)
                   = w \Big(\beta + \gamma w \int_{\tau > 0} \frac{dH}{w - \tau}\Big),
              \qquad \beta = 1 - \gamma \, H(\tau > 0).

    The second form keeps its digits at the hard edge, where :math:`\beta = 0` and w is small.

    Attributes
    ----------
    tau, weight
        Atoms, ascending, in units of the largest, and their probabilities, shape (p,).
    aspect_ratio
        :math:`\gamma = d/n`.
    scale
        The largest eigenvalue.
    zero
        Probability of the eigenvalue zero.
    origin
        Place that u is counted from in :meth:`sums`: next to an interval much narrower than its
        distance from zero, so that differences from its atoms keep their digits.
    """

    tau: Array
    weight: Array
    aspect_ratio: float
    scale: float
    zero: float
    origin: float = 0.0

    @property
    def strength(self) -> Array:
        r""":math:`a_j = \gamma h_j \tau_j^2`, shape (p,)."""
        return self.aspect_ratio * self.weight * self.tau**2

    @property
    def excess(self) -> float:
        r""":math:`\beta`: positive with more samples than dimensions; exactly 0 at equality."""
        beta = 1 - self.aspect_ratio * (1 - self.zero)
        return 0.0 if abs(beta) <= ROUNDING else beta

    @property
    def first_moment(self) -> float:
        r""":math:`\gamma \int \tau \, dH`."""
        return float(self.aspect_ratio * self.weight @ self.tau)

    def forms(self, square: Array, u: Array, low: Array) -> tuple[Array, Array]:
        r"""Real part of z/w, and :math:`\gamma\int\tau^2 dH/|w-\tau|^2 - 1`.

        From :math:`|w|^2`, u = Re w and the first sums of :meth:`sums`; by the second form of z,
        or by the first one where :math:`\gamma` is large and the second would cancel.
        """
        s_0, s_1, s_2 = self.aspect_ratio * low
        if self.aspect_ratio > LARGE:
            return 1 + u * s_1 - s_2, s_2 - 1
        return self.excess + square * s_0 - u * s_1, 2 * u * s_1 - square * s_0 - self.excess

    def real(self, w: Array) -> tuple[Array, Array]:
        """z and its derivative at real w away from the atoms, shape (m,)."""
        z, slope = np.empty_like(w), np.empty_like(w)
        for rows in blocks(len(w), len(self.tau)):
            inverse = 1 / (w[rows, None] - self.tau)
            if self.aspect_ratio > LARGE:
                ratio = 1 + self.aspect_ratio * (inverse @ (self.weight * self.tau))
            else:
                ratio = self.excess + self.aspect_ratio * w[rows] * (inverse @ self.weight)
            z[rows] = w[rows] * ratio
            slope[rows] = 1 - (inverse * inverse) @ self.strength
        return z, slope

    def sums(self, u: Array, square: Array) -> tuple[Array, Array, Array]:
        r"""Sums over atoms at :math:`w = u + iy`, with :math:`y^2` = ``square``, shape (m,).

        Here u counts from the origin.

        Returns
        -------
        tuple
            With :math:`D = |w - \tau|^2`: :math:`\int \tau^k dH/D` for k = 0, 1, 2, shape (3, m);
            :math:`\gamma\int \tau^2 dH/D^2`; :math:`\gamma\int \tau^2(u-\tau) dH/D^2`.
        """
        low, high = np.empty((3, len(u))), np.empty((2, len(u)))
        powers = self.weight * self.tau ** np.arange(3)[:, None]
        tau, strength = (self.tau - self.origin)[:, None], self.strength
        for rows in blocks(len(u), len(self.tau)):
            gap = u[rows] - tau
            inverse = gap * gap
            inverse += square[rows]
            np.divide(1.0, inverse, out=inverse)
            low[:, rows] = powers @ inverse
            inverse *= inverse
            high[0, rows] = strength @ inverse
            inverse *= gap
            high[1, rows] = strength @ inverse
        return low, high[0], high[1]


def blocks(points: int, atoms: int) -> Iterator[slice]:
    """Rows in blocks whose products with all atoms stay small."""
    step = max(1, BLOCK // atoms)
    return (slice(start, start + step) for start in range(0, points, step))


def as_atoms(eigenvalues: Any, aspect_ratio: float, weights: Any) -> Atoms:
    """Atoms from eigenvalues and weights, or from a covariance; equal ones are merged."""
    ratio = float(aspect_ratio)
    if not (np.isfinite(ratio) and ratio > 0):
        raise InputError(f"aspect_ratio is d / n, positive and finite; found {aspect_ratio}")
    values, weight = _values(eigenvalues, weights)
    weight = weight / weight.sum()
    weight = np.where(ratio * weight < NEGLIGIBLE, 0.0, weight)
    positive = (values > 0) & (weight > 0)
    if not positive.any():
        raise InputError(
            f"all {values.size} eigenvalues of positive weight are zero; a law needs a positive one"
        )
    zero = float(weight[~positive].sum())
    tau, index = np.unique(values[positive], return_inverse=True)
    weight = np.bincount(index, weight[positive], len(tau))
    scale = float(tau[-1])
    if scale / tau[0] > RANGE:
        raise InputError(
            f"eigenvalues range from {tau[0]:.3g} to {scale:.3g}, more than a factor {RANGE:.0e}; "
            "set those that are negligible to zero"
        )
    tau = tau / scale
    if len(tau) > MANY:
        tau, weight = few(tau, weight, ratio)
    return Atoms(tau, weight, ratio, scale, zero)


def _values(eigenvalues: Any, weights: Any) -> tuple[Array, Array]:
    """Eigenvalues (p,) and weights (p,), checked."""
    source = getattr(eigenvalues, "spectrum", eigenvalues)
    if isinstance(source, Spectrum) or np.ndim(source) == 2:
        if weights is not None:
            raise InputError("weights go with eigenvalues; a covariance has its own counts")
        spectrum = Spectrum.of(source)
        return spectrum.eigenvalues, spectrum.counts
    values = np.atleast_1d(np.asarray(source, dtype=float))
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"eigenvalues have shape (p,), at least one; found {values.shape}")
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    if weight.shape != values.shape:
        raise InputError(
            f"found {weight.shape} weights for {values.shape} eigenvalues; give one each"
        )
    for name, numbers in (("eigenvalues", values), ("weights", weight)):
        bad = ~(np.isfinite(numbers) & (numbers >= 0))
        if bad.any():
            raise InputError(
                f"{name} are finite and not negative; found {numbers[bad][0]:.6g} at position "
                f"{int(np.argmax(bad))}; remove it or set it to zero"
            )
    if weight.sum() <= 0:
        raise InputError("weights are all zero; at least one is positive")
    return values, weight


def few(tau: Array, weight: Array, aspect_ratio: float) -> tuple[Array, Array]:
    """Fewer atoms with nearly the same law.

    The curve stays about gamma * (probability a unit of log tau) * tau away from the atoms; bins
    are a third of that wide or less, so that thin tails keep their atoms.
    """
    place = np.floor(8 * np.log(tau)).astype(int)
    place -= place[0]
    mass = 8 * np.bincount(place, weight)
    with np.errstate(divide="ignore"):
        level = np.ceil(np.log2(3 / (aspect_ratio * mass)))
    level = np.clip(level, 6, FINE)[place].astype(int)
    parts = [compressed(tau[level == k], weight[level == k], 2.0**-k) for k in np.unique(level)]
    nodes, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(nodes, kind="stable")
    return nodes[order], weights[order]
