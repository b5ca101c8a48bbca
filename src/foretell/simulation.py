"""Monte Carlo against theory: repeat the whole two-stage study and compare with the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from foretell._types import Array
from foretell.errors import InputError
from foretell.inference.risklaw import RiskLaw


class Population(Protocol):
    """What a population offers to a simulation."""

    def sample_unlabeled(self, size: int, random_state: Any = None) -> Array:
        """Rows without targets."""

    def sample_labeled(self, size: int, random_state: Any = None) -> tuple[Array, Array]:
        """Rows and targets."""

    def excess_risk(self, intercept: float, coef: Array) -> float:
        """Exact excess risk of a linear predictor on the columns."""

    def limit(self, n_unlabeled: float, n_labeled: float, *, intercept: bool) -> RiskLaw:
        """Limit law of the excess risk."""


@dataclass(frozen=True)
class Simulation:
    """Replicates of a two-stage study beside their limit.

    Attributes
    ----------
    excess_risk
        Exact excess risk of every replicate, shape (n_replicates,).
    law
        Limit law at the same sizes, of the same head.
    n_unlabeled, n_labeled
        Rows of each replicate; m counts labeled rows too if they are pooled.
    """

    excess_risk: Array = field(repr=False)
    law: RiskLaw
    n_unlabeled: int
    n_labeled: int

    @property
    def ratio(self) -> float:
        """Mean over replicates divided by the mean of the limit law."""
        return float(self.excess_risk.mean() / self.law.mean())

    @property
    def ratio_se(self) -> float:
        """Standard error of the ratio from the spread of the replicates."""
        count = len(self.excess_risk)
        return float(self.excess_risk.std(ddof=1) / np.sqrt(count) / self.law.mean())

    def summary(self) -> str:
        """Mean and quantiles of simulation and limit, side by side."""
        levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
        simulated = np.quantile(self.excess_risk, levels)
        limit = self.law.ppf(levels)
        lines = [
            f"{len(self.excess_risk)} replicates, n_unlabeled={self.n_unlabeled}, "
            f"n_labeled={self.n_labeled}",
            f"mean: simulation {self.excess_risk.mean():.5g}, limit {self.law.mean():.5g}, "
            f"ratio {self.ratio:.4f} +- {self.ratio_se:.4f}",
            f"{'quantile':>9}{'simulation':>13}{'limit':>13}{'ratio':>9}",
        ]
        lines += [
            "{:>8.0%} {:>13.5g}{:>13.5g}{:>9.4f}".format(*row)
            for row in zip(levels, simulated, limit, simulated / limit, strict=True)
        ]
        return "\n".join(lines)


def simulate(
    population: Population,
    estimator: Any,
    *,
    n_unlabeled: int,
    n_labeled: int,
    n_replicates: int = 1000,
    random_state: int | None = None,
    n_jobs: int | None = None,
    done: Callable[[], object] | None = None,
) -> Simulation:
    """Repeat sampling, pre-training and head, and compare the excess risk with its limit.

    Parameters
    ----------
    population
        Where rows come from, e.g. :class:`~foretell.theory.FactorPopulation`.
    estimator
        A :class:`~foretell.TwoStageRegressor`; it is cloned for every replicate and fitted
        without inference. Rows come as arrays, so that ``standardize="auto"`` leaves them alone.
    n_unlabeled, n_labeled
        Rows drawn for each replicate. With ``pool=True`` pre-training sees both, and so does
        the limit.
    n_replicates
        Number of repetitions, at least 2.
    random_state
        Seed; every replicate has a stream of its own, so that the numbers do not depend on
        ``n_jobs``.
    n_jobs
        Processes, as in joblib.
    done
        Called after each replicate, to show progress.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell import FactorModel, TwoStageRegressor
    >>> from foretell.theory import FactorPopulation
    >>> pop = FactorPopulation(np.eye(10)[:, :1] * 2, 1.0, [1.0], 0.5)
    >>> est = TwoStageRegressor(FactorModel(rank=1), pool=False)
    >>> sim = simulate(pop, est, n_unlabeled=500, n_labeled=500, n_replicates=50, random_state=0)
    >>> bool(abs(sim.ratio - 1) < 4 * sim.ratio_se)
    True
    """
    for name, value, least in (
        ("n_unlabeled", n_unlabeled, 0),
        ("n_labeled", n_labeled, 1),
        ("n_replicates", n_replicates, 2),
    ):
        if value < least:
            raise InputError(f"{name} is at least {least}; found {value}")
    seeds = np.random.SeedSequence(random_state).spawn(n_replicates)
    template = clone(estimator).set_params(inference=False)
    excess = []
    for value in Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_replicate)(population, template, n_unlabeled, n_labeled, seed) for seed in seeds
    ):
        excess.append(value)
        if done is not None:
            done()
    m = n_unlabeled + n_labeled if estimator.pool else n_unlabeled
    head = estimator.head
    intercept = True if head is None else bool(head.intercept)
    law = population.limit(m, n_labeled, intercept=intercept)
    return Simulation(np.array(excess), law, n_unlabeled, n_labeled)


def _replicate(
    population: Population,
    template: Any,
    n_unlabeled: int,
    n_labeled: int,
    seed: np.random.SeedSequence,
) -> float:
    first, second = seed.spawn(2)
    X, y = population.sample_labeled(n_labeled, second)
    rows = population.sample_unlabeled(n_unlabeled, first) if n_unlabeled else None
    fitted = clone(template).fit(X, y, X_unlabeled=rows)
    return population.excess_risk(fitted.intercept_, fitted.coef_)
