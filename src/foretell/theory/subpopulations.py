"""Source and target: vertices and their labels, checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array, whole_number
from foretell.errors import InputError
from foretell.theory.graphs.weights import NormalizedGraph, normalized_weights

UNLABELED = -1


def as_normalized(graph: Any) -> tuple[NormalizedGraph, Array, int]:
    """The normalized graph of a ``PositivePairGraph`` or of weights.

    Also the vertices that it keeps, and the number of those that were given: labels are for these.
    """
    if isinstance(graph, NormalizedGraph):
        return graph, np.arange(graph.n), graph.n
    if isinstance(inner := getattr(graph, "normalized", None), NormalizedGraph):
        return inner, np.asarray(graph.kept), int(graph.n_given)
    normalized, kept = normalized_weights(graph)
    return normalized, kept, normalized.n


def parts_of(
    graph: Any, labels: Array, source: Array, target: Array
) -> tuple[NormalizedGraph, Array, Array, Array]:
    """The normalized graph, labels and masks of source and target, for vertices that are kept."""
    normalized, kept, n = as_normalized(graph)
    y, inside, outside = split(n, labels, source, target)
    y, inside, outside = y[kept], inside[kept], outside[kept]
    if not outside.any():
        raise InputError("every target vertex was dropped from the graph: none has an edge")
    checked_labels(np.where(inside, y, UNLABELED), len(kept))
    return normalized, y, inside, outside


def split(n: int, labels: Array, source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Labels, and masks of source and target, checked against each other."""
    inside, outside = _mask(n, source, "source"), _mask(n, target, "target")
    if (common := inside & outside).any():
        raise InputError(
            f"{common.sum()} vertices are in the source and in the target; leave them out of one"
        )
    y = _whole_labels(labels, n)
    checked_labels(np.where(inside, y, UNLABELED), n)
    if (y[inside] < 0).any():
        raise InputError("source vertices need labels, but some are -1; leave these out of it")
    return y, inside, outside


def _mask(n: int, vertices: Array, name: str) -> Array:
    try:
        v = np.asarray(vertices)
    except ValueError as error:
        raise InputError(f"{name} is a mask or indices; found rows of different lengths") from error
    if v.shape == (n,) and n > 2 and v.dtype.kind in "iuf" and np.isin(v, [0, 1]).all():
        raise InputError(
            f"{name} has {n} numbers 0 and 1, which could be a mask or the indices of two "
            "vertices; pass a mask as truth values, by .astype(bool)"
        )
    if v.dtype == bool and v.shape == (n,):
        mask = v
    elif v.ndim == 1 and np.issubdtype(v.dtype, np.integer) and ((v >= 0) & (v < n)).all():
        mask = np.zeros(n, dtype=bool)
        mask[v] = True
    else:
        raise InputError(
            f"{name} is a mask of shape ({n},) or indices from 0 to {n - 1}; found shape "
            f"{v.shape} of {v.dtype}"
        )
    if not mask.any():
        raise InputError(f"the {name} is empty; give at least one vertex")
    return mask


def checked_rows(
    features: Array, weights: Array | None, source_labels: Array
) -> tuple[Array, Array, Array]:
    """Features, weights of sum one and source labels, once they fit each other."""
    f = real_array(features, "features", "(n, k)")
    if f.ndim != 2 or 0 in f.shape or not np.isfinite(f).all():
        raise InputError(f"features are finite numbers of shape (n, k); found shape {f.shape}")
    w = np.ones(len(f)) if weights is None else real_array(weights, "weights", f"({len(f)},)")
    if w.shape != (len(f),) or not np.isfinite(w).all() or (w <= 0).any():
        raise InputError(
            f"weights are positive numbers of shape ({len(f)},), one a row; found shape {w.shape}"
        )
    return f, w / w.sum(), checked_labels(source_labels, len(f))


def checked_labels(source_labels: Array, n: int) -> Array:
    """Labels 0 to c - 1 of source rows, -1 elsewhere, once they are."""
    y = _whole_labels(source_labels, n)
    found = np.unique(y[y >= 0])
    if y.min() < UNLABELED or len(found) < 2 or len(found) != found[-1] + 1:
        raise InputError(
            "source labels are 0 to c - 1, at least two classes and every one present, -1 for "
            f"rows outside the source; found {np.unique(y)[:10].tolist()}"
        )
    return y


def _whole_labels(labels: Any, n: int) -> Array:
    """Labels as whole numbers, shape (n,)."""
    try:
        y = np.asarray(labels)
    except ValueError as error:
        raise InputError(f"labels have shape ({n},); found rows of different lengths") from error
    if y.shape != (n,):
        raise InputError(f"labels have shape ({n},), one a vertex; found {y.shape}")
    if y.dtype.kind not in "iuf" or not np.isfinite(y).all() or (y != np.floor(y)).any():
        missing = y.dtype.kind == "f" and not np.isfinite(y).all()
        found = "NaN or infinite labels" if missing else f"data of type {y.dtype}"
        raise InputError(
            f"labels are whole numbers 0 to c - 1, and -1 where not known; found {found}: number "
            "text by np.unique(labels, return_inverse=True)[1], and set unknown ones to -1"
        )
    return y.astype(np.intp)


def checked_steps(steps: Sequence[int]) -> list[int]:
    """Whole numbers of steps >= 1."""
    found = list(steps) if hasattr(steps, "__iter__") else []
    if not found:
        raise InputError(f"expected one or more numbers of steps to choose from; found {steps!r}")
    return [whole_number(t, "a number of steps", 1) for t in found]
