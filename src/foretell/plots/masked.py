"""Charts of masked regression: error curves, spectrum of A, phases, replicates over theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.plots.charts import LIMIT, SCHEMA, SIMULATION, quantity, rows

GREY = "#777777"
PALETTE = {
    "test error": LIMIT,
    "train error": SIMULATION,
    "PCA": "#3c8d5a",
    "masked PCA": "#8a5fae",
}


def error_curves(
    curves: Mapping[str, Array],
    *,
    simulated: Sequence[Mapping[str, Any]] = (),
    levels: Mapping[str, float] | None = None,
    title: str = "Masked regression",
    subtitle: str = "",
) -> dict[str, Any]:
    """Training and test error against the penalty, simulated means and bands over them.

    Parameters
    ----------
    curves
        Columns ``alpha``, ``test error``, ``train error`` of theory, shape (k,).
    simulated
        Records ``alpha``, ``of``, ``mean``, ``low``, ``high``: simulated points and bands.
    levels
        Horizontal lines by name, such as the error of PCA.
    title, subtitle
        Text above.
    """
    lines = [
        record
        for name in ("test error", "train error")
        for record in _named(name, alpha=curves["alpha"], error=curves[name])
    ]
    names = ["test error", "train error", *(levels or {})]
    color = _colors(names)
    x = quantity("alpha", "penalty α") | {"scale": {"type": "log", "nice": False}}
    y = quantity("error", "mean squared error")
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": lines},
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "color": color},
        }
    ]
    if levels:
        layers.append(
            {
                "data": {"values": [{"of": k, "error": v} for k, v in levels.items()]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.5},
                "encoding": {"y": y, "color": color},
            }
        )
    if simulated:
        data = {"values": [dict(record) for record in simulated]}
        layers += [
            {
                "data": data,
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.3},
                "encoding": {"x": x, "y": quantity("low"), "y2": {"field": "high"}, "color": color},
            },
            {
                "data": data,
                "mark": {"type": "point", "filled": True, "size": 40},
                "encoding": {"x": x, "y": quantity("mean"), "color": color},
            },
        ]
    return _chart(title, subtitle) | {"width": 520, "height": 320, "layer": layers}


def spectrum_of_masked(
    edges: Array,
    mass: Array,
    *,
    eigenvalues: Array | None = None,
    outliers: Sequence[float] = (),
    title: str = "Eigenvalues of A",
    subtitle: str = "",
) -> dict[str, Any]:
    """Eigenvalues of A in bins: their share in theory over that in a sample, outliers dashed.

    Parameters
    ----------
    edges, mass
        Ends of the bins, ascending, shape (k + 1,), and mass of the theory in each, shape (k,).
    eigenvalues
        Of one sample or several, any shape; None draws no histogram.
    outliers
        Where theory puts single eigenvalues outside the bulk.
    title, subtitle
        Text above.
    """
    axis = quantity("x", "eigenvalue of A")
    height = {"field": "density", "type": "quantitative", "title": "density"}
    layers: list[dict[str, Any]] = []
    if eigenvalues is not None:
        values = np.ravel(eigenvalues)
        counts = np.histogram(values, edges)[0]
        density = counts / len(values) / np.diff(edges)
        layers.append(
            {
                "data": {"values": rows(start=edges[:-1], end=edges[1:], density=density)},
                "mark": {"type": "rect", "color": SIMULATION, "opacity": 0.3},
                "encoding": {
                    "x": quantity("start", "eigenvalue of A"),
                    "x2": {"field": "end"},
                    "y": height,
                    "y2": {"datum": 0},
                },
            }
        )
    middle = (edges[1:] + edges[:-1]) / 2
    layers.append(
        {
            "data": {"values": rows(x=middle, density=mass / np.diff(edges))},
            "mark": {"type": "line", "color": LIMIT, "strokeWidth": 2, "interpolate": "step"},
            "encoding": {"x": axis, "y": height},
        }
    )
    if len(outliers):
        layers.append(
            {
                "data": {"values": [{"x": float(v)} for v in outliers]},
                "mark": {"type": "rule", "color": LIMIT, "strokeDash": [4, 3], "strokeWidth": 1.5},
                "encoding": {"x": axis, "tooltip": [{"field": "x", "format": ".4f"}]},
            }
        )
    return _chart(title, subtitle) | {"width": 520, "height": 300, "layer": layers}


def phases(
    x: Array,
    y: Array,
    phase: Array,
    boundaries: Mapping[str, tuple[Array, Array]],
    *,
    titles: tuple[str, str],
    title: str = "Phase diagram",
    subtitle: str = "",
) -> dict[str, Any]:
    """Phases on a grid, and the curves between them.

    Parameters
    ----------
    x, y
        Axes of the grid, shapes (a,) and (b,), ascending.
    phase
        Name of the phase, shape (b, a).
    boundaries
        Curves by name, each as two arrays x and y.
    titles
        Of both axes.
    title, subtitle
        Text above.
    """
    left, right = _cells(x)
    low, high = _cells(y)
    cells = [
        {"x": left[j], "x2": right[j], "y": low[i], "y2": high[i], "phase": str(phase[i, j])}
        for i in range(len(y))
        for j in range(len(x))
    ]
    curves = [
        record | {"of": name}
        for name, (a, b) in boundaries.items()
        for record in rows(x=np.asarray(a), y=np.asarray(b))
        if np.isfinite(record["y"])
    ]
    horizontal, vertical = quantity("x", titles[0]), quantity("y", titles[1])
    return _chart(title, subtitle) | {
        "width": 420,
        "height": 340,
        "layer": [
            {
                "data": {"values": cells},
                "mark": {"type": "rect", "opacity": 0.5},
                "encoding": {
                    "x": horizontal,
                    "x2": {"field": "x2"},
                    "y": vertical,
                    "y2": {"field": "y2"},
                    "color": {"field": "phase", "type": "nominal", "title": None},
                },
            },
            {
                "data": {"values": curves},
                "mark": {"type": "line", "color": "black", "strokeWidth": 1.5},
                "encoding": {
                    "x": horizontal,
                    "y": vertical,
                    "strokeDash": {"field": "of", "type": "nominal", "title": "boundary"},
                },
            },
        ],
    }


def pca_comparison(
    shares: Array,
    errors: Mapping[str, Array],
    masked_error: float,
    *,
    crossover: float | None = None,
    title: str = "Masked regression beside PCA",
    subtitle: str = "",
) -> dict[str, Any]:
    """Reconstruction errors of PCA over k/d, and the error of masked regression as a line.

    Parameters
    ----------
    shares
        k/d, shape (r,).
    errors
        Curves by name, shape (r,) each; values above 1.2 times the largest first one, such as those
        of masked PCA at many components, are left out.
    masked_error
        Test error of masked regression.
    crossover
        k/d at which PCA becomes better; None where it does not.
    title, subtitle
        Text above.
    """
    names = [*errors, "masked regression"]
    color = _colors(names)
    top = 1.2 * max(float(values[0]) for values in errors.values())
    x, y = quantity("share", "k / d"), quantity("error", "mean squared error")
    lines = [
        record
        for name, values in errors.items()
        for record in _named(name, share=shares, error=np.asarray(values))
        if record["error"] <= top
    ]
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": lines},
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "color": color},
        },
        {
            "data": {"values": [{"of": "masked regression", "error": masked_error}]},
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"y": y, "color": color},
        },
    ]
    if crossover is not None:
        layers.append(
            {
                "data": {"values": [{"share": crossover}]},
                "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
                "encoding": {"x": x},
            }
        )
    return _chart(title, subtitle) | {"width": 480, "height": 320, "layer": layers}


def replicates(
    numbers: Mapping[str, Array], theory: Mapping[str, float], n_samples: int
) -> dict[str, Any]:
    """Every replicate as a tick, relative to the theory of its number."""
    ticks = [
        {"of": name, "ratio": float(value / theory[name])}
        for name, values in numbers.items()
        if theory.get(name)
        for value in values
    ]
    return _chart(
        f"{len(next(iter(numbers.values())))} replicates of {n_samples} rows over theory", ""
    ) | {
        "width": 480,
        "layer": [
            {
                "data": {"values": ticks},
                "mark": {"type": "tick", "color": SIMULATION, "opacity": 0.6},
                "encoding": {
                    "x": quantity("ratio", "simulation / theory"),
                    "y": {"field": "of", "type": "nominal", "title": None, "sort": None},
                },
            },
            {
                "data": {"values": [{"ratio": 1.0}]},
                "mark": {"type": "rule", "color": LIMIT, "strokeWidth": 2},
                "encoding": {"x": quantity("ratio")},
            },
        ],
    }


def _chart(title: str, subtitle: str) -> dict[str, Any]:
    heading: dict[str, Any] = {"text": title, "anchor": "start"}
    if subtitle:
        heading["subtitle"] = subtitle
    return {
        "$schema": SCHEMA,
        "title": heading,
        "background": "white",
        "config": {"axis": {"grid": False}, "view": {"stroke": None}},
    }


def _named(name: str, **columns: Array) -> list[dict[str, Any]]:
    return [record | {"of": name} for record in rows(**columns)]


def _colors(names: Sequence[str]) -> dict[str, Any]:
    spare = iter(("#b8860b", "#00838f", "#c2185b", "#5d4037"))
    shades = [PALETTE.get(name) or next(spare) for name in names]
    return {
        "field": "of",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names), "range": shades},
        "legend": {"orient": "top", "symbolType": "stroke", "symbolOpacity": 1},
    }


def _cells(values: Array) -> tuple[list[float], list[float]]:
    """Borders of cells around ascending values."""
    middle = (values[1:] + values[:-1]) / 2
    return [float(values[0]), *middle.tolist()], [*middle.tolist(), float(values[-1])]
