"""Feature sets of the same rows and their labels, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.checks import check_values
from foretell.data.inputs import warn_of_missing_as_text
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.experiments.probes import PROBES


@dataclass(frozen=True)
class LabeledFeatures:
    """Feature sets (N, d) each, and classes 0 to K - 1 or numbers, shape (N,).

    ``n_classes`` is None for numbers.
    """

    features: dict[str, Array]
    y: Array
    n_classes: int | None

    @classmethod
    def of(cls, features: Any, y: Any, *, standardize: bool, what: str = "y") -> LabeledFeatures:
        """Checked feature sets, each divided by one scale, or its columns by their own."""
        sets = checked_features(features)
        n_rows = len(next(iter(sets.values())))
        target, n_classes = checked_target(y, n_rows, what)
        return cls({k: scaled(X, standardize) for k, X in sets.items()}, target, n_classes)


def checked_features(features: Any) -> dict[str, Array]:
    """Feature sets as arrays (N, d) of floating-point numbers, all of the same rows."""
    if not isinstance(features, Mapping) or not features:
        found = "none" if isinstance(features, Mapping) else type(features).__name__
        raise InputError(
            f"features is a mapping from names to arrays of rows; found {found}; give for example "
            "{'learned': F, 'raw': X}"
        )
    sets = {}
    for name, values in features.items():
        X = np.asarray(values)
        check_values(X, where=f"features[{name!r}]")
        sets[str(name)] = X if X.dtype.kind == "f" else X.astype(np.float64)
    n_rows = {name: len(X) for name, X in sets.items()}
    if len(set(n_rows.values())) > 1:
        raise InputError(
            f"feature sets describe the same rows in the same order; found {n_rows} rows; align "
            "them"
        )
    return sets


def checked_target(y: Any, n_rows: int, what: str) -> tuple[Array, int | None]:
    """Classes counted from 0 and their number, or finite numbers and None."""
    target = np.asarray(y)
    if target.ndim != 1 or len(target) != n_rows:
        raise InputError(
            f"{what} has one label a row, shape ({n_rows},); found shape {target.shape}"
        )
    if target.dtype.kind == "f":
        if bad := int((~np.isfinite(target)).sum()):
            raise InputError(
                f"{what} has {bad} missing or infinite labels of {n_rows}; give labeled rows only"
            )
        if np.ptp(target) == 0:
            raise InputError(f"{what} is {target[0]:g} in all {n_rows} rows; nothing to predict")
        return target.astype(np.float64), None
    if target.dtype.kind not in "iubUS":
        raise InputError(
            f"{what} holds {target.dtype}; expected integers, booleans or text for classes, "
            "floating-point numbers for a target to regress on; convert it"
        )
    warn_of_missing_as_text(target, "leave these rows out")
    classes, codes = np.unique(target, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"{what} has one class, {classes[0].item()!r}, in all {n_rows} rows; at least two are "
            "needed"
        )
    return codes, len(classes)


def scaled(X: Array, standardize: bool) -> Array:
    """Features without mean, of unit root mean square, or each column of unit deviation."""
    centered = X - X.mean(axis=0)
    deviation = centered.std(axis=0)
    if not (deviation > 0).any():
        raise InputError("all columns of a feature set are constant; leave it out")
    if standardize:
        return np.asarray(centered / np.where(deviation > 0, deviation, 1))
    return np.asarray(centered / np.sqrt((deviation**2).mean()))


def checked_sizes(sizes: Any, largest: float, limit: str) -> tuple[int, ...]:
    """Increasing whole numbers of labels, 4 to ``largest``."""
    found = np.atleast_1d(np.asarray(sizes))
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise InputError(f"sizes are whole numbers of labels; found {sizes!r}")
    ordered = sorted({int(n) for n in found})
    if ordered[0] < 4 or ordered[-1] > largest:
        raise InputError(
            f"numbers of labels are from 4 to {largest:g}{limit}; found {ordered[0]} to "
            f"{ordered[-1]}; change sizes"
        )
    return tuple(ordered)


def checked_probe(probe: Any) -> Any:
    """Name of a probe, or an estimator with fit and predict."""
    if isinstance(probe, str) and probe in PROBES:
        return probe
    if not isinstance(probe, str) and hasattr(probe, "fit") and hasattr(probe, "predict"):
        return probe
    raise InputError(
        f"probe is one of {', '.join(map(repr, PROBES))}, or a scikit-learn estimator with fit and "
        f"predict; found {probe!r}"
    )


def checked_pair(names: Sequence[str], first: str | None, second: str | None) -> tuple[str, str]:
    """The two feature sets to compare: the first one, and ``"raw"`` or the second one."""
    if len(names) < 2:
        raise InputError(f"two feature sets are compared; found {list(names)}; add the raw inputs")
    first = names[0] if first is None else first
    rest = [name for name in names if name != first]
    second = ("raw" if "raw" in rest else rest[0]) if second is None else second
    for name in (first, second):
        if name not in names:
            raise InputError(f"there is no feature set {name!r}; expected one of {list(names)}")
    if first == second:
        raise InputError(f"a feature set is compared with another; found {first!r} twice")
    return first, second


def random_features(
    X: Any, n_features: int = 512, random_state: int | np.random.Generator | None = 0
) -> Array:
    r"""Features of random directions, :math:`\max(0, w^\top (x - \bar x) + b)`, shape (N, k).

    What features of a network give without any learning: w is normal with a variance that makes
    :math:`w^\top x` of unit variance on average, b is standard normal.

    Parameters
    ----------
    X
        Rows, shape (N, d).
    n_features
        Number k of directions.
    random_state
        Seed of the directions.

    Raises
    ------
    InputError
        If X has missing or infinite values or nothing but constant columns, or k is below 1.

    References
    ----------
    .. [1] Rahimi & Recht (2007). Random features for large-scale kernel machines. NIPS.

    Examples
    --------
    >>> random_features(np.eye(3), n_features=5).shape
    (3, 5)
    """
    k = whole_number(n_features, "n_features", 1)
    Z = scaled(checked_features({"X": X})["X"], False)
    rng = np.random.default_rng(random_state)
    d = Z.shape[1]
    directions = rng.standard_normal((d, k)) / np.sqrt(d)
    shifts = rng.standard_normal(k)
    return np.maximum(0, Z @ directions.astype(Z.dtype) + shifts.astype(Z.dtype))
