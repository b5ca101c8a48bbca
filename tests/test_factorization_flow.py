"""The closed form of the factorization flow: against its differential equation, and its laws."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from foretell.errors import InputError
from foretell.theory import FactorizationFlow
from foretell.theory.factorization import rotation
from foretell.theory.factorization.target import Target

KINDS = ["indefinite", "singular", "repeated", "positive", "few positive"]


def eigenvalues(kind, d, k, rng, least=0.0):
    values = rng.uniform(-1, 1, d)
    if kind == "singular":
        values[rng.random(d) < 0.5] = 0.0
    elif kind == "repeated":
        values = rng.choice([1.0, 0.5, 0.2, 0.0, -0.5], d)
    elif kind == "positive":
        values = np.abs(values)
    elif kind == "few positive":
        values = -np.abs(values)
        values[: max(1, k // 2)] *= -1
    if not (values > 0).any():
        values[0] = 1.0
    return np.round(values / least) * least if least else values


def orthogonal(d, rng):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def case(kind, d, k, rank, scale, rng, least=0.0):
    """Target (d, d), start (d, rank) and orthonormal rows (rank, k): X0 is their product."""
    values = eigenvalues(kind, d, k, rng, least)
    V = orthogonal(d, rng)
    M = (V * values) @ V.T
    A = scale * rng.normal(size=(d, rank)) / np.sqrt(d)
    return (M + M.T) / 2, A, orthogonal(k, rng)[:rank], values


def integrate(M, A, times, rtol=1e-12, atol=1e-15):
    """The flow from A by an ODE solver, shape (T, d, k), for A of full column rank."""

    def slope(_, x):
        X = x.reshape(A.shape)
        return (M @ X - X @ (X.T @ X)).ravel()

    found = solve_ivp(
        slope, (0, times[-1]), A.ravel(), method="DOP853", rtol=rtol, atol=atol, t_eval=times
    )
    return found.y.T.reshape(-1, *A.shape)


def relative(a, b):
    """Largest over times of |a - b| / |b|, Frobenius norms."""
    axes = tuple(range(1, a.ndim))
    return (np.sqrt(((a - b) ** 2).sum(axes)) / np.sqrt((b**2).sum(axes))).max()


def transposed(a):
    return np.swapaxes(a, -1, -2)


def compare(M, A, W, stop):
    """Errors of X and P on [0, stop]; the solver sees A, whose columns are independent.

    From a start of lower rank than its columns, rounding in a solver grows into directions that
    the exact flow never meets.
    """
    times = np.concatenate([[0.0], np.geomspace(1e-2, stop, 25)])
    flow, expected = FactorizationFlow(M, A @ W), integrate(M, A, times) @ W
    return (
        relative(flow.solution(times), expected),
        relative(flow.gram(times), expected @ transposed(expected)),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("d", "k", "rank"), [(5, 1, 1), (6, 3, 3), (6, 6, 4)])
def test_closed_form_solves_the_differential_equation(kind, d, k, rank, rng):
    M, A, W, _ = case(kind, d, k, rank, 0.1, rng, least=0.1)
    assert max(compare(M, A, W, 100 / 0.1)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_closed_form_on_large_random_targets(seed):
    """d up to 50, ranks 1 to d, gaps down to 1e-3, t up to 100/gap."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 51))
    k = int(rng.integers(1, d + 1))
    rank, scale = int(rng.integers(1, k + 1)), 10 ** rng.uniform(-3, 0.3)
    M, A, W, values = case(KINDS[seed % 5], d, k, rank, scale, rng)
    distinct = np.unique(np.append(values, 0.0).round(9))
    assert max(compare(M, A, W, 100 / max(np.diff(distinct).min(), 1e-3))) < 1e-8


def exact_gram(values, Y, t):
    """The closed form as it stands, in so many digits that it does not overflow its precision."""
    with mpmath.workdps(60 + int(2 * np.abs(values).max() * t)):
        L, Y, t = [mpmath.mpf(float(v)) for v in values], mpmath.matrix(Y.tolist()), mpmath.mpf(t)
        phi = [mpmath.expm1(2 * v * t) / (2 * v) if v else t for v in L]
        F = mpmath.diag([mpmath.exp(v * t) for v in L]) * Y
        B = mpmath.eye(Y.cols) + 2 * Y.T * mpmath.diag(phi) * Y
        return np.array((F * B**-1 * F.T).tolist(), dtype=float)


@pytest.mark.parametrize(
    ("values", "k", "scale"),
    [
        ([3, 2, 1, 0, -1], 3, 1.0),
        ([3, 2.999, 1, 1, -1, 0, 0], 4, 1e-8),
        ([5, 1, 0], 3, 1e3),
        ([1, 0.5, 0.25], 2, 1e-20),
        ([-1, -2], 2, 1.0),
    ],
)
def test_gram_has_all_its_digits(values, k, scale, rng):
    """Against 60 digits and more, relative to each pair of diagonal entries, not to the norm."""
    values = np.array(values, dtype=float)
    Y = scale * rng.normal(size=(len(values), k))
    flow = FactorizationFlow(Target.low_rank(values, np.eye(len(values))), Y)
    times = np.array([0.0, 1e-6, 0.1, 1, 5, 20, 60])
    for P, t in zip(flow.gram(times), times, strict=True):
        expected = exact_gram(values, Y, float(t))
        size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert (np.abs(P - expected) / size).max() < 1e-12


def test_tiny_start_waits_for_its_time():
    """From 1e-200, logistic growth reaches e^2 / (1 + e^2) at time 200 log 10 + 1."""
    t = 200 * np.log(10) + 1
    for k in (1, 2):
        flow = FactorizationFlow(np.diag([1.0, 0.9])[:k, :k], 1e-200 * np.eye(k))
        expected = np.exp(2) / (1 + np.exp(2))
        np.testing.assert_allclose(flow.solution(t)[0, 0] ** 2, expected, rtol=1e-11)


def test_one_over_t_at_any_time(rng):
    """Eigenvalue zero alone: P = X0 (I + 2 t X0'X0)^{-1} X0', at times up to 1e12."""
    X0, times = rng.normal(size=(4, 2)), np.array([1.0, 1e4, 1e8, 1e12])
    P = FactorizationFlow(np.zeros((4, 4)), X0).gram(times)
    for t, found in zip(times, P, strict=True):
        expected = X0 @ np.linalg.inv(np.eye(2) + 2 * t * X0.T @ X0) @ X0.T
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 / t)


def test_overparameterized_flow_reaches_the_slow_mode(rng):
    """2 t S tends to a projector of rank k - r, also at t = 1e8, beside a settled part."""
    V = orthogonal(5, rng)
    M = (V[:, :2] * [3.0, 2.0]) @ V[:, :2].T
    P = FactorizationFlow((M + M.T) / 2, rng.normal(size=(5, 4))).gram(1e8)
    slow = 2e8 * V[:, 2:].T @ (P - M) @ V[:, 2:]
    np.testing.assert_allclose(np.linalg.eigvalsh(slow), [0, 1, 1], atol=1e-6)


def test_gradient_descent_with_small_steps(rng):
    """Descent at steps h and h/2, extrapolated to h = 0, has error O(h^2): four times less."""
    M, A, W, _ = case("indefinite", 6, 3, 3, 0.5, rng)
    exact = FactorizationFlow(M, A @ W).solution(2.0)

    def descend(count):
        X = A @ W
        for _ in range(count):
            X = X + 2.0 / count * (M @ X - X @ (X.T @ X))
        return X

    ends = [descend(n) for n in (500, 1000, 2000)]
    coarse, fine = (np.abs(2 * b - a - exact).max() for a, b in pairwise(ends))
    assert fine < 1e-6
    assert coarse / fine == pytest.approx(4, rel=0.1)


def derivative(function, t, h=2e-3):
    """Central differences of order 8 at times t."""
    weights = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
    return sum(
        w * (function(t + j * h) - function(t - j * h)) / h for j, w in enumerate(weights, 1)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind, rng):
    """P' = MP + PM - 2PP and X' = (M - XX')X, so X'X' is symmetric."""
    M, A, W, _ = case(kind, 7, 4, 3, 0.3, rng)
    flow, times = FactorizationFlow(M, A @ W), np.array([0.5, 3.0, 10.0, 40.0])
    P, X = flow.gram(times), flow.solution(times)
    np.testing.assert_allclose(derivative(flow.gram, times), M @ P + P @ M - 2 * P @ P, atol=1e-11)
    slope = derivative(flow.solution, times)
    np.testing.assert_allclose(slope, M @ X - P @ X, atol=1e-11)
    turning = transposed(X) @ slope
    np.testing.assert_allclose(turning, transposed(turning), atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_semigroup(kind, rng):
    """Flowing for s, then for t, is flowing for s + t: solution and Gram matrix."""
    M, A, W, _ = case(kind, 8, 5, 5, 0.2, rng)
    flow = FactorizationFlow(M, A @ W)
    for s, t in [(0.1, 1.0), (4.0, 3.0), (15.0, 30.0)]:
        again = FactorizationFlow(M, flow.solution(s))
        np.testing.assert_allclose(again.solution(t), flow.solution(s + t), atol=1e-9)
        np.testing.assert_allclose(again.gram(t), flow.gram(s + t), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 0.3, 100.0])
@pytest.mark.parametrize(
    "values", [[-1.0, -2.0], [1.0, -1.0, -3.0], [2.0, 1.0, 0.0, 0.0], [3.0, 2.9, 0.1, 0.0, -0.5]]
)
def test_solution_does_not_depend_on_the_steps(values, scale, rng, monkeypatch):
    """Steps four times shorter, and a stricter idea of what is negligible, change rounding."""
    n, times = len(values), np.concatenate([[0.0], np.geomspace(1e-4, 1e2, 60)])
    X0 = scale * rng.normal(size=(n, n)) * np.logspace(0, -3, n)
    target = Target.low_rank(values, np.eye(n))
    found = FactorizationFlow(target, X0).solution(times)
    monkeypatch.setattr(rotation, "_STEP", rotation._STEP / 4)
    monkeypatch.setattr(rotation, "_NEGLIGIBLE", rotation._NEGLIGIBLE / 1e3)
    finer = FactorizationFlow(target, X0).solution(times)
    size = np.abs(finer).max((1, 2), keepdims=True)
    assert (np.abs(found - finer) / size).max() < 1e-12


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, -5), (-6, 0)])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 100.0])
@pytest.mark.parametrize("values", [[-1.0, -2.0], [-4.6, 2.8, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_answers_do_not_depend_on_later_times(values, scale, rows, columns, rng):
    """Steps are chosen from the last time backwards, so later times change all of them."""
    n = len(values)
    X0 = scale * rng.normal(size=(n, n)) * np.logspace(0, columns, n)
    X0 *= np.logspace(0, rows, n)[:, None]
    flow = FactorizationFlow(Target.low_rank(values, np.eye(n)), X0)
    for t in np.geomspace(1e-5, 10, 5):
        alone = flow.solution(t)
        for later in (30.0, 1e3):
            found = flow.solution([t, later * t, later])[0]
            assert np.abs(found - alone).max() < 1e-12 * np.abs(alone).max()


def test_rotations_of_the_start_and_of_the_space_carry_over(rng):
    M, A, W, _ = case("indefinite", 6, 4, 4, 0.3, rng)
    X0, U, Q = A @ W, orthogonal(4, rng), orthogonal(6, rng)
    times = [0.5, 5.0, 50.0]
    X = FactorizationFlow(M, X0).solution(times)
    np.testing.assert_allclose(FactorizationFlow(M, X0 @ U).solution(times), X @ U, atol=1e-11)
    turned = FactorizationFlow(Q @ M @ Q.T, Q @ X0).solution(times)
    np.testing.assert_allclose(turned, Q @ X, atol=1e-11)


def test_solution_rotates_against_every_natural_factor(rng):
    """The rotation is no formality: X is neither the factor nor P^{1/2} times a fixed rotation."""
    flow = FactorizationFlow(np.diag([2.0, 1.0, 0.5]), rng.normal(size=(3, 3)))
    X = flow.solution(np.linspace(0.0, 2.0, 3))
    U, _, Vt = np.linalg.svd(X)
    assert np.abs((U @ Vt) - (U @ Vt)[0]).max() > 1e-2


def test_commuting_start_does_not_rotate():
    """A diagonal start for a diagonal target: logistic growth in each coordinate."""
    values, y, t = np.array([2.0, 1.0, -1.0]), np.array([0.1, 0.3, 0.5]), 3.0
    X = FactorizationFlow(np.diag(values), np.diag(y)).solution(t)
    grown = y**2 * np.exp(2 * values * t)
    expected = np.sqrt(grown / (1 + y**2 * np.expm1(2 * values * t) / values))
    np.testing.assert_allclose(X, np.diag(expected), atol=1e-13)


def test_vector_keeps_its_signs(rng):
    M, A, _, _ = case("indefinite", 6, 1, 1, 0.5, rng, least=0.1)
    times = np.array([0.0, 1.0, 30.0])
    for sign in (1, -1):
        X = FactorizationFlow(M, sign * A).solution(times)
        assert relative(X, integrate(M, sign * A, times)) < 1e-9


def test_factor_loss_and_singular_values_agree_with_the_gram_matrix(rng):
    M, A, W, _ = case("indefinite", 6, 4, 3, 0.3, rng)
    flow, times = FactorizationFlow(M, A @ W), np.linspace(0, 30, 40)
    P, F = flow.gram(times), flow.factor(times)
    np.testing.assert_allclose(F @ transposed(F), P, atol=1e-14)
    np.testing.assert_allclose(flow.loss(times), flow.target.gram_loss(P), rtol=1e-12)
    np.testing.assert_allclose(flow.loss(times), flow.target.loss(flow.solution(times)), rtol=1e-10)
    assert (np.diff(flow.loss(times)) < 0).all()
    expected = np.linalg.eigvalsh(P)[:, ::-1][:, :4]
    np.testing.assert_allclose(flow.singular_values(times) ** 2, expected, atol=1e-14)


def test_loss_near_zero_keeps_its_digits():
    """One dimension: P = 1 - c e^{-2t}, and the loss is a quarter of the square of that."""
    flow = FactorizationFlow(np.array([[1.0]]), np.array([[1.5]]))
    t = 8.0
    remaining = (1.5**2 - 1) * np.exp(-2 * t) / (1 + 1.5**2 * np.expm1(2 * t) * np.exp(-2 * t))
    assert float(flow.loss(t)) == pytest.approx(remaining**2 / 4, rel=1e-8)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_low_rank_target_is_the_dense_one(k, rng):
    """Also with fewer eigenpairs than columns, and with a start inside their span."""
    V, values = orthogonal(7, rng)[:, :2], np.array([-0.5, 2.0])
    target = Target.low_rank(values, V)
    times = [0.0, 0.7, 6.0, 1e3]
    for X0 in (0.3 * rng.normal(size=(7, k)), V @ rng.normal(size=(2, k))):
        few, dense = FactorizationFlow(target, X0), FactorizationFlow(target.matrix(), X0)
        assert len(few.eigenvalues) <= 2 + k
        seen = np.diagonal(target.vectors.T @ few.gram(times) @ target.vectors, axis1=1, axis2=2)
        np.testing.assert_allclose(few._diagonals(np.array(times)), seen, atol=1e-14)
        for name in ("gram", "solution", "loss", "singular_values"):
            found, expected = getattr(few, name)(times), getattr(dense, name)(times)
            np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(target.loss(X0), few.loss(0.0), rtol=1e-12)
    np.testing.assert_allclose(few.basis.T @ few.basis, np.eye(len(few.eigenvalues)), atol=1e-14)
    assert len(few.saddle_times().times) == 1


def test_start_almost_inside_the_span_of_a_low_rank_target(rng):
    """The part outside is 1e-10 of the start, and its direction still orthogonal to the span."""
    V = orthogonal(7, rng)
    X0 = V[:, :2] @ rng.normal(size=(2, 2)) + 1e-10 * V[:, 2:4] @ rng.normal(size=(2, 2))
    flow = FactorizationFlow(Target.low_rank([2.0, 1.0], V[:, :2]), X0)
    np.testing.assert_allclose(flow.basis.T @ flow.basis, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(flow.solution(0.0), X0, atol=1e-14)


def test_start_orthogonal_to_a_direction_never_learns_it(rng):
    """Rounding does not grow into it: exact at a time by which it would be everything."""
    V = orthogonal(20, rng)
    M = (V * np.arange(20.0, 0, -1)) @ V.T
    X0 = rng.normal(size=(20, 3))
    X0 -= V[:, :1] @ (V[:, :1].T @ X0)
    flow = FactorizationFlow((M + M.T) / 2, X0)
    for P in (flow.gram(200.0), flow.solution(200.0) @ flow.solution(200.0).T):
        np.testing.assert_allclose(np.diag(V.T @ P @ V)[:5], [0, 19, 18, 17, 0], atol=1e-9)


def test_start_of_lower_rank_stays_so(rng):
    M = np.diag([4.0, 3.0, 2.0, 1.0])
    flow = FactorizationFlow(M, rng.normal(size=(4, 2)) @ rng.normal(size=(2, 3)))
    assert np.linalg.matrix_rank(flow.gram(300.0)) == 2
    np.testing.assert_allclose(flow.gram(300.0), np.diag([4.0, 3, 0, 0]), atol=1e-12)
    np.testing.assert_array_equal(FactorizationFlow(M, np.zeros((4, 2))).solution(9.0), 0.0)


def test_times_in_any_order_and_number(rng):
    M, A, W, _ = case("indefinite", 5, 3, 3, 0.2, rng)
    flow = FactorizationFlow(M, A @ W)
    times = np.array([20.0, 0.0, 3.0, 3.0, 7.0])
    for name, shape in {
        "gram": (5, 5), "solution": (5, 3), "factor": (5, 3), "loss": (), "singular_values": (3,),
    }.items():  # fmt: skip
        method = getattr(flow, name)
        assert method(times).shape == (5, *shape)
        assert method([]).shape == (0, *shape)
        assert np.shape(method(3)) == shape
        if name != "factor":
            np.testing.assert_allclose(method(times), [method(t) for t in times], atol=1e-12)
    np.testing.assert_allclose(flow.solution(0.0), A @ W, atol=1e-15)
    np.testing.assert_array_equal(
        FactorizationFlow(np.diag([3.0, 2, 1]), A[:3]).solution(0.0), A[:3]
    )


def test_methods_of_other_files_see_this_flow(rng):
    M, A, W, _ = case("indefinite", 5, 2, 2, 0.2, rng)
    flow = FactorizationFlow(M, A @ W)
    P = flow.basis.T @ flow.gram([0.3, 4.0]) @ flow.basis
    np.testing.assert_allclose(flow.coordinates([0.3, 4.0]).gram, P, atol=1e-10)
    assert flow.is_in_stable_set()
    assert flow.rates().leading > 0
    assert flow.lyapunov([0.3, 4.0]).tilt.values.shape == (2,)
    best = next(iter(flow.equilibria(max_count=1)))
    np.testing.assert_allclose(flow.gram(1e6), best.gram, atol=1e-9)
    assert np.isfinite(flow.saddle_times().times[:2]).all()


@pytest.mark.parametrize(
    ("target", "start", "words"),
    [
        ([[1.0, 2.0], [0.0, 1.0]], np.ones((2, 1)), "symmetric"),
        ([[1.0, np.nan], [np.nan, 1.0]], np.ones((2, 1)), "not finite"),
        (np.ones((2, 3)), np.ones((2, 1)), "shape"),
        (np.eye(2) * 1j, np.ones((2, 1)), "real"),
        (np.eye(2), np.ones((2, 0)), "shape"),
        (np.eye(2), np.ones((2, 3)), "shape"),
        (np.eye(2), np.ones((3, 1)), "shape"),
        (np.eye(2), np.ones(2), "shape"),
        (np.eye(2), np.full((2, 1), np.inf), "finite"),
    ],
)
def test_bad_input(target, start, words):
    with pytest.raises(InputError, match=words):
        FactorizationFlow(target, start)


@pytest.mark.parametrize(
    ("times", "words"),
    [(-1.0, "not negative"), ([1, np.nan], "finite"), (np.inf, "finite"), ([[1.0]], "shape")],
)
def test_bad_times(times, words):
    flow = FactorizationFlow(np.eye(2), np.ones((2, 1)))
    for method in (flow.gram, flow.solution, flow.factor, flow.loss, flow.singular_values):
        with pytest.raises(InputError, match=words):
            method(times)


def test_bad_eigenpairs():
    with pytest.raises(InputError, match="orthonormal"):
        Target.low_rank([1.0], np.ones((3, 1)))
    with pytest.raises(InputError, match="shape"):
        Target.low_rank([1.0, 2.0], np.ones((3, 1)))
    with pytest.raises(InputError, match="at most"):
        Target.low_rank(np.ones(3), np.ones((2, 3)))


def test_rounding_of_eigenvectors_does_not_leave_a_saddle():
    """A start orthogonal to the computed leading eigenvector never learns it."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        d = int(rng.integers(3, 20))
        M = rng.normal(size=(d, d))
        target = Target.of(M + M.T)
        G = rng.normal(size=(d - 1, int(rng.integers(1, d)))) * 10.0 ** rng.uniform(-3, 3)
        flow = FactorizationFlow(M + M.T, target.vectors[:, 1:] @ G)
        gap = target.eigenvalues[0] - target.eigenvalues[1]
        P = flow.gram(60.0 / gap)
        assert target.vectors[:, 0] @ P @ target.vectors[:, 0] < 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 305, 414, 574, 593])
def test_a_start_of_low_rank_stays_of_low_rank(seed):
    """Rounding in the columns of A W is not amplified; the last four seeds cancel in A."""
    rng = np.random.default_rng(seed)
    d, r = int(rng.integers(4, 12)), int(rng.integers(1, 4))
    k = min(d, r + int(rng.integers(1, 4)))
    values = 0.4 * rng.normal(size=d)
    V = np.linalg.qr(rng.normal(size=(d, d)))[0]
    A, W = rng.normal(size=(d, r)), np.linalg.qr(rng.normal(size=(k, k)))[0][:, :r].T
    M = (V * values) @ V.T
    M = (M + M.T) / 2
    wide, narrow = (FactorizationFlow(M, start).gram(3000.0) for start in (A @ W, A))
    np.testing.assert_allclose(wide, narrow, atol=1e-9)
