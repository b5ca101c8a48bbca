r"""Random walks along positive pairs, exact and from the leading eigenvectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array, whole_number
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import leading
from foretell.theory.graphs.weights import NormalizedGraph


def walk_mass(
    graph: NormalizedGraph,
    indicators: Any,
    t: int,
    k: int | None = None,
    *,
    pairs: Eigenpairs | None = None,
) -> Array:
    r"""Mass that a walk of t steps along positive pairs carries from each vertex into sets.

    .. math:: (D^{-1} W)^t M = D^{-1/2} \bar A^t D^{1/2} M
        \qquad \text{or} \qquad D^{-1/2} V_k \Lambda_k^t V_k^\top D^{1/2} M

    For M the indicators of sets and no k, the probabilities that the walk from x is in each set
    after t steps.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    indicators
        M, shape (n, c) or (n,): one column a set, or any functions of the vertices.
    t
        Steps, 0 or more; with k and a zero eigenvalue, 0 steps keep its direction.
    k
        Leading eigenvectors that the walk is restricted to, 1 to n; None for all of it (t products
        with the graph, no eigenvectors).
    pairs
        k or more leading eigenpairs; None computes k.

    Returns
    -------
    Array
        Shape (n, c) or (n,), as M.

    Raises
    ------
    InputError
        If M has another number of rows or is not finite, t is negative, or k is out of range.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1.0]]))
    >>> walk_mass(graph, [1, 0, 0], 2)
    array([0.5 , 0.25, 0.25])
    >>> np.round(walk_mass(graph, [1, 0, 0], 2, 3), 6)
    array([0.5 , 0.25, 0.25])
    """
    M = real_array(indicators, "indicators", f"({graph.n}, c), one row a vertex")
    if M.ndim not in (1, 2) or M.shape[0] != graph.n or not np.isfinite(M).all():
        raise InputError(
            f"indicators are finite numbers of shape ({graph.n}, c), one row a vertex; found "
            f"shape {M.shape}" + ("" if np.isfinite(M).all() else " with entries not finite")
        )
    t = whole_number(t, "t", 0, why=", the number of steps")
    roots = graph.roots if M.ndim == 1 else graph.roots[:, None]
    moved = roots * M
    if k is None:
        for _ in range(t):
            moved = graph.matvec(moved)
        return np.asarray(moved / roots)
    k = whole_number(k, "k", 1, graph.n, f", the {graph.n} vertices")
    pairs = leading(graph, k, pairs)
    V, powers = pairs.vectors[:, :k], pairs.values[:k] ** t
    inside = V.T @ moved
    return np.asarray(V @ (inside * (powers if M.ndim == 1 else powers[:, None])) / roots)
