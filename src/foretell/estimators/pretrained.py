"""Rows in, a representation out: what estimators on learned features share."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from inspect import Parameter, signature
from typing import Any, Literal, NamedTuple

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.base import pretrain, pretraining_method
from foretell.data.checks import check_columns, check_values
from foretell.data.frames import backend_of
from foretell.data.inputs import check_cells, weights_of
from foretell.data.sources import Source
from foretell.data.tables import design_matrix, is_frame
from foretell.errors import InputError
from foretell.estimators.columns import match_columns
from foretell.estimators.samples import pretraining_source, rows_of
from foretell.inference.dependence import units_of
from foretell.inference.tangent import Labeled


class Samples(NamedTuple):
    """Rows of X with positive weight, (N, d), with names of columns if X is a data frame.

    Targets (N,) or (N, k), weights (N,), second views (N, d), clusters (N,), and which rows are
    labeled, (N,).
    """

    rows: Array
    names: list[str] | None
    target: Array
    weights: Array | None
    view: Array | None
    groups: Array | None
    is_labeled: Array


class Pretrained(Parameters):
    """Pre-training on all rows; base of the estimators whose second stage sees its features."""

    n_features_in_: int

    def encode(self, X: Any) -> Array:
        """Learned features of rows, shape (k, rank); identified up to a rotation."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        return self.encoder_.encode(rows)

    @property
    def feature_names_(self) -> list[str]:
        """Names of the columns, ``x0, x1, …`` for arrays."""
        self._check_fitted("encoder_", "yet; call fit first")
        if hasattr(self, "feature_names_in_"):
            return [str(name) for name in self.feature_names_in_]
        return [f"x{j}" for j in range(self.n_features_in_)]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")

    def _check_fitted(self, attribute: str, cure: str) -> None:
        if not hasattr(self, attribute):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"This {type(self).__name__} instance is not fitted {cure}")

    def _samples(
        self, X: Any, y: Any, sample_weight: Any = None, X_view: Any = None, groups: Any = None
    ) -> Samples:
        """Checked rows, targets, weights, views and clusters; rows of weight zero left out."""
        rows, names = self._rows(X, reset=True)
        target = self._targets(y, len(rows))
        weights = weights_of(sample_weight, len(rows))
        view = None if X_view is None else self._second_view(X_view, rows)
        clusters = None if groups is None else np.asarray(groups)
        if clusters is not None:
            units_of(clusters, len(rows))
        if weights is not None and (weights == 0).any():
            keep = weights > 0
            rows, target, weights = rows[keep], target[keep], weights[keep]
            view = None if view is None else view[keep]
            clusters = None if clusters is None else clusters[keep]
        is_labeled = self._labeled_mask(target)
        if not is_labeled.any():
            raise InputError(
                f"none of the {len(target)} rows has a target, so no head can be fitted; label at "
                "least rank + 3 rows"
            )
        return Samples(rows, names, target, weights, view, clusters, is_labeled)

    def _pretrain(
        self,
        model: Any,
        samples: Samples,
        X_unlabeled: Any,
        *,
        pool: bool,
        center: bool = True,
        standardize: bool | Literal["auto"] = False,
    ) -> tuple[Source, Labeled]:
        """Fit the encoder; returns the sample of pre-training and the labeled one."""
        rows, is_labeled, weights = samples.rows, samples.is_labeled, samples.weights
        if X_unlabeled is not None and not isinstance(X_unlabeled, Source):
            X_unlabeled = self._rows(X_unlabeled, reset=False)[0]
        own, source = pretraining_source(
            model, rows, samples.view, weights, is_labeled, X_unlabeled, pool=pool
        )
        labeled = Labeled(
            rows[is_labeled],
            self._head_targets(samples.target[is_labeled]),
            None if weights is None else weights[is_labeled],
            rows_of(own, is_labeled) if pool and own.paired else None,
            np.flatnonzero(is_labeled) if pool else None,
        )
        self._check_targets(labeled.y)
        if not getattr(model, "takes_any_columns", False):
            check_columns(source.observed.moments, samples.names)
        n = len(labeled.y)
        total = float(n) if labeled.weights is None else float(labeled.weights.sum())
        self.standardized_ = bool(standardize)
        if standardize == "auto":
            named = samples.names is not None
            self.standardized_ = named and getattr(model, "standardizes", True)
        self.encoder_ = pretrain(
            model,
            source,
            standardize=self.standardized_,
            center=center,
            max_rank=max(1, int(total) // 5),
        )
        self.n_labeled_ = n
        self.n_unlabeled_ = source.rows - n if pool else source.rows
        return source, labeled

    def _rows(self, X: Any, *, reset: bool) -> tuple[Array, list[str] | None]:
        if is_frame(X):
            rows, names = design_matrix(X)
            if reset:
                self.backend_ = backend_of(X)
        else:
            rows, names = self._array(X, reset=reset), None
        match_columns(self, names, rows.shape[1], reset=reset)
        return rows, names

    def _array(self, X: Any, *, reset: bool) -> Array:
        """Rows of anything that is not a data frame."""
        if reset:
            self.backend_ = None
            self.__dict__.pop("feature_names_in_", None)
        elif hasattr(self, "feature_names_in_"):
            warnings.warn(
                f"X does not have valid feature names, but {type(self).__name__} was fitted with "
                "feature names; give a data frame, or fit to an array",
                UserWarning,
                stacklevel=4,
            )
        plain = type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.size
        if not plain:
            from sklearn.utils import check_array

            X = np.asarray(X) if isinstance(X, list | tuple) else X
            if isinstance(X, np.ndarray) and X.ndim > 2:
                raise InputError(
                    f"Found array with dim {X.ndim}, but {type(self).__name__} expects 2: rows and "
                    f"columns; X has shape {X.shape}; flatten images: X.reshape(len(X), -1)"
                )
            if isinstance(X, np.ndarray) and X.ndim == 2:
                check_cells(X)
            X = check_array(X, dtype=np.float64, ensure_all_finite=False, estimator=self)
        check_values(X, where="X")
        return X

    @abstractmethod
    def _targets(self, y: Any, n_rows: int) -> Array:
        """Targets of all rows, (N,) or (N, k), NaN where missing."""

    @abstractmethod
    def _head_targets(self, target: Array) -> Array:
        """Targets of labeled rows as the head takes them."""

    @abstractmethod
    def _check_targets(self, y: Array) -> None:
        """Refuse labels from which nothing can be learned."""

    def _labeled_mask(self, target: Array) -> Array:
        missing = np.isnan(target)
        if target.ndim == 1:
            return np.asarray(~missing)
        partly = missing.any(axis=1) & ~missing.all(axis=1)
        if partly.any():
            raise InputError(
                f"{int(partly.sum())} rows have some of the {target.shape[1]} targets but not all, "
                f"the first is row {int(np.flatnonzero(partly)[0])}; expected all or none: drop "
                "these targets, or fit one estimator a target"
            )
        return np.asarray(~missing.any(axis=1))

    def _second_view(self, X_view: Any, rows: Array) -> Array:
        view, _ = self._rows(X_view, reset=False)
        if len(view) != len(rows):
            raise InputError(
                f"X has {len(rows)} rows and X_view {len(view)}; a pair is one row of each"
            )
        return view


def check_model(model: Any) -> None:
    """Refuse what is not a pre-training model of foretell.

    Raises
    ------
    InputError
        For classes, and for objects without a fit of our kind.
    """
    if isinstance(model, type) or not hasattr(model, "fit"):
        raise InputError(
            f"model is {model!r}; expected an object such as FactorModel(rank=3), or None for the "
            "default"
        )
    if not _takes_center(model):
        raise InputError(
            f"{type(model).__name__} is not a pre-training model of foretell; expected "
            "e.g. FactorModel(rank=3), or FactorModel(start=...) with a fitted PCA"
        )


def _takes_center(model: Any) -> bool:
    taken = signature(pretraining_method(model)).parameters.values()
    return any(one.name == "center" or one.kind is Parameter.VAR_KEYWORD for one in taken)
