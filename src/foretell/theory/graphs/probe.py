r"""The best linear head on an embedding of a positive-pair graph, and its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import (
    Labels,
    check_dimension,
    feature_rows,
    label_codes,
    leading,
    unit_columns,
)
from foretell.theory.graphs.probe_bound import ProbeBound, label_bound
from foretell.theory.graphs.weights import NormalizedGraph

TIED = 1e-7
ZERO = 1e-14


@dataclass(frozen=True, eq=False)
class Fit:
    """The least-squares head on some features, over the whole graph.

    Attributes
    ----------
    scores
        Predicted indicator of each class, shape (n, c).
    codes
        Class with the largest score of each vertex, shape (n,), the first of tied ones.
    classes
        Label of each column of ``scores``, length c.
    squared_risk
        Mean over vertices, by degree, of the squared distance of scores from indicators.
    error
        Probability that the class with the largest score is wrong; where scores are equal to
        1e-7, the expected error of drawing among them.
    rank
        Dimension of the span of the features.
    """

    scores: Array
    codes: Array
    classes: tuple[Any, ...]
    squared_risk: float
    error: float
    rank: int

    def __str__(self) -> str:
        return (
            f"linear head on {self.rank} dimensions: error {self.error:.4g}, squared risk "
            f"{self.squared_risk:.4g}"
        )

    @property
    def predictions(self) -> Array:
        """Predicted label of each vertex, shape (n,)."""
        names = np.empty(len(self.classes), dtype=object)
        names[:] = self.classes
        return names[self.codes]


@dataclass(frozen=True, eq=False)
class Probe:
    r"""A linear probe of the k leading eigenvectors, beside its bound.

    Attributes
    ----------
    fit
        Scores, predictions and errors of the best head.
    bound
        What is bounded without fitting it.
    eigengap
        :math:`\lambda_k - \lambda_{k+1}`; at zero the k-dimensional embedding is not unique, and
        the fit is that of one of them.
    """

    fit: Fit
    bound: ProbeBound
    eigengap: float

    @property
    def squared_risk(self) -> float:
        """Least-squares risk of the best head."""
        return self.fit.squared_risk

    @property
    def error(self) -> float:
        """0-1 error of the largest score of the best least-squares head."""
        return self.fit.error

    @property
    def predictions(self) -> Array:
        """Predicted label of each vertex, shape (n,)."""
        return self.fit.predictions

    @property
    def risk_ratio(self) -> float:
        """Bound over truth of the squared risk: 1 if both are zero, inf if only the truth is."""
        return ratio(self.bound.risk, self.squared_risk)

    @property
    def error_ratio(self) -> float:
        """Bound over truth of the 0-1 error: 1 if both are zero, inf if only the truth is."""
        return ratio(self.bound.error, self.error)

    def __float__(self) -> float:
        return self.error

    def __str__(self) -> str:
        lines = [
            f"linear probe of {self.bound.k} dimensions: error {self.error:.4g}, squared risk "
            f"{self.squared_risk:.4g}",
            f"bound {_times(self.error_ratio)} the error, {_times(self.risk_ratio)} the risk",
            str(self.bound),
        ]
        if self.eigengap < 1e-8:
            lines.append(
                f"eigenvalues {self.bound.k} and {self.bound.k + 1} are equal: the embedding is "
                "one of many, with other errors"
            )
        return "\n".join(lines)


def probe(graph: NormalizedGraph, labels: Any, k: int, *, pairs: Eigenpairs | None = None) -> Probe:
    r"""Error of the best least-squares head on the k-dimensional spectral embedding.

    Minimises :math:`\sum_x w_x \|1[y_x] - B^\top f(x)\|^2` over B. Scores depend on the span of
    :math:`D^{1/2} f` alone, so that any minimiser of the spectral contrastive loss over k
    dimensions gives these: :math:`F = V_k \Lambda_k^{1/2} Q`.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Class of each vertex, any hashable values, shape (n,), two or more classes.
    k
        Dimensions, 1 to n - 1.
    pairs
        k + 1 or more leading eigenpairs; None computes k + 1.

    Raises
    ------
    InputError
        If labels have the wrong length, are missing, or have one class, or k is out of range.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Section 3 (linear probes;
       invariance to scaling and mixing). The bound is derived in
       docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    >>> found = probe(graph, ["cat"] * 3 + ["dog"] * 5, 2)
    >>> round(found.error, 4), round(found.squared_risk, 4), round(found.bound.error, 2)
    (0.125, 0.1875, 0.4)
    """
    check_dimension(graph, k)
    found = label_codes(labels, graph.n)
    pairs = leading(graph, k + 1, pairs)
    return Probe(
        least_squares(graph, pairs.vectors[:, :k], found),
        label_bound(graph, found, k, pairs),
        float(pairs.values[k - 1] - pairs.values[k]),
    )


def probe_features(graph: NormalizedGraph, features: Any, labels: Any) -> Fit:
    """Error of the best least-squares head on any features of the vertices, without intercept.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    features
        f, shape (n, r), say what an encoder learned. Columns may depend on each other: scores
        depend on their span alone, whose dimension is the ``rank`` of the result.
    labels
        Class of each vertex, any hashable values, shape (n,), two or more classes.

    Raises
    ------
    InputError
        If shapes do not match, features are zero or not finite, or labels as for :func:`probe`.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((2, 2))) + 0.02)
    >>> found = probe_features(graph, [[1, 0], [2, 0], [0, 1], [0, 2]], list("aabb"))
    >>> found.error, round(found.squared_risk, 6)
    (0.0, 0.1)
    """
    return least_squares(
        graph, orthonormal(feature_rows(graph, features)), label_codes(labels, graph.n)
    )


def orthonormal(F: Array) -> Array:
    """Orthonormal basis of the span of the columns of F, of any scale, shape (n, rank).

    Raises
    ------
    InputError
        If all columns are zero.
    """
    F = unit_columns(F)
    if not (used := F.any(axis=0)).any():
        raise InputError("features are all zero; expected at least one direction to predict from")
    U, values, _ = np.linalg.svd(F[:, used], full_matrices=False)
    return U[:, values > max(F.shape) * np.finfo(np.float64).eps * values[0]]


def least_squares(graph: NormalizedGraph, basis: Array, labels: Labels) -> Fit:
    """Projection of the class indicators on an orthonormal basis, shape (n, r), and its errors."""
    G = labels.indicators * graph.roots[:, None]
    projected = basis @ (basis.T @ G)
    scores = projected / graph.roots[:, None]
    return Fit(
        scores,
        np.argmax(scores, axis=1),
        labels.classes,
        float(((G - projected) ** 2).sum()),
        expected_error(scores, labels.codes, graph.degrees),
        basis.shape[1],
    )


def expected_error(scores: Array, codes: Array, weights: Array) -> float:
    """Weighted 0-1 error of the largest score, drawing evenly among scores equal to 1e-7."""
    return float(weights @ chance_wrong(scores, codes, TIED))


def chance_wrong(scores: Array, codes: Array, tie: Array | float) -> Array:
    """Probability that a class drawn among those within ``tie`` of the largest is wrong, (n,)."""
    tied = scores >= scores.max(axis=1, keepdims=True) - tie
    return np.asarray(1.0 - tied[np.arange(len(codes)), codes] / tied.sum(axis=1))


def ratio(bound: float, truth: float) -> float:
    """Bound over truth: 1 if both are below 1e-14, inf if only the truth is."""
    if truth > ZERO:
        return bound / truth
    return 1.0 if bound <= ZERO else float("inf")


def _times(value: float) -> str:
    return f"{value:.3g} times" if np.isfinite(value) else "infinitely many times"
