r"""From a small start: which eigenvectors are learned when, as the size of the start tends to 0.

With rows :math:`y_i = v_i^\top X_0` and :math:`c_i = (e^{2\lambda_i t} - 1)/(2\lambda_i)`, the flow
satisfies :math:`P_{ii}(t) = \lambda_i \Pr(i \in J) / (1 - e^{-2\lambda_i t})` exactly, for the
random set J (a determinantal point process) with
:math:`\Pr(J) \propto \prod_{j \in J} 2c_j \cdot \det(Y_J Y_J^\top)`. For a small start one J has
nearly all of the probability, except near the times at which two of these volumes are equal:

* J gains j at :math:`\log(\lambda_j / |y_j^\perp|^2) / (2\lambda_j)`, with :math:`y_j^\perp` the
  part of :math:`y_j` orthogonal to the rows of J;
* j replaces i in J at :math:`\log\bigl(\tfrac{\lambda_j}{\lambda_i} \tfrac{\det_J}{\det_{J-i+j}}
  \bigr) / (2(\lambda_j - \lambda_i))`.

The error of these times stays bounded while they grow with the logarithm of the size of the
start. Derived here, from the closed form of :math:`XX^\top` and the Cauchy-Binet formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array


@dataclass(frozen=True)
class Change:
    """A direction that is learned, or that replaces another.

    Attributes
    ----------
    time
        When half of the change has happened, first order for a small start.
    gained, lost
        Indices of rows; ``lost`` is None where an unused column learns.
    rate
        Rate at which XX' changes: twice the eigenvalue, or twice the difference.
    """

    time: float
    gained: int
    lost: int | None
    rate: float


def learning_order(eigenvalues: Array, Y: Array, *, tolerance: float = 1e-14) -> list[Change]:
    r"""Changes of the learned set in the order in which they happen.

    Parameters
    ----------
    eigenvalues
        Positive eigenvalues, falling, shape (r,).
    Y
        Rows of the start in their eigenvectors, shape (r, k).
    tolerance
        Sines of angles and row sizes (relative to the largest) below this count as zero.

    Examples
    --------
    >>> import numpy as np
    >>> for change in learning_order(np.array([2.0, 1.0]), 1e-4 * np.eye(2)):
    ...     print(change.gained, round(change.time, 4))
    0 4.7785
    1 9.2103
    """
    sizes = np.linalg.norm(Y, axis=1)
    live = np.flatnonzero(sizes > tolerance * sizes.max(initial=0.0))
    logs = np.full(len(Y), -np.inf)
    logs[live] = 2 * np.log(sizes[live])
    U = np.zeros(Y.shape)
    U[live] = Y[live] / sizes[live, None]
    J: list[int] = []
    changes: list[Change] = []
    now = -np.inf
    while len(live) and (change := _next(eigenvalues, U, logs, J, tolerance)) is not None:
        now = max(now, change.time)
        changes.append(Change(max(now, 0.0), change.gained, change.lost, change.rate))
        if change.lost is not None:
            J.remove(change.lost)
        J.append(change.gained)
    return changes


def _next(
    eigenvalues: Array, U: Array, logs: Array, J: list[int], tolerance: float
) -> Change | None:
    """The earliest change from the set J; rows are U times exp(logs / 2)."""
    Q, R = np.linalg.qr(U[J].T) if J else (np.zeros((U.shape[1], 0)), np.zeros((0, 0)))
    inside = U @ Q
    beyond = U - inside @ Q.T
    beyond -= (beyond @ Q) @ Q.T
    sines = np.linalg.norm(beyond, axis=1)
    sines[sines <= tolerance] = 0.0
    sines[J] = 0.0
    candidates = []
    with np.errstate(divide="ignore"):
        volume = np.log(eigenvalues) - logs - 2 * np.log(sines)
        if len(J) < U.shape[1]:
            times = _exceeds_half(volume) / (2 * eigenvalues)
            candidates += [_earliest(times, None, 2 * eigenvalues)]
        if J:
            inverse = np.linalg.inv(R)
            shares = inside @ inverse.T
            shares[np.abs(shares) <= tolerance] = 0.0
            distances = 1 / np.linalg.norm(inverse, axis=1)
        for a, i in enumerate(J):
            gap = eigenvalues - eigenvalues[i]
            volume = np.log(eigenvalues / eigenvalues[i]) - logs + logs[i]
            volume -= np.log(shares[:, a] ** 2 + (sines / distances[a]) ** 2)
            times = np.full(len(gap), np.inf)
            np.divide(volume, 2 * gap, out=times, where=gap > 0)
            times[J] = np.inf
            candidates += [_earliest(times, i, 2 * gap)]
    best = min(candidates, key=lambda change: change.time, default=None)
    return None if best is None or best.time == np.inf else best


def _exceeds_half(volume: Array) -> Array:
    """log(exp(volume) - 1), the exact logistic half time, where it is positive."""
    late = volume > np.log(2.0)
    shift = np.log1p(-np.exp(-np.where(late, volume, np.inf)))
    return np.where(late, volume + shift, np.minimum(volume - np.log(2.0), 0.0))


def _earliest(times: Array, lost: int | None, rates: Array) -> Change:
    j = int(np.argmin(times))
    return Change(float(times[j]), j, lost, float(rates[j]))
