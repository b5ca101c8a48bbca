r"""Linear spectral pre-training by gradient flow on a population, and what stopping it costs."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foretell._types import Array
from foretell.errors import IdentificationError, InputError
from foretell.theory.factorization.feature_flow import TIME_SCALE, features, missed
from foretell.theory.factorization.pair_moments import SAME, PairMoments
from foretell.theory.view_population import ViewPopulation

OUTSIDE = 1e-10  # of the size of the target


@dataclass(frozen=True, eq=False)
class SpectralTraining:
    r"""Features along gradient flow of the population's spectral loss, and heads on them.

    The flow, its metric and its time, the parameters and what they raise are those of
    :class:`~foretell.theory.factorization.training_budget.TrainingBudget`.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = PairMoments(np.eye(2), np.diag([0.5, 0.1]), [1.0, 0.0], 1.5)
    >>> training = SpectralTraining(pairs, 1, start=np.array([[0.6], [0.8]]))
    >>> round(training.optimization(0), 12), round(training.exponent, 12)  # 0.8² / 2
    (0.32, 3.2)
    """

    population: ViewPopulation | PairMoments
    rank: int
    _: KW_ONLY
    start: Array | None = None
    scale: float = 0.1
    penalty: float = 0.0
    random_state: int = 0

    def __post_init__(self) -> None:
        d, k = self.moments.n_columns, self.rank
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= d:
            raise InputError(f"rank is a whole number from 1 to {d} columns; found {k!r}")
        if not (np.isfinite(self.penalty) and self.penalty >= 0):
            raise InputError(f"penalty is at least 0; found {self.penalty}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale is above 0; found {self.scale}")
        if self.start is None:
            rng = np.random.default_rng(self.random_state)
            start = self.scale / np.sqrt(d) * rng.standard_normal((d, k))
        else:
            start = np.asarray(self.start, dtype=np.float64)
        object.__setattr__(self, "start", start)
        if start.shape != (d, k) or not np.isfinite(start).all():
            raise InputError(f"start has shape ({d}, {k}) and is finite; found {start.shape}")
        if np.linalg.matrix_rank(start) < k:
            raise InputError(f"the {k} columns of start are linearly dependent")
        self._check_identified()

    def _check_identified(self) -> None:
        rho, k = self._rho, self.rank
        if not self.moments.n_shared:
            raise IdentificationError(
                "views share no direction: no correlation is positive; check the pairs"
            )
        if k < len(rho) and rho[k - 1] - rho[k] < SAME and rho[k] != 0:
            raise IdentificationError(
                f"correlations {k} and {k + 1} are both {rho[k]:.6g}: the span that training "
                "reaches depends on the start; choose a rank at a gap of the spectrum"
            )
        learned = self._canonical_start[: min(k, self.moments.n_shared)]
        size = np.linalg.svd(learned, compute_uv=False)
        if size.size and size[-1] < 1e-10 * np.linalg.norm(self._canonical_start):
            raise IdentificationError(
                "the start has no component on one of the directions to be learned: training "
                "ends at a saddle, and in a sample noise decides when it escapes; start at random"
            )

    @cached_property
    def moments(self) -> PairMoments:
        """Second moments of the population."""
        return PairMoments.of(self.population)

    @property
    def surplus(self) -> int:
        """Number of features above that of the directions which views share."""
        return max(0, self.rank - self.moments.n_shared)

    @property
    def shortfall(self) -> float:
        """Risk of the best head at the end of training over that of the best linear predictor."""
        return 0.5 * float((self._missed_limit**2).sum())

    def optimization(self, t: ArrayLike) -> Any:
        r"""Risk of the best head on the population's features at time t, over that at the end.

        Least squares: half the squared distance of the best predictor from the span of the
        features, by orthogonal projection. Exact; shape of t.

        Parameters
        ----------
        t
            Times, >= 0.
        """
        times = checked_times(t)
        found = features(*self._moved, TIME_SCALE * times.ravel(), self.penalty > 0)
        left, end = missed(found, self._gamma, self.penalty), self._missed_limit
        out = 0.5 * ((left - end) * (left + end)).sum(axis=(-1, -2))
        return as_given(out, times)

    @property
    def exponent(self) -> float:
        r"""Rate at which the optimization part falls in the end, :math:`e^{-\mathrm{exponent}\,t}`.

        Least squares: 8 times the smallest :math:`\lambda_j - \lambda_a` of a direction j inside
        and one outside, one of which the target has; only 4 times if it has both, since then
        the risk gradient at the limit is not zero. Surplus features leave it as it is. Ridge also
        sees sizes: 8 times the smaller of :math:`\lambda_p` and the gap; 0 stands for O(1/t),
        where the target has a part that only surplus features see. For a start in general
        position; inf if nothing is left to learn.
        """
        rho, p = self._rho, self._learned
        has = (abs(self._gamma) > OUTSIDE * abs(self._gamma).max()).any(axis=1)
        inside, outside = np.flatnonzero(has[:p]), np.flatnonzero(has[p:]) + p
        if self.penalty > 0:
            if self.surplus and outside.size:
                return 0.0
            gap = rho[p - 1] - rho[p] if p < len(rho) else np.inf
            rates = [8 * rho[p - 1], 8 * gap, 4 * gap if outside.size else np.inf]
            return float(min(rates))
        rates = [np.inf]
        if self.rank < len(rho):
            if inside.size:
                rates.append(8 * (rho[inside[-1]] - rho[p]))
            if outside.size:
                rates.append(8 * (rho[p - 1] - rho[outside[0]]))
            if inside.size and outside.size:
                rates.append(4 * (rho[inside[-1]] - rho[outside[0]]))
        return float(min(rates))

    @property
    def _rho(self) -> Array:
        return self.moments.canonical.rho

    @property
    def _gamma(self) -> Array:
        return self.moments.canonical.gamma

    @cached_property
    def _canonical_start(self) -> Array:
        assert self.start is not None
        return self.moments.canonical.axes.T @ self.moments.within @ self.start

    @property
    def _moved(self) -> tuple[Array, Array, Array]:
        return np.eye(len(self._rho)), np.diag(self._rho), self._canonical_start

    @property
    def _learned(self) -> int:
        """Directions that training learns: the rank, or fewer if views share fewer."""
        return self.rank if not self._is_null(self.rank - 1) else self.moments.n_shared

    def _is_null(self, at: int) -> bool:
        return bool(self._rho[at] == 0)

    @cached_property
    def _missed_limit(self) -> Array:
        if self.penalty > 0:
            reached = np.maximum(self._rho, 0) * (np.arange(len(self._rho)) < self.rank)
            return self.penalty / (reached + self.penalty)[:, None] * self._gamma
        found = features(*self._moved, np.array([np.inf]), False)
        return missed(found, self._gamma, 0.0)[0]

    @property
    def _target_is_shared(self) -> bool:
        p = self.moments.n_shared
        return bool(abs(self._gamma[p:]).max(initial=0) <= OUTSIDE * abs(self._gamma).max())

    @property
    def _surplus_is_noise(self) -> bool:
        return self._target_is_shared and not np.any(self._rho[self.moments.n_shared :])

    @property
    def _is_classical(self) -> bool:
        at_end = self.rank == self.moments.n_shared and self.penalty == 0
        return at_end and self._surplus_is_noise


def checked_times(t: ArrayLike) -> Array:
    """Times as an array; raise InputError unless finite and at least 0."""
    times = np.asarray(t, dtype=np.float64)
    if not (np.isfinite(times) & (times >= 0)).all():
        raise InputError("times are finite and at least 0")
    return times


def as_given(values: Array, times: Array) -> Any:
    """An array of the shape of the times; a number for one time."""
    return float(values[0]) if times.ndim == 0 else values.reshape(times.shape)
