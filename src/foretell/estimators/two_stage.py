"""Both stages behind scikit-learn's interface: what regression and classification share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np

from foretell._types import Array
from foretell.base import Finding, Head, HeadFit, PretrainingEstimator, PretrainingModel
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.estimators.pretrained import Pretrained, check_model
from foretell.estimators.samples import dependence_of
from foretell.inference.asymptotics import asymptotics
from foretell.inference.diagnostics import findings
from foretell.inference.limit import Asymptotics
from foretell.inference.risklaw import RiskLaw
from foretell.inference.summary import Summary, summarize
from foretell.inference.tangent import Labeled, Tangent, tangent_of
from foretell.models import FactorModel


class TwoStage(Pretrained):
    """Pre-training on all rows and a head on the labeled ones; base of the public estimators."""

    default_head: ClassVar[type]

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
        samples = self._samples(X, y, sample_weight, X_view, groups)
        model, head = self._stages()
        source, labeled = self._pretrain(
            model, samples, X_unlabeled, pool=bool(self.pool), center=bool(head.intercept),
            standardize=self.standardize,
        )  # fmt: skip
        head = self.head_ = self._with_penalty(head, labeled)
        self.head_fit_ = self._fit_head(head, labeled)
        self._set_coefficients()
        if self.inference:
            self.asymptotics_ = asymptotics(
                self.encoder_, head, self.head_fit_, source=source, labeled=labeled,
                pool=bool(self.pool), shift=bool(self.domain_shift),
                dependence=dependence_of(
                    samples.is_labeled, source.rows, pool=bool(self.pool), groups=samples.groups,
                    groups_unlabeled=groups_unlabeled, lags=self.lags,
                    n_coefficients=self.head_fit_.coef.shape[0] + int(head.intercept),
                ),
                random_state=self.random_state,
            )  # fmt: skip
        return self

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
        found = findings(self.encoder_, limit, self.feature_names_)
        rule = getattr(self.head_, "penalty_rule", None)
        if rule is not None:
            found.append(Finding(
                "ok", "The penalty was chosen on the labeled rows",
                f"{self.head_.penalty:.3g}, {rule}; laws and errors take it as given",
            ))  # fmt: skip
        return found

    def summary(self) -> Summary:
        """Tables of the fit: stage split, naive beside two-stage errors, regime, findings."""
        limit = self._limit()
        return summarize(
            self.encoder_, limit, self.head_fit_, self.feature_names_, self.diagnose(),
            self._output_names(),
        )  # fmt: skip

    def _limit(self) -> Asymptotics:
        self._check_fitted("encoder_", "yet; call fit first")
        self._check_fitted("asymptotics_", "for inference; fit it again with inference=True")
        limit: Asymptotics = self.asymptotics_
        return limit

    @abstractmethod
    def _set_coefficients(self) -> None:
        """The predictor on the raw columns, where there is one."""

    @abstractmethod
    def _output_names(self) -> list[str]:
        """Names of the outputs of the head."""

    def _stages(self) -> tuple[Any, Any]:
        if self.model is not None:
            check_model(self.model)
        if self.head is not None and (isinstance(self.head, type) or not hasattr(self.head, "fit")):
            raise InputError(
                f"head is {self.head!r}; expected an object such as "
                f"{self.default_head.__name__}(penalty=0.1), or None for the default"
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

    def _with_penalty(self, head: Any, labeled: Labeled) -> Any:
        """The head with its penalty as a number, chosen on the labeled rows if it is "auto"."""
        if not isinstance(head.penalty, str):
            return head
        return head.resolved(self.encoder_.encode(labeled.X), labeled.y, labeled.weights)

    def _fit_head(self, head: Head, labeled: Labeled) -> HeadFit:
        n, r = len(labeled.y), self.encoder_.rank
        if self.inference and n < r + 2 + head.intercept and not head.penalty:
            raise InputError(
                f"{n} labeled rows (n_samples = {n}) are too few for the rank: rank {r} needs at "
                f"least {r + 2 + head.intercept}; label more rows, reduce the rank, or set a "
                "penalty"
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
