"""``foretell masked``: files and names in, numbers and charts out, and one message if not."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from foretell import MaskedRegression
from foretell.cli import main
from foretell.theory.masked import (
    AutoRegressive,
    MaskedPopulation,
    compare_with_pca,
    masked_path,
    masked_pca_error,
    masked_regression,
    named_covariance,
    optimal_alpha,
    pca_error,
    random_mask_errors,
)
from foretell.theory.spectra import bbp_threshold, masked_spectrum

AR = "ar1:rho=0.5 --columns 4"


def call(text, *more):
    return CliRunner().invoke(main, ["masked", *text.split(), *map(str, more)])


def good(text, *more):
    result = call(text, *more)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(here):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(60, 4)) + rng.normal(size=(60, 1)), columns=list("abcd"))
    data.insert(0, "id", [f"p{i}" for i in range(60)])
    data.loc[[3, 7], "b"] = np.nan
    data["flag"] = data["a"] > 0
    data.to_csv("t.csv", index=False)
    return data


# Theory -----------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_theory(here):
    good("theory ar1:rho=0.9 --columns 40 --samples 80 --rank 5 --json o.json")
    numbers = json.loads((here / "o.json").read_text())
    sigma = AutoRegressive(40, 0.9)
    alpha = optimal_alpha(sigma, 80)
    theory = masked_regression(sigma, 80, alpha)
    assert numbers["alpha"] == pytest.approx(alpha)
    for key in ("kappa", "test_error", "train_error", "norm", "best_linear_error"):
        assert numbers[key] == pytest.approx(getattr(theory, key), rel=1e-12)
    assert numbers["pca"] == pytest.approx(float(pca_error(sigma, 80, 5)))
    assert numbers["masked_pca"] == pytest.approx(float(masked_pca_error(sigma, 80, 5)))


def test_elliptical_rows_have_a_theory_of_their_own(here):
    """Rows of a multivariate Student law err otherwise than normal ones."""
    text = "theory ar1:rho=0.9 --columns 40 --samples 80 --alpha 0.1 --curves c.json --json o.json"
    good(f"{text} --rows elliptical")
    numbers = json.loads((here / "o.json").read_text())
    sigma = AutoRegressive(40, 0.9)
    scales = MaskedPopulation(sigma, "elliptical").row_scales(10_000)
    expected = masked_regression(sigma, 80, 0.1, row_scales=scales)
    assert numbers["test_error"] == pytest.approx(expected.test_error, rel=1e-12)
    assert numbers["train_error"] < 0.95 * masked_regression(sigma, 80, 0.1).train_error
    curves = numbers["curves"]
    at = np.interp(np.log(0.1), np.log(curves["alpha"]), curves["test_error"])
    assert at == pytest.approx(expected.test_error, rel=0.01)


@pytest.mark.parametrize("ending", [".npy", ".csv", ".txt"])
def test_a_file_is_the_matrix_it_holds(here, ending):
    matrix = AutoRegressive(6, 0.9).matrix()
    if ending == ".npy":
        np.save("c.npy", matrix)
    else:
        np.savetxt(f"c{ending}", matrix, delimiter="," if ending == ".csv" else " ")
    named = good("theory ar1:rho=0.9 --columns 6 --samples 30 --alpha 0.1").output
    assert good(f"theory c{ending} --samples 30 --alpha 0.1").output == named
    assert good(f"theory c{ending} --samples 30 --alpha 0.1 --columns 6").output == named


def test_charts_hold_theory_and_simulation(here):
    text = "theory ar1:rho=0.9 --columns 30 --samples 60 --rank 3 --replicates 3 --seed 2"
    result = good(f"{text} --curves c.json --spectrum s.json --comparison p.json --json o.json")
    assert "3 replicates of 60 rows" in result.output
    sigma = AutoRegressive(30, 0.9)
    alpha = optimal_alpha(sigma, 60)
    layers = json.loads((here / "c.json").read_text())["layer"]
    line = [one for one in layers[0]["data"]["values"] if one["of"] == "test error"]
    path = masked_path(sigma, 60, [one["alpha"] for one in line])
    np.testing.assert_allclose([one["error"] for one in line], path.test_error, rtol=1e-9)
    points = [one for one in layers[-1]["data"]["values"] if one["of"] == "test error"]
    assert len(points) > 4
    for one in points:  # bands of two deviations of three replicates, and order 1/d
        theory = masked_regression(sigma, 60, one["alpha"]).test_error
        assert abs(one["mean"] / theory - 1) < 0.1
    outline = json.loads((here / "s.json").read_text())["layer"][1]["data"]["values"]
    x, height = np.array([[one["x"], one["height"]] for one in outline]).T
    law = masked_spectrum(sigma, 60, alpha)
    np.testing.assert_allclose(height[1:-1] * np.diff(x[1:]), np.diff(law.cdf(x[1:])), atol=1e-9)
    assert (height[1:-1] * np.diff(x[1:])).sum() == pytest.approx(1, abs=1e-9)
    numbers = json.loads((here / "o.json").read_text())
    assert numbers["comparison"]["crossover"] == pytest.approx(
        compare_with_pca(sigma, 60, alpha=alpha).crossover
    )
    assert numbers["simulation"]["test error"]["mean"] == pytest.approx(
        numbers["test_error"], rel=0.1
    )


def test_eigenvalues_far_below_are_drawn_by_their_logarithm(here):
    result = good("theory identity --columns 40 --samples 40 --alpha 0.001 --spectrum s.json")
    assert "training error inaccurate: n = 40" in result.stderr
    layers = json.loads((here / "s.json").read_text())["layer"]
    bars = layers[0]["data"]["values"]
    assert sum(one["height"] for one in bars) == pytest.approx(1)
    assert sum(one["height"] for one in layers[1]["data"]["values"]) == pytest.approx(1, abs=0.02)
    ends = np.array([[one["start"], one["end"]] for one in bars])
    assert (ends > 0).all()
    np.testing.assert_allclose(ends[:, 0] / ends[:, 1], ends[0, 0] / ends[0, 1], rtol=1e-9)


def test_penalty_in_use_is_always_on_the_curves(here):
    for alpha in (1e-7, 1e5):
        good(f"theory {AR} --samples 9 --alpha {alpha} --curves c.json")
        layers = json.loads((here / "c.json").read_text())["layer"]
        ends = [one["alpha"] for one in layers[0]["data"]["values"]]
        assert min(ends) < alpha < max(ends)
        assert layers[1]["data"]["values"] == [{"alpha": alpha}]


def test_outliers_of_spikes_are_named(here):
    result = good(
        "theory spiked:spikes=6,3 --columns 100 --samples 200 --alpha 1 --spectrum s.json"
    )
    outliers = masked_spectrum(named_covariance("spiked:spikes=6,3", 100), 200, 1.0).outliers
    assert len(outliers) == 2
    for outlier in outliers:
        assert f"{outlier.location:.4g}" in result.output


def test_random_masks(here):
    good("theory ar1:rho=0.9 --columns 20 --samples 40 --mask-rate 0.3 --json o.json")
    numbers = json.loads((here / "o.json").read_text())
    expected = random_mask_errors(AutoRegressive(20, 0.9), 40, 0.0, 0.3)
    assert numbers["test_error"] == pytest.approx(expected.test_error)
    best = good("theory ar1:rho=0.9 --columns 20 --samples 40 --mask-rate optimal").output
    single = masked_regression(
        AutoRegressive(20, 0.9, ring=True), 40, optimal_alpha(AutoRegressive(20, 0.9), 40)
    ).test_error
    found = float(best.split("test error")[1].split()[0])
    assert found < expected.single_test_error
    assert found == pytest.approx(single, rel=0.1)


def test_unrelated_columns_are_an_answer_but_no_chart(here):
    assert "best penalty is infinite" in good("theory identity --columns 4 --samples 9").output
    assert_refused(here, "theory identity --columns 4 --samples 9 --curves x.json", "give --alpha")


def test_phases(here):
    result = good("phases --support 2 --alpha 0.1 -o p.json")
    threshold = bbp_threshold(0.5, support=2, alpha=0.1)
    assert f"n/d = 2: shows in C above 0.707, in A above {threshold:.3g}" in result.output
    layers = json.loads((here / "p.json").read_text())["layer"]
    regions = {one["phase"] for one in layers[0]["data"]["values"]}
    assert regions == {"hidden", "visible in C, not in A", "visible in C and A"}
    assert "in A never" in good("phases --support 1 --alpha 0.1 -o p.json").output


@pytest.mark.parametrize("ending", [".svg", ".png", ".html"])
def test_charts_are_drawn(here, ending):
    good(f"theory {AR} --samples 9 --curves c{ending} --spectrum s{ending} --comparison p{ending}")
    good(f"phases -o f{ending}")
    for name in "cspf":
        assert (here / f"{name}{ending}").stat().st_size > 1000


# Tables -----------------------------------------------------------------------------------------


def test_fit_reports_and_fills(here, table):
    result = good("fit t.csv --drop id -o page.html --imputed f.csv --json o.json")
    numbers = json.loads((here / "o.json").read_text())
    assert numbers["answer"][0] in result.output
    assert "2 missing cells" in result.output
    filled = pd.read_csv("f.csv")
    assert filled.columns.tolist() == table.columns.tolist()
    pd.testing.assert_frame_equal(filled.drop(columns="b"), table.drop(columns="b"))
    known = table["b"].notna()
    np.testing.assert_allclose(filled["b"][known], table["b"][known], rtol=1e-15)
    columns = table.drop(columns="id").astype(float)
    expected = MaskedRegression().fit(columns).impute(columns)
    np.testing.assert_allclose(filled["b"], expected["b"], rtol=1e-12)
    assert (here / "page.html").read_text().startswith("<!doctype html>")
    good("fit t.csv --drop id --imputed f.parquet --alpha 0.3 --no-standardize")
    assert pd.read_parquet("f.parquet")["b"].notna().all()


def test_complete_rows_print_their_errors(here, table):
    table.drop(columns=["id", "b"]).to_csv("c.csv", index=False)
    output = good("fit c.csv --alpha gcv").output
    estimator = MaskedRegression("gcv").fit(table[["a", "c", "d", "flag"]].astype(float))
    for name, error in zip("acd", estimator.loo_error_, strict=False):
        assert f"{math.sqrt(error):.4g}" in next(
            line for line in output.splitlines() if line.startswith(f"  {name} ")
        )
    assert "generalized cross-validation" in output


def test_each_column_has_its_own_penalty(here, table):
    table.drop(columns=["id", "b"]).assign(noise=np.random.default_rng(1).normal(size=60)).to_csv(
        "c.csv", index=False
    )
    output = good("fit c.csv --alpha-per-target --json o.json -o page.html").output
    assert "Penalties are" in output
    numbers = json.loads((here / "o.json").read_text())
    assert numbers["model"]["per_target"]
    assert numbers["model"]["least_alpha"] < 0.5 * (numbers["model"]["alpha"] or math.inf)


def test_holes_are_said_to_be_missing_at_random(table):
    assert "missing at random" in good("fit t.csv --drop id").output


def test_report_names_the_cure_for_holes(here, table):
    table.to_csv("t.csv", index=False)
    result = CliRunner().invoke(
        main, ["report", "t.csv", "--target", "a", "--drop", "id", "-o", "r.html"]
    )
    assert result.exit_code == 2
    assert "foretell masked fit t.csv --drop y --imputed" in " ".join(result.output.split())


# Refusals ---------------------------------------------------------------------------------------


def assert_refused(here, text, message):
    """One message, status 2, and every file as it was."""
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    result = call(text)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split()), result.output
    assert result.output.count("Error: ") == 1
    assert "Traceback" not in result.output
    assert before == {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.npy --samples 9", "no.npy is no file"),
        ("wide.csv --samples 9", "(3, 4); expected a square matrix"),
        ("crooked.npy --samples 9", "is symmetric"),
        ("indefinite.npy --samples 9", "no negative eigenvalue"),
        ("gap.npy --samples 9", "is finite"),
        ("words.csv --samples 9", "cannot be read as a matrix"),
        ("empty.csv --samples 9", "empty.csv is no file, or an empty one"),
        ("wide.json --samples 9", "is read from .npy, .csv"),
        ("eye.npy --samples 9 --columns 4", "--columns is 4, and eye.npy has 3"),
        ("bogus --columns 4 --samples 9", "identity; spiked:spikes=6,3; ar1:rho=0.9"),
        ("bogus --samples 9", "no covariance is called 'bogus'"),
        ("ar1:tau=2 --columns 4 --samples 9", "has no option 'tau'; there are: rho, ring"),
        ("ar1:rho=0.5 --samples 9", "needs --columns"),
        ("ar1:rho=0.5 --columns 0 --samples 9", "a whole number from 1"),
        (f"{AR} --samples 1", "--samples is at least 2"),
        (f"{AR} --samples nan", "--samples is at least 2"),
        (f"{AR} --samples 9 --alpha -1", "--alpha is not negative"),
        (f"{AR} --samples 9 --alpha nan", "--alpha is not negative"),
        (f"{AR} --samples 9 --alpha inf", "--alpha is finite"),
        (f"{AR} --samples 9 --alpha best", "a number or optimal"),
        (f"{AR} --samples 9 --alpha 0 --spectrum old.json", "--spectrum needs a positive"),
        (f"{AR} --samples 9 --curves old.txt", "ends in .svg, .png, .html, .json"),
        (f"{AR} --samples 9 --curves no/c.png", "does not exist"),
        (f"{AR} --samples 9 --json no/c.json", "does not exist"),
        (f"{AR} --samples 9 --curves old.json --json old.json", "are the same file"),
        (f"{AR} --samples 9 --rank 4 --json old.json", "between 0 and d - 1 = 3; found 4"),
        (f"{AR} --samples 9 --replicates 1 --json old.json", "at least 2"),
        (f"{AR} --samples 9.5 --replicates 2 --json old.json", "a whole number"),
        (f"{AR} --samples 2 --replicates 2", "at least 3 --samples"),
        (f"{AR} --samples 9 --replicates 2 --jobs 0", "--jobs is at least 1"),
        (f"{AR} --samples 9 --replicates 2 --seed -1", "--seed is not negative"),
        (f"{AR} --samples 9 --jobs 2", "add --replicates"),
        (f"{AR} --samples 9 --seed 2", "add --replicates"),
        (f"{AR} --samples 9 --rows student", "add --replicates"),
        (f"{AR} --samples 9 --rows elliptical --rank 1", "for elliptical rows"),
        (f"{AR} --samples 9 --rows elliptical --spectrum old.json", "for elliptical rows"),
        (f"{AR} --samples 9 --mask-rate 0.3 --curves old.json --rank 1", "with --curves, --rank"),
        (f"{AR} --samples 9 --mask-rate 0.3 --replicates 2", "not go with --replicates"),
        (f"{AR} --samples 9 --mask-rate 0.3 --alpha optimal", "--alpha optimal is for one"),
        (f"{AR} --samples 9 --mask-rate 1.5", "in (0, 1)"),
        (f"{AR} --samples 9 --mask-rate some", "a share or optimal"),
        ("identity --columns 4 --samples 9 --mask-rate optimal", "best mask rate is 1"),
    ],
)  # fmt: skip
def test_bad_theory_is_refused(here, text, message):
    np.savetxt("wide.csv", np.ones((3, 4)), delimiter=",")
    (here / "wide.json").write_text("[]")
    np.save("eye.npy", np.eye(3))
    np.save("crooked.npy", np.triu(np.ones((3, 3))))
    np.save("indefinite.npy", np.array([[1.0, 2.0], [2.0, 1.0]]))
    np.save("gap.npy", np.diag([1.0, np.nan]))
    (here / "words.csv").write_text("a,b\nx,y\n")
    (here / "empty.csv").write_text("")
    (here / "old.json").write_text("old")
    assert_refused(here, f"theory {text}", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--ratios 3,1", "ascends"),
        ("--ratios 3", "two numbers"),
        ("--spikes -1,2", "ascends"),
        ("--alpha -1", "not negative"),
        ("--alpha 0", "above 0"),
        ("--alpha inf", "finite"),
        ("--support 0", "support"),
        ("-o p.pdf", "ends in"),
    ],
)
def test_bad_phases_are_refused(here, text, message):
    (here / "p.json").write_text("old")
    assert_refused(here, f"phases {'' if '-o' in text else '-o p.json'} {text}", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.csv", "there is no file no.csv"),
        ("t.csv", "'id': text, 60 distinct values"),
        ("t.csv --drop q", "no column 'q'"),
        ("t.csv --drop id --alpha -1", "not negative"),
        ("t.csv --drop id --alpha-per-target", "leave out --alpha-per-target"),
        ("t.csv --drop id --alpha-per-target --imputed f.csv", "does not go with --imputed"),
        ("t.csv --drop id --alpha most", "a number or loo, gcv"),
        ("t.csv --drop id --drop a --drop b --drop c --drop d", "at least 2"),
        ("t.csv --drop id -o no/page.html", "does not exist"),
        ("t.csv --drop id -o .", "is a directory"),
        ("t.csv --drop id --imputed t.csv", "TABLE and --imputed are the same file"),
        ("t.csv --drop id --imputed f.xlsx", "ends in .csv or .parquet"),
        ("t.csv --drop id -o f.csv --imputed f.csv", "--output and --imputed are the same"),
        ("constant.csv --drop id -o old.html", "'k': 1"),
        ("unseen.csv --drop id -o old.html", "every cell is missing"),
        ("infinite.csv --drop id -o old.html", "contains infinity"),
        ("blank.csv --drop id -o old.html", "no observed cell"),
        ("empty.csv", "is empty"),
    ],
)
def test_bad_tables_are_refused(here, table, text, message):
    (here / "old.html").write_text("old")
    (here / "empty.csv").write_text("")
    table.assign(k=1.0).to_csv("constant.csv", index=False)
    table.assign(k=np.nan).to_csv("unseen.csv", index=False)
    table.assign(c=np.where(np.arange(60) == 5, np.inf, table["c"])).to_csv(
        "infinite.csv", index=False
    )
    blank = table.astype({"flag": float})
    blank.loc[4, [*"abcd", "flag"]] = np.nan
    blank.to_csv("blank.csv", index=False)
    assert_refused(here, f"fit {text}", message)


def test_a_failure_writes_nothing(here, monkeypatch):
    """A chart that cannot be computed leaves the other files as they were."""
    (here / "c.json").write_text("old")
    assert_refused(
        here, "theory identity --columns 4 --samples 9 --curves c.json --json o.json", "infinite"
    )
    import foretell.cli.masked_charts as module

    def broken(*_):
        from foretell.errors import InputError

        raise InputError("broken")

    monkeypatch.setitem(module.CHARTS, "--comparison", broken)
    assert_refused(
        here, f"theory {AR} --samples 9 --curves c.json --comparison p.json --json o.json", "broken"
    )
