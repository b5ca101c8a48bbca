"""Cross-validation of the representation against what it replaces."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foretell import FactorModel, LinearHead, TwoStageRegressor
from foretell.report.comparison import PENALTIES, compare


def comparison(population, n, d_extra=0, target=None, head=None, seed=0):
    X, y = population.sample_labeled(n, [seed, 1])
    rows = population.sample_unlabeled(3000, [seed, 2])
    if target is not None:
        y = target(X, y)
    fitted = TwoStageRegressor(FactorModel(3), head, pool=False).fit(X, y, X_unlabeled=rows)
    return fitted, X, y, compare(fitted.encoder_, fitted.head_, X, y, label="two stages")


def by_kind(found):
    return {method.kind: method for method in found.methods}


def test_errors_are_those_of_scikit_learn(population):
    """The same folds by hand: features from the encoder, ridge and least squares from columns."""
    fitted, X, y, found = comparison(population, 200)
    splits = list(KFold(10, shuffle=True, random_state=0).split(X))

    def cross_validated(columns, model):
        out = np.zeros(len(y))
        for train, test in splits:
            out[test] = model.fit(columns[train], y[train]).predict(columns[test])
        return (y - out) ** 2

    own = cross_validated(fitted.encode(X), LinearRegression())
    expected = {
        "foretell": own,
        "ols": cross_validated(X, LinearRegression()),
        "ridge": cross_validated(X, make_pipeline(StandardScaler(), RidgeCV(PENALTIES))),
    }
    methods = by_kind(found)
    for kind, errors in expected.items():
        np.testing.assert_allclose(methods[kind].mse, errors.mean(), rtol=1e-9)
        se = errors.std(ddof=1) / np.sqrt(200)
        np.testing.assert_allclose(methods[kind].se, se, rtol=1e-9)
        np.testing.assert_allclose(methods[kind].gap, (errors - own).mean(), atol=1e-12)
        gap_se = (errors - own).std(ddof=1) / np.sqrt(200)
        np.testing.assert_allclose(methods[kind].gap_se, gap_se, atol=1e-12)
    assert methods["mean"].mse > methods["foretell"].mse


def test_pretraining_wins_where_it_should(population):
    _, _, _, found = comparison(population, 40)
    assert found.worth_it is True
    assert "worth it here" in found.verdict
    assert {"foretell", "ridge", "mean", "ols"} == set(by_kind(found))


def test_pretraining_loses_where_the_target_is_elsewhere(population):
    direction = np.linalg.qr(np.column_stack([population.loadings, np.eye(20)[:, 0]]))[0][:, 3]
    _, _, _, found = comparison(population, 200, target=lambda X, y: 3 * X @ direction + 0.1 * y)
    assert found.worth_it is False
    assert "does not help" in found.verdict
    methods = by_kind(found)
    best = min((m for m in found.methods if m.kind != "foretell"), key=lambda m: m.mse)
    assert best.name in found.verdict
    assert methods["foretell"].mse > best.mse


def test_draw_is_called_one(population):
    """With thousands of labels both methods find the same predictor."""
    _, _, _, found = comparison(population, 4000)
    best = min((m for m in found.methods if m.kind != "foretell"), key=lambda m: m.mse)
    assert (found.worth_it is None) == (abs(best.gap) <= 2 * best.gap_se)
    assert abs(best.gap) < 0.02 * best.mse


def test_least_squares_needs_more_rows_than_columns(population):
    _, _, _, found = comparison(population, 22)
    assert "ols" not in by_kind(found)
    assert "Least squares on 20 columns is not determined by 19 rows" in found.how
    _, _, _, more = comparison(population, 40)
    assert "ols" in by_kind(more)
    assert "not determined" not in more.how


def test_same_seed_gives_the_same_folds(population):
    fitted, X, y, one = comparison(population, 60)
    again = compare(fitted.encoder_, fitted.head_, X, y, label="two stages", random_state=0)
    other = compare(fitted.encoder_, fitted.head_, X, y, label="two stages", random_state=1)
    assert one == again != other


def test_head_of_the_fit_is_used(population):
    _, _, _, plain = comparison(population, 60)
    _, _, _, strong = comparison(population, 60, head=LinearHead(1e6))
    assert by_kind(strong)["foretell"].mse > 1.5 * by_kind(plain)["foretell"].mse
    np.testing.assert_allclose(
        by_kind(strong)["foretell"].mse, by_kind(strong)["mean"].mse, rtol=1e-3
    )


def test_columns_constant_among_the_labels_are_left_out(population):
    X, y = population.sample_labeled(60, 0)
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    X = np.column_stack([X, np.ones(60)])

    class Encoder:
        def encode(self, rows):
            return fitted.encoder_.encode(rows[:, :20])

    found = compare(Encoder(), LinearHead(), X, y, label="two stages")
    assert all(np.isfinite(method.mse) for method in found.methods)


@pytest.mark.parametrize("n", [6, 9])
def test_few_labels_are_compared_one_at_a_time(population, n):
    fitted, X, y, _ = comparison(population, 30)
    found = compare(fitted.encoder_, fitted.head_, X[:n], y[:n], label="two stages")
    assert found.how.startswith(f"{n}-fold cross-validation on {n} labeled rows")


def test_large_tables_are_compared_on_some_rows(population, monkeypatch):
    monkeypatch.setattr("foretell.report.comparison.LARGEST_COMPARISON", 50)
    _, _, _, found = comparison(population, 80)
    assert "on 50 labeled rows" in found.how
