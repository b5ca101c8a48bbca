r"""Step sizes of gradient descent on a symmetric factorization: limits, rates, best choices.

Of :math:`f(X) = \tfrac14 \|X X^\top - M\|_F^2` at a minimiser, with :math:`\lambda_1 \ge \dots \ge
\lambda_d` the eigenvalues of M, X of shape (d, k), r positive eigenvalues and s = min(k, r), the
Hessian has the eigenvalues

- :math:`\lambda_i + \lambda_j` for i <= j <= s (scales and tilts within the fitted part),
- :math:`\lambda_j - \lambda_i` for j <= s < i (tilts out of it),
- :math:`-\lambda_i` for i > s, k - s times each (the columns left over),
- 0 for the s(s - 1)/2 + s(k - s) rotations.

(From :math:`D^2 f[D, D] = \langle D, (X X^\top - M) D\rangle + \tfrac12 \|D X^\top + X D^\top\|^2`
at :math:`X = V_s \Lambda_s^{1/2} (I, 0)`.) Each acts alone on a deviation, so that limits and rates
are those of scalar recursions. Polyak (1964) for heavy-ball; Lessard, Recht & Packard (2016, SIAM
J. Optim. 26, Proposition 1) for the best constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.levels import EQUAL

Method = Literal["heavy-ball", "nesterov"]


@dataclass(frozen=True, eq=False)
class Curvature:
    """Eigenvalues of the Hessian at a minimiser, those of rotations left out.

    Attributes
    ----------
    values
        Positive ones, descending, shape (h,).
    family
        Directions that are flat as an eigenvalue within the fitted rank equals one beyond it: the
        minimisers are a larger family, and convergence to it stays linear.
    sublinear
        Directions that are flat to second order only, a zero eigenvalue of the target beside a
        column left over: their loss is quartic, and Gram matrices converge as 1/t.
    """

    values: Array
    family: int
    sublinear: int

    @property
    def largest(self) -> float:
        """Largest eigenvalue."""
        return float(self.values[0]) if self.values.size else 0.0

    @property
    def smallest(self) -> float:
        """Smallest positive eigenvalue."""
        return float(self.values[-1]) if self.values.size else 0.0


def curvature(spectrum: Array, rank: int) -> Curvature:
    """Curvature at the minimisers of rank at most k for a target of this spectrum.

    Parameters
    ----------
    spectrum
        All eigenvalues of the target, shape (d,), descending. Differences below 1e-12 of the
        largest modulus count as zero.
    rank
        Number k of columns of X.

    Examples
    --------
    >>> found = curvature(np.array([3.0, 1.0, 0.0]), 2)
    >>> found.largest, found.smallest, found.sublinear
    (6.0, 1.0, 0)
    >>> curvature(np.array([3.0, 1.0, 0.0]), 3).sublinear
    1
    """
    tolerance = EQUAL * np.abs(spectrum).max()
    s = min(rank, int((spectrum > tolerance).sum()))
    fitted, rest = spectrum[:s], spectrum[s:]
    sums = (fitted[:, None] + fitted)[np.triu_indices(s)]
    gaps = (fitted[:, None] - rest).ravel()
    decays = np.repeat(-rest, rank - s)
    values = np.concatenate([sums, gaps, decays])
    return Curvature(
        np.sort(values[values > tolerance])[::-1],
        int((gaps <= tolerance).sum()),
        int((decays <= tolerance).sum()),
    )


def stable_step(largest: float, momentum: float = 0.0, method: Method = "heavy-ball") -> float:
    r"""Steps below this converge to a quadratic minimum of this largest curvature L.

    :math:`2 (1 + \beta) / L` for heavy-ball, :math:`2 (1 + \beta) / ((1 + 2\beta) L)` for
    Nesterov's, hence 2 / L without momentum. Infinite for L = 0.

    Examples
    --------
    >>> stable_step(6.0, 0.5), stable_step(6.0, 0.5, "nesterov")
    (0.5, 0.25)
    """
    if largest <= 0:
        return np.inf
    slack = 1.0 if method == "heavy-ball" else 1.0 + 2.0 * momentum
    return 2.0 * (1.0 + momentum) / (slack * largest)


def contraction(
    values: Array, step: float, momentum: float = 0.0, method: Method = "heavy-ball"
) -> Array:
    r"""Asymptotic factor per step of a deviation with each of these curvatures h, shape (h,).

    The largest root in modulus of :math:`z^2 - (1 + \beta - \eta h) z + \beta` (heavy-ball) or
    :math:`z^2 - (1 + \beta)(1 - \eta h) z + \beta (1 - \eta h)` (Nesterov); |1 - eta h| without
    momentum. Exact for the linearisation; the squares are those of the loss.

    Examples
    --------
    >>> contraction(np.array([6.0, 1.0]), 0.25).tolist()
    [0.5, 0.75]
    """
    shrink = 1.0 - step * np.asarray(values)
    if method == "heavy-ball":
        half, product = 0.5 * (momentum + shrink), np.full_like(shrink, momentum)
    else:
        half, product = 0.5 * (1.0 + momentum) * shrink, momentum * shrink
    root = np.sqrt(half.astype(complex) ** 2 - product)
    return np.maximum(np.abs(half + root), np.abs(half - root))


@dataclass(frozen=True)
class BestStep:
    """Best constant step near the minimiser, with its momentum and factor per step."""

    step: float
    momentum: float
    rate: float


def best_step(
    found: Curvature, method: Literal["gradient", "heavy-ball", "nesterov"] = "gradient"
) -> BestStep:
    r"""Constant step (and momentum) that contracts the slowest linear mode most.

    With :math:`\kappa = L / \mu`: gradient descent :math:`2/(L+\mu)` with rate
    :math:`(\kappa-1)/(\kappa+1)`; heavy-ball :math:`4/(\sqrt L + \sqrt\mu)^2` with rate
    :math:`(\sqrt\kappa-1)/(\sqrt\kappa+1)` and momentum the square of it; Nesterov
    :math:`4/(3L+\mu)` with rate :math:`1 - 2/\sqrt{3\kappa+1}`. Sublinear modes have no such
    rate: for them the largest step is best.

    Raises
    ------
    InputError
        If no mode converges linearly, or the method has another name.

    Examples
    --------
    >>> found = curvature(np.array([4.5, 1.0]), 1)
    >>> best_step(found), best_step(found, "heavy-ball").rate < 0.25
    (BestStep(step=0.16, momentum=0.0, rate=0.44), True)
    """
    if method not in ("gradient", "heavy-ball", "nesterov"):
        raise InputError(f"method is 'gradient', 'heavy-ball' or 'nesterov'; found {method!r}")
    L, mu = found.largest, found.smallest
    if mu <= 0:
        raise InputError(
            "expected a direction in which the loss is curved; found none, as the target is zero "
            "there: every step below the bounded limit converges as 1/t"
        )
    if method == "gradient":
        return BestStep(2 / (L + mu), 0.0, (L - mu) / (L + mu))
    if method == "heavy-ball":
        rate = (np.sqrt(L) - np.sqrt(mu)) / (np.sqrt(L) + np.sqrt(mu))
        return BestStep(float(4 / (np.sqrt(L) + np.sqrt(mu)) ** 2), float(rate**2), float(rate))
    root = float(np.sqrt(3 * L / mu + 1))
    return BestStep(4 / (3 * L + mu), (root - 2) / (root + 2), 1 - 2 / root)


def overshoot(start: Array, spectrum: Array) -> float:
    """Largest eigenvalue of XX' - M for X in the eigenbasis, shape (q, k), by bisection.

    Beyond the largest eigenvalue of -M it is where that of X'(mu + M)^{-1} X crosses one, so that
    a (q, q) matrix is never formed.
    """
    from scipy.optimize import brentq

    floor = -float(spectrum.min())
    norm = float(np.linalg.norm(start, 2)) ** 2
    scale = max(norm, float(np.abs(spectrum).max()))

    def excess(mu: float) -> float:
        inner = start.T @ (start / (mu + spectrum)[:, None])
        return float(np.linalg.eigvalsh(inner)[-1]) - 1.0

    low, high = floor + 1e-14 * scale, floor + norm * (1 + 1e-9) + 2e-14 * scale
    if norm == 0 or excess(low) <= 0:
        return floor
    return float(brentq(excess, low, high, xtol=1e-15 * scale, rtol=1e-14))


def is_bounded(step: float, excess: float, largest: float, smallest: float) -> bool:
    r"""Whether gradient descent provably stays bounded with this step.

    One step is :math:`P_+ = N P N` with :math:`N = A - \eta P`, :math:`A = I + \eta M`. As
    :math:`P = (A - N)/\eta` and :math:`A \preceq a I`, a = 1 + eta max(lambda_1, 0), the
    eigenvalues of :math:`\eta P_+` are at most those of :math:`\nu^2 (a - \nu)` over the spectrum
    of N. With :math:`\alpha = 1 + \eta \lambda_d` and y the largest root of
    :math:`y^2 (a + y) = \alpha + y`, the set :math:`N \succeq -y I` is therefore invariant if
    :math:`4 a^3 / 27 \le \alpha + y`: after one step
    :math:`P \preceq (\alpha + y)/\eta` for ever. For one
    row and column it is sharp (y = 1: bounded if and only if :math:`\eta (X_0^2 - M) \le 2`).

    Parameters
    ----------
    step
        :math:`\eta`.
    excess
        Largest eigenvalue of :math:`X_0 X_0^\top - M` (``overshoot``).
    largest, smallest
        Extreme eigenvalues of M.
    """
    a, alpha = 1.0 + step * max(largest, 0.0), 1.0 + step * smallest
    roots = np.roots([1.0, a, -1.0, -alpha])
    y = float(max((z.real for z in roots if abs(z.imag) < 1e-9), default=-1.0))
    return y > 0 and step * excess <= 1.0 + y and 4 * a**3 / 27 <= alpha + y


def bounded_step(excess: float, largest: float, smallest: float) -> float:
    """Largest step for which ``is_bounded``, to 1e-12 of it; infinite for M = X = 0."""
    scale = max(abs(excess), abs(largest), abs(smallest))
    if scale == 0:
        return np.inf
    low, high = 0.0, 4.0 / scale
    while is_bounded(high, excess, largest, smallest):
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = 0.5 * (low + high)
        if is_bounded(middle, excess, largest, smallest):
            low = middle
        else:
            high = middle
    return low
