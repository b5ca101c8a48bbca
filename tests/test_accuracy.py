"""Accuracies with intervals: exact references, refits, clusters, coverage, chosen penalties."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier

from foretell import FactorModel, LinearHead, LogisticHead, TwoStageClassifier
from foretell.errors import InputError
from foretell.estimators import NeighborsClassifier, probe_accuracy
from foretell.heads.penalty import GRID, _folds, choose_penalty
from foretell.inference.accuracy import Hits, accuracy_of, clopper_pearson, count_hits
from foretell.inference.labeled_rows import left_out, stacked


@pytest.fixture(scope="module")
def features():
    X, y = load_digits(return_X_y=True)
    return PCA(12, random_state=0).fit_transform(X / 16), y


def labeled(features, n, rng):
    y = features[1]
    while True:
        rows = rng.permutation(len(y))
        if len(np.unique(y[rows[:n]])) == 10:
            return rows[:n], rows[n:]


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (95, 100), (100, 100)])
def test_interval_of_a_test_sample_is_that_of_clopper_and_pearson(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.9, method="exact")
    found = accuracy_of(count_hits(np.arange(n) < hits), level=0.9)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-10)
    assert found.n == found.effective_n == n


def test_interval_covers_for_every_probability():
    """Exactly: the probability under the binomial law that the interval holds p."""
    ends = np.array([clopper_pearson(x / 60, 60, 0.95) for x in range(61)])
    for p in (0.5, 0.8, 0.9, 0.97, 0.995):
        inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
        assert binom.pmf(np.arange(61), 60, p)[inside].sum() >= 0.95


def test_weights_and_clusters_shrink_the_effective_number_of_rows(rng):
    hit = rng.random(300) < 0.8
    assert count_hits(hit, np.full(300, 7.0)).size == pytest.approx(300, rel=0.02)
    repeated = count_hits(np.repeat(hit, 4), groups=np.repeat(np.arange(300), 4))
    assert repeated.size == pytest.approx(300, rel=0.02)
    heavy = np.where(np.arange(300) < 30, 20.0, 1.0)
    assert count_hits(hit, heavy).size <= heavy.sum() ** 2 / (heavy**2).sum() * (1 + 1e-9)
    sure = count_hits(np.ones(20), groups=np.arange(20) // 5)
    assert sure.size == pytest.approx(4)


def test_interval_of_clustered_test_rows_covers():
    """Twelve clusters that share a chance of success; 400 draws, four standard errors."""
    rng = np.random.default_rng(0)
    groups, covered, naive = np.repeat(np.arange(12), 15), 0, 0
    for _ in range(400):
        chance = rng.beta(4 * 0.8, 4 * 0.2, size=12)
        hit = rng.random(180) < chance[groups]
        found, plain = accuracy_of(count_hits(hit, groups=groups)), accuracy_of(count_hits(hit))
        covered += found.low <= 0.8 <= found.high
        naive += plain.low <= 0.8 <= plain.high
    assert covered / 400 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) > naive / 400


def test_leaving_out_by_one_newton_step_is_that_of_refits(features, rng):
    F, y = features
    rows, _ = labeled(features, 120, rng)
    F, y = F[rows], y[rows]
    head = LogisticHead(penalty=0.01)
    exact = probe_accuracy(F, y, head=head, groups=np.arange(120))
    quick = probe_accuracy(F, y, head=head)
    assert abs(exact.value - quick.value) <= 1 / 120
    assert exact.effective_n == pytest.approx(quick.effective_n, rel=0.02)
    training = head.probabilities(head.fit(F, y).predict(F)).argmax(axis=1) == y
    assert quick.value < training.mean()


@pytest.mark.parametrize(
    ("head", "k", "error"),
    [
        (LinearHead(), 2, 1e-9),
        (LinearHead(penalty=0.2), 1, 0.05),
        (LogisticHead(penalty=0.05), 1, 0.2),
        (LogisticHead(penalty=0.05), 2, 0.2),
    ],
)
def test_outputs_of_rows_left_out_are_those_of_refits(rng, head, k, error):
    """Beside the move of the refit; exact for least squares, with weights as without."""
    n, r = 60, 3
    X, weights = rng.normal(size=(n, r)), rng.uniform(0.5, 2.0, size=n)
    y = X[:, :k] + rng.normal(size=(n, k))
    if not head.quadratic:
        y = np.concatenate([np.zeros((n, 1)), y], axis=1).argmax(axis=1)
    fit = head.fit(X, y, weights)
    design = np.concatenate([np.ones((n, 1)), X], axis=1)
    phi = np.einsum("ab,nq->nabq", np.eye(k), design).reshape(n, k, -1)
    outputs, share = fit.predict(X), weights / weights.sum()
    penalty = np.kron(np.eye(k), head.penalty_matrix(1 + r))
    hessian = np.einsum("n,nai,nab,nbj->ij", share, phi, head.second(outputs), phi)
    found = left_out(
        head, outputs, y, phi, np.linalg.inv(hessian + penalty), share, penalty @ stacked(head, fit)
    )
    exact = np.empty_like(outputs)
    for i in range(n):
        rest = np.arange(n) != i
        exact[i] = head.fit(X[rest], y[rest], weights[rest]).predict(X[[i]])
    assert np.abs(found - exact).max() < error * np.abs(outputs - exact).max()


def test_rare_classes_are_in_every_sample_that_penalties_are_fitted_to(rng):
    y = rng.permutation(np.repeat([0, 1, 2, 3, 4], [30, 4, 3, 2, 1]))
    fold = _folds(y)
    assert fold[y == 4] == -1
    assert set(fold[y != 4]) == set(range(5))
    for k in range(5):
        assert set(y[fold != k]) == set(range(5))
    F = rng.normal(size=(40, 3)) + np.eye(5, 3)[y]
    penalty, rule = choose_penalty(F, y, classes=True)
    assert penalty > 0
    assert rule == "5-fold cross-validation of the log-loss"
    assert choose_penalty(F[:, :0], y, classes=True) == (0.0, "zero, as there are no features")


def test_estimators_leave_out_what_probes_leave_out(features, rng):
    """FactorModel of a pre-training sample that labeled rows are no part of."""
    F, y = features
    rows, rest = labeled(features, 100, rng)
    head = LogisticHead(penalty=0.02)
    est = TwoStageClassifier(FactorModel(4), head, pool=False)
    est.fit(F[rows], y[rows], X_unlabeled=F)
    probe = probe_accuracy(est.encode(F[rows]), y[rows], head=head)
    assert est.accuracy() == probe
    assert est.asymptotics_.accuracy == probe.value
    tested = est.accuracy(F[rest], y[rest])
    assert tested.value == est.score(F[rest], y[rest])
    assert "1,697 test rows" in str(tested)
    assert "95 % interval of accuracy" in str(est.summary())


def test_neighbors_are_those_of_scikit_learn_and_leave_out_exactly(features, rng):
    F, y = features
    rows, rest = labeled(features, 80, rng)
    est = NeighborsClassifier(FactorModel(5), n_neighbors=3, metric="euclidean", pool=False)
    est.fit(F[rows], y[rows], X_unlabeled=F)
    G = est.encode(F)
    other = KNeighborsClassifier(3).fit(G[rows], y[rows])
    np.testing.assert_array_equal(est.predict(F[rest]), other.predict(G[rest]))
    np.testing.assert_array_equal(est.predict_proba(F[rest]), other.predict_proba(G[rest]))
    hits = [
        KNeighborsClassifier(3).fit(np.delete(G[rows], i, 0), np.delete(y[rows], i))
        .predict(G[rows[i : i + 1]])[0] == y[rows[i]] for i in range(80)
    ]  # fmt: skip
    assert est.accuracy().value == pytest.approx(np.mean(hits))
    cosine = NeighborsClassifier(FactorModel(5), pool=False).fit(F[rows], y[rows], X_unlabeled=F)
    angle = KNeighborsClassifier(5, metric="cosine").fit(G[rows], y[rows])
    np.testing.assert_array_equal(cosine.predict(F[rest]), angle.predict(G[rest]))
    assert est.score(F[rest], y[rest]) == est.accuracy(F[rest], y[rest]).value


def test_intervals_from_100_labels_cover_the_accuracy_of_their_probe(features):
    """Linear probe and five neighbors, 100 draws; binomial intervals do not for both."""
    F, y = features
    rng, covered = np.random.default_rng(0), np.zeros((2, 2))
    head = LogisticHead(penalty=0.02)
    draws = 100
    for _ in range(draws):
        inside, outside = labeled(features, 100, rng)
        fit = head.fit(F[inside], y[inside])
        probe = probe_accuracy(F[inside], y[inside], head=head)
        truth = (head.probabilities(fit.predict(F[outside])).argmax(1) == y[outside]).mean()
        near = KNeighborsClassifier(5).fit(F[inside], y[inside])
        hits = count_hits(near.predict(None) == y[inside])
        for k, (found, value) in enumerate(
            ((probe, truth), (accuracy_of(hits, left_out=10), near.score(F[outside], y[outside])))
        ):
            low, high = clopper_pearson(found.value, 100, 0.95)
            covered[k] += found.low <= value <= found.high, low <= value <= high
    assert (covered[:, 0] / draws > 0.95 - 4 * np.sqrt(0.95 * 0.05 / draws)).all()
    assert (covered[:, 1] < covered[:, 0]).all()


def test_chosen_penalty_is_near_the_best_of_all(features, rng):
    F, y = features
    rows, rest = labeled(features, 100, rng)
    est = TwoStageClassifier(FactorModel(8), LogisticHead(penalty="auto"), pool=False)
    est.fit(F[rows], y[rows], X_unlabeled=F)
    G = est.encode(F)
    size = G[rows].var(axis=0).mean()

    def loss(penalty):
        other = LogisticRegression(C=1 / (100 * penalty), max_iter=5000).fit(G[rows], y[rows])
        return -np.log(other.predict_proba(G[rest])[np.arange(len(rest)), y[rest]]).mean()

    losses = [loss(size * g) for g in GRID]
    assert loss(est.head_.penalty) < min(losses) + 0.1 * (max(losses) - min(losses))
    assert est.head.penalty == "auto"
    assert any("penalty was chosen" in finding.title for finding in est.diagnose())


def test_chosen_penalty_follows_rotations_and_units(rng):
    X = rng.normal(size=(60, 6))
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    penalty, rule = choose_penalty(X, y, classes=True)
    assert choose_penalty(3 * X @ turn, y, classes=True)[0] == pytest.approx(9 * penalty)
    assert rule == "5-fold cross-validation of the log-loss"
    target = X[:, 0] + rng.normal(size=60)
    penalty = LinearHead(penalty="auto").resolved(X, target).penalty
    ridge = RidgeCV(alphas=60 * np.array(GRID) * X.var(axis=0).mean(), cv=5).fit(X, target)
    assert 0.1 < 60 * penalty / ridge.alpha_ < 10
    doubled = choose_penalty(X, y, np.full(60, 5.0), classes=True)[0]
    assert doubled == pytest.approx(choose_penalty(X, y, classes=True)[0])


def test_bad_input(features, rng):
    F, y = features
    rows, _ = labeled(features, 100, rng)
    F, y = F[rows], y[rows]
    with pytest.raises(InputError, match="by the estimators"):
        LogisticHead(penalty="auto").fit(F, y)
    with pytest.raises(InputError, match="compare penalties; found 3 labels"):
        LogisticHead(penalty="auto").resolved(F[:3], np.array([0, 1, 1]))
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        accuracy_of(Hits(0.5, 10, 10.0, 10), level=95)
    with pytest.raises(InputError, match="finite features"):
        probe_accuracy(F * np.nan, y)
    with pytest.raises(InputError, match=r"one class|1 class"):
        probe_accuracy(F, np.zeros(100))
    with pytest.raises(InputError, match="cannot be left out"):
        probe_accuracy(F, y, groups=y)
    with pytest.raises(InputError, match="1 cluster"):
        count_hits(np.ones(4), groups=np.zeros(4))
    est = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=0.1)).fit(F, y)
    with pytest.raises(InputError, match="belong together"):
        est.accuracy(F)
    with pytest.raises(InputError, match="those of test rows"):
        est.accuracy(groups=y)
    clustered = TwoStageClassifier(FactorModel(2), LogisticHead(penalty=0.1))
    with pytest.raises(InputError, match="cannot be left out one by one"):
        clustered.fit(F, y, groups=np.arange(100) // 2).accuracy()
    for parameters, message in (
        ({"n_neighbors": 0}, "whole number"),
        ({"metric": "angle"}, "metric is one of"),
        ({"n_neighbors": 100}, "more labeled rows"),
        ({"model": FactorModel}, "expected an object"),
    ):
        with pytest.raises(InputError, match=message):
            NeighborsClassifier(**({"model": FactorModel(2)} | parameters)).fit(F, y)
