"""What heads with a ridge penalty share: parameters, checks, centered features."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.errors import InputError
from foretell.heads.penalty import choose_penalty


class RidgeHead(Parameters):
    """Strength and norm of the penalty, and whether there is an intercept.

    Parameters
    ----------
    penalty
        Ridge penalty >= 0 on the coefficients; intercepts are free. ``"auto"``: see
        :meth:`resolved`.
    intercept
        Whether to fit intercepts.
    norm
        Only ``"l2"``.

    Examples
    --------
    >>> RidgeHead(0.5).penalty_matrix(3).diagonal().tolist()
    [0.0, 0.5, 0.5]
    """

    penalty_rule: str | None = None  # how an automatic penalty was chosen, in words
    quadratic: ClassVar[bool]

    def __init__(
        self, penalty: float | str = 0.0, *, intercept: bool = True, norm: str = "l2"
    ) -> None:
        self.penalty: Any = penalty
        self.intercept = intercept
        self.norm = norm

    def resolved(self, features: Array, y: Array, weights: Array | None = None) -> Self:
        """The same head with ``penalty="auto"`` replaced by a number chosen on labeled rows.

        The one of 13 penalties, 1e-5 to 10 times the mean variance of a feature, that minimises
        the loss of rows left out by cross-validation (:mod:`foretell.heads.penalty`). Estimators
        call this; laws and errors take the choice as given. Folds are drawn over rows: where rows
        of a cluster are alike, give the penalty as a number, since the chosen one is too small.

        Raises
        ------
        InputError
            If the labels are too few to leave any out.
        """
        if self.penalty != "auto":
            self._check()
            return self
        self._check_norm()
        value, rule = choose_penalty(
            features, y, weights, intercept=self.intercept, classes=not self.quadratic
        )
        head = type(self)(value, intercept=self.intercept, norm=self.norm)
        head.penalty_rule = rule
        return head

    def penalty_matrix(self, size: int) -> Array:
        """Second derivative of the penalty in the parameters of one output, shape (q, q)."""
        diagonal = np.full(size, float(self.penalty))
        if self.intercept:
            diagonal[:1] = 0.0
        return np.diag(diagonal)

    def _check(self) -> None:
        self._check_norm()
        penalty: Any = self.penalty
        if isinstance(penalty, str) and penalty == "auto":
            raise InputError(
                "penalty='auto' is chosen on labeled rows: by the estimators, or by "
                "head.resolved(features, y)"
            )
        if isinstance(penalty, str) or not 0 <= penalty < np.inf:
            raise InputError(
                f"penalty is a finite number >= 0; found {self.penalty!r}; set one, or 'auto'"
            )

    def _check_norm(self) -> None:
        if self.norm != "l2":
            raise InputError(
                f"norm={self.norm!r} is refused: pre-training identifies the features up to a "
                "rotation, and this penalty changes under rotation, so the predictor would "
                "depend on an arbitrary choice of axes; use norm='l2' (ridge)"
            )

    def _check_rows(self, n: int, r: int) -> None:
        q = r + self.intercept
        if n < q and not self.penalty:
            raise InputError(
                f"{n} labeled rows cannot determine {q} head coefficients; "
                f"reduce the rank to {max(1, n - 2)} or less, label more rows, or set a penalty"
            )

    def _centered(self, features: Array, share: Array) -> tuple[Array, Array]:
        """Features less their mean if there is an intercept, and that mean, shape (r,)."""
        if not self.intercept:
            return features, np.zeros(features.shape[1])
        mean = share @ features
        return features - mean, mean

    def _constant_cure(self, any_features: bool) -> str:
        if not (self.intercept and any_features):
            return ""
        return "; features that sum to a constant need intercept=False"

    def _check_collinear(self, n: int, gram: Array, mean: Array) -> None:
        """Refuse features whose centered second moment plus penalty, (r, r), is singular."""
        if not len(gram):
            return
        variance = gram.diagonal()
        scale = np.sqrt(np.where(variance > 1e-24 * mean**2, variance, np.inf))
        size = np.linalg.eigvalsh(gram / np.outer(scale, scale))
        if size[0] <= 1e-13 * size[-1]:
            cure = "a larger penalty" if self.penalty else "a penalty"
            raise InputError(
                f"the features of the {n} labeled rows are collinear (curvature {size[0]:.1e} "
                f"beside {size[-1]:.1e}); label more distinct rows, reduce the rank, or set {cure}"
                + self._constant_cure(bool(len(mean)))
            )
