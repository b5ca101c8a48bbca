r"""The sparsest partition of a graph into m parts, between two bounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.theory.graphs.cheeger import (
    cheeger_lower,
    cheeger_upper,
    merged_components,
    sweep_cut,
)
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import Labels, leading
from foretell.theory.graphs.partitions import Conductance, part_conductance
from foretell.theory.graphs.weights import NormalizedGraph

WORK = 20_000_000
SMALL, FEW = 300, 8


@dataclass(frozen=True, eq=False)
class SparsestPartition:
    r"""A partition into m parts that is as sparse as was found.

    Attributes
    ----------
    labels
        Part of each vertex, shape (n,), numbers 0 to m - 1.
    conductance
        Of its parts; the largest is an upper bound on :math:`\rho_m`.
    lower
        :math:`(1 - \lambda_m) / 2 \le \rho_m`, or :math:`\rho_m` itself if ``exact``.
    guaranteed
        What :math:`\rho_2` is at most by Cheeger's inequality; None for m > 2, where the published
        bound has an unknown constant.
    exact
        Whether no partition is sparser: all were tried, or there are components to part.
    """

    labels: Array
    conductance: Conductance
    lower: float
    guaranteed: float | None = None
    exact: bool = False

    @property
    def upper(self) -> float:
        r"""Upper bound on :math:`\rho_m`: the largest conductance of the partition found."""
        return self.conductance.largest

    def __float__(self) -> float:
        return self.upper

    def __str__(self) -> str:
        m = len(self.conductance.parts)
        known = "" if self.guaranteed is None else f"; Cheeger: at most {self.guaranteed:.4g}"
        if self.exact:
            return f"sparsest {m}-partition: {self.upper:.4g} exactly{known}"
        return f"sparsest {m}-partition: between {self.lower:.4g} and {self.upper:.4g}{known}"


def sparsest_partition(
    graph: NormalizedGraph,
    m: int,
    *,
    pairs: Eigenpairs | None = None,
    n_starts: int = 10,
    max_moves: int | None = None,
    random_state: int = 0,
) -> SparsestPartition:
    r"""A partition into m parts whose largest conductance is small, and bounds on the smallest.

    .. math:: \rho_m = \min_{S_1, \dots, S_m} \max_i \phi_G(S_i)

    over partitions into non-empty parts: hard to compute, so between bounds. From above:
    k-means, weighted by degree, of the rows of the m leading eigenvectors divided by
    :math:`\sqrt{w_x}`, and of these rows scaled to length one; for m = 2 the sweep cut too; then
    vertices of the best partition (of each one, up to 300 vertices) change parts one by one while
    the largest conductance falls.
    From below: :math:`(1 - \lambda_m)/2`. Graphs with m or more components have
    :math:`\rho_m = 0` exactly, and up to 8 vertices all partitions are tried.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    m
        Number of parts, 2 to n.
    pairs
        m or more leading eigenpairs; None computes them.
    n_starts
        Starts of k-means, half of them with either scaling.
    max_moves
        Most vertices that change parts; 0 for none. None: 2 n, or fewer in large graphs
        (2e7 / (n m)), where moving single vertices changes little.
    random_state
        Seed of k-means.

    Raises
    ------
    InputError
        If m is not between 2 and n, or n_starts is not positive.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Definition 3.4.
    .. [2] Ng, Jordan & Weiss (2002). On spectral clustering. NeurIPS.
    .. [3] Lee, Oveis Gharan & Trevisan (2014). Journal of the ACM 61. arXiv:1111.1055.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(3), np.ones((4, 4))) + 0.05)
    >>> found = sparsest_partition(graph, 3)
    >>> found.labels[::4].tolist() == found.labels[1::4].tolist() == found.labels[3::4].tolist()
    True
    >>> print(found)
    sparsest 3-partition: between 0.06522 and 0.08696
    """
    if graph.n < 2:
        raise InputError("a partition needs two vertices or more; found one")
    m = whole_number(m, "m", 2, graph.n, ", the vertices")
    whole_number(n_starts, "n_starts", 1)
    if graph.n_components >= m:
        exact = merged_components(graph, m)
        found = Conductance(np.zeros(m), np.bincount(exact, graph.degrees), tuple(range(m)))
        return SparsestPartition(exact, found, 0.0, 0.0 if m == 2 else None, True)
    pairs = leading(graph, m, pairs)
    value = float(pairs.values[m - 1])
    guaranteed = cheeger_upper(value) if m == 2 else None
    if graph.n <= FEW:
        every = (_parts_of(graph, codes, m) for codes in _all_partitions(graph.n, m))
        labels, parts = min(every, key=lambda found: found[1].largest)
        return SparsestPartition(labels, parts, parts.largest, guaranteed, True)
    candidates = list(_candidates(graph, m, pairs, n_starts, random_state))
    candidates.sort(key=lambda codes: _parts(graph, codes, m).largest)
    moves = min(2 * graph.n, WORK // (graph.n * m)) if max_moves is None else max_moves
    tried = candidates if graph.n <= SMALL else candidates[:1]
    refined = (_parts_of(graph, _refined(graph, codes, m, moves), m) for codes in tried)
    labels, parts = min(refined, key=lambda found: found[1].largest)
    lower = min(cheeger_lower(value), parts.largest)  # they can be equal, up to rounding
    return SparsestPartition(labels, parts, lower, guaranteed)


def _parts(graph: NormalizedGraph, codes: Array, m: int) -> Conductance:
    return part_conductance(graph, Labels(codes, tuple(range(m))))


def _parts_of(graph: NormalizedGraph, codes: Array, m: int) -> tuple[Array, Conductance]:
    return codes, _parts(graph, codes, m)


def _all_partitions(n: int, m: int) -> Iterator[Array]:
    """All partitions of n vertices into m parts, numbered by first appearance: S(n, m) of them."""

    def extended(codes: list[int], used: int) -> Iterator[Array]:
        if len(codes) == n:
            yield np.array(codes)
            return
        missing_later = m - used == n - len(codes)
        for part in range(used if missing_later else 0, min(used + 1, m)):
            yield from extended([*codes, part], max(used, part + 1))

    yield from extended([], 0)


def _candidates(
    graph: NormalizedGraph, m: int, pairs: Eigenpairs, n_starts: int, seed: int
) -> Iterator[Array]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = pairs.vectors[:, :m] / graph.roots[:, None]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # at least 1: of the constant vector
    if m == 2:
        yield sweep_cut(graph, pairs)
    for start in range(n_starts):
        points = rows / lengths if start % 2 else rows
        means = KMeans(m, n_init=1, random_state=seed + start)
        with warnings.catch_warnings():
            # fewer distinct rows than parts: the parts that are left empty are made below
            warnings.simplefilter("ignore", ConvergenceWarning)
            codes = means.fit_predict(points, sample_weight=graph.degrees * graph.n)
        yield _filled(codes.astype(np.int64), graph.degrees, m)


def _filled(codes: Array, degrees: Array, m: int) -> Array:
    """The same partition, with empty parts filled by half the vertices of the heaviest one."""
    codes = codes.copy()
    for empty in np.flatnonzero(np.bincount(codes, minlength=m) == 0):
        masses = np.bincount(codes, degrees, m)
        masses[np.bincount(codes, minlength=m) < 2] = 0.0
        members = np.flatnonzero(codes == np.argmax(masses))
        codes[members[len(members) // 2 :]] = empty
    return codes


def _refined(graph: NormalizedGraph, codes: Array, m: int, max_moves: int) -> Array:
    """Move single vertices into or out of the worst part while the largest conductance falls."""
    if max_moves < 1:
        return codes
    W, w = graph.weights, graph.degrees
    codes, own = codes.copy(), W.diagonal()
    H = np.equal.outer(codes, np.arange(m)).astype(np.float64)
    toward = np.asarray(W @ H) - own[:, None] * H  # weight of each vertex's pairs with each part
    for _ in range(max_moves):
        mass = np.bincount(codes, w, m)
        cut = np.bincount(codes, w - own - toward[np.arange(graph.n), codes], m)
        move = _best_move(codes, toward, w, w - own, mass, cut)
        if move is None:
            break
        x, part = move
        row = np.asarray(W[[x]].todense()).ravel() if not isinstance(W, np.ndarray) else W[x].copy()
        row[x] = 0.0
        toward[:, codes[x]] -= row
        toward[:, part] += row
        codes[x] = part
    return codes


def _best_move(
    codes: Array, toward: Array, w: Array, others: Array, mass: Array, cut: Array
) -> tuple[int, int] | None:
    """Vertex and part of the move that lowers the largest conductance most; None if none does.

    Only moves from or to the worst part can: they change two conductances and leave the others.
    """
    m = toward.shape[1]
    value = cut / mass
    worst = int(np.argmax(value))
    pairs = [(np.flatnonzero(codes == worst), part) for part in range(m) if part != worst]
    pairs.append((np.flatnonzero(codes != worst), worst))
    best, found = value[worst] * (1.0 - 1e-12), None
    alone = np.bincount(codes, minlength=m) == 1
    for vertices, part in pairs:
        vertices = vertices[~alone[codes[vertices]]]
        if not len(vertices):
            continue
        source = codes[vertices]
        left = (cut[source] - others[vertices] + 2 * toward[vertices, source]) / (
            mass[source] - w[vertices]
        )
        joined = (cut[part] + others[vertices] - 2 * toward[vertices, part]) / (
            mass[part] + w[vertices]
        )
        rest = _largest_but_two(value, source, part)
        largest = np.maximum(np.maximum(left, joined), rest)
        i = int(np.argmin(largest))
        if largest[i] < best:
            best, found = largest[i], (int(vertices[i]), part)
    return found


def _largest_but_two(value: Array, source: Array, part: int) -> Array:
    """Largest conductance among the parts other than ``part`` and each of ``source``."""
    kept = value.copy()
    kept[part] = -np.inf
    order = np.argsort(-kept)
    second = kept[order[1]] if len(kept) > 1 else -np.inf
    return np.where(source == order[0], second, kept[order[0]])
