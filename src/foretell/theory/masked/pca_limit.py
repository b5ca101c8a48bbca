"""PCA of n rows in the limit of n and d large: integrals over the sample spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.lower_spectrum import LowerSpectrum
from foretell.theory.spectra.effective_ridge import check_samples, effective_ridge
from foretell.theory.spectra.marchenko_pastur import MarchenkoPastur, marchenko_pastur
from foretell.theory.spectra.spectrum import Spectrum

BLOCK = 256  # nodes at a time in the double integral
RANKS = 64  # ranks at a time


@dataclass(frozen=True, eq=False)
class PCALimit:
    """Errors of PCA on n rows at many ranks, with the sample spectrum computed once.

    Parameters are those of :func:`~foretell.theory.masked.pca.pca_error`.

    Examples
    --------
    >>> limit = PCALimit([1.0] * 60, 120)
    >>> round(limit.error(15), 4), round(limit.masked_error(15), 4)
    (0.75, 1.3333)
    """

    covariance: Any
    n_samples: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_samples", check_samples(self.n_samples))
        object.__setattr__(self, "covariance", Spectrum.of(self.covariance))

    def error(self, rank: Any) -> Any:
        """As :func:`~foretell.theory.masked.pca.pca_error`."""
        ranks = check_rank(rank, self._spectrum.d)
        return shaped(self._error(1 - ranks / self._spectrum.d), rank)

    def masked_error(self, rank: Any) -> Any:
        """As :func:`~foretell.theory.masked.pca.masked_pca_error`."""
        spectrum = self._spectrum
        outside = 1 - check_rank(rank, spectrum.d, masked=True) / spectrum.d
        return shaped(spectrum.copies @ self._risks(outside) / spectrum.d, rank)

    def masked_errors(self, rank: float) -> Array:
        """Error of each coordinate at one rank, shape (d,)."""
        spectrum = self._spectrum
        outside = 1 - check_rank(rank, spectrum.d, masked=True)[:1] / spectrum.d
        return spectrum.per_coordinate(self._risks(outside)[:, 0])

    @property
    def _spectrum(self) -> Spectrum:
        return self.covariance

    @cached_property
    def _law(self) -> MarchenkoPastur:
        spectrum = self._spectrum
        ratio = spectrum.d / self.n_samples
        return marchenko_pastur(spectrum.eigenvalues, ratio, weights=spectrum.counts)

    @cached_property
    def _lower(self) -> LowerSpectrum:
        return LowerSpectrum.of(self._law)

    @cached_property
    def _kappa(self) -> float:
        return float(effective_ridge(self._spectrum, self.n_samples, 0.0))

    def _error(self, outside: Array) -> Array:
        """Errors from shares (r,) of directions that are not components."""
        lower, atom = self._lower, self._law.atom
        variance = np.abs(lower.w) ** 2 / lower.x
        bulk = lower.integral(variance, np.maximum(outside - atom, 0.0))
        if atom == 0:
            return bulk
        return bulk + self._kappa / self._law.aspect_ratio * np.minimum(outside / atom, 1.0)

    def _risks(self, outside: Array) -> Array:
        r""":math:`(P\Sigma P)_{kk}/P_{kk}^2` of each type, shape (g, r)."""
        if self._spectrum.alike:
            return (self._error(outside) / outside**2)[None, :]
        atom = self._law.atom
        risks = np.empty((len(self._spectrum.profile), len(outside)))
        is_null = outside < atom
        if is_null.any():
            risks[:, is_null] = self._null_risks(outside[is_null] / atom)
        others = np.flatnonzero(~is_null)
        for start in range(0, len(others), RANKS):
            some = others[start : start + RANKS]
            diagonal, variance = self._diagonals(outside[some] - atom)
            risks[:, some] = variance / diagonal**2
        return risks

    def _null_risks(self, share: Array) -> Array:
        """The same (g, r) with random directions of the null space, a share (r,) of all of them."""
        spectrum, (null, variance) = self._spectrum, self._null
        mean = variance @ spectrum.copies / (self._law.atom * spectrum.d)
        inside = np.outer(variance, share**2) + np.outer(mean * null, share * (1 - share))
        return np.asarray(inside / np.outer(null, share) ** 2)

    @cached_property
    def _null(self) -> tuple[Array, Array]:
        r"""P and :math:`P \Sigma P` of the null space of the sample, shape (g,) each."""
        spectrum, kappa = self._spectrum, self._kappa
        kept = _null_shares(spectrum, kappa)
        df2 = spectrum.trace((1 - kept) ** 2)
        variance = spectrum.diagonal(kept**2 * spectrum.eigenvalues)
        return spectrum.diagonal(kept), variance / (1 - df2 / self.n_samples) if kappa else variance

    def _diagonals(self, mass: Array) -> tuple[Array, Array]:
        r"""P and :math:`P \Sigma P`, shape (g, r), with the null space and masses (r,) above it."""
        spectrum, lower, gamma = self._spectrum, self._lower, self._law.aspect_ratio
        tau, strength = spectrum.eigenvalues, spectrum.counts / self.n_samples
        null, variance = (np.repeat(part[:, None], len(mass), axis=1) for part in self._null)
        null_S = spectrum.diagonal(1 - _null_shares(spectrum, self._kappa))[:, None]
        shares = lower.shares(mass)
        length = np.pi * gamma * np.abs(lower.w) ** 2 / lower.w.imag * lower.weight
        pull = shares * (length * lower.w.imag / lower.x)[:, None]
        for start in range(0, len(lower.x), BLOCK):
            rows = slice(start, start + BLOCK)
            x, w, dx = lower.x[rows], lower.w[rows], length[rows, None] * shares[rows]
            inverse = 1 / (tau - w[:, None])
            S, S_slope = (spectrum.profile @ (tau * inverse**k).T for k in (1, 2))
            slope = 1 - ((tau * inverse) ** 2) @ strength
            g, g_slope = (w * S).imag, ((S + w * S_slope) / slope).imag
            density = S.imag / (np.pi * x)
            null += density @ dx
            variance += (density * np.abs(w) ** 2 / x) @ dx
            variance += 2 * self._kappa / np.pi * ((g - w.imag * null_S) / x**2) @ dx
            gap = np.subtract.outer(x, lower.x)
            gap[np.arange(len(x)), np.arange(start, start + len(x))] = np.inf
            apart = 2 * g @ (dx / x[:, None] * ((1 / gap) @ pull))
            same = (w.imag * g_slope - (1 / slope).imag * g) @ (dx / x[:, None]) ** 2
            variance += (apart + same) / np.pi**2
        return null, variance


def check_rank(rank: Any, d: int, *, masked: bool = False) -> Array:
    """Ranks, one or more, as an array of one dimension."""
    ranks = np.asarray(rank, dtype=float).ravel()
    if not ranks.size or not ((ranks >= 0) & (ranks <= d)).all():
        raise InputError(f"a rank is a number of components from 0 to d = {d}; found {rank!r}")
    if masked and (ranks >= d).any():
        raise InputError(
            f"masked PCA with all d = {d} components predicts a coordinate from itself; give a "
            f"rank below {d}"
        )
    return ranks


def shaped(values: Array, like: Any) -> Any:
    """Values (r,) in the shape of the ranks they belong to; a number for a number."""
    shape = np.shape(like)
    return float(values[0]) if shape == () else values.reshape(shape)


def _null_shares(spectrum: Spectrum, kappa: float) -> Array:
    r""":math:`\kappa/(\tau + \kappa)`, shape (p,), one where :math:`\tau` is zero."""
    tau = spectrum.eigenvalues
    return np.where(tau > 0, kappa / np.where(tau > 0, tau + kappa, 1.0), 1.0)
