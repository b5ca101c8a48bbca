"""Tables in: files and data frames become a matrix and a target, or an error that says why."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import ArrayLike, NDArray

from foretell.data.checks import (
    LARGEST,
    check_values,
    integer_refusal,
    listed,
    reasons,
)
from foretell.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Frame: TypeAlias = nw.DataFrame[Any]
Matrix: TypeAlias = NDArray[np.float64]

CSV_SUFFIXES = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")
# fmt: off
MISSING_CELLS = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "n/a",
    "NA", "na", "NULL", "Null", "null", "NaN", "-NaN", "nan", "-nan", "NAN", "None", "none",
))
# fmt: on


def read_table(path: str | Path) -> pa.Table:
    """Table in a CSV, TSV (also gzipped), Parquet, Arrow, Feather or IPC file.

    The extension decides, in any case. CSV must be UTF-8, with or without byte-order mark. Cells
    that are empty, ``NA``, ``N/A``, ``NaN``, ``null``, ``None`` or one of the other spellings in
    ``MISSING_CELLS`` are missing. The row labels that pandas adds to Parquet files
    (``__index_level_0__``) are left out.

    Parameters
    ----------
    path
        One file. The whole table is read into memory.

    Raises
    ------
    InputError
        When there is no such readable file, it cannot be parsed, it has no rows, or two of its
        columns share a name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flats.csv")
    ...     _ = path.write_text("rooms,rent\\n2,700\\n3,NA\\n")
    ...     read_table(path).shape
    (2, 2)
    """
    import pyarrow as pa

    path = Path(path)
    try:
        suffix = _suffix(path)
        table = _read_csv(path, suffix) if suffix in CSV_SUFFIXES else _read_arrow(path, suffix)
        columns = table.column_names
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} may not be read; change its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"a column name in {path} is not UTF-8; save the file as UTF-8") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read, is it damaged? {why}") from error
    if repeated := sorted({c for c in columns if columns.count(c) > 1}):
        raise InputError(f"{path} has several columns named {listed(repeated)}; rename them")
    if not columns:
        raise InputError(f"{path} has no columns; expected a target and at least one other column")
    if not table.num_rows:
        raise InputError(f"{path} has {len(columns)} columns but no rows; expected rows of data")
    return table


def _suffix(path: Path) -> str:
    """Extension of an existing file that can be read, in lower case."""
    if path.is_dir():
        raise InputError(f"{path} is a directory; give one file")
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"there is no file {path}{_near(path.name, siblings)}")
    suffixes = Path(path.name.lower()).suffixes
    suffix = "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
    supported = [*CSV_SUFFIXES, ".parquet", *ARROW_SUFFIXES]
    if suffix not in supported:
        found = f"the extension {suffix!r}" if suffix else "no extension"
        raise InputError(f"{path} has {found}; expected one of {', '.join(supported)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); expected a header and rows")
    return suffix


def _read_csv(path: Path, suffix: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    delimiter = CSV_SUFFIXES[suffix]
    compression = "gzip" if suffix.endswith(".gz") else None
    with pa.input_stream(str(path), compression=compression) as stream:
        _check_header(path, stream.read(2**16).partition(b"\n")[0], delimiter)

    def parse(threads: bool, on_invalid: Callable[[Any], str] | None) -> pa.Table:
        with pa.input_stream(str(path), compression=compression) as stream:
            return csv.read_csv(
                stream,
                csv.ReadOptions(use_threads=threads, block_size=2**23),
                csv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=on_invalid
                ),
                csv.ConvertOptions(null_values=sorted(MISSING_CELLS)),
            )

    try:
        return parse(True, None)
    except pa.ArrowInvalid as error:
        bad: list[Any] = []  # row numbers are only known to the single-threaded reader

        def collect(row: Any) -> str:
            bad.append(row)
            return "skip"

        with contextlib.suppress(pa.ArrowInvalid):
            parse(False, collect)
        if not bad:
            raise
        raise InputError(
            f"{path}: row {bad[0].number} (the header is row 1, blank lines not counted) has "
            f"{bad[0].actual_columns} cells, expected {bad[0].expected_columns}: "
            f"{_shortened(bad[0].text)}; {len(bad)} such rows; mend them: cells that contain "
            f"{delimiter!r} need quotes, and quotes must close"
        ) from error


def _check_header(path: Path, header: bytes, delimiter: str) -> None:
    if header[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path} is in UTF-16; save it as UTF-8")
    for other, meaning in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")):
        if delimiter.encode() not in header and other.encode() in header:
            raise InputError(
                f"{path} seems to be separated by {meaning}, expected {delimiter!r}; the header is "
                f"{_shortened(header.decode(errors='replace').strip())}; save it as .csv with "
                "commas and decimal points, or as .tsv with tabs"
            )


def _read_arrow(path: Path, suffix: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import feather, parquet

    if suffix == ".parquet":
        table = parquet.ParquetFile(path).read()
    else:
        try:
            table = feather.read_table(path)
        except pa.ArrowInvalid:  # the streaming variant of the IPC format has no footer
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                table = reader.read_all()
    labels = [c for c in table.column_names if re.fullmatch(r"__index_level_\d+__", c)]
    return table.drop_columns(labels) if labels else table


def is_frame(obj: object) -> bool:
    """Whether ``obj`` is a data frame that :func:`as_frame` accepts; imports no data-frame package.

    Examples
    --------
    >>> import pyarrow as pa
    >>> is_frame(pa.table({"a": [1]})), is_frame([[1]])
    (True, False)
    """
    try:
        frame = nw.from_native(obj, pass_through=True)
    except DuplicateError:
        return True
    return isinstance(frame, nw.DataFrame | nw.LazyFrame)


def as_frame(obj: Any) -> Frame:
    """Narwhals data frame around a pandas, polars, PyArrow or other supported table, not copied.

    Lazy frames are collected. Column names become strings.

    Raises
    ------
    InputError
        When ``obj`` is not a data frame, or two columns share a name.

    Examples
    --------
    >>> import pyarrow as pa
    >>> as_frame(pa.table({"a": [1, 2]})).columns
    ['a']
    """
    if not is_frame(obj):
        raise InputError(
            f"expected a data frame (pandas, polars, PyArrow, …), found {type(obj).__name__}"
        )
    try:
        frame: Any = nw.from_native(obj)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        renamed = {c: str(c) for c in frame.columns if not isinstance(c, str)}
        named: Frame = frame.rename(renamed) if renamed else frame
        return named
    except DuplicateError as error:
        raise InputError(f"two columns share a name; rename one: {error}") from error


def design_matrix(
    frame: Any,
    columns: Sequence[str] | None = None,
) -> tuple[Matrix, list[str]]:
    """Numbers of a data frame as a C-contiguous float64 matrix, and the names of its columns.

    Numbers and booleans are used as they are; nothing is encoded, filled in or left out.

    Parameters
    ----------
    frame
        Anything :func:`as_frame` accepts, N rows.
    columns
        The d columns to use and their order; None uses all.

    Returns
    -------
    tuple
        The matrix, shape (N, d), and the names, length d. The matrix shares memory with a pandas
        frame that already has this layout.

    Raises
    ------
    InputError
        When columns are unknown, are not numbers (all of them are listed), hold integers beyond
        ±2**53, or the matrix fails
        :func:`~foretell.data.checks.check_values`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> X, names = design_matrix(pa.table({"a": [1, 2, 3], "b": [True, False, False]}))
    >>> X.tolist(), names
    ([[1.0, 1.0], [2.0, 0.0], [3.0, 0.0]], ['a', 'b'])
    """
    frame = as_frame(frame)
    names = frame.columns
    if columns is not None:
        names = known_columns(columns, names, "columns")
    if bad := {repr(c): why for c in names if (why := refusal_of(frame[c]))}:
        raise InputError(
            f"{len(bad)} of {len(names)} columns cannot be used as numbers: {reasons(bad)}; "
            f"encode them as numbers, or leave them out (--drop on the command line)"
        )
    X = frame.select(names).to_numpy() if _one_block(frame, names) else None
    if X is None or X.dtype != np.float64 or not X.flags.c_contiguous:
        X = np.empty((len(frame), len(names)))
        for j in range(0, len(names), 8):  # a cache line of columns at a time
            X[:, j : j + 8] = np.array([numbers_of(frame[c]) for c in names[j : j + 8]]).T
    for j, c in enumerate(names):
        if c in ("", "Unnamed: 0") and len(X) > 2 and np.all(np.diff(X[:, j]) == 1):
            raise InputError(
                f"the column {c!r} counts the rows, as written by pandas; leave it out with "
                f"drop=[{c!r}] (--drop), or save the table with index=False"
            )
    check_values(X, names)
    return X, names


def _one_block(frame: Frame, names: Sequence[str]) -> bool:
    return frame.implementation.is_pandas() and {frame.schema[c] for c in names} == {nw.Float64()}


def numbers_of(column: nw.Series[Any]) -> Matrix:
    """Cells of a column that :func:`refusal_of` accepts, missing ones as NaN, shape (N,)."""
    if column.null_count() == len(column):
        return np.full(len(column), math.nan)
    if column.dtype == nw.Object:
        return np.array([math.nan if _is_missing(v) else float(v) for v in column.to_list()])
    return np.asarray(column.cast(nw.Float64).to_numpy(), dtype=np.float64)


def refusal_of(column: nw.Series[Any]) -> str:
    """Why a column cannot be used as numbers, or nothing."""
    kind = column.dtype
    if column.null_count() == len(column) or kind == nw.Boolean or kind.is_float():
        return ""
    if kind == nw.String:
        return _text_refusal([v if isinstance(v, str) else None for v in column.to_list()])
    if kind == nw.Object:
        return _object_refusal([v for v in column.to_list() if not _is_missing(v)])
    if kind.is_integer():
        return integer_refusal([column.min(), column.max()])
    if kind.is_numeric():
        return ""
    if kind == nw.Unknown:
        native = column.to_native()
        return str(native.type if hasattr(native, "type") else native.dtype)
    return type(kind).__name__.lower()


def _is_missing(cell: object) -> bool:
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def _object_refusal(values: Sequence[Any]) -> str:
    if odd := [v for v in values if not isinstance(v, Real | Decimal)]:
        return f"Python objects, e.g. {_shortened(odd[0])} ({type(odd[0]).__name__})"
    return integer_refusal([v for v in values if isinstance(v, Integral)])


def _text_refusal(cells: Sequence[str | None]) -> str:
    stray = [i for i, v in enumerate(cells) if v is not None and not _reads_as_number(v)]
    if not stray:
        example = _shortened(next(filter(None, cells), None))
        return f"text, though every cell reads as a number, e.g. {example}"
    found = sum(v is not None and v not in MISSING_CELLS for v in cells)
    if len(stray) == found:
        distinct = len({v for v in cells if v is not None})
        return f"text, {distinct} distinct values, e.g. {_shortened(cells[stray[0]])}"
    return (
        f"read as text because {len(stray)} of {found} cells are not numbers, the first "
        f"{_shortened(cells[stray[0]])} in row {stray[0]} (counting from 0)"
    )


def _reads_as_number(cell: str) -> bool:
    if cell in MISSING_CELLS:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


@dataclass(frozen=True, eq=False)
class Table:
    """A table ready to fit: :func:`load` makes it.

    Attributes
    ----------
    X
        Features, shape (N, d), checked by :func:`~foretell.data.checks.check_values`.
    y
        Target, shape (N,); NaN marks the unlabeled rows.
    names
        Names of the d features.
    target
        Name of the target.
    source_name
        Name of the file, or ``"data frame"``.
    dropped
        Names of the columns left out.
    """

    X: Matrix
    y: Matrix
    names: tuple[str, ...]
    target: str
    source_name: str
    dropped: tuple[str, ...]

    def frame(self, rows: NDArray[Any] | None = None) -> pa.Table:
        """The features of some rows, or of all, as a table with names."""
        import pyarrow as pa

        X = self.X if rows is None else self.X[rows]
        return pa.table(dict(zip(self.names, np.ascontiguousarray(X.T), strict=True)))

    @property
    def n_labeled(self) -> int:
        """Number of rows with a target."""
        return count_labeled(self.y)

    @property
    def n_unlabeled(self) -> int:
        """Number of rows without a target."""
        return len(self.y) - self.n_labeled


def load(
    source: Any, target: str, drop: Iterable[str] = (), columns: Sequence[str] | None = None
) -> Table:
    """Features and target of a file or data frame, checked.

    Parameters
    ----------
    source
        Path of a file that :func:`read_table` reads, or a data frame.
    target
        Name of the column to predict; its missing cells mark the unlabeled rows.
    drop
        Names of columns to leave out.
    columns
        Names of the features; None uses all columns but the target and those in ``drop``.

    Raises
    ------
    InputError
        As :func:`read_table`, :func:`split_target` and :func:`design_matrix` do.

    Examples
    --------
    >>> import pyarrow as pa
    >>> frame = pa.table({"id": ["p", "q", "r"], "a": [1, 2, 4], "y": [5.0, 7.0, None]})
    >>> table = load(frame, "y", drop=["id"])
    >>> table.names, table.n_labeled, table.n_unlabeled
    (('a',), 2, 1)
    """
    is_path = isinstance(source, str | Path)
    frame = as_frame(read_table(source) if is_path else source)
    drop = known_columns([drop] if isinstance(drop, str) else drop, frame.columns, "drop")
    if str(target) in drop:
        raise InputError(f"{target!r} is both the target and in drop; take it out of one")
    features, y = split_target(frame, target)
    kept = features.columns
    if columns is not None:
        kept = known_columns(columns, kept, "columns")
    kept = [c for c in kept if c not in drop]
    if not kept:
        raise InputError(
            f"no column is left beside the target {target!r} ({len(drop)} dropped); keep some"
        )
    X, names = design_matrix(features, kept)
    left_out = tuple(c for c in features.columns if c not in kept)
    name = Path(source).name if is_path else "data frame"
    return Table(X, y, tuple(names), str(target), name, left_out)


def split_target(table: Any, target: str) -> tuple[Frame, Matrix]:
    """The other columns of a table, and its target as floats with NaN in the unlabeled rows.

    Raises
    ------
    InputError
        When there is no such column, it is not numeric or boolean, contains infinity, has no
        labeled row, or the same number in every labeled row.

    Examples
    --------
    >>> import pyarrow as pa
    >>> features, y = split_target(pa.table({"a": [1, 2, 3], "y": [0.5, None, 0.7]}), "y")
    >>> features.columns, y
    (['a'], array([0.5, nan, 0.7]))
    """
    frame = as_frame(table)
    (target,) = known_columns([target], frame.columns, "target")
    if why := refusal_of(frame[target]):
        raise InputError(
            f"the target {target!r} is not numeric: {why}; expected numbers, with missing cells in "
            "the unlabeled rows (two classes may be coded 0, 1)"
        )
    y = numbers_of(frame[target])
    infinite = np.flatnonzero(np.isinf(y))
    if infinite.size:
        raise InputError(
            f"the target {target!r} contains infinity in {infinite.size} of {len(y)} rows, first "
            f"row {infinite[0]} (counting from 0); make these cells missing, or finite"
        )
    n = count_labeled(y)
    if n == 0:
        raise InputError(
            f"the target {target!r} is missing in all {len(y)} rows; at least two must be labeled"
        )
    low, high = float(np.nanmin(y)), float(np.nanmax(y))
    if low == high:
        raise InputError(
            f"the target {target!r} is {low:g} in all {n} labeled rows (of {len(y)}); expected at "
            "least two different numbers"
        )
    if max(-low, high) > LARGEST:
        raise InputError(
            f"the target {target!r} has numbers up to {max(-low, high):.3g}, whose squares "
            f"overflow (beyond {LARGEST:g}); rescale it"
        )
    return frame.drop([target]), y


def count_labeled(y: ArrayLike) -> int:
    """Number of entries that are not NaN.

    Examples
    --------
    >>> count_labeled([0.5, float("nan"), 0.7])
    2
    """
    return int(np.count_nonzero(~np.isnan(np.asarray(y, dtype=np.float64))))


def known_columns(wanted: Iterable[Any], columns: Sequence[str], argument: str) -> list[str]:
    """The wanted names as strings, if all are columns and none comes twice.

    Raises
    ------
    InputError
        Naming the argument, what is unknown, and what is near.
    """
    names = [str(c) for c in wanted]
    if unknown := [c for c in names if c not in columns]:
        raise InputError(
            f"{argument}: there is no column {listed(unknown)}{_near(unknown[0], columns)}; the "
            f"{len(columns)} columns are {listed(columns)}"
        )
    if repeated := sorted({c for c in names if names.count(c) > 1}):
        raise InputError(f"{argument} names {listed(repeated)} more than once; name each once")
    return names


def _near(name: str, others: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, others, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _shortened(cell: object, limit: int = 60) -> str:
    text = repr(cell)
    return text if len(text) <= limit else text[: limit - 1] + "…"
