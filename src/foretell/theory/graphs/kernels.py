"""Augmentations whose views can be listed: crops, masks of few columns, and equal views merged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment, Compose, Crop, Mask, Noise
from foretell.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LISTED = 1 << 22  # views that are listed one by one, 34 MB of probabilities
HASH_FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)


class Vertices(NamedTuple):
    """Augmented points, shape (N, d), and how each of m samples reaches them, CSR (m, N).

    ``views`` is the number of draws a sample where pairs of a draw with itself still have to be
    removed, None where there are none; ``neglected`` the mean mass that was left out at a vertex.
    """

    points: Array
    probabilities: csr_array
    how: str
    exact: bool = False
    views: int | None = None
    neglected: float = 0.0


def simplified(augment: Augment) -> Augment:
    """The same augmentation with fewer parts: nested parts side by side, equal kinds in one.

    Two noises add their variances; two masks with the same fill keep an entry that both keep.

    Raises
    ------
    InputError
        If it has no part, or is not a function.

    Examples
    --------
    >>> simplified(Compose(Noise(3.0), Compose(Noise(4.0))))
    Noise(scale=5.0)
    """
    if not callable(augment):
        raise InputError(f"augment is a function of rows and a generator; found {augment!r}")
    if not isinstance(augment, Compose):
        return augment
    parts: list[Augment] = []
    for part in _flattened(augment):
        joined = _joined(parts[-1], part) if parts else None
        if joined is None:
            parts.append(part)
        else:
            parts[-1] = joined
    if not parts:
        raise InputError(
            "the augmentation is empty, Compose(); expected at least one part, such as Noise(0.5)"
        )
    return parts[0] if len(parts) == 1 else Compose(*parts)


def _flattened(augment: Augment) -> list[Augment]:
    if not isinstance(augment, Compose):
        return [augment]
    return [inner for part in augment.parts for inner in _flattened(part)]


def _joined(first: Augment, second: Augment) -> Augment | None:
    if isinstance(first, Noise) and isinstance(second, Noise):
        return Noise(np.hypot(first.scale, second.scale).tolist())
    if isinstance(first, Mask) and isinstance(second, Mask) and first.fill == second.fill:
        return Mask(1 - (1 - first.probability) * (1 - second.probability), first.fill)
    return None


def can_be_listed(augment: Augment, m: int, d: int) -> bool:
    """Whether all views of m rows of d columns can be written down one by one."""
    if isinstance(augment, Mask):
        return augment.probability in (0, 1) or m * 2.0**d <= LISTED
    return isinstance(augment, Crop)


def listed_views(X: Array, augment: Augment) -> Vertices:
    """All views of the rows with their exact probabilities; equal views are one vertex.

    Raises
    ------
    InputError
        If a window is longer than a row, or there is not one fill a column.
    """
    if isinstance(augment, Crop):
        fill = fill_of(augment, X)
        if not 1 <= augment.length <= X.shape[1]:
            raise InputError(
                f"a window of 1 to {X.shape[1]} columns can be cropped; found {augment.length}"
            )
        starts = X.shape[1] - augment.length + 1
        column = np.arange(X.shape[1])
        kept = [(column >= s) & (column < s + augment.length) for s in range(starts)]
        chances = np.full(starts, 1 / starts)
        how = f"all {starts} windows of {augment.length} columns, with equal probabilities"
    elif isinstance(augment, Mask):
        fill = fill_of(augment, X)
        kept, chances = _patterns(augment.probability, X.shape[1])
        how = f"all {len(kept)} patterns of masked columns, with their probabilities"
    else:
        raise InputError(f"the views of {augment!r} cannot be listed; expected a Crop or a Mask")
    points, index = merged(lambda k: np.where(kept[k], X, fill), len(kept))
    return Vertices(points, tallied(index, chances, len(points)), how, exact=True)


def _patterns(probability: float, d: int) -> tuple[list[Array], Array]:
    """Which columns each pattern keeps, 2^d of shape (d,), and the probabilities."""
    if probability in (0, 1):
        return [np.full(d, probability == 0)], np.ones(1)
    kept = (np.arange(2**d)[:, None] >> np.arange(d)) % 2 == 1
    count = kept.sum(axis=1)
    return list(kept), (1 - probability) ** count * probability ** (d - count)


def fill_of(augment: Mask | Crop, X: Array) -> Array:
    """What replaces the entries of each column, shape (d,)."""
    fill = np.asarray(augment.fill, dtype=np.float64)
    if fill.ndim and fill.shape != X.shape[1:]:
        raise InputError(f"fill has {len(fill)} numbers for rows of {X.shape[1]} columns")
    if not np.isfinite(fill).all():
        raise InputError(f"fill is finite; found {augment.fill}")
    return np.broadcast_to(fill, X.shape[1:])


def merged(block: Callable[[int], Array], count: int) -> tuple[Array, Array]:
    """Distinct rows of several blocks, shape (N, d), and the number of each row, (count, m).

    Rows are told apart by a hash of 64 bits, and then compared number by number. Blocks are made
    twice, so that only distinct rows are held. The rows are in the order in which they first
    appear.

    Examples
    --------
    >>> points, index = merged(lambda k: np.array([[0.0, k], [1.0, 1.0]]), 2)
    >>> points.tolist(), index.tolist()
    ([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[0, 1], [2, 1]])
    """
    for salt in range(8):
        codes = np.stack([_hashed(block(k), salt) for k in range(count)])
        _, first, index = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        index = rank[index].reshape(codes.shape)
        if (points := _gathered(block, index, len(order))) is not None:
            return points, index
    raise AssertionError("rows that differ have the same hash, eight times")


def _gathered(block: Callable[[int], Array], index: Array, n_points: int) -> Array | None:
    """Row of each number, or None if rows that differ have the same number."""
    points: Array | None = None
    seen = np.zeros(n_points, dtype=bool)
    for k, numbers in enumerate(index):
        rows = block(k) + 0.0  # no negative zeros
        if points is None:
            points = np.empty((n_points, rows.shape[1]))
        new = ~seen[numbers]
        points[numbers[new]] = rows[new]
        seen[numbers] = True
        if not np.array_equal(points[numbers], rows):
            return None
    return points


def _hashed(rows: Array, salt: int) -> Array:
    bits = np.ascontiguousarray(rows + 0.0).view(np.uint64)
    salts = np.random.default_rng(salt).integers(0, 2**64, bits.shape[1], dtype=np.uint64)
    for factor, shift in zip(HASH_FACTORS, (32, 29), strict=True):
        bits = (bits ^ salts) * np.uint64(factor)
        bits ^= bits >> np.uint64(shift)
    return np.asarray(bits.sum(axis=1, dtype=np.uint64))


def tallied(index: Array, chances: Array, n_points: int) -> csr_array:
    """Probabilities of vertices, CSR (m, N), of views with numbers (V, m) and chances (V,)."""
    from scipy.sparse import coo_array

    count, m = index.shape
    rows = np.tile(np.arange(m), count)
    values = np.repeat(chances, m)
    table: Any = coo_array((values, (rows, index.ravel())), shape=(m, n_points)).tocsr()
    table.sum_duplicates()
    return table


def rows_of(lengths: Array) -> Array:
    """Row number of every entry where row i has ``lengths[i]`` of them.

    Examples
    --------
    >>> rows_of(np.array([2, 0, 1])).tolist()
    [0, 0, 2]
    """
    return np.repeat(np.arange(len(lengths)), lengths)
