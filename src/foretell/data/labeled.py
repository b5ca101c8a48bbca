"""A table of numbers with a column of classes of any type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.tables import MISSING_CELLS, as_frame, known_columns
from foretell.errors import InputError


def split_labels(frame: Any, label: str | None, drop: Iterable[str] = ()) -> tuple[Any, Any]:
    """The other columns of a data frame, and its labels, shape (m,), or None without ``label``.

    Parameters
    ----------
    frame
        Data frame of m rows.
    label
        Column of labels, of any type, missing in the unlabeled rows; text that is empty or spells
        a missing cell (``NA``, ``null``, ...) is missing.
    drop
        Name or names of other columns to leave out.

    Raises
    ------
    InputError
        If a column is unknown, or none is left.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rest, labels = split_labels(pa.table({"a": [1, 2], "kind": ["x", None]}), "kind")
    >>> rest.columns, labels.tolist()
    (['a'], ['x', None])
    """
    table = as_frame(frame)
    dropped = known_columns([drop] if isinstance(drop, str) else drop, table.columns, "drop")
    labels = None
    if label is not None:
        (label,) = known_columns([label], table.columns, "label")
        cells = [None if cell in MISSING_CELLS else cell for cell in table[label].to_list()]
        labels = np.array([*cells, None], dtype=object)[:-1]
    kept = [name for name in table.columns if name not in (*dropped, label)]
    if not kept:
        raise InputError("no column of numbers is left; keep some")
    return table.select(kept), labels


def standardized(X: Array) -> Array:
    """Columns with mean zero and standard deviation one; constant ones are zero.

    Examples
    --------
    >>> standardized(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    spread = X.std(axis=0)
    constant = spread <= 1e-12 * np.abs(X).max(axis=0, initial=0.0)
    return (X - X.mean(axis=0)) / np.where(constant, 1.0, spread) * ~constant
