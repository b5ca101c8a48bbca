"""What every page is made of: one file without network, its numbers, texts and scripts."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import math
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import Any

import numpy as np

from foretell.errors import MissingExtraError

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def fill(
    name: str,
    run: Mapping[str, Any],
    charts: Mapping[str, Any],
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    **values: Any,
) -> str:
    """A template filled with a run and its charts: a self-contained HTML page.

    Every text of ``run`` is shown as text, whatever it contains, and a content security policy
    allows the page's own two scripts and nothing else. A key that is missing reads as None.

    Parameters
    ----------
    name
        Of the template.
    run
        What the page is about, JSON-able with finite numbers, see :func:`plain`; a copy of it is
        embedded in the page (element ``run``).
    charts
        Vega-Lite specifications by name, data included.
    filters
        Further filters of the template.
    values
        Further variables of the template.

    Raises
    ------
    MissingExtraError
        Jinja2 or vl-convert is not installed.
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

    scripts = [Markup(vega()), Markup(template("report.js"))]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("foretell.report", "templates"),
        autoescape=True,
        undefined=Absent,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "script_json": embedded}
    environment.filters |= dict(filters or {})
    return environment.get_template(name).render(
        run=run,
        charts=charts,
        style=Markup(template("style.css")),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        warnings=sum(d.get("level") == "warning" for d in run.get("diagnostics") or []),
        **values,
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number as a reader wants it: ``digits`` significant digits, never exponents in code style.

    From a ten-thousandth to ten million in plain decimals, whole numbers in full and with commas;
    beyond, scientific. Rounds half away from zero, as JavaScript does, because the sliders
    write their numbers by the same rule. None and what is not finite: “–”.

    Examples
    --------
    >>> from foretell.report.page import number
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


def plain(value: Any) -> Any:
    """The same structure in what JSON can hold: built-in types, None for what is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> plain({"a": np.array([1.0, np.nan]), "b": (np.int64(2),)})
    {'a': [1.0, None], 'b': [2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _script_json(value: object) -> str:
    """JSON that cannot leave its script element: ASCII only, no angle brackets or ampersands."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def template(name: str) -> str:
    """Text of a file among the templates."""
    folder = importlib.resources.files("foretell.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


@cache
def vega() -> str:
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
