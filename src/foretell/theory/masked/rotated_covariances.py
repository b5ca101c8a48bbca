"""Covariances with few directions apart, and with eigenvalues that fall as a power."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.covariance import (
    Covariance,
    check_dimension,
    check_profile,
    finite_vector,
    ordered_spectrum,
)
from foretell.theory.spectra.spectrum import Spectrum


@dataclass(frozen=True)
class Spiked(Covariance):
    r""":math:`\Sigma = I + \sum_i \theta_i v_i v_i^\top` with orthonormal directions.

    Parameters
    ----------
    d
        Number of coordinates.
    spikes
        :math:`\theta_i > -1`, at least one.
    directions
        ``"delocalized"``: every entry is :math:`\pm 1/\sqrt d`, random signs, so that all
        coordinates are exactly alike; d is a multiple of the least power of two that is not below
        the number of spikes. ``"haar"``: uniform random directions, any d. ``"localized"``:
        constant on ``support`` coordinates each, without overlap.
    support
        Number b of coordinates of a localized direction.
    random_state
        Seed of the directions.

    Raises
    ------
    InputError
        If a spike is at most -1, a name is not known, or directions do not fit into d coordinates.

    Examples
    --------
    >>> covariance = Spiked(1_000_000, (6.0, 3.0))
    >>> covariance.spectrum.eigenvalues.tolist(), covariance.spectrum.counts.tolist()
    ([1.0, 4.0, 7.0], [999998.0, 1.0, 1.0])
    """

    d: int
    spikes: tuple[float, ...]
    directions: Literal["delocalized", "haar", "localized"] = "delocalized"
    support: int = 1
    random_state: int = 0

    def __post_init__(self) -> None:
        check_dimension(self.d)
        check_dimension(self.support, "support")
        spikes = finite_vector(np.atleast_1d(self.spikes), "spikes")
        object.__setattr__(self, "spikes", tuple(spikes.tolist()))
        if spikes.min() <= -1:
            raise InputError(
                f"a spike is above -1, so that its variance 1 + spike is positive; found "
                f"{spikes.min():.6g}"
            )
        if self.directions not in ("delocalized", "haar", "localized"):
            raise InputError(
                f"directions is 'delocalized', 'haar' or 'localized'; found {self.directions!r}"
            )
        r = len(spikes)
        needed = r * self.support if self.directions == "localized" else r
        if needed > self.d:
            raise InputError(
                f"{r} spikes need {needed} coordinates; found d = {self.d}; raise d or give fewer"
            )
        if self.directions == "delocalized" and self.d % _period(r):
            raise InputError(
                f"{r} flat directions at right angles need d a multiple of {_period(r)}; found "
                f"d = {self.d}; change d or use directions='haar'"
            )

    @cached_property
    def vectors(self) -> Array:
        """Directions in columns, shape (d, r)."""
        rng = np.random.default_rng(self.random_state)
        r = len(self.spikes)
        if self.directions == "haar":
            return haar(self.d, r, rng)
        if self.directions == "localized":
            vectors = np.zeros((self.d, r))
            inside = np.arange(r * self.support)
            vectors[inside, inside // self.support] = 1 / np.sqrt(self.support)
            return vectors
        signs = np.ones((1, 1))
        while len(signs) < r:
            signs = np.block([[signs, signs], [signs, -signs]])
        walsh = np.tile(signs[:, :r], (self.d // len(signs), 1))[rng.permutation(self.d)]
        return walsh * rng.choice([-1.0, 1.0], self.d)[:, None] / np.sqrt(self.d)

    def _spectrum(self) -> Spectrum:
        theta = np.array(self.spikes)
        r, d, b = len(theta), self.d, self.support
        values = np.concatenate([[1.0], 1 + theta])
        counts = np.concatenate([[float(d - r)], np.ones(r)])
        if self.directions == "delocalized":
            return ordered_spectrum(values, counts, counts[None, :] / d)
        if self.directions == "haar":
            check_profile(d, 1 + r)
            shares = self.vectors**2
            profile = np.column_stack([1 - shares.sum(axis=1), shares])
            return ordered_spectrum(values, counts, profile, np.arange(d))
        plain = d - r * b
        profile = np.zeros((r + (plain > 0), r + 1))
        profile[:r, 0] = 1 - 1 / b
        profile[:r, 1:] = np.eye(r) / b
        profile[r:, 0] = 1.0
        types = np.repeat(np.arange(len(profile)), [b] * r + [plain] * (plain > 0))
        return ordered_spectrum(values, counts, profile, types)

    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""
        return np.eye(self.d) + (self.vectors * self.spikes) @ self.vectors.T

    def color(self, white: Array) -> Array:
        """Rows by the symmetric root, in O(n d r), shape (n, d)."""
        gain = np.sqrt(1 + np.array(self.spikes)) - 1
        return white + (white @ self.vectors * gain) @ self.vectors.T


@dataclass(frozen=True)
class PowerLaw(Covariance):
    r"""Eigenvalues :math:`\tau_j = c\, j^{-a}`, j = 1..d, of mean one.

    Parameters
    ----------
    d
        Number of coordinates.
    exponent
        :math:`a \ge 0`.
    basis
        ``"haar"``: uniform random eigenvectors. The spectrum takes coordinates to be alike, which
        they are up to :math:`O(d^{-1/2})` each and O(1/d) on average (0.06 % of the test error at
        d = 960, n = 2d, a = 1); ``Spectrum.of(matrix())`` is exact.
        ``"diagonal"``: coordinate j has variance :math:`\tau_j`.
    random_state
        Seed of the eigenvectors.

    Raises
    ------
    InputError
        If the exponent is negative or not finite, or the basis is not known.

    Examples
    --------
    >>> PowerLaw(3, 1.0, "diagonal").matrix().diagonal().round(4).tolist()
    [1.6364, 0.8182, 0.5455]
    """

    d: int
    exponent: float
    basis: Literal["haar", "diagonal"] = "haar"
    random_state: int = 0

    def __post_init__(self) -> None:
        check_dimension(self.d)
        if not (np.isfinite(self.exponent) and self.exponent >= 0):
            raise InputError(f"exponent is finite and not negative; found {self.exponent}")
        if self.basis not in ("haar", "diagonal"):
            raise InputError(f"basis is 'haar' or 'diagonal'; found {self.basis!r}")

    @cached_property
    def _eigenvalues(self) -> Array:
        """Descending, shape (d,)."""
        values = np.arange(1.0, self.d + 1) ** -self.exponent
        return np.asarray(values * (self.d / values.sum()))

    @cached_property
    def vectors(self) -> Array:
        """Eigenvectors in columns, leading first, shape (d, d)."""
        if self.basis == "diagonal":
            return np.eye(self.d)
        return haar(self.d, self.d, np.random.default_rng(self.random_state))

    def _spectrum(self) -> Spectrum:
        if self.basis == "haar":
            return Spectrum.of(self._eigenvalues)
        check_profile(self.d, self.d)
        ones = np.ones(self.d)
        return ordered_spectrum(self._eigenvalues, ones, np.eye(self.d), np.arange(self.d))

    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""
        if self.basis == "diagonal":
            return np.diag(self._eigenvalues)
        matrix = (self.vectors * self._eigenvalues) @ self.vectors.T
        return np.asarray((matrix + matrix.T) / 2)

    def color(self, white: Array) -> Array:
        """Rows :math:`x = U \\tau^{1/2} z`, shape (n, d)."""
        scaled = white * np.sqrt(self._eigenvalues)
        return scaled if self.basis == "diagonal" else scaled @ self.vectors.T


def haar(d: int, rank: int, rng: np.random.Generator) -> Array:
    """Uniform random orthonormal columns, shape (d, rank)."""
    q, r = np.linalg.qr(rng.standard_normal((d, rank)))
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))


def _period(spikes: int) -> int:
    """Least power of two that is not below the number of spikes."""
    return 1 << (spikes - 1).bit_length()
