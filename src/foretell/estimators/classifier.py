"""Classification on learned features."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.base import HeadFit
from foretell.data.frames import backend_of
from foretell.errors import InputError
from foretell.estimators.classes import ClassTargets
from foretell.estimators.two_stage import TwoStage
from foretell.heads import LogisticHead
from foretell.inference.accuracy import Hits
from foretell.inference.predictions import Prediction, predict
from foretell.inference.tangent import Labeled


class TwoStageClassifier(ClassTargets, TwoStage):
    r"""Classification on features learned from labeled and unlabeled rows, with honest errors.

    Rows whose class is missing (NaN, None) are unlabeled. The risk is the mean log-loss; its law
    above that of the best classifier on these features, standard errors and intervals of
    probabilities include both stages.

    Parameters
    ----------
    model
        Pre-training model; None is ``FactorModel()``.
    head
        Head; None is ``LogisticHead()``: two classes, or more by softmax.
    pool, standardize, lags, domain_shift, inference, random_state
        As in :class:`~foretell.TwoStageRegressor`.

    Attributes
    ----------
    classes_
        Classes in the order of the columns of ``predict_proba``.
    model_, head_, encoder_, head_fit_, asymptotics_
        As in :class:`~foretell.TwoStageRegressor`.
    coef_, intercept_
        Log-odds of the second class, shapes (1, d) and (1,), or for more than two classes the
        logits, which sum to zero, (K, d) and (K,); only for features linear in the columns.

    Raises
    ------
    InputError
        For data or parameters that cannot be used, one class only, or classes that the features
        separate perfectly.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell import FactorModel
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(600, 1))
    >>> X = z @ np.ones((1, 6)) + rng.normal(size=(600, 6))
    >>> y = np.where(rng.random(600) < 1 / (1 + np.exp(-2 * z[:, 0])), "yes", "no").astype(object)
    >>> y[100:] = None
    >>> est = TwoStageClassifier(FactorModel(rank=1)).fit(X, y)
    >>> est.predict_proba(X[:2]).shape
    (2, 2)

    References
    ----------
    .. [1] Tinati & Tu (2026). Two-stage M-estimation under symmetry. COLT.
    """

    default_head = LogisticHead

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, shape (n, K)."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        head: Any = self.head_
        return np.asarray(head.probabilities(self._outputs(rows)))

    def decision_function(self, X: Any) -> Array:
        """Log-odds of the second class, shape (n,), or the logits of all classes, (n, K)."""
        self._check_fitted("encoder_", "yet; call fit first")
        rows, _ = self._rows(X, reset=False)
        outputs = self._outputs(rows)
        return outputs[:, 0] if len(self.classes_) == 2 else outputs @ self._logit_map.T

    def get_prediction(self, X: Any) -> Prediction:
        """Probabilities with standard errors and intervals that include both stages.

        Intervals are symmetric on the scale of log-odds.
        """
        limit = self._limit()
        rows, _ = self._rows(X, reset=False)
        outputs, derivative = self._tangent().at(rows)
        head: Any = self.head_
        p = head.probabilities(outputs)
        slope = p[:, :, None] * (self._logit_map - (p @ self._logit_map)[:, None, :])
        return predict(
            limit,
            p,
            slope @ derivative,
            names=[str(name) for name in self.classes_],
            probability=True,
            backend=backend_of(X) or self.backend_,
            index=X.index if backend_of(X) == "pandas" else None,
        )

    @property
    def _logit_map(self) -> Array:
        """Logits are outputs times its transpose, shape (K, k)."""
        from foretell.heads.logistic import contrasts

        k = len(self.classes_)
        return np.array([[0.0], [1.0]]) if k == 2 else contrasts(k)

    def _left_out_hits(self) -> Hits:
        limit = self._limit()
        if limit.hits is None:
            raise InputError(
                "rows that depend on each other (groups, lags) cannot be left out one by one; give "
                "a test sample, accuracy(X, y, groups=...), or leave out whole clusters by "
                "probe_accuracy(est.encode(X), y, groups=...)"
            )
        return limit.hits

    def _fit_head(self, head: Any, labeled: Labeled) -> HeadFit:
        try:
            return super()._fit_head(head, labeled)
        except InputError as error:
            if "separate" not in str(error):
                raise
            named = ", ".join(f"{j} is {name!s}" for j, name in enumerate(self.classes_))
            raise InputError(f"{error} (classes are numbered: {named})") from error

    def _output_names(self) -> list[str]:
        k = len(self.classes_)
        return ["log-odds"] if k == 2 else [f"contrast {j + 1}" for j in range(k - 1)]

    def _set_coefficients(self) -> None:
        for name in ("coef_", "intercept_"):
            self.__dict__.pop(name, None)
        if (raw := self._raw()) is None:
            return
        logits = np.eye(1) if len(self.classes_) == 2 else self._logit_map
        self.intercept_, self.coef_ = logits @ raw[0], logits @ raw[1]
