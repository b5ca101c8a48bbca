r"""Masks of many columns: drawn views, tied to every sample that could have made them.

A view x of sample i keeps some entries and shows the fill elsewhere. With :math:`n_i` the number
of entries of sample i that are not the fill, and n(x) that of the view,
:math:`A(x \mid \bar x_i) = p^{n_i - n(x)} (1 - p)^{n(x)}` if the sample has the entries that the
view shows, and 0 otherwise; so :math:`\pi_i(x) \propto P_i p^{n_i}` among the samples that agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Mask
from foretell.errors import InputError
from foretell.theory.graphs.densities import Ties, joint_table
from foretell.theory.graphs.draws import drawn_views
from foretell.theory.graphs.kernels import Vertices, fill_of, merged

COMMON = 64  # a value is common if more than one sample in 64 has it: their rows are bit sets
MOST_TIES = 40_000_000  # 1 GB while the graph is built
CHUNK_BYTES = 1 << 24


def mask_vertices(
    X: Array,
    weights: Array,
    mask: Mask,
    *,
    n_views: int,
    neighbors: int | None,
    rng: np.random.Generator,
) -> Vertices:
    """Draws of masked rows with their exact probabilities; equal draws are one vertex.

    Parameters
    ----------
    X, weights
        Rows, shape (m, d), and weights that sum to one, shape (m,).
    mask
        With a probability above 0 and below 1.
    n_views
        Draws a sample.
    neighbors
        Most samples that a draw is tied to: random ones among the most probable. None for all.
    rng
        Random numbers.

    Raises
    ------
    InputError
        If the draws agree with so many samples that the graph does not fit into memory.
    """
    X = X + 0.0
    fill = fill_of(mask, X)
    views = drawn_views(X, mask, n_views, rng)
    points, index = merged(lambda v: views[v], n_views)
    measure = np.bincount(index.ravel(), np.tile(weights / n_views, n_views), minlength=len(points))
    shown = (fill != X).sum(axis=1)
    prior = np.log(weights) + shown * np.log(mask.probability)
    found, size = [], 0
    for samples, vertices in _agreeing(X, points, fill):
        part = _posterior(samples, vertices, prior, neighbors, rng)
        found.append(part)
        size += len(part[0])
        if size > MOST_TIES:
            raise InputError(
                f"the masked rows agree with more than {MOST_TIES:,} samples in all; mask fewer "
                "entries, draw fewer views, or tie each draw to fewer samples (neighbors=32)"
            )
    samples, vertices, posterior = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = np.bincount(vertices, posterior, minlength=len(points))
    ties = Ties(samples, vertices, posterior / kept[vertices], np.maximum(0, 1 - kept))
    table, neglected = joint_table(ties, measure, len(X))
    how = f"{n_views} draws a sample with their exact probabilities under every sample"
    if neighbors is not None:
        how += f", at most {neighbors} a draw"
    return Vertices(points, table, how, neglected=neglected)


def _posterior(
    samples: Array,
    vertices: Array,
    prior: Array,
    neighbors: int | None,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Samples, vertices and posteriors; all ties of a vertex come together."""
    order = np.argsort(vertices, kind="stable")
    samples, vertices = samples[order], vertices[order]
    first = np.flatnonzero(np.diff(vertices, prepend=-1))
    counts = np.diff(first, append=len(vertices))
    which = np.repeat(np.arange(len(first)), counts)
    logs = prior[samples]
    density = np.exp(logs - np.maximum.reduceat(logs, first)[which])
    posterior = density / np.add.reduceat(density, first)[which]
    if neighbors is not None and counts.max() > neighbors:
        order = np.lexsort((rng.random(len(samples)), -posterior, which))
        place = np.arange(len(samples)) - first[which]
        chosen = order[place < neighbors]
        samples, vertices, posterior = samples[chosen], vertices[chosen], posterior[chosen]
    return samples.astype(np.int32), vertices.astype(np.int32), posterior


def _agreeing(X: Array, points: Array, fill: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of a sample and a vertex that shows nothing but entries of the sample."""
    m, d = X.shape
    orders, lows, counts = [], [], np.full(points.shape, m)
    for j in range(d):
        order = np.argsort(X[:, j], kind="stable")
        column = X[order, j]
        low = np.searchsorted(column, points[:, j], side="left")
        high = np.searchsorted(column, points[:, j], side="right")
        counts[:, j] = np.where(points[:, j] == fill[j], m, high - low)
        orders.append(order)
        lows.append(low)
    rarest = counts.argmin(axis=1)
    least = counts[np.arange(len(points)), rarest]
    candidates = np.flatnonzero(least <= m // COMMON)
    for chunk in _chunks(candidates, least[candidates] * d * 8):
        yield _among_candidates(X, points, fill, chunk, rarest, least, orders, lows)
    others = np.flatnonzero(least > m // COMMON)
    if others.size:
        bits, code = _bit_sets(X, points[others], fill)
        for start in range(0, len(others), step := max(1, CHUNK_BYTES // (8 * m))):
            part = slice(start, start + step)
            sets = np.full((len(code[part]), bits.shape[1]), 0xFF, dtype=np.uint8)
            for j in range(d):
                sets &= bits[code[part, j]]
            vertices, samples = np.nonzero(np.unpackbits(sets, axis=1, count=m))
            yield samples, others[part][vertices]


def _chunks(items: Array, sizes: Array) -> Iterator[Array]:
    """Items in consecutive parts of about ``CHUNK_BYTES`` bytes."""
    if items.size:
        part = np.cumsum(sizes) // CHUNK_BYTES
        yield from np.split(items, np.flatnonzero(np.diff(part)) + 1)


def _among_candidates(
    X: Array,
    points: Array,
    fill: Array,
    vertices: Array,
    rarest: Array,
    least: Array,
    orders: list[Array],
    lows: list[Array],
) -> tuple[Array, Array]:
    """Of the samples with the rarest entry that a vertex shows, those that agree with it."""
    table, starts = np.stack(orders), np.stack(lows)
    count = least[vertices]
    owner = np.repeat(vertices, count)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    column = rarest[owner]
    samples = table[column, starts[column, owner] + offset]
    shown = points[owner]
    agree = ((shown == fill) | (shown == X[samples])).all(axis=1)
    return samples[agree], owner[agree]


def _bit_sets(X: Array, points: Array, fill: Array) -> tuple[Array, Array]:
    """One bit a sample for every entry that a vertex shows, and the number of each entry."""
    everyone = np.ones((1, len(X)), dtype=bool)
    sets, code, size = [np.packbits(everyone, axis=1)], np.empty(points.shape, dtype=np.intp), 1
    for j in range(X.shape[1]):
        values, inverse = np.unique(points[:, j], return_inverse=True)
        sets.append(np.packbits(X[:, j] == values[:, None], axis=1))
        code[:, j] = np.where(values[inverse] == fill[j], 0, size + inverse)
        size += len(values)
    return np.concatenate(sets), code
