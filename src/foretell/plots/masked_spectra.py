"""Charts of masked regression: spectrum of A, phases of a spike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.plots.charts import LIMIT, SIMULATION, quantity, rows, titled

FAR = 12.0  # below which eigenvalues are drawn on a logarithmic axis
PHASES = {
    "hidden": "#d9dce1",
    "visible in C, not in A": "#f2c58b",
    "visible in C and A": "#a9c6ee",
}


def bins_of(values: Sequence[float], count: int) -> Array:
    """Ends of bins over all values, shape (count + 1,), finer near 1 if they reach far below it.

    Even steps of nu, or of log(1 - nu) where eigenvalues nu of A reach below -12.
    """
    low, high = min(values), max(values)
    if low >= -FAR:
        return np.linspace(low, high, count + 1)
    return 1.0 - np.geomspace(1.0 - low, 1.0 - high, count + 1)


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
        Bins of equal width give densities; others are taken to be even in log(1 - nu), and
        give shares of the eigenvalues.
    eigenvalues
        Of one sample or several, any shape; None draws no histogram.
    outliers
        Where theory puts single eigenvalues outside the bulk.
    title, subtitle
        Text above.
    """
    ends, widths = edges, np.diff(edges)
    even = np.allclose(widths, widths[0])
    unit = widths if even else np.ones(len(widths))
    axis = quantity("x", "eigenvalue of A")
    if not even:
        edges, outliers = 1.0 - edges, [1.0 - v for v in outliers]
        axis = quantity("x", "1 − eigenvalue of A")
        axis["scale"] = {"type": "log", "nice": False, "reverse": True}
        axis["axis"] = {"format": "~g", "labelOverlap": True}
    title_y = "density" if even else "share of the eigenvalues"
    height = {"field": "height", "type": "quantitative", "title": title_y}
    layers: list[dict[str, Any]] = []
    if eigenvalues is not None:
        values = np.ravel(eigenvalues)
        shares = np.histogram(values, ends)[0] / len(values)
        layers.append(
            {
                "data": {"values": rows(start=edges[:-1], end=edges[1:], height=shares / unit)},
                "mark": {"type": "rect", "color": SIMULATION, "opacity": 0.3},
                "encoding": {
                    "x": axis | {"field": "start"},
                    "x2": {"field": "end"},
                    "y": height,
                    "y2": {"datum": 0},
                },
            }
        )
    steps = np.concatenate([[0.0], mass / unit, [0.0]])
    outline = rows(x=np.append(edges[0], edges), height=steps)
    layers.append(
        {
            "data": {"values": outline},
            "mark": {
                "type": "line",
                "color": LIMIT,
                "strokeWidth": 2,
                "strokeJoin": "round",
                "interpolate": "step-after",
            },
            "encoding": {"x": axis, "y": height, "order": {"value": None}},
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
    return titled(title, subtitle) | {"width": 520, "height": 300, "layer": layers}


def phases(
    ratios: Array,
    spikes: tuple[float, float],
    covariance: Array,
    coefficients: Array,
    *,
    title: str = "Where one spike shows",
    subtitle: str = "",
) -> dict[str, Any]:
    """Phases of one spike: hidden, visible in the covariance only, visible in A too.

    Parameters
    ----------
    ratios
        Rows per column, ascending, shape (m,).
    spikes
        Range of strengths.
    covariance, coefficients
        Threshold of the strength in the sample covariance C and in A at each ratio, inf where
        there is none, shape (m,).
    title, subtitle
        Text above.
    """
    low, high = spikes
    first, second = (np.clip(one, low, high) for one in (covariance, coefficients))
    second = np.maximum(first, second)
    regions = {
        "hidden": (np.full(len(ratios), low), first),
        "visible in C, not in A": (first, second),
        "visible in C and A": (second, np.full(len(ratios), high)),
    }
    shown = {name: ends for name, ends in regions.items() if (ends[1] > ends[0]).any()}
    areas = [
        record | {"phase": name}
        for name, (bottom, top) in shown.items()
        for record in rows(x=ratios, low=bottom, high=top)
    ]
    x = quantity("x", "rows per column, n / d")
    x |= {"scale": {"type": "log", "nice": False}, "axis": {"format": "~g", "labelOverlap": True}}
    y = quantity("low", "strength of the spike")
    y |= {"scale": {"type": "log", "nice": False}, "axis": {"format": "~g", "labelOverlap": True}}
    lines = [
        record | {"of": of}
        for of, boundary in (("in C", covariance), ("in A", coefficients))
        for record in rows(x=ratios, low=np.asarray(boundary))
        if low <= record["low"] <= high
    ]
    return titled(title, subtitle) | {
        "width": 420,
        "height": 340,
        "layer": [
            {
                "data": {"values": areas},
                "mark": {"type": "area", "clip": True},
                "encoding": {
                    "x": x,
                    "y": y,
                    "y2": {"field": "high"},
                    "color": {
                        "field": "phase",
                        "type": "nominal",
                        "title": None,
                        "scale": {
                            "domain": list(shown),
                            "range": [PHASES[name] for name in shown],
                        },
                    },
                },
            },
            {
                "data": {"values": lines},
                "mark": {"type": "line", "color": "#333333", "strokeWidth": 1.5},
                "encoding": {
                    "x": x,
                    "y": y,
                    "strokeDash": {
                        "field": "of",
                        "type": "nominal",
                        "title": "threshold",
                        "scale": {"domain": ["in C", "in A"], "range": [[4, 3], [1, 0]]},
                    },
                },
            },
        ],
    }
