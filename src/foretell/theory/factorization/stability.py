r"""Where the gradient flow :math:`\dot X = (M - XX^\top)X` goes from a given start.

Let :math:`Y_g = V_g^\top X_0` hold the rows of the start in the eigenspace of the g-th distinct
positive eigenvalue, and N an orthonormal basis of the kernel of :math:`Y_1, \dots, Y_{g-1}`. Then

.. math:: XX^\top \to \sum_g \lambda_g V_g \Pi_g V_g^\top, \qquad
   \Pi_g = \text{projection on the range of } Y_g N,

so that level g learns :math:`\operatorname{rank}(Y_1..Y_g) - \operatorname{rank}(Y_1..Y_{g-1})`
directions: the greedy row rank from the largest eigenvalue down. Proof: in a basis of R^k adapted
to these kernels Y is a staircase, with :math:`A_g = Y_g N_g` of full column rank on its steps.
Scale the columns of step g in :math:`e^{\Lambda t} Y` by :math:`e^{-\lambda_g t}`; in

.. math:: XX^\top = e^{\Lambda t} Y
   \Bigl[I + 2 Y^\top \!\!\int_0^t e^{2 \Lambda s} ds\, Y\Bigr]^{-1} Y^\top e^{\Lambda t}

the first factor tends to diag(A_g) and the bracket to diag(A_g' A_g) / lambda_g, as all other
terms carry :math:`e^{(2\lambda_l - \lambda_g - \lambda_h) t}` with
:math:`\lambda_l \le \lambda_h < \lambda_g`. Columns in the kernel of all positive levels decay
(as 1/sqrt(t) where M has zero eigenvalues).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.equilibria import Equilibrium
from foretell.theory.factorization.levels import EQUAL, Levels, check_start
from foretell.theory.factorization.target import Target


@dataclass(frozen=True, eq=False)
class StableSet:
    """Whether a start reaches the global minimum; true or false as a condition.

    Attributes
    ----------
    inside
        Whether it does.
    rank
        How many of the directions of the minimum are learned.
    needed
        How many there are: min(k, r).
    distance
        Frobenius distance from the start to the nearest one that does not reach the minimum
        (the smallest singular value that must not vanish); infinite if all do (r = 0).
    relative_distance
        The same over the largest singular value of the start; zero for a zero start.
    reached
        The equilibrium that is the limit; for a family its representative.
    limit_factor
        Columns L, shape (d, s), of the limit itself: XX' tends to LL'.
    """

    inside: bool
    rank: int
    needed: int
    distance: float
    relative_distance: float
    reached: Equilibrium
    limit_factor: Array

    def __bool__(self) -> bool:
        return self.inside

    def __str__(self) -> str:
        if self.inside:
            return (
                f"reaches the global minimum; distance {self.distance:.3g} to the nearest start "
                f"that does not ({self.relative_distance:.3g} of the size of the start)"
            )
        return (
            f"outside the stable set: learns {self.rank} of {self.needed} directions of the "
            f"global minimum; ends at a {self.reached}; add any small random matrix to the start"
        )


def is_in_stable_set(
    target: Target, start: Array, *, tolerance: float | None = None, equal: float = EQUAL
) -> StableSet:
    r"""Whether the gradient flow from a start tends to the global minimum, and where it tends.

    With :math:`\lambda_{(1)} > \lambda_{(2)} > \dots > 0` the distinct positive eigenvalues, K =
    min(k, r), and c the level that holds the K-th largest eigenvalue, the start is inside if and
    only if the projection on the levels before c has full row rank and that on the levels up to
    and with c has rank K. If :math:`\lambda_K > \lambda_{K+1}` the second says it all: the
    projection on the K leading eigenvectors has rank K. If not, the first is needed too: from
    M = diag(2, 1, 1), k = 2, start (0, e_1, e_2) both columns stay with the eigenvalue 1.

    Exact for exact arithmetic; ``tolerance`` decides what rounding is. A start at a small
    distance is inside but passes saddles, for a time that grows with minus its logarithm.

    Parameters
    ----------
    target
        Target of M.
    start
        X0, shape (d, k), in the coordinates of M.
    tolerance
        Singular values below this times the largest of X0 count as zero; None for
        10 max(d, k) times the machine precision.
    equal
        Eigenvalues closer than this times the largest absolute one count as equal.

    Raises
    ------
    InputError
        If the start has a wrong shape or is not finite, or a tolerance is not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> target = Target.of(np.diag([3.0, 2.0, 1.0]))
    >>> bool(is_in_stable_set(target, np.ones((3, 1))))
    True
    >>> found = is_in_stable_set(target, np.array([[0.0], [0.1], [1.0]]))
    >>> bool(found), found.rank, found.reached.indices
    (False, 0, (1,))
    """
    X0, levels = check_start(target, start), Levels(target, equal)
    k, size = X0.shape[1], float(np.linalg.norm(X0, 2))
    if tolerance is None:
        tolerance = 10 * max(X0.shape) * float(np.finfo(np.float64).eps)
    if not 0 <= tolerance < 1:
        raise InputError(f"expected 0 <= tolerance < 1; found {tolerance}")
    Y = target.vectors[:, : levels.n_positive].T @ X0
    best = levels.optimum(k)
    distance = _distance(Y, levels, k)
    counts, limit = _greedy(Y, levels, tolerance * size)
    L = target.vectors[:, : levels.n_positive] @ limit
    return StableSet(
        inside=counts == best, rank=sum(map(min, counts, best)), needed=sum(best),
        distance=distance, relative_distance=distance / size if size else min(distance, 0.0),
        reached=Equilibrium(levels, k, counts), limit_factor=L,
    )  # fmt: skip


def _distance(Y: Array, levels: Levels, k: int) -> float:
    """The smaller of the two singular values that the condition asks to be positive."""
    K = min(k, levels.n_positive)
    if not K:
        return np.inf
    cut = int(np.searchsorted(levels.starts, K - 1, side="right")) - 1
    before, upto = levels.starts[cut], levels.starts[cut] + levels.sizes[cut]
    last = np.linalg.svd(Y[:upto], compute_uv=False)[K - 1]
    if not before:
        return float(last)
    return float(min(last, np.linalg.svd(Y[:before], compute_uv=False)[before - 1]))


def _greedy(Y: Array, levels: Levels, threshold: float) -> tuple[tuple[int, ...], Array]:
    """Directions that each level learns, and the factor (r, s) of the limit in the eigenbasis.

    Ranks of leading rows are those of the triangular R of their QR, updated level by level.
    """
    k = Y.shape[1]
    R, kernel, rank = np.zeros((0, k)), np.eye(k), 0
    counts, columns = [0] * len(levels.values), []
    for g, value in enumerate(levels.values):
        if rank == k:
            break
        rows = Y[levels.rows(g)]
        R = np.asarray(np.linalg.qr(np.concatenate([R, rows]), mode="r"))
        _, singular, Vt = np.linalg.svd(R)
        counts[g] = int((singular > threshold).sum()) - rank
        U = np.linalg.svd(rows @ kernel, full_matrices=False)[0][:, : counts[g]]
        step = np.zeros((len(Y), counts[g]))
        step[levels.rows(g)] = np.sqrt(value) * U
        columns.append(step)
        rank += counts[g]
        kernel = Vt[rank:].T
    return tuple(counts), np.concatenate([np.zeros((len(Y), 0)), *columns], axis=1)
