"""Masked regression as stage 1: definitions, influences, moves, rank, findings, limits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from foretell import (
    FactorModel,
    LinearHead,
    LogisticHead,
    TwoStageClassifier,
    TwoStageRegressor,
    simulate,
)
from foretell.base import pretrain
from foretell.cli import main
from foretell.data.sources import ArraySource
from foretell.errors import IdentificationError, InputError
from foretell.estimators.masked_regression import MaskedRegression
from foretell.models.masked_encoder import MaskedEncoder
from foretell.models.masked_findings import gap_error
from foretell.models.masked_influence import MaskedMap
from foretell.models.masked_rank import noise_level
from foretell.testing import check_model
from foretell.theory import FactorPopulation
from foretell.theory.limits import population_limit

enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

ALPHA, R = 0.3, 3
KINDS = ["eigenvectors", "reconstruction"]
SIZES = [(60, 7), (12, 15)]  # more rows than columns, and fewer

kinds = pytest.mark.parametrize("kind", KINDS)
scaled = pytest.mark.parametrize("standardize", [False, True])
centered = pytest.mark.parametrize("center", [True, False])


def sample(rng, n=60, d=7):
    """Rows of three factors and unequal noise with a mean, and their weights."""
    noise = rng.normal(size=(n, d)) * np.linspace(0.5, 1.5, d)
    X = rng.normal(size=(n, R)) @ rng.normal(size=(R, d)) + noise + rng.normal(size=d)
    return X, rng.uniform(0.5, 2.0, n)


def fit(X, weights=None, kind="eigenvectors", **options):
    options = {"rank": R, "alpha": ALPHA} | options
    return MaskedEncoder.fit(ArraySource(X, weights), features=kind, **options)


def masked(alpha=0.1, rank="auto", features="eigenvectors"):
    """The public estimator as stage 1."""
    return MaskedRegression(alpha, rank=rank, features=features)


def kernel(encoder, Z):
    """Inner products of features of rows, the same on the whole orbit."""
    return encoder.encode(Z) @ encoder.encode(Z).T


# -------------------------------------------------------------------------------- definitions


def regressions(X, alpha):
    """A by one ridge regression a column, one row at a time; rows centred and scaled."""
    d = X.shape[1]
    A = np.zeros((d, d))
    for k in range(d):
        others = np.delete(np.arange(d), k)
        Z = X[:, others]
        gram = Z.T @ Z / len(X) + alpha * np.eye(d - 1)
        A[others, k] = np.linalg.solve(gram, Z.T @ X[:, k] / len(X))
    return A


@scaled
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_features_are_those_of_the_regressions(rng, n, d, standardize):
    X, _ = sample(rng, n, d)
    Z = X - X.mean(axis=0)
    Z = Z / Z.std(axis=0) if standardize else Z
    A = regressions(Z, ALPHA)
    options = {"standardize": standardize}
    np.testing.assert_allclose(fit(X, kind="reconstruction", **options).encode(X), Z @ A, atol=1e-9)
    encoder = fit(X, **options)
    np.testing.assert_allclose(encoder.map.matrix, A, atol=1e-10)
    nu, vectors = np.linalg.eig(A)
    top = np.argsort(-nu.real)[:R]
    np.testing.assert_allclose(encoder.spectrum()[:R], nu.real[top], atol=1e-10)
    basis = np.linalg.qr(vectors[:, top].real)[0]
    right = encoder.map.projection[:, :R]
    np.testing.assert_allclose(basis @ (basis.T @ right), right, atol=1e-9)
    Q = np.linalg.inv(Z.T @ Z / n + ALPHA * np.eye(d))
    np.testing.assert_allclose(right.T @ (right / np.diag(Q)[:, None]), np.eye(R), atol=1e-10)


@kinds
def test_standardised_features_do_not_feel_the_units(rng, kind):
    X, weights = sample(rng)
    units = np.exp(rng.normal(size=7))
    one = fit(X, weights, kind, standardize=True)
    two = fit(X * units, weights, kind, standardize=True)
    np.testing.assert_allclose(kernel(two, X * units), kernel(one, X), atol=1e-10)


def test_without_a_penalty_residuals_are_those_of_least_squares(rng):
    X, _ = sample(rng)
    encoder = fit(X, alpha=0.0, kind="reconstruction")
    Z = np.column_stack([np.ones(60), X[:, 1:]])
    fitted = Z @ np.linalg.lstsq(Z, X[:, 0], rcond=None)[0]
    np.testing.assert_allclose(encoder.encode(X)[:, 0] + X[:, 0].mean(), fitted, atol=1e-10)


@kinds
@scaled
def test_the_encoder_obeys_the_laws(rng, kind, standardize):
    X, weights = sample(rng, 120)

    class Model(MaskedRegression):
        def pretrain(self, source, **options):
            return super().pretrain(source, **{"standardize": standardize} | options)

    check_model(Model(ALPHA, rank=R, features=kind), ArraySource(X, weights))


# --------------------------------------------------------------------------------- influences


def moved_kernel(encoder, X, share, Z):
    """Derivative of the kernel along a change of the shares of rows, by influences."""
    units = np.eye(encoder.rank)
    gamma = np.stack([share @ encoder.influence(X, e) for e in units], axis=1)
    moved, F = encoder.coordinates(Z) @ gamma, encoder.encode(Z)
    return moved @ F.T + F @ moved.T


@kinds
@scaled
@centered
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_influence_is_the_derivative_of_refits(rng, n, d, kind, standardize, center):
    """Differences of three lengths, extrapolated; weights moved at random, n < d included."""
    X, weights = sample(rng, n, d)
    Z, direction = rng.normal(size=(9, d)), rng.normal(size=n)
    options = {"kind": kind, "standardize": standardize, "center": center}

    def slope(h):
        up, down = (fit(X, weights * (1 + s * h * direction), **options) for s in (1, -1))
        return (kernel(up, Z) - kernel(down, Z)) / (2 * h)

    one, two, three = (slope(1e-2 / 2**k) for k in range(3))
    expected = (16 * (4 * three - two) - (4 * two - one)) / 45
    encoder = fit(X, weights, **options)
    found = moved_kernel(encoder, X, direction * weights / weights.sum(), Z)
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


@kinds
@scaled
def test_influence_equals_autodiff(rng, kind, standardize):
    """Of a sum of predictions after ridge on the features, composed from the weights of rows."""
    X, weights = sample(rng)
    Z, y, mix = rng.normal(size=(5, 7)), rng.normal(size=60), rng.normal(size=5)

    def features(w):
        share = w / w.sum()
        mean = share @ X
        C = (X - mean).T @ (share[:, None] * (X - mean))
        scale = jnp.sqrt(jnp.diag(C)) if standardize else jnp.ones(7)
        Q = jnp.linalg.inv(C / jnp.outer(scale, scale) + ALPHA * jnp.eye(7))
        D = jnp.diag(Q)
        if kind == "reconstruction":
            return lambda rows: (rows - mean) / scale @ (jnp.eye(7) - Q / D)
        vectors = jnp.linalg.eigh(Q / jnp.sqrt(jnp.outer(D, D)))[1][:, :R]
        return lambda rows: (rows - mean) / scale @ (jnp.sqrt(D)[:, None] * vectors)

    def prediction(w):
        code = features(w)
        F = jnp.column_stack([jnp.ones(60), code(X)])
        ridge = 0.1 * jnp.eye(F.shape[1])
        coef = jnp.linalg.solve(F.T @ F / 60 + ridge, F.T @ y / 60)
        return mix @ (jnp.column_stack([jnp.ones(5), code(Z)]) @ coef)

    with enable_x64(True):
        expected = np.asarray(jax.jit(jax.grad(prediction))(weights))
    encoder = fit(X, weights, kind, standardize=standardize)
    F = np.column_stack([np.ones(60), encoder.encode(X)])
    inverse = np.linalg.inv(F.T @ F / 60 + 0.1 * np.eye(F.shape[1]))
    coef = inverse @ F.T @ y / 60
    t = encoder.coordinates(X)
    columns = np.zeros((t.shape[1], F.shape[1]))
    columns[0, 0], columns[1:, 1:] = 1.0, encoder.feature_map
    u = encoder.influence(X, coef[1:])
    pulled = u @ (t.T @ F / 60)  # moved features times the residuals, and the other way round
    pulled[:, 1:] -= encoder.influence_adjoint(X, t.T @ (y - F @ coef) / 60)
    u = u - pulled @ inverse @ columns.T
    found = mix @ encoder.coordinates(Z) @ u.T / weights.sum()
    np.testing.assert_allclose(found, expected, atol=1e-11)


@kinds
def test_influence_near_equal_eigenvalues_inside_the_features_is_finite(rng, kind):
    """Equal leading eigenvalues divide by nothing, as they lie inside the span."""
    C = np.eye(6)
    C[0, 1] = C[1, 0] = C[2, 3] = C[3, 2] = 0.6
    raw = rng.normal(size=(80, 6))
    raw -= raw.mean(axis=0)
    X = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / 80)).T @ np.linalg.cholesky(C).T
    encoder = fit(X, rank=2, kind=kind)
    assert encoder.spectrum()[0] - encoder.spectrum()[1] < 1e-12
    u = encoder.influence(X, np.ones(encoder.rank))
    assert np.abs(u).max() < 1e3


# --------------------------------------------------------------------------------- the moments


@kinds
@scaled
@centered
def test_principal_moves_spread_as_influence_does(rng, kind, standardize, center):
    """Slopes of the features along the axes of the moments have the covariance of u."""
    X, weights = sample(rng)
    encoder = fit(X, weights, kind, standardize=standardize, center=center)
    coef, base = rng.normal(size=encoder.rank), encoder.feature_map
    u = encoder.influence(X, coef) * (weights / weights.mean())[:, None]
    total = 0.0
    for move in encoder.principal_moves(ArraySource(X, weights)):
        ends = []
        for h in (move.step, -move.step):
            columns = move.columns(h)[:, 1:]
            if kind == "eigenvectors":  # to the gauge in which features do not rotate
                left, _, right = np.linalg.svd(columns[1:].T @ base)
                columns = columns @ left @ right
            ends.append(columns @ coef)
        slope = (ends[0] - ends[1]) / (2 * move.step)
        total = total + np.outer(slope, slope)
    np.testing.assert_allclose(total, u.T @ u / len(X), atol=1e-4 * np.abs(total).max())


# ------------------------------------------------------------------------------------ the rank


@scaled
@pytest.mark.parametrize("seed", range(3))
def test_eigenvalues_above_noise_are_counted(seed, standardize):
    rng = np.random.default_rng(seed)
    for rank in (1, 3):
        W = 1.5 * np.linalg.qr(rng.normal(size=(9, 3)))[0][:, :rank]
        X = rng.normal(size=(600, rank)) @ W.T + 0.5 * rng.normal(size=(600, 9))
        encoder = fit(X, rank="auto", standardize=standardize)
        assert encoder.rank == rank
        assert f"{rank} eigenvalue(s)" in encoder.rank_rule
        bounded = fit(X, rank="auto", standardize=standardize, max_rank=1)
        assert bounded.rank == 1
    nothing = fit(rng.normal(size=(300, 9)), rank="auto")
    assert nothing.rank == 1


@pytest.mark.parametrize("n", [6, 40])
def test_noise_passes_its_level_once_in_twenty(rng, n):
    """Rows drawn one by one, n < d included; four standard errors of the share."""
    count, variances = 400, np.linspace(0.5, 2.0, 10)
    passed = 0
    for seed in range(count):
        X = rng.normal(size=(n, 10)) * np.sqrt(variances)
        top = 1.0 - MaskedMap.of(X.T @ X / n, 0.2).remainder[0]
        passed += top > noise_level(variances, n, 0.2, seed=seed)
    assert abs(passed / count - 0.05) < 4 * np.sqrt(0.05 * 0.95 / count)


def test_noise_level_is_near_the_edge_of_the_law():
    """nu = 1 - 1 / (delta (s + alpha)), s = (1 + sqrt(gamma))², for identical columns."""
    d, n, alpha = 250, 500, 0.1
    b = (
        1.0 - d / n - alpha
    )  # kappa² + kappa b - alpha = 0, from alpha = kappa (1 - gamma/(1+kappa))
    kappa = (-b + np.sqrt(b * b + 4 * alpha)) / 2
    delta = kappa / alpha / (1 + kappa)
    edge = 1 - 1 / (delta * ((1 + np.sqrt(d / n)) ** 2 + alpha))
    assert abs(noise_level(np.ones(d), n, alpha) / edge - 1) < 0.03


# -------------------------------------------------------------------------------------- findings


def titles(encoder):
    return [finding.title for finding in encoder.findings([f"x{j}" for j in range(9)])]


def test_gap_error_is_the_spread_of_the_gap(rng):
    C = np.eye(6) + np.outer(*[np.linspace(0.2, 1.5, 6)] * 2)
    C += np.outer(*[np.cos(np.arange(6))] * 2)
    root, gaps = np.linalg.cholesky(C), []
    for _ in range(2000):
        X = rng.normal(size=(2000, 6)) @ root.T
        gaps.append(np.diff(MaskedMap.of(X.T @ X / 2000, ALPHA).remainder)[1])
    predicted = gap_error(MaskedMap.of(C, ALPHA), 2000, 2)
    assert abs(np.std(gaps) / predicted - 1) < 4 / np.sqrt(2 * 2000) + 0.02


def test_findings_name_weak_and_close_eigenvalues(rng):
    X = rng.normal(size=(400, 3)) @ np.linalg.qr(rng.normal(size=(9, 3)))[0].T * 2
    X += 0.5 * rng.normal(size=(400, 9))
    assert titles(fit(X, rank=3)) == []
    assert titles(fit(X, rank=3, kind="reconstruction")) == []
    weak = titles(fit(X, rank=5))
    assert "2 of 5 features are not told from noise" in weak
    assert "Eigenvalues 5 and 6 of A are close" in weak
    assert "The rank is the largest one allowed" in titles(fit(X, rank="auto", max_rank=2))
    for rule in ("loo", "gcv"):
        chosen = pretrain(masked(rule, 3), ArraySource(X))
        assert 0 < chosen.alpha < 1
        assert titles(chosen) == ["The penalty was chosen on the same rows"]


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "at least zero"),
        ({"alpha": np.nan}, "finite"),
        ({"rank": 0}, "at least 1"),
        ({"rank": 7}, "rank <= 6"),
        ({"rank": 2.0}, "whole number"),
        ({"rank": True}, "whole number"),
        ({"kind": "other"}, "'reconstruction'"),
    ],
)
def test_unusable_choices_are_refused(rng, options, message):
    with pytest.raises(InputError, match=message):
        fit(sample(rng)[0], **options)


def test_samples_that_do_not_identify_the_features_are_refused(rng):
    X, _ = sample(rng, 5, 7)
    with pytest.raises(IdentificationError, match="span only 4 of 7"):
        fit(X, alpha=0.0)
    square = np.kron(np.eye(4), [[1.0], [-1.0]])
    with pytest.raises(IdentificationError, match="eigenvalues 2 and 3 of A"):
        fit(square, rank=2)
    with pytest.raises(InputError, match="constant"):
        fit(np.column_stack([X, np.ones(5)]))
    with pytest.raises(InputError, match="2 columns"):
        fit(X[:, :1])
    with pytest.raises(InputError, match="2 rows"):
        fit(X[:1])
    with pytest.raises(IdentificationError, match="penalty is infinite"):
        pretrain(masked(np.inf, 2), ArraySource(X))


# ------------------------------------------------------------------------------------ both stages


def population(outcome="linear", balanced=True):
    """Eight columns; with balanced loadings the eigenvectors of A are those of the factors."""
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1]]).T
    W = np.vstack([signs, signs]) / np.sqrt(8) * np.sqrt([5.0, 2.5])
    noise = 1.0
    if not balanced:
        W = np.random.default_rng(3).normal(size=(8, 2))
        noise = np.linspace(0.5, 1.5, 8)
    return FactorPopulation(W, noise, [1.0, -0.7], 0.3, outcome=outcome)


def test_pretrain_prefers_the_method_of_that_name(rng):
    source = ArraySource(sample(rng)[0])
    assert pretrain(masked(0.1, 2), source, center=False).centered is False
    assert pretrain(FactorModel(2), source).rank == 2


@pytest.mark.parametrize("alpha", ["loo", 0.1])
@pytest.mark.parametrize("standardize", [False, True])
def test_regression_end_to_end(alpha, standardize):
    pop = population()
    X, y = pop.sample_labeled(600, 1)
    y = np.column_stack([y, -2 * y + 1])
    y[200:] = np.nan
    est = TwoStageRegressor(masked(alpha), standardize=standardize).fit(X, y)
    assert est.encode(X).shape == (600, 2)
    np.testing.assert_allclose(est.predict(X), est.intercept_ + X @ est.coef_.T, atol=1e-10)
    inside = est.get_prediction(X).conf_int()
    assert inside.shape[:2] == (600, 2)
    law, table = est.excess_risk(), est.forecast(n_labeled=[200, 400])
    assert law.ppf(0.05) < law.mean() < law.ppf(0.95)
    assert table["excess"][0] == pytest.approx(law.mean())
    assert table["excess"][1] < law.mean()
    assert ("The penalty was chosen" in str(est.summary())) == (alpha == "loo")
    assert est.diagnose()


def test_reconstructions_take_a_ridge_head():
    """Rank d, no symmetry: nothing is outside the head, so there is no test of g."""
    X, y = population().sample_labeled(600, 1)
    y[200:] = np.nan
    model = masked(0.1, features="reconstruction")
    est = TwoStageRegressor(model, LinearHead(0.1)).fit(X, y)
    assert est.encode(X).shape == (600, 8)
    assert est.asymptotics_.test.p_value == 1.0
    assert est.asymptotics_.test.method == "nothing to test"
    assert (est.get_prediction(X).se > est.get_prediction(X).se_naive * 0.9).all()


def test_classification_end_to_end():
    X, y = population("logistic").sample_labeled(900, 1)
    y = y.astype(float)
    y[300:] = np.nan
    est = TwoStageClassifier(masked(0.1), LogisticHead()).fit(X, y)
    assert est.predict_proba(X).shape == (900, 2)
    assert est.excess_risk().mean() > 0
    assert est.get_prediction(X[:5]).conf_int().shape[0] == 5
    assert est.summary() is not None


def test_report_of_a_masked_regression(tmp_path):
    """The command line fits it, and the page says what its eigenvalues are."""
    X, y = population(balanced=False).sample_labeled(400, 1)
    lines = [",".join([*(f"c{j}" for j in range(8)), "y"])]
    for k, (row, target) in enumerate(zip(X, y, strict=True)):
        lines.append(",".join([*map(str, row), str(target) if k < 150 else ""]))
    table, page, numbers = (tmp_path / name for name in ("t.csv", "r.html", "r.json"))
    table.write_text("\n".join(lines))
    options = ["report", str(table), "--target", "y", "--model", "masked", "--rank", "2"]
    result = CliRunner().invoke(main, [*options, "-o", str(page), "--json", str(numbers)])
    assert result.exit_code == 0, result.output
    assert "The penalty was chosen on the same rows" in result.output
    run = json.loads(numbers.read_text())
    assert run["model"]["name"] == "MaskedRegression"
    assert run["comparison"]["rows"][0]["name"].startswith("masked regression, rank 2")
    assert sum(run["eigenvalues"]["values"]) == pytest.approx(0.0, abs=1e-9)
    assert 0 < run["eigenvalues"]["noise"] < run["eigenvalues"]["values"][1]
    assert "columns predict one another" in page.read_text()


CASES = {
    "eigenvectors": (True, masked(0.1, 2), LinearHead(), False),
    "standardised": (False, masked(0.1, 2), LinearHead(), True),
    "reconstruction": (False, masked(0.1, features="reconstruction"), LinearHead(0.05), True),
}


def ratios(name, replicates, size):
    """Mean excess risk over that of the limit, its standard error, and the ratio of spreads."""
    balanced, model, head, standardize = CASES[name]
    est = TwoStageRegressor(model, head, pool=False, standardize=standardize)
    study = simulate(
        population(balanced=balanced), est, n_unlabeled=size, n_labeled=size,
        n_replicates=replicates, random_state=5,
    )  # fmt: skip
    excess, law = study.excess_risk, study.law
    error = excess.std() / np.sqrt(replicates) / law.mean()
    return excess.mean() / law.mean(), error, excess.std() / law.std()


@pytest.mark.parametrize("name", CASES)
def test_excess_risk_follows_the_limit(name):
    mean, error, spread = ratios(name, 200, 2000)
    assert abs(mean - 1) < 4 * error
    assert 0.75 < spread < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_excess_risk_follows_the_limit_closely(name):
    mean, error, spread = ratios(name, 8000, 3000)
    assert abs(mean - 1) < max(0.03, 3 * error)
    assert abs(spread - 1) < 0.05


def test_the_regime_is_that_of_the_population():
    """Balanced columns: the factors are all of the target. Others: A mixes noise in."""
    model = masked(0.1, 2)
    tests = [
        population_limit(population(balanced=b), TwoStageRegressor(model)).asymptotics.test
        for b in (True, False)
    ]
    assert [test.first_order for test in tests] == [False, True]


def coverage(pop, est, limit, replicates, seed=7):
    """Share of rows and samples in which 95 % intervals of the mean hold its limit."""
    rows = pop.sample_unlabeled(20, 99)
    shares = []
    for child in np.random.SeedSequence(seed).spawn(replicates):
        first, second = child.spawn(2)
        X, y = pop.sample_labeled(400, second)
        est.fit(X, y, X_unlabeled=pop.sample_unlabeled(2000, first))
        truth = limit(est.encoder_.alpha, rows)
        low, high = est.get_prediction(rows).conf_int().T
        shares.append(((low <= truth) & (truth <= high)).mean())
    return np.mean(shares), np.std(shares) / np.sqrt(replicates)


def outputs_at(pop, est):
    """Limit of the predictor at a penalty, shape (n,)."""

    def limit(alpha, rows):
        at = est.set_params(model__alpha=alpha) if alpha is not None else est
        found = population_limit(pop, at, size=2**10)
        return found.head_fit.predict(found.encoder.encode(rows))[:, 0]

    return limit


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_intervals_cover(name):
    balanced, model, head, standardize = CASES[name]
    pop = population(balanced=balanced)
    est = TwoStageRegressor(model, head, standardize=standardize)
    truth = population_limit(pop, est)

    def limit(alpha, rows):
        return truth.head_fit.predict(truth.encoder.encode(rows))[:, 0]

    share, error = coverage(pop, est, limit, 600)
    assert abs(share - 0.95) < max(0.01, 4 * error)


@pytest.mark.slow
@pytest.mark.parametrize("balanced", [True, False])
def test_choosing_the_penalty_adds_nothing_to_errors_about_its_limit(balanced):
    """Intervals hold the limit of the predictor at the penalty that was chosen."""
    pop = population(balanced=balanced)
    fixed = TwoStageRegressor(masked(0.1, 2), standardize=True)
    chosen = TwoStageRegressor(masked("loo", 2), standardize=True)
    share, error = coverage(pop, chosen, outputs_at(pop, fixed), 400)
    assert abs(share - 0.95) < max(0.01, 4 * error)
