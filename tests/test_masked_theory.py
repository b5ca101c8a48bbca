"""Masked regression in theory: exact identities of any sample, and the equivalents against them."""

import warnings

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.masked.comparison import compare_with_pca
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Diagonal,
    Graded,
    Spiked,
    benchmark_covariances,
)
from foretell.theory.masked.elliptical import RowScales, elliptical_ridges
from foretell.theory.masked.equivalent import Equivalent
from foretell.theory.masked.errors import EquivalentWarning, masked_path, masked_regression
from foretell.theory.masked.finite_size import finite_size_corrections
from foretell.theory.masked.optimal import optimal_alpha
from foretell.theory.masked.random_masks import random_mask_errors
from foretell.theory.masked.ridgeless import best_linear_errors, least_squares_errors
from foretell.theory.spectra.effective_ridge import LARGE, effective_ridge
from foretell.theory.spectra.spectrum import Spectrum

# Most tests are of the limit itself, at a d that is small; the warning has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore::foretell.theory.masked.results.EquivalentWarning")


def toeplitz(rho, d):
    return rho ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))


def ridge_columns(X, alpha):
    """A by d separate ridge regressions, shape (d, d); column k has no entry k."""
    n, d = X.shape
    A = np.zeros((d, d))
    for k in range(d):
        Z = np.delete(X, k, axis=1)
        a = np.linalg.solve(Z.T @ Z / n + alpha * np.eye(d - 1), Z.T @ X[:, k] / n)
        A[:, k] = np.insert(a, k, 0.0)
    return A


def resolvent(X, alpha):
    C = X.T @ X / len(X)
    return C, np.linalg.inv(C + alpha * np.eye(len(C)))


def mean_errors(X, covariance, alpha):
    """Mean test and training error and norm of a sample, from its resolvent."""
    d = len(covariance)
    values, V = np.linalg.eigh(X.T @ X / len(X))
    values = np.maximum(values, 0.0)
    values[: max(0, d - len(X))] = 0.0
    inverse = 1 / (values + alpha)
    diagonal = V**2 @ inverse
    test = np.sum((V * inverse @ (V.T @ covariance @ V)) * (V * inverse), axis=1) / diagonal**2
    train = V**2 @ (values * inverse**2) / diagonal**2
    return test.mean(), train.mean(), (V**2 @ inverse**2 / diagonal**2).mean() - 1


def close(found, expected, rtol=1e-10):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def simulated(covariance, n, alpha, draws, rng, scales=None):
    """Means over draws and their standard errors, of test and training error and norm."""
    root = np.linalg.cholesky(covariance).T
    found = []
    for _ in range(draws):
        X = rng.standard_normal((n, len(covariance))) @ root
        if scales is not None:
            X *= np.sqrt(rng.permutation(scales))[:, None]
        found.append(mean_errors(X, covariance, alpha))
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(draws)


# Exact identities of any sample


@pytest.mark.parametrize(("n", "d"), [(30, 8), (9, 8), (8, 8), (5, 8)])
@pytest.mark.parametrize("alpha", [0.05, 3.0])
def test_d_ridge_regressions_are_one_resolvent(rng, n, d, alpha):
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    S = np.cov(rng.normal(size=(d, 20)))
    A, (C, Q) = ridge_columns(X, alpha), resolvent(X, alpha)
    q = np.diag(Q)
    close(A, np.eye(d) - Q / q)
    close(X - X @ A, X @ Q / q)
    train = np.mean((X - X @ A) ** 2, axis=0)
    close(train, np.diag(Q @ C @ Q) / q**2)
    close(Q @ C @ Q, Q - alpha * Q @ Q)
    close(np.diag((np.eye(d) - A).T @ S @ (np.eye(d) - A)), np.diag(Q @ S @ Q) / q**2)
    norms = (A**2).sum(axis=0)
    close(norms, np.diag(Q @ Q) / q**2 - 1)
    close(train + alpha * norms, 1 / q - alpha)
    close(
        mean_errors(X, S, alpha), [np.mean(np.diag(Q @ S @ Q) / q**2), train.mean(), norms.mean()]
    )


@pytest.mark.parametrize("n", [25, 6])
def test_a_row_left_out_needs_no_refit(rng, n):
    """The penalty n alpha stays as it is; with an intercept the leverage gains 1 / n."""
    d, alpha = 7, 0.3
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 1.0
    for center in (False, True):
        Z = X - X.mean(axis=0) * center
        _, Q = resolvent(Z, alpha)
        q, ZQ = np.diag(Q), Z @ Q
        leverage = np.sum(ZQ * Z, axis=1)[:, None] / n + center / n
        formula = (ZQ / q) / (1 - leverage + ZQ**2 / (n * q))
        for i in range(n):
            rest = np.delete(X, i, axis=0)
            mean = rest.mean(axis=0) * center
            A = ridge_columns(rest - mean, alpha * n / (n - 1))
            close(formula[i], (X[i] - mean) @ (np.eye(d) - A))


def test_spectrum_of_the_coefficients_is_real(rng):
    X = rng.normal(size=(20, 9)) @ rng.normal(size=(9, 9))
    A, (_, Q) = ridge_columns(X, 0.1), resolvent(X, 0.1)
    root = np.sqrt(np.diag(Q))
    values, vectors = np.linalg.eigh(np.eye(9) - Q / root / root[:, None])
    close(np.sort(np.linalg.eigvals(A)), values)
    assert values.max() < 1
    close(values.sum(), 0)
    close(A @ (root[:, None] * vectors), root[:, None] * vectors * values)
    close((vectors / root[:, None]).T @ A, values[:, None] * (vectors / root[:, None]).T)


def test_interpolation_is_imputation_by_all_principal_components(rng):
    """n < d without a penalty: A = I - P diag(P)^-1, with P the projector off the rows."""
    n, d = 5, 9
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    U = np.linalg.svd(X, full_matrices=False)[2].T
    P = np.eye(d) - U @ U.T
    A = np.eye(d) - P / np.diag(P)
    np.testing.assert_allclose(ridge_columns(X, 1e-9), A, atol=1e-5)
    close(X @ A, X)
    for k in range(d):
        others = np.arange(d) != k
        code = np.linalg.lstsq(U[others], X[:, others].T, rcond=None)[0]
        close(U[k] @ code, X @ A[:, k])


# Equivalents

CONSTANTS = np.array([2.0, 12.0, 4.0])  # test, train, norm


@pytest.mark.parametrize("n", [60, 120, 300])
@pytest.mark.parametrize("alpha", [0.02, 0.5])
@pytest.mark.parametrize("name", ["graded", "spiked"])
def test_errors_agree_with_simulation(rng, name, n, alpha):
    """Four standard errors, and the order of the theory: 1/d, with constants that are largest for
    the training error at n < d.
    """
    d = 120
    covariance = Graded(d, 0.8, 0.2, 4.0) if name == "graded" else Spiked(d, (6.0, 3.0))
    theory = masked_theory(covariance, n, alpha)
    found, error = simulated(covariance.matrix(), n, alpha, 12, rng)
    expected = np.array([theory.test_error, theory.train_error, theory.norm])
    assert (np.abs(found - expected) < 4 * error + expected * CONSTANTS / d).all()


def masked_theory(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EquivalentWarning)
        return masked_regression(*arguments, **options)


def test_single_coordinates_agree_with_simulation(rng):
    """Coordinates of variance 1 and 9 and of different correlation, means over 60 draws."""
    d, n, alpha = 80, 120, 0.1
    S = toeplitz(0.8, d) * np.outer(
        np.r_[np.ones(40), 3 * np.ones(40)], np.r_[np.ones(40), 3 * np.ones(40)]
    )
    root = np.linalg.cholesky(S).T
    theory = masked_regression(S, n, alpha)
    test, train = [], []
    for _ in range(60):
        C, Q = resolvent(rng.standard_normal((n, d)) @ root, alpha)
        test.append(np.diag(Q @ S @ Q) / np.diag(Q) ** 2)
        train.append(np.diag(Q @ C @ Q) / np.diag(Q) ** 2)
    for draws, expected in ((test, theory.test_error_per_coordinate),
                            (train, theory.train_error_per_coordinate)):  # fmt: skip
        error = np.std(draws, axis=0) / np.sqrt(60)
        assert (np.abs(np.mean(draws, axis=0) - expected) < 4.5 * error + 2 / d * expected).all()


def test_identity_has_a_closed_form():
    gamma, kappa = 0.7, 0.4
    alpha = kappa * (1 - gamma / (1 + kappa))
    theory = masked_regression(np.ones(70), 100, alpha)
    spread = 1 - gamma / (1 + kappa) ** 2
    close(theory.kappa, kappa, 1e-14)
    close(theory.test_error, 1 / spread, 1e-14)
    close(theory.train_error, (alpha / kappa) ** 2 / spread, 1e-14)
    close(theory.norm, gamma / (1 + kappa) ** 2 / spread, 1e-13)
    close(theory.degrees_of_freedom, 70 / (1 + kappa), 1e-14)
    close(theory.second_degrees_of_freedom, 70 / (1 + kappa) ** 2, 1e-14)
    assert (theory.null_error, theory.best_linear_error) == (1, 1)


def test_errors_are_those_of_the_formulas_with_dense_matrices():
    S, n, alpha = Graded(30, 0.7, 0.3, 5.0).matrix(), 20, 0.05
    theory = masked_regression(S, n, alpha)
    kappa = theory.kappa
    R = np.linalg.inv(S + kappa * np.eye(30))
    df1, df2 = np.trace(S @ R), np.trace(S @ R @ S @ R)
    close(alpha, kappa * (1 - df1 / n), 1e-12)
    test = np.diag(R @ S @ R) / np.diag(R) ** 2 / (1 - df2 / n)
    close(theory.test_error_per_coordinate, test, 1e-11)
    close(theory.train_error_per_coordinate, (1 - df1 / n) ** 2 * test, 1e-10)
    extra = np.trace(S @ R @ R) / n / (1 - df2 / n) * np.diag(R @ S @ R)
    close(theory.norm, np.mean((np.diag(R @ R) + extra) / np.diag(R) ** 2 - 1), 1e-11)
    close(theory.null_error, np.trace(S) / 30, 1e-13)
    close(theory.best_linear_error, np.mean(1 / np.diag(np.linalg.inv(S))), 1e-12)


@pytest.mark.parametrize("scales", [None, np.array([0.2, 0.5, 1.0, 4.0])])
@pytest.mark.parametrize("n", [20, 60])
def test_slope_is_the_derivative(scales, n):
    covariance = Graded(40, 0.8, 0.2, 4.0)
    for alpha in (0.01, 1.0):
        step = 1e-4 * alpha
        path = masked_path(covariance, n, [alpha - step, alpha, alpha + step], row_scales=scales)
        finite = (path.test_error[2] - path.test_error[0]) / (2 * step)
        np.testing.assert_allclose(path.test_error_slope[1], finite, rtol=1e-5)


def test_path_has_the_errors_of_each_penalty():
    covariance, alphas = Graded(50, 0.8, 0.2, 4.0), [1.0, 0.0, 0.3]
    for n in (30, 100):
        path = masked_path(covariance, n, alphas)
        for i, alpha in enumerate(alphas):
            one = masked_regression(covariance, n, alpha)
            for name in ("kappa", "test_error", "train_error", "norm", "test_error_slope",
                         "degrees_of_freedom", "second_degrees_of_freedom"):  # fmt: skip
                close(getattr(path, name)[i], getattr(one, name), 1e-12)


def test_many_eigenvalues_are_compressed(rng):
    tau = np.exp(rng.normal(size=LARGE + 1))
    path = masked_path(tau, LARGE // 2, [1e-3, 1.0])
    one = masked_regression(tau, LARGE // 2, 1.0)
    assert path.d == LARGE + 1
    np.testing.assert_allclose(path.test_error[1], one.test_error, rtol=1e-11)
    np.testing.assert_allclose(path.norm[1], one.norm, rtol=1e-11)


def test_order_and_units_of_coordinates_do_not_matter(rng):
    S = Graded(25, 0.8, 0.2, 4.0).matrix()
    theory, order = masked_regression(S, 40, 0.2), rng.permutation(25)
    other = masked_regression(100 * S[np.ix_(order, order)], 40, 20.0)
    close(other.test_error_per_coordinate, 100 * theory.test_error_per_coordinate[order])
    close(other.norm, theory.norm)


def test_a_large_penalty_predicts_nothing():
    theory = masked_regression(AutoRegressive(40, 0.9), 20, 1e9)
    close([theory.test_error, theory.train_error], 1.0, 1e-7)
    assert 0 < theory.norm < 1e-15


def test_summary_names_what_it_says():
    text = masked_regression(np.ones(10), 40, 0.0).summary()
    assert "exact mean" in text
    assert "1.3" in text
    assert "limit" in masked_regression(np.ones(10), 40, 0.1).summary()


# No penalty


def test_least_squares_errors_are_exact_at_any_n(rng):
    S = np.array(
        [[2.0, 0.8, 0.0, 0.3], [0.8, 1.0, 0.2, 0.0], [0.0, 0.2, 0.5, 0.1], [0.3, 0.0, 0.1, 1]]
    )
    n, root, draws = 9, np.linalg.cholesky(S).T, 20_000
    X = rng.standard_normal((draws, n, 4)) @ root
    C = np.swapaxes(X, 1, 2) @ X / n
    Q = np.linalg.inv(C)
    q = np.diagonal(Q, axis1=1, axis2=2)
    spectrum = Spectrum.of(S)
    exact = [spectrum.per_coordinate(part) for part in least_squares_errors(spectrum, n)]
    found = np.diagonal(Q @ S @ Q, axis1=1, axis2=2) / q**2, 1 / q, (Q**2).sum(axis=1) / q**2 - 1
    for draw, expected in zip(found, exact, strict=True):
        error = draw.std(axis=0) / np.sqrt(draws)
        assert (np.abs(draw.mean(axis=0) - expected) < 4 * error).all()
    theory = masked_regression(S, n, 0.0)
    close(theory.test_error_per_coordinate, exact[0], 1e-14)
    close(theory.train_error_per_coordinate, exact[1], 1e-14)
    close(theory.norm, exact[2].mean(), 1e-14)
    assert theory.exact


def test_limits_without_a_penalty_are_approached_with_one():
    covariance = Graded(40, 0.8, 0.2, 4.0)
    omega = np.diag(np.linalg.inv(covariance.matrix()))
    theory = masked_regression(covariance, 100, 0.0, finite_sample=False)
    close(theory.test_error_per_coordinate, 1 / omega / 0.6)
    close(theory.train_error_per_coordinate, 0.6 / omega)
    assert not theory.exact
    for n in (20, 50, 100):
        for scales in (None, [0.2, 1.0, 5.0]):
            options = {"row_scales": scales, "finite_sample": False}
            limit = masked_regression(covariance, n, 0.0, **options)
            near = masked_regression(covariance, n, 1e-9, **options)
            for name in ("kappa", "test_error", "train_error", "norm", "test_error_slope"):
                pair = getattr(near, name), getattr(limit, name)
                np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-7)


def test_interpolation_agrees_with_simulation(rng):
    """Relative error about 2 / (d - n)."""
    S, n, d = toeplitz(0.8, 120), 60, 120
    theory = masked_regression(S, n, 0.0)
    found, error = simulated(S, n, 1e-10, 20, rng)
    assert abs(found[0] - theory.test_error) < 4 * error[0] + 3 / (d - n) * theory.test_error
    assert theory.train_error == 0


def test_at_n_equal_d_nothing_bounds_the_error():
    with pytest.warns(EquivalentWarning, match="no finite mean without a penalty where n = 30"):
        theory = masked_regression(toeplitz(0.5, 30), 30, 0.0)
    assert theory.test_error == np.inf
    assert theory.norm == np.inf
    close(theory.train_error, theory.best_linear_error / 30, 1e-12)
    with pytest.warns(EquivalentWarning):
        path = masked_path(toeplitz(0.5, 30), 30, [0.0, 1.0], finite_sample=False)
    assert path.test_error[0] == np.inf
    assert path.train_error[0] == 0
    assert np.isfinite(path.test_error[1])


@pytest.mark.parametrize("finite_sample", [True, False])
def test_summary_says_why_an_error_is_infinite(finite_sample):
    theory = masked_regression(toeplitz(0.5, 30), 30, 0.0, finite_sample=finite_sample)
    assert "no finite mean" in theory.summary() or not finite_sample


# Finite samples


def few_factors(d, rank, noise):
    B = np.random.default_rng(0).standard_normal((d, rank))
    return B @ B.T / rank + noise * np.eye(d)


def warned(*arguments, call=masked_regression, **options):
    """Texts of the warnings of a call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call(*arguments, **options)
    assert all(w.category is EquivalentWarning for w in found)
    assert all(w.filename == __file__ for w in found)  # points at the caller
    return [str(w.message) for w in found]


def corrections(S, n, alpha, scales=None):
    """Relative corrections of the means over coordinates."""
    s, rows = Spectrum.of(S), RowScales.of(scales)
    pair = elliptical_ridges(s.eigenvalues, s.counts, n, np.array([alpha]), rows)
    at = Equivalent.at(s, n, *pair, rows)
    test = at.test_errors()
    sizes = finite_size_corrections(at, n)
    return [
        float(errors[:, 0] @ size[:, 0] / errors[:, 0].sum())
        for errors, size in zip((test, test * at.shrinkage), sizes, strict=True)
    ]


def test_corrections_are_exact_for_least_squares():
    """-1/n and 1/(n - d), of any covariance, at order one."""
    for S in (toeplitz(0.8, 30), np.diag(np.arange(1.0, 31.0)) + 1):
        close(corrections(S, 47, 0.0), [-1 / 47, 1 / 17])


@pytest.mark.parametrize(
    ("covariance", "n", "alpha", "draws"),
    [
        (few_factors(60, 12, 1e-6), 30, 1e-3, 400),
        (few_factors(60, 30, 0.0), 20, 1e-2, 300),
        (toeplitz(0.8, 60), 40, 1e-3, 300),
        (toeplitz(0.8, 60), 66, 1e-2, 300),
        (toeplitz(0.8, 60), 60, 0.1, 300),
        (toeplitz(0.9, 30), 60, 0.1, 600),
        (toeplitz(0.8, 10), 30, 0.1, 2000),
        (Graded(60, 0.8).matrix(), 120, 0.1, 300),
        (Graded(60, 0.8).matrix(), 30, 0.1, 300),
        (np.eye(60) + 0.5, 30, 0.1, 300),
    ],
)
def test_corrections_agree_with_simulation(rng, covariance, n, alpha, draws):
    """What they leave is of their own order once more, at most about the square of the larger."""
    theory = masked_regression(covariance, n, alpha)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance))).T
    found = [mean_errors(rng.standard_normal((n, len(root))) @ root, covariance, alpha)[:2]
             for _ in range(draws)]  # fmt: skip
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(draws)
    limit = np.array([theory.test_error, theory.train_error])
    sizes = np.array(corrections(covariance, n, alpha))
    left = np.abs(mean / limit - 1 - sizes)
    order = 1 / (n - theory.second_degrees_of_freedom)
    allowed = 4 * error / limit + 1.5 * np.max(np.abs([*sizes, order])) ** 2
    assert (left < allowed).all(), (mean / limit - 1, sizes, error / limit, allowed)


@pytest.mark.parametrize(
    ("covariance", "n", "alpha", "says"),
    [
        (few_factors(100, 20, 1e-6), 22, 1e-3, "test error may be off by half or more"),
        (few_factors(100, 20, 1e-6), 25, 1e-3, "test error may be off by half or more"),
        (few_factors(60, 40, 0.0), 41, 1e-3, "test error may be off by about"),
        (toeplitz(0.8, 5), 6, 0.01, "training error may be off by half or more"),
        (toeplitz(0.8, 10), 12, 0.01, "test error may be off by about 5.8 % (too high)"),
        (toeplitz(0.8, 30), 33, 1e-3, "training error may be off by about 30 % (too low)"),
        (toeplitz(0.8, 2), 3, 0.1, "test error may be off"),
        (toeplitz(0.8, 3), 2, 0.1, "test error may be off"),
        (toeplitz(0.8, 100), 88, 1e-3, "test error may be off by about 5.7 % (too low)"),
        (toeplitz(0.8, 400), 359, 1e-5, "training error may be off by about 1"),
    ],
)
def test_warning_tells_the_size(covariance, n, alpha, says):
    (text,) = warned(covariance, n, alpha)
    assert says in text
    assert text in warned(covariance, n, [alpha], call=masked_path)


@pytest.mark.parametrize(
    ("covariance", "n", "alpha"),
    [
        (toeplitz(0.9, 200), 400, 1e-3),
        (toeplitz(0.9, 200), 200, 0.05),
        (toeplitz(0.9, 300), 150, 0.1),
        (few_factors(100, 20, 1e-6), 80, 1e-3),
        (toeplitz(0.8, 5), 6, 0.0),  # exact
        (toeplitz(0.8, 5), 3, np.inf),
    ],
)
def test_no_warning_where_the_limit_is_near(covariance, n, alpha):
    assert warned(covariance, n, alpha) == []


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.5, 2.0, 5.0])
def test_no_warning_for_large_samples(ratio):
    """The ten covariances of the benchmark at d = 990."""
    for covariance in benchmark_covariances(990).values():
        for alpha in (1e-3, 1e-2, 0.1, 1.0):
            assert warned(covariance, int(990 * ratio), alpha) == []


def test_rows_of_unequal_length_are_fewer():
    """Rows a hundred thousand times shorter than others count for nothing: n = 160 is n = 80."""
    scales = ([1e-3, 100.0], [0.5, 0.5])
    assert "half or more" in warned(toeplitz(0.8, 80), 160, 0.0, row_scales=scales)[0]
    equal = corrections(toeplitz(0.8, 80), 80, 1.0 / 50)
    close(corrections(toeplitz(0.8, 80), 160, 1.0, ([1e-12, 100.0], [0.5, 0.5])), equal, 0.02)


def test_optimal_penalty_warns_of_few_samples():
    assert warned(toeplitz(0.8, 30), 60, call=optimal_alpha) == []
    (text,) = warned(np.eye(3) + 0.5, 2, call=optimal_alpha)
    assert "test error" in text
    assert len(warned(np.eye(3) + 0.5, 2, call=compare_with_pca)) == 1


# Singular covariances


def combination_factors():
    """Five columns that are combinations of three, two that are not, one that is constant."""
    B = np.zeros((8, 5))
    B[:5, :3] = np.random.default_rng(1).standard_normal((5, 3))
    B[5:7, 3:] = [[1.0, 0.0], [0.5, 1.0]]
    return B


def combinations():
    return combination_factors() @ combination_factors().T


@pytest.mark.parametrize("scales", [None, [0.5, 2.0]])
@pytest.mark.parametrize("n", [6, 20])
def test_combinations_are_predicted_as_the_penalty_vanishes(n, scales):
    S = combinations()
    options = {"finite_sample": False, "row_scales": scales}
    limit = masked_regression(S, n, 0.0, **options)
    near = masked_regression(S, n, 1e-10, **options)
    for name in ("test_error", "train_error", "norm", "test_error_slope"):
        np.testing.assert_allclose(getattr(limit, name), getattr(near, name), rtol=1e-6, atol=1e-7)
    assert (limit.test_error_per_coordinate[[0, 1, 2, 3, 4, 7]] == 0).all()
    assert (limit.test_error_per_coordinate[5:7] > 0).all()


def test_combinations_agree_with_simulation(rng):
    """Without a penalty: exact means of least squares with least norm on the other columns."""
    B, n = combination_factors(), 12
    found = []
    for _ in range(1000):
        X = rng.standard_normal((n, 5)) @ B.T
        A = np.zeros((8, 8))
        for k in range(8):
            a = np.linalg.lstsq(np.delete(X, k, 1), X[:, k], rcond=1e-10)[0]
            A[:, k] = np.insert(a, k, 0.0)
        rest = np.eye(8) - A
        train = ((X @ rest) ** 2).mean(axis=0)
        found.append([((B.T @ rest) ** 2).sum(axis=0), train, (A**2).sum(axis=0)])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    mean, expected = np.mean(found, axis=0), least_squares_errors(Spectrum.of(B @ B.T), n)
    assert (np.abs(mean - expected) < 4 * error + 1e-10).all()
    theory = masked_regression(B @ B.T, n, 0.0)
    close([theory.test_error, theory.norm], np.mean(expected, axis=1)[[0, 2]])


def test_at_n_equal_to_the_rank_combinations_alone_have_a_mean():
    S = combinations()
    theory = masked_regression(S, 5, 0.0)
    assert np.isinf(theory.test_error_per_coordinate[5:7]).all()
    assert (theory.test_error_per_coordinate[:5] == 0).all()
    assert masked_regression(few_factors(12, 6, 0.0), 6, 0.0).test_error == 0


def test_a_constant_column_costs_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for covariance in (Diagonal([1.0, 0.0, 2.0]), np.diag([1.0, 0.0, 2.0])):
            for alpha in (0.0, 0.1):
                theory = masked_regression(covariance, 30, alpha)
                assert theory.test_error_per_coordinate[1] == 0
                assert np.isfinite(theory.test_error_slope)
            without = masked_regression(Diagonal([1.0, 2.0]), 30, 0.1)
            close(1.5 * theory.test_error, without.test_error, 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_rounding_is_not_rank(seed):
    """Eigenvalues that eigh leaves near 1e-16 are zero, so that n = rank is what it is."""
    B = np.random.default_rng(seed).standard_normal((120, 60))
    S = B @ B.T / 60
    assert Spectrum.of(S).rank == 60
    assert effective_ridge(S, 60, 0.0) == 0
    assert optimal_alpha(S, 60) == 0
    found = compare_with_pca(S, 60, ranks=[10])
    assert found.regression == 0
    assert 0 < found.pca[0] < found.null_error
    assert "errs by none" in found.summary()


def test_optimal_penalty_of_combinations():
    S = few_factors(30, 10, 0.0)
    assert optimal_alpha(S, 40) == 0
    assert 0 < optimal_alpha(S, 8) < np.inf
    mixed = np.zeros((40, 40))
    mixed[:30, :30], mixed[30:, 30:] = S, 0.5 * np.eye(10) + 0.5
    best = optimal_alpha(mixed, 80)
    errors = masked_path(mixed, 80, best * np.array([0.9, 1.0, 1.1])).test_error
    assert errors[1] < min(errors[0], errors[2])


# Infinite penalties


@pytest.mark.parametrize("scales", [None, [0.5, 2.0]])
def test_an_infinite_penalty_predicts_zero(scales):
    S = Graded(12, 0.8).matrix()
    theory = masked_regression(S, 30, np.inf, row_scales=scales)
    close(theory.test_error_per_coordinate, np.diag(S), 1e-12)
    near = masked_regression(S, 30, 1e12, row_scales=scales)
    for name in ("test_error", "train_error", "norm", "degrees_of_freedom"):
        np.testing.assert_allclose(getattr(theory, name), getattr(near, name), atol=1e-10)
    path = masked_path(S, 30, [0.1, np.inf], row_scales=scales)
    assert path.test_error[1] == theory.test_error
    assert path.kappa[1] == np.inf
    assert masked_regression(S, 30, np.inf, mask_rate=0.2).test_error == pytest.approx(
        theory.null_error
    )


# Rows of unequal length


def test_rows_of_one_scale_are_rows_of_a_scaled_covariance():
    covariance = Graded(40, 0.8, 0.2, 4.0)
    for n in (20, 60):
        for alpha in (0.0, 0.3):
            scaled = masked_regression(covariance, n, alpha, row_scales=[2.5, 2.5])
            plain = masked_regression(covariance, n, alpha / 2.5, finite_sample=False)
            close(scaled.test_error_per_coordinate, plain.test_error_per_coordinate)
            close(scaled.train_error, 2.5 * plain.train_error)
            close([scaled.norm, scaled.kappa], [plain.norm, plain.kappa])


@pytest.mark.parametrize("n", [60, 240])
def test_unequal_rows_agree_with_simulation(rng, n):
    """Multivariate t rows of three degrees of freedom: equal rows would be off by far more."""
    d, alpha = 120, 0.05
    S = toeplitz(0.8, d)
    scales = 1 / rng.chisquare(3, size=n)
    scales /= scales.mean()
    theory = masked_regression(S, n, alpha, row_scales=scales)
    expected = np.array([theory.test_error, theory.train_error, theory.norm])
    found, error = simulated(S, n, alpha, 25, rng, scales)
    assert (np.abs(found - expected) < 4 * error + expected * CONSTANTS / d).all()
    equal = masked_regression(S, n, alpha)
    assert abs(found[1] / equal.train_error - 1) > 0.15


def test_scales_and_weights_are_repeated_scales():
    covariance = AutoRegressive(30, 0.7)
    pair = masked_regression(covariance, 50, 0.1, row_scales=([1.0, 3.0], [3.0, 1.0]))
    array = masked_regression(covariance, 50, 0.1, row_scales=[1.0, 1.0, 3.0, 1.0])
    close([pair.test_error, pair.train_error], [array.test_error, array.train_error], 1e-13)


def test_unequal_rows_meet_their_equations():
    """omega = E t / (1 + t g), g = tr(Sigma (omega Sigma + alpha)^-1) / n."""
    S, n, alpha = toeplitz(0.8, 30), 20, 0.02
    t = np.array([0.3, 0.5, 1.0, 6.0])
    theory = masked_regression(S, n, alpha, row_scales=t)
    omega = alpha / theory.kappa
    G = np.linalg.inv(omega * S + alpha * np.eye(30))
    g = np.trace(S @ G) / n
    close(omega, np.mean(t / (1 + t * g)), 1e-12)
    chi = np.mean(t**2 / (1 + t * g) ** 2) * np.trace(S @ G @ S @ G) / n
    test = np.diag(G @ S @ G) / np.diag(G) ** 2 / (1 - chi)
    close(theory.test_error_per_coordinate, test, 1e-10)
    close(theory.train_error, np.mean(t / (1 + t * g) ** 2) * test.mean(), 1e-10)


@pytest.mark.parametrize("n", [20, 30, 31, 200])
def test_unequal_rows_are_solved_at_any_penalty(n):
    """The smallest penalties at n = d are where differences of shares cancel."""
    tau, alphas = np.exp(np.linspace(-6, 6, 30)), np.geomspace(1e-20, 1e8, 15)
    rows = RowScales.of(np.exp(np.linspace(-4, 4, 9)))
    kappa, weight = elliptical_ridges(tau, np.ones(30), n, alphas, rows)
    share, df1 = rows.moments(weight)[0], (tau / (tau + kappa[:, None])).sum(axis=1)
    close(kappa * weight * share, alphas, 1e-12)
    close(df1 / n, share, 1e-12)
    assert (np.diff(kappa) > 0).all()


def test_interpolation_does_not_see_row_lengths():
    covariance = AutoRegressive(40, 0.8)
    found = masked_regression(covariance, 15, 0.0, row_scales=[0.1, 1.0, 20.0])
    close(found.test_error, masked_regression(covariance, 15, 0.0).test_error)
    assert found.train_error == 0


def test_weight_of_rows_is_found_for_extreme_scales():
    rows = RowScales.of(np.geomspace(1e-9, 1e9, 50))
    for share in (1e-6, 0.3, 1 - 1e-6):
        close(rows.moment(1, 1, rows.solve(share, 1 - share)), share, 1e-12)


# Optimal penalty


CASES = {
    "autoregressive": AutoRegressive(60, 0.9),
    "graded": Graded(60, 0.8, 0.2, 4.0),
    "spiked": Spiked(60, (6.0, 3.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [30, 60, 150, 3000])
@pytest.mark.parametrize("scales", [None, np.array([0.3, 0.7, 4.0])])
def test_optimal_penalty_minimizes_the_error(name, n, scales):
    best = optimal_alpha(CASES[name], n, row_scales=scales)
    grid = best * np.r_[np.geomspace(1e-4, 1e4, 81), 0.99, 1.01]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EquivalentWarning)
        path = masked_path(CASES[name], n, np.r_[best, grid], row_scales=scales)
    assert path.test_error[0] <= path.test_error.min() * (1 + 1e-13)
    assert abs(path.test_error_slope[0]) * best < 1e-9 * path.test_error[0]


def test_optimal_penalty_of_an_autoregression_is_known():
    """rho = 0.9, n = 2 d, d large: 0.0950 and an error of 0.1395; docs/masked-regression.md."""
    covariance = AutoRegressive(2000, 0.9)
    best = optimal_alpha(covariance, 4000)
    assert abs(best - 0.0950) < 2e-4
    assert abs(masked_regression(covariance, 4000, best).test_error - 0.1395) < 2e-4


def test_optimal_penalty_for_many_rows():
    """kappa ~ gamma / (1 - gamma) o1**3 / (o1 o3 - o2**2) with o_j = tr Sigma**-j / d, where
    coordinates are alike."""
    tau = np.exp(np.linspace(-1, 1, 50))
    o1, o2, o3 = (np.mean(tau**-j) for j in (1.0, 2.0, 3.0))
    kappa = masked_regression(tau, 50_000_000, optimal_alpha(tau, 50_000_000)).kappa
    np.testing.assert_allclose(kappa, 1e-6 * o1**3 / (o1 * o3 - o2**2), rtol=1e-4)


def test_uncorrelated_coordinates_want_an_infinite_penalty():
    assert optimal_alpha(np.ones(20), 40) == np.inf
    assert optimal_alpha(np.diag([1.0, 5.0, 2.0]), 40) == np.inf
    assert optimal_alpha(Diagonal.cycled(30, (1.0, 4.0)), 10, row_scales=[0.5, 2.0]) == np.inf
    almost = optimal_alpha(toeplitz(1e-4, 20), 40)
    assert 1e6 < almost < 1e9


def test_optimal_penalty_has_the_units_of_the_covariance():
    tau = np.exp(np.linspace(-2, 2, 40))
    best = optimal_alpha(tau, 60)
    for scale in (1e-12, 1e12):
        np.testing.assert_allclose(optimal_alpha(scale * tau, 60), scale * best, rtol=1e-10)


# Masks at random and bad input


def test_mask_rate_gives_the_errors_of_random_masks():
    S = toeplitz(0.8, 20)
    found = masked_regression(S, 40, 0.1, mask_rate=0.2)
    assert found.test_error == random_mask_errors(S, 40, 0.1, 0.2).test_error
    with pytest.raises(InputError, match="row_scales"):
        masked_regression(S, 40, 0.1, mask_rate=0.2, row_scales=[1.0, 2.0])


def test_best_linear_error_of_dependent_coordinates_is_zero():
    """x3 = x1 + x2 while x4 has nothing to do with them."""
    B = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 2]])
    theory = masked_regression(B @ B.T, 8, 0.01)
    assert theory.best_linear_error == pytest.approx(1.0, abs=1e-12)
    spectrum = Spectrum(np.array([0.0, 2.0]), np.array([1.0, 1.0]), np.array([[0.5, 0.5]]))
    assert best_linear_errors(spectrum).tolist() == [0.0]


@pytest.mark.parametrize(
    ("covariance", "n", "alpha", "options", "says"),
    [
        ([[1.0, 0.5], [0.2, 1.0]], 9, 0.1, {}, "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], 9, 0.1, {}, "negative"),
        ([[1.0, np.inf], [np.inf, 1.0]], 9, 0.1, {}, "finite"),
        ([[1.0, 1e-9], [0.0, 1.0]], 9, 0.1, {}, "symmetrize"),
        ([[1.0, 0.0], [0.0, -1e-9]], 9, 0.1, {}, "clip"),
        ([[1.0, 1j], [-1j, 1.0]], 9, 0.1, {}, "real part"),
        ("ar1", 9, 0.1, {}, "named_covariance"),
        ([1e300, 1e300], 9, 0.1, {}, "units"),
        ([1e-300, 1e-300], 9, 0.1, {}, "units"),
        ([1.0, 1.0], "10", 0.1, {}, "at least 2"),
        ([1.0, 1.0], 9, "a", {}, "not negative"),
        ([1.0, 1.0], 1, 0.1, {}, "at least 2"),
        ([1.0, 1.0], 9, -0.1, {}, "not negative"),
        ([1.0, 1.0], 9, np.nan, {}, "not negative"),
        ([1.0, 1.0], 9, [0.1, 0.2], {}, "masked_path"),
        ([1.0, 1.0], 9, 0.1, {"row_scales": [1.0, 0.0]}, "positive"),
        ([1.0, 1.0], 9, 0.1, {"row_scales": ([1.0, 2.0], [1.0])}, "shape"),
    ],
)
def test_bad_input_is_explained(covariance, n, alpha, options, says):
    with pytest.raises(InputError, match=says):
        masked_regression(np.asarray(covariance), n, alpha, **options)


def test_bad_paths_are_explained():
    with pytest.raises(InputError, match="shape"):
        masked_path([1.0, 2.0], 9, [[0.1], [0.2]])
    with pytest.raises(InputError, match="rank 3"):
        least_squares_errors(Spectrum.of([1.0, 2.0, 3.0]), 2)


def test_corrections_of_the_next_order_are_those_of_samples():
    """Two columns, a ridge: n times the relative error of the limit, to a few hundredths."""
    n, alpha, draws = 100, 1.0, 1_000_000
    covariance = np.array([[1.0, 0.8], [0.8, 1.0]])
    rng = np.random.default_rng(0)
    T = np.zeros((draws, 2, 2))  # Bartlett's factor of a Wishart matrix
    T[:, 0, 0], T[:, 1, 1] = np.sqrt(rng.chisquare(n, draws)), np.sqrt(rng.chisquare(n - 1, draws))
    T[:, 1, 0] = rng.normal(size=draws)
    A = np.linalg.cholesky(covariance) @ T
    C = A @ np.swapaxes(A, 1, 2) / n
    b = C[:, 0, 1] / (C[:, 1, 1] + alpha)
    errors = {
        "test": 1.0 - 2 * b * 0.8 + b**2,
        "train": C[:, 0, 0] - 2 * b * C[:, 0, 1] + b**2 * C[:, 1, 1],
    }
    spectrum, rows = Spectrum.of(covariance), RowScales.of(None)
    pair = elliptical_ridges(spectrum.eigenvalues, spectrum.counts, n, np.array([alpha]), rows)
    found = finite_size_corrections(Equivalent.at(spectrum, n, *pair, rows), n)
    limit = masked_regression(covariance, n, alpha)
    for (name, error), predicted in zip(errors.items(), found, strict=True):
        level = getattr(limit, f"{name}_error")
        excess = n * (error.mean() / level - 1)
        se = n * error.std() / level / np.sqrt(draws)
        assert abs(excess - n * predicted[0, 0]) < 4 * se + 1 / n, name
