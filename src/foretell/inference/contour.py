"""Tails, densities and quantiles of quadratic forms in normal variables, on contours.

With :math:`X = c + \\sum_k (l_k z_k + w_k z_k^2)`, :math:`z_k` independent standard normal, the
cumulant generating function is, for real :math:`s` between the reciprocals of twice the extreme
weights,

.. math:: K(s) = cs + \\sum_k \\Big[ -\\tfrac12 \\log(1 - 2 w_k s)
                 + \\frac{l_k^2 s^2}{2 (1 - 2 w_k s)} \\Big].

Tail probabilities are Bromwich integrals of :math:`e^{K(s) - sx}/s`, densities of
:math:`e^{K(s) - sx}`. Both are summed by the trapezoidal rule on hyperbolas through (or near) the
saddlepoint [2]_ that bend around the branch cuts [3]_. Every number is relative to the integrand
at the vertex, so tails keep their relative accuracy; the side of the pole at 0 decides which of
the two tails comes out.

References
----------
.. [1] Imhof, J. P. (1961). Computing the distribution of quadratic forms in normal variables.
   Biometrika 48, 419-426. doi:10.1093/biomet/48.3-4.419. (The law, and the vertical contour.)
.. [2] Lugannani, R. and Rice, S. (1980). Saddle point approximation for the distribution of the
   sum of independent random variables. Adv. Appl. Probab. 12, 475-490. doi:10.2307/1426607.
.. [3] Weideman, J. A. C. and Trefethen, L. N. (2007). Parabolic and hyperbolic contours for
   computing the Bromwich integral. Math. Comp. 76, 1341-1356. doi:10.1090/S0025-5718-07-01945-X.
.. [4] Davies, R. B. (1980). The distribution of a linear combination of chi-squared random
   variables. Appl. Statist. 29, 323-333. doi:10.2307/2346911.
.. [5] Lindsay, B. G., Pilla, R. S. and Basak, P. (2000). Moment-based approximations of
   distributions using mixtures. Ann. Inst. Statist. Math. 52, 215-230.
   doi:10.1023/A:1004105603806.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from foretell.errors import ConvergenceError

Floats: TypeAlias = NDArray[np.float64]
Complexes: TypeAlias = NDArray[np.complex128]

EXACT_LIMIT = 1000  # distinct nonzero weights that are integrated one by one
KEPT = 500  # largest weights kept as they are beyond the limit
ATOMS = 8  # Gauss nodes that replace the other weights of one sign

LEAST_EXPONENT = 800.0  # tails below exp(-800) are only known to the leading order of their log
NEGLIGIBLE = 1e-60  # weight, in standard deviations, of a square that is dropped
SHALLOW = 1e-100  # standard deviations from the end of the support where powers take over
TINY = 1e-17  # the integrand is cut where it falls below this part of its largest value
AGREEMENT = 1e-8  # of two successive halvings; the error of the finer one is its square
BLOCK = 12
MAX_NODES = 4096
MAX_HALVINGS = 6
MAX_STEPS = 60
GROWTH = 10.0  # a contour whose integrand climbs more than this is given up for a straighter one
ANGLES = (math.pi / 6, math.pi / 12, math.pi / 24)
ROWS = 2048


class Terms(NamedTuple):
    """A law in units of its standard deviation, equal weights merged.

    ``y = (x - origin) / scale`` vanishes with the squares that are completed, and ``y = far`` with
    all squares: that is the end of the support if the weights have one sign and none is zero.
    """

    weights: Floats
    degrees: Floats
    noncentral: Floats  # sums of squared linear coefficients, by weight
    completed: Floats  # l^2 / 4w where the square can be completed without cancellation, else 0
    direct: Floats  # l^2 where it cannot
    normal: float  # variance of the terms without a square
    lower: float  # K is finite for lower < s < upper
    upper: float
    scale: float
    origin: float
    far: float

    @property
    def bend(self) -> int:
        """1 if all squares are positive, -1 if all are negative, 0 if mixed or none."""
        return int(math.isinf(self.lower)) - int(math.isinf(self.upper))

    @property
    def bounded(self) -> bool:
        """Whether the support is a half-line."""
        return self.bend != 0 and self.normal == 0


def gauss_atoms(points: Floats, mass: Floats, n: int) -> tuple[Floats, Floats]:
    """Gauss rule of a discrete measure, by the Lanczos recursion: it keeps 2n power sums."""
    n = min(n, np.unique(points).size)
    basis = [np.sqrt(mass / mass.sum())]
    diagonal, side = np.zeros(n), np.zeros(n)
    for i in range(n):
        v = points * basis[i]
        diagonal[i] = v @ basis[i]
        for _ in range(2):
            v = v - np.array(basis).T @ (np.array(basis) @ v)
        side[i] = np.linalg.norm(v)
        if side[i] <= 1e-13 * np.abs(points).max():
            n = i + 1
            break
        basis.append(v / side[i])
    matrix = np.diag(diagonal[:n]) + np.diag(side[: n - 1], 1) + np.diag(side[: n - 1], -1)
    nodes, vectors = np.linalg.eigh(matrix)
    # Rounding could push a node across 0 when the points span more than the digits.
    return np.clip(nodes, points.min(), points.max()), mass.sum() * vectors[0] ** 2


def compress(w: Floats, nu: Floats, lam: Floats) -> tuple[Floats, Floats, Floats]:
    """Keep the largest weights; match the first 2 x ATOMS cumulants of the others, sign by sign."""
    order = np.argsort(-np.abs(w))
    top, rest = order[:KEPT], order[KEPT:]
    parts = [(w[top], nu[top], lam[top])]
    for sign in (1.0, -1.0):
        k = rest[w[rest] * sign > 0]
        if k.size:
            t, mass = gauss_atoms(w[k], np.abs(w[k]) * nu[k], ATOMS)
            parts.append((t, mass / np.abs(t), np.zeros(t.size)))
        k = k[lam[k] > 0]
        if k.size:
            t, mass = gauss_atoms(w[k], lam[k], ATOMS)
            parts.append((t, np.zeros(t.size), mass))
    merged = [np.concatenate(p) for p in zip(*parts, strict=True)]
    return merged[0], merged[1], merged[2]


def collect(weights: Floats, linear: Floats, offset: float) -> tuple[Terms | None, bool]:
    """Standardised terms of a law (None for a point mass), and whether they are exact."""
    top = max(np.abs(weights).max(initial=0.0), np.abs(linear).max(initial=0.0))
    if top == 0:
        return None, True
    scale = top * math.sqrt(np.sum(2 * (weights / top) ** 2 + (linear / top) ** 2))
    w, lam = weights / scale, (linear / scale) ** 2
    plain = np.abs(w) < NEGLIGIBLE
    normal = float(lam[plain].sum())
    w, index = np.unique(w[~plain], return_inverse=True)
    nu = np.bincount(index, minlength=w.size).astype(float)
    lam = np.bincount(index, weights=lam[~plain], minlength=w.size).astype(float)
    exact = w.size <= EXACT_LIMIT
    if not exact:
        w, nu, lam = compress(w, nu, lam)
    split = lam <= 8 * LEAST_EXPONENT * w**2
    ends = lam / (4 * w)
    return Terms(
        weights=w,
        degrees=nu,
        noncentral=lam,
        completed=np.where(split, ends, 0.0),
        direct=np.where(split, 0.0, lam),
        normal=normal,
        lower=0.5 / w.min() if w.size and w.min() < 0 else -math.inf,
        upper=0.5 / w.max() if w.size and w.max() > 0 else math.inf,
        scale=float(scale),
        origin=float(offset - scale * ends[split].sum()),
        far=-float(ends[~split].sum()),
    ), exact


def cumulant_function(terms: Terms, s: Complexes) -> Complexes:
    """K of y at complex points in the upper half plane."""
    # Real logarithms and arctangents: numpy's complex logarithm is twenty times slower.
    re = 1 - 2 * np.multiply.outer(s.real, terms.weights)
    im = -2 * np.multiply.outer(s.imag, terms.weights)
    square = re * re + im * im
    nu = terms.degrees
    k = -0.25 * (np.log(square) @ nu) - 0.5j * (np.arctan2(im, re) @ nu)
    if terms.noncentral.any():
        re /= square
        im /= square
        ends, lam = terms.completed, terms.direct
        k += s * (re @ ends - 1j * (im @ ends))
        k += 0.5 * s**2 * (re @ lam - 1j * (im @ lam))
    result: Complexes = k + 0.5 * terms.normal * s**2
    return result


def cumulant_slopes(terms: Terms, s: ArrayLike) -> tuple[Floats, Floats]:
    """First and second derivative of ``cumulant_function`` at real points."""
    s = np.asarray(s, dtype=float)
    w = terms.weights
    ws = np.multiply.outer(s, w)
    r = 1 / (1 - 2 * ws)
    first = r @ (terms.degrees * w) + terms.normal * s
    second = (r * r) @ (2 * terms.degrees * w**2) + terms.normal
    if terms.noncentral.any():
        first += (r * r) @ terms.completed
        first += s * ((r * r * (1 - ws)) @ terms.direct)
        second += r**3 @ terms.noncentral
    return first, second


def saddlepoint(terms: Terms, y: float, s: float) -> float:
    """A point where K' is within a twentieth of its own width from y, by guarded Newton steps."""
    low, high = terms.lower, terms.upper
    for _ in range(2000):
        first, second = cumulant_slopes(terms, s)
        gap = y - float(first)
        at_cut = 1 - s / (terms.upper if gap > 0 else terms.lower) < 1e-9
        if at_cut or abs(gap) < 0.05 * math.sqrt(second):
            break
        low, high = (s, high) if gap > 0 else (low, s)
        new = s + gap / float(second)
        if not low < new < high:
            new = (s + (high if gap > 0 else low)) / 2
        s = new
    return s


def cells(terms: Terms, y: Floats) -> Iterator[tuple[slice, float]]:
    """Runs of sorted y that share one contour, each with a point near their saddlepoints."""
    start, s = 0, 0.0
    breaks = np.searchsorted(y, [0.0, terms.far]), np.searchsorted(y, [0.0, terms.far], "right")
    while start < y.size:
        s = saddlepoint(terms, float(y[start]), s)
        width = 1 / math.sqrt(cumulant_slopes(terms, s)[1])
        step = min(width, 0.3 * (terms.upper - s), 0.3 * (s - terms.lower))
        last = float(cumulant_slopes(terms, s + step)[0])
        stop = max(int(np.searchsorted(y, last, "right")), start + 1)
        stop = min([stop, start + ROWS, *(int(b) for b in np.concatenate(breaks) if b > start)])
        yield slice(start, stop), s if stop == start + 1 else s + step / 2
        start = stop


class Contour(NamedTuple):
    """The hyperbola ``vertex + radius (slope (cosh u - 1) + i sinh u)``."""

    vertex: float
    radius: float
    slope: float


def contour_through(terms: Terms, s: float, angle: float) -> Contour:
    """Hyperbola near s whose asymptotes make this angle with the vertical; foci off the cuts."""
    width = 1 / math.sqrt(cumulant_slopes(terms, s)[1])
    side = math.copysign(1, s)
    if abs(s) < width / 2 and angle:
        side = -math.copysign(1, angle)  # a contour that bends over the pole decays faster
    if side * s < 1.5 * width:
        room = terms.upper if side > 0 else -terms.lower
        s = side * max(side * s, min(1.5 * width, room / 2))
        width = 1 / math.sqrt(cumulant_slopes(terms, s)[1])
    right = (terms.upper - s) * math.cos(angle) / (1 - math.sin(angle))
    left = (s - terms.lower) * math.cos(angle) / (1 + math.sin(angle))
    return Contour(s, min(2 * width, left, right), math.tan(angle))


def integrand(terms: Terms, y: Floats, contour: Contour, u: Floats) -> tuple[Complexes, Complexes]:
    """Nodes s(u), and exp(K(s) - sy) s'(u) by y and u, relative to the vertex."""
    c, radius, slope = contour
    s = c + radius * (slope * (np.cosh(u) - 1) + 1j * np.sinh(u))
    ds = radius * (slope * np.sinh(u) + 1j * np.cosh(u))
    k = cumulant_function(terms, s) - cumulant_function(terms, np.array([c + 0j]))
    return s, np.exp(k - np.multiply.outer(y, s - c)) * ds


def node_sums(s: Complexes, e: Complexes) -> Floats:
    """Sums over nodes of the integrand times 1/s, 1 and s."""
    return (e @ np.stack([1 / s, np.ones_like(s), s], axis=1)).imag


def coarse_sums(
    terms: Terms, y: Floats, contour: Contour, h: float, used: int
) -> tuple[Floats, Floats, int]:
    """Sums with step h to the node where the integrand is negligible; its peak; nodes.

    The peak is in units of the integrand at the vertex. Nothing is summed beyond that node, where
    the integrand may grow again: a vertical line from there closes the contour as well.
    """
    total, peak = np.zeros((y.size, 3)), np.zeros((used, y.size, 1))
    for n in range(0, MAX_NODES, BLOCK):
        s, e = integrand(terms, y, contour, h * np.arange(n, n + BLOCK, dtype=float))
        size = np.abs(np.stack([e / s, e])[:used])
        if n == 0:
            start = size[:, :, :1]
            e[:, 0] /= 2
        running = np.maximum(peak, np.maximum.accumulate(size, axis=2))
        negligible = np.all(size <= TINY * running, axis=(0, 1))
        end = int(negligible.argmax()) + 1 if negligible.any() else BLOCK
        total += node_sums(s[:end], e[:, :end])
        peak = running[:, :, end - 1 : end]
        if negligible.any() or np.any(peak[0] > 1e9 * start[0]):
            break
    return h * total, (peak / start)[:, :, 0].T, n + end


def angles(terms: Terms, y: float) -> Iterator[float]:
    """Angles with the vertical to try: towards the squares' cut, or where exp(-sy) decays."""
    if terms.bend:
        yield terms.bend * ANGLES[0]
    else:
        yield from (sign * angle for angle in ANGLES for sign in (np.sign(y), -np.sign(y)) if sign)
        yield 0.0


def trapezoid(terms: Terms, y: Floats, s: float, *, density: bool) -> tuple[Floats, float]:
    """Integrals of exp(K(s) - sy) (1/s, 1, s) / 2 pi i relative to the vertex, and the vertex.

    The step is halved until two sums agree; convergence is geometric, so the error of the last
    one is about the square of the change.
    """
    used = 2 if density else 1
    for angle in angles(terms, float(y[0])):
        contour = contour_through(terms, s, angle)
        h = 0.28 * min(math.pi / 4, abs(contour.vertex) / contour.radius)
        total, peak, n = coarse_sums(terms, y, contour, h, used)
        # Squares of the other sign may make a bent contour climb before it falls.
        if terms.bend or np.all(peak[:, 0] <= GROWTH):
            break
    for _ in range(MAX_HALVINGS):
        finer = 0.5 * (total + h * node_sums(*integrand(terms, y, contour, h * np.arange(0.5, n))))
        change = np.abs(finer - total)[:, :used] / np.abs(finer[:, :used])
        total, h, n = finer, h / 2, 2 * n
        if np.all(change <= AGREEMENT):
            break
    rounding = 1e-16 * peak * contour.radius / np.abs(total[:, :used])
    rounding[:, 0] /= abs(contour.vertex)
    excess = max(float(change.max()), float(rounding.max()))
    if not excess <= AGREEMENT:
        raise ConvergenceError(
            f"the contour integral through {contour.vertex:.3g} / std changed by {excess:.1e} of "
            f"its value at {n} nodes, where {AGREEMENT:.0e} was expected; merge nearly equal "
            "weights, or drop those that are negligible"
        )
    return total / math.pi, contour.vertex


class Tails(NamedTuple):
    """Logarithms of both tails and of the density, and the log-derivative of the density."""

    lower: Floats
    upper: Floats
    density: Floats
    slope: Floats


def log_density_at_end(terms: Terms) -> float:
    """Log-density where the completed squares vanish, if it has a closed form there, else nan."""
    dof = terms.degrees.sum()
    if terms.normal or dof > 2:
        return -math.inf if terms.bounded else math.nan
    if dof < 2 or not terms.bounded:
        return math.inf
    w = np.abs(terms.weights)
    return -0.5 * float(terms.degrees @ np.log(2 * w) + np.sum(terms.noncentral / (2 * w) ** 2))


@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def tails(terms: Terms, y: Floats, *, density: bool) -> Tails:
    """Tails (and density) at standardised points of one dimension; nan where y is nan."""
    out = Tails(*(np.full(y.shape, np.nan) for _ in range(4)))
    below = (y <= terms.far) if terms.bounded and terms.bend > 0 else (y < -1e50)
    above = (y >= terms.far) if terms.bounded and terms.bend < 0 else (y > 1e50)
    outside = below | above
    out.lower[outside] = np.where(below, -np.inf, 0.0)[outside]
    out.upper[outside] = np.where(below, 0.0, -np.inf)[outside]
    out.density[outside] = -np.inf
    depth = np.abs(y - terms.far)
    if terms.bounded and np.any(shallow := ~outside & (depth < SHALLOW)):
        # So near the end, all factors are powers: lower tail ~ depth^(dof / 2).
        edge = tails(terms, np.array([terms.far + terms.bend * SHALLOW]), density=True)
        power = 0.5 * terms.degrees.sum()
        log_depth = np.log(depth[shallow] / SHALLOW)
        for values, end, p in zip(out, edge, (power, power, power - 1, 0.0), strict=True):
            values[shallow] = end + p * log_depth
        (out.upper if terms.bend > 0 else out.lower)[shallow] = 0.0
        out.slope[shallow] = terms.bend * (power - 1) / depth[shallow]
        outside |= shallow
    inside = np.flatnonzero(~outside & ~np.isnan(y))
    inside = inside[np.argsort(y[inside])]
    at_end = log_density_at_end(terms)
    for run, s in cells(terms, y[inside]):
        k, yk = inside[run], y[inside[run]]
        exponent = float(cumulant_function(terms, np.array([s + 0j])).real[0]) - s * yk[0]
        if not exponent > -LEAST_EXPONENT:
            # Below any positive double: the exponent is enough (and may have lost its digits).
            c, height = s, math.sqrt(2 * math.pi * cumulant_slopes(terms, s)[1])
            integrals = np.array([[1 / s, 1.0, s]]) / height * np.ones((yk.size, 1))
        else:
            singular = yk[0] == terms.far and at_end == math.inf
            integrals, c = trapezoid(terms, yk, s, density=density and not singular)
        base = cumulant_function(terms, np.array([c + 0j])).real - c * yk
        near, other = (out.upper, out.lower) if c > 0 else (out.lower, out.upper)
        near[k] = np.minimum(base + np.log(np.abs(integrals[:, 0])), 0.0)
        other[k] = np.log1p(-np.exp(near[k]))
        out.density[k] = base + np.log(np.abs(integrals[:, 1]))
        out.slope[k] = -integrals[:, 2] / integrals[:, 1]
    if not math.isnan(at_end):
        out.density[y == terms.far] = at_end
    return out


def saddlepoint_quantiles(terms: Terms, normal_quantile: Floats) -> Floats:
    """Points whose Lugannani-Rice tails, in the form Phi(r*), are the given normal quantiles."""
    t = 0.25 * 2 ** (np.arange(51) / 2)
    s = np.concatenate([(-t / (1 - t / terms.lower))[::-1], t / (1 + t / terms.upper)])
    k = cumulant_function(terms, s + 0j).real
    y, second = cumulant_slopes(terms, s)
    w = np.sign(s) * np.sqrt(2 * (s * y - k))
    r = w + np.log(s * np.sqrt(second) / w) / w
    if not terms.bounded:
        return np.interp(normal_quantile, r, y)
    depth = np.interp(normal_quantile, r, np.log(np.abs(y - terms.far)))
    return terms.far + terms.bend * np.exp(depth)


@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def quantiles(terms: Terms, lower: Floats, upper: Floats) -> Floats:
    """Standardised points whose log-tails are ``lower`` and ``upper``, by guarded Halley steps.

    They solve for the logarithm of the smaller tail, as a function of y or, towards the end of a
    bounded support, of the logarithm of the distance to it.
    """
    is_lower = lower < upper
    sign = np.where(is_lower, 1.0, -1.0)
    target = np.minimum(lower, upper)
    y = saddlepoint_quantiles(terms, sign * special.ndtri_exp(target))
    in_log = np.full(y.shape, terms.bounded) & (sign == terms.bend)
    low = np.full(y.shape, terms.far if terms.bounded and terms.bend > 0 else -np.inf)
    high = np.full(y.shape, terms.far if terms.bounded and terms.bend < 0 else np.inf)
    todo = np.arange(y.size)
    for _ in range(MAX_STEPS):
        at, up = y[todo], sign[todo]
        t = tails(terms, at, density=True)
        log_tail = np.where(is_lower[todo], t.lower, t.upper)
        gap = log_tail - target[todo]
        depth = np.where(in_log[todo], at - terms.far, 1.0)
        first = up * np.sign(depth) * np.exp(t.density - log_tail + np.log(np.abs(depth)))
        newton = -gap / first
        bow = 0.5 * newton * (depth * t.slope - first + in_log[todo])
        step = newton / np.clip(1 + bow, 0.5, 2.0)
        high[todo] = np.where(up * gap > 0, np.minimum(high[todo], at), high[todo])
        low[todo] = np.where(up * gap < 0, np.maximum(low[todo], at), low[todo])
        new = np.where(in_log[todo], terms.far + depth * np.exp(np.maximum(step, -200)), at + step)
        lo, hi = low[todo], high[todo]
        settled = (np.abs(gap) < 1e-14) | (new == at) | (hi - lo <= 4e-16 * np.abs(at))
        settled |= in_log[todo] & (new == terms.far)  # closer to the end than any other double
        astray = ~((lo < new) & (new < hi)) & ~settled
        middle = np.clip(0.5 * (np.maximum(lo, at - 2) + np.minimum(hi, at + 2)), lo, hi)
        y[todo] = np.where(astray, middle, np.clip(new, lo, hi))
        settled |= (np.abs(gap) < 1e-5) & (np.abs(bow) < 1e-4) & ~astray
        todo = todo[~settled]
        if todo.size == 0:
            return y
    raise ConvergenceError(
        f"{todo.size} quantiles did not settle in {MAX_STEPS} steps; the first has log-tail "
        f"{target[todo[0]]:.6g} and lies between {low[todo[0]]:.6g} and {high[todo[0]]:.6g} "
        "standard deviations; drop weights that are negligible beside the largest"
    )
