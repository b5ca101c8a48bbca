"""Many replicates of a two-stage study, on many processes and over interruptions."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from typing import Any, Literal, overload

import numpy as np

from foretell.errors import InputError
from foretell.estimators.masked_regression import MaskedRegression
from foretell.estimators.two_stage import TwoStage
from foretell.simulation.journal import Journal, Outcome
from foretell.simulation.limits import Population
from foretell.simulation.masked import MaskedReplicate, MaskedSimulation, MaskedStudy
from foretell.simulation.pack import Packed, pack, unpack
from foretell.simulation.result import Simulation
from foretell.simulation.study import (
    Replicate,
    Seed,
    Study,
    check_size,
    outcome_of,
    state_of,
)  # fmt: skip


@overload
def simulate(
    population: Any,
    estimator: MaskedRegression,
    *,
    n_unlabeled: int,
    n_labeled: int = 0,
    n_replicates: int = ...,
    random_state: Seed = ...,
    n_jobs: int | None = ...,
    done: Callable[[], object] | None = ...,
    path: str | os.PathLike[str] | None = ...,
    warm_start: bool = ...,
    on_error: Literal["raise", "skip"] = ...,
) -> MaskedSimulation: ...


@overload
def simulate(
    population: Population,
    estimator: TwoStage,
    *,
    n_unlabeled: int,
    n_labeled: int = 0,
    n_replicates: int = ...,
    random_state: Seed = ...,
    n_jobs: int | None = ...,
    done: Callable[[], object] | None = ...,
    path: str | os.PathLike[str] | None = ...,
    warm_start: bool = ...,
    on_error: Literal["raise", "skip"] = ...,
) -> Simulation: ...


def simulate(
    population: Any,
    estimator: Any,
    *,
    n_unlabeled: int,
    n_labeled: int = 0,
    n_replicates: int = 1000,
    random_state: Seed = None,
    n_jobs: int | None = None,
    done: Callable[[], object] | None = None,
    path: str | os.PathLike[str] | None = None,
    warm_start: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
) -> Simulation | MaskedSimulation:
    """Repeat sampling, pre-training and head, and compare the excess risk with its limit.

    Parameters
    ----------
    population
        Where rows come from, e.g. :class:`~foretell.theory.FactorPopulation`.
    estimator
        A :class:`~foretell.TwoStageRegressor` or classifier; it is cloned for every replicate and
        fitted without inference. Rows come as arrays, so that ``standardize="auto"`` leaves them
        alone. A ``random_state`` of None in it is drawn for every replicate. Or a
        :class:`~foretell.MaskedRegression` with ``standardize=False`` and a population
        :class:`~foretell.theory.MaskedPopulation`: errors, their estimates from data and, with a
        ``rank``, those of as many principal components, beside random-matrix theory.
    n_unlabeled, n_labeled
        Rows drawn for each replicate; masked regression uses no labels. With ``pool=True``
        pre-training sees both, and so does the limit.
    n_replicates
        Number of repetitions, at least 2. The first ones do not depend on how many there are.
    random_state
        Seed; None draws one, or takes that of the file at ``path``. Every replicate has a stream
        of its own and one thread for linear algebra, so that the numbers are the same to the last
        digit on any number of processes of one machine.
    n_jobs
        Processes, as in joblib; a surrounding ``joblib.parallel_config`` sends replicates
        elsewhere, such as to a Dask cluster.
    done
        Called after each replicate, to show progress; at once for those that ``path`` holds.
    path
        A file to which each replicate is added as soon as it is finished. The same call after an
        interruption goes on from there, and one with more replicates adds them. None keeps
        nothing.
    warm_start
        Whether a model with a parameter ``start`` that is None starts from the limit of its
        encoder. From elsewhere iterations take longer, and may end in another local minimum than
        the one to which the limit belongs. Factor models, which have one minimum, start as always.
    on_error
        What an error of foretell in a replicate does: ``"raise"`` it, with the number of the
        replicate, for :func:`replicate` to repeat; or ``"skip"`` the replicate and list it in
        ``failures`` of the result, whose numbers then are those of studies without error.

    Raises
    ------
    InputError
        For sizes that are too small, a population of pairs that are to be pooled, or a file of
        another study, which is left as it is.
    ForetellError
        Whatever a replicate raises.

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
    check_size("n_replicates", n_replicates, 2)
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error is 'raise' or 'skip'; found {on_error!r}")
    study = _study(population, estimator, n_unlabeled, n_labeled, warm_start)
    state = None if random_state is None else state_of(random_state)
    journal = None
    if path is not None:
        journal = Journal(path, study.describe(random_state))
        state = journal.study["random_state"]
    state = state or state_of(np.random.SeedSequence())
    with journal or nullcontext():
        outcomes = {
            index: outcome
            for index, outcome in (journal.outcomes if journal else {}).items()
            if index < n_replicates and (not isinstance(outcome, str) or on_error == "skip")
        }
        if done is not None:
            for _ in outcomes:
                done()
        missing = [index for index in range(n_replicates) if index not in outcomes]
        with closing(_outcomes(study, state, missing, on_error, n_jobs)) as finished:
            for index, outcome in finished:
                outcomes[index] = outcome
                if journal is not None:
                    journal.add(index, outcome)
                if done is not None:
                    done()
    return _result(study, state, outcomes)


def replicate(
    population: Population,
    estimator: Any,
    index: int,
    *,
    n_unlabeled: int,
    n_labeled: int = 0,
    random_state: Seed,
    warm_start: bool = True,
) -> Replicate | MaskedReplicate:
    """One replicate of a simulation: its data and its estimator, to look into what happened.

    Parameters
    ----------
    population, estimator, n_unlabeled, n_labeled, warm_start
        As they were in :func:`simulate`.
    index
        Number of the replicate, from 0.
    random_state
        Seed of the simulation: what was given there, or ``random_state`` of its result.

    Raises
    ------
    InputError
        As :func:`simulate`; the replicate's own error comes when it is fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell import FactorModel, TwoStageRegressor
    >>> from foretell.theory import FactorPopulation
    >>> pop = FactorPopulation(np.eye(10)[:, :1] * 2, 1.0, [1.0], 0.5)
    >>> est = TwoStageRegressor(FactorModel(rank=1), pool=False)
    >>> sizes = {"n_unlabeled": 500, "n_labeled": 500, "random_state": 0}
    >>> sim = simulate(pop, est, n_replicates=4, **sizes)
    >>> bool(replicate(pop, est, 3, **sizes).excess_risk() == sim.excess_risk[3])
    True
    """
    check_size("index", index, 0)
    study = _study(population, estimator, n_unlabeled, n_labeled, warm_start)
    again: Any = unpack(pack(study))
    return again.replicate(state_of(random_state), int(index))


def _study(
    population: Any, estimator: Any, n_unlabeled: int, n_labeled: int, warm_start: bool
) -> Any:
    """The study that suits the estimator."""
    if isinstance(estimator, MaskedRegression):
        return MaskedStudy.of(population, estimator, n_unlabeled, n_labeled)
    return Study.of(population, estimator, n_unlabeled, n_labeled, warm_start)


def _outcomes(
    study: Any, state: dict[str, Any], indices: list[int], on_error: str, n_jobs: int | None
) -> Generator[tuple[int, Outcome], None, None]:
    """Replicates and what came out, in the order in which they finish."""
    from joblib import Parallel, delayed

    packed = pack(study)
    run = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    yield from run(delayed(_numbered)(packed, state, index, on_error) for index in indices)


def _numbered(
    packed: Packed, state: dict[str, Any], index: int, on_error: str
) -> tuple[int, Outcome]:
    return index, outcome_of(unpack(packed), state, index, on_error)


def _result(
    study: Any, state: dict[str, Any], outcomes: dict[int, Outcome]
) -> Simulation | MaskedSimulation:
    values = [v for _, v in sorted(outcomes.items()) if not isinstance(v, str)]
    failures = {i: v for i, v in sorted(outcomes.items()) if isinstance(v, str)}
    if len(values) < 2:
        index, error = next(iter(failures.items()))
        raise InputError(
            f"{len(failures)} of {len(outcomes)} replicates failed, so nothing is left to compare "
            f"with the limit; replicate {index} found: {error}"
        )
    seed = np.random.SeedSequence(state["entropy"], spawn_key=tuple(state["spawn_key"]))
    found: Simulation | MaskedSimulation = study.result(values, failures, seed)
    return found
