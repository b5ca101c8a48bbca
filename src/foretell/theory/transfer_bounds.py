r"""What decides transfer on a graph: connections between subpopulations, and a bound.

The assumption of HaoChen et al. (2022) is relative: a target class has to be better connected to
its own source class than to any other, however weakly. :func:`relative_connections` says by how
much; :func:`transfer_bound` bounds the target error of the head of
:func:`~foretell.theory.transfer.transfer_head` by numbers of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.bounds import Rate
from foretell.theory.graphs.eigenpairs import eigenpairs
from foretell.theory.graphs.inputs import check_dimension
from foretell.theory.graphs.weights import NormalizedGraph
from foretell.theory.subpopulations import UNLABELED, parts_of
from foretell.theory.transfer import source_mass

ROUNDING = 1e-13
DENSE = 400  # vertices up to which the smallest eigenvalue comes from a dense solver


@dataclass(frozen=True, eq=False)
class RelativeConnections:
    r"""Connections from target to source, with :math:`\phi(A, B) = w(A, B) / w(A)`.

    Attributes
    ----------
    connection
        :math:`\phi(T_i, S_j)`, shape (c, c).
    same
        :math:`\phi(T_i, S_i)`, shape (c,).
    cross
        The largest :math:`\phi(T_i, S_j)` over j other than i, shape (c,).
    same_least, cross_largest
        The same at the worst vertex: least :math:`w(x, S_i) / w_x` and largest
        :math:`w(x, S_j) / w_x` over x in :math:`T_i`, shape (c,).
    ratio
        Least :math:`\phi(T_i, S_i) / \phi(T_i, S_j)`: above one, every target class is better
        connected to its own source class; infinite where nothing crosses.
    unreached
        Probability that a target vertex has no edge into the source: one step says nothing.
    """

    connection: Array
    same: Array
    cross: Array
    same_least: Array
    cross_largest: Array
    ratio: float
    unreached: float

    @property
    def verdict(self) -> str:
        """Whether transfer is to be expected, in words."""
        if not self.same.any() and not self.cross.any():
            return "source and target are not connected: nothing transfers by the graph"
        weakest = int(np.argmax(self.cross - self.same))
        if self.ratio > 1:
            return (
                f"every target class is nearest to its own source class, by a factor of "
                f"{self.ratio:.3g} or more: transfer is to be expected"
            )
        return (
            f"target class {weakest} is connected to another source class at least as strongly "
            f"({self.cross[weakest]:.3g}) as to its own ({self.same[weakest]:.3g}): expect errors"
        )


def relative_connections(
    graph: Any, labels: Array, source: Array, target: Array
) -> RelativeConnections:
    """How much of the weight of every target class leads to every source class.

    Parameters
    ----------
    graph, labels, source, target
        As for :func:`~foretell.theory.transfer.transfer`; all target labels are needed.

    Raises
    ------
    InputError
        If labels do not fit, or target labels are missing or of classes that the source lacks.

    References
    ----------
    .. [1] HaoChen, Wei, Kumar & Ma (2022). Beyond separability. NeurIPS. arXiv:2204.02683. The
       condition in words; its constants could not be confirmed and are not used.

    Examples
    --------
    >>> from foretell.theory.domain_adaptation import DomainToy
    >>> toy = DomainToy(4, 3, 2, 1)
    >>> found = relative_connections(toy.weights, toy.classes, toy.domains == 0, toy.domains == 1)
    >>> found.same.round(2).tolist(), round(found.ratio, 2)
    ([0.3, 0.3], 3.0)
    """
    normalized, y, source, target = _known(graph, labels, source, target)
    step = source_mass(normalized, np.where(source, y, UNLABELED), 1)[target]
    w, y = normalized.degrees[target], y[target]
    c = step.shape[1]
    absent = [i for i in range(c) if not (y == i).any()]
    if absent:
        raise InputError(f"source classes {absent} are not in the target; leave them out")
    member = (y[:, None] == np.arange(c)) * w[:, None]
    connection = (member / member.sum(axis=0)).T @ step
    off = np.where(np.eye(c, dtype=bool), 0.0, connection)
    same, cross = connection.diagonal().copy(), off.max(axis=1)
    own = step[np.arange(len(y)), y]
    other = np.where(y[:, None] == np.arange(c), 0.0, step).max(axis=1)
    ratios = np.divide(same, cross, out=np.full(c, np.inf), where=cross > 0)
    ratios[(cross == 0) & (same == 0)] = 1.0
    return RelativeConnections(
        connection, same, cross,
        np.array([own[y == i].min() for i in range(c)]),
        np.array([other[y == i].max() for i in range(c)]),
        float(ratios.min()), float(w[step.sum(axis=1) <= 0].sum() / w.sum()),
    )  # fmt: skip


def transfer_bound(
    graph: Any, labels: Array, source: Array, target: Array, k: int, steps: int
) -> Rate:
    r"""Bound on the target error of the head with k features and t steps.

    Let :math:`m(x)` be the margin of the full walk: its mass in the source class of x, divided by
    that class's mass, minus the largest such number of another class. The rank-k scores of target
    vertices differ from those of the walk by at most

    .. math:: E = \frac{\mu^{2t}}{w(T)} \sum_i \| (I - V V^\top) g_i \|^2, \quad
        g_i = D^{1/2} 1_{S_i} / w(S_i), \quad \mu = \max_{j > k} |\lambda_j|

    in mean square, and an error at x with :math:`m(x) > 0` uses up :math:`m(x)^2 w_x / 2 w(T)` of
    it. The bound is the mass of vertices with :math:`m \le 0`, and the most that E pays for, the
    smallest margins first. No constant is unknown; it needs target labels, so it explains a
    graph and does not predict.

    Parameters
    ----------
    graph, labels, source, target, k
        As for :func:`~foretell.theory.transfer.transfer`; all target labels are needed.
    steps
        t.

    Returns
    -------
    Rate
        With constant one and ``floor`` the bound; ``factors`` hold t, mu, E, the share of the
        target where the walk itself fails, and its median margin.

    References
    ----------
    .. [1] HaoChen, Wei, Kumar & Ma (2022). Beyond separability. NeurIPS. arXiv:2204.02683. The
       idea; this bound is derived in docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> from foretell.theory.domain_adaptation import DomainToy
    >>> toy = DomainToy(1.0, 0.6, 0.5, 0.2)
    >>> parts = toy.classes, toy.domains == 0, toy.domains == 1
    >>> bounds = [transfer_bound(toy.weights, *parts, 3, t) for t in (1, 2)]
    >>> [(bound.kind, round(bound.floor, 3)) for bound in bounds]
    [('bound', 0.031), ('bound', 0.0)]
    """
    normalized, y, source, target = _known(graph, labels, source, target)
    check_dimension(normalized, k)
    known = np.where(source, y, UNLABELED)
    w = normalized.degrees
    member = np.eye(known.max() + 1)[known] * source[:, None]
    mass = w @ member
    scores = (source_mass(normalized, known, steps) / mass)[target]
    truth, share = y[target], w[target] / w[target].sum()
    right = np.take_along_axis(scores, truth[:, None], 1)[:, 0]
    np.put_along_axis(scores, truth[:, None], -np.inf, 1)
    margin = right - scores.max(axis=1)
    mu, left = _tail(normalized, np.sqrt(w)[:, None] * member / mass, k)
    budget = mu ** (2 * steps) * left / w[target].sum()
    failing = margin <= ROUNDING * np.abs(right).max()
    paid = _most_paid(share[~failing], share[~failing] * margin[~failing] ** 2 / 2, budget)
    walk = float(share[failing].sum())
    return Rate(
        source="derived in docs/theory/positive-pair-graphs.md, after HaoChen et al. (2022)",
        quantity="error of labels on the target, not an excess",
        formula="walk error + the smallest margins m that E pays for at m^2 / 2 each",
        factors={
            "t": steps, "k": k, "mu": mu, "E": budget, "walk error": walk,
            "median margin": float(np.median(margin)),
        },
        floor=min(1.0, walk + paid),
        constant=1.0,
    )  # fmt: skip


def _known(
    graph: Any, labels: Array, source: Array, target: Array
) -> tuple[NormalizedGraph, Array, Array, Array]:
    normalized, y, source, target = parts_of(graph, labels, source, target)
    if (y[target] < 0).any() or y[target].max() > y[source].max():
        raise InputError(
            "every target vertex needs the label of a source class, 0 to "
            f"{y[source].max()}; found {np.unique(y[target])[:10].tolist()}; for predictions "
            "alone use transfer"
        )
    return normalized, y, source, target


def _most_paid(share: Array, price: Array, budget: float) -> float:
    """Largest mass that a budget buys at prices, the cheapest per mass first, in parts."""
    order = np.argsort(price / share)
    before = np.concatenate([[0.0], np.cumsum(price[order])[:-1]])
    part = np.clip((budget - before) / price[order], 0.0, 1.0)
    return float(part @ share[order])


def _tail(graph: NormalizedGraph, G: Array, k: int) -> tuple[float, float]:
    """Largest size of an eigenvalue without a feature, and the square of G outside features."""
    pairs = eigenpairs(graph, min(k + 1, graph.n - 1))
    values, vectors = pairs.values[:k], pairs.vectors[:, :k]
    kept = vectors[:, values > 0]
    outside = G - kept @ (kept.T @ G)
    least = _smallest(graph)
    following = float(pairs.values[k]) if k + 1 < graph.n else least
    return max(abs(following), -least), float((outside**2).sum())


def _smallest(graph: NormalizedGraph) -> float:
    """Smallest eigenvalue of the normalized adjacency matrix."""
    if graph.n <= DENSE:
        return float(np.linalg.eigvalsh(graph.matvec(np.eye(graph.n)))[0])
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((graph.n, graph.n), matvec=graph.matvec, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(graph.n)
    found = eigsh(operator, 1, which="SA", v0=start, return_eigenvectors=False, tol=1e-8)
    return float(found[0])
