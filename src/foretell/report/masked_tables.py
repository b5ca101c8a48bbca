"""Tables in and out of a masked regression: numbers with gaps, and the table with gaps filled."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from foretell.data.checks import listed
from foretell.data.tables import as_frame, design_matrix, numbers_of, read_table, refusal_of
from foretell.errors import InputError

ROW_LABELS = ("", "Unnamed: 0")


def numeric_columns(path: str | Path, drop: Iterable[str] = ()) -> Any:
    """Numbers of a CSV, Parquet or Arrow file as a PyArrow table of floats, NaN where missing.

    Parameters
    ----------
    path
        A file that :func:`~foretell.data.tables.read_table` reads.
    drop
        Columns to leave out.

    Raises
    ------
    InputError
        If the file cannot be read, a column to drop is not there, none is left, or some are
        neither numbers nor booleans (all are listed).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flats.csv")
    ...     _ = path.write_text("id,rooms,rent\\nx,2,700\\ny,3,NA\\n")
    ...     numeric_columns(path, ["id"]).to_pydict()
    {'rooms': [2.0, 3.0], 'rent': [700.0, nan]}
    """
    import pyarrow as pa

    frame = as_frame(read_table(path))
    if unknown := [name for name in drop if name not in frame.columns]:
        raise InputError(
            f"--drop: there is no column {listed(unknown)}; the {len(frame.columns)} columns are "
            f"{listed(frame.columns)}"
        )
    kept = [name for name in frame.columns if name not in set(drop)]
    if not kept:
        raise InputError(f"no column is left of {len(frame.columns)}; drop fewer")
    if any(refusal_of(frame[name]) for name in kept):
        design_matrix(frame, kept)  # refuses all of them by name
    for name in ROW_LABELS:
        if name in kept and not frame[name].null_count():
            design_matrix(frame, [name])
    return pa.table({name: numbers_of(frame[name]) for name in kept})


def filled_table(path: str | Path, filled: Any, ending: str) -> bytes:
    """The table of a file with its missing cells filled, as the content of a file.

    Columns without missing cells, and those that were left out, stay as they are; filled ones are
    floating-point numbers, whatever they were.

    Parameters
    ----------
    path
        The file.
    filled
        PyArrow table of the columns that were used, filled.
    ending
        ``.parquet``, or anything else for CSV.

    Raises
    ------
    InputError
        If a column that was left out cannot be written as CSV.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = read_table(path)
    frame, changed = as_frame(table), []
    for name in filled.column_names:
        if np.isnan(numbers_of(frame[name])).any():
            table = table.set_column(table.column_names.index(name), name, filled[name])
            changed.append(name)
    table = table.replace_schema_metadata(_metadata(table, changed))
    buffer = io.BytesIO()
    try:
        if ending == ".parquet":
            parquet.write_table(table, buffer)
        else:
            csv.write_csv(table, buffer)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"the filled table cannot be written as {ending}: {error}; choose .parquet"
        ) from error
    return buffer.getvalue()


def _metadata(table: Any, changed: Iterable[str]) -> dict[bytes, bytes] | None:
    """What the schema says of its columns to pandas, those that changed now being floats."""
    kept = dict(table.schema.metadata or {})
    try:
        said = json.loads(kept.pop(b"pandas"))
        for one in said["columns"]:
            if one["name"] in changed:
                one |= {"pandas_type": "float64", "numpy_type": "float64", "metadata": None}
        here = set(table.column_names)
        index = [one for one in said["index_columns"] if isinstance(one, dict) or one in here]
        columns = [one for one in said["columns"] if one.get("field_name", one["name"]) in here]
    except (KeyError, TypeError, ValueError):
        return kept or None
    if len(index) < len(said["index_columns"]):  # row labels were left out: rows are counted
        index = []
    said |= {"columns": columns, "index_columns": index}
    return kept | {b"pandas": json.dumps(said).encode()}
