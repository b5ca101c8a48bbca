"""What builds a graph from samples, checked: rows, their weights, and numbers of draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.checks import check_values
from foretell.data.inputs import check_cells, weights_of
from foretell.data.numbers import whole_number
from foretell.data.sources import Source
from foretell.data.tables import design_matrix, is_frame
from foretell.errors import InputError


def samples_of(X: Any, weights: Any) -> tuple[Array, Array, tuple[str, ...] | None]:
    """Rows, shape (m, d), weights that sum to one, and names of columns."""
    names = None
    if isinstance(X, Source):
        if X.paired:
            raise InputError(
                "expected single rows and an augmentation; found pairs of views: pass the rows, "
                "or an AugmentedSource without an augmentation beside it"
            )
        chunks = list(X.chunks())
        rows = np.concatenate([chunk.X for chunk in chunks]) if chunks else np.empty((0, X.columns))
        if any(chunk.weights is not None for chunk in chunks):
            if weights is not None:
                raise InputError("the source brings weights of its own; leave weights out")
            weights = np.concatenate(
                [np.ones(len(c.X)) if c.weights is None else c.weights for c in chunks]
            )
    elif is_frame(X):
        rows, columns = design_matrix(X)
        names = tuple(columns)
    else:
        rows = np.asarray(X)
        if rows.ndim == 2:
            check_cells(rows)
    check_values(rows)
    if not rows.size:
        raise InputError(f"expected at least one row and one column; found shape {rows.shape}")
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    given = weights_of(weights, len(rows))
    P = np.ones(len(rows)) if given is None else given
    if not P.all():
        raise InputError(
            f"weights are positive; found {int((P == 0).sum())} of zero: leave these rows out"
        )
    return rows, P / P.sum(), names


def cells_of(cells: Any, points: Any, d: int) -> int | Array | None:
    """Number of cells or their centers, shape (c, d), or None for no rounding."""
    if cells is not None and points is not None:
        raise InputError("expected cells, or points to round to; found both")
    if cells is not None:
        return whole_number(cells, "cells", 1)
    if points is None:
        return None
    centers = np.asarray(points)
    check_values(centers, where="points")
    if centers.shape[1] != d or not len(centers):
        raise InputError(f"expected points of shape (c, {d}); found {centers.shape}")
    return np.ascontiguousarray(centers, dtype=np.float64)


def check_counts(n_views: int, neighbors: int | None, mass: float) -> None:
    """Refuse numbers of draws and neighbors below one, and a mass outside [0, 1)."""
    whole_number(n_views, "n_views", 1)
    if neighbors is not None:
        whole_number(neighbors, "neighbors", 1)
    if not 0 <= mass < 1:
        raise InputError(f"mass is at least 0 and below 1; found {mass}")
