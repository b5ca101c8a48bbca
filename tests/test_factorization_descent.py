"""Gradient descent on a factorization: step sizes, rates, and what it keeps of the flow."""

import warnings

import numpy as np
import pytest

from foretell.errors import ConvergenceError, ForetellWarning, IdentificationError, InputError
from foretell.theory.factorization.descent import gradient_descent
from foretell.theory.factorization.discrete_cascade import cascade_step
from foretell.theory.factorization.flow import FactorizationFlow
from foretell.theory.factorization.step_limits import step_limits
from foretell.theory.factorization.step_sizes import (
    best_step,
    bounded_step,
    contraction,
    curvature,
    is_bounded,
    overshoot,
    stable_step,
)
from foretell.theory.factorization.target import Target

SPECTRA = [
    ([3.0, 1.0, 0.4, -0.5, -1.0], 2),
    ([3.0, 1.0, 0.4, -0.5, -1.0], 4),
    ([3.0, 1.0, 0.4, -0.5, -7.0], 2),
    ([3.0, 3.0, 1.0, 1.0, 0.5], 3),
    ([3.0, 1.0, 0.0, 0.0, -0.2], 4),
    ([2.0, 1.0, 0.5, 0.2, 0.1], 5),
    ([-1.0, -2.0, -3.0, -4.0, -5.0], 2),
]


def rotated(spectrum, rng):
    Q = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))[0]
    return (Q * np.asarray(spectrum)) @ Q.T


def minimiser(spectrum, k):
    X = np.zeros((len(spectrum), k))
    n = min(k, len(spectrum))
    X[np.arange(n), np.arange(n)] = np.sqrt(np.maximum(spectrum[:n], 0.0))
    return X


@pytest.fixture(scope="module")
def jax_loss():
    """The loss as jax sees it, in double precision."""
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):

        def loss(X, M):
            return jax.numpy.sum((X @ X.T - M) ** 2) / 4

        yield jax, loss


@pytest.fixture(scope="module")
def jax_hessian(jax_loss):
    jax, loss = jax_loss
    return jax.jit(jax.hessian(loss))


@pytest.mark.parametrize(("spectrum", "k"), SPECTRA)
def test_curvature_is_the_hessian(spectrum, k, jax_hessian):
    """All eigenvalues of the automatic Hessian, rotations and flat directions counted.

    Columns of zeros are added to X, to compile once, and left out of the Hessian.
    """
    X = np.pad(minimiser(spectrum, k), ((0, 0), (0, 5 - k)))
    H = np.asarray(jax_hessian(X, np.diag(spectrum)))[:, :k, :, :k].reshape(5 * k, 5 * k)
    values = np.linalg.eigvalsh(H)[::-1]
    found = curvature(np.array(spectrum), k)
    n = len(found.values)
    np.testing.assert_allclose(found.values, values[:n], atol=1e-10)
    np.testing.assert_allclose(values[n:], 0, atol=1e-10)
    s = min(k, sum(x > 0 for x in spectrum))
    rotations = s * (s - 1) // 2 + s * (k - s)
    assert len(values) - n == rotations + found.family + found.sublinear


def test_a_step_is_along_the_gradient(rng, jax_loss):
    """Heavy-ball and Nesterov's method written out with the automatic gradient."""
    jax, loss = jax_loss
    M, X0 = rotated([2.0, 1.0, 0.3, -1.0], rng), rng.standard_normal((4, 3)) / 2
    gradient = jax.grad(loss)
    for method in ("heavy-ball", "nesterov"):
        X = before = X0
        for _ in range(5):
            ahead = X + 0.6 * (X - before)
            slope = np.asarray(gradient(ahead if method == "nesterov" else X, M))
            before, X = X, ahead - 0.1 * slope
        path = gradient_descent(M, X0, 0.1, 5, momentum=0.6, method=method)
        np.testing.assert_allclose(path.solution[-1], X, rtol=1e-12, atol=1e-13)


def test_trajectory_records_what_it_says(rng):
    M, X0 = rotated([2.0, 1.0, 0.0, -1.0], rng), rng.standard_normal((4, 3)) / 3
    path = gradient_descent(M, X0, 0.05, 25, record=10)
    assert path.steps.tolist() == [0, 10, 20, 25]
    np.testing.assert_allclose(path.times, 0.05 * path.steps)
    np.testing.assert_allclose(path.solution[0], X0, atol=1e-14)
    back = path.axes @ path.gram @ path.axes.T
    np.testing.assert_allclose(back, path.solution @ np.swapaxes(path.solution, 1, 2), atol=1e-13)
    for X, loss, values in zip(path.solution, path.loss, path.singular_values, strict=True):
        assert loss == pytest.approx(((X @ X.T - M) ** 2).sum() / 4, rel=1e-12)
        np.testing.assert_allclose(values, np.linalg.svd(X, compute_uv=False), atol=1e-13)


def test_small_losses_do_not_cancel():
    """Where X is off by 1e-6 of itself, the loss is 1e-12 of its value at zero."""
    values = np.array([2.0, 1.0])
    path = gradient_descent(np.diag(values), np.diag(np.sqrt(values) * (1 + 1e-6)), 1e-3, 1)
    exact = (values**2).sum() * (2e-6 + 1e-12) ** 2 / 4
    assert path.loss[0] == pytest.approx(exact, rel=1e-8, abs=0)


def test_leading_eigenpairs_suffice(rng):
    """A low-rank target given by its eigenpairs has the path of the full matrix."""
    V = np.linalg.qr(rng.standard_normal((7, 2)))[0]
    X0 = rng.standard_normal((7, 3)) / 3
    for values in ([2.0, 0.7], [2.0, -0.7]):
        short = Target.low_rank(values, V)
        path = gradient_descent(short, X0, 0.1, 40, record=20)
        full = gradient_descent(short.matrix(), X0, 0.1, 40, record=20)
        assert path.factors.shape == (3, 5, 3)
        assert (np.diff(path.spectrum) <= 0).all()
        np.testing.assert_allclose(path.solution, full.solution, atol=1e-12)
        np.testing.assert_allclose(path.loss, full.loss, rtol=1e-10)
        np.testing.assert_allclose(
            step_limits(short, X0).bounded, step_limits(short.matrix(), X0).bounded, rtol=1e-9
        )
    inside = gradient_descent(Target.low_rank([2.0, 1.0], V), V, 0.1, 3)
    assert inside.factors.shape[1] == 2
    wide = gradient_descent(Target.low_rank(np.arange(1.0, 7), np.eye(7)[:, :6]), X0, 0.01, 3)
    assert wide.factors.shape[1] == 7


def test_gap_to_the_flow_halves_with_the_step(rng):
    """Euler's method is of first order: the error at time 2 halves with the step."""
    M = rotated([2.0, 1.0, 0.5, 0.0, -1.0], rng)
    X0 = 0.3 * rng.standard_normal((5, 4))
    exact = FactorizationFlow(M, X0).gram(2.0)
    exact = exact.reshape(exact.shape[-2:])
    errors = []
    for n in (400, 800, 1600):
        X = gradient_descent(M, X0, 2.0 / n, n, record=n).solution[-1]
        errors.append(np.linalg.norm(X @ X.T - exact))
    assert errors[-1] < 2e-3
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, rtol=0.01)


def test_cascade_step_is_exact(rng):
    """P1, W, S of the next iterate from those of this one, without X."""
    M, X0 = np.diag([3.0, 1.0, 0.0, -0.5, -2.0]), 0.6 * rng.standard_normal((5, 4))
    path = gradient_descent(M, X0, 0.1, 6)
    c = path.coordinates()
    state = c.leading[0], c.tilt[0], c.schur[0]
    for j in range(1, 7):
        state = cascade_step(*state, c.growth, c.decay, 0.1)
        for mine, direct in zip(state, (c.leading[j], c.tilt[j], c.schur[j]), strict=True):
            np.testing.assert_allclose(mine, direct, atol=1e-11)


def test_cascade_holds_to_first_order_in_the_step(rng):
    """Steps of S, W, P1 are those of the flow's three equations up to eta^2."""
    X = 0.6 * rng.standard_normal((5, 4))
    M = np.diag([3.0, 1.0, 0.0, -0.5, -2.0])
    errors = []
    for step in (1e-3, 5e-4):
        c = gradient_descent(M, X, step, 1).coordinates()
        (P1, P1n), (W, Wn), (S, Sn) = c.leading, c.tilt, c.schur
        up, down = np.diag(c.growth), np.diag(c.decay)
        flow = (
            up @ P1 + P1 @ up - 2 * P1 @ (np.eye(2) + W @ W.T) @ P1,
            -up @ W - W @ down - 2 * W @ S,
            -down @ S - S @ down - 2 * S @ S,
        )
        pairs = ((P1, P1n), (W, Wn), (S, Sn))
        errors.append(
            [np.linalg.norm(b - a - step * f) for (a, b), f in zip(pairs, flow, strict=True)]
        )
    np.testing.assert_allclose(np.divide(*errors), 4.0, rtol=0.03)


def test_what_of_the_cascade_survives_exactly(rng):
    """S is autonomous on W = 0 only; W = 0 and S = 0 stay; S sees W at second order."""
    growth, decay, step = np.array([3.0, 1.0]), np.array([0.0, 0.5]), 0.1
    P1 = np.array([[1.0, 0.2], [0.2, 0.5]])
    S = np.array([[0.5, 0.1], [0.1, 0.3]])
    W = rng.standard_normal((2, 2)) / 4
    B = np.diag(1 - step * decay) - step * S
    aligned = cascade_step(P1, 0 * W, S, growth, decay, step)
    assert (aligned[1] == 0).all()
    np.testing.assert_allclose(aligned[2], B @ S @ B, rtol=1e-14)
    assert np.abs(cascade_step(P1, W, 0 * S, growth, decay, step)[2]).max() < 1e-16
    deviations = []
    for size in (1.0, 0.5):
        moved = cascade_step(P1, size * W, S, growth, decay, step)[2]
        deviations.append(np.linalg.norm(moved - B @ S @ B))
    assert deviations[0] > 1e-4
    assert deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.1)


def growth(spectrum, start, *arguments, **options):
    """Factor by which the distance to the best Gram matrix changes; infinite if it diverges."""
    X = minimiser(spectrum, start.shape[1])
    try:
        path = gradient_descent(np.diag(spectrum), start, *arguments, **options)
    except ConvergenceError:
        return np.inf
    distance = np.linalg.norm(path.gram - X @ X.T, axis=(1, 2))
    return distance[-1] / distance[0]


@pytest.mark.parametrize("spectrum", [[4.0, 1.0, 0.5], [4.0, 1.0, -6.0]])
@pytest.mark.parametrize(
    ("momentum", "method"), [(0.0, "heavy-ball"), (0.7, "heavy-ball"), (0.7, "nesterov")]
)
def test_stable_limit_separates_settling_from_leaving(spectrum, momentum, method, rng):
    """From next to the minimiser: returns with a step 2 % below the limit, leaves 2 % above."""
    limit = stable_step(curvature(np.array(spectrum), 2).largest, momentum, method)
    start = minimiser(spectrum, 2) + 1e-6 * rng.standard_normal((3, 2))
    options = {"momentum": momentum, "method": method}
    assert growth(spectrum, start, 0.98 * limit, 800, **options) < 1e-3
    with pytest.warns(ForetellWarning, match="take a smaller step"):
        factor = growth(spectrum, start, 1.02 * limit, 120, **options)
    assert factor > 3


@pytest.mark.parametrize("method", ["gradient", "heavy-ball", "nesterov"])
def test_best_step_has_its_rate_and_no_other_is_better(method, rng):
    """The measured factor per step near the minimiser, and a grid of steps and momenta."""
    spectrum, k = np.array([4.0, 1.5, 1.0, 0.5, -1.0]), 2
    found = curvature(spectrum, k)
    best = best_step(found, method)
    name = "nesterov" if method == "nesterov" else "heavy-ball"
    rate = contraction(found.values, best.step, best.momentum, name).max()
    assert rate == pytest.approx(best.rate, abs=1e-7)
    momenta = np.linspace(0, 0.95, 39) if method != "gradient" else [0.0]
    for step in np.linspace(0.02, 0.6, 59):
        for momentum in momenta:
            assert contraction(found.values, step, momentum, name).max() > best.rate - 1e-9
    X = minimiser(spectrum, k)
    path = gradient_descent(
        np.diag(spectrum),
        X + 1e-3 * rng.standard_normal(X.shape),
        best.step,
        60 if method != "gradient" else 200,
        momentum=best.momentum,
        method=name,
    )
    distance = np.linalg.norm(path.gram - X @ X.T, axis=(1, 2))
    kept = (distance > 1e-11) & (path.steps > 10)
    slope = np.polyfit(path.steps[kept], np.log(distance[kept]), 1)[0]
    # a double root of the recursion adds log(j) / j to the momentum methods
    assert np.exp(slope) == pytest.approx(best.rate, rel=0.005 if method == "gradient" else 0.12)


def test_overshoot_is_an_eigenvalue(rng):
    """Of XX' - M, against the dense matrix; also where X is small or zero."""
    for scale in (0.0, 1e-4, 0.3, 3.0):
        spectrum = np.sort(rng.standard_normal(9))[::-1]
        X = scale * rng.standard_normal((9, 3))
        dense = np.linalg.eigvalsh(X @ X.T - np.diag(spectrum))[-1]
        assert overshoot(X, spectrum) == pytest.approx(dense, rel=1e-10, abs=1e-12)


def test_bounded_step_keeps_iterates_bounded(rng):
    """Random targets and starts, 0.1 % below the proven limit: in the invariant set for ever."""
    for _ in range(40):
        d = int(rng.integers(1, 7))
        spectrum = np.sort(rng.standard_normal(d) * 2)[::-1]
        X = rng.standard_normal((d, int(rng.integers(1, d + 1)))) * rng.choice([0.1, 1.0, 3.0])
        excess = overshoot(X, spectrum)
        step = 0.999 * bounded_step(excess, spectrum[0], spectrum[-1])
        smaller = step * np.linspace(0.05, 1, 20)
        assert all(is_bounded(x, excess, spectrum[0], spectrum[-1]) for x in smaller)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ForetellWarning)
            path = gradient_descent(np.diag(spectrum), X, step, 300)
        alpha, a = 1 + step * spectrum[-1], 1 + step * max(spectrum[0], 0)
        y = np.roots([1, a, -1, -alpha]).real.max()
        lowest = [np.linalg.eigvalsh(np.diag(spectrum) - P)[0] for P in path.gram]
        assert 1 + step * np.min(lowest) >= -y * (1 + 1e-9)
        largest = step * path.singular_values[:, 0] ** 2
        assert largest[0] <= (a + y) * (1 + 1e-9)
        assert largest[1:].max() <= (alpha + y) * (1 + 1e-9)


def test_bounded_step_is_sharp_for_one_row():
    """d = k = 1: bounded if and only if eta (X0^2 - M) <= 2."""
    M, x0 = np.eye(1), np.array([[3.0]])
    limit = bounded_step(8.0, 1.0, 1.0)
    assert limit == pytest.approx(0.25, rel=1e-9)
    assert np.isfinite(gradient_descent(M, x0, 0.249, 500).loss).all()
    with pytest.raises(ConvergenceError, match=r"diverges: at step .* take a step below 0.25"):
        gradient_descent(M, x0, 0.251, 500)


def test_bounded_step_is_never_below_the_simple_bound(rng):
    """At least 1 / (2 max(|M|, |X0|^2)), the bound by norms alone."""
    for _ in range(50):
        d = int(rng.integers(1, 7))
        spectrum = np.sort(rng.standard_normal(d))[::-1]
        X = rng.standard_normal((d, 2)) * rng.choice([0.1, 1.0, 3.0])
        simple = 1 / (2 * max(np.abs(spectrum).max(), np.linalg.norm(X, 2) ** 2))
        excess = overshoot(X, spectrum)
        assert bounded_step(excess, spectrum[0], spectrum[-1]) >= simple


@pytest.mark.parametrize(
    ("momentum", "method"), [(0.0, "heavy-ball"), (0.9, "heavy-ball"), ("increasing", "nesterov")]
)
def test_divergence_is_reported(momentum, method, rng):
    X0 = 4 * rng.standard_normal((3, 2))
    with pytest.raises(ConvergenceError, match=r"at step .* without bound; take a step below"):
        gradient_descent(np.diag([2.0, 1, 0]), X0, 0.3, 500, momentum=momentum, method=method)


def test_divergence_is_seen_at_once():
    """d = k = 1: from X0^2 = M + 2 / eta on, iterates grow for ever."""
    limit = np.sqrt(1.0 + 2 / 0.1)
    with pytest.raises(ConvergenceError, match="at step 0"):
        gradient_descent(np.eye(1), np.array([[1.0001 * limit]]), 0.1, 5)
    path = gradient_descent(np.eye(1), np.array([[0.9999 * limit]]), 0.1, 500)
    assert path.gram[-1].item() == pytest.approx(1.0, rel=1e-9)


def slope(path, values, low, high):
    kept = (path.steps >= low) & (path.steps <= high)
    return np.polyfit(np.log(path.steps[kept]), np.log(values[kept]), 1)[0]


@pytest.mark.parametrize(
    ("momentum", "method"), [(0.0, "heavy-ball"), (0.9, "heavy-ball"), (0.9, "nesterov")]
)
def test_constant_momentum_leaves_the_extra_columns_sublinear(momentum, method, rng):
    """S = (1 - beta) / (2 eta j) with columns left over: momentum changes only the constant."""
    M, X0 = np.diag([3.0, 2.0, 0.0, 0.0]), 0.5 * rng.standard_normal((4, 3))
    path = gradient_descent(M, X0, 0.1, 60_000, momentum=momentum, method=method, record=500)
    size = np.linalg.norm(path.coordinates().schur, axis=(1, 2))
    assert -1.01 < slope(path, size, 20_000, 60_000) < -0.99
    assert size[-1] == pytest.approx((1 - momentum) / (2 * 0.1 * 60_000), rel=0.01)


def test_increasing_momentum_is_quadratic_in_the_extra_columns(rng):
    """S eta j^2 neither vanishes nor passes the 2 of the homoclinic orbit, decade after decade."""
    M, X0 = np.diag([3.0, 0.0, 0.0]), 0.5 * rng.standard_normal((3, 2))
    options = {"momentum": "increasing", "method": "nesterov"}
    path = gradient_descent(M, X0, 0.1, 20_000, record=5, **options)
    size = np.linalg.norm(path.coordinates().schur, 2, axis=(1, 2)) * 0.1 * path.steps**2
    for low, high in ((20, 300), (300, 3000), (3000, 20_000)):
        largest = size[(path.steps >= low) & (path.steps <= high)].max()
        assert 0.5 < largest <= 2.0


def test_steps_to_a_tolerance(rng):
    """Counted near the minimiser, for a linear and for a sublinear mode."""
    M, X = np.diag([4.0, 1.0, 0.2]), minimiser([4.0, 1.0, 0.2], 2)
    limits = step_limits(M, X)
    path = gradient_descent(M, X + np.array([[0, 0], [0, 0], [0, 1e-3]]), 0.1, 400)
    distance = np.linalg.norm(path.gram - X @ X.T, axis=(1, 2))
    count = int((distance > 1e-6 * distance[0]).sum())
    assert limits.steps_to(1e-6, 0.1) == pytest.approx(count, rel=0.01)
    M = np.diag([4.0, 0.0])
    start = np.array([[2.0, 0.0], [0.0, 1.0]])
    path = gradient_descent(M, start, 0.1, 3000)
    count = int((path.gram[:, 1, 1] > 4.0 * 1e-3).sum())
    assert step_limits(M, start).steps_to(1e-3, 0.1) == pytest.approx(count, rel=0.02)


def test_start_orthogonal_to_the_principal_space_has_no_coordinates():
    path = gradient_descent(np.diag([2.0, 1.0]), np.array([[0.0], [0.5]]), 0.1, 5)
    with pytest.raises(IdentificationError, match="orthogonal"):
        path.coordinates()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "finite step > 0; found 0.0"),
        ({"step": -0.1}, "finite step > 0"),
        ({"step": np.nan}, "finite step > 0"),
        ({"n_steps": 0}, "n_steps is a whole number"),
        ({"record": 0}, "record is a whole number"),
        ({"record": 2.5}, "record is a whole number"),
        ({"momentum": 1.0}, "0 <= momentum < 1; found 1.0"),
        ({"momentum": -0.1}, "0 <= momentum < 1"),
        ({"momentum": np.nan}, "0 <= momentum < 1"),
        ({"momentum": "fast"}, "'increasing'; found 'fast'"),
        ({"method": "adam"}, "'heavy-ball' or 'nesterov'"),
        ({"start": np.ones((3, 1))}, "start has shape .* found .3, 1."),
        ({"start": np.ones(2)}, "start has shape"),
        ({"start": np.ones((2, 3))}, "1 <= k <= d"),
        ({"start": np.full((2, 1), np.inf)}, "start has entries that are not finite"),
        ({"start": np.full((2, 1), 1e200)}, "above 1e100; rescale it"),
        ({"target": np.array([[1.0, 2.0], [0.0, 1.0]])}, "symmetric"),
        ({"target": np.full((2, 2), np.nan)}, "not finite"),
    ],
)
def test_bad_input(change, message):
    arguments = {"target": np.eye(2), "start": np.ones((2, 1)), "step": 0.1, "n_steps": 3}
    with pytest.raises(InputError, match=message):
        gradient_descent(**(arguments | change))


def test_bad_questions_to_the_limits():
    limits = step_limits(np.diag([2.0, 1.0]), np.ones((2, 1)))
    with pytest.raises(InputError, match="below the stable limit"):
        limits.steps_to(1e-3, 2.0)
    with pytest.raises(InputError, match="0 < tolerance < 1"):
        limits.steps_to(1.0, 0.1)
    with pytest.raises(InputError, match="'gradient', 'heavy-ball'"):
        best_step(limits.curvature, "adam")
    flat = step_limits(np.zeros((2, 2)), np.ones((2, 1)))
    assert (flat.stable, flat.best) == (np.inf, None)
    with pytest.raises(InputError, match="converges as 1/t"):
        best_step(flat.curvature)
