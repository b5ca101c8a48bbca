"""Largest eigenpairs of a positive-pair graph: components, multiplicities and residuals right.

The eigenvalue one is never iterated for: its eigenvectors are √w restricted to each connected
component. What remains is solved component by component, dense where they are small, by
shift-invert or filtered Lanczos where they are large, and merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.data.numbers import whole_number
from foretell.errors import ConvergenceError
from foretell.theory.graphs.connected import connected_parts
from foretell.theory.graphs.weights import NormalizedGraph


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    r"""Algebraically largest eigenpairs of :math:`\bar A`, descending.

    Attributes
    ----------
    values
        Eigenvalues, shape (k,).
    vectors
        Orthonormal eigenvectors, shape (n, k).
    residuals
        Norms of :math:`\bar A v - \lambda v`, shape (k,).
    solver
        ``"components"`` (nothing but eigenvalue one), ``"dense"``, or ``"lanczos"`` (of a
        polynomial, or of the shifted inverse where weights are banded).
    """

    values: Array
    vectors: Array
    residuals: Array
    solver: str

    def __str__(self) -> str:
        return (
            f"{len(self.values)} eigenvalues from {self.values[0]:.6g} to {self.values[-1]:.6g}, "
            f"residuals at most {self.residuals.max():.1e} ({self.solver})"
        )

    def leading(self, k: int) -> Eigenpairs:
        """The k largest of these pairs."""
        return Eigenpairs(self.values[:k], self.vectors[:, :k], self.residuals[:k], self.solver)


def eigenpairs(
    graph: NormalizedGraph, k: int, *, tolerance: float = 1e-8, random_state: int = 0
) -> Eigenpairs:
    r"""The k algebraically largest eigenpairs of :math:`\bar A`, each residual checked.

    Among the eigenvectors of eigenvalue one the heaviest components come first. Signs: the entry
    of largest size is positive. Within an eigenspace of another multiple eigenvalue the basis is
    one of many; it is the same for the same ``random_state``. A residual r makes an eigenvalue
    wrong by r²/gap at most (and never by more than r); eigenvectors whose values are closer than
    r are mixed with each other.

    Parameters
    ----------
    graph
        The graph on n vertices.
    k
        Number of pairs, 1 <= k <= n; all of them need the dense matrix.
    tolerance
        Largest norm of a residual.
    random_state
        Seed of the starts of iterations.

    Raises
    ------
    InputError
        If k is not a whole number with 1 <= k <= n.
    ConvergenceError
        If a residual is larger than the tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> ring = np.roll(np.eye(8), 1, axis=0) + np.roll(np.eye(8), -1, axis=0)
    >>> eigenpairs(normalized_weights(ring)[0], 3).values.round(4).tolist()
    [1.0, 0.7071, 0.7071]
    """
    k = whole_number(k, "k", 1, graph.n, f", the {graph.n} vertices")
    masses = np.bincount(graph.components, weights=graph.degrees)
    heaviest = np.argsort(-masses, kind="stable")
    c = min(k, len(masses))
    vectors = np.zeros((graph.n, k))
    slots = np.full(len(masses), -1)
    slots[heaviest[:c]] = np.arange(c)
    inside = slots[graph.components] >= 0
    columns = slots[graph.components[inside]]
    scale = np.sqrt(masses[graph.components[inside]])
    vectors[inside, columns] = graph.roots[inside] / scale
    values = np.ones(k)
    solver = "components"
    if k > c:
        values[c:], vectors[:, c:], solver = _rest(graph, k - c, tolerance, random_state)
    extremes = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    vectors *= np.where(extremes < 0, -1.0, 1.0)
    residuals = np.linalg.norm(graph.matvec(vectors) - vectors * values, axis=0)
    if residuals.max() > tolerance:
        i = int(residuals.argmax())
        raise ConvergenceError(
            f"eigenpair {i + 1} of {k} has a residual of {residuals[i]:.1e}, expected at most "
            f"{tolerance:.1e}; ask for more eigenpairs, so that a gap follows them, or for fewer"
        )
    return Eigenpairs(values, vectors, residuals, solver)


def _rest(
    graph: NormalizedGraph, count: int, tolerance: float, random_state: int
) -> tuple[Array, Array, str]:
    """Pairs beyond eigenvalue one of each component: values, vectors (n, count), solver."""
    parts = connected_parts(graph, tolerance, random_state)
    iterated = [part for part in parts if not part.is_dense(1)]
    first = count if len(iterated) < 2 else min(count, 2 * count // len(iterated) + 2)
    for part in parts:
        part.solve(first)
    while True:
        pool = np.concatenate([part.values for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part.values) for part in parts])
        order = np.argsort(-pool, kind="stable")[:count]
        threshold = pool[order[-1]] if len(order) == count else -np.inf
        short = [p for p in parts if not p.complete and p.values[-1] >= threshold - 1e-12]
        short = [p for p in short if len(p.values) < min(count, p.size - 1)]
        if not short:
            break
        for part in short:
            part.solve(min(2 * len(part.values), count))
    vectors = np.zeros((graph.n, count))
    starts = np.cumsum([0, *(len(part.values) for part in parts)])
    for column, i in enumerate(order):
        part = parts[owner[i]]
        vectors[part.vertices, column] = part.vectors[:, i - starts[owner[i]]]
    solver = "lanczos" if any(part.iterated for part in parts) else "dense"
    return pool[order], vectors, solver
