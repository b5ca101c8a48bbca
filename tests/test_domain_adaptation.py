"""Classes in domains: closed forms against the embedding of the graph and a least-squares head."""

import itertools

import numpy as np
import pytest

from foretell.data.augmentations import Noise
from foretell.errors import InputError
from foretell.experiments.domain_study import domain_adaptation
from foretell.models import SpectralContrastive
from foretell.theory.connectivity import connectivity_of_rows
from foretell.theory.domain_adaptation import DomainToy

LEVELS = ("constant", "class", "domain", "both")


def block_weights(rho, alpha, beta, gamma, n_classes=2, n_domains=2):
    """W by a loop over pairs of vertices, domain by domain; the arguments may be arrays."""
    vertices = [(d, c) for d in range(n_domains) for c in range(n_classes)]
    W = np.zeros((*np.shape(rho), len(vertices), len(vertices)))
    for (i, (d, c)), (j, (e, b)) in itertools.product(enumerate(vertices), enumerate(vertices)):
        one = rho if (c, d) == (b, e) else alpha if c == b else beta if d == e else gamma
        W[..., i, j] = one
    return W / W.sum(axis=(-2, -1), keepdims=True)


def embedding(W, k):
    """Features of the minimum of the spectral contrastive loss, (..., n, k)."""
    degrees = W.sum(axis=-1)
    root = np.sqrt(degrees)
    values, vectors = np.linalg.eigh(W / root[..., :, None] / root[..., None, :])
    values, vectors = values[..., ::-1][..., :k], vectors[..., ::-1][..., :k]
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :] / root[..., None]


def least_squares_scores(features, n_sources, n_classes):
    """Scores (..., n, n_classes) of the minimum-norm head fitted on the first vertices."""
    targets = np.tile(np.eye(n_classes), (n_sources, 1))
    head = np.linalg.pinv(features[..., : len(targets), :], rcond=1e-10) @ targets
    return features @ head


def accuracy(scores, classes):
    """Share of rows whose class has the largest score; a tie counts in parts."""
    best = scores >= scores.max(axis=-1, keepdims=True) - 1e-9
    right = np.take_along_axis(best, np.broadcast_to(classes[:, None], best[..., :1].shape), -1)
    return (right[..., 0] / best.sum(axis=-1)).mean(axis=-1)


def random_weights(n, rng, *, rho_largest=True):
    alpha, beta, gamma = rng.random((3, n))
    rho = np.maximum(alpha, np.maximum(beta, gamma)) if rho_largest else np.zeros(n)
    return rho + rng.random(n), alpha, beta, gamma


def test_three_features_transfer_exactly_when_alpha_exceeds_gamma():
    """Accuracy one or zero on 1,000 random draws, by the embedding and a least-squares head."""
    draws = random_weights(1000, np.random.default_rng(0))
    scores = least_squares_scores(embedding(block_weights(*draws), 3), 1, 2)
    found = accuracy(scores[:, 2:], np.array([0, 1]))
    assert np.array_equal(found, draws[1] > draws[3])
    assert 400 < found.sum() < 600
    closed = [DomainToy(*draw).transfer(3).target_accuracy for draw in zip(*draws, strict=True)]
    assert np.array_equal(found, closed)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("rho_largest", [True, False])
def test_accuracy_and_score_for_any_weights(k, rho_largest):
    """Also where rho is small, so that eigenvalues are negative."""
    draws = random_weights(300, np.random.default_rng(k), rho_largest=rho_largest)
    features = embedding(block_weights(*draws), k)
    scores = least_squares_scores(features, 1, 2)
    for i, draw in enumerate(zip(*draws, strict=True)):
        toy = DomainToy(*draw).transfer(k)
        assert toy.target_accuracy == accuracy(scores[i, 2:], np.array([0, 1]))
        assert toy.source_accuracy == accuracy(scores[i, :2], np.array([0, 1]))
        gap = scores[i, 2, 0] - scores[i, 2, 1]
        assert gap == pytest.approx(toy.target_score, abs=1e-7)


@pytest.mark.parametrize(("n_classes", "n_domains"), [(2, 2), (3, 2), (2, 3), (4, 3), (5, 4)])
def test_many_classes_and_domains(n_classes, n_domains):
    """Every number of features and of sources, where the features are determined."""
    rng = np.random.default_rng(n_classes + 10 * n_domains)
    n = n_classes * n_domains
    classes = np.tile(np.arange(n_classes), n_domains)
    seen = set()
    for draw in zip(*random_weights(12, rng, rho_largest=rng.random() < 0.5), strict=True):
        toy = DomainToy(*draw, n_classes=n_classes, n_domains=n_domains)
        for k, s in itertools.product(range(1, n + 1), range(1, n_domains)):
            outcome = toy.transfer(k, s)
            if outcome.target_accuracy is None:
                assert {"class", "both"} & set(outcome.cut)
                assert "not determined" in outcome.verdict
                continue
            scores = least_squares_scores(embedding(toy.weights, k), s, n_classes)
            m = s * n_classes
            found = accuracy(scores[:m], classes[:m]), accuracy(scores[m:], classes[m:])
            assert found == pytest.approx((outcome.source_accuracy, outcome.target_accuracy))
            if outcome.source_accuracy == 1.0:
                assert scores[m, 0] - scores[m, 1] == pytest.approx(outcome.target_score, abs=1e-7)
            seen.add(outcome.target_accuracy)
    assert {0.0, 1.0} <= seen


@pytest.mark.parametrize(("n_classes", "n_domains"), [(2, 2), (3, 2), (4, 3)])
def test_eigenvalues_and_eigenvectors(n_classes, n_domains):
    toy = DomainToy(0.9, 0.4, 0.7, 0.2, n_classes=n_classes, n_domains=n_domains)
    W = block_weights(0.9, 0.4, 0.7, 0.2, n_classes, n_domains)
    np.testing.assert_allclose(toy.weights, W, atol=1e-15)
    normalized = W * toy.n_vertices
    for level in LEVELS:
        V = toy.eigenvectors(level)
        assert V.shape == (toy.n_vertices, toy.multiplicities[level])
        np.testing.assert_allclose(V.T @ V, np.eye(V.shape[1]), atol=1e-14)
        np.testing.assert_allclose(normalized @ V, toy.eigenvalues[level] * V, atol=1e-14)
    assert sum(toy.multiplicities.values()) == toy.n_vertices


def test_order_of_eigenvalues_is_the_order_of_connections():
    for draw in zip(*random_weights(100, np.random.default_rng(3)), strict=True):
        values = DomainToy(*draw).eigenvalues
        order = np.argsort([values["class"], values["domain"], values["both"]])
        assert np.array_equal(order, np.argsort(draw[1:]))


def test_domain_largest_hides_the_class_from_two_features():
    """With k = 2 the class has to be the strongest connection."""
    toy = DomainToy(1.0, 0.3, 0.5, 0.1)
    assert toy.transfer(2).source_accuracy == toy.transfer(2).target_accuracy == 0.5
    assert "on the source either" in toy.transfer(2).verdict
    assert toy.transfer(3).target_accuracy == toy.transfer(4).target_accuracy == 1.0
    assert DomainToy(1.0, 0.5, 0.3, 0.1).transfer(2).target_accuracy == 1.0
    assert DomainToy(1.0, 0.1, 0.3, 0.5).transfer(2).target_accuracy == 0.0


def test_a_small_rho_can_lose_the_class():
    """alpha > gamma is not enough: with rho + alpha < beta + gamma nothing is learned."""
    toy = DomainToy(0.1, 0.3, 0.9, 0.2)
    assert toy.eigenvalues["class"] < 0
    assert toy.transfer(3).target_accuracy == 0.5


def test_ties():
    """alpha = gamma: four features give chance, three are not determined unless beta is small."""
    tie = DomainToy(1.0, 0.2, 0.4, 0.2)
    assert tie.transfer(4).target_accuracy == 0.5
    assert tie.transfer(3).target_accuracy is None
    assert tie.transfer(3).cut == ("class", "both")
    assert DomainToy(1.0, 0.2, 0.1, 0.2).transfer(3).target_accuracy == 0.5
    disconnected = DomainToy(1.0, 0.0, 0.0, 0.0)
    assert disconnected.transfer(4).target_accuracy == 0.5
    assert disconnected.transfer(2).target_accuracy is None


def test_supervised_learning_needs_augmentation_to_say_anything_of_the_target():
    toy = DomainToy(1.0, 0.3, 0.2, 0.1, n_classes=4)
    assert toy.supervised() == 0.25
    assert toy.supervised(augmented=True) == 1.0
    assert DomainToy(1.0, 0.1, 0.2, 0.3).supervised(augmented=True) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, -0.1, 0.2, 0.3), "finite, >= 0"),
        ((1.0, np.nan, 0.2, 0.3), "finite, >= 0"),
        ((0.0, 0.0, 0.0, 0.0), "not all zero"),
    ],
)
def test_bad_weights(arguments, message):
    with pytest.raises(InputError, match=message):
        DomainToy(*arguments)


def test_bad_numbers():
    toy = DomainToy(1.0, 0.3, 0.2, 0.1)
    with pytest.raises(InputError, match="n_classes is a whole number >= 2"):
        DomainToy(1.0, 0.3, 0.2, 0.1, n_classes=1)
    with pytest.raises(InputError, match="n_features is a whole number from 1 to 4"):
        toy.transfer(5)
    for k in (2.5, True, "2", None):
        with pytest.raises(InputError, match="n_features is a whole number from 1 to 4"):
            toy.transfer(k)
    for rho in ("1", True, None, 1j):
        with pytest.raises(InputError, match="rho is a real number"):
            DomainToy(rho, 0.3, 0.2, 0.1)
    with pytest.raises(InputError, match="n_sources is a whole number from 1 to 1"):
        toy.transfer(3, 2)


def shifted_domains(n, rng, *, swapped=False):
    """Two classes in two domains, on the axes of two columns; two columns of noise."""
    y, d = rng.integers(0, 2, n), rng.integers(0, 2, n)
    side = (y + d) % 2 if swapped else y
    X = 0.5 * rng.standard_normal((n, 4))
    X[:, 0] += 3.0 * (2 * side - 1)
    X[:, 1] += 3.0 * (2 * d - 1)
    return X[d == 0], y[d == 0], X[d == 1], y[d == 1]


def study(parts, **options):
    X, y, X_target, y_target = parts
    options = {"n_draws": 3, "y_target": y_target, **options}
    return domain_adaptation(X, y, X_target, SpectralContrastive(2, Noise(0.7)), **options)


def test_the_experiment_agrees_with_the_toy():
    """Aligned classes transfer, exchanged ones fail, by the connections of the same rows."""
    for swapped, accuracy_expected, word in ((False, 1.0, "work"), (True, 0.0, "fail")):
        parts = shifted_domains(600, np.random.default_rng(1), swapped=swapped)
        found = study(parts)
        for name in ("contrastive on both", "contrastive on both, walk", "raw"):
            assert found.source[name].mean() > 0.98
            assert found.target[name].mean() == pytest.approx(accuracy_expected, abs=0.03)
        assert ("than chance" in found.verdict()) == swapped
        X = np.concatenate([parts[0], parts[2]])
        domain = np.repeat([0, 1], [len(parts[0]), len(parts[2])])
        connected = connectivity_of_rows(
            X, np.concatenate([parts[1], parts[3]]), domain, lambda X, rng: X + 2 * rng.normal(
                size=X.shape), n_views=4,
        )  # fmt: skip
        assert f"should {word}" in connected.verdict


def test_augmentation_that_joins_domains_is_what_transfers():
    """Domains at random places of one column; only views that move it hide the place.

    Without them the place is a feature as good as the class, and a head of the source, where
    both go together, follows it.
    """
    rng = np.random.default_rng(0)
    n = 500
    y = rng.integers(0, 2, 2 * n)
    d = np.repeat([0, 1], n)
    X = 0.3 * rng.standard_normal((2 * n, 4))
    X[:, 0] += 1.0 * (2 * y - 1)
    X[:, 1] += np.where(d == 0, 2.0 * (2 * y - 1), 2.0 * rng.choice([-1, 1], 2 * n))

    def moving(X, rng):
        out = X + 0.2 * rng.standard_normal(X.shape)
        out[:, 1] = 2.0 * rng.standard_normal(len(X))
        return out

    parts = X[:n], y[:n], X[n:]
    still = domain_adaptation(*parts, SpectralContrastive(1, Noise(0.2)), y_target=y[n:], n_draws=3)
    moved = domain_adaptation(*parts, SpectralContrastive(1, moving), y_target=y[n:], n_draws=3)
    assert still.target["contrastive on both"].mean() < 0.7
    assert moved.target["contrastive on both"].mean() > 0.97
    assert "helps" in moved.verdict()
    assert "no better on the target than chance" in still.verdict()


def test_without_target_labels_there_are_predictions_and_no_error():
    parts = shifted_domains(300, np.random.default_rng(2))
    found = study(parts, y_target=None, n_labels=20)
    assert found.target is None
    assert found.n_labels == 20
    assert not any("both labels" in name for name in found.methods)
    for predicted in found.predictions.values():
        assert predicted.shape == (3, len(parts[2]))
    assert "cannot be known without target labels" in str(found)
    assert np.isnan(found.frame("pandas")["target_accuracy"]).all()
    with pytest.raises(InputError, match="cannot be known"):
        found.difference("raw", "contrastive on both")


def test_results_repeat_and_keep_labels():
    X, y, X_target, y_target = shifted_domains(200, np.random.default_rng(3))
    names = np.array(["cat", "dog"])
    parts = X, names[y], X_target, names[y_target]
    one, two = study(parts), study(parts)
    for name in one.methods:
        assert np.array_equal(one.target[name], two.target[name])
    assert set(one.predictions["raw"].ravel()) <= {"cat", "dog"}
    plain = study((X, y, X_target, y_target))
    assert plain.target["contrastive on both"] == pytest.approx(one.target["contrastive on both"])
    assert "accuracy (%)" in str(one)
    assert len(one.frame("pandas")) == 3 * len(one.methods)
    with pytest.raises(InputError, match="no method"):
        one.difference("raw", "magic")


def test_target_rows_for_testing_are_not_seen_in_pretraining():
    """Whatever their values, features and so accuracies stay the same."""
    seen = []

    class Spy:
        def fit(self, source):
            seen.append(np.concatenate([chunk.X for chunk in source.chunks()]))
            return self

        def encode(self, X):
            return X

    X, y, X_target, y_target = shifted_domains(100, np.random.default_rng(4))
    domain_adaptation(X, y, X_target, Spy(), y_target=y_target, n_draws=2, test_share=0.5)
    both, alone = seen[:2]
    assert len(both) == len(alone) + len(X_target) - round(0.5 * len(X_target))
    assert {tuple(row) for row in alone} < {tuple(row) for row in X}
    assert len(np.unique(both, axis=0)) == len(both)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X_source": np.full((40, 3), np.nan)}, "X_source holds finite numbers"),
        ({"X_target": np.zeros((30, 2))}, "same columns"),
        ({"y_source": np.zeros(39)}, "one label a row"),
        ({"y_source": np.zeros(40)}, "at least two classes"),
        ({"y_source": np.arange(40) // 38}, "four source rows"),
        ({"y_target": np.full(30, 7)}, "classes that the source lacks"),
        ({"n_labels": 3}, "n_labels is 4"),
        ({"probe": "magic"}, "probe is one of"),
        ({"test_share": 1.0}, "test_share"),
        ({"n_draws": 1}, "n_draws is a whole number >= 2"),
    ],
)
def test_bad_domains(change, message):
    rng = np.random.default_rng(5)
    given = {
        "X_source": rng.standard_normal((40, 3)),
        "y_source": np.arange(40) % 2,
        "X_target": rng.standard_normal((30, 3)),
        **change,
    }
    with pytest.raises(InputError, match=message):
        domain_adaptation(model=SpectralContrastive(1, Noise(0.1)), **given)


def test_rotation_joins_rotated_digits():
    """A network on images turned by 90 degrees: rotating views carry the labels over."""
    from sklearn.datasets import load_digits

    from foretell.data.augmentations import Compose
    from foretell.data.image_augmentations import Affine
    from foretell.training import MLP, Training

    X, y = load_digits(n_class=4, return_X_y=True)
    X = X / 16
    turned = np.rot90(X[360:].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    views = Compose(Affine((8, 8), rotation=110.0, scale=(0.9, 1.1), bend=0.2), Noise(0.1))
    model = SpectralContrastive(
        16, views, encoder=MLP((128,)),
        training=Training(epochs=30, batch_size=128, norm_cap=2.0, learning_rate=3e-3),
    )  # fmt: skip

    class Columns:
        def fit(self, X, y, *, random_state=0):
            return lambda rows: rows

    found = domain_adaptation(
        X[:360], y[:360], turned, model, y_target=y[360:], supervised=Columns(), n_draws=2
    )
    assert found.target["supervised"] == pytest.approx(found.target["raw"])
    assert found.difference("contrastive on both", "raw").value > 0.12
    assert found.target["contrastive on both"].mean() > 0.65
