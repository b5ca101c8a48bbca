"""Partitions, probes, bounds, rates, angles and walks on positive-pair graphs, against brute force.

Tolerances: identities 1e-10 to 1e-12; inequalities may fail by rounding of 1e-12; simulations
four of their own standard errors.
"""

import pickle
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

from foretell.errors import IdentificationError, InputError
from foretell.theory.bounds import haochen_rate
from foretell.theory.graphs.angles import principal_angles
from foretell.theory.graphs.cheeger import cheeger_lower, cheeger_upper, sweep_cut
from foretell.theory.graphs.eigenpairs import eigenpairs
from foretell.theory.graphs.label_error import label_error
from foretell.theory.graphs.partitions import cluster_weights, conductance, disagreement
from foretell.theory.graphs.probe import expected_error, probe, probe_features
from foretell.theory.graphs.probe_bound import probe_bound
from foretell.theory.graphs.probe_curve import probe_curve
from foretell.theory.graphs.rates import (
    graph_rates,
    head_rate,
    population_rate,
    pretraining_rate,
)
from foretell.theory.graphs.sparsest import _best_move, sparsest_partition
from foretell.theory.graphs.trained_probe import trained_bound, trained_probe
from foretell.theory.graphs.walks import walk_mass
from foretell.theory.graphs.weights import normalized_augmentations, normalized_weights

EPS = 1e-12


def dense_weights(rng, n):
    W = rng.random((n, n)) ** rng.integers(1, 6)
    return W + W.T


def sparse_weights(rng, n):
    W = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 4.0 / n))
    W[np.arange(n - 1), np.arange(1, n)] += 0.05 * rng.random(n - 1)
    return csr_array(W + W.T)


def block_weights(rng, n, blocks, leak):
    parts = np.sort(np.append(np.arange(blocks), rng.integers(blocks, size=n - blocks)))
    W = rng.random((n, n)) * np.where(np.equal.outer(parts, parts), 1.0, leak)
    return W + W.T, parts


def graph_of(weights):
    return normalized_weights(weights)[0]


def all_pairs(graph):
    """All eigenpairs, by LAPACK."""
    A = graph.adjacency
    values, vectors = np.linalg.eigh(A if isinstance(A, np.ndarray) else A.toarray())
    return SimpleNamespace(values=values[::-1], vectors=vectors[:, ::-1])


def toarray(W):
    return W if isinstance(W, np.ndarray) else W.toarray()


def labeled(rng, n, classes):
    return rng.permutation(np.append(np.arange(classes), rng.integers(classes, size=n - classes)))


def random_case(seed):
    """A graph of one of three kinds, labels at random or of clusters, and all eigenpairs."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 61))
    classes = int(rng.integers(2, min(6, n)))
    kind = seed % 3
    if kind == 2:
        W, y = block_weights(rng, n, classes, 10 ** rng.uniform(-4, -0.3))
    else:
        W = (dense_weights if kind == 0 else sparse_weights)(rng, n)
        y = labeled(rng, n, classes)
    graph = graph_of(W)
    pairs = all_pairs(graph)
    if kind < 2 and seed % 2:  # labels that follow the graph
        y = (pairs.vectors[:, 1] / graph.roots > np.median(pairs.vectors[:, 1])).astype(int)
        y[0], y[-1] = 0, 1
    return rng, graph, y, pairs


def partitions_into(n, m):
    """All partitions of n vertices into m non-empty parts, shape (p, n)."""
    found = np.array(list(product(range(m), repeat=n)))
    firsts = np.argmax(np.equal.outer(found, np.arange(m)), axis=1)  # in order of appearance
    used = np.equal.outer(found, np.arange(m)).any(axis=1).all(axis=1)
    return found[used & (np.diff(firsts, axis=1) > 0).all(axis=1)]


def families_of(n, m):
    """All m disjoint non-empty sets among n vertices, shape (p, n); label m is in none."""
    found = np.array(list(product(range(m + 1), repeat=n)))
    return found[np.equal.outer(found, np.arange(m)).any(axis=1).all(axis=1)]


def largest_conductance(graph, labels, m):
    """Of the m sets of each row of labels, shape (p,)."""
    H = np.equal.outer(labels, np.arange(m)).astype(float)
    inside = np.einsum("pxm,xy,pym->pm", H, toarray(graph.weights), H, optimize=True)
    return (1 - inside / np.einsum("pxm,x->pm", H, graph.degrees)).max(axis=1)


# Conductance and disagreement


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_conductance_is_the_share_of_weight_that_leaves(rng, form):
    W = dense_weights(rng, 9) * (rng.random((9, 9)) < 0.7)
    W = W + W.T
    graph = graph_of(W if form == "dense" else csr_array(W))
    labels = [("a", 1), "b", 3.0, "b", ("a", 1), 3.0, "b", "b", ("a", 1)]
    found = conductance(graph, labels)
    assert found.classes == (("a", 1), "b", 3.0)
    for i, name in enumerate(found.classes):
        inside = np.array([label == name for label in labels])
        leaving = W[np.ix_(inside, ~inside)].sum() / W[inside].sum()
        assert found.parts[i] == pytest.approx(leaving, rel=1e-12)
        assert found.masses[i] == pytest.approx(W[inside].sum() / W.sum(), rel=1e-12)
    assert float(found) == found.largest == found.parts.max()
    assert "3 parts" in str(found)


def test_disagreement_is_the_quadratic_form_of_the_indicators(rng):
    graph = graph_of(dense_weights(rng, 20))
    y = labeled(rng, 20, 4)
    G = np.equal.outer(y, np.arange(4)) * np.sqrt(graph.degrees)[:, None]
    form = np.trace(G.T @ (np.eye(20) - graph.adjacency) @ G)
    assert disagreement(graph, y) == pytest.approx(form, rel=1e-12)
    assert conductance(graph, y).disagreement == pytest.approx(form, rel=1e-12)


@pytest.mark.parametrize("views", [None, 5])
def test_a_factor_gives_the_conductance_of_its_weights(rng, views):
    A = rng.multinomial(5, rng.dirichlet(np.full(12, 0.5)), size=30).astype(float)
    A = A[:, A.sum(axis=0) > 0]
    graph, _ = normalized_augmentations(A if views else A / 5, views=views)
    y = labeled(rng, graph.n, 3)
    other = graph_of(toarray(graph.weights))
    assert np.allclose(conductance(graph, y).parts, conductance(other, y).parts, atol=1e-13)
    assert disagreement(graph, y) == pytest.approx(disagreement(other, y), rel=1e-12)


@pytest.mark.parametrize("form", ["dense", "sparse", "factor", "views"])
def test_weights_between_clusters_are_sums_of_weights(rng, form):
    if form in ("dense", "sparse"):
        graph = graph_of(dense_weights(rng, 9) if form == "dense" else sparse_weights(rng, 9))
    else:
        counts = rng.integers(0, 3, (5, 9)) + (np.arange(9) % 5 == np.arange(5)[:, None])
        counts[:, 0] += counts.sum(axis=1).max() - counts.sum(axis=1)
        views = int(counts[0].sum()) if form == "views" else None
        A = counts if views else counts / counts.sum(axis=1, keepdims=True)
        graph, _ = normalized_augmentations(A, views=views)
    labels = ["b", "a", "b", "c", "a", "c", "b", "b", "a"]
    found = cluster_weights(graph, labels)
    assert found.classes == ("b", "a", "c")
    W = toarray(graph.weights)
    expected = np.zeros((3, 3))
    for x in range(9):
        for y in range(9):
            expected[found.classes.index(labels[x]), found.classes.index(labels[y])] += W[x, y]
    np.testing.assert_allclose(found.mass, expected, atol=1e-14)
    assert found.mass.sum() == pytest.approx(1.0, abs=1e-14)
    leaving = 1 - np.diag(found.mass) / found.mass.sum(axis=1)
    np.testing.assert_allclose(leaving, conductance(graph, labels).parts, atol=1e-13)


def test_a_heavy_part_is_measured_by_its_own_weight():
    graph = graph_of(np.array([[6.0, 1.0], [1.0, 2.0]]))
    assert conductance(graph, [0, 1]).parts.tolist() == pytest.approx([1 / 7, 1 / 3], rel=1e-12)


def test_components_have_conductance_zero_exactly():
    graph = graph_of(np.kron(np.diag([1.0, 3.0]), np.ones((3, 3))))
    assert conductance(graph, [0, 0, 0, 1, 1, 1]).parts.tolist() == [0.0, 0.0]
    factor, _ = normalized_augmentations(np.kron(np.eye(2), np.full((4, 3), 1 / 3)))
    assert conductance(factor, [0, 0, 0, 1, 1, 1]).parts.tolist() == [0.0, 0.0]


BAD_LABELS = [
    ([0, 1], "two"),
    (np.zeros((4, 2)), "shape"),
    ([0, 1, float("nan"), 1], "missing"),
    ([0, 1, None, 1], "missing"),
    (np.array([0, 1, np.nan, 1]), "missing"),
    ([1, 1, 1, 1], "one class"),
    ([[1], [2], [1], [2]], "shape|hashable"),
    ([{1}, {2}, {1}, {2}], "hashable"),
]


@pytest.mark.parametrize(("labels", "reason"), BAD_LABELS)
def test_bad_labels_are_refused(labels, reason):
    graph = graph_of(np.ones((4, 4)) + np.eye(4))
    reason = "found 2" if reason == "two" else reason
    for call in (
        lambda: conductance(graph, labels),
        lambda: probe(graph, labels, 2),
        lambda: probe_bound(graph, labels, 2),
        lambda: probe_curve(graph, labels, 2, [5]),
    ):
        with pytest.raises(InputError, match=reason):
            call()


@pytest.mark.parametrize("k", [0, 4, 5, 1.5, True, -1])
def test_dimensions_outside_one_to_n_minus_one_are_refused(k):
    graph = graph_of(np.ones((4, 4)) + np.eye(4))
    for call in (probe, probe_bound):
        with pytest.raises(InputError, match="from 1 to 3"):
            call(graph, [0, 1, 0, 1], k)


def test_too_few_eigenpairs_are_refused():
    graph = graph_of(np.ones((4, 4)) + np.eye(4))
    with pytest.raises(InputError, match="3 or more eigenpairs"):
        probe(graph, [0, 1, 0, 1], 2, pairs=eigenpairs(graph, 2))


# Sparsest partitions


@pytest.mark.parametrize("m", [2, 3, 4])
def test_search_against_all_partitions(m):
    """Never below the brute-force minimum, that never below the spectral bound; mostly equal."""
    hits = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(m + 1, 8))
        graph = graph_of(sparse_weights(rng, n) if seed % 2 else dense_weights(rng, n))
        best = largest_conductance(graph, partitions_into(n, m), m).min()
        pairs = all_pairs(graph)
        found = sparsest_partition(graph, m, pairs=pairs, n_starts=4)
        assert found.lower <= best + EPS
        assert found.upper >= best - EPS
        own = largest_conductance(graph, found.labels[None], m)
        assert found.upper == pytest.approx(own[0], rel=1e-9)
        assert (
            found.upper <= sparsest_partition(graph, m, pairs=pairs, n_starts=4, max_moves=0).upper
        )
        hits += found.upper <= best + EPS
    assert hits >= 6


@pytest.mark.parametrize("m", [2, 3, 5])
def test_moves_of_single_vertices_against_all_moves(m):
    """The chosen move lowers the largest conductance as much as any; none where none does."""
    moved = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        graph = graph_of(dense_weights(rng, 12))
        W, codes = toarray(graph.weights), labeled(rng, 12, m)
        own = np.diag(W)
        H = np.equal.outer(codes, np.arange(m)).astype(float)
        toward = W @ H - own[:, None] * H
        mass = np.bincount(codes, graph.degrees, m)
        cut = np.bincount(codes, graph.degrees - own - toward[np.arange(12), codes], m)
        move = _best_move(codes, toward, graph.degrees, graph.degrees - own, mass, cut)
        tries = np.array(
            [np.where(np.arange(12) == x, c, codes) for x in range(12) for c in range(m)]
        )
        whole = [len(set(t.tolist())) == m for t in tries]
        best = largest_conductance(graph, tries[whole], m).min()
        now = largest_conductance(graph, codes[None], m)[0]
        if move is None:
            assert best == pytest.approx(now, rel=1e-9)
            continue
        moved += 1
        codes[move[0]] = move[1]
        found = largest_conductance(graph, codes[None], m)[0]
        assert found == pytest.approx(best, rel=1e-9)
        assert found < now
    assert moved > 10


def test_bounds_for_disjoint_sets_and_for_partitions():
    """(1 - lambda_m)/2 <= rho of disjoint sets <= rho of partitions <= (m - 1) times the former."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        graph = graph_of(dense_weights(rng, 6))
        values = all_pairs(graph).values
        for m in (2, 3, 4):
            disjoint = largest_conductance(graph, families_of(6, m), m).min()
            whole = largest_conductance(graph, partitions_into(6, m), m).min()
            assert cheeger_lower(values[m - 1]) <= disjoint + EPS
            assert disjoint <= whole + EPS
            assert whole <= (m - 1) * disjoint + EPS


def test_the_lower_bound_is_met():
    """Two vertices: rho_2 = (1 - lambda_2) / 2; a factor above one half would be no bound."""
    graph = graph_of(np.array([[3.0, 1.0], [1.0, 3.0]]))
    found = sparsest_partition(graph, 2)
    assert cheeger_lower(0.5) == 0.25
    assert cheeger_upper(0.6) == pytest.approx(0.8, rel=1e-12)
    assert cheeger_upper(-0.5) == 1.0
    assert found.lower == pytest.approx(0.25, rel=1e-12)
    assert found.upper == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "lower", "upper"), [(0.8, 0.1, 0.6), (0.28, 0.36, 0.96), (1.0, 0.0, 0.0)]
)
def test_cheeger_bounds_have_their_values(value, lower, upper):
    """(1 - x) / 2 and the root of 1 - x^2, from Pythagorean numbers."""
    assert cheeger_lower(value) == pytest.approx(lower, abs=1e-15)
    assert cheeger_upper(value) == pytest.approx(upper, abs=1e-15)


def test_negative_eigenvalues_bound_no_cut():
    assert cheeger_lower(-0.5) == 0.75
    assert cheeger_upper(-0.5) == 1.0


def test_the_upper_bound_of_cheeger_is_nearly_met():
    """A long path: the best cut is in the middle, and both sides go to zero at the same rate."""
    for n in (10, 40):
        W = np.diag(np.ones(n - 1), 1)
        graph = graph_of(W + W.T)
        upper = cheeger_upper(all_pairs(graph).values[1])
        cut = conductance(graph, (np.arange(n) < n // 2).astype(int)).largest
        assert cut == pytest.approx(1 / (n - 1))
        assert cut <= upper <= 1.02 * np.pi * cut


def test_sweep_cuts_keep_the_promise_of_cheeger():
    for seed in range(30):
        _, graph, _, pairs = random_case(seed)
        cut = sweep_cut(graph, pairs)
        upper = cheeger_upper(pairs.values[1])
        assert conductance(graph, cut).largest <= upper + EPS
        assert upper <= np.sqrt(2 * (1 - pairs.values[1]))
        found = sparsest_partition(graph, 2, pairs=pairs, n_starts=2)
        assert found.upper <= conductance(graph, cut).largest + EPS
        assert found.guaranteed == upper


def test_the_sweep_takes_the_best_threshold():
    rng = np.random.default_rng(3)
    graph = graph_of(sparse_weights(rng, 30))
    pairs = all_pairs(graph)
    order = np.argsort(pairs.vectors[:, 1] / graph.roots)
    best = min(
        conductance(graph, np.isin(np.arange(30), order[:t]).astype(int)).largest
        for t in range(1, 30)
    )
    assert conductance(graph, sweep_cut(graph, pairs)).largest == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("blocks", [2, 4, 7])
def test_blocks_are_recovered(blocks):
    rng = np.random.default_rng(blocks)
    W, parts = block_weights(rng, 90, blocks, 0.03)
    shuffled = rng.permutation(90)
    graph = graph_of(csr_array(W[np.ix_(shuffled, shuffled)]))
    found = sparsest_partition(graph, blocks)
    pairs = set(zip(found.labels.tolist(), parts[shuffled].tolist(), strict=True))
    assert len(pairs) == blocks
    assert found.upper == pytest.approx(conductance(graph, parts[shuffled]).largest, rel=1e-12)


def test_components_are_a_partition_without_cost():
    graph = graph_of(np.kron(np.diag([1.0, 2.0, 3.0, 4.0]), np.ones((2, 2))))
    for m in (2, 3, 4):
        found = sparsest_partition(graph, m)
        assert found.upper == found.lower == 0.0
        assert conductance(graph, found.labels).parts.tolist() == [0.0] * m
    assert conductance(graph, sweep_cut(graph)).largest == 0.0


def test_more_parts_than_distinct_vertices():
    """Two blocks of identical vertices in up to eight parts: k-means leaves parts empty."""
    graph = graph_of(np.kron(np.array([[1.0, 0.1], [0.1, 1.0]]), np.ones((4, 4))))
    for m in range(2, 9):
        found = sparsest_partition(graph, m, n_starts=2)
        assert sorted(set(found.labels.tolist())) == list(range(m))
        assert found.upper >= found.lower
    assert found.upper == pytest.approx(1 - 1 / 4.4, rel=1e-12)  # every vertex alone


def test_few_vertices_have_the_sparsest_partition_exactly():
    rng = np.random.default_rng(5)
    for m in (2, 3, 5, 8):
        graph = graph_of(dense_weights(rng, 8))
        found = sparsest_partition(graph, m)
        every = (np.array(codes) for codes in product(range(m), repeat=7))
        best = (
            min(
                conductance(graph, np.append(0, codes)).largest
                for codes in (every if m < 5 else [])
                if len(set(codes.tolist()) | {0}) == m
            )
            if m < 5
            else found.upper
        )
        assert found.exact
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12)
        assert len(set(found.labels.tolist())) == m
    assert "exactly" in str(found)


def test_bad_numbers_of_parts_are_refused():
    graph = graph_of(np.ones((4, 4)) + np.eye(4))
    for m in (1, 5, 2.0, True):
        with pytest.raises(InputError, match="from 2 to 4"):
            sparsest_partition(graph, m)
    with pytest.raises(InputError, match="n_starts"):
        sparsest_partition(graph, 2, n_starts=0)


# Labels of augmented points


def test_alpha_by_enumeration_and_its_bound_on_disagreement():
    largest = 0.0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        m, n = int(rng.integers(3, 12)), int(rng.integers(2, 15))
        A = rng.dirichlet(np.full(n, 10 ** rng.uniform(-2, 1)), size=m)
        P, y = rng.dirichlet(np.ones(m)), labeled(rng, m, 2)
        A[:, A.sum(axis=0) < 1e-12] = 1e-12
        A /= A.sum(axis=1, keepdims=True)
        found = label_error(A, y, P)
        wrong = (P[:, None] * A * np.not_equal.outer(y, found.labels)).sum()
        assert found.alpha == pytest.approx(wrong, abs=1e-14)
        for other in product([0, 1], repeat=min(n, 6)):
            guess = found.labels.copy()
            guess[: len(other)] = other
            assert wrong <= (P[:, None] * A * np.not_equal.outer(y, guess)).sum() + EPS
        if len(set(found.labels.tolist())) < 2:
            continue
        phi = disagreement(normalized_augmentations(A, P)[0], found.labels)
        assert phi <= 2 * found.alpha + EPS
        largest = max(largest, phi / found.alpha)
    assert largest > 1.1  # a factor below this would be no bound


def test_alpha_refuses_what_it_cannot_use():
    for A, y, reason in [
        ([[1.0, 0], [0, 0]], [0, 1], "no augmentation"),
        ([[1.0, 0], [1.0, 0]], [0, 1], "no probability"),
        ([[1.0, 0], [0, 1.0]], [0, 1, 1], "one a sample"),
        ([[1.0, 0], [0, 1.0]], [1, 1], "one class"),
        ([[-1.0, 2], [0, 1.0]], [0, 1], "negative"),
    ]:
        with pytest.raises(InputError, match=reason):
            label_error(A, y)


# Probes


def regression(graph, features, y):
    """Squared risk and scores of weighted least squares, by numpy.linalg.lstsq."""
    root = np.sqrt(graph.degrees)[:, None]
    Y = np.equal.outer(y, np.arange(y.max() + 1)).astype(float)
    head = np.linalg.lstsq(features * root, Y * root, rcond=None)[0]
    scores = features @ head
    return float((graph.degrees[:, None] * (Y - scores) ** 2).sum()), scores


def test_the_probe_is_weighted_regression_on_the_embedding():
    for seed in range(30):
        rng, graph, y, pairs = random_case(seed)
        y = np.unique(y, return_inverse=True)[1]
        k = int(rng.integers(1, graph.n))
        found = probe(graph, y, k, pairs=pairs)
        f = pairs.vectors[:, :k] / np.sqrt(graph.degrees)[:, None] @ rng.normal(size=(k, k))
        risk, scores = regression(graph, f, y)
        assert found.squared_risk == pytest.approx(risk, abs=1e-9)
        wrong = graph.degrees @ (np.argmax(scores, axis=1) != y)
        if np.ptp(np.sort(scores, axis=1)[:, -2:], axis=1).min() > 1e-5:  # no ties
            assert found.error == pytest.approx(wrong, abs=1e-12)
            assert found.error == pytest.approx(graph.degrees @ (found.predictions != y), abs=EPS)
        again = probe_features(graph, f, y)
        assert again.squared_risk == pytest.approx(found.squared_risk, abs=1e-9)
        assert again.rank == k


def test_scores_are_unchanged_by_mixing_and_labels_by_scaling(rng):
    """F -> D F Q: Q leaves scores of the best head as they are, D the labels of any head."""
    graph = graph_of(dense_weights(rng, 25))
    y = labeled(rng, 25, 3)
    f, Q = rng.normal(size=(25, 4)), rng.normal(size=(4, 4))
    found, mixed = probe_features(graph, f, y), probe_features(graph, f @ Q, y)
    assert np.allclose(found.scores, mixed.scores, atol=1e-9)
    assert found.error == pytest.approx(mixed.error, abs=EPS)
    head, D = rng.normal(size=(4, 3)), rng.random((25, 1)) + 0.1
    scaled = (D * f @ Q) @ np.linalg.solve(Q, head)
    assert (np.argmax(scaled, axis=1) == np.argmax(f @ head, axis=1)).all()


def test_dependent_features_count_once(rng):
    graph = graph_of(dense_weights(rng, 12))
    y = labeled(rng, 12, 2)
    f = rng.normal(size=(12, 2))
    found = probe_features(graph, np.column_stack([f, 1e6 * f, np.zeros(12)]), y)
    assert found.rank == 2
    assert found.squared_risk == pytest.approx(probe_features(graph, f, y).squared_risk, abs=1e-9)
    for bad, reason in [
        (np.zeros((12, 2)), "all zero"),
        (f[:5], "shape"),
        (f[:, 0], "shape"),
        (f * np.inf, "not finite"),
    ]:
        with np.errstate(invalid="ignore"), pytest.raises(InputError, match=reason):
            probe_features(graph, bad, y)


def test_ties_count_as_a_draw():
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [1.0, 0.0, 0.0]])
    assert expected_error(scores, np.array([0, 0, 0]), np.array([0.5, 0.3, 0.2])) == 0.55
    rounded = scores + 1e-9 * np.array([1, 0, -1])
    assert expected_error(rounded, np.array([0, 0, 0]), np.array([0.5, 0.3, 0.2])) == 0.55
    graph = graph_of(np.array([[3.0, 1.0], [1.0, 3.0]]))
    assert probe(graph, ["a", "b"], 1).error == pytest.approx(0.5, abs=1e-12)


def test_the_bound_is_never_violated_on_200_graphs():
    """Dense, sparse and block graphs, labels at random and along the graph, all k."""
    risk_ratios = []
    for seed in range(200):
        rng, graph, y, pairs = random_case(seed)
        phi = disagreement(graph, y)
        for k in {1, 2, len(set(y.tolist())), int(rng.integers(1, graph.n)), graph.n - 1}:
            found = probe(graph, y, k, pairs=pairs)
            assert found.bound.risk == pytest.approx(phi / (1 - pairs.values[k]), rel=1e-9)
            assert found.bound.error == pytest.approx(2 * phi / (1 - pairs.values[k]), rel=1e-9)
            assert found.squared_risk <= found.bound.risk + EPS
            assert found.error <= found.bound.error + EPS
            assert found.error <= 2 * found.squared_risk + EPS
            risk_ratios.append(found.risk_ratio)
    assert min(risk_ratios) < 1.05  # the bound has no slack to give away


def test_the_bound_on_the_risk_is_met():
    found = probe(graph_of(np.array([[3.0, 1.0], [1.0, 3.0]])), [0, 1], 1)
    assert found.squared_risk == pytest.approx(0.5, rel=1e-12)
    assert found.bound.risk == pytest.approx(0.5, rel=1e-12)
    assert found.risk_ratio == pytest.approx(1.0, rel=1e-12)


def test_more_components_than_dimensions_have_no_bound():
    """0/0 where labels follow the components: infinite, and said, never NaN."""
    graph = graph_of(np.kron(np.eye(3), np.ones((3, 3))))
    y = np.repeat([0, 1, 2], 3)
    for labels in (y, np.arange(9) % 2):
        bound = probe_bound(graph, labels, 2)
        assert bound.risk == bound.error == np.inf
        assert bound.is_vacuous
        assert "3 components" in str(bound)
        assert np.isinf(probe(graph, labels, 2).risk_ratio)
        rounded = all_pairs(graph)
        rounded.values[:3] -= 1e-12
        assert probe_bound(graph, labels, 2, pairs=rounded).error == np.inf
    found = probe(graph, y, 3)
    assert found.bound.error == 0.0
    assert found.error_ratio == found.risk_ratio == 1.0
    assert "embedding is one of many" in str(probe(graph, y, 2))


def test_what_the_bound_needs(rng):
    W, y = block_weights(rng, 50, 3, 0.02)
    graph = graph_of(W)
    bound = probe_bound(graph, y, 3, pairs=all_pairs(graph))
    assert bound.is_useful
    assert bound.smallest_useful_k == 3
    assert "useful" in str(bound)
    assert bound.chance == pytest.approx(1 - bound.shares.max())
    needs = bound.needs(0.01)
    assert 2 * needs.disagreement / bound.gap == pytest.approx(0.01, rel=1e-12)
    assert 2 * bound.disagreement / needs.gap == pytest.approx(0.01, rel=1e-12)
    assert not needs.possible
    assert "no number of dimensions" in str(needs)
    assert bound.needs(0.5).possible
    random = probe_bound(graph, labeled(rng, 50, 3), 3, pairs=all_pairs(graph))
    assert random.is_vacuous
    assert random.smallest_useful_k is None
    assert "vacuous" in str(random)
    with pytest.raises(InputError, match="positive error"):
        bound.needs(0.0)


def test_excess_risk_of_fitted_heads_has_its_limit(rng):
    W, y = block_weights(rng, 40, 3, 0.3)
    popularity = np.exp(rng.normal(size=40))
    graph = graph_of(W * np.outer(popularity, popularity))
    flipped = np.where(rng.random(40) < 0.2, (y + 1) % 3, y)
    curve = probe_curve(graph, flipped, 5, [30, 3000], n_draws=400, penalty=0.1)
    assert abs(curve.excess_risk[1] - curve.excess_limit[1]) < 4 * curve.excess_risk_se[1]
    assert curve.excess_risk_se[1] < 0.05 * curve.excess_limit[1]
    assert curve.rate[0] == pytest.approx(np.sqrt(5 / 30))
    best = probe(graph, flipped, 5)
    assert curve.best_error == best.error
    assert curve.error[1] < curve.error[0]
    assert len(str(curve).splitlines()) == 4
    for bad in ({"n_labeled": [0]}, {"n_labeled": []}, {"n_draws": 1}, {"penalty": 0.0}):
        with pytest.raises(InputError):
            probe_curve(graph, y, 3, **{"n_labeled": [10], **bad})


# Features that do not minimise the loss


def perturbed(rng, graph, pairs, k):
    """Embedding of the minimiser, mixed with noise, other eigenvectors, or another scale."""
    F = pairs.vectors[:, :k] * np.sqrt(np.maximum(pairs.values[:k], 0.0))
    size = 10 ** rng.uniform(-5, 0)
    kind = rng.integers(3)
    if kind == 0:
        F = F + size * rng.normal(size=F.shape) / np.sqrt(graph.n)
    elif kind == 1:
        turned = np.linalg.qr(np.eye(graph.n) + size * rng.normal(size=(graph.n, graph.n)))[0]
        F = turned @ F
    else:
        F = F * (1 + size * rng.normal(size=k))
        F[:, -1] = pairs.vectors[:, k] * np.sqrt(max(pairs.values[k], 1e-3))
    return F / np.sqrt(graph.degrees)[:, None]


def test_the_bound_from_the_excess_loss_is_never_violated():
    """Probe risk and lost eigenvectors of perturbed embeddings, 150 graphs."""
    met, useful = [], 0
    for seed in range(150):
        rng, graph, y, pairs = random_case(seed)
        k = int(rng.integers(1, max(2, graph.n // 3)))
        f = perturbed(rng, graph, pairs, k)
        found = trained_probe(graph, f, y, pairs=pairs)
        F = f * np.sqrt(graph.degrees)[:, None]
        A = toarray(graph.adjacency)
        best = (A**2).sum() - (np.maximum(pairs.values[:k], 0) ** 2).sum()
        assert found.excess_loss == pytest.approx(((A - F @ F.T) ** 2).sum() - best, abs=1e-10)
        assert found.fit.squared_risk <= found.bound.risk + EPS
        assert found.fit.error <= found.bound.error + EPS
        useful += found.bound.risk < 1
        U = np.linalg.qr(F)[0]
        lost = 1 - ((U.T @ pairs.vectors[:, :k]) ** 2).sum(axis=0)
        room = np.maximum(pairs.values[:k], 0) ** 2 - max(pairs.values[k], 0) ** 2
        clear = room > 1e-9
        bound = found.excess_loss / room[clear]
        assert (np.cumsum(lost)[clear] <= bound * (1 + 1e-9) + 1e-9).all()
        met.extend(np.cumsum(lost)[clear] / np.maximum(bound, 1e-9))
    assert useful > 20
    assert max(met) > 0.9  # met where an eigenvector is exchanged for the next


@pytest.mark.parametrize(
    ("k", "cut", "squares", "gap"), [(1, 1, 0.36, 0.2), (2, 2, 0.39, 0.5), (3, 2, 0.55, 0.5)]
)
def test_the_bound_from_the_excess_loss_has_its_value(k, cut, squares, gap):
    """At round numbers: a difference of squares, 1 - .64, .64 - .25, .64 - .09, and a gap."""
    values = [1.0, 0.8, 0.5, 0.3]
    found = trained_bound(values, k, disagreement=0.01, excess_loss=0.0008, largest_share=0.5)
    assert found.cut == cut
    expected = (np.sqrt(0.0004 / squares) + np.sqrt(0.01 / gap)) ** 2
    assert found.risk == pytest.approx(expected, rel=1e-13)
    assert trained_bound(values, k, disagreement=0.01, excess_loss=9.0).risk == 1.0


def test_negative_eigenvalues_are_no_excess():
    """A complete graph without loops: 1 and -1/5; the best features are constant."""
    graph = graph_of(np.ones((6, 6)) - np.eye(6))
    constant = np.column_stack([np.ones(6), np.zeros((6, 2))])
    assert trained_probe(graph, constant, [0, 1] * 3).excess_loss == pytest.approx(0, abs=1e-14)


def test_no_excess_gives_the_bound_of_the_minimiser(rng):
    W, y = block_weights(rng, 30, 3, 0.05)
    graph = graph_of(W @ W.T)  # positive eigenvalues
    pairs = all_pairs(graph)
    exact = probe_bound(graph, y, 3, pairs=pairs)
    found = trained_bound(pairs.values, 3, disagreement=exact.disagreement, excess_loss=0.0)
    assert found.risk == pytest.approx(exact.risk, rel=1e-12)
    assert found.cut == 3
    worse = trained_bound(pairs.values, 3, disagreement=exact.disagreement, excess_loss=5.0)
    assert worse.risk == 1.0
    for bad in ({"k": 30}, {"k": 0}, {"excess_loss": -1.0}):
        with pytest.raises(InputError):
            trained_bound(
                pairs.values, bad.get("k", 3), disagreement=0.1,
                excess_loss=bad.get("excess_loss", 0.0),
            )  # fmt: skip


def test_equal_eigenvalues_do_not_bound_the_subspace():
    """Labels of components and features of the wrong one: the loss cannot tell, nor may we."""
    graph = graph_of(np.kron(np.eye(3), np.ones((2, 2))))
    f = np.repeat([[1.0, 0], [0, 1.0], [0, 0]], 2, axis=0) / np.sqrt(1 / 3)
    found = trained_probe(graph, f, [0, 0, 1, 1, 2, 2])
    assert found.excess_loss < 1e-12
    assert found.fit.squared_risk == pytest.approx(1 / 3)
    assert found.bound.risk == 1.0


# Angles


def test_angles_to_the_embedding_vanish_and_do_not_see_mixing(rng):
    graph = graph_of(sparse_weights(rng, 40))
    pairs = all_pairs(graph)
    f = pairs.vectors[:, :5] / np.sqrt(graph.degrees)[:, None]
    found = principal_angles(graph, f @ rng.normal(size=(5, 5)), pairs=pairs)
    assert found.angles.max() < 1e-12
    assert found.captured == pytest.approx(1.0, abs=1e-12)
    g = rng.normal(size=(40, 5))
    a = principal_angles(graph, g, pairs=pairs)
    b = principal_angles(graph, g @ rng.normal(size=(5, 5)), pairs=pairs)
    assert np.allclose(a.angles, b.angles, atol=1e-10)
    assert a.captured == pytest.approx((a.cosines**2).mean(), rel=1e-12)
    assert (np.diff(a.angles) >= 0).all()


@pytest.mark.parametrize("angle", [1e-10, 1e-6, 0.3, 1.5])
def test_a_known_rotation_is_measured(rng, angle):
    graph = graph_of(dense_weights(rng, 20))
    pairs = all_pairs(graph)
    F = pairs.vectors[:, :3].copy()
    F[:, 1] = np.cos(angle) * F[:, 1] + np.sin(angle) * pairs.vectors[:, 7]
    found = principal_angles(graph, F / np.sqrt(graph.degrees)[:, None], pairs=pairs)
    assert found.angles[-1] == pytest.approx(angle, rel=1e-9, abs=1e-14)
    assert found.angles[:2].max() < 1e-13
    assert np.allclose(found.captured_each, [1, np.cos(angle) ** 2, 1], atol=1e-12)
    wider = principal_angles(graph, F / np.sqrt(graph.degrees)[:, None], 8, pairs=pairs)
    assert wider.angles.max() < 1e-13
    assert wider.captured == pytest.approx(3 / 8)


def test_dependent_features_have_no_angles(rng):
    graph = graph_of(dense_weights(rng, 10))
    f = rng.normal(size=(10, 2))
    for bad in (np.column_stack([f, f[:, 0]]), np.column_stack([f, np.zeros(10)])):
        with pytest.raises(IdentificationError, match="3 features span 2"):
            principal_angles(graph, bad)
    with pytest.raises(InputError, match="from 1 to 9"):
        principal_angles(graph, f, 10)


# Walks


def test_walks_are_powers_of_the_transition_matrix(rng):
    graph = graph_of(dense_weights(rng, 15))
    M = np.equal.outer(labeled(rng, 15, 3), np.arange(3)).astype(float)
    step = graph.weights / graph.degrees[:, None]
    pairs = all_pairs(graph)
    for t in (0, 1, 2, 5):
        exact = np.linalg.matrix_power(step, t) @ M
        assert np.allclose(walk_mass(graph, M, t), exact, atol=1e-13)
        assert np.allclose(walk_mass(graph, M, t, 15, pairs=pairs), exact, atol=1e-12)
        assert np.allclose(walk_mass(graph, M, t).sum(axis=1), 1.0, atol=1e-13)


def test_walks_on_k_eigenvectors_are_the_powered_head(rng):
    """f(x)' Sigma^(t-1) b with b the mean feature of a class, at the minimiser of the loss."""
    A = rng.dirichlet(np.full(20, 0.3), size=40)
    graph = normalized_augmentations(A)[0]
    pairs = all_pairs(graph)
    y = labeled(rng, 20, 3)
    f = pairs.vectors[:, :4] * np.sqrt(pairs.values[:4]) / graph.roots[:, None]
    sigma = (f * graph.degrees[:, None]).T @ f
    M = np.equal.outer(y, np.arange(3)) / np.bincount(y, graph.degrees)
    means = f.T @ (graph.degrees[:, None] * M)
    for t in (1, 2, 4):
        scores = f @ np.linalg.matrix_power(sigma, t - 1) @ means
        assert np.allclose(walk_mass(graph, M, t, 4, pairs=pairs), scores, atol=1e-10)
    assert walk_mass(graph, M[:, 0], 3, 4, pairs=pairs).shape == (20,)
    for bad, t, k in [(M[:5], 1, None), (M * np.nan, 1, 2), (M, -1, 2), (M, 1.5, 2), (M, 1, 21)]:
        with pytest.raises(InputError):
            walk_mass(graph, bad, t, k)


# Rates


def test_rates_agree_with_the_assembled_one():
    lam = np.linspace(1, 0.1, 12) ** 2
    known = haochen_rate(
        lam, 10, 2, label_error=0.02, conductance=0.4, feature_bound=1.0, complexity=1.0,
        head_bound=0.5,
    )  # fmt: skip
    plain = population_rate(0.02, 0.4, 10, 2)
    head = head_rate(0.02, 0.4, 10, 2, head_bound=0.5)
    loss = pretraining_rate(lam, 10, 2, label_error=0.02, conductance=0.4, excess_loss=0.001)
    assert plain.floor == head.floor == known.floor
    assert head.labeled == known.labeled
    assert loss.factors["gap"] == known.factors["gap"]
    assert loss.floor == pytest.approx(known.floor + 10 * 0.001 / known.factors["gap"], rel=1e-12)
    assert {r.kind for r in (plain, head, loss)} == {"rate"}
    assert population_rate(0.02, 0.0, 10, 2).floor == np.inf


def test_rates_refuse_what_the_theorems_do_not_cover():
    with pytest.raises(InputError, match="n_features >= 2 n_classes"):
        population_rate(0.1, 0.5, 3, 2)
    with pytest.raises(InputError, match="not negative"):
        population_rate(-0.1, 0.5, 4, 2)
    with pytest.raises(InputError, match="head_bound"):
        head_rate(0.1, 0.5, 4, 2, head_bound=0.0)
    given = {"label_error": 0.1, "conductance": 0.5, "excess_loss": 0.1}
    with pytest.raises(InputError, match="n_features >= 4 n_classes"):
        pretraining_rate(np.linspace(1, 0, 20), 9, 2, **given)
    with pytest.raises(InputError, match="eigenvalues"):
        pretraining_rate(np.linspace(1, 0, 5), 10, 2, **given)
    with pytest.raises(IdentificationError, match="equal"):
        pretraining_rate(np.ones(10), 10, 2, **given)


def test_rates_of_a_graph(rng):
    W, blocks = block_weights(rng, 60, 5, 0.02)
    graph = graph_of(W)
    y = np.where(blocks < 2, "cat", "dog")
    pairs = all_pairs(graph)
    found = graph_rates(graph, y, 10, excess_loss=0.001, pairs=pairs)
    assert list(found.optimistic) == ["Theorem 3.7", "Theorem 4.2", "Theorem 5.1"]
    assert found.label_error == pytest.approx(0.5 * disagreement(graph, y))
    assert not found.label_error_known
    rho = found.optimistic["Theorem 3.7"].factors["rho"]
    assert rho == found.partition.upper == pytest.approx(conductance(graph, blocks).largest)
    assert found.pessimistic["Theorem 3.7"].factors["rho"] == found.partition.lower
    assert found.pessimistic["Theorem 3.7"].floor > found.optimistic["Theorem 3.7"].floor
    assert "no bounds" in str(found)
    known = graph_rates(graph, y, 6, label_error=0.01, pairs=pairs)
    assert known.label_error_known
    assert list(known.optimistic) == ["Theorem 3.7", "Theorem 5.1"]
    with pytest.raises(InputError, match="k >= 4"):
        graph_rates(graph, y, 3)


def test_rates_of_a_disconnected_graph_are_infinite():
    graph = graph_of(np.kron(np.eye(4), np.ones((3, 3))))
    found = graph_rates(graph, np.repeat([0, 1, 1, 0], 3), 5)
    assert found.optimistic["Theorem 3.7"].floor == np.inf
    assert found.bound.error == 0.0
    assert "inf" in str(found)


def test_conductance_is_a_number_that_knows_its_parts():
    graph, _ = normalized_weights(np.array([[2, 1, 1], [1, 0, 0], [1, 0, 4.0]]))
    found = conductance(graph, ["a", "b", "a"])
    assert found == found.largest == found.parts.max() == pytest.approx(1.0)
    assert min(found, 0.5) == 0.5
    assert np.asarray([found, 0.0]).sum() == pytest.approx(1.0)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert str(again) == str(found)
    assert again.parts.tolist() == found.parts.tolist()
