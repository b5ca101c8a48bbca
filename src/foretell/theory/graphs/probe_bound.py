r"""The computable bound on the error of a linear probe, and what would make it useful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import Labels, check_dimension, label_codes, leading
from foretell.theory.graphs.partitions import crossing
from foretell.theory.graphs.weights import NormalizedGraph


@dataclass(frozen=True)
class Needs:
    r"""What would bring the bound on the error down to a target, one change at a time.

    Attributes
    ----------
    error
        The target :math:`\epsilon`.
    disagreement
        Largest :math:`\phi` at the gap there is: :math:`\epsilon (1 - \lambda_{k+1}) / 2`.
    gap
        Smallest :math:`1 - \lambda_{k+1}` at the disagreement there is: :math:`2\phi/\epsilon`.
    possible
        Whether some graph has that gap: no gap is larger than 2.
    """

    error: float
    disagreement: float
    gap: float

    @property
    def possible(self) -> bool:
        """Whether more dimensions could ever be enough at this disagreement."""
        return self.gap <= 2.0

    def __str__(self) -> str:
        gap = f"1 - eigenvalue k+1 of at least {self.gap:.3g} at this disagreement"
        if not self.possible:
            gap = "no number of dimensions at this disagreement (gaps end at 2)"
        return f"for an error of {self.error:.3g}: disagreement at most " + (
            f"{self.disagreement:.3g} at this gap, or {gap}"
        )


@dataclass(frozen=True, eq=False)
class ProbeBound:
    r"""Bounds on the least-squares risk and the 0-1 error of the best linear head.

    Attributes
    ----------
    k
        Dimensions of the embedding.
    disagreement
        :math:`\phi`: probability that a positive pair has two labels.
    eigenvalues
        The leading k + 1 or more, descending; :math:`\lambda_{k+1}` enters the bound.
    n_components
        Of the graph; with fewer dimensions than components the bounds are infinite.
    shares
        Probability of each class, shape (c,).
    """

    k: int
    disagreement: float
    eigenvalues: Array
    n_components: int
    shares: Array

    @property
    def gap(self) -> float:
        r""":math:`1 - \lambda_{k+1}`; zero if there are more components than dimensions."""
        return self._gap(self.k)

    @property
    def risk(self) -> float:
        r""":math:`\phi / (1 - \lambda_{k+1})`, or inf; bounds the squared risk."""
        return self.disagreement / self.gap if self.gap > 0 else float("inf")

    @property
    def error(self) -> float:
        r""":math:`2 \phi / (1 - \lambda_{k+1})`, or inf; bounds the 0-1 error."""
        return 2.0 * self.risk

    @property
    def chance(self) -> float:
        """Error of naming the most frequent class."""
        return float(1.0 - self.shares.max())

    @property
    def is_vacuous(self) -> bool:
        """Whether the bound on the error is 1 or more, and so says nothing."""
        return self.error >= 1.0

    @property
    def is_useful(self) -> bool:
        """Whether the bound on the error is below that of naming the most frequent class."""
        return self.error < self.chance

    @property
    def smallest_useful_k(self) -> int | None:
        """Fewest dimensions with a useful bound, among those whose eigenvalue is known."""
        for k in range(1, len(self.eigenvalues)):
            gap = self._gap(k)
            if gap > 0 and 2.0 * self.disagreement / gap < self.chance:
                return k
        return None

    def needs(self, error: float) -> Needs:
        """What would bring the bound on the 0-1 error to a target.

        Raises
        ------
        InputError
            If the target is not positive.
        """
        if not error > 0:
            raise InputError(f"expected a positive error; found {error}")
        return Needs(error, 0.5 * error * self.gap, 2.0 * self.disagreement / error)

    def _gap(self, k: int) -> float:
        return 0.0 if k < self.n_components else float(max(1.0 - self.eigenvalues[k], 0.0))

    def __float__(self) -> float:
        return self.error

    def __str__(self) -> str:
        if self.gap == 0:
            return (
                f"no bound: the graph has {self.n_components} components and the embedding "
                f"{self.k} dimensions, so that eigenvalue {self.k + 1} is 1; take k >= "
                f"{self.n_components}"
            )
        state = "useful" if self.is_useful else "no better than chance"
        state = "vacuous" if self.is_vacuous else state
        smallest = self.smallest_useful_k
        below = "none of the known eigenvalues" if smallest is None else f"k = {smallest}"
        return (
            f"error at most {self.error:.4g} ({state}; chance {self.chance:.4g}), squared risk "
            f"at most {self.risk:.4g}: disagreement {self.disagreement:.4g}, 1 - eigenvalue "
            f"{self.k + 1} = {self.gap:.4g}\nbelow chance from {below}; {self.needs(self.chance)}"
        )


def probe_bound(
    graph: NormalizedGraph, labels: Any, k: int, *, pairs: Eigenpairs | None = None
) -> ProbeBound:
    r"""Bound on the error of the best linear head on the k leading eigenvectors.

    .. math:: \min_B \sum_x w_x \|1[y_x] - B^\top f(x)\|^2 \le \frac{\phi}{1 - \lambda_{k+1}},
        \qquad \text{0-1 error} \le \frac{2 \phi}{1 - \lambda_{k+1}}

    Holds on every graph with every labeling, without assumptions; typically loose by a factor of
    ten or more once k reaches the number of clusters.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Class of each vertex, any hashable values, shape (n,), two or more classes.
    k
        Dimensions, 1 to n - 1.
    pairs
        k + 1 or more leading eigenpairs; None computes k + 1. More of them let
        ``smallest_useful_k`` look further.

    Raises
    ------
    InputError
        If labels have the wrong length, are missing, or have one class, or k is out of range.

    References
    ----------
    Derived in docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    >>> bound = probe_bound(graph, [0, 0, 0, 0, 1, 1, 1, 1], 2)
    >>> round(bound.disagreement, 4), round(float(bound), 4), bound.is_useful
    (0.0192, 0.0385, True)
    """
    check_dimension(graph, k)
    return label_bound(graph, label_codes(labels, graph.n), k, leading(graph, k + 1, pairs))


def label_bound(graph: NormalizedGraph, labels: Labels, k: int, pairs: Eigenpairs) -> ProbeBound:
    """The bound from labels as numbers and k + 1 or more eigenpairs."""
    return ProbeBound(
        k=int(k),
        disagreement=float(crossing(graph, labels).sum()),
        eigenvalues=np.asarray(pairs.values),
        n_components=graph.n_components,
        shares=labels.shares(graph.degrees),
    )
