"""Charts of positive-pair graphs: what they show is what the graph says."""

import numpy as np
import pytest
import scipy.sparse as sp

from foretell.data.augmentations import Noise
from foretell.errors import InputError
from foretell.plots.graphs import (
    MOST_POINTS,
    plot_clusters,
    plot_embedding,
    plot_graph_spectrum,
    plot_strength,
)
from foretell.theory import PositivePairGraph
from foretell.theory.graphs.strength import augmentation_strength

LABELS = np.repeat(["a", "b", "c"], 4)


@pytest.fixture(scope="module")
def graph():
    """Three blocks of four vertices; the first and the second are closer."""
    between = np.array([[1, 0.2, 0.05], [0.2, 1, 0.02], [0.05, 0.02, 1]])
    return PositivePairGraph(np.kron(between, np.ones((4, 4))))


def values(chart, layer=0):
    return chart["layer"][layer]["data"]["values"]


def test_spectrum_marks_the_largest_gaps(graph):
    chart = plot_graph_spectrum(graph, 6)
    np.testing.assert_allclose([v["value"] for v in values(chart)], graph.spectrum(6))
    cuts = values(chart, 1)
    assert [c["text"] for c in cuts] == ["3 features", "2 features"]
    assert cuts[0]["top"] - cuts[0]["bottom"] == pytest.approx(graph.gap(3))
    assert chart["title"]["subtitle"] == "largest gaps after 2, 3"
    assert len(values(plot_graph_spectrum(graph, 2), 1)) == 1
    flat = PositivePairGraph(sp.eye_array(5))
    assert plot_graph_spectrum(flat, 4)["title"]["subtitle"].startswith("no gap")


def test_embedding_shows_two_columns_and_at_most_so_many_rows(graph):
    F = graph.embedding(3)
    chart = plot_embedding(F, LABELS, axes=(2, 1))
    np.testing.assert_array_equal([[v["a"], v["b"]] for v in values(chart)], F[:, [2, 1]])
    assert [v["label"] for v in values(chart)] == LABELS.tolist()
    assert chart["layer"][0]["encoding"]["x"]["title"] == "feature 3"
    many = np.random.default_rng(0).normal(size=(MOST_POINTS + 5, 2))
    drawn = plot_embedding(many, random_state=1)
    assert len(values(drawn)) == MOST_POINTS
    assert drawn["title"]["subtitle"] == f"{MOST_POINTS:,} of {len(many):,} rows"
    assert values(drawn) == values(plot_embedding(many, random_state=1))


def test_clusters_show_mass_and_conductance(graph):
    chart = plot_clusters(graph, LABELS, names=["A", "B", "C"])
    lines, nodes = values(chart), values(chart, 1)
    found = graph.conductance(LABELS)
    np.testing.assert_allclose([v["mass"] for v in nodes], found.masses)
    np.testing.assert_allclose([v["leaving"] for v in nodes], found.parts)
    assert sum(v["weight"] for v in lines) == pytest.approx(found.disagreement)
    strongest = max(lines, key=lambda v: v["weight"])
    assert strongest["between"] == "A and B"
    assert [v["name"] for v in nodes] == ["A", "B", "C"]
    assert len({(round(v["x"], 6), round(v["y"], 6)) for v in nodes}) == 3
    apart = PositivePairGraph(np.kron(np.eye(2), np.ones((2, 2))))
    assert values(plot_clusters(apart, [0, 0, 1, 1])) == []


def test_strength_has_four_curves_cut_at_one(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2)) + np.repeat([[0, 0], [4, 4]], 15, axis=0)
    sweep = augmentation_strength(X, np.repeat([0, 1], 15), Noise, [0.5, 1.0, 3.0], k=2)
    found = values(plot_strength(sweep, path=tmp_path / "s.json"))
    assert (tmp_path / "s.json").exists()
    assert len(found) == 12
    assert max(v["value"] for v in found) <= 1
    of = {(v["of"], v["strength"]): v["value"] for v in found}
    assert of["positive pairs that disagree", 3.0] == sweep.rows[2].phi
    assert of["probe error", 1.0] == sweep.rows[1].probe_error


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_all_are_drawn(graph, tmp_path, ending):
    pytest.importorskip("vl_convert")
    charts = {
        "spectrum": lambda path: plot_graph_spectrum(graph, 6, path=path),
        "embedding": lambda path: plot_embedding(graph.embedding(3), LABELS, path=path),
        "clusters": lambda path: plot_clusters(graph, LABELS, path=path),
    }
    for name, draw in charts.items():
        path = tmp_path / f"{name}.{ending}"
        draw(path)
        assert path.stat().st_size > 1000


def test_charts_refuse_what_they_cannot_draw(graph):
    with pytest.raises(InputError, match="at least 2 eigenvalues"):
        plot_graph_spectrum(graph, 1)
    with pytest.raises(InputError, match="from 1 to 11"):
        plot_graph_spectrum(graph, 12)
    with pytest.raises(InputError, match="columns of features"):
        plot_embedding(np.eye(3), axes=(1, 3))
    with pytest.raises(InputError, match="columns of features"):
        plot_embedding(np.ones(3))
    with pytest.raises(InputError, match="finite"):
        plot_embedding([[1.0, np.nan]])
    with pytest.raises(InputError, match="2 labels for 3 rows"):
        plot_embedding(np.eye(3), ["a", "b"])
    with pytest.raises(InputError, match="one class"):
        plot_clusters(graph, ["a"] * 12)
    with pytest.raises(InputError, match="2 names for 3 clusters"):
        plot_clusters(graph, LABELS, names=["A", "B"])
    with pytest.raises(InputError, match="ends in"):
        plot_embedding(np.eye(3), path="chart.gif")
