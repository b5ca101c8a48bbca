"""``foretell graph``: tables and weights in; numbers, charts and messages out."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pytest
import scipy.io
import scipy.sparse as sp
from click.testing import CliRunner

from foretell.cli import main
from foretell.data.augmentations import Noise
from foretell.data.labeled import standardized
from foretell.theory import PositivePairGraph

KINDS = np.repeat(["left", "middle", "right"], 20)


def run(*arguments):
    return CliRunner().invoke(main, ["graph", *map(str, arguments)])


def clusters(spread=0.3):
    """Sixty rows of two columns around three places, shape (60, 2)."""
    rng = np.random.default_rng(0)
    return np.repeat([[0.0, 0], [3, 3], [6, 0]], 20, axis=0) + spread * rng.normal(size=(60, 2))


@pytest.fixture
def table(tmp_path):
    """A function that writes a table of clusters with a class of text, and says where."""

    def write(kind=KINDS, **columns):
        a, b = clusters().T
        path = tmp_path / "table.csv"
        pc.write_csv(pa.table({"a": a, "b": b, **columns, "kind": list(kind)}), path)
        return path

    return write


def weights(n=12):
    """Two blocks of n / 2 vertices with weak links between them."""
    W = np.kron(np.eye(2), np.ones((n // 2, n // 2))) + 0.05
    return W - np.diag(np.diag(W))


def test_numbers_are_those_of_the_graph(table, tmp_path):
    out = tmp_path / "numbers.json"
    result = run(table(), "--augment", "noise:0.3", "--label", "kind", "--rank", 3, "--json", out)
    assert result.exit_code == 0, result.output
    assert "60 samples, 480 augmented points" in result.output
    assert "Features: 3" in result.output
    assert "Classes as clusters: 3 parts" in result.output
    numbers = json.loads(out.read_text())
    graph = PositivePairGraph.from_samples(standardized(clusters()), Noise(0.3), n_views=8)
    labels = graph.source.bayes_labels(KINDS)
    assert numbers["vertices"] == 480
    np.testing.assert_allclose(numbers["eigenvalues"][:5], graph.spectrum(5), atol=1e-10)
    assert numbers["minimal_loss"] == pytest.approx(graph.minimal_loss(3), abs=1e-10)
    assert numbers["alpha"] == pytest.approx(graph.source.alpha(KINDS), abs=1e-12)
    assert numbers["disagreement"] == pytest.approx(graph.disagreement(labels), abs=1e-10)
    assert numbers["probe_error"] == pytest.approx(graph.probe_error(labels, 3), abs=1e-10)
    assert numbers["conductance"] == pytest.approx(graph.conductance(labels).largest, abs=1e-10)


def test_the_rank_is_before_the_largest_gap(table):
    result = run(table(), "--augment", "noise:0.3", "--drop", "kind", "--parts", 3)
    assert result.exit_code == 0, result.output
    assert "Features: 3" in result.output
    assert "Sparsest partition found" in result.output
    assert "class" not in result.output


def test_columns_are_left_out_and_not_standardized(table, tmp_path):
    out = tmp_path / "numbers.json"
    path = table(name=[f"row {i}" for i in range(60)])
    options = ["--augment", "noise:0.4", "--drop", "name", "--drop", "kind", "--no-standardize"]
    result = run(path, *options, "--views", 3, "--seed", 5, "--json", out)
    assert result.exit_code == 0, result.output
    graph = PositivePairGraph.from_samples(clusters(), Noise(0.4), n_views=3, random_state=5)
    found = json.loads(out.read_text())["eigenvalues"]
    np.testing.assert_allclose(found[:4], graph.spectrum(4), atol=1e-10)


@pytest.mark.parametrize(
    ("augment", "options", "text"),
    [
        ("mask:0.4", [], "60 samples"),
        ("crop:1", [], "60 samples"),
        ("mask:0.2+noise:0.5", ["--cells", 15], "15 augmented points"),
        ("noise:0.5", ["--cells", 12, "--views", 4], "12 augmented points"),
    ],
)
def test_kinds_of_augmentation(table, augment, options, text):
    result = run(table(), "--augment", augment, "--label", "kind", "--rank", 2, *options)
    assert result.exit_code == 0, result.output
    assert text in result.output


def test_unlabeled_rows_take_part(table):
    kind = KINDS.astype(object)
    kind[::4] = None
    result = run(table(kind), "--augment", "noise:1", "--label", "kind", "--rank", 3)
    assert result.exit_code == 0, result.output
    assert "60 samples" in result.output
    assert "Classes as clusters: 3 parts" in result.output


def test_points_of_unlabeled_rows_only(table, tmp_path):
    """The spectrum is still told, and why nothing is said of classes; what needs them fails."""
    kind = KINDS.astype(object)
    kind[40:] = None
    arguments = [table(kind), "--augment", "noise:0.1", "--label", "kind", "--rank", 2]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "Features: 2" in result.output
    assert "come from unlabeled rows only" in result.output
    assert "Classes as clusters" not in result.output
    for more in (["--clusters", tmp_path / "c.json"], ["--strengths", "0.5,1"]):
        result = run(*arguments, *more)
        assert result.exit_code == 2
        assert "come from unlabeled rows only" in result.output


def test_draws_what_is_asked_for(table, tmp_path):
    names = ("spectrum", "embedding", "clusters", "strength")
    options = [part for name in names for part in (f"--{name}", tmp_path / f"{name}.json")]
    out = tmp_path / "numbers.json"
    result = run(
        table(), "--augment", "noise:0.3", "--label", "kind", "--strengths", "2,0.5",
        *options, "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for name in names:
        assert json.loads((tmp_path / f"{name}.json").read_text())["layer"]
    swept = json.loads(out.read_text())["strengths"]
    assert [row["strength"] for row in swept] == [0.5, 2.0]
    assert swept[0]["phi"] < swept[1]["phi"]


@pytest.mark.parametrize("ending", [".npz", ".npy", ".mtx"])
def test_weights_from_files(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    if ending == ".npy":
        np.save(path, weights())
    elif ending == ".npz":
        sp.save_npz(path, sp.csr_array(weights()))
    else:
        scipy.io.mmwrite(path, sp.coo_array(weights()))
    (tmp_path / "labels.txt").write_text("a\n" * 6 + "b\n" * 6 + "\n")
    out = tmp_path / "numbers.json"
    result = run(path, "--labels", tmp_path / "labels.txt", "--rank", 2, "--json", out)
    assert result.exit_code == 0, result.output
    graph = PositivePairGraph(weights())
    numbers = json.loads(out.read_text())
    np.testing.assert_allclose(numbers["eigenvalues"], graph.spectrum(11), atol=1e-12)
    assert numbers["conductance"] == pytest.approx(float(graph.conductance(["a"] * 6 + ["b"] * 6)))
    assert numbers["probe_error"] == 0


def test_isolated_vertices_are_dropped_when_asked(tmp_path):
    W = np.zeros((13, 13))
    W[1:, 1:] = weights()
    np.save(tmp_path / "weights.npy", W)
    (tmp_path / "labels.txt").write_text("\n".join(["a"] * 7 + ["b"] * 6))
    arguments = [tmp_path / "weights.npy", "--labels", tmp_path / "labels.txt", "--rank", 2]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "--drop-isolated" in refused.output
    charts = ["--embedding", tmp_path / "e.json", "--clusters", tmp_path / "c.json"]
    result = run(*arguments, "--drop-isolated", *charts)
    assert result.exit_code == 0, result.output
    assert "weights of 12 vertices, 1 isolated ones dropped" in result.output
    values = json.loads((tmp_path / "e.json").read_text())["layer"][0]["data"]["values"]
    assert [row["label"] for row in values] == ["a"] * 6 + ["b"] * 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.csv", "--augment", "noise:1"], "no file"),
        (["table.csv"], "--augment"),
        (["table.csv", "--augment", "noise:1", "--label", "sort"], "sort"),
        (["table.csv", "--augment", "noise:1", "--drop", "sort"], "sort"),
        (["table.csv", "--augment", "noise:1"], "kind"),  # text among the numbers
        (["table.csv", "--augment", "blur:1", "--label", "kind"], "noise:0.5, mask:0.2"),
        (["table.csv", "--augment", "noise:x", "--label", "kind"], "noise:0.5, mask:0.2"),
        (["table.csv", "--augment", "noise:-1", "--label", "kind"], ">= 0"),
        (["table.csv", "--augment", "mask:2", "--label", "kind"], "between 0 and 1"),
        (["table.csv", "--augment", "crop:5", "--label", "kind"], "1 to 2 columns"),
        (["table.csv", "--augment", "crop:1.5", "--label", "kind"], "whole number of columns"),
        (["OK", "--rank", 0], "whole number from 1 to"),
        (["OK", "--rank", 480], "whole number from 1 to 479"),
        (["OK", "--rank", "two"], "--rank is a whole number or auto"),
        (["OK", "--parts", 0], "--parts is at least 2"),
        (["OK", "--views", 0], "n_views"),
        (["OK", "--cells", 0], "cells"),
        (["OK", "--seed", -1], "--seed"),
        (["OK", "--strengths", "1,x"], "--strengths are numbers above 0"),
        (["OK", "--strengths", "0,1"], "--strengths are numbers above 0"),
        (["OK", "--strength", "s.json"], "--strength draws what --strengths do"),
        (["OK", "--labels", "labels.txt"], "--label COLUMN"),
        (["OK", "--spectrum", "s.gif"], "ends in"),
        (["OK", "--spectrum", "no/such/folder/s.json"], "does not exist"),
        (["dropped", "--strengths", "1"], "--label"),
        (["dropped", "--clusters", "c.json"], "--label"),
        (["crop", "--strengths", "1,2"], "found a crop"),
        (["one.csv", "--augment", "noise:1", "--label", "kind"], "one class"),
        (["none.csv", "--augment", "noise:1", "--label", "kind"], "none of the 4 samples"),
        (["weights.npy", "--labels", "short.txt"], "found 3"),
        (["weights.npy", "--labels", "holes.txt"], "1 of 12 labels are missing"),
        (["weights.npy", "--labels", "same.txt"], "one class"),
        (["weights.npy", "--labels", "missing.txt"], "missing.txt"),
        (["weights.npy", "--augment", "noise:1"], "--labels FILE"),
        (["weights.npy", "--clusters", "c.json"], "--label or --labels"),
        (["asymmetric.npy"], "not symmetric"),
        (["negative.npy"], "negative"),
        (["nan.npy"], "not finite"),
        (["zero.npy"], "all zero"),
        (["wide.npy"], "square"),
        (["isolated.npy"], "all-zero rows"),
        (["missing.npz"], "no file"),
        (["broken.npz"], "cannot be read"),
        (["broken.mtx"], "cannot be read"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(table, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    table()
    for name, kinds in {"one": ["x"] * 4, "none": [None] * 4}.items():
        rows = pa.table({"a": [0.0, 1, 2, 4], "b": [1.0, 0, 1, 0], "kind": kinds})
        pc.write_csv(rows, tmp_path / f"{name}.csv")
    W = weights()
    changed = {"asymmetric": (0, 1, 9.0), "negative": (0, 0, -1.0), "nan": (0, 0, np.nan)}
    for name, (i, j, value) in changed.items():
        bad = W.copy()
        bad[i, j] = value
        np.save(f"{name}.npy", bad)
    keep = np.arange(12) != 3
    np.save("weights.npy", W)
    np.save("zero.npy", 0 * W)
    np.save("wide.npy", W[:5])
    np.save("isolated.npy", W * keep * keep[:, None])
    for name, lines in {
        "short": "abc", "same": "a" * 12, "holes": "aaaa bbbbbbb", "labels": "ab"
    }.items():  # fmt: skip
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    for ending in ("npz", "mtx"):
        (tmp_path / f"broken.{ending}").write_text("what")
    before = sorted(tmp_path.iterdir())
    starts = {
        "OK": ["table.csv", "--augment", "noise:1", "--label", "kind"],
        "dropped": ["table.csv", "--augment", "noise:1", "--drop", "kind"],
        "crop": ["table.csv", "--augment", "crop:1", "--label", "kind"],
    }
    result = run(*starts.get(arguments[0], arguments[:1]), *arguments[1:])
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "Traceback" not in result.output
    assert sorted(tmp_path.iterdir()) == before


def test_a_head_on_rows_is_told_where_few_rows_are_labeled(tmp_path):
    """Rows of two far groups, a third of them labeled: their mean features tell them apart."""
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 2
    rows = rng.normal(size=(60, 3)) + 4.0 * groups[:, None]
    lines = ["a,b,c,kind"]
    for j, (row, group) in enumerate(zip(rows, groups, strict=True)):
        name = ("left", "right")[group] if j % 3 == 0 else ""
        lines.append(",".join([*(f"{v:.4f}" for v in row), name]))
    path, out = tmp_path / "rows.csv", tmp_path / "numbers.json"
    path.write_text("\n".join(lines))
    result = run(path, "--label", "kind", "--augment", "noise:0.7", "--rank", 3, "--json", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())["row_accuracy"]
    assert found["value"] == 1.0
    assert 0.5 < found["low"] < 1.0
    weak = run(path, "--label", "kind", "--augment", "noise:0.01", "--rank", 3)
    assert "too weak" in weak.output
    assert "linear head" not in weak.output
