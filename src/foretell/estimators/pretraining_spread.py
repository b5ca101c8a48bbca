"""How much of the error is due to the network: what laws that hold it fixed leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.inputs import classes_of, is_missing
from foretell.errors import InputError


@dataclass(frozen=True, eq=False)
class PretrainingSpread:
    r"""Risks of the same labels on several networks, measured on a test sample.

    Attributes
    ----------
    risk
        Log-loss, or half the squared error, of each network with its head, shape (R,).
    accuracy
        Accuracy of each, shape (R,); None for regression.
    between_sd
        Standard deviation of the risk between networks, beyond what the test sample explains.
    law_mean, law_sd
        Mean and standard deviation of the excess risk by the law that holds a network fixed: the
        mean over networks.
    bootstrap
        Whether rows of pre-training were resampled, or only seeds changed.
    """

    risk: Array
    accuracy: Array | None
    between_sd: float
    law_mean: float
    law_sd: float
    bootstrap: bool

    def __str__(self) -> str:
        what = "resampled rows and seeds" if self.bootstrap else "seeds"
        lines = [
            f"{len(self.risk)} networks ({what}), one set of labels",
            f"  risk on test rows           {self.risk.mean():.4g} "
            f"({self.risk.min():.4g} to {self.risk.max():.4g})",
            f"  sd between networks         {self.between_sd:.4g}",
            f"  sd from labels, by the law  {self.law_sd:.4g} (excess {self.law_mean:.4g})",
        ]
        if self.accuracy is not None:
            low, high = 100 * self.accuracy.min(), 100 * self.accuracy.max()
            lines.insert(2, f"  accuracy on test rows       {low:.1f} to {high:.1f} %")
        return "\n".join(lines)


def pretraining_spread(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_test: Any,
    y_test: Any,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    bootstrap: bool = False,
) -> PretrainingSpread:
    r"""Train the network again with other seeds, or other rows, under the same labels.

    Laws on features of a trained network are conditional on it. This is the other part, by brute
    force: :math:`R` trainings, whose spread is that of the starts, the order of the rows and the
    views, and with ``bootstrap`` also that of the unlabeled rows, resampled with replacement (the
    labeled ones stay). The spread has about :math:`1 / \sqrt{2 (R - 1)}` relative error.

    Parameters
    ----------
    estimator
        :class:`~foretell.TwoStageClassifier` or :class:`~foretell.TwoStageRegressor` with a model
        that has a ``random_state``. It is not changed.
    X, y
        As for its ``fit``, arrays: rows (N, d), targets (N,) missing where unlabeled.
    X_test, y_test
        Rows on which risks are measured, and their targets.
    seeds
        One network for each.
    bootstrap
        Resample the unlabeled rows for each network.

    Raises
    ------
    InputError
        For fewer than two seeds, a model without a ``random_state``, a training with a
        checkpoint, or test rows without a target or with a class that is not labeled.

    Examples
    --------
    >>> from foretell import Noise, SpectralContrastive, TwoStageRegressor
    >>> from foretell.training import MLP, Training
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = SpectralContrastive(2, Noise(0.3), encoder=MLP((8,)), training=Training(epochs=2))
    >>> est = TwoStageRegressor(model)
    >>> pretraining_spread(est, X, X[:, 0], X_test=X, y_test=X[:, 0], seeds=(0, 1)).risk.shape
    (2,)
    """
    if len(seeds) < 2:
        raise InputError(f"a spread needs at least 2 seeds; found {len(seeds)}")
    if not hasattr(estimator.model, "random_state"):
        raise InputError(
            f"the spread between seeds needs a model with a random_state; found {estimator.model!r}"
        )
    from sklearn.base import clone

    if getattr(getattr(estimator.model, "training", None), "checkpoint", None) is not None:
        raise InputError("all networks would share one checkpoint; set checkpoint=None in training")
    X, labels = np.asarray(X, dtype=np.float64), np.asarray(y)
    unlabeled = _unlabeled(labels)
    losses, hits, laws = [], [], []
    for seed in seeds:
        again = clone(estimator).set_params(model__random_state=int(seed))
        rows = np.arange(len(X))
        if bootstrap:
            rng = np.random.default_rng(int(seed))
            rows[unlabeled] = rng.choice(unlabeled, len(unlabeled))
        again.fit(X[rows], labels)
        loss, hit = _losses(again, X_test, y_test)
        losses.append(loss)
        hits.append(hit)
        laws.append(again.excess_risk())
    table = np.array(losses)
    return PretrainingSpread(
        table.mean(axis=1),
        None if hits[0] is None else np.array([np.mean(hit) for hit in hits if hit is not None]),
        float(np.sqrt(max(0.0, variance_between(table)))),
        float(np.mean([law.mean() for law in laws])),
        float(np.mean([law.std() for law in laws])),
        bootstrap,
    )


def variance_between(losses: Array) -> float:
    r"""Unbiased variance of the risk between R networks, from their losses on T rows, (R, T).

    .. math:: \frac{1}{R - 1} \sum_r (\bar\ell_r - \bar\ell)^2
        - \frac{1}{T} \frac{1}{R - 1} \sum_r s_r^2,

    :math:`s_r^2` the variance over rows of the losses of network r less their mean over networks:
    networks share the test rows, so that only differences are noise. It may be negative.

    Examples
    --------
    >>> variance_between(np.array([[1.0, 2.0], [2.0, 3.0]]))
    0.5
    """
    R, T = losses.shape
    own = (losses - losses.mean(axis=0)).var(axis=1, ddof=1)
    return float(losses.mean(axis=1).var(ddof=1) - own.sum() / ((R - 1) * T))


def _unlabeled(y: Array) -> Array:
    """Rows without a target (or without any of several)."""
    if y.ndim == 1:
        return np.flatnonzero(is_missing(y))
    return np.flatnonzero(np.isnan(y.astype(np.float64)).any(axis=1))


def _losses(estimator: Any, X: Any, y: Any) -> tuple[Array, Array | None]:
    """Loss of each test row, shape (n,), and which are predicted right; None for regression."""
    if not hasattr(estimator, "classes_"):
        residual = np.asarray(y, dtype=np.float64) - estimator.predict(X)
        if not np.isfinite(residual).all():
            raise InputError("targets of test rows are finite; leave out rows without one")
        return 0.5 * np.reshape(residual**2, (len(residual), -1)).sum(axis=1), None
    p = estimator.predict_proba(X)
    codes, found = classes_of(y, len(p))
    unknown = np.setdiff1d(found, estimator.classes_)
    if np.isnan(codes).any() or len(unknown):
        raise InputError(
            f"test rows have a class each, of those that are labeled; found {len(unknown)} other "
            f"class(es) and {int(np.isnan(codes).sum())} rows without one; leave these rows out"
        )
    column = np.searchsorted(estimator.classes_, found)[codes.astype(int)]
    return -np.log(p[np.arange(len(p)), column]), p.argmax(axis=1) == column
