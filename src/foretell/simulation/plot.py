"""The chart of a simulation: simulated and limiting density, and their quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell.plots.charts import LIMIT, SCHEMA, SIMULATION, quantity, rows


def specification(simulation: Any) -> dict[str, Any]:
    """Vega-Lite specification of a :class:`~foretell.simulation.Simulation`, data included."""
    s = simulation
    return {
        "$schema": SCHEMA,
        "title": {
            "text": f"Excess risk of {len(s.excess_risk)} replicates and its limit",
            "subtitle": f"{s.n_unlabeled} unlabeled and {s.n_labeled} labeled rows; mean over "
            f"limit {s.ratio:.4f} ± {s.ratio_se:.4f}",
            "anchor": "start",
        },
        "background": "white",
        "datasets": {"bars": _bars(s), "curve": _curve(s), "means": _means(s), "pairs": _pairs(s)},
        "hconcat": [_density(), _quantiles()],
        "config": {"axis": {"grid": False}, "view": {"stroke": None}},
    }


def _bars(s: Any) -> list[dict[str, float]]:
    """Histogram with area one; width of the bins by Freedman and Diaconis."""
    x = s.excess_risk
    low, high = np.quantile(x, [0.25, 0.75])
    width = 2 * (high - low) / len(x) ** (1 / 3)
    count = int(np.clip(np.ceil(np.ptp(x) / width), 5, 100)) if width > 0 else 5
    density, edges = np.histogram(x, bins=count, density=True)
    return rows(start=edges[:-1], end=edges[1:], density=density)


def _curve(s: Any) -> list[dict[str, float]]:
    """Density of the limit where it is finite."""
    low, high = s.law.ppf([0.0005, 0.9995])
    x = np.linspace(min(low, s.excess_risk.min()), max(high, s.excess_risk.max()), 300)
    inside = (x > s.law.support()[0]) & (x < s.law.support()[1])
    density = np.asarray(s.law.pdf(x[inside]))
    keep = np.isfinite(density)
    return rows(x=x[inside][keep], density=density[keep])


def _means(s: Any) -> list[dict[str, Any]]:
    return [
        {"x": float(s.excess_risk.mean()), "of": "simulation"},
        {"x": float(s.law.mean()), "of": "limit"},
    ]


def _pairs(s: Any) -> list[dict[str, float]]:
    """Quantiles of both, with two simulation standard errors around the simulated ones."""
    count = min(len(s.excess_risk), 99)
    table = s.quantiles([(k + 0.5) / count for k in range(count)])
    value, se = table["simulation"], table["se"]
    return rows(
        level=table["quantile"], limit=table["limit"], simulation=value, low=value - 2 * se,
        high=value + 2 * se,
    )  # fmt: skip


def _density() -> dict[str, Any]:
    colors = {
        "field": "of",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["simulation", "limit"], "range": [SIMULATION, LIMIT]},
        "legend": {"orient": "top", "symbolType": "stroke", "title": None},
    }
    height = {"field": "density", "type": "quantitative", "title": "density"}
    return {
        "width": 360,
        "height": 300,
        "layer": [
            {
                "data": {"name": "bars"},
                "mark": {"type": "rect", "color": SIMULATION, "opacity": 0.3},
                "encoding": {
                    "x": quantity("start", "excess risk"),
                    "x2": {"field": "end"},
                    "y": height | {"scale": {"zero": True}},
                    "y2": {"datum": 0},
                },
            },
            {
                "data": {"name": "curve"},
                "mark": {"type": "line", "color": LIMIT, "strokeWidth": 2},
                "encoding": {"x": quantity("x"), "y": height},
            },
            {
                "data": {"name": "means"},
                "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5},
                "encoding": {"x": quantity("x"), "color": colors},
            },
        ],
    }


def _quantiles() -> dict[str, Any]:
    x = quantity("limit", "quantile of the limit")
    return {
        "width": 300,
        "height": 300,
        "data": {"name": "pairs"},
        "layer": [
            {
                "mark": {"type": "line", "color": LIMIT, "strokeWidth": 2},
                "encoding": {"x": x, "y": quantity("limit")},
            },
            {
                "mark": {"type": "rule", "color": SIMULATION, "opacity": 0.4},
                "encoding": {"x": x, "y": quantity("low"), "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 18, "color": SIMULATION},
                "encoding": {
                    "x": x,
                    "y": quantity("simulation")
                    | {"title": "quantile of the simulation (± 2 s.e.)"},
                    "tooltip": [{"field": "level", "format": ".1%"}],
                },
            },
        ],
    }
