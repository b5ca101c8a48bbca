"""Results as data frames, in the library the user works with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import narwhals as nw


def to_frame(columns: Mapping[str, Any], backend: str | None = None) -> Any:
    """Native data frame of equally long columns.

    Parameters
    ----------
    columns
        Name to values.
    backend
        ``"pandas"``, ``"polars"`` or ``"pyarrow"``; None takes pandas if it is installed, and
        pyarrow otherwise.
    """
    chosen: Any = backend or ("pandas" if find_spec("pandas") else "pyarrow")
    return nw.from_dict(dict(columns), backend=chosen).to_native()


def backend_of(obj: Any) -> str | None:
    """Name of the library a data frame comes from, None for anything else."""
    frame = nw.from_native(obj, pass_through=True)
    implementation = getattr(frame, "implementation", None)
    name = None if implementation is None else str(implementation)
    return name if name in ("pandas", "polars", "pyarrow") else None
