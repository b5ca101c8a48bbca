r"""Published rates for contrastive learning, evaluated on a given graph beside what is computable.

Constants of these theorems are not published: each is a :class:`Rate` with ``constant`` None.
The sparsest partition that they divide by is not computable either, so it enters as an interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_number
from foretell.errors import IdentificationError, InputError
from foretell.theory.bounds import HAOCHEN, Rate
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import check_dimension, label_codes, leading
from foretell.theory.graphs.probe_bound import ProbeBound, label_bound
from foretell.theory.graphs.sparsest import SparsestPartition, sparsest_partition
from foretell.theory.graphs.weights import NormalizedGraph

QUANTITY = "error of labels, not an excess"


def population_rate(
    label_error: float, conductance: float, n_features: int, n_classes: int
) -> Rate:
    r"""Rate :math:`\alpha \log k / \rho_{\lfloor k/2 \rfloor}^2` of a minimiser of the loss.

    The theorem hides logarithms; :math:`\log k` is that of the next theorem of the paper.

    Parameters
    ----------
    label_error
        :math:`\alpha`.
    conductance
        :math:`\rho_{\lfloor k/2 \rfloor}`; zero makes the rate infinite.
    n_features
        k, at least 2 r.
    n_classes
        r.

    Raises
    ------
    InputError
        If k < 2 r, or a number is negative.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. arXiv:2106.04156. Theorem 3.7, as quoted elsewhere.

    Examples
    --------
    >>> rate = population_rate(0.01, 0.5, 8, 2)
    >>> rate.kind, round(rate.floor, 4)
    ('rate', 0.0832)
    """
    _check(label_error, conductance, n_features, n_classes, 2 * n_classes, "2 n_classes")
    return Rate(
        source=f"{HAOCHEN}, Theorem 3.7",
        quantity=QUANTITY,
        formula="alpha log(k) / rho^2",
        factors={"k": n_features, "r": n_classes, "alpha": label_error, "rho": conductance},
        floor=_population(label_error, conductance, n_features),
    )


def pretraining_rate(
    eigenvalues: Array,
    n_features: int,
    n_classes: int,
    *,
    label_error: float,
    conductance: float,
    excess_loss: float,
) -> Rate:
    r"""Rate that adds :math:`k \epsilon / (\lambda_{\lfloor 3k/4 \rfloor} - \lambda_k)`.

    Parameters
    ----------
    eigenvalues
        Of the normalized adjacency matrix, descending, k or more.
    n_features
        k, at least 4 r + 2.
    n_classes
        r.
    label_error, conductance
        As in :func:`population_rate`.
    excess_loss
        :math:`\epsilon`: pre-training loss of the features over its minimum. The theorem asks for
        a small one; ``trained_bound`` does not, and has constants.

    Raises
    ------
    InputError
        If k < 4 r + 2, there are fewer than k eigenvalues, or a number is negative.
    IdentificationError
        If the two eigenvalues are equal: the theorem is then empty.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Theorem 4.2, as quoted
       elsewhere.

    Examples
    --------
    >>> lam = np.linspace(1, 0.1, 10)
    >>> rate = pretraining_rate(
    ...     lam, 10, 2, label_error=0.01, conductance=0.5, excess_loss=0.003)
    >>> round(rate.factors["gap"], 4), round(rate.floor, 4)
    (0.3, 0.1921)
    """
    k, r = n_features, n_classes
    _check(label_error, conductance, k, r, 4 * r + 2, "4 n_classes + 2")
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1 or len(values) < k or not excess_loss >= 0:
        raise InputError(
            f"expected {k} or more eigenvalues and excess_loss >= 0; found {values.shape} and "
            f"{excess_loss}"
        )
    gap = float(values[3 * k // 4 - 1] - values[k - 1])
    if gap <= 0:
        raise IdentificationError(
            f"eigenvalues {3 * k // 4} and {k} are equal ({values[k - 1]:.4g}), so that the rate "
            "is infinite; choose a dimension after which the eigenvalues fall"
        )
    return Rate(
        source=f"{HAOCHEN}, Theorem 4.2",
        quantity=QUANTITY,
        formula="alpha log(k) / rho^2 + k epsilon / gap",
        factors={
            "k": k, "r": r, "alpha": label_error, "rho": conductance,
            "epsilon": excess_loss, "gap": gap,
        },
        floor=_population(label_error, conductance, k) + k * excess_loss / gap,
    )  # fmt: skip


def head_rate(
    label_error: float,
    conductance: float,
    n_features: int,
    n_classes: int,
    *,
    head_bound: float = 1.0,
) -> Rate:
    r"""Rate that adds :math:`(r / C) \sqrt{k/n} + 1/\sqrt n` for a head fitted to n labels.

    Parameters
    ----------
    label_error, conductance, n_features, n_classes
        As in :func:`population_rate`.
    head_bound
        C: the coefficients of the head have norm at most 1 / C.

    Raises
    ------
    InputError
        If k < 2 r, a number is negative, or head_bound is not positive.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Theorem 5.1, as quoted
       elsewhere.

    Examples
    --------
    >>> rate = head_rate(0.0, 0.5, 16, 2)
    >>> rate.labeled, round(rate.value(1, 900), 4)
    (9.0, 0.3)
    """
    k, r = n_features, n_classes
    _check(label_error, conductance, k, r, 2 * r, "2 n_classes")
    if not head_bound > 0:
        raise InputError(f"head_bound is positive; found {head_bound}")
    return Rate(
        source=f"{HAOCHEN}, Theorem 5.1",
        quantity=QUANTITY,
        formula="alpha log(k) / rho^2 + (r / C) sqrt(k / n) + 1 / sqrt(n)",
        factors={"k": k, "r": r, "alpha": label_error, "rho": conductance, "C": head_bound},
        labeled=float(r / head_bound * np.sqrt(k) + 1.0),
        floor=_population(label_error, conductance, k),
    )


@dataclass(frozen=True, eq=False)
class GraphRates:
    r"""What published theorems say about a graph, beside the bound that can be computed.

    Attributes
    ----------
    optimistic
        Rates by theorem with :math:`\rho_{\lfloor k/2 \rfloor}` as large as the partition found.
    pessimistic
        The same with its lower bound :math:`(1 - \lambda_{\lfloor k/2 \rfloor})/2`.
    bound
        The computable bound, with constants.
    partition
        The partition behind the interval for :math:`\rho`.
    label_error
        :math:`\alpha`.
    label_error_known
        False if it was not given, and :math:`\phi/2`, which it is at least, stands for it.
    """

    optimistic: Mapping[str, Rate]
    pessimistic: Mapping[str, Rate]
    bound: ProbeBound
    partition: SparsestPartition
    label_error: float
    label_error_known: bool

    def __str__(self) -> str:
        known = "" if self.label_error_known else " (at least: half the disagreement of pairs)"
        lines = [
            f"alpha {self.label_error:.4g}{known}; {self.partition}",
            "rates, constants unknown: sizes to compare, no bounds",
        ]
        for name, rate in self.optimistic.items():
            worst = self.pessimistic[name].floor
            lines.append(f"  {rate.source}: {rate.formula}: {rate.floor:.4g} to {worst:.4g}")
        return "\n".join([*lines, f"computable bound: {self.bound}"])


def graph_rates(
    graph: NormalizedGraph,
    labels: Any,
    k: int,
    *,
    label_error: float | None = None,
    excess_loss: float | None = None,
    head_bound: float = 1.0,
    pairs: Eigenpairs | None = None,
    random_state: int = 0,
) -> GraphRates:
    r"""Factors and rates of the published theorems on a graph, beside the computable bound.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Class of each vertex, any hashable values, shape (n,), r >= 2 classes.
    k
        Dimensions, 2 r to n - 1, and at least 4.
    label_error
        :math:`\alpha`, say from ``label_error``; None takes half the disagreement of positive
        pairs, which it is at least.
    excess_loss
        :math:`\epsilon` of trained features; None leaves Theorem 4.2 out, as does k < 4 r + 2.
    head_bound
        C of Theorem 5.1.
    pairs
        k + 1 or more leading eigenpairs; None computes them.
    random_state
        Seed of the search for a sparse partition.

    Raises
    ------
    InputError
        If labels are not as for ``probe_bound``, or k is out of range.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    >>> found = graph_rates(graph, [0, 0, 0, 0, 1, 1, 1, 1], 4)
    >>> round(found.optimistic["Theorem 3.7"].floor, 2), round(found.bound.error, 4)
    (36.04, 0.0385)
    """
    check_dimension(graph, k)
    codes = label_codes(labels, graph.n)
    r = len(codes.classes)
    if k < max(2 * r, 4):
        raise InputError(
            f"the theorems need k >= 2 n_classes and two or more parts, k >= {max(2 * r, 4)}; "
            f"found {k}"
        )
    pairs = leading(graph, k + 1, pairs)
    bound = label_bound(graph, codes, k, pairs)
    alpha = 0.5 * bound.disagreement if label_error is None else label_error
    partition = sparsest_partition(graph, k // 2, pairs=pairs, random_state=random_state)

    def rates(rho: float) -> dict[str, Rate]:
        found = {"Theorem 3.7": population_rate(alpha, rho, k, r)}
        if excess_loss is not None and k >= 4 * r + 2:
            found["Theorem 4.2"] = pretraining_rate(
                pairs.values, k, r, label_error=alpha, conductance=rho, excess_loss=excess_loss
            )
        return found | {"Theorem 5.1": head_rate(alpha, rho, k, r, head_bound=head_bound)}

    return GraphRates(
        rates(partition.upper), rates(partition.lower), bound, partition, alpha,
        label_error is not None,
    )  # fmt: skip


def _population(label_error: float, conductance: float, k: int) -> float:
    if conductance == 0:
        return float("inf")
    return float(label_error / conductance**2 * np.log(k))


def _check(label_error: float, conductance: float, k: int, r: int, least: int, why: str) -> None:
    if r < 2 or k < least:
        raise InputError(
            f"the theorem needs n_features >= {why} and n_classes >= 2; found {k} and {r}"
        )
    label_error = real_number(label_error, "label_error")
    if not (label_error >= 0 and real_number(conductance, "conductance") >= 0):
        raise InputError(
            f"label_error and conductance are not negative; found {label_error} and {conductance}"
        )
