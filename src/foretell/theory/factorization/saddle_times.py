r"""When the gradient flow learns each direction, and the saddles at which it waits.

The occupancy of a level is the trace of XX' in the eigenspace of a distinct positive eigenvalue,
over that eigenvalue: it counts the directions learned there. It does not depend on the choice of
eigenvectors, and for an eigenvalue of multiplicity 1 it is :math:`P_{ii}(t) / \lambda_i`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.equilibria import Equilibrium
from foretell.theory.factorization.learning_order import Change, learning_order
from foretell.theory.factorization.levels import EQUAL, Levels, check_start
from foretell.theory.factorization.target import Target

Diagonals = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Plateau:
    """An interval that the flow spends near an equilibrium.

    Attributes
    ----------
    start, stop
        Times; the last plateau stops at infinity.
    equilibrium
        Where it waits (a representative, if eigenvalues repeat).
    """

    start: float
    stop: float
    equilibrium: Equilibrium

    @property
    def loss(self) -> float:
        """Loss of the equilibrium."""
        return self.equilibrium.loss

    def __str__(self) -> str:
        return f"{self.start:.6g} to {self.stop:.6g}: {self.equilibrium}"


@dataclass(frozen=True, eq=False)
class SaddleTimes:
    """Times at which directions are learned, with the plateaus between them.

    Attributes
    ----------
    eigenvalues
        Positive eigenvalues, falling, shape (r,); equal ones are equal as numbers.
    times
        First time at which each is half learned, shape (r,); infinite if never. The q-th of
        equal eigenvalues when their occupancy passes q - 1/2.
    lost
        Last time at which it falls below half again, shape (r,): another direction took its
        column. Infinite if it stays (or is never learned).
    predicted
        The same as ``times`` to first order for a small start, shape (r,).
    plateaus
        Intervals in which all occupancies are near whole numbers, in order.
    """

    eigenvalues: Array
    times: Array
    lost: Array
    predicted: Array
    plateaus: tuple[Plateau, ...]

    def __str__(self) -> str:
        lines = [f"{'eigenvalue':>12} {'learned at':>12} {'small start':>12} {'lost at':>12}"]
        seen = np.isfinite(self.times) | np.isfinite(self.predicted)
        columns = (self.eigenvalues, self.times, self.predicted, self.lost)
        for row in np.stack(columns, axis=1)[seen]:
            cells = [f"{x:.6g}" if np.isfinite(x) else "never" for x in row]
            lines.append(" ".join(f"{cell:>12}" for cell in cells))
        if not seen.all():
            lines.append(f"{int((~seen).sum())} of {len(seen)} positive eigenvalues never learned")
        return "\n".join([*lines, *map(str, self.plateaus)])


def saddle_times(
    target: Target,
    start: Array,
    diagonals: Diagonals,
    *,
    closeness: float = 0.1,
    equal: float = EQUAL,
) -> SaddleTimes:
    r"""When each direction is learned from a start, by root finding on the exact flow.

    Times are roots to 1e-12 relative of a bracket on a grid of 1 % steps, refined around the
    predicted changes; a rise and fall within one step is not seen. For a start with orthogonal
    rows in the eigenbasis (k = 1 and one eigenvalue, or X0 = V diag) the prediction
    :math:`\log(\lambda_i / |y_i|^2 - 1) / (2 \lambda_i)` is exact; otherwise its error is
    :math:`O(1/\lambda)` (or one over the difference of the two eigenvalues) while the times
    grow like minus the logarithm of the size of the start.

    Parameters
    ----------
    target
        Eigenpairs of M.
    start
        X0, shape (d, k).
    diagonals
        The flow from this start: times (T,) to :math:`v_i^\top X(t) X(t)^\top v_i`, shape (T, p).
    closeness
        A plateau is where the occupancy of every level is within this of a whole number.
    equal
        Eigenvalues closer than this times the largest absolute one count as equal.

    Raises
    ------
    InputError
        If the start has a wrong shape or is not finite, or ``closeness`` is not in (0, 0.5).

    Examples
    --------
    >>> import numpy as np
    >>> values, y = np.array([2.0, 1.0]), np.array([1e-3, 1e-3])
    >>> def logistic(times):
    ...     with np.errstate(over="ignore"):
    ...         decay = np.exp(-2 * values * times[:, None])
    ...     return values / (1 + (values / y**2 - 1) * decay)
    >>> found = saddle_times(Target.of(np.diag(values)), np.diag(y), logistic)
    >>> found.times.round(4).tolist(), found.predicted.round(4).tolist()
    ([3.6272, 6.9078], [3.6272, 6.9078])
    >>> [plateau.equilibrium.indices for plateau in found.plateaus]
    [(), (0,), (0, 1)]
    """
    X0, levels = check_start(target, start), Levels(target, equal)
    if not 0 < closeness < 0.5:
        raise InputError(f"closeness is above 0 and below 0.5; found {closeness}")
    values = levels.eigenvalues[: levels.n_positive]
    changes = learning_order(values, _principal_rows(levels, X0))
    predicted = _first_gains(levels, changes)
    if not len(values):
        plateau = Plateau(0.0, np.inf, Equilibrium(levels, X0.shape[1], ()))
        return SaddleTimes(values, values, values, predicted, (plateau,))

    def occupancy(times: Array) -> Array:
        blocks = [times[i : i + 256] for i in range(0, len(times), 256)]
        return np.concatenate([levels.totals(diagonals(block)) for block in blocks]) / levels.values

    times = _grid(levels, changes)
    filled = occupancy(times)
    learned, lost = _crossings(levels, times, filled, occupancy)
    plateaus = _plateaus(levels, times, filled, occupancy, X0.shape[1], closeness)
    return SaddleTimes(
        values, learned, lost, predicted,
        tuple(Plateau(a, b, Equilibrium(levels, X0.shape[1], m)) for a, b, m in plateaus),
    )  # fmt: skip


def _principal_rows(levels: Levels, X0: Array) -> Array:
    """Rows of the start in eigenvectors that make them orthogonal inside each level."""
    Y = levels.target.vectors[:, : levels.n_positive].T @ X0
    Y[np.abs(Y) <= np.finfo(np.float64).eps * np.abs(X0).max(initial=0.0)] = 0.0
    for g, size in enumerate(levels.sizes):
        if size > 1:
            rows = levels.rows(g)
            Y[rows] = np.linalg.svd(Y[rows])[0].T @ Y[rows]
    return Y


def _first_gains(levels: Levels, changes: list[Change]) -> Array:
    """Time at which the members of each level first exceed 0, 1, 2, …, shape (r,)."""
    times = np.full(levels.n_positive, np.inf)
    level = np.repeat(np.arange(len(levels.sizes)), levels.sizes)
    members = np.zeros(len(levels.sizes), dtype=int)
    for change in changes:
        if change.lost is not None:
            members[level[change.lost]] -= 1
        g = level[change.gained]
        slot = levels.starts[g] + members[g]
        times[slot] = min(times[slot], change.time)
        members[g] += 1
    return times


def _grid(levels: Levels, changes: list[Change]) -> Array:
    """Zero, then steps of 1 % beyond the last predicted change, and finer ones around each."""
    around = np.linspace(-12.0, 12.0, 49)
    near = [change.time + around / change.rate for change in changes]
    fastest = 1 / (2 * levels.values[0])
    last = max([10 * fastest, *(1.5 * c.time + 20 / c.rate for c in changes)])
    first = 1e-3 * min([fastest, *(c.time for c in changes if c.time > 0)])
    steps = int(np.ceil(np.log(last / first) / 0.01)) + 1
    grid = np.concatenate([[0.0], np.geomspace(first, last, steps), *near])
    return np.unique(grid[grid >= 0])


def _crossings(
    levels: Levels, times: Array, filled: Array, occupancy: Diagonals
) -> tuple[Array, Array]:
    """First upward and last downward crossing of q - 1/2 for each q of each level, (r,) each."""
    level = np.repeat(np.arange(len(levels.sizes)), levels.sizes)
    half = np.arange(levels.n_positive) - levels.starts[level] + 0.5
    above = filled[:, level] >= half
    ever, stays = above.any(axis=0), above[-1]
    learned = np.where(ever, 0.0, np.inf)
    lost = np.full(len(half), np.inf)
    up = np.flatnonzero(ever & ~above[0])
    after = above[:, up].argmax(axis=0)

    def is_above(now: Array, slots: Array) -> Array:
        return np.asarray(occupancy(now)[np.arange(len(now)), level[slots]] >= half[slots])

    learned[up] = _bisect(times[after - 1], times[after], lambda t: is_above(t, up))
    down = np.flatnonzero(ever & ~stays)
    before = len(times) - 1 - above[::-1, down].argmax(axis=0)
    lost[down] = _bisect(times[before + 1], times[before], lambda t: is_above(t, down))
    return learned, lost


def _bisect(false: Array, true: Array, holds: Callable[[Array], Array]) -> Array:
    """Where a condition that fails at the first times and holds at the second starts to hold."""
    if not len(true):
        return true
    for _ in range(60):
        middle = (false + true) / 2
        now = holds(middle)
        false, true = np.where(now, false, middle), np.where(now, middle, true)
        if np.all(np.abs(true - false) <= 1e-13 * true):
            break
    return true


def _plateaus(
    levels: Levels, times: Array, filled: Array, occupancy: Diagonals, k: int, closeness: float
) -> list[tuple[float, float, tuple[int, ...]]]:
    """Start, stop and occupancies of the intervals near whole numbers."""
    whole = np.rint(filled)
    possible = (whole <= levels.sizes).all(axis=1) & (whole.sum(axis=1) <= k)
    near = (np.abs(filled - whole) <= closeness).all(axis=1) & possible
    change = np.append(True, (whole[1:] != whole[:-1]).any(axis=1) | (near[1:] != near[:-1]))
    first = np.flatnonzero(change)
    last = np.append(first[1:], len(times)) - 1
    first, last = first[near[first]], last[near[first]]
    starts, stops = times[first].copy(), times[last].copy()

    def is_near(now: Array, runs: Array) -> Array:
        return np.asarray((np.abs(occupancy(now) - whole[first[runs]]) <= closeness).all(axis=1))

    late = np.flatnonzero(first > 0)
    starts[late] = _bisect(times[first[late] - 1], starts[late], lambda t: is_near(t, late))
    early = np.flatnonzero(last < len(times) - 1)
    stops[early] = _bisect(times[last[early] + 1], stops[early], lambda t: is_near(t, early))
    stops[last == len(times) - 1] = np.inf
    counts = [tuple(whole[i].astype(int).tolist()) for i in first]
    return list(zip(starts.tolist(), stops.tolist(), counts, strict=True))
