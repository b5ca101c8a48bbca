"""Independent blocks of equally correlated columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

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


@dataclass(frozen=True, eq=False)
class Blocks(Covariance):
    r"""Independent blocks of equally correlated columns of equal variance.

    A block of b columns has eigenvalues :math:`v(1 - r)`, b - 1 times, and
    :math:`v(1 + (b - 1) r)`. Coordinates in blocks with equal parameters are of one type.

    Parameters
    ----------
    sizes
        Numbers b of columns, whole, shape (m,).
    correlations
        Correlation r within each block, from -1/(b - 1) to 1: one number, or shape (m,).
    variances
        Variance v > 0 of each block: one number, or shape (m,).

    Raises
    ------
    InputError
        If a number lies outside its range, or shapes differ.

    Examples
    --------
    >>> Blocks([2, 2, 3], 0.5).spectrum.eigenvalues.tolist()
    [0.5, 1.5, 2.0]
    """

    sizes: Array
    correlations: Array | float = 0.5
    variances: Array | float = 1.0
    d: int = field(init=False)

    def __post_init__(self) -> None:
        sizes = finite_vector(self.sizes, "sizes")
        if (sizes < 1).any() or (sizes != np.round(sizes)).any():
            raise InputError(f"sizes of blocks are whole numbers from 1; found {self.sizes}")
        r = _one_each(self.correlations, len(sizes), "correlations")
        v = _one_each(self.variances, len(sizes), "variances")
        least = -1 / np.maximum(sizes - 1, 1)
        if (bad := np.flatnonzero((r < least) | (r > 1))).size:
            raise InputError(
                f"a block of {sizes[bad[0]]:.0f} columns has a correlation from "
                f"{least[bad[0]]:.3g} to 1; found {r[bad[0]]:.6g}"
            )
        if (v <= 0).any():
            raise InputError(f"variances of blocks are positive; found {v.min():.3g}")
        for name, value in (("sizes", sizes.astype(int)), ("correlations", r), ("variances", v)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "d", int(sizes.sum()))

    @classmethod
    def cycled(
        cls, d: int, size: int, correlations: ArrayLike = 0.5, variances: ArrayLike = 1.0
    ) -> Self:
        """Blocks of this size, correlations and variances in turn, until there are d columns.

        The last block is smaller where d is no multiple of the size.
        """
        if check_dimension(size, "size") > check_dimension(d):
            raise InputError(f"a block has at most d = {d} columns; found size = {size}")
        whole, rest = divmod(d, size)
        sizes = np.array([size] * whole + [rest] * (rest > 0))
        r, v = (
            finite_vector(np.atleast_1d(value), name)
            for value, name in ((correlations, "correlations"), (variances, "variances"))
        )
        return cls(sizes, np.resize(r, len(sizes)), np.resize(v, len(sizes)))

    def _spectrum(self) -> Spectrum:
        rows = np.column_stack([self.sizes, self.correlations, self.variances])
        kinds, kind, copies = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        b, r, v = kinds.T
        g = len(kinds)
        check_profile(g, 2 * g)
        profile = np.hstack([np.diag(1 - 1 / b), np.diag(1 / b)])
        values = np.concatenate([v * (1 - r), v * (1 + (b - 1) * r)])
        counts = np.concatenate([(b - 1) * copies, copies])
        types = np.repeat(kind.reshape(-1), self.sizes)
        return ordered_spectrum(values, counts, profile, None if g == 1 else types)

    def matrix(self) -> Array:
        """The covariance, shape (d, d)."""
        variances = np.asarray(self.variances)
        shared = self.correlations * variances
        block = np.repeat(np.arange(len(self.sizes)), self.sizes)
        cross = np.where(block[:, None] == block, shared[block], 0.0)
        np.fill_diagonal(cross, variances[block])
        return cross

    def color(self, white: Array) -> Array:
        """Rows by the symmetric root of each block, shape (n, d)."""
        low = np.sqrt(self.variances * (1 - self.correlations))
        top = self.variances * (1 + (self.sizes - 1) * self.correlations)
        high = np.sqrt(np.maximum(top, 0.0))
        starts = np.cumsum(self.sizes) - self.sizes
        means = np.add.reduceat(white, starts, axis=1) / self.sizes
        shared = np.repeat(means * (high - low), self.sizes, axis=1)
        return white * np.repeat(low, self.sizes) + shared


def _one_each(values: ArrayLike, size: int, name: str) -> Array:
    vector = finite_vector(np.atleast_1d(np.asarray(values)), name)
    if len(vector) not in (1, size):
        raise InputError(f"{name} are one number or one a block, {size}; found {len(vector)}")
    return np.broadcast_to(vector, (size,)).copy()
