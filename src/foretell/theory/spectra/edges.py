"""Support of a generalised Marchenko-Pastur law, and the real branch outside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.theory.spectra.atoms import EPS, ROUNDING, Atoms, blocks

STEPS = 200
NARROW = 0.1  # width of an interval relative to its place


@dataclass(frozen=True, eq=False)
class Support:
    """Intervals of the continuous part, k of them, in units of the largest eigenvalue.

    Attributes
    ----------
    origin
        An atom of each interval that is narrow, zero for the others, shape (k,).
    offset
        Zeros of z'(w) on the real line, ascending, counted from the origin, shape (k, 2).
    x
        Ends of the intervals, shape (k, 2).
    masses
        Probability of each interval, shape (k,).
    atom
        Probability of zero.
    """

    origin: Array
    offset: Array
    x: Array
    masses: Array
    atom: float

    @property
    def u(self) -> Array:
        """Zeros of z'(w), z(u) = x, shape (k, 2)."""
        return self.origin[:, None] + self.offset


def support(atoms: Atoms) -> Support:
    r"""Intervals of the law, from the real zeros of :math:`z'(w) = 1 - \sum_j a_j/(w-\tau_j)^2`.

    The sum is convex in each gap between atoms, so a gap of atoms holds two edges or none.
    Masses are exact: an interval has the weight of the atoms that it encloses (exact separation,
    Bai & Silverstein 1999), up to the mass at zero which the first one gives up.
    """
    right, left, split = _gaps(atoms)
    first, last = np.append(0, split), np.append(split, len(atoms.tau)) - 1
    offset = np.stack([np.append(_leftmost(atoms), left), np.append(right, _rightmost(atoms))], 1)
    spread = np.stack([np.zeros(len(last)), atoms.tau[last] - atoms.tau[first]], axis=1)
    origin = atoms.tau[first]
    u = atoms.tau[np.stack([first, last], 1)] + offset
    if atoms.excess == 0:
        u[0, 0] = 0.0
    narrow = np.diff(u, axis=1)[:, 0] < NARROW * u[:, 0]
    offset = np.where(narrow[:, None], offset + spread, u)
    x = np.maximum.accumulate(atoms.real(u.ravel())[0]).reshape(u.shape)
    masses = np.add.reduceat(atoms.weight, first)
    lost = min(0.0, atoms.excess) / atoms.aspect_ratio
    masses[0] += lost
    return Support(np.where(narrow, origin, 0.0), offset, x, masses, atoms.zero - lost)


def _powers(atoms: Atoms, origin: Array, offset: Array) -> tuple[Array, Array]:
    r""":math:`\sum_j a_j/(u-\tau_j)^k` for k = 2 and 3 at u = origin + offset, shape (m,)."""
    square, cube = np.empty(len(offset)), np.empty(len(offset))
    strength = atoms.strength
    for rows in blocks(len(offset), len(strength)):
        gap = origin[rows, None] - atoms.tau
        gap += offset[rows, None]
        np.divide(1.0, gap, out=gap)
        product = gap * gap
        square[rows] = product @ strength
        product *= gap
        cube[rows] = product @ strength
    return square, cube


def _gaps(atoms: Atoms) -> tuple[Array, Array, Array]:
    """Open gaps: the edge after atom j, from it; that before atom j + 1, from it; and j + 1."""
    root = np.cbrt(atoms.strength)
    gap = np.diff(atoms.tau)
    split = np.flatnonzero(gap**2 > (root[1:] + root[:-1]) ** 3)
    gap, below, above = gap[split], atoms.tau[split], atoms.tau[split + 1]
    reach = np.sqrt(atoms.strength)
    right = _walk(atoms, below, reach[split], gap - reach[split + 1])
    left = -_walk(atoms, above, reach[split + 1], gap - reach[split], sign=-1.0)
    opened = right - left < gap
    return right[opened], left[opened], split[opened] + 1


def _walk(atoms: Atoms, origin: Array, start: Array, end: Array, sign: float = 1.0) -> Array:
    r"""Distance from the origin at which f = 1, with
    :math:`f = (\sum_j a_j/(u-\tau_j)^2)^{-1/2}`; nan where there is none before the end.

    f is concave between atoms (Cauchy-Schwarz) and below one at the start, so Newton's method
    walks to the zero without passing it; where it has to turn back, or leaves, f stays below one.
    """
    distance, active = start.copy(), np.ones(len(start), bool)
    for _ in range(STEPS):
        at = distance[active]
        g, cube = _powers(atoms, origin[active], sign * at)
        slope = sign * cube / g**1.5
        short = 1 - g**-0.5
        with np.errstate(divide="ignore", invalid="ignore"):
            new = at + np.where(slope > 0, short / slope, np.nan)
        gone = ~(new <= end[active]) & (short > 0)
        settled = (short <= 0) | (np.abs(new - at) <= 2 * EPS * at)
        distance[active] = np.where(gone, np.nan, np.where(short > 0, new, at))
        active[active] = ~gone & ~settled
        if not active.any():
            break
    return distance


def _rightmost(atoms: Atoms) -> float:
    """Distance of the last edge from the last atom."""
    inside = np.cumsum(atoms.strength[::-1])[::-1]
    start = (atoms.tau - atoms.tau[-1] + np.sqrt(inside)).max()
    return float(_walk(atoms, atoms.tau[-1:], np.array([start]), np.array([np.inf]))[0])


def _leftmost(atoms: Atoms) -> float:
    r"""The first edge, from the first atom.

    The last step uses :math:`\sum_j a_j/(u-\tau_j)^2 - 1 = -\beta +
    \gamma u \int (2\tau - u)/(u-\tau)^2 dH`, which keeps its digits for small u.
    """
    origin = atoms.tau[:1]
    start = (np.sqrt(np.cumsum(atoms.strength)) - (atoms.tau - origin)).max()
    distance = _walk(atoms, origin, np.array([start]), np.array([np.inf]), sign=-1.0)[0]
    u = float(origin[0] - distance)
    if u > origin[0] / 2:
        return float(-distance)
    gap = u - atoms.tau
    numerators = atoms.weight * (2 * atoms.tau - u)
    over = atoms.aspect_ratio * u * (numerators / gap**2).sum() - atoms.excess
    return float(u + over / (2 * (atoms.strength / gap**3).sum()) - origin[0])


def real_branch(atoms: Atoms, where: Support, x: Array) -> Array:
    """Real w with z(w) = x and z'(w) > 0, for x outside the open intervals, shape (m,).

    z increases in each such stretch, concave on the left of all atoms and convex on the right.
    """
    ends_u = np.concatenate([[-np.inf], where.u.ravel(), [np.inf]])
    ends_x = np.concatenate([[-np.inf], where.x.ravel(), [np.inf]])
    stretch = 2 * (np.searchsorted(ends_x[1:-1], x, side="right") // 2)
    low, high = ends_u[stretch], ends_u[stretch + 1]
    bound = x - atoms.first_moment
    if atoms.excess > 0:
        bound = np.where(x < 0, np.maximum(bound, x / atoms.excess), bound)
    first, last = stretch == 0, stretch == len(ends_u) - 2
    low, high = (
        np.where(first, np.minimum(bound, high), low),
        np.where(last, np.maximum(bound, low), high),
    )
    w = np.where(first, low, np.where(last, high, (low + high) / 2))
    at_edge = np.isin(x, where.x)
    w = np.where(at_edge, where.u.ravel()[np.searchsorted(where.x.ravel(), x) % where.x.size], w)
    return _bracketed(atoms, x, w, low, high, at_edge)


def _bracketed(atoms: Atoms, x: Array, w: Array, low: Array, high: Array, done: Array) -> Array:
    """Newton's method that falls back on bisection; z increases from low to high."""
    w, low, high, active = w.copy(), low.copy(), high.copy(), ~done
    for step in range(STEPS):
        if not active.any():
            return w
        at = w[active]
        z, slope = atoms.real(at)
        miss = z - x[active]
        low[active] = np.where(miss <= 0, at, low[active])
        high[active] = np.where(miss >= 0, at, high[active])
        with np.errstate(divide="ignore", invalid="ignore"):
            new = at - miss / slope
        settled = np.abs(new - at) <= ROUNDING / 4 * np.abs(new)
        settled |= np.abs(miss) <= EPS * max(1, step - 15) * np.abs(x[active])  # rounding of z
        outside = ~((new >= low[active]) & (new <= high[active]))
        new = np.where(outside, (low[active] + high[active]) / 2, new)
        w[active] = np.where(settled, at, new)
        active[active] = ~settled & (low[active] < high[active])
    raise ConvergenceError(
        f"the real branch did not settle at {int(active.sum())} points, the first x = "
        f"{x[active][0] * atoms.scale:.17g}; move it away from the edge of the support"
    )
