r"""Gradient descent on a symmetric factorization, with and without momentum.

:math:`X_{j+1} = X_j + \eta (M - X_j X_j^\top) X_j`, the Euler steps of the gradient flow of
:math:`f(X) = \tfrac14 \|X X^\top - M\|_F^2`: after j steps it is at the flow's time
:math:`\eta j`, up to an error of first order in :math:`\eta`. Iterates are exact (rounding aside)
and live in the eigenbasis of M, where a step costs O(q k^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.theory.factorization.cascade import Coordinates, decompose
from foretell.theory.factorization.step_limits import Watch, check_descent, in_eigenbasis
from foretell.theory.factorization.step_sizes import Method
from foretell.theory.factorization.target import Target


@dataclass(frozen=True, eq=False)
class DescentTrajectory:
    """Iterates of gradient descent.

    Attributes
    ----------
    steps
        Numbers of the recorded steps, shape (T,).
    factors
        X in the basis ``axes``, shape (T, q, k).
    spectrum
        Eigenvalue of the target on each axis, descending, shape (q,).
    axes
        Orthonormal columns, shape (d, q): the eigenvectors of the target and, if it came with
        fewer than d, the directions of the start beyond them.
    loss
        f, shape (T,), to a relative accuracy of about 1e-9.
    singular_values
        Of X, descending, shape (T, min(q, k)).
    step
        :math:`\\eta`.
    """

    steps: Array
    factors: Array
    spectrum: Array
    axes: Array
    loss: Array
    singular_values: Array
    step: float

    @property
    def times(self) -> Array:
        """Times eta j of the gradient flow to compare with, shape (T,)."""
        return self.step * self.steps

    @property
    def gram(self) -> Array:
        """XX' in the basis ``axes``, shape (T, q, q)."""
        return np.asarray(self.factors @ np.swapaxes(self.factors, 1, 2))

    @property
    def solution(self) -> Array:
        """X in the coordinates of the target, shape (T, d, k)."""
        return np.asarray(self.axes @ self.factors)

    def coordinates(self, *, split: int | None = None) -> Coordinates:
        """P1, W and S of the iterates at the times eta j; see ``cascade.decompose``.

        Raises
        ------
        IdentificationError, InputError
            If the start has no component along one of the leading eigenvectors, or the split is
            impossible.
        """
        return decompose(self.times, self.spectrum, self.factors, split=split)


def gradient_descent(
    target: Any,
    start: Array,
    step: float,
    n_steps: int,
    *,
    momentum: float | Literal["increasing"] = 0.0,
    method: Method = "heavy-ball",
    record: int = 1,
) -> DescentTrajectory:
    r"""Gradient descent with a constant step.

    Heavy-ball: :math:`X_{j+1} = X_j - \eta \nabla f(X_j) + \beta (X_j - X_{j-1})`. Nesterov: the
    gradient is taken at :math:`X_j + \beta (X_j - X_{j-1})`, from where the step starts. Both
    start at rest. Constant momentum divides the number of steps in linear modes by about the root
    of the condition number, but leaves the over-parameterised mode sublinear:
    :math:`S = (1 - \beta)/(2 \eta j)`. Increasing momentum makes it :math:`O(1/j^2)`: with time
    :math:`t = j \sqrt\eta`, :math:`\ddot x + (3/t) \dot x + x^3 = 0` is
    :math:`u'' - u + u^3 = 0` for :math:`u = t x` in log t, without friction. S eta j^2 = u^2
    oscillates in log j for ever, below the 2 of the homoclinic orbit (to first order in the step).

    Parameters
    ----------
    target
        M, shape (d, d) symmetric, or a :class:`Target`.
    start
        :math:`X_0`, shape (d, k), 1 <= k <= d.
    step
        :math:`\eta > 0`; :func:`~foretell.theory.factorization.step_limits.step_limits` has
        its limits.
    n_steps
        Number of steps, at least 1.
    momentum
        :math:`0 \le \beta < 1`; ``"increasing"``: j/(j + 3) at step j = 0, 1, ...
    method
        ``"heavy-ball"`` or ``"nesterov"``; the same without momentum.
    record
        Keep every such step (and the first and the last). A record costs O(q k^2), and O(q^2 k)
        once the loss is below 1e-6 of that of X = 0.

    Warns
    -----
    ForetellWarning
        If the step is not below the limit at which minimisers are stable: iterates may stay
        bounded, but do not settle.

    Raises
    ------
    InputError
        If an argument is out of range, not finite, or has another shape.
    ConvergenceError
        When :math:`\eta \|X_j\|^2 > 2 + 2\beta + \eta \lambda_1` (Nesterov: without the 2 beta)
        while the norm grows: from there it grows without bound, as the next norm is at least
        :math:`\|X\| (\eta \|X\|^2 - 1 - \beta - \eta \lambda_1) - \beta \|X_{j-1}\|`.

    Examples
    --------
    >>> M = np.diag([2.0, 1.0, 0.0])
    >>> path = gradient_descent(M, 0.1 * np.eye(3)[:, :2], 0.2, 200, record=100)
    >>> path.steps.tolist(), (path.singular_values[-1] ** 2).round(6).tolist()
    ([0, 100, 200], [2.0, 1.0])
    """
    check_descent(step, n_steps, momentum, method, record)
    target = Target.of(target)
    Y, spectrum, axes = in_eigenbasis(target, start)
    watch = Watch(target, Y, spectrum, step, momentum, method)
    kept = [0]
    factors = [Y]
    before, norm = Y, 0.0
    for j in range(n_steps):
        beta = j / (j + 3) if momentum == "increasing" else float(momentum)
        ahead = Y + beta * (Y - before) if beta else Y
        at = ahead if method == "nesterov" else Y
        inner = at.T @ at
        norm = watch.check(j, Y, norm)
        before, Y = Y, ahead + step * (spectrum[:, None] * at - at @ inner)
        if (j + 1) % record == 0 or j + 1 == n_steps:
            kept.append(j + 1)
            factors.append(Y)
    watch.check(n_steps, Y, norm)
    stack = np.stack(factors)
    return DescentTrajectory(
        np.array(kept),
        stack,
        spectrum,
        axes,
        np.array([loss(X, spectrum) for X in stack]),
        np.linalg.svd(stack, compute_uv=False),
        step,
    )


def loss(X: Array, spectrum: Array) -> float:
    """f at X (q, k) in the eigenbasis; by entries where the short formula would cancel."""
    total = float(spectrum @ spectrum)
    inner = X.T @ X
    square = total - 2.0 * float(spectrum @ (X * X).sum(axis=1)) + float((inner * inner).sum())
    if square < 1e-6 * total:
        gap = X @ X.T
        gap.flat[:: len(X) + 1] -= spectrum
        square = float((gap * gap).sum())
    return 0.25 * square
