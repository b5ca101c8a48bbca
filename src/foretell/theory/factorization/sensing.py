r"""Matrix sensing: the factorization when only linear measurements of the target are seen.

Instead of M, the m numbers :math:`b_i = \langle A_i, M \rangle + \text{noise}` are known; the loss

.. math:: f(X) = \frac{1}{4m} \sum_i (\langle A_i, X X^\top \rangle - b_i)^2, \qquad
          \nabla f(X) = \frac1m \sum_i (\langle A_i, X X^\top \rangle - b_i) A_i X

has the expectation :math:`\tfrac14 \|X X^\top - M\|_F^2`, without noise, for measurements with
:math:`E \langle A, E \rangle^2 = \|E\|_F^2` for every symmetric E. Two kinds:

- Gaussian: A symmetric, independent entries of variance 1 on the diagonal and 1/2 off it. Then
  :math:`E\langle A, E\rangle^2 = \sum_i E_{ii}^2 + \sum_{i<j} 4 E_{ij}^2 / 2`.
- Rank one: :math:`A = a a^\top`, a standard normal. Then :math:`\langle A, E \rangle = a^\top E a`
  has mean tr E and variance :math:`2 \|E\|_F^2`: the mean residual is taken off (an intercept), and
  the loss is :math:`\frac{1}{8(m-1)} \sum_i (e_i - \bar e)^2`. It costs O(mdk), and no (d, d)
  matrix. Squares of normals have heavy tails: the restricted isometry constant is far larger than
  for Gaussian measurements of the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, IdentificationError, InputError
from foretell.theory.factorization.isometry import Isometry, restricted_isometry
from foretell.theory.factorization.sensing_trajectory import SensingTrajectory
from foretell.theory.factorization.step_limits import check_descent
from foretell.theory.factorization.target import Target


@dataclass(frozen=True, eq=False)
class MatrixSensing:
    """Linear measurements of a symmetric matrix, and the loss of a factor of it on them.

    Parameters
    ----------
    measurements
        Symmetric A_i, shape (m, d, d); or vectors a_i, shape (m, d), of rank-one measurements
        a a', from which the mean residual is taken off.
    values
        b, shape (m,).
    rank
        Rank r of the target, if known: checked against the number of measurements. The number of
        columns of a start may be larger.

    Raises
    ------
    InputError
        If shapes do not match, a number is not finite, or a measurement is not symmetric.
    IdentificationError
        If the measurements are fewer than the r(2d - r + 1)/2 degrees of freedom of the target.

    Examples
    --------
    >>> sensing = MatrixSensing.draw(np.diag([1.0, 0, 0, 0, 0]), 60, random_state=0)
    >>> path = sensing.flow(0.01 * np.eye(5), np.array([0.0, 5.0, 40.0]))
    >>> path.error(np.diag([1.0, 0, 0, 0, 0])).round(3).tolist()
    [1.0, 0.609, 0.002]
    """

    measurements: Array
    values: Array
    rank: int | None = None

    def __post_init__(self) -> None:
        A = np.asarray(self.measurements, dtype=np.float64)
        b = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "measurements", A)
        object.__setattr__(self, "values", b)
        if A.ndim not in (2, 3) or (A.ndim == 3 and A.shape[1] != A.shape[2]) or not A.size:
            raise InputError(
                f"measurements have shape (m, d, d), or (m, d) for rank one; found {A.shape}"
            )
        if b.shape != A.shape[:1]:
            raise InputError(f"values have shape ({len(A)},), one a measurement; found {b.shape}")
        for name, array in (("measurements", A), ("values", b)):
            if not np.isfinite(array).all():
                raise InputError(
                    f"{name} have {int((~np.isfinite(array)).sum())} entries that are not finite; "
                    "drop these measurements"
                )
        if self.is_rank_one and len(A) < 2:
            raise InputError("rank-one measurements leave out their mean: expected at least 2")
        self._check_symmetric()
        if self.rank is not None:
            check_count(len(A), self.d, self.rank, lost=int(self.is_rank_one))

    def _check_symmetric(self) -> None:
        if self.is_rank_one:
            return
        for i, A in enumerate(self.measurements):
            gap = np.abs(A - A.T).max()
            if gap > 1e-10 * np.abs(A).max():
                raise InputError(
                    f"measurements are symmetric; found entries of measurement {i} {gap:.3g} apart "
                    "from their mirror images; pass (A + A') / 2, which measures the same"
                )

    @classmethod
    def draw(
        cls,
        target: Array,
        m: int,
        *,
        kind: Literal["gaussian", "rank-one"] = "gaussian",
        noise: float = 0.0,
        random_state: int | np.random.Generator | None = None,
    ) -> MatrixSensing:
        """Random measurements of a target (d, d), with normal noise of this standard deviation.

        Raises
        ------
        InputError
            If an argument is out of range.
        IdentificationError
            If m is below the degrees of freedom of the target.
        """
        M, rng = Target.of(target).matrix(), np.random.default_rng(random_state)
        if kind not in ("gaussian", "rank-one"):
            raise InputError(f"kind is 'gaussian' or 'rank-one'; found {kind!r}")
        if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
            raise InputError(f"m is a whole number of at least 1; found {m!r}")
        if not (np.isfinite(noise) and noise >= 0):
            raise InputError(f"expected a finite noise >= 0; found {noise}")
        rank = int(np.linalg.matrix_rank(M)) or None
        if kind == "gaussian":
            G = rng.standard_normal((m, len(M), len(M)))
            A = (G + np.swapaxes(G, 1, 2)) / 2
            values = A.reshape(m, -1) @ M.ravel()
        else:
            A = rng.standard_normal((m, len(M)))
            values = ((A @ M) * A).sum(axis=1)
        return cls(A, values + noise * rng.standard_normal(m), rank)

    @property
    def is_rank_one(self) -> bool:
        """Whether measurements are vectors."""
        return self.measurements.ndim == 2

    @property
    def d(self) -> int:
        """Number d of rows of the target."""
        return int(self.measurements.shape[1])

    def residuals(self, X: Array) -> Array:
        """<A_i, XX'> - b_i, less their mean for rank one, shape (m,)."""
        if self.is_rank_one:
            e = ((self.measurements @ X) ** 2).sum(axis=1) - self.values
            return np.asarray(e - e.mean())
        return self._apply(X @ X.T) - self.values

    def loss(self, X: Array) -> float:
        """f(X) for X of shape (d, k)."""
        e = self.residuals(np.asarray(X, dtype=np.float64))
        return float(e @ e) * self._weight / 4

    def gradient(self, X: Array) -> Array:
        """Gradient of the loss, shape (d, k)."""
        X = np.asarray(X, dtype=np.float64)
        e = self._weight * self.residuals(X)
        if self.is_rank_one:
            return np.asarray(self.measurements.T @ (e[:, None] * (self.measurements @ X)))
        return self._adjoint(e) @ X

    def flow(
        self, start: Array, times: Array, *, rtol: float = 1e-8, atol: float = 1e-10
    ) -> SensingTrajectory:
        """Gradient flow dX/dt = -grad f from X0 (d, k), by an adaptive Runge-Kutta method.

        Of order 8 (DOP853); errors per step are kept below ``rtol`` of X plus ``atol``. The flow
        with all of M seen, for comparison, is
        :class:`~foretell.theory.factorization.FactorizationFlow` from the same start.

        Parameters
        ----------
        start
            X0, shape (d, k). Small (1e-2 and less) for solutions of low rank with k above r.
        times
            Ascending, from 0, shape (T,). Late times are slow: the steps are explicit, so that
            their number grows in proportion to time (some seconds a 10,000 time units at d = 8).

        Raises
        ------
        InputError
            If the start or the times have another shape or order, or are not finite.
        ConvergenceError
            If the solver fails.
        """
        from scipy.integrate import solve_ivp

        X0, t = self._check_start(start), np.asarray(times, dtype=np.float64)
        if t.ndim != 1 or not t.size or not np.isfinite(t).all() or t[0] < 0:
            raise InputError(f"times are finite, not negative, of shape (T,); found {times!r}")
        if (np.diff(t) <= 0).any():
            raise InputError("times are strictly ascending; sort them and drop repeated ones")
        if t[-1] == 0:
            return self._trajectory(t, X0[None])
        found = solve_ivp(
            lambda _, x: -self.gradient(x.reshape(X0.shape)).ravel(),
            (0.0, t[-1]),
            X0.ravel(),
            "DOP853",
            t,
            rtol=rtol,
            atol=atol,
        )
        if not found.success:
            raise ConvergenceError(
                f"the flow stopped at time {found.t[-1]:.6g} of {t[-1]:.6g}: {found.message}; "
                "shorten the times or raise rtol"
            )
        return self._trajectory(t, found.y.T.reshape(-1, *X0.shape))

    def descend(
        self, start: Array, step: float, n_steps: int, *, record: int = 1
    ) -> SensingTrajectory:
        r"""Gradient descent with a constant step, every ``record``-th iterate kept.

        A guide to the step: that of the fully observed loss
        (:func:`~foretell.theory.factorization.step_limits.step_limits`) divided by one plus the
        restricted isometry constant.

        Raises
        ------
        InputError
            If an argument is out of range.
        ConvergenceError
            When the loss is not finite or above 100 times the larger of those of X0 and of zero.
        """
        check_descent(step, n_steps, 0.0, "heavy-ball", record)
        X = self._check_start(start)
        ceiling = 100 * max(self.loss(X), self.loss(np.zeros_like(X)))
        kept, factors = [0], [X]
        for j in range(1, n_steps + 1):
            with np.errstate(over="ignore", invalid="ignore"):
                X = X - step * self.gradient(X)
                escaped = not self.loss(X) <= ceiling
            if escaped:
                raise ConvergenceError(
                    f"gradient descent diverges: at step {j} the loss is above {ceiling:.3g}, 100 "
                    f"times its first value; take a smaller step than {step:.6g}"
                )
            if j % record == 0 or j == n_steps:
                kept.append(j)
                factors.append(X)
        return self._trajectory(step * np.array(kept), np.stack(factors))

    def isometry(
        self, rank: int, *, n_starts: int = 10, n_steps: int = 100, random_state: int = 0
    ) -> Isometry:
        """Extremes of the measured square of symmetric matrices of this rank and norm one.

        See :func:`~foretell.theory.factorization.isometry.restricted_isometry`.
        """
        return restricted_isometry(
            self._normal, self.d, rank, n_starts=n_starts, n_steps=n_steps, seed=random_state
        )

    def _normal(self, E: Array) -> Array:
        """A*A(E), whose inner product with E is the measured square of E, shape (d, d)."""
        if not self.is_rank_one:
            return self._adjoint(self._weight * self._apply(E))
        e = ((self.measurements @ E) * self.measurements).sum(axis=1)
        e = self._weight * (e - e.mean())
        return np.asarray(self.measurements.T @ (e[:, None] * self.measurements))

    @property
    def _weight(self) -> float:
        m = len(self.values)
        return 1 / (2 * (m - 1)) if self.is_rank_one else 1 / m

    @cached_property
    def _flat(self) -> Array:
        return self.measurements.reshape(len(self.values), -1)

    def _apply(self, E: Array) -> Array:
        return np.asarray(self._flat @ E.ravel())

    def _adjoint(self, e: Array) -> Array:
        return np.asarray((e @ self._flat).reshape(self.d, self.d))

    def _check_start(self, start: Array) -> Array:
        X = np.asarray(start, dtype=np.float64)
        if X.ndim != 2 or len(X) != self.d or not 1 <= X.shape[1] <= self.d:
            raise InputError(
                f"start has shape (d, k) with d = {self.d} and 1 <= k <= d; found {X.shape}"
            )
        if not np.isfinite(X).all():
            raise InputError("start has entries that are not finite")
        return X

    def _trajectory(self, times: Array, solution: Array) -> SensingTrajectory:
        return SensingTrajectory(times, solution, np.array([self.loss(X) for X in solution]))


def check_count(m: int, d: int, rank: int, *, lost: int = 0) -> None:
    """Raise if m measurements, less those lost, are fewer than the degrees of freedom of rank r."""
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or not 1 <= rank <= d:
        raise InputError(f"rank is a whole number between 1 and d = {d}; found {rank!r}")
    needed = rank * (2 * d - rank + 1) // 2
    if m - lost < needed:
        found = f"{m} measurements{' less their mean' * lost}"
        raise IdentificationError(
            f"{found} do not determine a symmetric matrix of rank {rank} with {d} rows, which has "
            f"{needed} degrees of freedom; take at least {needed + lost}, two to three times as "
            "many to find it from small initialization, or a lower rank"
        )
