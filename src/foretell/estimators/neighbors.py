"""Classification by the nearest labeled rows in the space of learned features."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from foretell._types import Array
from foretell.base import PretrainingEstimator, PretrainingModel
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.estimators.classes import ClassTargets
from foretell.estimators.pretrained import Pretrained, check_model
from foretell.inference.accuracy import Hits, count_hits
from foretell.models import FactorModel


class NeighborsClassifier(ClassTargets, Pretrained):
    """The most frequent class among the nearest labeled rows, in learned features.

    The evaluation of features that needs no fit: the same pre-training as
    :class:`~foretell.TwoStageClassifier`, and scikit-learn's ``KNeighborsClassifier`` on the
    labeled rows. :meth:`accuracy` gives its accuracy with an interval from a test sample, or from
    the labeled rows alone: leaving a row out changes no other distance, so that leave-one-out is
    exact, given the features.

    Parameters
    ----------
    model
        Pre-training model; None is ``FactorModel()``.
    n_neighbors
        Neighbors that vote, a whole number below the number of labeled rows.
    weights
        ``"uniform"``: votes count alike; ``"distance"``: by the inverse of the distance.
    metric
        ``"cosine"`` compares the directions of feature vectors, as is usual for contrastive
        features; ``"euclidean"`` their distance. Neither changes when features rotate.
    pool
        Whether labeled rows are rows of pre-training too.

    Attributes
    ----------
    classes_
        Classes in the order of the columns of ``predict_proba``.
    encoder_
        The fitted encoder.
    neighbors_
        The fitted ``KNeighborsClassifier``.

    Raises
    ------
    InputError
        For data or parameters that cannot be used, or no more labeled rows than neighbors.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell import FactorModel
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=300).astype(float)
    >>> X = 4.0 * y[:, None] * np.ones((1, 6)) + rng.normal(size=(300, 6))
    >>> y[40:] = np.nan
    >>> print(NeighborsClassifier(FactorModel(rank=1), metric="euclidean").fit(X, y).accuracy())
    accuracy 100.0 % (95 % interval 86.6 to 100.0 %; leave-one-out over 40 labels)
    """

    def __init__(
        self,
        model: PretrainingModel | PretrainingEstimator | None = None,
        *,
        n_neighbors: int = 5,
        weights: Literal["uniform", "distance"] = "uniform",
        metric: Literal["cosine", "euclidean"] = "cosine",
        pool: bool = True,
    ) -> None:
        self.model = model
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.metric = metric
        self.pool = pool

    def fit(self, X: Any, y: Any, *, X_unlabeled: Any = None, X_view: Any = None) -> Self:
        """Learn features from all rows, and keep those of the labeled ones.

        Parameters
        ----------
        X
            Rows, shape (N, d): array or data frame.
        y
            Classes, shape (N,); missing (NaN, None) where a row is unlabeled.
        X_unlabeled
            Further unlabeled rows: array, data frame or :class:`~foretell.data.sources.Source`.
        X_view
            A second view of every row of X, shape (N, d), for models of pairs.
        """
        from sklearn.neighbors import KNeighborsClassifier

        self._check_parameters()
        samples = self._samples(X, y, None, X_view)
        model = FactorModel() if self.model is None else self.model
        check_model(model)
        _, labeled = self._pretrain(
            model, samples, X_unlabeled, pool=bool(self.pool), standardize="auto"
        )
        n = len(labeled.y)
        if n <= self.n_neighbors:
            raise InputError(
                f"{self.n_neighbors} neighbors need more labeled rows than that (n_samples = {n}); "
                "label more rows or reduce n_neighbors"
            )
        features = self._comparable(self.encoder_.encode(labeled.X))
        self.neighbors_ = KNeighborsClassifier(int(self.n_neighbors), weights=self.weights).fit(
            features, labeled.y
        )
        hit = self.neighbors_.predict(None) == labeled.y
        self._hits = count_hits(hit)
        return self

    def predict(self, X: Any) -> Array:
        """The class of each row, shape (n,)."""
        features = self._features(X)
        return np.asarray(self.classes_[self.neighbors_.predict(features)])

    def predict_proba(self, X: Any) -> Array:
        """Share of the votes of each class, shape (n, K)."""
        features = self._features(X)
        return np.asarray(self.neighbors_.predict_proba(features))

    def _features(self, X: Any) -> Array:
        return self._comparable(self.encode(X))

    def _comparable(self, features: Array) -> Array:
        """Features whose Euclidean distances order rows as the metric does."""
        if self.metric == "euclidean":
            return features
        size = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.where(size > 0, size, 1.0))

    def _left_out_hits(self) -> Hits:
        self._check_fitted("encoder_", "yet; call fit first")
        return self._hits

    def _check_parameters(self) -> None:
        whole_number(self.n_neighbors, "n_neighbors", 1)
        for name, choices in (
            ("weights", ("uniform", "distance")),
            ("metric", ("cosine", "euclidean")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is one of {choices}; found {getattr(self, name)!r}")
