"""Closed forms of the factor population against integrals, simulation and limit cases."""

import numpy as np
import pytest

from foretell.errors import IdentificationError, InputError
from foretell.theory import FactorPopulation

SPIKES = np.array([5.0, 3.0, 1.5])


def with_columns(d, spikes=SPIKES):
    return FactorPopulation(np.eye(d)[:, :3] * np.sqrt(spikes), 1.0, [1.0, -0.7, 0.5], 0.3)


def test_constants_of_the_worked_example(population):
    """d = 20, eigenvalues 6, 4, 2.5: 1.03375/n and 1.19708/m."""
    law = population.limit(3000, 700)
    assert round(law.labeled.mean() * 700, 5) == 1.03375
    assert round(law.unlabeled.mean() * 3000, 5) == 1.19708
    np.testing.assert_allclose(law.mean(), 1.03375 / 700 + 1.197083333 / 3000, rtol=1e-8)
    np.testing.assert_allclose(population.eigenvalues, [6, 4, 2.5], rtol=1e-12)
    assert len(law.labeled.weights) == 3
    assert len(law.unlabeled.weights) == 17


def test_irreducible_risk_is_half_the_conditional_variance(population):
    W, beta = population.loadings, population.coef
    S = W @ W.T + np.eye(20)
    conditional = 0.3 + beta @ beta - beta @ W.T @ np.linalg.solve(S, W @ beta)
    np.testing.assert_allclose(population.irreducible, conditional / 2, rtol=1e-12)
    labeled = population.limit(1000, 1000).labeled
    np.testing.assert_allclose(labeled.weights, population.irreducible / 1000, rtol=1e-12)


def test_intercept_adds_one_weight(population):
    without, with_one = (population.limit(500, 300, intercept=i) for i in (False, True))
    gap = with_one.mean() - without.mean()
    np.testing.assert_allclose(gap, population.irreducible / 300, rtol=1e-9)
    supervised = population.supervised_limit(300, intercept=True)
    np.testing.assert_allclose(supervised.mean(), 21 * population.irreducible / 300, rtol=1e-12)


def test_limit_depends_on_the_orbit_alone(population, rng):
    """Rotating factors and target together, or the columns, is the same population."""
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    axes = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    moved = FactorPopulation(axes @ population.loadings @ turn, 1.0, turn.T @ population.coef, 0.3)
    for regime in ("classical", "proportional"):
        np.testing.assert_allclose(
            moved.limit(500, 300, regime=regime).mean(),
            population.limit(500, 300, regime=regime).mean(),
            rtol=1e-9,
        )


def test_units_scale_the_risk():
    plain = with_columns(10)
    scaled = FactorPopulation(10 * plain.loadings, 100.0, 3 * plain.coef, 9 * 0.3)
    np.testing.assert_allclose(
        scaled.limit(500, 300).mean(), 9 * plain.limit(500, 300).mean(), rtol=1e-12
    )


def test_best_predictor_is_the_conditional_mean(population):
    """beta'W'S^{-1} x, the regression of z on x for jointly normal variables."""
    X = population.sample_unlabeled(5, 0)
    W = population.loadings
    expected = X @ np.linalg.solve(W @ W.T + np.eye(20), W @ population.coef)
    np.testing.assert_allclose(population.best_predictor(X), expected, rtol=1e-12)


def test_samples_have_the_moments_of_the_model(population):
    X, y = population.sample_labeled(200_000, 0)
    S = population.loadings @ population.loadings.T + np.eye(20)
    root = np.sqrt(np.diag(S))
    # the standard error of a covariance of normal variables is below sqrt(2 S_ii S_jj / n)
    assert (np.abs(X.T @ X / 200_000 - S) < 5 * np.outer(root, root) * np.sqrt(2 / 200_000)).all()
    residual = y - population.best_predictor(X)
    se = 2 * population.irreducible * np.sqrt(2 / 200_000)
    assert abs((residual**2).mean() - 2 * population.irreducible) < 4 * se
    assert (np.abs(X.T @ residual / 200_000) < 5 * root * np.sqrt(0.69 / 200_000)).all()


def test_excess_risk_is_exact(population, rng):
    """Against the mean over drawn rows of half the squared difference of two predictors."""
    coef = population.best_predictor(np.eye(20)) + 0.1 * rng.standard_normal(20)
    X, y = population.sample_labeled(400_000, rng)
    loss = 0.5 * ((y - X @ coef - 0.2) ** 2 - (y - population.best_predictor(X)) ** 2)
    se = loss.std() / np.sqrt(len(loss))
    assert abs(loss.mean() - population.excess_risk(0.2, coef)) < 4 * se
    assert population.excess_risk(0.0, population.best_predictor(np.eye(20))) < 1e-28


def test_same_seed_draws_the_same_rows(population):
    X, y = population.sample_labeled(10, 3)
    again, target = population.sample_labeled(10, 3)
    np.testing.assert_array_equal(X, again)
    np.testing.assert_array_equal(y, target)
    np.testing.assert_array_equal(X, population.sample_unlabeled(10, 3))
    assert not np.array_equal(X, population.sample_unlabeled(10, 4))


# Proportional regime


def test_proportional_limit_is_the_classical_one_with_all_columns_counted(population):
    """The cosines cancel: the mean is the classical one times d / (d - r), for every m."""
    for m in (100, 10**4, 10**6):
        classical = population.limit(m, 100).unlabeled.mean()
        proportional = population.limit(m, 100, regime="proportional").unlabeled.mean()
        np.testing.assert_allclose(proportional, classical * 20 / 17, rtol=1e-10)  # 1 - cos^2


def simulated_stage_one(population, m, count):
    """Mean excess of the best head on estimated axes, and its standard error."""
    S = population.loadings @ population.loadings.T + np.eye(population.n_columns)
    cross = population.loadings @ population.coef
    excess = np.zeros(count)
    for seed in range(count):
        X = population.sample_unlabeled(m, seed)
        B = np.linalg.svd(X - X.mean(0), full_matrices=False)[2][:3].T
        excess[seed] = population.excess_risk(0.0, B @ np.linalg.solve(B.T @ S @ B, B.T @ cross))
    return excess.mean(), excess.std(ddof=1) / np.sqrt(count)


@pytest.mark.parametrize(
    ("spikes", "m", "off"),
    [([9, 6, 4], 800, 0.05), ([9, 6, 4], 400, 0.05), ([2, 1.2, 0.9], 400, 0.1)],
)
def test_proportional_limit_is_the_mean_of_simulations(spikes, m, off):
    """Within 5 % at d/m = 1/4 and 1/2, within 10 % near the threshold."""
    population = with_columns(200, np.array(spikes))
    mean, se = simulated_stage_one(population, m, 60)
    limit = population.limit(m, 1, regime="proportional").unlabeled.mean()
    assert abs(mean - limit) < 4 * se + off * limit
    assert 4 * se < 0.15 * limit


def test_factors_below_the_threshold_are_refused():
    population = with_columns(100, np.array([5.0, 0.9, 0.5]))
    with pytest.raises(IdentificationError) as caught:
        population.limit(100, 50, regime="proportional")
    message = str(caught.value)
    assert "2 of 3 factors are too weak" in message
    assert "[0.9, 0.5]" in message
    assert "sqrt(d/m) = 1.0000" in message
    assert "at least 400 unlabeled rows" in message  # d / 0.5^2
    with pytest.raises(IdentificationError, match="1 of 3"):
        population.limit(399, 50, regime="proportional")
    assert population.limit(401, 50, regime="proportional").unlabeled.mean() > 0


def test_supervised_limit_is_the_mean_of_least_squares(population):
    """With the exact factor n/(n - d - 1) of least squares on normal columns."""
    n, count = 2000, 400
    excess = np.zeros(count)
    for seed in range(count):
        X, y = population.sample_labeled(n, seed)
        excess[seed] = population.excess_risk(0.0, np.linalg.lstsq(X, y)[0])
    exact = population.supervised_limit(n).mean() * n / (n - 21)
    assert abs(excess.mean() - exact) < 4 * excess.std(ddof=1) / np.sqrt(count)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loadings": np.ones(3)}, r"found \(3,\)"),
        ({"loadings": np.eye(2)}, r"1 <= r < d; found \(2, 2\)"),
        ({"coef": [1.0]}, r"shape \(3,\).*found \(1,\)"),
        ({"coef": [1.0, np.nan, 2.0]}, "not finite"),
        ({"noise_variance": 0.0}, "noise_variance > 0.*found 0.0 and 0.3"),
        ({"noise_variance": np.inf}, "not finite"),
        ({"outcome_variance": -0.1}, "outcome_variance >= 0.*-0.1"),
    ],
)
def test_parameters_are_checked(change, words):
    good = {
        "loadings": np.eye(20)[:, :3], "noise_variance": 1.0,
        "coef": [1.0, -0.7, 0.5], "outcome_variance": 0.3,
    }  # fmt: skip
    with pytest.raises(InputError, match=words):
        FactorPopulation(**(good | change))


def test_dependent_loadings_are_refused():
    with pytest.raises(IdentificationError, match="3 columns of rank 2; drop the dependent"):
        FactorPopulation(np.eye(20)[:, [0, 1, 1]], 1.0, [1.0, -0.7, 0.5], 0.3)


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-1, 10), (np.inf, 10), (10, np.nan)])
def test_sizes_are_checked(population, sizes):
    with pytest.raises(InputError, match="positive numbers of rows"):
        population.limit(*sizes)


def test_regimes_are_checked(population):
    with pytest.raises(InputError, match="'classical' or 'proportional'; found 'other'"):
        population.limit(10, 10, regime="other")
