"""Minima up to a symmetry, and the influence of single samples on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError
from foretell.mestimation.curvature import Curvature, largest_eigenvalue, lowest_eigenvalue
from foretell.mestimation.geometry import check_invariance, vertical_basis
from foretell.mestimation.objective import Act, Objective
from foretell.symmetry import Group, Trivial

LARGEST_DENSE_STEP = 128
FLAT = 1e-8
SMALLEST_UNIT = 1e-12
MOST_NEWTON_STEPS = 50
MOST_PRODUCTS = 10_000


@dataclass(frozen=True, eq=False)
class Minimum:
    """A strict minimum on the quotient; made by :func:`minimise`.

    Attributes
    ----------
    params, theta
        The minimiser, as a pytree and flat, shape (p,).
    value, gradient_norm
        Of the mean loss.
    iterations
        L-BFGS and Newton steps.
    curvature
        The Hessian there, checked; it keeps the sample when p is large (no dense Hessian).
    """

    params: Any
    theta: Array
    value: float
    gradient_norm: float
    iterations: int
    curvature: Curvature


@np.errstate(over="ignore", invalid="ignore")
def minimise(
    objective: Objective,
    start: Any,
    *,
    symmetry: Group | None = None,
    act: Act = lambda params, element: params,
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
) -> Minimum:
    r"""Minimise the mean loss, and check that a strict minimum on the quotient was found.

    L-BFGS, then Newton steps by conjugate gradients until the gradient is below the tolerance
    times the root mean square of the scores there: whatever the units of the loss, and far below
    the statistical error.

    Parameters
    ----------
    objective
        Mean loss.
    start
        Parameters to start from.
    symmetry, act
        Group that leaves the loss of every sample unchanged, and how it moves parameters; None
        declares that there is none.
    tolerance
        Relative size of the final gradient.
    max_iterations
        Largest number of L-BFGS steps.

    Raises
    ------
    InputError
        If the loss is not finite at the start.
    ConvergenceError
        If the gradient does not vanish, or vanishes at a saddle.
    IdentificationError
        If the loss lacks the declared symmetry, or is flat in more directions than it explains.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(2))
    >>> minimise(mean, np.zeros(2)).params.round(6).tolist()
    [2.0, 4.0]

    References
    ----------
    .. [1] Nocedal & Wright (2006). Numerical Optimization. Algorithms 7.1 and 7.5.
    """
    theta = objective.ravel(start)
    if not np.isfinite(objective.value(theta)):
        raise InputError(f"the mean loss at the start is {objective.value(theta)}; start elsewhere")

    rough = 1e-6 * _score_size(objective, theta)
    options = {"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-12, "gtol": rough}
    loss = objective.value_and_gradient
    found = optimize.minimize(loss, theta, jac=True, method="L-BFGS-B", options=options)
    if np.isfinite(objective.value(found.x)):
        theta = found.x
    theta, value, gradient, steps = _newton_steps(objective, theta, tolerance)
    size, iterations = float(np.linalg.norm(gradient)), int(found.nit) + steps
    goal = tolerance * _score_size(objective, theta)
    if not size <= goal < np.inf:
        low, high = _extremes(objective.curvature(theta))
        raise ConvergenceError(
            f"the pre-training loss was not minimised in {iterations} iterations: value "
            f"{value:.6g}, gradient {size:.1e}, expected {goal:.1e}; curvature from {low:.1e} to "
            f"{high:.1e}; " + ("the loss may be unbounded below: check it, or start elsewhere"
            if low < -FLAT * high else "it may be nearly flat: reduce the rank, scale the data, or "
            "raise the tolerance")
        )  # fmt: skip
    params = objective.unravel(theta)
    group = Trivial(0) if symmetry is None else symmetry
    check_invariance(objective, params, group, act, np.random.default_rng(0))
    curvature = Curvature(objective.curvature(theta), vertical_basis(group, act, params))
    return Minimum(params, theta, value, size, iterations, curvature)


def _score_size(objective: Objective, theta: Array) -> float:
    scores = objective.scores(theta, objective.first_rows)
    return float(np.sqrt((scores**2).sum(axis=1).mean()))


def _extremes(H: Any) -> tuple[float, float]:
    """Smallest and largest eigenvalue."""
    if isinstance(H, np.ndarray):
        values = np.linalg.eigvalsh(H)
        return float(values[0]), float(values[-1])
    top = largest_eigenvalue(H)
    return lowest_eigenvalue(H, top or 1.0, np.zeros((0, H.shape[0])), 1e-3)[0], top


def _newton_steps(
    objective: Objective, theta: Array, tolerance: float
) -> tuple[Array, float, Array, int]:
    value, gradient = objective.value_and_gradient(theta)
    for iteration in range(MOST_NEWTON_STEPS):
        size = np.linalg.norm(gradient)
        if size <= tolerance * _score_size(objective, theta):
            break
        H = objective.curvature(theta, LARGEST_DENSE_STEP)
        step, convex = _newton_step(H, gradient)
        for length in 0.5 ** np.arange(30):
            trial = theta + length * step
            new_value, new_gradient = objective.value_and_gradient(trial)
            lower = new_value < value + 1e-4 * length * (step @ gradient)
            # Near the minimum the value is constant up to rounding; the gradient still shrinks.
            calmer = np.isfinite(new_value) and np.linalg.norm(new_gradient) < 0.5 * size
            if lower or (convex and calmer):
                break
        else:
            return theta, value, gradient, iteration
        theta, value, gradient = trial, new_value, new_gradient
    return theta, value, gradient, iteration


def _newton_step(H: Any, gradient: Array) -> tuple[Array, bool]:
    """Solve H step = -gradient, up to a direction of negative curvature if there is one."""
    unit, most = np.ones_like(gradient), MOST_PRODUCTS // MOST_NEWTON_STEPS
    if isinstance(H, np.ndarray):
        most = 10 * len(gradient)
        unit /= np.sqrt(np.maximum(np.abs(np.diag(H)), SMALLEST_UNIT * np.abs(H).max()))
    step, left = np.zeros_like(gradient), -unit * gradient
    along, size = left, np.linalg.norm(left)
    for _ in range(most):
        moved = unit * (H @ (unit * along))
        bend = along @ moved
        if bend <= 1e-14 * np.linalg.norm(along) * np.linalg.norm(moved):
            return unit * (step if step.any() else along), False
        length = (left @ left) / bend
        step, new = step + length * along, left - length * moved
        if np.linalg.norm(new) <= 1e-4 * size:
            break
        along, left = new + (new @ new) / (left @ left) * along, new
    return unit * step, True


def influence(objective: Objective, theta: Array, curvature: Curvature, X: Array) -> Array:
    r"""Influence of rows on the minimiser, :math:`-H^\dagger \nabla \ell(\theta; x)`, shape (n, p).

    First-order effect of a row times the number of rows, in the gauge that is horizontal at
    theta. For large p solve for the derivatives of the few functionals that are wanted, and
    take ``objective.score_products`` with the solutions.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0], [3.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(1))
    >>> influence(mean, np.array([2.0]), Curvature(np.eye(1), np.zeros((0, 1))), rows.X).tolist()
    [[-1.0], [1.0]]
    """
    return -curvature.solve(objective.scores(theta, X).T).T


def covariance(objective: Objective, theta: Array, curvature: Curvature) -> Array:
    r"""Limit :math:`\Sigma_1 = H^\dagger S H^\dagger` of m times the covariance of the minimiser.

    Shape (p, p), singular along the orbit; robust to misspecification. First order in 1/m.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0], [3.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(1))
    >>> covariance(mean, np.array([2.0]), Curvature(np.eye(1), np.zeros((0, 1)))).tolist()
    [[1.0]]
    """
    return curvature.solve(curvature.solve(objective.meat(theta)).T)
