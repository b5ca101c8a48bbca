"""Error against number of labels, measured and forecast."""

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.experiments import label_forecast, probes
from foretell.experiments.crossings import Crossing, last_advantage
from foretell.experiments.label_curves import LabelEfficiency, label_efficiency
from foretell.experiments.label_forecast import forecast_claim, forecast_labels
from foretell.experiments.labeled_features import random_features
from foretell.experiments.learning_curves import (
    EXPONENTS,
    SHARES,
    MeasuredCurves,
    PowerLaws,
    log_prior,
    sample_power_laws,
)
from foretell.experiments.subsamples import subsampled_errors
from foretell.theory.spectra.effective_ridge import effective_ridge

PARTS = np.array([20.0, 30.0, 45.0, 65.0, 90.0])


def blobs(rng, n=400, d=6, K=3, spread=1.0):
    y = rng.integers(K, size=n)
    return rng.standard_normal((K, d))[y] * 1.5 + spread * rng.standard_normal((n, d)), y


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2]
    return X, y, (X - X.mean(axis=0)) @ axes[:12].T


# probes


def test_ridge_is_that_of_scikit_learn_with_its_leave_one_out_choice(rng):
    from sklearn.linear_model import RidgeCV

    X = rng.standard_normal((40, 12)) @ np.diag(np.arange(1.0, 13.0))
    y = X[:, 0] + 4 * rng.standard_normal(40)
    new = rng.standard_normal((7, 12))
    found = probes.predictions("linear", X, y, new, n_classes=None, seed=0)
    alphas = probes.RIDGES * np.linalg.norm(X - X.mean(axis=0), 2) ** 2
    twin = RidgeCV(alphas).fit(X, y)
    assert probes.tuned_ridge(probes.Rows.of(X, new), y[:, None]) == pytest.approx(twin.alpha_)
    np.testing.assert_allclose(found, twin.predict(new), rtol=1e-8)


def test_logistic_regression_minimizes_its_loss(rng, monkeypatch):
    """Against scikit-learn, whose intercept has no penalty, so ours gets next to none here."""
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(probes, "INTERCEPT_PENALTY", 1e-10)
    monkeypatch.setattr(probes, "LEAST_DECREASE", 1e-13)
    X, y = blobs(rng, 120)
    X -= X.mean(axis=0)
    coef = probes.logistic(X, np.eye(3)[y], 0.02)
    twin = LogisticRegression(C=1 / (120 * 0.02), tol=1e-8, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(coef[1:].T, twin.coef_, atol=1e-3)
    shift = coef[0] - twin.intercept_
    np.testing.assert_allclose(shift - shift.mean(), 0, atol=1e-3)


@pytest.mark.parametrize("probe", ["linear", "ridge", "neighbors"])
@pytest.mark.parametrize("is_class", [True, False])
def test_probes_do_not_see_a_rotation_into_more_columns(rng, probe, is_class):
    """Principal axes of the labeled rows lose nothing, with fewer or more columns than rows."""
    X, y = blobs(rng, 60)
    target, K = (y, 3) if is_class else (X[:, 0] + 0.1 * rng.standard_normal(60), None)
    axes = np.linalg.qr(rng.standard_normal((90, 6)))[0]
    few = probes.predictions(probe, X[:40], target[:40], X[40:], n_classes=K, seed=1)
    wide = X @ axes.T + 3
    many = probes.predictions(probe, wide[:40], target[:40], wide[40:], n_classes=K, seed=1)
    np.testing.assert_allclose(few, many, atol=1e-6)


@pytest.mark.parametrize("probe", ["linear", "ridge", "neighbors"])
def test_absent_classes_are_not_predicted(rng, probe):
    X, y = blobs(rng, 60)
    rows = np.flatnonzero(y != 1)
    found = probes.predictions(probe, X[rows], y[rows], X, n_classes=3, seed=0)
    assert set(found) == {0, 2}
    one = rows[y[rows] == 2]
    found = probes.predictions(probe, X[one], y[one], X, n_classes=3, seed=0)
    assert (found == 2).all()


def test_a_class_with_one_label_does_not_spoil_the_search_for_a_penalty(rng):
    X, y = blobs(rng, 60)
    keep = np.concatenate([np.flatnonzero(y != 1), np.flatnonzero(y == 1)[:1]])
    found = probes.predictions("linear", X[keep], y[keep], X[keep], n_classes=3, seed=0)
    assert (found == y[keep]).mean() > 0.8


def test_an_estimator_of_the_user_is_a_probe(digits):
    from sklearn.neighbors import KNeighborsClassifier

    X, y, _ = digits
    probe = KNeighborsClassifier(1)
    found = label_efficiency({"raw": X}, y, [50], n_draws=2, probe=probe, test=300)
    assert found.mean[0, 0] < 0.25
    assert not hasattr(probe, "classes_")


# measured curves


def test_ridge_curve_is_that_of_random_matrix_theory():
    """Least over penalties of the deterministic equivalent, for an isotropic Gaussian law."""
    rng = np.random.default_rng(0)
    d, noise, N = 60, 0.5, 3000
    coef = rng.standard_normal(d) / np.sqrt(d)
    X = rng.standard_normal((N, d))
    y = X @ coef + np.sqrt(noise) * rng.standard_normal(N)
    sizes = [40, 80, 160]
    curves = label_efficiency({"raw": X}, y, sizes, n_draws=20)
    for s, n in enumerate(sizes):
        kappa = effective_ridge(np.ones(d), n, np.geomspace(1e-3, 30, 200))
        bias = coef @ coef * (kappa / (1 + kappa)) ** 2
        least = ((noise + bias) / (1 - d / n / (1 + kappa) ** 2)).min()
        tolerance = 4 * curves.standard_error[0, s] + 0.03 * least  # 3 %: tuning, finite test rows
        assert abs(curves.mean[0, s] - least) < tolerance
        assert curves.standard_error[0, s] < 0.03


def test_draws_are_shared_by_all_feature_sets(digits):
    _, y, F = digits
    curves = label_efficiency({"a": F, "b": F.copy()}, y, [30, 60], n_draws=3, test=200)
    assert np.array_equal(curves.errors[0], curves.errors[1])
    difference, se = curves.difference()
    assert not difference.any()
    assert not se.any()
    alone = label_efficiency({"b": F}, y, [30, 60], n_draws=3, test=200)
    assert np.array_equal(curves.errors[1], alone.errors[0])
    other = label_efficiency({"b": F}, y, [30, 60], n_draws=3, test=200, random_state=1)
    assert not np.array_equal(alone.errors, other.errors)


def test_test_rows_are_never_drawn(rng):
    """One row of ten is labeled wrong; all wrong ones are test rows, so every test errs."""
    X, y = blobs(rng, 300, spread=0.05)
    test = np.arange(0, 300, 10)
    wrong = y.copy()
    wrong[test] = (y[test] + 1) % 3
    curves = label_efficiency({"raw": X}, wrong, [40, 200], n_draws=3, test=test)
    assert curves.n_test == 30
    assert (curves.errors == 1).all()


def test_no_row_is_tested_that_was_learned_from():
    X, y = np.arange(50.0)[:, None], np.arange(50) % 2
    Spy.seen = ()
    curves = label_efficiency({"a": X}, y, [10, 30], n_draws=3, probe=Spy())
    assert curves.n_test == 20
    assert Spy.seen == (10, 30) * 3
    label_efficiency({"a": X}, y, [10, 30], n_draws=3, probe=Spy(), test=np.arange(0, 50, 5))


def test_digits_with_few_labels(digits):
    X, y, F = digits
    sets = {"components": F, "raw": X, "random": random_features(X, 64)}
    curves = label_efficiency(sets, y, [30, 100], n_draws=4, probe="ridge", test=500)
    assert curves.mean.shape == (3, 2)
    assert (curves.mean[:, 0] > curves.mean[:, 1]).all()
    assert 0.1 < curves.mean[1, 1] < 0.2
    assert "components" in curves.verdict()
    assert len(str(curves).splitlines()) == 4
    frame = curves.frame("pandas")
    assert frame.shape == (6, 7)
    np.testing.assert_allclose(frame["error"], curves.mean.ravel())
    gap = frame.query("features == 'components'")["difference"]
    np.testing.assert_allclose(gap, curves.difference()[0])
    np.testing.assert_allclose(
        frame["difference_standard_error"][:2], curves.difference()[1], rtol=1e-12
    )
    assert curves.frame("pyarrow").num_rows == 6


def planted(first, second, noise=0.0):
    rng = np.random.default_rng(3)
    errors = np.array([first, second])[:, :, None] + noise * rng.standard_normal((2, len(first), 8))
    return LabelEfficiency(("learned", "raw"), (10, 100, 1000), errors, True, 500)


@pytest.mark.parametrize(
    ("gaps", "labels", "words"),
    [
        ([-0.1, -0.05, 0.05], np.sqrt(100 * 1000), "pays up to about 320 labels"),
        ([-0.1, -0.05, -0.02], np.inf, "at every number of labels up to 1,000"),
        ([0.1, 0.05, 0.02], 0, "pays at no number of labels from 10 on"),
    ],
)
def test_crossing_of_planted_curves(gaps, labels, words):
    raw = np.array([0.4, 0.3, 0.2])
    curves = planted(raw + gaps, raw, 1e-4)
    crossing = curves.crossing()
    assert crossing.labels == pytest.approx(labels, rel=0.01)
    assert crossing.low <= crossing.labels <= crossing.high
    assert words in curves.verdict()
    assert "error is" in curves.verdict()


def test_verdict_of_equal_curves_claims_nothing():
    raw = np.array([0.4, 0.3, 0.2])
    assert "cannot be told apart" in planted(raw, raw, 0.05).verdict()


def test_the_last_change_of_sign_counts():
    found = last_advantage(np.array([[1.0, -1.0, 3.0]]), [1, 10, 100])
    assert found[0] == pytest.approx(10 ** (1 + 1 / 4))


# forecasts


def laws(sizes, level, share, exponent):
    return level * (share + (1 - share) * (np.asarray(sizes) / 100) ** -exponent)


def test_exact_power_laws_are_recovered():
    shares, exponents = SHARES[[2, 12]], EXPONENTS[[15, 18]]
    mean = np.array(
        [laws(PARTS, e, s, c) for e, s, c in zip([0.3, 0.2], shares, exponents, strict=True)]
    )
    covariance = 1e-12 * np.eye(10).reshape(2, 5, 2, 5)
    measured = MeasuredCurves(PARTS, mean, covariance)
    found = sample_power_laws(measured, 100, n_draws=50, seed=0)
    for f, law in enumerate(found):
        np.testing.assert_allclose(law.level, [0.3, 0.2][f], rtol=1e-3)
        assert (law.share == shares[f]).all()
        assert (law.exponent == exponents[f]).all()
        (alone,) = sample_power_laws(measured.only(f), 100, n_draws=50, seed=0)
        np.testing.assert_allclose(alone.at([1000]), law.at([1000]), rtol=1e-3)


def test_posterior_is_that_of_a_sum_over_a_grid():
    """Two curves with independent errors: each by brute force over level, share and exponent."""
    rng = np.random.default_rng(2)
    mean = np.array([laws(PARTS, 0.3, 0.2, 0.6), laws(PARTS, 0.2, 0.7, 1.0)])
    mean += 0.003 * rng.standard_normal((2, 5))
    covariance = (0.003**2 * np.eye(10)).reshape(2, 5, 2, 5)
    measured = MeasuredCurves(PARTS, mean, covariance)
    both = sample_power_laws(measured, 100, n_draws=4000, seed=0)
    levels = np.linspace(0.1, 0.4, 1201)
    for f, law in enumerate(both):
        alone = sample_power_laws(measured.only(f), 100, n_draws=4000, seed=1)[0]
        total = np.zeros((len(SHARES), len(EXPONENTS)))
        at_level = np.zeros(len(levels))
        for i, share in enumerate(SHARES):
            for j, exponent in enumerate(EXPONENTS):
                shape = laws(PARTS, 1.0, share, exponent)
                distance = ((mean[f] - levels[:, None] * shape) ** 2).sum(axis=1) / 0.003**2
                prior = np.exp(log_prior(np.array([share]), np.array([exponent])))[0]
                total[i, j] = prior * np.exp(-0.5 * distance).sum()
                at_level += prior * np.exp(-0.5 * distance)
        total /= total.sum()
        expected = (total.sum(axis=1) @ SHARES, total.sum(axis=0) @ np.log(EXPONENTS))
        at_level /= at_level.sum()
        spread = np.sqrt(at_level @ levels**2 - (at_level @ levels) ** 2)
        for draws in (law, alone):
            assert draws.level.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * 4000))
            shapes = PowerLaws(np.ones(4000), draws.share, draws.exponent, 100).at(PARTS)
            given = shapes @ mean[f] / (shapes**2).sum(axis=1)
            z = (draws.level - given) * np.sqrt((shapes**2).sum(axis=1)) / 0.003
            assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 4000))
            for found, value in zip((draws.share, np.log(draws.exponent)), expected, strict=True):
                assert abs(found.mean() - value) < 4 * found.std() / np.sqrt(len(found))


def test_intervals_hold_as_often_as_they_say_when_the_prior_is_right():
    """Curves from the prior, errors with a shared part: bands at 10 times the pilot, and gaps."""
    rng = np.random.default_rng(5)
    n_curves, level = 120, 0.9
    shared = 0.02**2 * np.ones((10, 10)) + 0.01**2 * np.eye(10)
    covariance = shared.reshape(2, 5, 2, 5)
    root = np.linalg.cholesky(shared)
    hits = np.zeros((n_curves, 2))
    weights = np.exp(log_prior(np.array([0.5]), EXPONENTS))
    shares = np.exp(log_prior(SHARES, np.ones(1)))
    for k in range(n_curves):
        share = rng.choice(SHARES, 2, p=shares / shares.sum())
        exponent = rng.choice(EXPONENTS, 2, p=weights / weights.sum())
        base = rng.uniform(0.25, 0.45, 2)
        true = np.array([laws([*PARTS, 1000], *args) for args in zip(base, share, exponent)])  # noqa: B905
        mean = true[:, :5] + (root @ rng.standard_normal(10)).reshape(2, 5)
        found = sample_power_laws(MeasuredCurves(PARTS, mean, covariance), 100, n_draws=400, seed=k)
        curves = [law.at([1000])[:, 0] for law in found]
        for j, (draws, value) in enumerate(
            [(curves[0], true[0, 5]), (curves[0] - curves[1], true[0, 5] - true[1, 5])]
        ):
            low, high = np.quantile(draws, [0.05, 0.95])
            hits[k, j] = low <= value <= high
    tolerance = 4 * np.sqrt(level * (1 - level) / n_curves)
    assert (abs(hits.mean(axis=0) - level) < tolerance).all()


def test_covariance_is_that_of_rows(rng):
    errors = rng.random((2, 3, 500)) < 0.3
    measured = MeasuredCurves.of(errors.astype(float), [20, 40, 80], is_classification=True)
    np.testing.assert_allclose(measured.mean, errors.mean(axis=2))
    variance = measured.covariance[0, 1, 0, 1]
    p = measured.mean[0, 1]
    assert variance == pytest.approx(1.6 * p * (1 - p) / 499 + (0.03 * p) ** 2 + 1e-6, rel=1e-6)
    assert measured.only(1).covariance.shape == (1, 3, 1, 3)


class Spy:
    """Predicts nothing right, and remembers how many rows it was shown."""

    seen = ()

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        Spy.seen += (len(X),)
        self.rows = set(X[:, 0])
        return self

    def predict(self, X):
        assert not self.rows & set(X[:, 0])
        return np.full(len(X), -1)


def test_every_row_of_the_pilot_is_left_out_equally_often():
    Spy.seen = ()
    X, y = np.arange(50.0)[:, None], np.arange(50) % 2
    errors = subsampled_errors({"a": X}, y, [10, 45], n_splits=20, probe=Spy(), n_classes=2, seed=0)
    assert errors.shape == (1, 2, 50)
    assert (errors == 1).all()
    assert set(Spy.seen) == {10, 45}
    assert Spy.seen.count(45) == Spy.seen.count(10) == 20


def test_forecast_on_digits(digits):
    """Twelve components lose to raw pixels in the end; both curves are known from all labels."""
    X, y, F = digits
    pilot = np.random.default_rng(0).permutation(len(y))[:200]
    sets = {"components": F, "raw": X}
    found = forecast_labels(
        {name: Z[pilot] for name, Z in sets.items()}, y[pilot], [400, 1000], probe="ridge"
    )
    truth = label_efficiency(sets, y, [400, 1000], n_draws=3, probe="ridge")
    assert (found.low < truth.mean).all()
    assert (truth.mean < found.high).all()
    assert (found.low < found.mean).all()
    assert (found.mean < found.high).all()
    again = forecast_labels(
        {name: Z[pilot] for name, Z in sets.items()}, y[pilot], [400, 1000], probe="ridge"
    )
    assert np.array_equal(again.mean, found.mean)
    assert again.pays_until == found.pays_until
    assert found.frame("pandas").shape == (4, 5)
    assert "forecast misclassification" in str(found)
    assert found.verdict() in str(found)


def test_forecast_of_numbers_with_a_planted_crossing():
    """Half of the signal in 3 columns of 60: they win while labels are few."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((2000, 60))
    coef = np.concatenate([[1.0, 1.0, 1.0], np.full(57, 0.2)])
    y = X @ coef + rng.standard_normal(2000)
    sets = {"three": X[:, :3], "raw": X}
    crossing = label_efficiency(sets, y, [20, 40, 60, 80, 120, 200, 400], n_draws=10).crossing()
    found = forecast_labels({k: Z[:150] for k, Z in sets.items()}, y[:150], [300, 1500])
    assert not found.is_classification
    assert found.pays_until.low / 1.5 < crossing.labels < found.pays_until.high * 1.5
    assert 1 / 3 < found.pays_until.labels / crossing.labels < 3


def test_features_that_keep_paying_are_not_given_up(rng):
    """Where raw inputs are noise around the features, no early crossing is claimed."""
    F, y = blobs(rng, 1000, spread=0.8)
    raw = np.concatenate([F, 3 * rng.standard_normal((1000, 150))], axis=1)
    found = forecast_labels({"learned": F[:100], "raw": raw[:100]}, y[:100], [1000], probe="ridge")
    assert found.pays_until.labels > 300
    assert found.pays_until.better_at_largest > 0.5


def crossing(labels, low, high, ahead=0.0):
    return Crossing("learned", "raw", labels, low, high, 0.9, 20, 5000, ahead)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (crossing(np.inf, np.inf, np.inf, 1.0), "pays at every number of labels up to 5,000"),
        (crossing(60, 0, 90), "stopped paying before about 90 labels, within the pilot of 100"),
        (crossing(300, 50, np.inf, 0.45), "cannot tell where learned stops paying"),
        (crossing(np.inf, 400, np.inf, 0.55), "at 5,000 labels are 55 %"),
        (crossing(np.inf, 400, np.inf, 0.8), "probably pays up to 5,000 labels, with odds of 80 %"),
        (crossing(300, 50, np.inf, 0.3), "probably pays up to about 300 labels; raw is ahead"),
        (crossing(0, 0, 400, 0.01), "probably does not pay at 20 labels or more"),
        (crossing(300, 0, np.inf, 0.1), "probably pays up to about 300 labels; raw is ahead"),
        (crossing(1234, 400, 4000), "pays up to about 1,200 labels; beyond that raw"),
    ],
)
def test_claims_do_not_go_beyond_the_interval(found, words):
    assert words in forecast_claim(found, 100)


# bad input

X = np.random.default_rng(0).standard_normal((80, 3))
Y = np.arange(80) % 2
HOLE = np.where(np.arange(240).reshape(80, 3) == 7, np.nan, X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:-1]}, r"one label a row, shape \(80,\); found shape \(79,\)"),
        ({"y": np.zeros(80, int)}, "one class, 0, in all 80 rows"),
        ({"y": np.zeros(80)}, "nothing to predict"),
        ({"y": np.where(Y == 1, np.nan, 1.0)}, "40 missing or infinite labels of 80"),
        ({"y": Y.astype(object)}, "holds object"),
        ({"features": {"a": HOLE}}, "contains NaN"),
        ({"features": {"a": X, "b": X[1:]}}, "same rows in the same order"),
        ({"features": {"a": np.ones((80, 2))}}, "constant"),
        ({"features": {}}, "mapping"),
        ({"features": X}, "found ndarray"),
        ({"sizes": [20, 71]}, r"numbers of labels are from 4 to 70.*found 20 to 71"),
        ({"sizes": [2]}, "found 2 to 2"),
        ({"sizes": [10.5]}, "whole numbers"),
        ({"random_state": -1}, "random_state is a whole number >= 0; found -1"),
        ({"n_draws": 1}, "n_draws is a whole number >= 2; found 1"),
        ({"probe": "deep"}, "probe is one of"),
        ({"test": [1, 2]}, "at least 10 row numbers"),
        ({"test": [*range(9), 80]}, "from 0 to 79"),
        ({"test": [0, *range(12)]}, "distinct"),
        ({"test": 3}, "test is a whole number >= 10"),
    ],
)
def test_bad_input_of_measured_curves(arguments, message):
    given = {"features": {"a": X}, "y": Y, "sizes": [20], **arguments}
    with pytest.raises(InputError, match=message):
        label_efficiency(given.pop("features"), given.pop("y"), given.pop("sizes"), **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": {"a": X[:30]}, "y_pilot": Y[:30]}, "at least 40 labels; found 30"),
        ({"y_pilot": Y[:-1]}, "y_pilot has one label a row"),
        ({"y_pilot": np.ones(80, int)}, "y_pilot has one class"),
        ({"features": {"a": HOLE}}, "contains NaN"),
        ({"level": 1.0}, "level is between 0 and 1"),
        ({"n_splits": 0}, "n_splits"),
        ({"random_state": None}, "random_state is a whole number >= 0; found None"),
        ({"sizes": [0]}, "found 0 to 0"),
    ],
)
def test_bad_input_of_forecasts(arguments, message):
    given = {"features": {"a": X}, "y_pilot": Y, "sizes": [200], **arguments}
    with pytest.raises(InputError, match=message):
        forecast_labels(given.pop("features"), given.pop("y_pilot"), given.pop("sizes"), **given)


def test_pairs_that_cannot_be_compared(rng):
    curves = label_efficiency({"a": X}, Y, [20], n_draws=2)
    with pytest.raises(InputError, match="two feature sets are compared"):
        curves.crossing()
    curves = label_efficiency({"a": X, "raw": X**2}, Y, [20], n_draws=2)
    with pytest.raises(InputError, match="no feature set 'rew'"):
        curves.crossing("a", "rew")
    with pytest.raises(InputError, match="twice"):
        curves.difference("a", "a")
    with pytest.raises(InputError, match="level"):
        curves.crossing(level=90)


def test_one_feature_set_is_forecast_without_a_crossing():
    found = forecast_labels({"a": X}, Y, [200], probe="ridge")
    assert found.pays_until is None
    assert "nothing to compare" in found.verdict()


def test_random_features_are_seeded_and_not_negative():
    F = random_features(X, 7, random_state=1)
    assert F.shape == (80, 7)
    assert F.min() == 0
    assert np.array_equal(F, random_features(X, 7, random_state=1))
    with pytest.raises(InputError, match="n_features"):
        random_features(X, 0)
    with pytest.raises(InputError, match="contains NaN"):
        random_features(HOLE)


def test_forecasts_rest_on_parts_of_the_pilot_only():
    assert max(label_forecast.FRACTIONS) < 1
