"""Monte Carlo against the limit law."""

import numpy as np
import pytest

from foretell import FactorModel, LinearHead, TwoStageRegressor, simulate
from foretell.errors import InputError
from foretell.theory import FactorPopulation

APART = TwoStageRegressor(FactorModel(3), pool=False)


def test_same_seed_gives_the_same_numbers_on_any_number_of_processes(population):
    sizes = {"n_unlabeled": 100, "n_labeled": 50, "n_replicates": 8}
    one = simulate(population, APART, **sizes, random_state=0, n_jobs=1)
    two = simulate(population, APART, **sizes, random_state=0, n_jobs=2)
    other = simulate(population, APART, **sizes, random_state=1)
    np.testing.assert_array_equal(one.excess_risk, two.excess_risk)
    assert not np.array_equal(one.excess_risk, other.excess_risk)
    assert len(np.unique(one.excess_risk)) == 8
    more = simulate(population, APART, **(sizes | {"n_replicates": 12}), random_state=0)
    np.testing.assert_array_equal(more.excess_risk[:8], one.excess_risk)


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({"pool": False}, None),
        ({"pool": True}, None),
        ({"pool": False}, LinearHead(intercept=False)),
        ({"pool": True}, LinearHead(intercept=False)),
    ],
    ids=["apart", "pooled", "apart-without-intercept", "pooled-without-intercept"],
)
def test_mean_of_studies_is_that_of_the_limit(population, options, head):
    """m = n = 2,000: four standard errors and 1 % for the next order, 1/n times some constant."""
    est = TwoStageRegressor(FactorModel(3), head, **options)
    sim = simulate(
        population, est, n_unlabeled=2000, n_labeled=2000, n_replicates=200, random_state=0
    )
    assert abs(sim.ratio - 1) < 4 * sim.ratio_se + 0.01, (sim.ratio, sim.ratio_se)
    assert 4 * sim.ratio_se < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("pool", [False, True])
def test_law_of_many_studies_is_the_limit(population, pool):
    """2,000 replicates at m = n = 2,000: the mean within 2 %, quantiles within 4 s.e."""
    est = TwoStageRegressor(FactorModel(3), pool=pool)
    sim = simulate(
        population, est, n_unlabeled=2000, n_labeled=2000, n_replicates=2000, random_state=0
    )
    assert abs(sim.ratio - 1) < 0.02, (sim.ratio, sim.ratio_se)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = np.mean(sim.excess_risk < sim.law.ppf(level))
        assert abs(below - level) < 4 * np.sqrt(level * (1 - level) / 2000) + 0.01


def test_limit_has_the_sizes_and_the_intercept_of_the_study(population):
    sizes = {"n_unlabeled": 300, "n_labeled": 100, "n_replicates": 2, "random_state": 0}
    cases = [
        (TwoStageRegressor(FactorModel(3), pool=False), (300, 100), True),
        (TwoStageRegressor(FactorModel(3), pool=True), (400, 100), True),
    ]
    for est, (m, n), intercept in cases:
        law = simulate(population, est, **sizes).law
        expected = population.limit(m, n, intercept=intercept)
        np.testing.assert_allclose(law.weights, expected.weights, rtol=1e-12)


def test_all_rows_may_be_labeled(population):
    est = TwoStageRegressor(FactorModel(3), pool=True)
    sim = simulate(population, est, n_unlabeled=0, n_labeled=200, n_replicates=4, random_state=0)
    np.testing.assert_allclose(
        sim.law.mean(), population.limit(200, 200, intercept=True).mean(), rtol=1e-12
    )


def test_ratio_and_its_error_are_those_of_the_replicates(population):
    sim = simulate(
        population, APART, n_unlabeled=200, n_labeled=100, n_replicates=10, random_state=0
    )
    np.testing.assert_allclose(sim.ratio, sim.excess_risk.mean() / sim.law.mean(), rtol=1e-12)
    se = sim.excess_risk.std(ddof=1) / np.sqrt(10) / sim.law.mean()
    np.testing.assert_allclose(sim.ratio_se, se, rtol=1e-12)
    text = sim.summary()
    for word in ("10 replicates", "n_unlabeled=200", "n_labeled=100", f"{sim.ratio:.4f}", "95%"):
        assert word in text


def test_estimator_stays_as_it_is(population):
    est = TwoStageRegressor(FactorModel(3))
    simulate(population, est, n_unlabeled=100, n_labeled=50, n_replicates=2, random_state=0)
    assert est.inference
    assert not hasattr(est, "encoder_")


def test_progress_is_reported_after_each_replicate(population):
    seen = []
    simulate(
        population, APART, n_unlabeled=100, n_labeled=50, n_replicates=3, random_state=0,
        done=lambda: seen.append(1),
    )  # fmt: skip
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_unlabeled": -1}, "n_unlabeled is at least 0; found -1"),
        ({"n_labeled": 0}, "n_labeled is at least 1; found 0"),
        ({"n_replicates": 1}, "n_replicates is at least 2; found 1"),
        ({"n_unlabeled": 0}, "no unlabeled row is left"),
        ({"n_labeled": 3}, "3 labeled rows cannot determine 4"),
    ],
)
def test_sizes_are_checked(population, sizes, words):
    good = {"n_unlabeled": 100, "n_labeled": 50, "n_replicates": 2}
    with pytest.raises(InputError, match=words):
        simulate(population, APART, **(good | sizes), random_state=0)


def test_weak_factor_is_not_a_failure():
    """A spike under the noise of the sample gives large risks, not an error."""
    population = FactorPopulation(np.eye(10)[:, :1] * 0.5, 1.0, [1.0], 0.5)
    est = TwoStageRegressor(FactorModel(1), pool=False)
    sim = simulate(population, est, n_unlabeled=50, n_labeled=50, n_replicates=20, random_state=0)
    assert np.isfinite(sim.excess_risk).all()
