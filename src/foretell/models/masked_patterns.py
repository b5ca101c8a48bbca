r"""Rows with missing cells, batched so that their conditional laws are a few stacked solves.

The conditional law of a row that is observed in O and missing in M is, under a mean
:math:`\mu` and a precision :math:`Q = S^{-1}`,

.. math:: E[x_M \mid x_O] = \mu_M - Q_{MM}^{-1} Q_{MO} (x_O - \mu_O), \qquad
          \mathrm{Cov}(x_M \mid x_O) = Q_{MM}^{-1} = S_{MM} - S_{MO} S_{OO}^{-1} S_{OM}.

The first form takes a system of the size of M, the second one of the size of O; each pattern is
solved by the first unless most of its cells are missing. Patterns of similar size share a stack:
shorter ones are padded by phantom columns that are independent of everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretell._types import Array

MOST = 0.6  # share of missing cells above which a pattern is solved by its observed cells
STACK = 200_000  # numbers in a stack of matrices: it stays in the cache
REMEMBERED = 2_000_000  # cells of a table whose places in the matrix are kept between passes


def cost(size: int) -> float:
    """Nanoseconds that a system of a size takes."""
    return 100.0 + 8.0 * size**2 + 0.2 * size**3


def overhead(size: int) -> float:
    """Nanoseconds that one more stack of such systems takes."""
    return 60_000.0 + 14_000.0 * size


@dataclass(frozen=True, eq=False)
class Stack:
    """Patterns solved together, by the columns that are missing or by those observed.

    Attributes
    ----------
    columns
        Columns of the system of each pattern, padded by d, d + 1, ..., shape (s, u).
    by_observed
        Whether these are the observed columns.
    rows
        Rows of the table with one of the patterns, shape (b,).
    pattern
        Pattern of each of these rows, shape (b,); None where it is the row's own.
    weights
        Total weight of the rows of each pattern, shape (u,).
    d
        Number of columns of the table.
    keep
        Whether to remember where blocks are.
    """

    columns: Any
    by_observed: bool
    rows: Any
    pattern: Any
    weights: Array
    d: int
    keep: bool

    @property
    def width(self) -> int:
        """Number of columns, phantoms included."""
        return self.d + len(self.columns)

    @cached_property
    def _places(self) -> Any:
        return self._compute_places()

    def _compute_places(self) -> Any:
        return self.columns[:, None] * self.width + self.columns[None]

    @property
    def places(self) -> Any:
        """Where the cells of the blocks are in a padded matrix, row by row, (s, s, u)."""
        return self._places if self.keep else self._compute_places()

    @cached_property
    def own(self) -> Any:
        """Where the columns of each row are in padded rows, row by row, shape (s, b)."""
        return np.arange(len(self.rows)) * self.width + self.of_rows(self.columns)

    def padded(self, matrix: Array) -> Array:
        """A matrix (d, d) with the phantom columns, of unit variance."""
        padded = np.zeros((self.width, self.width))
        padded[: self.d, : self.d] = matrix
        padded.flat[self.d * (self.width + 1) :: self.width + 1] = 1.0
        return padded

    def blocks(self, matrix: Array) -> Array:
        """Blocks of a matrix (d, d), shape (s, s, u)."""
        return self.padded(matrix).ravel().take(self.places)

    def of_rows(self, of_patterns: Any) -> Any:
        """What belongs to patterns, shape (..., u), one entry a row, shape (..., b)."""
        return of_patterns if self.pattern is None else of_patterns[..., self.pattern]

    def spread_out(self, cells: Array) -> Array:
        """Cells of the columns of each row, shape (s, b), in rows of zeros, shape (b, d)."""
        wide = np.zeros((len(self.rows), self.width))
        wide.ravel()[self.own] = cells
        return wide[:, : self.d]

    def solved(self, inverses: Array, source: Array) -> Array:
        """Inverses times the cells of a table (n, d) at their columns, put back there, (b, d)."""
        wide = np.zeros((len(self.rows), self.width))
        wide[:, : self.d] = source[self.rows]
        cells = wide.ravel().take(self.own)
        return self.spread_out(np.einsum("stb,tb->sb", self.of_rows(inverses), cells))

    def quadratic(self, inverses: Array, matrix: Array) -> Array:
        """Diagonals of M' V M, V the inverses and M the rows of a matrix (d, d), shape (b, d)."""
        across = self.padded(matrix)[:, : self.d][self.columns.T]
        pulled = np.matmul(np.moveaxis(inverses, 2, 0), across)
        found = np.einsum("usd,usd->ud", pulled, across)
        return np.asarray(found if self.pattern is None else found[self.pattern])

    def scattered(self, blocks: Array) -> Array:
        """Weighted sum of blocks (s, s, u), each where its columns are, shape (d, d)."""
        weighted = blocks * self.weights
        total = np.bincount(self.places.ravel(), weighted.ravel(), self.width**2)
        return total.reshape(self.width, self.width)[: self.d, : self.d]


def stacks(missing: Any, weights: Array | None = None) -> list[Stack]:
    """Rows with missing cells in stacks of patterns of similar size.

    Parameters
    ----------
    missing
        Which cells are missing, shape (n, d).
    weights
        One weight a row, shape (n,); ones where None.
    """
    d = missing.shape[1]
    rows = np.flatnonzero(missing.any(axis=1))
    if not rows.size:
        return []
    weights = np.ones(len(missing)) if weights is None else weights
    first, pattern = _distinct(missing[rows])
    patterns = missing[rows[first]]
    counts = patterns.sum(axis=1)
    by_observed = counts > MOST * d
    counts = np.where(by_observed, d - counts, counts)
    order = np.lexsort((counts, by_observed))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    place = place[pattern]
    by_place = np.argsort(place, kind="stable")
    rows, place = rows[by_place], place[by_place]
    keep = float((counts.astype(np.float64) ** 2).sum()) < REMEMBERED
    found = []
    for start, stop in _cuts(counts[order].tolist(), by_observed[order].tolist()):
        chosen = order[start:stop]
        low, high = np.searchsorted(place, [start, stop])
        own, which = rows[low:high], place[low:high] - start
        flip = bool(by_observed[order[start]])
        found.append(
            Stack(
                columns=_columns(patterns[chosen] ^ flip),
                by_observed=flip,
                rows=own,
                pattern=None if len(own) == len(chosen) else which,
                weights=np.bincount(which, weights[own], len(chosen)),
                d=d,
                keep=keep,
            )
        )
    return found


def _distinct(masks: Any) -> tuple[Any, Any]:
    """First occurrence of each distinct row, and which of them each row is."""
    packed = np.ascontiguousarray(np.packbits(masks, axis=1))
    keys = packed.view(f"V{packed.shape[1]}").ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first, which


def _cuts(counts: list[int], by_observed: list[bool]) -> Iterator[tuple[int, int]]:
    """Ranges of sorted patterns that fit into a stack, where one more costs more than padding."""
    start, total = 0, len(counts)
    costs = [cost(size) for size in range(max(counts) + 1)]
    while start < total:
        stop, needed = start, 0.0
        while stop < total and by_observed[stop] == by_observed[start]:
            size, many = counts[stop], stop - start
            if many and (many + 1) * size**2 > STACK:
                break
            if many * costs[size] - needed > overhead(size):
                break
            needed += costs[size]
            stop += 1
        yield start, stop
        start = stop


def _columns(masks: Any) -> Any:
    """Columns where each mask holds, padded by d, d + 1, ..., shape (most, u)."""
    (u, d), counts = masks.shape, masks.sum(axis=1)
    most = max(int(counts.max()), 1)
    columns = np.tile(np.arange(d, d + most)[:, None], u)
    which, column = np.nonzero(masks)
    starts = np.cumsum(counts) - counts
    columns[np.arange(len(which)) - starts[which], which] = column
    return columns
