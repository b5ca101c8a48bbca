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

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag

from foretell._types import Array
from foretell.errors import InputError
from foretell.inference.accuracy import Hits
from foretell.inference.gradient_test import GradientTest
from foretell.inference.risklaw import RiskLaw

LARGEST_JOINT_LAW = 400


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
    misfit
        Its part that no refit of the head takes away, with or without its penalty, shape (P,).
    head_gradient
        Derivative of the risk in the head, shape (q,): the penalty's, with opposite sign.
    test
        Wald test of g = 0.
    bias_unlabeled, bias_labeled
        Second-order means :math:`g^\top E[\text{bias}]` times m and n; zero when the test does
        not reject.
    irreducible
        Risk of the limit of the predictor, :math:`R^* = R(\theta^*, w^*)`.
    residual_variance
        Variance of each target around the best predictor on these features, shape (k,).
    residual_df, pretraining_df
        n less the number of head coefficients of one output, and m - 1; with clusters or serial
        dependence not more than their number less one.
    accuracy
        Share of new rows whose class is the most probable one, from leave-one-out predictions by
        influence; None for regression.
    classes
        Number of classes, zero for regression.
    hits
        What an interval of the accuracy needs; None for regression and for rows that depend on
        each other.
    held_fixed
        Whether stage 1 is held fixed, as it is for networks: all of the above is conditional on
        the representation, and ``n_unlabeled`` cannot be varied.
    """

    n_unlabeled: int
    n_labeled: int
    pool: bool
    curvature: Array
    unlabeled: Array
    head_map: Array
    labeled: Array
    shared: Array
    gradient: Array
    misfit: Array
    head_gradient: Array
    test: GradientTest
    bias_unlabeled: float
    bias_labeled: float
    irreducible: float
    residual_variance: Array
    residual_df: float
    pretraining_df: float
    accuracy: float | None = None
    classes: int = 0
    hits: Hits | None = None
    held_fixed: bool = False

    def stage_sizes(
        self, n_unlabeled: float | None = None, n_labeled: float | None = None
    ) -> tuple[float, float]:
        """Rows m of pre-training and n of the head; None keeps the number of the fit.

        Raises
        ------
        InputError
            If a number is not positive, or ``n_unlabeled`` is another than that of the fit while
            stage 1 is held fixed.
        """
        if self.held_fixed and n_unlabeled is not None and n_unlabeled != self.n_unlabeled:
            raise InputError(
                f"this law is conditional on a trained network, and no number of unlabeled rows "
                f"changes it; found n_unlabeled={n_unlabeled:g}, expected {self.n_unlabeled:,}, "
                "that of the fit: leave it out, and train again on as many rows to see what they "
                "bring"
            )
        nu = self.n_unlabeled if n_unlabeled is None else n_unlabeled
        n = self.n_labeled if n_labeled is None else n_labeled
        m = nu + n if self.pool else nu
        if not (np.isfinite(m) and np.isfinite(n) and m > 0 and n > 0 and nu >= 0):
            raise InputError(
                f"expected positive numbers of rows; found n_unlabeled={nu}, n_labeled={n}"
            )
        return float(m), float(n)

    def variance(self, directions: Array) -> Parts:
        """Variances of linear forms of the predictor at the fitted sizes.

        Directions of shape (..., P); parts of shape (...).
        """
        m, n = self.stage_sizes()
        rows = directions.reshape(-1, directions.shape[-1])
        onto_head = rows @ self.head_map
        parts = Parts(
            labeled=np.einsum("kq,kq->k", onto_head @ self.labeled, onto_head) / n,
            unlabeled=np.einsum("kp,kp->k", rows @ self.unlabeled, rows) / m,
            shared=2.0 * np.einsum("kq,kq->k", rows @ self.shared, onto_head) / m,
        )
        return Parts(*(part.reshape(directions.shape[:-1]) for part in parts))

    @cached_property
    def covariance(self) -> Array:
        """Covariance of the predictor at the fitted sizes, both stages together, shape (P, P)."""
        m, n = self.stage_sizes()
        cross = self.shared @ self.head_map.T / m
        return np.asarray(
            self.unlabeled / m
            + self.head_map @ self.labeled @ self.head_map.T / n
            + cross
            + cross.T
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
        if two.weights.size and one.shared.any() and k + q <= LARGEST_JOINT_LAW:
            covariance = np.block(
                [[np.eye(k) / m, one.shared / m], [one.shared.T / m, self.labeled / n]]
            )
            form = block_diag(np.diag(one.weights), self._head_hessian)
            slope = np.concatenate([one.linear, self.head_gradient])
            weights, linear = _joint_modes(covariance, 0.5 * form, slope)
        return RiskLaw(
            weights, linear, self.bias_unlabeled / m + self.bias_labeled / n,
            labeled=labeled, unlabeled=unlabeled, regime=self.regime,
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
        slope = self.gradient + (self.first_order_factor - 1.0) * self.misfit
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
    def regime(self) -> str:
        """What the risk above the irreducible one consists of, in words."""
        if self.held_fixed:
            return "stage 1 held fixed"
        return "first order (g != 0)" if self.test.first_order else "second order (g = 0)"

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
    return _tidy(weights), turn.T @ (root @ slope), turn.T @ (axes.T / deviation[:, None])


def _tidy(weights: Array) -> Array:
    """Rounding errors of zero eigenvalues are zero."""
    return np.where(np.abs(weights) > 1e-13 * np.abs(weights).max(initial=0.0), weights, 0.0)


def _joint_modes(covariance: Array, form: Array, slope: Array) -> tuple[Array, Array]:
    """Weights and linear terms alone, by a Cholesky root where there is one."""
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return _modes(covariance, form, slope)[:2]
    if slope.any():
        weights, turn = np.linalg.eigh(root.T @ form @ root)
        return _tidy(weights), turn.T @ (root.T @ slope)
    weights = _tidy(np.linalg.eigvalsh(root.T @ form @ root))
    return weights, np.zeros_like(weights)
