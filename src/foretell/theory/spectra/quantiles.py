"""Probabilities and quantiles of a Marchenko-Pastur law from its curve."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.theory.spectra.atoms import EPS, Atoms, blocks
from foretell.theory.spectra.curve import Arc, density, invert

STEPS = 100


def survival(atoms: Atoms, w: Array) -> Array:
    r"""Probability above z(w), for w on the curve or on the real branch, shape (m,).

    :math:`\frac1\pi [\frac{\beta}{\gamma} \arg w + \int_{\tau>0} (\arg(w-\tau) -
    \tau\, \mathrm{Im}\, w / |w-\tau|^2)\, dH]`: the imaginary part of an antiderivative of
    :math:`z'(w)/w`. Its derivative vanishes with z', so that errors of w near an edge hardly show.
    """
    u, y = w.real, w.imag
    total = atoms.excess / atoms.aspect_ratio * np.arctan2(y, u)
    for rows in blocks(len(w), len(atoms.tau)):
        gap = u[rows, None] - atoms.tau
        height = y[rows, None]
        angles = np.arctan2(height, gap)
        angles -= atoms.tau * height / (gap * gap + height * height)
        total[rows] += angles @ atoms.weight
    return np.asarray(total / np.pi)


def quantile_angle(atoms: Atoms, part: Arc, q: Array) -> Array:
    """Angle phi, x = x_0 + (x_1 - x_0) (1 - cos phi) / 2, with probability q up to x, shape (m,).

    Newton's method in the angle between nodes of the arc, and bisection where it leaves them.
    """
    table = np.maximum.accumulate(1 - survival(atoms, part.w))
    i = np.clip(np.searchsorted(table, q, side="right") - 1, 0, len(table) - 2)
    low, high = part.phi[i], part.phi[i + 1]
    phi = low + (high - low) * _share(part, table, i, q)
    active = np.ones(len(q), bool)
    for _ in range(STEPS):
        at, width = phi[active], part.x[1] - part.x[0]
        x = part.x[0] + width * np.sin(at / 2) ** 2
        w = invert(atoms, part, x)
        miss = 1 - survival(atoms, w) - q[active]
        low[active] = np.where(miss <= 0, at, low[active])
        high[active] = np.where(miss >= 0, at, high[active])
        slope = density(atoms, w) * width / 2 * np.sin(at)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = at - miss / slope
        settled = (np.abs(miss) <= EPS / 2) | (np.abs(new - at) <= 2 * EPS * at)
        inside = (new > low[active]) & (new < high[active])
        new = np.where(inside, new, (low[active] + high[active]) / 2)
        phi[active] = np.where(settled, at, new)
        active[active] = ~settled & (high[active] - low[active] > EPS * at)
        if not active.any():
            break
    return phi


def _share(part: Arc, table: Array, i: Array, q: Array) -> Array:
    """Where in its cell a quantile is, to start: by thirds of powers next to a soft edge."""
    gap = table[i + 1] - table[i]
    share = np.clip((q - table[i]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    soft = (i == 0) & (part.x[0] > 0)
    share = np.where(soft, np.cbrt(share), share)
    return np.where(i == len(table) - 2, 1 - np.cbrt(1 - share), share)
