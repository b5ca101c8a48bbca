r"""Rows in memory, mini-batches of them, and two views of each row of a batch.

Everything drawn belongs to a place: the order of the rows to (seed, epoch), the views of a batch
to (seed, epoch, batch, view). A run that starts again in the middle draws the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment, Compose, check_augment
from foretell.data.numbers import whole_number
from foretell.data.sources import ArraySource, Source
from foretell.errors import InputError

BLOCK = 4096  # rows
ORDER, VIEW = 0, 1  # first words of the seeds, so that streams never meet
TRIAL = 1024  # rows of which an augmentation has to change some


class Batch(NamedTuple):
    """Two views of some rows, shapes (b, d), and weights, shape (b,), of mean one in the sample."""

    first: Array
    second: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Views:
    """Mini-batches of two views of the rows of a sample, freshly drawn in every epoch.

    Each epoch shuffles the rows and cuts them into ``ceil(n / batch_size)`` batches of one size
    (fewer where a batch would hold a single row); the remainder, fewer rows than there are
    batches, waits for another epoch.

    Parameters
    ----------
    rows
        Single rows, shape (n, d), or pairs side by side, shape (n, 2 d).
    weights
        Weights of the rows, shape (n,), of mean one.
    paired
        Whether rows are pairs.
    augment
        Makes each view; None leaves the views of given pairs as they are.
    batch_size
        Largest number of rows in a batch.
    seed
        Whole number >= 0.
    """

    rows: Array
    weights: Array
    paired: bool
    augment: Augment | None
    batch_size: int
    seed: int

    @property
    def columns(self) -> int:
        """Columns of one view."""
        return int(self.rows.shape[1]) // (2 if self.paired else 1)

    @property
    def n_batches(self) -> int:
        """Batches in an epoch."""
        return min(-(-len(self.rows) // self.batch_size), len(self.rows) // 2)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        size = len(self.rows) // self.n_batches
        order = self._rng(ORDER, number).permutation(len(self.rows))
        for k in range(self.n_batches):
            chosen = order[k * size : (k + 1) * size]
            X, d = self.rows[chosen], self.columns
            parts = (X[:, :d], X[:, d:]) if self.paired else (X, X)
            first, second = (self._view(part, number, k, v) for v, part in enumerate(parts))
            yield Batch(first, second, self.weights[chosen])

    def check_contrast(self, batch: Batch) -> None:
        """Refuse an augmentation that makes the same view of a row every time.

        Raises
        ------
        InputError
            If both views are the same, in this batch and in many more draws.
        """
        if self.paired or self.augment is None or not np.array_equal(batch.first, batch.second):
            return
        X = np.resize(self.rows[:TRIAL], (max(TRIAL, len(batch.first)), self.columns))
        first, second = (self._view(X, v) for v in (0, 1))
        if not np.array_equal(first, second):
            return
        what = "leaves the rows as they are"
        if not np.array_equal(first, X):
            what = "makes the same view of a row every time"
        raise InputError(
            f"the augmentation {what}, so that there is nothing to contrast; found "
            f"{self.augment!r}; give one that changes rows at random, e.g. Noise(0.1)"
        )

    def _view(self, X: Array, *place: int) -> Array:
        if self.augment is None:
            return np.ascontiguousarray(X)
        with np.errstate(over="ignore"):  # found below
            view = np.asarray(self.augment(X.copy(), self._rng(VIEW, *place)), dtype=X.dtype)
        if view.shape != X.shape:
            raise InputError(
                f"the augmentation turned rows of shape {X.shape} into {view.shape}; expected the "
                "same shape, row by row, so that the views of a row stay beside each other"
            )
        if not np.isfinite(view).all():
            raise InputError("the augmentation returned numbers that are not finite")
        return view

    def _rng(self, *words: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, *words))))


def views_of(
    source: Source | Array, augment: Augment | None, batch_size: int, seed: int, dtype: str
) -> Views:
    """Mini-batches from a sample, read once and kept in memory as numbers of the given type.

    Raises
    ------
    InputError
        If there are fewer than two rows, numbers that are not finite or no positive weights, the
        augmentation is missing, empty or no function, or the seed is not valid.
    """
    seed = whole_number(seed, "random_state", 0)
    if not isinstance(source, Source):
        source = ArraySource(np.asarray(source))
    _check_augment(augment, source.paired)
    rows, weights = _load(source, dtype)
    if len(rows) < 2:
        raise InputError(
            f"contrast needs at least 2 rows; found {len(rows)} (n_samples = {len(rows)})"
        )
    return Views(rows, weights, source.paired, augment, batch_size, seed)


def scaling(rows: Array, kind: str | None) -> tuple[Array, Array]:
    """What to subtract from columns and to divide them by, doubles of shape (d,).

    One mean and deviation of all numbers (``"overall"``), one a column (``"columns"``), or none.
    Columns that are constant are only shifted. Beside the rows, memory is that of one block.
    """
    d = rows.shape[1]
    offset, scale = np.zeros(d), np.ones(d)
    if kind is None:
        return offset, scale
    offset = rows.mean(axis=0, dtype=np.float64)
    squares = np.zeros(d)
    for start in range(0, len(rows), BLOCK):
        squares += ((rows[start : start + BLOCK] - offset) ** 2).sum(axis=0)
    scale = np.sqrt(squares / len(rows))
    if kind == "overall":
        overall = offset.mean()
        scale = np.full(d, np.sqrt(np.mean(scale**2 + (offset - overall) ** 2)))
        offset = np.full(d, overall)
    constant = scale <= np.finfo(rows.dtype).eps * np.maximum(1.0, np.abs(offset))
    return offset, np.where(constant, 1.0, scale)


def _check_augment(augment: Any, paired: bool) -> None:
    if augment is None and paired:
        return
    empty = augment is None or (isinstance(augment, Compose) and not augment.parts)
    if empty or (isinstance(augment, list | tuple | set | frozenset) and not augment):
        raise InputError(
            "the set of augmentations is empty, so that both views of a row would be the row "
            "itself; give an augmentation (foretell.data.augmentations), or pairs (PairSource)"
        )
    check_augment(augment)


def _load(source: Source, dtype: str) -> tuple[Array, Array]:
    """All rows in one array, shape (n, d), and weights of mean one, shape (n,)."""
    rows = np.empty((source.rows, source.columns), dtype=dtype)
    weights = np.ones(source.rows)
    start = 0
    for X, given in source.chunks():
        if X.dtype.kind not in "fiub":
            raise InputError(f"expected rows of real numbers; found type {X.dtype}")
        stop = start + len(X)
        if stop > len(rows):
            raise InputError(f"the source has {source.rows} rows but yields at least {stop}")
        with np.errstate(over="ignore"):  # found below
            rows[start:stop] = X
        if not np.isfinite(rows[start:stop]).all():
            bad = ~np.isfinite(rows[start:stop]).all(axis=1)
            raise InputError(
                f"{int(bad.sum())} of rows {start} to {stop - 1} hold numbers that are not finite "
                f"(or too large for {dtype}), the first is row {start + int(bad.argmax())}; "
                "correct them or leave them out"
            )
        if given is not None:
            weights[start:stop] = given
        start = stop
    if start < len(rows):
        raise InputError(f"the source has {source.rows} rows but yields {start}")
    total = weights.sum()
    if not (np.isfinite(total) and total > 0 and (weights >= 0).all()):
        raise InputError("weights are finite, at least zero and not all zero")
    return rows, (weights * (len(weights) / total)).astype(dtype)
