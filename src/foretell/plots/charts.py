"""Charts as Vega-Lite specifications, data included, and the files they are drawn to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from foretell._types import Array
from foretell.errors import InputError, MissingExtraError

SIMULATION, LIMIT = "#2f62ad", "#a8560f"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
FORMATS = (".svg", ".png", ".html", ".json")


def write(chart: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw a chart to a file as its ending says: ``.svg``, ``.png``, ``.html`` or ``.json``.

    Raises
    ------
    InputError
        The file has another ending or cannot be written.
    MissingExtraError
        vl-convert is not installed and the file is not ``.json``.
    """
    check_format(path)
    content = drawn(chart, Path(path).suffix.lower())
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise InputError(
            f"the chart could not be written to {os.fspath(path)!r}: {error.strerror or error}; "
            "choose another path"
        ) from error


def check_format(path: str | os.PathLike[str]) -> None:
    """Raise, before long work, unless a chart can be drawn in the format of this file."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"a chart is written to a file that ends in {', '.join(FORMATS)}; found "
            f"{os.fspath(path)!r}"
        )
    if ending != ".json":
        _vl_convert()


def drawn(chart: dict[str, Any], ending: str) -> bytes:
    """The content of a chart's file with this ending."""
    if ending == ".json":
        return json.dumps(chart, indent=1, allow_nan=False).encode()
    convert = _vl_convert()
    if ending == ".png":
        return bytes(convert.vegalite_to_png(chart, scale=2))
    if ending == ".svg":
        return str(convert.vegalite_to_svg(chart)).encode()
    return str(convert.vegalite_to_html(chart, bundle=True)).encode()


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtraError(
            "drawing a chart needs vl-convert-python, which is not installed; pip install "
            "'foretell[report]', or write the specification to a .json file"
        ) from error
    return vl_convert


def rows(**columns: Array) -> list[dict[str, Any]]:
    """Columns of equal length as records."""
    lists = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def titled(title: str, subtitle: str) -> dict[str, Any]:
    """What all charts of this kind begin with."""
    heading: dict[str, Any] = {"text": title, "anchor": "start"}
    if subtitle:
        heading["subtitle"] = subtitle
    return {
        "$schema": SCHEMA,
        "title": heading,
        "background": "white",
        "config": {"axis": {"grid": False}, "view": {"stroke": None}},
    }


def layered(
    title: str, subtitle: str, layers: list[Any], path: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """A chart of layers in the usual size, written to ``path`` if there is one."""
    chart = titled(title, subtitle) | {"width": 520, "height": 320, "layer": layers}
    if path is not None:
        write(chart, path)
    return chart


def quantity(field: str, title: str | None = None) -> dict[str, Any]:
    """Encoding of a number on an axis that does not begin at zero."""
    scale = {"zero": False, "nice": False}
    named = {} if title is None else {"title": title}
    return {"field": field, "type": "quantitative", "scale": scale, **named}
