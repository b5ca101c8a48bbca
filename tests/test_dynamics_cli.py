"""``foretell dynamics`` and its charts."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from foretell.cli import main
from foretell.errors import InputError
from foretell.plots.dynamics import (
    plot_landscape,
    plot_portrait,
    plot_schur,
    plot_trajectories,
)
from foretell.theory import FactorizationFlow

FLOW = FactorizationFlow(
    np.diag([3.0, 2.0, 0.0, 0.0]), 0.1 * np.random.default_rng(0).normal(size=(4, 3))
)


def run(*arguments):
    return CliRunner().invoke(main, ["dynamics", *map(str, arguments)])


def test_says_what_is_learned_and_when(tmp_path):
    out = tmp_path / "numbers.json"
    result = run("eigenvalues:3,2,0,-1", "--rank", 2, "--size", 0.001, "--json", out)
    assert result.exit_code == 0, result.output
    assert "4 equilibria" in result.output
    assert "inside the stable set" in result.output
    numbers = json.loads(out.read_text())
    assert numbers["n_equilibria"] == 4
    assert numbers["equilibria"][0]["loss"] == pytest.approx(0.25)
    first, second = numbers["learned_at"]
    assert 0 < first < second


def test_a_matrix_and_a_start_from_files(tmp_path):
    matrix = np.array([[2.0, 1.0], [1.0, 2.0]])
    np.save(tmp_path / "start.npy", np.array([[1.0], [-1.0]]))  # orthogonal to the leading one
    np.savetxt(tmp_path / "target.csv", matrix, delimiter=",")
    result = run(tmp_path / "target.csv", "--rank", 1, "--start", tmp_path / "start.npy")
    assert result.exit_code == 0, result.output
    assert "outside the stable set" in result.output


def test_draws_what_is_asked_for(tmp_path):
    names = ("trajectories", "cascade", "portrait", "landscape")
    options = [part for name in names for part in (f"--{name}", tmp_path / f"{name}.json")]
    result = run("eigenvalues:3,2,0,0", "--rank", 3, "--size", 0.1, *options)
    assert result.exit_code == 0, result.output
    for name in names:
        assert json.loads((tmp_path / f"{name}.json").read_text())["layer"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.csv", "--rank", 1], "no file"),
        (["eigenvalues:3,x", "--rank", 1], "eigenvalues are numbers"),
        (["eigenvalues:3,1", "--rank", 0], "--rank is at least 1"),
        (["eigenvalues:3,1", "--rank", 3], "3"),
        (["eigenvalues:3,1", "--rank", 1, "--size", 0], "--size"),
        (["eigenvalues:3,1", "--rank", 1, "--until", -1, "--trajectories", "t.json"], "--until"),
        (["eigenvalues:3,1", "--rank", 1, "--trajectories", "t.gif"], "ends in"),
        (["eigenvalues:nan,1", "--rank", 1], "finite"),
        (["eigenvalues:1e120,1", "--rank", 1], "other units"),
        (["eigenvalues:2", "--rank", 1, "--portrait", "p.json"], "two directions"),
        (["eigenvalues:3,1", "--rank", 1, "--seed", -1], "--seed"),
    ],
)
def test_bad_input_is_one_message(tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_trajectories_end_at_the_eigenvalues():
    chart = plot_trajectories(FLOW, np.linspace(0, 60, 50))
    last = [r["value"] for r in chart["layer"][2]["data"]["values"] if r["t"] == 60.0]
    np.testing.assert_allclose(sorted(last)[1:], [2.0, 3.0], rtol=1e-6)


def test_schur_complement_stays_below_its_envelope():
    values = plot_schur(FLOW, np.geomspace(0.1, 1e4, 60))["layer"][0]["data"]["values"]
    found = {(r["of"], r["t"]): r["size"] for r in values}
    times = {t for of, t in found if of == "S"}
    assert len(times) == 60
    assert all(found["S", t] <= found["envelope of S", t] * (1 + 1e-9) for t in times)
    assert found["S", 1e4] == pytest.approx(0.5e-4, rel=0.05)


def test_portrait_ends_at_the_minimum():
    chart = plot_portrait(np.diag([3.0, 2.0, 0.0]), 2)
    curves, points = (layer["data"]["values"] for layer in chart["layer"])
    ends = {r["of"]: (r["a"], r["b"]) for r in curves}
    np.testing.assert_allclose(list(ends.values()), [[3.0, 2.0]] * len(ends), atol=1e-3)
    assert {"a": 3.0, "b": 2.0, "kind": "global minimum"} in points
    assert len(points) == 4


def test_landscape_has_one_minimum_without_escape():
    points = plot_landscape(FLOW)["layer"][0]["data"]["values"]
    assert len(points) == 4
    assert [p["kind"] for p in points if p["escapes"] == 0] == ["global minimum"]


def test_charts_refuse_what_they_cannot_draw():
    for times in (3.0, []):
        with pytest.raises(InputError, match="at least two"):
            plot_trajectories(FLOW, times)
    many = FactorizationFlow(np.diag(np.arange(40.0, 0.0, -1.0)), np.eye(40))
    assert "30 largest of 40" in plot_trajectories(many, [0.0, 1.0])["title"]["subtitle"]
