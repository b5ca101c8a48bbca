"""What a pre-training model, its fitted encoder and a head offer to the rest of foretell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from foretell._types import Array
from foretell.data.sources import Source
from foretell.symmetry import Group


class Finding(NamedTuple):
    """Something a user should know about a fit.

    ``level`` is ``"warning"`` (the numbers may mislead), ``"note"`` or ``"ok"``; ``cure`` says
    what to do, None where there is nothing to do.
    """

    level: str
    title: str
    text: str
    cure: str | None = None


class HeadFit(NamedTuple):
    """Head coefficients on the features, shape (r, k) for k outputs, and intercepts (k,)."""

    coef: Array
    intercept: Array

    def predict(self, features: Array) -> Array:
        """Outputs of rows of features, shape (n, k)."""
        return np.asarray(features @ self.coef + self.intercept)


class Head(Protocol):
    """Loss of k linear outputs on features, and its fit.

    Parameters of a head are stacked output by output: intercept (if there is one) and r
    coefficients of the first output, then of the second, and so on; q numbers an output.
    """

    @property
    def penalty(self) -> float:
        """Strength of the penalty, zero for none."""

    @property
    def intercept(self) -> bool:
        """Whether an intercept is fitted."""

    @property
    def quadratic(self) -> bool:
        """Whether the second derivative of the loss is the identity everywhere."""

    def fit(self, features: Array, y: Array, weights: Array | None = None) -> HeadFit:
        """Fit to features (n, r) and targets: (n, k) numbers, or (n,) whole numbers of classes."""

    def penalty_matrix(self, size: int) -> Array:
        """Second derivative of the penalty in the parameters of one output, shape (q, q)."""

    def loss(self, outputs: Array, y: Array) -> Array:
        """Loss of each row from outputs (n, k), shape (n,)."""

    def slope(self, outputs: Array, y: Array) -> Array:
        """Its derivative in the outputs, shape (n, k)."""

    def second(self, outputs: Array) -> Array:
        """Its second derivative in the outputs, which may not depend on y, shape (n, k, k)."""


class Encoder(Protocol):
    """A fitted pre-training model: features of rows, and what each row of the sample did to it."""

    @property
    def n_rows(self) -> int:
        """Rows of the pre-training sample."""

    @property
    def total_weight(self) -> float:
        """Sum of their weights."""

    @property
    def rank(self) -> int:
        """Number r of features."""

    @property
    def standardized(self) -> bool:
        """Whether columns were divided by their standard deviations."""

    @property
    def rank_rule(self) -> str:
        """How the rank was chosen, in words."""

    @property
    def symmetry(self) -> Group:
        """Group that leaves the pre-training loss unchanged and acts on features: ``f @ g``."""

    def encode(self, X: Array) -> Array:
        """Features of rows, shape (n, r)."""

    def findings(self, names: Sequence[str]) -> list[Finding]:
        """What the user should know about the pre-training fit."""

    def spectrum(self) -> Array | None:
        """Eigenvalues that show how many features there are, descending, if there are any."""


class Move(NamedTuple):
    """A random change of the sample's moments, and the encoder refitted to it.

    ``columns(h)`` is the constant and the features of the encoder that is fitted to moments moved
    h times this change, as columns in the t-coordinates of the encoder at h = 0, shape
    (P, 1 + r); ``step`` is a good length for numerical differences.
    """

    step: float
    columns: Callable[[float], Array]


class AffineEncoder(Encoder, Protocol):
    r"""A fitted model whose features are linear in some coordinates t(x) = (1, ...).

    Predictors on the features are :math:`t(x)^\top \gamma`. Rows that enter an influence are
    those of pre-training: pairs of views, shape (n, 2d), for models of pairs.
    """

    @property
    def second_moment(self) -> Array:
        """E t tᵀ over rows as heads see them: its diagonal, shape (P,), or all, (P, P)."""

    @property
    def feature_map(self) -> Array:
        """Features are ``t[1:] @ feature_map``, shape (P - 1, r)."""

    def coordinates(self, X: Array) -> Array:
        """t(x), shape (n, P)."""

    def prepare(self, X: Array) -> Any:
        """What the two influences share; they may be given it instead of computing it twice."""

    def raw_coefficients(self, coordinates: Array) -> tuple[Array, Array]:
        """Intercept and coefficients on the raw columns, from t-coordinates."""

    def influence(self, X: Array, coef: Array, *, prepared: Any = None) -> Array:
        """Effect of each row on the predictor at fixed head coefficients (r,), shape (n, P)."""

    def influence_adjoint(self, X: Array, gradient: Array, *, prepared: Any = None) -> Array:
        """Effect of each row on a gradient (P,) pulled back to the features, shape (n, r)."""

    def principal_moves(self, source: Source, power: float = 1.0) -> list[Move] | None:
        """Moves whose sum of effects is the mean over random ones; None where there are too many.

        One standard deviation of a row's moments along each axis of their covariance.
        """

    def random_moves(
        self, source: Source, rng: np.random.Generator, power: float = 1.0
    ) -> Iterator[Move]:
        r"""Endless independent changes of the moments by :math:`m^{-1/2} \sum_i \epsilon_i`
        times what row i adds, random signs :math:`\epsilon`, at one pass over the sample for
        several of them. Weights enter with this power: 1/2 if they are probabilities.
        """


class SmoothEncoder(Encoder, Protocol):
    r"""A fitted model whose features depend smoothly on flat parameters theta, shape (p,)."""

    @property
    def theta(self) -> Array:
        """The minimiser, shape (p,)."""

    def pullback(self, X: Array, cotangent: Array) -> Array:
        r"""Row by row :math:`\sum_k c_{ik} \, \partial \phi_k(x_i) / \partial \theta`, (n, p),
        for a cotangent of shape (n, r).
        """

    def feature_curvature(self, X: Array, cotangent: Array) -> Array:
        r""":math:`\sum_{ik} c_{ik} \, \partial^2 \phi_k(x_i) / \partial\theta^2`, shape (p, p)."""

    def influence(self, X: Array) -> Array:
        r"""Horizontal effect :math:`-H^\dagger s(x_i)` of rows of pre-training on theta, (n, p)."""

    def solve(self, rhs: Array) -> Array:
        r""":math:`H^\dagger` times the horizontal part of a right-hand side (p,) or (p, k)."""

    def scores(self, theta: Array, X: Array) -> Array:
        """Derivative of the loss of each row of pre-training at theta, shape (n, p).

        For pairs of rows (U-statistics) the Hoeffding projection over the fitted sample.
        """

    def hessian(self, theta: Array, source: Source) -> Array:
        """Second derivative of the mean loss of a sample at theta, shape (p, p)."""

    def parameters(self, covariance: Array) -> list[Parameter]:
        """Named quantities that the orbit identifies, from the covariance of theta, (p, p)."""


class Parameter(NamedTuple):
    """A quantity that pre-training identifies, e.g. the mean of a class, and its error."""

    name: str
    value: float
    se: float


class PretrainingModel(Protocol):
    """What learns a representation from unlabeled rows."""

    def fit(
        self,
        source: Source,
        *,
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
    ) -> Any:
        """Fit to a sample, an affine or a smooth encoder; ``max_rank`` bounds an automatic rank.

        Without ``center`` the columns are taken to have mean zero.
        """


class PretrainingEstimator(Protocol):
    """The same as a scikit-learn estimator of its own, whose ``fit`` takes an array."""

    def pretrain(
        self,
        source: Source,
        *,
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
    ) -> Any:
        """As ``fit`` of a :class:`PretrainingModel`."""


def pretrain(model: Any, source: Source, **options: Any) -> Any:
    """Fit a pre-training model to a sample: by its ``pretrain`` where it has one, else ``fit``."""
    return pretraining_method(model)(source, **options)


def pretraining_method(model: Any) -> Callable[..., Any]:
    """What fits a pre-training model to a source."""
    method: Callable[..., Any] = model.pretrain if hasattr(model, "pretrain") else model.fit
    return method
