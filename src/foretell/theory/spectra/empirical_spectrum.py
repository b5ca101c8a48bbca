r"""Eigenvalues and eigenvectors of the coefficients of masked ridge regression, from data.

The coefficients :math:`A = I - Q D^{-1}`, :math:`D = \mathrm{diag}(Q)`, are similar to the
symmetric :math:`S = I - D^{-1/2} Q D^{-1/2}`: eigenvalues are real, and vectors of A are those of
S times :math:`D^{1/2}` on the right and :math:`D^{-1/2}` on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError, InputError

SYMMETRIC = 1e-6  # asymmetry of coefficients in their own metric, relative to the largest


@dataclass(frozen=True, eq=False)
class EmpiricalSpectrum:
    """Eigenvalues of the coefficients, largest first, and eigenvectors of length one.

    Attributes
    ----------
    eigenvalues
        Real, below one (n < d without penalty: n of them are one), of sum zero, shape (d,).
    right, left, symmetric
        Eigenvectors of A, of A', and of the symmetric matrix similar to A, in columns, (d, d).
    scale
        Diagonal of the resolvent, or numbers proportional to it, shape (d,).
    """

    eigenvalues: Array
    right: Array
    left: Array
    symmetric: Array
    scale: Array


def empirical_spectrum(X: Any, alpha: float) -> EmpiricalSpectrum:
    """Spectrum of the coefficients fitted to rows X, which are not centered here.

    Parameters
    ----------
    X
        Data, shape (n, d).
    alpha
        Ridge penalty, not negative; zero is the limit of small penalties.

    Raises
    ------
    InputError
        If X is not a finite matrix with two rows or more, or the penalty is negative.
    IdentificationError
        If there is no penalty and a column is determined by the others for n >= d, or outside
        the null space of X for n < d.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> found = empirical_spectrum(X, 0.1)
    >>> bool(abs(found.eigenvalues.sum()) < 1e-12), found.right.shape
    (True, (5, 5))
    """
    rows = _rows(X)
    if not 0 <= float(alpha) < np.inf:
        raise InputError(f"alpha is a penalty, finite and not negative; found {alpha!r}")
    resolvent = _resolvent(rows, float(alpha))
    scale = np.diag(resolvent).copy()
    root = np.sqrt(scale)
    values, vectors = np.linalg.eigh(resolvent / root[:, None] / root)
    return _spectrum(1 - values, vectors, scale)


def coefficient_spectrum(coef: Any) -> EmpiricalSpectrum:
    r"""Spectrum of given coefficients, :math:`A_{jk}` the weight of column j in predicting k.

    Their metric is found from :math:`A D = D A^\top`, up to a factor for each group of columns
    that predict only one another.

    Parameters
    ----------
    coef
        Coefficients of masked ridge regression with one penalty, shape (d, d), zero diagonal.

    Raises
    ------
    InputError
        If the matrix is not square, finite and of zero diagonal, or is not similar to a symmetric
        one, so that it does not come from masked ridge regression.

    Examples
    --------
    >>> coefficient_spectrum([[0.0, 0.8], [0.2, 0.0]]).eigenvalues.round(6).tolist()
    [0.4, -0.4]
    """
    matrix = np.asarray(coef, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise InputError(f"coefficients are finite, shape (d, d); found shape {matrix.shape}")
    if np.diag(matrix).any():
        raise InputError("coefficients have a zero diagonal: no column predicts itself")
    scale = _metric(matrix)
    root = np.sqrt(scale)
    similar = matrix * (root / root[:, None])
    gap = float(np.abs(similar - similar.T).max(initial=0.0))
    if gap > SYMMETRIC * max(float(np.abs(similar).max(initial=0.0)), 1e-300):
        raise InputError(
            f"the coefficients are not similar to a symmetric matrix (asymmetry {gap:.3g}): they "
            "need one penalty for all columns; for others, use numpy.linalg.eig"
        )
    values, vectors = np.linalg.eigh(-(similar + similar.T) / 2)
    return _spectrum(-values, vectors, scale)


def _spectrum(values: Array, vectors: Array, scale: Array) -> EmpiricalSpectrum:
    root = np.sqrt(scale)[:, None]
    right, left = vectors * root, vectors / root
    right /= np.linalg.norm(right, axis=0)
    left /= np.linalg.norm(left, axis=0)
    return EmpiricalSpectrum(values, right, left, vectors, scale)


def _rows(X: Any) -> Array:
    rows = np.asarray(X, dtype=float)
    if rows.ndim != 2 or rows.shape[0] < 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(
            f"X is a finite matrix (n, d) with n >= 2; found shape {rows.shape} and "
            f"{int((~np.isfinite(rows)).sum())} entries that are not finite"
        )
    return rows


def _resolvent(rows: Array, alpha: float) -> Array:
    """Penalty times resolvent for n < d (its limit is the null projector), else the resolvent."""
    n, d = rows.shape
    tall = n >= d
    squares, vectors = np.linalg.eigh((rows.T @ rows if tall else rows @ rows.T) / n)
    rank = squares > max(n, d) * np.finfo(float).eps * squares[-1]
    if tall:
        if alpha == 0 and not rank.all():
            raise IdentificationError(
                f"without penalty the {d} columns need rank {d}; found {int(rank.sum())}; give a "
                "penalty or drop columns that others determine"
            )
        resolvent = (vectors / (np.maximum(squares, 0.0) + alpha)) @ vectors.T
    else:
        inverse = vectors[:, rank] / np.sqrt(n * (squares[rank] + alpha))
        half = rows.T @ inverse
        resolvent = np.eye(d) - half @ half.T
    if (np.diag(resolvent) <= np.finfo(float).eps * d * np.diag(resolvent).max()).any():
        raise IdentificationError(
            "without penalty a column has no part in the null space of X, so that its coefficients "
            "are not determined by the limit; give a penalty"
        )
    return (resolvent + resolvent.T) / 2


def _metric(matrix: Array) -> Array:
    """Positive numbers D with A D symmetric, by the strongest links between columns."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import (
        breadth_first_order,
        connected_components,
        minimum_spanning_tree,
    )

    strength = np.sqrt(np.maximum(matrix * matrix.T, 0.0))
    d = len(matrix)
    scale = np.ones(d)
    if not strength.any():
        return scale
    with np.errstate(divide="ignore"):
        cost = np.where(strength > 0, 1 - np.log(strength / strength.max()), 0.0)
    tree = minimum_spanning_tree(csr_array(cost))
    count, labels = connected_components(tree, directed=False)
    for start in (int(np.flatnonzero(labels == label)[0]) for label in range(count)):
        order, parents = breadth_first_order(tree, start, directed=False)
        for k in order[1:]:
            j = parents[k]
            scale[k] = scale[j] * matrix[k, j] / matrix[j, k]
    return scale
