"""Charts of positive-pair graphs: spectrum, embedding, clusters, strength of augmentation.

Each gives a Vega-Lite specification, data included, and writes it to ``path`` if there is one:
``.svg``, ``.png``, ``.html`` or ``.json``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.plots.charts import LIMIT, SIMULATION, layered, quantity, rows

Path = str | os.PathLike[str] | None
GREY = "#b5b5b5"
MOST_POINTS = 4000  # of an embedding
MARKED_GAPS = 3
RESOLVED = 1e-8  # gaps below are rounding


def plot_graph_spectrum(graph: Any, k: int, *, path: Path = None) -> dict[str, Any]:
    """The k leading eigenvalues of the normalised adjacency; its largest gaps marked.

    A gap after the i-th eigenvalue says that i features are well determined.

    Parameters
    ----------
    graph
        A :class:`~foretell.theory.PositivePairGraph`.
    k
        Number of eigenvalues, 2 or more, below the number of vertices.
    path
        The file to write.

    Raises
    ------
    InputError
        If k is below 2 or too large for the graph.
    """
    if k < 2:
        raise InputError(f"a spectrum with gaps has at least 2 eigenvalues; found k = {k}")
    values = graph.spectrum(k)
    gaps = values[:-1] - values[1:]
    # the first eigenvalue is always one, and its gap says only that the graph hangs together
    order = 1 + np.argsort(-gaps[1:], kind="stable") if k > 2 else np.zeros(1, dtype=int)
    marked = [int(i) for i in order[:MARKED_GAPS] if gaps[i] > RESOLVED]
    points = rows(number=np.arange(1, k + 1), value=values)
    cuts = [
        {
            "number": i + 1.5,
            "top": float(values[i]),
            "bottom": float(values[i + 1]),
            "text": f"{i + 1} features",
        }
        for i in marked
    ]
    x = quantity("number", "number")
    x |= {"scale": {"domain": [0, k + 2], "nice": False}, "axis": {"tickMinStep": 1}}
    y = {
        "field": "value", "type": "quantitative", "title": "eigenvalue", "scale": {"zero": False}
    }  # fmt: skip
    layers = [
        {
            "data": {"values": points},
            "mark": {"type": "circle", "size": max(12.0, min(70.0, 1500 / k)), "opacity": 1},
            "encoding": {
                "x": x, "y": y, "color": {"value": SIMULATION},
                "tooltip": [{"field": "number"}, {"field": "value", "format": ".5f"}],
            },
        },
        {
            "data": {"values": cuts},
            "mark": {"type": "rule", "color": LIMIT, "strokeWidth": 2},
            "encoding": {
                "x": x, "y": y | {"field": "bottom"}, "y2": {"field": "top"},
            },
        },
        {
            "data": {"values": cuts},
            "mark": {"type": "text", "align": "left", "dx": 5, "dy": -3, "color": LIMIT},
            "encoding": {"x": x, "y": y | {"field": "top"}, "text": {"field": "text"}},
        },
    ]  # fmt: skip
    return layered("Spectrum of the positive-pair graph", _gap_note(marked), layers, path)


def plot_embedding(
    features: Any,
    labels: Any = None,
    *,
    axes: tuple[int, int] = (0, 1),
    random_state: int = 0,
    path: Path = None,
) -> dict[str, Any]:
    """Two coordinates of an embedding, colored by label.

    Parameters
    ----------
    features
        Of a graph (``graph.embedding(k)``, of which the first coordinate is constant on a
        connected graph: take ``axes=(1, 2)``) or of a network, shape (n, k).
    labels
        One a row, shape (n,); None for one color.
    axes
        The two columns drawn, numbered from zero.
    random_state
        Seed of the choice of rows where there are more than 4,000.
    path
        The file to write.

    Raises
    ------
    InputError
        If there are no such columns, features are not finite, or labels do not fit.

    Examples
    --------
    >>> chart = plot_embedding(np.eye(3), ["a", "b", "a"])
    >>> len(chart["layer"][0]["data"]["values"])
    3
    """
    points = np.asarray(features, dtype=np.float64)
    if points.ndim != 2 or not all(0 <= a < points.shape[1] for a in axes):
        raise InputError(
            f"axes {axes} are columns of features, shape (n, k); found shape {points.shape}"
        )
    if not np.isfinite(points).all():
        raise InputError("features to draw are finite numbers; found some that are not")
    names = None if labels is None else np.array([str(v) for v in np.asarray(labels).tolist()])
    if names is not None and len(names) != len(points):
        raise InputError(f"found {len(names)} labels for {len(points)} rows of features")
    shown = np.arange(len(points))
    if len(points) > MOST_POINTS:
        draw = np.random.default_rng(random_state).choice(len(points), MOST_POINTS, replace=False)
        shown = np.sort(draw)
    values = rows(a=points[shown, axes[0]], b=points[shown, axes[1]])
    room = {"scale": {"zero": False, "padding": 8}}
    encoding: dict[str, Any] = {
        "x": quantity("a", f"feature {axes[0] + 1}") | room,
        "y": quantity("b", f"feature {axes[1] + 1}") | room,
    }
    if names is not None:
        for value, name in zip(values, names[shown].tolist(), strict=True):
            value["label"] = name
        scheme = "tableau10" if len(set(names)) <= 10 else "tableau20"
        encoding["color"] = {
            "field": "label", "type": "nominal", "title": None, "scale": {"scheme": scheme},
            "legend": {"symbolOpacity": 1},
        }  # fmt: skip
    layer = {
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 18, "opacity": 0.6},
        "encoding": encoding,
    }
    some = f"{len(shown):,} of {len(points):,} rows" if len(shown) < len(points) else ""
    return layered("Embedding", some, [layer], path)


def plot_clusters(
    graph: Any, labels: Any, *, names: Sequence[str] | None = None, path: Path = None
) -> dict[str, Any]:
    """The graph of clusters: circles as large as their mass, lines as thick as what connects them.

    Parameters
    ----------
    graph
        A :class:`~foretell.theory.PositivePairGraph`.
    labels
        Cluster of every vertex, shape (n,).
    names
        Of the clusters, in order of the first appearance of their labels.
    path
        The file to write.

    Raises
    ------
    InputError
        If labels do not fit, there is one cluster, or names do not fit.
    """
    weights = graph.cluster_weights(labels)
    found, mass = weights.classes, weights.mass
    called = [str(v) for v in found] if names is None else [str(v) for v in names]
    if len(called) != len(found):
        raise InputError(f"found {len(called)} names for {len(found)} clusters")
    sizes, places = mass.sum(axis=1), _circle(mass)
    leaving = 1.0 - np.diag(mass) / sizes
    nodes = [
        {"x": float(x), "y": float(y), "name": name, "mass": float(m), "leaving": float(c)}
        for (x, y), name, m, c in zip(places, called, sizes, leaving, strict=True)
    ]
    first, second = np.triu_indices(len(found), 1)
    lines = [
        {
            "x": nodes[i]["x"], "y": nodes[i]["y"], "x2": nodes[j]["x"], "y2": nodes[j]["y"],
            "between": f"{called[i]} and {called[j]}", "weight": float(2 * mass[i, j]),
        }
        for i, j in zip(first, second, strict=True) if mass[i, j] > 0
    ]  # fmt: skip
    x, y = _hidden("x"), _hidden("y")
    percent = {"format": ".2%"}
    layers = [
        {
            "data": {"values": lines},
            "mark": {"type": "rule", "color": GREY},
            "encoding": {
                "x": x, "y": y, "x2": {"field": "x2"}, "y2": {"field": "y2"},
                "strokeWidth": {
                    "field": "weight", "type": "quantitative", "title": "positive pairs between",
                    "scale": {"range": [0, 9], "zero": True},
                    "legend": percent | {"symbolType": "stroke", "symbolSize": 500},
                },
                "tooltip": [{"field": "between"}, {"field": "weight"} | percent],
            },
        },
        {
            "data": {"values": nodes},
            "mark": {"type": "circle", "opacity": 1, "stroke": "white"},
            "encoding": {
                "x": x, "y": y,
                "size": {
                    "field": "mass", "type": "quantitative", "legend": None,
                    "scale": {"zero": True, "range": [0, 1600]},
                },
                "color": {
                    "field": "leaving", "type": "quantitative", "title": "conductance",
                    "scale": {"scheme": "oranges", "domain": [0, 1]}, "legend": {"format": ".0%"},
                },
                "tooltip": [
                    {"field": "name"}, {"field": "mass"} | percent, {"field": "leaving"} | percent
                ],
            },
        },
        {
            "data": {"values": nodes},
            "mark": {"type": "text", "fontWeight": "bold"},
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        },
    ]  # fmt: skip
    note = "lines: mass of positive pairs between clusters; color: share of pairs that leave"
    chart = layered("Clusters of the positive-pair graph", note, layers)
    chart |= {"width": 420, "height": 420}
    return _written(chart, path)


def plot_strength(sweep: Any, *, path: Path = None) -> dict[str, Any]:
    """What augmentation of growing strength does to disagreement, probe error and its bound.

    Parameters
    ----------
    sweep
        From :func:`~foretell.theory.graphs.strength.augmentation_strength`.
    path
        The file to write.
    """
    columns = {
        "error against the labels of the rows": "error",
        "probe error": "probe_error",
        "its bound (cut at 1)": "bound",
        "positive pairs that disagree": "phi",
    }
    values = [
        {"strength": float(row.strength), "of": title, "value": min(1.0, getattr(row, name))}
        for row in sweep.rows
        for title, name in columns.items()
    ]
    layer = {
        "data": {"values": values},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": quantity("strength", "strength of the augmentation"),
            "y": {"field": "value", "type": "quantitative", "title": None},
            "color": {
                "field": "of", "type": "nominal", "title": None,
                "scale": {
                    "domain": list(columns),
                    "range": [SIMULATION, LIMIT, "#8a5fae", "#3c8d5a"],
                },
            },
        },
    }  # fmt: skip
    note = "stronger: clusters hang together better, and run into each other"
    return layered("Strength of augmentation", note, [layer], path)


def _gap_note(marked: list[int]) -> str:
    if not marked:
        return "no gap: no number of features stands out"
    return "largest gaps after " + ", ".join(str(i + 1) for i in sorted(marked))


def _circle(mass: Array) -> Array:
    """Places on the unit circle, such that what is well connected is close, shape (c, 2)."""
    root = np.sqrt(mass.sum(axis=1))
    vectors = np.linalg.eigh(mass / np.outer(root, root))[1][:, ::-1] / root[:, None]
    plane = vectors[:, 1:3] if len(mass) > 2 else np.c_[vectors[:, 1], np.zeros(2)]
    order = np.argsort(np.argsort(np.arctan2(plane[:, 1], plane[:, 0]), kind="stable"))
    angle = 2 * np.pi * order / len(mass)
    return np.c_[np.cos(angle), np.sin(angle)]


def _hidden(field: str) -> dict[str, Any]:
    return {
        "field": field, "type": "quantitative", "axis": None, "scale": {"domain": [-1.2, 1.2]}
    }  # fmt: skip


def _written(chart: dict[str, Any], path: Path) -> dict[str, Any]:
    from foretell.plots.charts import write

    if path is not None:
        write(chart, path)
    return chart
