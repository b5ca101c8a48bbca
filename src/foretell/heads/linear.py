"""Linear regression on learned features."""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.base import HeadFit
from foretell.errors import InputError


class LinearHead(Parameters):
    r"""Least squares, or ridge regression, on the features.

    Minimises :math:`\tfrac{1}{2n} \sum_i (y_i - a - w^\top \phi_i)^2 + \tfrac{\lambda}{2}
    |w|^2`. The penalty does not change when the features rotate, so predictions depend on the
    orbit of the representation alone.

    Parameters
    ----------
    penalty
        Ridge penalty :math:`\lambda \ge 0` on the coefficients; the intercept is free.
    intercept
        Whether to fit the intercept a.
    norm
        Only ``"l2"``. An L1 penalty singles out axes that pre-training does not identify, so
        its predictions have no limit; it is refused.

    Examples
    --------
    >>> import numpy as np
    >>> phi = np.array([[0.0], [1.0], [2.0]])
    >>> LinearHead().fit(phi, np.array([1.0, 3.0, 5.0])).coef.round(6).tolist()
    [2.0]
    """

    def __init__(self, penalty: float = 0.0, *, intercept: bool = True, norm: str = "l2") -> None:
        self.penalty = penalty
        self.intercept = intercept
        self.norm = norm

    def fit(self, features: Array, y: Array, weights: Array | None = None) -> HeadFit:
        """Fit to features of shape (n, r) and targets of shape (n,).

        Raises
        ------
        InputError
            For an invalid penalty, fewer rows than coefficients, or collinear features.
        """
        self._check()
        n, r = features.shape
        if n < r + self.intercept and not self.penalty:
            raise InputError(
                f"{n} labeled rows cannot determine {r + self.intercept} head coefficients; "
                f"reduce the rank to {max(1, n - 2)} or less, label more rows, or set a penalty"
            )
        share = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
        design = self.design(features)
        curvature = self.curvature(design, np.ones(n), share)
        size = np.linalg.eigvalsh(curvature)
        if size[0] <= 1e-13 * size[-1]:
            raise InputError(
                f"the features of the {n} labeled rows are collinear (curvature {size[0]:.1e} "
                f"beside {size[-1]:.1e}); label more distinct rows, reduce the rank, or set a "
                "penalty"
            )
        solution = np.linalg.solve(curvature, design.T @ (share * y))
        if self.intercept:
            return HeadFit(solution[1:], float(solution[0]))
        return HeadFit(solution, 0.0)

    def design(self, features: Array) -> Array:
        """Features with a column of ones in front if there is an intercept."""
        if not self.intercept:
            return features
        return np.concatenate([np.ones((len(features), 1)), features], axis=1)

    def curvature(self, design: Array, second: Array, share: Array) -> Array:
        """Second derivative of the penalised risk in the head, shape (q, q)."""
        return (design.T * (share * second)) @ design + self.penalty_matrix(design.shape[1])

    def penalty_matrix(self, size: int) -> Array:
        """Second derivative of the penalty alone, shape (q, q)."""
        diagonal = np.full(size, float(self.penalty))
        if self.intercept:
            diagonal[0] = 0.0
        return np.diag(diagonal)

    def loss(self, prediction: Array, y: Array) -> Array:
        """Half the squared error of each row."""
        return 0.5 * (y - prediction) ** 2

    def slope(self, prediction: Array, y: Array) -> Array:
        """Derivative of the loss in the prediction."""
        return prediction - y

    def second(self, prediction: Array, y: Array) -> Array:
        """Second derivative of the loss in the prediction."""
        return np.ones_like(y)

    def _check(self) -> None:
        if self.norm != "l2":
            raise InputError(
                f"norm={self.norm!r} is refused: pre-training identifies the features up to a "
                "rotation, and this penalty changes under rotation, so the predictor would "
                "depend on an arbitrary choice of axes; use norm='l2' (ridge)"
            )
        penalty: Any = self.penalty
        if isinstance(penalty, str) or not 0 <= penalty < np.inf:
            raise InputError(f"penalty is a finite number >= 0; found {self.penalty!r}")
