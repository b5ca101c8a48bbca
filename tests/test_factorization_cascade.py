"""The cascade of symmetric low-rank factorization: closed forms, rates, Lyapunov functions."""

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from foretell.errors import IdentificationError, InputError
from foretell.theory.factorization import FactorizationFlow
from foretell.theory.factorization.cascade import coordinates, decompose
from foretell.theory.factorization.cascade_residuals import residuals
from foretell.theory.factorization.lyapunov import lyapunov, stein_loss
from foretell.theory.factorization.plane import Plane
from foretell.theory.factorization.rates import rates, schur_envelope

# eigenvalues, columns of the start, its scale: as many columns as positive eigenvalues, fewer,
# more; zero eigenvalues fewer and more than the spare columns; repeated; small starts
CASES = {
    "exact": ([3, 2, 1, -0.5, -1], 3, 1.0),
    "spare, hyperbolic": ([3, 2, 1, -0.5, -1], 5, 1.0),
    "exact, singular": ([3, 2, 1, 0, 0], 3, 1.0),
    "one spare, two zero": ([3, 2, 1, 0, 0], 4, 1.0),
    "two spare, two zero": ([3, 2, 1, 0, 0], 5, 1.0),
    "many spare": ([3, 2, 1, 0, 0], 9, 1.0),
    "too few": ([3, 2, 1, 0.5, -1], 2, 1.0),
    "far too few": ([3, 2, 1.5, 1.2, 0], 1, 1.0),
    "repeated": ([2, 2, 1, 0, -1], 4, 1.0),
    "small": ([3, 2, 1, 0, -1], 4, 1e-5),
    "stiff": ([5, 1, 0.1, 0, -20], 4, 1e-3),
    "all positive": ([4, 3, 2, 1, 0.5], 5, 0.1),
}


def case(name, rng):
    values, k, scale = CASES[name]
    return np.array(values, dtype=float), scale * rng.standard_normal((5, k))


def random_case(rng):
    """Any spectrum, zero and repeated eigenvalues among them, and any number of columns."""
    d = int(rng.integers(2, 13))
    values = rng.standard_normal(d) * rng.uniform(0.3, 3)
    values[: rng.integers(0, d)] = 0.0 if rng.random() < 0.5 else rng.choice([-1.0, 1.0])
    values = np.sort(np.append(values[:-1], rng.uniform(0.5, 2)))[::-1]
    k = int(rng.integers(1, d + 3))
    return values, rng.standard_normal((d, k)) * 10 ** rng.uniform(-2, 0.5)


def converges(values, k):
    """Whether W has a limit: the k-th and the next positive eigenvalue differ."""
    return k >= (values > 0).sum() or values[k - 1] > values[k]


def numbers(matrix):
    return np.array(matrix.tolist(), dtype=float).reshape(matrix.rows, matrix.cols)


def exact(values, start, t, r):
    """P1, W, S and the deviation from the closed form of P, in 800 digits."""
    with mp.workdps(800):
        t, Y = mp.mpf(t), mp.matrix(start.tolist())
        values = [mp.mpf(v) for v in values]
        D = mp.diag([mp.expm1(2 * v * t) / v if v else 2 * t for v in values])
        E = mp.diag([mp.exp(v * t) for v in values]) * Y
        P = E * mp.inverse(mp.eye(Y.cols) + Y.T * D * Y) * E.T
        inverse = mp.inverse(P[:r, :r])
        W = inverse * P[:r, r:]
        S = P[r:, r:] - P[:r, r:].T * W
        deviation = inverse - mp.diag([1 / v for v in values[:r]])
        return [numbers(a) for a in (P[:r, :r], W, S, deviation)]


def integrated(values, start, times):
    """Factors of the flow by an adaptive solver, shape (T, d, k)."""

    def velocity(_, x):
        X = x.reshape(start.shape)
        return (values[:, None] * X - X @ (X.T @ X)).ravel()

    out = solve_ivp(
        velocity, (0, times[-1]), start.ravel(), "DOP853", times, rtol=1e-12, atol=1e-15
    )
    return out.y.T.reshape(len(times), *start.shape)


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_keep_their_digits(name, rng):
    """Against 800-digit arithmetic, relative to each part, which fall to 1e-60 and below."""
    values, start = case(name, rng)
    times = np.array([0.0, 1e-3, 0.7, 5.0, 40.0])
    found = coordinates(values, start, times)
    for i, t in enumerate(times):
        parts = (found.leading[i], found.tilt[i], found.schur[i], found.deviation[i])
        for part, truth in zip(parts, exact(values, start, t, found.split), strict=True):
            scale = np.linalg.norm(truth) if found.schur_factor.size or part.any() else 1.0
            assert np.linalg.norm(part - truth) <= 1e-11 * scale + 1e-290


def test_gram_from_the_parts_solves_the_flow(rng):
    for _ in range(12):
        values, start = random_case(rng)
        times = np.linspace(0, 3, 5)
        F = integrated(values, start, times)
        gram = coordinates(values, start, times).gram
        scale = np.linalg.norm(gram, axis=(1, 2))
        assert (np.linalg.norm(gram - F @ F.swapaxes(1, 2), axis=(1, 2)) < 1e-8 * scale).all()


def test_residuals_vanish_on_trajectories_of_a_solver(rng):
    for _ in range(12):
        values, start = random_case(rng)
        times = np.linspace(0, 3, 5)
        F = integrated(values, start, times)
        found = residuals(coordinates(values, start, times), F)
        assert found.leading.max() < 1e-8
        assert found.tilt.max() < 1e-8
        assert found.schur.max() < 1e-8


def test_residuals_vanish_on_the_closed_form_of_the_flow(rng):
    """50 targets up to d = 50, of any rank, indefinite and singular, up to t = 100 / gap.

    The flow forms its factors without the cascade; in the eigenbasis they keep small entries.
    """
    for trial in range(50):
        d = int(rng.integers(2, 51))
        values = rng.standard_normal(d)
        values[: (trial % 3) * d // 4] = 0.0
        values[-1] = 1.5
        k, Q = int(rng.integers(1, d + 1)), np.linalg.qr(rng.standard_normal((d, d)))[0]
        flow = FactorizationFlow((Q * values) @ Q.T, rng.standard_normal((d, k)))
        gap = max(np.diff(np.unique(np.append(values, 0.0))).min(), 1e-3)
        times = np.append(0.0, np.geomspace(1e-2, 100 / gap, 12))
        found = flow.coordinates(times)
        plane = Plane(
            flow.eigenvalues, flow.coefficients, np.abs(flow.basis.T) @ np.abs(flow.start)
        )
        wrong = residuals(found, np.concatenate([F for _, F in plane.factors(times)]))
        for part in (wrong.leading, wrong.tilt, wrong.schur):
            assert part.max() < 1e-8
        gram = flow.basis @ found.gram @ flow.basis.T
        np.testing.assert_allclose(gram, flow.gram(times), atol=1e-9 * np.abs(gram).max())


def test_residuals_see_wrong_coordinates(rng):
    """Time off by 1 %: all three equations are violated; that of S even when W dominates F2."""
    values, start = case("one spare, two zero", rng)
    times = np.array([0.5, 1.0])
    found = residuals(coordinates(values, start, times * 1.01), integrated(values, start, times))
    for part in (found.leading, found.tilt, found.schur):
        assert part.min() > 1e-5
    start = np.array([[1.0, 0.0], [1.0, 1e-5]])
    late = coordinates(np.array([1.0, -1.0]), start, np.array([0.01]))
    wrong = residuals(late, start[None])
    assert wrong.schur[0] == pytest.approx(0.02, rel=0.1)


def test_decomposition_of_factors_agrees(rng):
    for _ in range(12):
        values, start = random_case(rng)
        times = np.linspace(0, 2, 4)
        closed = coordinates(values, start, times)
        found = decompose(times, values, integrated(values, start, times))
        assert found.split == closed.split
        np.testing.assert_allclose(found.leading, closed.leading, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(found.tilt, closed.tilt, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(found.schur, closed.schur, rtol=1e-7, atol=1e-9)
        scale = np.linalg.norm(np.linalg.inv(closed.leading), axis=(1, 2))
        error = np.linalg.norm(found.deviation - closed.deviation, axis=(1, 2))
        assert (error < 1e-7 * scale).all()


def test_velocity_of_the_schur_complement_is_autonomous(rng):
    """Two starts with the same S and different P1 and W have the same S ever after."""
    values = np.array([2.0, 1.0, 0.0, -0.5])
    G = rng.standard_normal((2, 2))
    S = []
    for _ in range(2):
        top = np.hstack([rng.standard_normal((2, 2)), np.zeros((2, 2))])
        lower = np.hstack([rng.standard_normal((2, 2)), G])
        S.append(coordinates(values, np.vstack([top, lower]), np.array([0.0, 0.3, 7.0])).schur)
    np.testing.assert_allclose(S[0], S[1], rtol=1e-12)


@pytest.mark.parametrize("spare", [1, 3, 6])
def test_slow_mode_of_over_parameterization(spare, rng):
    """Zero eigenvalues: log S against log t has slope -1, and the envelope is met exactly."""
    values = np.array([3.0, 2.0, 1.0, 0, 0, 0])
    start = rng.standard_normal((6, 3 + spare))
    times = np.geomspace(1e2, 1e4, 40)
    found = coordinates(values, start, np.append(0.0, times))
    S = np.linalg.norm(found.schur, 2, axis=(1, 2))
    slope = np.polyfit(np.log(times), np.log(S[1:]), 1)[0]
    assert -1.01 <= slope <= -0.99
    np.testing.assert_allclose(S[1:], 1 / (2 * times + 1 / S[0]), rtol=1e-12)
    envelope = schur_envelope(found.decay, found.schur_factor[0], found.times)
    np.testing.assert_allclose(envelope, S, rtol=1e-12)


def test_envelope_bounds_and_is_sharp_for_one_exponent(rng):
    """Lambda2 = mu I, the largest eigenvalue meets its equation; otherwise it is below."""
    times = np.linspace(0, 5, 30)
    for values, sharp in (([1.0, -0.3, -0.3, -0.3], True), ([1.0, 0.0, -0.5, -2.0], False)):
        found = coordinates(np.array(values), rng.standard_normal((4, 3)), times)
        S = np.linalg.norm(found.schur, 2, axis=(1, 2))
        envelope = schur_envelope(found.decay, found.schur_factor[0], times)
        assert (envelope * (1 + 1e-12) >= S).all()
        if sharp:
            np.testing.assert_allclose(S, envelope, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_rates_are_those_of_trajectories(name, rng):
    """Slopes of log-distances over late times, less the power of t, within 1 %."""
    values, start = case(name, rng)
    start = start / CASES[name][2]  # powers show once 2 t S(0) is large
    predicted = rates(values, start.shape[1])
    slowest = min(predicted.leading, 2 * predicted.tilt)
    times = np.linspace(200, 300, 31) / slowest
    found = coordinates(values, start, times)
    leading = np.linalg.norm(found.leading @ found.deviation * found.growth, axis=(1, 2))
    tilt = np.linalg.norm(found.tilt, axis=(1, 2))
    for size, rate, power in (
        (leading, predicted.leading, predicted.leading_power),
        (tilt, predicted.tilt, predicted.tilt_power),
    ):
        if size.any():
            slope = np.polyfit(times, np.log(size) - power * np.log(times), 1)[0]
            assert -slope == pytest.approx(rate, rel=0.01)
    S = np.linalg.norm(found.schur, axis=(1, 2))
    if np.isinf(predicted.schur):
        assert not S.any()
        assert predicted.schur_power == 0
    elif predicted.schur > 0:
        assert -np.polyfit(times, np.log(S), 1)[0] == pytest.approx(predicted.schur, rel=0.01)
    else:
        late = np.geomspace(1e3, 1e5, 20)
        S = np.linalg.norm(coordinates(values, start, late).schur, 2, axis=(1, 2))
        slope = np.polyfit(np.log(late), np.log(S), 1)[0]
        assert slope == pytest.approx(predicted.schur_power, abs=0.01)


@pytest.mark.parametrize(("columns", "leading", "tilt"), [(1, 1, 0), (2, 1, 0), (3, 0, -1)])
def test_powers_of_time(columns, leading, tilt):
    """Two zero eigenvalues: what remains beside the exponential grows tenfold, stays or falls."""
    values, start = np.array([1.0, 0.0, 0.0]), np.array([[1.0, 0, 0], [1, 2, 1], [2, -1, 2]])
    predicted = rates(values, columns)
    assert (predicted.leading_power, predicted.tilt_power) == (leading, tilt)
    found = coordinates(values, start[:, :columns], np.array([30.0, 300.0]))
    for part, rate, power in ((found.deviation, 2, leading), (found.tilt, 1, tilt)):
        size = np.abs(part).max(axis=(1, 2)) * np.exp(rate * found.times)
        assert size[1] / size[0] == pytest.approx(10.0**power, rel=0.05)


def test_exponents_of_the_leading_block_lag_behind_the_tilt(rng):
    """Fewer columns than positive eigenvalues: W W' holds back every entry of P1."""
    values, times = np.array([3.0, 2.2, 1.0, -0.4]), np.array([20.0, 25.0])
    found = coordinates(values, rng.standard_normal((4, 2)), times)
    slopes = -np.log(np.abs(found.deviation[1] / found.deviation[0])) / 5
    np.testing.assert_allclose(slopes, rates(values, 2).leading_exponents, rtol=0.01)
    np.testing.assert_allclose(slopes, [[4, 3.2], [3.2, 2.4]], rtol=0.01)


def test_every_entry_has_its_exponent(rng):
    """lambda_i + mu_j for W, lambda_i + lambda_j for P1, mu_i + mu_j for S."""
    values = np.array([3.0, 2.2, 1.0, -0.4, -1.1])
    start = rng.standard_normal((5, 5))
    predicted = rates(values, 5)
    times = np.array([20.0, 25.0])
    found = coordinates(values, start, times)
    for part, exponents in (
        (found.tilt, predicted.tilt_exponents),
        (found.deviation, predicted.leading_exponents),
        (found.schur, predicted.schur_exponents),
    ):
        slopes = -np.log(np.abs(part[1] / part[0])) / 5
        np.testing.assert_allclose(slopes, exponents, rtol=0.01)


def test_lyapunov_functions_decay_as_certified(rng):
    """Never increase, at least the certified rate at every time, below their bounds."""
    tested = 0
    while tested < 40:
        values, start = random_case(rng)
        if not converges(values, start.shape[1]):
            continue
        tested += 1
        found = coordinates(values, start, np.linspace(0, 8, 60))
        certificate = lyapunov(found)
        for V in (certificate.tilt, certificate.deviation, certificate.divergence):
            assert V.rate > 0
            assert (np.diff(V.values) <= 0).all()
            assert (V.derivative <= -V.rate * V.values * (1 - 1e-9) + 1e-13 * V.values[0]).all()
            assert (V.values <= V.bound * (1 + 1e-9)).all()
        error = np.linalg.norm(found.leading - np.diag(found.growth), axis=(1, 2))
        assert (error <= certificate.leading_bound * (1 + 1e-9) + 1e-13).all()


def test_derivatives_of_lyapunov_functions(rng):
    """Against central differences of the closed forms, which have their own error h^2."""
    for name in CASES:
        values, start = case(name, rng)
        t, h = 0.4, 1e-5
        certificate = lyapunov(coordinates(values, start, np.array([t - h, t, t + h])))
        for V in (certificate.tilt, certificate.deviation, certificate.divergence):
            slope = (V.values[2] - V.values[0]) / (2 * h)
            assert slope == pytest.approx(V.derivative[1], rel=1e-5, abs=1e-7)


def test_certified_rates_are_reached(rng):
    """The tilt and the deviation decay no faster than certified, in the long run."""
    values, start = np.array([3.0, 1.0, -0.5]), rng.standard_normal((3, 3))
    certificate = lyapunov(coordinates(values, start, np.linspace(0, 30, 10)))
    for V in (certificate.tilt, certificate.deviation):
        assert -V.derivative[-1] / V.values[-1] == pytest.approx(V.rate, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 0.1, 0.8, 0.99, 1 - 1e-4, 1 - 1e-9])
def test_rate_of_the_divergence_is_sharp_without_tilt(scale):
    """One eigenvalue, W = 0: the certified rate is the decay at the first time."""
    V = lyapunov(coordinates(np.array([1.0, -9.0]), np.array([[scale], [0]]), np.zeros(1)))
    decay = -V.divergence.derivative[0] / V.divergence.values[0]
    assert decay * (1 - 1e-3) <= V.divergence.rate <= decay * (1 + 1e-9)


def test_divergence_is_moderate_for_small_starts(rng):
    start = rng.standard_normal((4, 2))
    values = np.array([2.0, 1.0, 0.0, -1.0])
    small = lyapunov(coordinates(values, 1e-8 * start, np.zeros(1)))
    assert small.deviation.values[0] > 1e14
    assert small.divergence.values[0] < 200


@pytest.mark.parametrize("scale", [1e-12, 1e-4])
def test_small_starts_keep_their_certificate_at_the_plateaus(scale, rng):
    """One direction learned, the next many orders below: values against 800-digit arithmetic."""
    values, start = np.array([5.0, 1.0, 0.2, -1.0]), scale * rng.standard_normal((4, 4))
    times = np.linspace(0, 120, 13)
    found = coordinates(values, start, times)
    V = lyapunov(found).divergence
    for i, t in enumerate(times):
        P1, W = exact(values, start, t, 3)[:2]
        Z = P1 / np.sqrt(np.outer(values[:3], values[:3]))
        with mp.workdps(200):
            logdet = float(mp.log(mp.det(mp.matrix(Z.tolist()))))
        truth = np.trace(Z) - logdet - 3 + (W**2).sum() / 2
        assert V.values[i] == pytest.approx(truth, rel=1e-7, abs=1e-11)
    assert (V.derivative <= -V.rate * V.values * (1 - 1e-9)).all()


def test_asked_rate_is_certified(rng):
    values, start = case("exact, singular", rng)
    found = coordinates(values, start, np.linspace(0, 9, 40))
    V = lyapunov(found, rate=1.5).deviation
    assert V.rate == 1.5
    assert (V.derivative <= -1.5 * V.values * (1 - 1e-12)).all()
    for rate in (0.0, 2.0, 2.5):
        with pytest.raises(InputError, match="the certified rate is positive, at most 2"):
            lyapunov(found, rate=rate)


def test_stein_loss_of_small_and_large_deviations():
    y = np.array([-0.9, -0.3, -0.0099, -1e-5, 0.0, 1e-9, 0.0099, 0.0101, 2.0, 1e8])
    with mp.workdps(50):
        z = [1 / (1 + mp.mpf(v)) for v in y]
        truth = [float(v - 1 - mp.log(v)) for v in z]
    np.testing.assert_allclose(stein_loss(y[:, None]), truth, rtol=1e-12)


def test_start_of_low_rank_needs_its_own_split(rng):
    """Rank 1 among two positive eigenvalues: S = 0 and W contains the eigenvalue left out."""
    values = np.array([3.0, 1.0, -1.0])
    start = np.outer([1.0, 0.5, 0.2], [1.0, 2.0])
    with pytest.raises(IdentificationError, match=r"rank 1 in the 2 leading .* use split=1"):
        coordinates(values, start, np.zeros(1))
    found = coordinates(values, start, np.array([0.0, 1.0]), split=1)
    assert found.schur_factor.shape == (2, 2, 0)
    np.testing.assert_allclose(found.tilt[:, 0], np.outer([1, np.exp(-2)], [0.5, 0]) + np.outer(
        [1, np.exp(-4)], [0, 0.2]), rtol=1e-12)  # fmt: skip


def test_no_positive_eigenvalue_leaves_the_schur_complement(rng):
    values, start = np.array([0.0, -1.0]), rng.standard_normal((2, 1))
    times = np.array([0.0, 2.0])
    found = coordinates(values, start, times)
    assert found.split == 0
    F = integrated(values, start, times)
    np.testing.assert_allclose(found.gram, F @ F.swapaxes(1, 2), rtol=1e-9)
    assert rates(values, 1).tilt == np.inf
    with pytest.raises(IdentificationError, match="no positive eigenvalue"):
        lyapunov(found)


def test_rounding_of_zero_eigenvalues_is_no_rate(rng):
    values = np.array([1.0, 1e-17, -1e-17])
    start = rng.standard_normal((3, 2))
    found = coordinates(values, start, np.array([1e3]))
    assert found.split == 1
    assert not found.decay.any()
    assert rates(values, 2).schur_power == -1


@pytest.mark.parametrize("column", [0, 1])
def test_start_orthogonal_to_the_principal_space(column, rng):
    start = rng.standard_normal((3, 2))
    start[column] = 0
    with pytest.raises(IdentificationError, match="orthogonal to it, the leading block is sing"):
        coordinates(np.array([2.0, 1.0, -1.0]), start, np.zeros(1))


def test_impossible_splits(rng):
    values, start = np.array([2.0, 1.0, -1.0]), rng.standard_normal((3, 2))
    for split in (-1, 3):
        with pytest.raises(InputError, match=r"split is between 0 and 2, .* found"):
            coordinates(values, start, np.zeros(1), split=split)
    with pytest.raises(InputError, match="split=1 leaves 1 positive eigenvalues"):
        coordinates(values, start, np.zeros(1), split=1)


@pytest.mark.parametrize("times", [[-1.0], [np.nan], [np.inf], [[0.0]]])
def test_bad_times(times, rng):
    with pytest.raises(InputError, match="times are finite, not negative"):
        coordinates(np.array([1.0, -1.0]), rng.standard_normal((2, 1)), np.array(times))


def test_no_times(rng):
    found = coordinates(np.array([1.0, -1.0]), rng.standard_normal((2, 2)), np.array([]))
    assert found.gram.shape == (0, 2, 2)
    with pytest.raises(InputError, match="at least one time; found none"):
        lyapunov(found)


def test_no_rate_without_columns():
    with pytest.raises(InputError, match="at least one column; found rank 0"):
        rates(np.array([1.0]), 0)


def test_tie_after_the_last_column_has_no_certificate(rng):
    found = coordinates(np.array([2.0, 1.0, 1.0]), rng.standard_normal((3, 2)), np.zeros(1))
    assert rates(np.array([2.0, 1.0, 1.0]), 2).tilt == 0
    with pytest.raises(IdentificationError, match="eigenvalues 2 and 3 of the target are both 1"):
        lyapunov(found)
