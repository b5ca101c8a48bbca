"""Matrix sensing: the loss of linear measurements, its flow, and what noise and rank do to it."""

import tracemalloc

import numpy as np
import pytest

from foretell.errors import ConvergenceError, IdentificationError, InputError
from foretell.theory.factorization.flow import FactorizationFlow
from foretell.theory.factorization.isometry import restricted_isometry, truncated
from foretell.theory.factorization.sensing import MatrixSensing, check_count

KINDS = ("gaussian", "rank-one")


@pytest.fixture
def truth(rng):
    """Twelve rows, rank two."""
    axes = np.linalg.qr(rng.standard_normal((12, 2)))[0]
    return (axes * [3.0, 2.0]) @ axes.T


def complete(M):
    """All entries of M, as measurements whose loss is the fully observed one."""
    d = len(M)
    m = d * (d + 1) // 2
    A = np.zeros((m, d, d))
    for n, (i, j) in enumerate(zip(*np.triu_indices(d), strict=True)):
        A[n, i, j] = A[n, j, i] = np.sqrt(m / (1.0 if i == j else 2.0))
    return MatrixSensing(A, np.einsum("nij,ij->n", A, M))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_loss(kind, truth, rng):
    """Against automatic differentiation of the formulas written out with (d, d) matrices."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    sensing = MatrixSensing.draw(truth, 50, kind=kind, noise=0.3, random_state=rng)
    A = sensing.measurements
    A = A if kind == "gaussian" else np.einsum("ni,nj->nij", A, A)

    def loss(X):
        e = jnp.einsum("nij,ij->n", A, X @ X.T) - sensing.values
        if kind == "gaussian":
            return jnp.mean(e**2) / 4
        return jnp.sum((e - jnp.mean(e)) ** 2) / (8 * (len(e) - 1))

    X = rng.standard_normal((12, 3))
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(loss)(X)
        assert sensing.loss(X) == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(sensing.gradient(X), np.asarray(gradient), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_loss_is_the_fully_observed_one(kind, rng):
    """Mean over 400 draws within four standard errors; XX' and M differ in trace, too."""
    M, X = np.diag([2.0, 1.0, -0.5, 0.0]), rng.standard_normal((4, 2))
    full = ((X @ X.T - M) ** 2).sum() / 4
    draws = [MatrixSensing.draw(M, 30, kind=kind, random_state=rng).loss(X) for _ in range(400)]
    assert abs(np.mean(draws) - full) < 4 * np.std(draws) / np.sqrt(400)
    assert np.std(draws) / np.sqrt(400) < 0.05 * full


def test_noise_adds_a_quarter_of_its_variance(rng):
    M, X = np.diag([2.0, 1.0, -0.5, 0.0]), rng.standard_normal((4, 2))
    full = ((X @ X.T - M) ** 2).sum() / 4 + 9.0 / 4
    draws = [MatrixSensing.draw(M, 60, noise=3.0, random_state=rng).loss(X) for _ in range(400)]
    assert abs(np.mean(draws) - full) < 4 * np.std(draws) / np.sqrt(400)


def test_complete_measurements_are_the_factorization_flow(truth, rng):
    """Loss, gradient and flow of an orthogonal basis of measurements, indefinite target."""
    M = truth - 0.5 * np.eye(12)
    sensing, X0 = complete(M), 0.1 * rng.standard_normal((12, 4))
    assert sensing.loss(X0) == pytest.approx(((X0 @ X0.T - M) ** 2).sum() / 4, rel=1e-12)
    np.testing.assert_allclose(sensing.gradient(X0), (X0 @ X0.T - M) @ X0, atol=1e-12)
    times = np.array([0.5, 1.0, 3.0, 10.0])
    path = sensing.flow(X0, times, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(path.gram, FactorizationFlow(M, X0).gram(times), atol=1e-8)
    found = sensing.isometry(2, n_starts=2, n_steps=5)
    assert found.constant == pytest.approx(0, abs=1e-12)
    assert found.lowest == pytest.approx(1, abs=1e-12)


def test_rank_one_is_its_dense_twin(truth, rng):
    """The same numbers from centred (d, d) measurements."""
    thin = MatrixSensing.draw(truth, 70, kind="rank-one", random_state=rng)
    A = np.einsum("ni,nj->nij", thin.measurements, thin.measurements)
    scale = np.sqrt(70 / (2 * 69))
    dense = MatrixSensing(scale * (A - A.mean(axis=0)), scale * (thin.values - thin.values.mean()))
    X = rng.standard_normal((12, 5))
    assert thin.loss(X) == pytest.approx(dense.loss(X), rel=1e-12)
    np.testing.assert_allclose(thin.gradient(X), dense.gradient(X), atol=1e-9)
    ours, theirs = (s.isometry(1, n_starts=2, n_steps=20) for s in (thin, dense))
    np.testing.assert_allclose(
        [ours.lowest, ours.highest], [theirs.lowest, theirs.highest], rtol=1e-8
    )


def test_rank_one_needs_no_square_matrices(rng):
    """300 rows, 2,000 measurements: as (m, d, d) they would take 1.4 GB."""
    sensing = MatrixSensing(rng.standard_normal((2000, 300)), rng.standard_normal(2000))
    tracemalloc.start()
    sensing.descend(0.01 * rng.standard_normal((300, 5)), 1e-3, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_descent_approaches_the_flow_with_the_step(truth, rng):
    """First order: the distance at time 2 halves with the step."""
    sensing = MatrixSensing.draw(truth, 100, random_state=rng)
    X0 = 0.3 * rng.standard_normal((12, 4))
    exact = sensing.flow(X0, np.array([2.0]), rtol=1e-11, atol=1e-13).solution[0]
    errors = []
    for n in (400, 800):
        path = sensing.descend(X0, 2.0 / n, n, record=150)
        assert path.times[-1] == pytest.approx(2.0)
        errors.append(np.linalg.norm(path.solution[-1] - exact))
    assert path.times[:2].tolist() == [0.0, 150 * 2.0 / 800]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_small_initialization_finds_the_low_rank_truth(kind, truth, rng):
    """Fitted rank 12 for a truth of rank 2, 60 of 78 numbers; large initialization misses it."""
    sensing = MatrixSensing.draw(truth, 60, kind=kind, random_state=rng)
    times = np.array([0.0, 100.0])
    small = sensing.flow(1e-3 * np.eye(12), times)
    large = sensing.flow(np.eye(12), times)
    assert small.error(truth)[0] == pytest.approx(1, abs=1e-6)
    assert small.error(truth)[-1] < 0.05
    assert large.error(truth)[-1] > 3 * small.error(truth)[-1]


def test_more_measurements_bring_the_population_flow(truth, rng):
    """Distance to the flow of full observation falls about as the root of m."""
    X0 = 0.1 * rng.standard_normal((12, 12))
    times = np.linspace(0.2, 5, 20)
    population = FactorizationFlow(truth, X0).gram(times)
    distances = []
    for m in (200, 3200):
        draws = [MatrixSensing.draw(truth, m, random_state=rng) for _ in range(4)]
        gaps = [s.flow(X0, times).gram - population for s in draws]
        distances.append(np.mean([np.linalg.norm(g, axis=(1, 2)).max() for g in gaps]))
    assert 2.5 < distances[0] / distances[1] < 7


def test_noise_rewards_early_stopping(truth, rng):
    """Over-parameterised under noise: the error has a minimum, and held-out loss finds it."""
    seen, other = (MatrixSensing.draw(truth, m, noise=1.0, random_state=rng) for m in (90, 300))
    path = seen.flow(1e-3 * np.eye(12), np.geomspace(0.5, 200, 50))
    error, held_out = path.error(truth), path.held_out(other)
    assert error.min() < 0.7 * error[-1]
    assert error[held_out.argmin()] < 1.15 * error.min()
    assert path.loss[-1] < path.loss[error.argmin()]


def test_too_few_measurements_fit_another_matrix(truth, rng):
    """30 numbers, 23 degrees of freedom: without the check of rank the loss vanishes elsewhere."""
    sensing = MatrixSensing.draw(truth, 30, random_state=rng)
    few = MatrixSensing(sensing.measurements[:15], sensing.values[:15])
    path = few.flow(1e-3 * np.eye(12), np.array([0.0, 300.0]))
    assert path.loss[-1] < 1e-4 * path.loss[0]
    assert path.error(truth)[-1] > 0.3


@pytest.mark.parametrize(("d", "rank"), [(5, 1), (5, 3), (6, 6)])
def test_degrees_of_freedom_are_a_rank(d, rank, rng):
    """Of the derivative of XX' at a random X."""
    X = rng.standard_normal((d, rank))
    columns = [(D @ X.T + X @ D.T).ravel() for D in np.eye(d * rank).reshape(-1, d, rank)]
    needed = np.linalg.matrix_rank(np.array(columns))
    check_count(int(needed), d, rank)
    with pytest.raises(IdentificationError, match=f"{needed} degrees of freedom"):
        check_count(int(needed) - 1, d, rank)


def test_isometry_interval_is_attained_and_wider_than_random_matrices(truth, rng):
    """Random matrices of rank 2 lie inside; the ends of full rank are eigenvalues."""
    sensing = MatrixSensing.draw(truth, 200, random_state=rng)
    found = sensing.isometry(2)
    values = []
    for _ in range(300):
        E = truncated((lambda G: G + G.T)(rng.standard_normal((12, 12))), 2)
        assert np.linalg.matrix_rank(E) == 2
        assert np.linalg.norm(E) == pytest.approx(1)
        values.append((np.einsum("nij,ij->n", sensing.measurements, E) ** 2).mean())
    assert found.lowest < min(values)
    assert max(values) < found.highest
    assert found.constant == max(1 - found.lowest, found.highest - 1)
    rows, columns = np.triu_indices(12)
    weights = np.where(rows == columns, 1.0, np.sqrt(2.0))
    flat = sensing.measurements[:, rows, columns] * weights
    exact = np.linalg.eigvalsh(flat.T @ flat / 200)
    full = sensing.isometry(12, n_starts=2, n_steps=600)
    np.testing.assert_allclose([full.lowest, full.highest], exact[[0, -1]], rtol=0.02, atol=2e-3)


def test_truncation_keeps_the_largest_moduli():
    E = np.diag([1.0, -4.0, 3.0])
    np.testing.assert_allclose(truncated(E, 1), np.diag([0, -1.0, 0]), atol=1e-15)
    np.testing.assert_allclose(truncated(E, 2), np.diag([0, -0.8, 0.6]), atol=1e-15)


def test_isometry_of_rank_one_in_the_plane(rng):
    """Against all unit vectors of the plane, with both signs."""
    sensing = MatrixSensing.draw(np.eye(2), 12, random_state=rng)
    angles = np.linspace(0, np.pi, 4001)
    v = np.stack([np.cos(angles), np.sin(angles)])
    values = (np.einsum("nij,it,jt->nt", sensing.measurements, v, v) ** 2).mean(axis=0)
    found = sensing.isometry(1, n_steps=400)
    np.testing.assert_allclose(
        [found.lowest, found.highest], [values.min(), values.max()], rtol=1e-4
    )


def test_descent_reports_divergence(truth, rng):
    sensing = MatrixSensing.draw(truth, 60, random_state=rng)
    with pytest.raises(ConvergenceError, match=r"at step .* take a smaller step than 1"):
        sensing.descend(rng.standard_normal((12, 3)), 1.0, 200)


def test_flow_at_time_zero_is_the_start(truth, rng):
    sensing, X0 = MatrixSensing.draw(truth, 60, random_state=rng), rng.standard_normal((12, 2))
    assert (sensing.flow(X0, np.zeros(1)).solution == X0).all()


def arguments(change):
    A = np.array([np.eye(2), np.ones((2, 2)), np.diag([1.0, -1.0])])
    return {"measurements": A, "values": np.array([1.0, 2.0, 0.0])} | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measurements": np.ones((3, 2, 4))}, r"\(m, d, d\).* found \(3, 2, 4\)"),
        ({"measurements": np.ones(3)}, r"\(m, d, d\)"),
        ({"measurements": np.ones((0, 2, 2)), "values": np.ones(0)}, r"\(m, d, d\)"),
        ({"values": np.ones(4)}, r"values have shape \(3,\).* found \(4,\)"),
        ({"values": np.ones((3, 1))}, r"values have shape \(3,\)"),
        ({"values": np.array([1.0, np.nan, 1.0])}, "values have 1 entries that are not finite"),
        ({"measurements": np.full((3, 2, 2), np.inf)}, "measurements have 12 entries"),
        ({"measurements": np.array([np.eye(2), np.eye(2), [[0, 1], [0, 0.0]]])}, "measurement 2"),
        ({"measurements": np.ones((1, 2)), "values": np.ones(1)}, "expected at least 2"),
        ({"rank": 3}, "between 1 and d = 2; found 3"),
        ({"rank": 0}, "between 1 and d = 2; found 0"),
        ({"rank": 1.5}, "between 1 and d = 2; found 1.5"),
    ],
)
def test_bad_measurements(change, message):
    with pytest.raises(InputError, match=message):
        MatrixSensing(**arguments(change))


def test_bad_calls():
    sensing = MatrixSensing(**arguments({}))
    X0 = np.ones((2, 1))
    for start in (np.ones(2), np.ones((3, 1)), np.ones((2, 3))):
        with pytest.raises(InputError, match="start has shape"):
            sensing.flow(start, np.ones(1))
    with pytest.raises(InputError, match="start has entries that are not finite"):
        sensing.descend(np.full((2, 1), np.nan), 0.1, 3)
    for times in (np.array([-1.0]), np.array([np.nan]), np.zeros(0), np.ones((1, 1))):
        with pytest.raises(InputError, match="times are finite"):
            sensing.flow(X0, times)
    with pytest.raises(InputError, match="ascending"):
        sensing.flow(X0, np.array([1.0, 0.5]))
    with pytest.raises(InputError, match="step > 0"):
        sensing.descend(X0, 0.0, 3)
    with pytest.raises(InputError, match="the truth is finite"):
        sensing.flow(X0, np.ones(1)).error(np.eye(3))
    with pytest.raises(InputError, match="rank is a whole number between 1 and d = 2"):
        sensing.isometry(3)
    with pytest.raises(InputError, match="n_starts is a whole number of at least 1"):
        restricted_isometry(lambda E: E, 2, 1, n_starts=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "binary"}, "'gaussian' or 'rank-one'"),
        ({"m": 0}, "m is a whole number"),
        ({"noise": -1.0}, "noise >= 0"),
        ({"noise": np.nan}, "noise >= 0"),
        ({"target": np.array([[0.0, 1.0], [0.0, 0.0]])}, "symmetric"),
    ],
)
def test_bad_draws(change, message):
    with pytest.raises(InputError, match=message):
        MatrixSensing.draw(**({"target": np.eye(2), "m": 10} | change))


def test_draw_refuses_fewer_measurements_than_unknowns(truth):
    with pytest.raises(IdentificationError, match=r"22 measurements .* rank 2 with 12 rows.* 23"):
        MatrixSensing.draw(truth, 22)
    with pytest.raises(
        IdentificationError, match=r"23 measurements less their mean .* at least 24"
    ):
        MatrixSensing.draw(truth, 23, kind="rank-one")
