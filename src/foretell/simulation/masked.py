"""Masked regression repeated on rows of a population, beside its theory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.simulation.fingerprint import describe, versions
from foretell.simulation.pack import unused
from foretell.simulation.result import told
from foretell.simulation.study import Seed, check_size, state_of
from foretell.simulation.threads import one_thread

LARGE_RATIO = 1e4  # from which on it is written with an exponent
SCALES = 10_000  # nodes of the law of the lengths of elliptical rows
ESTIMATES = {"loo_error_": "leave-one-out", "gcv_": "GCV", "egcv_": "elliptical GCV"}


@dataclass(frozen=True)
class MaskedSimulation:
    """Replicates of masked regression beside what random-matrix theory says of them.

    Attributes
    ----------
    numbers
        By name, one number a replicate, shape (n_replicates,): ``"test error"`` is the exact
        mean squared error on a new row, ``"train error"`` that on the sample; ``"leave-one-out"``,
        ``"GCV"`` and ``"elliptical GCV"`` estimate the test error from the sample (NaN, a division
        by zero, without a penalty where columns are as many as rows or more); with a rank,
        ``"PCA"`` and ``"masked PCA"`` are the errors of that many components.
    theory
        The deterministic equivalents by the same names, where there is one: not for the components
        of elliptical rows.
    n_samples
        Rows of each replicate.
    alpha
        The penalty, or the rule that chose it.
    random_state
        The seed, also where none was given.
    failures
        Text of the error by replicate, of those that were skipped.
    """

    numbers: Mapping[str, Array] = field(repr=False)
    theory: Mapping[str, float]
    n_samples: int
    alpha: Any = None
    random_state: np.random.SeedSequence | None = field(default=None, repr=False)
    failures: Mapping[int, str] = field(default_factory=dict, repr=False)

    @property
    def ratio(self) -> float:
        """Mean test error of the replicates over that of the theory."""
        return float(self.numbers["test error"].mean() / self.theory["test error"])

    @property
    def ratio_se(self) -> float:
        """Standard error of the ratio from the spread of the replicates."""
        x = self.numbers["test error"]
        return float(x.std(ddof=1) / np.sqrt(len(x)) / self.theory["test error"])

    def table(self) -> dict[str, Any]:
        """Columns ``quantity``, ``simulation``, ``se``, ``theory`` and ``ratio``.

        NaN where there is none: the standard error of numbers that are not all finite, and a ratio
        to no theory, or to one that is zero or infinite.
        """
        names = list(self.numbers)
        values = np.array([self.numbers[name] for name in names])
        theory = np.array([self.theory.get(name, np.nan) for name in names])
        mean = values.mean(axis=1)
        finite = np.isfinite(values).all(axis=1)
        spread = np.where(finite[:, None], values, 0.0).std(axis=1, ddof=1)
        has_ratio = np.isfinite(mean) & np.isfinite(theory) & (theory != 0)
        return {
            "quantity": names,
            "simulation": mean,
            "se": np.where(finite, spread / np.sqrt(values.shape[1]), np.nan),
            "theory": theory,
            "ratio": np.divide(mean, theory, out=np.full_like(mean, np.nan), where=has_ratio),
        }

    def frame(self, *, backend: str | None = None) -> Any:
        """The table as a data frame; ``backend`` as in :meth:`Simulation.frame`."""
        return to_frame(self.table(), backend)

    def summary(self) -> str:
        """Mean and standard error of every number, beside the theory; a dash where none is."""
        count = len(self.numbers["test error"])
        lines = [
            f"{count} replicates of {self.n_samples} rows",
            f"{'':>20}{'simulation':>13}{'s.e.':>11}{'theory':>13}{'ratio':>11}",
        ]
        lines += [
            f"{name:>20}{_cell(mean, '.5g'):>13}{_cell(se, '.2g'):>11}{_cell(theory, '.5g'):>13}"
            f"{_cell(ratio, '.4f' if ratio < LARGE_RATIO else '.3g'):>11}"
            for name, mean, se, theory, ratio in zip(*self.table().values(), strict=True)
        ]
        return "\n".join([*lines, *told(self.failures)])

    def plot(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Every replicate over its theory, a row a number; written to ``path`` if there is one.

        Numbers that are not finite in every replicate, or in theory, are left out.

        Arguments, result and errors as in :meth:`Simulation.plot`.
        """
        from foretell.plots.charts import write
        from foretell.plots.masked import replicates

        finite = {name: x for name, x in self.numbers.items() if np.isfinite(x).all()}
        theory = {name: value for name, value in self.theory.items() if np.isfinite(value)}
        chart = replicates(finite, theory, self.n_samples)
        if path is not None:
            write(chart, path)
        return chart


@dataclass(frozen=True)
class MaskedReplicate:
    """Rows of one replicate, shape (n, d), and the estimator that is to be fitted to them."""

    index: int
    X: Array
    estimator: Any
    population: Any

    def fit(self) -> Any:
        """Fit a copy of the estimator, on one thread as in a simulation."""
        from sklearn.base import clone

        with one_thread:
            return clone(self.estimator).fit(self.X)

    def outcome(self) -> dict[str, float]:
        """The numbers of the replicate, by name."""
        fitted = self.fit()
        with one_thread:
            found = {
                "test error": self.population.test_error(fitted.coef_, fitted.intercept_),
                "train error": fitted.train_error_.mean(),
                **{name: getattr(fitted, key).mean() for key, name in ESTIMATES.items()},
                **({} if _is_fixed(fitted.alpha) else {"alpha": fitted.alpha_}),
                **self._components(),
            }
        n, d = self.X.shape
        if _uses_all_rows(fitted.alpha, n, d, self.estimator.center):
            found |= dict.fromkeys((ESTIMATES["gcv_"], ESTIMATES["egcv_"]), np.nan)
        return {name: float(value) for name, value in found.items()}

    def _components(self) -> dict[str, float]:
        rank = self.estimator.rank
        if not isinstance(rank, int | np.integer):
            return {}
        from foretell.theory.masked.sample_pca import sample_pca_errors

        rows = self.X - self.X.mean(axis=0) if self.estimator.center else self.X
        found = sample_pca_errors(rows, self.population.covariance.matrix(), [int(rank)])
        return {"PCA": found.pca[0], "masked PCA": found.masked_pca[0]}


@dataclass(frozen=True)
class MaskedStudy:
    """Everything that determines the numbers of a simulation but its random state."""

    population: Any
    estimator: Any
    n_samples: int

    @classmethod
    def of(cls, population: Any, estimator: Any, n_unlabeled: Any, n_labeled: Any) -> MaskedStudy:
        """The study of an estimator, once the sizes suit it."""
        from sklearn.base import clone

        check_size("n_unlabeled", n_unlabeled, 3)
        if n_labeled:
            raise InputError(
                f"masked regression on its own uses no labels; found n_labeled={n_labeled}; leave "
                "it out, or put MaskedRegression into a TwoStageRegressor"
            )
        if not hasattr(population, "test_error"):
            raise InputError(
                "masked regression is simulated in a MaskedPopulation, which knows its exact "
                f"error; found {type(population).__name__}"
            )
        if estimator.standardize:
            raise InputError(
                "theory and simulation are in the units of the population; found "
                "standardize=True; set standardize=False in MaskedRegression"
            )
        if estimator.alpha_per_target:
            raise InputError(
                "the theory has one penalty for all columns; found alpha_per_target=True; set it "
                "to False"
            )
        return cls(unused(population), clone(estimator), int(n_unlabeled))

    def describe(self, random_state: Seed) -> dict[str, Any]:
        """What determines the numbers, JSON-able."""
        return {
            "population": describe(self.population),
            "estimator": describe(self.estimator),
            "n_unlabeled": self.n_samples,
            "random_state": None if random_state is None else state_of(random_state),
            "versions": versions(),
        }

    def replicate(self, random_state: dict[str, Any], index: int) -> MaskedReplicate:
        """Rows and estimator of one replicate; each has a stream of random numbers of its own."""
        key = (*random_state["spawn_key"], index)
        seed = np.random.SeedSequence(random_state["entropy"], spawn_key=key)
        with one_thread:
            X = self.population.sample_unlabeled(self.n_samples, seed)
        return MaskedReplicate(index, X, self.estimator, self.population)

    def result(
        self,
        values: list[dict[str, float]],
        failures: dict[int, str],
        random_state: np.random.SeedSequence,
    ) -> MaskedSimulation:
        """The replicates beside the theory."""
        numbers = {name: np.array([value[name] for value in values]) for name in values[0]}
        theory = predicted(self.population, self.estimator, self.n_samples)
        return MaskedSimulation(
            numbers, theory, self.n_samples, self.estimator.alpha, random_state, failures
        )


def predicted(population: Any, estimator: Any, n_samples: int) -> dict[str, float]:
    """What theory says of the numbers of a replicate, by the same names.

    A centered sample of n rows is one of n - 1 rows around the mean, with a penalty larger by
    n / (n - 1); the estimated mean adds 1/n to the test error. Warnings of the theory
    (:class:`~foretell.theory.masked.errors.EquivalentWarning`) are given once and say so.
    """
    from foretell.theory.masked.finite_size import warn_user
    from foretell.theory.masked.results import EquivalentWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EquivalentWarning)
        found = _predicted(population, estimator, n_samples)
    for warning in caught:
        if issubclass(warning.category, EquivalentWarning):
            reason = str(warning.message).partition(";")[0]
            centered = " (n is the rows less one, for the mean)" if estimator.center else ""
            warn_user(f"theory: {reason}{centered}; believe the simulation, or raise the penalty")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return found


def _predicted(population: Any, estimator: Any, n_samples: int) -> dict[str, float]:
    from foretell.theory.masked.errors import masked_regression
    from foretell.theory.masked.optimal import best_penalty

    centered = bool(estimator.center)
    n = n_samples - int(centered)
    stretch = n_samples / n
    scales = population.row_scales(SCALES) if population.rows == "elliptical" else None
    fixed = _is_fixed(estimator.alpha)
    alpha = (
        float(estimator.alpha) * stretch
        if fixed
        else best_penalty(population.covariance, n, row_scales=scales)
    )
    theory = masked_regression(population.covariance, n, alpha, row_scales=scales)
    test = theory.test_error * (1 + centered / n_samples)
    found = {"test error": test, "train error": theory.train_error / stretch}
    found |= dict.fromkeys(ESTIMATES.values(), test)
    if _uses_all_rows(estimator.alpha, n_samples, population.covariance.d, centered):
        del found["GCV"], found["elliptical GCV"]
    if not fixed:
        found["alpha"] = alpha / stretch
    if isinstance(estimator.rank, int | np.integer) and scales is None:
        from foretell.theory.masked.pca import masked_pca_error, pca_error

        rank = int(estimator.rank)
        found["PCA"] = float(pca_error(population.covariance, n, rank))
        found["masked PCA"] = float(masked_pca_error(population.covariance, n, rank))
    return found


def _uses_all_rows(alpha: Any, n: int, d: int, centered: bool) -> bool:
    """Whether the degrees of freedom are all rows, so that GCV divides by zero."""
    return _is_fixed(alpha) and float(alpha) == 0 and n - int(centered) <= d


def _cell(value: float, spec: str) -> str:
    return "–" if np.isnan(value) else format(value, spec)


def _is_fixed(alpha: Any) -> bool:
    return not isinstance(alpha, str)
