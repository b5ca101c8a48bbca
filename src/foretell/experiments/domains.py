"""Rows of a source and of a target domain, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.inputs import warn_of_missing_as_text
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.experiments.probes import PROBES


@dataclass(frozen=True, eq=False)
class Domains:
    """Rows of both domains; labels as codes 0 to K - 1."""

    X_source: Array
    y_source: Array
    X_target: Array
    y_target: Array | None
    classes: Array

    @classmethod
    def checked(cls, X_source: Any, y_source: Any, X_target: Any, y_target: Any) -> Domains:
        """Arrays, once shapes and labels fit each other."""
        rows = []
        for name, X in (("X_source", X_source), ("X_target", X_target)):
            rows.append(np.asarray(X, dtype=np.float64))
            if rows[-1].ndim != 2 or 0 in rows[-1].shape or not np.isfinite(rows[-1]).all():
                raise InputError(
                    f"{name} holds finite numbers of shape (n, d); found shape {rows[-1].shape}, "
                    f"{np.sum(~np.isfinite(rows[-1]))} not finite"
                )
        if rows[0].shape[1] != rows[1].shape[1]:
            raise InputError(
                f"source and target need the same columns; found {rows[0].shape[1]} and "
                f"{rows[1].shape[1]}; resize the images, or keep common columns"
            )
        y = _labels(y_source, len(rows[0]), "y_source")
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"expected at least two classes in y_source; found {classes.tolist()}")
        if y_target is None:
            return cls(rows[0], codes, rows[1], None, classes)
        truth = _labels(y_target, len(rows[1]), "y_target")
        if len(unknown := np.setdiff1d(truth, classes)):
            raise InputError(
                f"the target has classes that the source lacks: {unknown[:10].tolist()}; a head "
                "cannot predict them, so leave these rows out"
            )
        return cls(rows[0], codes, rows[1], np.searchsorted(classes, truth), classes)


def _labels(y: Any, n: int, name: str) -> Array:
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise InputError(f"{name} has shape ({n},), one label a row; found {labels.shape}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError(f"{name} has labels that are not finite; leave these rows out")
    warn_of_missing_as_text(labels, "leave these rows out")
    return labels


def check_options(
    data: Domains, n_labels: Any, probe: Any, test_share: Any, n_draws: Any, random_state: Any
) -> None:
    """Refuse options that these rows cannot serve."""
    if isinstance(probe, str) and probe not in PROBES:
        raise InputError(f"probe is one of {PROBES} or a classifier; found {probe!r}")
    if not 0 < test_share < 1:
        raise InputError(f"test_share lies between 0 and 1; found {test_share}")
    whole_number(n_draws, "n_draws", 2)
    whole_number(random_state, "random_state", 0)
    counts, K = np.bincount(data.y_source), len(data.classes)
    if counts.min() < 4:
        raise InputError(
            f"every class needs four source rows, two of them to learn from; found {counts.min()} "
            f"of class {data.classes[counts.argmin()]!r}"
        )
    if len(data.X_target) < 2:
        raise InputError(f"the target needs at least two rows; found {len(data.X_target)}")
    if n_labels is None:
        return
    most = int(sum(c - max(1, round(test_share * c)) for c in counts))
    if isinstance(n_labels, bool) or not isinstance(n_labels, int | np.integer):
        raise InputError(f"n_labels is a whole number or None; found {n_labels!r}")
    if not 2 * K <= n_labels <= most:
        raise InputError(
            f"n_labels is {2 * K} (two a class) to {most} (source rows not set aside); found "
            f"{n_labels}"
        )
