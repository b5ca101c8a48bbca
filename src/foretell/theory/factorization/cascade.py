r"""The cascade of symmetric low-rank factorization: leading block, tilt and Schur complement.

In the eigenbasis :math:`M = \mathrm{diag}(\Lambda_1, -\Lambda_2)`, the Gram matrix
:math:`P = X X^\top` in blocks :math:`(P_1, P_0; P_0^\top, P_2)`,
:math:`W = P_1^{-1} P_0` and :math:`S = P_2 - P_0^\top P_1^{-1} P_0`, the gradient flow
:math:`\dot P = M P + P M - 2 P^2` is a cascade [1]_:

.. math::

    \dot S = -\Lambda_2 S - S \Lambda_2 - 2 S^2, \quad
    \dot W = -\Lambda_1 W - W \Lambda_2 - 2 W S, \quad
    \dot P_1 = \Lambda_1 P_1 + P_1 \Lambda_1 - 2 P_1 (I + W W^\top) P_1 .

Each of the three has a closed form, derived here. Let :math:`S(0) = G_0 G_0^\top` and
:math:`\psi = \int_0^t e^{-2 \Lambda_2 s} ds` (:math:`t` where the eigenvalue is zero). The first
is the flow of the target :math:`-\Lambda_2`. The second is linear once S is known; its propagator
is :math:`U^{-1}` for the linear system :math:`\dot U = \Lambda_2 U + 2 e^{-\Lambda_2 t} S(0)`
that linearizes the Riccati equation. The third is linear in :math:`P_1^{-1}`, and its forcing
:math:`W W^\top` is the derivative of a known matrix:

.. math::

    S(t) &= e^{-\Lambda_2 t} G_0 (I + 2 G_0^\top \psi G_0)^{-1} G_0^\top e^{-\Lambda_2 t}, \\
    W(t) &= e^{-\Lambda_1 t} W(0) (I + 2 \psi S(0))^{-1} e^{-\Lambda_2 t}, \\
    P_1(t)^{-1} - \Lambda_1^{-1} &= e^{-\Lambda_1 t} \bigl[ P_1(0)^{-1} - \Lambda_1^{-1}
        + 2 W(0) (\psi^{-1} + 2 S(0))^{-1} W(0)^\top \bigr] e^{-\Lambda_1 t} .

References
----------
.. [1] Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanović (2024). Stability properties
   of gradient flow dynamics for the symmetric low-rank matrix factorization problem. arXiv
   2411.15972.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError, InputError


@dataclass(frozen=True, eq=False)
class Coordinates:
    r"""Leading block, tilt and Schur complement of the Gram matrix at T times.

    Everything is in the eigenbasis of the target, eigenvalues descending; r is the split. With
    these, :math:`P = (I, W)^\top P_1 (I, W) + \mathrm{diag}(0, S)`.

    Attributes
    ----------
    times
        Shape (T,).
    growth
        Diagonal of :math:`\Lambda_1`, all positive, shape (r,).
    decay
        Diagonal of :math:`\Lambda_2`, shape (d - r,): minus the other eigenvalues. Negative
        entries occur only where S is zero (rank of the start below the number of positive
        eigenvalues).
    leading
        :math:`P_1`, shape (T, r, r); tends to :math:`\Lambda_1`.
    tilt
        W, shape (T, r, d - r); tends to zero.
    schur_factor
        G with :math:`S = G G^\top`, shape (T, d - r, q), q at most the rank of the start less r.
    deviation
        :math:`P_1^{-1} - \Lambda_1^{-1}`, shape (T, r, r), not computed as a difference: it keeps
        its relative accuracy as it tends to zero.
    """

    times: Array
    growth: Array
    decay: Array
    leading: Array
    tilt: Array
    schur_factor: Array
    deviation: Array

    @property
    def split(self) -> int:
        """Number r of leading eigenvalues."""
        return len(self.growth)

    @property
    def schur(self) -> Array:
        """S, shape (T, d - r, d - r), formed at each access; ``schur_factor`` is smaller."""
        return self.schur_factor @ np.swapaxes(self.schur_factor, -1, -2)

    @property
    def gram(self) -> Array:
        """P in the eigenbasis, shape (T, d, d), put together from the three parts."""
        below = np.swapaxes(self.tilt, -1, -2) @ self.leading
        lower = below @ self.tilt + self.schur
        return np.block([[self.leading, np.swapaxes(below, -1, -2)], [below, lower]])


def schur_size(factor: Array) -> Array:
    """Largest eigenvalue of S from its factor (T, d - r, q), shape (T,); 0 if it is empty."""
    if 0 in factor.shape[1:]:
        return np.zeros(len(factor))
    return np.asarray(np.linalg.norm(factor, 2, axis=(-2, -1)) ** 2)


def coordinates(
    eigenvalues: Array, start: Array, times: Array, *, split: int | None = None
) -> Coordinates:
    r"""Leading block, tilt and Schur complement at any times, by their closed forms.

    Parameters
    ----------
    eigenvalues
        Eigenvalues of the target, the positive ones first and descending, shape (d,). Those below
        d times the rounding unit times the largest one in absolute value count as zero.
    start
        :math:`V^\top X_0`, the start in the eigenbasis, shape (d, k).
    times
        Shape (T,) or one number, none negative.
    split
        Number r of leading eigenvalues. None: the lesser of k and the number of positive ones.
        A start of rank below both needs its rank here; no other number is possible.

    Raises
    ------
    IdentificationError
        If the leading block of the start is singular, as when a column of the principal space is
        orthogonal to the start: W and S do not exist, and the flow does not reach the optimum.
    InputError
        If times are negative or not finite, or the split is not possible.

    Notes
    -----
    O(d q (q + r)) operations a time. Nothing is computed as a difference of large numbers, so S,
    W and the deviation keep their digits while they decay by many orders of magnitude.

    Examples
    --------
    >>> import numpy as np
    >>> start = np.array([[1.0, 0.0], [0.5, 1.0]])  # over-parameterized: rank 2 for a target of 1
    >>> c = coordinates(np.array([2.0, 0.0]), start, np.array([0.0, 1.0, 100.0]))
    >>> (1 / c.schur[:, 0, 0]).round(6).tolist()  # 1/S grows by exactly 2t
    [1.0, 3.0, 201.0]
    """
    values, times = without_noise(eigenvalues), check_times(times)
    r = check_split(values, start, split)
    growth, decay = values[:r], 0.0 - values[r:]
    Q, R = row_space(start, r)
    lower = start[r:] @ Q
    G0 = compressed(lower[:, r:]) if r == count_positive(values) else lower[:, :0]
    W0 = np.linalg.solve(R, lower[:, :r].T)
    root = np.linalg.solve(R, np.eye(r))  # P1(0)^{-1} = root root'
    n = len(decay)
    shapes = (r, r), (r, n), G0.shape, (r, r)
    parts = [np.empty((len(times), *shape)) for shape in shapes]
    for i, t in enumerate(times):
        for part, value in zip(parts, _closed_forms(growth, decay, G0, W0, root, t), strict=True):
            part[i] = value
    return Coordinates(times, growth, decay, *parts)


def _closed_forms(
    growth: Array, decay: Array, G0: Array, W0: Array, root: Array, t: float
) -> tuple[Array, Array, Array, Array]:
    """P1, W, G and the deviation at one time.

    psi = t phi exp(2 t max(-decay, 0)) with phi in (0, 1]: the exponential joins exp(-growth t),
    so that nothing overflows, and phi can be divided by at t = 0 as well. With the singular
    values A = sqrt(2 t phi) G0 = U s V', the inverse of I + A A' is I - U U' + U (1 + s^2)^{-1} U'.
    """
    root_phi = np.sqrt(_mean_decay(2 * np.abs(decay) * t))
    U, s, Vt = np.linalg.svd(np.sqrt(2 * t) * root_phi[:, None] * G0, full_matrices=False)
    shrink = 1 / np.hypot(1.0, s)
    G = np.exp(-np.maximum(decay, 0) * t)[:, None] * (G0 @ Vt.T) * shrink
    fading = np.exp(-np.subtract.outer(growth, np.maximum(-decay, 0)) * t)
    C = W0 * fading * root_phi
    inside = C @ U
    outside = _project_out(C, U)
    W = (outside + (inside * shrink**2) @ U.T) / root_phi * np.exp(-np.maximum(decay, 0) * t)
    faded = np.exp(-growth * t)[:, None] * root
    settled = np.sqrt(-np.expm1(-2 * growth * t) / growth)
    forced = np.sqrt(2 * t) * np.hstack([outside, inside * shrink])
    R = np.linalg.qr(np.hstack([faded, np.diag(settled), forced]).T, mode="r")
    inverse = np.linalg.solve(R, np.eye(len(growth)))
    faded_limit = np.diag(np.exp(-2 * growth * t) / growth)
    return inverse @ inverse.T, W, G, faded @ faded.T - faded_limit + forced @ forced.T


def _mean_decay(x: Array) -> Array:
    """(1 - exp(-x)) / x, the mean of exp(-s) over [0, x]; 1 at 0."""
    return np.divide(-np.expm1(-x), x, out=np.ones_like(x), where=x > 0)


def _project_out(C: Array, U: Array) -> Array:
    """Rows of C less their part in the span of U; twice, for what rounding leaves."""
    if U.shape[0] == U.shape[1]:
        return np.zeros_like(C)
    for _ in range(2):
        C = C - (C @ U) @ U.T
    return C


def decompose(
    times: Array, eigenvalues: Array, factor: Array, *, split: int | None = None
) -> Coordinates:
    r"""Leading block, tilt and Schur complement of given factors, of any trajectory.

    For gradient descent and other paths without a closed form. S is a projection,
    :math:`G = F_2 (I - F_1^+ F_1)`, not a difference; but W carries an absolute error of a
    rounding unit times :math:`\|F_2\| \|F_1^+\|`, and ``deviation`` one of
    :math:`\|P_1^{-1}\|`, which shows where they are smaller than that.

    Parameters
    ----------
    times
        Shape (T,), kept as it is.
    eigenvalues
        Shape (d,), the positive ones first and descending.
    factor
        F with :math:`P = F F^\top` in the eigenbasis, shape (T, d, k).
    split
        As in :func:`coordinates`, judged by the first factor.

    Raises
    ------
    IdentificationError, InputError
        As in :func:`coordinates`.

    Examples
    --------
    >>> import numpy as np
    >>> c = decompose(np.zeros(1), np.array([2.0, -1.0]), np.array([[[2.0], [1.0]]]))
    >>> c.leading.item(), c.tilt.item(), c.schur.item()
    (4.0, 0.5, 0.0)
    """
    values = without_noise(eigenvalues)
    r = check_split(values, factor[0], split)
    Q, R = row_space(factor, r)
    lower = factor[:, r:] @ Q
    G = lower[..., r:] if r == count_positive(values) else lower[..., :0]
    W = np.linalg.solve(R, np.swapaxes(lower[..., :r], -1, -2))
    inverse = np.linalg.solve(R, np.broadcast_to(np.eye(r), R.shape))
    deviation = inverse @ np.swapaxes(inverse, -1, -2) - np.diag(1 / values[:r])
    leading = np.swapaxes(R, -1, -2) @ R
    return Coordinates(np.asarray(times), values[:r], 0.0 - values[r:], leading, W, G, deviation)


def row_space(factor: Array, r: int) -> tuple[Array, Array]:
    """Orthogonal Q (k, k), its first r columns spanning the rows of F1, and R (r, r): P1 = R'R."""
    Q, R = np.linalg.qr(np.swapaxes(factor[..., :r, :], -1, -2), mode="complete")
    return Q, R[..., :r, :]


def compressed(factor: Array) -> Array:
    """A factor of the same Gram matrix with no more columns than rows."""
    if factor.shape[1] <= factor.shape[0]:
        return factor
    return np.transpose(np.linalg.qr(factor.T, mode="r"))


def without_noise(eigenvalues: Array) -> Array:
    """Eigenvalues with those at rounding level set to zero."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    floor = len(values) * np.finfo(np.float64).eps * np.abs(values).max(initial=0.0)
    return np.where(np.abs(values) <= floor, 0.0, values)


def count_positive(eigenvalues: Array) -> int:
    """Number of positive eigenvalues."""
    return int(np.count_nonzero(eigenvalues > 0))


def check_times(times: Array) -> Array:
    """Times as an array of shape (T,)."""
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if times.ndim != 1 or not np.isfinite(times).all() or (times < 0).any():
        raise InputError(
            f"times are finite, not negative, of shape (T,); found shape {times.shape}, "
            f"least {times.min(initial=np.inf):g}"
        )
    return times


def check_split(eigenvalues: Array, start: Array, split: int | None) -> int:
    """Size of the leading block, checked to be possible for this start."""
    positive, (d, k) = count_positive(eigenvalues), start.shape
    singular = np.linalg.svd(start, compute_uv=False)
    floor = max(d, k) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    rank = int(np.count_nonzero(singular > floor))
    r = min(k, positive) if split is None else split
    if not 0 <= r <= min(k, positive):
        raise InputError(
            f"split is between 0 and {min(k, positive)}, the lesser of the {k} columns of the "
            f"start and the {positive} positive eigenvalues; found {split}"
        )
    found = int(np.count_nonzero(np.linalg.svd(start[:r], compute_uv=False) > floor))
    if found < r:
        raise IdentificationError(
            f"the start has rank {rank}, and rank {found} in the {r} leading eigenvectors of the "
            f"target: part of the principal space is orthogonal to it, the leading block is "
            f"singular and the flow does not reach the optimum; {_advice(start, rank, positive)}"
        )
    if r < positive and rank > r:
        raise InputError(
            f"split={r} leaves {positive - r} positive eigenvalues to a Schur complement of rank "
            f"{rank - r}, which then grows; use split={min(rank, positive)}"
        )
    return r


def _advice(start: Array, rank: int, positive: int) -> str:
    floor = max(start.shape) * np.finfo(np.float64).eps * np.linalg.norm(start, 2)
    if rank < positive and (np.linalg.svd(start[:rank], compute_uv=False) > floor).all():
        return f"use split={rank}, or a start of higher rank"
    return "use a start that is not orthogonal to it, such as a random one"
