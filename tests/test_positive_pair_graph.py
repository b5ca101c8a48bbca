"""Positive-pair graphs: spectrum, embedding and loss against dense twins and closed forms."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from foretell.errors import ConvergenceError, ForetellWarning, InputError
from foretell.theory.graphs import connected, lanczos
from foretell.theory.graphs.block_models import hierarchical_blocks
from foretell.theory.graphs.eigenpairs import eigenpairs
from foretell.theory.graphs.graph import PositivePairGraph
from foretell.theory.graphs.weights import normalized_augmentations, normalized_weights


def random_weights(n, density, seed):
    W = sp.random_array((n, n), density=density, rng=np.random.default_rng(seed), format="csr")
    return (W + W.T + 0.01 * sp.diags_array(np.ones(n - 1), offsets=1)).tocsr()


def symmetric(W):
    return (W + W.T) / 2


def random_augmentations(m, n, seed, spread=0.05):
    rng = np.random.default_rng(seed)
    A = rng.dirichlet(np.full(n, spread), size=m)
    A[A < 1e-4] = 0.0
    A[np.arange(n) % m, np.arange(n)] += 0.01
    return A / A.sum(axis=1, keepdims=True)


def counts(m, n, views, seed):
    rng = np.random.default_rng(seed)
    C = np.zeros((m, n))
    for i in range(m):
        start = rng.integers(n)
        np.add.at(C[i], (start + rng.integers(0, n // 4, views)) % n, 1)
    return C


def hypercube(d):
    i = np.arange(2**d)
    neighbours = i[:, None] ^ (1 << np.arange(d))
    W = sp.coo_array((np.ones(d * 2**d), (np.repeat(i, d), neighbours.ravel())))
    values = np.repeat(1 - 2 * np.arange(d + 1) / d, [math.comb(d, j) for j in range(d + 1)])
    return W, values


def adjacency(W):
    W = W.toarray() if sp.issparse(W) else np.asarray(W, dtype=float)
    degrees = W.sum(axis=1)
    return W / np.sqrt(np.outer(degrees, degrees))


def check_against_dense(graph, k):
    """Values to 1e-10, residuals and orthonormality to 1e-9 against LAPACK on the whole matrix."""
    found = eigenpairs(graph, k)
    A = adjacency(graph.weights)
    V = found.vectors
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(A)[::-1][:k], atol=1e-10)
    assert np.abs(V.T @ V - np.eye(k)).max() < 1e-9
    assert np.linalg.norm(A @ V - V * found.values, axis=0).max() < 1e-9
    return found


@pytest.fixture
def iterate(monkeypatch):
    """Small graphs go through the iterative solver."""
    monkeypatch.setattr(connected, "DENSE", 12)
    monkeypatch.setattr(connected, "MOST_ROWS", 0)
    monkeypatch.setattr(connected, "is_banded", lambda matrix: False)


# Weights


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.coo_array, sp.csc_array])
def test_scale_and_storage_do_not_matter(kind):
    W = symmetric(random_weights(60, 0.2, 0)).toarray()
    g = PositivePairGraph(kind(1e7 * W))
    dense = g.weights if isinstance(g.weights, np.ndarray) else g.weights.toarray()
    np.testing.assert_allclose(dense, W / W.sum(), atol=1e-17)
    np.testing.assert_allclose(g.degrees, W.sum(axis=1) / W.sum(), atol=1e-15)
    V = np.random.default_rng(1).standard_normal((60, 3))
    np.testing.assert_allclose(g.operator @ V, adjacency(W) @ V, atol=1e-13)
    np.testing.assert_allclose(g.spectrum(5), np.linalg.eigvalsh(adjacency(W))[:-6:-1], atol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_augmentations_are_the_weights_they_imply(kind):
    """W = AᵀPA, by the definition as a sum over samples."""
    A = random_augmentations(40, 70, 2)
    P = np.random.default_rng(3).uniform(size=40)
    g = PositivePairGraph.from_augmentations(kind(A), P)
    W = sum(p * np.outer(a, a) for p, a in zip(P / P.sum(), A, strict=True))
    assert "weights" not in vars(g.normalized)
    twin = PositivePairGraph(W)
    np.testing.assert_allclose(g.spectrum(12), twin.spectrum(12), atol=1e-12)
    np.testing.assert_allclose(np.abs(g.embedding(6)), np.abs(twin.embedding(6)), atol=1e-9)
    f = np.random.default_rng(4).standard_normal((70, 4))
    assert g.spectral_loss(f) == pytest.approx(twin.spectral_loss(f), rel=1e-12)
    np.testing.assert_allclose(g.normalized.weights @ np.eye(70), W, atol=1e-16)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_counted_views_leave_out_pairs_of_a_view_with_itself(kind):
    """The graph of V (V - 1) ordered pairs of different draws, listed one by one."""
    views, C = 4, counts(30, 25, 4, 5)
    W = np.zeros((25, 25))
    for row in C.astype(int):
        drawn = np.repeat(np.arange(25), row)
        for i in range(views):
            for j in range(views):
                W[drawn[i], drawn[j]] += i != j
    g = PositivePairGraph.from_augmentations(kind(C), views=views)
    dense = g.weights if isinstance(g.weights, np.ndarray) else g.weights.toarray()
    np.testing.assert_allclose(dense, W / W.sum(), atol=1e-16)
    assert np.array_equal(dense == 0, W == 0)
    np.testing.assert_allclose(g.spectrum(24), PositivePairGraph(W).spectrum(24), atol=1e-12)
    plain = PositivePairGraph.from_augmentations(kind(C / views))
    V, values = plain.eigenvectors(3), (views * plain.spectrum(3) - 1) / (views - 1)
    np.testing.assert_allclose(g.operator @ V, V * values, atol=1e-12)


def test_isolated_vertices():
    W = symmetric(random_weights(20, 0.3, 6)).toarray()
    W[[3, 11]] = W[:, [3, 11]] = 0
    with pytest.raises(InputError, match=r"2 of 20 vertices.*: 3, 11; .*isolated='drop'"):
        PositivePairGraph(W)
    g = PositivePairGraph(sp.csr_array(W), isolated="drop")
    kept = np.delete(np.arange(20), [3, 11])
    assert np.array_equal(g.kept, kept)
    assert g.n == 18
    f = np.random.default_rng(0).standard_normal((20, 2))
    labels = list("ab" * 10)
    assert g.spectral_loss(f) == g.spectral_loss(f[kept])
    assert g.probe_error(labels, 3) == g.probe_error([labels[i] for i in kept], 3)
    with pytest.raises(InputError, match=r"found 19 rows .* expected 20.* or 18"):
        g.spectral_loss(f[:19])


def test_self_loops_are_components():
    g = PositivePairGraph(np.diag([1.0, 2.0, 5.0]) + np.kron(np.diag([1, 0, 0]), np.ones((1, 1))))
    assert g.n_components == 3
    assert g.spectrum(2).tolist() == [1.0, 1.0]
    W = sp.block_diag([np.ones((2, 2)), [[1.0]], np.ones((2, 2))])
    assert PositivePairGraph(W).component_labels.tolist() == [0, 0, 1, 2, 2]


# Loss


@pytest.mark.parametrize("k", [1, 2, 5])
def test_loss_is_its_definition(k):
    """Every pair of vertices, one by one; and ‖Ā − FFᵀ‖² − ‖Ā‖²."""
    W = symmetric(random_weights(15, 0.4, 7)).toarray()
    W /= W.sum()
    w = W.sum(axis=1)
    f = np.random.default_rng(k).standard_normal((15, k))
    direct = -2 * sum(W[i, j] * f[i] @ f[j] for i in range(15) for j in range(15))
    direct += sum(w[i] * w[j] * (f[i] @ f[j]) ** 2 for i in range(15) for j in range(15))
    F, A = np.sqrt(w)[:, None] * f, adjacency(W)
    assert PositivePairGraph(W).spectral_loss(f) == pytest.approx(direct, rel=1e-12)
    assert np.sum((A - F @ F.T) ** 2) - np.sum(A**2) == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_embedding_is_the_minimum(seed):
    """It attains the minimum, has the eigenvalues as second moments, and no step improves it."""
    g = PositivePairGraph(symmetric(random_weights(80, 0.1, seed)))
    f = g.embedding(6)
    assert g.spectral_loss(f) == pytest.approx(g.minimal_loss(6), abs=1e-12)
    np.testing.assert_allclose(f.T @ (g.degrees[:, None] * f), np.diag(g.spectrum(6)), atol=1e-12)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-1, 1.0):
        assert g.spectral_loss(f + size * rng.standard_normal(f.shape)) > g.minimal_loss(6)


def test_negative_eigenvalues_do_not_enter():
    """Bipartite graphs have -1; the best embedding leaves directions of negative values out."""
    W = np.ones((6, 6)) - np.eye(6)
    g = PositivePairGraph(W)
    np.testing.assert_allclose(g.spectrum(4), [1, -0.2, -0.2, -0.2], atol=1e-14)
    assert g.minimal_loss(4) == pytest.approx(-1.0, abs=1e-14)
    assert np.array_equal(g.embedding(4)[:, 1:], np.zeros((6, 3)))
    B = np.random.default_rng(0).uniform(size=(5, 7))
    two = PositivePairGraph(np.block([[np.zeros((5, 5)), B], [B.T, np.zeros((7, 7))]]))
    values = np.linalg.eigvalsh(adjacency(two.weights))[::-1]
    np.testing.assert_allclose(two.spectrum(11), values[:11], atol=1e-13)
    assert values[-1] == pytest.approx(-1)


# Eigenpairs


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("k", [1, 7, 30])
def test_lanczos_against_dense(iterate, dense, k):
    W = symmetric(random_weights(400, 0.02, k))
    graph, _ = normalized_weights(W.toarray() if dense else W)
    assert check_against_dense(graph, k).solver == ("components" if k == 1 else "lanczos")


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (30, 400), (9, 200)])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_factors_against_dense(iterate, shape, kind):
    """More samples than points, fewer, and fewer than eigenpairs asked for."""
    graph, _ = normalized_augmentations(kind(random_augmentations(*shape, 8)))
    check_against_dense(graph, 25)


@pytest.mark.parametrize("sparse_cost", [0.0, np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_short_side_against_dense(monkeypatch, kind, sparse_cost):
    """LAPACK on the rows of the factor: blocks of columns or sparse products, two components."""
    monkeypatch.setattr(connected, "DENSE", 12)
    monkeypatch.setattr(connected, "SPARSE_COST", sparse_cost)
    monkeypatch.setattr(connected, "CHUNK_NUMBERS", 5000)
    A = sp.block_diag([random_augmentations(90, 200, 1), random_augmentations(70, 150, 2)])
    graph, _ = normalized_augmentations(kind(A.toarray()))
    assert check_against_dense(graph, 20).solver == "dense"
    views, _ = normalized_augmentations(counts(100, 150, 4, 3), views=4, isolated="drop")
    assert check_against_dense(views, 25).solver == "dense"


def test_short_side_without_rank(monkeypatch):
    """Rows that repeat: zero eigenvalues have no vectors on the other side of the factor."""
    monkeypatch.setattr(connected, "DENSE", 12)
    rows = random_augmentations(12, 300, 10)
    A = rows[np.r_[:12, np.random.default_rng(0).integers(12, size=200)]]
    found = check_against_dense(normalized_augmentations(A)[0], 20)
    assert np.abs(found.values[12:]).max() < 1e-12


def test_eigenvalues_close_to_one_another(iterate):
    """Twenty clusters that are almost apart: more eigenvalues within 1e-6 than asked for."""
    rng = np.random.default_rng(5)
    blocks = sp.block_diag([symmetric(random_weights(60, 0.2, seed)) for seed in range(20)])
    i, j = rng.integers(1200, size=(2, 400))
    links = sp.coo_array((np.full(400, 1e-7), (i, j)), shape=blocks.shape)
    graph, _ = normalized_weights(blocks + links + links.T)
    assert graph.n_components == 1
    check_against_dense(graph, 8)


def test_counted_views_against_dense(iterate):
    for m in (60, 400):
        graph, _ = normalized_augmentations(counts(m, 200, 3, 9), views=3, isolated="drop")
        check_against_dense(graph, 40)


def test_samples_that_repeat(iterate):
    """A factor of rank 12: the other eigenvalues are zero, of multiplicity 288."""
    rows = random_augmentations(12, 300, 10)
    A = rows[np.r_[:12, np.random.default_rng(0).integers(12, size=500)]]
    found = check_against_dense(normalized_augmentations(A)[0], 30)
    assert np.abs(found.values[12:]).max() < 1e-12


@pytest.mark.parametrize("k", [3, 10, 11, 40])
def test_hypercube(iterate, k):
    """Connected, with eigenvalues 1 - 2j/d of multiplicity C(d, j)."""
    W, values = hypercube(9)
    found = eigenpairs(normalized_weights(W)[0], k)
    assert found.solver == "lanczos"
    np.testing.assert_allclose(found.values, values[:k], atol=1e-12)


def test_search_of_the_complement_finds_copies(iterate, monkeypatch):
    """Lanczos from one vector need not see all copies; what it missed is searched for."""
    W, values = hypercube(9)
    graph = normalized_weights(W)[0]
    vectors = np.linalg.eigh(graph.adjacency.toarray())[1][:, ::-1]
    arpack, calls = lanczos._arpack, []

    def blind(operator, count, tolerance, rng, **options):
        calls.append(count)
        if len(calls) == 1:
            return vectors[:, 4 : 4 + count]
        return arpack(operator, count, tolerance, rng, **options)

    monkeypatch.setattr(lanczos, "_arpack", blind)
    np.testing.assert_allclose(eigenpairs(graph, 11).values, values[:11], atol=1e-10)
    assert len(calls) > 1
    calls.clear()
    monkeypatch.setattr(lanczos, "_has_larger", lambda *args: False)
    assert eigenpairs(graph, 11).values[8] < values[8] - 0.1


@pytest.mark.parametrize("factor", [False, True])
def test_identical_copies(iterate, factor):
    """Twelve copies of a block: every eigenvalue twelve times, one included."""
    if factor:
        A = random_augmentations(50, 40, 11)
        graph, _ = normalized_augmentations(sp.block_diag([A] * 12))
    else:
        graph, _ = normalized_weights(sp.block_diag([symmetric(random_weights(40, 0.2, 1))] * 12))
    assert graph.n_components == 12
    found = check_against_dense(graph, 40)
    assert np.array_equal(found.values[:12], np.ones(12))
    assert np.ptp(found.values[12:24]) < 1e-12


def test_connected_copies(iterate):
    """Six copies joined to each other alike: four values of multiplicity five among the first."""
    W = symmetric(random_weights(40, 0.2, 2))
    check_against_dense(normalized_weights(sp.kron(W, np.eye(6) + 0.02))[0], 30)


def test_components_of_many_sizes():
    """Small and large ones, dense and iterated, and vertices in no order."""
    rng = np.random.default_rng(12)
    blocks = [symmetric(random_weights(n, min(1.0, 12 / n), n)) for n in (3, 7, 7, 50, 500, 450)]
    W = sp.csr_array(sp.block_diag(blocks))
    order = rng.permutation(W.shape[0])
    graph, _ = normalized_weights(W[order][:, order])
    assert graph.n_components == 6
    first = [np.flatnonzero(graph.components == c)[0] for c in range(6)]
    assert first == sorted(first)
    assert check_against_dense(graph, 60).solver == "lanczos"
    heaviest = np.bincount(graph.components, graph.degrees).argmax()
    leading = eigenpairs(graph, 1).vectors[:, 0]
    assert np.array_equal(np.flatnonzero(leading), np.flatnonzero(graph.components == heaviest))


def test_most_pairs_from_one_component(iterate):
    """A ring has nearly all of the largest eigenvalues, far more than its share."""
    blocks = [symmetric(random_weights(80, 0.5, seed)) for seed in range(5)]
    ring = sp.coo_array((np.ones(120), (np.arange(120), (np.arange(120) + 1) % 120)))
    W = sp.block_diag([*blocks[:2], ring + ring.T, *blocks[2:]])
    graph, _ = normalized_weights(W)
    found = check_against_dense(graph, 36)
    assert found.solver == "lanczos"
    np.testing.assert_allclose(found.values[[6, 34]], np.cos(2 * np.pi * np.array([1, 15]) / 120))


def test_a_thousand_components():
    blocks = [symmetric(random_weights(8, 0.6, seed)) for seed in range(20)]
    g = PositivePairGraph(sp.block_diag(blocks * 50))
    with pytest.warns(ForetellWarning, match="k = 1000 have a gap"):
        V = g.eigenvectors(10)
    assert g.n_components == 1000
    np.testing.assert_allclose(V.T @ V, np.eye(10), atol=1e-14)
    np.testing.assert_allclose(g.operator @ V, V, atol=1e-14)
    second = max(np.linalg.eigvalsh(adjacency(block))[-2] for block in blocks)
    values = g.spectrum(1052)
    assert np.array_equal(values[:1000], np.ones(1000))
    np.testing.assert_allclose(values[1000:1050], second, atol=1e-13)
    assert values[1050] < second - 1e-6


def test_block_model():
    """A tree of blocks has its eigenvalues in closed form."""
    g = PositivePairGraph.from_blocks(hierarchical_blocks([2, 3], [0.2, 0.5, 1.0], 10))
    np.testing.assert_allclose(g.spectrum(6), g.source.spectrum[:6], atol=1e-13)
    assert g.gap(6) == pytest.approx(g.source.spectrum[5], abs=1e-13)


def test_same_seed_same_result(iterate):
    W, _ = hypercube(8)
    first, again = (PositivePairGraph(W, random_state=3).pairs(9) for _ in range(2))
    assert np.array_equal(first.vectors, again.vectors)


def test_pairs_are_kept(monkeypatch):
    calls = []
    found = eigenpairs

    def counted(*args, **options):
        calls.append(args[1])
        return found(*args, **options)

    monkeypatch.setattr("foretell.theory.graphs.graph.eigenpairs", counted)
    g = PositivePairGraph(symmetric(random_weights(50, 0.3, 3)))
    g.embedding(5), g.spectrum(3), g.gap(4), g.minimal_loss(6), g.probe_error([0, 1] * 25, 5)
    assert calls == [6]


def test_residuals_are_checked(iterate, monkeypatch):
    found = lanczos.largest_pairs

    def rough(operator, count, **options):
        values, vectors = found(operator, count, **options)
        return values, vectors + 1e-5 * np.roll(vectors, 1, axis=0)

    monkeypatch.setattr(connected, "largest_pairs", rough)
    monkeypatch.setattr(lanczos, "MAX_REFINEMENTS", 0)
    with pytest.raises(ConvergenceError, match=r"residual of .*e-0., expected at most 1.0e-08"):
        eigenpairs(normalized_weights(symmetric(random_weights(200, 0.05, 4)))[0], 5)


def chain_of_clusters(n_clusters, size, link, extra=0):
    """Cliques of n_clusters with weak links: a chain, and ``extra`` random ones beside it."""
    rng = np.random.default_rng(0)
    W = sp.kron(sp.eye_array(n_clusters), np.ones((size, size))).tolil()
    starts = size * np.arange(n_clusters)
    ends = rng.integers(0, n_clusters * size, (extra, 2)).tolist()
    for a, b in [*pairwise(starts), *ends]:
        W[a, b] = W[b, a] = W[a, b] + link
    order = rng.permutation(n_clusters * size)
    return W.tocsr()[order][:, order]


@pytest.mark.parametrize(
    ("n_clusters", "size", "link", "k"),
    [(300, 10, 1e-5, 20), (300, 10, 1e-9, 64), (30, 100, 1e-7, 4), (1000, 3, 1e-9, 20)],
)
@pytest.mark.parametrize("banded", [True, False])
def test_clusters_that_hardly_touch(n_clusters, size, link, k, banded, monkeypatch):
    if not banded:
        monkeypatch.setattr(connected, "is_banded", lambda matrix: False)
        monkeypatch.setattr(lanczos, "MAX_WORK", 1e8)
    graph = PositivePairGraph(chain_of_clusters(n_clusters, size, link, extra=n_clusters // 4))
    found = eigenpairs(graph.normalized, k)
    assert found.residuals.max() < 1e-8
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-10)
    exact = sp.linalg.eigsh(
        graph.normalized.adjacency, k, sigma=1 + 1e-6, return_eigenvectors=False, tol=1e-13
    )
    np.testing.assert_allclose(found.values, np.sort(exact)[::-1], atol=1e-12)


def test_long_path_and_ring_in_closed_form():
    n, k = 20_000, 20
    links = sp.diags_array([np.ones(n - 1)] * 2, offsets=[-1, 1]).tolil()
    path = eigenpairs(normalized_weights(links.tocsr())[0], k)
    np.testing.assert_allclose(path.values, np.cos(np.pi * np.arange(k) / (n - 1)), atol=1e-13)
    links[0, n - 1] = links[n - 1, 0] = 1.0
    ring = eigenpairs(normalized_weights(links.tocsr())[0], k)
    np.testing.assert_allclose(
        ring.values, np.cos(2 * np.pi * ((np.arange(k) + 1) // 2) / n), atol=1e-13
    )
    assert max(path.residuals.max(), ring.residuals.max()) < 1e-12


def test_all_copies_are_found_in_banded_graphs():
    legs, length = 7, 150
    ends = 1 + np.arange(legs * length).reshape(legs, length)
    rows = np.concatenate([np.zeros(legs, dtype=int), ends[:, :-1].ravel()])
    columns = np.concatenate([ends[:, 0], ends[:, 1:].ravel()])
    n = 1 + legs * length
    W = sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    graph = normalized_weights((W + W.T).tocsr())[0]
    exact = np.linalg.eigvalsh(graph.adjacency.toarray())[::-1]
    for k in (3, 7, 20):
        found = eigenpairs(graph, k)
        np.testing.assert_allclose(found.values, exact[:k], atol=1e-12)
        np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-10)


def test_where_iterations_fail_the_dense_matrix_is_solved(iterate, monkeypatch):
    def stuck(*_, **__):
        raise ConvergenceError("stuck")

    monkeypatch.setattr(connected, "largest_pairs", stuck)
    W = symmetric(random_weights(200, 0.05, 4))
    graph = normalized_weights(W)[0]
    exact = np.linalg.eigvalsh(graph.adjacency.toarray())[::-1]
    np.testing.assert_allclose(eigenpairs(graph, 5).values, exact[:5], atol=1e-12)
    monkeypatch.setattr(connected, "DENSE_FALLBACK", 100)
    with pytest.raises(ConvergenceError, match="stuck"):
        eigenpairs(graph, 5)


def test_work_is_bounded_and_advice_given(monkeypatch):
    monkeypatch.setattr(connected, "is_banded", lambda matrix: False)
    monkeypatch.setattr(connected, "DENSE_FALLBACK", 0)
    monkeypatch.setattr(lanczos, "MAX_WORK", 1e7)
    monkeypatch.setattr(lanczos, "QUICK_RESTARTS", 2)
    n = 3000
    path = sp.diags_array([np.ones(n - 1)] * 2, offsets=[-1, 1]).tocsr()
    with pytest.raises(ConvergenceError, match="ask for more eigenpairs, so that a gap follows"):
        PositivePairGraph(path).spectrum(20)


def test_tiny_and_huge_features():
    g = PositivePairGraph(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    y, f = [0] * 4 + [1] * 4, g.embedding(2) @ [[1, 0.2], [0.1, 2]]
    for scale in (1e-170, 1e170, 1e300):
        assert g.probe_features(scale * f, y).error == 0
        assert g.principal_angles(scale * f).captured == pytest.approx(1.0)
    assert g.trained_probe(1e-170 * f, y).fit.error == 0
    for scale in (1e100, 1e300):
        with pytest.raises(InputError, match="loss of these features is not finite"):
            g.spectral_loss(scale * f)
        with pytest.raises(InputError, match="loss of these features is not finite"):
            g.trained_probe(scale * f, y)


def test_a_collapsed_network_predicts_nothing():
    g = PositivePairGraph(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    found = g.trained_probe(np.zeros((8, 2)), [0] * 4 + [1] * 4)
    assert found.fit.rank == 0
    assert found.fit.squared_risk == pytest.approx(1.0)
    assert found.fit.error == pytest.approx(0.5)
    assert found.excess_loss == pytest.approx(-g.minimal_loss(2))


@pytest.mark.parametrize(
    "features",
    [None, 3, "abc", [["1", "2"]] * 8, np.ones((8, 2)) + 1j, [[1.0], [1.0, 2.0]], [[None]] * 8],
)
def test_features_that_are_no_numbers_are_refused(features):
    g = PositivePairGraph(np.ones((8, 8)) + np.eye(8))
    y = [0] * 4 + [1] * 4
    for use in (g.spectral_loss, g.principal_angles):
        with pytest.raises(InputError, match="features"):
            use(features)
    for use in (g.probe_features, g.trained_probe):
        with pytest.raises(InputError, match="features"):
            use(features, y)


@pytest.mark.parametrize("k", ["2", None, True, 2.0, 0, 8])
def test_dimensions_that_are_no_whole_numbers_are_refused(k):
    g = PositivePairGraph(np.ones((8, 8)) + np.eye(8))
    y = [0] * 4 + [1] * 4
    calls = [lambda: g.probe(y, k), lambda: g.rates(y, k), lambda: g.probe_bound(y, k)]
    if k is not None:
        calls += [lambda: g.principal_angles(np.eye(8)[:, :2], k)]
    for call in calls:
        with pytest.raises(InputError, match="k is a whole number from 1 to 7"):
            call()
    with pytest.raises(InputError, match="m is a whole number"):
        g.cheeger(k)
    if k not in (None, 8):
        with pytest.raises(InputError, match="k is a whole number from 1 to 8"):
            g.walk_mass(np.eye(8), 2, k)


@pytest.mark.parametrize("labels", [None, 3, "ababab", [0, 1]])
def test_labels_of_another_kind_are_refused(labels):
    g = PositivePairGraph(np.ones((6, 6)) + np.eye(6))
    dropped = PositivePairGraph(np.diag([1.0, 1, 1, 1, 1, 0]), isolated="drop")
    for graph in (g, dropped):
        with pytest.raises(InputError, match="labels"):
            graph.disagreement(labels)


def test_weights_and_seeds_of_another_kind():
    W = np.ones((3, 3)) + np.eye(3)
    np.testing.assert_array_equal(
        PositivePairGraph(W.astype(object)).weights, PositivePairGraph(W).weights
    )
    with pytest.raises(InputError, match="different lengths"):
        PositivePairGraph([[1, 2], [1]])
    for seed in ("a", None, True, -1):
        with pytest.raises(InputError, match="random_state is a whole number"):
            PositivePairGraph(W, random_state=seed)


def test_one_vertex():
    g = PositivePairGraph([[2.0]])
    assert "1 vertex," in g.summary()
    with pytest.raises(InputError, match="one vertex, whose only eigenvalue is 1"):
        g.embedding(1)


def test_printed_numbers():
    g = PositivePairGraph(np.kron(np.eye(2), np.ones((3, 3))))
    assert "leading eigenvalues: 1, 1, 0, 0, 0" in g.summary()
    assert str(g.pairs(2)).startswith("2 eigenvalues from 1 to ") or len(g.pairs(2).values) > 2
    head = g.probe_features(np.eye(6)[:, :2], [0, 0, 0, 1, 1, 1])
    assert str(head).startswith("linear head on 2 dimensions: error ")


def test_ties_are_told():
    W, _ = hypercube(4)
    g = PositivePairGraph(W)
    with pytest.warns(ForetellWarning, match=r"3 and 4 are equal \(0.5\).*k = 1"):
        g.embedding(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.embedding(5), g.embedding(1), g.spectrum(3)


# Wiring


def test_methods_agree_with_each_other():
    g = PositivePairGraph.block_model([20, 30, 25], np.full((3, 3), 0.1) + np.eye(3))
    labels = g.source.blocks
    assert g.probe_error(labels, 3) == 0.0
    assert g.probe_bound(labels, 3) >= 0.0
    assert g.probe(labels, 3).error == g.probe_error(labels, 3)
    assert g.disagreement(labels) == pytest.approx(g.conductance(labels).disagreement)
    found = g.sparsest_partition(3)
    assert found.upper == pytest.approx(g.conductance(labels).largest)
    assert g.cheeger(3) == (found.lower, None)
    assert g.principal_angles(g.embedding(3)).angles.max() < 1e-7
    assert g.trained_probe(g.embedding(3), labels).excess_loss < 1e-12
    assert g.probe_features(g.embedding(3), labels).error == 0.0
    np.testing.assert_allclose(g.walk_mass(np.ones(75), 3), np.ones(75), atol=1e-13)
    assert g.rates(labels, 6).bound.k == 6
    assert "75 vertices, 1 component" in g.summary()
    assert "multiplicity 2" in PositivePairGraph(np.eye(2)).summary()


# Bad input


MATRICES = [
    (np.ones((2, 3)), r"shape \(2, 3\)"),
    (np.ones((0, 0)), "empty"),
    (np.array([[1, 2], [1, 1]]), r"not symmetric: w\[.\, .\] = [12] .*pass \(weights"),
    (np.array([[1, -1], [-1, 1]]), "negative: 2 entries"),
    (np.array([[1, np.nan], [np.nan, 1]]), "not finite: 2"),
    (np.array([[1, np.inf], [np.inf, 1]]), "not finite"),
    (np.zeros((3, 3)), "all zero"),
    (np.eye(2) * 1j, "real numbers"),
    (np.diag([1.0, 0.0]), "1 of 2 vertices"),
]
ONLY_DENSE = [(np.ones(4), "shape"), ([["a", "b"], ["b", "a"]], "real numbers")]


@pytest.mark.parametrize(
    ("weights", "message"),
    [*MATRICES, *ONLY_DENSE, *((sp.csr_array(weights), message) for weights, message in MATRICES)],
)
def test_bad_weights(weights, message):
    with pytest.raises(InputError, match=message):
        PositivePairGraph(weights)


def test_rounding_of_symmetry_is_repaired():
    W = symmetric(random_weights(10, 0.5, 5)).toarray()
    W[2, 3] *= 1 + 1e-13
    g = PositivePairGraph(W)
    assert np.array_equal(g.weights, g.weights.T)
    with pytest.raises(InputError, match="not symmetric"):
        PositivePairGraph(W + np.triu(np.full((10, 10), 1e-6 * W.max()), 1))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("k", [0, -1, 10, 11, 2.5, True])
def test_bad_dimension(kind, k):
    g = PositivePairGraph(kind(symmetric(random_weights(10, 0.5, 5)).toarray()))
    for call in (g.spectrum, g.embedding, g.eigenvectors, g.minimal_loss, g.gap):
        with pytest.raises(InputError, match=r"1 to 9.* 10 vertices"):
            call(k)
    assert len(g.spectrum(9)) == 9
    assert g.gap(9) > 0


def test_bad_augmentations():
    make = PositivePairGraph.from_augmentations
    for args, options, message in [
        (([[0.5, 0.6]],), {}, r"1 of 1 rows .* sum to 1; row 0 sums to 1.1"),
        (([[1.5, -0.5]],), {}, "negative"),
        (([[0.5, 0.5]], [1, 2]), {}, r"shape \(1,\)"),
        (([[0.5, 0.5]], [-1]), {}, "non-negative"),
        (([[1.0, 0.0]],), {}, "1 of 2 vertices"),
        (([[1, 1]],), {"views": 1}, "at least two"),
        (([[1, 2]],), {"views": 2}, "do not sum to 2"),
        (([[0.5, 1.5]],), {"views": 2}, "whole numbers"),
    ]:
        with pytest.raises(InputError, match=message):
            make(*args, **options)
    with pytest.raises(InputError, match="isolated is"):
        PositivePairGraph(np.eye(2), isolated="keep")


def test_bad_labels_and_features():
    g = PositivePairGraph(symmetric(random_weights(10, 0.5, 5)))
    with pytest.raises(InputError, match="labels have shape"):
        g.probe_error([0, 1], 2)
    with pytest.raises(InputError, match="one class"):
        g.probe_error([1] * 10, 2)
    with pytest.raises(InputError, match="features have shape"):
        g.spectral_loss(np.ones((9, 2)))
    with pytest.raises(InputError, match="not finite"):
        g.spectral_loss(np.full((10, 2), np.nan))
