r"""The symmetric matrix to factor, through its eigendecomposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

LARGEST = 1e80  # of the numbers in a target
ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Target:
    r"""Symmetric matrix :math:`M = V \Lambda V^\top` of the loss
    :math:`\frac14 \lVert XX^\top - M \rVert_F^2`.

    Make it with ``Target.of`` from a matrix, or with ``Target.low_rank`` from the eigenpairs that
    are not zero. With p < d pairs, M vanishes on the complement of their span.

    Attributes
    ----------
    eigenvalues
        :math:`\Lambda`, descending, shape (p,).
    vectors
        V, orthonormal columns, shape (d, p).

    Examples
    --------
    >>> target = Target.of(np.diag([1.0, 3.0]))
    >>> target.eigenvalues.tolist(), target.positive
    ([3.0, 1.0], 2)
    """

    eigenvalues: Array
    vectors: Array

    @classmethod
    def of(cls, target: Any) -> Target:
        """From a symmetric matrix, shape (d, d); a Target is returned as it is.

        The eigendecomposition takes O(d^3) once.

        Raises
        ------
        InputError
            If the matrix is not square, symmetric to 1e-10 of its largest entry, and finite.
        """
        if isinstance(target, cls):
            return target
        M = _real("target", target)
        if M.ndim != 2 or M.shape[0] != M.shape[1] or not M.size:
            raise InputError(f"target has shape (d, d); found {M.shape}")
        largest, gap = _in_range("target", M), np.abs(M - M.T).max()
        if gap > 1e-10 * largest:
            raise InputError(
                f"target is symmetric; found entries {gap:.3g} apart from their mirror images "
                f"(largest entry {largest:.3g}); pass (target + target.T) / 2"
            )
        values, vectors = np.linalg.eigh((M + M.T) / 2)
        return cls(values[::-1].copy(), np.ascontiguousarray(vectors[:, ::-1]))

    @classmethod
    def low_rank(cls, eigenvalues: Any, vectors: Any) -> Target:
        """From its eigenpairs, shapes (p,) and (d, p), in any order; all others are zero.

        For operators too large for a matrix (``scipy.sparse.linalg.eigsh`` gives the pairs). A
        flow then takes O(d k^2) a time, not O(d^2 k).

        Raises
        ------
        InputError
            If the shapes do not match, a number is not finite, or the vectors are not
            orthonormal to 1e-8.

        Examples
        --------
        >>> Target.low_rank([2.0], np.ones((4, 1)) / 2).matrix()[0].tolist()
        [0.5, 0.5, 0.5, 0.5]
        """
        values, V = _real("eigenvalues", eigenvalues), _real("vectors", vectors)
        if values.ndim != 1 or V.ndim != 2 or V.shape[1] != len(values) or not V.size:
            raise InputError(
                f"eigenvalues have shape (p,) and vectors (d, p); found {values.shape} and "
                f"{V.shape}"
            )
        if len(values) > len(V):
            raise InputError(f"at most d = {len(V)} vectors are orthonormal; found {len(values)}")
        error = np.abs(V.T @ V - np.eye(len(values))).max()
        if error > 1e-8:
            raise InputError(
                f"vectors are orthonormal; found inner products {error:.3g} off; take the Q of "
                "their QR decomposition, or the vectors of an eigensolver"
            )
        _in_range("eigenvalues", values)
        order = np.argsort(-values, kind="stable")
        return cls(values[order], np.ascontiguousarray(V[:, order]))

    @property
    def d(self) -> int:
        """Number d of rows and columns."""
        return int(self.vectors.shape[0])

    @property
    def positive(self) -> int:
        """Number r of positive eigenvalues, those above rounding of the largest."""
        return int((self.eigenvalues > self.rounding).sum())

    @property
    def rounding(self) -> float:
        """Size below which an eigenvalue cannot be told from zero."""
        return self.d * ROUNDING * float(np.abs(self.eigenvalues).max())

    def matrix(self) -> Array:
        """M, shape (d, d)."""
        return np.asarray((self.vectors * self.eigenvalues) @ self.vectors.T)

    def loss(self, solution: Array) -> Array:
        r""":math:`\frac14 \lVert XX^\top - M \rVert_F^2` of X, shape (..., d, k).

        >>> float(Target.of(np.diag([3.0, 1.0])).loss(np.zeros((2, 1))))
        2.5
        """
        X = np.asarray(solution, dtype=np.float64)
        return self.gram_loss(X @ np.swapaxes(X, -1, -2))

    def gram_loss(self, gram: Array) -> Array:
        r""":math:`\frac14 \lVert P - M \rVert_F^2` of P, shape (..., d, d).

        >>> float(Target.of(np.diag([3.0, 1.0])).gram_loss(np.diag([3.0, 0.0])))
        0.25
        """
        return np.asarray(((gram - self.matrix()) ** 2).sum((-1, -2)) / 4)


def _real(name: str, values: Any) -> Array:
    """In double precision, checked to be real and finite."""
    found = np.asarray(values)
    if not (np.issubdtype(found.dtype, np.number) or found.dtype == bool) or np.iscomplexobj(found):
        raise InputError(f"{name} holds real numbers; found dtype {found.dtype}")
    if not np.isfinite(found).all():
        count = int((~np.isfinite(found)).sum())
        raise InputError(f"{name} has {count} entries that are not finite; drop or repair them")
    return found.astype(np.float64)


def _in_range(name: str, values: Array) -> float:
    """The largest absolute value, zero or of a size whose squares can be added up."""
    largest = float(np.abs(values).max())
    if largest and not 1 / LARGEST <= largest <= LARGEST:
        raise InputError(
            f"{name} has numbers of size {largest:.3g}; expected {1 / LARGEST:g} to {LARGEST:g}; "
            "choose other units"
        )
    return largest
