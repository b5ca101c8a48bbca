"""Classification on learned features: against scikit-learn, identities and simulation."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from foretell import (
    FactorModel,
    GaussianMixture,
    LinearHead,
    LogisticHead,
    TwoStageClassifier,
    TwoStageRegressor,
)
from foretell.errors import InputError
from foretell.estimators import NeighborsClassifier
from foretell.theory import FactorPopulation

LOADINGS = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 2)))[0] * [2.5, 1.8]
BINARY = FactorPopulation(LOADINGS, 1.0, [1.5, -1.0], 0.0, outcome="logistic")
SOFTMAX = FactorPopulation(
    LOADINGS, 1.0, [[1.5, 0.0, -1.0], [-1.0, 1.0, 0.5]], 0.0, outcome="logistic"
)
NAMES = np.array(["ash", "elm", "oak"], dtype=object)


def table(population, size=600, labeled=300, seed=0):
    X, y = population.sample_labeled(size, seed)
    named = NAMES[y.astype(int)]
    named[labeled:] = None
    return X, named


def failing(estimator):
    """Folds of cross-validation are drawn over rows, and a row twice is two of them."""
    if getattr(getattr(estimator, "head", None), "penalty", 0.0) != "auto":
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": "folds are drawn over rows"}


with warnings.catch_warnings():
    # The protocol without the base class: importing scikit-learn takes longer than a fit.
    warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.Base")
    scikit_learn_checks = parametrize_with_checks(
        [
            TwoStageClassifier(head=LogisticHead(penalty=0.1)),
            TwoStageClassifier(FactorModel(1), LogisticHead(penalty=0.1), standardize=False),
            TwoStageClassifier(FactorModel(1), LogisticHead(penalty="auto"), standardize=False),
            NeighborsClassifier(FactorModel(1)),
        ],
        expected_failed_checks=failing,
    )


@scikit_learn_checks
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("population", [BINARY, SOFTMAX])
def test_probabilities_are_those_of_scikit_learn_on_the_features(population):
    X, y = table(population)
    est = TwoStageClassifier(FactorModel(2)).fit(X, y)
    known = np.array([label is not None for label in y])
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    other.fit(est.encode(X[known]), y[known].astype(str))
    expected = other.predict_proba(est.encode(X))
    np.testing.assert_allclose(est.predict_proba(X), expected, rtol=1e-5, atol=1e-7)
    assert est.classes_.tolist() == other.classes_.tolist()
    assert (est.predict(X) == other.predict(est.encode(X))).all()
    assert est.score(X[known], y[known]) == other.score(est.encode(X[known]), y[known].astype(str))
    logits = X @ est.coef_.T + est.intercept_
    np.testing.assert_allclose(est.decision_function(X), np.squeeze(logits), atol=1e-10)


def test_two_classes_by_softmax_of_three_with_one_merged_is_not_confused():
    """Intervals of both probabilities of two classes mirror each other."""
    p = TwoStageClassifier(FactorModel(2)).fit(*table(BINARY)).get_prediction(np.eye(8))
    np.testing.assert_allclose(p.mean.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(p.se[:, 0], p.se[:, 1], rtol=1e-9)
    low, high = np.moveaxis(p.conf_int(), 2, 0)
    np.testing.assert_allclose(low[:, 0], 1 - high[:, 1], rtol=1e-9)
    assert (low > 0).all()
    assert (high < 1).all()


@pytest.mark.parametrize("population", [BINARY, SOFTMAX])
def test_results_do_not_depend_on_the_names_of_classes(population):
    X, y = table(population)
    swap = dict(zip(NAMES, ["z", "y", "x"], strict=True)) | {None: None}
    one = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=0.01)).fit(X, y)
    two = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=0.01)).fit(
        X, np.array([swap[v] for v in y], dtype=object)
    )
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X)[:, ::-1], atol=1e-9)
    p, q = one.get_prediction(X[:4]), two.get_prediction(X[:4])
    np.testing.assert_allclose(p.se, q.se[:, ::-1], rtol=1e-7)
    np.testing.assert_allclose(one.excess_risk().mean(), two.excess_risk().mean(), rtol=1e-7)
    assert one.asymptotics_.accuracy == two.asymptotics_.accuracy


@pytest.mark.parametrize("population", [BINARY, SOFTMAX])
def test_estimated_law_is_that_of_the_population(population):
    from foretell.theory.limits import population_limit

    X, y = population.sample_labeled(20_000, 1)
    U = population.sample_unlabeled(20_000, 2)
    est = TwoStageClassifier(FactorModel(2), pool=False).fit(X, y, X_unlabeled=U)
    limit = population_limit(population, est)
    law, truth = est.excess_risk(n_labeled=500), limit.law(20_000, 500)
    np.testing.assert_allclose(law.labeled.mean(), truth.labeled.mean(), rtol=0.05)
    np.testing.assert_allclose(law.unlabeled.mean(), truth.unlabeled.mean(), rtol=0.1)
    np.testing.assert_allclose(law.ppf([0.05, 0.5, 0.95]), truth.ppf([0.05, 0.5, 0.95]), rtol=0.05)
    assert abs(est.asymptotics_.irreducible - limit.irreducible) < 4 * 0.6 / np.sqrt(20_000)


def test_labeled_part_of_a_well_specified_classifier_is_one_half_a_parameter():
    """A = B there: the excess log-loss has mean q / 2n, the law of Wilks."""
    from foretell.theory.limits import population_limit

    for population, q in ((BINARY, 3), (SOFTMAX, 6)):
        limit = population_limit(population, TwoStageClassifier(FactorModel(2), pool=False))
        np.testing.assert_allclose(limit.law(1e6, 1e3).labeled.mean(), q / 2e3, rtol=1e-6)


def test_accuracy_is_that_on_new_rows():
    X, y = table(SOFTMAX, 400, 60)
    est = TwoStageClassifier(FactorModel(2)).fit(X, y)
    new, truth = SOFTMAX.sample_labeled(50_000, 7)
    fresh = est.score(new, NAMES[truth.astype(int)])
    assert abs(est.asymptotics_.accuracy - fresh) < 4 * np.sqrt(0.25 / 60)
    known = [label is not None for label in y]
    assert est.asymptotics_.accuracy <= est.score(X[known], y[known])
    assert "accuracy on new rows" in str(est.summary())
    assert "log-loss" in str(est.summary())


def test_leave_one_out_accuracy_is_that_of_refits():
    X, y = table(BINARY, 300, 40)
    est = TwoStageClassifier(FactorModel(2), pool=False).fit(X, y)
    hits = []
    for i in range(40):
        keep = np.arange(300) != i
        again = TwoStageClassifier(FactorModel(2), pool=False, inference=False)
        hits.append(again.fit(X[keep], y[keep]).predict(X[i : i + 1])[0] == y[i])
    assert abs(est.asymptotics_.accuracy - np.mean(hits)) <= 1 / 40


def test_data_frames_and_kinds_of_labels():
    X, y = table(BINARY)
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    base = TwoStageClassifier(FactorModel(2), standardize=False).fit(X, y)
    numbers = np.array([np.nan if v is None else float(v == "elm") for v in y])
    for labels in (
        pd.Series(y), pd.Series(y, dtype="category"), numbers,
        pd.Series([None if v is None else v == "elm" for v in y], dtype="boolean"),
    ):  # fmt: skip
        est = TwoStageClassifier(FactorModel(2), standardize=False).fit(frame, labels)
        np.testing.assert_allclose(est.predict_proba(frame), base.predict_proba(X), rtol=1e-9)
    shown = est.get_prediction(frame[:3]).summary_frame()
    assert list(shown.index) == [0, 1, 2]
    assert "conf_low_True" in shown.columns
    table_ = est.forecast(n_labeled=[100, 1000])
    assert "mse" not in table_.columns
    assert table_["risk"][0] > table_["risk"][1]


def coverage(population, head, count, seed=0):
    new = population.sample_unlabeled(5, 99)
    truth = population.conditional(new).probability
    inside = []
    for child in np.random.SeedSequence(seed).spawn(count):
        X, y = population.sample_labeled(800, np.random.default_rng(child))
        codes = y.astype(float)
        codes[200:] = np.nan
        p = TwoStageClassifier(FactorModel(2), head).fit(X, codes).get_prediction(new)
        bounds = np.stack([p.conf_int(), p.simultaneous_int()])
        hit = (bounds[..., 0] <= truth) & (truth <= bounds[..., 1])
        inside.append([hit[0].mean(), hit[1].all()])
    return np.mean(inside, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("population", [BINARY, SOFTMAX])
def test_intervals_of_probabilities_cover(population):
    pointwise, band = coverage(population, LogisticHead(), 400)
    assert abs(pointwise - 0.95) < 0.02
    assert abs(band - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


def refused(est, X, y, *words):
    with pytest.raises(InputError) as caught:
        est.fit(X, y)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_bad_labels():
    X, y = table(BINARY)
    est = TwoStageClassifier(FactorModel(2))
    refused(est, X, np.where(y == "ash", None, y), "one class only", "elm")
    refused(est, X, np.full(600, None), "none of the 600 rows")
    refused(est, X, X[:, 0], "Unknown label type")
    refused(est, X, np.arange(600).astype(str), "600 different classes", "TwoStageRegressor")
    refused(est, X, y[:-1], "600 rows and y 599")
    refused(est, X, np.where(y == "ash", 3, y), "different types")
    refused(est, X, None, "y is None")


def test_classes_absent_from_rows_with_weight():
    X, y = table(SOFTMAX)
    weights = np.where(y == "oak", 0.0, 1.0)
    with pytest.raises(InputError, match="class oak"):
        TwoStageClassifier(FactorModel(2)).fit(X, y, weights)


def test_separable_labels_are_said_to_be():
    X, _ = table(BINARY)
    est = TwoStageClassifier(FactorModel(2))
    y = np.where(est.fit(X, X[:, 0] > 0).encode(X)[:, 0] > 0, "yes", "no").astype(object)
    y[300:] = None
    refused(est, X, y, "separa", "penalty")
    ridge = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=0.1)).fit(X, y)
    assert np.isfinite(ridge.get_prediction(X).se).all()


def test_heads_of_the_wrong_kind():
    X, y = table(BINARY)
    refused(TwoStageClassifier(FactorModel(2), LinearHead()), X, y, "LogisticHead", "LinearHead")
    refused(TwoStageRegressor(FactorModel(2), LogisticHead()), X, X[:, 0], "LinearHead")


def test_there_is_no_prediction_interval_of_a_class():
    p = TwoStageClassifier(FactorModel(2)).fit(*table(BINARY)).get_prediction(np.eye(8))
    with pytest.raises(InputError, match="no prediction interval"):
        p.pred_int()


@pytest.mark.slow
@pytest.mark.parametrize("population", [BINARY, SOFTMAX])
def test_second_order_bias_of_a_ridge_head(population):
    """Known features, many small labeled samples: what is left after the linear term.

    The mean of R(w) - R(w*) + lambda w*ᵀ(linear part of w - w*) against the labeled part of the
    limit, which has the third derivative of the loss.
    """
    from foretell.theory.limits import population_limit

    n, count, head = 400, 2000, LogisticHead(penalty=0.05)
    est = TwoStageClassifier(FactorModel(2), head, pool=False)
    limit = population_limit(population, est)
    fit, k = limit.head_fit, limit.head_fit.coef.shape[1]
    nodes = population.nodes(2**13)
    phi = limit.encoder.encode(nodes.X)

    def design(features):
        return np.concatenate([np.ones((len(features), 1)), features], axis=1)

    outputs = fit.predict(phi)
    second = np.einsum("n,nab->nab", nodes.probability, head.second(outputs))
    hessian = np.einsum("ni,nab,nj->aibj", design(phi), second, design(phi)).reshape(3 * k, -1)
    inverse = np.linalg.inv(hessian + np.kron(np.eye(k), head.penalty_matrix(3)))
    w = np.concatenate([fit.intercept[None], fit.coef]).T
    pull = (w @ head.penalty_matrix(3)).ravel()
    least = population.risk(outputs, nodes)
    left = []
    for child in np.random.SeedSequence(3).spawn(count):
        X, y = population.sample_labeled(n, np.random.default_rng(child))
        features = limit.encoder.encode(X)
        again = head.fit(features, y)
        slope = head.slope(fit.predict(features), y)
        score = np.einsum("na,ni->ai", slope, design(features)).ravel() / n + pull
        linear = -inverse @ score
        left.append(population.risk(again.predict(phi), nodes) - least + pull @ linear)
    expected = limit.asymptotics.mean_excess(1e9, n)[0]
    assert abs(np.mean(left) - expected) < 4 * np.std(left) / np.sqrt(count) + 0.02 * expected


@pytest.mark.parametrize("penalty", [0.001, 0.01])
def test_few_labels_do_not_upset_second_order_terms(penalty):
    """178 rows, 30 labels, 132 parameters: residuals of labels would dominate the curvature."""
    X, t = load_wine(return_X_y=True)
    known = np.isin(np.arange(178), np.random.default_rng(0).permutation(178)[:30])
    head = LogisticHead(penalty=penalty)
    est = TwoStageClassifier(GaussianMixture(3, "tied"), head).fit(X, np.where(known, t, np.nan))
    labeled, unlabeled = est.asymptotics_.mean_excess()
    assert 0 < unlabeled < 0.1
    assert 0 < labeled < 0.1
    assert "mean of column" in est.encoder_.parameters(np.eye(len(est.encoder_.theta)))[5].name


def test_separated_classes_are_named():
    X, y = table(BINARY)
    y = np.where(X[:, 0] > 0, "elm", "ash").astype(object)
    y[100:] = None
    model = FactorModel(2)
    code = TwoStageClassifier(model, LogisticHead(0.1)).fit(X, y).encode(X)
    y[:100] = np.where(code[:100, 0] > 0, "elm", "ash")
    refused(TwoStageClassifier(model), X, y, "0 is ash, 1 is elm")


@pytest.mark.parametrize("penalty", [1e-8, 1e-5])
def test_tiny_penalties_on_separated_classes(penalty):
    """Classes that are certain: their curvature vanishes, their rows have no leverage."""
    X, t = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    known = np.random.default_rng(0).permutation(178) < 60
    est = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=penalty))
    p = est.fit(X, np.where(known, t, np.nan)).get_prediction(X[:5])
    assert np.isfinite(p.se).all()


def test_minus_one_is_a_class_with_a_warning():
    X, t = load_wine(return_X_y=True)
    with pytest.warns(UserWarning, match="one class is -1"):
        TwoStageClassifier(FactorModel(2), LogisticHead(0.1)).fit(X, np.where(t == 2, -1, t))


def test_models_and_heads_of_other_packages():
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge

    X, y = table(BINARY)
    refused(TwoStageClassifier(PCA(2)), X, y, "PCA is not a pre-training model", "start=")
    refused(TwoStageClassifier(FactorModel(2), Ridge()), X, y, "Ridge is not a head")
