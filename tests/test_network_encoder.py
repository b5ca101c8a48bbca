"""Networks trained by mini-batches as stage 1: end to end, and a law that holds them fixed."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import subspace_angles
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from foretell import (
    LinearHead,
    LogisticHead,
    Noise,
    PairSource,
    SpectralContrastive,
    TwoStageClassifier,
    TwoStageRegressor,
)
from foretell.data.sources import ArraySource
from foretell.errors import InputError
from foretell.estimators import NeighborsClassifier, pretraining_spread
from foretell.estimators.pretraining_spread import variance_between
from foretell.heads.logistic import contrasts
from foretell.training import MLP, Network, Training

TINY = SpectralContrastive(
    2, Noise(0.1), encoder=MLP((4,)), training=Training(epochs=2, scale_inputs="columns")
)
SHORT = Training(epochs=5, norm_cap=1.0)
MODEL = SpectralContrastive(8, Noise(0.2), encoder=MLP((32,)), training=SHORT)


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.Base")
    scikit_learn_checks = parametrize_with_checks(
        [
            TwoStageRegressor(TINY),
            TwoStageClassifier(TINY, LogisticHead(penalty=0.1)),
            NeighborsClassifier(TINY),
        ],
        expected_failed_checks=lambda estimator: {
            "check_sample_weight_equivalence_on_dense_data": "mini-batches are drawn over rows",
        },
    )


@pytest.mark.slow  # every check has rows of another shape, for which the training is compiled
@scikit_learn_checks
def test_scikit_learn_accepts_estimators_on_networks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """Pixels of all digits, classes of 300 of them (NaN for the others), and all classes."""
    X, y = load_digits(return_X_y=True)
    labeled = np.random.default_rng(0).permutation(len(y)) < 300
    return X / 16, np.where(labeled, y, np.nan), y


@pytest.fixture(scope="module")
def fitted(digits):
    X, y, _ = digits
    return TwoStageClassifier(MODEL, LogisticHead(penalty=1e-3)).fit(X, y)


def test_network_is_a_first_stage_like_any_other(digits, fitted):
    X, _, y = digits
    assert fitted.encode(X[:3]).shape == (3, 8)
    assert fitted.n_unlabeled_ == len(X) - 300
    assert fitted.score(X, y) > 0.5
    assert fitted.get_prediction(X[:4]).conf_int().shape == (4, 10, 2)
    assert len(fitted.forecast(n_labeled=[300, 600])) == 2
    assert len(fitted.summary().frame()) == 0
    assert not hasattr(fitted, "coef_")


def test_errors_are_conditional_on_the_network_and_say_so(digits, fitted):
    X, _, _ = digits
    p = fitted.get_prediction(X[:5])
    np.testing.assert_array_equal(p.se, p.se_naive)
    law = fitted.excess_risk()
    assert law.unlabeled.mean() == 0
    assert law.regime == "stage 1 held fixed"
    assert np.isfinite(law.ppf([0.05, 0.95])).all()
    text = str(fitted.summary())
    assert "errors and laws are conditional on the network" in text
    assert "test of g = 0" not in text
    titles = [finding.title for finding in fitted.diagnose()]
    assert "Stage 1 is held fixed: laws are conditional on the network" in titles
    assert "Labeled rows helped to train the network" in titles
    assert not any("No sign that the target needs more" in title for title in titles)


def test_forecasts_over_unlabeled_rows_are_refused(fitted):
    with pytest.raises(InputError, match="no number of unlabeled rows changes it"):
        fitted.forecast(n_unlabeled=[100, 1000])
    with pytest.raises(InputError, match="found n_unlabeled=1e\\+06"):
        fitted.excess_risk(n_unlabeled=1e6)
    same = fitted.excess_risk(n_unlabeled=fitted.n_unlabeled_)
    assert same.mean() == fitted.excess_risk().mean()


def test_law_is_the_sandwich_of_a_logistic_regression_on_given_features(digits, fitted):
    """Brute force in the head's own parameters: A over all rows, B over HC2 scores of labels.

    Features are single precision, whose last digit depends on how many rows are encoded at once.
    """
    X, y, _ = digits
    known = ~np.isnan(y)
    F, codes = fitted.encode(X), y[known].astype(int)
    n, k, q = known.sum(), 9, 9
    design = np.concatenate([np.ones((len(X), 1)), F], axis=1)
    Z = contrasts(10)
    p = fitted.predict_proba(X)
    second = np.einsum("ka,nkl,lb->nab", Z, p[:, :, None] * (np.eye(10) - p[:, None, :]), Z)
    A = np.einsum("nab,ni,nj->aibj", second, design, design).reshape(k * q, k * q) / len(X)
    penalty = np.kron(np.eye(k), np.diag([0.0, *np.full(8, 1e-3)]))
    D = design[known]
    H = np.einsum("nab,ni,nj->aibj", second[known], D, D).reshape(k * q, k * q) / n + penalty
    inverse = np.linalg.inv(H)
    M = np.einsum("ni,aibj,nj->nab", D, inverse.reshape(k, q, k, q), D) / n
    slope = (p[known] - np.eye(10)[codes]) @ Z
    corrected = np.empty_like(slope)
    for i in range(n):  # (I - h M)^(-1/2), not symmetric in these units
        size, axes = np.linalg.eig(np.eye(k) - second[known][i] @ M[i])
        corrected[i] = (axes @ np.diag(size**-0.5) @ np.linalg.inv(axes) @ slope[i]).real
    w = np.concatenate([fitted.head_fit_.intercept[None], fitted.head_fit_.coef]).T.ravel()
    score = np.einsum("na,ni->nai", corrected, D).reshape(n, -1) + penalty @ w
    xi = score @ inverse
    meat = xi.T @ xi / n
    limit = fitted.asymptotics_
    np.testing.assert_allclose(limit.labeled, meat, rtol=1e-3, atol=1e-6 * np.abs(meat).max())
    np.testing.assert_allclose(limit.curvature, A, rtol=1e-3, atol=1e-6 * np.abs(A).max())
    expected = 0.5 * np.trace(A @ meat) / n + limit.bias_labeled / n
    np.testing.assert_allclose(fitted.excess_risk().mean(), expected, rtol=1e-4)


def test_linear_network_learns_the_closed_form():
    """Trained to the minimum, its features span those of canonical correlation analysis."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2)) * [1.6, 1.2]
    W = np.linalg.qr(rng.normal(size=(5, 2)))[0].T
    views = [z @ W + 0.4 * rng.normal(size=(2000, 5)) for _ in range(2)]
    views = [view - (views[0].mean(0) + views[1].mean(0)) / 2 for view in views]
    pairs = PairSource(*views)
    linear = Network(
        lambda key, d, r: np.linalg.qr(np.random.default_rng(1).normal(size=(d, r)))[0],
        lambda params, X: X @ params,
    )
    training = Training(
        epochs=400,
        batch_size=2000,
        learning_rate=0.05,
        norm_cap=None,
        scale_inputs=None,
        dtype="float64",
    )
    network = SpectralContrastive(2, encoder=linear, training=training).fit(pairs)
    closed = SpectralContrastive(2).fit(pairs)
    X = views[0]
    angles = subspace_angles(network.encode(X), closed.encode(X))
    assert angles.max() < 1e-2
    # The mini-batch loss is the U-statistic: 1/m from the closed form's V-statistic.
    np.testing.assert_allclose(
        network.encode(X) @ network.encode(X).T, closed.encode(X) @ closed.encode(X).T, atol=0.1
    )


def test_refits_clones_and_pickles_are_the_same(digits, fitted):
    X, y, _ = digits
    p = fitted.predict_proba(X[:50])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X[:50]), p)
    again = clone(fitted).set_params(model__training=SHORT, model__rank=8)
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X[:50]), p)
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X[:50]), p)
    other = clone(fitted).set_params(model__random_state=1).fit(X, y)
    assert np.abs(other.predict_proba(X[:50]) - p).max() > 1e-3
    assert "MLP(hidden=(32,)" in repr(fitted)


def test_pool_views_weights_frames_and_clusters(digits):
    X, y = digits[0][:600], digits[1][:600]
    known = ~np.isnan(y)
    X, target = X[:, X.std(axis=0) > 0.1], X @ np.linspace(-1, 1, 64)
    model = SpectralContrastive(4, Noise(0.2), encoder=MLP((16,)), training=SHORT)
    est = TwoStageRegressor(model, LinearHead(), pool=False)
    frame = pd.DataFrame(X, columns=[f"p{j}" for j in range(X.shape[1])])
    est.fit(frame[known], target[known], X_unlabeled=frame.iloc[::-1])
    assert est.n_unlabeled_ == len(X)
    assert not any("helped to train" in f.title for f in est.diagnose())
    groups = np.arange(len(X)) // 2
    labels = np.where(known, target, np.nan)
    once = TwoStageRegressor(model, LinearHead()).fit(X, labels)
    clustered = TwoStageRegressor(model, LinearHead()).fit(X, labels, groups=groups)
    assert clustered.excess_risk().mean() != once.excess_risk().mean()
    unit = TwoStageRegressor(model, LinearHead()).fit(X, labels, np.full(len(X), 2.0))
    np.testing.assert_allclose(unit.excess_risk().mean(), once.excess_risk().mean(), rtol=1e-3)
    pairs = SpectralContrastive(4, encoder=MLP((16,)), training=SHORT)
    views = TwoStageRegressor(pairs, LinearHead(penalty="auto"))
    rng = np.random.default_rng(0)
    views.fit(X, labels, X_view=X + 0.2 * rng.normal(size=X.shape))
    assert views.excess_risk().mean() > 0
    assert views.head_.penalty > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"encoder": MLP}, "expected a network such as MLP"),
        ({"encoder": 3}, "expected a network such as MLP"),
        ({"training": 3}, "expected Training"),
        ({"augment": None}, "needs two views of every row"),
        ({"rank": 0}, "rank is at least 1"),
        ({"rank": 2.5}, "rank is a whole number"),
        ({"encode": len}, "leave out one of them"),
        ({"encoder": None}, "training is for networks"),
    ],
)
def test_bad_parameters(parameters, message):
    model = clone_of(MODEL).set_params(**parameters)
    with pytest.raises(InputError, match=message):
        model.fit(ArraySource(np.random.default_rng(0).normal(size=(40, 5))))


def test_columns_in_other_units_are_left_to_the_training():
    X = np.random.default_rng(0).normal(size=(40, 5))
    with pytest.raises(InputError, match="scale_inputs='columns'"):
        MODEL.fit(ArraySource(X), standardize=True)
    encoder = MODEL.fit(ArraySource(X))
    with pytest.raises(InputError, match="5 columns"):
        encoder.encode(X[:, :4])


def test_spread_between_networks_is_measured_beside_the_law(digits):
    X, y, truth = digits
    est = TwoStageClassifier(MODEL, LogisticHead(penalty=1e-3))
    data = {"X_test": X, "y_test": truth, "seeds": (0, 1, 2)}
    spread = pretraining_spread(est, X, y, **data)
    assert len(set(spread.risk)) == 3
    assert 0 < spread.between_sd < 1
    np.testing.assert_allclose(spread.risk[0], -np.log(
        est.fit(X, y).predict_proba(X)[np.arange(len(X)), truth]
    ).mean())  # fmt: skip
    assert "3 networks (seeds)" in str(spread)
    again = pretraining_spread(est, X, y, **data, bootstrap=True)
    assert "3 networks (resampled rows and seeds)" in str(again)
    assert again.bootstrap
    assert len({*again.risk, *spread.risk}) == 6
    with pytest.raises(InputError, match="at least 2 seeds"):
        pretraining_spread(est, X, y, **(data | {"seeds": (0,)}))
    with pytest.raises(InputError, match="found 1 other class"):
        pretraining_spread(est, X, y, **(data | {"y_test": np.where(truth == 3, 11, truth)}))
    with pytest.raises(InputError, match=f"{len(y) - 300} rows without one"):
        pretraining_spread(est, X, y, **(data | {"y_test": y}))


class Recorder:
    """A regressor that keeps the rows it was fitted to, and has no labels to learn from."""

    def __init__(self, model):
        self.model = model

    def get_params(self, deep=True):
        return {"model": self.model}

    def set_params(self, model__random_state):
        self.model.random_state = model__random_state
        return self

    def fit(self, X, y):
        Recorder.seen.append(X)
        return self

    def predict(self, X):
        return X @ np.eye(5, 2)

    def excess_risk(self):
        return stats.norm()


def test_bootstrap_resamples_unlabeled_rows_alone():
    """Of several targets as of one; each seed has its own rows."""
    X = np.random.default_rng(0).normal(size=(60, 5))
    y = np.where(np.arange(60)[:, None] % 3 == 0, X @ np.eye(5, 2), np.nan)
    known = np.arange(0, 60, 3)
    for bootstrap in (False, True):
        Recorder.seen = []
        est = Recorder(SpectralContrastive(2))
        data = {"X_test": X[known], "y_test": y[known], "seeds": (4, 5)}
        found = pretraining_spread(est, X, y, **data, bootstrap=bootstrap)
        np.testing.assert_array_equal(found.risk, 0)
        one, two = Recorder.seen
        np.testing.assert_array_equal(one[known], X[known])
        others = {row.tobytes() for row in np.delete(X, known, axis=0)}
        assert {row.tobytes() for row in np.delete(one, known, axis=0)} <= others
        assert np.array_equal(one, X) == np.array_equal(one, two) == (not bootstrap)


@pytest.mark.parametrize("between", [0.0, 0.05])
def test_spread_beyond_test_rows_is_unbiased(rng, between):
    """Losses of 4 networks on 50 common rows; mean of 4,000 draws, four standard errors."""
    R, T, draws = 4, 50, 4000
    shape = (draws, R, 1)
    losses = rng.normal(size=(draws, 1, T)) + between * rng.normal(size=shape)
    losses = losses + 0.3 * rng.normal(size=(draws, R, T))
    found = np.array([variance_between(table) for table in losses])
    assert abs(found.mean() - between**2) < 4 * found.std(ddof=1) / np.sqrt(draws)


def clone_of(model):
    return type(model)(**model.get_params(deep=False))
