"""Equilibria of the gradient flow of low-rank factorization: which, where from, and when."""

from itertools import combinations, islice, product
from math import comb

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import qr

from foretell.errors import InputError
from foretell.theory import FactorizationFlow
from foretell.theory.factorization.equilibria import equilibria, equilibrium
from foretell.theory.factorization.learning_order import learning_order
from foretell.theory.factorization.levels import Levels
from foretell.theory.factorization.saddle_times import saddle_times
from foretell.theory.factorization.stability import is_in_stable_set
from foretell.theory.factorization.target import Target


def rotation(rng, d):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def target_of(rng, values):
    """A dense target with these eigenvalues, in a random basis."""
    V = rotation(rng, len(values))
    return Target.of((V * values) @ V.T)


def random_values(rng, d):
    """Positive and negative eigenvalues, some repeated, some zero; gaps of at least 0.1."""
    grid = np.concatenate([np.arange(1, 30) * 0.1, -np.arange(1, 10) * 0.1, np.zeros(6)])
    values = rng.choice(grid, size=d)
    for _ in range(rng.integers(0, 3)):
        values[rng.integers(d)] = values[rng.integers(d)]
    return np.sort(values)[::-1]


def velocity(M, X):
    return M @ X - X @ (X.T @ X)


def jacobian(M, X):
    """Derivative of the velocity, exact for a cubic: central differences of order 4, step 1."""
    columns = []
    for i in range(X.size):
        Z = np.zeros(X.size)
        Z[i] = 1.0
        Z = Z.reshape(X.shape)
        near = velocity(M, X + Z) - velocity(M, X - Z)
        far = velocity(M, X + 2 * Z) - velocity(M, X - 2 * Z)
        columns.append(((8 * near - far) / 12).ravel())
    return np.stack(columns, axis=1)


def eigen_gram(values, Y, t):
    """P(t) in the eigenbasis by the closed form, lambda t < 700.

    With s = exp(2 lambda t) - 1 over lambda and the QR of [s^(1/2) Y; I], whose Q is accurate row
    by row if rows are sorted and columns pivoted: P = D Q Q' D, D = exp(lambda t) / s^(1/2).
    """
    if t == 0:
        return Y @ Y.T
    shrink = np.full(len(values), 2 * t)
    np.divide(-np.expm1(-2 * values * t), values, out=shrink, where=values != 0)
    rows = np.concatenate([(np.exp(values * t) * np.sqrt(shrink))[:, None] * Y, np.eye(Y.shape[1])])
    order = np.argsort(-np.abs(rows).max(axis=1), kind="stable")
    Q = np.empty((len(rows), Y.shape[1]))
    Q[order] = qr(rows[order], mode="economic", pivoting=True)[0]
    Z = Q[: len(values)] / np.sqrt(shrink)[:, None]
    return Z @ Z.T


def diagonals_of(target, X0):
    Y = target.vectors.T @ X0
    return lambda times: np.array([np.diag(eigen_gram(target.eigenvalues, Y, t)) for t in times])


def gram_at(target, X0, t):
    V = target.vectors
    return V @ eigen_gram(target.eigenvalues, V.T @ X0, t) @ V.T


def test_the_twin_solves_the_flow(rng):
    """The closed form of this file against an ODE solver."""
    target = target_of(rng, np.array([2.0, 1.0, 0.0, -1.0]))
    X0 = rng.standard_normal((4, 3))
    M = target.matrix()
    out = solve_ivp(
        lambda t, x: velocity(M, x.reshape(4, 3)).ravel(), (0, 3), X0.ravel(),
        method="DOP853", rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    X = out.y[:, -1].reshape(4, 3)
    np.testing.assert_allclose(gram_at(target, X0, 3.0), X @ X.T, atol=1e-10)


# Which equilibria there are


def test_equilibria_are_all_and_stationary(rng):
    """Against all subsets of positive eigenvalues; each has zero velocity and the loss of f."""
    values = np.array([3.0, 2.5, 1.2, 0.4, 0.0, -1.0])
    target = target_of(rng, values)
    M = target.matrix()
    for k in (1, 2, 4, 6):
        found = list(equilibria(target, k))
        subsets = {I for s in range(min(k, 4) + 1) for I in combinations(range(4), s)}
        assert {e.indices for e in found} == subsets
        assert len(found) == len(equilibria(target, k)) == sum(comb(4, s) for s in range(k + 1))
        losses = np.array([e.loss for e in found])
        assert np.all(np.diff(losses) >= 0)
        for e in found:
            assert np.abs(velocity(M, e.factor)).max() < 1e-13
            np.testing.assert_allclose(e.loss, target.gram_loss(e.gram), atol=1e-13)
            np.testing.assert_allclose(e.gram, e.factor @ e.factor.T, atol=1e-14)


def test_families_are_counted_once(rng):
    """Repeated eigenvalues: choices of how many from each level, against brute force."""
    values = np.array([2.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.0])
    target = target_of(rng, values)
    for k in range(1, 8):
        wanted = {m for m in product(range(4), range(3), range(2)) if sum(m) <= k}
        found = equilibria(target, k)
        assert {e.multiplicities for e in found} == wanted
        assert found.count == len(wanted) == len(list(found))
    one = equilibrium(target, 4, [0, 2, 3])
    assert one.multiplicities == (2, 1, 0)
    assert one.dimension == one.linearization.n_family == 2 * 1 + 1 * 1


def test_equilibria_come_lazily_by_loss(rng):
    """2^60 equilibria: the first ones, in order, against all with at most three left out."""
    values = np.sort(rng.uniform(1.0, 2.0, 60))[::-1]
    found = equilibria(Target.low_rank(values, np.eye(80)[:, :60]), 60, max_count=500)
    assert found.count == 2**60
    assert len(found) == 500
    losses = np.array([e.loss for e in found])
    few = (list(I) for s in range(4) for I in combinations(range(60), s))
    left = np.sort([(values[I] ** 2).sum() / 4 for I in few])
    assert left[499] < values[-4:] @ values[-4:] / 4
    np.testing.assert_allclose(losses, left[:500], atol=1e-12)


def test_lazy_order_agrees_with_sorting_all(rng):
    """Random levels and ranks: the sequence of losses is the sorted one."""
    for _ in range(30):
        values = random_values(rng, 8)
        target, k = target_of(rng, values), int(rng.integers(1, 9))
        found = [e.loss for e in equilibria(target, k)]
        sizes = Levels(target).sizes
        every = [m for m in product(*(range(n + 1) for n in sizes)) if sum(m) <= k]
        levels = Levels(target).values
        rest = (values[values < 0] ** 2).sum()
        losses = sorted((((sizes - np.array(m)) @ levels**2) + rest) / 4 for m in every)
        np.testing.assert_allclose(found, losses, atol=1e-12)
        assert equilibria(target, k).count == len(every)


# Linearization and stability


@pytest.mark.parametrize("chunk", range(4))
def test_linearization_is_that_of_the_flow(rng, chunk):
    """200 random (M, k): eigenvalues, their counts by sign and stability from a dense Jacobian.

    Indefinite, repeated and zero eigenvalues; k from 1 to d; every zero eigenvalue has a name.
    """
    for _ in range(50):
        d = int(rng.integers(2, 7))
        values = random_values(rng, d)
        target, k = target_of(rng, values), int(rng.integers(1, d + 1))
        M, every = target.matrix(), list(equilibria(target, k, max_count=200))
        for e in [every[0], every[rng.integers(len(every))], every[-1]]:
            J = jacobian(M, e.factor)
            dense = np.linalg.eigvalsh((J + J.T) / 2)[::-1]
            at = e.linearization
            np.testing.assert_allclose(at.rates, dense, atol=1e-10)
            assert at.n_escape == (dense > 1e-6).sum()
            assert at.n_attracting == (dense < -1e-6).sum()
            assert at.n_vertical + at.n_family + at.n_flat == (np.abs(dense) <= 1e-6).sum()
            assert e.stable == (at.n_escape == 0) == (e.kind == "global minimum")
            positive = np.flatnonzero(values > 0)[:k]
            best = np.sort(values[positive])[::-1]
            assert e.stable == (len(best) == e.rank and np.allclose(e.eigenvalues, best))
            assert (e.kind == "local maximum") == (dense > 1e-6).all()
            for rate, Z in zip(e.escape_rates, e.escape_directions, strict=True):
                np.testing.assert_allclose(J @ Z.ravel(), rate * Z.ravel(), atol=1e-10)


@pytest.mark.slow  # compiling takes longer than all other tests
def test_hessian_from_autodiff(rng):
    """Minus the Hessian of f by JAX has the eigenvalues of the linearization."""
    import jax

    enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    target = target_of(rng, np.array([2.0, 2.0, 1.0, 0.0, -0.7]))
    M, e = target.matrix(), equilibrium(target, 3, [0, 2])
    with enable_x64(True):
        H = jax.hessian(lambda X: ((X @ X.T - M) ** 2).sum() / 4)(e.factor)
    dense = np.linalg.eigvalsh(-np.asarray(H).reshape(15, 15))[::-1]
    np.testing.assert_allclose(e.linearization.rates, dense, atol=1e-12)


def test_vertical_dimension_is_that_of_the_orbit(rng):
    """Rank of X K over skew K; the family adds directions that move the gram."""
    target = target_of(rng, np.array([2.0, 2.0, 1.0, 0.0, -0.7]))
    for e in equilibria(target, 4):
        k = e.columns
        skew = []
        for a, b in combinations(range(k), 2):
            K = np.zeros((k, k))
            K[a, b], K[b, a] = 1, -1
            skew.append((e.factor @ K).ravel())
        rank = np.linalg.matrix_rank(np.array(skew), tol=1e-10)
        assert e.linearization.n_vertical == rank


def test_gram_linearization(rng):
    """Eigenvalues of D -> (M - 2P)D + D(M - 2P) on symmetric matrices, by brute force."""
    target = target_of(rng, np.array([2.0, 1.0, 0.0, -0.7]))
    e = equilibrium(target, 2, [1])
    A = target.matrix() - 2 * e.gram
    basis = []
    for i, j in combinations(range(4), 2):
        D = np.zeros((4, 4))
        D[i, j] = D[j, i] = np.sqrt(0.5)
        basis.append(D)
    basis += [np.diag(row) for row in np.eye(4)]
    dense = np.array([[(B * (A @ D + D @ A)).sum() for D in basis] for B in basis])
    np.testing.assert_allclose(
        e.linearization.gram_rates(), np.linalg.eigvalsh(dense)[::-1], atol=1e-12
    )


def test_only_unused_columns_at_zero_eigenvalues_are_flat(rng):
    target = target_of(rng, np.array([2.0, 1.0, 0.0, 0.0, -1.0]))
    assert equilibria(target, 2).minimum.is_hyperbolic
    over = equilibria(target, 4).minimum
    assert not over.is_hyperbolic
    assert over.linearization.n_flat == 2 * 2
    assert "4 flat directions" in str(over)
    positive = target_of(rng, np.array([2.0, 1.0]))
    assert [e.kind for e in equilibria(positive, 1)][-1] == "local maximum"


def test_perturbed_saddles_leave_at_the_predicted_rate(rng):
    """60 random saddles and escape directions, followed by an ODE solver: slope within 5 %.

    The largest rate in a dense basis; any rate in the eigenbasis, where no rounding feeds others.
    """
    errors = []
    for trial in range(60):
        d = int(rng.integers(2, 6))
        values = random_values(rng, d)
        values[0], is_dense = 3.0, trial % 2 == 0
        target = target_of(rng, values) if is_dense else Target.low_rank(values, np.eye(d))
        k = int(rng.integers(1, d + 1))
        saddles = [e for e in equilibria(target, k, max_count=100) if not e.stable]
        e = saddles[rng.integers(len(saddles))]
        which = 0 if is_dense else int(rng.integers(len(e.escape_rates)))
        rate, Z, M = e.escape_rates[which], e.escape_direction(which), target.matrix()
        shape, X0 = e.factor.shape, e.factor + 1e-6 * Z
        out = solve_ivp(
            lambda t, x, M=M, shape=shape: velocity(M, x.reshape(shape)).ravel(),
            (0, np.log(1e4) / rate), X0.ravel(), method="DOP853", rtol=1e-11, atol=1e-14,
        )  # fmt: skip
        away = np.linalg.norm(out.y[:, -1].reshape(shape) - e.factor)
        along = (Z * (out.y[:, -1].reshape(shape) - e.factor)).sum()
        errors.append(abs(np.log(away / 1e-6) / np.log(1e4) - 1))
        assert along > 0.95 * away
    assert max(errors) < 0.05


def test_random_perturbations_leave_at_the_largest_rate(rng):
    """Random signs in all coordinates: the slope, once late, is the first escape rate (5 %)."""
    for _ in range(20):
        values = np.array([5.0, 2.0, 0.5, 0.3, -1.0]) + rng.uniform(-0.05, 0.05, 5)
        target = target_of(rng, values)
        e = equilibrium(target, 2, [1, 2])
        rates = e.escape_rates
        X0 = e.factor + 1e-9 * target.vectors @ rng.choice([-1.0, 1.0], (5, 2))
        late = np.log(1e6) / rates[0]
        v = target.vectors[:, e.linearization.escapes[0, 0]]
        times = (late - 0.5 / rates[0], late)
        before, after = (np.linalg.norm(gram_at(target, X0, t) @ v) for t in times)
        slope = np.log(after / before) / (0.5 / rates[0])
        assert abs(slope / rates[0] - 1) < 0.05


# Where starts go


def test_random_starts_reach_the_global_minimum(rng):
    """200 random (M, k, X0): in the stable set, and the exact flow ends at the optimum."""
    for _ in range(200):
        d = int(rng.integers(2, 9))
        values = random_values(rng, d)
        target, k = target_of(rng, values), int(rng.integers(1, d + 1))
        X0 = rng.standard_normal((d, k))
        found = is_in_stable_set(target, X0)
        assert found
        assert found.rank == found.needed == min(k, (values > 0).sum())
        assert found.reached.kind == "global minimum"
        limit = found.limit_factor @ found.limit_factor.T
        slow = (values == 0).any() and k > (values > 0).sum()
        tolerance = 1.01 / 400 if slow else 1e-6
        np.testing.assert_allclose(gram_at(target, X0, 200.0), limit, atol=tolerance)
        best = found.reached.loss
        np.testing.assert_allclose(target.gram_loss(limit), best, atol=1e-10)


def deficient(rng, values, k):
    """A start in the eigenbasis with exact zeros and repeated rows; exact in small integers."""
    Y = rng.integers(-2, 3, size=(len(values), k)).astype(float)
    Y[rng.random(len(values)) < 0.35] = 0.0
    if len(values) > 2:
        i, j = rng.choice(len(values), 2, replace=False)
        Y[j] = 2 * Y[i]
    return Y


def precise_gram(values, Y, t):
    """The closed form in 800 digits: exact row dependence stays exact."""
    with mpmath.workdps(800):
        lam = [
            mpmath.mpf(float(v).as_integer_ratio()[0]) / float(v).as_integer_ratio()[1]
            for v in values
        ]
        c = [mpmath.expm1(2 * v * t) / v if v else mpmath.mpf(2 * t) for v in lam]
        Y = mpmath.matrix(Y.tolist())
        B = mpmath.eye(Y.cols) + Y.T * mpmath.diag(c) * Y
        E = mpmath.diag([mpmath.exp(v * t) for v in lam]) * Y
        return np.array((E * mpmath.inverse(B) * E.T).tolist(), dtype=float)


def test_the_limit_is_the_greedy_row_rank(rng):
    """200 starts with missing directions, repeated eigenvalues too: the flow ends where stated."""
    outside = families = 0
    for _ in range(200):
        d = int(rng.integers(2, 7))
        values, k = random_values(rng, d), int(rng.integers(1, min(d, 4) + 1))
        Y = deficient(rng, values, k)
        found = is_in_stable_set(Target.low_rank(values, np.eye(d)), Y)
        outside += not found
        families += found.reached.is_family
        ranks = [np.linalg.matrix_rank(Y[values > v - 1e-9]) for v in found.reached.levels.values]
        assert found.reached.multiplicities == tuple(np.diff([0, *ranks]))
        limit = found.limit_factor @ found.limit_factor.T
        tolerance = 1 / 400 if (values == 0).any() else 1e-7
        np.testing.assert_allclose(precise_gram(values, Y, 200), limit, atol=tolerance)
    assert outside > 60
    assert families > 10


def test_ties_at_the_cut_need_both_ranks():
    """diag(2, 1, 1), k = 2: rank 2 on the sum of eigenspaces is not enough without the first."""
    target = Target.of(np.diag([2.0, 1.0, 1.0]))
    Y = np.array([[0.0, 0], [1, 0], [0, 1]])
    found = is_in_stable_set(target, Y)
    assert not found
    assert (found.rank, found.needed, found.distance) == (1, 2, 0.0)
    np.testing.assert_allclose(eigen_gram(np.array([2.0, 1, 1]), Y, 30.0), np.diag([0, 1, 1.0]))
    inside = is_in_stable_set(target, np.array([[1.0, 0], [0, 1], [0, 0]]))
    assert inside
    assert inside.reached.is_family


def test_distance_is_to_the_nearest_start_outside(rng):
    """The start minus that singular triple is outside; smaller changes never are."""
    values = np.array([3.0, 2.0, 2.0, 1.0, -1.0])
    target = target_of(rng, values)
    V = target.vectors
    for k, rows in ((1, 1), (2, 3), (3, 3), (4, 4), (5, 4)):
        X0 = rng.standard_normal((5, k))
        found = is_in_stable_set(target, X0)
        U, s, Wt = np.linalg.svd(V[:, :rows].T @ X0)
        K = min(k, 4)
        if k == 2 and np.linalg.norm(V[:, 0] @ X0) < s[K - 1]:
            s[K - 1] = np.linalg.norm(V[:, 0] @ X0)
            nearest = X0 - np.outer(V[:, 0], V[:, 0] @ X0)
        else:
            nearest = X0 - s[K - 1] * np.outer(V[:, :rows] @ U[:, K - 1], Wt[K - 1])
        np.testing.assert_allclose(found.distance, s[K - 1], rtol=1e-12)
        np.testing.assert_allclose(found.relative_distance, s[K - 1] / np.linalg.norm(X0, 2))
        assert not is_in_stable_set(target, nearest)
        for _ in range(20):
            Z = rng.standard_normal(X0.shape)
            assert is_in_stable_set(target, X0 + 0.99 * found.distance * Z / np.linalg.norm(Z))


def test_start_orthogonal_to_the_principal_space(rng):
    """Allowed, reported as outside, with the equilibrium that is reached instead."""
    target = target_of(rng, np.array([3.0, 2.0, 1.0, -1.0]))
    V = target.vectors
    X0 = V[:, 1:] @ rng.standard_normal((3, 2))
    found = is_in_stable_set(target, X0)
    assert not found
    assert (found.rank, found.needed) == (1, 2)
    assert found.reached.indices == (1, 2)
    assert "outside the stable set: learns 1 of 2" in str(found)
    zero = is_in_stable_set(target, np.zeros((4, 2)))
    assert (bool(zero), zero.rank, zero.reached.indices) == (False, 0, ())
    negative = is_in_stable_set(Target.of(-np.eye(3)), np.ones((3, 1)))
    assert negative
    assert negative.distance == np.inf


# When


def test_half_times_of_a_decoupled_start_are_logistic(rng):
    """Orthogonal rows in the eigenbasis: exact and predicted times are both the closed form."""
    values = np.array([4.0, 2.0, 1.0, 0.5, -1.0])
    target = target_of(rng, values)
    y = np.array([1e-3, 1e-5, 1e-4, 1e-2])
    X0 = target.vectors[:, :4] @ np.diag(y) @ rotation(rng, 4)
    found = saddle_times(target, X0, diagonals_of(target, X0))
    exact = np.log(values[:4] / y**2 - 1) / (2 * values[:4])
    np.testing.assert_allclose(found.times, exact, rtol=1e-7)
    np.testing.assert_allclose(found.predicted, exact, rtol=1e-7)
    assert np.isinf(found.lost).all()


def test_times_are_roots_of_the_exact_flow(rng):
    target = target_of(rng, np.array([3.0, 2.0, 1.0, 0.5, -1.0]))
    X0 = 1e-4 * rng.standard_normal((5, 3))
    diagonals = diagonals_of(target, X0)
    found = saddle_times(target, X0, diagonals)
    for i, t in enumerate(found.times[:3]):
        np.testing.assert_allclose(diagonals(np.array([t]))[0, i], found.eigenvalues[i] / 2)
        before = diagonals(np.linspace(0, t * 0.999, 200))[:, i]
        assert before.max() < found.eigenvalues[i] / 2
    assert np.isinf(found.times[3])
    assert "1 of 4 positive eigenvalues never learned" in str(found)


def test_predicted_times_err_by_a_bounded_amount(rng):
    """From starts 1e-3 to 1e-12 in size: times grow, errors times the rate stay the same."""
    values = np.array([3.0, 2.0, 1.2, 0.7])
    target = target_of(rng, values)
    G = rng.standard_normal((4, 3))
    errors, times = [], []
    for size in (1e-3, 1e-6, 1e-9, 1e-12):
        found = saddle_times(target, size * G, diagonals_of(target, size * G))
        errors.append((found.predicted[:3] - found.times[:3]) * 2 * values[:3])
        times.append(found.times[:3])
        assert np.isinf(found.predicted[3])
    assert np.abs(errors).max() < 0.5
    steps = np.broadcast_to(np.log(1e6) / (2 * values[:3]), (3, 3))
    np.testing.assert_allclose(np.diff(times, axis=0), steps, rtol=0.05)
    np.testing.assert_allclose(errors[-1], 0, atol=1e-3)


def test_plateaus_are_the_saddles_visited(rng):
    """Greedy order from a small start; the exact loss stays at each saddle on its plateau."""
    values = np.array([3.0, 1.0, 0.4, -1.0])
    target = target_of(rng, values)
    X0 = 1e-8 * rng.standard_normal((4, 3))
    found = saddle_times(target, X0, diagonals_of(target, X0))
    assert [p.equilibrium.indices for p in found.plateaus] == [(), (0,), (0, 1), (0, 1, 2)]
    assert found.plateaus[0].start == 0
    assert found.plateaus[-1].stop == np.inf
    for plateau in found.plateaus[:-1]:
        middle = (plateau.start + plateau.stop) / 2
        P = gram_at(target, X0, middle)
        np.testing.assert_allclose(target.gram_loss(P), plateau.loss, rtol=1e-3)
    for before, after, t in zip(found.plateaus, found.plateaus[1:], found.times, strict=False):
        assert before.stop < t < after.start


def test_a_larger_eigenvalue_takes_the_column_back():
    """k = 1, nearly orthogonal to the first vector: 2 is learned, then lost to 3."""
    values, Y = np.array([3.0, 2.0]), np.array([[1e-12], [1e-3]])
    target = Target.low_rank(values, np.eye(2))
    found = saddle_times(target, Y, diagonals_of(target, Y))
    assert [p.equilibrium.indices for p in found.plateaus] == [(), (1,), (0,)]
    swap = np.log(3 / 2 * 1e18) / 2
    np.testing.assert_allclose(found.times[0], swap, rtol=1e-6)
    np.testing.assert_allclose(found.lost, [np.inf, swap], rtol=1e-6)
    np.testing.assert_allclose(found.predicted, found.times, rtol=1e-3)


def test_a_level_may_lose_a_member_and_gain_another():
    """diag(3, 2, 2, 1), k = 2: one 2 is learned, lost to 3, and the other 2 takes over from 1."""
    target = Target.low_rank(np.array([3.0, 2.0, 2.0, 1.0]), np.eye(4))
    Y = np.array([[1e-6, 0], [1e-2, 0], [0, 1e-9], [0, 1e-3]])
    found = saddle_times(target, Y, diagonals_of(target, Y))
    visited = [p.equilibrium.multiplicities for p in found.plateaus]
    assert visited == [(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    np.testing.assert_allclose(found.predicted, found.times, rtol=1e-3)
    assert np.isinf(found.times[2])
    np.testing.assert_allclose(found.lost[3], np.log(2 * 1e12) / 2, rtol=1e-3)


def test_repeated_eigenvalues_are_learned_one_after_the_other(rng):
    """Occupancy of a level of two does not depend on the eigenvectors chosen in it."""
    target = target_of(rng, np.array([2.0, 2.0, 1.0]))
    turn = np.eye(3)
    turn[:2, :2] = rotation(rng, 2)
    X0 = target.vectors @ turn @ np.diag([1e-3, 1e-6, 1e-3])
    found = saddle_times(target, X0, diagonals_of(target, X0))
    exact = np.log(np.array([2e6, 2e12, 1e6]) - 1) / np.array([4.0, 4.0, 2.0])
    np.testing.assert_allclose(found.times, exact, rtol=1e-6)
    np.testing.assert_allclose(found.predicted, exact, rtol=1e-6)
    assert [p.equilibrium.multiplicities for p in found.plateaus[:2]] == [(0, 0), (1, 0)]


def test_occupancies_are_those_of_a_determinantal_process(rng):
    """P_ii = lambda_i Pr(i in J) / (1 - exp(-2 lambda_i t)), by summing over all sets J."""
    values, t = np.array([3.0, 2.0, 1.2, 0.7]), 0.8
    Y = 0.3 * rng.standard_normal((4, 3))
    c = np.expm1(2 * values * t) / (2 * values)
    weight, inside = 0.0, np.zeros(4)
    for J in (J for s in range(4) for J in map(list, combinations(range(4), s))):
        w = np.prod(2 * c[J]) * np.linalg.det(Y[J] @ Y[J].T)
        weight += w
        inside[J] += w
    exact = values * inside / weight / -np.expm1(-2 * values * t)
    np.testing.assert_allclose(np.diag(eigen_gram(values, Y, t)), exact, rtol=1e-10)


def test_learning_order_maximizes_the_volume(rng):
    """Sets between changes against all sets, for rows of very different sizes."""
    for _ in range(30):
        values = np.sort(rng.uniform(0.3, 3.0, 6))[::-1]
        Y = rng.standard_normal((6, 3)) * 10.0 ** -rng.uniform(4, 9, 6)[:, None]
        sets = [list(J) for s in range(4) for J in combinations(range(6), s)]
        J: set[int] = set()
        changes = learning_order(values, Y, tolerance=1e-30)
        for change, following in zip(changes, [*changes[1:], None], strict=True):
            J = (J - {change.lost}) | {change.gained}
            stop = change.time + 20 if following is None else following.time
            t = (change.time + stop) / 2
            if stop - change.time < 6 / change.rate:
                continue
            volumes = [
                2 * t * values[S].sum() - np.log(values[S]).sum()
                + np.log(np.linalg.det((Y[S] / 1e-6) @ (Y[S] / 1e-6).T)) - 2 * len(S) * np.log(1e6)
                for S in sets
            ]  # fmt: skip
            best = max(volumes)
            assert volumes[sets.index(sorted(J))] > best - 6
        assert sorted(J) == [0, 1, 2]


def test_changes_are_where_two_volumes_are_equal(rng):
    """Every replacement and gain, against determinants."""
    replaced = 0
    for _ in range(80):
        values = np.sort(rng.uniform(0.3, 3.0, 6))[::-1]
        Y = rng.standard_normal((6, 3)) * 10.0 ** -rng.uniform(0, 5, 6)[:, None]

        def volume(S, Y=Y, values=values):
            S = sorted(S)
            return np.linalg.slogdet(Y[S] @ Y[S].T / 1e6)[1] - np.log(values[S]).sum()

        J, now = set(), 0.0
        for change in learning_order(values, Y / 1e3):
            after = (J - {change.lost}) | {change.gained}
            log_ratio, j = volume(J) - volume(after), change.gained
            if change.lost is None:
                time = np.log(np.expm1(log_ratio)) / (2 * values[j])
            else:
                time = log_ratio / (2 * (values[j] - values[change.lost]))
                replaced += len(J) > 1
            np.testing.assert_allclose(change.time, max(now, time), rtol=1e-6)
            J, now = after, change.time
    assert replaced > 30


def test_learned_at_once_and_nothing_to_learn():
    target = Target.of(np.diag([2.0, 1.0]))
    X0 = np.diag([1.5, 1e-3])
    found = saddle_times(target, X0, diagonals_of(target, X0))
    assert found.times[0] == found.predicted[0] == 0.0
    zero = saddle_times(target, np.zeros((2, 1)), diagonals_of(target, np.zeros((2, 1))))
    assert np.isinf(zero.times).all()
    assert [p.equilibrium.indices for p in zero.plateaus] == [()]
    assert "2 of 2 positive eigenvalues never learned" in str(zero)
    none = Target.of(-np.eye(2))
    assert len(saddle_times(none, X0, diagonals_of(none, X0)).times) == 0


# Bad input


def test_bad_input_says_what_is_wrong():
    target = Target.of(np.diag([2.0, 1.0, -1.0]))
    for k in (0, 4, 1.5, True):
        with pytest.raises(InputError, match="whole number from 1 to d = 3"):
            equilibria(target, k)
    for count in (0, 1.5, True):
        with pytest.raises(InputError, match="max_count is a whole number, at least 1"):
            equilibria(target, 1, max_count=count)
    for indices in ([2], [0, 0], [0, 1, 2], [-1]):
        with pytest.raises(InputError, match="distinct numbers below r = 2"):
            equilibrium(target, 2, indices)
    for start in (np.zeros(3), np.zeros((2, 1)), np.zeros((3, 0)), np.zeros((3, 4))):
        with pytest.raises(InputError, match=r"shape \(d, k\) with d = 3"):
            is_in_stable_set(target, start)
    with pytest.raises(InputError, match="1 numbers that are not finite"):
        is_in_stable_set(target, np.array([[1.0], [np.nan], [0]]))
    with pytest.raises(InputError, match="real numbers"):
        is_in_stable_set(target, np.ones((3, 1), dtype=complex))
    for bad in (-1.0, 2.0, np.nan):
        with pytest.raises(InputError, match="tolerance"):
            is_in_stable_set(target, np.ones((3, 1)), tolerance=bad)
        with pytest.raises(InputError, match="tolerance"):
            equilibria(target, 1, tolerance=bad).count  # noqa: B018
        with pytest.raises(InputError, match="closeness"):
            saddle_times(target, np.ones((3, 1)), lambda t: t, closeness=bad)


def test_first_equilibria_cost_nothing_in_large_problems():
    """5,000 eigenvalues, k = 20: the first hundred, without a dense matrix."""
    values = np.linspace(2.0, 1.0, 5000)
    target = Target(values, np.broadcast_to(np.zeros(1), (5000, 5000)))
    found = equilibria(target, 20)
    assert found.count == sum(comb(5000, s) for s in range(21))
    first = list(islice(found, 100))
    assert first[0].stable
    assert len(first[1].escape_rates) > 0
    assert np.all(np.diff([e.loss for e in first]) >= -1e-9)


def test_a_large_start_makes_no_equilibria_of_its_own():
    """Occupancies above the multiplicity of a level are no plateau."""
    for seed in range(20):
        start = np.random.default_rng(seed).normal(size=(5, 4))
        found = FactorizationFlow(np.diag([1e3, 1.0, 0.0, 0.0, 0.0]), start).saddle_times()
        assert all(plateau.loss >= 0 for plateau in found.plateaus)
        assert all(len(set(p.equilibrium.indices)) <= 2 for p in found.plateaus)
