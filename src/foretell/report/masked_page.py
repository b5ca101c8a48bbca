"""The HTML report of a masked regression: one file that a browser opens without network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from foretell.report.page import fill, number, percent, plain, template

SHOWN = 30  # columns in the first table
LISTED = 500  # in the table of all
CEILING = 1.6  # of the errors drawn, times that of the means
FLOOR = -1.5  # of the eigenvalues drawn
BREAKS = re.compile(r"([_.\-])(?=\w)")
SERIES = ("train", "gcv", "egcv", "loo")


def render_masked(run: Mapping[str, Any]) -> str:
    """One self-contained HTML page that tells what a masked regression found in a table.

    As :func:`foretell.report.html.render`: every text is shown as text, the page loads nothing,
    and a section that is None or missing is left out.

    Parameters
    ----------
    run
        What :func:`~foretell.report.masked.collect_masked` gathered; a copy of it is embedded in
        the page (element ``run``).

    Raises
    ------
    MissingExtraError
        Jinja2 or vl-convert is not installed.

    Examples
    --------
    >>> page = render_masked({"answer": ["The other columns explain 60%."]})
    >>> "explain 60%" in page
    True
    """
    run = plain(run)
    rows = run.get("columns") or []
    few = rows if len(rows) <= SHOWN else [*rows[: SHOWN // 2], *rows[-SHOWN // 2 :]]
    values = [v for v in (run.get("spectrum") or {}).get("values") or [] if v is not None]
    return fill(
        "masked.html.j2",
        run,
        charts(run),
        filters={"share": share, "breakable": breakable},
        few=few,
        rows=rows[:LISTED],
        n_columns=len(rows),
        floor=FLOOR if min(values, default=0.0) < FLOOR else None,
    )


def share(value: float | None) -> str:
    """A share as a percentage, with decimals where it is close to all.

    Examples
    --------
    >>> [share(v) for v in (0.42, 0.031, 0.9989, 1.0)]
    ['42%', '3.1%', '99.89%', '100%']
    """
    if value is None or not 0.985 <= value < 1:
        return percent(value)
    return f"{math.floor(1e4 * value) / 100:.2f}%"


def breakable(name: Any) -> Any:
    """A name that a browser may break after its punctuation, escaped.

    Examples
    --------
    >>> print(breakable("mean_width<br>"))
    mean_<wbr>width&lt;br&gt;
    """
    from markupsafe import Markup, escape

    return Markup(BREAKS.sub("\\1<wbr>", str(escape(name))))


def charts(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The Vega-Lite specifications of the charts that ``run`` has numbers for, data included."""
    specs: dict[str, dict[str, Any]] = json.loads(template("masked.json"))
    data = {
        "path": _path_data(run.get("path") or {}),
        "spectrum": _spectrum_data(run.get("spectrum") or {}),
        "learning": _learning_data(run.get("learning") or {}),
    }
    drawn = {name: specs[name] | {"datasets": one} for name, one in data.items() if one}
    for chart in drawn.values():  # a layer without rows has axes without ends
        empty = [name for name, rows in chart["datasets"].items() if not rows]
        chart["layer"] = [one for one in chart["layer"] if _source(one) not in empty]
    if "learning" in drawn:
        sizes = [row["n_rows"] for row in data["learning"]["rows"]]
        drawn["learning"]["encoding"]["x"]["axis"]["values"] = sizes
    if "path" in drawn:
        errors = [row["error"] for row in data["path"]["curves"]]
        marked = [row["error"] for row in data["path"]["marker"]]
        top = max(min(max(errors), CEILING), *marked, 0.0)
        curves = next(one for one in drawn["path"]["layer"] if _source(one) is None)
        curves["encoding"]["y"]["scale"]["domain"] = [0, 1.03 * top]
    if "spectrum" in drawn:
        values = [row[key] for row in data["spectrum"]["rows"] for key in ("value", "noise")]
        bottom = max(min(v for v in values if v is not None), FLOOR)
        dots = drawn["spectrum"]["layer"][-1]
        dots["encoding"]["y"]["scale"]["domain"] = [bottom - 0.05 * (1 - bottom), 1.06]
    return drawn


def _source(layer: Mapping[str, Any]) -> Any:
    return (layer.get("data") or {}).get("name")


def _path_data(path: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    alphas = path.get("alphas") or []
    curves = [
        {"of": of, "alpha": alpha, "error": error}
        for of in SERIES
        for alpha, error in zip(alphas, path.get(of) or [], strict=False)
        if error is not None
    ]
    if not curves:
        return {}
    alpha = path.get("alpha")
    known = path.get("loo") or path.get("gcv") or []
    inside = alpha is not None and min(alphas) <= alpha <= max(alphas)
    error = _between(alphas, known, float(alpha)) if alpha is not None else None
    return {
        "curves": curves,
        "chosen": [{"alpha": alpha}] if inside else [],
        "marker": [
            {"alpha": alpha, "error": error, "text": number(alpha), "value": number(error)}
        ] if error is not None else [],
    }  # fmt: skip


def _between(alphas: list[float], errors: list[float | None], alpha: float) -> float | None:
    """The error at a penalty between those of the path, linear in its logarithm."""
    for low, high, left, right in zip(alphas, alphas[1:], errors, errors[1:], strict=False):
        if low <= alpha <= high and left is not None and right is not None:
            share = math.log(alpha / low) / math.log(high / low)
            return left + share * (right - left)
    return None


def _spectrum_data(spectrum: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    keys = ("k", "values", "noise")
    level = spectrum.get("level")
    rows = [
        {
            "k": k,
            "value": value,
            "noise": noise,
            "above": level is not None and value > level,
            "text": number(value),
            "noise_text": number(noise),
        }
        for k, value, noise in zip(*(spectrum.get(key) or [] for key in keys), strict=False)
        if value is not None
    ]
    if not rows:
        return {}
    return {"rows": rows, "level": [] if level is None else [{"value": level}]}


def _learning_data(learning: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    rows = [
        row | {"rows": f"{row['n_rows']:,}", "text": number(row["unexplained"])}
        for row in learning.get("rows") or []
        if row.get("unexplained") is not None
    ]
    return {"rows": rows} if rows else {}
