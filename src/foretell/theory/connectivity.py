"""Connections between classes and domains, estimated: does the toy of the theory predict transfer?

From a graph the four weights of :class:`~foretell.theory.domain_adaptation.DomainToy` are averages.
From rows and an augmentation they have a proxy: how often a classifier mistakes augmented rows of
one class and domain for those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment
from foretell.data.numbers import real_array, whole_number
from foretell.errors import InputError
from foretell.theory.domain_adaptation import DomainToy
from foretell.theory.subpopulations import as_normalized

CERTAIN = 2.0  # standard errors


@dataclass(frozen=True)
class DomainConnectivity:
    r"""Estimates of the four connections, on a common scale.

    Attributes
    ----------
    rho, alpha, beta, gamma
        Mean connection of a group (a class in a domain) with itself; with the same class in other
        domains; with other classes in its domain; with neither.
    alpha_gamma_se
        Standard error of :math:`\alpha - \gamma` over pairs of groups; infinite for two classes
        in two domains with one pair each.
    own_nearest
        Share of groups to which, among the groups of other domains, their own class is nearest.
        With :math:`\alpha > \gamma` on average some classes may still be misled.
    n_classes, n_domains
        K and D.
    kind
        ``"weights"`` of a graph, or ``"errors"`` of classifiers, a proxy that keeps the order.
    """

    rho: float
    alpha: float
    beta: float
    gamma: float
    alpha_gamma_se: float
    own_nearest: float
    n_classes: int
    n_domains: int
    kind: str

    @property
    def alpha_gamma(self) -> float:
        r""":math:`\alpha / \gamma`; infinite if nothing joins both."""
        return _ratio(self.alpha, self.gamma)

    @property
    def beta_gamma(self) -> float:
        r""":math:`\beta / \gamma`; infinite if nothing joins both."""
        return _ratio(self.beta, self.gamma)

    @property
    def toy(self) -> DomainToy:
        """The graph in which every group has these connections."""
        return DomainToy(
            self.rho, self.alpha, self.beta, self.gamma,
            n_classes=self.n_classes, n_domains=self.n_domains,
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """Whether transfer should work, in words."""
        ratios = f"alpha/gamma = {self.alpha_gamma:.3g}, beta/gamma = {self.beta_gamma:.3g}"
        if self.alpha == self.gamma == 0:
            return "no transfer: nothing connects the domains; use augmentations that do"
        gap = self.alpha - self.gamma
        if np.isfinite(self.alpha_gamma_se) and abs(gap) <= CERTAIN * self.alpha_gamma_se:
            return (
                f"open: alpha and gamma do not differ beyond their errors ({ratios}); augment more "
                "towards the other domain, or measure on more rows"
            )
        if gap < 0:
            return f"transfer should fail: across domains, other classes are nearer ({ratios})"
        if self.own_nearest < 1:
            return (
                "transfer should work in part: across domains the same class is nearer on average, "
                f"but the nearest one for only {100 * self.own_nearest:.0f} % of classes ({ratios})"
            )
        return f"transfer should work: across domains, the same class is nearest ({ratios})"

    def __str__(self) -> str:
        return (
            f"{self.n_classes} classes, {self.n_domains} domains ({self.kind}): "
            f"rho {self.rho:.4g}, alpha {self.alpha:.4g}, beta {self.beta:.4g}, "
            f"gamma {self.gamma:.4g}\n{self.verdict}"
        )


def connectivity_of_graph(graph: Any, classes: Array, domains: Array) -> DomainConnectivity:
    r"""The four connections of a positive-pair graph, :math:`w(A, B) / (w(A) w(B))` on average.

    Exact for a graph of equal blocks, up to the common scale.

    Parameters
    ----------
    graph
        ``PositivePairGraph``, or its weights, shape (n, n).
    classes, domains
        Of every vertex, shape (n,), any labels; at least two of each, every class in every domain.

    Raises
    ------
    InputError
        If labels have the wrong length, or a class is missing in a domain.

    Examples
    --------
    >>> toy = DomainToy(4.0, 3.0, 2.0, 1.0)
    >>> found = connectivity_of_graph(toy.weights, toy.classes, toy.domains)
    >>> round(found.alpha_gamma, 6), round(found.beta_gamma, 6)
    (3.0, 2.0)
    """
    normalized, kept, n = as_normalized(graph)
    groups, K, D = _groups(n, classes, domains)
    groups = groups[kept]
    root = np.sqrt(normalized.degrees)[:, None]
    member = root * np.eye(K * D)[groups]
    mass = (root * member).sum(axis=0)
    density = member.T @ normalized.matvec(member) / np.outer(mass, mass)
    return _averaged(density, K, D, "weights")


def connectivity_of_rows(
    X: Array,
    classes: Array,
    domains: Array,
    augment: Augment,
    *,
    classifier: Any = None,
    n_views: int = 2,
    random_state: int = 0,
) -> DomainConnectivity:
    """The four connections by proxy: errors of classifiers that tell augmented groups apart.

    For every pair of groups a classifier is fitted to augmented rows of one half of the samples
    and tested on those of the other half; its error, at most 1/2, is large where augmentations of
    the two groups overlap. A group is not told from itself: ``rho`` is 1/2.

    Parameters
    ----------
    X
        Rows of all domains, shape (n, d).
    classes, domains
        As for :func:`connectivity_of_graph`; every group needs four rows.
    augment
        The augmentation of pre-training, see :mod:`foretell.data.augmentations`.
    classifier
        A scikit-learn classifier; None takes five nearest neighbors.
    n_views
        Augmented copies of every row.
    random_state
        Seed of halves and views.

    Raises
    ------
    InputError
        As :func:`connectivity_of_graph`; if rows are not finite, a group has fewer than four.

    References
    ----------
    .. [1] Shen, Jones, Kumar, Xie, HaoChen, Ma & Liang (2022). Connect, not collapse. ICML.
       arXiv:2204.00570. Connectivity measured by error rates; the classifier is our choice.

    Examples
    --------
    >>> from foretell.data.augmentations import Noise
    >>> rng = np.random.default_rng(0)
    >>> y, d = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    >>> X = np.column_stack([3.0 * y, 1.0 * d]) + 0.3 * rng.standard_normal((400, 2))
    >>> print(connectivity_of_rows(X, y, d, Noise(0.5)).alpha_gamma > 1)
    True
    """
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier

    X = real_array(X, "rows", "(n, d)")
    if X.ndim != 2 or 0 in X.shape or not np.isfinite(X).all():
        raise InputError(f"rows are finite numbers of shape (n, d); found shape {X.shape}")
    groups, K, D = _groups(len(X), classes, domains)
    if (counts := np.bincount(groups)).min() < 4:
        raise InputError(
            f"every class needs four rows in every domain; found {counts.min()}; leave the class "
            "out or add rows"
        )
    whole_number(n_views, "n_views", 1)
    rng = np.random.default_rng(random_state)
    classifier = KNeighborsClassifier(5) if classifier is None else classifier
    halves: list[tuple[Array, Array]] = []
    for group in range(K * D):
        rows = rng.permutation(np.flatnonzero(groups == group))
        parts = np.array_split(rows, 2)
        one, two = (augment(np.repeat(X[part], n_views, axis=0), rng) for part in parts)
        halves.append((one, two))
    confusion = np.full((K * D, K * D), 0.5)
    for a, b in combinations(range(K * D), 2):
        model = clone(classifier)
        train = np.concatenate([halves[a][0], halves[b][0]])
        model.fit(train, np.repeat([0, 1], [len(halves[a][0]), len(halves[b][0])]))
        wrong = np.mean(model.predict(halves[a][1])), np.mean(1 - model.predict(halves[b][1]))
        confusion[a, b] = confusion[b, a] = min(0.5, 0.5 * float(sum(wrong)))
    return _averaged(confusion, K, D, "errors")


def _groups(n: int, classes: Array, domains: Array) -> tuple[Array, int, int]:
    """Number of every row's group, domain by domain, and the numbers of classes and domains."""
    coded = []
    for name, labels in (("classes", np.asarray(classes)), ("domains", np.asarray(domains))):
        if labels.shape != (n,):
            raise InputError(f"{name} have shape ({n},), one a row; found {labels.shape}")
        values, codes = np.unique(labels, return_inverse=True)
        if len(values) < 2:
            raise InputError(f"expected at least two {name}; found {values.tolist()}")
        coded.append((len(values), codes))
    (K, y), (D, d) = coded
    groups = d * K + y
    if (empty := np.bincount(groups, minlength=K * D) == 0).any():
        raise InputError(
            f"{empty.sum()} of {K * D} combinations of class and domain have no row; leave out "
            "classes that a domain lacks"
        )
    return groups, K, D


def _averaged(matrix: Array, K: int, D: int, kind: str) -> DomainConnectivity:
    """Means of a symmetric (K D, K D) matrix over the four kinds of pairs."""
    y, d = np.tile(np.arange(K), D), np.repeat(np.arange(D), K)
    same_class, same_domain = y[:, None] == y, d[:, None] == d
    upper = np.triu(np.ones_like(matrix, dtype=bool), 1)
    rho = float(matrix.diagonal().mean())
    alphas = matrix[upper & same_class & ~same_domain]
    betas = matrix[upper & ~same_class & same_domain]
    gammas = matrix[upper & ~same_class & ~same_domain]
    se = float(np.hypot(_se(alphas), _se(gammas))) if min(len(alphas), len(gammas)) > 2 else np.inf
    across = np.where(same_domain, -np.inf, matrix)
    own = np.where(same_class, across, -np.inf).max(axis=1)
    other = np.where(same_class, -np.inf, across).max(axis=1)
    return DomainConnectivity(
        rho, float(alphas.mean()), float(betas.mean()), float(gammas.mean()), se,
        float((own > other).mean()), K, D, kind,
    )  # fmt: skip


def _se(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0:
        return np.inf if numerator > 0 else 1.0
    return numerator / denominator
