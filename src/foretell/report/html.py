"""The HTML report of a run: one file that a browser opens without network."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import math
import os
import statistics
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import Any

from foretell.errors import MissingExtraError
from foretell.report.files import check_writable, write_text

__all__ = ["charts", "check_writable", "number", "percent", "render", "write"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise _missing("jinja2") from error

    # Markup: these texts are ours, or already free of anything that could end their element.
    def embedded(value: object) -> Markup:
        return Markup(_script_json(value))

    class Absent(jinja2.Undefined):
        """A key that is missing reads as None."""

        def __new__(cls, *_: Any, **__: Any) -> None:  # type: ignore[misc]
            return None

    run = _finite(run)
    scripts = [Markup(_vega()), Markup(_template("report.js"))]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("foretell.report", "templates"),
        autoescape=True,
        undefined=Absent,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "mse": lambda risk, digits=4: number(_double(risk), digits),
        "script_json": embedded,
    }
    return environment.get_template("page.html.j2").render(
        run=run,
        style=Markup(_template("style.css")),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        charts=charts(run),
        ranked=_ranked(run.get("coefficients") or []),
        widening=_widening(run.get("intervals") or []),
        warnings=sum(d.get("level") == "warning" for d in run.get("diagnostics") or []),
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


def number(value: float | None, digits: int = 3) -> str:
    """A number as a reader wants it: ``digits`` significant digits, never exponents in code style.

    From a ten-thousandth to ten million in plain decimals, whole numbers in full and with commas;
    beyond, scientific. Rounds half away from zero, as JavaScript does, because the sliders
    write their numbers by the same rule. None and what is not finite: “–”.

    Examples
    --------
    >>> from foretell.report.html import number
    >>> [number(v) for v in (0.12345, 12345.6, -0.000012345, float("nan"))]
    ['0.123', '12,346', '−1.23 × 10⁻⁵', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    size, sign = abs(value), "−" if value < 0 else ""
    if size == 0:
        return "0"
    rounded = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(Decimal(size))
    if size < 1e-4 or size >= 1e7:
        mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
        return f"{sign}{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    if size >= 10**digits - 0.5:
        return f"{sign}{Decimal(size).quantize(Decimal(1), ROUND_HALF_UP):,}"
    return f"{sign}{rounded:,.{digits - 1 - rounded.adjusted()}f}"


def percent(share: float | None) -> str:
    """A share as a percentage: whole, or with one decimal below 10%."""
    if share is None or not math.isfinite(share):
        return "–"
    size = abs(100 * share)
    places = 0 if size >= 9.95 or size == 0 else 1
    rounded = Decimal(f"{size:.10g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    sign = "−" if share < 0 and rounded else ""
    return f"{sign}{rounded}".removesuffix(".0") + "%"


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
    specs: dict[str, dict[str, Any]] = json.loads(_template("charts.json"))
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


def _finite(value: Any) -> Any:
    """The same structure with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _script_json(value: object) -> str:
    """JSON that cannot leave its script element: ASCII only, no angle brackets or ampersands."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str) -> str:
    folder = importlib.resources.files("foretell.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, wrapped so that it defines only vegaEmbed."""
    try:
        import vl_convert
    except ImportError as error:
        raise _missing("vl-convert-python") from error
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    bundle = bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return f"(function () {{{bundle}\n}})();"


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"the HTML report needs {package}, which is not installed; pip install 'foretell[report]'"
    )
