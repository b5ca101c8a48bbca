r"""Masked ridge regression on data: residuals, leave-one-out errors and the penalty path.

All columns are predicted from one another by one matrix, :math:`A = I - Q\,\mathrm{diag}(Q)^{-1}`
with :math:`Q = (C + \alpha I)^{-1}`. With the eigenvalues s and eigenvectors U of C everything is a
weighted sum over eigenvectors, so a further penalty costs no further decomposition, and a sample
of n < d rows needs no (d, d) matrix. Derived in docs/masked-regression.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

ZERO = 4 * np.finfo(np.float64).eps  # times the size and the largest eigenvalue
RIDGELESS = 1e-30  # a penalty of zero, relative to the largest eigenvalue
UNIQUE = 1e-10  # share of a column in the null space
INTERPOLATED = 1e-8  # one minus the leverage of a row that is fitted without error


@dataclass(frozen=True)
class Eigenspaces:
    """Eigenvalues and eigenvectors of the covariance C of a sample, and its null space.

    Attributes
    ----------
    values
        Positive eigenvalues, descending, shape (r,).
    vectors
        Their eigenvectors, shape (d, r).
    null
        Diagonal of the projector on the null space, shape (d,); zero where r = d.
    from_rows
        Whether they come from the rows themselves and not from C, so that small eigenvalues are
        accurate.
    interpolates
        Whether no row is a combination of others, so that without a penalty each is fitted
        without error.
    """

    values: Array
    vectors: Array
    null: Array
    from_rows: bool = False
    interpolates: bool = False

    @classmethod
    def of_covariance(cls, covariance: Array) -> Eigenspaces:
        """From a covariance (d, d), at the cost of its eigendecomposition."""
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        rank = int((values > ZERO * len(values) * values[0]).sum())
        null = (vectors[:, rank:] ** 2).sum(axis=1)
        return cls(values[:rank], np.ascontiguousarray(vectors[:, :rank]), null)

    @classmethod
    def of_rows(cls, Y: Array, free: int) -> Eigenspaces:
        """From rows with C = Y'Y, shape (n, d), few of them, at the cost of O(n² d).

        ``free`` is the number of dimensions that the rows have if none repeats another.
        """
        deviations, right = np.linalg.svd(Y, full_matrices=False)[1:]
        rank = min(free, int((deviations > ZERO * max(Y.shape) * deviations[0]).sum()))
        vectors = np.ascontiguousarray(right[:rank].T)
        null = 1.0 - (vectors**2).sum(axis=1)
        null[null < ZERO * len(null)] = 0.0
        null *= rank < len(null)
        return cls(deviations[:rank] ** 2, vectors, null, True, rank == free)

    @property
    def full(self) -> bool:
        """Whether there is no null space."""
        return len(self.values) == len(self.null)

    def check_ridgeless(self) -> None:
        """Refuse the limit of no penalty where it has no common form for all columns.

        Raises
        ------
        InputError
            If some columns, but not all, are linear combinations of others.
        """
        alone = np.flatnonzero(self.null < UNIQUE)
        if 0 < alone.size < len(self.null):
            raise InputError(
                f"without a penalty column {alone[0]} has a unique predictor, but "
                f"{len(self.null) - alone.size} columns are exact combinations of others and have "
                "none; give alpha > 0"
            )


class Resolvent(NamedTuple):
    r"""Q at one penalty, or at one for each column, as weights of eigenvectors.

    Attributes
    ----------
    weights
        :math:`1 / (s_j + \alpha)`, shape (r,) or (d, r); one where the penalty is infinite.
    unit
        The least of :math:`s_j + \alpha` over all d eigenvalues, so that ``unit * Q`` has a limit
        at zero; one where the penalty is infinite. A scalar or shape (d,).
    share
        The penalty in this unit; one where it is infinite.
    diagonal
        Diagonal of ``unit * Q``, shape (d,).
    finite
        Whether the penalty is.
    """

    weights: Array
    unit: Array
    share: Array
    diagonal: Array
    finite: Array


def resolvent(spaces: Eigenspaces, alpha: float | Array) -> Resolvent:
    """Q at a penalty from zero to infinity, or at one penalty for each column, shape (d,)."""
    alpha = np.asarray(alpha, dtype=np.float64)
    finite = np.isfinite(alpha)
    lowest = 0.0 if spaces.full else RIDGELESS * spaces.values[0]  # the limit, to rounding
    level = np.where(finite, np.maximum(alpha, lowest), lowest)
    weights = np.where(finite[..., None], 1.0 / (spaces.values + level[..., None]), 1.0)
    least = spaces.values[-1] if spaces.full else 0.0
    unit = np.where(finite, least + level, 1.0)
    diagonal = spaces.null + (spaces.vectors**2 * weights).sum(axis=1) * unit
    share = np.where(finite, level / unit, 1.0)
    return Resolvent(weights, unit, share, diagonal, finite)


def residuals(spaces: Eigenspaces, Q: Resolvent, Z: Array) -> Array:
    r"""What the other columns leave of each cell, :math:`Z Q \mathrm{diag}(Q)^{-1}`, (n, d).

    Z are any rows in the coordinates of the covariance, shape (n, d).
    """
    scores = Z @ spaces.vectors
    left = (scores @ (spaces.vectors * Q.weights).T) * Q.unit
    if not spaces.full:
        left += Z - scores @ spaces.vectors.T
    return np.asarray(left / Q.diagonal)


def complement(spaces: Eigenspaces, Q: Resolvent) -> Array:
    r"""The matrix :math:`I - A = Q \mathrm{diag}(Q)^{-1}`, shape (d, d), its diagonal exactly 1."""
    U = spaces.vectors
    matrix = U @ (U * Q.weights).T * Q.unit
    if not spaces.full:
        matrix += np.eye(len(U)) - U @ U.T
    matrix = np.where(Q.finite, matrix / Q.diagonal, 0.0)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


class Rows(NamedTuple):
    """Rows of the fit in the coordinates of the covariance, and how they count.

    Attributes
    ----------
    Z
        Rows minus their mean, shape (c, d).
    weights
        Their weights, shape (c,).
    total
        Total weight of the whole sample.
    centered
        Whether the mean was estimated from it.
    """

    Z: Array
    weights: Array
    total: float
    centered: bool

    @property
    def removed(self) -> Array:
        """Weight that is left out in turn: one copy of a row, or all of it if it weighs less."""
        return np.minimum(self.weights, 1.0)


def freedom(spaces: Eigenspaces, Q: Resolvent, rows: Rows, scores: Array) -> Array:
    r"""One minus the leverage of each row, divided by ``Q.unit``, shape (c,), or (c, d).

    :math:`1 - \delta/W - \delta z^\top Q z / W` where :math:`\delta` of the total weight W is left
    out. Where rows interpolate it is a sum without cancellation, and has a limit at no penalty.
    """
    squared = scores**2 * (rows.removed / rows.total)[:, None]
    spread = Q.weights.T * Q.finite
    base = 1.0 - (rows.removed / rows.total if rows.centered else np.zeros(len(squared)))
    if not spaces.from_rows:
        base = base if spread.ndim == 1 else base[:, None]
        return np.asarray(np.maximum(base - squared @ spread, 0.0) / Q.unit)
    if spaces.interpolates:
        base = 1.0 - rows.removed / rows.weights
    else:
        base = base - (squared / spaces.values).sum(axis=1)
        base[base < INTERPOLATED] = 0.0
    base = base if spread.ndim == 1 else base[:, None]
    return np.asarray(base / Q.unit + (squared / spaces.values) @ Q.weights.T * Q.share)


def loo_residuals(spaces: Eigenspaces, Q: Resolvent, rows: Rows) -> Array:
    r"""Error in each cell when its row is left out of the fit, mean included, shape (c, d).

    .. math:: e_{ik} = \frac{u_{ik}}{1 - \delta/W - \delta h_i + \delta u_{ik} (Qz_i)_k / W},
              \qquad u_{ik} = \frac{(Q z_i)_k}{Q_{kk}}, \quad h_i = \frac{z_i^\top Q z_i}{W},

    exact at the fixed total penalty :math:`W \alpha`, with W = n and :math:`\delta = 1` for rows
    that count alike.
    """
    scores = rows.Z @ spaces.vectors
    free = freedom(spaces, Q, rows, scores)
    root = np.sqrt(rows.removed / rows.total)[:, None]
    return _left_out(spaces, Q, scores * root, free.reshape(len(free), -1)) / root


def _left_out(spaces: Eigenspaces, Q: Resolvent, scaled: Array, free: Array) -> Array:
    r"""Left-out errors times :math:`\sqrt{\delta/W}`, as are the scores."""
    errors = scaled @ (spaces.vectors * Q.weights / Q.diagonal[:, None]).T
    below = errors * errors
    below *= Q.diagonal * Q.finite
    below += free
    errors /= below
    return np.asarray(errors)


@dataclass(frozen=True)
class PathErrors:
    r"""Mean squared errors of each column at each penalty, in the coordinates of the covariance.

    Attributes
    ----------
    alphas
        Penalties, shape (m,), or (m, d) for one penalty a column.
    train, gcv, egcv
        Training error, generalized cross-validation, and its correction for rows of unequal
        length, shape (m, d).
    loo
        Leave-one-out error, shape (m, d); None where it was not asked for.
    size
        Number of rows as they are left out, :math:`W^2 / \sum_i w_i \delta_i`.
    """

    alphas: Array
    train: Array
    gcv: Array
    egcv: Array
    loo: Array | None
    size: float


def path_errors(
    spaces: Eigenspaces, chunks: Iterable[Rows], alphas: Array, *, loo: bool = True
) -> PathErrors:
    r"""Errors at all penalties in one pass over the rows.

    .. math:: \mathrm{GCV}_k = \frac{\mathrm{train}_k}{\overline{(1 - h_i)}^2}, \qquad
              \mathrm{eGCV}_k = \frac{\mathrm{train}_k}{\overline{t_i (1 - h_i)^2}}, \quad
              t_i = \frac{|z_i|^2}{\overline{|z|^2}},

    h the leverage of a row. The second holds for elliptical rows too, where lengths differ
    between rows and the first is too small. Leave-one-out errors cost O(n d r) a penalty, the
    others O((n + d) r).
    """
    at = [resolvent(spaces, alpha) for alpha in alphas]
    squares = spaces.vectors**2
    train = np.array([squares * Q.weights**2 @ spaces.values / Q.diagonal**2 for Q in at])
    mean_free, long_free = np.zeros(train.shape), np.zeros(train.shape)
    left_out = np.zeros(train.shape)
    total, removed, length = 1.0, 0.0, float(spaces.values.sum())
    for rows in chunks:
        scores = rows.Z @ spaces.vectors
        scaled = scores * np.sqrt(rows.removed / rows.total)[:, None]
        shares = rows.weights / rows.removed
        lengths = rows.weights * (rows.Z**2).sum(axis=1) / length
        total = rows.total
        removed += float(rows.weights @ rows.removed)
        for j, Q in enumerate(at):
            free = freedom(spaces, Q, rows, scores)
            mean_free[j] += rows.weights @ free
            long_free[j] += lengths @ free**2
            if loo:
                errors = _left_out(spaces, Q, scaled, free.reshape(len(free), -1))
                left_out[j] += np.einsum("i,ij,ij->j", shares, errors, errors)
    units = np.array([np.broadcast_to(Q.unit, train.shape[1:]) for Q in at])
    with np.errstate(divide="ignore"):  # as many rows as columns and their mean, no penalty
        gcv, egcv = train / (mean_free / total) ** 2, train / (long_free / total)
    return PathErrors(
        np.asarray(alphas),
        train * units**2,
        gcv,
        egcv,
        left_out if loo else None,
        total**2 / removed,
    )


def default_alphas(spaces: Eigenspaces) -> Array:
    """Penalties that cover all that changes the fit, a factor of three apart, and infinity.

    Below a hundredth of the least eigenvalue, and above a hundred times the largest, the fit is
    that of no penalty and of an infinite one.
    """
    top = 100.0 * spaces.values[0]
    bottom = max(spaces.values[-1] / 100.0, 1e-11 * spaces.values[0])
    count = 2 + int(np.ceil(np.log(top / bottom) / np.log(3.0)))
    return np.append(np.geomspace(bottom, top, count), np.inf)


def smallest(alphas: Array, curve: Array) -> float:
    """Where the logarithm of an error is least, by a polynomial in log alpha through five points.

    At an end of the penalties, and beside an infinite one, the penalty itself.
    """
    best = int(np.argmin(curve))
    if best == 0 or best + 1 >= len(alphas) or not np.isfinite(alphas[best + 1]):
        return float(alphas[best])
    near = slice(max(0, best - 2), best + 3)
    finite = np.isfinite(alphas[near])
    x, y = np.log(alphas[near][finite]), curve[near][finite]
    through = np.polynomial.Polynomial.fit(x, y, len(x) - 1)
    flat = through.deriv().roots()
    flat = flat.real[np.abs(flat.imag) < 1e-8]
    low, high = np.log(alphas[[best - 1, best + 1]])
    inside = flat[(flat > low) & (flat < high)]
    if not inside.size:
        return float(alphas[best])
    return float(np.exp(inside[np.argmin(through(inside))]))
