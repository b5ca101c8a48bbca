"""Imbalance of classes: closed forms against brute force and simulation, and the experiment."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from foretell import SpectralContrastive
from foretell.data.augmentations import Noise
from foretell.errors import ConvergenceError, IdentificationError, InputError
from foretell.experiments.imbalance import imbalance_gap
from foretell.experiments.supervised_features import (
    ReducedRank,
    SupervisedNetwork,
    supervised_counterpart,
)
from foretell.models.canonical import ViewMoments, canonical
from foretell.theory.imbalance import gap_difference, long_tail, relative_gap, tail_shares
from foretell.theory.imbalance_toy import RareClassToy
from foretell.theory.imbalanced_clusters import (
    cluster_spectrum,
    linked_spectrum,
    smallest_learned_mass,
)

METHODS = ("self-supervised", "supervised")


def within(values, expected, slack=0.0):
    """Whether a mean over draws meets an expected value within four standard errors."""
    values = np.asarray(values)
    se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.all(np.abs(values.mean(axis=0) - expected) <= 4 * se + slack)


# --- long tails and gaps


@pytest.mark.parametrize("kind", ["exponential", "pareto"])
def test_long_tail_adds_up_and_stays_within_one_of_its_shares(kind):
    for K, n, ratio in [(2, 11, 10), (10, 4070, 100), (7, 1000, 1), (100, 20000, 256), (3, 100, 5)]:
        sizes, shares = long_tail(K, n, ratio, kind), tail_shares(K, ratio, kind)
        assert sizes.sum() == n
        assert (np.diff(sizes) <= 0).all()
        assert (np.abs(sizes - n * shares) < 1).all()
        assert shares[0] / shares[-1] == pytest.approx(ratio, rel=1e-12)
        steps = np.log(shares) if kind == "exponential" else np.log(shares)[1:]
        at = np.arange(K) if kind == "exponential" else np.log(np.arange(2, K + 1))
        assert np.ptp(np.diff(steps) / np.diff(at)) < 1e-9 if len(at) > 2 else True


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((10, 100, 100), "raise n to 249"),
        ((3, 2, 1), "at least one a class"),
        ((3, 50.0, 2), "whole number"),
        ((1, 50, 2), "n_classes is a whole number >= 2"),
        ((3, 50, 0.5), "at least 1"),
        ((3, 50, np.inf), "at least 1"),
        ((3, 50, np.nan), "at least 1"),
        ((3, 50, 2, "step"), "'exponential' or 'pareto'"),
    ],
)
def test_long_tail_refuses(args, says):
    with pytest.raises(InputError, match=says):
        long_tail(*args)


@pytest.mark.parametrize(
    "call",
    [
        lambda: RareClassToy("a"),
        lambda: RareClassToy(0.1, n_columns=True),
        lambda: RareClassToy(0.1).learned("supervised", "a"),
        lambda: cluster_spectrum(["a"], 0.1),
        lambda: linked_spectrum([0.5, 0.5], None),
        lambda: smallest_learned_mass("a", 0.9),
        lambda: long_tail(3, 50, "2"),
    ],
)
def test_text_for_numbers_is_refused(call):
    with pytest.raises(InputError, match=r"is a real number|are real numbers|is a whole number"):
        call()


def test_cure_of_too_few_rows_works():
    assert long_tail(10, 249, 100)[-1] == 1


def test_standard_errors_of_gaps_are_those_of_repeated_draws():
    """The delta method, on draws that share half of their noise."""
    rng = np.random.default_rng(0)
    gaps, differences = [], []
    for _ in range(4000):
        shared = 0.03 * rng.normal(size=20)
        b, i, b2, i2 = (m + shared + 0.03 * rng.normal(size=20) for m in (0.8, 0.6, 0.9, 0.85))
        gaps.append(tuple(vars(relative_gap(b, i)).values()))
        differences.append(tuple(vars(gap_difference((b, i), (b2, i2))).values()))
    for found, expected in ((gaps, 0.25), (differences, 0.25 - 1 / 18)):
        values, errors = np.array(found).T
        assert within(values, expected, slack=1e-3)
        spread = values.std(ddof=1)
        assert abs(np.sqrt((errors**2).mean()) / spread - 1) < 4 / np.sqrt(2 * len(values))


def test_gap_of_numbers_and_of_equal_draws():
    assert relative_gap(0.8, 0.6).value == pytest.approx(0.25, rel=1e-14)
    assert relative_gap(0.8, 0.6).se == 0
    same = ([0.8, 0.9], [0.5, 0.7])
    assert gap_difference(same, same).value == gap_difference(same, same).se == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (([0.5], [0.5]), "at least 2 draws"),
        (([0.5, 0.6], [0.5]), "same shape"),
        ((0.0, 0.5), "positive where balanced"),
        ((np.nan, 0.5), "finite"),
        (([0.5, np.inf], [0.5, 0.5]), "finite"),
    ],
)
def test_relative_gap_refuses(args, says):
    with pytest.raises(InputError, match=says):
        relative_gap(*args)


def test_gap_difference_refuses_unequal_draws():
    with pytest.raises(InputError, match="same draws"):
        gap_difference(([0.5, 0.6], [0.5, 0.6]), ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]))


# --- clusters of positive-pair graphs


def normalized(W):
    root = np.sqrt(W.sum(axis=0))
    return W / np.outer(root, root)


def descending(A):
    return np.linalg.eigvalsh(A)[::-1]


@pytest.mark.parametrize("leaving", [0.0, 0.05, 0.5])
def test_random_mixing_has_the_same_spectrum_whatever_the_masses(leaving):
    rng = np.random.default_rng(1)
    for K in (2, 5):
        p = rng.dirichlet(np.full(K, 0.3))
        W = (1 - leaving) * np.diag(p) + leaving * np.outer(p, p)
        assert np.abs(cluster_spectrum(p, leaving) - descending(normalized(W))).max() < 1e-12


def test_disconnected_clusters_keep_eigenvalue_one_down_to_any_mass():
    """Clusters of many vertices with a within-cluster gap: rank K separates them exactly."""
    rng = np.random.default_rng(2)
    masses, blocks = [0.9, 0.0999, 1e-4], []
    for p in masses:
        block = rng.uniform(0.5, 1.5, size=(12, 12))
        block += block.T
        blocks.append(p * block / block.sum())
    W = np.zeros((36, 36))
    for k, block in enumerate(blocks):
        W[12 * k : 12 * k + 12, 12 * k : 12 * k + 12] = block
    values = descending(normalized(W))
    assert np.abs(values[:3] - cluster_spectrum(masses, 0.0)).max() < 1e-12
    assert values[3] < 0.5


def test_linked_clusters_have_the_spectrum_of_the_dense_graph():
    rng = np.random.default_rng(3)
    for K in (2, 3, 8):
        p = rng.dirichlet(np.full(K, 3.0))
        c = 0.7 * p.min() / (K - 1)
        W = np.full((K, K), c)
        np.fill_diagonal(W, p - (K - 1) * c)
        found = linked_spectrum(p, c)
        assert np.abs(found - descending(normalized(W))).max() < 1e-12
        poles = np.sort(1 - c * K / p)[::-1]
        assert (found[1:] >= poles[1:] - 1e-12).all()
        assert (found[1:] <= poles[:-1] + 1e-12).all()
        if K == 2:
            assert found[1] == pytest.approx(1 - c / (p[0] * p[1]), rel=1e-12)


def three_blocks(p, link, cut, size=8):
    """A frequent cluster of two halves joined by ``cut``, and a rare one of mass p."""
    half = (1 - p) / 2
    W = np.array(
        [
            [half - cut - link / 2, cut, link / 2],
            [cut, half - cut - link / 2, link / 2],
            [link / 2, link / 2, p - link],
        ]
    )
    return np.kron(W, np.ones((size, size))) / size**2, np.repeat([0, 0, 1], size)


def balanced_probe_errors(W, labels, k):
    """Error of a balanced least-squares probe on the k leading eigenvectors, class by class."""
    A = normalized(W)
    vectors = np.linalg.eigh(A)[1][:, -k:]
    features = vectors / np.sqrt(W.sum(axis=0))[:, None]
    weight = np.sqrt(1 / np.bincount(labels))[labels]
    target = np.eye(2)[labels]
    coef = np.linalg.lstsq(features * weight[:, None], target * weight[:, None])[0]
    wrong = (features @ coef).argmax(axis=1) != labels
    return np.array([wrong[labels == c].mean() for c in (0, 1)])


def test_rare_cluster_is_learned_down_to_the_smallest_mass():
    link, cut = 0.004, 0.02
    for p in (0.05, 0.2):
        W, _ = three_blocks(p, link, cut)
        inner = 1 - (4 * cut + link) / (1 - p)
        expected = np.sort([1, inner, linked_spectrum([1 - p, p], link)[1]])[::-1]
        assert np.abs(descending(normalized(W))[:3] - expected).max() < 1e-12
    # the inner eigenvalue moves with p, so the threshold solves p = smallest(inner(p))
    p = 0.05
    for _ in range(200):
        p = smallest_learned_mass(link, 1 - (4 * cut + link) / (1 - p))
    assert p == pytest.approx(link / (4 * cut + link), rel=1e-9)
    above, labels = three_blocks(1.02 * p, link, cut)
    below, _ = three_blocks(0.98 * p, link, cut)
    assert balanced_probe_errors(above, labels, 2).max() == 0
    assert balanced_probe_errors(below, labels, 2).max() > 0.4
    assert balanced_probe_errors(below, labels, 3).max() == 0


def test_rare_cluster_in_a_positive_pair_graph():
    """Unless it is learned, the head of the embedding calls all of it frequent."""
    from foretell.theory.graphs.graph import PositivePairGraph

    link, cut = 0.004, 0.02
    threshold = link / (4 * cut + link)
    for p, learned in ((1.05 * threshold, True), (0.95 * threshold, False)):
        W, labels = three_blocks(p, link, cut)
        graph = PositivePairGraph(W)
        contrast = linked_spectrum([1 - p, p], link)[1]
        assert graph.spectrum(3)[1 if learned else 2] == pytest.approx(contrast, abs=1e-10)
        assert graph.probe_error(labels, 2) == pytest.approx(0.0 if learned else p, abs=1e-10)
        assert graph.probe_error(labels, 3) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cluster_spectrum([1.0], 0.1), "at least 2"),
        (lambda: cluster_spectrum([1.0, 0.0], 0.1), "positive"),
        (lambda: cluster_spectrum([1.0, np.nan], 0.1), "positive"),
        (lambda: cluster_spectrum([1.0, 1.0], 1.1), "probability"),
        (lambda: linked_spectrum([0.9, 0.1], 0.11), "expected 0 <= link <= 0.1"),
        (lambda: linked_spectrum([0.9, 0.1], -0.1), "expected 0 <= link"),
        (lambda: smallest_learned_mass(-0.1, 0.5), "link >= 0"),
        (lambda: smallest_learned_mass(0.1, 1.0), "inner < 1"),
    ],
)
def test_clusters_refuse(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_clusters_linked_too_strongly_are_reported():
    with pytest.raises(IdentificationError, match="at no mass"):
        smallest_learned_mass(0.1, 0.9)


# --- the toy model


def moments(toy):
    """Mean and covariance of (x, one-hot y) by enumeration of class and q."""
    rows, weights = [], []
    for c, share in enumerate(toy.shares):
        for q in (0, toy.tau):
            x = np.zeros(toy.n_columns)
            x[:2] = [(1, -1, 0)[c], 1 if c == 2 else -q]
            rows.append(np.concatenate([x, np.eye(3)[c]]))
            weights.append(share / 2)
    rows, weights = np.array(rows), np.array(weights)
    mean = weights @ rows
    C = (rows - mean).T @ (weights[:, None] * (rows - mean))
    d = toy.n_columns
    return C[:d, :d] + toy.rho**2 * np.eye(d), C[:d, d:]


@pytest.mark.parametrize("p", [0.0, 0.01, 1 / 3, 0.6])
def test_population_quantities_are_those_of_the_enumerated_moments(p):
    toy = RareClassToy(p, tau=1.7, rho=0.4, n_columns=5)
    S, cross = moments(toy)
    assert np.abs(np.diag(S)[:2] - toy.signal - 0.16).max() < 1e-14
    views = canonical(ViewMoments(np.zeros(5), S + 0.25 * np.eye(5), S))
    first, second, other = toy.contrastive_correlations(0.5)
    assert np.abs(views.correlations - np.sort([first, second, *3 * [other]])[::-1]).max() < 1e-12
    leading = np.eye(5)[:, :2]
    assert subspace_angles(views.basis[:, :2], leading).max() < 1e-7
    explained = descending(cross.T @ np.linalg.solve(S, cross))[:2]
    assert np.abs(explained - np.sort(toy.supervised_strengths)[::-1]).max() < 1e-14


def test_supervised_strength_falls_with_the_square_of_the_rare_share():
    one, ten = RareClassToy(1e-4), RareClassToy(1e-3)
    ratio = ten.supervised_strengths[1] / one.supervised_strengths[1]
    assert ratio == pytest.approx(100, rel=0.01)
    assert ten.signal[1] == pytest.approx(0.25, rel=0.01)


def learned_by_simulation(toy, n, n_draws, seed):
    """Squared projections of e1 and e2 on both learned planes, shape (n_draws, 2 methods, 2)."""
    out = []
    for draw in range(n_draws):
        X, y = toy.sample(np.rint(toy.shares * n).astype(int), [seed, draw])
        X = X - X.mean(axis=0)
        principal = np.linalg.svd(X, full_matrices=False)[2][:2].T
        Y = np.eye(3)[y]
        discriminant = np.linalg.svd(np.linalg.lstsq(X, Y - Y.mean(axis=0))[0])[0][:, :2]
        out.append([(Q[:2] ** 2).sum(axis=1) for Q in (principal, discriminant)])
    return np.array(out)


@pytest.mark.parametrize(
    ("p", "tau", "rho", "d", "n"),
    [
        (0.01, 1.0, 0.3, 100, 600),
        (1 / 3, 1.0, 0.3, 100, 600),
        (0.05, 2.0, 0.6, 120, 480),
        (0.3, 1.0, 0.7, 150, 600),
    ],
)
def test_learned_directions_are_those_of_simulated_samples(p, tau, rho, d, n):
    toy = RareClassToy(p, tau, rho, d)
    found = learned_by_simulation(toy, n, 40, 4)
    expected = np.stack([toy.learned(method, n) for method in METHODS])
    assert within(found, expected, slack=1 / d)


def test_weak_direction_is_not_learned_without_labels():
    """Below the threshold signal / rho² = sqrt(d / n) principal directions miss e2."""
    toy = RareClassToy(0.01, tau=0.4, rho=0.5, n_columns=200)
    assert toy.signal[1] / 0.25 < np.sqrt(200 / 300)
    assert toy.learned("self-supervised", 300)[1] == 0
    assert learned_by_simulation(toy, 300, 10, 5)[:, 0, 1].mean() < 0.1


def test_population_limit():
    toy = RareClassToy(0.01)
    for method in METHODS:
        assert np.abs(toy.learned(method, np.inf) - 1).max() < 1e-15
        assert toy.relative_gap(method, np.inf) == 0
    none = RareClassToy(0.0)
    assert none.learned("supervised", np.inf).tolist() == [1.0, 0.0]
    assert none.learned("self-supervised", np.inf).tolist() == [1.0, 1.0]


def probe_accuracy(Z, y, Z_test, y_test):
    """Accuracy class by class of least squares on one-hot labels of balanced rows."""
    design = np.column_stack([np.ones(len(Z)), Z])
    coef = np.linalg.lstsq(design, np.eye(3)[y])[0]
    right = np.column_stack([np.ones(len(Z_test)), Z_test]) @ coef
    right = right.argmax(axis=1) == y_test
    return np.array([right[y_test == c].mean() for c in range(3)])


@pytest.mark.parametrize(
    ("tau", "rho", "cosines"),
    [(1.0, 0.3, (1.0, 0.3)), (2.5, 0.5, (0.8, 0.9)), (0.5, 0.8, (0.05, 0.6))],
)
def test_accuracy_is_that_of_a_fitted_probe(tau, rho, cosines):
    toy, half = RareClassToy(1 / 3, tau, rho, 4), 60_000
    X, y = toy.sample([2 * half] * 3, 6)
    c = np.sqrt(cosines)
    s = np.sqrt(1 - np.array(cosines))
    Z = X[:, :2] * c + X[:, 2:] * s
    train = np.tile(np.arange(2 * half) < half, 3)
    found = probe_accuracy(Z[train], y[train], Z[~train], y[~train])
    expected = toy.accuracy(cosines)
    assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / half) + 2e-3).all()


def test_accuracy_when_a_direction_is_missing():
    from scipy.special import ndtr

    toy = RareClassToy(0.1, rho=0.5)
    assert toy.accuracy([0.64, 0.0]) == pytest.approx([ndtr(1.6), ndtr(1.6), 0.0], abs=1e-12)
    assert np.abs(toy.accuracy([1.0, 1e-14]) - toy.accuracy([1.0, 0.0])).max() < 1e-6


def test_relative_gaps_are_those_of_simulated_pretraining():
    """Both samples drawn, both representations fitted, a probe on many balanced rows."""
    toy, n = RareClassToy(0.02, tau=1.0, rho=0.5, n_columns=60), 600
    X, y = toy.balanced.sample([4000] * 3, 7)
    X_test, y_test = toy.balanced.sample([10_000] * 3, 8)
    accuracy = np.empty((25, 2, 2))
    for draw in range(25):
        for b, case in enumerate((toy.balanced, toy)):
            S, t = case.sample(np.rint(case.shares * n).astype(int), [9, draw, b])
            center = S.mean(axis=0)
            principal = np.linalg.svd(S - center, full_matrices=False)[2][:2].T
            discriminant = ReducedRank(2).fit(S, t)
            for m, f in enumerate((lambda x, V=principal: x @ V, discriminant)):
                accuracy[draw, b, m] = probe_accuracy(f(X), y, f(X_test), y_test).mean()
    for m, method in enumerate(METHODS):
        found = relative_gap(accuracy[:, 0, m], accuracy[:, 1, m])
        assert abs(found.value - toy.relative_gap(method, n)) < 4 * found.se + 0.005
    assert toy.relative_gap("supervised", n) > 5 * toy.relative_gap("self-supervised", n) > 0


def test_rare_rows_needed_turn_features_halfway():
    toy = RareClassToy(0.02, tau=1.0, rho=0.6, n_columns=50)
    n = 1e5
    for _ in range(5):  # the variance within classes depends on the share
        needed = toy.rare_rows_needed(n)
        toy = RareClassToy(needed / n, tau=1.0, rho=0.6, n_columns=50)
    assert toy.learned("supervised", n)[1] == pytest.approx(0.5, abs=2e-3)
    assert RareClassToy(0.02, tau=1.0, rho=0.1, n_columns=50).rare_rows_needed(60) == np.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: RareClassToy(1.0), "rare_share"),
        (lambda: RareClassToy(np.nan), "rare_share"),
        (lambda: RareClassToy(0.1, tau=0.0), "tau > 0"),
        (lambda: RareClassToy(0.1, rho=np.inf), "rho > 0"),
        (lambda: RareClassToy(0.1, n_columns=2), "n_columns"),
        (lambda: RareClassToy(0.1).learned("both", 500), "method"),
        (lambda: RareClassToy(0.1).learned("supervised", -1), "positive"),
        (lambda: RareClassToy(0.1).learned("supervised", np.nan), "positive"),
        (lambda: RareClassToy(0.1).learned("supervised", 103), "more than 103"),
        (lambda: RareClassToy(0.1).accuracy([0.5, 1.5]), "squared cosines"),
        (lambda: RareClassToy(0.1).accuracy([0.5]), "squared cosines"),
        (lambda: RareClassToy(0.1).sample([10, 10], 0), "three whole numbers"),
        (lambda: RareClassToy(0.1).sample([10, 10, -1], 0), "three whole numbers"),
        (lambda: RareClassToy(0.1).contrastive_correlations(0.0), "noise"),
    ],
)
def test_toy_refuses(call, says):
    with pytest.raises((InputError, IdentificationError), match=says):
        call()


# --- supervised features


def test_reduced_rank_of_full_width_spans_the_discriminant_directions():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(10)
    y = rng.integers(0, 4, 300)
    X = rng.normal(size=(300, 7)) @ rng.normal(size=(7, 7)) + 2 * rng.normal(size=(4, 7))[y]
    features = ReducedRank(9).fit(X, y)
    directions = features(np.eye(7)) - features(np.zeros((1, 7)))
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(X, y)
    assert subspace_angles(directions, lda.scalings_[:, :3]).max() < 1e-7


def test_reduced_rank_minimises_the_squared_error():
    """No linear network of width 2 does better, from many random starts and a closed form."""
    rng = np.random.default_rng(11)
    y = rng.integers(0, 5, 200)
    X = rng.normal(size=(200, 6)) + 2 * rng.normal(size=(5, 6))[y]
    Y = np.eye(5)[y] - np.bincount(y) / 200

    def error(Z):
        Z = Z - Z.mean(axis=0)
        return ((Y - Z @ np.linalg.lstsq(Z, Y)[0]) ** 2).sum()

    best = error(ReducedRank(2).fit(X, y)(X))
    centered = X - X.mean(axis=0)
    fitted = centered @ np.linalg.lstsq(centered, Y)[0]
    singular = np.linalg.svd(fitted, compute_uv=False)
    assert best == pytest.approx((Y**2).sum() - (singular[:2] ** 2).sum(), rel=1e-10)
    assert min(error(X @ rng.normal(size=(6, 2))) for _ in range(300)) > best


def test_reduced_rank_refuses_dependent_columns():
    X = np.random.default_rng(12).normal(size=(6, 8))
    with pytest.raises(IdentificationError, match="span only 5 directions"):
        ReducedRank(1).fit(X, np.arange(6) % 2)


def blobs(n=120, seed=13):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return 4 * np.eye(3, 6)[y] + rng.normal(size=(n, 6)), y


def test_supervised_network_learns_and_repeats():
    training = pytest.importorskip("foretell.training")
    pytest.importorskip("optax")
    X, y = blobs()
    settings = training.Training(epochs=40, batch_size=40, learning_rate=1e-2, norm_cap=0.1)
    network = SupervisedNetwork(training.MLP((16,)), 4, Noise(0.3), settings)
    one, two, other = (network.fit(X, y, random_state=seed)(X) for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.allclose(one, other)
    assert probe_accuracy(one, y, one, y).min() > 0.9
    assert np.linalg.norm(one, axis=1).min() > 0.1  # no cap: the head saw these features


def test_supervised_network_reports_divergence():
    training = pytest.importorskip("foretell.training")
    pytest.importorskip("optax")
    X, y = blobs()
    settings = training.Training(epochs=5, learning_rate=1e30, schedule="constant")
    with pytest.raises(ConvergenceError, match="reduce learning_rate"):
        SupervisedNetwork(training.MLP((8,)), 2, training=settings).fit(X, y)


def test_counterpart_has_the_architecture_of_the_model():
    assert supervised_counterpart(SpectralContrastive(3, Noise(0.1))) == ReducedRank(3)
    network = SimpleNamespace(rank=3, encoder="net", augment=Noise(0.1), training="settings")
    found = supervised_counterpart(network)
    assert (found.encoder, found.rank, found.training) == ("net", 3, "settings")
    assert found.augment == Noise(0.1)
    with pytest.raises(InputError, match="set supervised="):
        supervised_counterpart(SimpleNamespace(rank="auto"))


# --- the experiment


@dataclass
class Spy:
    """Identity features; keeps the samples it was fitted to."""

    seen: list
    rank: int = 2
    random_state: int = 0

    def fit(self, source_or_X, y=None, *, random_state=None, **_):
        X = source_or_X if y is not None else source_or_X.X
        self.seen.append((X[:, -1], y, self.random_state if y is None else random_state))
        return (lambda rows: rows[:, :-1]) if y is not None else Identity()


class Identity:
    def encode(self, X):
        return X[:, :-1]


def numbered(n=400, seed=14):
    X, y = blobs(n, seed)
    return np.column_stack([X, np.arange(n)]), np.array(["a", "b", "c"])[y]


def test_samples_have_the_sizes_and_features_without_training_have_no_gap():
    X, y = numbered()
    model, supervised = Spy([]), Spy([])
    found = imbalance_gap(X, y, model, ratio=10, supervised=supervised, n_draws=4)
    assert found.sizes.sum() == found.balanced_sizes.sum() == found.n
    for method in METHODS:
        assert found.gap(method).value == found.gap(method).se == 0
    assert "do not tell" in found.verdict()
    assert "4 draws" in str(found)
    for draw in range(4):
        for b, sizes in enumerate((found.balanced_sizes, found.sizes)):
            rows, _, start = model.seen[2 * draw + b]
            same, codes, same_start = supervised.seen[2 * draw + b]
            assert np.array_equal(rows, same)
            assert start == same_start
            assert len(set(rows)) == len(rows)
            assert np.array_equal(np.array(["a", "b", "c"])[codes], y[rows.astype(int)])
            assert sorted(np.bincount(codes)) == sorted(sizes)
        even, tail = set(model.seen[2 * draw][0]), set(model.seen[2 * draw + 1][0])
        assert len(even & tail) == np.minimum(found.sizes, found.balanced_sizes).sum()
    assert len({start for *_, start in model.seen}) == 4
    used = set().union(*(rows for rows, *_ in model.seen))
    assert len(used) <= 400 - 2 * 3 * (133 // 4)
    assert model.random_state == 0


def test_order_and_sizes_are_kept():
    X, y = numbered()
    supervised = Spy([])
    found = imbalance_gap(
        X, y, Spy([]), sizes=[40, 10, 3], order=["c", "a", "b"], supervised=supervised, n_draws=2
    )
    assert found.sizes.tolist() == [40, 10, 3]
    assert found.ratio == pytest.approx(40 / 3)
    assert np.bincount(supervised.seen[1][1]).tolist() == [10, 3, 40]
    assert np.bincount(supervised.seen[0][1]).tolist() == [18, 17, 18]


def test_experiment_finds_the_gaps_of_the_toy():
    """Self-supervised features are more robust there, by the closed form and on samples."""
    from sklearn.linear_model import RidgeClassifier

    toy, n = RareClassToy(0.02, tau=1.0, rho=0.5, n_columns=50), 600
    X, y = toy.balanced.sample([1500] * 3, 15)
    X_test, y_test = toy.balanced.sample([4000] * 3, 16)
    found = imbalance_gap(
        X, y, SpectralContrastive(2, Noise(0.3)), sizes=[294, 294, 12], order=[0, 1, 2],
        X_probe=X, y_probe=y, X_test=X_test, y_test=y_test, probe=RidgeClassifier(1e-6), n_draws=8,
    )  # fmt: skip
    gap = found.gap("supervised")
    assert abs(gap.value - toy.relative_gap("supervised", n)) < 4 * gap.se + 0.01
    assert found.gap("self-supervised").value < 0.03
    assert found.advantage().value > 4 * found.advantage().se
    assert found.verdict().startswith("Self-supervised features are more robust")
    assert "rarer half" in found.verdict("rare")


def test_experiment_repeats_and_its_rows_hold_everything():
    X, y = blobs(600)
    model = SpectralContrastive(2, Noise(0.5))
    one, two = (imbalance_gap(X, y, model, ratio=20, n_draws=3, random_state=5) for _ in range(2))
    assert one.frame("pandas").equals(two.frame("pandas"))
    other = imbalance_gap(X, y, model, ratio=20, n_draws=3, random_state=6)
    assert not one.frame("pandas").equals(other.frame("pandas"))
    rows = one.frame("pandas").to_dict("records")
    for method in METHODS:
        for sample in ("balanced", "imbalanced"):
            kept = [r for r in rows if r["method"] == method and r["sample"] == sample]
            classes = [r["accuracy"] for r in kept if r["position"] >= 0]
            means = [r["accuracy"] for r in kept if r["domain"] == "in" and r["position"] == -1]
            assert len(classes) == 9
            assert np.mean(classes) == pytest.approx(np.mean(means), abs=1e-15)
    rare = one.accuracies("supervised").means("rare")[1]
    assert np.array_equal(rare, one.supervised.imbalanced[:, -1])


def test_out_of_domain_probe_is_judged_there():
    X, y = blobs(600)
    other, labels = blobs(200, 17)
    away = (other[:100], labels[:100] > 0, other[100:], labels[100:] > 0)
    model = SpectralContrastive(2, Noise(0.5))
    found = imbalance_gap(X, y, model, ratio=10, n_draws=2, out_of_domain=away)
    assert found.domains == ("in", "rare", "out")
    assert found.supervised.balanced_out.shape == (2,)
    assert found.gap("supervised", "out").value < 0.5
    assert "out of domain" in found.verdict("out")
    without = imbalance_gap(X, y, model, ratio=10, n_draws=2)
    assert np.array_equal(found.supervised.imbalanced, without.supervised.imbalanced)
    with pytest.raises(InputError, match="out_of_domain rows were given"):
        without.gap("supervised", "out")


@pytest.mark.slow
def test_network_is_compared_with_the_same_network_with_labels():
    training = pytest.importorskip("foretell.training")
    pytest.importorskip("optax")
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    settings = training.Training(epochs=15, batch_size=128, norm_cap=3.0)
    model = SpectralContrastive(8, Noise(2.0), encoder=training.MLP((32,)), training=settings)
    found = imbalance_gap(X, y, model, ratio=20, n_draws=2)
    for method in METHODS:
        assert found.accuracies(method).balanced.mean() > 0.6


BAD = {
    "one draw": ({"n_draws": 1}, "n_draws is a whole number >= 2"),
    "ratio": ({"ratio": 0.5}, "at least 1"),
    "seed": ({"random_state": -1}, "random_state"),
    "too many rows": ({"n": 300}, "lower n"),
    "too few rows": ({"n": 20, "ratio": 100}, "raise n"),
    "kind": ({"kind": "step"}, "kind"),
    "sizes": ({"sizes": [5, 10, 3]}, "do not increase"),
    "number of sizes": ({"sizes": [5, 3]}, "for 3 classes"),
    "empty class": ({"sizes": [5, 3, 0]}, "whole numbers >= 1"),
    "order": ({"order": [0, 1, 1]}, "once"),
    "half a test": ({"X_test": np.ones((3, 6))}, "both X_test and y_test"),
    "classes of the test": (
        {"X_test": np.ones((4, 6)), "y_test": [0, 1, 0, 1]}, "expected the same",
    ),
    "columns of the probe": (
        {"X_probe": np.ones((3, 5)), "y_probe": [0, 1, 2]}, "5 columns where X has 6",
    ),
    "domain": ({"out_of_domain": (1, 2)}, "found 2 entries"),
    "one class elsewhere": (
        {"out_of_domain": (np.ones((4, 6)), np.zeros(4), np.ones((4, 6)), np.zeros(4))},
        "at least 2 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_experiment_refuses(name):
    options, says = BAD[name]
    X, y = blobs(240)
    with pytest.raises(InputError, match=says):
        imbalance_gap(X, y, Spy([]), supervised=Spy([]), **({"ratio": 5, "n_draws": 2} | options))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda X, y: (X, np.zeros_like(y)), "at least 2 classes"),
        (lambda X, y: (np.where(X[0, 0] == X, np.nan, X), y), "not finite"),
        (lambda X, y: (X, np.where(y == 0, np.nan, y)), "missing"),
        (lambda X, y: (X[:10], y), r"found \(10, 6\) and \(240,\)"),
        (lambda X, y: (X[:9], y[:9]), "has 3 rows"),
        (lambda X, y: (X[0], y), "has shape"),
    ],
)
def test_experiment_refuses_rows(change, says):
    X, y = change(*blobs(240))
    with pytest.raises(InputError, match=says):
        imbalance_gap(X, y, Spy([]), supervised=Spy([]), ratio=5, n_draws=2)
