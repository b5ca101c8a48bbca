"""Largest eigenpairs of a positive-pair graph: components, multiplicities and residuals right.

The eigenvalue one is never iterated for: its eigenvectors are √w restricted to each connected
component. What remains is solved component by component, dense where they are small, by filtered
Lanczos on the shorter side of the factor where they are large, and merged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError
from foretell.theory.graphs.lanczos import Operator, largest_pairs, rayleigh_ritz
from foretell.theory.graphs.weights import NormalizedGraph

DENSE = 400
FEW_ROWS, MOST_ROWS, DENSE_COST = 1500, 5000, 7e4
SPARSE_COST, CHUNK_NUMBERS = 25.0, 1 << 23
NULL = 1e-6  # values of a factor below this do not carry their vectors to its other side


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
        ``"components"`` (nothing but eigenvalue one), ``"dense"`` or ``"lanczos"``.
    """

    values: Array
    vectors: Array
    residuals: Array
    solver: str

    def leading(self, k: int) -> Eigenpairs:
        """The k largest of these pairs."""
        return Eigenpairs(self.values[:k], self.vectors[:, :k], self.residuals[:k], self.solver)


def eigenpairs(
    graph: NormalizedGraph, k: int, *, tolerance: float = 1e-8, random_state: int = 0
) -> Eigenpairs:
    r"""The k algebraically largest eigenpairs of :math:`\bar A`, each residual checked.

    Among the eigenvectors of eigenvalue one the heaviest components come first. Signs: the entry
    of largest size is positive. Within an eigenspace of another multiple eigenvalue the basis is
    one of many; it is the same for the same ``random_state``.

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
    if not isinstance(k, int | np.integer) or not 1 <= k <= graph.n:
        raise InputError(f"k is a whole number from 1 to {graph.n} vertices; found {k!r}")
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
            f"{tolerance:.1e}; ask for fewer eigenpairs, or for a looser tolerance"
        )
    return Eigenpairs(values, vectors, residuals, solver)


def _rest(
    graph: NormalizedGraph, count: int, tolerance: float, random_state: int
) -> tuple[Array, Array, str]:
    """Pairs beyond eigenvalue one of each component: values, vectors (n, count), solver."""
    parts = _parts(graph, tolerance, random_state)
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


@dataclass(eq=False)
class _Part:
    """One connected component with the pairs found so far, without that of eigenvalue one."""

    vertices: Any
    graph: NormalizedGraph
    tolerance: float
    random_state: int
    complete: bool = False
    iterated: bool = False

    def __post_init__(self) -> None:
        self.values: Array = np.empty(0)
        self.vectors: Array = np.empty((self.size, 0))

    @property
    def size(self) -> int:
        return self.graph.n

    @property
    def perron(self) -> Array:
        return np.asarray(self.graph.roots / np.linalg.norm(self.graph.roots))

    def is_dense(self, count: int) -> bool:
        return self.size <= max(DENSE, min(3 * count, 20 * DENSE))

    def solve(self, count: int) -> None:
        count = min(count, self.size - 1)
        if self.is_dense(count):
            self._solve_dense(count)
        elif self._rows <= max(DENSE, 3 * count):
            self._solve_range(count)
        elif not (self._has_dense_rows and self._solve_rows(count)):
            self._solve_lanczos(count)

    @property
    def _rows(self) -> float:
        return np.inf if self.graph.factor is None else self.graph.factor.shape[0]

    @property
    def _entries(self) -> float:
        B = self.graph.factor
        return float(B.size if isinstance(B, np.ndarray) else B.nnz)

    def _solve_dense(self, count: int) -> None:
        if self.graph.factor is None:
            matrix = _dense(self.graph.adjacency)
        else:
            B = _dense(self.graph.factor)
            matrix = self.graph.factor_scale * (B.T @ B)
            matrix += self.graph.factor_shift * np.eye(self.size)
        values, vectors = np.linalg.eigh(matrix - 3 * np.outer(self.perron, self.perron))
        kept = slice(self.size - 1, max(self.size - 1 - count, 0), -1)
        self.values, self.vectors = values[kept], vectors[:, kept]
        self.complete = True

    def _solve_range(self, count: int) -> None:
        """Few rows m in the factor: all directions outside their span have the shift as value."""
        rng = np.random.default_rng(self.random_state)
        span = _dense(self.graph.factor).T
        spare = max(0, count + 1 - span.shape[1])
        span = np.hstack([span, rng.standard_normal((self.size, spare))])
        values, vectors = rayleigh_ritz(self._operator, span)
        self.values, self.vectors = values[:count], vectors[:, :count]
        self.complete = count == self.size - 1

    @property
    def _has_dense_rows(self) -> bool:
        """Whether LAPACK on m x m numbers is faster than many products with the factor."""
        rows = self._rows
        if rows > min(MOST_ROWS, self.size):
            return False
        return rows <= FEW_ROWS or rows**3 <= DENSE_COST * self._entries

    def _solve_rows(self, count: int) -> bool:
        """Dense s BBᵀ on the m rows; False if fewer than ``count`` values are above the shift."""
        from scipy.linalg import eigh

        m = self.graph.factor.shape[0]
        gram = row_gram(self.graph.factor, self.graph.factor_transposed)
        left = self._left_perron
        gram -= 3 * np.outer(left, left)
        values, vectors = eigh(gram, subset_by_index=[m - count, m - 1], overwrite_a=True)
        if values[0] * self.graph.factor_scale <= NULL:
            return False
        self.values, self.vectors = rayleigh_ritz(self._operator, self._right(vectors))
        return True

    @property
    def _operator(self) -> Operator:
        lower = -1.0 if self.graph.factor is None else self.graph.factor_shift
        return Operator(self.size, lower, self.graph.matvec, self.perron[:, None])

    def _solve_lanczos(self, count: int) -> None:
        if not self.iterated:
            self._reorder()
            self.iterated = True
        rng = np.random.default_rng(self.random_state)
        options: dict[str, Any] = {"tolerance": self.tolerance, "rng": rng}
        vectors = None
        if self._rows < 0.8 * self.size:
            values, left = largest_pairs(self._rowwise(), count, **options)
            if values[-1] - self.graph.factor_shift > NULL:
                vectors = self._right(left)
        if vectors is None:
            vectors = largest_pairs(self._operator, count, **options)[1]
        self.values, self.vectors = rayleigh_ritz(self._operator, vectors)

    def _reorder(self) -> None:
        """Number neighbors close to each other: products then read memory almost in order."""
        from scipy.sparse import block_array

        given, B = self.graph.given_weights, self.graph.factor
        if isinstance(given if B is None else B, np.ndarray):
            return
        if B is None:
            order = bandwidth_order(given)
            own = NormalizedGraph(self.graph.degrees[order], given_weights=given[order][:, order])
        else:
            m = B.shape[0]
            both = bandwidth_order(block_array([[None, B], [B.T, None]], format="csr"))
            rows, order = both[both < m], both[both >= m] - m
            own = replace(self.graph, degrees=self.graph.degrees[order], factor=B[rows][:, order])
        self.vertices = order if isinstance(self.vertices, slice) else self.vertices[order]
        self.graph = own

    def _rowwise(self) -> Operator:
        """s BBᵀ + t I on the m rows: its eigenvalues are those of s BᵀB + t I above t."""
        B, scale, shift = self.graph.factor, self.graph.factor_scale, self.graph.factor_shift
        transposed = self.graph.factor_transposed

        def apply(V: Array) -> Array:
            product = scale * (B @ (transposed @ V))
            return np.asarray(product + shift * V if shift else product)

        return Operator(B.shape[0], shift, apply, self._left_perron[:, None])

    @property
    def _left_perron(self) -> Array:
        left = self.graph.factor @ self.perron
        return np.asarray(left / np.linalg.norm(left))

    def _right(self, left: Array) -> Array:
        return np.asarray(self.graph.factor_transposed @ left)


def bandwidth_order(links: Any) -> Array:
    """Order of vertices by reverse Cuthill-McKee, of a symmetric CSR array."""
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    return np.asarray(reverse_cuthill_mckee(links, symmetric_mode=True))


def row_gram(factor: Any, transposed: Any) -> Array:
    """BBᵀ, dense, shape (m, m), from B and Bᵀ: by the sparse product where that is cheaper."""
    if isinstance(factor, np.ndarray):
        return np.asarray(factor @ factor.T)
    m, n = factor.shape
    if SPARSE_COST * float((np.diff(transposed.indptr).astype(float) ** 2).sum()) < n * m**2:
        return np.asarray((factor @ transposed).toarray())
    gram = np.zeros((m, m))
    step = max(1, CHUNK_NUMBERS // m)
    for start in range(0, n, step):
        columns = transposed[start : start + step].toarray()
        gram += columns.T @ columns
    return gram


def _parts(graph: NormalizedGraph, tolerance: float, random_state: int) -> list[_Part]:
    """Components with more than one vertex, each a graph of its own."""
    if graph.n_components == 1:
        return [_Part(slice(None), graph, tolerance, random_state)]
    order = np.argsort(graph.components, kind="stable")
    ends = np.cumsum(np.bincount(graph.components))
    if graph.factor is None:
        blocks = _diagonal_blocks(graph.given_weights, order, order, ends, ends)
    else:
        B = graph.factor
        first = np.abs(B).argmax(axis=1)
        rows = graph.components[np.asarray(first).ravel()]
        row_ends = np.cumsum(np.bincount(rows, minlength=graph.n_components))
        row_order = np.argsort(rows, kind="stable")
        blocks = _diagonal_blocks(B, row_order, order, row_ends, ends)
    parts = []
    for (start, end), block in zip(_ranges(ends), blocks, strict=True):
        if end - start == 1:
            continue
        vertices = order[start:end]
        degrees = graph.degrees[vertices]
        if graph.factor is None:
            own = NormalizedGraph(degrees, given_weights=block)
        else:
            own = NormalizedGraph(
                degrees,
                factor=block,
                factor_scale=graph.factor_scale,
                factor_shift=graph.factor_shift,
            )
        parts.append(_Part(vertices, own, tolerance, random_state))
    return parts


def _diagonal_blocks(
    matrix: Any, row_order: Array, column_order: Array, row_ends: Array, ends: Array
) -> list[Any]:
    sorted_ = matrix[row_order][:, column_order]
    return [
        sorted_[top:bottom, start:end]
        for (top, bottom), (start, end) in zip(_ranges(row_ends), _ranges(ends), strict=True)
    ]


def _ranges(ends: Array) -> list[tuple[int, int]]:
    return list(zip(np.r_[0, ends[:-1]].tolist(), ends.tolist(), strict=True))


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray())
