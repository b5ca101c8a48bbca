"""Linear heads against scikit-learn, their derivatives, and what they refuse."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from foretell import LinearHead
from foretell.errors import InputError


@pytest.fixture
def sample(rng):
    features = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3)) + 1.0
    return features, features @ [1.0, -2.0, 0.5] + rng.standard_normal(40), rng.uniform(0.1, 3, 40)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_fit_is_that_of_scikit_learn(sample, penalty, intercept, weighted):
    features, y, weights = sample
    weights = weights if weighted else None
    total = 40 if weights is None else weights.sum()
    if penalty:
        other = Ridge(penalty * total, fit_intercept=intercept)
    else:
        other = LinearRegression(fit_intercept=intercept)
    other.fit(features, y, weights)
    fit = LinearHead(penalty, intercept=intercept).fit(features, y, weights)
    np.testing.assert_allclose(fit.coef, other.coef_, rtol=1e-9)
    np.testing.assert_allclose(fit.intercept, other.intercept_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("intercept", [True, False])
def test_derivatives_vanish_at_the_fit(sample, penalty, intercept):
    """Score of the loss plus that of the penalty, as the asymptotics use them."""
    features, y, _ = sample
    head = LinearHead(penalty, intercept=intercept)
    fit = head.fit(features, y)
    design = head.design(features)
    coef = np.concatenate([[fit.intercept], fit.coef]) if intercept else fit.coef
    prediction = design @ coef
    score = design.T @ head.slope(prediction, y) / 40 + head.penalty_matrix(len(coef)) @ coef
    np.testing.assert_allclose(score, 0, atol=1e-12)
    step = 1e-5
    losses = [head.loss(prediction + h, y) for h in (-step, 0, step)]
    first = (losses[2] - losses[0]) / (2 * step)
    second = (losses[2] - 2 * losses[1] + losses[0]) / step**2
    np.testing.assert_allclose(head.slope(prediction, y), first, atol=1e-8)
    np.testing.assert_allclose(head.second(prediction, y), second, atol=1e-4)
    curvature = head.curvature(design, head.second(prediction, y), np.full(40, 1 / 40))
    expected = design.T @ design / 40 + np.diag([0.0] * intercept + [penalty] * 3)
    np.testing.assert_allclose(curvature, expected, rtol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_predictions_do_not_depend_on_the_axes(sample, rng, penalty):
    features, y, _ = sample
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    head = LinearHead(penalty)
    one, other = head.fit(features, y), head.fit(features @ turn, y)
    np.testing.assert_allclose(turn @ other.coef, one.coef, rtol=1e-9)
    np.testing.assert_allclose(other.intercept, one.intercept, rtol=1e-9)


def test_head_without_features_is_the_mean(rng):
    y = rng.standard_normal(10)
    fit = LinearHead().fit(np.zeros((10, 0)), y)
    assert fit.coef.shape == (0,)
    np.testing.assert_allclose(fit.intercept, y.mean(), rtol=1e-12)


def test_penalty_makes_few_rows_enough(rng):
    features = rng.standard_normal((3, 5))
    assert np.isfinite(LinearHead(0.1).fit(features, features[:, 0]).coef).all()


@pytest.mark.parametrize("value", [-1, -1e-9, np.inf, np.nan, "strong"])
def test_penalties_are_checked(sample, value):
    with pytest.raises(InputError, match=f"finite number >= 0; found {value!r}"):
        LinearHead(value).fit(*sample[:2])


def test_penalty_that_depends_on_axes_is_refused(sample):
    with pytest.raises(InputError, match=r"norm='l1' is refused.*rotation.*use norm='l2'"):
        LinearHead(0.1, norm="l1").fit(*sample[:2])


def test_too_few_rows_and_collinear_features_are_refused(rng):
    with pytest.raises(InputError, match="3 labeled rows cannot determine 4 head coefficients; "
                                         "reduce the rank to 1 or less, label more"):  # fmt: skip
        LinearHead().fit(rng.standard_normal((3, 3)), np.arange(3.0))
    features = rng.standard_normal((10, 2)) @ rng.standard_normal((2, 3))
    with pytest.raises(InputError, match=r"the 10 labeled rows are collinear.*set a penalty"):
        LinearHead().fit(features, np.arange(10.0))
