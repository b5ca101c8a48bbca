r"""From the excess of the pre-training loss to the error of a linear probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import (
    check_dimension,
    feature_rows,
    label_codes,
    leading,
)
from foretell.theory.graphs.partitions import crossing
from foretell.theory.graphs.probe import Fit, least_squares, orthonormal, ratio
from foretell.theory.graphs.weights import NormalizedGraph

EQUAL = 1e-9


@dataclass(frozen=True)
class TrainedBound:
    r"""Bound on the probe error of features that do not minimise the pre-training loss.

    Attributes
    ----------
    risk
        Bound on the squared risk of the best head, at most 1.
    cut
        The number j of eigenvectors that it counts on; 0 if it is the trivial bound 1.
    subspace
        Its part from the excess loss: :math:`\sqrt{p_{\max} \epsilon / (\lambda_j^2 -
        \lambda_{k+1}^2)}`.
    labels
        Its part from labels: :math:`\sqrt{\phi / (1 - \lambda_{j+1})}`.
    """

    risk: float
    cut: int
    subspace: float
    labels: float

    @property
    def error(self) -> float:
        """Bound on the 0-1 error: twice that on the squared risk."""
        return 2.0 * self.risk

    def __float__(self) -> float:
        return self.error


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    r"""A linear probe of given features, the excess of their pre-training loss, and the bound.

    Attributes
    ----------
    fit
        Scores, predictions and errors of the best head.
    excess_loss
        :math:`\epsilon = L(f) - \min_{k\text{-dimensional}} L \ge 0`.
    bound
        What follows from the excess and the eigenvalues.
    """

    fit: Fit
    excess_loss: float
    bound: TrainedBound

    @property
    def risk_ratio(self) -> float:
        """Bound over truth of the squared risk: 1 if both are zero, inf if only the truth is."""
        return ratio(self.bound.risk, self.fit.squared_risk)

    def __str__(self) -> str:
        return (
            f"linear probe: error {self.fit.error:.4g}, squared risk {self.fit.squared_risk:.4g}; "
            f"excess pre-training loss {self.excess_loss:.3g}\nsquared risk at most "
            f"{self.bound.risk:.4g} ({self.bound.subspace:.3g} + {self.bound.labels:.3g} squared, "
            f"from {self.bound.cut} eigenvectors)"
        )


def trained_bound(
    eigenvalues: Array,
    k: int,
    *,
    disagreement: float,
    excess_loss: float,
    largest_share: float = 1.0,
) -> TrainedBound:
    r"""Bound on the probe risk of k features whose pre-training loss is within epsilon of the best.

    .. math:: \text{risk} \le \min_{j \le k,\ \lambda_j > \lambda_{k+1}^+} \Big(
        \sqrt{\frac{p_{\max}\, \epsilon}{\lambda_j^2 - (\lambda_{k+1}^+)^2}}
        + \sqrt{\frac{\phi}{1 - \lambda_{j+1}}} \Big)^2

    and at most 1, the risk of the head that is zero. :math:`x^+` is the larger of x and 0.
    Eigenvalues within 1e-9 count as equal.

    Parameters
    ----------
    eigenvalues
        Of the normalized adjacency matrix, descending, k + 1 or more.
    k
        Dimensions of the features.
    disagreement
        :math:`\phi`: probability that a positive pair has two labels.
    excess_loss
        :math:`\epsilon = L(f) - L^*`: of the population loss over this graph.
    largest_share
        :math:`p_{\max}`: probability of the most frequent class.

    Raises
    ------
    InputError
        If there are fewer than k + 1 eigenvalues, or a number is negative.

    References
    ----------
    Derived in docs/theory/positive-pair-graphs.md, with constants. The published bound has the
    order :math:`k \epsilon / (\lambda_{\lfloor 3k/4 \rfloor} - \lambda_k)`: HaoChen, Wei, Gaidon &
    Ma (2021), NeurIPS, arXiv:2106.04156, Theorem 4.2.

    Examples
    --------
    >>> found = trained_bound(
    ...     np.array([1, 0.9, 0.1]), 2, disagreement=0.02, excess_loss=0.001, largest_share=0.5)
    >>> round(found.risk, 4), found.cut
    (0.0303, 2)
    """
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1 or len(values) <= k or k < 1:
        raise InputError(f"expected more than k = {k} >= 1 eigenvalues; found {values.shape}")
    if min(disagreement, excess_loss, largest_share) < 0:
        raise InputError(
            "disagreement, excess_loss and largest_share are not negative; found "
            f"{disagreement}, {excess_loss} and {largest_share}"
        )
    best = TrainedBound(1.0, 0, 0.0, 1.0)
    floor = max(values[k], 0.0)
    for j in range(1, k + 1):
        room, gap = max(values[j - 1], 0.0) ** 2 - floor**2, 1.0 - values[j]
        if room <= EQUAL or gap <= EQUAL:
            continue
        subspace = float(np.sqrt(largest_share * excess_loss / room))
        labels = float(np.sqrt(disagreement / gap))
        if (risk := (subspace + labels) ** 2) < best.risk:
            best = TrainedBound(risk, j, subspace, labels)
    return best


def trained_probe(
    graph: NormalizedGraph, features: Any, labels: Any, *, pairs: Eigenpairs | None = None
) -> TrainedProbe:
    r"""Linear probe of features, beside the bound from the excess of their pre-training loss.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    features
        f, shape (n, k) with k < n, on the scale on which they were trained: the loss depends on
        it, the probe does not.
    labels
        Class of each vertex, any hashable values, shape (n,), two or more classes.
    pairs
        k + 1 or more leading eigenpairs; None computes k + 1.

    Raises
    ------
    InputError
        If shapes do not match, features are not finite or so large that their loss is not, or
        labels as for ``probe``. Features that are all zero (a collapsed encoder) have rank 0.

    Examples
    --------
    >>> from foretell.theory.graphs.eigenpairs import eigenpairs
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    >>> pairs = eigenpairs(graph, 3)
    >>> f = pairs.vectors[:, :2] * np.sqrt(pairs.values[:2]) / graph.roots[:, None]
    >>> found = trained_probe(graph, f + 0.01, [0, 0, 0, 0, 1, 1, 1, 1], pairs=pairs)
    >>> found.fit.error, found.excess_loss < 0.01, found.bound.risk < 0.1
    (0.0, True, True)
    """
    F = feature_rows(graph, features)
    k = F.shape[1]
    check_dimension(graph, k)
    found = label_codes(labels, graph.n)
    pairs = leading(graph, k + 1, pairs)
    excess = excess_loss(graph, F, pairs.values)
    bound = trained_bound(
        pairs.values,
        k,
        disagreement=float(crossing(graph, found).sum()),
        excess_loss=excess,
        largest_share=float(found.shares(graph.degrees).max()),
    )
    basis = orthonormal(F) if F.any() else F[:, :0]
    return TrainedProbe(least_squares(graph, basis, found), excess, bound)


def spectral_loss(graph: NormalizedGraph, F: Array) -> float:
    r"""Spectral contrastive loss :math:`-2 \operatorname{tr} F^\top \bar A F + \|F^\top F\|^2`.

    Raises
    ------
    InputError
        If features are so large that it is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        loss = float(((F.T @ F) ** 2).sum() - 2 * (F * graph.matvec(F)).sum())
    if not np.isfinite(loss):
        raise InputError(
            f"the loss of these features is not finite: the largest entry is {np.abs(F).max():.1e} "
            "(times the root of its degree); the loss is a fourth power of their scale, which is "
            "about 1 where it is small"
        )
    return loss


def excess_loss(graph: NormalizedGraph, F: Array, eigenvalues: Array) -> float:
    r"""Excess :math:`L(f) - L^*` of the spectral loss of F, rows :math:`\sqrt{w_x} f(x)`.

    :math:`L = -2 \operatorname{tr} F^\top \bar A F + \|F^\top F\|^2`,
    :math:`L^* = -\sum_{i \le k} (\lambda_i^+)^2`. Rounding below zero is set to zero.
    """
    loss = spectral_loss(graph, F)
    return float(max(loss + (np.maximum(eigenvalues[: F.shape[1]], 0.0) ** 2).sum(), 0.0))
