r"""Early stopping by simulation: the exact risk of every sample along its own flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.feature_flow import TIME_SCALE, features
from foretell.theory.factorization.training_budget import TrainingBudget
from foretell.theory.view_population import ViewPopulation


@dataclass(frozen=True, eq=False)
class EarlyStopping:
    """Excess risk over the best predictor along training, over replicates.

    Attributes
    ----------
    times
        Times, shape (T,), ascending.
    risks
        Excess risk of each replicate, exact given its samples, shape (R, T).
    end
        The same at the end of training, shape (R,).
    n_unlabeled, n_labeled
        Pairs and labels of a replicate.
    """

    times: Array
    risks: Array
    end: Array
    n_unlabeled: int
    n_labeled: int

    @property
    def mean(self) -> Array:
        """Mean excess risk at each time, shape (T,)."""
        return self.risks.mean(axis=0)

    @property
    def se(self) -> Array:
        """Standard errors of the means, shape (T,)."""
        return self.risks.std(axis=0, ddof=1) / np.sqrt(len(self.risks))

    @property
    def risk_at_end(self) -> float:
        """Mean excess risk at the end of training."""
        return float(self.end.mean())

    @property
    def best(self) -> int:
        """Index of the time of least mean risk in the even half of the replicates."""
        return int(self.risks[::2].mean(axis=0).argmin())

    @property
    def best_time(self) -> float:
        """The time of least mean risk in the even half of the replicates."""
        return float(self.times[self.best])

    @property
    def gain(self) -> float:
        """Mean risk at the end less that at the best time, in the odd half of the replicates.

        The half that did not choose the time, so that the choice does not flatter it.
        """
        return float(self._gains.mean())

    @property
    def gain_se(self) -> float:
        """Standard error of ``gain``, from paired differences."""
        return float(self._gains.std(ddof=1) / np.sqrt(len(self._gains)))

    @property
    def helps(self) -> bool:
        """Whether stopping early gains more than four standard errors."""
        return self.gain > 4 * self.gain_se

    def summary(self) -> str:
        """The answer in words."""
        verb = "helps" if self.helps else "does not help beyond noise"
        side = "below" if self.gain >= 0 else "above"
        return (
            f"m = {self.n_unlabeled}, n = {self.n_labeled}, {len(self.risks)} replicates: stopping "
            f"early {verb}; at t = {self.best_time:.4g} the risk is {abs(self.gain):.4g} ± "
            f"{self.gain_se:.2g} {side} the {self.risk_at_end:.4g} at the end"
        )

    @property
    def _gains(self) -> Array:
        return (self.end - self.risks[:, self.best])[1::2]


def early_stopping(
    population: ViewPopulation,
    rank: int,
    n_unlabeled: int,
    n_labeled: int,
    times: ArrayLike,
    n_replicates: int = 200,
    random_state: int = 0,
    *,
    start: Array | None = None,
    scale: float = 0.1,
    penalty: float = 0.0,
) -> EarlyStopping:
    r"""Simulate pre-training stopped at each of some times, on fresh samples.

    Every replicate draws m pairs and n labels; features follow the closed form of the flow on its
    own moments, about zero, and the head is refitted at every time. The excess risk, over the
    best predictor, is exact for that sample. The start is the same in all replicates.

    Parameters
    ----------
    population
        Population of pairs with numbers as targets.
    rank
        Number k of features, 1 to d, also above that of the directions which views share.
    n_unlabeled, n_labeled
        Pairs m > d and labels n > k (n >= 1 with a penalty) of a replicate.
    times
        Times, shape (T,).
    n_replicates
        Replicates, at least 4.
    random_state
        Seed of the samples.
    start, scale, penalty
        As for :class:`TrainingBudget`, with its default seed.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory import ViewPopulation
    >>> pop = ViewPopulation(np.eye(6)[:, :1] * 2.0, 1.0, [1.0], 0.3)
    >>> result = early_stopping(pop, 1, 200, 200, [0.1, 4.0], 20)
    >>> bool(result.mean[0] > result.mean[1]), result.helps
    (True, False)
    """
    budget = TrainingBudget(population, rank, start=start, scale=scale, penalty=penalty)
    t = np.unique(np.asarray(times, dtype=np.float64))
    d = population.n_columns
    if not t.size or t.ndim != 1 or not np.isfinite(t).all() or t[0] < 0:
        raise InputError("times are finite numbers >= 0, at least one")
    if n_unlabeled <= d or (n_labeled <= rank and not (penalty > 0 and n_labeled >= 1)):
        raise InputError(
            f"expected more than {d} pairs and more than {rank} labels; found {n_unlabeled} and "
            f"{n_labeled}"
        )
    if n_replicates < 4:
        raise InputError(f"at least 4 replicates; found {n_replicates}")
    s = TIME_SCALE * np.append(t, np.inf)
    risks = np.empty((n_replicates, len(s)))
    for i, seed in enumerate(np.random.SeedSequence(random_state).spawn(n_replicates)):
        risks[i] = _replicate(population, budget, n_unlabeled, n_labeled, s, seed)
    return EarlyStopping(t, risks[:, :-1], risks[:, -1], n_unlabeled, n_labeled)


def _replicate(
    population: ViewPopulation,
    budget: TrainingBudget,
    m: int,
    n: int,
    s: Array,
    seed: np.random.SeedSequence,
) -> Array:
    rng = np.random.default_rng(seed)
    x, x_plus = np.split(population.sample_unlabeled(m, rng), 2, axis=1)
    X, y = population.sample_labeled(n, rng)
    across = x.T @ x_plus
    assert budget.start is not None
    found = features(
        (x.T @ x + x_plus.T @ x_plus) / (2 * m), (across + across.T) / (2 * m), budget.start, s,
        budget.penalty > 0,
    )  # fmt: skip
    gap = head_coef(found.frames, found.weights, X, y, budget.penalty) - best_coef(population)
    return 0.5 * np.einsum("tiq,ij,tjq->t", gap, population.covariance, gap)


def head_coef(W: Array, N: Array | None, X: Array, y: Array, penalty: float) -> Array:
    """Coefficients on the columns of heads fitted to features at T times, shape (T, d, q)."""
    gram = X.T @ X / len(X)
    cross = (X.T @ y / len(X)).reshape(len(gram), -1)
    W = W / np.linalg.norm(W, axis=-2, keepdims=True) if N is None else W
    inner = W.swapaxes(-1, -2) @ gram @ W
    if N is not None:
        inner = inner + penalty * N
    return W @ np.linalg.solve(inner, W.swapaxes(-1, -2) @ cross)


def best_coef(population: ViewPopulation) -> Array:
    """Coefficients of the best linear predictor, shape (d, q)."""
    return population._best_coef.reshape(population.n_columns, -1)
