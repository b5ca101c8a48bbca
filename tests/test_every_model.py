"""Dependence, weights, shared rows and domain shift, the same in all models."""

import numpy as np
import pytest

from foretell import (
    FactorModel,
    GaussianMixture,
    LinearHead,
    LogisticHead,
    SpectralContrastive,
    TwoStageClassifier,
    TwoStageRegressor,
)
from foretell.estimators.masked_regression import MaskedRegression
from foretell.theory import FactorPopulation, MixturePopulation, ViewPopulation
from foretell.theory.limits import population_limit

LOADINGS = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 2)))[0] * [2.5, 1.8]
MEANS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])


def populations(outcome):
    coef = [1.0, -0.6]
    classes = [-1.0, 1.0, 0.5] if outcome == "logistic" else [0.0, 1.0, 2.0]
    return {
        "factor": (FactorPopulation(LOADINGS, 1.0, coef, 0.3, outcome=outcome), FactorModel(2)),
        "diagonal": (
            FactorPopulation(LOADINGS, np.linspace(0.5, 1.5, 6), coef, 0.3, outcome=outcome),
            FactorModel(2, "diagonal"),
        ),
        "spectral": (
            ViewPopulation(LOADINGS, 1.0, coef, 0.3, outcome=outcome),
            SpectralContrastive(2),
        ),
        "mixture": (
            MixturePopulation(MEANS, [0.5, 0.3, 0.2], 1.0, classes, 0.3, outcome=outcome),
            GaussianMixture(3, "spherical"),
        ),
        "masked": (
            FactorPopulation(LOADINGS, 1.0, coef, 0.3, outcome=outcome),
            MaskedRegression(0.2, rank=2),
        ),
    }


KINDS = ["factor", "diagonal", "spectral", "mixture", "masked"]


def table(name, outcome, size=600, labeled=300):
    """Rows, targets and the second view if there is one."""
    population, model = populations(outcome)[name]
    X, y = population.sample_labeled(size, 4)
    y = y.astype(float)
    y[labeled:] = np.nan
    view = {}
    if name == "spectral":
        X, second = np.split(population.sample_unlabeled(size, 4), 2, axis=1)
        rng = np.random.default_rng(0)
        signal = population.best_predictor(X)
        y = (
            signal + rng.normal(size=size)
            if outcome == "linear"
            else (rng.random(size) < 1 / (1 + np.exp(-signal))).astype(float)
        )
        y[labeled:] = np.nan
        view = {"X_view": second}
    kind = TwoStageRegressor if outcome == "linear" else TwoStageClassifier
    head = LinearHead() if outcome == "linear" else LogisticHead()
    return kind(model, head), X, y, view


def parts(est, X):
    return np.stack(est.get_prediction(X[:4]).parts)


@pytest.mark.parametrize("outcome", ["linear", "logistic"])
@pytest.mark.parametrize("name", KINDS)
def test_repeated_rows_count_once_when_clusters_tie_them(name, outcome):
    est, X, y, view = table(name, outcome)
    once = parts(est.fit(X, y, **view), X)
    rows = np.repeat(np.arange(600), 2)
    twice = {key: value[rows] for key, value in view.items()}
    tied = parts(est.fit(X[rows], y[rows], groups=rows, **twice), X)
    loose = parts(est.fit(X[rows], y[rows], **twice), X)
    np.testing.assert_allclose(tied.sum(axis=0), once.sum(axis=0), rtol=0.03)
    np.testing.assert_allclose(2 * loose.sum(axis=0), once.sum(axis=0), rtol=0.03)


@pytest.mark.parametrize("outcome", ["linear", "logistic"])
@pytest.mark.parametrize("name", KINDS)
def test_lags_of_rows_in_random_order_change_little(name, outcome):
    est, X, y, view = table(name, outcome)
    plain = parts(est.fit(X, y, **view), X).sum(axis=0)
    serial = parts(est.set_params(lags=1).fit(X, y, **view), X).sum(axis=0)
    assert (serial != plain).all()
    assert 0.6 < np.median(serial / plain) < 1.6


@pytest.mark.parametrize("outcome", ["linear", "logistic"])
@pytest.mark.parametrize("name", KINDS)
def test_equal_weights_change_nothing(name, outcome):
    est, X, y, view = table(name, outcome)
    plain = parts(est.fit(X, y, **view), X)
    weighted = parts(est.fit(X, y, np.full(600, 3.0), **view), X)
    np.testing.assert_allclose(weighted, plain, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("outcome", ["linear", "logistic"])
@pytest.mark.parametrize("name", KINDS)
def test_shared_rows_correlate_the_stages_but_not_their_risks(name, outcome):
    """The law of pooled rows has the same mean at equal m and n, and another spread."""
    population, model = populations(outcome)[name]
    kind = TwoStageRegressor if outcome == "linear" else TwoStageClassifier
    apart, pooled = (population_limit(population, kind(model, pool=p)) for p in (False, True))
    one, two = apart.law(1000, 400), pooled.law(600, 400)
    np.testing.assert_allclose(one.mean(), two.mean(), rtol=1e-9)
    assert abs(one.std() / two.std() - 1) < 0.5


SHIFTED = {
    "factor": FactorPopulation(LOADINGS * [0.6, 1.3], 1.4, [1.0, -0.6], 0.3),
    "mixture": MixturePopulation(MEANS * 0.9, [0.2, 0.3, 0.5], 1.2, [0.0, 1.0, 2.0], 0.3),
    "masked": FactorPopulation(LOADINGS * [0.6, 1.3], 1.4, [1.0, -0.6], 0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHIFTED))
def test_domain_shift_against_simulation(name):
    """Unlabeled rows of one population, labels and risk of another."""
    unlabeled, model = populations("linear")[name]
    target, m, n, count = SHIFTED[name], 4000, 2000, 400
    est = TwoStageRegressor(model, pool=False, domain_shift=True)
    limit = population_limit(target, est, unlabeled=unlabeled)
    excess, estimated = [], []
    for child in np.random.SeedSequence(1).spawn(count):
        first, second = child.spawn(2)
        X, y = target.sample_labeled(n, second)
        est.fit(X, y, X_unlabeled=unlabeled.sample_unlabeled(m, first))
        excess.append(limit.excess_risk(est))
        estimated.append(est.excess_risk().mean())
    law = limit.law(m, n)
    error = np.std(excess) / np.sqrt(count)
    assert abs(np.mean(excess) - law.mean()) < 4 * error
    assert abs(np.std(excess) / law.std() - 1) < 0.2
    assert abs(np.mean(estimated) / law.mean() - 1) < 0.1


def test_a_shift_moves_the_curvature_to_the_labeled_rows():
    unlabeled, model = populations("linear")["factor"]
    X, y = SHIFTED["factor"].sample_labeled(500, 1)
    U = unlabeled.sample_unlabeled(2000, 2)
    est = TwoStageRegressor(model, pool=False, domain_shift=True).fit(X, y, X_unlabeled=U)
    t = est.encoder_.coordinates(X)
    np.testing.assert_allclose(est.asymptotics_.curvature, t.T @ t / 500, rtol=1e-9, atol=1e-12)
    other = TwoStageRegressor(model, pool=False).fit(X, y, X_unlabeled=U)
    np.testing.assert_allclose(
        other.asymptotics_.curvature, np.diag(other.encoder_.second_moment), rtol=1e-12
    )
