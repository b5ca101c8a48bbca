"""The report of a masked regression: errors that hold in new rows, and a page that shows them."""

import html
import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from browser import chromium, open_report
from foretell import MaskedRegression
from foretell.errors import InputError
from foretell.models.masked_rank import noise_level
from foretell.report import left_out as module
from foretell.report.left_out import LEAST, learning_curve, left_out, predict
from foretell.report.masked import collect_masked
from foretell.report.masked_page import charts, render_masked
from foretell.report.masked_tables import filled_table, numeric_columns
from foretell.theory.masked import (
    AutoRegressive,
    MaskedPopulation,
    Spiked,
    masked_regression,
    optimal_alpha,
)

HOSTILE = '</script><img src=x onerror="window.__pwned=1">&amp;\'{{ 7*7 }}\u2028'


def rows_of(covariance, n, seed=0):
    return MaskedPopulation(covariance).sample_unlabeled(n, seed)


def table_of(X, names=None):
    return pa.table(dict(zip(names or [f"x{j}" for j in range(X.shape[1])], X.T, strict=True)))


def with_holes(X, share, seed=1):
    holes = np.random.default_rng(seed).random(X.shape) < share
    return np.where(holes, np.nan, X), holes


def collected(X, names=None, **options):
    table = table_of(X, names)
    return collect_masked(table, MaskedRegression(**options).fit(table), name="t.csv")


@pytest.fixture(scope="module")
def run():
    return collected(rows_of(AutoRegressive(12, 0.8), 200))


@pytest.fixture(scope="module")
def holed():
    return collected(with_holes(rows_of(AutoRegressive(12, 0.8), 200), 0.1)[0])


# Errors -----------------------------------------------------------------------------------------


def test_left_out_errors_of_complete_rows_are_those_of_the_estimator(rng):
    X = rng.normal(size=(60, 5)) + rng.normal(size=(60, 1)) * np.arange(5)
    estimator = MaskedRegression().fit(X)
    found = left_out(X, estimator)
    np.testing.assert_allclose(found.rmse**2, estimator.loo_error_, rtol=1e-12)
    np.testing.assert_allclose(found.deviation, X.std(axis=0), rtol=1e-12)
    explained = float(estimator.summary().facts["explained, left out"])
    assert 1 - found.unexplained == pytest.approx(explained, abs=5e-4)


def test_errors_of_observed_cells_foretell_those_of_missing_ones():
    """Cells hidden at random: what the report says of a column holds where cells are filled."""
    X = rows_of(AutoRegressive(10, 0.8), 1500)
    gaps, holes = with_holes(X, 0.15)
    estimator = MaskedRegression().fit(gaps)
    promised = left_out(gaps, estimator).rmse ** 2
    squares = (estimator.impute(gaps) - X) ** 2
    for k in range(10):
        errors = squares[holes[:, k], k]
        se = errors.std(ddof=1) / np.sqrt(len(errors))
        assert abs(errors.mean() - promised[k]) < 4 * se


def test_rows_with_gaps_are_predicted_by_fits_without_them():
    X = with_holes(rows_of(AutoRegressive(8, 0.8), 40), 0.1)[0]
    estimator = MaskedRegression().fit(X)
    part = np.random.default_rng(0).permutation(40) % 10
    found = left_out(X, estimator).errors
    for k in (0, 7):
        others = MaskedRegression(estimator.alpha_).fit(X[part != k])
        rest = X[part == k]
        np.testing.assert_allclose(found[part == k], rest - others.transform(rest), atol=1e-8)


@pytest.mark.parametrize(("rho", "most"), [(0.1, 2.2), (0.7, 1.35)])
def test_standard_errors_cover_the_share_of_new_rows(rho, most):
    """Over samples, shares deviate from that of the population by about their standard error."""
    population, ratios = MaskedPopulation(AutoRegressive(6, rho)), []
    for seed in range(60):
        X = population.sample_unlabeled(300, seed)
        estimator = MaskedRegression(0.01, standardize=False).fit(X)
        found = left_out(X, estimator)
        truth = 1 - population.test_error_per_coordinate(estimator.coef_, estimator.intercept_)
        ratios.append((found.explained - truth)[2] / found.explained_se[2])
    assert 0.7 < np.std(ratios) < most
    assert abs(np.mean(ratios)) < 4 / np.sqrt(60) + 0.3


def test_unrelated_columns_are_hardly_ever_called_predicted():
    hits = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(100, 25))
        X[:, :10] += 1.5 * rng.normal(size=(100, 1))
        found = left_out(X, MaskedRegression().fit(X))
        hits.append(found.explained > 2 * found.explained_se)
    assert np.mean(hits, axis=0)[:10].min() > 0.9
    assert np.mean(hits, axis=0)[10:].mean() < 0.02


def test_learning_curve_is_that_of_fits_to_the_parts(rng):
    X = rows_of(AutoRegressive(5, 0.7), 80)
    estimator = MaskedRegression(0.1).fit(X)
    found = left_out(X, estimator)
    parts = learning_curve(X, estimator, found)
    assert [part.n_rows for part in parts] == [10, 20, 40]
    order = np.random.default_rng(2).permutation(80) % 2
    total = 0.0
    for k in (0, 1):
        fitted = MaskedRegression(0.1).fit(X[order == k])
        rest = X[order != k]
        total += (((rest - fitted.transform(rest)) / X.std(axis=0)) ** 2).sum()
    of_means = (((X - X.mean(axis=0)) * 80 / 79 / X.std(axis=0)) ** 2).sum()
    assert parts[-1].unexplained == pytest.approx(total / of_means, rel=1e-10)
    for part, larger in zip(parts, [*parts[1:], None], strict=True):
        after = found.unexplained if larger is None else larger.unexplained
        assert part.unexplained - part.gain == pytest.approx(after, rel=1e-10)


def test_learning_curve_follows_the_theory_of_fewer_rows():
    """Best penalty at every size; theory is off by order 1/d, standardizing by order 1/n."""
    covariance = AutoRegressive(60, 0.9, ring=True)
    X = rows_of(covariance, 960)
    estimator = MaskedRegression(standardize=False).fit(X)
    parts = learning_curve(X, estimator, left_out(X, estimator))
    for part in parts:
        theory = masked_regression(
            covariance, part.n_rows - 1, optimal_alpha(covariance, part.n_rows - 1)
        ).test_error
        assert part.unexplained * X.var() == pytest.approx(theory, rel=0.03)
        assert part.gain > 4 * part.gain_se > 0


def test_shares_compare_with_means_that_do_not_know_the_row(rng):
    """With predictions that are means every share is zero, however few the rows."""
    for n in (4, 30):
        X = rng.normal(size=(n, 3))
        found = left_out(X, MaskedRegression(math.inf).fit(X))
        np.testing.assert_allclose(found.explained, 0.0, atol=1e-12)
        assert found.unexplained == pytest.approx(1.0)
        np.testing.assert_allclose(found.deviation, X.std(axis=0), rtol=1e-12)


def test_shares_of_rows_with_gaps_compare_with_the_means_of_the_other_rows():
    X = with_holes(rows_of(AutoRegressive(8, 0.8), 40), 0.1)[0]
    found = left_out(X, MaskedRegression(0.2).fit(X))
    part = np.random.default_rng(0).permutation(40) % 10
    for k in (0, 9):
        expected = X[part == k] - np.nanmean(X[part != k], axis=0)
        np.testing.assert_allclose(found.deviations[part == k], expected, rtol=1e-10)


def test_many_rows_with_gaps_are_left_out_in_part(monkeypatch):
    """A part of the rows is tested; what is tested gives the numbers of the same rows."""
    X = with_holes(rows_of(AutoRegressive(10, 0.8), 600), 0.1)[0]
    estimator = MaskedRegression(0.1).fit(X)
    whole = left_out(X, estimator)
    monkeypatch.setattr(module, "CELLS", 1100)
    some = left_out(X, estimator)
    tested = some.tested
    assert (whole.tested.all(), tested.sum()) == (True, 120)
    np.testing.assert_array_equal(some.errors[tested], whole.errors[tested])
    assert np.isnan(some.errors[~tested]).all()
    for one, all_fits in zip(
        learning_curve(X, estimator, some), learning_curve(X, estimator, whole), strict=True
    ):
        assert one.n_rows == all_fits.n_rows
        assert one.unexplained == pytest.approx(all_fits.unexplained, rel=0.2)
    found = collect_masked(table_of(X), estimator)
    assert "left out, a tenth of all" in found["answer"][0]
    assert found["columns"][0]["rmse"] == pytest.approx(some.rmse.min(), rel=0.2)


def test_a_column_that_no_tested_row_observes_has_no_error(monkeypatch):
    X = rows_of(AutoRegressive(6, 0.8), 200)
    tested = np.random.default_rng(0).permutation(200) % 10 == 0
    X[tested, 2] = np.nan
    monkeypatch.setattr(module, "CELLS", 50)
    found = collected(X, alpha=0.1)
    assert found["columns"][-1]["column"] == "x2"
    assert found["columns"][-1]["explained"] is None
    assert "–" in render_masked(found)


def test_rows_with_gaps_learn_too(holed):
    sizes = [row["n_rows"] for row in holed["learning"]["rows"]]
    assert sizes == [25, 50, 100, 180]
    shares = [row["unexplained"] for row in holed["learning"]["rows"]]
    assert shares[0] > shares[2]
    assert holed["path"] is None


def test_columns_constant_in_a_part_are_predicted_by_their_mean(rng):
    X = rows_of(AutoRegressive(4, 0.8), 40)
    X[:, 2] = 3.0
    test = rows_of(AutoRegressive(4, 0.8), 5, seed=1)
    found = predict(X, test, MaskedRegression(), 0.1)
    np.testing.assert_array_equal(found[:, 2], 3.0)
    alone = MaskedRegression(0.1).fit(np.delete(X, 2, axis=1)).transform(np.delete(test, 2, axis=1))
    np.testing.assert_allclose(np.delete(found, 2, axis=1), alone, rtol=1e-12)


def test_few_rows_have_no_learning_curve(rng):
    X = rows_of(AutoRegressive(4, 0.8), 2 * LEAST - 1)
    estimator = MaskedRegression(0.1).fit(X)
    assert learning_curve(X, estimator, left_out(X, estimator)) == []


# What is collected ------------------------------------------------------------------------------


def test_unrelated_columns_have_no_structure(rng):
    found = collected(rng.normal(size=(300, 20)), alpha=0.5)
    assert found["spectrum"]["above"] == 0
    assert not any(row["predicted"] for row in found["columns"][2:])
    chosen = collected(rng.normal(size=(300, 8)))
    assert "do not clearly predict" in chosen["answer"][0]
    assert "no better than means do" in chosen["learning"]["verdict"]


def test_spikes_are_counted():
    found = collected(rows_of(Spiked(60, [12.0, 8.0]), 400), alpha=1.0)
    assert found["spectrum"]["above"] == 2


@pytest.mark.parametrize(("n", "d"), [(200, 40), (60, 40), (30, 60)])
@pytest.mark.parametrize("standardize", [True, False])
def test_line_of_unrelated_columns_is_theirs(rng, n, d, standardize):
    """The quantiles drawn against the mean over samples of eigenvalues of such columns."""
    scale = np.linspace(0.5, 2.0, d) if not standardize else np.ones(d)
    samples = [rng.normal(size=(n, d)) * scale for _ in range(20)]
    drawn = [MaskedRegression(0.5, standardize=standardize).fit(X).spectrum() for X in samples]
    found = collected(samples[0], alpha=0.5, standardize=standardize)["spectrum"]
    mean = np.mean(drawn, axis=0)
    assert np.abs(mean - found["noise"])[: min(n, d) // 3].max() < 0.03
    assert abs(np.quantile([values[0] for values in drawn], 0.95) - found["level"]) < 0.08


def test_level_is_the_monte_carlo_test():
    found = collected(rows_of(AutoRegressive(12, 0.8), 200), alpha=0.3)["spectrum"]
    assert found["level"] == pytest.approx(noise_level(np.ones(12), 199, 0.3), rel=1e-9)
    assert found["above"] == sum(value > found["level"] for value in found["values"])


def test_answer_says_what_is_filled_and_what_nothing_predicts(rng):
    X = np.column_stack([rows_of(AutoRegressive(5, 0.9), 150), rng.normal(size=150)])
    X[3, 1] = X[4, 1] = np.nan
    found = collected(X, [*"abcde", "junk" * 20])
    first, second = found["answer"]
    assert "2 missing cells (0.2%) are filled" in first
    assert "Nothing clearly predicts junkjunk" in second
    assert len(second) < 160
    assert found["missing"] == {"cells": 2, "share": 2 / 900, "columns": 1, "rows": 2}


@pytest.mark.parametrize("alpha", ["loo", "gcv", 0.0, 0.1, math.inf])
def test_every_penalty_gives_a_page(alpha):
    found = collected(rows_of(AutoRegressive(6, 0.5), 50), alpha=alpha)
    json.dumps(found, allow_nan=False)
    assert (found["path"] is None) == (alpha not in ("loo", "gcv"))
    assert (found["spectrum"] is None) == (alpha in (0.0, math.inf))
    assert "<h1" in render_masked(found)


def test_more_columns_than_rows_give_a_page():
    found = collected(rows_of(AutoRegressive(60, 0.9), 30))
    assert found["explained"]["left_out"] > 0.3
    assert "<h1" in render_masked(found)


def test_warnings_of_the_fit_become_findings(run):
    table = table_of(rows_of(AutoRegressive(4, 0.5), 40))
    found = collect_masked(table, MaskedRegression().fit(table), warned=["raise max_iter"])
    assert found["diagnostics"][0] | {"title": ""} == {
        "level": "warning", "title": "", "text": "raise max_iter", "cure": None,
    }  # fmt: skip
    assert "1 warning:" in render_masked(found)


# Tables -----------------------------------------------------------------------------------------


def test_numbers_and_booleans_are_used_and_gaps_kept(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,a,b,c\np,1,true,\nq,,false,2.5\n")
    found = numeric_columns(path, ["id"])
    assert found.column_names == ["a", "b", "c"]
    np.testing.assert_array_equal(
        np.column_stack(found.columns), [[1.0, 1.0, np.nan], [np.nan, 0.0, 2.5]]
    )


@pytest.mark.parametrize(
    ("text", "drop", "message"),
    [
        ("a,b,c\nx,1,2\ny,2,3\n", [], r"'a': text, 2 distinct.*--drop"),
        ("a,b\n1,2\n", ["q"], "no column 'q'; the 2 columns are 'a', 'b'"),
        ("a,b\n1,2\n", ["a", "b"], "no column is left"),
        (",a\n0,3\n1,4\n2,5\n", [], "counts the rows"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path, text, drop, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        numeric_columns(path, drop)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_filled_table_keeps_everything_else(tmp_path, ending):
    path = tmp_path / "t.csv"
    path.write_text("id,n,a\np,1,\nq,2,2.5\n")
    filled = pa.table({"n": [1.0, 2.0], "a": [7.25, 2.5]})
    target = tmp_path / f"f{ending}"
    target.write_bytes(filled_table(path, filled, ending))
    read = pd.read_csv(target) if ending == ".csv" else pd.read_parquet(target)
    assert read.to_dict("list") == {"id": ["p", "q"], "n": [1, 2], "a": [7.25, 2.5]}
    assert read["n"].dtype == np.int64


@pytest.mark.parametrize("index", [None, "key", ""])
def test_filled_nullable_columns_are_read_back(tmp_path, rng, index):
    """What pandas wrote of the types of columns holds no more once they are filled."""
    data = pd.DataFrame({"a": rng.normal(size=30), "b": rng.normal(size=30)})
    data["n"] = pd.array([pd.NA, *range(29)], dtype="Int64")
    data["f"] = pd.array([True, pd.NA, *[False, True] * 14], dtype="boolean")
    data["left"] = pd.array([1, pd.NA, *range(28)], dtype="Int64")
    data["when"] = pd.date_range("2020-01-01", periods=30, tz="UTC")
    if index is not None:
        data.index = pd.Index([f"r{i}" for i in range(30)], name=index or None)
    path, target = tmp_path / "p.parquet", tmp_path / "o.parquet"
    data.to_parquet(path)
    table = numeric_columns(path, ["left", "when", *([index] if index else [])])
    filled = MaskedRegression(0.1).fit(table).impute(table)
    target.write_bytes(filled_table(path, filled, ".parquet"))
    read = pd.read_parquet(target)
    assert read.columns.tolist() == data.columns.tolist()
    assert read[["n", "f"]].dtypes.tolist() == [np.float64, np.float64]
    assert read["n"].notna().all()
    assert read["left"].dtype == "Int64"
    assert read["left"].tolist() == data["left"].tolist()
    assert read["when"].tolist() == data["when"].tolist()
    if index:
        assert read.index.equals(data.index)


# The page ---------------------------------------------------------------------------------------


def hostile():
    names = [f"{j}{HOSTILE}" for j in range(5)] + ["y" * 200]
    X = np.column_stack(
        [rows_of(AutoRegressive(4, 0.8), 80), np.random.default_rng(5).normal(size=(80, 2))]
    )
    X[0, 0] = np.nan
    table = table_of(X, names)
    return collect_masked(table, MaskedRegression().fit(table), name=HOSTILE, warned=[HOSTILE])


def embedded(page, name):
    text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    return json.loads(text[1], parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_page_shows_and_carries_the_run(run):
    page = render_masked(run)
    assert embedded(page, "run") == run
    assert page.count("<h1") == 1
    for identifier in ("columns", "path", "spectrum", "learning", "provenance"):
        assert page.count(f'<section id="{identifier}"') == 1
    assert embedded(page, "charts").keys() == {"path", "spectrum", "learning"}
    body = without_scripts(page)
    assert not re.search(r"<(script|img|iframe|object|embed|video|audio|source)\b[^>]*src=", body)
    assert "url(" not in body
    assert "default-src 'none'" in body
    assert not re.search(r"\b(nan|inf|None)\b", body.split("</style>")[1])


def test_two_rows_give_a_page_without_curves(rng):
    found = collected(rng.normal(size=(2, 3)))
    page = render_masked(found)
    assert (found["path"], found["spectrum"], found["learning"]) == (None, None, None)
    assert charts(found) == {}
    assert "larger than unrelated" not in page
    titles = [one["title"] for one in found["diagnostics"]]
    assert "Only 2 rows" in titles
    assert not any("worse than by their mean" in title for title in titles)


def test_page_says_what_filled_cells_rest_on(run, holed):
    page = render_masked(holed)
    assert "missing at random" in without_scripts(page).split('id="columns"')[0]
    assert any("missing at random" in one["title"] for one in holed["diagnostics"])
    assert "missing at random" not in render_masked(run)


def test_one_missing_cell_is_one_row_and_one_column(run):
    X = rows_of(AutoRegressive(5, 0.8), 40)
    X[3, 2] = np.nan
    assert "1 row has at least one, in 1 column." in render_masked(collected(X))


def test_marked_errors_lie_within_the_axes(run):
    path = {"alphas": [0.01, 1.0, 3.0], "train": [0.1, 1.0, 1.0], "loo": [9.0, 8.0, 5.0]}
    spec = charts({"path": path | {"alpha": 1.0}})["path"]
    curves = next(one for one in spec["layer"] if "data" not in one)
    (marker,) = spec["datasets"]["marker"]
    assert marker["error"] <= curves["encoding"]["y"]["scale"]["domain"][1]


def test_a_penalty_for_each_column_is_told_as_a_range(rng):
    X = np.column_stack([rows_of(AutoRegressive(4, 0.9), 120), rng.normal(size=120)])
    found = collected(X, alpha_per_target=True)
    assert found["answer"][1].startswith("Penalties are ")
    assert "Penalties from" in render_masked(found)


def test_hostile_texts_are_escaped():
    page = render_masked(hostile())
    assert "<img src=x" not in page
    assert page.count("</script>") == page.count("<script") == 4
    assert page.count(html.escape(HOSTILE, quote=False)[:20]) > 6


def test_every_section_may_be_absent(run):
    for key, value in run.items():
        for other in (None, type(value)()):
            assert "<h1" in render_masked(run | {key: other}), key
    assert "No answer was computed" in render_masked({})
    assert charts({}) == {}


def test_chosen_penalty_is_marked_on_the_curve(run):
    path = charts(run)["path"]["datasets"]
    (marker,) = path["marker"]
    assert marker["alpha"] == run["model"]["alpha"]
    assert marker["error"] == pytest.approx(1 - run["explained"]["left_out"], rel=0.01)


def test_marker_lies_on_the_line_between_penalties():
    path = {"alphas": [0.01, 1.0], "loo": [1.0, 0.0], "alpha": 0.1}
    (marker,) = charts({"path": path})["path"]["datasets"]["marker"]
    assert marker["error"] == pytest.approx(0.5)


def test_errors_of_the_path_are_shares_of_the_variance():
    """At a large penalty every column is predicted by its mean, whatever its unit."""
    X = rows_of(AutoRegressive(6, 0.8), 200) * [1.0, 2.0, 5.0, 1.0, 1.0, 1.0]
    for standardize in (True, False):
        path = collected(X, standardize=standardize)["path"]
        for key in ("train", "loo", "gcv", "egcv"):
            assert path[key][-1] == pytest.approx(1.0, abs=0.03)


def test_charts_without_a_marked_penalty_have_no_empty_layer(rng):
    found = collected(rng.normal(size=(100, 4)))
    spec = charts(found)["path"]
    assert all(
        spec["datasets"][one.get("data", {"name": "curves"})["name"]] for one in spec["layer"]
    )


def test_wide_tables_show_some_columns_and_list_the_rest():
    found = collected(rows_of(AutoRegressive(40, 0.5), 100))
    page = render_masked(found)
    assert "The best and the worst 15 of 40 columns" in page
    assert "All 40 columns" in page


@pytest.fixture(scope="module")
def driver():
    with chromium() as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1200])
def test_page_is_quiet_and_fits_its_width(driver, tmp_path, run, width):
    wide = collected(np.random.default_rng(1).normal(size=(50, 4)))
    for k, one in enumerate((run, hostile(), wide)):
        path = tmp_path / f"{k}.html"
        path.write_text(render_masked(one), encoding="utf-8")
        open_report(driver, path, width)
        driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert driver.execute_script(
            "return document.scrollingElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert [entry for entry in driver.get_log("browser") if entry["level"] != "INFO"] == []
        assert driver.execute_script("return performance.getEntriesByType('resource')") == []
        assert driver.execute_script("return window.__pwned") is None
        assert driver.execute_script(
            "return [...document.querySelectorAll('.chart')].every("
            "c => c.querySelector('svg').getBoundingClientRect().height > 100)"
        )
    driver.get((tmp_path / "1.html").as_uri())
    assert HOSTILE[:40] in driver.execute_script("return document.body.innerText")
