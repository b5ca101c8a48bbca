"""Labels, features and eigenpairs as the functions of a graph take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.inputs import is_missing
from foretell.data.numbers import real_array, whole_number
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs, eigenpairs
from foretell.theory.graphs.weights import NormalizedGraph


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the vertices as numbers.

    Attributes
    ----------
    codes
        Position of each vertex's label among ``classes``, shape (n,).
    classes
        The different labels, in order of first appearance, length c.
    """

    codes: Array
    classes: tuple[Any, ...]

    @property
    def indicators(self) -> Array:
        """One column a class, shape (n, c), entries 0 and 1."""
        return np.equal.outer(self.codes, np.arange(len(self.classes))).astype(np.float64)

    def shares(self, degrees: Array) -> Array:
        """Probability of each class, shape (c,)."""
        return np.bincount(self.codes, degrees, len(self.classes))


def label_codes(labels: Any, n: int, *, what: str = "vertex") -> Labels:
    """Labels as numbers.

    Parameters
    ----------
    labels
        One hashable value a vertex, shape (n,).
    n
        Number of vertices.
    what
        What is labeled, for messages.

    Raises
    ------
    InputError
        If there are not n labels, one is missing (NaN or None), one is not hashable, or all are
        the same.

    Examples
    --------
    >>> found = label_codes(["cat", "dog", "cat"], 3)
    >>> found.codes.tolist(), found.classes
    ([0, 1, 0], ('cat', 'dog'))
    """
    if len(shape := getattr(labels, "shape", (n,))) != 1:
        raise InputError(f"labels have shape ({n},), one a {what}; found an array of shape {shape}")
    if isinstance(labels, str) or not hasattr(labels, "__iter__"):
        raise InputError(f"labels have shape ({n},), one a {what}; found {labels!r}")
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if len(values) != n:
        raise InputError(f"labels have shape ({n},), one a {what}; found {len(values)}")
    missing = np.flatnonzero(is_missing(np.array([*values, None], dtype=object)[:-1]))
    if missing.size:
        raise InputError(
            f"{len(missing)} of {n} labels are missing, the first that of {what} {missing[0]}; "
            f"label them, leave them out (the weights without their rows and columns), or give "
            "them a class of their own"
        )
    numbers: dict[Any, int] = {}
    try:
        codes = np.array([numbers.setdefault(value, len(numbers)) for value in values])
    except TypeError as error:
        raise InputError(f"labels are hashable values such as numbers or words; {error}") from error
    if len(numbers) < 2:
        raise InputError(
            f"labels have one class, {next(iter(numbers))!r}; expected two or more: with one class "
            "there is nothing to predict and every error is zero"
        )
    return Labels(codes, tuple(numbers))


def feature_rows(graph: NormalizedGraph, features: Any) -> Array:
    r"""F, the rows :math:`\sqrt{w_x} f(x)`, shape (n, r), of features f, shape (n, r).

    Raises
    ------
    InputError
        If features have another number of rows, no columns, or entries that are not finite real
        numbers.
    """
    f = real_array(features, "features", f"({graph.n}, r), one row a vertex")
    if f.ndim != 2 or f.shape[0] != graph.n or f.shape[1] < 1:
        raise InputError(f"features have shape ({graph.n}, r), one row a vertex; found {f.shape}")
    if not np.isfinite(f).all():
        raise InputError("features have entries that are not finite; repair them first")
    return np.asarray(f * graph.roots[:, None])


def unit_columns(F: Array) -> Array:
    """Columns scaled to length one, without overflow; those of zeros stay."""
    largest = np.abs(F).max(axis=0)
    scaled = F / np.where(largest > 0, largest, 1.0)
    size = np.linalg.norm(scaled, axis=0)
    return np.asarray(scaled / np.where(size > 0, size, 1.0))


def check_dimension(graph: NormalizedGraph, k: int, name: str = "k") -> None:
    """Refuse a number k (m, say) of dimensions outside 1 to n - 1.

    Raises
    ------
    InputError
        If k is not a whole number between 1 and n - 1.
    """
    if graph.n == 1:
        raise InputError(
            "the graph has one vertex, whose only eigenvalue is 1: nothing can be learned from it; "
            "expected two or more"
        )
    whole_number(k, name, 1, graph.n - 1, f", below the {graph.n} vertices")


def leading(graph: NormalizedGraph, k: int, pairs: Eigenpairs | None = None) -> Eigenpairs:
    """At least the k leading eigenpairs: those given, or else computed.

    Raises
    ------
    InputError
        If fewer than k pairs are given, or of another graph.
    """
    if pairs is None:
        return eigenpairs(graph, k) if k < graph.n else _all_pairs(graph)
    if len(pairs.values) < k or pairs.vectors.shape[0] != graph.n:
        raise InputError(
            f"expected {k} or more eigenpairs of {graph.n} vertices; found "
            f"{pairs.vectors.shape[1]} of {pairs.vectors.shape[0]}"
        )
    return pairs


def _all_pairs(graph: NormalizedGraph) -> Eigenpairs:
    """All n eigenpairs: as large as the dense matrix, so LAPACK on it."""
    A = graph.adjacency
    A = A if isinstance(A, np.ndarray) else A.toarray()
    values, vectors = np.linalg.eigh(A)
    values, vectors = values[::-1], vectors[:, ::-1]
    residuals = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    return Eigenpairs(values, vectors, residuals, "dense")
