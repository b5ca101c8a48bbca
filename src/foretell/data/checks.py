"""What numbers must satisfy before anything is learned from them, or an error that says why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretell.data.sources import Moments
from foretell.errors import InputError

Matrix: TypeAlias = NDArray[np.float64]

LARGEST_INTEGER = 2**53
LARGEST, SMALLEST = 1e150, 1e-300  # squares beyond these overflow, or are rounded to zero
SAME_COLUMN = 1e-12
CHUNK = 2**17  # numbers per chunk: 1 MB, so that several passes over a chunk stay in the cache


def check_values(X: ArrayLike, names: Sequence[str] | None = None, *, where: str = "X") -> None:
    """Refuse a matrix with missing, infinite or too large numbers; None otherwise.

    Parameters
    ----------
    X
        Numbers, shape (N, d), read in chunks of rows and not copied.
    names
        Names of the d columns for the messages; None counts them from 0.
    where
        What the messages call the matrix.

    Raises
    ------
    InputError
        Listing every column at fault, how many of its rows are, and the first one.

    Examples
    --------
    >>> check_values([[1.0, 2.0]])
    >>> check_values([[1.0, float("nan")]])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    foretell.errors.InputError: Input X contains NaN. column 1: 1 of 1 rows, first row 0; ...
    """
    _check_ranges(_matrix(X, where), names, where)


def check_columns(sample: Moments, names: Sequence[str] | None = None) -> None:
    """Refuse a sample with columns that are constant or repeat another; None otherwise.

    Two columns repeat each other when one is the other up to scale, sign and shift: their
    correlation is ±1 within 1e-12.

    Parameters
    ----------
    sample
        Moments of the rows to learn from.
    names
        Names of the d columns for the messages; None counts them from 0.

    Raises
    ------
    InputError
        Naming the columns at fault.

    Examples
    --------
    >>> from foretell.data.sources import ArraySource
    >>> X = np.array([[1.0, -2.0], [2.0, -4.0], [4.0, -8.0]])
    >>> check_columns(ArraySource(X).moments, ["cm", "inch"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    foretell.errors.InputError: 1 of 2 columns repeat another up to scale, sign and shift: ...
    """
    variance, d = np.diag(sample.covariance), len(sample.mean)
    rounding = 4 * np.finfo(np.float64).eps * np.abs(sample.mean)
    if (constant := np.flatnonzero(variance <= rounding**2)).size and sample.n_rows > 1:
        values = {label(names, j): f"{sample.mean[j]:g}" for j in constant}
        raise InputError(
            f"{constant.size} of {d} columns are constant over all {sample.n_rows} rows of "
            f"pre-training, up to rounding: {reasons(values)}; {leave_out(names, constant)}"
        )
    if sample.n_rows <= 2:  # two rows lie on a line
        return
    if (tiny := np.flatnonzero(variance < SMALLEST)).size:
        values = {label(names, j): f"variance {variance[j]:.3g}" for j in tiny}
        raise InputError(
            f"{tiny.size} of {d} columns vary so little that their squares are lost (variance "
            f"below {SMALLEST:g}): {reasons(values)}; rescale these columns"
        )
    deviation = np.sqrt(variance)
    correlation = sample.covariance / np.outer(deviation, deviation)
    same = np.triu(np.abs(correlation) >= 1 - SAME_COLUMN, 1)
    if (repeated := np.flatnonzero(same.any(0))).size:
        pairs = {f"{label(names, same[:, j].argmax())} and {label(names, j)}": "" for j in repeated}
        raise InputError(
            f"{repeated.size} of {d} columns repeat another up to scale, sign and shift: "
            f"{reasons(pairs)}; keep one of each: {leave_out(names, repeated)}"
        )


def _matrix(X: ArrayLike, where: str) -> NDArray[Any]:
    X = np.asarray(X)
    if X.ndim != 2:
        raise InputError(f"Expected 2D array, got {X.ndim}D array instead: {where} is {X.shape}")
    if X.dtype.kind not in "fiub":
        raise InputError(f"{where} holds {X.dtype}, expected numbers; convert it to float64")
    return X


def _chunks(X: NDArray[Any]) -> Iterator[tuple[int, Matrix]]:
    step = max(1, CHUNK // max(1, X.shape[1]))
    for i in range(0, len(X), step):
        yield i, np.asarray(X[i : i + step], dtype=np.float64)


def _check_ranges(X: NDArray[Any], names: Sequence[str] | None, where: str) -> None:
    N, d = X.shape
    if X.dtype.kind in "iu" and X.size and (why := integer_refusal([X.min(), X.max()])):
        j = int(np.argmax(np.maximum(np.abs(X.min(0).astype(float)), X.max(0).astype(float))))
        raise InputError(f"{label(names, j)} of {where} holds {why}")
    low, high = np.zeros(d), np.zeros(d)
    count, first = {"NaN": np.zeros(d, int), "infinity": np.zeros(d, int)}, np.full(d, N)
    for i, C in _chunks(X):
        if C.size and C.min() >= -LARGEST and C.max() <= LARGEST:
            continue
        np.minimum(low, C.min(0), out=low)
        np.maximum(high, C.max(0), out=high)
        if np.isfinite(C).all():
            continue
        count["NaN"] += np.isnan(C).sum(0)
        count["infinity"] += np.isinf(C).sum(0)
        here = ~np.isfinite(C)
        np.minimum(first, np.where(here.any(0), i + here.argmax(0), N), out=first)
    bad = count["NaN"] + count["infinity"]
    if np.any(bad):
        kinds = " and ".join(kind for kind, rows in count.items() if rows.any())
        columns = np.flatnonzero(bad)
        values = {label(names, j): f"{bad[j]} of {N} rows, first row {first[j]}" for j in columns}
        raise InputError(
            f"Input {where} contains {kinds}. {reasons(values)}; rows and columns count from 0. "
            f"{_cure(names, columns, missing=count['NaN'].any())}"
        )
    largest = np.maximum(np.abs(low), np.abs(high)) if N else np.zeros(d)
    if (large := np.flatnonzero(largest > LARGEST)).size:
        values = {label(names, j): f"up to {largest[j]:.3g}" for j in large}
        raise InputError(
            f"numbers in {where} are so large that their squares overflow (beyond {LARGEST:g}): "
            f"{reasons(values)}; rescale these columns"
        )


def _cure(names: Sequence[str] | None, columns: Any, *, missing: Any) -> str:
    """What to do about missing or infinite numbers in these columns."""
    if not missing:
        return f"Fill them in, remove these rows, or {leave_out(names, columns)}"
    return (
        "Fill them in (MaskedImputer().fit_transform(X); on the command line foretell masked fit "
        "t.csv --drop y --imputed f.csv, y the target; intervals then take filled cells as "
        f"observed), remove these rows, or {leave_out(names, columns)}"
    )


def integer_refusal(values: Iterable[Any]) -> str:
    """Why integers cannot be held as float64, or nothing."""
    extreme = max((int(v) for v in values), key=abs, default=0)
    if abs(extreme) <= LARGEST_INTEGER:
        return ""
    return (
        f"integers as large as {extreme}, which float64 cannot hold (beyond ±2**53): it looks like "
        "an identifier, so leave it out, or store it as float"
    )


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Names in quotes, the first ones of many."""
    names = list(names)
    rest = f", … and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + rest


def reasons(found: dict[str, str], limit: int = 20) -> str:
    """What is wrong with each column, the first ones of many."""
    lines = [f"{name}: {why}" if why else name for name, why in found.items()]
    rest = f"; … and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + rest


def label(names: Sequence[str] | None, j: Any) -> str:
    """What a message calls column j."""
    return f"column {j}" if names is None else repr(names[j])


def leave_out(names: Sequence[str] | None, columns: Iterable[Any]) -> str:
    """How to leave these columns out."""
    if names is None:
        return "leave these columns out"
    return f"leave out {listed(names[j] for j in columns)} (--drop on the command line)"
