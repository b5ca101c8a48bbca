"""Rows with missing cells: conditional laws of any pattern, EM with a ridge, its penalty."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.errors import ConvergenceError, ForetellWarning, InputError
from foretell.models.masked_em import Law, Moments, Rows, em_step
from foretell.models.masked_em_run import LEAP, Run
from foretell.models.masked_left_out import left_out_errors, pair_loss
from foretell.models.masked_missing import conditional_fill, conditional_sd, fit_incomplete
from foretell.models.masked_patterns import stacks
from foretell.models.masked_systems import FEW, inverses

TIGHT = {"tol": 1e-9, "max_iter": 2000}


def table(n=120, d=6, share=0.25, seed=0, noise=0.6):
    """Rows of two factors, some cells hidden; the full table and the holey one."""
    rng = np.random.default_rng(seed)
    full = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + noise * rng.normal(size=(n, d))
    full = full * np.geomspace(0.1, 10, d) + np.arange(d)
    hidden = rng.random((n, d)) < share
    hidden[hidden.all(axis=1), 0] = False
    return full, np.where(hidden, np.nan, full)


def law_by_row(x, mean, S):
    """Conditional mean and covariance of one row, by the textbook formula."""
    M, O = np.isnan(x), ~np.isnan(x)
    filled, V = x.copy(), np.zeros((len(x), len(x)))
    B = np.linalg.solve(S[np.ix_(O, O)], S[np.ix_(O, M)]) if O.any() else np.zeros((0, M.sum()))
    filled[M] = mean[M] + (x[O] - mean[O]) @ B
    V[np.ix_(M, M)] = S[np.ix_(M, M)] - S[np.ix_(M, O)] @ B
    return filled, V


def likelihood_by_row(Z, weights, mean, S, alpha):
    """Penalized log-likelihood a unit of weight, by the textbook formula."""
    total = 0.0
    for z, w in zip(Z, weights, strict=True):
        O = ~np.isnan(z)
        r, S_OO = (z - mean)[O], S[np.ix_(O, O)]
        total -= 0.5 * w * (np.linalg.slogdet(S_OO)[1] + r @ np.linalg.solve(S_OO, r))
    return total / weights.sum() - 0.5 * alpha * np.trace(np.linalg.inv(S))


def slow_em(Z, weights, alpha, steps=3000):
    """EM for the Gaussian with a ridge, a loop over rows, from the identity."""
    d = Z.shape[1]
    mean, C = np.zeros(d), np.eye(d)
    for _ in range(steps):
        found = [law_by_row(z, mean, C + alpha * np.eye(d)) for z in Z]
        F = np.array([f for f, _ in found])
        before = C
        mean = weights @ F / weights.sum()
        C = (F - mean).T @ ((F - mean) * weights[:, None])
        C = (C + sum(w * V for w, (_, V) in zip(weights, found, strict=True))) / weights.sum()
        if np.abs(C - before).max() < 1e-12:
            break
    return mean, C


def spread_precision(d=9, seed=3):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(d, d + 3))
    return np.linalg.inv(half @ half.T / d + 0.1 * np.eye(d))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_fill_and_sd_are_the_conditional_law_of_each_row(share):
    """Any pattern: few cells missing, most, all; solved by the missing or the observed ones."""
    Q, mean = spread_precision(), np.arange(9.0)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 9)) + mean
    X[rng.random(X.shape) < share] = np.nan
    X[0], X[1] = np.nan, 1.0
    X[5] = np.where(np.isnan(X[4]), np.nan, 2.0)  # a pattern that occurs twice
    filled, spread = conditional_fill(X, mean, Q), conditional_sd(X, Q)
    kinds = {stack.by_observed for stack in stacks(np.isnan(X))}
    assert kinds == {True, False}
    for x, f, s in zip(X, filled, spread, strict=True):
        expected, V = law_by_row(x, mean, np.linalg.inv(Q))
        np.testing.assert_allclose(f, expected, atol=1e-10)
        np.testing.assert_allclose(s, np.sqrt(np.diag(V)), atol=1e-7)
    np.testing.assert_array_equal(filled[0], mean)
    np.testing.assert_array_equal(filled[1], X[1])


def test_fill_does_not_depend_on_the_scale_of_the_precision():
    Q = spread_precision()
    X = np.where(np.random.default_rng(0).random((30, 9)) < 0.4, np.nan, 1.5)
    one, other = (conditional_fill(X, np.zeros(9), c * Q) for c in (1.0, 1e4))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_one_missing_cell_is_predicted_by_the_column_of_A():
    Q = spread_precision()
    A = np.eye(9) - Q / np.diag(Q)
    full = np.random.default_rng(0).normal(size=(9, 9))
    X = np.where(np.eye(9, dtype=bool), np.nan, full)
    np.testing.assert_allclose(np.diag(conditional_fill(X, np.zeros(9), Q)), np.diag(full @ A))


@pytest.mark.parametrize("alpha", [0.01, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_fit_is_the_limit_of_a_slow_em(alpha, weighted):
    """Accelerated steps in stacks reach the maximum that a plain loop over rows reaches."""
    _, X = table(60, 5, 0.3)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(X)) if weighted else np.ones(len(X))
    found = fit_incomplete(X, weights if weighted else None, alpha=alpha, **TIGHT)
    shift = found.mean - _observed_mean(X, weights)
    Z = (X - _observed_mean(X, weights)) / found.scale
    mean, C = slow_em(Z, weights, alpha)
    np.testing.assert_allclose(found.covariance, C, atol=3e-7)
    np.testing.assert_allclose(shift / found.scale, mean, atol=3e-7)
    expected = likelihood_by_row(Z, weights, mean, C + alpha * np.eye(5), alpha)
    assert found.objective[-1] == pytest.approx(expected, abs=1e-9)


def _observed_mean(X, weights):
    seen = ~np.isnan(X)
    return weights @ np.where(seen, X, 0.0) / (weights @ seen)


def test_steps_by_observed_and_by_missing_cells_are_the_same_step():
    """Most cells missing: systems of the observed cells give moments and likelihood of the loop."""
    _, X = table(40, 7, 0.7)
    Z = X / np.nanstd(X, axis=0)
    rng = np.random.default_rng(0)
    weights, mean = rng.uniform(0.5, 2, 40), 0.1 * rng.normal(size=7)
    C, alpha = np.cov(rng.normal(size=(7, 20))), 0.2
    S = C + alpha * np.eye(7)
    rows = Rows.of(Z, ~np.isnan(Z), weights)
    assert {stack.by_observed for stack in rows.stacks} == {True, False}
    step = em_step(rows, Moments(mean, C), alpha, center=True)
    found = [law_by_row(z, mean, S) for z in Z]
    F = np.array([f for f, _ in found])
    new = weights @ F / weights.sum()
    expected = (F - new).T @ ((F - new) * weights[:, None])
    expected += sum(w * V for w, (_, V) in zip(weights, found, strict=True))
    np.testing.assert_allclose(step.filled, F, atol=1e-10)
    np.testing.assert_allclose(step.image.mean, new, atol=1e-10)
    np.testing.assert_allclose(step.image.covariance, expected / weights.sum(), atol=1e-9)
    assert step.objective == pytest.approx(likelihood_by_row(Z, weights, mean, S, alpha))


@pytest.mark.parametrize("center", [True, False])
def test_complete_rows_give_the_ridge_of_complete_rows(center):
    full, _ = table(50, 5)
    found = fit_incomplete(full, alpha=0.3, center=center)
    X = full - full.mean(axis=0) if center else full
    scale = np.sqrt((X**2).mean(axis=0))
    np.testing.assert_allclose(found.scale, scale)
    np.testing.assert_allclose(found.covariance, (X / scale).T @ (X / scale) / 50, atol=1e-13)
    np.testing.assert_allclose(found.mean, full.mean(axis=0) if center else 0.0, atol=1e-13)
    assert found.converged
    np.testing.assert_array_equal(found.filled, full)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_errors_of_complete_rows_are_those_of_refits(center, weighted):
    """Exact, mean included, at the scale of all rows and the fixed total penalty."""
    full, _ = table(25, 4)
    weights = np.random.default_rng(0).choice([0.4, 1.0, 3.0], 25) if weighted else np.ones(25)
    alpha, W = 0.2, weights.sum()
    found = fit_incomplete(full, weights, alpha=alpha, center=center)
    errors = found.loo_errors(full, weights)
    for i in range(25):
        rest = weights.copy()
        rest[i] -= min(weights[i], 1.0)
        mean = rest @ full / rest.sum() if center else np.zeros(4)
        Z = (full - mean) / found.scale
        Q = np.linalg.inv((Z * rest[:, None]).T @ Z + W * alpha * np.eye(4))
        expected = Z[i] @ Q / np.diag(Q) * found.scale
        np.testing.assert_allclose(errors[i], expected, rtol=1e-9)


def test_left_out_errors_predict_cells_from_the_other_observed_cells():
    """Without leverage they are residuals of the conditional law of each row without the cell."""
    _, X = table(30, 7, 0.6)
    Z = X / np.nanstd(X, axis=0)
    rows = Rows.of(Z, ~np.isnan(Z), np.ones(30))
    C = np.cov(np.random.default_rng(0).normal(size=(7, 20)))
    errors = left_out_errors(rows, Moments(np.zeros(7), C), 0.1, 1e12, np.ones(7), center=True)
    for z, e in zip(Z, errors, strict=True):
        for k in np.flatnonzero(~np.isnan(z)):
            without = z.copy()
            without[k] = np.nan
            expected = law_by_row(without, np.zeros(7), C + 0.1 * np.eye(7))[0][k]
            assert e[k] == pytest.approx(z[k] - expected, abs=1e-9)
    assert not errors[np.isnan(Z)].any()


def test_left_out_errors_with_missing_cells_are_near_those_of_refits():
    """The approximate factor c: mean square within 3 % of refits without each row, 30 % missing."""
    _, X = table(80, 5, 0.3, seed=4)
    alpha, n = 0.05, len(X)
    options = {"alpha": alpha, "standardize": False, "tol": 1e-5, "max_iter": 500}
    X = X / np.nanstd(X, axis=0)
    errors = fit_incomplete(X, **options).loo_errors(X)
    refitted = np.full(X.shape, np.nan)
    for i in range(n):
        options["alpha"] = alpha * n / (n - 1)
        fit = fit_incomplete(np.delete(X, i, axis=0), **options)
        seen = np.flatnonzero(~np.isnan(X[i]))
        copies = np.tile(X[i], (len(seen), 1))
        copies[np.arange(len(seen)), seen] = np.nan
        predicted = conditional_fill(copies, fit.mean, fit.precision)
        refitted[i, seen] = X[i, seen] - predicted[np.arange(len(seen)), seen]
    plain = _plain_residuals(X, options, alpha)
    ratio = np.nanmean(errors**2) / np.nanmean(refitted**2)
    assert abs(ratio - 1) < 0.03
    assert np.nanmean(plain**2) < 0.93 * np.nanmean(refitted**2)


def _plain_residuals(X, options, alpha):
    fit = fit_incomplete(X, **(options | {"alpha": alpha}))
    rows = Rows.of(X - fit.mean, ~np.isnan(X), np.ones(len(X)))
    d = X.shape[1]
    at = Moments(np.zeros(d), fit.covariance)
    return np.where(
        rows.observed, left_out_errors(rows, at, alpha, 1e12, np.ones(d), center=True), np.nan
    )


def test_row_order_does_not_matter():
    _, X = table(300, 8, 0.2, seed=2)
    order = np.random.default_rng(0).permutation(len(X))
    one, other = fit_incomplete(X), fit_incomplete(X[order])
    np.testing.assert_allclose(other.alpha, one.alpha, rtol=1e-9)
    np.testing.assert_allclose(other.filled, one.filled[order], rtol=1e-8)


def test_units_of_the_columns_do_not_matter():
    _, X = table(100, 6, 0.2)
    units, shift = 2.0 ** np.arange(-3, 3), np.arange(6.0)
    one, other = fit_incomplete(X), fit_incomplete(X * units + shift)
    np.testing.assert_allclose(other.alpha, one.alpha, rtol=1e-6)
    np.testing.assert_allclose(other.filled, one.filled * units + shift, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other.precision * np.outer(units, units), one.precision, rtol=1e-6)


def test_weights_are_repeated_rows():
    _, X = table(60, 5, 0.2)
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = fit_incomplete(X, counts.astype(float))
    repeated = fit_incomplete(np.repeat(X, counts, axis=0))
    np.testing.assert_allclose(weighted.alpha, repeated.alpha, rtol=1e-8)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, atol=1e-9)
    np.testing.assert_allclose(weighted.pair_weight, repeated.pair_weight)
    np.testing.assert_allclose(weighted.filled[counts > 0], repeated.filled[_firsts(counts)])
    assert np.isfinite(weighted.filled).all()


def _firsts(counts):
    return (np.cumsum(counts) - counts)[counts > 0]


@pytest.mark.parametrize("alpha", ["loo", 1e-3])
def test_the_likelihood_does_not_decrease(alpha):
    _, X = table(150, 10, 0.35, seed=1, noise=0.05)
    found = fit_incomplete(X, alpha=alpha, tol=1e-6, max_iter=1000)
    assert len(found.objective) > 3
    assert (np.diff(found.objective) >= -1e-11).all()
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12


def test_acceleration_saves_steps():
    """Fewer than half of the plain steps to the same tolerance, on collinear columns."""
    _, X = table(150, 10, 0.35, seed=1, noise=0.05)
    Z = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    run = Run.start(Rows.of(Z, ~np.isnan(Z), np.ones(150)), 1e-3, center=True)
    while run.change > 1e-6:
        run.move(run.step.image, run.alpha)
    assert fit_incomplete(X, alpha=1e-3, tol=1e-6).n_iter < 0.5 * run.n_steps


@pytest.mark.parametrize(("share", "seed"), [(0.1, 0), (0.1, 1), (0.3, 0), (0.3, 1)])
def test_the_chosen_penalty_is_near_the_best(share, seed):
    """Errors of hidden cells within 4 % of those of the best penalty of a grid, n = 2 d."""
    full, X = table(40, 20, share, seed=seed)
    hidden, scale = np.isnan(X), full.std(axis=0)

    def error(alpha):
        filled = fit_incomplete(X, alpha=alpha, max_iter=300).filled
        return float((((filled - full) / scale)[hidden] ** 2).mean() ** 0.5)

    best = min(error(a) for a in np.geomspace(1e-3, 10, 13))
    assert error("loo") < 1.04 * best


def test_conditional_sd_covers_hidden_cells_of_normal_rows():
    full, X = table(2000, 6, 0.3, seed=5)
    found = fit_incomplete(X, alpha=1e-4, tol=1e-3)
    spread = conditional_sd(X, found.precision)
    hidden = np.isnan(X)
    inside = np.abs(found.filled - full)[hidden] < 1.959964 * spread[hidden]
    error = np.sqrt(0.95 * 0.05 / (0.4 * hidden.sum()))  # cells of a row are dependent
    assert abs(inside.mean() - 0.95) < 4 * error
    assert not spread[~hidden].any()


def test_few_rows_and_many_columns():
    """n < d with missing cells: the ridge makes it well posed, better than column means."""
    full, X = table(30, 60, 0.3, seed=6)
    found = fit_incomplete(X)
    hidden, scale = np.isnan(X), full.std(axis=0)
    error = (((found.filled - full) / scale)[hidden] ** 2).mean()
    means = (((np.nanmean(X, axis=0) - full) / scale)[hidden] ** 2).mean()
    assert error < 0.6 * means


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: X[3].fill(np.nan), r"1 of 30 rows have no observed cell, the first is row 3"),
        (lambda X: X[:, 2].fill(np.nan), r"1 of 4 columns have no observed cell: .*column 2"),
        (lambda X: X[1:, 2].fill(np.nan), r"constant among .*column 2.* in 1 observed cell"),
        (lambda X: X[:20, 1].fill(7.0), r"constant among .*column 1.*7 in 20 observed cell"),
        (lambda X: X[0:1, 1].fill(np.inf), r"1 of 4 columns hold infinite .* column 1"),
    ],
)
def test_unusable_cells_are_refused_by_name(spoil, message):
    X = np.random.default_rng(0).normal(size=(30, 4))
    X[20:, 1] = np.nan
    spoil(X)
    with pytest.raises(InputError, match=message):
        fit_incomplete(X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "at least zero; found -1"),
        ({"alpha": np.inf}, "finite penalty"),
        ({"alpha": "gcv"}, "found 'gcv'"),
        ({"weights": -np.ones(30)}, "at least zero"),
        ({"weights": np.ones(29)}, "one for each of 30 rows"),
        ({"weights": np.eye(30)[0]}, "at least 2 rows of positive weight"),
    ],
)
def test_bad_arguments(arguments, message):
    X = np.random.default_rng(0).normal(size=(30, 4))
    with pytest.raises(InputError, match=message):
        fit_incomplete(X, **arguments)


def test_a_singular_covariance_is_diagnosed():
    X = np.random.default_rng(0).normal(size=(4, 9))
    X[0, 0] = np.nan
    with pytest.raises(ConvergenceError, match=r"9 columns from 4 .*singular.* raise the penalty"):
        fit_incomplete(X, alpha=0.0)


def test_too_few_steps_are_told():
    _, X = table(100, 6, 0.3)
    with pytest.warns(ForetellWarning, match=r"after 7 EM steps .*raise max_iter"):
        found = fit_incomplete(X, alpha=1e-4, max_iter=7, tol=1e-8)
    assert not found.converged
    assert np.isfinite(found.filled).all()


def test_patterns_are_stacked_once_each():
    """Every incomplete row is in one stack; equal patterns share a system."""
    missing = np.random.default_rng(0).random((500, 8)) < 0.3
    found = stacks(missing, np.arange(500.0))
    rows = np.sort(np.concatenate([stack.rows for stack in found]))
    np.testing.assert_array_equal(rows, np.flatnonzero(missing.any(axis=1)))
    systems = sum(len(stack.columns[0]) for stack in found)
    assert systems == len(np.unique(missing[missing.any(axis=1)], axis=0))
    assert sum(stack.weights.sum() for stack in found) == rows.sum()


def test_pair_loss_of_complete_rows_is_one():
    rows = Rows.of(np.ones((5, 3)), np.ones((5, 3), dtype=bool), np.ones(5))
    np.testing.assert_array_equal(pair_loss(rows), np.ones(3))


def test_law_refuses_a_covariance_that_is_not_positive():
    with pytest.raises(np.linalg.LinAlgError):
        Law.of(-np.eye(2), 0.5)


@pytest.mark.parametrize("many", [FEW - 1, FEW, 3 * FEW])
@pytest.mark.parametrize("order", [1, 2, 7, 20])
def test_inverses_of_a_stack_are_those_of_each_matrix(order, many):
    """Whichever way they are computed; accurate to rounding times the condition number."""
    half = np.random.default_rng(order).normal(size=(many, order, order + 2))
    matrices = half @ half.transpose(0, 2, 1)
    V, logs = inverses(matrices.transpose(1, 2, 0).copy())
    errors = np.abs(V.transpose(2, 0, 1) @ matrices - np.eye(order)).max(axis=(1, 2))
    assert (errors < 1e-14 * order * np.linalg.cond(matrices)).all()
    np.testing.assert_allclose(V, V.transpose(1, 0, 2), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logs, np.linalg.slogdet(matrices)[1], atol=1e-10)


@pytest.mark.parametrize("many", [3, 2 * FEW])
def test_inverses_refuse_matrices_that_are_not_positive(many):
    blocks = np.repeat(np.eye(3)[:, :, None], many, axis=2)
    blocks[1, 1, many // 2] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        inverses(blocks)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("noise", [1e-4, 0.0])
def test_columns_that_follow_from_others_get_a_small_penalty(share, noise):
    """Smooth curves: at most twice the error of the true conditional law; no noise: tiny."""
    rng = np.random.default_rng(0)
    curves = np.array([np.sin((k + 1) * np.linspace(0.2, 3.0, 40)) for k in range(5)])
    full = rng.normal(size=(150, 5)) @ curves + noise * rng.normal(size=(150, 40))
    X = np.where(rng.random(full.shape) < share, np.nan, full)
    S = curves.T @ curves + max(noise, 1e-5) ** 2 * np.eye(40)
    true = conditional_fill(X, np.zeros(40), np.linalg.inv(S)) - full
    error = fit_incomplete(X).filled - full
    assert (error**2).mean() < 4.0 * (true**2).mean() + 1e-8


def test_a_relaxed_step_is_beyond_the_image_and_positive():
    """By the odds of a missing cell; the image where that is not positive semidefinite."""
    _, X = table(200, 6, 0.3, noise=0.6)
    Z = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    run = Run.start(Rows.of(Z, ~np.isnan(Z), np.ones(200)), 0.1, center=True)
    odds = np.isnan(Z).sum() / (~np.isnan(Z)).sum()
    image, at = run.step.image.covariance, run.at.covariance
    np.testing.assert_allclose(run.relaxed().covariance, image + odds * (image - at))
    run.at = Moments(run.at.mean, 100.0 * at)
    np.testing.assert_array_equal(run.relaxed().covariance, image)


def test_an_iteration_does_not_stop_right_after_a_leap():
    """Accelerated steps leap and rest in turns where EM is slow."""
    _, X = table()
    Z = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    run = Run.start(Rows.of(Z, ~np.isnan(Z), np.ones(len(Z))), 0.1, center=True)
    run.converge(0.05, 100)
    assert run.change <= 0.05
    assert run.before <= LEAP * 0.05
    run.n_steps, run.before = 5, 1.0
    steps = run.n_steps
    run.converge(0.05, 100)
    assert run.n_steps > steps
