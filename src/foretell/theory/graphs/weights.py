"""Weights of positive pairs, checked and normalised: what every computation on a graph reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array
from foretell.errors import InputError

ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class NormalizedGraph:
    r"""Positive-pair graph on n vertices, all of positive degree, with weights that sum to one.

    :math:`\bar A = D^{-1/2} W D^{-1/2}`, D with the degrees :math:`w_x = \sum_{x'} w(x, x')`.
    Given by W, or by a factor B, of shape (m, n), with :math:`\bar A = s B^\top B + t I`;
    the graph never forms W from a factor unless ``weights`` is read.

    Parameters
    ----------
    degrees
        Probabilities :math:`w_x > 0` of the vertices, shape (n,); they sum to one.
    given_weights
        W, symmetric, shape (n, n), dense or a SciPy CSR array; or None.
    factor
        B, shape (m, n), dense or a SciPy CSR array; or None.
    factor_scale, factor_shift
        The numbers s and t.

    Examples
    --------
    >>> import numpy as np
    >>> graph, kept = normalized_weights(np.array([[0, 2, 0], [2, 0, 0], [0, 0, 4.0]]))
    >>> graph.degrees.tolist(), graph.components.tolist(), graph.n_components
    ([0.25, 0.25, 0.5], [0, 0, 1], 2)
    """

    degrees: Array
    given_weights: Any = None
    factor: Any = None
    factor_scale: float = 1.0
    factor_shift: float = 0.0

    @property
    def n(self) -> int:
        """Number of vertices."""
        return len(self.degrees)

    @cached_property
    def roots(self) -> Array:
        """Square roots of the degrees, shape (n,): the eigenvector of eigenvalue one."""
        return np.asarray(np.sqrt(self.degrees))

    @cached_property
    def weights(self) -> Any:
        """W, symmetric, sums to one, shape (n, n): a CSR array, or dense if given so."""
        if self.given_weights is not None:
            return self.given_weights
        scaled = scale_columns(self.factor, self.roots)
        product = self.factor_scale * (scaled.T @ scaled)
        if self.factor_shift == 0:
            return product
        diagonal = product.diagonal() + self.factor_shift * self.degrees
        diagonal[diagonal < ROUNDING * self.degrees] = 0.0
        return with_diagonal(product, diagonal)

    @cached_property
    def adjacency(self) -> Any:
        r""":math:`\bar A`, shape (n, n), dense or CSR; formed when asked if a factor was given."""
        return scale_columns(scale_rows(self.weights, 1 / self.roots), 1 / self.roots)

    def matvec(self, V: Array) -> Array:
        r""":math:`\bar A V` for V of shape (n,) or (n, c), without forming W from a factor."""
        if self.factor is None:
            return np.asarray(self.adjacency @ V)
        product = self.factor_scale * (self.factor_transposed @ (self.factor @ V))
        return np.asarray(product + self.factor_shift * V if self.factor_shift else product)

    def quadratic(self, V: Array) -> Array:
        r""":math:`V^\top \bar A V` for V of shape (n, c), shape (c, c)."""
        return np.asarray(V.T @ self.matvec(V))

    @cached_property
    def components(self) -> Array:
        """Connected component of each vertex, shape (n,), numbered by first appearance."""
        return self._labelled[0]

    @property
    def n_components(self) -> int:
        """Number of connected components: the multiplicity of eigenvalue one."""
        return self._labelled[1]

    @cached_property
    def factor_transposed(self) -> Any:
        """Bᵀ, in an order that multiplies fast, shape (n, m)."""
        transposed = self.factor.T
        return transposed if isinstance(transposed, np.ndarray) else transposed.tocsr()

    @cached_property
    def _labelled(self) -> tuple[Array, int]:
        from scipy.sparse import block_array, csr_array
        from scipy.sparse.csgraph import connected_components

        if self.factor is None:
            links = csr_array(self.given_weights)
        else:
            links = block_array([[None, csr_array(self.factor)], [csr_array(self.factor).T, None]])
        found = connected_components(links, directed=False)[1][-self.n :]
        _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[inverse], len(first)


def normalized_weights(weights: Any, *, isolated: str = "error") -> tuple[NormalizedGraph, Array]:
    """Graph of symmetric non-negative weights of any scale, and the vertices that it keeps.

    Parameters
    ----------
    weights
        Shape (n, n), dense or any SciPy sparse format.
    isolated
        ``"error"``, or ``"drop"``: leave out vertices whose weights are all zero.

    Raises
    ------
    InputError
        If weights are not square, finite, non-negative or symmetric beyond rounding (1e-10 of
        the largest weight), or if vertices have no weight and ``isolated`` is ``"error"``.
    """
    W = matrix_of(weights, "weights")
    if W.shape[0] != W.shape[1]:
        raise InputError(
            f"weights have shape {W.shape}; expected (n, n), one row and one column a vertex"
        )
    largest = check_values(W, "weights")
    W = W / largest
    gap = abs(W - W.T)
    worst = float(gap.max())
    if worst > max(ROUNDING, 100 * _epsilon(weights)):
        i, j = _position(gap)
        raise InputError(
            f"weights are not symmetric: w[{i}, {j}] = {W[i, j] * largest:.6g} and w[{j}, {i}] = "
            f"{W[j, i] * largest:.6g}; a pair has one weight, so pass (weights + weights.T) / 2 "
            "if both directions count"
        )
    if worst > 0:
        W = 0.5 * (W + W.T)
    degrees = np.asarray(W.sum(axis=1), dtype=np.float64).ravel()
    kept = kept_vertices(degrees, isolated)
    if len(kept) < len(degrees):
        W, degrees = W[kept][:, kept], degrees[kept]
    total = degrees.sum()
    if not isinstance(W, np.ndarray):
        W = W.tocsr()
    return NormalizedGraph(degrees / total, given_weights=W / total), kept


def normalized_augmentations(
    probabilities: Any,
    weights: Any = None,
    *,
    views: int | None = None,
    isolated: str = "error",
) -> tuple[NormalizedGraph, Array]:
    r"""Graph of W = AᵀPA from the augmentation probabilities A of samples, as a factor.

    :math:`B = P^{1/2} A D^{-1/2}`. If rows are counts of V drawn views each, pairs of a view with
    itself are removed: :math:`\bar A = (V B^\top B - I) / (V - 1)`, exactly the graph of the
    V (V - 1) ordered pairs of different draws of each sample.

    Parameters
    ----------
    probabilities
        A, shape (m, n): rows are distributions over the n augmented points, or counts of draws.
    weights
        Probabilities of the m samples, any scale, shape (m,); None: equal.
    views
        Draws V a sample if rows are counts.
    isolated
        As in :func:`normalized_weights`, for points that no sample is augmented to.

    Raises
    ------
    InputError
        If entries are negative or not finite, if rows do not sum to one (to V), if weights have
        a wrong length or sign, if points have no probability, or if V < 2.
    """
    A = matrix_of(probabilities, "probabilities")
    m = A.shape[0]
    check_values(A, "probabilities")
    if views is not None:
        if int(views) != views or views < 2:
            raise InputError(f"views is a whole number of at least two draws; found {views!r}")
        stored = A if isinstance(A, np.ndarray) else A.data
        if np.any(stored != np.round(stored)):
            raise InputError(
                f"with views={views} rows are counts of drawn views, whole numbers; found "
                "fractions: leave views out if rows are probabilities"
            )
    expected = 1.0 if views is None else float(views)
    sums = np.asarray(A.sum(axis=1)).ravel()
    wrong = np.abs(sums - expected) > ROUNDING * max(1.0, expected) + 100 * _epsilon(probabilities)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"{wrong.sum()} of {m} rows of the probabilities do not sum to {expected:g}; row {i} "
            f"sums to {sums[i]:.6g}: "
            + ("divide each row by its sum" if views is None else "count all views of each sample")
        )
    P = sample_probabilities(weights, m)
    A = scale_rows(A, 1 / sums)
    degrees = np.asarray(A.T @ P, dtype=np.float64).ravel()
    kept = kept_vertices(degrees, isolated)
    if len(kept) < len(degrees):
        A, degrees = A[:, kept], degrees[kept]
    if not P.all():
        A, P = A[P > 0], P[P > 0]
    B = scale_columns(scale_rows(A, np.sqrt(P)), 1 / np.sqrt(degrees))
    if views is None:
        return NormalizedGraph(degrees, factor=B), kept
    scale, shift = views / (views - 1), -1 / (views - 1)
    return NormalizedGraph(degrees, factor=B, factor_scale=scale, factor_shift=shift), kept


def sample_probabilities(weights: Any, m: int) -> Array:
    """Probabilities of m samples, shape (m,), from weights of any scale; None: equal."""
    if weights is None:
        return np.full(m, 1.0 / m)
    P = real_array(weights, "weights of the samples", f"({m},), one a row")
    if P.shape != (m,):
        raise InputError(f"weights of the samples have shape ({m},), one a row; found {P.shape}")
    if not np.isfinite(P).all() or P.min() < 0 or P.max() == 0:
        raise InputError("weights of the samples must be finite, non-negative and not all zero")
    P = P / P.max()
    return np.asarray(P / P.sum())


def matrix_of(values: Any, name: str) -> Any:
    """Values as a float64 array or CSR array with two axes, neither of them empty."""
    from scipy.sparse import csr_array, issparse

    sparse = issparse(values)
    if not sparse:
        values = real_array(values, name, "(n, n)" if name == "weights" else "(m, n)")
    if values.dtype.kind not in "buif":
        raise InputError(f"{name} are real numbers; found data of type {values.dtype}")
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{name} are a matrix that is not empty; found shape {values.shape}")
    if not sparse:
        return np.array(values, dtype=np.float64)
    matrix = csr_array(values, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if max(matrix.nnz, *matrix.shape) < np.iinfo(np.int32).max:
        matrix.indices, matrix.indptr = matrix.indices.astype("i4"), matrix.indptr.astype("i4")
    return matrix


def check_values(matrix: Any, name: str) -> float:
    """The largest entry of a matrix; refuses entries that are negative, infinite or all zero."""
    stored = matrix if isinstance(matrix, np.ndarray) else matrix.data
    finite = np.isfinite(stored)
    if not finite.all():
        raise InputError(
            f"{name} are not finite: {(~finite).sum()} entries are NaN or infinite; expected "
            "non-negative numbers"
        )
    if stored.size and stored.min() < 0:
        raise InputError(
            f"{name} are negative: {(stored < 0).sum()} entries, the smallest {stored.min():.6g}; "
            "expected non-negative numbers (shift or clip similarities first)"
        )
    if not stored.size or stored.max() == 0:
        raise InputError(f"{name} are all zero; there are no positive pairs")
    return float(stored.max())


def kept_vertices(degrees: Array, isolated: str) -> Array:
    """Vertices of positive degree; zero degrees are refused unless they are to be dropped."""
    if isolated not in ("error", "drop"):
        raise InputError(f"isolated is 'error' or 'drop'; found {isolated!r}")
    kept = np.flatnonzero(degrees > 0)
    if len(kept) == len(degrees) or isolated == "drop":
        return kept
    lost = np.flatnonzero(degrees <= 0)
    shown = ", ".join(str(i) for i in lost[:5]) + (", ..." if len(lost) > 5 else "")
    raise InputError(
        f"{len(lost)} of {len(degrees)} vertices are in no positive pair (all-zero rows): {shown}; "
        "they have no probability and no embedding: remove them, or pass isolated='drop' (on the "
        "command line, --drop-isolated)"
    )


def scale_rows(matrix: Any, factors: Array) -> Any:
    """Each row times its factor, dense or CSR."""
    if isinstance(matrix, np.ndarray):
        return matrix * factors[:, None]
    scaled = matrix.tocsr(copy=True)
    scaled.data *= np.repeat(factors, np.diff(scaled.indptr))
    return scaled


def scale_columns(matrix: Any, factors: Array) -> Any:
    """Each column times its factor, dense or CSR."""
    if isinstance(matrix, np.ndarray):
        return matrix * factors
    scaled = matrix.tocsr(copy=True)
    scaled.data *= factors[scaled.indices]
    return scaled


def with_diagonal(matrix: Any, diagonal: Array) -> Any:
    """The matrix with another diagonal, dense or CSR; zeros are not stored."""
    if isinstance(matrix, np.ndarray):
        np.fill_diagonal(matrix, diagonal)
        return matrix
    from scipy.sparse import diags_array

    changed = (matrix + diags_array(diagonal - matrix.diagonal())).tocsr()
    changed.eliminate_zeros()
    return changed


def _epsilon(values: Any) -> float:
    dtype = getattr(values, "dtype", np.dtype(np.float64))
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _position(gap: Any) -> tuple[int, int]:
    """Row and column of the largest entry."""
    i, j = np.unravel_index(int(gap.argmax()), gap.shape)
    return int(i), int(j)
