"""Bundled data are what their descriptions say, and a demonstration hides what it says it hides."""

from importlib.resources import files

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from foretell.data import samples
from foretell.data.samples import (
    DIABETES,
    FRENCH,
    INDUSTRIES,
    STYLES,
    demo_diabetes,
    demo_fund,
    load_diabetes_table,
    load_french,
)
from foretell.data.tables import load
from foretell.errors import InputError


@pytest.mark.parametrize(
    ("read", "description"), [(load_french, FRENCH), (load_diabetes_table, DIABETES)]
)
def test_description_matches_the_table(read, description):
    table = read()
    assert table.column_names == list(description.columns)
    assert table.num_rows == description.n_rows
    assert sum(column.null_count for column in table.columns) == 0


def test_french_returns_are_those_of_linearmodels():
    french = pytest.importorskip("linearmodels.datasets.french").load()
    table = load_french()
    assert table["dates"].to_pylist() == french["dates"].dt.date.tolist()
    for name in table.column_names[1:]:
        np.testing.assert_allclose(table[name], french[name], rtol=0, atol=1e-15)


def test_diabetes_is_that_of_scikit_learn():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    table = load_diabetes_table()
    np.testing.assert_array_equal(np.column_stack(table.columns), np.column_stack([X, y]))


def test_bundled_data_are_small_and_their_license_is_stated():
    folder = files("foretell.data") / "bundled"
    assert len((folder / "french.csv.gz").read_bytes()) < 100_000
    text = (folder / "LICENSES.md").read_text()
    assert "french.csv.gz" in text
    assert "THE SOFTWARE IS PROVIDED" in text


def test_industries_and_styles_are_the_thirty_portfolios():
    assert list(FRENCH.columns)[6:] == [*INDUSTRIES, *STYLES]
    assert (len(INDUSTRIES), len(STYLES)) == (12, 18)
    assert STYLES["S1M5"] == "small firms, high past return"


@pytest.mark.parametrize("make", [demo_fund, demo_diabetes])
def test_demo_hides_all_but_the_labeled_rows(make):
    demo = make(n_labeled=50)
    y = load(demo.table, demo.target).y
    np.testing.assert_array_equal(~np.isnan(y), demo.labeled)
    np.testing.assert_array_equal(y[demo.labeled], demo.truth[demo.labeled])
    assert demo.labeled.sum() == 50
    assert np.isfinite(demo.truth).all()


def test_demo_fund_has_the_styles_in_percent():
    demo = demo_fund()
    french = load_french()
    assert demo.table.column_names == [*STYLES, "Money"]
    np.testing.assert_array_equal(demo.truth, 100 * french["Money"].to_numpy())
    np.testing.assert_array_equal(demo.table["S1V1"], 100 * french["S1V1"].to_numpy())


def test_demo_fund_leaves_itself_out():
    others = demo_fund("S3V3", columns="others").table.column_names
    assert (len(others), others.count("S3V3"), others[-1]) == (30, 1, "S3V3")
    assert len(demo_fund("S3V3").table.column_names) == 18
    chosen = demo_fund("Hlth", columns=["MktRF", "Utils", "Hlth"])
    assert chosen.table.column_names == ["MktRF", "Utils", "Hlth"]


def test_demo_draws_repeat_by_seed_and_last_months_are_last():
    first, again, other = (demo_fund(random_state=seed).labeled for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    np.testing.assert_array_equal(
        np.flatnonzero(demo_fund(choice="last", n_labeled=24).labeled), np.arange(795, 819)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fund": "money"}, ["no fund 'money'", "did you mean 'Money'", "NoDur"]),
        ({"columns": "all"}, ["'all'", "'styles', 'others'"]),
        ({"columns": ["S1V1", "dates"]}, ["'dates'", "MktRF"]),
        ({"n_labeled": 1}, ["n_labeled is 1", "2 to 818"]),
        ({"n_labeled": 819}, ["n_labeled is 819", "of the 819 rows"]),
        ({"choice": "first"}, ["'first'", "'random' or 'last'"]),
    ],
)
def test_demo_refuses_what_it_does_not_have(options, words):
    with pytest.raises(InputError) as caught:
        demo_fund(**options)
    assert [word for word in words if word not in str(caught.value)] == []


def components(X, labeled, truth, rank):
    """Mean squared error of hidden rows by least squares on principal components, and coverage."""
    Z = (X - X.mean(0)) / X.std(0)
    F = np.linalg.svd(Z, full_matrices=False)[0][:, :rank] * np.sqrt(len(Z))
    A = np.column_stack([np.ones(len(F)), F])
    inverse = np.linalg.inv(A[labeled].T @ A[labeled])
    coef = inverse @ A[labeled].T @ truth[labeled]
    error = truth - A @ coef
    variance = error[labeled] @ error[labeled] / (labeled.sum() - rank - 1)
    se = np.sqrt(variance * (1 + np.einsum("ij,jk,ik->i", A, inverse, A)))
    inside = np.abs(error) <= 2.0032 * se  # 97.5 % quantile of Student's t with 56 degrees
    return np.mean(error[~labeled] ** 2), inside[~labeled].mean()


def test_demo_fund_numbers_are_those_of_its_docstring():
    """Least squares on three components of all months: 5.66, and 94 % inside, over 100 draws."""
    demos = [demo_fund(random_state=seed) for seed in range(100)]
    X = np.column_stack([demos[0].table[name] for name in STYLES])
    found = np.array([components(X, demo.labeled, demo.truth, 3) for demo in demos])
    assert found.mean(0) == pytest.approx([5.66, 0.944], abs=0.005)
    assert "is 5.7 for least squares" in (samples.demo_fund.__doc__ or "")
