"""Choice of a ridge penalty on labeled rows."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

FOLDS = 5
GRID = tuple(np.geomspace(1e-5, 10.0, 13))  # times the mean variance of a feature
LEAST_PROBABILITY = 1e-15


def choose_penalty(
    features: Array,
    y: Array,
    weights: Array | None = None,
    *,
    intercept: bool = True,
    classes: bool = False,
) -> tuple[float, str]:
    """Penalty of the smallest loss on rows left out, and how it was chosen, in words.

    Cross-validation in five folds that hold every class alike, of the log-loss
    (scikit-learn's ``LogisticRegression``) or the squared error. Neither the grid nor the choice
    changes when the features rotate or are multiplied by a number (the penalty changes with its
    square). Classes with one label are never left out. The folds are the same at every call.

    Parameters
    ----------
    features
        Of the labeled rows, shape (n, r).
    y
        Whole numbers of classes (n,), or targets (n,) or (n, k).
    weights
        One a row, shape (n,), or None.
    intercept
        Whether intercepts are fitted.
    classes
        Whether y holds classes.

    Raises
    ------
    InputError
        If there are fewer than four labels, no class has two, or the features are constant.
        Without any feature (r = 0) there is nothing to choose, and the penalty is zero.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(40, 5))
    >>> penalty, rule = choose_penalty(X, X[:, 0] + rng.normal(size=40))
    >>> 0.001 < penalty < 10, rule
    (True, '5-fold cross-validation of the squared error')
    """
    if features.shape[1] == 0:
        return 0.0, "zero, as there are no features"
    share = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    features, y, share = features[share > 0], np.asarray(y)[share > 0], share[share > 0]
    mean = np.average(features, axis=0, weights=share) if intercept else 0.0
    size = float(np.mean(np.average((features - mean) ** 2, axis=0, weights=share)))
    fold = _folds(y if classes else np.zeros(len(y), dtype=np.intp))
    if len(y) < 4 or fold.max(initial=-1) < 1:
        raise InputError(
            f"penalty='auto' leaves labeled rows out to compare penalties; found {len(y)} labels"
            + (", no class with two of them" if classes else "")
            + "; label more rows, or give the penalty as a number"
        )
    if not size > 0:
        raise InputError(
            "penalty='auto' needs features that vary over the labeled rows; found constant ones; "
            "label more distinct rows, or give the penalty as a number"
        )
    scaled = (features - mean) / np.sqrt(size)
    loss = np.zeros(len(GRID))
    for k in range(int(fold.max()) + 1):
        out = fold == k
        losses = _log_losses if classes else _squared_errors
        loss += losses(scaled, y, share, out, intercept)
    best = GRID[int(loss.argmin())] * size
    measure = "log-loss" if classes else "squared error"
    return float(best), f"{int(fold.max()) + 1}-fold cross-validation of the {measure}"


def _folds(y: Array) -> Array:
    """Fold of each row, shape (n,): classes alike in all; -1 for the only row of a class."""
    order = np.random.default_rng(0).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(len(y), dtype=np.intp)
    fold[order] = np.arange(len(y)) % FOLDS
    counts = np.bincount(y)
    fold[counts[y] == 1] = -1
    kept = np.unique(fold[fold >= 0])
    return np.where(fold >= 0, np.searchsorted(kept, fold), -1)


def _log_losses(X: Array, y: Array, share: Array, out: Array, intercept: bool) -> Array:
    """Weighted log-loss of the rows left out, for every penalty."""
    from sklearn.linear_model import LogisticRegression

    inside = ~out
    weight = share[inside] / share[inside].mean()
    model = LogisticRegression(fit_intercept=intercept, warm_start=True, max_iter=5000, tol=1e-4)
    total = np.zeros(len(GRID))
    for j in reversed(range(len(GRID))):
        model.set_params(C=1.0 / (inside.sum() * GRID[j]))
        model.fit(X[inside], y[inside], sample_weight=weight)
        p = model.predict_proba(X[out])[
            np.arange(out.sum()), np.searchsorted(model.classes_, y[out])
        ]
        total[j] = -share[out] @ np.log(np.maximum(p, LEAST_PROBABILITY))
    return total


def _squared_errors(X: Array, y: Array, share: Array, out: Array, intercept: bool) -> Array:
    """Weighted squared error of the rows left out, for every penalty."""
    inside = ~out
    Y = y.reshape(len(y), -1).astype(np.float64)
    v = share[inside] / share[inside].sum()
    center = v @ X[inside] if intercept else np.zeros(X.shape[1])
    level = v @ Y[inside] if intercept else np.zeros(Y.shape[1])
    Z = X[inside] - center
    size, axes = np.linalg.eigh((Z.T * v) @ Z)
    onto = axes.T @ ((Z.T * v) @ (Y[inside] - level))
    seen = (X[out] - center) @ axes
    total = np.empty(len(GRID))
    for j, penalty in enumerate(GRID):
        residual = Y[out] - level - seen @ (onto / (np.maximum(size, 0.0) + penalty)[:, None])
        total[j] = share[out] @ (residual**2).sum(axis=1)
    return total
