"""Covariances that know their structure: independent columns, any matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.spectrum import SEMIDEFINITE, Spectrum, check_covariance

MOST_PROFILE = 2**27  # entries of a profile, 1 GB


class Covariance(ABC):
    r"""A covariance :math:`\Sigma = B B^\top`, (d, d), by what is cheap for its structure.

    Attributes
    ----------
    d
        Number of coordinates.
    """

    d: int

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigenvalues, and their shares in each type of coordinate; as small as structure allows.

        Raises
        ------
        InputError
            If coordinates are of so many types that the shares would need more than 1 GB.
        """
        return self._spectrum()

    @abstractmethod
    def _spectrum(self) -> Spectrum: ...

    @abstractmethod
    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""

    @abstractmethod
    def color(self, white: Array) -> Array:
        r"""Rows :math:`x = B z`, shape (n, d), from rows z with covariance one, (n, d)."""


@dataclass(frozen=True)
class Identity(Covariance):
    """Independent columns of variance one.

    Examples
    --------
    >>> Identity(1_000_000).spectrum
    Spectrum(eigenvalues=array([1.]), counts=array([1000000.]), profile=array([[1.]]), types=None)
    """

    d: int

    def __post_init__(self) -> None:
        check_dimension(self.d)

    def _spectrum(self) -> Spectrum:
        return Spectrum(np.ones(1), np.array([float(self.d)]), np.ones((1, 1)))

    def matrix(self) -> Array:
        """The identity, shape (d, d)."""
        return np.eye(self.d)

    def color(self, white: Array) -> Array:
        """The rows as they are, shape (n, d)."""
        return white


@dataclass(frozen=True, eq=False)
class Diagonal(Covariance):
    """Independent columns; those of equal variance are of one type.

    Parameters
    ----------
    variances
        Not negative, shape (d,).

    Raises
    ------
    InputError
        If a variance is negative or not finite, or all are zero.

    Examples
    --------
    >>> Diagonal.cycled(6, [1.0, 4.0]).spectrum.profile.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    variances: Array
    d: int = field(init=False)

    def __post_init__(self) -> None:
        variances = finite_vector(self.variances, "variances")
        if variances.min() < 0 or variances.max() == 0:
            raise InputError(
                "variances are not negative and not all zero; found variances from "
                f"{variances.min():.3g} to {variances.max():.3g}"
            )
        object.__setattr__(self, "variances", variances)
        object.__setattr__(self, "d", len(variances))

    @classmethod
    def cycled(cls, d: int, variances: ArrayLike) -> Self:
        """Variances repeated in turn until there are d."""
        return cls(np.resize(finite_vector(variances, "variances"), check_dimension(d)))

    def _spectrum(self) -> Spectrum:
        values, types, counts = np.unique(self.variances, return_inverse=True, return_counts=True)
        check_profile(len(values), len(values))
        return Spectrum(values, counts.astype(float), np.eye(len(values)), types)

    def matrix(self) -> Array:
        """Variances on the diagonal, shape (d, d)."""
        return np.diag(self.variances)

    def color(self, white: Array) -> Array:
        """Columns times their standard deviations, shape (n, d)."""
        return white * np.sqrt(self.variances)


@dataclass(frozen=True, eq=False)
class Dense(Covariance):
    """Any covariance, semidefinite too, by its matrix.

    Parameters
    ----------
    values
        Shape (d, d).

    Raises
    ------
    InputError
        If it is not square, symmetric, finite and semidefinite, or zero.

    Examples
    --------
    >>> Dense([[2.0, 1.0], [1.0, 2.0]]).spectrum.eigenvalues.round(6).tolist()
    [1.0, 3.0]
    """

    values: Array
    d: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", check_covariance(self.values))
        object.__setattr__(self, "d", len(self.values))
        least, largest = self._eigen[0][[0, -1]]
        if largest <= 0 or least < -SEMIDEFINITE * self.d * largest:
            raise InputError(
                "a covariance has no negative eigenvalue and is not zero; found eigenvalues from "
                f"{least:.3g} to {largest:.3g}"
            )

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self.values)
        return values, vectors

    def _spectrum(self) -> Spectrum:
        values, vectors = self._eigen
        return Spectrum(np.maximum(values, 0.0), np.ones(self.d), vectors**2, np.arange(self.d))

    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""
        return self.values.copy()

    def color(self, white: Array) -> Array:
        """Rows by the symmetric root, shape (n, d)."""
        values, vectors = self._eigen
        return (white @ (vectors * np.sqrt(np.maximum(values, 0.0)))) @ vectors.T


def ordered_spectrum(
    eigenvalues: Array, counts: Array, profile: Array, types: Array | None = None
) -> Spectrum:
    """A spectrum with ascending, distinct eigenvalues, from ones in any order."""
    kept = counts > 0
    values, place = np.unique(eigenvalues[kept], return_inverse=True)
    shares = np.zeros((len(profile), len(values)))
    np.add.at(shares.T, place, profile.T[kept])
    return Spectrum(values, np.bincount(place, weights=counts[kept]), shares, types)


def check_dimension(d: int, name: str = "d") -> int:
    """A whole number from one, or an error that names it."""
    if isinstance(d, bool) or not isinstance(d, int | np.integer) or d < 1:
        raise InputError(f"{name} is a whole number from 1; found {d!r}")
    return int(d)


def check_profile(types: int, eigenvalues: int) -> None:
    """Refuse shares of eigenspaces in coordinates that would not fit."""
    if types * eigenvalues > MOST_PROFILE:
        raise InputError(
            f"{types} types of coordinates and {eigenvalues} eigenvalues need "
            f"{8e-9 * types * eigenvalues:.3g} GB; lower d, give the eigenvalues alone, "
            "shape (d,), which takes coordinates to be alike, or (AR(1)) put the columns on a ring"
        )


def finite_vector(values: ArrayLike, name: str) -> Array:
    """Finite numbers, shape (m,), at least one."""
    try:
        vector = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name} are numbers; found {values!r}") from None
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise InputError(f"{name} are finite numbers, shape (m,), m >= 1; found {values!r}")
    return vector
