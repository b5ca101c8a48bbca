"""What single labeled rows contribute to the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.base import Head, HeadFit
from foretell.inference.tangent import CHUNK_CELLS, Labeled, Tangent, curvature_roots

CERTAIN = 1e-10  # curvature of the log-loss in some direction below which a class is certain


class LabeledPoints:
    """Outputs and derivatives at the labeled rows, kept if they are small."""

    def __init__(self, tangent: Tangent, labeled: Labeled) -> None:
        width = tangent.head_map.shape[0] * labeled.y.reshape(len(labeled.y), -1).shape[1]
        self.tangent, self.labeled = tangent, labeled
        self.parts = list(labeled.chunks(width))
        self._kept: tuple[Array, Array] | None = None

    def each(self) -> Iterator[tuple[slice, tuple[Array, Array]]]:
        """Rows with their outputs (n, k) and derivatives (n, k, P), part by part."""
        for rows in self.parts:
            point = self._kept or self.tangent.at(self.labeled.X[rows])
            if len(self.parts) == 1:
                self._kept = point
            yield rows, point


class OwnInfluence:
    """Influence on pre-training of the labeled rows in it: kept from its pass, or computed."""

    def __init__(self, labeled: Labeled | None, width: int) -> None:
        self.labeled = labeled
        self._kept: list[Array] | None = None
        self._start = 0
        if labeled is not None and labeled.places is not None:
            self._kept = [] if len(labeled.y) * width <= CHUNK_CELLS else None

    def keep(self, u: Array) -> None:
        """Keep the labeled ones of the next rows of pre-training."""
        if self.labeled is None or self.labeled.places is None or self._kept is None:
            return
        places = self.labeled.places - self._start
        self._kept.append(u[places[(places >= 0) & (places < len(u))]])
        self._start += len(u)

    def at(self, rows: slice, compute: Callable[[Array, Array | None], Array]) -> Array:
        """Influence of these labeled rows, shape (n, P)."""
        labeled = self.labeled
        assert labeled is not None
        if self._kept is not None:
            self._kept = [np.concatenate(self._kept)]
            return self._kept[0][rows]
        seen = labeled.X if labeled.pretraining is None else labeled.pretraining
        return compute(seen[rows], None if labeled.weights is None else labeled.weights[rows])


def onto(tau: Array, matrix: Array) -> Array:
    """Derivatives (n, k, P) times a matrix (P, q), as one product."""
    return np.asarray((tau.reshape(-1, tau.shape[2]) @ matrix).reshape(*tau.shape[:2], -1))


def stacked(head: Head, fit: HeadFit) -> Array:
    """Head parameters, output by output."""
    both = np.concatenate([fit.intercept[None], fit.coef]) if head.intercept else fit.coef
    return np.asarray(both.T).ravel()


def loss_by_output(head: Head, outputs: Array, y: Array) -> Array:
    """Loss of each row, (n, k): split by output where outputs do not interact."""
    if head.quadratic:
        return np.asarray(0.5 * (outputs - y.reshape(outputs.shape)) ** 2)
    return np.asarray(head.loss(outputs, y)[:, None] / outputs.shape[1] * np.ones(outputs.shape[1]))


def studentized(
    slope: Array,
    root: Array,
    inverse: Array,
    share: Array,
    head: Head,
    outputs: Array,
    *,
    power: float = 0.5,
) -> Array:
    """Slopes divided by a power of one minus the leverage: 1/2 is HC2, 1 a row left out."""
    if root.shape[1] == 1:
        phi = root[:, 0]
        leverage = share * np.einsum("nq,nq->n", phi @ inverse, phi)
        return np.asarray(slope / ((1.0 - np.minimum(leverage, 0.999)) ** power)[:, None])
    hat = share[:, None, None] * (root @ inverse @ np.swapaxes(root, 1, 2))
    size, axes = np.linalg.eigh(hat)
    back = np.swapaxes(axes, 1, 2)
    stretch = axes / ((1.0 - np.minimum(size, 0.999)) ** power)[:, None, :] @ back
    if head.quadratic:
        return np.asarray(np.einsum("nab,nb->na", stretch, slope))
    # Leverage is symmetric in units of the square root of the curvature of the loss. A row whose
    # class is certain has none, and keeps its slope.
    units = curvature_roots(head, outputs)
    curved = np.einsum("nab,nab->na", units, units)
    sure = curved.min(axis=1) <= CERTAIN
    units[sure], stretch[sure] = np.eye(units.shape[1]), np.eye(units.shape[1])
    whitened = np.linalg.solve(np.swapaxes(units, 1, 2), slope[:, :, None])
    return np.asarray((np.swapaxes(units, 1, 2) @ (stretch @ whitened))[:, :, 0])


def left_out(
    head: Head,
    outputs: Array,
    y: Array,
    phi: Array,
    inverse: Array,
    share: Array,
    stationary: Array,
) -> Array:
    r"""Outputs (n, k) of rows for a head that is fitted without them, by one Newton step.

    With :math:`h_i` the second derivative of the loss, :math:`M_i = v_i \phi_i H^{-1}
    \phi_i^\top`, :math:`v` the shares of the rows and :math:`s` the pull of the penalty,

    .. math:: o_i + M_i (I - h_i M_i)^{-1} \ell'_i + v_i \phi_i H^{-1} s,

    exact for squared errors but for the last term, which is first order.

    Parameters
    ----------
    head, outputs, y
        The head, outputs of rows (n, k) and their targets.
    phi, inverse
        Derivative of the outputs in the head's parameters, (n, k, q), and :math:`H^{-1}`, (q, q).
    share
        Weights that sum to one over all rows, (n,).
    stationary
        Derivative of the penalty at the fit, (q,).

    References
    ----------
    .. [1] Rad & Maleki (2020). A scalable estimate of the out-of-sample prediction error via
       approximate leave-one-out cross-validation. JRSS B 82. Equation 5.
    """
    root = phi if head.quadratic else curvature_roots(head, outputs) @ phi
    slope = head.slope(outputs, y)
    slope = studentized(slope, root, inverse, share, head, outputs, power=1.0)
    xi = (np.einsum("nk,nkq->nq", slope, phi) + stationary) @ inverse
    return np.asarray(outputs + share[:, None] * np.einsum("nkq,nq->nk", phi, xi))


def correct_classes(head: Any, outputs: Array, y: Array) -> Array:
    """Whether the most probable class is the right one, by row; zeros for regression."""
    if head.quadratic:
        return np.zeros(len(y))
    return np.asarray(head.probabilities(outputs).argmax(axis=1) == y, dtype=np.float64)
