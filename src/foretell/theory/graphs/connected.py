"""Largest eigenpairs of one connected component: dense, on the rows of a factor, or iterated.

LAPACK where the component is small; on the m x m matrix of the rows of the factor where they are
few or the factor is full (1 CPU s with m = 2,000 instead of 6 and more for iterations with 3
million entries); shift-invert where renumbered weights are banded; filtered Lanczos on the shorter
side elsewhere. Where that does not converge, LAPACK up to 4,000 vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.theory.graphs.lanczos import Operator, largest_pairs, rayleigh_ritz, refined
from foretell.theory.graphs.shift_invert import banded_pairs, is_banded
from foretell.theory.graphs.weights import NormalizedGraph

DENSE, DENSE_FALLBACK = 400, 4000
FEW_ROWS, MOST_ROWS, DENSE_COST = 1500, 5000, 7e4
SPARSE_COST, CHUNK_NUMBERS = 25.0, 1 << 23
NULL = 1e-6  # values of a factor below this do not carry their vectors to its other side


@dataclass(eq=False)
class Part:
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
        """Number of vertices."""
        return self.graph.n

    @property
    def perron(self) -> Array:
        """Eigenvector of eigenvalue one, shape (size,)."""
        return np.asarray(self.graph.roots / np.linalg.norm(self.graph.roots))

    def is_dense(self, count: int) -> bool:
        """Whether LAPACK on the whole matrix is the way to so many pairs."""
        return self.size <= max(DENSE, min(3 * count, 20 * DENSE))

    def solve(self, count: int) -> None:
        """Find at least ``count`` pairs, or all: values, descending, and vectors (size, count)."""
        count = min(count, self.size - 1)
        if self.is_dense(count):
            self._solve_dense(count)
        elif self._rows <= max(DENSE, 3 * count):
            self._solve_range(count)
        elif not (self._has_dense_rows and self._solve_rows(count)):
            try:
                self._solve_sparse(count)
            except ConvergenceError:
                if self.size > DENSE_FALLBACK:
                    raise
                self._solve_dense(count)

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

    def _solve_sparse(self, count: int) -> None:
        if not self.iterated:
            self._reorder()
            self.iterated = True
        rng = np.random.default_rng(self.random_state)
        if self.graph.factor is None and is_banded(self.graph.adjacency):
            vectors = banded_pairs(self.graph.adjacency, self.perron, count, rng=rng)
        else:
            vectors = self._lanczos(count, rng)
        values, vectors = refined(self._operator, vectors, count, self.tolerance)
        self.values, self.vectors = values[:count], vectors[:, :count]

    def _lanczos(self, count: int, rng: np.random.Generator) -> Array:
        options: dict[str, Any] = {"tolerance": self.tolerance, "rng": rng}
        if self._rows < 0.8 * self.size:
            values, left = largest_pairs(self._rowwise(), count, **options)
            if values[-1] - self.graph.factor_shift > NULL:
                return self._right(left)
        return largest_pairs(self._operator, count, **options)[1]

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


def connected_parts(graph: NormalizedGraph, tolerance: float, random_state: int) -> list[Part]:
    """Components with more than one vertex, each a graph of its own."""
    if graph.n_components == 1:
        return [Part(slice(None), graph, tolerance, random_state)]
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
        parts.append(Part(vertices, own, tolerance, random_state))
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
