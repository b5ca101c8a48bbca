r"""Block models: graphs whose expected weights depend on the blocks of both vertices alone.

The expected graph, pairs of a vertex with itself included, has as many eigenvalues that are not
zero as it has blocks. For K blocks of sizes :math:`n_b` with weights :math:`c_{ab}` they are those
of the K x K matrix :math:`\sqrt{n_a n_b}\, c_{ab} / \sqrt{D_a D_b}`,
:math:`D_a = \sum_b c_{ab} n_b`; trees of blocks and classes crossed with domains have them in
closed form (derived in docs/theory/positive-pair-graphs.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.block_edges import Edges, block_edges
from foretell.theory.nodes import Seed


@dataclass(frozen=True, eq=False)
class BlockGraph:
    """A graph of a block model, with the labels of its vertices.

    Attributes
    ----------
    weights
        Symmetric weights, shape (n, n): dense if expected, sparse CSR if sampled.
    blocks
        Block of each vertex, 0 to K - 1, shape (n,).
    labels
        Labelings of the vertices, each of shape (n,): from coarse to fine for a tree, classes and
        domains for a crossed model, else the blocks.
    spectrum
        Eigenvalues of the expected graph that belong to blocks, shape (K,), descending; the other
        n - K are zero.
    """

    weights: Any
    blocks: Array
    labels: tuple[Array, ...]
    spectrum: Array


def block_spectrum(sizes: Sequence[int] | Array, between: Any) -> Array:
    """Eigenvalues of an expected block graph that belong to blocks, shape (K,), descending.

    Parameters
    ----------
    sizes
        Vertices of each block, shape (K,).
    between
        Weights between vertices of two blocks, symmetric, shape (K, K).

    Raises
    ------
    InputError
        If sizes are not positive, or weights are negative, asymmetric or zero in a whole row.

    Examples
    --------
    >>> block_spectrum([2, 2], [[3.0, 1.0], [1.0, 3.0]]).round(12).tolist()
    [1.0, 0.5]
    """
    n, c = _checked(sizes, between)
    root = np.sqrt(n / (c @ n))
    return np.linalg.eigvalsh(root[:, None] * c * root)[::-1].copy()


def block_weights(
    sizes: Sequence[int] | Array,
    between: Any,
    *,
    edges: Edges = "expected",
    random_state: Seed = 0,
) -> BlockGraph:
    """Graph of a block model.

    Parameters
    ----------
    sizes
        Vertices of each block, shape (K,).
    between
        Expected weights between vertices of two blocks, symmetric, shape (K, K).
    edges
        ``"expected"``: these weights themselves. ``"bernoulli"``: an edge of weight 1 with these
        probabilities, at most 1. ``"poisson"``: a number of edges with these means. Pairs of a
        vertex with itself are drawn like any other.
    random_state
        Seed of the edges.

    Raises
    ------
    InputError
        As :func:`block_spectrum`; for probabilities above 1; for an expected graph of more than
        20,000 vertices.

    Examples
    --------
    >>> g = block_weights([100, 50], [[0.3, 0.01], [0.01, 0.4]], edges="bernoulli")
    >>> g.weights.shape, g.blocks[99:101].tolist()
    ((150, 150), [0, 1])
    """
    n, c = _checked(sizes, between)
    blocks = np.repeat(np.arange(len(n)), n)
    return BlockGraph(
        block_edges(n, c, edges, random_state), blocks, (blocks,), block_spectrum(n, c)
    )


def hierarchical_blocks(
    branching: Sequence[int],
    strengths: Sequence[float],
    size: int,
    *,
    edges: Edges = "expected",
    random_state: Seed = 0,
) -> BlockGraph:
    r"""Tree of blocks (classes, their subclasses, ...), tied by the depth of the common ancestor.

    Parameters
    ----------
    branching
        Children of a node at each level, :math:`b_1, \dots, b_L`: b_1 classes, each of b_2
        subclasses, and so on.
    strengths
        Weights :math:`c_0, \dots, c_L` of two vertices whose last common ancestor is the root,
        a class, a subclass, ..., the same block.
    size
        Vertices of each of the :math:`b_1 \cdots b_L` blocks.
    edges, random_state
        As in :func:`block_weights`.

    Returns
    -------
    BlockGraph
        Its ``labels`` are the classes, the subclasses, ..., the blocks.

    Raises
    ------
    InputError
        If there is not one strength more than levels, and as :func:`block_weights` does.

    Examples
    --------
    >>> g = hierarchical_blocks([2, 3], [0.1, 0.4, 1.0], size=5)
    >>> len(g.blocks), [len(set(labels.tolist())) for labels in g.labels]
    (30, [2, 6])
    >>> g.spectrum.round(12).tolist()[:3]
    [1.0, 0.714285714286, 0.285714285714]
    """
    b, c = _tree(branching, strengths)
    leaves = int(np.prod(b))
    below = [leaves // int(np.prod(b[: level + 1])) for level in range(len(b))]
    nodes = [np.arange(leaves) // width for width in below]
    depth = sum((node[:, None] == node).astype(np.intp) for node in nodes)
    n, between = _checked(np.full(leaves, size), c[depth])
    blocks = np.repeat(np.arange(leaves), size)
    weights = block_edges(n, between, edges, random_state)
    labels = tuple(node[blocks] for node in nodes)
    return BlockGraph(weights, blocks, labels, hierarchical_spectrum(branching, strengths))


def hierarchical_spectrum(branching: Sequence[int], strengths: Sequence[float]) -> Array:
    r"""Eigenvalues of an expected tree of blocks, shape (K,), descending, whatever the size.

    With :math:`N_l` the blocks below a node of level l, the contrasts between its children have
    :math:`\lambda = (\sum_{j > l} c_j (N_j - N_{j+1}) - c_l N_{l+1}) / \sum_{j \ge 0} c_j (N_j -
    N_{j+1})`, :math:`N_{L+1} = 0`, with multiplicity :math:`b_1 \cdots b_l (b_{l+1} - 1)`.

    Raises
    ------
    InputError
        If there is not one strength more than levels.

    Examples
    --------
    >>> hierarchical_spectrum([2, 2], [0.0, 1.0, 3.0]).tolist()
    [1.0, 1.0, 0.5, 0.5]
    """
    b, c = _tree(branching, strengths)
    levels = len(b)
    N = np.array([*(np.prod(b[level:]) for level in range(levels)), 1, 0])
    shares = c * (N[:-1] - N[1:])
    total = shares.sum()
    values, counts = [1.0], [1]
    for level in range(levels):
        values.append((shares[level + 1 :].sum() - c[level] * N[level + 1]) / total)
        counts.append(int(np.prod(b[:level])) * (int(b[level]) - 1))
    return np.sort(np.repeat(values, counts))[::-1].copy()


def domain_blocks(
    rho: float,
    alpha: float,
    beta: float,
    gamma: float,
    *,
    classes: int = 2,
    domains: int = 2,
    size: int = 1,
    edges: Edges = "expected",
    random_state: Seed = 0,
) -> BlockGraph:
    """Classes crossed with domains.

    Parameters
    ----------
    rho
        Weight of two vertices of the same class and the same domain.
    alpha
        Same class, other domain.
    beta
        Other class, same domain.
    gamma
        Other class, other domain.
    classes, domains
        How many.
    size
        Vertices of each class in each domain.
    edges, random_state
        As in :func:`block_weights`.

    Returns
    -------
    BlockGraph
        Its ``labels`` are the classes and the domains.

    Raises
    ------
    InputError
        As :func:`block_weights` does.

    Examples
    --------
    >>> g = domain_blocks(1.0, 0.3, 0.2, 0.1)
    >>> g.labels[0].tolist(), g.labels[1].tolist(), g.spectrum.round(12).tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 0.625, 0.5, 0.375])

    References
    ----------
    .. [1] Shen, Jones, Kumar, Xie, HaoChen, Ma & Liang (2022). Connect, not collapse: explaining
       contrastive learning for unsupervised domain adaptation. ICML. Section 4.
    """
    class_of = np.repeat(np.arange(classes), domains)
    domain_of = np.tile(np.arange(domains), classes)
    same_class = class_of[:, None] == class_of
    same_domain = domain_of[:, None] == domain_of
    between = np.where(
        same_class, np.where(same_domain, rho, alpha), np.where(same_domain, beta, gamma)
    )
    n, c = _checked(np.full(classes * domains, size), between)
    blocks = np.repeat(np.arange(len(n)), size)
    weights = block_edges(n, c, edges, random_state)
    spectrum = domain_spectrum(rho, alpha, beta, gamma, classes=classes, domains=domains)
    values = np.sort(np.concatenate([[value] * count for value, count in spectrum.values()]))
    return BlockGraph(weights, blocks, (class_of[blocks], domain_of[blocks]), values[::-1].copy())


def domain_spectrum(
    rho: float, alpha: float, beta: float, gamma: float, *, classes: int = 2, domains: int = 2
) -> dict[str, tuple[float, int]]:
    r"""Eigenvalues of classes crossed with domains, by what they tell apart, with multiplicities.

    For 2 x 2, :math:`S = \rho + \alpha + \beta + \gamma`: :math:`1`,
    :math:`(\rho + \alpha - \beta - \gamma)/S` (class),
    :math:`(\rho - \alpha + \beta - \gamma)/S` (domain),
    :math:`(\rho - \alpha - \beta + \gamma)/S` (both).

    Examples
    --------
    >>> domain_spectrum(5, 3, 1, 1)
    {'all': (1.0, 1), 'class': (0.6, 1), 'domain': (0.2, 1), 'both': (0.2, 1)}
    """
    r, t = classes - 1, domains - 1
    S = rho + t * alpha + r * beta + r * t * gamma
    return {
        "all": (1.0, 1),
        "class": ((rho + t * alpha - beta - t * gamma) / S, r),
        "domain": ((rho - alpha + r * beta - r * gamma) / S, t),
        "both": ((rho - alpha - beta + gamma) / S, r * t),
    }


def _tree(branching: Sequence[int], strengths: Sequence[float]) -> tuple[Array, Array]:
    b, c = np.asarray(branching), np.asarray(strengths, dtype=np.float64)
    if b.ndim != 1 or not b.size or b.dtype.kind not in "iu" or (b < 1).any():
        raise InputError(f"branching is a list of whole numbers >= 1; found {branching}")
    if c.shape != (len(b) + 1,):
        raise InputError(
            f"a tree of {len(b)} levels has {len(b) + 1} strengths, from the root to the same "
            f"block; found {strengths}"
        )
    return b, c


def _checked(sizes: Any, between: Any) -> tuple[Array, Array]:
    n, c = np.asarray(sizes), np.asarray(between, dtype=np.float64)
    if n.ndim != 1 or not n.size or n.dtype.kind not in "iu" or (n < 1).any():
        raise InputError(f"sizes are whole numbers >= 1, one a block; found {sizes}")
    if c.shape != (len(n), len(n)):
        raise InputError(f"between has shape ({len(n)}, {len(n)}), as sizes do; found {c.shape}")
    if not np.isfinite(c).all() or (c < 0).any() or not np.array_equal(c, c.T):
        raise InputError("the weights between blocks are finite, at least zero and symmetric")
    if empty := np.flatnonzero(~c.any(axis=1)).tolist():
        raise InputError(f"blocks {empty} are tied to no block; give them a weight, or leave out")
    return n, c
