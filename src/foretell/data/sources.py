"""Samples as streams of chunks: the only form in which models see data.

A source can be walked through any number of times. Everything that foretell computes from
data is a sum over its chunks, so a file larger than memory needs no code of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

CHUNK_BYTES = 1 << 20  # stays in the cache over several steps
SMALLEST_CHUNK = 512  # rows, so that matrix products stay efficient with many columns


class Chunk(NamedTuple):
    """Some rows, shape (c, d), with their weights, shape (c,), or None when all are one."""

    X: Array
    weights: Array | None


class Moments(NamedTuple):
    """First two moments of a weighted sample; the covariance divides by the total weight."""

    n_rows: int
    total_weight: float
    mean: Array
    covariance: Array

    def about_origin(self) -> Moments:
        """The same with second moments about zero in place of the mean and the covariance."""
        second = self.covariance + np.outer(self.mean, self.mean)
        return self._replace(mean=np.zeros_like(self.mean), covariance=second)


class Source(ABC):
    """A sample that can be walked through, chunk by chunk, any number of times."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def columns(self) -> int:
        """Number of columns."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """Walk through all rows once, in a fixed order."""

    @property
    def observed(self) -> Source:
        """The rows as heads see them: the sample itself, unless it holds views of its rows."""
        return self

    @property
    def paired(self) -> bool:
        """Whether rows are pairs of views side by side, shape (2 d,), rather than single rows."""
        return False

    @cached_property
    def moments(self) -> Moments:
        """Mean, shape (d,), and covariance, shape (d, d), in one pass.

        Sums are taken around the mean of the first chunk, so that a large common offset does
        not cancel the digits of the variance.
        """
        anchor: Array | None = None
        total = 0.0
        n_rows = 0
        for X, weights in self.chunks():
            if anchor is None:
                anchor = X.mean(axis=0)
                first = np.zeros(self.columns)
                second = np.zeros((self.columns, self.columns))
            centered = X - anchor
            n_rows += len(X)
            if weights is None:
                total += float(len(X))
                first += np.ones(len(X)) @ centered
            else:
                total += float(weights.sum())
                first += weights @ centered
                centered *= np.sqrt(weights)[:, None]
            second += centered.T @ centered
        if anchor is None or total <= 0:
            raise InputError("the sample is empty: expected a row with positive weight")
        shift = first / total
        return Moments(n_rows, total, anchor + shift, second / total - np.outer(shift, shift))


@dataclass(frozen=True)
class ArraySource(Source):
    """Rows of an array that fits into memory; chunks are views, nothing is copied.

    Parameters
    ----------
    X
        Rows, shape (n, d).
    weights
        One positive weight a row, shape (n,); None weighs all rows alike.
    chunk_rows
        Rows in a chunk; None chooses about 1 MB.

    Examples
    --------
    >>> import numpy as np
    >>> [len(c.X) for c in ArraySource(np.ones((5, 2)), chunk_rows=2).chunks()]
    [2, 2, 1]
    """

    X: Array
    weights: Array | None = None
    chunk_rows: int | None = None

    def __post_init__(self) -> None:
        if self.X.ndim != 2:
            cure = "; flatten images: X.reshape(len(X), -1)" if self.X.ndim > 2 else ""
            raise InputError(f"a source needs rows and columns; found shape {self.X.shape}{cure}")
        if self.weights is not None and self.weights.shape != (len(self.X),):
            raise InputError(f"{len(self.X)} rows but weights of shape {self.weights.shape}")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    def chunks(self) -> Iterator[Chunk]:
        """Consecutive slices."""
        step = self.chunk_rows or max(SMALLEST_CHUNK, CHUNK_BYTES // (8 * max(1, self.columns)))
        for start in range(0, self.rows, step):
            rows = slice(start, start + step)
            yield Chunk(self.X[rows], None if self.weights is None else self.weights[rows])


@dataclass(frozen=True)
class SelectedSource(Source):
    """The rows of a source for which a mask of shape (n,) is true, selected chunk by chunk."""

    source: Source
    mask: Array

    @property
    def rows(self) -> int:
        """Number of selected rows."""
        return int(self.mask.sum())

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.source.columns

    @property
    def paired(self) -> bool:
        """As in the source."""
        return self.source.paired

    @property
    def observed(self) -> Source:
        """The same rows as heads see them."""
        seen = self.source.observed
        return self if seen is self.source else SelectedSource(seen, self.mask)

    def chunks(self) -> Iterator[Chunk]:
        """Chunks without the other rows."""
        start = 0
        for X, weights in self.source.chunks():
            keep = self.mask[start : start + len(X)]
            start += len(X)
            if keep.any():
                yield Chunk(X[keep], None if weights is None else weights[keep])


@dataclass(frozen=True)
class ConcatenatedSource(Source):
    """One source after the other; they must agree in the number of columns, all pairs or none."""

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        paired = [source.paired for source in self.sources]
        if len(set(paired)) > 1:
            raise InputError(
                f"{sum(paired)} of {len(paired)} samples hold pairs of views and the others single "
                "rows; make views of those too (AugmentedSource), or leave them out"
            )
        widths = sorted({source.columns for source in self.sources})
        if len(widths) != 1:
            raise InputError(f"the samples have different numbers of columns: {widths}")

    @property
    def rows(self) -> int:
        """Rows of all together."""
        return sum(source.rows for source in self.sources)

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.sources[0].columns

    @property
    def paired(self) -> bool:
        """As in the sources."""
        return self.sources[0].paired

    @property
    def observed(self) -> Source:
        """The rows of all together as heads see them."""
        seen = tuple(source.observed for source in self.sources)
        return self if seen == self.sources else ConcatenatedSource(seen)

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of the first, then of the second, and so on."""
        for source in self.sources:
            yield from source.chunks()


@dataclass(frozen=True)
class ChunkSource(Source):
    """Rows that a function yields afresh at each call: files, databases, generators.

    Parameters
    ----------
    make
        Function without arguments that returns an iterator over arrays of shape (c, d). It is
        called once for each pass and must yield the same rows every time.
    shape
        Rows and columns of the whole sample.

    Examples
    --------
    >>> import numpy as np
    >>> source = ChunkSource(lambda: (np.full((2, 3), k) for k in (1.0, 2.0)), (4, 3))
    >>> source.moments.mean.tolist()
    [1.5, 1.5, 1.5]
    """

    make: Callable[[], Iterator[Array]]
    shape: tuple[int, int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.shape[1]

    def chunks(self) -> Iterator[Chunk]:
        """Chunks as the function yields them, checked for shape and number of rows."""
        seen = 0
        for X in self.make():
            X = np.asarray(X, dtype=np.float64)
            if X.ndim != 2 or X.shape[1] != self.columns:
                raise InputError(f"expected chunks with {self.columns} columns; found {X.shape}")
            seen += len(X)
            yield Chunk(X, None)
        if seen != self.rows:
            raise InputError(f"expected {self.rows} rows in all chunks; found {seen}")
