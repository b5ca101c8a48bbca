"""Positive pairs: two views of every row, from two tables or from random augmentations.

A pair is one row of 2 d columns, the two views side by side. Heads see single rows:
``observed`` of a source of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment, check_augment
from foretell.data.sources import ArraySource, Chunk, Source
from foretell.errors import InputError

BLOCK_ROWS = 512  # rows that share one stream of random numbers


@dataclass(frozen=True, eq=False, init=False)
class PairSource(Source):
    """Pairs from two tables that show the same units, row by row.

    Parameters
    ----------
    first, second
        Rows of the first and of the second view, arrays of shape (n, d) or sources.
    weights
        One positive weight a pair, shape (n,), where the first table is an array; a source brings
        its own.

    Raises
    ------
    InputError
        If the tables differ in shape, or in weights where the second one has some.

    Examples
    --------
    >>> import numpy as np
    >>> source = PairSource(np.zeros((3, 2)), np.ones((3, 2)))
    >>> next(source.chunks()).X[0].tolist(), source.observed.columns
    ([0.0, 0.0, 1.0, 1.0], 2)
    """

    first: Source
    second: Source

    def __init__(
        self, first: Source | Array, second: Source | Array, weights: Array | None = None
    ) -> None:
        if weights is not None and isinstance(first, Source):
            raise InputError(
                "weights were given beside a first table that is a source; give the weights to "
                "that source"
            )
        one, two = _as_source(first, weights), _as_source(second)
        if one.paired or two.paired:
            raise InputError("expected two tables of single rows; found one of pairs of views")
        shapes = (one.rows, one.columns), (two.rows, two.columns)
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the two views have shapes {shapes[0]} and {shapes[1]}; expected the same rows "
                "and the same columns in both tables"
            )
        object.__setattr__(self, "first", one)
        object.__setattr__(self, "second", two)

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return self.first.rows

    @property
    def columns(self) -> int:
        """Columns of both views together, 2 d."""
        return 2 * self.first.columns

    @property
    def paired(self) -> bool:
        """True."""
        return True

    @property
    def observed(self) -> Source:
        """The first table."""
        return self.first

    def chunks(self) -> Iterator[Chunk]:
        """Rows of both tables side by side, cut where either table is cut."""
        second = self.second.chunks()
        other = Chunk(np.zeros((0, self.second.columns)), None)
        for chunk in self.first.chunks():
            while len(chunk.X):
                while not len(other.X):
                    following = next(second, None)
                    if following is None:
                        raise InputError("the second table ended before the first one did")
                    other = following
                n = min(len(chunk.X), len(other.X))
                one, chunk = _cut(chunk, n)
                two, other = _cut(other, n)
                if two.weights is not None and not np.array_equal(
                    two.weights, np.ones(n) if one.weights is None else one.weights
                ):
                    raise InputError(
                        "the two tables have different weights; a pair has one: give it to the "
                        "first table alone"
                    )
                yield Chunk(np.concatenate([one.X, two.X], axis=1), one.weights)


@dataclass(frozen=True, eq=False)
class AugmentedSource(Source):
    """Two random views of every row; what is drawn belongs to the sample.

    Every pass gives the same views, however the rows are cut into chunks: rows ``512 k`` to
    ``512 k + 511`` draw from a generator of their own, numbered by k.

    Parameters
    ----------
    source
        Single rows, d columns.
    augment
        A function of rows (c, d) and a random generator that returns rows of the same shape, such
        as :class:`~foretell.data.augmentations.Noise`. Both views are drawn from it, independently.
    random_state
        Seed, a whole number >= 0.

    Raises
    ------
    InputError
        If the augmentation changes the shape or returns a number that is not finite, the seed is
        not valid, or the rows are pairs already.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.augmentations import Noise
    >>> from foretell.data.sources import ArraySource
    >>> source = AugmentedSource(ArraySource(np.zeros((600, 3))), Noise(0.1), random_state=0)
    >>> source.rows, source.columns, source.observed.columns
    (600, 6, 3)
    """

    source: Source
    augment: Augment
    random_state: int = 0

    def __post_init__(self) -> None:
        seed = self.random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(
                f"random_state is a whole number >= 0, since views are the same at every pass; "
                f"found {seed!r}"
            )
        check_augment(self.augment)
        if self.source.paired:
            raise InputError("expected single rows to make views of; found pairs of views")

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return self.source.rows

    @property
    def columns(self) -> int:
        """Columns of both views together, 2 d."""
        return 2 * self.source.columns

    @property
    def paired(self) -> bool:
        """True."""
        return True

    @property
    def observed(self) -> Source:
        """The rows that the views are made of."""
        return self.source.observed

    def chunks(self) -> Iterator[Chunk]:
        """Blocks of 512 pairs."""
        for block, (X, weights) in enumerate(_blocks(self.source)):
            views = [self._view(X, block, number) for number in (0, 1)]
            yield Chunk(np.concatenate(views, axis=1), weights)

    def _view(self, X: Array, block: int, number: int) -> Array:
        seed = np.random.SeedSequence((int(self.random_state), block, number))
        rng = np.random.Generator(np.random.Philox(seed))
        view = np.asarray(self.augment(X.copy(), rng), dtype=np.float64)
        if view.shape != X.shape:
            raise InputError(
                f"the augmentation turned rows of shape {X.shape} into {view.shape}; expected the "
                "same shape"
            )
        if not np.isfinite(view).all():
            raise InputError("the augmentation returned numbers that are not finite")
        return view


def _as_source(table: Source | Array, weights: Array | None = None) -> Source:
    if isinstance(table, Source):
        return table
    given = None if weights is None else np.asarray(weights, dtype=np.float64)
    return ArraySource(np.asarray(table, dtype=np.float64), given)


def _cut(chunk: Chunk, n: int) -> tuple[Chunk, Chunk]:
    X, weights = chunk
    if weights is None:
        return Chunk(X[:n], None), Chunk(X[n:], None)
    return Chunk(X[:n], weights[:n]), Chunk(X[n:], weights[n:])


def _blocks(source: Source) -> Iterator[Chunk]:
    """The same rows in chunks of BLOCK_ROWS, the last one shorter."""
    parts: list[Chunk] = []
    missing = BLOCK_ROWS
    for chunk in source.chunks():
        while len(chunk.X):
            part, chunk = _cut(chunk, missing)
            parts.append(part)
            missing -= len(part.X)
            if not missing:
                yield _joined(parts)
                parts, missing = [], BLOCK_ROWS
    if parts:
        yield _joined(parts)


def _joined(parts: list[Chunk]) -> Chunk:
    X = np.concatenate([part.X for part in parts])
    if all(part.weights is None for part in parts):
        return Chunk(X, None)
    given = [np.ones(len(p.X)) if p.weights is None else p.weights for p in parts]
    return Chunk(X, np.concatenate(given))
