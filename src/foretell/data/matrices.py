"""A square matrix from a file, dense or sparse."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": None}


def read_matrix(path: str | Path) -> Array:
    """Square matrix in a ``.npy``, ``.csv``, ``.tsv`` or ``.txt`` file, shape (d, d).

    A first row or a first column of names, as data frames write them, is left out. Cells of
    ``.txt`` files are separated by white space.

    Raises
    ------
    InputError
        If there is no such readable file, a cell is no number, or the matrix is not square.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "covariance.csv")
    ...     _ = path.write_text(",a,b\\na,2,1\\nb,1,2\\n")
    ...     read_matrix(path).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    path = Path(path)
    if path.suffix.lower() not in (".npy", *DELIMITERS):
        raise InputError(
            f"a matrix is read from .npy, .csv, .tsv or .txt files; found {path.name!r}"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path} to read a matrix from")
    try:
        if path.suffix.lower() == ".npy":
            matrix = np.load(path, allow_pickle=False).astype(np.float64)
        else:
            matrix = _parse(path)
    except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a matrix: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise InputError(f"{path} holds an array of shape {matrix.shape}; expected a square matrix")
    return np.asarray(matrix)


def read_weights(path: str | Path) -> Any:
    """Square weights of a graph from ``.npz`` (SciPy's sparse format), ``.npy`` or ``.mtx``.

    Raises
    ------
    InputError
        If there is no such readable file or it holds no square matrix of numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from scipy.sparse import eye_array, save_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_npz(pathlib.Path(folder, "w.npz"), eye_array(3).tocsr())
    ...     read_weights(pathlib.Path(folder, "w.npz")).shape
    (3, 3)
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return read_matrix(path)
    if not path.is_file():
        raise InputError(f"there is no file {path} to read weights from")
    from scipy.io import mmread
    from scipy.sparse import load_npz

    try:
        matrix = mmread(path) if path.suffix.lower() == ".mtx" else load_npz(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a sparse matrix: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{path} holds a matrix of shape {matrix.shape}; expected a square one")
    return matrix


def _parse(path: Path) -> Array:
    delimiter = DELIMITERS[path.suffix.lower()]
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = file if delimiter is None else csv.reader(file, delimiter=delimiter)
        cells = [line.split() if isinstance(line, str) else line for line in lines]
    cells = [row for row in cells if any(cell.strip() for cell in row)]
    if cells and not _is_number(cells[0][-1]):
        cells = cells[1:]
    if cells and not _is_number(cells[0][0]):
        cells = [row[1:] for row in cells]
    if not cells:
        raise ValueError("it holds no numbers")
    widths = {len(row) for row in cells}
    if len(widths) != 1:
        raise ValueError(f"rows have {' and '.join(map(str, sorted(widths)))} cells")
    return np.array(cells, dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
