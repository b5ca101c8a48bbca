"""The estimator as scikit-learn, data frames and users see it."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

from foretell import FactorModel, LinearHead, TwoStageRegressor
from foretell.data.sources import ArraySource, ChunkSource, ConcatenatedSource
from foretell.errors import InputError

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
CHECKED = [
    TwoStageRegressor(),
    TwoStageRegressor(FactorModel(rank=1), pool=True, standardize=False),
    TwoStageRegressor(FactorModel(rank=1), LinearHead(penalty=0.1), standardize=False),
    TwoStageRegressor(FactorModel(rank=1), LinearHead(intercept=False), standardize=False),
    TwoStageRegressor(head=LinearHead(penalty="auto")),
    TwoStageRegressor(FactorModel(rank=1), LinearHead(penalty="auto"), standardize=False),
]


def failing(estimator):
    """Folds of cross-validation are drawn over rows, and a row twice is two of them."""
    if getattr(estimator.head, "penalty", 0.0) != "auto":
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": "folds are drawn over rows"}


with warnings.catch_warnings():
    # The protocol without the base class: importing scikit-learn takes longer than a fit.
    warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.Base")
    scikit_learn_checks = parametrize_with_checks(CHECKED, expected_failed_checks=failing)


@scikit_learn_checks
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


def test_scikit_learn_passes_other_array_types():
    """The array API check runs only where SCIPY_ARRAY_API is set before SciPy is imported."""
    code = """
from sklearn.utils.estimator_checks import check_estimator
from foretell import TwoStageRegressor
results = check_estimator(TwoStageRegressor(), on_skip=None)
print(*{r["check_name"] for r in results if r["status"] != "passed"})
print(*{r["check_name"] for r in results if "array_api" in r["check_name"]})
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert out[0] == ""
    assert "array_api" in out[1]


# Composition


def test_fits_in_a_pipeline_and_a_grid_search(population):
    X, y = population.sample_labeled(400, 0)
    plain = TwoStageRegressor(FactorModel(3), standardize=True).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), TwoStageRegressor(FactorModel(3))).fit(X, y)
    np.testing.assert_allclose(pipeline.predict(X), plain.predict(X), rtol=1e-9)
    grid = {"model__rank": [1, 2, 3], "head__penalty": [0.0, 0.1]}
    search = GridSearchCV(TwoStageRegressor(FactorModel(), LinearHead()), grid, cv=3).fit(X, y)
    assert search.best_params_["model__rank"] == 3
    assert search.best_estimator_.head_.penalty == search.best_params_["head__penalty"]
    assert cross_val_score(plain, X, y, cv=3).mean() > 0.5


def test_clone_has_the_parameters_and_nothing_learned(table):
    X, y, _ = table
    fitted = TwoStageRegressor(FactorModel(3, "diagonal"), LinearHead(0.1), pool=False).fit(X, y)
    copy = clone(fitted)
    assert not hasattr(copy, "encoder_")
    assert copy.model is not fitted.model
    assert repr(copy) == repr(fitted)
    assert copy.get_params()["model__noise"] == "diagonal"
    assert copy.get_params()["head__penalty"] == 0.1
    copy.set_params(model__rank=2, head__penalty=0.2)
    assert (fitted.model.rank, copy.model.rank) == (3, 2)
    assert (fitted.head.penalty, copy.head.penalty) == (0.1, 0.2)


def test_fit_does_not_change_parameters(table):
    X, y, _ = table
    est = TwoStageRegressor()
    assert est.fit(X, y) is est
    assert est.model is None
    assert est.head is None


def test_pickle_gives_the_same_answers(table):
    X, y, new = table
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.get_prediction(new).se, fitted.get_prediction(new).se)
    assert again.excess_risk().ppf(0.9) == fitted.excess_risk().ppf(0.9)
    assert str(again.summary()) == str(fitted.summary())


def test_results_hold_no_data(rng):
    """20,000 x 50 numbers are 8 MB; what is learned from them is a few matrices of size 50."""
    X = rng.standard_normal((20_000, 50)) + 2 * rng.standard_normal((20_000, 1))
    y = X[:, 0] + rng.standard_normal(20_000)
    fitted = TwoStageRegressor(FactorModel(1)).fit(X, y)
    assert len(pickle.dumps(fitted)) < 150_000
    assert len(pickle.dumps(fitted.asymptotics_)) < 100_000
    assert len(pickle.dumps(fitted.get_prediction(X[:5]))) < 5_000


# Rows without a target


def same_fit(one, other, new, rtol=1e-9):
    np.testing.assert_allclose(one.predict(new), other.predict(new), rtol=rtol)
    first, second = one.get_prediction(new), other.get_prediction(new)
    np.testing.assert_allclose(first.se, second.se, rtol=rtol)
    np.testing.assert_allclose(first.se_naive, second.se_naive, rtol=rtol)
    levels = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(
        one.excess_risk().ppf(levels), other.excess_risk().ppf(levels), rtol=rtol
    )
    np.testing.assert_allclose(
        one.asymptotics_.irreducible, other.asymptotics_.irreducible, rtol=rtol
    )
    assert (one.n_unlabeled_, one.n_labeled_) == (other.n_unlabeled_, other.n_labeled_)


MISSING = {
    "list": lambda y: [None if np.isnan(v) else v for v in y],
    "object": lambda y: np.array([None if np.isnan(v) else v for v in y], dtype=object),
    "pandas": pd.Series,
    "pandas-nullable": lambda y: pd.Series(
        [pd.NA if np.isnan(v) else v for v in y], dtype="Float64"
    ),
    "pandas-object": lambda y: pd.Series([pd.NA if np.isnan(v) else v for v in y], dtype=object),
    "polars": lambda y: pl.Series([None if np.isnan(v) else v for v in y]),
    "polars-nan": pl.Series,
    "pyarrow": lambda y: pa.chunked_array([pa.array(y, from_pandas=True)]),
}


@pytest.mark.parametrize("make", MISSING.values(), ids=MISSING)
def test_every_spelling_of_missing_is_an_unlabeled_row(table, make):
    X, y, new = table
    one = TwoStageRegressor(FactorModel(3)).fit(X, y)
    other = TwoStageRegressor(FactorModel(3)).fit(X, make(y))
    assert (one.n_unlabeled_, one.n_labeled_) == (450, 150)
    same_fit(one, other, new, rtol=0)


@pytest.mark.parametrize("pool", [True, False])
def test_second_sample_is_rows_without_a_target(table, pool):
    X, y, new = table
    labeled = ~np.isnan(y)
    one = TwoStageRegressor(FactorModel(3), pool=pool).fit(X, y)
    other = TwoStageRegressor(FactorModel(3), pool=pool)
    same_fit(one, other.fit(X[labeled], y[labeled], X_unlabeled=X[~labeled]), new)
    same_fit(one, other.fit(X[:300], y[:300], X_unlabeled=X[300:]), new)


def test_pooling_counts_labeled_rows_in_both_stages(table):
    X, y, _ = table
    pooled = TwoStageRegressor(FactorModel(3), pool=True).fit(X, y)
    apart = TwoStageRegressor(FactorModel(3), pool=False).fit(X, y)
    assert pooled.encoder_.n_rows == 600
    assert apart.encoder_.n_rows == 450
    assert (pooled.n_unlabeled_, apart.n_unlabeled_) == (450, 450)


# Weights


def weighted_and_repeated(table, rng):
    X, y, new = table
    counts = rng.integers(0, 4, len(X))
    return X, y, counts, np.repeat(X, counts, 0), np.repeat(y, counts), new


@pytest.mark.parametrize("noise", ["isotropic", "diagonal"])
@pytest.mark.parametrize("pool", [True, False])
def test_weights_are_repetitions_for_predictions(table, rng, noise, pool):
    X, y, counts, X_repeated, y_repeated, new = weighted_and_repeated(table, rng)
    est = TwoStageRegressor(FactorModel(3, noise), LinearHead(0.1), pool=pool, standardize=True)
    once = clone(est).fit(X, y, counts).predict(new)
    np.testing.assert_allclose(once, clone(est).fit(X_repeated, y_repeated).predict(new), rtol=1e-7)


@pytest.mark.parametrize("pool", [True, False])
def test_rows_of_weight_zero_do_not_count(table, rng, pool):
    X, y, new = table
    keep = rng.uniform(size=len(X)) < 0.7
    weights = np.where(keep, rng.uniform(0.5, 2.0, len(X)), 0.0)
    est = TwoStageRegressor(FactorModel(3), pool=pool)
    one = clone(est).fit(X, y, weights)
    same_fit(one, clone(est).fit(X[keep], y[keep], weights[keep]), new)


def test_scale_of_the_weights_does_not_matter(table, rng):
    X, y, new = table
    weights = rng.uniform(0.5, 2.0, len(X))
    est = TwoStageRegressor(FactorModel(3))
    same_fit(clone(est).fit(X, y, weights), clone(est).fit(X, y, 7 * weights), new, rtol=1e-7)
    same_fit(clone(est).fit(X, y), clone(est).fit(X, y, np.full(len(X), 3.0)), new, rtol=1e-7)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(3), ["(600,)", "(3,)"]),
        (np.full(600, -1.0), ["600", "negative"]),
        (np.zeros(600), ["not all zero"]),
        (np.full(600, np.nan), ["600 not finite"]),
    ],
)
def test_weights_are_checked(table, weights, words):
    X, y, _ = table
    with pytest.raises(InputError) as caught:
        TwoStageRegressor(FactorModel(3)).fit(X, y, weights)
    assert [word for word in words if word not in str(caught.value)] == []


# Containers, names, units


def frame(make, X, names=None):
    return make({f"c{j}" if names is None else names[j]: X[:, j] for j in range(X.shape[1])})


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("standardize", [True, False])
def test_every_container_gives_the_same_fit(table, make, standardize):
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3), standardize=standardize)
    one = clone(est).fit(X, y)
    other = clone(est).fit(frame(make, X), y, X_unlabeled=None)
    np.testing.assert_array_equal(other.predict(frame(make, new)), one.predict(new))
    np.testing.assert_array_equal(
        other.get_prediction(frame(make, new)).se, one.get_prediction(new).se
    )
    assert other.feature_names_ == [f"c{j}" for j in range(20)]
    assert list(other.feature_names_in_) == other.feature_names_
    assert one.feature_names_ == [f"x{j}" for j in range(20)]
    assert not hasattr(one, "feature_names_in_")


@pytest.mark.parametrize(("name", "make"), FRAMES.items(), ids=FRAMES)
def test_results_come_in_the_library_of_the_rows(table, name, make):
    X, y, new = table
    kinds = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.Table}
    fitted = TwoStageRegressor(FactorModel(3)).fit(frame(make, X), y)
    assert isinstance(fitted.forecast(n_labeled=[10, 20]), kinds[name])
    assert isinstance(fitted.get_prediction(frame(make, new)).summary_frame(), kinds[name])
    elsewhere = fitted.get_prediction(frame(pl.DataFrame, new)).summary_frame()
    assert isinstance(elsewhere, pl.DataFrame)
    assert isinstance(fitted.summary().frame(name), kinds[name])


def test_automatic_standardization_is_for_frames(table):
    """Columns of a frame have units; rows of a plain array are taken as they are."""
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3))
    assert clone(est).fit(frame(pd.DataFrame, X), y).standardized_
    assert not clone(est).fit(X, y).standardized_
    forced = clone(est).set_params(standardize=True).fit(X, y)
    automatic = clone(est).fit(frame(pd.DataFrame, X), y)
    np.testing.assert_array_equal(forced.predict(new), automatic.predict(frame(pd.DataFrame, new)))


@pytest.mark.parametrize(
    "options",
    [{"standardize": True}, {"model": FactorModel(3, "diagonal")}],
    ids=["standardized", "diagonal"],
)
def test_units_of_the_columns_do_not_matter(table, rng, options):
    """Diagonal noise is invariant to scales by itself, the isotropic one once standardized."""
    X, y, new = table
    scale, shift = np.exp(rng.uniform(-5, 5, 20)), rng.normal(0, 3, 20)
    est = TwoStageRegressor(**{"model": FactorModel(3), "standardize": False} | options)
    one = clone(est).fit(X, y)
    other = clone(est).fit(X * scale + shift, y)
    moved = new * scale + shift
    np.testing.assert_allclose(other.predict(moved), one.predict(new), rtol=1e-7)
    np.testing.assert_allclose(
        other.get_prediction(moved).se, one.get_prediction(new).se, rtol=1e-6
    )
    np.testing.assert_allclose(other.coef_ * scale, one.coef_, rtol=1e-6, atol=1e-9)
    se = [[c.se for c in fitted.summary().coefficients] for fitted in (one, other)]
    np.testing.assert_allclose(se[1] * scale, se[0], rtol=1e-6)


def test_units_matter_to_isotropic_noise(table):
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3), standardize=False)
    scale = np.linspace(0.5, 3, 20)
    gap = clone(est).fit(X * scale, y).predict(new * scale) - clone(est).fit(X, y).predict(new)
    assert np.abs(gap).max() > 0.01


@pytest.mark.parametrize("standardize", [True, False])
def test_unit_of_the_target_scales_results(table, standardize):
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3), standardize=standardize)
    one, other = clone(est).fit(X, y), clone(est).fit(X, 100 * y - 7)
    p, q = one.get_prediction(new), other.get_prediction(new)
    np.testing.assert_allclose(q.mean, 100 * p.mean - 7, rtol=1e-9)
    np.testing.assert_allclose(q.se, 100 * p.se, rtol=1e-7)
    np.testing.assert_allclose(
        other.excess_risk().mean(), 1e4 * one.excess_risk().mean(), rtol=1e-7
    )


# Answers


def test_prediction_has_intervals_of_both_stages(table):
    X, y, new = table
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    p = fitted.get_prediction(new)
    np.testing.assert_allclose(p.mean, fitted.predict(new), rtol=1e-12)
    np.testing.assert_allclose(fitted.predict(new), new @ fitted.coef_ + fitted.intercept_)
    np.testing.assert_allclose(p.se**2, p.parts.labeled + p.parts.unlabeled + p.parts.shared)
    for interval in (p.conf_int, p.pred_int, p.naive_conf_int):
        narrow, wide = interval(0.5), interval(0.95)
        np.testing.assert_allclose(narrow.mean(axis=1), p.mean)
        assert (np.diff(wide) > np.diff(narrow)).all()
    assert (np.diff(p.pred_int()) > np.diff(p.conf_int())).all()
    half = np.diff(p.naive_conf_int(0.95))[:, 0] / 2 / p.se_naive
    np.testing.assert_allclose(half, stats.t(146).ppf(0.975), rtol=1e-9)
    table_ = p.summary_frame(0.9)
    assert list(table_.columns) == [
        "mean", "se", "se_naive", "conf_low", "conf_high", "pred_low", "pred_high",
    ]  # fmt: skip
    np.testing.assert_array_equal(table_["conf_low"], p.conf_int(0.9)[:, 0])
    np.testing.assert_array_equal(table_["pred_high"], p.pred_int(0.9)[:, 1])
    for level in (0.0, 1.0, -1, 95):
        with pytest.raises(InputError, match=f"between 0 and 1; found {level}"):
            p.conf_int(level)


def test_prediction_intervals_add_the_residual_variance(population):
    """Half widths are in the ratio of the deviations; new targets fall inside as promised."""
    X, y = population.sample_labeled(2000, 0)
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    new, target = population.sample_labeled(4000, 1)
    p = fitted.get_prediction(new)
    np.testing.assert_allclose(p.residual_variance, 2 * fitted.asymptotics_.irreducible)
    ratio = np.diff(p.pred_int()) / np.diff(p.conf_int())
    np.testing.assert_allclose(ratio[:, 0] ** 2, 1 + p.residual_variance / p.se**2, rtol=1e-9)
    for level in (0.5, 0.9):
        low, high = p.pred_int(level).T
        inside = np.mean((low < target) & (target < high))
        # Beside the error of this sample, that of the estimated residual variance: sqrt(2/n).
        width = stats.norm.ppf(0.5 + level / 2)
        slope = 2 * width * stats.norm.pdf(width) * np.sqrt(1 / 2 / 2000)
        assert abs(inside - level) < 4 * np.hypot(np.sqrt(level * (1 - level) / 4000), slope)


def test_one_row_at_a_time_gives_the_same_errors(table):
    X, y, new = table
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    single = [fitted.get_prediction(row[None]).se[0] for row in new]
    np.testing.assert_allclose(single, fitted.get_prediction(new).se, rtol=1e-12)


def test_forecast_combines_all_sizes(table):
    X, y, _ = table
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    grid = fitted.forecast(n_unlabeled=[450, 4500], n_labeled=[150, 300], quantiles=[0.1])
    assert grid[["n_unlabeled", "n_labeled"]].to_numpy().tolist() == [
        [450, 150], [450, 300], [4500, 150], [4500, 300],
    ]  # fmt: skip
    assert list(grid.columns) == [
        "n_unlabeled", "n_labeled", "mse", "risk", "excess", "excess_labeled", "excess_unlabeled",
        "risk_q10",
    ]  # fmt: skip
    parts = grid["excess_labeled"] + grid["excess_unlabeled"]
    np.testing.assert_allclose(grid["excess"], parts, rtol=1e-12)
    np.testing.assert_allclose(
        grid["risk"] - grid["excess"], fitted.asymptotics_.irreducible, rtol=1e-12
    )
    assert (np.diff(grid["risk"]) != 0).all()
    assert grid["risk"][3] == grid["risk"].min()
    np.testing.assert_allclose(grid["excess"][0], fitted.excess_risk().mean(), rtol=1e-9)
    law = fitted.excess_risk(n_unlabeled=4500, n_labeled=300)
    np.testing.assert_allclose(
        grid["risk_q10"][3], fitted.asymptotics_.irreducible + law.ppf(0.1), rtol=1e-12
    )
    np.testing.assert_array_equal(grid["mse"], 2 * grid["risk"])
    assert len(fitted.forecast(quantiles=[]).columns) == 7
    single = fitted.forecast(n_unlabeled=4500, n_labeled=300)
    np.testing.assert_array_equal(single["risk"], grid["risk"][3:])
    with pytest.raises(InputError, match="positive numbers of rows"):
        fitted.forecast(n_labeled=[0])


def test_diagnosis_lists_warnings_first(population):
    X, y = population.sample_labeled(80, 0)
    findings = TwoStageRegressor(FactorModel(8)).fit(X, y).diagnose()
    levels = [("warning", "note", "ok").index(finding.level) for finding in findings]
    assert levels == sorted(levels)
    assert findings[0].level == "warning"
    assert all(finding.cure for finding in findings if finding.level == "warning")


def test_good_fit_raises_no_warning(population):
    X, y = population.sample_labeled(5000, 0)
    findings = TwoStageRegressor(FactorModel(3)).fit(X, y).diagnose()
    assert [f for f in findings if f.level == "warning"] == []
    assert any("No sign that the target needs more" in finding.title for finding in findings)


def test_rank_is_found_by_the_criterion(table, population):
    X, y, _ = table
    assert TwoStageRegressor().fit(X, y).encoder_.rank == 3
    noise = np.random.default_rng(0).standard_normal((500, 20))
    empty = TwoStageRegressor().fit(noise, noise[:, 0])
    assert empty.encoder_.rank == 0
    assert any("no common factors" in finding.title for finding in empty.diagnose())
    np.testing.assert_allclose(empty.predict(noise[:3]), noise[:, 0].mean())
    assert "Two-stage fit" in str(empty.summary())


def test_summary_names_columns_and_findings(table):
    X, y, _ = table
    names = ["<b>", "ä ß", *[f"c{j}" for j in range(18)]]
    fitted = TwoStageRegressor(FactorModel(3)).fit(frame(pd.DataFrame, X, names), y)
    text = str(fitted.summary())
    for word in ("labeled", "unlabeled", "irreducible", "g = 0", "600", "150"):
        assert word in text
    assert fitted.summary().frame("pandas")["column"].tolist() == names
    coefficients = fitted.summary().coefficients
    assert [c.column for c in coefficients] == names
    np.testing.assert_allclose([c.value for c in coefficients], fitted.coef_, rtol=1e-9)
    assert all(c.se > 0 and c.se_naive > 0 for c in coefficients)


def test_errors_of_coefficients_are_those_of_unit_contrasts(table):
    """Predictions at unit vectors less the one at zero; variances by polarization."""
    X, y, _ = table
    fitted = TwoStageRegressor(FactorModel(3)).fit(X, y)
    limit = fitted.asymptotics_
    t = fitted.encoder_.coordinates(np.vstack([np.zeros(20), np.eye(20)]))
    contrast = limit.variance(t[1:] - t[0])
    found = [(c.se, c.se_naive) for c in fitted.summary().coefficients]
    expected = np.sqrt([contrast.total, contrast.labeled]).T
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_fit_without_inference_predicts_only(table):
    X, y, new = table
    full = TwoStageRegressor(FactorModel(3)).fit(X, y)
    bare = TwoStageRegressor(FactorModel(3), inference=False).fit(X, y)
    np.testing.assert_array_equal(bare.predict(new), full.predict(new))
    for ask in (
        lambda: bare.get_prediction(new), bare.excess_risk, bare.forecast, bare.summary,
        bare.diagnose,
    ):  # fmt: skip
        with pytest.raises(NotFittedError, match="inference=True"):
            ask()


def test_unfitted_estimator_says_so(table):
    for ask in (lambda e: e.predict(table[2]), lambda e: e.get_prediction(table[2]),
                lambda e: e.excess_risk(), lambda e: e.feature_names_):  # fmt: skip
        with pytest.raises(NotFittedError):
            ask(TwoStageRegressor())


def test_refit_forgets_the_frame(table):
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3), inference=True).fit(frame(pd.DataFrame, X), y)
    est.fit(X, y)
    assert not hasattr(est, "feature_names_in_")
    np.testing.assert_array_equal(
        est.predict(new), TwoStageRegressor(FactorModel(3)).fit(X, y).predict(new)
    )
    est.set_params(inference=False).fit(X[:, :10], y)
    with pytest.raises(NotFittedError, match="inference=True"):
        est.get_prediction(new[:, :10])


# Chunks and threads


@pytest.mark.parametrize("noise", ["isotropic", "diagonal"])
@pytest.mark.parametrize("pool", [True, False])
def test_chunks_do_not_change_results(table, noise, pool):
    X, y, new = table
    labeled = ~np.isnan(y)
    est = TwoStageRegressor(FactorModel(3, noise), pool=pool)

    def fit(rows):
        return clone(est).fit(X[labeled], y[labeled], X_unlabeled=rows)

    whole = fit(X[~labeled])
    for step in (1, 7, 449, 450):
        same_fit(whole, fit(ArraySource(X[~labeled], chunk_rows=step)), new)
    pieces = ConcatenatedSource((ArraySource(X[150:200]), ArraySource(X[200:], chunk_rows=64)))
    same_fit(whole, fit(pieces), new)
    chunks = ChunkSource(lambda: iter(np.array_split(X[~labeled], 9)), (450, 20))
    same_fit(whole, fit(chunks), new)


def test_chunks_of_labeled_rows_do_not_change_results(table, monkeypatch):
    from foretell.inference import tangent

    X, y, new = table
    whole = TwoStageRegressor(FactorModel(3)).fit(X, y)
    monkeypatch.setattr(tangent, "CHUNK_CELLS", 200)
    monkeypatch.setattr("foretell.data.sources.CHUNK_BYTES", 2000)
    same_fit(whole, TwoStageRegressor(FactorModel(3)).fit(X, y), new)


def test_threads_do_not_change_results(table):
    X, y, new = table
    est = TwoStageRegressor(FactorModel(3))
    with threadpool_limits(1):
        one = clone(est).fit(X, y)
    with threadpool_limits(2):
        used = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        two = clone(est).fit(X, y)
    assert used == {2}
    same_fit(one, two, new)


def test_same_seed_gives_the_same_numbers(rng):
    """First order, and with 40 columns 860 axes: random directions estimate the bias."""
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 40)) + rng.normal(size=(300, 40))
    y = X[:, 3] + 2 * X[:, 15] + rng.normal(size=300)
    fits = [
        TwoStageRegressor(FactorModel(3), random_state=seed).fit(X, y).excess_risk().mean()
        for seed in (1, 1, 2)
    ]
    assert fits[0] == fits[1] != fits[2]
