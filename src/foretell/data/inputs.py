"""What estimators accept beside data frames: arrays, targets, weights, names of columns."""

from __future__ import annotations

import warnings
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from foretell._types import Array
from foretell.data.checks import check_values
from foretell.data.tables import numbers_of, refusal_of
from foretell.errors import InputError

MISSING_AS_TEXT = ("", "nan", "none", "na", "<na>", "nat", "n/a", "null")


def check_cells(X: Array) -> None:
    """Refuse integers that float64 cannot hold, and columns of text, before they are converted."""
    if X.dtype.kind in "iu":
        check_values(X)
    if X.dtype.kind not in "OUS":
        return
    text = {}
    for j, column in enumerate(X.T):
        for i, cell in enumerate(column):
            if isinstance(cell, str | bytes):
                text[j] = f"column {j}: text, e.g. {cell!r} in row {i}"
                break
    if text:
        raise InputError(
            f"{len(text)} of {X.shape[1]} columns cannot be used as numbers: "
            f"{'; '.join(list(text.values())[:20])}; encode them as numbers, or leave them out"
        )


def target_of(y: Any, n_rows: int) -> Array:
    """Targets of shape (n,), NaN where missing, of anything that holds one value a row."""
    if y is None:
        raise InputError(
            "TwoStageRegressor requires y to be passed, but the target y is None; give one value "
            "a row, missing (NaN) where the row is unlabeled"
        )
    if isinstance(series := nw.from_native(y, series_only=True, pass_through=True), nw.Series):
        if why := refusal_of(series):
            raise InputError(f"the target is not numeric: {why}; expected numbers, or missing")
        y = numbers_of(series)
    if not (type(y) is np.ndarray and y.ndim == 1):
        from sklearn.utils import column_or_1d

        y = column_or_1d(y, warn=True)
    try:
        target = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the target is not numeric ({error}); expected numbers or NaN") from error
    if len(target) != n_rows:
        raise InputError(f"X has {n_rows} rows and y {len(target)}; both need the same number")
    if infinite := int(np.isinf(target).sum()):
        first = int(np.flatnonzero(np.isinf(target))[0])
        raise InputError(
            "Input y contains infinity or a value too large for dtype('float64'). "
            f"{infinite} targets are infinite, the first in row {first}; correct them, or leave "
            "them missing (NaN)"
        )
    if np.nanmax(np.abs(target), initial=0.0) > 1e150:
        raise InputError(
            f"the target reaches {np.nanmax(np.abs(target)):g}, whose square overflows; rescale it"
        )
    return target


def weights_of(sample_weight: Any, n_rows: int) -> Array | None:
    """Weights of shape (n,), or None for none; a scalar weighs all rows alike."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(n_rows, float(weights))
    if weights.shape != (n_rows,):
        raise InputError(
            f"expected one weight a row, sample_weight of shape ({n_rows},); found {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputError(
            "sample weights are finite, at least zero and not all zero; found "
            f"{int((~np.isfinite(weights)).sum())} not finite and {int((weights < 0).sum())} "
            "negative"
        )
    return weights


def compare_names(found: list[str], expected: list[str]) -> None:
    """Refuse columns that are not those of the fit, in their order."""
    if found == expected:
        return
    unseen = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found]
    message = "The feature names should match those that were passed during fit.\n"
    if unseen:
        message += "Feature names unseen at fit time:\n" + "".join(f"- {n}\n" for n in unseen[:5])
    if missing:
        message += "Feature names seen at fit time, yet now missing:\n"
        message += "".join(f"- {n}\n" for n in missing[:5])
    if not unseen and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
        k = next(
            k for k, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]
        )
        message += f"Column {k} is {found[k]!r}, expected {expected[k]!r}.\n"
    message += "Select the columns of the fit: X[list(estimator.feature_names_in_)]"
    raise InputError(message)


def targets_of(y: Any, n_rows: int) -> tuple[Array, list[str]]:
    """Targets of shape (n,), or (n, k) if there are several, NaN where missing; their names."""
    frame = nw.from_native(y, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        columns = [target_of(frame[name].to_native(), n_rows) for name in frame.columns]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1), list(frame.columns)
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if isinstance(y, list | tuple) and len(y) and isinstance(y[0], list | tuple):
        shape = (len(y), len(y[0]))
    if len(shape) == 2 and shape[1] > 1:
        columns = [target_of(column, n_rows) for column in np.asarray(y).T]
        return np.stack(columns, axis=1), [f"y{j}" for j in range(shape[1])]
    return target_of(y, n_rows), ["y"]


def is_missing(labels: Array) -> Array:
    """Which labels are None or NaN, shape (n,)."""
    if labels.dtype.kind == "f":
        return np.asarray(np.isnan(labels))
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), dtype=bool)
    nothing = ("NoneType", "NAType", "NaTType")
    return np.array(
        [type(v).__name__ in nothing or (isinstance(v, float) and np.isnan(v)) for v in labels],
        dtype=bool,
    )


def warn_of_missing_as_text(labels: Array, cure: str) -> None:
    """Warn where one of the classes is a text that usually stands for a missing label."""
    classes = [str(c) for c in np.unique(labels)] if labels.dtype.kind == "U" else []
    texts = [c for c in classes if c.strip().lower() in MISSING_AS_TEXT]
    if texts:
        rows = int(np.isin(labels, texts).sum())
        warnings.warn(
            f"{rows} rows have the text {' or '.join(map(repr, texts))} for a class, which is "
            "taken for a class of its own; if it marks unlabeled rows (NumPy writes NaN as 'nan' "
            f"into an array of text), {cure.format(texts[0])}",
            UserWarning,
            stacklevel=5,
        )


def classes_of(y: Any, n_rows: int) -> tuple[Array, Array]:
    """Codes 0, 1, ... of classes, NaN where missing, shape (n,), and the classes in order."""
    if y is None:
        raise InputError(
            "TwoStageClassifier requires y to be passed, but the target y is None; give one class "
            "a row, missing (None, NaN) where the row is unlabeled"
        )
    if isinstance(series := nw.from_native(y, series_only=True, pass_through=True), nw.Series):
        y = np.array(series.to_list(), dtype=object)
    from sklearn.utils import column_or_1d

    labels = column_or_1d(np.asarray(y), warn=True)
    if len(labels) != n_rows:
        raise InputError(f"X has {n_rows} rows and y {len(labels)}; both need the same number")
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise InputError(
            "Input y contains infinity or a value too large for dtype('float64'). "
            f"{int(np.isinf(labels).sum())} classes are infinite; correct them, or leave them "
            "missing (NaN)"
        )
    missing = is_missing(labels)
    known = labels[~missing]
    if known.dtype.kind == "O" and len(known):
        kinds = {type(label).__name__ for label in known}
        if len(kinds) > 1 and not kinds <= {"int", "float", "bool", "int64", "float64"}:
            raise InputError(
                f"the classes are of different types: {', '.join(sorted(kinds))}; use one type"
            )
        known = np.array(known.tolist())
    if known.dtype.kind == "f" and (known != np.rint(known)).any():
        raise InputError(
            "Unknown label type: continuous. Classes are whole numbers, text or true and false; "
            f"found e.g. {known[known != np.rint(known)][0]:g}; use TwoStageRegressor for numbers"
        )
    classes, codes = np.unique(known, return_inverse=True)
    if classes.dtype.kind in "if" and {-1, 0} <= set(classes.tolist()) and not missing.any():
        warnings.warn(
            "every row has a class, and one class is -1; if -1 marks unlabeled rows, replace it "
            "by None or NaN",
            UserWarning,
            stacklevel=4,
        )
    warn_of_missing_as_text(
        known,
        "give an array of objects with None or np.nan there, e.g. y = y.astype(object); "
        "y[y == {!r}] = None",
    )
    if len(classes) > max(50, len(known) // 2):
        raise InputError(
            f"{len(classes)} different classes in {len(known)} labeled rows look like a number or "
            "an identifier; use TwoStageRegressor for numbers"
        )
    out = np.full(n_rows, np.nan)
    out[~missing] = codes
    return out, classes
