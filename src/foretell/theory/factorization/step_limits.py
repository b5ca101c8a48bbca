r"""Limits of the step of gradient descent on a factorization, and the watch over one run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, ForetellWarning, InputError
from foretell.theory.factorization import step_sizes
from foretell.theory.factorization.step_sizes import Curvature, Method, contraction, stable_step
from foretell.theory.factorization.target import Target


@dataclass(frozen=True)
class StepLimits:
    """Which steps are safe, and what they achieve.

    Attributes
    ----------
    curvature
        Of the loss at the minimisers.
    stable
        :math:`2 / \\max h`: with larger steps gradient descent leaves every minimiser.
    bounded
        With this step, gradient descent from the start provably stays bounded; the proof is
        sufficient, not necessary (``is_bounded``).
    best
        The best constant step near the minimiser, without momentum; None if no mode is linear.
    """

    curvature: Curvature
    stable: float
    bounded: float
    best: step_sizes.BestStep | None

    def steps_to(
        self, tolerance: float, step: float, momentum: float = 0.0, method: Method = "heavy-ball"
    ) -> float:
        r"""Steps, asymptotically, to shrink a deviation near the minimiser by this factor.

        The slowest linear mode needs log(tolerance) / log(rate). If columns are left over beside
        zero eigenvalues of the target, S = :math:`(1 - \beta) / (2 \eta j)` needs
        :math:`(1 - \beta) / (2 \eta \epsilon)` with :math:`\epsilon` the tolerance times half
        the largest curvature (:math:`\lambda_1`); the larger number of both. Transients before the
        neighborhood (plateaus) come on top.

        Raises
        ------
        InputError
            If the step, momentum or tolerance are out of range, or the step is not stable.
        """
        check_descent(step, 1, momentum, method, 1)
        if not 0 < tolerance < 1:
            raise InputError(f"expected 0 < tolerance < 1; found {tolerance}")
        limit = stable_step(self.curvature.largest, momentum, method)
        if step >= limit:
            raise InputError(f"expected a step below the stable limit {limit:.6g}; found {step}")
        values = self.curvature.values
        worst = float(contraction(values, step, momentum, method).max(initial=0.0))
        linear = np.log(tolerance) / np.log(worst) if worst > 0 else 1.0
        if not self.curvature.sublinear or not values.size:
            return float(linear)
        return max(float(linear), (1 - momentum) / (step * tolerance * self.curvature.largest))


def step_limits(target: Any, start: Array) -> StepLimits:
    """Limits of the step of gradient descent for a target (d, d) and a start X0 (d, k).

    Raises
    ------
    InputError
        If the start has another shape, or entries that are not finite or above 1e100.

    Examples
    --------
    >>> limits = step_limits(np.diag([3.0, 1.0]), np.eye(2))
    >>> round(limits.stable, 6), round(limits.best.step, 6)
    (0.333333, 0.25)
    """
    target = Target.of(target)
    Y, spectrum, _ = in_eigenbasis(target, start)
    found = step_sizes.curvature(full_spectrum(target), Y.shape[1])
    extremes = full_spectrum(target)[[0, -1]]
    excess = step_sizes.overshoot(Y, spectrum)
    return StepLimits(
        found,
        stable_step(found.largest),
        step_sizes.bounded_step(excess, float(extremes[0]), float(extremes[1])),
        step_sizes.best_step(found) if found.values.size else None,
    )


def check_descent(
    step: float, n_steps: int, momentum: float | str, method: str, record: int
) -> None:
    """Raise for arguments out of range."""
    if not (np.isfinite(step) and step > 0):
        raise InputError(f"expected a finite step > 0; found {step}")
    if method not in ("heavy-ball", "nesterov"):
        raise InputError(f"method is 'heavy-ball' or 'nesterov'; found {method!r}")
    if isinstance(momentum, str):
        if momentum != "increasing":
            raise InputError(f"momentum is a number or 'increasing'; found {momentum!r}")
    elif not 0 <= momentum < 1:
        raise InputError(f"expected 0 <= momentum < 1; found {momentum}")
    for name, value in (("n_steps", n_steps), ("record", record)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name} is a whole number of at least 1; found {value!r}")


def full_spectrum(target: Target) -> Array:
    """All d eigenvalues, descending, those the target leaves out being zero."""
    missing = np.zeros(target.d - len(target.eigenvalues))
    return np.sort(np.concatenate([target.eigenvalues, missing]))[::-1]


def in_eigenbasis(target: Target, start: Array) -> tuple[Array, Array, Array]:
    """Start (q, k), eigenvalue of each axis (q,) and axes (d, q).

    Raises
    ------
    InputError
        If the start has another shape, or entries that are not finite or above 1e100.
    """
    X = np.asarray(start, dtype=np.float64)
    if X.ndim != 2 or X.shape[0] != target.d or not 1 <= X.shape[1] <= target.d:
        raise InputError(
            f"start has shape (d, k) with d = {target.d} and 1 <= k <= d; found {X.shape}"
        )
    if not np.isfinite(X).all() or np.abs(X).max() > 1e100:
        raise InputError("start has entries that are not finite, or above 1e100; rescale it")
    V, values = target.vectors, target.eigenvalues
    if V.shape[1] == target.d:
        return V.T @ X, values, V
    inside = V.T @ X
    left, sizes, _ = np.linalg.svd(X - V @ inside, full_matrices=False)
    left = left[:, sizes > 1e-14 * np.linalg.norm(X)][:, : target.d - len(values)]
    outside = np.linalg.qr(left - V @ (V.T @ left))[0]
    spectrum = np.concatenate([values, np.zeros(outside.shape[1])])
    order = np.argsort(-spectrum, kind="stable")
    axes = np.concatenate([V, outside], axis=1)[:, order]
    return axes.T @ X, spectrum[order], axes


class Watch:
    """Watches one run: warns once about the step, raises when iterates have escaped."""

    def __init__(
        self,
        target: Target,
        start: Array,
        spectrum: Array,
        step: float,
        momentum: float | str,
        method: Method,
    ) -> None:
        self.target, self.start, self.spectrum = target, start, spectrum
        self.step, self.method = step, method
        self.constant = 1.0 if isinstance(momentum, str) else momentum
        inertia = 2.0 * self.constant if method == "heavy-ball" else 0.0
        self.escape = (2.0 + inertia + step * max(float(spectrum[0]), 0.0)) * (1 + 1e-9)
        found = step_sizes.curvature(full_spectrum(target), start.shape[1])
        self.stable = stable_step(found.largest, self.constant, method)
        if step >= self.stable:
            warnings.warn(
                f"step {step:.6g} is not below {self.stable:.6g}, the limit at which minimisers "
                "are stable; iterates will not settle: take a smaller step",
                ForetellWarning,
                stacklevel=3,
            )

    def check(self, j: int, Y: Array, before: float) -> float:
        """Norm of X, or an upper bound of it where that is far from escaping."""
        with np.errstate(over="ignore", invalid="ignore"):
            size = self.step * float(np.einsum("ij,ij->", Y, Y))
        if size <= self.escape:
            return float(np.sqrt(size / self.step))
        norm = float(np.linalg.norm(Y, 2)) if np.isfinite(size) else np.inf
        if self.step * norm**2 > self.escape and (self.constant == 0 or norm >= before):
            self._stop(j, norm)
        return norm

    def _stop(self, j: int, norm: float) -> None:
        excess = step_sizes.overshoot(self.start, self.spectrum)
        ends = full_spectrum(self.target)[[0, -1]]
        safe = step_sizes.bounded_step(excess, float(ends[0]), float(ends[1]))
        raise ConvergenceError(
            f"gradient descent diverges: at step {j}, step size times |X|^2 is "
            f"{self.step * norm**2:.3g}, above {self.escape:.3g}, from where X grows without "
            f"bound; take a step below {min(safe, self.stable):.3g} (found {self.step:.6g})"
            + (", without momentum" if self.constant else "")
        )
