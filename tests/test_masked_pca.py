"""PCA and masked PCA beside masked regression: identities, closed forms, simulations."""

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.masked.closed_forms import identity_closed_form, spiked_excess
from foretell.theory.masked.comparison import (
    autoregressive_crossover,
    compare_with_pca,
    population_crossover,
)
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Blocks,
    Diagonal,
    Graded,
    Identity,
    Spiked,
    benchmark_covariances,
)
from foretell.theory.masked.errors import masked_regression
from foretell.theory.masked.optimal import optimal_alpha
from foretell.theory.masked.pca import (
    PCALimit,
    masked_pca_error,
    pca_error,
    population_masked_pca_error,
    population_pca_error,
)
from foretell.theory.masked.sample_pca import sample_pca_errors
from foretell.theory.masked.spiked_pca import explained, masked_pca_threshold, spiked_comparison

# Most tests are of the limit itself, at a d that is small; the warning has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore::foretell.theory.masked.results.EquivalentWarning")

COVARIANCES = benchmark_covariances(60)
VARYING = {
    "line": AutoRegressive(60, 0.9),
    "blocks": Blocks.cycled(60, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0)),
    "graded": Graded(60, 0.8),
    "diagonal": Diagonal(1 / np.arange(1.0, 61.0)),
}
ROWS = (7, 30, 60, 61, 150)


# Identities


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("n", ROWS)
def test_pca_error_falls_from_the_mean_variance_to_zero(name, n):
    spectrum = COVARIANCES[name].spectrum
    errors = pca_error(spectrum, n, np.arange(61))
    variance = spectrum.trace(spectrum.eigenvalues) / 60
    assert errors[0] == pytest.approx(variance, rel=1e-7)
    assert abs(errors[-1]) < 1e-12
    assert (np.diff(errors) < 0).all()


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("n", ROWS)
def test_without_components_masked_pca_leaves_each_variance(name, n):
    """P = 1, so the single integrals are 1 and the double integral must be right."""
    covariance = VARYING[name]
    variances = np.diag(covariance.matrix())
    errors = PCALimit(covariance, n).masked_errors(0)
    np.testing.assert_allclose(errors, variances, rtol=2e-6)


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("n", [7, 30, 45])
def test_all_components_of_few_rows_are_ridgeless_regression(name, n):
    ridgeless = masked_regression(VARYING[name], n, 0.0).test_error_per_coordinate
    np.testing.assert_allclose(PCALimit(VARYING[name], n).masked_errors(n), ridgeless, rtol=1e-10)


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("n", [30, 60, 150])
def test_diagonals_sum_to_the_trace(name, n):
    limit = PCALimit(VARYING[name], n)
    ranks = np.array([0.0, 3.0, 10.5, 25.0])
    outside = 1 - ranks / 60
    diagonal, variance = limit._diagonals(outside - limit._law.atom)
    copies = VARYING[name].spectrum.copies / 60
    np.testing.assert_allclose(copies @ diagonal, outside, rtol=1e-7)
    np.testing.assert_allclose(copies @ variance, limit.error(ranks), rtol=1e-7)


def test_random_null_directions_keep_the_trace():
    """Beyond n components the error is linear in the rank, and types share it."""
    covariance = VARYING["blocks"]
    limit = PCALimit(covariance, 20)
    at = limit.error([20, 30, 40, 60])
    np.testing.assert_allclose(at[1:3], at[0] * np.array([0.75, 0.5]), rtol=1e-12)
    null, variance = limit._null
    copies, share = covariance.spectrum.copies / 60, 0.4
    risks = limit._null_risks(np.array([share]))[:, 0]
    inside = copies @ (risks * (share * null) ** 2)
    assert inside == pytest.approx(share * (copies @ variance), rel=1e-12)


def test_random_null_directions_agree_with_simulation(rng):
    d, n, k, draws = 150, 45, 90, 15
    covariance = Blocks.cycled(d, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0))
    sigma, found = covariance.matrix(), []
    for _ in range(draws):
        null = np.linalg.svd(covariance.color(rng.standard_normal((n, d))))[2][n:]
        V = np.linalg.qr(null.T @ rng.standard_normal((d - n, d - k)))[0]
        P = V @ V.T
        found.append(np.mean(np.diag(P @ sigma @ P) / np.diag(P) ** 2))
    few, theory = masked_pca_error(covariance, n, [10, k])
    assert masked_pca_error(covariance, n, 10) == few
    assert masked_pca_error(covariance, n, [k])[0] == theory
    gap = np.mean(found) / (theory * (1 - 2 / d) / (1 - 2 / (d - k))) - 1
    assert abs(gap) < 4 * np.std(found, ddof=1) / np.sqrt(draws) / theory + 2 / d


def test_a_singular_covariance_is_reconstructed_by_its_rank():
    tau = np.concatenate([np.zeros(20), np.linspace(1, 3, 40)])
    for n in (25, 55, 200):
        errors = pca_error(tau, n, [0, 40])
        assert errors[0] == pytest.approx(tau.mean(), rel=1e-7)
        if n > 40:
            assert abs(errors[1]) < 1e-12
    pairs = Blocks.cycled(60, 2, 1.0)  # each column twice
    np.testing.assert_allclose(PCALimit(pairs, 100).masked_errors(0), 1.0, rtol=1e-7)
    assert masked_pca_error(pairs, 100, 30) == pytest.approx(0.0, abs=1e-12)


# Closed forms and limits


@pytest.mark.parametrize("n", [40, 100, 300])
def test_identity_closed_form(n):
    ranks = np.array([0, 5, 30, 70, 99])
    eta = ranks / 100
    np.testing.assert_allclose(pca_error(Identity(100), n, ranks), 1 - eta, rtol=1e-9)
    np.testing.assert_allclose(masked_pca_error(Identity(100), n, ranks), 1 / (1 - eta), rtol=1e-9)


def test_many_rows_give_population_pca():
    covariance = Blocks.cycled(60, 10, (0.2, 0.8), (0.5, 3.0))  # leading 3 and 6 stand apart
    for rank in (0, 3, 6, 20):
        limit = PCALimit(covariance, 1e9)
        assert limit.error(rank) == pytest.approx(population_pca_error(covariance, rank), rel=1e-6)
        masked = population_masked_pca_error(covariance, rank)
        assert limit.masked_error(rank) == pytest.approx(masked, rel=1e-6)


def test_population_masked_pca_by_matrices():
    covariance = VARYING["graded"].matrix()
    vectors = np.linalg.eigh(covariance)[1]
    for rank in (0, 4, 20):
        P = vectors[:, : 60 - rank] @ vectors[:, : 60 - rank].T
        brute = np.mean(np.diag(P @ covariance @ P) / np.diag(P) ** 2)
        assert population_masked_pca_error(covariance, rank) == pytest.approx(brute, rel=1e-10)
        assert population_pca_error(covariance, rank) == pytest.approx(
            np.trace(P @ covariance @ P) / 60, rel=1e-12
        )


def test_population_pca_of_an_autoregression():
    rho, eta, d = 0.7, np.array([0.1, 0.35, 0.8]), 20_000
    closed = 1 - 2 / np.pi * np.arctan((1 + rho) / (1 - rho) * np.tan(np.pi * eta / 2))
    errors = population_pca_error(AutoRegressive(d, rho, ring=True), eta * d)
    np.testing.assert_allclose(errors, closed, rtol=1e-3)


@pytest.mark.parametrize(
    ("rho", "crossover"), [(0.1, 0.016), (0.3, 0.090), (0.5, 0.151), (0.7, 0.183), (0.9, 0.195)]
)
def test_population_crossover_of_an_autoregression(rho, crossover):
    assert round(autoregressive_crossover(rho), 3) == crossover
    assert autoregressive_crossover(-rho) == autoregressive_crossover(rho)
    finite = population_crossover(AutoRegressive(4000, rho, ring=True))
    assert finite == pytest.approx(autoregressive_crossover(rho), abs=1e-5)


def test_population_crossover_at_perfect_correlation():
    limit = 2 / np.pi * np.arctan(1 / np.pi)
    assert autoregressive_crossover(1 - 1e-13) == pytest.approx(limit, rel=1e-12)
    assert autoregressive_crossover(0.0) == pytest.approx(0.0, abs=1e-15)


def test_population_crossover_of_a_singular_covariance():
    assert population_crossover([0.0, 1.0, 1.0, 2.0]) == pytest.approx(0.75, abs=1e-9)


# Spikes at order 1/d


@pytest.mark.parametrize("n", [200, 1000, 4000])
def test_curve_has_the_spiked_values(n):
    """Intervals of mass 1/d hold |w|^2 / x = theta (1 + theta) / (theta + gamma) on average."""
    d, spikes = 1000, (12.0, 7.0)
    excess = d * (pca_error(Spiked(d, spikes), n, 2) - 1)
    assert excess == pytest.approx(19 - explained(spikes, d / n).sum(), abs=20 * d / n / d)


def test_spikes_up_to_the_threshold_explain_no_more_than_noise():
    gamma = 0.5
    root = np.sqrt(gamma)
    assert explained([0.6, root - 1e-9, -0.9], gamma).tolist() == [1, 1, 1]  # gamma < 0.6 < root
    assert explained(root + 1e-9, gamma)[0] == pytest.approx(1, abs=1e-8)
    assert explained(root + 0.1, gamma)[0] > 1.005


@pytest.mark.parametrize("n", [300, 1200])
def test_spiked_regression_is_the_general_theory(n):
    d, spikes = 600, (5.0, 2.0)
    covariance = Spiked(d, spikes)
    at_one = spiked_comparison(spikes, d, n, alpha=1.0)
    theory = masked_regression(covariance, n, 1.0)
    assert at_one.regression == pytest.approx(d * (theory.test_error - 1), rel=1e-9)
    assert at_one.kappa == pytest.approx(theory.kappa, rel=1e-12)
    best = spiked_comparison(spikes, d, n)
    assert best.alpha == pytest.approx(optimal_alpha(covariance, n), rel=1e-5)
    assert best.regression < spiked_comparison(spikes, d, n, alpha=best.alpha * 1.1).regression
    assert best.regression < spiked_comparison(spikes, d, n, alpha=best.alpha / 1.1).regression


def test_at_a_fixed_penalty_the_excess_grows_with_d():
    form = identity_closed_form(0.5, 0.3)
    gaps = []
    for d in (10**4, 10**5):
        excess = spiked_comparison([4.0], d, 2 * d, alpha=0.3).regression
        gaps.append(excess - d * (form.test_error - 1) - spiked_excess([4.0], 0.5, 0.3))
    assert abs(gaps[1]) < 1e-3
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.05)


@pytest.mark.parametrize(
    ("theta", "regression", "pca"),
    [(1.0, 0.998, -0.333), (4.0, 3.57, -0.444), (8.0, 5.22, -0.471), (20.0, 5.97, -0.488)],
)
def test_spiked_numbers(theta, regression, pca):
    c = spiked_comparison(theta, 800, 1600)
    assert c.regression == pytest.approx(regression, abs=0.005)
    assert c.pca == pytest.approx(pca, abs=0.0005)
    assert c.masked_pca == c.pca + 2
    assert c.null == theta
    assert not c.beats_pca
    assert c.beats_masked_pca == (theta == 1)


def test_optimal_penalty_grows_with_d_and_the_gain_vanishes():
    gaps = []
    for d in (10**4, 10**5, 10**6):
        c = spiked_comparison([3.0, 1.0], d, d // 2)
        assert c.limit == pytest.approx(4 - 100 / (2 * d), rel=1e-12)
        assert c.regression < c.null
        gaps.append(abs(c.regression - c.limit) * d**2)
        assert c.alpha * 10 / (2 * d) == pytest.approx(1, abs=30 / d**0.5)
    assert gaps[1] == pytest.approx(gaps[2], rel=0.1)  # the next term is of order 1/d^2


@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.0])
def test_threshold_of_masked_pca(ratio):
    theta, d = masked_pca_threshold(ratio), 10**6
    assert theta * (1 + theta) / (theta + ratio) == pytest.approx(2)
    assert spiked_comparison(theta - 0.01, d, d / ratio).beats_masked_pca
    assert not spiked_comparison(theta + 0.01, d, d / ratio).beats_masked_pca


# Findings


@pytest.mark.parametrize(
    ("rho", "d", "crossovers"),
    [
        (0.5, 300, (0.050, 0.0775, 0.103, 0.127, 0.143)),
        (0.9, 300, (0.125, 0.147, 0.163, 0.178, 0.189)),
        (0.99, 600, (0.127, 0.149, 0.165, 0.179, 0.190)),
    ],
)
def test_crossovers_of_autoregressions(rho, d, crossovers):
    for ratio, crossover in zip((0.5, 1, 2, 5, 20), crossovers, strict=True):
        c = compare_with_pca(AutoRegressive(d, rho, ring=True), d * ratio, ranks=[0])
        assert c.crossover == pytest.approx(crossover, abs=6e-4)
        assert c.beats_masked_pca


def test_autoregression_at_twice_as_many_rows():
    c = compare_with_pca(AutoRegressive(1000, 0.9, ring=True), 2000)
    assert c.alpha == pytest.approx(0.0950, abs=6e-5)
    assert c.regression == pytest.approx(0.1395, abs=6e-5)
    assert c.crossover == pytest.approx(0.1631, abs=6e-5)
    assert c.best_masked_pca / c.regression == pytest.approx(1.145, abs=1.5e-3)
    assert c.best_masked_rank / 1000 == pytest.approx(0.33, abs=0.005)
    pca = pca_error(AutoRegressive(1000, 0.9, ring=True), 2000, c.crossover * 1000)
    assert pca == pytest.approx(c.regression, rel=1e-6)
    assert c.ranks_beaten == 164
    assert "better below: 164 of 1001" in c.summary()


def test_best_masked_rank_is_the_best_of_all():
    c = compare_with_pca(AutoRegressive(200, 0.7, ring=True), 300)
    errors = masked_pca_error(AutoRegressive(200, 0.7, ring=True), 300, np.arange(200))
    assert c.best_masked_rank == errors.argmin()
    assert c.best_masked_pca == errors.min()
    np.testing.assert_allclose(c.masked_pca, errors[c.ranks.astype(int)], rtol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "regression", "pca", "masked"), [(2, 1.218, 0.950, 1.173), (0.5, 1.384, 1.096, 1.353)]
)
def test_many_spikes_favor_pca_with_equal_information(ratio, regression, pca, masked):
    tau = np.repeat([1.0, 10.0], [900, 100])
    c = compare_with_pca(tau, 1000 * ratio, ranks=[100])
    assert [c.regression, c.pca[0], c.masked_pca[0]] == pytest.approx(
        [regression, pca, masked], abs=6e-4
    )
    assert c.best_masked_rank == 100
    assert not c.beats_masked_pca


def test_without_correlations_there_is_nothing_to_compare():
    c = compare_with_pca(Identity(50), 100)
    assert (c.alpha, c.regression, c.crossover) == (np.inf, 1.0, 0.0)
    assert c.best_masked_rank == 0
    assert not c.beats_masked_pca
    assert not compare_with_pca(Diagonal(1 / np.arange(1.0, 61.0)), 100).beats_masked_pca


# Simulations


def optimal_regression_error(X, covariance, alpha):
    """Exact test error of masked regression on X, from the resolvent."""
    Q = np.linalg.inv(X.T @ X / len(X) + alpha * np.eye(X.shape[1]))
    return np.mean(np.diag(Q @ covariance @ Q) / np.diag(Q) ** 2)


@pytest.mark.parametrize("name", ["AR(1) 0.9", "blocks", "graded", "power law, Haar"])
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_errors_agree_with_simulation(name, ratio, rng):
    """Four standard errors and the order 1/d of the theory, both errors, all shares."""
    d, n, draws = 160, int(160 * ratio), 12
    covariance = benchmark_covariances(d)[name]
    ranks = np.array([2, 16, 48, 64, 79])
    sigma = covariance.matrix()
    found = [
        sample_pca_errors(covariance.color(rng.standard_normal((n, d))), sigma, ranks)
        for _ in range(draws)
    ]
    limit = PCALimit(covariance, n)
    haar = (1 - 2 / d) / (1 - 2 / (d - ranks))  # spread of P_kk, exact for the identity
    expected = (limit.error(ranks), limit.masked_error(ranks) * haar)
    for kind, theory in zip(("pca", "masked_pca"), expected, strict=True):
        values = np.array([getattr(e, kind) for e in found]) / theory
        noise = 4 * values.std(axis=0, ddof=1) / np.sqrt(draws)
        np.testing.assert_array_less(np.abs(values.mean(axis=0) - 1), noise + 2 / d)


def test_masked_pca_of_the_identity_at_finite_d(rng):
    """E 1/P_kk = (d - 2)/(d - k - 2) for random directions."""
    d, draws, ranks = 40, 200, np.array([0, 5, 20, 30])
    found = np.array(
        [
            sample_pca_errors(rng.standard_normal((60, d)), np.eye(d), ranks).masked_pca
            for _ in range(draws)
        ]
    )
    limit = masked_pca_error(Identity(d), 60, ranks)
    exact = limit * (1 - 2 / d) / (1 - 2 / (d - ranks))
    noise = 4 * found.std(axis=0, ddof=1) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - exact), noise + 1e-12)


def test_crossover_agrees_with_simulation(rng):
    """Crossover of the simulated curves, and every masked rank behind the regression."""
    d, n, draws = 200, 400, 8
    covariance = AutoRegressive(d, 0.9)
    theory = compare_with_pca(covariance, n, ranks=[0])
    sigma, crossings = covariance.matrix(), []
    for _ in range(draws):
        X = covariance.color(rng.standard_normal((n, d)))
        found = sample_pca_errors(X, sigma)
        error = optimal_regression_error(X, sigma, theory.alpha)
        assert found.masked_pca.min() > error
        crossings.append(np.interp(-error, -found.pca, found.ranks) / d)
    noise = 4 * np.std(crossings, ddof=1) / np.sqrt(draws)
    assert abs(np.mean(crossings) - theory.crossover) < noise + 1 / d


def test_spiked_comparison_agrees_with_simulation(rng):
    """At order 1/d: d (error - 1) of all three, within noise and the next order."""
    d, n, theta, draws = 200, 400, 8.0, 30
    covariance = Spiked(d, (theta,))
    theory = spiked_comparison(theta, d, n)
    sigma, found = covariance.matrix(), []
    for _ in range(draws):
        X = covariance.color(rng.standard_normal((n, d)))
        e = sample_pca_errors(X, sigma, [1])
        error = optimal_regression_error(X, sigma, theory.alpha)
        found.append([error, e.pca[0], e.masked_pca[0]])
    values = d * (np.array(found) - 1)
    noise = 4 * values.std(axis=0, ddof=1) / np.sqrt(draws)
    gap = values.mean(axis=0) - [theory.regression, theory.pca, theory.masked_pca]
    np.testing.assert_array_less(np.abs(gap), noise + 10 / d)


@pytest.mark.parametrize("n", [9, 14, 30])
def test_sample_errors_by_projectors(n, rng):
    X, A = rng.standard_normal((n, 14)), rng.standard_normal((14, 14))
    sigma = A @ A.T
    found = sample_pca_errors(X, sigma)
    assert found.ranks.tolist() == list(range(min(n, 13) + 1))
    rows = np.linalg.svd(X)[2]
    for rank in found.ranks:
        P = np.eye(14) - rows[:rank].T @ rows[:rank]
        assert found.pca[rank] == pytest.approx(np.trace(P @ sigma @ P) / 14, rel=1e-12)
        masked = np.mean(np.diag(P @ sigma @ P) / np.diag(P) ** 2)
        assert found.masked_pca[rank] == pytest.approx(masked, rel=1e-11)
    chosen = sample_pca_errors(X, sigma, [7, 2])
    np.testing.assert_allclose(chosen.pca, found.pca[[7, 2]], rtol=1e-13)


def test_masked_pca_is_infinite_where_a_coordinate_is_a_component():
    X = np.diag([3.0, 2.0, 1.0])
    assert sample_pca_errors(X, np.eye(3), [1]).masked_pca[0] == np.inf
    assert population_masked_pca_error(np.diag([3.0, 2.0, 1.0]), 1) == np.inf


# Bad input


@pytest.mark.parametrize("function", [pca_error, masked_pca_error])
@pytest.mark.parametrize("rank", [-1, 5.5, [0, 7], np.nan, []])
def test_ranks_outside_are_refused(function, rank):
    with pytest.raises(InputError, match="from 0 to d = 5"):
        function(np.ones(5), 10, rank)


@pytest.mark.parametrize("n", [1, 0, -3, np.nan, np.inf])
def test_too_few_rows_are_refused(n):
    for function in (pca_error, masked_pca_error):
        with pytest.raises(InputError, match="n_samples"):
            function(np.ones(5), n, 1)
    with pytest.raises(InputError, match="n_samples"):
        compare_with_pca(np.ones(5), n)
    with pytest.raises(InputError, match="n_samples"):
        spiked_comparison(2.0, 5, n)


def test_masked_pca_with_every_component_is_refused():
    for call in (
        lambda: masked_pca_error(np.ones(5), 10, 5),
        lambda: population_masked_pca_error(np.ones(5), [1, 5]),
        lambda: compare_with_pca(np.ones(5), 10, ranks=[5]),
        lambda: PCALimit(np.ones(5), 10).masked_errors(5),
    ):
        with pytest.raises(InputError, match="predicts a coordinate from itself"):
            call()


@pytest.mark.parametrize(
    "covariance", [np.array([[1.0, 0.5], [0.2, 1.0]]), -np.ones(3), np.array([1.0, np.nan])]
)
def test_bad_covariances_are_refused(covariance):
    with pytest.raises(InputError):
        pca_error(covariance, 10, 1)
    with pytest.raises(InputError):
        compare_with_pca(covariance, 10)


def test_other_bad_input():
    with pytest.raises(InputError, match="alpha is 'optimal'"):
        compare_with_pca([1.0, 2.0], 10, alpha="loo")
    with pytest.raises(InputError, match="not negative"):
        compare_with_pca([1.0, 2.0], 10, alpha=-1.0)
    with pytest.raises(InputError, match="d = 1"):
        compare_with_pca([1.0], 10)
    with pytest.raises(InputError, match="correlation"):
        autoregressive_crossover(1.0)
    for spikes in (-1.0, [], [np.inf]):
        with pytest.raises(InputError, match="spikes are"):
            spiked_comparison(spikes, 10, 20)
    with pytest.raises(InputError, match="fewer spikes"):
        spiked_comparison([1.0, 2.0], 2, 20)
    with pytest.raises(InputError, match="without spikes"):
        spiked_comparison(0.0, 10, 20)
    for alpha in (0.0, -1.0, "loo"):
        with pytest.raises(InputError, match="alpha is"):
            spiked_comparison(1.0, 10, 20, alpha=alpha)
    with pytest.raises(InputError, match="aspect ratio"):
        masked_pca_threshold(0.0)


def test_bad_samples_are_refused():
    X = np.ones((4, 3))
    for rows, message in ((np.ones((4, 2)), "shape"), (np.ones((1, 3)), "n >= 2")):
        with pytest.raises(InputError, match=message):
            sample_pca_errors(rows, np.eye(3))
    with pytest.raises(InputError, match="finite"):
        sample_pca_errors(np.where(X > 0, np.nan, X), np.eye(3))
    for ranks in ([3], [-1], [0.5]):
        with pytest.raises(InputError, match="whole numbers"):
            sample_pca_errors(X, np.eye(3), ranks)


def test_two_terms_of_the_spiked_excess_only_where_they_hold():
    near = spiked_comparison([4.0], 800, 1600)
    assert near.limit == pytest.approx(near.regression, rel=0.1)
    assert np.isnan(spiked_comparison([20.0], 800, 1600).limit)
    far = spiked_comparison([20.0], 10**6, 2 * 10**6)
    assert far.limit == pytest.approx(far.regression, rel=0.01)
