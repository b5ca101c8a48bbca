"""What is repeated in a simulation: draw rows, fit both stages, take the excess risk."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, ForetellError, InputError
from foretell.inference.risklaw import RiskLaw
from foretell.simulation.fingerprint import describe, versions
from foretell.simulation.journal import Outcome
from foretell.simulation.limits import Population, PopulationLimit, is_paired, limit_of
from foretell.simulation.pack import unused
from foretell.simulation.result import Simulation
from foretell.simulation.threads import one_thread

Seed = int | np.random.SeedSequence | None


@dataclass(frozen=True)
class Replicate:
    """Data of one replicate and the estimator that is to be fitted to them.

    Attributes
    ----------
    index
        Number of the replicate, from 0.
    X, y
        Labeled rows, shape (n, d), and their targets.
    X_unlabeled
        Unlabeled rows, shape (m, d), a source of pairs, or None if m is 0.
    estimator
        The estimator before it is fitted, with its seeds and starting values.
    """

    index: int
    X: Array
    y: Array
    X_unlabeled: Any
    estimator: Any
    limit: PopulationLimit

    def fit(self) -> Any:
        """Fit a copy of the estimator, on one thread as in a simulation."""
        from sklearn.base import clone

        with one_thread:
            return clone(self.estimator).fit(self.X, self.y, X_unlabeled=self.X_unlabeled)

    def excess_risk(self) -> float:
        """Exact excess risk of the fitted estimator.

        Raises
        ------
        ConvergenceError
            If it is not a finite number.
        """
        with one_thread:
            value = float(self.limit.excess_risk(self.fit()))
        if not np.isfinite(value):
            raise ConvergenceError(f"the excess risk is {value}; expected a finite number")
        return value

    def outcome(self) -> float:
        """What a simulation keeps of the replicate."""
        return self.excess_risk()


@dataclass(frozen=True)
class Study:
    """Everything that determines the numbers of a simulation but its random state."""

    population: Population
    estimator: Any
    limit: PopulationLimit
    law: RiskLaw
    n_unlabeled: int
    n_labeled: int
    warm_start: bool

    @classmethod
    def of(
        cls, population: Any, estimator: Any, n_unlabeled: int, n_labeled: int, warm_start: bool
    ) -> Study:
        """The study of an estimator, once sizes and population suit it."""
        from sklearn.base import clone

        pool = bool(getattr(estimator, "pool", False))
        for name, value, least in (("n_unlabeled", n_unlabeled, 0), ("n_labeled", n_labeled, 1)):
            check_size(name, value, least)
        if not pool and not n_unlabeled:
            raise InputError(
                "n_unlabeled is 0 and pool=False, so no unlabeled row is left for pre-training; "
                "draw some, or set pool=True"
            )
        if pool and is_paired(population):
            raise InputError(
                "the population gives pairs of views, and labeled rows come alone, so they cannot "
                "join pre-training; set pool=False"
            )
        population = unused(population)
        template = clone(estimator).set_params(inference=False)
        limit = limit_of(population, estimator)
        law = limit.law(int(n_unlabeled), int(n_labeled))
        return cls(
            population, template, limit, law, int(n_unlabeled), int(n_labeled), bool(warm_start)
        )

    def describe(self, random_state: Seed) -> dict[str, Any]:
        """What determines the numbers, JSON-able."""
        return {
            "population": describe(self.population),
            "estimator": describe(self.estimator),
            "n_unlabeled": self.n_unlabeled,
            "n_labeled": self.n_labeled,
            "warm_start": self.warm_start,
            "random_state": None if random_state is None else state_of(random_state),
            "versions": versions(),
        }

    def replicate(self, random_state: dict[str, Any], index: int) -> Replicate:
        """Data and estimator of one replicate; each has a stream of random numbers of its own."""
        key = (*random_state["spawn_key"], index)
        seed = np.random.SeedSequence(random_state["entropy"], spawn_key=key)
        first, second, third = seed.spawn(3)
        with one_thread:
            X, y = self.population.sample_labeled(self.n_labeled, second)
            rows = self._unlabeled(first)
        return Replicate(index, X, y, rows, self._estimator(third), self.limit)

    def result(
        self, values: list[float], failures: dict[int, str], random_state: np.random.SeedSequence
    ) -> Simulation:
        """The replicates beside their limit."""
        return Simulation(
            np.array(values), self.law, self.n_unlabeled, self.n_labeled, random_state=random_state,
            failures=failures,
        )  # fmt: skip

    def _unlabeled(self, seed: np.random.SeedSequence) -> Any:
        if not self.n_unlabeled:
            return None
        rows = self.population.sample_unlabeled(self.n_unlabeled, seed)
        if not is_paired(self.population):
            return rows
        from foretell.data.views import PairSource

        half = rows.shape[1] // 2
        return PairSource(rows[:, :half], rows[:, half:])

    def _estimator(self, seed: np.random.SeedSequence) -> Any:
        from sklearn.base import clone

        estimator = clone(self.estimator)
        names = [
            name
            for name, value in sorted(estimator.get_params().items())
            if value is None and name.split("__")[-1] == "random_state"
        ]
        seeds = seed.generate_state(max(1, len(names))) >> 1  # below 2^31, as scikit-learn has it
        estimator.set_params(**{name: int(s) for name, s in zip(names, seeds, strict=False)})
        start = getattr(self.limit, "encoder", None) if self.warm_start else None
        if start is not None:
            estimator.set_params(model=_started(estimator.model, start))
        return estimator


def outcome_of(study: Any, random_state: dict[str, Any], index: int, on_error: str) -> Outcome:
    """What one replicate of a study found, or the text of its error if that is to be skipped."""
    try:
        found: Outcome = study.replicate(random_state, index).outcome()
    except ForetellError as error:
        if on_error == "skip":
            return f"{type(error).__name__}: {error}"
        raise _located(error, random_state, index) from error
    except Exception as error:
        error.add_note(_place(random_state, index))
        raise
    return found


def check_size(name: str, value: Any, least: int) -> None:
    """Raise InputError unless a number is whole and large enough."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} is a whole number; found {value!r}")
    if value < least:
        raise InputError(f"{name} is at least {least}; found {value}")


def state_of(random_state: Any) -> dict[str, Any]:
    """What determines the streams of a seed, JSON-able."""
    if isinstance(random_state, np.random.SeedSequence):
        entropy = random_state.entropy
        listed = np.asarray(entropy, dtype=object)
        whole = int(listed) if listed.ndim == 0 else [int(part) for part in listed]
        return {"entropy": whole, "spawn_key": [int(key) for key in random_state.spawn_key]}
    check_size("random_state", random_state, 0)
    return {"entropy": int(random_state), "spawn_key": []}


def _place(state: dict[str, Any], index: int) -> str:
    seed = state["entropy"]
    if state["spawn_key"]:
        seed = f"SeedSequence({seed}, spawn_key={tuple(state['spawn_key'])})"
    return (
        f"replicate {index} with random_state={seed}; foretell.simulation.replicate(population, "
        f"estimator, {index}, ...) repeats it"
    )


def _located(error: ForetellError, state: dict[str, Any], index: int) -> ForetellError:
    """The error with the number of its replicate, of the same kind."""
    text = f"{error} ({_place(state, index)})"
    try:
        return type(error)(text)
    except TypeError:  # a kind with arguments of its own
        error.add_note(text)
        return error


def _started(model: Any, start: Any) -> Any:
    """The model, starting from an encoder if it can and does not start elsewhere."""
    from foretell.models.factor import FactorModel

    if isinstance(model, FactorModel):  # its start is a finished fit, and it has one minimum
        return model
    if getattr(model, "start", start) is not None:
        return model
    if hasattr(model, "set_params"):
        return model.set_params(start=start)
    if is_dataclass(model) and "start" in (field.name for field in fields(model)):
        return replace(model, start=start)  # type: ignore[type-var]
    return model
