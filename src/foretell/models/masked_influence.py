r"""Masked ridge regression as a function of second moments, and its derivative row by row.

With :math:`Q = (C + \alpha I)^{-1}` and :math:`D = \mathrm{diag}(Q)` the matrix of all d
regressions is :math:`A = I - Q D^{-1} = D^{1/2} S D^{-1/2}` with :math:`S = I - M` symmetric,
:math:`M = D^{-1/2} Q D^{-1/2} = V \,\mathrm{diag}(\mu)\, V^\top` of unit diagonal. Everything here
is written in the coordinates :math:`y = V^\top D^{1/2} x`, x a row (centred, scaled).

When a row joins the sample :math:`dC = xx^\top - C - \tfrac12(HC + CH)`, H the diagonal matrix of
:math:`\eta = x^2 - 1` if columns are standardised and zero otherwise, :math:`dQ = -Q\,dC\,Q`, and
with :math:`p = \mu \odot y`

.. math:: D^{-1/2}\,dQ\,D^{-1/2} = -V p p^\top V^\top + M - \alpha M D M + \tfrac12 (MH + HM)
    - \alpha M D H M, \qquad \frac{dD}{D} = \eta + \epsilon,

.. math:: \epsilon = 1 - (V p)^2 - \alpha\, (M \odot M) (D (1 + \eta)).

References
----------
Derived in docs/masked-regression.md; perturbation of eigenvectors as in Kato (1966),
*Perturbation theory for linear operators*, II.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError

SINGULAR = 1e-13  # of the largest eigenvalue


@dataclass(frozen=True, eq=False)
class MaskedMap:
    r"""All d ridge regressions of one column on the others, from a covariance.

    Attributes
    ----------
    covariance
        C of centred, scaled columns, shape (d, d).
    alpha
        Ridge penalty: the loss of column k is the mean square of its residual plus
        :math:`\alpha \lVert a_k \rVert^2`.
    diagonal
        Diagonal of Q, shape (d,).
    remainder
        :math:`\mu`, ascending, shape (d,): one less the eigenvalues of A.
    eigenvectors
        V of S, shape (d, d), in the same order.

    Examples
    --------
    >>> import numpy as np
    >>> two = MaskedMap.of(np.array([[1.0, 0.5], [0.5, 1.0]]), 0.0)
    >>> two.matrix.round(6).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    >>> (1 - two.remainder).round(6).tolist()
    [0.5, -0.5]
    """

    covariance: Array
    alpha: float
    diagonal: Array
    remainder: Array
    eigenvectors: Array

    @classmethod
    def of(cls, covariance: Array, alpha: float) -> MaskedMap:
        """The map of a covariance, shape (d, d).

        Raises
        ------
        IdentificationError
            If the covariance is singular and nothing is added to it.
        """
        size, axes = np.linalg.eigh(covariance)
        spread = size + alpha
        if not spread[0] > SINGULAR * spread[-1]:
            spanned = int((spread > SINGULAR * spread[-1]).sum())
            raise IdentificationError(
                f"the columns span only {spanned} of {len(size)} directions and alpha = {alpha:g}, "
                "so regressions of one column on the others are not determined; set alpha > 0, "
                "e.g. alpha='loo', or drop columns that are linear functions of others"
            )
        inverse = (axes / spread) @ axes.T
        diagonal = np.diag(inverse).copy()
        root = np.sqrt(diagonal)
        remainder, vectors = np.linalg.eigh(inverse / np.outer(root, root))
        return cls(covariance, alpha, diagonal, remainder, vectors)

    @property
    def matrix(self) -> Array:
        """A, shape (d, d): column k predicts column k, its diagonal is zero."""
        root, V = np.sqrt(self.diagonal), self.eigenvectors
        out = root[:, None] * ((V * (1.0 - self.remainder)) @ V.T) / root
        np.fill_diagonal(out, 0.0)
        return np.asarray(out)

    @cached_property
    def projection(self) -> Array:
        """Centred, scaled rows times this are y, shape (d, d)."""
        return np.sqrt(self.diagonal)[:, None] * self.eigenvectors

    @cached_property
    def second_moment(self) -> Array:
        """Of y in the sample, shape (d, d)."""
        return np.asarray(self.projection.T @ self.covariance @ self.projection)

    @cached_property
    def steady(self) -> Array:
        r""":math:`V^\top (M - \alpha M D M) V`, which is :math:`E pp^\top`, shape (d, d)."""
        return self.remainder[:, None] * self.second_moment * self.remainder

    @cached_property
    def spread(self) -> Array:
        r""":math:`\alpha\,(M \odot M)\,\mathrm{diag}(D)`, shape (d, d)."""
        M = (self.eigenvectors * self.remainder) @ self.eigenvectors.T
        return np.asarray(self.alpha * M**2 * self.diagonal)

    def rows(self, coordinates: Array, deviations: Array | None) -> Rows:
        r"""What rows do to the map, from (1, y), (n, 1 + d), and :math:`\eta` if it matters."""
        moved = coordinates[:, 1:] * self.remainder
        change = moved @ self.eigenvectors.T
        change *= -change
        change += 1.0 - self.spread.sum(axis=1)
        if deviations is not None:
            change -= deviations @ self.spread.T
        return Rows(coordinates, moved, change, deviations)


class Rows(NamedTuple):
    r"""What one row does before any head is known.

    Coordinates (1, y), shape (n, 1 + d); p and :math:`\epsilon`, shape (n, d);
    :math:`\eta`, shape (n, d), or None where columns are not standardised.
    """

    coordinates: Array
    moved: Array
    change: Array
    deviations: Array | None


class Response(Protocol):
    """How features move with the map; coordinates without the constant."""

    @property
    def feature_map(self) -> Array:
        """N with features = y N, shape (d, r)."""

    def influence(self, rows: Rows, coef: Array) -> Array:
        """Effect of each row on the slope of a predictor at fixed head coefficients, (n, d)."""

    def adjoint(self, rows: Rows, gradient: Array) -> Array:
        """Of each row on a gradient (d,) pulled back to the features, shape (n, r)."""


@dataclass(frozen=True, eq=False)
class EigenvectorResponse:
    r"""Of the features :math:`x^\top D^{1/2} U_r = (y_1, \dots, y_r)`, U_r the first columns of V.

    In the gauge in which the features do not rotate, :math:`U_r^\top dU_r = 0`; for k > r
    :math:`V_k^\top dU_j = V_k^\top dM\,V_j / (\mu_j - \mu_k)`.
    """

    map: MaskedMap
    rank: int

    @property
    def feature_map(self) -> Array:
        """The first r columns of the identity."""
        return np.eye(len(self.map.diagonal), self.rank)

    def influence(self, rows: Rows, coef: Array) -> Array:
        r""":math:`V^\top (\tfrac12 \epsilon \odot U_r w + dU_r w)`."""
        r, V = self.rank, self.map.eigenvectors
        ratio, turn, stretch = self._divided
        out = rows.moved[:, :r] @ (ratio * coef).T
        out *= rows.moved
        out -= (ratio * self.map.steady[:, :r]) @ coef
        out += rows.change @ (V * (V[:, :r] @ (turn * coef).T))
        if rows.deviations is not None:
            weight = V * (V[:, :r] @ (stretch * coef).T)
            out += rows.deviations @ (self.map.diagonal[:, None] * weight)
        return out

    def adjoint(self, rows: Rows, gradient: Array) -> Array:
        """The transposed map."""
        r, V, g = self.rank, self.map.eigenvectors, gradient[:, None]
        ratio, turn, stretch = self._divided
        out = rows.moved[:, :r] * (rows.moved @ (ratio * g))
        out -= (ratio * self.map.steady[:, :r] * g).sum(axis=0)
        out += rows.change @ (V[:, :r] * (V @ (turn * g)))
        if rows.deviations is not None:
            weight = V[:, :r] * (V @ (stretch * g))
            out += rows.deviations @ (self.map.diagonal[:, None] * weight)
        return np.asarray(out)

    @cached_property
    def _divided(self) -> tuple[Array, Array, Array]:
        r"""Weights of p_k p_j, of :math:`\epsilon` and of :math:`D\eta`, shapes (d, r).

        Zero, one half and zero inside the span of the features, where directions may be as close
        as they like.
        """
        mu, r = self.map.remainder, self.rank
        gap = mu[r:, None] - mu[:r]
        ratio, turn, stretch = (np.zeros((len(mu), r)) for _ in range(3))
        ratio[r:] = 1.0 / gap
        turn[:r], turn[r:] = 0.5, mu[r:, None] / gap
        stretch[r:] = self.map.alpha * mu[r:, None] * mu[:r] / gap
        return ratio, turn, stretch


@dataclass(frozen=True, eq=False)
class ReconstructionResponse:
    r"""Of the features :math:`A^\top x`, the prediction of every column from the others.

    With :math:`\hat w = D^{-1/2} w` the slope in y moves by :math:`V^\top` times
    :math:`(V pp^\top V^\top - M + \alpha M D M + \alpha M D H M + M\,\mathrm{diag}(\epsilon) -
    \tfrac12 S H)\,\hat w`.
    """

    map: MaskedMap

    @property
    def feature_map(self) -> Array:
        r""":math:`(I - \mathrm{diag}(\mu)) V^\top D^{-1/2}`, shape (d, d)."""
        nu = 1.0 - self.map.remainder
        return np.asarray(nu[:, None] * self.map.eigenvectors.T / np.sqrt(self.map.diagonal))

    def influence(self, rows: Rows, coef: Array) -> Array:
        """The bracket, term by term."""
        V, mu = self.map.eigenvectors, self.map.remainder
        unit = coef / np.sqrt(self.map.diagonal)
        across = V.T @ unit
        out = rows.moved * (rows.moved @ across)[:, None]
        out -= self.map.steady @ across
        out += rows.change @ (unit[:, None] * V * mu)
        if rows.deviations is not None:
            stretched = self.map.alpha * self.map.diagonal * (V @ (mu * across))
            weight = stretched[:, None] * V * mu - 0.5 * unit[:, None] * V * (1.0 - mu)
            out += rows.deviations @ weight
        return np.asarray(out)

    def adjoint(self, rows: Rows, gradient: Array) -> Array:
        """The transposed map."""
        V, mu = self.map.eigenvectors, self.map.remainder
        back = V @ (mu * gradient)
        out = (rows.moved @ gradient)[:, None] * (rows.moved @ V.T)
        out -= V @ (self.map.steady @ gradient)
        out += rows.change * back
        if rows.deviations is not None:
            M = (V * mu) @ V.T
            out += rows.deviations @ ((self.map.alpha * self.map.diagonal * back)[:, None] * M)
            out -= 0.5 * rows.deviations * (V @ gradient - back)
        return np.asarray(out / np.sqrt(self.map.diagonal))
