"""Predictors trained over random masks, and one ridge per mask: algebra and simulation."""

import warnings
from itertools import product

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.masked.closed_forms import autoregressive_hidden_error
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Blocks,
    Graded,
    Identity,
    Spiked,
    benchmark_covariances,
)
from foretell.theory.masked.errors import EquivalentWarning, masked_regression
from foretell.theory.masked.one_mask import one_mask_errors
from foretell.theory.masked.population import MaskedPopulation
from foretell.theory.masked.random_masks import (
    optimal_mask_rate,
    random_mask_coefficients,
    random_mask_errors,
)
from foretell.theory.spectra.spectrum import Spectrum

# Most tests are of the limit itself, at a d that is small; the warning has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore::foretell.theory.masked.results.EquivalentWarning")

LINE = AutoRegressive(60, 0.9)
STRIPED = Blocks.cycled(240, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0))


def _masks(d, p):
    """All 2^d masks, 1 for entries that are seen, with probabilities."""
    masks = np.array(list(product([0.0, 1.0], repeat=d)))
    seen = masks.sum(axis=1)
    return masks, (1 - p) ** seen * p ** (d - seen)


def _masked_error(A, covariance, p):
    """Exact error of x A at random masks, per coordinate, diag(A) = 0."""
    b = (1 - p) * A
    rest = np.eye(len(A)) - b
    return np.einsum("jk,jk->k", rest, covariance @ rest) + p / (1 - p) * (
        np.diag(covariance) @ b**2
    )


@pytest.mark.parametrize(("n", "alpha", "p"), [(5, 0.0, 0.3), (5, 0.2, 0.6), (30, 0.01, 0.05)])
def test_coefficients_are_those_of_all_masks(rng, n, alpha, p):
    """Ridge regression on the second moments averaged over all 2^8 masks."""
    X = rng.standard_normal((n, 8)) * np.linspace(0.5, 2, 8)
    C = X.T @ X / n
    masks, chance = _masks(8, p)
    gram = np.einsum("m,mj,mk->jk", chance, masks, masks) * C + alpha * np.eye(8)
    cross = (chance @ masks)[:, None] * C
    A = random_mask_coefficients(C, alpha, p)
    assert (np.diag(A) == 0).all()
    for k in range(8):
        others = np.arange(8) != k
        expected = np.linalg.solve(gram[np.ix_(others, others)], cross[others, k])
        np.testing.assert_allclose(A[others, k], expected, rtol=1e-12, atol=1e-13)


def test_error_at_random_masks_is_the_mean_over_all_masks(rng):
    """The formula by which simulations are measured, against all 2^8 masks."""
    A = rng.standard_normal((8, 8))
    np.fill_diagonal(A, 0.0)
    sigma, p = Graded(8, 0.7).matrix(), 0.35
    masks, chance = _masks(8, p)
    rest = np.eye(8) - masks[:, :, None] * A
    each = np.einsum("mjk,jl,mlk->mk", rest, sigma, rest)
    np.testing.assert_allclose(_masked_error(A, sigma, p), chance @ each, rtol=1e-12)


@pytest.mark.parametrize(
    ("covariance", "aspect_ratio", "alpha", "p"),
    [
        (AutoRegressive(240, 0.9), 0.5, 0.0, 0.15),
        (AutoRegressive(240, 0.9), 2.0, 0.1, 0.5),
        (STRIPED, 0.5, 0.0, 0.5),
        (STRIPED, 2.0, 0.05, 0.15),
        (Graded(240, 0.8), 0.5, 0.1, 0.3),
    ],
)
def test_theory_meets_simulation(rng, covariance, aspect_ratio, alpha, p):
    """Mean of 12 draws within four standard errors and 1.5/d (6/d: training, one entry)."""
    _compare(covariance, covariance.d / aspect_ratio, alpha, p, rng, draws=12)


@pytest.mark.slow
@pytest.mark.parametrize("aspect_ratio", [0.5, 2.0])
@pytest.mark.parametrize("name", benchmark_covariances(10))
def test_theory_meets_simulation_at_720(rng, name, aspect_ratio):
    """As above; 1.5/d is 0.2 %."""
    covariance = benchmark_covariances(720)[name]
    given = covariance.matrix() if "Haar" in name else covariance
    _compare(covariance, 720 / aspect_ratio, 0.02, 0.2, rng, draws=6, given=given)


def _compare(covariance, n, alpha, p, rng, draws, given=None):
    population, d, n = MaskedPopulation(covariance), covariance.d, int(n)
    sigma = covariance.matrix()
    errors = []
    for _ in range(draws):
        X = population.sample_unlabeled(n, rng)
        C = X.T @ X / n
        A = random_mask_coefficients(C, alpha, p)
        rest = np.eye(d) - (1 - p) * A
        errors.append(
            [
                _masked_error(A, sigma, p).mean(),
                population.test_error((1 - p) * A),
                _masked_error(A, C, p).mean(),
                np.einsum("jk,jk->", rest, C @ rest) / d,
            ]
        )
    theory = random_mask_errors(covariance if given is None else given, n, alpha, p)
    expected = np.array(
        [theory.test_error, theory.single_test_error, theory.train_error, theory.single_train_error]
    )
    ratio = np.array(errors) / expected
    allowed = 4 * ratio.std(axis=0, ddof=1) / np.sqrt(draws) + 1.5 / d * np.array([1, 1, 1, 4])
    assert (np.abs(ratio.mean(axis=0) - 1) < allowed).all()


@pytest.mark.parametrize("n", [30, 120])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_masking_unit_variances_is_a_ridge_of_its_odds(n, p):
    """Without a penalty, one entry hidden, on test rows and on those of training."""
    masks = random_mask_errors(LINE, n, 0.0, p)
    ridge = masked_regression(LINE, n, p / (1 - p))
    np.testing.assert_allclose(
        masks.single_test_error_per_coordinate, ridge.test_error_per_coordinate, rtol=1e-12
    )
    np.testing.assert_allclose(
        masks.single_train_error_per_coordinate, ridge.train_error_per_coordinate, rtol=1e-12
    )


def test_rare_masks_leave_the_ridge():
    """At rate zero both notions of error are those of masked regression with this penalty."""
    for covariance in (LINE, Graded(40, 0.8)):
        masks = random_mask_errors(covariance, 70, 0.1, 1e-9)
        ridge = masked_regression(covariance, 70, 0.1)
        for ours in (masks.test_error, masks.single_test_error):
            np.testing.assert_allclose(ours, ridge.test_error, rtol=1e-7)
        for ours in (masks.train_error, masks.single_train_error):
            np.testing.assert_allclose(ours, ridge.train_error, rtol=1e-7)


def test_nearly_all_hidden_leaves_the_variance():
    masks = random_mask_errors(Graded(40, 0.8), 70, 0.0, 1 - 1e-9)
    variances = Graded(40, 0.8).variances
    np.testing.assert_allclose(masks.test_error_per_coordinate, variances, rtol=1e-6)


def test_units_of_columns_do_not_matter_without_a_penalty():
    """Errors of graded columns are those of the line times the variances; no spectrum shared."""
    graded = Graded(50, 0.8)
    line = AutoRegressive(50, 0.8)
    for p in (0.1, 0.7):
        ours = random_mask_errors(graded, 80, 0.0, p)
        unit = random_mask_errors(line, 80, 0.0, p)
        for name in ("test", "single_test", "train", "single_train"):
            error = f"{name}_error_per_coordinate"
            expected = getattr(unit, error) * graded.variances
            np.testing.assert_allclose(getattr(ours, error), expected, rtol=1e-11)


def test_equal_variances_need_no_matrix():
    """The spectrum alone gives what the matrix gives when variances are equal only nearly."""
    matrix = LINE.matrix()
    matrix[0, 0] += 1e-9
    for alpha in (0.0, 0.3):
        ours = random_mask_errors(LINE.spectrum, 80, alpha, 0.2)
        dense = random_mask_errors(matrix, 80, alpha, 0.2)
        np.testing.assert_allclose(
            ours.test_error_per_coordinate, dense.test_error_per_coordinate, rtol=1e-7
        )
        np.testing.assert_allclose(ours.train_error, dense.train_error, rtol=1e-7)


def test_a_million_columns_take_no_matrix():
    """Spikes at d = 10^6: the error of the identity up to order 1/d."""
    ours = random_mask_errors(Spiked(1_000_000, (6.0, 3.0)), 2e6, 0.1, 0.3)
    plain = random_mask_errors(Identity(10), 20, 0.1, 0.3)
    np.testing.assert_allclose(ours.test_error, plain.test_error, rtol=2e-5)


@pytest.mark.parametrize("covariance", [LINE, Graded(60, 0.8)])
@pytest.mark.parametrize("alpha", [0.0, 0.005])
def test_optimal_rate_is_a_minimum(covariance, alpha):
    best = optimal_mask_rate(covariance, 120, alpha)
    errors = [
        random_mask_errors(covariance, 120, alpha, best * (1 + shift)).single_test_error
        for shift in (-1e-2, 0.0, 1e-2)
    ]
    assert errors[1] < min(errors[0], errors[2])
    if alpha == 0 and covariance is LINE:
        odds = best / (1 - best)
        slope = masked_regression(LINE, 120, odds).test_error_slope
        np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_optimal_rate_of_a_long_line():
    """0.087 at correlation 0.9 and two rows a column."""
    assert abs(optimal_mask_rate(AutoRegressive(2_000, 0.9, ring=True), 4_000) - 0.087) < 5e-4


def test_optimal_rate_at_the_ends():
    """Independent columns: hide all. A penalty that is too large: hide none."""
    assert optimal_mask_rate(Identity(20), 40) == 1.0
    assert optimal_mask_rate(Identity(20), 10, 0.1) == 1.0
    assert optimal_mask_rate(LINE, 120, 1.0) == 0.0


def test_population_errors_of_a_mask(rng):
    """No sampling: conditional variances, and the error of the population ridge."""
    sigma = Graded(12, 0.8).matrix()
    hidden = np.array([1, 4, 5, 11])
    seen = np.setdiff1d(np.arange(12), hidden)
    expected = np.diag(np.linalg.inv(np.linalg.inv(sigma)[np.ix_(hidden, hidden)]))
    ours = one_mask_errors(sigma, np.inf, 0.0, hidden)
    np.testing.assert_allclose(ours.test_error_per_coordinate, expected, rtol=1e-12)
    np.testing.assert_allclose(ours.train_error_per_coordinate, expected, rtol=1e-12)
    inner, cross = sigma[np.ix_(seen, seen)], sigma[np.ix_(seen, hidden)]
    b = np.linalg.solve(inner + 0.3 * np.eye(8), cross)
    risk = np.diag(sigma)[hidden] - 2 * (b * cross).sum(0) + (b * (inner @ b)).sum(0)
    is_hidden = np.isin(np.arange(12), hidden)
    ridge = one_mask_errors(Graded(12, 0.8), np.inf, 0.3, is_hidden)
    np.testing.assert_allclose(ridge.test_error_per_coordinate, risk, rtol=1e-12)
    assert ridge.hidden.tolist() == hidden.tolist()
    assert ridge.test_error == pytest.approx(risk.mean())


def test_copies_of_a_column_are_predicted_exactly():
    """A semidefinite covariance: no inverse is needed."""
    sigma = np.kron(np.eye(2), np.ones((3, 3)))
    errors = one_mask_errors(sigma, np.inf, 0.0, [0, 3]).test_error_per_coordinate
    np.testing.assert_allclose(errors, 0.0, atol=1e-14)


def test_without_a_penalty_the_sample_costs_what_it_costs():
    """n > seen: sigma^2 / (1 - |O|/n) and its (1 - |O|/n)^2; n < seen: no training error."""
    sigma = AutoRegressive(30, 0.8)
    population = one_mask_errors(sigma, np.inf, 0.0, [3, 10]).test_error_per_coordinate
    errors = one_mask_errors(sigma, 56, 0.0, [3, 10], finite_sample=False)
    np.testing.assert_allclose(errors.test_error_per_coordinate, 2 * population, rtol=1e-12)
    np.testing.assert_allclose(errors.train_error_per_coordinate, population / 2, rtol=1e-12)
    assert one_mask_errors(sigma, 14, 0.0, [3, 10]).train_error == 0.0


@pytest.mark.parametrize("n", [10, 40])
def test_without_a_penalty_the_mean_is_exact(rng, n):
    """Normal rows: (n - 1) / (n - r - 1) times the unexplained variance."""
    sigma, hidden = AutoRegressive(8, 0.8).matrix(), [2, 5]
    seen = [k for k in range(8) if k not in hidden]
    errors = one_mask_errors(sigma, n, 0.0, hidden)
    assert errors.exact
    found = []
    for _ in range(4000):
        X = rng.standard_normal((n, 8)) @ np.linalg.cholesky(sigma).T
        b = np.linalg.lstsq(X[:, seen], X[:, hidden], rcond=None)[0]
        rest = np.eye(8)[:, hidden].copy()
        rest[seen] -= b
        found.append(np.einsum("jk,jk->k", rest, sigma @ rest))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - errors.test_error_per_coordinate) < 4 * error).all()


def test_warnings_tell_how_far_the_limit_is(rng):
    """One mask: the correction, against simulation; random masks: that of the ridge they are."""
    sigma, n, alpha = 0.5 * np.eye(30) + 0.5, 35, 1e-3
    with pytest.warns(EquivalentWarning, match=r"test error may be off by about 9.7 % \(too low"):
        limit = one_mask_errors(sigma, n, alpha, [0])
    found = []
    for _ in range(2000):
        X = rng.standard_normal((n, 30)) @ np.linalg.cholesky(sigma).T
        Z, y = X[:, 1:], X[:, 0]
        b = np.linalg.solve(Z.T @ Z / n + alpha * np.eye(29), Z.T @ y / n)
        rest = np.append(1.0, -b)
        found.append(rest @ sigma @ rest)
    error = np.std(found) / np.sqrt(len(found)) / limit.test_error
    assert abs(np.mean(found) / limit.test_error - 1.097) < 4 * error + 0.03
    with pytest.warns(EquivalentWarning, match="training error may be off by about 17 %"):
        random_mask_errors(sigma, n, 0.0, 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        random_mask_errors(sigma, 600, 0.0, 0.3)
        one_mask_errors(sigma, 600, 0.1, [0])


def test_an_infinite_penalty_predicts_zero():
    sigma = Graded(12, 0.8)
    variances = np.diag(sigma.matrix())
    errors = random_mask_errors(sigma, 30, np.inf, 0.2)
    np.testing.assert_allclose(errors.test_error_per_coordinate, variances)
    np.testing.assert_allclose(errors.single_train_error_per_coordinate, variances)
    errors = one_mask_errors(sigma, 30, np.inf, [4])
    np.testing.assert_allclose(errors.test_error_per_coordinate, variances[4])


def test_two_neighbours_explain_a_hidden_run():
    """The terms of the closed sum: a steps to the left, b to the right."""
    for a, b in ((1, 1), (2, 5), (4, 1)):
        hidden = np.arange(10, 9 + a + b)
        errors = one_mask_errors(AutoRegressive(40, 0.9), np.inf, 0.0, hidden)
        r = 0.81
        expected = (1 - r**a) * (1 - r**b) / (1 - r ** (a + b))
        np.testing.assert_allclose(errors.test_error_per_coordinate[a - 1], expected, rtol=1e-11)


def test_hidden_error_of_a_line_is_the_mean_over_masks(rng):
    """Direct inversion for 60 random masks of 300 columns; 4 standard errors and 2/d for ends."""
    sigma = AutoRegressive(300, 0.9).matrix()
    means = [
        one_mask_errors(sigma, np.inf, 0.0, rng.random(300) < 0.5).test_error for _ in range(60)
    ]
    gap = np.mean(means) / autoregressive_hidden_error(0.9, 0.5) - 1
    assert abs(gap) < 4 * np.std(means) / 0.17 / np.sqrt(60) + 2 / 300


@pytest.mark.parametrize(
    ("covariance", "n", "alpha"),
    [(AutoRegressive(240, 0.9), 480, 0.1), (STRIPED, 120, 0.05), (Graded(240, 0.8), 120, 0.0)],
)
def test_one_ridge_per_mask_meets_simulation(rng, covariance, n, alpha):
    """Mean over hidden coordinates of 16 draws within 4 standard errors and 2/|O|."""
    _compare_one_mask(covariance, n, alpha, rng, draws=16)


@pytest.mark.slow
@pytest.mark.parametrize("n", [360, 1440])
@pytest.mark.parametrize("name", ["AR(1) 0.9", "blocks", "graded", "power law, diagonal"])
def test_one_ridge_per_mask_meets_simulation_at_720(rng, name, n):
    _compare_one_mask(benchmark_covariances(720)[name], n, 0.05, rng, draws=10)


def _compare_one_mask(covariance, n, alpha, rng, draws):
    sigma, d = covariance.matrix(), covariance.d
    is_hidden = rng.random(d) < 0.3
    seen = ~is_hidden
    inner, cross = sigma[np.ix_(seen, seen)], sigma[np.ix_(seen, is_hidden)]
    errors = []
    for _ in range(draws):
        X = MaskedPopulation(covariance).sample_unlabeled(n, rng)
        X, Y = X[:, seen], X[:, is_hidden]
        if alpha:
            b = np.linalg.solve(X.T @ X / n + alpha * np.eye(seen.sum()), X.T @ Y / n)
        else:
            b = np.linalg.lstsq(X, Y, rcond=None)[0]
        risk = np.diag(sigma)[is_hidden] - 2 * (b * cross).sum(0) + (b * (inner @ b)).sum(0)
        errors.append([risk.mean(), ((Y - X @ b) ** 2).mean()])
    theory = one_mask_errors(covariance, n, alpha, is_hidden)
    expected = np.array([theory.test_error, theory.train_error])
    errors = np.array(errors)
    allowed = 4 * errors.std(axis=0, ddof=1) / np.sqrt(draws) + 2 / seen.sum() * expected
    assert (np.abs(errors.mean(axis=0) - expected) < allowed + 1e-20).all()


ZERO = np.diag([1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: random_mask_errors(LINE, 80, 0.1, 0.0), r"in \(0, 1\); found 0.0"),
        (lambda: random_mask_errors(LINE, 80, 0.1, 1.0), r"in \(0, 1\); found 1.0"),
        (lambda: random_mask_errors(LINE, 80, -0.1, 0.5), "not negative; found -0.1"),
        (lambda: random_mask_errors(LINE, 1, 0.1, 0.5), "at least 2; found 1"),
        (lambda: random_mask_errors(ZERO, 80, 0.0, 0.5), "1 columns are constant"),
        (lambda: random_mask_errors(Graded(9, 0.5).spectrum, 80, 0.0, 0.5), "give the matrix"),
        (lambda: optimal_mask_rate(LINE, 80, -1.0), "not negative; found -1"),
        (lambda: optimal_mask_rate(ZERO, 80), "1 columns are constant"),
        (lambda: random_mask_coefficients(ZERO, 0.0, 0.5), "1 columns are constant"),
        (lambda: random_mask_coefficients(np.eye(3)[:2], 0.0, 0.5), r"shape \(d, d\)"),
        (lambda: random_mask_coefficients(np.eye(3), np.nan, 0.5), "found nan"),
        (lambda: one_mask_errors(LINE, 80, 0.1, np.zeros(60, bool)), "found 0 hidden"),
        (lambda: one_mask_errors(LINE, 80, 0.1, np.arange(60)), "found 60 hidden"),
        (lambda: one_mask_errors(LINE, 80, 0.1, [60]), "positions from 0 to 59"),
        (lambda: one_mask_errors(LINE, 80, 0.1, [-1]), "positions from 0 to 59"),
        (lambda: one_mask_errors(LINE, 80, 0.1, [0.5]), "found float64"),
        (lambda: one_mask_errors(LINE, 80, 0.1, np.ones(3, bool)), r"bool of shape \(3,\)"),
        (lambda: one_mask_errors(LINE, 80, -0.1, [1]), "not negative; found -0.1"),
        (lambda: one_mask_errors(LINE, 59, 0.0, [1]), "diverges.*n = 59"),
        (lambda: one_mask_errors(LINE, 1, 0.1, [1]), "at least 2; found 1"),
        (lambda: one_mask_errors(LINE.spectrum, 80, 0.1, [1]), "found its spectrum only"),
        (lambda: one_mask_errors(Spectrum.of([1.0, 2.0]), 80, 0.1, [1]), "spectrum only"),
        (lambda: one_mask_errors([[1.0, 2.0], [2.0, -1.0]], 80, 0.1, [0]), "no negative"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
