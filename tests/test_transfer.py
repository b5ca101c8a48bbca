"""Transfer heads against walks on the graph, brute force, and sampled block graphs."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from foretell.errors import InputError
from foretell.theory.connectivity import connectivity_of_graph, connectivity_of_rows
from foretell.theory.domain_adaptation import DomainToy
from foretell.theory.graphs.graph import PositivePairGraph
from foretell.theory.graphs.probe import chance_wrong
from foretell.theory.transfer import (
    _ties,
    choose_steps,
    graph_features,
    source_mass,
    transfer,
    transfer_head,
)
from foretell.theory.transfer_bounds import relative_connections, transfer_bound


def random_graph(n, rng, *, density=0.5):
    """Weights with a random diagonal, so that no vertex is isolated."""
    W = np.triu(rng.random((n, n)) * (rng.random((n, n)) < density), 1)
    W = W + W.T + np.diag(rng.random(n) + 0.1)
    return W / W.sum()


def random_parts(n, c, rng):
    """Labels, and masks of a source and a target that do not cover all vertices."""
    labels = rng.integers(0, c, n)
    labels[: 2 * c] = np.tile(np.arange(c), 2)
    part = rng.integers(0, 3, n)
    part[: 2 * c] = np.repeat([0, 1], c)
    return labels, part == 0, part == 1


def block_graph(P, n_nodes, seed):
    """Weights of a graph with independent edges of probability P between blocks; blocks."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(len(P)), n_nodes)
    upper = np.triu(rng.random((len(block),) * 2) < P[np.ix_(block, block)], 1)
    W = (upper | upper.T).astype(float)
    alone = W.sum(axis=1) == 0
    W[alone, alone] = 1.0
    return W, block


def toy_graph(rho, alpha, beta, gamma, n_nodes, seed):
    """Block graph of two classes in two domains; classes, and masks of source and target."""
    toy = DomainToy(rho, alpha, beta, gamma)
    W, block = block_graph(toy.weights * rho / toy.weights[0, 0], n_nodes, seed)
    return W, toy.classes[block], toy.domains[block] == 0, toy.domains[block] == 1


def near_classes(seed):
    """Classes 0 and 1 near each other, far from 2, in two weakly connected domains."""
    C = np.array([[0.3, 0.15, 0.01], [0.15, 0.3, 0.01], [0.01, 0.01, 0.3]])
    W, block = block_graph(np.kron([[1, 1 / 6], [1 / 6, 1]], C), 40, seed)
    return W, block % 3, block < 3, block >= 3


def brute_walk(W, labels, source, k, t):
    """Mass of the walk cut to rank k from powers of a dense matrix, shape (n, c)."""
    w = W.sum(axis=1)
    values, vectors = np.linalg.eigh(W / np.sqrt(np.outer(w, w)))
    top = np.argsort(-values)[:k]
    V = vectors[:, top] * np.maximum(values[top], 0.0) ** t
    power = V @ vectors[:, top].T
    walk = power * np.sqrt(w) / np.sqrt(w)[:, None]
    indicator = (labels[:, None] == np.arange(labels.max() + 1)) & source[:, None]
    return walk @ indicator


@pytest.mark.parametrize("seed", range(8))
def test_score_is_the_mass_of_a_walk_cut_to_rank_k(seed):
    """Times the mass of the class, to 1e-10, for any degrees, k and t."""
    rng = np.random.default_rng(seed)
    n, c = 30, 2 + seed % 3
    W = random_graph(n, rng)
    labels, source, target = random_parts(n, c, rng)
    for k, t in [(1, 1), (4, 1), (4, 3), (n - 1, 2), (12, 6)]:
        found = transfer(W, labels, source, target, k, t)
        mass = brute_walk(W, labels, source, k, t)
        np.testing.assert_allclose(found.scores * found.head.class_mass, mass[target], atol=1e-10)
        if k > 1:  # a constant feature leaves ties
            wrong = (mass[target] / found.head.class_mass).argmax(axis=1) != labels[target]
            error = np.average(wrong, weights=W.sum(axis=1)[target])
            assert found.error == pytest.approx(error, abs=1e-12)


def test_source_mass_is_a_power_of_the_transition_matrix():
    rng = np.random.default_rng(0)
    W = random_graph(25, rng)
    labels, source, _ = random_parts(25, 3, rng)
    P = np.linalg.matrix_power(W / W.sum(axis=1, keepdims=True), 4)
    expected = P @ ((labels[:, None] == np.arange(3)) & source[:, None])
    known = np.where(source, labels, -1)
    np.testing.assert_allclose(source_mass(W, known, 4), expected, atol=1e-13)
    np.testing.assert_allclose(source_mass(csr_array(W), known, 4), expected, atol=1e-13)
    everywhere = source_mass(W, labels, 4).sum(axis=1)
    np.testing.assert_allclose(everywhere, 1.0, atol=1e-13)


def test_features_have_the_eigenvalues_as_second_moments():
    W = random_graph(20, np.random.default_rng(1))
    f, w = graph_features(W, 5), W.sum(axis=1)
    values = np.linalg.eigvalsh(W / np.sqrt(np.outer(w, w)))[::-1][:5]
    np.testing.assert_allclose((f * w[:, None]).T @ f, np.diag(np.maximum(values, 0)), atol=1e-8)


def test_head_does_not_depend_on_the_basis_or_the_scale_of_weights():
    """Learned features come with any rotation."""
    rng = np.random.default_rng(2)
    f, w = rng.standard_normal((40, 4)), rng.random(40) + 0.1
    labels = np.where(np.arange(40) < 20, np.arange(40) % 3, -1)
    Q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    one = transfer_head(f, w, labels, 3).scores(f)
    two = transfer_head(f @ Q, 7 * w, labels, 3).scores(f @ Q)
    np.testing.assert_allclose(one, two, atol=1e-12)
    assert choose_steps(f, w, labels).errors == pytest.approx(
        choose_steps(f @ Q, 7 * w, labels).errors
    )


def test_leaving_out_a_row_is_a_refit_without_its_label():
    rng = np.random.default_rng(3)
    f, w = rng.standard_normal((24, 3)) + 0.5, rng.random(24) + 0.1
    labels = np.where(np.arange(24) < 15, np.arange(24) % 2, -1)
    choice = choose_steps(f, w, labels, (1, 4))
    for t, error in zip(choice.candidates, choice.errors, strict=True):
        wrong = 0
        for i in range(15):
            without = np.where(np.arange(24) == i, -1, labels)
            wrong += transfer_head(f, w, without, int(t)).predict(f[[i]])[0] != labels[i]
        assert error == pytest.approx(wrong / 15)


def errors(parts, k, t):
    return np.array([transfer(*part, k, t).error for part in parts])


def test_longer_walks_help_where_noise_fills_the_features():
    """Many features of a sparse graph: accuracy from about .85 to 1.00; the source agrees."""
    parts = [toy_graph(0.3, 0.06, 0.06, 0.02, 40, seed) for seed in range(4)]
    short, long = errors(parts, 40, 1), errors(parts, 40, 8)
    assert 0.10 < short.mean() < 0.20
    assert long.mean() < 0.01
    chosen = [transfer(*part, 40) for part in parts]
    assert min(found.choice.steps for found in chosen) >= 5
    assert np.mean([found.error for found in chosen]) < 0.01


def test_longer_walks_hurt_where_two_classes_are_near():
    """A walk forgets the smaller difference first: from about .93 to .63; the source sees it."""
    parts = [near_classes(seed) for seed in range(8)]
    short, long = errors(parts, 6, 2).mean(), errors(parts, 6, 13).mean()
    assert short < 0.1
    assert long > 0.3
    chosen = [transfer(*part, 6) for part in parts]
    assert max(found.choice.steps for found in chosen) <= 5
    assert np.mean([found.error for found in chosen]) < (short + long) / 3


def target_accuracy(parts, k=3):
    """Accuracy of the minimum-norm least-squares head, as the toy has it."""
    W, y, source, target = parts
    f = graph_features(W, k)
    head = np.linalg.lstsq(f[source], np.eye(2)[y[source]])[0]
    return np.mean((f[target] @ head).argmax(axis=1) == y[target])


@pytest.mark.parametrize(
    ("weights", "limit", "small"),
    [((0.5, 0.3, 0.3, 0.2), 1.0, (0.8, 0.97)), ((0.6, 0.1, 0.25, 0.2), 0.0, (0.0, 0.1))],
)
def test_sampled_blocks_approach_the_toy(weights, limit, small):
    """25 nodes a block blur the verdict, 100 give it: .88 and 1.00, or .04 and 0."""
    assert DomainToy(*weights).transfer(3).target_accuracy == limit
    found = [target_accuracy(toy_graph(*weights, 25, seed)) for seed in range(20)]
    assert small[0] < np.mean(found) < small[1]
    for seed in range(3):
        assert target_accuracy(toy_graph(*weights, 100, seed)) == pytest.approx(limit, abs=0.02)


def test_bound_is_never_violated():
    """On 150 graphs, with k from one to all vertices; and it is not always trivial."""
    useful = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        if seed % 3 == 0:
            W = random_graph(24, rng)
            labels, source, target = random_parts(24, 2 + seed % 2, rng)
        else:
            a, g = rng.random(2) * 0.5
            W, labels, source, target = toy_graph(0.9, a, rng.random() * 0.5, g, 12, seed)
        k, t = int(rng.integers(1, len(W))), int(rng.integers(1, 5))
        bound = transfer_bound(W, labels, source, target, k, t)
        error = transfer(W, labels, source, target, k, t).error
        assert error <= bound.floor + 1e-12
        assert bound.kind == "bound"
        useful += bound.floor < 0.5
    assert useful > 20


@pytest.mark.parametrize("seed", range(6))
def test_bound_is_a_linear_program(seed):
    """The most mass of errors that the mean square of the cut can pay for, by another solver."""
    rng = np.random.default_rng(seed)
    W, y, source, target = toy_graph(0.9, 0.5, 0.3, 0.1 + 0.1 * (seed % 2), 10, seed)
    k, t = int(rng.integers(2, 8)), 1 + seed % 3
    w = W.sum(axis=1) / W.sum()
    values, vectors = np.linalg.eigh(W / W.sum() / np.sqrt(np.outer(w, w)))
    member = ((y[:, None] == [0, 1]) & source[:, None]).astype(float)
    mass = w @ member
    rest = vectors[:, :-k]
    square = np.abs(values[:-k]).max() ** (2 * t)
    square *= ((rest.T @ (np.sqrt(w)[:, None] * member / mass)) ** 2).sum() / w[target].sum()
    P = np.linalg.matrix_power(W / W.sum(axis=1, keepdims=True), t)
    scores = (P @ (member / mass))[target]
    margin = (scores[:, 0] - scores[:, 1]) * np.where(y[target] == 0, 1, -1)
    share = w[target] / w[target].sum()
    price = np.where(margin > 0, share * margin**2 / 2, 0.0)
    found = linprog(-share, A_ub=price[None] * 1e3, b_ub=[square * 1e3], bounds=(0, 1))
    bound = transfer_bound(W, y, source, target, k, t)
    assert bound.floor == pytest.approx(-found.fun, abs=1e-5)


def test_bound_is_the_error_of_the_walk_when_nothing_is_cut():
    """A Gram matrix with all its eigenvectors."""
    rng = np.random.default_rng(5)
    A = rng.random((15, 40)) ** 4
    W = A @ A.T
    labels, source, target = random_parts(15, 2, rng)
    bound = transfer_bound(W, labels, source, target, 14, 40)
    walk = bound.factors["walk error"]
    assert bound.floor == pytest.approx(walk, abs=1e-6)
    assert transfer(W, labels, source, target, 14, 1).error is not None


def test_relative_connections_by_hand():
    W, y, source, target = toy_graph(0.9, 0.4, 0.3, 0.2, 10, 0)
    found = relative_connections(W, y, source, target)
    for i in range(2):
        inside = target & (y == i)
        for j in range(2):
            phi = W[np.ix_(inside, source & (y == j))].sum() / W[inside].sum()
            assert found.connection[i, j] == pytest.approx(phi)
        own = W[np.ix_(inside, source & (y == i))].sum(axis=1) / W[inside].sum(axis=1)
        assert found.same_least[i] == pytest.approx(own.min())
    assert found.ratio == pytest.approx(min(found.same / found.cross))
    assert "expected" in found.verdict
    flipped = relative_connections(*toy_graph(0.9, 0.2, 0.3, 0.4, 10, 0))
    assert flipped.ratio < 1
    assert "expect errors" in flipped.verdict


def test_connectivity_of_a_sampled_graph_finds_the_four_weights():
    """Up to scale, within four standard errors of edge counts; and so the prediction."""
    weights = (0.6, 0.3, 0.25, 0.1)
    W, y, source, _ = toy_graph(*weights, 60, 0)
    found = connectivity_of_graph(W, y, np.where(source, "photo", "sketch"))
    ratios = np.array([found.alpha, found.beta]) / found.gamma
    expected = np.array(weights[1:3]) / weights[3]
    count = 2 * 60**2
    relative = np.sqrt(0.9 / (0.1 * count) + 0.75 / (0.25 * count))
    np.testing.assert_allclose(ratios, expected, rtol=4 * relative)
    assert found.toy.transfer(3).target_accuracy == 1.0
    assert "should work:" in found.verdict


def test_connections_do_not_depend_on_the_size_of_groups():
    """Pairs drawn independently connect all groups alike, whatever their masses."""
    w = np.random.default_rng(0).random(20)
    found = connectivity_of_graph(np.outer(w, w), np.arange(20) % 2, np.arange(20) // 13)
    four = [found.rho, found.alpha, found.beta, found.gamma]
    np.testing.assert_allclose(four, 1.0, atol=1e-12)


def test_one_class_may_stay_while_two_are_exchanged():
    """Own class nearest for one of three; by the weights of a graph of six vertices."""
    near = np.kron([[3.0, 0.0], [0.0, 3.0]], np.eye(3)) + 0.1
    across = np.array([[1.0, 1.2, 0.0], [1.2, 1.0, 0.0], [0.0, 0.0, 2.0]])
    W = near + np.kron([[0.0, 1.0], [1.0, 0.0]], across)
    found = connectivity_of_graph(W, np.tile([0, 1, 2], 2), np.repeat([0, 1], 3))
    assert found.own_nearest == pytest.approx(1 / 3)
    assert found.alpha > found.gamma


def test_connectivity_of_rows_keeps_the_order():
    """Classes far apart, domains near, and the other way round in the mirrored domain."""
    rng = np.random.default_rng(0)
    y, d = rng.integers(0, 3, 900), rng.integers(0, 2, 900)
    centers = 2.0 * np.eye(3)
    noise = 0.4 * rng.standard_normal((900, 4))

    def widen(X, rng):
        return X + 0.6 * rng.standard_normal(X.shape)

    aligned = np.column_stack([centers[y], 1.0 * d]) + noise
    found = connectivity_of_rows(aligned, y, d, widen)
    assert found.alpha > found.beta > found.gamma
    assert "should work" in str(found)
    assert found.own_nearest == 1.0
    shifted = np.column_stack([centers[(y + d) % 3], 1.0 * d]) + noise
    swapped = connectivity_of_rows(shifted, y, d, widen)
    assert swapped.alpha < swapped.gamma
    assert "should fail" in swapped.verdict
    same = connectivity_of_rows(noise, y, d, widen)
    assert "open" in same.verdict


def test_bad_input():
    W = random_graph(12, np.random.default_rng(0))
    y, source = np.arange(12) % 2, np.arange(12) < 6
    with pytest.raises(InputError, match="in the source and in the target"):
        transfer(W, y, source, np.arange(5, 12), 3, 1)
    with pytest.raises(InputError, match="the target is empty"):
        transfer(W, y, source, np.zeros(12, dtype=bool), 3, 1)
    with pytest.raises(InputError, match="mask of shape"):
        transfer(W, y, source[:5], ~source, 3, 1)
    with pytest.raises(InputError, match="labels have shape"):
        transfer(W, y[:5], source, ~source, 3, 1)
    with pytest.raises(InputError, match="at least two classes"):
        transfer(W, np.zeros(12, dtype=int), source, ~source, 3, 1)
    with pytest.raises(InputError, match="need labels"):
        transfer(W, np.where(np.arange(12) == 1, -1, y), source, ~source, 3, 1)
    with pytest.raises(InputError, match="whole number >= 1"):
        transfer(W, y, source, ~source, 3, 0)
    with pytest.raises(InputError, match="needs the label of a source class"):
        transfer_bound(W, np.where(source, y, -1), source, ~source, 3, 1)
    f = np.ones((4, 2))
    with pytest.raises(InputError, match="features are finite"):
        transfer_head(f * np.nan, None, np.array([0, 1, -1, -1]))
    with pytest.raises(InputError, match="weights are positive"):
        transfer_head(f, np.zeros(4), np.array([0, 1, -1, -1]))
    with pytest.raises(InputError, match="0 to c - 1"):
        transfer_head(f, None, np.array([0, 2, -1, -1]))
    with pytest.raises(InputError, match="two source rows in every class"):
        choose_steps(f, None, np.array([0, 1, -1, -1]))
    with pytest.raises(InputError, match="at least two domains"):
        connectivity_of_graph(W, y, np.zeros(12))
    with pytest.raises(InputError, match="combinations of class and domain"):
        connectivity_of_graph(W, y, y)
    with pytest.raises(InputError, match="four rows in every domain"):
        connectivity_of_rows(W, y, source, lambda X, rng: X)


def test_ties_are_drawn():
    """Where no walk arrives all scores are zero, and with one feature all are equal: chance."""
    apart = np.kron(np.eye(2), np.ones((4, 4))) + np.eye(8)
    apart[:4, :4] += np.kron(np.eye(2), np.ones((2, 2)))
    source = np.arange(8) < 4
    for target_labels in ([0, 0, 0, 0], [1, 1, 1, 1]):
        y = np.array([0, 0, 1, 1, *target_labels])
        assert transfer(apart, y, source, ~source, 3, 1).error == pytest.approx(0.5)
    toy = DomainToy(1.0, 0.3, 0.2, 0.1)
    for t in (1, 4):
        one = transfer(toy.weights, toy.classes, toy.domains == 0, toy.domains == 1, 1, t)
        assert one.error == pytest.approx(0.5)
    scores = np.array([[1e-9, 1e-10], [1e-16, 0.0], [1.0, 1.0 - 1e-8], [-1e-9, -1e-10]])
    wrong = chance_wrong(scores, np.zeros(4, dtype=int), _ties(scores, 1.0))
    assert wrong.tolist() == [0.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("k", ["2", None, True, 2.0, 0, 12])
def test_numbers_of_features_are_checked(k):
    W = random_graph(12, np.random.default_rng(0))
    y, source = np.arange(12) % 2, np.arange(12) < 6
    for use in (transfer, transfer_bound):
        with pytest.raises(InputError, match="k is a whole number from 1 to 11"):
            use(W, y, source, ~source, k, 1)


def test_labels_and_masks_of_another_kind_are_refused():
    W = random_graph(12, np.random.default_rng(0))
    y, source = np.arange(12) % 2, np.arange(12) < 6
    unknown = np.where(np.arange(12) == 11, np.nan, y)
    for use in (transfer, transfer_bound):
        for labels in (unknown, np.array(["a", "b"] * 6)):
            with pytest.raises(InputError, match="0 to c - 1, and -1 where not known"):
                use(W, labels, source, ~source, 3, 1)
        for labels in (None, 3, [[1], [1, 2]]):
            with pytest.raises(InputError, match="labels have shape"):
                use(W, labels, source, ~source, 3, 1)
        with pytest.raises(InputError, match=r"astype\(bool\)"):
            use(W, y, source.astype(int), ~source, 3, 1)


def test_graph_objects_and_isolated_vertices():
    """Labels may be given for all vertices; those without an edge play no part."""
    W, y, source, target = toy_graph(0.6, 0.3, 0.25, 0.1, 15, 1)
    W[7] = W[:, 7] = 0.0
    W[50] = W[:, 50] = 0.0
    graph, kept = PositivePairGraph(W, isolated="drop"), np.delete(np.arange(60), [7, 50])
    one = transfer(graph, y, source, np.flatnonzero(target), 3, 2)
    two = transfer(W[np.ix_(kept, kept)], y[kept], source[kept], target[kept], 3, 2)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-8)
    assert transfer_bound(graph, y, source, target, 3, 2).floor >= one.error
    known = np.where(source, y, -1)
    mass = graph.walk_mass(np.stack([known == 0, known == 1], axis=1), 2, 3)
    np.testing.assert_allclose(one.scores * one.head.class_mass, mass[target[kept]], atol=1e-10)


def test_without_target_labels_there_are_predictions_but_no_error():
    W, y, source, target = toy_graph(0.6, 0.3, 0.25, 0.1, 20, 0)
    found = transfer(W, np.where(source, y, -1), source, target, 3)
    assert found.error is None
    assert len(found.predictions) == target.sum()
    assert "not known" in str(found)
    assert "longest walk" in str(found.choice)
