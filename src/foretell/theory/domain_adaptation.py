r"""Domain adaptation in closed form: classes and domains joined by four connections.

A vertex is a class in a domain. Positive pairs join it to itself with weight :math:`\rho`, to the
same class in another domain with :math:`\alpha`, to another class in the same domain with
:math:`\beta`, and to another class in another domain with :math:`\gamma`. A head fitted on the
source domain is right on the target exactly when :math:`\alpha > \gamma`, as long as the features
hold the class at all. :mod:`foretell.theory.connectivity` estimates the four from data.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_number, whole_number
from foretell.errors import InputError

Level = Literal["constant", "class", "domain", "both"]

TIE = 1e-12  # eigenvalues are at most one, and sums of four numbers


@dataclass(frozen=True)
class ToyTransfer:
    """What a head fitted on the source does on the target, for k features.

    Attributes
    ----------
    n_features
        k.
    kept
        Levels of which the features hold everything, by descending eigenvalue.
    cut
        Levels of equal eigenvalue of which the features hold a part that is not determined.
    source_accuracy, target_accuracy
        Shares of vertices classified correctly; a tie counts as one over the number of classes.
        None if the features are not determined.
    target_score
        Height of the score of the right class over the others on the target, where it is one on
        the source; None if the features are not determined.
    verdict
        The same in words.
    """

    n_features: int
    kept: tuple[Level, ...]
    cut: tuple[Level, ...]
    source_accuracy: float | None
    target_accuracy: float | None
    target_score: float | None
    verdict: str

    def __str__(self) -> str:
        return f"{self.n_features} features ({', '.join(self.kept)}): {self.verdict}"


@dataclass(frozen=True)
class DomainToy:
    r"""Positive-pair graph of K classes in D domains.

    With :math:`S = \rho + (D-1)\alpha + (K-1)\beta + (K-1)(D-1)\gamma`, the normalized adjacency
    matrix has four eigenspaces: constants; differences between classes; between domains; both.

    .. math:: \lambda_{class} = \frac{\rho + (D-1)\alpha - \beta - (D-1)\gamma}{S}, \quad
        \lambda_{domain} = \frac{\rho - \alpha + (K-1)(\beta - \gamma)}{S}, \quad
        \lambda_{both} = \frac{\rho - \alpha - \beta + \gamma}{S}

    of dimensions K - 1, D - 1 and (K - 1)(D - 1). Always :math:`\lambda_{class} - \lambda_{both} =
    D (\alpha - \gamma) / S`. With K = D = 2 the order of the three is that of :math:`\alpha`,
    :math:`\beta` and :math:`\gamma`.

    Parameters
    ----------
    rho, alpha, beta, gamma
        Weights >= 0 of a pair of vertices, on any scale: same class and domain, same class only,
        same domain only, neither.
    n_classes, n_domains
        K and D, at least 2.

    Raises
    ------
    InputError
        If a weight is negative or not finite, all are zero, or there is one class or one domain.

    References
    ----------
    .. [1] Shen, Jones, Kumar, Xie, HaoChen, Ma & Liang (2022). Connect, not collapse: explaining
       contrastive learning for unsupervised domain adaptation. ICML. arXiv:2204.00570. The
       example with two classes and two domains; the general case is derived in
       docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> toy = DomainToy(rho=1.0, alpha=0.3, beta=0.2, gamma=0.1)
    >>> {level: round(value, 4) for level, value in toy.eigenvalues.items()}
    {'constant': 1.0, 'class': 0.625, 'domain': 0.5, 'both': 0.375}
    >>> toy.transfer(3).target_accuracy
    1.0
    >>> DomainToy(rho=1.0, alpha=0.1, beta=0.2, gamma=0.3).transfer(3).target_accuracy
    0.0
    """

    rho: float
    alpha: float
    beta: float
    gamma: float
    _: KW_ONLY
    n_classes: int = 2
    n_domains: int = 2

    def __post_init__(self) -> None:
        names = ("rho", "alpha", "beta", "gamma")
        weights = np.array([real_number(getattr(self, name), name) for name in names])
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise InputError(
                "expected rho, alpha, beta and gamma finite, >= 0 and not all zero; found "
                f"{weights.tolist()}"
            )
        for name in ("n_classes", "n_domains"):
            whole_number(getattr(self, name), name, 2)

    @property
    def n_vertices(self) -> int:
        """K D."""
        return self.n_classes * self.n_domains

    @property
    def classes(self) -> Array:
        """Class of every vertex, shape (K D,)."""
        return np.tile(np.arange(self.n_classes), self.n_domains)

    @property
    def domains(self) -> Array:
        """Domain of every vertex, shape (K D,)."""
        return np.repeat(np.arange(self.n_domains), self.n_classes)

    @property
    def weights(self) -> Array:
        """Weights of positive pairs, with sum one, shape (K D, K D)."""
        same_class = self.classes[:, None] == self.classes
        same_domain = self.domains[:, None] == self.domains
        W = np.where(
            same_domain,
            np.where(same_class, self.rho, self.beta),
            np.where(same_class, self.alpha, self.gamma),
        )
        return np.asarray(W / W.sum())

    @cached_property
    def eigenvalues(self) -> dict[Level, float]:
        """Eigenvalue of the normalized adjacency matrix of every level."""
        K, D = self.n_classes, self.n_domains
        rho, alpha, beta, gamma = self.rho, self.alpha, self.beta, self.gamma
        total = rho + (D - 1) * alpha + (K - 1) * beta + (K - 1) * (D - 1) * gamma
        return {
            "constant": 1.0,
            "class": (rho + (D - 1) * alpha - beta - (D - 1) * gamma) / total,
            "domain": (rho - alpha + (K - 1) * (beta - gamma)) / total,
            "both": (rho - alpha - beta + gamma) / total,
        }

    @property
    def multiplicities(self) -> dict[Level, int]:
        """Dimension of the eigenspace of every level."""
        K, D = self.n_classes, self.n_domains
        return {"constant": 1, "class": K - 1, "domain": D - 1, "both": (K - 1) * (D - 1)}

    def eigenvectors(self, level: Level) -> Array:
        """An orthonormal basis of the eigenspace of a level, shape (K D, its dimension)."""
        per_class, per_domain = _contrasts(self.n_classes), _contrasts(self.n_domains)
        in_class = per_class[:, 1:] if level in ("class", "both") else per_class[:, :1]
        in_domain = per_domain[:, 1:] if level in ("domain", "both") else per_domain[:, :1]
        return np.kron(in_domain, in_class)

    def kept(self, n_features: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Levels that the best k features hold entirely, and in a part that is not determined.

        Levels whose eigenvalue is not positive are in neither: the features are zero there.
        """
        whole_number(n_features, "n_features", 1, self.n_vertices, ", the number of vertices")
        whole: list[Level] = []
        left = n_features
        for group in self._tied_levels():
            size = sum(self.multiplicities[level] for level in group)
            if left == 0 or self.eigenvalues[group[0]] <= TIE:
                break
            if size > left:
                return tuple(whole), tuple(group)
            whole.extend(group)
            left -= size
        return tuple(whole), ()

    def transfer(self, n_features: int, n_sources: int = 1) -> ToyTransfer:
        r"""Accuracy of the minimum-norm head fitted on s source domains, on the other domains.

        Where the score of the right class over the others is one on the source, on the target it
        is :math:`s (\lambda_c - \lambda_b) / (s \lambda_c + (D - s) \lambda_b)`, with the
        eigenvalues of the levels class and both, zero for a level that the features lack or whose
        eigenvalue is negative.

        Raises
        ------
        InputError
            If ``n_features`` is not 1 to K D, or ``n_sources`` not 1 to D - 1.
        """
        whole_number(n_sources, "n_sources", 1, self.n_domains - 1, ", so that a target is left")
        kept, cut = self.kept(n_features)
        if "class" in cut or "both" in cut:
            tied = " and ".join(cut)
            verdict = (
                f"not determined: only a part of the eigenspace ({tied}) fits into {n_features} "
                "features, and any part minimises the loss; take more features or fewer"
            )
            return ToyTransfer(n_features, kept, cut, None, None, None, verdict)
        c, b = (self.eigenvalues[v] if v in kept else 0.0 for v in ("class", "both"))
        scale = n_sources * c + (self.n_domains - n_sources) * b
        score = n_sources * (c - b) / scale if scale > 0 else 0.0
        score = 0.0 if abs(c - b) <= TIE else score
        on_source = 1.0 if scale > 0 else 1.0 / self.n_classes
        return ToyTransfer(
            n_features, kept, cut, on_source, self._accuracy(score), score,
            _verdict(score, learned=scale > 0),
        )  # fmt: skip

    def supervised(self, *, augmented: bool = False) -> float:
        r"""Target accuracy of supervised learning on the source alone, without pre-training.

        With a separate input for every vertex nothing learned on the source says anything about
        the target: one over the number of classes. ``augmented`` trains on positive pairs of the
        source, which reach the target with weights :math:`\alpha` and :math:`\gamma`: the vote is
        right exactly when :math:`\alpha > \gamma`, here where all vertices are reached.
        """
        return self._accuracy(self.alpha - self.gamma if augmented else 0.0)

    def _accuracy(self, score: float) -> float:
        if score == 0.0:
            return 1.0 / self.n_classes
        return 1.0 if score > 0 else 0.0

    def _tied_levels(self) -> list[list[Level]]:
        """Levels grouped by equal eigenvalue, descending."""
        order = list(self.eigenvalues)
        groups: list[list[Level]] = []
        for level in sorted(order, key=lambda v: -self.eigenvalues[v]):
            last = self.eigenvalues[groups[-1][0]] if groups else np.inf
            if last - self.eigenvalues[level] <= TIE:
                groups[-1].append(level)
            else:
                groups.append([level])
        return [sorted(group, key=order.index) for group in groups]


def _contrasts(n: int) -> Array:
    """An orthogonal matrix whose first column is constant, shape (n, n)."""
    Q = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0]
    return np.asarray(Q)


def _verdict(score: float, *, learned: bool) -> str:
    if not learned:
        return "no transfer: the features do not hold the class, on the source either"
    if score > 0:
        return "transfers: a class is nearer to itself than to others across domains"
    if score < 0:
        return "fails: across domains a class is nearer to the others, so the head is misled"
    return "a tie: across domains a class is as near to the others as to itself"
