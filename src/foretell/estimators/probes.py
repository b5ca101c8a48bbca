"""Accuracy of a head on given features, by leave-one-out, with an interval that covers."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.base import HeadFit
from foretell.data.inputs import classes_of, weights_of
from foretell.errors import InputError
from foretell.heads import LogisticHead
from foretell.inference.accuracy import Accuracy, accuracy_of, count_hits
from foretell.inference.dependence import units_of
from foretell.inference.labeled_rows import correct_classes, left_out, stacked


def probe_accuracy(
    features: Any,
    y: Any,
    *,
    head: LogisticHead | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    level: float = 0.95,
) -> Accuracy:
    """Accuracy of a linear probe on new rows, from its labeled rows alone.

    Each row is predicted by a head that leaves it out (one Newton step from the fit,
    :func:`~foretell.inference.labeled_rows.left_out`), with clusters by a refit that leaves its
    whole cluster out. The interval covers the accuracy of the probe fitted to all of these rows:
    see :class:`~foretell.inference.accuracy.Accuracy`. Features and, if it is chosen on these
    rows, the penalty are taken as given.

    Parameters
    ----------
    features
        Of the labeled rows, shape (n, r).
    y
        Their classes, shape (n,); rows without one (NaN, None) are left aside.
    head
        None is ``LogisticHead(penalty="auto")``.
    sample_weight
        One weight a row, shape (n,).
    groups
        Cluster of each row, shape (n,).
    level
        Confidence level.

    Raises
    ------
    InputError
        For features that are not finite, one class only, or clusters that cannot be left out
        because one holds all rows of a class.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(100) % 2
    >>> print(probe_accuracy(rng.normal(size=(100, 2)) + 2.0 * y[:, None], y))
    accuracy 93.0 % (95 % interval 84.6 to 97.6 %; leave-one-out over 100 labels)
    """
    X, codes, weights, clusters, n_classes = _labeled(features, y, sample_weight, groups)
    head = LogisticHead(penalty="auto") if head is None else head
    head = head.resolved(X, codes, weights)
    if clusters is None:
        hit = _hits(head, head.fit(X, codes, weights), X, codes, weights)
        how = f"leave-one-out over {len(hit):,} labels"
    else:
        hit = _hits_of_clusters(head, X, codes, weights, clusters)
        how = f"leaving out each of {len(np.unique(clusters)):,} clusters of {len(hit):,} labels"
    return accuracy_of(count_hits(hit, weights, clusters), level=level, how=how, left_out=n_classes)


def _labeled(
    features: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Array, Array, Array | None, Array | None, int]:
    """Rows with a class and positive weight: features, codes, weights, clusters; classes."""
    X = np.asarray(features, dtype=np.float64)
    if X.ndim != 2 or not np.isfinite(X).all():
        raise InputError(
            f"expected finite features of shape (n, r); found shape {X.shape}"
            + ("" if np.isfinite(X).all() else " with numbers that are not finite")
        )
    codes, classes = classes_of(y, len(X))
    weights = weights_of(sample_weight, len(X))
    clusters = None if groups is None else units_of(groups, len(X))
    keep = ~np.isnan(codes)
    if weights is not None:
        keep &= weights > 0
    if len(np.unique(codes[keep])) < max(2, len(classes)):
        raise InputError(
            f"the labeled rows with positive weight have {len(np.unique(codes[keep]))} class(es); "
            "expected at least 2, and a row of every class; label more rows"
        )
    return (
        X[keep],
        codes[keep].astype(np.int64),
        None if weights is None else weights[keep],
        None if clusters is None else clusters[keep],
        len(classes),
    )


def _hits(head: Any, fit: HeadFit, X: Array, y: Array, weights: Array | None) -> Array:
    """Which rows are predicted right by a head without them, by one Newton step."""
    n, k = len(X), fit.coef.shape[1]
    share = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
    design = np.concatenate([np.ones((n, 1)), X], axis=1) if head.intercept else X
    q = design.shape[1]
    outputs = fit.predict(X)
    phi = np.zeros((n, k, k, q))
    for c in range(k):
        phi[:, c, c] = design
    phi = phi.reshape(n, k, k * q)
    second = np.einsum("n,nab->nab", share, head.second(outputs))
    hessian = np.einsum("ni,nab,nj->aibj", design, second, design, optimize=True)
    penalty = np.kron(np.eye(k), head.penalty_matrix(q))
    inverse = np.linalg.inv(hessian.reshape(k * q, k * q) + penalty)
    without = left_out(head, outputs, y, phi, inverse, share, penalty @ stacked(head, fit))
    return correct_classes(head, without, y)


def _hits_of_clusters(
    head: Any, X: Array, y: Array, weights: Array | None, clusters: Array
) -> Array:
    """Which rows are predicted right by a head without their cluster, refitted."""
    hit = np.empty(len(X))
    for cluster in np.unique(clusters):
        out = clusters == cluster
        absent = np.setdiff1d(y, y[~out])
        if len(absent):
            raise InputError(
                f"one cluster of {int(out.sum())} rows holds all labels of {len(absent)} class(es),"
                " so it cannot be left out; label rows of every class in at least 2 clusters"
            )
        fit = head.fit(X[~out], y[~out], None if weights is None else weights[~out])
        hit[out] = correct_classes(head, fit.predict(X[out]), y[out])
    return hit
