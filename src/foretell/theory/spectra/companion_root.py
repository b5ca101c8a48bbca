r"""The root of the scalar equation of a sample covariance in an indefinite metric.

For a sample covariance :math:`C` of n rows with covariance :math:`\Sigma`, and a real diagonal
matrix :math:`H`, the resolvent :math:`(C + H)^{-1}` is close to
:math:`(\omega \Sigma + H)^{-1}`. With :math:`t_j` the eigenvalues of
:math:`\Sigma^{1/2} H^{-1} \Sigma^{1/2}`, of either sign, and :math:`v = 1/\omega`,

.. math:: v = 1 + \frac1n \sum_j \frac{t_j v}{v + t_j}, \qquad \mathrm{Im}\, v \ge 0 .

The right side minus v is the inverse of a free additive convolution with a semicircle, so the
root has a graph :math:`y(u)`, :math:`v = u + iy`: y solves
:math:`\sum_j (t_j^2 / n) / ((u + t_j)^2 + y^2) = 1` or is zero, and u is the root of an
increasing function (Biane 1997, section 3). Both are found by safeguarded Newton steps, on the
real axis itself: no fixed point is iterated and nothing is moved off the axis.

References
----------
Biane (1997). On the free convolution with a semi-circular distribution. Indiana Univ. Math. J.
46(3), 705-718. Its use here is derived in docs/masked-regression.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError

STEPS = 200
FLAT = 4e-16


class Root(NamedTuple):
    """Roots v = u + i sqrt(height) at several points, shape (m,) each.

    ``excess`` is one less than the sum that defines the height where the root is real: it is
    negative there, and zero at an edge of the spectrum.
    """

    u: Array
    height: Array
    excess: Array

    @property
    def v(self) -> Array:
        """The roots as complex numbers, shape (m,)."""
        return self.u + 1j * np.sqrt(self.height)

    @property
    def inside(self) -> Array:
        """Whether the density is positive, shape (m,)."""
        return self.height > 0


def companion_root(t: Array, share: Array) -> Root:
    r"""Roots :math:`v` of the scalar equation, one for each row of eigenvalues.

    Parameters
    ----------
    t
        Eigenvalues :math:`t_j`, shape (m, p), of either sign, finite.
    share
        How often each occurs, divided by n, shape (p,).

    Raises
    ------
    ConvergenceError
        If a root is not found, which means that an eigenvalue is not finite.

    Examples
    --------
    >>> root = companion_root(np.array([[-2.0]]), np.array([0.5]))
    >>> v = root.v[0]
    >>> bool(abs(1 + 0.5 * -2.0 * v / (v - 2.0) - v) < 1e-12)
    True
    """
    center = 1 + t @ share
    radius = np.sqrt(t**2 @ share)
    lower, upper = center - radius, center + radius
    u = center.copy()
    height, slope = np.zeros_like(u), np.zeros_like(u)
    active = np.arange(len(u))
    for _ in range(STEPS):
        ta, ua = t[active], u[active]
        y2 = _height(ta, ua, share)
        value, slope = _increasing(ta, ua, y2, share)
        height[active] = y2
        low = value < 0
        lower[active] = np.where(low, ua, lower[active])
        upper[active] = np.where(low, upper[active], ua)
        lo, up = lower[active], upper[active]
        with np.errstate(divide="ignore", invalid="ignore"):
            new = ua - value / slope
        new = np.where((new > lo) & (new < up), new, (lo + up) / 2)
        scale = np.abs(ua) + np.sqrt(y2)
        done = (np.abs(new - ua) <= FLAT * scale) | (up - lo <= FLAT * scale) | (value == 0)
        u[active] = np.where(done, ua, new)
        active = active[~done]
        if not len(active):
            return Root(u, height, _sum_at(t, u, 0 * u, share) - 1)
    raise ConvergenceError(
        f"the scalar equation was not solved at {len(active)} of {len(u)} points; check that the "
        "covariance has no eigenvalue below 1e-12 of the largest one"
    )


def _sum_at(t: Array, u: Array, y2: Array, share: Array) -> Array:
    with np.errstate(divide="ignore"):
        return (t**2 / ((u[:, None] + t) ** 2 + y2[:, None])) @ share


def _height(t: Array, u: Array, share: Array) -> Array:
    """Squares of the imaginary parts that belong to real parts u, zero where the root is real."""
    weight = t**2 * share
    squares = (u[:, None] + t) ** 2
    y2 = np.maximum((weight - squares).max(axis=1), 0.0)
    active = np.flatnonzero(_sum_at(t, u, y2, share) > 1)
    for _ in range(STEPS):
        if not len(active):
            break
        gap = squares[active] + y2[active, None]
        g = (weight[active] / gap).sum(axis=1)
        # Newton's step for 1/g, which is concave and increasing, so that steps never overshoot.
        step = g * (g - 1) / (weight[active] / gap**2).sum(axis=1)
        y2[active] += step
        active = active[step > FLAT * y2[active]]
    return y2


def _increasing(t: Array, u: Array, y2: Array, share: Array) -> tuple[Array, Array]:
    """Left side minus right side of the equation on the graph, and its derivative in u."""
    shifted = u[:, None] + t
    gap = shifted**2 + y2[:, None]
    value = u - 1 - (t * ((u**2 + y2)[:, None] + u[:, None] * t) / gap) @ share
    # Derivative of v - ... at the complex root: 1 - sum share t^2 / (v + t)^2.
    inverse = (shifted - 1j * np.sqrt(y2)[:, None]) / gap
    derivative = 1 - (t * inverse) ** 2 @ share
    real = derivative.real
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(y2 > 0, np.abs(derivative) ** 2 / real, real)
    return value, slope
