r"""Covariances of first-order autoregressions, with eigenvectors in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.covariance import (
    Covariance,
    Dense,
    check_dimension,
    check_profile,
)
from foretell.theory.spectra.spectrum import Spectrum


@dataclass(frozen=True)
class AutoRegressive(Covariance):
    r"""Stationary AR(1) of variance one: :math:`\Sigma_{jk} = \rho^{|j-k|}`.

    Its eigenvalues are :math:`(1-\rho^2)/(1 - 2\rho\cos\theta_j + \rho^2)` with
    :math:`(d+1)\theta_j + 2\arg(1 - \rho e^{-i\theta_j}) = j\pi`, its eigenvectors
    :math:`\cos` (j odd) or :math:`\sin` (j even) of :math:`(k - (d+1)/2)\,\theta_j`. Coordinates k
    and d + 1 - k are of one type, so the spectrum has d/2 types.

    Parameters
    ----------
    d
        Number of coordinates.
    rho
        Correlation of neighbours, in (-1, 1).
    ring
        Close the columns to a ring, :math:`\theta_j = 2\pi j/d`: then all coordinates are alike,
        and any d works. Mean errors differ from those of the line by O(1/d) (0.2 % at d = 960,
        rho = 0.9), from those of its limit by :math:`O(|\rho|^d)`.

    Raises
    ------
    InputError
        If rho lies outside (-1, 1), or d is no whole number.

    References
    ----------
    .. [1] Grenander & Szegő (1958). Toeplitz forms and their applications. Section 5.3.

    Examples
    --------
    >>> AutoRegressive(3, 0.5).matrix().tolist()
    [[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]
    >>> AutoRegressive(1_000_000, 0.5, ring=True).spectrum.eigenvalues[[0, -1]].round(6).tolist()
    [0.333333, 3.0]
    """

    d: int
    rho: float
    ring: bool = False

    def __post_init__(self) -> None:
        check_dimension(self.d)
        check_correlation(self.rho)

    def _spectrum(self) -> Spectrum:
        return self._ring_spectrum() if self.ring else self._line_spectrum()

    def _line_spectrum(self) -> Spectrum:
        d = self.d
        half = (d + 1) // 2
        check_profile(half, d)
        theta = _angles(d, self.rho)
        sign = np.where(np.arange(d) % 2 == 0, 1.0, -1.0)  # even and odd eigenvectors in turn
        norm = d + sign * np.sin(d * theta) / np.sin(theta)
        places = 2 * np.arange(half) + 1 - d
        profile = (1 + sign * np.cos(np.outer(places, theta))) / norm
        values = _density(theta, self.rho)
        order = np.argsort(values)
        types = np.minimum(np.arange(d), np.arange(d)[::-1])
        return Spectrum(values[order], np.ones(d), profile[:, order], types)

    def _ring_spectrum(self) -> Spectrum:
        j = np.arange(self.d // 2 + 1)
        values = _density(2 * np.pi * j / self.d, self.rho)
        counts = np.where((j == 0) | (2 * j == self.d), 1.0, 2.0)
        order = np.argsort(values)
        return Spectrum(values[order], counts[order], counts[order][None, :] / self.d)

    def matrix(self) -> Array:
        """The covariance, shape (d, d); on a ring its diagonal is (1 + rho^d) / (1 - rho^d)."""
        gaps = np.abs(np.subtract.outer(np.arange(self.d), np.arange(self.d)))
        line = np.power(float(self.rho), gaps)
        if not self.ring:
            return np.asarray(line)
        return np.asarray(
            (line + np.power(float(self.rho), self.d - gaps)) / (1 - self.rho**self.d)
        )

    def color(self, white: Array) -> Array:
        """Rows by the recursion (on a ring by the Fourier transform), shape (n, d)."""
        if self.ring:
            angles = 2 * np.pi * np.arange(self.d // 2 + 1) / self.d
            waves = np.fft.rfft(white, axis=1) * np.sqrt(_density(angles, self.rho))
            return np.fft.irfft(waves, self.d, axis=1)
        columns = np.array(white.T, order="C")
        columns[1:] *= np.sqrt(1 - self.rho**2)
        for k in range(1, self.d):
            columns[k] += self.rho * columns[k - 1]
        return np.ascontiguousarray(columns.T)


@dataclass(frozen=True)
class Graded(Covariance):
    r"""AR(1) correlations with variances that rise evenly from the first column to the last.

    :math:`\Sigma_{jk} = \sqrt{v_j v_k}\,\rho^{|j-k|}`. No two coordinates are alike; the spectrum
    takes a dense eigendecomposition.

    Parameters
    ----------
    d
        Number of coordinates.
    rho
        Correlation of neighbours, in (-1, 1).
    lowest, highest
        First and last variance, positive.

    Raises
    ------
    InputError
        If rho lies outside (-1, 1), or a variance is not positive.

    Examples
    --------
    >>> Graded(3, 0.5, 1.0, 4.0).variances.tolist()
    [1.0, 2.5, 4.0]
    """

    d: int
    rho: float
    lowest: float = 0.2
    highest: float = 4.0

    def __post_init__(self) -> None:
        check_dimension(self.d)
        check_correlation(self.rho)
        if not 0 < min(self.lowest, self.highest) <= max(self.lowest, self.highest) < np.inf:
            raise InputError(
                f"variances are positive and finite; found {self.lowest} to {self.highest}"
            )

    @cached_property
    def variances(self) -> Array:
        """Variances of the columns, shape (d,)."""
        return np.linspace(self.lowest, self.highest, self.d)

    def _spectrum(self) -> Spectrum:
        check_profile(self.d, self.d)
        return Dense(self.matrix()).spectrum

    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""
        scale = np.sqrt(self.variances)
        return AutoRegressive(self.d, self.rho).matrix() * np.outer(scale, scale)

    def color(self, white: Array) -> Array:
        """Rows of the recursion times the standard deviations, shape (n, d)."""
        return AutoRegressive(self.d, self.rho).color(white) * np.sqrt(self.variances)


def check_correlation(rho: float) -> None:
    """Refuse a correlation of neighbours that is not in (-1, 1)."""
    if not -1 < rho < 1:
        raise InputError(f"rho is a correlation in (-1, 1); found {rho}")


def _density(theta: Array, rho: float) -> Array:
    """Spectral density without cancellation near theta = 0 or, for negative rho, pi."""
    near = np.sin(theta / 2) if rho >= 0 else np.cos(theta / 2)
    size = abs(rho)
    return np.asarray((1 - size) * (1 + size) / ((1 - size) ** 2 + 4 * size * near**2))


def _angles(d: int, rho: float) -> Array:
    """Roots of (d + 1) theta + 2 arg(1 - rho exp(-i theta)) = j pi, j = 1..d, ascending.

    The left side rises with slope at least d; Newton steps that leave the bracket are bisected.
    """
    j = np.arange(1, d + 1)
    low = (j - (rho > 0)) * np.pi / (d + 1)
    high = (j + (rho < 0)) * np.pi / (d + 1)
    theta = (low + high) / 2
    for _ in range(100):
        bend = 1 - 2 * rho * np.cos(theta) + rho**2
        value = (d + 1) * theta - j * np.pi
        value += 2 * np.arctan2(rho * np.sin(theta), 1 - rho * np.cos(theta))
        slope = d + 1 + 2 * rho * (np.cos(theta) - rho) / bend
        low, high = np.where(value < 0, theta, low), np.where(value < 0, high, theta)
        step = theta - value / slope
        moved = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        settled = bool(np.all(np.abs(moved - theta) <= 4 * np.finfo(float).eps * theta))
        theta = moved
        if settled:
            break
    return theta
