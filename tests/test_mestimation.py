"""M-estimation of any loss: sums do not feel chunks, minima are minima, sandwiches are right."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import foretell.mestimation.minimum as minimum_module
import foretell.mestimation.objective as objective_module
from foretell.data.sources import ArraySource, ChunkSource
from foretell.errors import ConvergenceError, IdentificationError, InputError
from foretell.mestimation import (
    Curvature,
    Objective,
    check_horizontal,
    check_invariance,
    covariance,
    influence,
    minimise,
    vertical_basis,
)
from foretell.symmetry import Orthogonal, Permutations, Product, Signs, Trivial

enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


def moment_loss(params, x):
    """Distance of x xᵀ from W Wᵀ with its scale estimated: rotations, no normality, quick."""
    gap = jnp.outer(x, x) - params["W"] @ params["W"].T
    return 0.5 * jnp.exp(-params["log_noise"]) * (gap**2).sum() + params["log_noise"]


def factor_loss(params, x):
    """-log N(x; 0, W Wᵀ + Psi), one log noise variance for all columns or one for each."""
    W = params["W"]
    covariance = W @ W.T + jnp.diag(jnp.exp(params["log_noise"]) * jnp.ones(len(x)))
    root = jnp.linalg.cholesky(covariance)
    white = jax.scipy.linalg.solve_triangular(root, x, lower=True)
    return 0.5 * white @ white + jnp.log(jnp.diag(root)).sum()


def turn_factors(params, g):
    return {**params, "W": params["W"] @ g}


def factor_params(rng, d, r, diagonal=False):
    noise = rng.normal(size=d) * 0.3 if diagonal else np.array(0.1)
    return {"W": rng.normal(size=(d, r)), "log_noise": noise}


def factor_rows(rng, n, d=5, r=2):
    """Laplace factors: rows are not normal, so the sandwich is not an inverse information."""
    loadings = np.linspace(2.0, 1.0, r) * np.linalg.qr(rng.normal(size=(d, r)))[0]
    return rng.laplace(size=(n, r)) @ loadings.T + 0.5 * rng.normal(size=(n, d))


def mean_loss(A, params, x):
    return 0.5 * (x - params) @ A @ (x - params)


def test_derivatives_equal_their_dense_twins(rng):
    """Scores, gradient and Hessian are those of jax.grad and jax.jacfwd, row after row."""
    X, V = factor_rows(rng, 37), rng.normal(size=(11, 3))
    w = rng.uniform(0.5, 2.0, 37)
    params = factor_params(rng, 5, 2)
    objective = Objective(moment_loss, ArraySource(X, w), params)
    theta = objective.ravel(params)
    assert np.array_equal(objective.unravel(theta)["W"], params["W"])

    def one(theta, x):
        return moment_loss({"W": theta[:10].reshape(5, 2), "log_noise": theta[10]}, x)

    with enable_x64(True):
        losses, scores, hessians = (
            np.stack([np.asarray(f(theta, x)) for x in X])
            for f in map(jax.jit, (one, jax.grad(one), jax.jacfwd(jax.grad(one))))
        )
    hessian = np.tensordot(w, hessians, 1) / w.sum()
    assert np.allclose(objective.losses(theta, X), losses, rtol=1e-12)
    assert np.allclose(objective.scores(theta, X), scores, atol=1e-12 * np.abs(scores).max())
    assert objective.value(theta) == pytest.approx(w @ losses / w.sum(), rel=1e-13)
    assert np.allclose(objective.gradient(theta), w @ scores / w.sum(), atol=1e-12)
    assert np.allclose(objective.hessian(theta), hessian, atol=1e-12 * np.abs(hessian).max())
    assert np.allclose(objective.score_products(theta, X, V), scores @ V, atol=1e-11)
    products = objective.hessian_product(theta, V.T)
    assert np.allclose(products, V.T @ hessian, atol=1e-11)
    assert np.allclose(objective.hessian_product(theta, V[:, 0]), products[0], atol=1e-13)
    weighted = w[:, None] * scores
    meat = weighted.T @ weighted * 37 / w.sum() ** 2
    assert np.allclose(objective.meat(theta), meat, atol=1e-12 * np.abs(meat).max())


@pytest.mark.parametrize(("cells", "chunk_rows"), [(1 << 10, 100), (1 << 23, 7), (1 << 23, 64)])
def test_chunks_do_not_change_the_sandwich(rng, monkeypatch, chunk_rows, cells):
    """Neither the source's chunks nor the blocks that bound memory change any sum."""
    X, w = factor_rows(rng, 100), rng.uniform(0.5, 2.0, 100)
    params = factor_params(rng, 5, 2)
    whole = Objective(moment_loss, ArraySource(X, w), params)
    theta = whole.ravel(params)
    expected = [whole.gradient(theta), whole.hessian(theta), whole.meat(theta)]
    rows = whole.scores(theta, X)
    monkeypatch.setattr(objective_module, "BLOCK_CELLS", cells)
    pieces = Objective(moment_loss, ArraySource(X, w, chunk_rows), params)
    found = [pieces.gradient(theta), pieces.hessian(theta), pieces.meat(theta)]
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one - other).max() <= 1e-10 * np.abs(one).max()
    assert np.allclose(pieces.scores(theta, X), rows, rtol=0, atol=1e-12 * np.abs(rows).max())


def test_streams_are_walked_as_arrays_are(rng):
    X = factor_rows(rng, 60)
    params = factor_params(rng, 5, 2)
    stream = ChunkSource(lambda: iter(np.split(X, [11, 50])), X.shape)
    one, two = (Objective(moment_loss, s, params) for s in (ArraySource(X), stream))
    theta = one.ravel(params)
    assert np.allclose(one.gradient(theta), two.gradient(theta), rtol=1e-12)
    assert one.value(theta) == pytest.approx(two.value(theta), rel=1e-13)


def test_weights_equal_repetition(rng):
    """Of value, gradient and Hessian; the meat counts squares of weights (rows stay one row)."""
    X, w = factor_rows(rng, 70), rng.integers(1, 4, 70)
    params = factor_params(rng, 5, 2)
    weighted = Objective(moment_loss, ArraySource(X, w.astype(float)), params)
    repeated = Objective(moment_loss, ArraySource(np.repeat(X, w, axis=0)), params)
    theta = weighted.ravel(params)
    assert weighted.value(theta) == pytest.approx(repeated.value(theta), rel=1e-13)
    assert np.allclose(weighted.gradient(theta), repeated.gradient(theta), atol=1e-12)
    assert np.allclose(weighted.hessian(theta), repeated.hessian(theta), atol=1e-11)
    equal = Objective(moment_loss, ArraySource(X, np.full(70, 3.0)), params)
    plain = Objective(moment_loss, ArraySource(X), params)
    assert np.allclose(equal.meat(theta), plain.meat(theta), rtol=1e-12)


def test_blocks_of_close_size_share_one_compilation(rng):
    """The last, smaller chunk is padded: 65 to 128 rows compile once."""
    traces = []

    def loss(params, x):
        traces.append(x)
        return ((x - params) ** 2).sum()

    X, theta = rng.normal(size=(300, 2)), np.zeros(2)
    Objective(loss, ArraySource(X[:65]), theta).gradient(theta)
    later = [Objective(loss, ArraySource(X[:n]), theta) for n in (80, 127, 128)]
    later.append(Objective(loss, ArraySource(X, chunk_rows=100), theta))
    traces.clear()
    for objective in later:
        objective.gradient(theta)
    assert not traces


def test_caller_keeps_single_precision(rng):
    """Inside every call arithmetic is double; outside nothing has changed."""
    before = jax.config.jax_enable_x64
    kinds = []

    def loss(params, x):
        kinds.append((params.dtype, x.dtype))
        return 0.5 * ((x - params) ** 2).sum()

    X = (1e6 + rng.normal(size=(50, 2))).astype(np.float32)
    start = jnp.zeros(2, dtype=jnp.float32)
    found = minimise(Objective(loss, ArraySource(X), start), start)
    assert {k.name for pair in kinds for k in pair} == {"float64"}
    assert found.params.dtype == np.float64
    assert np.allclose(found.params, X.astype(float).mean(axis=0), rtol=1e-13)
    assert jax.config.jax_enable_x64 == before
    assert jnp.ones(2).dtype == jnp.float32
    assert jax.jit(lambda v: v * 2.0)(start).dtype == jnp.float32


def test_setting_returns_after_an_error(rng):
    def broken(params, x):
        raise RuntimeError("from the author's loss")

    with pytest.raises(RuntimeError, match="author"):
        Objective(broken, ArraySource(np.ones((2, 2))), np.zeros(2))
    assert jnp.ones(1).dtype == jnp.float32


def test_importing_foretell_does_not_import_jax():
    code = (
        "import sys, foretell; from foretell import FactorModel, LinearHead, Orthogonal, RiskLaw;"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scores_are_horizontal(rng):
    """At any point, not only the minimum: the loss of each sample is constant on the orbit."""
    params = factor_params(rng, 5, 3)
    objective = Objective(moment_loss, ArraySource(factor_rows(rng, 30)), params)
    theta = objective.ravel(params)
    vertical = vertical_basis(Orthogonal(3), turn_factors, params)
    assert vertical.shape == (3, 16)
    scores = objective.scores(theta, objective.source.X)
    assert np.abs(scores @ vertical.T).max() < 1e-13 * np.abs(scores).max()
    check_horizontal(scores, vertical)
    with pytest.raises(IdentificationError, match="relative size"):
        check_horizontal(scores + 1e-5 * np.linalg.norm(scores) * vertical[0], vertical)


@pytest.mark.parametrize(
    ("group", "dimension"),
    [(Orthogonal(4), 6), (Trivial(4), 0), (Signs(4), 0), (Permutations(4), 0),
     (Product(Orthogonal(3), Permutations(1)), 3), (Product(Orthogonal(2), Orthogonal(2)), 2)],
    ids=repr,
)  # fmt: skip
def test_vertical_basis_is_that_of_the_group(rng, group, dimension):
    """Same space as Group.vertical; its size is the rank of the moves, k = dimension."""
    W = rng.normal(size=(6, 4))
    basis = vertical_basis(group, lambda W, g: W @ g, W)
    assert basis.shape == (dimension, 24)
    assert np.allclose(basis @ basis.T, np.eye(dimension), atol=1e-13)
    expected = group.vertical(W).reshape(-1, 24)
    assert np.allclose(basis.T @ basis, expected.T @ expected, atol=1e-12)


def test_vertical_space_shrinks_where_the_group_does_not_act_freely(rng):
    """O(3) on matrices with a one-dimensional row space: the stabiliser O(2) moves nothing."""
    W = np.outer(rng.normal(size=5), [1.0, 2.0, 2.0])
    assert vertical_basis(Orthogonal(3), lambda W, g: W @ g, W).shape == (2, 15)
    assert vertical_basis(Orthogonal(3), lambda W, g: W @ g, 0 * W).shape == (0, 15)


def test_mean_has_the_closed_form(rng):
    """½(x−θ)ᵀA(x−θ): θ̂ the mean, H = A, Σ₁ = Cov x, influence x − mean."""
    root = rng.normal(size=(4, 4))
    A, X = root @ root.T + np.eye(4), rng.exponential(size=(200, 4))
    objective = Objective(partial(mean_loss, A), ArraySource(X), np.zeros(4))
    found = minimise(objective, np.ones(4))
    assert np.allclose(found.params, X.mean(axis=0), atol=1e-11)
    assert np.allclose(found.curvature.hessian, A, atol=1e-12)
    moved = influence(objective, found.theta, found.curvature, X)
    assert np.allclose(moved, X - X.mean(axis=0), atol=1e-10)
    sigma = covariance(objective, found.theta, found.curvature)
    assert np.allclose(sigma, np.cov(X.T, bias=True), atol=1e-9)


def test_weighted_mean_has_the_closed_form(rng):
    """Σ₁ = Σ m w²(x−x̄)(x−x̄)ᵀ/(Σw)²: a row of twice the weight has twice the influence."""
    X, w = rng.normal(size=(50, 2)), rng.uniform(0.1, 3.0, 50)
    objective = Objective(partial(mean_loss, np.eye(2)), ArraySource(X, w), np.zeros(2))
    found = minimise(objective, np.zeros(2))
    centered = X - w @ X / w.sum()
    assert np.allclose(found.params, w @ X / w.sum(), atol=1e-12)
    expected = 50 * (centered.T * w**2) @ centered / w.sum() ** 2
    assert np.allclose(covariance(objective, found.theta, found.curvature), expected, atol=1e-11)


def test_gaussian_maximum_likelihood_has_the_closed_form(rng):
    """Σ₁ of mean and variance: [[m₂, m₃], [m₃, m₄ − m₂²]], central moments, any distribution."""
    x = rng.exponential(size=(300, 1))

    def loss(params, x):
        return 0.5 * (
            (x[0] - params["mean"]) ** 2 / params["variance"] + jnp.log(params["variance"])
        )

    start = {"mean": 0.0, "variance": 3.0}
    objective = Objective(loss, ArraySource(x), start)
    found = minimise(objective, start)
    second, third, fourth = (((x - x.mean()) ** k).mean() for k in (2, 3, 4))
    assert found.params["mean"] == pytest.approx(x.mean(), rel=1e-10)
    assert found.params["variance"] == pytest.approx(second, rel=1e-9)
    expected = np.array([[second, third], [third, fourth - second**2]])
    sigma = covariance(objective, found.theta, found.curvature)
    assert np.allclose(sigma, expected, rtol=1e-8)


@pytest.mark.parametrize("loss", [moment_loss, factor_loss])
def test_minimum_is_one(rng, loss):
    """Scores sum to zero there, far below their own size, and curvature is positive across."""
    X = factor_rows(rng, 250)
    for _ in range(4):
        start = factor_params(rng, 5, 2, diagonal=loss is factor_loss)
        objective = Objective(loss, ArraySource(X), start)
        found = minimise(objective, start, symmetry=Orthogonal(2), act=turn_factors)
        scores = objective.scores(found.theta, X)
        size = np.sqrt((scores**2).sum(axis=1).mean())
        assert np.linalg.norm(scores.mean(axis=0)) <= 1.01e-10 * size
        assert found.gradient_norm <= 1e-10 * size
        assert found.value == pytest.approx(objective.losses(found.theta, X).mean(), rel=1e-13)
    eigenvalues = np.linalg.eigvalsh(objective.hessian(found.theta))
    assert abs(eigenvalues[0]) < 1e-9
    assert eigenvalues[1] > 1e-3
    moved = influence(objective, found.theta, found.curvature, X)
    assert np.abs(moved.mean(axis=0)).max() < 1e-8
    sigma = covariance(objective, found.theta, found.curvature)
    assert np.allclose(moved.T @ moved / len(X), sigma, atol=1e-10 * np.abs(sigma).max())


def test_minimum_does_not_depend_on_the_units_of_the_loss(rng):
    X, start = factor_rows(rng, 200), factor_params(rng, 5, 2)
    values, spreads = [], []
    for unit in (1e-6, 1e6):
        rows = ArraySource(np.column_stack([X, np.full(200, unit)]))
        objective = Objective(lambda p, x: x[5] * moment_loss(p, x[:5]), rows, start)
        found = minimise(objective, start, symmetry=Orthogonal(2), act=turn_factors)
        values.append(found.value / unit)
        spreads.append(np.trace(covariance(objective, found.theta, found.curvature)))
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-7)


def units_loss(params, x):
    """Known noise in units that the second half of x gives."""
    row, unit = x[:3], x[3:]
    return factor_loss({"W": params[:, None], "log_noise": jnp.log(0.7 * unit**2)}, row)


def test_curvature_does_not_depend_on_the_units_of_parameters(rng):
    """Columns in units 1e5 apart: still a minimum, and the same influence in those units."""
    X = rng.normal(size=(100, 3)) + rng.normal(size=(100, 1))

    def moved(unit):
        rows = np.column_stack([X * unit, np.tile(unit, (100, 1))])
        objective = Objective(units_loss, ArraySource(rows), unit)
        found = minimise(objective, unit)
        return influence(objective, found.theta, found.curvature, rows) / unit

    plain = moved(np.ones(3))
    scaled = moved(np.array([1.0, 1e-2, 1e3]))
    assert np.allclose(scaled, plain, atol=1e-7 * np.abs(plain).max())


@pytest.mark.parametrize("form", [np.asarray, aslinearoperator], ids=["dense", "operator"])
def test_matrix_free_equals_dense(rng, form):
    """Lanczos and conjugate gradients against the pseudo-inverse of a Hessian with a kernel."""
    p, k = 70, 3
    frame = np.linalg.qr(rng.normal(size=(p, p)))[0]
    values = np.concatenate([np.zeros(k), np.geomspace(1e-2, 5.0, p - k)])
    H, vertical = (frame * values) @ frame.T, frame[:, :k].T
    rhs = H @ rng.normal(size=(p, 2))
    found = Curvature(form(H), vertical).solve(rhs)
    expected = np.linalg.pinv(H, rcond=1e-10, hermitian=True) @ rhs
    assert np.allclose(found, expected, atol=1e-7 * np.abs(expected).max())
    assert np.abs(vertical @ found).max() < 1e-12 * np.abs(found).max()
    assert Curvature(form(H), vertical).solve(rhs[:, 0]).shape == (p,)
    with pytest.raises(IdentificationError, match="expected 0"):
        Curvature(form(H), vertical).solve(rhs[:, 0] + 1e-4 * vertical[0])


@pytest.mark.parametrize("form", [np.asarray, aslinearoperator], ids=["dense", "operator"])
@pytest.mark.parametrize("p", [12, 200])
@pytest.mark.parametrize(("kernel", "declared"), [(1, 0), (3, 1), (3, 3), (4, 2)])
def test_flat_directions_are_counted(rng, form, p, kernel, declared):
    frame = np.linalg.qr(rng.normal(size=(p, p)))[0]
    values = np.concatenate([np.zeros(kernel), np.geomspace(1e-4, 2.0, p - kernel)])
    H = (frame * values) @ frame.T
    if kernel == declared:
        Curvature(form(H), frame[:, :declared].T)
        return
    message = f"flat in {kernel} directions but the declared symmetry explains {declared};"
    with pytest.raises(IdentificationError, match=message):
        Curvature(form(H), frame[:, :declared].T)


@pytest.mark.parametrize("form", [np.asarray, aslinearoperator], ids=["dense", "operator"])
def test_everywhere_flat_is_refused(form):
    with pytest.raises(IdentificationError, match=r"flat in (at least )?1[02] directions"):
        Curvature(form(np.zeros((12, 12))), np.zeros((0, 12)))


@pytest.mark.parametrize("form", [np.asarray, aslinearoperator], ids=["dense", "operator"])
def test_saddle_is_refused_with_its_curvature(rng, form):
    frame = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    H = (frame * np.array([-0.125, 0.0, *np.linspace(1.0, 4.0, 7)])) @ frame.T
    with pytest.raises(ConvergenceError, match=r"saddle .*curvature -0\.125 beside"):
        Curvature(form(H), frame[:, 1:2].T)


def test_saddle_in_small_units_is_refused():
    """Negative curvature counts whatever the units: 1e-10 beside 1 in a parameter of its own."""
    with pytest.raises(ConvergenceError, match="curvature -1e-10 beside 1"):
        Curvature(np.diag([-1e-10, 1.0]), np.zeros((0, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_curvature_that_is_no_number_is_refused(value):
    with pytest.raises(ConvergenceError, match="not finite"):
        Curvature(np.diag([value, 1.0]), np.zeros((0, 2)))


def test_declared_symmetry_must_be_flat(rng):
    H = np.diag([1.0, 2.0, 3.0])
    with pytest.raises(IdentificationError, match="along the declared symmetry is 1"):
        Curvature(H, np.array([[1.0, 0.0, 0.0]]))


def test_undeclared_rotations_are_counted(rng):
    """Rank 3 without a declared symmetry: 3 = r(r−1)/2 flat directions, none explained."""
    start = factor_params(rng, 5, 3)
    objective = Objective(moment_loss, ArraySource(factor_rows(rng, 200, r=3)), start)
    with pytest.raises(IdentificationError, match=r"flat in 3 directions but .* explains 0"):
        minimise(objective, start)
    assert minimise(objective, start, symmetry=Orthogonal(3), act=turn_factors).value


def test_rank_above_the_ledermann_bound_is_flat(rng):
    """Diagonal noise, 4 columns, rank 2: 12 parameters, 10 moments: one flat beyond O(2)."""
    loadings = np.array([[1.0, 0.0], [0.8, 0.5], [-0.6, 0.7], [0.2, -0.9]])
    X = rng.normal(size=(3000, 2)) @ loadings.T + 0.8 * rng.normal(size=(3000, 4))
    start = {"W": loadings, "log_noise": np.full(4, np.log(0.64))}
    objective = Objective(factor_loss, ArraySource(X), start)
    with pytest.raises(IdentificationError, match=r"flat in 2 directions but .* explains 1"):
        minimise(objective, start, symmetry=Orthogonal(2), act=turn_factors)


def test_unused_parameter_is_flat(rng):
    objective = Objective(
        lambda params, x: ((x - params["a"]) ** 2).sum() + 0 * params["unused"].sum(),
        ArraySource(rng.normal(size=(30, 2))),
        {"a": np.zeros(2), "unused": np.zeros(3)},
    )
    with pytest.raises(IdentificationError, match=r"flat in 3 directions but .* explains 0"):
        minimise(objective, objective.params)


def test_start_at_a_saddle_is_refused(rng):
    """W = 0 is stationary with curvature -2 λ/σ², λ the largest eigenvalue of E x xᵀ."""
    X = factor_rows(rng, 200)
    values = np.linalg.eigvalsh(X.T @ X / len(X))
    noise = 0.5 * ((X**2).sum(axis=1) ** 2).mean()
    start = {"W": np.zeros((5, 2)), "log_noise": np.log(noise)}
    with pytest.raises(ConvergenceError, match="saddle") as caught:
        minimise(Objective(moment_loss, ArraySource(X), start), start)
    stated = float(str(caught.value).split("curvature ")[1].split(" ")[0])
    assert stated == pytest.approx(-2 * values[-1] / noise, rel=1e-2)


@pytest.mark.parametrize("group", [Orthogonal(2), Signs(2), Permutations(2)], ids=repr)
def test_violated_invariance_is_refused(rng, group):
    """An L1 penalty on loadings is not constant on rotations; weights on columns of W on none."""

    def penalised(params, x):
        return moment_loss(params, x) + 0.1 * jnp.abs(params["W"]).sum()

    def lopsided(params, x):
        return moment_loss(params, x) + (jnp.array([1.0, 2.0]) * params["W"]).sum()

    params = factor_params(rng, 5, 2)
    source = ArraySource(factor_rows(rng, 30))
    check_invariance(Objective(moment_loss, source, params), params, group, turn_factors, rng)
    with pytest.raises(IdentificationError, match=r"random element of .* changes the loss .* by"):
        check_invariance(Objective(lopsided, source, params), params, group, turn_factors, rng)
    objective = Objective(penalised, source, params)
    if isinstance(group, Orthogonal):
        with pytest.raises(IdentificationError, match="declare the symmetry"):
            check_invariance(objective, params, group, turn_factors, rng)
    else:
        check_invariance(objective, params, group, turn_factors, rng)


def test_minimise_checks_the_declared_symmetry(rng):
    start = rng.normal(size=2)
    objective = Objective(partial(mean_loss, np.eye(2)), ArraySource(np.ones((3, 2))), start)
    with pytest.raises(IdentificationError, match="changes the loss"):
        minimise(objective, start, symmetry=Orthogonal(2), act=lambda w, g: w @ g)


def test_actions_that_are_none_are_refused(rng):
    W = rng.normal(size=(3, 2))
    with pytest.raises(InputError, match="identity moves the parameters by 1"):
        vertical_basis(Orthogonal(2), lambda W, g: W @ g + 1.0, W)
    with pytest.raises(InputError, match="act returns parameters like"):
        vertical_basis(Orthogonal(2), lambda W, g: {"W": W @ g}, W)


@pytest.mark.parametrize(
    ("loss", "params", "message"),
    [(lambda p, x: x - p, np.zeros(2), "one number"),
     (lambda p, x: (x - p).astype(jnp.float32).sum(), np.zeros(2), "double precision"),
     (lambda p, x: x.sum(), np.zeros(2, dtype=complex), "real numbers"),
     (lambda p, x: x.sum(), {}, "real numbers"),
     (lambda p, x: x.sum(), {"a": "text"}, "real numbers")],
)  # fmt: skip
def test_unusable_losses_and_parameters_are_refused(loss, params, message):
    with pytest.raises(InputError, match=message):
        Objective(loss, ArraySource(np.ones((2, 2))), params)


def test_unusable_starts_are_refused():
    rows = ArraySource(np.ones((2, 2)))
    objective = Objective(lambda p, x: (jnp.log(p) * x).sum() ** 2, rows, np.ones(2))
    with pytest.raises(InputError, match="start is nan"):
        minimise(objective, -np.ones(2))
    with pytest.raises(InputError, match="expected parameters like"):
        objective.ravel(np.ones(3))
    with pytest.raises(InputError, match="sample is empty"):
        Objective(lambda p, x: p @ x, ArraySource(np.ones((0, 2))), np.ones(2))


@pytest.mark.parametrize("start", [(1e-4, 1.0), (1e3, 1.0), (50.0, 1e-3), (1e-8, 1e4)])
def test_domain_of_the_loss_may_be_bounded(rng, start):
    """Steps to where the loss is not a number are shortened: two exponential rates."""
    x = rng.exponential(size=(100, 2))
    objective = Objective(exponential_loss, ArraySource(x), np.ones(2))
    found = minimise(objective, np.array(start))
    assert np.allclose(found.params, 1 / x.mean(axis=0), rtol=1e-9)
    sigma = covariance(objective, found.theta, found.curvature)
    assert np.allclose(np.diag(sigma), x.var(axis=0) / x.mean(axis=0) ** 4, rtol=1e-8)


def exponential_loss(rates, x):
    return rates @ x - jnp.log(rates).sum()


def test_newton_leaves_saddles_by_negative_curvature(rng):
    """From beside W = 0, with a single L-BFGS step, the minimum of the long way is reached."""
    X, start = factor_rows(rng, 250), factor_params(rng, 5, 2)
    objective = Objective(moment_loss, ArraySource(X), start)
    fit = partial(minimise, objective, symmetry=Orthogonal(2), act=turn_factors)
    expected = fit(start)
    noise = np.log(X.var(axis=0).mean())
    for size in (1e-2, 1e-5):
        beside = {"W": size * rng.normal(size=(5, 2)), "log_noise": noise}
        found = fit(beside, max_iterations=1)
        assert found.value == pytest.approx(expected.value, rel=1e-12)


def test_unbounded_loss_is_reported():
    rows = ArraySource(np.ones((2, 1)))
    with pytest.raises(
        ConvergenceError, match=r"not minimised in \d+ iterations: value -.*gradient"
    ):
        minimise(Objective(lambda p, x: -(p @ p) * x[0], rows, np.ones(2)), np.ones(2))


def test_large_problems_form_no_matrix(rng, monkeypatch):
    """p above the dense limit: the same minimum, curvature an operator, influence by CG."""
    X, start = factor_rows(rng, 200), factor_params(rng, 5, 2)
    dense = minimise(
        objective := Objective(moment_loss, ArraySource(X), start), start,
        symmetry=Orthogonal(2), act=turn_factors,
    )  # fmt: skip
    monkeypatch.setattr(minimum_module, "LARGEST_DENSE_STEP", 0)
    monkeypatch.setattr(Objective.curvature, "__defaults__", (0,))
    monkeypatch.setattr(Objective, "hessian", None)
    free = minimise(objective, start, symmetry=Orthogonal(2), act=turn_factors)
    assert not isinstance(free.curvature.hessian, np.ndarray)
    assert free.value == pytest.approx(dense.value, rel=1e-13)
    at_dense = Curvature(objective.curvature(dense.theta), dense.curvature.vertical)
    one, two = (influence(objective, dense.theta, c, X[:3]) for c in (dense.curvature, at_dense))
    assert np.allclose(one, two, atol=1e-7 * np.abs(one).max())


def test_law_of_the_aligned_minimiser(rng):
    """m |δ|² of the aligned minimiser has mean tr Σ₁ up to 1/m, with non-normal rows."""
    m, draws = 1500, 100
    root = rng.normal(size=(4, 1))
    loadings = np.array([2.0]) * root / np.linalg.norm(root)

    def sample(n):
        return rng.uniform(-2.0, 2.0, size=(n, 1)) @ loadings.T + rng.normal(size=(n, 4))

    start = {"W": loadings, "log_noise": np.array(2.0)}
    fit = partial(minimise, start=start, symmetry=Signs(1), act=turn_factors)
    population = Objective(moment_loss, ArraySource(sample(100_000)), start)
    truth = fit(population)
    sigma = covariance(population, truth.theta, truth.curvature)
    squares = []
    for _ in range(draws):
        found = fit(Objective(moment_loss, ArraySource(sample(m)), start))
        g = Signs(1).align(found.params["W"], truth.params["W"])
        aligned = population.ravel(turn_factors(found.params, g))
        squares.append(m * ((aligned - truth.theta) ** 2).sum())
    error = np.std(squares) / np.sqrt(draws)
    assert abs(np.mean(squares) - np.trace(sigma)) < 4 * error
