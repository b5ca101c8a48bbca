"""Chart of errors against number of labels, measured and forecast."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.plots.charts import LIMIT, SIMULATION, layered

PALETTE = (SIMULATION, LIMIT, "#3c8d5a", "#8a5fae", "#00838f", "#c2185b")


def plot_label_efficiency(
    measured: Any = None, forecast: Any = None, *, path: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Errors of feature sets against number of labels; forecasts as bands under what happened.

    Points are means over draws with two standard errors; the band is that of a forecast from a
    pilot, whose own errors are open circles; the dashed line is where it sees the first feature
    set stop paying.

    Parameters
    ----------
    measured
        A :class:`~foretell.experiments.LabelEfficiency`, or None.
    forecast
        A :class:`~foretell.experiments.LabelForecast`, or None.
    path
        The file to write: ``.svg``, ``.png``, ``.html`` or ``.json``.

    Raises
    ------
    InputError
        If both are None, or one is about classes and the other about numbers.
    """
    given = [part for part in (measured, forecast) if part is not None]
    if not given:
        raise InputError("there is nothing to draw: give measured errors, a forecast, or both")
    if len({part.is_classification for part in given}) > 1:
        raise InputError("one of the two is about classes and the other about numbers")
    names = list(dict.fromkeys(name for part in given for name in part.names))
    unit = 100.0 if given[0].is_classification else 1.0
    kind = "misclassified, percent" if given[0].is_classification else "mean squared error"
    x = {
        "field": "n", "type": "quantitative", "title": "labels",
        "scale": {"type": "log", "nice": False},
    }  # fmt: skip
    color = {
        "field": "of", "type": "nominal", "title": None,
        "scale": {"domain": names, "range": list(PALETTE[: len(names)])},
        "legend": {"symbolOpacity": 1},
    }  # fmt: skip
    base = {"x": x, "color": color}
    layers: list[dict[str, Any]] = []
    notes = []
    if forecast is not None:
        layers += _forecast_layers(forecast, base, unit, kind)
        notes.append(f"bands: forecast from {forecast.n_pilot} labels (open circles)")
    if measured is not None:
        layers += _measured_layers(measured, base, unit, kind)
        notes.append("points: measured, mean ± 2 standard errors")
    return layered("Error against number of labels", "; ".join(notes), layers, path)


def _measured_layers(
    measured: Any, base: dict[str, Any], unit: float, kind: str
) -> list[dict[str, Any]]:
    error, noise = unit * measured.mean, 2 * unit * measured.standard_error
    values = _records(
        measured.names, measured.sizes, value=error, low=error - noise, high=error + noise
    )
    y = _error("value", kind)
    return [
        {"data": {"values": values}, "mark": {"type": "line", "strokeWidth": 1.5},
         "encoding": base | {"y": y}},
        {"data": {"values": values}, "mark": {"type": "rule", "strokeWidth": 1.5},
         "encoding": base | {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
        {"data": {"values": values}, "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": base | {"y": y}},
    ]  # fmt: skip


def _forecast_layers(
    forecast: Any, base: dict[str, Any], unit: float, kind: str
) -> list[dict[str, Any]]:
    bands = _records(
        forecast.names, forecast.sizes,
        value=unit * forecast.mean, low=unit * forecast.low, high=unit * forecast.high,
    )  # fmt: skip
    pilot = _records(forecast.names, forecast.pilot_sizes, value=unit * forecast.pilot_errors)
    y = _error("value", kind)
    layers = [
        {"data": {"values": bands}, "mark": {"type": "area", "opacity": 0.18},
         "encoding": base | {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
        {"data": {"values": bands}, "mark": {"type": "line", "strokeDash": [4, 3]},
         "encoding": base | {"y": y}},
        {"data": {"values": pilot}, "mark": {"type": "point", "size": 40},
         "encoding": base | {"y": y}},
    ]  # fmt: skip
    crossing = forecast.pays_until
    if crossing is not None and math.isfinite(crossing.labels) and crossing.labels > 0:
        layers.append({
            "data": {"values": [{"n": float(crossing.labels)}]},
            "mark": {"type": "rule", "strokeDash": [2, 3], "color": "#777777"},
            "encoding": {"x": base["x"]},
        })  # fmt: skip
    return layers


def _records(names: Any, sizes: Any, **columns: Array) -> list[dict[str, Any]]:
    """One record a feature set and size."""
    return [
        {"of": name, "n": int(n)} | {key: float(np.asarray(v)[f, s]) for key, v in columns.items()}
        for f, name in enumerate(names)
        for s, n in enumerate(sizes)
    ]


def _error(field: str, title: str) -> dict[str, Any]:
    scale = {"zero": False, "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}
