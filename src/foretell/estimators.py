"""scikit-learn estimators: a representation from all rows, a head from the labeled ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.base import Encoder, Finding, Head, HeadFit, PretrainingModel
from foretell.data.checks import check_columns, check_values
from foretell.data.frames import backend_of, to_frame
from foretell.data.inputs import check_cells, compare_names, target_of, weights_of
from foretell.data.sources import (
    ArraySource,
    ConcatenatedSource,
    SelectedSource,
    Source,
)
from foretell.data.tables import design_matrix, is_frame
from foretell.errors import InputError
from foretell.heads import LinearHead
from foretell.inference.asymptotics import Asymptotics, Labeled, asymptotics
from foretell.inference.diagnostics import findings
from foretell.inference.predictions import Prediction, predict
from foretell.inference.risklaw import RiskLaw
from foretell.inference.summary import Summary, summarize
from foretell.models import FactorModel


class TwoStageRegressor(Parameters):
    r"""Regression on features learned from labeled and unlabeled rows, with honest errors.

    Rows whose target is missing (NaN) are unlabeled. Stage 1 fits the pre-training model, stage
    2 the head on the features of labeled rows; standard errors, intervals and the law of the
    excess risk include both stages and the covariance between them.

    Parameters
    ----------
    model
        Pre-training model; None is ``FactorModel()``.
    head
        Head; None is ``LinearHead()``. Without an intercept, columns and target are taken to have
        mean zero, in pre-training too.
    pool
        Whether labeled rows also enter pre-training.
    standardize
        Divide columns by their standard deviations before pre-training, which are then part of
        what is estimated. ``"auto"``: for data frames, whose columns have units, and not for
        plain arrays. Predictions and coefficients are always in the units of the columns.
    inference
        Whether to compute the asymptotics when fitting; without, only predictions.
    random_state
        Seed of the checks by random group elements and of second-order biases.

    Attributes
    ----------
    model_, head_
        The model and head in use.
    encoder_, head_fit_
        Fitted stages.
    asymptotics_
        Joint limit of both stages; holds no data.
    coef_, intercept_
        The predictor on the raw columns, shape (d,) and scalar.
    n_unlabeled_, n_labeled_
        Numbers of rows.
    n_features_in_, feature_names_in_
        Columns seen in fit.

    Raises
    ------
    InputError
        For data or parameters that cannot be used; the message names column, count and cure.
    IdentificationError
        If the pre-training loss is flat in more directions than its symmetry explains.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory import FactorPopulation
    >>> pop = FactorPopulation(np.eye(20)[:, :2] * 2.0, 1.0, [1.0, -0.5], 0.3)
    >>> X, y = pop.sample_labeled(500, random_state=0)
    >>> y[50:] = np.nan
    >>> est = TwoStageRegressor(FactorModel(rank=2)).fit(X, y)
    >>> p = est.get_prediction(X[:3])
    >>> bool((p.se > p.se_naive).all())
    True

    References
    ----------
    .. [1] Tinati & Tu (2026). Two-stage M-estimation under symmetry. COLT.
    """

    def __init__(
        self,
        model: PretrainingModel | None = None,
        head: Head | None = None,
        *,
        pool: bool = True,
        standardize: bool | Literal["auto"] = "auto",
        inference: bool = True,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.head = head
        self.pool = pool
        self.standardize = standardize
        self.inference = inference
        self.random_state = random_state

    def set_params(self, **params: Any) -> TwoStageRegressor:
        """Set parameters by name; ``head__penalty`` sets that of the head, default or not."""
        if self.model is None and any(name.startswith("model__") for name in params):
            self.model = FactorModel()
        if self.head is None and any(name.startswith("head__") for name in params):
            self.head = LinearHead()
        return super().set_params(**params)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_unlabeled: Any = None,
    ) -> TwoStageRegressor:
        """Fit both stages.

        Parameters
        ----------
        X
            Rows, shape (N, d): array or data frame (pandas, polars, pyarrow).
        y
            Targets, shape (N,); missing (NaN, None) where a row is unlabeled.
        sample_weight
            One weight a row of X, shape (N,), at least zero. Weights multiply the losses of both
            stages; errors are those of weighted M-estimation.
        X_unlabeled
            Further unlabeled rows: array, data frame or :class:`~foretell.data.sources.Source`.
        """
        self.__dict__.pop("asymptotics_", None)
        rows, names = self._rows(X, reset=True)
        target = target_of(y, len(rows))
        weights = weights_of(sample_weight, len(rows))
        if weights is not None and (weights == 0).any():
            keep = weights > 0
            rows, target, weights = rows[keep], target[keep], weights[keep]
        is_labeled = ~np.isnan(target)
        n = int(is_labeled.sum())
        if n == 0:
            raise InputError(
                f"none of the {len(target)} rows has a target, so no head can be fitted; label at "
                "least rank + 3 rows"
            )
        source = self._pretraining_source(rows, weights, is_labeled, X_unlabeled)
        labeled = Labeled(
            rows[is_labeled], target[is_labeled], None if weights is None else weights[is_labeled]
        )
        if n > 1 and not np.ptp(labeled.y) > 0:
            raise InputError(
                f"the target is constant ({labeled.y[0]:g} in all {n} labeled rows), so there is "
                "nothing to learn; label rows with other values"
            )
        check_columns(source.moments, names)
        total = float(n) if labeled.weights is None else float(labeled.weights.sum())
        for name, part in (("model", self.model), ("head", self.head)):
            if part is not None and (isinstance(part, type) or not hasattr(part, "fit")):
                raise InputError(
                    f"{name} is {part!r}; expected an object such as FactorModel(rank=3) or "
                    "LinearHead(penalty=0.1), or None for the default"
                )
        if self.standardize not in (True, False, "auto"):
            raise InputError(f"standardize is True, False or 'auto'; found {self.standardize!r}")
        model = self.model_ = FactorModel() if self.model is None else self.model
        head = self.head_ = LinearHead() if self.head is None else self.head
        self.standardized_ = is_frame(X) if self.standardize == "auto" else bool(self.standardize)
        self.encoder_ = model.fit(
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
                pool=bool(self.pool), random_state=self.random_state,
            )  # fmt: skip
        return self

    def predict(self, X: Any) -> Array:
        """Predictions, shape (k,), in units of the target."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        return np.asarray(rows @ self.coef_ + self.intercept_)

    def encode(self, X: Any) -> Array:
        """Learned features of rows, shape (k, rank); identified up to a rotation."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        return self.encoder_.encode(rows)

    def get_prediction(self, X: Any) -> Prediction:
        """Predictions with standard errors and intervals that include both stages."""
        limit = self._limit()
        rows, _ = self._rows(X, reset=False)
        backend = backend_of(X) or self.backend_
        index = X.index if backend_of(X) == "pandas" else None
        return predict(limit, self.encoder_.coordinates(rows), backend=backend, index=index)

    def excess_risk(
        self, *, n_unlabeled: float | None = None, n_labeled: float | None = None
    ) -> RiskLaw:
        """Law of the excess risk: half the squared error above that of the best predictor.

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

        ``mse`` is the expected mean squared error; ``risk`` and everything after it are in units
        of the risk, which is half of it.

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
            "mse": 2.0 * risk,
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
        return summarize(self.encoder_, limit, self.feature_names_, self.diagnose())

    @property
    def feature_names_(self) -> list[str]:
        """Names of the columns, ``x0, x1, …`` for arrays."""
        self._check_fitted("encoder_", "yet; call fit first")
        if hasattr(self, "feature_names_in_"):
            return [str(name) for name in self.feature_names_in_]
        return [f"x{j}" for j in range(self.n_features_in_)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the variance of the targets that predictions explain (R²), labeled rows only."""
        predicted = self.predict(X)
        target = target_of(y, len(predicted))
        weights = weights_of(sample_weight, len(target))
        if np.isnan(target).all():
            raise InputError(
                f"none of the {len(target)} rows to score has a target; score labeled rows, and "
                "shuffle before cross-validation if they come first or last in the table"
            )
        share = np.where(np.isnan(target), 0.0, 1.0 if weights is None else weights)
        target = np.where(np.isnan(target), predicted, target)
        center = np.average(target, weights=share)
        return 1.0 - float(share @ (target - predicted) ** 2) / float(
            share @ (target - center) ** 2
        )

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        # Columns without common factors carry nothing that pre-training could learn: that is a
        # finding, not a failure, but scikit-learn's checks draw exactly such columns (poor_score).
        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(poor_score=True),
            input_tags=InputTags(),
        )

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
                self.feature_names_in_ = np.array(names, dtype=object)
                self.backend_ = backend_of(X)
            elif hasattr(self, "feature_names_in_"):
                compare_names(names, list(self.feature_names_in_))
        else:
            rows, names = self._array(X, reset=reset), None
        if reset:
            self.n_features_in_ = rows.shape[1]
        elif rows.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {rows.shape[1]} features, but TwoStageRegressor is expecting "
                f"{self.n_features_in_} features as input; give the columns of the fit"
            )
        return rows, names

    def _array(self, X: Any, *, reset: bool) -> Array:
        """Rows of anything that is not a data frame."""
        if reset:
            self.backend_ = None
            self.__dict__.pop("feature_names_in_", None)
        elif hasattr(self, "feature_names_in_"):
            warnings.warn(
                "X does not have valid feature names, but TwoStageRegressor was fitted with "
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

    def _pretraining_source(
        self,
        rows: Array,
        weights: Array | None,
        is_labeled: Array,
        X_unlabeled: Any,
    ) -> Source:
        source: Source = ArraySource(rows, weights)
        if not self.pool:
            source = SelectedSource(source, ~is_labeled)
        if X_unlabeled is not None:
            if not isinstance(X_unlabeled, Source):
                X_unlabeled = ArraySource(self._rows(X_unlabeled, reset=False)[0])
            if X_unlabeled.columns != rows.shape[1]:
                raise InputError(
                    f"X has {rows.shape[1]} columns and X_unlabeled {X_unlabeled.columns}; both "
                    "samples need the same columns"
                )
            source = X_unlabeled if not source.rows else ConcatenatedSource((source, X_unlabeled))
        if not source.rows:
            raise InputError(
                f"all {len(rows)} rows are labeled and pool=False, so no unlabeled row is left for "
                "pre-training; give X_unlabeled, leave some targets missing, or set pool=True"
            )
        return source

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

    def _set_coefficients(self) -> None:
        encoder, fit = self.encoder_, self.head_fit_
        gamma = np.concatenate([[fit.intercept], encoder.feature_map @ fit.coef])
        intercept, self.coef_ = encoder.raw_coefficients(gamma)
        self.intercept_ = float(intercept)


def _listed(sizes: float | Sequence[float]) -> list[Any]:
    return np.atleast_1d(np.asarray(sizes)).tolist()


def _check_orbit_invariance(
    head: Head,
    fit: HeadFit,
    features: Array,
    labeled: Labeled,
    encoder: Encoder,
    random_state: int | None,
) -> None:
    """Refit the head on features moved by random group elements; predictions must not move."""
    rng = np.random.default_rng(random_state)
    here = features @ fit.coef + fit.intercept
    scale = np.abs(labeled.y).max() + np.ptp(labeled.y)
    for _ in range(2 if encoder.rank else 0):
        moved = encoder.symmetry.act(features, encoder.symmetry.random(rng))
        again = head.fit(moved, labeled.y, labeled.weights)
        gap = float(np.abs(moved @ again.coef + again.intercept - here).max())
        if gap > 1e-6 * scale:
            raise InputError(
                f"the head {head!r} is not orbit-invariant: rotating the features by an element of "
                f"{encoder.symmetry!r}, which pre-training cannot tell apart, changes its "
                f"predictions by up to {gap:.3g}; use a penalty that does not depend on the axes, "
                "such as LinearHead(penalty=...)"
            )
