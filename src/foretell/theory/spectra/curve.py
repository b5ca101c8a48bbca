r"""The curve of complex w with real z(w) above one interval of a Marchenko-Pastur law.

With :math:`w = u + iy` the imaginary part of z vanishes where
:math:`\gamma \int \tau^2 dH / ((u-\tau)^2 + y^2) = 1`, which has one root :math:`y > 0` for each u
between two edges. There

.. math:: x = \gamma |w|^2 \int \frac{\tau \, dH}{|w-\tau|^2}, \quad
          \rho(x) = \frac{y}{\pi \gamma |w|^2}, \quad
          z'(w) = 2y(y S + iT), \quad \frac{dx}{du} = 2 (y^2 S + T^2 / S),

:math:`S = \gamma \int \tau^2 dH/|w-\tau|^4`, :math:`T = \gamma \int \tau^2 (u-\tau) dH/|w-\tau|^4`:
sums without cancellation. Derived in docs/masked-regression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foretell._types import Array
from foretell.theory.spectra.atoms import EPS, ROUNDING, Atoms

ORDER = 16  # Gauss-Legendre nodes a panel
TAILS = (1e-8, 1e-10, 1e-12)  # last Legendre coefficients that count as resolved, in turn
MASS = 3e-14  # relative error of the mass of an interval beyond which the next one is tried
LEVELS = 48  # halvings of a panel
PANELS = 512  # to halve at once; more are noise
CLOSE = 1e-9  # last relative step of a squared height; the next would be its square
LAST = 1e-8  # last step of w relative to its height; the next would be its square
STEPS = 100


@dataclass(frozen=True, eq=False)
class Curve:
    """Nodes along the support of a law, and quadrature weights.

    Attributes
    ----------
    x
        Places, ascending, shape (m,).
    w
        Points of the curve, z(w) = x, complex, shape (m,).
    weight
        ``weight @ f(x)`` is the integral of f against the continuous part, shape (m,).
    """

    x: Array
    w: Array
    weight: Array


@dataclass(frozen=True, eq=False)
class Arc:
    """The curve above one interval at nodes of an angle, in units of the largest eigenvalue.

    Attributes
    ----------
    atoms
        The atoms, with an origin next to the interval.
    ends
        Its two real ends, counted from that origin.
    x
        The interval.
    w, slope
        Nodes and dw/dphi, where x runs from end to end as 1 - cos(phi) does; complex, (m + 2,),
        with the ends.
    phi
        Places of the nodes, from 0 to pi, shape (m + 2,).
    curve
        Places, points and weights at the m nodes inside.
    """

    atoms: Atoms
    ends: tuple[float, float]
    x: tuple[float, float]
    w: Array
    slope: Array
    phi: Array
    curve: Curve


def heights(atoms: Atoms, u: Array, guess: Array | None = None) -> Array:
    """Squared height of the curve above u (from the origin), shape (m,); zero where it has none.

    Newton's method on 1 / g for g = gamma int tau^2 / ((u - tau)^2 + Y) dH, which is concave and
    increasing in Y: from any guess the iterates are below the root after one step, and then rise.
    """
    below = _below(atoms, u)
    square = below.copy() if guess is None else np.maximum(guess, below)
    active = np.ones(len(u), bool)
    for _ in range(STEPS):
        at, real = square[active], u[active]
        low, s, _ = atoms.sums(real, at)
        real = real + atoms.origin
        over = atoms.forms(real * real + at, real, low)[1]
        step = over * (1 + over) / s
        square[active] = np.maximum(at + step, below[active])
        active[active] = np.abs(step) > CLOSE * at
        if not active.any():
            break
    return square


def _below(atoms: Atoms, u: Array) -> Array:
    """A lower bound of the squared height: that of the nearest atoms alone."""
    tau = atoms.tau - atoms.origin
    after = np.clip(np.searchsorted(tau, u), 0, len(tau) - 1)
    bounds = [atoms.strength[j] - (u - tau[j]) ** 2 for j in (np.maximum(after - 1, 0), after)]
    return np.maximum(np.maximum(*bounds), 0.0)


def measure(atoms: Atoms, u: Array, square: Array) -> tuple[Array, Array, Array, Array]:
    """At points of the curve, u from the origin: w, x, dx/du and z'(w), shape (m,)."""
    y = np.sqrt(square)
    low, s, t = atoms.sums(u, square)
    u = u + atoms.origin
    ratio, _ = atoms.forms(u * u + square, u, low)
    x = u * ratio + atoms.aspect_ratio * square * low[1]
    return u + 1j * y, x, 2 * (square * s + t * t / s), 2 * y * (y * s + 1j * t)


def density(atoms: Atoms, w: Array) -> Array:
    """Density of the law at x = z(w)."""
    return w.imag / (np.pi * atoms.aspect_ratio * (w.real**2 + w.imag**2))


def place(u: tuple[float, float], theta: Array) -> tuple[Array, Array]:
    """u at angles from 0 to pi, and du/dtheta; counted from the nearer end."""
    width = u[1] - u[0]
    low, high = u[0] + width * np.sin(theta / 2) ** 2, u[1] - width * np.cos(theta / 2) ** 2
    return np.where(theta < np.pi / 2, low, high), width * np.sin(theta) / 2


def tabulated(atoms: Atoms, u: tuple[float, float], x: tuple[float, float]) -> Arc:
    """The curve above one interval, at nodes that resolve the density between them."""
    return arc(atoms, u, x, *_panels(atoms, u, TAILS[0]))


def resolved(part: Arc, mass: float) -> Arc:
    """The same curve, at as many nodes as the known mass of its interval asks for.

    Features narrower than nodes are apart, near a hard edge that is only just missed or a tiny
    atom, show in the mass alone.
    """
    for tail in TAILS[1:]:
        if abs(part.curve.weight.sum() - mass) <= MASS * mass + EPS:
            break
        part = arc(part.atoms, part.ends, part.x, *_panels(part.atoms, part.ends, tail))
    return part


def sampled(atoms: Atoms, u: tuple[float, float], x: tuple[float, float], n_nodes: int) -> Arc:
    """The curve above one interval at the midpoints of equal pieces of the angle."""
    theta = np.pi * (np.arange(n_nodes) + 0.5) / n_nodes
    square = heights(atoms, place(u, theta)[0])
    return arc(atoms, u, x, theta, np.full(n_nodes, np.pi / n_nodes), square)


def arc(
    atoms: Atoms, u: tuple[float, float], x: tuple[float, float],
    theta: Array, weight: Array, square: Array,
) -> Arc:  # fmt: skip
    """The curve at angles with these weights, where its squared heights are known.

    Its ends u count from the origin of the atoms.
    """
    real, speed = place(u, theta)
    w, at, dx, slope = measure(atoms, real, square)
    at = np.clip(at, *x)
    quadrature = Curve(at, w, weight * speed * dx * density(atoms, w))
    phi = angle(x, at)
    half = (x[1] - x[0]) / 2
    slopes = np.divide(half * np.sin(phi), slope, out=np.zeros_like(w), where=slope != 0)
    first, last = (_end_slope(atoms, end, half) for end in u)
    return Arc(
        atoms, u, x,
        np.concatenate([[u[0] + atoms.origin], w, [u[1] + atoms.origin]]),
        np.concatenate([[1j * first], slopes, [-1j * last]]),
        np.concatenate([[0.0], np.maximum.accumulate(phi), [np.pi]]),
        quadrature,
    )  # fmt: skip


def angle(x: tuple[float, float], at: Array) -> Array:
    """phi with at = x_0 + (x_1 - x_0) (1 - cos phi) / 2."""
    low, high = np.maximum(at - x[0], 0), np.maximum(x[1] - at, 0)
    return np.asarray(2 * np.arctan2(np.sqrt(low), np.sqrt(high)))


def _end_slope(atoms: Atoms, u: float, half: float) -> float:
    """|dw/dphi| at an edge, where z''(w) = 2 gamma int tau^2 / (w - tau)^3 dH is not zero."""
    gap = u - (atoms.tau - atoms.origin)
    bend = abs(2 * float((atoms.strength / (gap * gap * gap)).sum()))
    return float(np.sqrt(half / bend))


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array, Array, Array]:
    """Gauss rule on (0, 1); maps to the last two coefficients, and to the nodes of both halves."""
    node, weight = np.polynomial.legendre.leggauss(ORDER)
    coefficients = np.polynomial.legendre.legvander(node, ORDER - 1) * weight[:, None]
    coefficients = (coefficients * (np.arange(ORDER) + 0.5)).T
    halves = np.concatenate([(node - 1) / 2, (node + 1) / 2])
    finer = np.polynomial.legendre.legvander(halves, ORDER - 1) @ coefficients
    return (node + 1) / 2, weight / 2, coefficients[-2:], finer


def _panels(atoms: Atoms, u: tuple[float, float], resolution: float) -> tuple[Array, Array, Array]:
    """Angles, weights and squared heights; panels are halved until each resolves the density.

    The density along the angle is analytic up to both ends, also at the hard edge.
    """
    node, weight, tail, finer = _legendre()
    start, width = np.zeros(1), np.pi
    guess: Array | None = None
    done: list[tuple[Array, Array, Array]] = []
    largest = 0.0
    noise = 1e3 * EPS * max(abs(u[0]), abs(u[1])) / (u[1] - u[0])
    for level in range(LEVELS):
        theta = start[:, None] + width * node
        real, speed = place(u, theta.ravel())
        square = heights(atoms, real, guess)
        w, _, dx, _ = measure(atoms, real, square)
        values = (density(atoms, w) * dx * speed).reshape(theta.shape)
        square = square.reshape(theta.shape)
        largest = max(largest, float(values.max()))
        rough = np.abs(values @ tail.T).max(axis=1) > max(resolution, noise) * largest
        if level == LEVELS - 1 or rough.sum() > PANELS:
            rough[:] = False
        done.append((theta[~rough], np.full(theta[~rough].shape, width) * weight, square[~rough]))
        if not rough.any():
            break
        width /= 2
        start = (start[rough][:, None] + np.array([0.0, width])).ravel()
        ratio = square[rough] / np.sin(theta[rough]) ** 2
        angles = (start[:, None] + width * node).ravel()
        guess = (ratio @ finer.T).ravel() * np.sin(angles) ** 2
    theta, weights, square = (
        np.concatenate([part.ravel() for part in p]) for p in zip(*done, strict=True)
    )
    order = np.argsort(theta)
    return theta[order], weights[order], square[order]


def invert(atoms: Atoms, part: Arc, x: Array) -> Array:
    """w on the arc with z(w) = x, for x inside its interval, shape (m,).

    Hermite interpolation between nodes, then Newton's method in the complex plane. A root in the
    upper half-plane is the only one there; points that do not reach it go by bisection.
    """
    w, open_ = _interpolate(part, x), np.ones(len(x), bool)
    for _ in range(12):
        at = w[open_]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            new, last = _newton(atoms, at, x[open_])
        lost = ~np.isfinite(new)  # a step to infinity, from where the slope vanishes
        escaped = lost | ~(new.imag > 0)
        w[open_] = np.where(escaped, np.where(lost, at, new).real + 0.5j * at.imag, new)
        open_[open_] = escaped | ~last
        if not open_.any():
            return w
    w[open_] = _bisect(part, x[open_])
    return w


def _newton(atoms: Atoms, w: Array, x: Array) -> tuple[Array, Array]:
    """One step, and whether it was the last one needed."""
    u, y = w.real, w.imag
    low, s, t = atoms.sums(u, y * y)
    ratio, over = atoms.forms(u * u + y * y, u, low)
    miss = u * ratio + atoms.aspect_ratio * y * y * low[1] - x - 1j * y * over
    slope = 2 * y * (y * s + 1j * t) - over
    step = miss / slope
    return w - step, np.abs(step) <= LAST * y + ROUNDING * np.abs(x / slope)


def _interpolate(part: Arc, x: Array) -> Array:
    """Cubic Hermite interpolation of w in the angle of x; in the upper half-plane."""
    phi = angle(part.x, x)
    i = np.clip(np.searchsorted(part.phi, phi, side="right") - 1, 0, len(part.phi) - 2)
    step = part.phi[i + 1] - part.phi[i]
    t = (phi - part.phi[i]) / np.where(step > 0, step, 1.0)
    w = (
        part.w[i] * (1 + 2 * t) * (1 - t) ** 2 + part.slope[i] * step * t * (1 - t) ** 2
        + part.w[i + 1] * t**2 * (3 - 2 * t) - part.slope[i + 1] * step * t**2 * (1 - t)
    )  # fmt: skip
    chord = part.w[i].imag * (1 - t) + part.w[i + 1].imag * t
    return np.asarray(np.where(w.imag > chord / 4, w, w.real + 1j * chord))


def _bisect(part: Arc, x: Array) -> Array:
    """w above x by halving the angle of u, along which x increases."""
    low, high = np.zeros(len(x)), np.full(len(x), np.pi)
    for _ in range(60):
        theta = (low + high) / 2
        u, _ = place(part.ends, theta)
        w, at, _, _ = measure(part.atoms, u, heights(part.atoms, u))
        low, high = np.where(at < x, theta, low), np.where(at < x, high, theta)
    return w
