r"""Conductance from eigenvalues: Cheeger's inequality, its higher orders, and the sweep cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import leading
from foretell.theory.graphs.weights import NormalizedGraph


def cheeger_lower(value: float) -> float:
    r"""Lower bound :math:`(1 - \lambda_m)/2` on the sparsest m-partition :math:`\rho_m`.

    Holds for any m disjoint non-empty sets of vertices, hence for partitions too.

    Parameters
    ----------
    value
        :math:`\lambda_m`, the m-th largest eigenvalue of the normalized adjacency matrix.

    References
    ----------
    .. [1] Lee, Oveis Gharan & Trevisan (2014). Multiway spectral partitioning and higher-order
       Cheeger inequalities. Journal of the ACM 61. arXiv:1111.1055. The easy direction, derived
       in docs/theory/positive-pair-graphs.md. Their upper bound,
       :math:`O(m^2) \sqrt{1 - \lambda_m}` for disjoint sets and :math:`m - 1` times that for
       partitions, has no published constant and is not computed here.

    Examples
    --------
    >>> round(cheeger_lower(0.8), 3)
    0.1
    """
    return float(max(0.0, 0.5 * (1.0 - value)))


def cheeger_upper(value: float) -> float:
    r"""Upper bound :math:`\sqrt{1 - \lambda_2^2} \le \sqrt{2 (1 - \lambda_2)}` on :math:`\rho_2`.

    The sweep cut of the second eigenvector meets it. For a negative eigenvalue it is 1.

    References
    ----------
    .. [1] Chung (1997). Spectral graph theory. AMS. Chapter 2; derived in
       docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> round(cheeger_upper(0.8), 3)
    0.6
    """
    positive = min(max(value, 0.0), 1.0)
    return float(np.sqrt((1.0 - positive) * (1.0 + positive)))


def sweep_cut(graph: NormalizedGraph, pairs: Eigenpairs | None = None) -> Array:
    r"""The best cut of the vertices ordered by the second eigenvector, shape (n,), zeros and ones.

    Thresholds :math:`v_2(x) / \sqrt{w_x}` where the larger conductance of the two sides is
    smallest, which is at most :func:`cheeger_upper`. In a graph that is not connected the sides
    are unions of components, and the conductance is zero.

    Parameters
    ----------
    graph
        Weights of positive pairs on n >= 2 vertices.
    pairs
        Two or more leading eigenpairs; None computes them.

    Raises
    ------
    InputError
        If there is one vertex.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> W = np.kron(np.eye(2), np.ones((3, 3))) + 0.1
    >>> graph, _ = normalized_weights(W)
    >>> cut = sweep_cut(graph)
    >>> sorted([cut[:3].tolist(), cut[3:].tolist()])
    [[0, 0, 0], [1, 1, 1]]
    """
    if graph.n < 2:
        raise InputError("a cut needs two vertices or more; found one")
    if graph.n_components > 1:
        return merged_components(graph, 2)
    vectors = leading(graph, 2, pairs).vectors
    order = np.argsort(vectors[:, 1] / graph.roots, kind="stable")
    position = np.empty(graph.n, dtype=np.int64)
    position[order] = np.arange(graph.n)
    cut = _prefix_cuts(graph.weights, position)
    mass = graph.degrees[order]
    before, after = np.cumsum(mass)[:-1], np.cumsum(mass[::-1])[-2::-1]
    best = int(np.argmin(cut / np.minimum(before, after)))
    return (position > best).astype(np.int64)


def merged_components(graph: NormalizedGraph, m: int) -> Array:
    """Components joined to m parts of similar weight, shape (n,): heaviest first, to the lightest.

    Needs m <= ``graph.n_components``.
    """
    masses = np.bincount(graph.components, graph.degrees)
    parts, filled = np.empty(len(masses), dtype=np.int64), np.zeros(m)
    for component in np.argsort(-masses, kind="stable"):
        part = int(np.argmin(filled))
        parts[component] = part
        filled[part] += masses[component]
    return np.asarray(parts[graph.components])


def _prefix_cuts(W: Any, position: Array) -> Array:
    """Weight between the first t vertices and the others, for t = 1, ..., n - 1."""
    n = len(position)
    if isinstance(W, np.ndarray):
        rows, columns = np.nonzero(W)
        data = W[rows, columns]
    else:
        rows, columns, data = np.repeat(np.arange(n), np.diff(W.indptr)), W.indices, W.data
    start, end = position[rows], position[columns]
    forward = start < end
    steps = np.bincount(start[forward], data[forward], n)
    steps -= np.bincount(end[forward], data[forward], n)
    return np.cumsum(steps)[:-1]
