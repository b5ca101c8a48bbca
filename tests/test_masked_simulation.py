"""Masked regression repeated on rows of a population finds what the theory says."""

import warnings

import numpy as np
import pytest

from foretell import MaskedRegression, TwoStageRegressor, simulate
from foretell.errors import InputError
from foretell.simulation import replicate
from foretell.theory import FactorPopulation
from foretell.theory.masked.covariances import AutoRegressive, Graded
from foretell.theory.masked.errors import EquivalentWarning
from foretell.theory.masked.population import MaskedPopulation

POPULATION = MaskedPopulation(AutoRegressive(60, 0.9))
FIXED = MaskedRegression(0.1, standardize=False, rank=5)
SIZES = {"n_unlabeled": 120, "n_replicates": 4, "random_state": 3}


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    "population",
    [
        MaskedPopulation(AutoRegressive(200, 0.9)),
        MaskedPopulation(AutoRegressive(200, 0.9), "elliptical"),
        MaskedPopulation(Graded(200, 0.8), "student"),
    ],
    ids=["stationary", "elliptical", "graded, heavy tails"],
)
def test_every_number_is_that_of_the_theory(population, center):
    """Equivalents are off by order 1/d; plain GCV fails for elliptical rows."""
    estimator = MaskedRegression(0.1, standardize=False, center=center, rank=20)
    table = simulate(
        population, estimator, n_unlabeled=400, n_replicates=20, random_state=0
    ).table()
    elliptical = population.rows == "elliptical"
    for name, mean, se, theory, _ in zip(*table.values(), strict=True):
        if np.isnan(theory):
            assert elliptical
            assert "PCA" in name
        elif elliptical and name == "GCV":
            assert mean < 0.8 * theory
        else:
            assert abs(mean - theory) < 4 * se + 2.5 / 200 * theory, name


def test_chosen_penalty_is_near_the_best_one():
    estimator = MaskedRegression("loo", standardize=False)
    sim = simulate(POPULATION, estimator, n_unlabeled=120, n_replicates=20, random_state=0)
    assert 0.7 < sim.numbers["alpha"].mean() / sim.theory["alpha"] < 1.3
    assert abs(sim.ratio - 1) < 4 * sim.ratio_se + 2.5 / 60


def test_replicates_are_the_same_on_any_number_of_processes_and_after_a_pause(tmp_path):
    whole = simulate(POPULATION, FIXED, **SIZES, n_jobs=2)
    path = tmp_path / "replicates.jsonl"
    simulate(POPULATION, FIXED, **(SIZES | {"n_replicates": 2}), path=path)
    resumed = simulate(POPULATION, FIXED, **SIZES, path=path)
    for name, values in whole.numbers.items():
        np.testing.assert_array_equal(values, resumed.numbers[name])
    again = replicate(POPULATION, FIXED, 3, n_unlabeled=120, random_state=3).outcome()
    assert again == {name: values[3] for name, values in whole.numbers.items()}
    with pytest.raises(InputError, match="another study"):
        simulate(POPULATION, MaskedRegression(0.2, standardize=False), **SIZES, path=path)


def test_summary_and_chart_hold_every_number(tmp_path):
    sim = simulate(POPULATION, FIXED, **SIZES)
    assert all(name in sim.summary() for name in sim.numbers)
    assert len(sim.frame()) == len(sim.numbers) == 7
    chart = sim.plot(tmp_path / "chart.svg")
    assert len(chart["layer"][0]["data"]["values"]) == 7 * 4
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")


def test_an_infinite_penalty_is_simulated():
    estimator = MaskedRegression(np.inf, standardize=False, rank=5)
    sim = simulate(POPULATION, estimator, **SIZES)
    assert sim.theory["test error"] == pytest.approx(1 + 1 / 120)
    assert abs(sim.ratio - 1) < 4 * sim.ratio_se + 1e-3


@pytest.mark.parametrize("n", [40, 60, 61, 62])
def test_where_there_is_no_number_there_is_a_dash(n, tmp_path):
    """Without a penalty, columns as many as rows or more: GCV divides by zero."""
    estimator = MaskedRegression(0.0, standardize=False, rank=5)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        sim = simulate(POPULATION, estimator, **(SIZES | {"n_unlabeled": n}))
        text = sim.summary()
        sim.plot(tmp_path / "chart.svg")
    assert [w.category for w in found] == ([EquivalentWarning] if n < 62 else [])
    assert all("rows less one" in str(w.message) and w.filename == __file__ for w in found)
    assert np.isnan(sim.numbers["GCV"]).all() == (n < 62)
    assert ("–" in text) == (n < 62)
    for line in text.splitlines()[2:]:
        assert len(line[20:].split()) == 4


@pytest.mark.parametrize(
    ("population", "estimator", "changes", "text"),
    [
        (POPULATION, FIXED, {"n_labeled": 5}, "uses no labels"),
        (POPULATION, FIXED, {"n_unlabeled": 2}, "at least 3"),
        (POPULATION, MaskedRegression(0.1), {}, "standardize=False"),
        (POPULATION, MaskedRegression(standardize=False, alpha_per_target=True), {}, "per_target"),
        (FactorPopulation(np.ones((4, 1)), 1.0, [1.0], 1.0), FIXED, {}, "MaskedPopulation"),
        (FactorPopulation(np.ones((4, 1)), 1.0, [1.0], 1.0), TwoStageRegressor(), {}, "n_labeled"),
    ],
)
def test_what_cannot_be_simulated_says_why(population, estimator, changes, text):
    with pytest.raises(InputError, match=text):
        simulate(population, estimator, **(SIZES | changes))
