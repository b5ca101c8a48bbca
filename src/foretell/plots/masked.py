"""Charts of masked regression: error curves, PCA beside it, replicates over theory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.plots.charts import LIMIT, SIMULATION, quantity, rows, titled

GREY = "#777777"
MARGIN = 1.15  # beyond the first and last penalty
WIDE = 30.0  # ratio of errors from which their axis is logarithmic
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
    chosen: float | None = None,
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
    chosen
        Penalty to mark, if it is among those of the curves.
    title, subtitle
        Text above.
    """
    alphas = np.asarray(curves["alpha"])
    lines = [
        record
        for name in ("test error", "train error")
        for record in _named(name, alpha=alphas, error=np.asarray(curves[name]))
        if np.isfinite(record["error"])
    ]
    names = ["test error", "train error", *(levels or {})]
    color = _colors(names)
    ends = [float(alphas.min()) / MARGIN, float(alphas.max()) * MARGIN]
    powers = range(math.ceil(math.log10(ends[0])), 1 + math.floor(math.log10(ends[1])))
    x = quantity("alpha", "penalty α") | {
        "scale": {"type": "log", "nice": False, "domain": ends},
        "axis": {"values": [10.0**k for k in powers], "format": "~g"},
    }
    errors = [record["error"] for record in lines if record["error"] > 0]
    wide = len(errors) == len(lines) and max(errors) > WIDE * min(errors)
    y = quantity("error", "mean squared error")
    if wide:
        y["scale"] = {"type": "log", "nice": False}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": lines},
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "color": color},
        }
    ]
    if chosen is not None and ends[0] < chosen < ends[1]:
        layers.append(
            {
                "data": {"values": [{"alpha": chosen}]},
                "mark": {"type": "rule", "color": GREY, "strokeDash": [2, 3]},
                "encoding": {"x": x},
            }
        )
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
        span = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
        layers += [
            {
                "data": data,
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.3},
                "encoding": {"x": x, **span, "color": color},
            },
            {
                "data": data,
                "mark": {"type": "point", "filled": True, "size": 40},
                "encoding": {"x": x, "y": y | {"field": "mean"}, "color": color},
            },
        ]
    return titled(title, subtitle) | {"width": 520, "height": 320, "layer": layers}


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
                "data": {"values": [{"share": crossover, "text": f"k/d = {crossover:.3g}"}]},
                "encoding": {"x": x},
                "layer": [
                    {"mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}},
                    {
                        "mark": {"type": "text", "align": "left", "dx": 5, "dy": 8, "color": GREY},
                        "encoding": {"y": {"value": 0}, "text": {"field": "text"}},
                    },
                ],
            }
        )
    return titled(title, subtitle) | {"width": 480, "height": 320, "layer": layers}


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
    return titled(
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
