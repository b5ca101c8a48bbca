"""A covariance as its eigenvalues and how much of each coordinate lies in each eigenspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

SYMMETRIC = 1e-10  # largest asymmetry, relative to the largest entry
SEMIDEFINITE = 1e-12  # largest negative eigenvalue, relative to the largest one and the size
ROUNDING = 4 * np.finfo(float).eps  # computed eigenvalues up to this, in the same units, are zero
EXTREME = 1e100  # the largest eigenvalue lies between its inverse and it
NULL_SHARE = 1e-20  # share of the null space in a coordinate that is rounding


@dataclass(frozen=True)
class Spectrum:
    r"""What the theory of masked regression needs of a covariance :math:`\Sigma`, (d, d).

    Every function of it enters by its trace and its diagonal,

    .. math:: \mathrm{tr} f(\Sigma) = \sum_j c_j f(\tau_j), \qquad
              f(\Sigma)_{kk} = \sum_j p_{kj} f(\tau_j).

    Coordinates that have the same profile are of one type. Where only eigenvalues are known all
    coordinates are taken to be alike, :math:`p_{kj} = c_j / d`.

    Attributes
    ----------
    eigenvalues
        Eigenvalues :math:`\tau`, not negative, ascending, shape (p,).
    counts
        How often each occurs, shape (p,); their sum is d. They need not be whole numbers.
    profile
        Share of each eigenspace in a coordinate of each type, shape (g, p); rows sum to one.
    types
        Type of each coordinate, shape (d,); None where all are of one type.

    Examples
    --------
    >>> s = Spectrum.of([[2.0, 1.0], [1.0, 2.0]])
    >>> s.eigenvalues.round(6).tolist(), s.profile.round(6).tolist()
    ([1.0, 3.0], [[0.5, 0.5], [0.5, 0.5]])
    """

    eigenvalues: Array
    counts: Array
    profile: Array
    types: Array | None = None

    @classmethod
    def of(cls, covariance: Any) -> Spectrum:
        """Spectrum of a covariance (d, d), or of eigenvalues (d,) of coordinates that are alike.

        Also takes what has an attribute ``spectrum`` already, and a spectrum itself. Eigenvalues
        of a matrix up to 4 d eps times the largest, eps = 2.2e-16, are rounding and become zero,
        so that a singular matrix has a rank; eigenvalues that are given are taken as they are.

        Raises
        ------
        InputError
            If the matrix is not square, symmetric, finite and semidefinite, or zero.
        """
        covariance = getattr(covariance, "spectrum", covariance)
        if isinstance(covariance, Spectrum):
            return covariance
        values = real_numbers(covariance)
        if values.ndim == 1:
            return cls._of_eigenvalues(values)
        eigenvalues, vectors = np.linalg.eigh(check_covariance(values))
        eigenvalues = without_rounding(semidefinite(eigenvalues))
        return cls(eigenvalues, np.ones(len(eigenvalues)), vectors**2, np.arange(len(eigenvalues)))

    @classmethod
    def _of_eigenvalues(cls, values: Array) -> Spectrum:
        if values.size == 0 or not np.isfinite(values).all():
            raise InputError("eigenvalues are finite numbers, at least one; found others")
        eigenvalues, counts = np.unique(semidefinite(np.sort(values)), return_counts=True)
        return cls(eigenvalues, counts.astype(float), (counts / counts.sum())[None, :])

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return round(float(self.counts.sum()))

    @property
    def copies(self) -> Array:
        """Number of coordinates of each type, shape (g,)."""
        if self.types is None:
            return np.array([float(self.d)])
        return np.bincount(self.types, minlength=len(self.profile)).astype(float)

    @property
    def rank(self) -> float:
        """Number of eigenvalues that are not zero."""
        total = float(self.counts[self.eigenvalues > 0].sum())
        return float(round(total)) if abs(total - round(total)) < 1e-9 * total else total

    @property
    def null_shares(self) -> Array:
        """Share of the null space in each type, shape (g,); zero for those not determined by it."""
        null = self.eigenvalues == 0
        shares = self.profile[:, null].sum(axis=1)
        return np.where(shares > NULL_SHARE, shares, 0.0)

    @property
    def alike(self) -> bool:
        """Whether all coordinates are of one type."""
        return len(self.profile) == 1

    def trace(self, values: Array) -> Any:
        r""":math:`\mathrm{tr} f(\Sigma)` from values :math:`f(\tau)`, shape (..., p)."""
        return values @ self.counts

    def diagonal(self, values: Array) -> Array:
        r"""Diagonal of :math:`f(\Sigma)` from :math:`f(\tau)`, (p,), one number a type, (g,)."""
        return self.profile @ values

    def mean(self, of_types: Array) -> float:
        """Mean over coordinates of numbers that belong to types, shape (g,)."""
        return float(of_types @ self.copies / self.d)

    def per_coordinate(self, of_types: Array) -> Array:
        """One number a coordinate, shape (d,), from one a type, shape (g,)."""
        return np.full(self.d, of_types[0]) if self.types is None else of_types[self.types]


def check_covariance(covariance: Any) -> Array:
    """A symmetric, finite matrix (d, d), made exactly symmetric.

    Raises
    ------
    InputError
        If it is not square, finite, symmetric up to rounding, or has a negative variance.
    """
    matrix = real_numbers(covariance)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise InputError(f"a covariance has shape (d, d); found {matrix.shape}")
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix)).sum())
        raise InputError(f"a covariance is finite; found {bad} entries that are not")
    gap = float(np.abs(matrix - matrix.T).max())
    if gap > SYMMETRIC * float(np.abs(matrix).max()):
        raise InputError(
            f"a covariance is symmetric; found entries that differ from their mirror by {gap:.3g}; "
            "if that is rounding, symmetrize: (S + S.T) / 2"
        )
    return (matrix + matrix.T) / 2


def real_numbers(covariance: Any) -> Array:
    """An array of floats.

    Raises
    ------
    InputError
        If it holds text or complex numbers, or is no array.
    """
    given = covariance if isinstance(covariance, np.ndarray) else _array(covariance)
    if given.dtype.kind in "US":
        raise InputError(
            f"a covariance is a matrix or eigenvalues; found text, {str(covariance)[:40]!r}; "
            "named ones are made by foretell.theory.masked.named_covariance"
        )
    if given.dtype.kind == "c":
        raise InputError("a covariance is real; found complex numbers; give its real part")
    if given.dtype.kind not in "biuf":
        given = _array(given, float)
    return given.astype(float)


def _array(covariance: Any, kind: Any = None) -> Array:
    try:
        return np.asarray(covariance, dtype=kind)
    except (TypeError, ValueError):
        raise InputError(
            "a covariance is a matrix of numbers, shape (d, d), or eigenvalues, shape (d,); found "
            f"{type(covariance).__name__}"
        ) from None


def without_rounding(eigenvalues: Array) -> Array:
    """Ascending eigenvalues, computed from a matrix, with those that are rounding set to zero."""
    floor = ROUNDING * len(eigenvalues) * eigenvalues[-1]
    return np.where(eigenvalues <= floor, 0.0, eigenvalues)


def semidefinite(eigenvalues: Array) -> Array:
    """Ascending eigenvalues with rounding below zero removed."""
    least, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if largest <= 0 or least < -SEMIDEFINITE * len(eigenvalues) * largest:
        raise InputError(
            "a covariance has no negative eigenvalue and is not zero; found eigenvalues from "
            f"{least:.3g} to {largest:.3g}; if the negative ones are noise, clip them at zero "
            "or add a multiple of the identity"
        )
    if not 1 / EXTREME < largest < EXTREME:
        raise InputError(
            f"eigenvalues of a covariance lie within {1 / EXTREME:.0e} to {EXTREME:.0e}, so that "
            f"their products are numbers; found {largest:.3g}; change the units"
        )
    return np.maximum(eigenvalues, 0.0)
