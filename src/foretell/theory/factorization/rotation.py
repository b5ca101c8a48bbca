r"""The rotation in the solution of the gradient flow, which the Gram matrix does not show.

:math:`X = E Y Z` with :math:`\dot Z = -\frac12 B^{-1} \dot B Z`, :math:`B = I + Y^\top D^2 Y`
(notation of ``plane.py``). Then :math:`Q = (Z; D Y Z)` is an orthonormal basis of the moving
plane, and :math:`Q^\top \dot Q = Z^\top (Y^\top D \dot D Y - \frac12 \dot B) Z = 0`: the solution
is the parallel transport of the plane, its rotation a holonomy, without a closed form for k > 1
in general. With :math:`Q = \hat Q O` for the basis :math:`\hat Q = K R^{-1}`,

.. math::

    \dot O = (N_<^\top - N_<) O, \qquad N = R^{-\top} K^\top \dot K R^{-1},
    \qquad \dot K_{ij} = (\delta_i - \delta_j) K_{ij}, \quad \delta = \dot D / D,

where :math:`N_<` is the part below the diagonal. This is linear, with coefficients in closed form
at any time: Gauss collocation, whose order is twice the number of nodes, on steps chosen from the
rates of those entries of K that are not negligible. Every entry is monotone in time, so the two
ends of a step bound what happens inside. Derived here; errors are near 1e-14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.theory.factorization.plane import LEAST, Frame, Plane

_STEP = 1.0  # largest step times rate: the poles of N are about pi of these units away
_NODES = 16  # inside a step the order is that of the nodes, at its end twice that
_POINTS, _WEIGHTS = legendre.leggauss(_NODES)
_NEGLIGIBLE = 1e-13
_SMALL = np.sqrt(_NEGLIGIBLE) / 10  # largest entry of a row of K that may be left out
_CHUNK = 2**19  # entries of K held at once


@dataclass(frozen=True, eq=False)
class Leg:
    """Steps with one frame.

    Attributes
    ----------
    frame
        Serves at all of them.
    ends
        Ends of the steps, shape (m + 1,).
    rows
        Rows of K, without the pivots, that are not negligible anywhere, shape (q,).
    """

    frame: Frame
    ends: Array
    rows: Array


def rotated(plane: Plane, times: Array) -> Iterator[tuple[slice, Array]]:
    """X in the eigenbasis, shape (T', n, k), for slices of ascending times."""
    if plane.rank == 1:
        yield from _signed(plane, times)
        return
    size = plane.chunk
    O, before, first = np.eye(plane.rank), None, 0
    for leg in legs(plane, float(times[-1])):
        if before is not None:
            O = _change(plane, before, leg) @ O
        turns, slopes = _turns(plane, leg)
        path = _products(turns, O)
        last = int(np.searchsorted(times, leg.ends[-1], side="right"))
        for a in range(first, last, size):
            part = slice(a, min(a + size, last))
            F = plane.factor(leg.frame, times[part])
            yield part, F @ _inside(leg, path, slopes, times[part])
        O, before, first = path[-1], leg, last


def _products(turns: Array, start: Array) -> Array:
    """O at the ends of the steps, shape (m + 1, k, k)."""
    path = [start]
    for turn in turns:
        path.append(turn @ path[-1])
    O = np.stack(path)
    # one Newton step to the nearest orthogonal matrix
    return np.asarray(O @ (3 * np.eye(len(start)) - np.swapaxes(O, -1, -2) @ O) / 2)


def _inside(leg: Leg, path: Array, slopes: Array, times: Array) -> Array:
    """O at some times of a leg, shape (T, k, k): the polynomial of the collocation."""
    if not len(slopes):
        return np.broadcast_to(path[0], (len(times), *path.shape[1:]))
    step = np.clip(np.searchsorted(leg.ends, times, side="right") - 1, 0, len(slopes) - 1)
    left, right = leg.ends[step], leg.ends[step + 1]
    weights = _integrals(2 * (times - left) / (right - left) - 1)
    turns = np.einsum("tj,tjkl->tkl", weights, slopes[step])
    return np.asarray(path[step] + turns @ path[step])


def _signed(plane: Plane, times: Array) -> Iterator[tuple[slice, Array]]:
    """A vector does not rotate: the factor with the signs of the start."""
    for part, F in plane.factors(times):
        flipped = (F * plane.start).sum((1, 2)) < 0
        yield part, np.where(flipped[:, None, None], -F, F)


def legs(plane: Plane, stop: float) -> Iterator[Leg]:
    """Steps from time 0 to ``stop``, one leg a frame."""
    time, step = 0.0, stop
    while True:
        frame, ends = plane.frame(time), [time]
        here = _view(plane, frame, time)
        sizes = here.sizes
        while time < stop:
            step = min(2 * step, stop - time)
            ahead = _view(plane, frame, time + step)
            while not ahead.serves or step * _rate(plane, frame, here, ahead) > _STEP:
                if not ahead.serves and len(ends) > 1:
                    break
                step = _shorter(step, time)
                ahead = _view(plane, frame, time + step)
            if not ahead.serves:
                break
            time, here = time + step, ahead
            ends.append(time)
            sizes = np.maximum(sizes, here.sizes)
        rows = np.flatnonzero(sizes > _SMALL)
        yield Leg(frame, np.array(ends), rows)
        if time >= stop:
            return


def _shorter(step: float, time: float) -> float:
    if step < 1e-13 * time:
        raise ConvergenceError(
            f"the rotation of the solution changes within rounding of time {time:.6g}; expected "
            "that some step resolves it; use gram(times) or factor(times), which need no rotation"
        )
    return step / 2


@dataclass(frozen=True, eq=False)
class _View:
    """What the length of a step depends on, at one of its ends.

    Attributes
    ----------
    time
        Of this end.
    serves
        Whether the frame does.
    turning
        Size of N, and the rate 1/t: the singularities of D are at time 0.
    sizes
        Largest entry of each row of K, pivots left out, shape (k + n,).
    weights
        Products of the entries of K and the largest of their row, (k + n, k): what an entry can
        add to N, relative to its rate.
    """

    time: float
    serves: bool
    turning: float
    sizes: Array
    weights: Array


def _view(plane: Plane, frame: Frame, time: float) -> _View:
    at = np.array([time])
    K = plane.slopes(frame, at)
    serves = bool(plane.serves(frame, K)[0])
    K[:, frame.pivots] = 0.0
    if not serves:
        return _View(time, False, 0.0, K[0, :, 0], K[0])
    sizes = np.abs(K[0]).max(1)
    weights = np.abs(K[0]) * sizes[:, None]
    rows = np.flatnonzero(sizes > (_SMALL if time else 0.0))
    if not len(rows):
        return _View(time, True, 0.0, sizes, weights)
    N = float(np.linalg.norm(_moved(plane, frame, at, rows, K[:, rows])[0]))
    return _View(time, True, max(3 * N, 1 / time if time else 0.0), sizes, weights)


def _rate(plane: Plane, frame: Frame, left: _View, right: _View) -> float:
    """One over the time in which N changes, between two times.

    Entries of K are monotone, and rates of growth settle as time passes: the larger weight, and
    the settling at the left end, bound what is between.
    """
    weights = np.maximum(left.weights, right.weights)
    rows = np.flatnonzero(np.maximum(left.sizes, right.sizes) > _SMALL)
    linear, pivots = plane.linear, frame.pivots
    unsettled = plane.unsettled(left.time) > _NEGLIGIBLE
    settling = np.where(unsettled, np.abs(plane.all_values), 0.0)
    rates = np.abs(linear[rows, None] - linear[pivots])
    rates = np.maximum(rates, np.maximum(settling[rows, None], settling[pivots]))
    pairs = rates[weights[rows] > _NEGLIGIBLE].max(initial=0.0)
    return max(float(pairs), left.turning, right.turning)


def _moved(plane: Plane, frame: Frame, times: Array, rows: Array, K: Array) -> Array:
    """N, shape (T, k, k)."""
    growth = plane.growth(times)
    K = np.where(np.abs(K) < LEAST, 0.0, K)
    moving = K * (growth[:, rows, None] - growth[:, None, frame.pivots])
    Kt = np.swapaxes(K, -1, -2)
    # K'K without the pivots, whose rows are the identity
    lower = np.linalg.inv(np.linalg.cholesky(np.eye(plane.rank) + Kt @ K))
    return np.asarray(lower @ (Kt @ moving) @ np.swapaxes(lower, -1, -2))


def _turns(plane: Plane, leg: Leg) -> tuple[Array, Array]:
    """Rotation over each step, shape (m, k, k), and its derivative inside, (m, s, k, k).

    Gauss collocation; the derivative is by the length of the step, at the s points.
    """
    m, k = len(leg.ends) - 1, plane.rank
    skew = np.zeros((m, _NODES, k, k))
    lengths = np.diff(leg.ends)[:, None]
    times = leg.ends[:-1, None] + lengths * (_POINTS + 1) / 2
    size = max(1, _CHUNK // (_NODES * (len(leg.rows) + 1) * k))
    for a in range(0, m if len(leg.rows) else 0, size):
        some = times[a : a + size]
        K = plane.slopes(leg.frame, some.ravel(), leg.rows)
        below = np.tril(_moved(plane, leg.frame, some.ravel(), leg.rows, K), -1)
        skew[a : a + size] = (np.swapaxes(below, -1, -2) - below).reshape(*some.shape, k, k)
    skew *= lengths[..., None, None]
    inner = _integrals(_POINTS)
    slopes = skew
    for _ in range(60):  # Picard iteration; the steps are short enough for it to contract
        stages = np.eye(k) + np.einsum("ij,mjkl->mikl", inner, slopes, optimize=True)
        before, slopes = slopes, skew @ stages
        if np.abs(slopes - before).max(initial=0.0) < 1e-15:
            break
    return np.eye(k) + np.einsum("j,mjkl->mkl", _WEIGHTS / 2, slopes), slopes


def _integrals(points: Array) -> Array:
    """Integrals up to some points of [-1, 1] of the polynomials that are 1 at one Gauss point and
    0 at the others, in units of the length 2, shape (points, s).

    With Legendre polynomials, whose integrals are (P_{n+1} - P_{n-1}) / (2n + 1).
    """
    values = legendre.legvander(_POINTS, _NODES - 1) * _WEIGHTS[:, None]
    P = legendre.legvander(points, _NODES)
    before = np.concatenate([-np.ones((len(points), 1)), P[:, : _NODES - 1]], axis=1)
    return np.asarray((P[:, 1:] - before) @ values.T / 4)


def _change(plane: Plane, before: Leg, after: Leg) -> Array:
    """From coordinates in the basis of one frame to those in that of the next."""
    at = after.ends[:1]
    old, new = plane.slopes(before.frame, at), plane.slopes(after.frame, at)
    R, R_new = plane.root(old)[0], plane.root(new)[0]
    return np.asarray(R_new @ old[0, after.frame.pivots] @ np.linalg.inv(R))
