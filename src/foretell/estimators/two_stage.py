"""Both stages behind scikit-learn's interface: what regression and classification share."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any, ClassVar, Literal, Self

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.base import (
    Finding,
    Head,
    HeadFit,
    PretrainingEstimator,
    PretrainingModel,
    pretrain,
    pretraining_method,
)
from foretell.data.checks import check_columns, check_values
from foretell.data.frames import backend_of, to_frame
from foretell.data.inputs import check_cells, weights_of
from foretell.data.sources import Source
from foretell.data.tables import design_matrix, is_frame
from foretell.errors import InputError
from foretell.estimators.columns import match_columns
from foretell.estimators.samples import dependence_of, pretraining_source, rows_of
from foretell.inference.asymptotics import asymptotics
from foretell.inference.dependence import units_of
from foretell.inference.diagnostics import findings
from foretell.inference.limit import Asymptotics
from foretell.inference.risklaw import RiskLaw
from foretell.inference.summary import Summary, summarize
from foretell.inference.tangent import Labeled, Tangent, tangent_of
from foretell.models import FactorModel


class TwoStage(Parameters):
    """Pre-training on all rows and a head on the labeled ones; base of the public estimators."""

    default_head: ClassVar[type]
    n_features_in_: int

    def __init__(
        self,
        model: PretrainingModel | PretrainingEstimator | None = None,
        head: Head | None = None,
        *,
        pool: bool = True,
        standardize: bool | Literal["auto"] = "auto",
        lags: int | Literal["auto"] | None = None,
        domain_shift: bool = False,
        inference: bool = True,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.head = head
        self.pool = pool
        self.standardize = standardize
        self.lags = lags
        self.domain_shift = domain_shift
        self.inference = inference
        self.random_state = random_state

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``head__penalty`` sets that of the head, default or not."""
        if self.model is None and any(name.startswith("model__") for name in params):
            self.model = FactorModel()
        if self.head is None and any(name.startswith("head__") for name in params):
            self.head = self.default_head()
        return super().set_params(**params)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_unlabeled: Any = None,
        X_view: Any = None,
        groups: Any = None,
        groups_unlabeled: Any = None,
    ) -> Self:
        """Fit both stages.

        Parameters
        ----------
        X
            Rows, shape (N, d): array or data frame (pandas, polars, pyarrow). With ``lags``, in
            the order of time, ``X_unlabeled`` after them.
        y
            Targets, shape (N,) or (N, k); missing (NaN, None) where a row is unlabeled.
        sample_weight
            One weight a row of X, shape (N,), at least zero. Weights multiply the losses of both
            stages; errors are those of weighted M-estimation.
        X_unlabeled
            Further unlabeled rows: array, data frame or :class:`~foretell.data.sources.Source`.
        X_view
            A second view of every row of X, shape (N, d), for models of pairs.
        groups
            Cluster of each row, shape (N,): rows of one cluster may depend on each other, and
            errors are cluster-robust in both stages.
        groups_unlabeled
            Clusters of the rows of X_unlabeled, which may be those of X; None: each row is its
            own.
        """
        self.__dict__.pop("asymptotics_", None)
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
        n = int(is_labeled.sum())
        if n == 0:
            raise InputError(
                f"none of the {len(target)} rows has a target, so no head can be fitted; label at "
                "least rank + 3 rows"
            )
        model, head = self._stages()
        further = X_unlabeled
        if further is not None and not isinstance(further, Source):
            further = self._rows(further, reset=False)[0]
        own, source = pretraining_source(
            model, rows, view, weights, is_labeled, further, pool=bool(self.pool)
        )
        labeled = Labeled(
            rows[is_labeled],
            self._head_targets(target[is_labeled]),
            None if weights is None else weights[is_labeled],
            rows_of(own, is_labeled) if self.pool and own.paired else None,
            np.flatnonzero(is_labeled) if self.pool else None,
        )
        self._check_targets(labeled.y)
        check_columns(source.observed.moments, names)
        total = float(n) if labeled.weights is None else float(labeled.weights.sum())
        self.standardized_ = bool(self.standardize)
        if self.standardize == "auto":
            self.standardized_ = is_frame(X) and getattr(model, "standardizes", True)
        self.encoder_ = pretrain(
            model,
            source,
            standardize=self.standardized_,
            center=bool(head.intercept),
            max_rank=max(1, int(total) // 5),
        )
        self.head_fit_ = self._fit_head(head, labeled)
        self.n_labeled_ = n
        self.n_unlabeled_ = source.rows - n if self.pool else source.rows
        self._set_coefficients()
        if self.inference:
            self.asymptotics_ = asymptotics(
                self.encoder_, head, self.head_fit_, source=source, labeled=labeled,
                pool=bool(self.pool), shift=bool(self.domain_shift),
                dependence=dependence_of(
                    is_labeled, source.rows, pool=bool(self.pool), groups=clusters,
                    groups_unlabeled=groups_unlabeled, lags=self.lags,
                    n_coefficients=self.head_fit_.coef.shape[0] + int(head.intercept),
                ),
                random_state=self.random_state,
            )  # fmt: skip
        return self

    def encode(self, X: Any) -> Array:
        """Learned features of rows, shape (k, rank); identified up to a rotation."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        return self.encoder_.encode(rows)

    def excess_risk(
        self, *, n_unlabeled: float | None = None, n_labeled: float | None = None
    ) -> RiskLaw:
        """Law of the excess risk: that above the risk of the best predictor on these features.

        Half the squared error for regression, summed over targets; the log-loss for classes.

        Parameters
        ----------
        n_unlabeled, n_labeled
            Numbers of rows; None keeps those of the fit.
        """
        return self._limit().law(n_unlabeled, n_labeled)

    def forecast(
        self,
        *,
        n_unlabeled: float | Sequence[float] | None = None,
        n_labeled: float | Sequence[float] | None = None,
        quantiles: Sequence[float] = (0.05, 0.95),
    ) -> Any:
        """Expected error, its parts and quantiles for other numbers of rows, as a data frame.

        ``mse`` (regression) is the expected mean squared error; ``risk`` and everything after it
        are in units of the risk: half of it, or the log-loss of a classifier.

        Parameters
        ----------
        n_unlabeled, n_labeled
            Numbers of rows to combine, every pair a row of the result; None is the number of
            the fit.
        quantiles
            Of the risk, over repetitions of the whole study; empty for none.

        Returns
        -------
        data frame
            One row a pair: ``n_unlabeled``, ``n_labeled``, ``mse``, ``risk``, ``excess`` (risk
            above that of endless data), its parts ``excess_labeled`` and ``excess_unlabeled``, and
            ``risk_q5``, ``risk_q95`` for the quantiles asked for.
        """
        limit = self._limit()
        pairs = [
            (m, n)
            for m in _listed(self.n_unlabeled_ if n_unlabeled is None else n_unlabeled)
            for n in _listed(self.n_labeled_ if n_labeled is None else n_labeled)
        ]
        means = np.array([limit.mean_excess(*pair) for pair in pairs]).reshape(-1, 2)
        risk = limit.irreducible + means.sum(axis=1)
        table = {
            "n_unlabeled": [m for m, _ in pairs],
            "n_labeled": [n for _, n in pairs],
            **({"mse": 2.0 * risk} if self.head_.quadratic else {}),
            "risk": risk,
            "excess": means.sum(axis=1),
            "excess_labeled": means[:, 0],
            "excess_unlabeled": means[:, 1],
        }
        if len(quantiles):
            values = np.array([limit.law(*pair).ppf(np.asarray(quantiles)) for pair in pairs])
            for q, column in zip(quantiles, values.T, strict=True):
                table[f"risk_q{100 * q:g}"] = limit.irreducible + column
        return to_frame(table, self.backend_)

    def diagnose(self) -> list[Finding]:
        """Findings about the fit, most serious first, each with what to do about it."""
        limit = self._limit()
        return findings(self.encoder_, limit, self.feature_names_)

    def summary(self) -> Summary:
        """Tables of the fit: stage split, naive beside two-stage errors, regime, findings."""
        limit = self._limit()
        return summarize(
            self.encoder_, limit, self.head_fit_, self.feature_names_, self.diagnose(),
            self._output_names(),
        )  # fmt: skip

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

    def _limit(self) -> Asymptotics:
        self._check_fitted("encoder_", "yet; call fit first")
        self._check_fitted("asymptotics_", "for inference; fit it again with inference=True")
        limit: Asymptotics = self.asymptotics_
        return limit

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

    @abstractmethod
    def _set_coefficients(self) -> None:
        """The predictor on the raw columns, where there is one."""

    @abstractmethod
    def _output_names(self) -> list[str]:
        """Names of the outputs of the head."""

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

    def _stages(self) -> tuple[Any, Any]:
        for name, part in (("model", self.model), ("head", self.head)):
            if part is not None and (isinstance(part, type) or not hasattr(part, "fit")):
                raise InputError(
                    f"{name} is {part!r}; expected an object such as FactorModel(rank=3) or "
                    f"{self.default_head.__name__}(penalty=0.1), or None for the default"
                )
        if self.model is not None and not _takes_center(self.model):
            raise InputError(
                f"{type(self.model).__name__} is not a pre-training model of foretell; expected "
                "e.g. FactorModel(rank=3), or FactorModel(start=...) with a fitted PCA"
            )
        if self.head is not None and not hasattr(self.head, "quadratic"):
            raise InputError(
                f"{type(self.head).__name__} is not a head of foretell; expected "
                f"{self.default_head.__name__}(penalty=...)"
            )
        if self.standardize not in (True, False, "auto"):
            raise InputError(f"standardize is True, False or 'auto'; found {self.standardize!r}")
        self.model_ = FactorModel() if self.model is None else self.model
        self.head_ = self.default_head() if self.head is None else self.head
        if self.head_.quadratic != self.default_head().quadratic:
            raise InputError(
                f"{type(self).__name__} needs a head such as {self.default_head.__name__}(); found "
                f"{self.head_!r}; use TwoStageRegressor for numbers and TwoStageClassifier for "
                "classes"
            )
        return self.model_, self.head_

    def _second_view(self, X_view: Any, rows: Array) -> Array:
        view, _ = self._rows(X_view, reset=False)
        if len(view) != len(rows):
            raise InputError(
                f"X has {len(rows)} rows and X_view {len(view)}; a pair is one row of each"
            )
        return view

    def _fit_head(self, head: Head, labeled: Labeled) -> HeadFit:
        n, r = len(labeled.y), self.encoder_.rank
        if self.inference and n < r + 2 + head.intercept:
            raise InputError(
                f"{n} labeled rows (n_samples = {n}) are too few for the rank: rank {r} needs at "
                f"least {r + 2 + head.intercept}; label more rows or reduce the rank"
            )
        features = self.encoder_.encode(labeled.X)
        fit = head.fit(features, labeled.y, labeled.weights)
        _check_orbit_invariance(head, fit, features, labeled, self.encoder_, self.random_state)
        return fit

    def _outputs(self, X: Array) -> Array:
        return self.head_fit_.predict(self.encoder_.encode(X))

    def _tangent(self) -> Tangent:
        return tangent_of(self.encoder_, self.head_, self.head_fit_)

    def _raw(self) -> tuple[Array, Array] | None:
        """Intercepts (k,) and coefficients (k, d) on the raw columns; None if not affine."""
        if not hasattr(self.encoder_, "raw_coefficients"):
            return None
        slope = self.encoder_.feature_map @ self.head_fit_.coef
        gamma = np.concatenate([self.head_fit_.intercept[None], slope]).T
        intercept, coef = self.encoder_.raw_coefficients(gamma)
        return np.asarray(intercept), np.asarray(coef)


def _takes_center(model: Any) -> bool:
    taken = signature(pretraining_method(model)).parameters.values()
    return any(one.name == "center" or one.kind is Parameter.VAR_KEYWORD for one in taken)


def _listed(sizes: float | Sequence[float]) -> list[Any]:
    return np.atleast_1d(np.asarray(sizes)).tolist()


def _check_orbit_invariance(
    head: Head,
    fit: HeadFit,
    features: Array,
    labeled: Labeled,
    encoder: Any,
    random_state: int | None,
) -> None:
    """Refit the head on features moved by random group elements; predictions must not move."""
    rng = np.random.default_rng(random_state)
    here = fit.predict(features)
    scale = np.abs(labeled.y).max() + np.ptp(labeled.y) if head.quadratic else 1.0
    for _ in range(2 if encoder.rank else 0):
        moved = encoder.symmetry.act(features, encoder.symmetry.random(rng))
        again = head.fit(moved, labeled.y, labeled.weights)
        gap = float(np.abs(again.predict(moved) - here).max())
        if gap > 1e-6 * scale:
            raise InputError(
                f"the head {head!r} is not orbit-invariant: rotating the features by an element of "
                f"{encoder.symmetry!r}, which pre-training cannot tell apart, changes its "
                f"predictions by up to {gap:.3g}; use a penalty that does not depend on the axes, "
                f"such as {'LinearHead' if head.quadratic else 'LogisticHead'}(penalty=...)"
            )
