"""Linear regression on learned features."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.base import HeadFit
from foretell.errors import InputError
from foretell.heads.ridge import RidgeHead


class LinearHead(RidgeHead):
    r"""Least squares, or ridge regression, of one or several targets on the features.

    Minimises :math:`\tfrac{1}{2n} \sum_i |y_i - a - W^\top \phi_i|^2 + \tfrac{\lambda}{2}
    |W|^2`. The penalty does not change when the features rotate, so predictions depend on the
    orbit of the representation alone.

    Parameters
    ----------
    penalty
        Ridge penalty :math:`\lambda \ge 0` on the coefficients; the intercepts are free.
        ``"auto"`` lets the estimators choose it by cross-validation on the labeled rows.
    intercept
        Whether to fit the intercepts a.
    norm
        Only ``"l2"``. An L1 penalty singles out axes that pre-training does not identify, so
        its predictions have no limit; it is refused.

    Examples
    --------
    >>> import numpy as np
    >>> phi = np.array([[0.0], [1.0], [2.0]])
    >>> fit = LinearHead().fit(phi, np.array([1.0, 3.0, 5.0]))
    >>> fit.coef.round(6).tolist(), fit.intercept.round(6).tolist()
    ([[2.0]], [1.0])
    """

    quadratic = True

    def fit(self, features: Array, y: Array, weights: Array | None = None) -> HeadFit:
        """Fit to features of shape (n, r) and targets of shape (n, k), or (n,) for k = 1.

        Raises
        ------
        InputError
            For an invalid penalty, targets of another shape, fewer rows than coefficients of an
            output, or collinear features.
        """
        self._check()
        n, r = features.shape
        y = np.asarray(y, dtype=np.float64)
        if y.ndim not in (1, 2) or len(y) != n:
            raise InputError(f"expected targets of shape ({n},) or ({n}, k); found {y.shape}")
        self._check_rows(n, r)
        share = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
        centered, mean = self._centered(features, share)
        weighted = centered.T * share
        gram = weighted @ centered
        gram.flat[:: r + 1] += self.penalty
        self._check_collinear(n, gram, mean)
        coef = np.linalg.solve(gram, weighted @ y).reshape(r, -1 if r else _outputs(y))
        if not self.intercept:
            return HeadFit(coef, np.zeros(coef.shape[1]))
        return HeadFit(coef, share @ y - mean @ coef)

    def loss(self, outputs: Array, y: Array) -> Array:
        """Half the squared error of each row, summed over outputs (n, k), shape (n,)."""
        residual = self.slope(outputs, y)
        return np.asarray(0.5 * np.einsum("nk,nk->n", residual, residual))

    def slope(self, outputs: Array, y: Array) -> Array:
        """Derivative of the loss in the outputs, shape (n, k)."""
        return np.asarray(outputs - np.reshape(y, outputs.shape))

    def second(self, outputs: Array) -> Array:
        """Second derivative of the loss in the outputs, the identity, shape (n, k, k)."""
        n, k = outputs.shape
        return np.broadcast_to(np.eye(k), (n, k, k))


def _outputs(y: Array) -> int:
    return 1 if y.ndim == 1 else int(y.shape[1])
