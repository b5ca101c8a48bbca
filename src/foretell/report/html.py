"""The HTML report of a run: one file that a browser opens without network."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping
from typing import Any

from foretell.report.files import check_writable, write_text
from foretell.report.page import fill, number, percent, plain, template

__all__ = ["charts", "check_writable", "number", "percent", "render", "write"]


def render(run: Mapping[str, Any]) -> str:
    """One self-contained HTML page that tells what a run found.

    Every text of ``run`` is shown as text, whatever it contains, and a content security policy
    allows the page's own two scripts and nothing else. A number that is not finite, and a section
    that is None or missing, is shown as “–” or left out.

    Parameters
    ----------
    run
        What one run found, JSON-able; a copy of it is embedded in the page (element ``run``).
        Risks are half mean squared errors, in the squared units of the target; the page doubles
        them.

    Raises
    ------
    MissingExtraError
        Jinja2 or vl-convert is not installed.

    Examples
    --------
    >>> from foretell.report.html import render
    >>> page = render({"target": "y", "answer": ["Label more rows."]})
    >>> "Label more rows." in page
    True
    """
    run = plain(run)
    return fill(
        "page.html.j2",
        run,
        charts(run),
        filters={"mse": lambda risk, digits=4: number(_double(risk), digits)},
        ranked=_ranked(run.get("coefficients") or []),
        widening=_widening(run.get("intervals") or []),
    )


def write(run: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """The report of ``run`` at ``path``, whole or not at all; an earlier one survives any failure.

    Parameters
    ----------
    run
        What one run found, see :func:`render`.
    path
        The file to write or replace; a link is followed.

    Raises
    ------
    InputError
        The file cannot be written, see :func:`~foretell.report.files.check_writable`.
    MissingExtraError
        Jinja2 or vl-convert is not installed.

    Examples
    --------
    >>> from foretell.report.html import write
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write({"target": "y"}, pathlib.Path(folder, "report.html"))
    """
    check_writable(path)
    write_text(render(run), path)


def charts(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The Vega-Lite specifications of the charts that ``run`` has numbers for, data included.

    What they look like stands in ``templates/charts.json``; here they meet their data. Texts of
    the run go into data values only, never into expressions. The forecast's curve is drawn by
    the page itself, because it follows the sliders.
    """
    data: dict[str, dict[str, list[dict[str, Any]]]] = {
        "split": _split_data(run.get("split") or {}),
        "law": _law_data(run.get("law") or {}),
        "forecast": {"curve": [], "marker": []} if run.get("forecast") else {},
        "intervals": {"rows": _interval_rows(run.get("intervals") or [])},
        "comparison": {"rows": _comparison_rows(run.get("comparison") or {})},
        "eigenvalues": _eigenvalue_data(run.get("eigenvalues") or {}),
    }
    specs: dict[str, dict[str, Any]] = json.loads(template("charts.json"))
    shown = [name for name, tables in data.items() if any(tables.values()) or name == "forecast"]
    drawn = {name: specs[name] | {"datasets": data[name]} for name in shown if data[name]}
    for name, rows in (("split", "bars"), ("intervals", "rows"), ("comparison", "rows")):
        if name in drawn:
            places = {row["place"] for row in data[name][rows]}
            drawn[name]["height"] = specs[name]["height"]["step"] * len(places)
    if "comparison" in drawn:  # room for the numbers behind the bars
        room = 1.25 * max(row["high"] for row in data["comparison"]["rows"])
        drawn["comparison"]["layer"][0]["encoding"]["x"]["scale"]["domainMax"] = room
    if "eigenvalues" in drawn:
        values = [row["value"] for row in data["eigenvalues"]["rows"]]
        wide = min(values) > 0 and max(values) > 30 * min(values)
        if wide:
            powers = range(
                math.floor(math.log10(min(values))), 1 + math.ceil(math.log10(max(values)))
            )
            steps = (1,) if max(values) > 100 * min(values) else (1, 2, 5)
            drawn["eigenvalues"]["layer"][-1]["encoding"]["y"] |= {
                "scale": {"type": "log", "nice": False, "padding": 10},
                "axis": {"values": [a * 10.0**k for k in powers for a in steps]},
            }
    return drawn


def _split_data(split: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Two neighbouring bars a quantity, as shares of their sum."""
    bars = []
    for place, row in enumerate(split.get("rows") or []):
        parts = [row.get("unlabeled") or 0.0, row.get("labeled") or 0.0]
        if (total := sum(parts)) <= 0:
            continue
        for part, start, size in zip(("stage 1", "stage 2"), (0.0, parts[0]), parts, strict=True):
            bars.append(
                {
                    "place": place,
                    "quantity": str(row.get("quantity")),
                    "part": part,
                    "start": start / total,
                    "end": (start + size) / total,
                    "text": percent(size / total) if size > 0.12 * total else "",
                }
            )
    return {"bars": bars}


def _law_data(law: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The density of the extra squared error, twice the excess risk, with its marks."""
    pairs = zip(law.get("x") or [], law.get("pdf") or [], strict=False)
    curve = [{"x": 2 * x, "pdf": f / 2} for x, f in pairs if x is not None and f is not None]
    marks = [
        {"x": 2 * mark["value"], "label": percent(mark["q"]), "value": number(2 * mark["value"], 4)}
        for mark in law.get("quantiles") or []
        if mark.get("value") is not None
    ]
    named = [mark for mark in marks if mark["label"] in ("5%", "50%", "95%")]
    mean = _double(law.get("mean"))
    return {
        "curve": curve,
        "named": (named or marks) if curve else [],
        "mean": [{"x": mean, "value": number(mean, 4)}] if curve and mean is not None else [],
    }


def _interval_rows(intervals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**row, "place": place, "label": f"row {row.get('row')}"}
        for place, row in enumerate(intervals)
        if row.get("lower") is not None and row.get("upper") is not None
    ]


def _comparison_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "place": place,
            "name": str(row.get("name")),
            "kind": "foretell" if row.get("kind") == "foretell" else "other",
            "mse": row["mse"],
            "low": max(row["mse"] - (row.get("se") or 0.0), 0.0),
            "high": row["mse"] + (row.get("se") or 0.0),
            "text": number(row["mse"], 4),
        }
        for place, row in enumerate(comparison.get("rows") or [])
        if row.get("mse") is not None
    ]


def _eigenvalue_data(eigenvalues: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    rank, noise = eigenvalues.get("rank") or 0, eigenvalues.get("noise")
    rows = [
        {"k": k, "value": value, "kept": k <= rank, "text": number(value)}
        for k, value in enumerate(eigenvalues.get("values") or [], 1)
        if value is not None
    ]
    return {
        "rows": rows,
        "rank": [{"k": rank + 0.5}] if rows and rank else [],
        "noise": [{"value": noise, "text": number(noise)}] if rows and noise else [],
    }


def _ranked(coefficients: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Coefficients with their ratio to the standard error, the clearest first."""
    rated = []
    for row in coefficients:
        value, se = row.get("coefficient"), row.get("se")
        rated.append({**row, "ratio": None if value is None or not se else value / se})
    return sorted(rated, key=lambda row: -abs(row["ratio"] or 0.0))


def _widening(intervals: list[dict[str, Any]]) -> float | None:
    """How many times wider the two-stage interval is, in the middle row."""
    ratios = [
        row["se"] / row["se_naive"] for row in intervals if row.get("se") and row.get("se_naive")
    ]
    return statistics.median(ratios) if ratios else None


def _double(risk: float | None) -> float | None:
    return None if risk is None else 2 * risk
