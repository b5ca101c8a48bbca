"""Logistic regression, binary and softmax, on learned features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from foretell._types import Array
from foretell.base import HeadFit
from foretell.errors import ConvergenceError, InputError
from foretell.heads.ridge import RidgeHead
from foretell.heads.separation import separated_pairs, separation_message

_FLAT = 1e-6  # curvature beside its largest possible value that asks for a test of separation


class LogisticHead(RidgeHead):
    r"""Logistic regression of classes 0, ..., K - 1 on the features, or its ridge version.

    Minimises the mean log-loss plus :math:`\tfrac{\lambda}{2} |W|^2`. Two classes have one
    output, the log-odds of class 1. K >= 3 classes have K - 1 outputs :math:`o`, and the logits
    of the classes are :math:`Z o` with ``Z = contrasts(K)``, an orthonormal basis of the vectors
    of sum zero: every softmax regression has exactly one such W, and its penalty is that of the
    logits' coefficients, which does not change when classes are renamed or features rotate.

    Parameters
    ----------
    penalty
        Ridge penalty :math:`\lambda \ge 0` on the coefficients; the intercepts are free.
        ``"auto"`` lets the estimators choose it by cross-validation on the labeled rows.
    intercept
        Whether to fit the intercepts.
    norm
        Only ``"l2"``. An L1 penalty singles out axes that pre-training does not identify, so
        its predictions have no limit; it is refused.

    Notes
    -----
    With two classes and logits of sum zero, the penalty on logits would be half of that on the
    log-odds, which is what is penalised here, as elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> phi = np.array([[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]])
    >>> head = LogisticHead()
    >>> fit = head.fit(phi, np.array([0, 0, 1, 0, 1, 1]))
    >>> head.probabilities(fit.predict(phi[2:4])).round(6).tolist()
    [[0.666667, 0.333333], [0.333333, 0.666667]]
    """

    quadratic = False

    def fit(self, features: Array, y: Array, weights: Array | None = None) -> HeadFit:
        """Fit by Newton steps to features (n, r) and classes (n,), whole numbers 0 to K - 1.

        Rows of weight zero play no part.

        Raises
        ------
        InputError
            For an invalid penalty, labels that are not whole numbers 0 to K - 1 or leave a class
            out, fewer rows than coefficients of an output, collinear features, or classes that a
            linear function of the features tells apart without error: without a penalty their
            coefficients are infinite.
        ConvergenceError
            If Newton steps stop before the minimum.
        """
        self._check()
        y = _checked_labels(y, len(features))
        share = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not share.all():
            features, y, share = features[share > 0], y[share > 0], share[share > 0]
        share = share / share.sum()
        n_classes = _count_classes(y)
        n, r = features.shape
        self._check_rows(n, r)
        design, mean = self._centered(features, share)
        gram = (design.T * share) @ design
        gram.flat[:: r + 1] += self.penalty
        self._check_collinear(n, gram, mean)
        if self.intercept:
            design = np.concatenate([np.ones((n, 1)), design], axis=1)
        params = self._minimise(design, y, share, n_classes)
        if not self.intercept:
            return HeadFit(params, np.zeros(n_classes - 1))
        return HeadFit(params[1:], params[0] - mean @ params[1:])

    def loss(self, outputs: Array, y: Array) -> Array:
        """Minus the log-probability of the class of each row, from outputs (n, k), shape (n,)."""
        logits = _logits(outputs)
        rows, y = np.arange(len(y)), np.asarray(y, dtype=np.intp)
        rest = logits - logits[rows, y][:, None]
        rest[rows, y] = -np.inf
        top = rest.max(axis=1)
        others = top + np.log(np.exp(rest - top[:, None]).sum(axis=1))
        return np.asarray(np.logaddexp(0.0, others))

    def slope(self, outputs: Array, y: Array) -> Array:
        """Derivative of the loss in the outputs, shape (n, k)."""
        k = outputs.shape[1]
        gap = self.probabilities(outputs)
        rows, y = np.arange(len(y)), np.asarray(y, dtype=np.intp)
        gap[rows, y] = 0.0
        gap[rows, y] = -gap.sum(axis=1)  # p - 1 without cancellation
        return gap @ _basis(k)

    def second(self, outputs: Array) -> Array:
        """Second derivative of the loss in the outputs, shape (n, k, k)."""
        k = outputs.shape[1]
        p, Z = self.probabilities(outputs), _basis(k)
        if k == 1:
            return p.prod(axis=1)[:, None, None]
        square = (Z[:, :, None] * Z[:, None, :]).reshape(k + 1, k * k)
        mean = p @ Z
        return (p @ square).reshape(-1, k, k) - mean[:, :, None] * mean[:, None, :]

    def probabilities(self, outputs: Array) -> Array:
        """Probabilities of the classes, shape (n, k + 1), from outputs of shape (n, k)."""
        logits = _logits(outputs)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def _minimise(self, design: Array, y: Array, share: Array, n_classes: int) -> Array:
        """Parameters of all outputs, shape (q, k)."""
        k, q = n_classes - 1, design.shape[1]
        penalty = self.penalty_matrix(q)
        scale = np.sqrt(share @ design**2 + penalty.diagonal())
        params = np.zeros((q, k))
        tested = self.penalty > 0 or not q
        point = self._point(design, y, share, penalty, params)
        for _ in range(200):
            flat, step = _newton(point, np.tile(scale, k), definite=self.penalty > 0)
            if not tested and flat < _FLAT:
                _refuse_separation(design @ params, design / scale, y, n_classes)
                tested = True
            if step is None:
                break
            decrement = float(point.gradient @ step)
            if decrement <= 1e-24 * max(1.0, point.value):
                return params
            length, ahead = 1.0, step.reshape(k, q).T
            while True:
                moved = params - length * ahead
                after = self._point(design, y, share, penalty, moved)
                gained = point.value - after.value
                if decrement < 1e-10 or gained >= 1e-4 * length * decrement or length < 1e-10:
                    break
                length *= 0.5
            if decrement < 1e-10 and not _smaller(after.gradient, point.gradient, scale):
                return params
            params, point = moved, after
        raise ConvergenceError(
            f"logistic regression on {len(y)} rows did not settle (curvature {flat:.1e} of its "
            "largest value); set a larger penalty, rescale the features, or reduce the rank"
        )

    def _point(
        self, design: Array, y: Array, share: Array, penalty: Array, params: Array
    ) -> _Point:
        q, k = params.shape
        outputs = design @ params
        value = float(share @ self.loss(outputs, y)) + 0.5 * float((penalty @ params**2).sum())
        gradient = design.T @ (share[:, None] * self.slope(outputs, y)) + penalty @ params
        second = share[:, None, None] * self.second(outputs)
        hessian = np.zeros((k, q, k, q))
        for a in range(k):
            for b in range(a + 1):
                block = (design.T * second[:, a, b]) @ design
                hessian[a, :, b], hessian[b, :, a] = block, block.T
            hessian[a, :, a] += penalty
        return _Point(value, gradient.T.ravel(), hessian.reshape(k * q, k * q))


class _Point(NamedTuple):
    """Objective, gradient (k q,) and Hessian at some parameters, stacked output by output."""

    value: float
    gradient: Array
    hessian: Array


def contrasts(n_classes: int) -> Array:
    """Orthonormal basis of the vectors of K numbers that sum to zero, shape (K, K - 1).

    Examples
    --------
    >>> (contrasts(3) * [2**0.5, 6**0.5]).round(6).tolist()
    [[-1.0, -1.0], [1.0, -1.0], [0.0, 2.0]]
    """
    column = np.arange(1.0, n_classes)
    below = np.tril(np.ones((n_classes, n_classes - 1)), -1)
    Z = np.where(below > 0, 0.0, -1.0)
    Z[np.arange(1, n_classes), np.arange(n_classes - 1)] = column
    return np.asarray(Z / np.sqrt(column * (column + 1)))


def _basis(k: int) -> Array:
    """Logits of the classes are outputs @ basis.T, up to a constant; shape (k + 1, k)."""
    return np.array([[0.0], [1.0]]) if k == 1 else contrasts(k + 1)


def _logits(outputs: Array) -> Array:
    return np.asarray(outputs @ _basis(outputs.shape[1]).T)


def _newton(point: _Point, scale: Array, *, definite: bool) -> tuple[float, Array | None]:
    """Smallest curvature in scaled parameters, and the Newton step if there is one.

    Where a penalty makes the Hessian positive definite, Cholesky's factor, which takes a tenth of
    the time, stands for a curvature of one.
    """
    if definite and len(scale):
        try:
            factor = cho_factor(point.hessian / np.outer(scale, scale), check_finite=False)
            return 1.0, cho_solve(factor, point.gradient / scale, check_finite=False) / scale
        except np.linalg.LinAlgError:
            pass  # singular to rounding: the eigenvalues tell how far
    size, axes = np.linalg.eigh(point.hessian / np.outer(scale, scale))
    if not len(size):
        return 1.0, point.gradient
    if size[0] <= 1e-15 * size[-1]:
        return float(size[0]), None
    return float(size[0]), axes @ (axes.T @ (point.gradient / scale) / size) / scale


def _smaller(after: Array, before: Array, scale: Array) -> bool:
    ratio = np.tile(scale, len(after) // len(scale))
    return bool(np.abs(after / ratio).max() < np.abs(before / ratio).max())


def _refuse_separation(outputs: Array, design: Array, y: Array, n_classes: int) -> None:
    basis = _basis(n_classes - 1)
    pairs = separated_pairs(outputs @ basis.T, design, y, basis)
    if pairs:
        raise InputError(separation_message(pairs, n_classes, len(y)))


def _checked_labels(y: Array, n: int) -> Array:
    y = np.asarray(y)
    if y.shape != (n,):
        raise InputError(f"expected labels of shape ({n},); found {y.shape}")
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all() or (y != np.round(y)).any():
        odd = y if y.dtype.kind not in "biuf" else y[~np.isfinite(y) | (y != np.round(y))]
        raise InputError(f"labels are whole numbers 0 to K - 1; found {odd[0]!r}; encode them")
    return y.astype(np.intp)


def _count_classes(y: Array) -> int:
    found = np.unique(y)
    if len(found) < 2:
        raise InputError(
            f"all {len(y)} labeled rows are of one class ({found.tolist()}); label rows of others"
        )
    if found[0] < 0:
        raise InputError(f"labels are whole numbers 0 to K - 1; found {found[0]}; encode them")
    absent = np.setdiff1d(np.arange(min(found[-1], len(y) + 1)), found)
    if len(absent):
        raise InputError(
            f"labels go up to {found[-1]} but no labeled row is of class "
            f"{', '.join(map(str, absent[:5]))}{', ...' if len(absent) > 5 else ''}; number the "
            "classes 0 to K - 1 without gaps, or label rows of every class"
        )
    return len(found)
