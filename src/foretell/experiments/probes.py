r"""Probes: predictors of few labels from given features, tuned on these labels alone.

Features are centered and turned to the principal axes of the labeled rows, which keeps every
direction that these rows span and changes no penalized fit; with n labels and d columns there are
at most min(n, d) of them, so raw images cost no more than the labels at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array

PROBES = ("linear", "ridge", "neighbors")
FOLDS = 5
RIDGES = np.geomspace(10.0, 1e-7, 25)  # in units of the largest squared singular value
PENALTIES = np.geomspace(1.0, 1e-6, 13)  # in units of the largest variance
NEIGHBORS = (1, 2, 3, 5, 8, 12, 20, 30)
SPANNED = 1e-10  # smaller squared singular values, relative to the largest, are rounding
STEPS = 100
LEAST_DECREASE = 1e-5
INTERCEPT_PENALTY = 1e-3  # keeps the intercept of a class that a fold lacks finite


@dataclass(frozen=True)
class Rows:
    """Labeled rows on their principal axes, new rows on the same, squared singular values."""

    train: Array
    test: Array
    squares: Array

    @classmethod
    def of(cls, train: Array, test: Array) -> Rows:
        """Rows (n, d) and (t, d), turned to r axes."""
        mean = train.mean(axis=0)
        centered = train - mean
        n, d = centered.shape
        if d <= n:
            squares, axes = np.linalg.eigh(centered.T @ centered)
        else:
            squares, left = np.linalg.eigh(centered @ centered.T)
        kept = squares > max(SPANNED * squares[-1], 0.0)
        squares = squares[kept].astype(np.float64)
        if d > n:
            axes = centered.T @ (left[:, kept] / np.sqrt(squares).astype(left.dtype))
        else:
            axes = axes[:, kept]
        turned = (test - mean) @ axes
        return cls((centered @ axes).astype(np.float64), turned.astype(np.float64), squares)


def predictions(
    probe: Any, train: Array, y: Array, test: Array, *, n_classes: int | None, seed: Any
) -> Array:
    """Predictions for new rows (t, d) of a probe tuned and fitted on rows (n, d).

    Parameters
    ----------
    probe
        A name in ``PROBES``, or a scikit-learn estimator, which is cloned.
    y
        Classes 0 to K - 1, any of which may be absent, or numbers, shape (n,).
    n_classes
        Number K of classes, None for numbers.
    seed
        Of the folds of cross-validation.
    """
    if n_classes is not None and (y == y[0]).all():
        return np.full(len(test), y[0])
    if not isinstance(probe, str):
        from sklearn.base import clone

        return np.asarray(clone(probe).fit(train, y).predict(test))
    if probe == "neighbors":
        return _neighbors(train, y, test, n_classes)
    rows = Rows.of(train, test)
    if not len(rows.squares):
        constant = y.mean() if n_classes is None else np.bincount(y).argmax()
        return np.full(len(test), constant)
    if n_classes is None:
        ridge = tuned_ridge(rows, y[:, None])
        return _ridge_scores(rows.train, y[:, None], rows.test, ridge)[:, 0]
    present, codes = np.unique(y, return_inverse=True)
    one_hot = np.eye(len(present))[codes]
    return present[_class_scores(probe, rows, codes, one_hot, seed).argmax(axis=1)]


def _class_scores(probe: str, rows: Rows, codes: Array, one_hot: Array, seed: Any) -> Array:
    """Scores (t, K) of the ridge classifier or the logistic regression."""
    if probe == "ridge":
        return _ridge_scores(rows.train, one_hot, rows.test, tuned_ridge(rows, one_hot))
    penalty = tuned_penalty(rows, codes, one_hot, folds_of(codes, seed))
    return _scores(rows.test, logistic(rows.train, one_hot, penalty))


def folds_of(codes: Array, seed: Any) -> Array:
    """Fold of each row (n,): classes spread evenly, in random order."""
    order = np.lexsort((np.random.default_rng(seed).random(len(codes)), codes))
    folds = np.empty(len(codes), dtype=int)
    folds[order] = np.arange(len(codes)) % min(FOLDS, len(codes))
    return folds


def tuned_ridge(rows: Rows, Y: Array) -> float:
    """Ridge with the least leave-one-out squared error, exact for every penalty of a grid."""
    Z, squares, n = rows.train, rows.squares, len(rows.train)
    centered = Y - Y.mean(axis=0)
    product, energy = Z.T @ centered, Z**2
    best, least = 0.0, np.inf
    for ridge in RIDGES * squares[-1]:
        inverse = 1 / (squares + ridge)
        free = 1 - 1 / n - energy @ inverse
        left_out = (centered - Z @ (inverse[:, None] * product)) / np.maximum(free, 1e-12)[:, None]
        if (error := float((left_out**2).sum())) < least:
            best, least = float(ridge), error
    return best


def _ridge_scores(Z: Array, Y: Array, test: Array, ridge: float) -> Array:
    """Fit by least squares with a penalty and a free intercept, shape (t, K)."""
    mean, mean_of_targets = Z.mean(axis=0), Y.mean(axis=0)
    centered = Z - mean
    gram = centered.T @ centered
    gram[np.diag_indices_from(gram)] += ridge
    coef = np.linalg.solve(gram, centered.T @ (Y - mean_of_targets))
    return (test - mean) @ coef + mean_of_targets


def tuned_penalty(rows: Rows, codes: Array, one_hot: Array, folds: Array) -> float:
    """Penalty with the least cross-validated log-loss.

    Penalties descend, each fold starts from its last fit, and the search ends once the loss has
    risen twice: the fits that take longest are those of penalties too small to matter.
    """
    Z = rows.train
    unit = rows.squares[-1] / len(Z)
    start: list[Array | None] = [None] * (folds.max() + 1)
    best, least, rises, last = 0.0, np.inf, 0, np.inf
    for penalty in PENALTIES * unit:
        total = 0.0
        for fold in range(len(start)):
            out = folds == fold
            start[fold] = coef = logistic(Z[~out], one_hot[~out], penalty, start[fold])
            scores = _scores(Z[out], coef)
            right = scores[np.arange(len(scores)), codes[out]]
            total += float((_log_sum_exp(scores) - right).sum())
        if total < least:
            best, least = float(penalty), total
        rises = rises + 1 if total > last else 0
        last = total
        if rises == 2:
            break
    return best


def logistic(Z: Array, one_hot: Array, penalty: float, start: Array | None = None) -> Array:
    """Coefficients (1 + r, K) of multinomial logistic regression, the intercepts first.

    Mean log-loss plus half the penalty times the squared coefficients, by L-BFGS in coordinates
    in which the curvature at equal probabilities is the identity.
    """
    from scipy.optimize import minimize

    n, r = Z.shape
    K = one_hot.shape[1]
    curvature = (Z**2).mean(axis=0) / K + penalty
    scale = 1 / np.sqrt(np.concatenate([[1 / K + INTERCEPT_PENALTY], curvature]))[:, None]
    ridge = np.concatenate([[INTERCEPT_PENALTY], np.full(r, penalty)])[:, None]

    def objective(x: Array) -> tuple[float, Array]:
        coef = scale * x.reshape(1 + r, K)
        scores = _scores(Z, coef)
        total = _log_sum_exp(scores)
        residual = np.exp(scores - total[:, None]) - one_hot
        value = (total.sum() - np.vdot(one_hot, scores)) / n + 0.5 * np.vdot(ridge * coef, coef)
        slope = np.concatenate([residual.sum(axis=0)[None], Z.T @ residual]) / n + ridge * coef
        return float(value), (scale * slope).ravel()

    x0 = np.zeros((1 + r, K)) if start is None else start / scale
    options = {"maxiter": STEPS, "ftol": LEAST_DECREASE, "gtol": 1e-5}
    found = minimize(objective, x0.ravel(), jac=True, method="L-BFGS-B", options=options)
    return scale * found.x.reshape(1 + r, K)


def _scores(Z: Array, coef: Array) -> Array:
    return Z @ coef[1:] + coef[0]


def _log_sum_exp(scores: Array) -> Array:
    largest = scores.max(axis=1)
    return largest + np.log(np.exp(scores - largest[:, None]).sum(axis=1))


def _neighbors(train: Array, y: Array, test: Array, n_classes: int | None) -> Array:
    """Nearest neighbors, their number with the least leave-one-out error; ties to the nearer."""
    from sklearn.neighbors import NearestNeighbors

    choices = [k for k in NEIGHBORS if k < len(train)]
    search = NearestNeighbors(n_neighbors=choices[-1]).fit(train)
    near = y[search.kneighbors(return_distance=False)]
    errors = [np.mean(loss(_vote(near[:, :k], n_classes), y, n_classes)) for k in choices]
    k = choices[int(np.argmin(errors))]
    return _vote(y[search.kneighbors(test, k, return_distance=False)], n_classes)


def _vote(near: Array, n_classes: int | None) -> Array:
    """Mean, or the most frequent class, of neighbors (t, k)."""
    if n_classes is None:
        return near.mean(axis=1)
    votes = np.zeros((len(near), n_classes))
    weights = 1 - 1e-6 * np.arange(near.shape[1])
    np.add.at(votes, (np.arange(len(near))[:, None], near), weights)
    return votes.argmax(axis=1)


def loss(predicted: Array, y: Array, n_classes: int | None) -> Array:
    """Squared error of numbers, 1 for a wrong class and 0 for the right one, row by row."""
    if n_classes is None:
        return np.asarray((predicted - y) ** 2)
    return np.asarray(predicted != y, dtype=np.float64)
