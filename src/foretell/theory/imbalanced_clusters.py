r"""Clusters of unequal mass in a positive-pair graph: what a rare one loses, in closed form.

Everything is about the population graph, whose spectral embedding is what contrastive learning
learns (:class:`~foretell.theory.graphs.graph.PositivePairGraph`); derived in
docs/theory/positive-pair-graphs.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array, real_number
from foretell.errors import IdentificationError, InputError


def cluster_spectrum(masses: Any, leaving: float) -> Array:
    r"""Eigenvalues of a positive-pair graph of clusters that mix at random, shape (K,), descending.

    With probability :math:`1 - \varepsilon` the second view stays in the cluster of the first, else
    it is drawn from the whole: :math:`W = (1 - \varepsilon) \mathrm{diag}(p) + \varepsilon p
    p^\top`, so :math:`\bar A = (1 - \varepsilon) I + \varepsilon \sqrt p \sqrt p^\top` has the
    eigenvalues 1 and, K - 1 times, :math:`1 - \varepsilon`, whatever the masses p. Imbalance
    costs nothing, and for :math:`\varepsilon = 0` (clusters not connected) all K are 1: with
    rank K or more every cluster has its own direction however rare it is. Exact; derived in
    docs/theory/positive-pair-graphs.md.

    Parameters
    ----------
    masses
        Masses p > 0 of the clusters, shape (K,), of any scale.
    leaving
        :math:`\varepsilon`, 0 to 1.

    Raises
    ------
    InputError
        If masses are not positive or the probability is not one.

    Examples
    --------
    >>> cluster_spectrum([0.98, 0.01, 0.01], 0.1).tolist()
    [1.0, 0.9, 0.9]
    """
    p = _masses(masses)
    if not 0 <= real_number(leaving, "leaving") <= 1:
        raise InputError(f"leaving is a probability; found {leaving!r}")
    return np.concatenate([[1.0], np.full(len(p) - 1, 1.0 - leaving)])


def linked_spectrum(masses: Any, link: float) -> Array:
    r"""Eigenvalues of clusters linked by the same weight each to each, shape (K,), descending.

    :math:`W_{kl} = c` for :math:`k \ne l`, and rows add up to the masses p. Then
    :math:`I - \bar A = c\, D^{-1/2} (K I - 1 1^\top) D^{-1/2}`, D = diag(p): a link costs a rare
    cluster more. Two clusters: :math:`\lambda_2 = 1 - c / (p_1 p_2)`. In general the eigenvalues
    interlace with :math:`1 - cK / p_k`: sorted, each lies between two neighbors of them. Exact;
    derived in docs/theory/positive-pair-graphs.md.

    Parameters
    ----------
    masses
        Masses p > 0 of the clusters, shape (K,), of any scale; scaled to add up to one.
    link
        Weight c >= 0 between two clusters, in each direction; (K - 1) c is at most the smallest
        mass.

    Raises
    ------
    InputError
        If masses are not positive, or links exceed the mass of a cluster.

    Examples
    --------
    >>> linked_spectrum([0.9, 0.1], 0.009).round(6).tolist()
    [1.0, 0.9]
    """
    p = _masses(masses)
    link = real_number(link, "link")
    if not 0 <= link * (len(p) - 1) <= p.min() * (1 + 1e-12):
        raise InputError(
            f"the links of the rarest cluster weigh {link * (len(p) - 1):.3g} of its mass "
            f"{p.min():.3g}; expected 0 <= link <= {p.min() / (len(p) - 1):.3g}"
        )
    laplacian = link * (len(p) * np.eye(len(p)) - 1.0) / np.sqrt(np.outer(p, p))
    return np.asarray(1.0 - np.linalg.eigvalsh(laplacian))


def smallest_learned_mass(link: float, inner: float) -> float:
    r"""Mass below which a rare cluster loses its direction to structure inside the frequent one.

    Two clusters of masses 1 - p and p, linked by c, have :math:`\lambda = 1 - c / (p (1 - p))` for
    the contrast between them. Rank 2 learns it while this exceeds the second eigenvalue
    :math:`\mu` within the frequent cluster: :math:`p (1 - p) > c / (1 - \mu)`, so

    .. math:: p^* = \tfrac12 \Bigl( 1 - \sqrt{1 - 4 c / (1 - \mu)} \Bigr).

    Below it the label of the rare cluster is not linear in two features, and a higher rank
    learns it again. Exact where the link is spread over the frequent cluster in proportion to
    its masses.

    Parameters
    ----------
    link
        Weight c >= 0 between the clusters, in each direction, out of a total of one.
    inner
        :math:`\mu < 1`, second eigenvalue of the frequent cluster, links included.

    Raises
    ------
    InputError
        If the link is negative or :math:`\mu` is not below 1.
    IdentificationError
        If even clusters of equal mass are not told apart, 4 c > 1 - mu.

    Examples
    --------
    >>> round(smallest_learned_mass(0.009, 0.9), 6)
    0.1
    """
    link, inner = real_number(link, "link"), real_number(inner, "inner")
    if not (np.isfinite(link) and link >= 0 and -1 <= inner < 1):
        raise InputError(f"expected link >= 0 and -1 <= inner < 1; found {link!r} and {inner!r}")
    inside = 1.0 - 4.0 * link / (1.0 - inner)
    if inside < 0:
        raise IdentificationError(
            f"with link {link:g} and inner eigenvalue {inner:g} rank 2 tells the clusters apart at "
            f"no mass; reduce the link below {(1 - inner) / 4:.3g}, or raise the rank"
        )
    return float(0.5 * (1.0 - np.sqrt(inside)))


def _masses(masses: Any) -> Array:
    p = real_array(masses, "masses", "(K,)")
    if p.ndim != 1 or len(p) < 2 or not (np.isfinite(p).all() and (p > 0).all()):
        raise InputError(f"masses are at least 2 positive numbers, shape (K,); found {masses!r}")
    return np.asarray(p / p.sum())
