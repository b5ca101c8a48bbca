r"""Inverses of many small positive definite matrices at once.

LAPACK spends most of its time on a small matrix in calls and bookkeeping. Here the loop over the
columns of the matrices is outside, and each of its operations acts on all matrices, which are
stored along the last axis: two to four times faster for orders up to 40 and a hundred matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array

FEW = 64  # matrices below which LAPACK is faster


def inverses(blocks: Array) -> tuple[Array, Array]:
    r"""Inverses of positive definite matrices, shape (s, s, u), and logs of determinants, (u,).

    With :math:`B = L D L^\top`, L of unit diagonal, the inverse follows from its last column
    to the first by :math:`B^{-1} L = L^{-\top} D^{-1}`, whose part below the diagonal is zero.

    Parameters
    ----------
    blocks
        Symmetric matrices, shape (s, s, u); may be overwritten.

    Raises
    ------
    numpy.linalg.LinAlgError
        If one of them is not positive definite.

    Examples
    --------
    >>> V, logs = inverses(np.array([[2.0, 1.0], [1.0, 2.0]])[:, :, None])
    >>> (3 * V[:, :, 0]).round(12).tolist(), round(float(np.exp(logs[0])), 12)
    ([[2.0, -1.0], [-1.0, 2.0]], 3.0)
    """
    if blocks.shape[2] < FEW:
        return _inverses_one_by_one(blocks)
    pivots = _factorize(blocks)
    V, reciprocals = blocks, 1.0 / pivots
    for k in reversed(range(len(V))):
        below = V[k + 1 :, k]
        across = -np.einsum("ijn,jn->in", V[k + 1 :, k + 1 :], below)
        V[k, k] = reciprocals[k] - np.einsum("in,in->n", below, across)
        V[k + 1 :, k] = V[k, k + 1 :] = across
    return V, np.log(pivots).sum(axis=0)


def _factorize(L: Array) -> Array:
    """Put L below the diagonals of the matrices it holds, shape (s, s, u); returns D, (s, u)."""
    pivots = np.empty(L.shape[1:])
    with np.errstate(all="ignore"):
        for k in range(len(L)):
            column = L[k:, k]
            column -= np.einsum("ijn,jn->in", L[k:, :k], L[k, :k] * pivots[:k])
            pivots[k] = column[0]
            column[1:] /= column[0]
    if not pivots.min() > 0:
        raise np.linalg.LinAlgError("a matrix is not positive definite")
    return pivots


def _inverses_one_by_one(blocks: Array) -> tuple[Array, Array]:
    matrices = np.ascontiguousarray(np.moveaxis(blocks, 2, 0))
    diagonals: Any = np.einsum("uss->us", np.linalg.cholesky(matrices))
    V = np.ascontiguousarray(np.moveaxis(np.linalg.inv(matrices), 0, 2))
    return V, 2.0 * np.log(diagonals).sum(axis=1)
