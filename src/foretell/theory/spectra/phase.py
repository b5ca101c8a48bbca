r"""Phase diagram: where a spike shows in the covariance and in masked regression.

One direction of variance :math:`1 + \theta`, uniform on b coordinates or spread over all, in d
coordinates of variance one. It shows when an eigenvalue leaves the bulk upwards, so that a
leading eigenvector points to it. Derived in docs/masked-regression.md, "The spectrum of A".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.threshold import bbp_threshold

HIDDEN, COVARIANCE_ONLY, BOTH = 0, 1, 2
NAMES = ("hidden", "visible in C but not in A", "visible in A and C")
GRID = 161  # effective ridges tried before refinement
REFINEMENTS = 40
LOG_RIDGE = (-14.0, 14.0)


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Phases of one spike over ratios n / d, shape (m,), and strengths, shape (k,).

    Attributes
    ----------
    sample_ratios
        Rows per column, n / d, shape (m,).
    spikes
        Strengths theta, shape (k,).
    phase
        0 hidden, 1 visible in the covariance C only, 2 visible in C and the coefficients A,
        shape (k, m); ``names`` spells them out.
    alpha
        Penalty at each point, shape (k, m).
    covariance_overlap, coefficient_overlap
        Squared overlap of the leading eigenvector of C, and right eigenvector of A, with the
        spike, zero where it does not show, shape (k, m).
    covariance_boundary, coefficient_boundary
        Threshold of the spike at each ratio, inf if there is none, shape (m,).
    names
        Names of the three phases.
    """

    sample_ratios: Array
    spikes: Array
    phase: Array
    alpha: Array
    covariance_overlap: Array
    coefficient_overlap: Array
    covariance_boundary: Array
    coefficient_boundary: Array
    names: tuple[str, ...] = NAMES


def phase_diagram(
    sample_ratios: Any,
    spikes: Any,
    *,
    alpha: float | Literal["optimal"] = "optimal",
    support: int | None = None,
    d: int = 1000,
) -> PhaseDiagram:
    r"""Where a spike shows in the covariance C and in the coefficients A.

    Without ``support`` both thresholds are :math:`\sqrt{d/n}`. A localized direction has a higher
    one in the coefficients, which depends on the penalty.

    Parameters
    ----------
    sample_ratios
        Rows per column n / d, positive, shape (m,): what the paper calls alpha.
    spikes
        Strengths theta of the spike, positive, shape (k,).
    alpha
        Ridge penalty, positive, or ``"optimal"``: the one of least test error, total over
        coordinates, for d coordinates.
    support
        Number b of coordinates of the direction, at most d; None for all.
    d
        Number of coordinates; enters through the optimal penalty alone.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> diagram = phase_diagram([0.5, 2.0], [0.5, 1.0, 4.0], alpha=0.1, support=2)
    >>> diagram.phase.tolist()
    [[0, 0], [0, 1], [2, 2]]
    """
    ratios, strengths = _positive(sample_ratios, "sample_ratios"), _positive(spikes, "spikes")
    if d < 2 or (support is not None and not 1 <= support <= d):
        raise InputError(f"a support lies between 1 and d >= 2; found support = {support}, d = {d}")
    gamma, theta = 1 / ratios[None, :], strengths[:, None]
    b = d if support is None else int(support)
    if alpha == "optimal":
        penalty = optimal_spike_penalty(theta, gamma, d=d, support=b)
        boundary = _optimal_boundary(gamma[0], d, b)
    else:
        number = _penalty(alpha)
        penalty = np.full((len(strengths), len(ratios)), number)
        boundary = np.array([bbp_threshold(g, support=b, alpha=number) for g in gamma[0]])
    if support is None:
        boundary = np.sqrt(gamma[0])
    in_covariance = theta > np.sqrt(gamma)
    covariance = np.where(in_covariance, (1 - gamma / theta**2) / (1 + gamma / theta), 0.0)
    overlap = covariance if support is None else _overlap(theta, gamma, penalty, b)
    phase = np.where(overlap > 0, BOTH, np.where(in_covariance, COVARIANCE_ONLY, HIDDEN))
    return PhaseDiagram(
        ratios, strengths, phase, penalty, covariance, overlap, np.sqrt(gamma[0]), boundary
    )


def optimal_spike_penalty(theta: Any, gamma: Any, *, d: int, support: int) -> Array:
    """Penalty of least total test error for one spike on ``support`` of d coordinates.

    Arrays of spikes and of aspect ratios d / n broadcast. The error is minimised over the
    effective ridge; for d to infinity the penalty grows without bound, as one spike among
    infinitely many coordinates is no reason to predict them.

    Examples
    --------
    >>> bool(0.5 < optimal_spike_penalty(4.0, 0.5, d=200, support=200) < 50)
    True
    """
    theta, gamma = np.broadcast_arrays(np.asarray(theta, float), np.asarray(gamma, float))
    floor = np.maximum(gamma - 1, 0.0)
    logs = np.linspace(*LOG_RIDGE, GRID)
    tried = _test_error(
        floor[..., None] + np.exp(logs), theta[..., None], gamma[..., None], d, support
    )
    best = np.argmin(tried, axis=-1)
    low, high = logs[np.maximum(best - 1, 0)], logs[np.minimum(best + 1, GRID - 1)]
    for _ in range(REFINEMENTS):
        left, right = low + (high - low) * 0.382, low + (high - low) * 0.618
        at_left, at_right = (
            _test_error(floor + np.exp(t), theta, gamma, d, support) for t in (left, right)
        )
        low, high = (
            np.where(at_left < at_right, low, left),
            np.where(at_left < at_right, right, high),
        )
    kappa = floor + np.exp((low + high) / 2)
    return np.asarray(kappa * (1 - _freedom(kappa, theta, gamma, d)[0]))


def _freedom(kappa: Array, theta: Array, gamma: Array, d: int) -> tuple[Array, Array]:
    """Degrees of freedom df1 / n and df2 / n at effective ridges."""
    bulk, spike = 1 / (1 + kappa), (1 + theta) / (1 + theta + kappa)
    return (
        gamma * ((d - 1) * bulk + spike) / d,
        gamma * ((d - 1) * bulk**2 + spike**2) / d,
    )


def _test_error(kappa: Array, theta: Array, gamma: Array, d: int, b: int) -> Array:
    """Mean test error of a coordinate at effective ridges, inf where there is no penalty."""
    df1, df2 = _freedom(kappa, theta, gamma, d)
    bulk, spike = 1 / (1 + kappa), 1 / (1 + theta + kappa)
    inverse = bulk + (spike - bulk) / b
    risk = bulk**2 + ((1 + theta) * spike**2 - bulk**2) / b
    total = (b * risk / inverse**2 + (d - b)) / d
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((df2 < 1) & (df1 < 1), total / (1 - df2), np.inf)


def _overlap(theta: Array, gamma: Array, alpha: Array, b: int) -> Array:
    """Squared overlap of the right eigenvector of the coefficients above the bulk, else zero."""
    shift = alpha + gamma - 1
    kappa = (shift + np.sqrt(shift**2 + 4 * alpha)) / 2
    q = 1 - theta / (b * (1 + theta + kappa))
    top = 1 + np.sqrt(gamma)
    visible = top * (1 + theta) + alpha - (top**2 + alpha) / q > 0
    # The resolvent is singular at a root of a quadratic in the companion w.
    linear = shift - q * (alpha + 1 + theta)
    constant = (q - 1) * alpha - q * (1 + theta) * (gamma - 1)
    w = (np.sqrt(np.maximum(linear**2 - 4 * constant, 0.0)) - linear) / 2
    slope = np.where(visible, (w - 1) ** 2 - gamma, 1.0)
    symmetric = 1 / (1 + q * (1 + theta) * gamma / slope)
    return np.where(visible, q * symmetric / (q * symmetric + 1 - symmetric), 0.0)


def _optimal_boundary(gamma: Array, d: int, b: int) -> Array:
    """Spikes from which on the direction shows at the optimal penalty, shape (m,)."""
    low, high = np.full(len(gamma), np.log(1e-3)), np.full(len(gamma), np.log(1e6))

    def shows(logs: Array) -> Array:
        theta = np.exp(logs)
        penalty = optimal_spike_penalty(theta, gamma, d=d, support=b)
        return np.asarray(_overlap(theta, gamma, penalty, b) > 0)

    never = ~shows(high)
    for _ in range(REFINEMENTS):
        middle = (low + high) / 2
        up = shows(middle)
        low, high = np.where(up, low, middle), np.where(up, middle, high)
    return np.where(never, np.inf, np.exp(high))


def _penalty(alpha: Any) -> float:
    given = np.asarray(alpha)
    if given.ndim or given.dtype.kind not in "iuf" or not 0 < given < np.inf:
        raise InputError(
            f"alpha: finite numbers above 0, or 'optimal'; found {alpha!r}; for the limit without "
            "a penalty take a small one, such as 1e-6"
        )
    return float(given)


def _positive(values: Any, name: str) -> Array:
    numbers = np.asarray(values, dtype=float)
    if (
        numbers.ndim != 1
        or not numbers.size
        or not np.isfinite(numbers).all()
        or numbers.min() <= 0
    ):
        raise InputError(f"{name}: finite numbers above 0, in one dimension; found {values!r}")
    return numbers
