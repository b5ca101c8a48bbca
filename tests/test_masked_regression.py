"""Every column from all others: identities, leave-one-out errors, penalties, missing cells."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from foretell import MaskedImputer, MaskedRegression, TwoStageRegressor
from foretell.data.sources import ArraySource, ChunkSource
from foretell.errors import ForetellWarning, InputError
from foretell.models.masked import fit_masked
from foretell.models.masked_path import complement, resolvent

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
SHAPES = {"tall": (40, 6), "wide": (7, 15), "square": (6, 6), "one more row": (7, 6)}

with warnings.catch_warnings():
    # The protocol without the base class: importing scikit-learn takes longer than a fit.
    warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.Base")
    scikit_learn_checks = parametrize_with_checks(
        [
            MaskedRegression(),
            MaskedRegression("gcv", alpha_per_target=True),
            MaskedRegression(0.1, standardize=False, center=False),
            MaskedImputer(),
            MaskedImputer(0.1, standardize=False),
        ]
    )


@scikit_learn_checks
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


def test_scikit_learn_passes_other_array_types():
    """The array API check runs only where SCIPY_ARRAY_API is set before SciPy is imported."""
    code = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from foretell import MaskedRegression
for estimator, check in estimator_checks_generator(MaskedRegression()):
    if "array_api" in str(check):
        check(estimator)
        print("checked")
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "checked" in out.stdout


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def rows(request, rng):
    n, d = request.param
    mix = np.eye(d) + 0.5 * rng.standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mix * np.linspace(1, 4, d) + 3.0


def left_out_by_force(X, weights, alpha, center, scale):
    """Every row of the sample left out in turn, every column regressed on all others."""
    total, Z, errors = weights.sum(), X / scale, np.empty_like(X)
    for i, k in np.ndindex(*X.shape):
        kept = weights.copy()
        kept[i] -= min(1.0, kept[i])
        mean = kept @ Z / kept.sum() if center else np.zeros(Z.shape[1])
        Y, others = np.sqrt(kept)[:, None] * (Z - mean), np.arange(Z.shape[1]) != k
        if alpha == 0:  # the least solution of all that fit best
            slope = np.linalg.lstsq(Y[:, others], Y[:, k], rcond=1e-12)[0]
        else:  # stacked, so that the condition of the problem is not squared
            tall = np.vstack([Y[:, others], np.sqrt(total * alpha) * np.eye(others.sum())])
            slope = np.linalg.lstsq(tall, np.append(Y[:, k], np.zeros(others.sum())), rcond=None)[0]
        errors[i, k] = (Z[i, k] - mean[k] - (Z[i] - mean)[others] @ slope) * scale[k]
    return errors


WEIGHTS = {
    "none": lambda rng, n: None,
    "counts": lambda rng, n: np.append(rng.integers(1, 4, n - 1), 1.0),
    "fractions": lambda rng, n: np.append(rng.uniform(0.2, 2, n - 1), 0.7),
}


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_left_out_errors_are_those_of_refits(rows, rng, alpha, center, weigh):
    weights = weigh(rng, len(rows))
    est = MaskedRegression(alpha, center=center).fit(rows, sample_weight=weights)
    shares = np.ones(len(rows)) if weights is None else weights
    truth = left_out_by_force(rows, shares, alpha, center, est.scale_)
    found = est.loo_errors(rows, weights)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-10 * np.abs(truth).max())
    np.testing.assert_allclose(est.loo_error_, shares @ found**2 / shares.sum(), rtol=1e-9)


def test_an_infinite_penalty_predicts_the_mean(rows):
    est = MaskedRegression(np.inf).fit(rows)
    n = len(rows)
    np.testing.assert_allclose(est.transform(rows), np.tile(rows.mean(0), (n, 1)), rtol=1e-12)
    left = (rows - rows.mean(0)) * n / (n - 1)
    np.testing.assert_allclose(est.loo_errors(rows), left, rtol=0, atol=1e-10)
    assert not est.coef_.any()
    limit = MaskedRegression(1e9).fit(rows)
    np.testing.assert_allclose(limit.transform(rows), est.transform(rows), atol=1e-6)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("alpha", [1e-6, 0.03, 2.0])
def test_columns_are_scikit_learns_ridge(rows, rng, center, alpha):
    """The penalty of one row of the loss, in units of the standardized columns."""
    est = MaskedRegression(alpha, center=center).fit(rows)
    n, d = rows.shape
    scale = est.scale_
    for k in range(d):
        others = np.arange(d) != k
        ridge = Ridge(n * alpha, fit_intercept=center, solver="svd")
        ridge.fit(rows[:, others] / scale[others], rows[:, k])
        expected = ridge.coef_ / scale[others]
        size = np.abs(expected).max()
        np.testing.assert_allclose(est.coef_[others, k], expected, rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(est.intercept_[k], ridge.intercept_, rtol=0, atol=1e-8)
    assert np.diag(est.coef_).tolist() == [0.0] * d
    new = np.vstack([rows, 3 * rng.standard_normal((4, d))])  # not only of the span of the rows
    np.testing.assert_allclose(new @ est.coef_ + est.intercept_, est.transform(new), atol=1e-9)


def test_few_rows_and_their_covariance_give_the_same(rng):
    """Rows that are fewer than columns, and as many rows that repeat: the dual is the primal."""
    X = rng.standard_normal((8, 12)) @ rng.standard_normal((12, 12))
    many = np.tile(X, (4, 1))
    for alpha in (1e-6, 0.1, 10.0):
        wide = MaskedRegression(alpha).fit(X, sample_weight=np.full(8, 4.0))
        tall = MaskedRegression(alpha).fit(many)
        assert wide.fit_.spaces.from_rows
        assert not tall.fit_.spaces.from_rows
        np.testing.assert_allclose(wide.coef_, tall.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(wide.loo_error_, tall.loo_error_, rtol=1e-8)
        np.testing.assert_allclose(wide.gcv_, tall.gcv_, rtol=1e-8)
        np.testing.assert_allclose(wide.egcv_, tall.egcv_, rtol=1e-8)
        np.testing.assert_allclose(wide.spectrum(), tall.spectrum(), atol=1e-10)


def test_no_large_matrix_where_rows_are_few(rng):
    """8,000 columns squared would be half a gigabyte."""
    X = rng.standard_normal((12, 8_000)) + rng.standard_normal((12, 1))
    tracemalloc.start()
    est = MaskedRegression().fit(X)
    est.transform(X), est.loo_errors(X), est.score(X), est.summary()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * X.nbytes
    assert 0 < est.alpha_ < np.inf


# Without a penalty


def test_without_penalty_more_rows_than_columns_is_least_squares(rng):
    X = rng.standard_normal((30, 5)) @ rng.standard_normal((5, 5)) + 2.0
    est = MaskedRegression(0.0).fit(X)
    precision = np.linalg.inv(np.cov(X.T, bias=True))
    np.testing.assert_allclose(est.train_error_, 1 / np.diag(precision), rtol=1e-9)
    np.testing.assert_allclose(-est.coef_, precision / np.diag(precision) - np.eye(5), atol=1e-9)


def test_without_penalty_fewer_rows_than_columns_every_row_is_reproduced(rng):
    """A is I - P diag(P)^-1, P the projector on what the rows leave; eigenvalue 1 n - 1 times."""
    X = rng.standard_normal((6, 20))
    est = MaskedRegression(0, standardize=False).fit(X)
    np.testing.assert_allclose(est.transform(X), X, atol=1e-12)
    right = np.linalg.svd(X - X.mean(0), full_matrices=False)[2][:5]
    P = np.eye(20) - right.T @ right
    np.testing.assert_allclose(est.coef_, np.eye(20) - P / np.diag(P), atol=1e-12)
    np.testing.assert_allclose(est.spectrum()[:5], 1.0, atol=1e-12)
    near = MaskedRegression(1e-9, standardize=False).fit(X)
    np.testing.assert_allclose(near.loo_error_, est.loo_error_, rtol=1e-6)
    np.testing.assert_allclose(near.gcv_, est.gcv_, rtol=1e-6)


def test_without_penalty_combinations_of_some_columns_are_refused(rng):
    X = rng.standard_normal((30, 4))
    X = np.column_stack([X, X[:, 1] - X[:, 2]])
    with pytest.raises(InputError, match=r"column 0 .* 3 columns .* alpha > 0"):
        MaskedRegression(0.0).fit(X)
    assert np.isfinite(MaskedRegression(1e-6).fit(X).loo_error_).all()


# Errors along the path


def test_generalized_cross_validation_is_its_formula(rows):
    n = len(rows)
    for alpha in (0.01, 1.0):
        est = MaskedRegression(alpha).fit(rows)
        Z = (rows - est.mean_) / est.scale_
        Q = np.linalg.inv(Z.T @ Z / n + alpha * np.eye(Z.shape[1]))
        train = ((Z @ Q / np.diag(Q)) ** 2).mean(0) * est.scale_**2
        free = 1 - 1 / n - np.einsum("ij,jk,ik->i", Z, Q, Z) / n
        t = (Z**2).sum(1) / (Z**2).sum(1).mean()
        np.testing.assert_allclose(est.train_error_, train, rtol=1e-8)
        np.testing.assert_allclose(est.gcv_, train / free.mean() ** 2, rtol=1e-8)
        np.testing.assert_allclose(est.egcv_, train / (t * free**2).mean(), rtol=1e-8)


def test_path_holds_the_errors_of_every_penalty(rows):
    grid = np.geomspace(1e-3, 10, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForetellWarning)
        path = MaskedRegression(alphas=grid).fit(rows).path_
    for j, alpha in enumerate(grid):
        one = MaskedRegression(alpha).fit(rows)
        for name, values in (("loo", one.loo_error_), ("gcv", one.gcv_), ("egcv", one.egcv_)):
            expected = (values / one.scale_**2).mean()
            np.testing.assert_allclose(getattr(path, name)[j], expected, rtol=1e-10)


def test_chosen_penalty_has_the_least_error(rng):
    """Beside a grid of steps of 2 %; the penalties tried are a factor of three apart."""
    X = rng.standard_normal((60, 10)) @ np.linalg.cholesky(covariance_ar(10, 0.7)).T
    for rule, name in (("loo", "loo_error_"), ("gcv", "gcv_")):
        est = MaskedRegression(rule).fit(X)
        error = (getattr(est, name) / est.scale_**2).mean()
        grid = est.alpha_ * np.exp(np.arange(-1, 1, 0.02))
        around = [getattr(MaskedRegression(a).fit(X), name) / est.scale_**2 for a in grid]
        assert error <= np.mean(around, axis=1).min() * (1 + 5e-5)


def covariance_ar(d, rho):
    return rho ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))


def covariances(d, rng):
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    power = (1 + np.arange(d)) ** -1.0
    graded = np.sqrt(np.linspace(0.2, 4, d))
    return {
        "identity": np.eye(d),
        "spike": np.eye(d) + 4 * np.outer(axes[0], axes[0]),
        "AR .5": covariance_ar(d, 0.5),
        "AR .9": covariance_ar(d, 0.9),
        "power": axes.T * (power * d / power.sum()) @ axes,
        "blocks": np.kron(np.eye(10), np.eye(d // 10) / 2 + 0.5),
        "graded": covariance_ar(d, 0.8) * np.outer(graded, graded),
    }


def test_chosen_penalty_is_as_good_as_the_best(rng):
    """Exact risk; more cases and rows in benchmarks/masked_real.py regret."""
    d, regrets = 240, []
    for S in covariances(d, rng).values():
        X = rng.standard_normal((2 * d, d)) @ np.linalg.cholesky(S).T
        fit = fit_masked(ArraySource(X), standardize=False, center=False)

        def risk(alpha, fit=fit, S=S):
            left = complement(fit.spaces, resolvent(fit.spaces, alpha))
            return (left * (S @ left)).sum()

        grid = [min(fit.alpha, 1e6) * f for f in np.exp(np.linspace(-0.6, 0.6, 13))]
        regrets.append(risk(fit.alpha) / min(map(risk, [*grid, np.inf])) - 1)
    assert max(regrets) < 1e-3


def test_penalty_of_each_column_leans_on_its_own_error(rng):
    """One column of noise, others alike: only the first wants a large penalty."""
    X = rng.standard_normal((400, 8)) * 0.3 + rng.standard_normal((400, 1))
    X[:, 0] = rng.standard_normal(400)
    common = MaskedRegression().fit(X)
    own = MaskedRegression(alpha_per_target=True).fit(X)
    assert own.alpha_.shape == (8,)
    assert own.alpha_[0] > own.alpha_[1:].max()
    assert own.loo_error_[0] < common.loo_error_[0]
    for k in (0, 3):
        one = MaskedRegression(own.alpha_[k]).fit(X)
        np.testing.assert_allclose(own.coef_[:, k], one.coef_[:, k], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(own.loo_errors(X)[:, k], one.loo_errors(X)[:, k], atol=1e-12)
        for name in ("loo_error_", "gcv_", "egcv_", "train_error_"):
            np.testing.assert_allclose(getattr(own, name)[k], getattr(one, name)[k], rtol=1e-10)
    for ask in (own.spectrum, lambda: own.precision_, lambda: own.impute(X * np.nan)):
        with pytest.raises(InputError, match="alpha_per_target=False"):
            ask()


def test_own_penalties_count_all_columns_as_twenty_rows(rng):
    """The minimum of log own + 20 / n log common error, on a grid of steps of 5 %."""
    n = 40
    X = rng.standard_normal((n, 6)) @ np.diag([0.2, 0.5, 1, 1, 2, 2]) + rng.standard_normal((n, 1))
    own = MaskedRegression(alpha_per_target=True).fit(X)
    grid = np.exp(np.arange(-6, 4, 0.05))
    fits = [MaskedRegression(a).fit(X) for a in grid]
    errors = np.array([est.loo_error_ / est.scale_**2 for est in fits])
    curves = np.log(errors) + 20 / n * np.log(errors.mean(axis=1, keepdims=True))
    best = grid[curves.argmin(axis=0)]
    np.testing.assert_allclose(np.log(own.alpha_), np.log(best), atol=0.15)
    assert np.ptp(np.log(own.alpha_)) > 0.5


def test_scale_is_the_deviation_from_the_mean_or_from_zero(rng):
    X = rng.standard_normal((30, 4)) + 2
    np.testing.assert_allclose(MaskedRegression(0.1).fit(X).scale_, X.std(0))
    about_zero = MaskedRegression(0.1, center=False).fit(X)
    np.testing.assert_allclose(about_zero.scale_, np.sqrt((X**2).mean(0)))
    np.testing.assert_array_equal(about_zero.mean_, 0.0)
    np.testing.assert_array_equal(about_zero.intercept_, 0.0)
    np.testing.assert_array_equal(MaskedRegression(0.1, standardize=False).fit(X).scale_, 1.0)


def test_independent_columns_are_predicted_by_their_means(rng):
    est = MaskedRegression().fit(rng.standard_normal((60, 6)))
    assert est.alpha_ == np.inf
    assert "Means predict as well" in str(est.summary())
    assert np.isfinite(est.loo_error_).all()


def test_given_penalties_that_end_too_early_are_warned_of(rng):
    X = rng.standard_normal((100, 6)) + rng.standard_normal((100, 1))
    best = MaskedRegression().fit(X).alpha_
    for grid, word in (([2 * best, 9 * best], "smallest"), ([best / 9, best / 2], "largest")):
        with pytest.warns(ForetellWarning, match=word):
            MaskedRegression(alphas=grid).fit(X)
    found = MaskedRegression(alphas=best * np.array([0.1, 0.5, 1.2, 5.0])).fit(X).alpha_
    assert abs(np.log(found / best)) < 0.3


def test_scale_is_known_up_to_order_one_over_n(rng):
    """Standard deviations estimated again without the row change the errors little, and as 1/n."""
    gaps = []
    for n in (50, 400):
        X = rng.standard_normal((n, 8)) @ np.linalg.cholesky(covariance_ar(8, 0.8)).T
        est = MaskedRegression(0.1).fit(X)
        again = np.array([
            X[i] - MaskedRegression(0.1 * n / (n - 1)).fit(np.delete(X, i, 0)).transform(X[[i]])[0]
            for i in range(n)
        ])  # fmt: skip
        gaps.append(abs((again**2).mean() / est.loo_error_.mean() - 1))
    assert gaps[0] < 2 / 50
    assert gaps[1] < gaps[0] / 3


def test_heavy_tailed_rows_raise_an_alarm(rng):
    """Multivariate t rows with 3 degrees of freedom, and normal rows with the same covariance."""
    X = rng.standard_normal((120, 60)) @ np.linalg.cholesky(covariance_ar(60, 0.9)).T
    heavy = X / np.sqrt(rng.chisquare(3, (120, 1)))
    titles = [[f.title for f in MaskedRegression(0.01).fit(Y).diagnose()] for Y in (X, heavy)]
    assert "Rows differ much in length" not in titles[0]
    assert "Rows differ much in length" in titles[1]
    est = MaskedRegression(0.01).fit(heavy)
    ratio = [(e / est.scale_**2).sum() for e in (est.gcv_, est.egcv_, est.loo_error_)]
    assert ratio[0] < 0.9 * ratio[1]
    assert abs(np.log(ratio[2] / ratio[1])) < abs(np.log(ratio[2] / ratio[0]))


def test_spectrum_is_that_of_the_coefficients(rows):
    est = MaskedRegression(0.2).fit(rows)
    values = np.linalg.eigvals(est.coef_)
    np.testing.assert_allclose(np.sort(values.real)[::-1], est.spectrum(), atol=1e-9)
    np.testing.assert_allclose(est.spectrum().sum(), 0.0, atol=1e-9)
    assert est.spectrum().max() < 1


# Samples


def test_sources_and_arrays_give_the_same_fit(rows):
    pieces = lambda: (rows[i : i + 5] for i in range(0, len(rows), 5))  # noqa: E731
    for rule in ("loo", "gcv", 0.1):
        one = MaskedRegression(rule).fit(rows)
        other = MaskedRegression(rule).fit(ChunkSource(pieces, rows.shape))
        np.testing.assert_allclose(other.alpha_, one.alpha_, rtol=1e-8)
        np.testing.assert_allclose(other.transform(rows), one.transform(rows), rtol=1e-8)
        np.testing.assert_allclose(other.loo_error_, one.loo_error_, rtol=1e-8)
    with pytest.raises(InputError, match="weights of its own"):
        MaskedRegression().fit(ArraySource(rows), sample_weight=np.ones(len(rows)))


@pytest.mark.parametrize("per_target", [False, True])
def test_weights_are_repeated_rows(rows, rng, per_target):
    counts = rng.integers(0, 4, len(rows))
    counts[:3] = [1, 2, 3]
    est = MaskedRegression(alpha_per_target=per_target)
    one = clone(est).fit(rows, sample_weight=counts)
    other = clone(est).fit(np.repeat(rows, counts, 0))
    np.testing.assert_allclose(one.alpha_, other.alpha_, rtol=1e-7)
    np.testing.assert_allclose(one.transform(rows), other.transform(rows), rtol=1e-7)
    np.testing.assert_allclose(one.loo_error_, other.loo_error_, rtol=1e-7)
    repeated = np.repeat(one.loo_errors(rows, counts), counts, 0)
    np.testing.assert_allclose(repeated, other.loo_errors(np.repeat(rows, counts, 0)), atol=1e-7)


def test_units_of_standardized_columns_do_not_matter(rows, rng):
    scale, shift = np.exp(rng.uniform(-5, 5, rows.shape[1])), rng.normal(0, 3, rows.shape[1])
    one, other = MaskedRegression().fit(rows), MaskedRegression().fit(rows * scale + shift)
    np.testing.assert_allclose(other.alpha_, one.alpha_, rtol=1e-7)
    np.testing.assert_allclose(
        (other.transform(rows * scale + shift) - shift) / scale, one.transform(rows), rtol=1e-6
    )
    np.testing.assert_allclose(other.loo_error_, one.loo_error_ * scale**2, rtol=1e-7)
    np.testing.assert_allclose(other.spectrum(), one.spectrum(), atol=1e-7)


# Missing cells of new rows


@pytest.fixture
def holes(rows, rng):
    X = rows.copy()
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    X[0] = np.nan
    X[1] = rows[1]
    return X


def test_imputation_is_the_conditional_mean(rows, holes):
    est = MaskedRegression(0.1).fit(rows)
    S = np.linalg.inv(est.precision_)
    filled = est.impute(holes)
    for x, y in zip(holes, filled, strict=True):
        M = np.isnan(x)
        O = ~M
        gain = np.linalg.solve(S[np.ix_(O, O)], S[np.ix_(O, M)])
        expected = est.mean_[M] + (x - est.mean_)[O] @ gain
        np.testing.assert_allclose(y[M], expected, rtol=1e-8)
        np.testing.assert_array_equal(y[O], x[O])


def test_imputation_at_the_ends_of_the_penalty(rng):
    X = rng.standard_normal((30, 5)) + rng.standard_normal((30, 1))
    hidden = np.where(rng.uniform(size=X.shape) < 0.3, np.nan, X)
    means = MaskedRegression(np.inf).fit(X).impute(hidden)
    np.testing.assert_allclose(means, np.where(np.isnan(hidden), X.mean(0), hidden), atol=1e-12)
    least = MaskedRegression(0).fit(X).impute(hidden)
    np.testing.assert_allclose(least, MaskedRegression(1e-12).fit(X).impute(hidden), atol=1e-8)
    with pytest.raises(InputError, match=r"4 rows of 5 columns .* alpha > 0"):
        MaskedRegression(0).fit(X[:4]).impute(hidden)


def test_one_missing_cell_is_filled_by_the_prediction(rows):
    est = MaskedRegression(0.1).fit(rows)
    for k in range(rows.shape[1]):
        X = rows.copy()
        X[:, k] = np.nan
        np.testing.assert_allclose(est.impute(X)[:, k], est.transform(rows)[:, k], rtol=1e-9)


def test_predictions_use_the_other_cells_that_are_present(rows, holes):
    """A cell and its prediction do not know of each other, missing cells or not."""
    est = MaskedRegression(0.1).fit(rows)
    found = est.transform(holes)
    for i, k in np.ndindex(*holes.shape):
        without = holes[[i]].copy()
        without[0, k] = np.nan
        np.testing.assert_allclose(found[i, k], est.impute(without)[0, k], rtol=1e-8)


def test_score_is_the_share_that_is_explained(rows, holes):
    est = MaskedRegression(0.1).fit(rows)
    left, spread = rows - est.transform(rows), rows - est.mean_
    expected = 1 - ((left / est.scale_) ** 2).sum() / ((spread / est.scale_) ** 2).sum()
    np.testing.assert_allclose(est.score(rows), expected, rtol=1e-10)
    assert est.score(holes) < 1
    assert MaskedRegression(np.inf).fit(rows).score(rows) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="score other rows"):
        est.score(est.mean_[None])


# Missing cells of the fit


def test_rows_with_missing_cells_are_fitted(rng):
    """A tenth of the cells hidden: predictions of new rows are nearly those of complete rows."""
    S = covariance_ar(8, 0.8)
    X, new = (rng.standard_normal((n, 8)) @ np.linalg.cholesky(S).T + 5 for n in (400, 2000))
    X[:, 2] *= 100
    new[:, 2] *= 100
    hidden = np.where(rng.uniform(size=X.shape) < 0.1, np.nan, X)
    whole = MaskedRegression().fit(X)
    for rule in ("loo", "gcv"):
        est = MaskedRegression(rule).fit(hidden)
        assert abs(est.score(new) / whole.score(new) - 1) < 0.02
        assert est.n_iter_ > 1
        assert not hasattr(est, "train_error_")
        with pytest.raises(AttributeError, match="use loo_error_"):
            _ = est.gcv_
        assert "missing cells" in str(est.summary())
        filled = est.impute(hidden)
        np.testing.assert_array_equal(filled[~np.isnan(hidden)], X[~np.isnan(hidden)])
        gap = ((filled - X) / X.std(0))[np.isnan(hidden)]
        assert (gap**2).mean() < 0.5
    left_out = est.loo_errors(hidden) / est.scale_
    np.testing.assert_array_equal(np.isnan(left_out), np.isnan(hidden))
    assert abs(np.nanmean(left_out**2) / (1 - est.score(new)) - 1) < 0.1
    est.fit(X)
    assert (est.n_iter_, est.loo_error_.shape) == (1, (8,))


def test_a_given_penalty_with_hardly_any_missing_cell(rng):
    X = rng.standard_normal((300, 5)) @ np.linalg.cholesky(covariance_ar(5, 0.7)).T
    hidden = X.copy()
    hidden[7, 3] = np.nan
    for center in (True, False):
        one, other = (MaskedRegression(0.1, center=center).fit(Y) for Y in (X, hidden))
        np.testing.assert_allclose(other.coef_, one.coef_, atol=0.02)
        assert other.alpha_ == 0.1


@pytest.mark.parametrize(
    ("cells", "words"),
    [((3, slice(None)), "1 of 30 rows have no observed"), ((slice(None), 2), "1 of 4 columns")],
    ids=["row", "column"],
)
def test_rows_and_columns_without_any_cell_are_refused(rng, cells, words):
    X = rng.standard_normal((30, 4))
    X[cells] = np.nan
    with pytest.raises(InputError, match=words):
        MaskedRegression().fit(X)


@pytest.mark.parametrize(
    "options", [{"alpha_per_target": True}, {"alphas": [0.1, 1.0]}], ids=["per target", "grid"]
)
def test_incomplete_rows_have_one_penalty_from_the_whole_range(rng, options):
    X = rng.standard_normal((30, 4))
    X[3, 2] = np.nan
    with pytest.raises(InputError, match="1 cells are missing"):
        MaskedRegression(**options).fit(X)


def test_errors_of_columns_with_missing_cells_are_those_of_left_out_cells(rng):
    S = covariance_ar(8, 0.8)
    X = rng.standard_normal((300, 8)) @ np.linalg.cholesky(S).T * np.arange(1, 9)
    hidden = np.where(rng.uniform(size=X.shape) < 0.15, np.nan, X)
    est = MaskedRegression().fit(hidden)
    errors = est.loo_errors(hidden)
    np.testing.assert_allclose(est.loo_error_, np.nanmean(errors**2, axis=0), rtol=1e-10)
    summary = est.summary()
    assert len(summary.columns) == 8
    assert summary.facts["explained, left out"].startswith("about 0.")
    weights = rng.integers(0, 3, size=300).astype(float)
    one = MaskedRegression(0.1).fit(hidden, sample_weight=weights)
    mean = np.nansum(one.loo_errors(hidden, weights) ** 2 * weights[:, None], axis=0)
    np.testing.assert_allclose(one.loo_error_, mean / (weights @ ~np.isnan(hidden)), rtol=1e-10)


def test_many_rows_with_missing_cells_give_their_errors_in_part(rng):
    """Evenly chosen rows, and enough of those that observe a rare column."""
    X = rng.standard_normal((12_000, 10)) + rng.standard_normal((12_000, 1))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    X[np.setdiff1d(np.arange(12_000), np.arange(1, 12_000, 400)), 3] = np.nan
    est = MaskedRegression(0.1).fit(X)
    whole = np.nanmean(est.loo_errors(X) ** 2, axis=0)
    ratio = est.loo_error_ / whole
    assert np.abs(np.delete(ratio, 3) - 1).max() < 0.05
    assert abs(ratio[3] - 1) < 0.15


def test_standard_deviations_of_filled_cells_cover_the_true_ones(rng):
    """On hidden cells of three real tables and two drawn ones, complete rows or not."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    tables = [load_wine().data, load_breast_cancer().data, load_diabetes().data]
    tables += [rng.standard_normal((300, 8)), rng.standard_normal((300, 8)) @ np.tri(8)]
    for X in tables:
        hidden = rng.uniform(size=X.shape) < 0.2
        hidden[np.arange(len(X)), rng.integers(X.shape[1], size=len(X))] = False
        gaps, last = np.where(hidden, np.nan, X), len(X) // 4
        for est, rows in (
            (MaskedRegression().fit(gaps), slice(None)),
            (MaskedRegression().fit(X[last:]), slice(last)),
        ):
            sd, cells = est.imputation_sd(gaps[rows]), hidden[rows]
            np.testing.assert_array_equal(sd > 0, cells)
            covered = np.abs((est.impute(gaps[rows]) - X[rows])[cells]) < 1.96 * sd[cells]
            assert 0.91 < covered.mean() < 0.98


def test_one_filled_cell_is_off_by_the_left_out_error(rows):
    """And by the deviation of its column if nothing of its row is known."""
    est = MaskedRegression(0.1).fit(rows)
    n, d = rows.shape
    X = np.tile(rows[0], (d + 1, 1))
    X[np.arange(d), np.arange(d)] = np.nan
    X[d] = np.nan
    sd = est.imputation_sd(X)
    np.testing.assert_allclose(np.diag(sd), np.sqrt(est.loo_error_), rtol=1e-8)
    Q = est.precision_
    ratio = est.loo_error_ * np.diag(Q) * np.diag(np.linalg.inv(Q))
    np.testing.assert_allclose(sd[d], np.sqrt(ratio), rtol=1e-6)
    means = MaskedRegression(np.inf).fit(rows).imputation_sd(X)
    np.testing.assert_allclose(means[d], rows.std(0) * n / (n - 1), rtol=1e-8)
    frame = pd.DataFrame(X)
    assert isinstance(MaskedRegression(0.1).fit(rows).imputation_sd(frame), pd.DataFrame)


def titles(est):
    return " | ".join(one.title for one in est.diagnose())


def test_findings_of_rows_with_missing_cells(rng):
    X = rng.standard_normal((300, 6)) + rng.standard_normal((300, 1))
    hidden = np.where(rng.uniform(size=X.shape) < 0.1, np.nan, X)
    assert titles(MaskedRegression().fit(hidden)) == "Filled cells rest on cells missing at random"
    assert "missing at random" not in titles(MaskedRegression().fit(X))
    few = hidden.copy()
    few[:285, 2] = np.nan
    assert "1 of 6 columns have fewer than 20 observed" in titles(MaskedRegression().fit(few))
    apart = hidden.copy()
    apart[:150, 0] = apart[150:, 1] = np.nan
    found = MaskedRegression().fit(apart).diagnose()
    assert found[0].title == "Two columns are never observed in the same row"
    assert "'x0 and x1'" in found[0].text
    noise = np.where(np.isnan(hidden), np.nan, rng.standard_normal(X.shape))
    assert "filled with means" in titles(MaskedRegression(1e4).fit(noise))
    assert "next to nothing" in titles(MaskedRegression(1e-10).fit(hidden))


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_repeated_columns_are_a_finding(rng, share):
    X = rng.standard_normal((200, 5)) + rng.standard_normal((200, 1))
    hidden = np.where(rng.uniform(size=X.shape) < share, np.nan, X)
    assert "repeat" not in titles(MaskedRegression().fit(hidden))
    hidden = np.column_stack([hidden, 3 - 2 * hidden[:, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForetellWarning)
        found = MaskedRegression(1e-6).fit(hidden).diagnose()
    assert found[0].title == "Two columns repeat one another"
    assert "'x1 and x5'" in found[0].text


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3, "standardize": False, "center": False}])
def test_imputer_fills_and_keeps(rng, options):
    X = rng.standard_normal((80, 4)) + rng.standard_normal((80, 1))
    hidden = np.where(rng.uniform(size=X.shape) < 0.1, np.nan, X)
    est = MaskedImputer(**options)
    filled = est.fit_transform(hidden)
    seen = ~np.isnan(hidden)
    np.testing.assert_array_equal(filled[seen], X[seen])
    np.testing.assert_array_equal(filled, MaskedRegression(**options).fit(hidden).impute(hidden))
    assert est.get_params().keys() == clone(est).get_params().keys()
    assert "rank" not in est.get_params()
    frame = pd.DataFrame(hidden, columns=list("abcd"), index=range(5, 85))
    out = MaskedImputer(**options).set_output(transform="pandas").fit_transform(frame)
    assert out.columns.tolist() == ["a", "b", "c", "d"]
    assert out.index.equals(frame.index)
    np.testing.assert_array_equal(out.to_numpy(), filled)


def test_imputer_goes_before_other_estimators(table):
    X, y, _ = table
    holes = X.copy()
    holes[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    with pytest.raises(InputError, match=r"MaskedImputer\(\).fit_transform"):
        TwoStageRegressor(MaskedRegression(0.1, rank=1)).fit(holes, y)
    pipe = make_pipeline(MaskedImputer(), TwoStageRegressor(MaskedRegression(0.1, rank=1)))
    assert np.isfinite(pipe.fit(holes, y).predict(holes)).all()


# Stage 1


@pytest.mark.parametrize("features", ["eigenvectors", "reconstruction"])
def test_is_stage_one_of_a_two_stage_regression(table, features):
    X, y, new = table
    model = MaskedRegression(rank=3, features=features)
    est = TwoStageRegressor(model, standardize=True).fit(X, y)
    assert est.encoder_.rank == (3 if features == "eigenvectors" else 20)
    np.testing.assert_allclose(est.encoder_.alpha, MaskedRegression().fit(X).alpha_, rtol=1e-10)
    assert np.isfinite(est.get_prediction(new).se).all()
    with pytest.raises(InputError, match="one penalty for all"):
        TwoStageRegressor(MaskedRegression(alpha_per_target=True)).fit(X, y)


# Real data


def test_real_columns_are_predicted_as_well_as_by_a_ridge_each():
    """Wine: held-out error against RidgeCV per column, each with its own penalty."""
    X = load_wine().data
    X = X / X.std(0)
    errors = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = X[order[:90]], X[order[90:]]
        Z = StandardScaler().fit(train)
        Y, new = Z.transform(train), Z.transform(test)
        best = np.stack(
            [
                RidgeCV(np.geomspace(1e-4, 1e6, 31))
                .fit(np.delete(Y, k, 1), Y[:, k])
                .predict(np.delete(new, k, 1))
                for k in range(X.shape[1])
            ],
            axis=1,
        )
        ours = [MaskedRegression(alpha_per_target=own).fit(train) for own in (False, True)]
        predicted = [est.transform(test) for est in ours]
        errors.append([((test - p) ** 2).mean() for p in (Z.inverse_transform(best), *predicted)])
    theirs, common, own = np.mean(errors, axis=0)
    assert common < 1.01 * theirs
    assert own < 1.01 * theirs


# scikit-learn's and data frames' ways


@pytest.mark.parametrize(("name", "make"), FRAMES.items(), ids=FRAMES)
def test_frames_keep_their_names(rows, holes, name, make):
    names = [f"c{j}" for j in range(rows.shape[1])]
    frame, gaps = (make({n: X[:, j] for j, n in enumerate(names)}) for X in (rows, holes))
    est = MaskedRegression().fit(frame)
    assert list(est.feature_names_in_) == names
    assert list(est.get_feature_names_out()) == names
    plain = MaskedRegression().fit(rows)
    np.testing.assert_array_equal(est.transform(frame), plain.transform(rows))
    filled = est.impute(gaps)
    assert type(filled) is type(frame)
    np.testing.assert_array_equal(np.asarray(filled), plain.impute(holes))
    with pytest.raises(InputError, match="unseen"):
        est.transform(make({n.upper(): rows[:, j] for j, n in enumerate(names)}))
    with pytest.warns(UserWarning, match="feature names"):
        est.transform(rows)


def test_output_comes_in_the_container_asked_for(rows):
    frame = pd.DataFrame(rows, index=np.arange(len(rows)) + 7).add_prefix("c")
    est = MaskedRegression().fit(frame).set_output(transform="pandas")
    out = est.transform(frame)
    assert list(out.columns) == list(frame.columns)
    assert out.index.equals(frame.index)
    assert isinstance(clone(est).fit_transform(frame), pd.DataFrame)
    assert isinstance(est.set_output(transform="polars").transform(frame), pl.DataFrame)
    assert isinstance(est.set_output(transform="default").transform(frame), np.ndarray)
    with pytest.raises(InputError, match="default, pandas, polars"):
        est.set_output(transform="xarray")
    piped = make_pipeline(StandardScaler(), MaskedRegression()).set_output(transform="pandas")
    assert isinstance(piped.fit_transform(frame), pd.DataFrame)


def test_missing_numbers_in_frames_are_missing_cells(rows):
    frame = pd.DataFrame(rows).add_prefix("c").convert_dtypes()
    frame.iloc[2, 1] = pd.NA
    est = MaskedRegression(0.1).fit(pd.DataFrame(rows).add_prefix("c"))
    assert np.isfinite(est.transform(frame)).all()


def test_parameters_clone_and_search(rows):
    est = MaskedRegression(0.3, alpha_per_target=True, center=False)
    copy = clone(est.fit(rows))
    assert repr(copy) == "MaskedRegression(alpha=0.3, alpha_per_target=True, center=False)"
    assert not hasattr(copy, "fit_")
    X = np.random.default_rng(0).standard_normal((60, 4)) + np.linspace(-2, 2, 60)[:, None]
    search = GridSearchCV(MaskedRegression(), {"alpha": [1e-3, 1.0, np.inf]}, cv=3).fit(X)
    assert search.best_params_["alpha"] < np.inf


def test_pickle_gives_the_same_answers(rows, holes):
    est = MaskedRegression().fit(rows)
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.transform(rows), est.transform(rows))
    np.testing.assert_array_equal(again.impute(holes), est.impute(holes))
    assert str(again.summary()) == str(est.summary())


def test_summary_lists_the_columns(rng):
    X = rng.standard_normal((80, 20)) + rng.standard_normal((80, 1))
    est = MaskedRegression().fit(pd.DataFrame(X).add_prefix("c"))
    summary = est.summary()
    assert "and 8 more" in str(summary)
    assert "leave-one-out errors" in str(summary)
    assert list(summary.frame("pandas")["column"]) == [f"c{j}" for j in range(20)]
    np.testing.assert_allclose(summary.frame("pandas")["rmse"] ** 2, est.loo_error_)


def test_combinations_of_columns_are_a_finding(rng):
    X = rng.standard_normal((50, 4))
    est = MaskedRegression().fit(np.column_stack([X, X @ rng.standard_normal((4, 4))]))
    assert "The penalty is the least one considered" in [f.title for f in est.diagnose()]


# Bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: X[:1], ["at least 2 rows", "1 sample"]),
        (lambda X: X[:, :1], ["at least 2", "1 feature"]),
        (lambda X: np.where(np.arange(4) == 2, 5.0, X), ["1 of 4", "constant", "column 2: 5"]),
        (lambda X: X + np.where(X[3, 1] == X, np.inf, 0), ["infinity", "column 1", "first row 3"]),
        (lambda X: X * 1e160, ["overflow"]),
        (lambda X: X.astype(str), ["text"]),
        (lambda X: X[0], ["2D array"]),
        (lambda X: X + 1j, ["omplex"]),
    ],
)
def test_unusable_rows_are_refused(rng, change, words):
    with pytest.raises(ValueError) as caught:
        MaskedRegression().fit(change(rng.standard_normal((20, 4))))
    assert [word for word in words if word not in str(caught.value)] == []


def test_constant_columns_are_named(rng):
    frame = pd.DataFrame(rng.standard_normal((20, 3)), columns=["a", "b", "c"]).assign(e=2.5)
    with pytest.raises(InputError, match=r"'e': 2.5; leave out 'e'"):
        MaskedRegression().fit(frame)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "at least zero"),
        ({"alpha": np.nan}, "at least zero"),
        ({"alpha": True}, "at least zero"),
        ({"alpha": None}, "at least zero"),
        ({"alpha": "cv"}, "'loo' or 'gcv'; found 'cv'"),
        ({"alphas": [1.0, -1.0]}, "positive"),
        ({"alphas": []}, "positive"),
    ],
)
def test_unusable_parameters_are_refused(rng, options, words):
    with pytest.raises(InputError, match=words):
        MaskedRegression(**options).fit(rng.standard_normal((20, 4)))


def test_other_columns_and_rows_are_refused(rng):
    X = rng.standard_normal((20, 4))
    with pytest.raises(NotFittedError):
        MaskedRegression().transform(X)
    est = MaskedRegression(0.1).fit(X)
    with pytest.raises(InputError, match="3 features, but MaskedRegression is expecting 4"):
        est.transform(X[:, :3])
    with pytest.raises(InputError, match="not the rows of the fit"):
        est.loo_errors(rng.standard_normal((20, 4)))
    with pytest.raises(InputError, match=r"length equal to number of features \(4\)"):
        est.get_feature_names_out(["a"])
    missing = X.copy()
    missing[3, 2] = np.nan
    with pytest.raises(InputError, match=r"1 of 4 columns hold missing .* column 2"):
        MaskedRegression().fit(ArraySource(missing))
