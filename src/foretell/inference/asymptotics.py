r"""The joint limit of both stages, and the law of the excess risk that follows from it.

A predictor on learned features is :math:`f(x) = t(x)^\top \gamma` in coordinates t that the
encoder chooses. Pre-training moves :math:`\gamma` by the mean of u over its m rows, the head by
:math:`\tilde B` times the mean of :math:`\xi` over its n rows:

.. math:: \hat\gamma - \gamma^* \approx \frac1m \sum_i u_i + \tilde B \frac1n \sum_j \xi_j.

u includes how the head answers to a moved representation, so that
:math:`u^\top Q \tilde B = 0`, Q the second derivative of the risk in :math:`\gamma`: the excess
risk has no cross term between the stages.

References
----------
.. [1] Tinati & Tu (2026). Two-stage M-estimation under symmetry. COLT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag, null_space, orth
from scipy.special import fdtrc

from foretell._types import Array
from foretell.base import Encoder, Head, HeadFit
from foretell.data.sources import Source
from foretell.errors import InputError
from foretell.inference.risklaw import RiskLaw

LARGEST_JOINT_LAW = 400
LABELS_PER_DIRECTION = 2
TEST_LEVEL = 0.05
CHUNK_CELLS = 1 << 21


class Labeled(NamedTuple):
    """The labeled sample: rows (n, d), targets (n,), weights (n,) or None."""

    X: Array
    y: Array
    weights: Array | None


class GradientTest(NamedTuple):
    r"""Wald test of the hypothesis that the representation is also best for the target.

    g is tested in the directions in which pre-training is uncertain. With more than twice as many
    labels as directions, the Wald statistic is referred to Hotelling's distribution; otherwise the
    first-order variance itself to the weighted sum of chi-squares it then is.

    Attributes
    ----------
    statistic
        Estimated first-order variance of the excess risk times m,
        :math:`\hat g^\top \Sigma_1 \hat g`.
    p_value
        Of the hypothesis g = 0.
    null_mean
        What noise in g adds to the statistic on average.
    method
        The reference distribution, in words.
    first_order
        Whether the hypothesis is rejected at the 5 % level.
    """

    statistic: float
    p_value: float
    null_mean: float
    method: str
    first_order: bool


class Parts(NamedTuple):
    """Variances of some quantities by their source, each of shape (k,)."""

    labeled: Array
    unlabeled: Array
    shared: Array

    @property
    def total(self) -> Array:
        """Sum of the three; the shared part is a covariance and may be negative."""
        return self.labeled + self.unlabeled + self.shared


@dataclass(frozen=True)
class Asymptotics:
    r"""First-order law of both stages around a fitted predictor, without any data.

    Attributes
    ----------
    n_unlabeled, n_labeled
        Rows of the fit: without and with a target.
    pool
        Whether labeled rows are also rows of pre-training; m counts both then.
    predictor
        :math:`\gamma`, shape (P,).
    curvature
        Q, second derivative of the risk in the predictor, shape (P, P).
    unlabeled
        Covariance of u over the rows of pre-training, shape (P, P).
    head_map, labeled
        :math:`\tilde B`, shape (P, q), and the covariance of :math:`\xi`, shape (q, q).
    shared
        Covariance of u and :math:`\xi` in rows that enter both stages, shape (P, q).
    gradient
        Derivative g of the risk in the predictor, shape (P,). Zero to first order where the
        representation is also the best one for the target.
    head_gradient
        Derivative of the risk in the head, shape (q,): the penalty's, with opposite sign.
    test
        Wald test of g = 0.
    bias_unlabeled, bias_labeled
        Second-order means :math:`g^\top E[\text{bias}]` times m and n; zero when the test does
        not reject.
    irreducible
        Risk of the limit of the predictor, :math:`R^* = R(\theta^*, w^*)`.
    residual_df
        n less the number of head coefficients.
    """

    n_unlabeled: int
    n_labeled: int
    pool: bool
    predictor: Array
    curvature: Array
    unlabeled: Array
    head_map: Array
    labeled: Array
    shared: Array
    gradient: Array
    head_gradient: Array
    test: GradientTest
    bias_unlabeled: float
    bias_labeled: float
    irreducible: float
    residual_df: int

    def stage_sizes(
        self, n_unlabeled: float | None = None, n_labeled: float | None = None
    ) -> tuple[float, float]:
        """Rows m of pre-training and n of the head; None keeps the number of the fit."""
        nu = self.n_unlabeled if n_unlabeled is None else n_unlabeled
        n = self.n_labeled if n_labeled is None else n_labeled
        m = nu + n if self.pool else nu
        if not (np.isfinite(m) and np.isfinite(n) and m > 0 and n > 0 and nu >= 0):
            raise InputError(
                f"expected positive numbers of rows; found n_unlabeled={nu}, n_labeled={n}"
            )
        return float(m), float(n)

    def variance(self, directions: Array) -> Parts:
        """Variances of the predictor along directions t, shape (k, P), at the fitted sizes."""
        m, n = self.stage_sizes()
        onto_head = directions @ self.head_map
        return Parts(
            labeled=np.einsum("kq,kq->k", onto_head @ self.labeled, onto_head) / n,
            unlabeled=np.einsum("kp,kp->k", directions @ self.unlabeled, directions) / m,
            shared=2.0 * np.einsum("kq,kq->k", directions @ self.shared, onto_head) / m,
        )

    def law(self, n_unlabeled: float | None = None, n_labeled: float | None = None) -> RiskLaw:
        r"""Law of the excess risk :math:`R(\hat\theta, \hat w) - R^*` for samples of these sizes.

        Second order when the gradient test does not reject (a weighted sum of chi-squares);
        otherwise with the first-order normal term :math:`g^\top \delta` and the second-order
        bias beside it. Rows that enter both stages correlate the two parts; the mean does not
        feel it.
        """
        m, n = self.stage_sizes(n_unlabeled, n_labeled)
        one, two = self._unlabeled_modes, self._labeled_modes
        k, q = len(one.weights), len(self.labeled)
        unlabeled = RiskLaw(0.5 * one.weights / m, one.linear / np.sqrt(m), self.bias_unlabeled / m)
        labeled = RiskLaw(0.5 * two.weights / n, two.linear / np.sqrt(n), self.bias_labeled / n)
        weights = np.concatenate([unlabeled.weights, labeled.weights])
        linear = np.concatenate([one.linear / np.sqrt(m), two.linear / np.sqrt(n)])
        if one.shared.any() and k + q <= LARGEST_JOINT_LAW:
            covariance = np.block(
                [[np.eye(k) / m, one.shared / m], [one.shared.T / m, self.labeled / n]]
            )
            form = block_diag(np.diag(one.weights), self._head_hessian)
            slope = np.concatenate([one.linear, self.head_gradient])
            weights, linear = _joint_modes(covariance, 0.5 * form, slope)
        regime = "first order (g != 0)" if self.test.first_order else "second order (g = 0)"
        return RiskLaw(
            weights, linear, self.bias_unlabeled / m + self.bias_labeled / n,
            labeled=labeled, unlabeled=unlabeled, regime=regime,
        )  # fmt: skip

    def mean_excess(
        self, n_unlabeled: float | None = None, n_labeled: float | None = None
    ) -> tuple[float, float]:
        """Means of the labeled and the unlabeled part of the excess risk."""
        m, n = self.stage_sizes(n_unlabeled, n_labeled)
        labeled = 0.5 * self._labeled_modes.weights.sum() + self.bias_labeled
        unlabeled = 0.5 * self._unlabeled_modes.weights.sum() + self.bias_unlabeled
        return float(labeled) / n, float(unlabeled) / m

    @cached_property
    def _unlabeled_modes(self) -> _Modes:
        # A refit of the head absorbs what lies in its span, up to the penalty.
        span = orth(self.head_map)
        inside = span @ (span.T @ self.gradient)
        slope = inside + self.first_order_factor * (self.gradient - inside)
        weights, linear, whitener = _modes(self.unlabeled, self.curvature, slope)
        return _Modes(weights, linear, whitener @ self.shared)

    @cached_property
    def _labeled_modes(self) -> _Modes:
        weights, linear, whitener = _modes(self.labeled, self._head_hessian, self.head_gradient)
        return _Modes(weights, linear, whitener @ self.labeled)

    @cached_property
    def _head_hessian(self) -> Array:
        return self.head_map.T @ self.curvature @ self.head_map

    @property
    def first_order_factor(self) -> float:
        """What the gradient is multiplied with, since its noise inflates its own square.

        Zero when the test does not reject.
        """
        if not self.test.first_order:
            return 0.0
        return float(np.sqrt(max(0.0, 1.0 - self.test.null_mean / self.test.statistic)))


class _Modes(NamedTuple):
    """Eigenvalues of one stage's quadratic form, linear terms, covariance with the head."""

    weights: Array
    linear: Array
    shared: Array


def _modes(covariance: Array, form: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Diagonalise a quadratic form of normal variables.

    For v ~ N(0, covariance), ``vᵀ form v + slopeᵀ v = sum(weights z² + linear z)`` with z iid
    standard normal and ``z = whitener v``; directions without variance are left out.
    """
    size, axes = np.linalg.eigh(covariance)
    keep = size > 1e-13 * size[-1]
    deviation, axes = np.sqrt(size[keep]), axes[:, keep]
    root = deviation[:, None] * axes.T
    weights, turn = np.linalg.eigh(root @ form @ root.T)
    return np.maximum(weights, 0.0), turn.T @ (root @ slope), turn.T @ (axes.T / deviation[:, None])


def _joint_modes(covariance: Array, form: Array, slope: Array) -> tuple[Array, Array]:
    """Weights and linear terms alone, by a Cholesky root where there is one."""
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return _modes(covariance, form, slope)[:2]
    if slope.any():
        weights, turn = np.linalg.eigh(root.T @ form @ root)
        return np.maximum(weights, 0.0), turn.T @ (root.T @ slope)
    weights = np.maximum(np.linalg.eigvalsh(root.T @ form @ root), 0.0)
    return weights, np.zeros_like(weights)


def asymptotics(
    encoder: Encoder,
    head: Head,
    fit: HeadFit,
    *,
    source: Source,
    labeled: Labeled,
    pool: bool,
    random_state: int | None = 0,
) -> Asymptotics:
    """Estimate the joint limit of both stages from the samples they were fitted to.

    Parameters
    ----------
    encoder
        Fitted pre-training model.
    head, fit
        The head and its fitted coefficients.
    source
        All rows of pre-training, the labeled ones included if ``pool``.
    labeled
        The labeled sample.
    pool
        Whether the labeled rows are also rows of pre-training.
    random_state
        Seed of the random directions that estimate second-order biases, used only when the
        gradient test rejects or the head has a penalty.

    Notes
    -----
    Covariances are empirical (robust to misspecification and heteroskedasticity); those of the
    head use residuals corrected for leverage (HC2). First order in 1/m and 1/n.
    """
    n = len(labeled.y)
    q = fit.coef.shape[0] + int(head.intercept)
    P = len(encoder.second_moment)
    predictor = np.zeros(P)
    predictor[0] = fit.intercept
    predictor[1:] = encoder.feature_map @ fit.coef
    head_map = np.zeros((P, q))
    head_map[1:, q - fit.coef.shape[0] :] = encoder.feature_map
    if head.intercept:
        head_map[0, 0] = 1.0
    curvature = np.diag(encoder.second_moment)
    penalty = head.penalty_matrix(q)
    response = head_map @ np.linalg.inv(head_map.T @ curvature @ head_map + penalty)

    onto_head = curvature @ head_map
    active = np.flatnonzero(response.any(axis=1) | onto_head.any(axis=1))
    touched = int(active[-1]) + 1 if len(active) else 0
    onto_head = onto_head[:touched]

    gradient = np.zeros(P)
    labeled_hessian = np.zeros((q, q))
    risk = 0.0
    for t, y, share in _labeled_chunks(encoder, labeled):
        prediction = t @ predictor
        slope, second = head.slope(prediction, y), head.second(prediction, y)
        gradient += t.T @ (share * slope)
        phi = t @ head_map
        labeled_hessian += (phi.T * (share * second)) @ phi
        risk += float(share @ head.loss(prediction, y))
    inverse = np.linalg.inv(labeled_hessian + penalty)

    def pretraining_influence(X: Array, weights: Array | None) -> Array:
        prepared = encoder.prepare(X)
        u = encoder.influence(X, fit.coef, prepared=prepared)
        pulled = u[:, :touched] @ onto_head
        pulled[:, q - len(fit.coef) :] += encoder.influence_adjoint(X, gradient, prepared=prepared)
        u[:, :touched] -= pulled @ response[:touched].T
        if weights is not None:
            u *= (weights * (encoder.n_rows / encoder.total_weight))[:, None]
        return u

    unlabeled = np.zeros((P, P))
    for X, weights in source.chunks():
        u = pretraining_influence(X, weights)
        unlabeled += u.T @ u
    unlabeled /= source.rows

    stationary = penalty @ np.concatenate([[fit.intercept] * head.intercept, fit.coef])
    meat, shared = np.zeros((q, q)), np.zeros((P, q))
    gradient_meat, gradient_shared = np.zeros((P, P)), np.zeros((P, P))
    optimism, second_order = 0.0, np.zeros(q)
    start = 0
    for t, y, share in _labeled_chunks(encoder, labeled):
        rows = slice(start, start + len(y))
        start += len(y)
        phi, prediction = t @ head_map, t @ predictor
        leverage = share * np.einsum("nq,nq->n", phi @ inverse, phi)
        slope = head.slope(prediction, y) / np.sqrt(1.0 - np.minimum(leverage, 0.999))
        score = (n * share)[:, None] * (slope[:, None] * phi + stationary)
        xi = -score @ inverse
        meat += xi.T @ xi
        second_order -= (phi.T * share) @ np.einsum("nq,nq->n", phi, xi)
        moved = xi @ head_map.T
        change = (n * share)[:, None] * (slope[:, None] * t - gradient) + moved @ curvature
        gradient_meat += change.T @ change
        if pool:
            u = pretraining_influence(
                labeled.X[rows], None if labeled.weights is None else labeled.weights[rows]
            )
            shared += u.T @ xi
            gradient_shared += change.T @ u
            moved = moved + u * (n / source.rows)
        optimism -= float((n * share * slope) @ np.einsum("np,np->n", t, moved)) / n
    m = source.rows
    spread = curvature @ unlabeled @ curvature / m + gradient_meat / n**2
    if pool:
        both = gradient_shared @ curvature / n / m
        spread = spread + both + both.T
    test = _gradient_test(gradient, head_map, unlabeled, spread, n)

    bias_unlabeled = 0.0
    if test.first_order or head.penalty:
        cross = curvature @ predictor - gradient
        bias_unlabeled = encoder.second_order_bias(
            source, cross, bool(head.intercept), penalty, np.random.default_rng(random_state)
        )
    bias_labeled = float(-stationary @ inverse @ second_order)
    partial = Asymptotics(
        n_unlabeled=m - n if pool else m, n_labeled=n, pool=pool, predictor=predictor,
        curvature=curvature, unlabeled=unlabeled, head_map=head_map, labeled=meat / n,
        shared=shared / n, gradient=gradient, head_gradient=-stationary, test=test,
        bias_unlabeled=bias_unlabeled,
        bias_labeled=bias_labeled, irreducible=np.nan, residual_df=n - q,
    )  # fmt: skip
    limit = risk + optimism / n - sum(partial.mean_excess())
    return replace(partial, irreducible=max(limit, 0.0))


def _labeled_chunks(encoder: Encoder, labeled: Labeled) -> Iterator[tuple[Array, Array, Array]]:
    n = len(labeled.y)
    weights = np.ones(n) if labeled.weights is None else labeled.weights
    share = weights / weights.sum()
    step = max(1, CHUNK_CELLS // len(encoder.second_moment))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        yield encoder.coordinates(labeled.X[rows]), labeled.y[rows], share[rows]


def _gradient_test(
    gradient: Array, head_map: Array, unlabeled: Array, spread: Array, n: int
) -> GradientTest:
    outside = null_space(head_map.T)  # what a refit of the head cannot absorb
    size, axes = np.linalg.eigh(outside.T @ unlabeled @ outside)
    keep = size > 1e-13 * size[-1]
    k = int(keep.sum())
    if k == 0:
        return GradientTest(0.0, 1.0, 0.0, "nothing to test", False)
    root = np.sqrt(size[keep])[:, None] * (outside @ axes[:, keep]).T
    moved, noise = root @ gradient, root @ spread @ root.T
    weights = np.maximum(np.linalg.eigvalsh(noise), 0.0)
    statistic = float(moved @ moved)
    if n > LABELS_PER_DIRECTION * k and weights[0] > 1e-12 * weights[-1]:
        ratio = float(moved @ np.linalg.solve(noise, moved)) * (n - k) / (k * (n - 1))
        p_value = float(fdtrc(k, n - k, ratio))
        method = f"Wald test with Hotelling's F({k}, {n - k})"
    else:
        p_value = float(RiskLaw(weights).sf(statistic))
        method = f"weighted chi-squares in {k} directions, too many for {n} labels to tell apart"
    first_order = p_value < TEST_LEVEL
    return GradientTest(statistic, p_value, float(weights.sum()), method, first_order)
