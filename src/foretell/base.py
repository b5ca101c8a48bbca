"""What a pre-training model, its fitted encoder and a head offer to the rest of foretell."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Head coefficients on the features, shape (r,), and the intercept."""

    coef: Array
    intercept: float


class Head(Protocol):
    """Loss of a linear predictor on features, and its fit."""

    @property
    def penalty(self) -> float:
        """Strength of the penalty, zero for none."""

    @property
    def intercept(self) -> bool:
        """Whether an intercept is fitted."""

    def fit(self, features: Array, y: Array, weights: Array | None = None) -> HeadFit:
        """Fit to features (n, r) and targets (n,)."""

    def penalty_matrix(self, size: int) -> Array:
        """Second derivative of the penalty in (intercept, coefficients), shape (q, q)."""

    def loss(self, prediction: Array, y: Array) -> Array:
        """Loss of each row."""

    def slope(self, prediction: Array, y: Array) -> Array:
        """Its derivative in the prediction."""

    def second(self, prediction: Array, y: Array) -> Array:
        """Its second derivative in the prediction."""


class Encoder(Protocol):
    r"""A fitted pre-training model whose features are linear in some coordinates t(x).

    Predictors on the features are :math:`t(x)^\top \gamma`. The first coordinate is the
    constant one.
    """

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
        """Group that leaves the pre-training loss unchanged."""

    @property
    def second_moment(self) -> Array:
        """Diagonal of E t tᵀ in the pre-training sample, shape (P,)."""

    @property
    def feature_map(self) -> Array:
        """Features are ``t[1:] @ feature_map``, shape (P - 1, r)."""

    def encode(self, X: Array) -> Array:
        """Features of rows, shape (n, r)."""

    def coordinates(self, X: Array) -> Array:
        """t(x), shape (n, P)."""

    def prepare(self, X: Array) -> Any:
        """What the two influences share; they may be given it instead of computing it twice."""

    def raw_coefficients(self, coordinates: Array) -> tuple[Array, Array]:
        """Intercept and coefficients on the raw columns, from t-coordinates."""

    def influence(self, X: Array, coef: Array, *, prepared: Any = None) -> Array:
        """Effect of each row on the predictor at fixed head coefficients, shape (n, P)."""

    def influence_adjoint(self, X: Array, gradient: Array, *, prepared: Any = None) -> Array:
        """Effect of each row on a gradient pulled back to the features, shape (n, r)."""

    def findings(self, names: Sequence[str]) -> list[Finding]:
        """What the user should know about the pre-training fit."""

    def spectrum(self) -> Array | None:
        """Eigenvalues that show how many features there are, descending, if there are any."""

    def second_order_bias(
        self,
        source: Source,
        cross_moment: Array,
        intercept: bool,
        penalty: Array,
        rng: np.random.Generator,
    ) -> float:
        """Mean second-order change of the profile risk that first-order influence leaves out."""


class PretrainingModel(Protocol):
    """What learns a representation from unlabeled rows."""

    def fit(
        self,
        source: Source,
        *,
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
    ) -> Encoder:
        """Fit to a sample; ``max_rank`` bounds an automatic choice of the rank.

        Without ``center`` the columns are taken to have mean zero.
        """
