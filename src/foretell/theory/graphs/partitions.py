r"""Conductance of the parts of a graph, weights between them, and disagreement along pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from foretell._types import Array
from foretell.theory.graphs.inputs import Labels, label_codes
from foretell.theory.graphs.weights import NormalizedGraph, scale_rows

FEW_CLASSES = 256


class Conductance(float):
    r"""The largest conductance of the parts of a partition: a number that knows its parts.

    Attributes
    ----------
    parts
        :math:`\phi_G(S)` of each part: weight of pairs that leave S over the weight of S,
        between 0 and 1, shape (m,).
    masses
        Weight :math:`\sum_{x \in S} w_x` of each part, shape (m,).
    classes
        Label of each part, length m.
    """

    parts: Array
    masses: Array
    classes: tuple[Any, ...]

    def __new__(cls, parts: Array, masses: Array, classes: tuple[Any, ...]) -> Self:
        """From the conductance, the weight and the label of each part."""
        self = super().__new__(cls, parts.max())
        self.parts, self.masses, self.classes = parts, masses, classes
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.parts, self.masses, self.classes

    @property
    def largest(self) -> float:
        """The same as a plain number."""
        return float(self)

    @property
    def disagreement(self) -> float:
        """Probability that the two ends of a positive pair are in different parts."""
        return float(self.parts @ self.masses)

    def __repr__(self) -> str:
        worst = int(np.argmax(self.parts))
        return (
            f"{len(self.parts)} parts, largest conductance {self.largest:.4g} (part "
            f"{self.classes[worst]!r}, weight {self.masses[worst]:.4g}); "
            f"{self.disagreement:.4g} of the pairs cross"
        )

    __str__ = __repr__


@dataclass(frozen=True, eq=False)
class ClusterWeights:
    """Mass of positive pairs inside clusters and between them.

    Attributes
    ----------
    classes
        Label of each cluster, in order of first appearance, length c.
    mass
        Probability that a positive pair starts in one cluster and ends in another, symmetric,
        shape (c, c); it sums to one.
    """

    classes: tuple[Any, ...]
    mass: Array

    def __str__(self) -> str:
        inside = float(np.trace(self.mass))
        return f"{len(self.classes)} clusters, {inside:.4g} of the pairs inside one"


def conductance(graph: NormalizedGraph, labels: Any) -> Conductance:
    r"""Conductance of the parts that labels define.

    .. math:: \phi_G(S) = \frac{\sum_{x \in S, x' \notin S} w(x, x')}{\sum_{x \in S} w_x}

    The denominator is the weight of S itself, not the smaller of S and its complement.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Part of each vertex, any hashable values, shape (n,); two or more different ones.

    Raises
    ------
    InputError
        If labels have the wrong length, are missing, or are all the same.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. arXiv:2106.04156. Definition 3.3.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.array([[2, 1, 1], [1, 0, 0], [1, 0, 4.0]]))
    >>> found = conductance(graph, ["a", "a", "b"])
    >>> found.parts.tolist(), float(found)
    ([0.2, 0.2], 0.2)
    """
    found = label_codes(labels, graph.n)
    return part_conductance(graph, found)


def part_conductance(graph: NormalizedGraph, labels: Labels) -> Conductance:
    """Conductance of parts given as numbers."""
    masses = labels.shares(graph.degrees)
    leaving = np.bincount(labels.codes, crossing(graph, labels), len(labels.classes))
    return Conductance(np.minimum(leaving / masses, 1.0), masses, labels.classes)


def cluster_weights(graph: NormalizedGraph, labels: Any) -> ClusterWeights:
    r"""Weights between clusters: :math:`\sum_{x \in S_i, x' \in S_j} w(x, x')`.

    W is not formed from a factor. Row sums are the masses of the clusters; the conductance of the
    i-th is one minus its diagonal entry over its row sum.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Cluster of each vertex, any hashable values, shape (n,); two or more different ones.

    Raises
    ------
    InputError
        If labels have the wrong length, are missing, or are all the same.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.array([[2, 1, 1], [1, 0, 0], [1, 0, 4.0]]))
    >>> cluster_weights(graph, ["a", "a", "b"]).mass.tolist()
    [[0.4, 0.1], [0.1, 0.4]]
    """
    from scipy.sparse import csr_array

    found = label_codes(labels, graph.n)
    shape = (graph.n, len(found.classes))
    members = csr_array((np.ones(graph.n), (np.arange(graph.n), found.codes)), shape=shape)
    if graph.given_weights is not None:
        mass = members.T @ (graph.given_weights @ members)
    else:
        reached = graph.factor @ scale_rows(members, graph.roots)
        mass = graph.factor_scale * (reached.T @ reached)
    mass = mass if isinstance(mass, np.ndarray) else mass.toarray()
    if graph.factor_shift:
        mass = mass + graph.factor_shift * np.diag(found.shares(graph.degrees))
    return ClusterWeights(found.classes, np.maximum(0.5 * (mass + mass.T), 0.0))


def disagreement(graph: NormalizedGraph, labels: Any) -> float:
    r""":math:`\phi`: probability that the two ends of a positive pair have different labels.

    With :math:`g_j = D^{1/2} 1[y = j]`,
    :math:`\phi = \sum_j g_j^\top (I - \bar A) g_j`, what the computable probe bound rests on.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Any hashable values, shape (n,); two or more different ones.

    Raises
    ------
    InputError
        If labels have the wrong length, are missing, or are all the same.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.array([[2, 1, 1], [1, 0, 0], [1, 0, 4.0]]))
    >>> disagreement(graph, [0, 0, 1])
    0.2
    """
    return float(crossing(graph, label_codes(labels, graph.n)).sum())


def crossing(graph: NormalizedGraph, labels: Labels) -> Array:
    """Weight of each vertex's pairs with other labels, shape (n,).

    Sums of the weights themselves, so that small values keep their digits. From a factor, with
    256 labels or fewer, a difference instead, exact to 1e-14 of the degrees and zero below that.
    """
    codes = labels.codes
    if graph.given_weights is None and len(labels.classes) <= FEW_CLASSES:
        H = labels.indicators * graph.roots[:, None]
        inside = graph.matvec(H)[np.arange(graph.n), codes] * graph.roots
        outside = graph.degrees - inside
        return np.where(outside > 1e-14 * graph.degrees, outside, 0.0)
    W = graph.weights
    if isinstance(W, np.ndarray):
        return np.asarray((W * np.not_equal.outer(codes, codes)).sum(axis=1))
    rows = np.repeat(np.arange(graph.n), np.diff(W.indptr))
    differ = codes[rows] != codes[W.indices]
    return np.bincount(rows[differ], W.data[differ], graph.n)
