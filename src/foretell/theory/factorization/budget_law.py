r"""What a sample of pairs and a sample of labels cost at a time of the flow, to first order.

The excess risk of the best head on features at time t is a smooth function of the second moments
of the pairs. For normal pairs, (x + x⁺)/√2 and (x - x⁺)/√2 have independent Wishart covariances,
so that its mean over samples is its value at the population plus half a sum of second derivatives,
one for each entry. This holds at every t, where the risk gradient is zero and where it is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.theory.factorization.feature_flow import Features, features, missed

# central differences of order 8 at offsets 1, 2, 3, 4
SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])
FIRST = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
STEP = 0.02  # of the gap
BATCH = 2**21  # numbers at once


class PairPrice(NamedTuple):
    """m times the mean excess risk that m pairs cause, and m times its first-order variance.

    Both of shape (T,).
    """

    mean: Array
    variance: Array


class Task(NamedTuple):
    """Canonical correlations (d,), target (d, q) and start (d, k), with how often each counts."""

    rho: Array
    gamma: Array
    start: Array
    copies: Array


def reduced(rho: Array, gamma: Array, start: Array) -> Task:
    """The task with all directions alike, unshared and outside start and target, as one.

    Their number stays as ``copies``: moments with the others have equal second derivatives, and
    moments among them none.
    """
    null = np.flatnonzero(rho == 0)
    both = np.concatenate([start[null], gamma[null]], axis=1)
    rest = len(null) - min(both.shape)
    copies = np.ones(len(rho))
    if rest < 2:
        return Task(rho, gamma, start, copies)
    rotated = np.asarray(np.linalg.qr(both, mode="r"))
    order = np.concatenate([np.flatnonzero(rho > 0), null, np.flatnonzero(rho < 0)])
    first, k = int((rho > 0).sum()), start.shape[1]
    core, last = len(rotated), int((rho < 0).sum())
    kept = np.concatenate([order[: first + core + 1], order[len(order) - last :]])
    out = Task(rho[kept], gamma[kept].copy(), start[kept].copy(), np.ones(len(kept)))
    inside = slice(first, first + core)
    out.start[inside], out.gamma[inside] = rotated[:, :k], rotated[:, k:]
    out.start[first + core], out.gamma[first + core] = 0.0, 0.0
    out.copies[first + core] = rest
    return out


def pair_price(task: Task, s: Array, penalty: float, gap: float) -> PairPrice:
    r"""Price of a finite number of pairs at times s of the factorization flow.

    Second and first derivatives by central differences of order 8: 1e-8 of the value.

    Parameters
    ----------
    task
        From :func:`reduced`.
    s
        Times, shape (T,).
    penalty
        Of the ridge head; 0 for least squares.
    gap
        Smallest difference of correlations that matters; sets the step.
    """
    moves = list(_moves(task))
    d, k = task.start.shape
    base = _risk(task, np.eye(d), np.diag(task.rho), s, penalty)
    mean, variance = np.zeros(len(s)), np.zeros(len(s))
    steps = np.concatenate([[j, -j] for j in range(1, 5)]) * STEP * gap
    size = max(1, BATCH // (8 * len(s) * d * max(d, k)))
    for at in range(0, len(moves), size):
        chunk = moves[at : at + size]
        within, across = (np.stack([move[i] for move in chunk]) for i in (0, 1))
        copies = np.array([move[2] for move in chunk])
        moved = _risk(
            task,
            np.eye(d) + steps[:, None, None, None] * within,
            np.diag(task.rho) + steps[:, None, None, None] * across,
            s, penalty,
        )  # fmt: skip
        plus, minus = moved[0::2], moved[1::2]
        second = np.einsum("j,jpt->pt", SECOND, plus - base + (minus - base))
        first = np.einsum("j,jpt->pt", FIRST, plus - minus)
        mean += copies @ second / (2 * (STEP * gap) ** 2)
        variance += copies @ first**2 / (STEP * gap) ** 2
    return PairPrice(mean, variance)


def _moves(task: Task) -> list[tuple[Array, Array, float]]:
    """A standard deviation of every entry of both covariances, for one pair."""
    d = len(task.rho)
    out = []
    for sign in (1.0, -1.0):  # of x + x⁺ and x - x⁺
        size = np.sqrt(np.maximum(1.0 + sign * task.rho, 0.0))
        for i in range(d):
            for j in range(i, d):
                move = np.zeros((d, d))
                move[i, j] = move[j, i] = size[i] * size[j] * (np.sqrt(2.0) if i == j else 1.0) / 2
                out.append((move, sign * move, task.copies[i] * task.copies[j]))
    return out


def _risk(task: Task, within: Array, across: Array, s: Array, penalty: float) -> Array:
    found = features(within, across, task.start, s, penalty > 0)
    return 0.5 * (missed(found, task.gamma, penalty) ** 2).sum(axis=(-1, -2))


def label_price(found: Features, gamma: Array, unexplained: Array, penalty: float) -> Array:
    r"""n times the mean excess risk that n labels cause at the features, shape (T,).

    Least squares: :math:`\tfrac{k}{2} (v + \|\gamma - \hat\gamma\|^2)`, v the variance of the
    target about its best predictor. Ridge, with :math:`P = \theta\theta^\top` in coordinates of
    unit covariance, :math:`H = P (P + \alpha)^{-1}`, :math:`b = \alpha (P + \alpha)^{-1} \gamma`
    and :math:`v_t = v + \|b\|^2`,

    .. math:: \tfrac12 v_t\,\mathrm{tr} H^2 + \tfrac32 b^\top H^2 b + \mathrm{tr} H\; b^\top H b,

    the last two by the second-order bias of the head, whose risk gradient is not zero. Normal
    rows; at finite n least squares has n - k - 1 in the place of n exactly.
    """
    left = missed(found, gamma, penalty)
    noise = np.trace(unexplained) + (left**2).sum(axis=(-1, -2))
    if penalty == 0:
        return 0.5 * found.frames.shape[-1] * noise
    W, N = found.frames, found.weights
    assert N is not None
    size, axes = np.linalg.eigh(W @ np.linalg.solve(N, W.swapaxes(-1, -2)))
    share = np.maximum(size, 0) / (np.maximum(size, 0) + penalty)
    seen = ((axes.swapaxes(-1, -2) @ left) ** 2).sum(axis=-1)
    inside = (share**2 * seen).sum(axis=-1)
    spread = 0.5 * noise * (share**2).sum(axis=-1)
    return spread + 1.5 * inside + share.sum(axis=-1) * (share * seen).sum(axis=-1)
