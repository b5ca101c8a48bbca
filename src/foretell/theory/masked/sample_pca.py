"""Errors of the principal components of one sample, exactly, at every rank from one SVD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.spectrum import check_covariance

VANISHING = 1e-10  # a coordinate whose share outside the subspace is less cannot be predicted


@dataclass(frozen=True)
class SamplePCAErrors:
    r"""Errors on a new row of PCA fitted to one sample, mean over coordinates.

    Attributes
    ----------
    ranks
        Number of components, shape (r,).
    pca
        :math:`\tfrac1d E\|x - UU^\top x\|^2`, shape (r,): the new row is seen whole.
    masked_pca
        :math:`\tfrac1d \sum_k (P\Sigma P)_{kk} / P_{kk}^2` with :math:`P = I - UU^\top`,
        shape (r,): coordinate k is predicted from the others. Infinite where a coordinate lies
        in the subspace.
    """

    ranks: Array
    pca: Array
    masked_pca: Array


def sample_pca_errors(X: Any, covariance: Any, ranks: Any = None) -> SamplePCAErrors:
    r"""Population errors of PCA and masked PCA fitted to X, for all ranks at once.

    One SVD of X and one product :math:`\Sigma U`; the diagonal of :math:`P \Sigma P` is then
    updated from rank to rank: with :math:`P_r = P_{r-1} - u u^\top`,

    .. math:: (P_r \Sigma P_r)_{kk} = (P_{r-1} \Sigma P_{r-1})_{kk}
              - 2 u_k (P_{r-1} \Sigma u)_k + u_k^2\, u^\top \Sigma u .

    Parameters
    ----------
    X
        Rows, shape (n, d). Means are taken to be zero: center X first where they are not.
    covariance
        :math:`\Sigma` of a new row, shape (d, d).
    ranks
        Numbers of components, from 0 to min(n, d), any shape; None for all of them, without d
        itself, at which masked PCA is not defined.

    Raises
    ------
    InputError
        If shapes do not fit, values are not finite, or a rank is outside 0, ..., min(n, d - 1).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(50, 4)) * [3, 1, 1, 1]
    >>> errors = sample_pca_errors(X, np.diag([9.0, 1, 1, 1]))
    >>> errors.ranks.tolist(), errors.pca.round(2).tolist()
    ([0, 1, 2, 3], [3.0, 0.77, 0.51, 0.26])
    """
    X, sigma = _check(X, covariance)
    most = min(X.shape[0], X.shape[1] - 1)
    chosen = np.arange(most + 1) if ranks is None else np.atleast_1d(ranks).ravel()
    if (chosen != np.floor(chosen)).any() or chosen.min() < 0 or chosen.max() > most:
        raise InputError(
            f"ranks are whole numbers from 0 to min(n, d - 1) = {most}; found {chosen.tolist()}"
        )
    chosen = chosen.astype(int)
    inside, outside = _diagonals(X, sigma, int(chosen.max()))
    with np.errstate(divide="ignore", invalid="ignore"):
        risk = np.where(outside > VANISHING, inside / outside**2, np.inf)
    return SamplePCAErrors(chosen, inside.mean(axis=1)[chosen], risk.mean(axis=1)[chosen])


def _diagonals(X: Array, sigma: Array, most: int) -> tuple[Array, Array]:
    r"""Diagonals of :math:`P\Sigma P` and of P for ranks 0, ..., most, shape (most + 1, d) each."""
    square = np.linalg.qr(X, mode="r") if len(X) > len(sigma) else X
    U = np.linalg.svd(square, full_matrices=False)[2][:most]  # components as rows
    V = U @ sigma
    M = V @ U.T
    residual = V - np.tril(M, -1) @ U  # P_{r-1} Sigma u_r
    steps = -2 * U * residual + U**2 * np.diag(M)[:, None]
    start = np.diag(sigma)
    inside = np.cumsum(np.vstack([start, steps]), axis=0)
    outside = 1 - np.cumsum(np.vstack([np.zeros(len(sigma)), U**2]), axis=0)
    return inside, outside


def _check(X: Any, covariance: Any) -> tuple[Array, Array]:
    rows, sigma = np.asarray(X, dtype=float), check_covariance(covariance)
    if rows.ndim != 2 or rows.shape[1] != len(sigma) or rows.shape[0] < 2:
        raise InputError(
            f"X has shape (n, d) with n >= 2 and the d = {len(sigma)} of the covariance; found "
            f"{rows.shape}"
        )
    if not np.isfinite(rows).all():
        raise InputError("X has entries that are not finite; impute or drop them")
    return rows, sigma
