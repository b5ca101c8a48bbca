r"""Drawn views with known densities: each draw is tied to every sample that could have made it.

With draws :math:`x_s` of sample i(s), V a sample, weights :math:`q_s = P_{i(s)} / V` and the
mixture :math:`p(x) = \sum_i P_i A(x \mid \bar x_i)`, any integral is estimated without bias by
:math:`\int g\,p\,dx \approx \sum_s q_s g(x_s)`. The joint law of sample and augmented point on the
draws is then :math:`q_s P_i A(x_s \mid \bar x_i) / p(x_s) = q_s \pi_i(x_s)`, with the posterior
:math:`\pi_i` of the sample given the point. Rows are divided by their sums, so that samples
keep their weights and :math:`\lambda_1 = 1`; the eigenvalues then differ from those of the exact
kernel by a bias of order 1/V and a standard deviation of order :math:`V^{-1/2}` (argued in
docs/theory/positive-pair-graphs.md, and measured with eight samples on a line, V = 8 to 64: V times
the bias is .053 to .067, each ± .002 to .008, and the root of V times the deviation .051 to .055).
The graph's own degrees, after that division, are :math:`q_s` only approximately.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Noise
from foretell.errors import InputError
from foretell.theory.graphs.draws import drawn_views
from foretell.theory.graphs.kernels import Vertices

CHUNK_NUMBERS = 1 << 19  # log-densities held at once, 4 MB
NEIGHBORS, TIES = 32, 4_000_000  # at least so many samples a draw, and more in small graphs


class Ties(NamedTuple):
    """Samples and vertices that belong together, with posteriors, and mass left out a vertex."""

    samples: Array
    vertices: Array
    posterior: Array
    neglected: Array


def noise_vertices(
    X: Array,
    weights: Array,
    noise: Noise,
    *,
    n_views: int,
    neighbors: int | None,
    mass: float,
    rng: np.random.Generator,
) -> Vertices:
    """Draws of X plus normal noise, with normal densities.

    Parameters
    ----------
    X, weights
        Rows, shape (m, d), and weights that sum to one, shape (m,).
    noise
        Its standard deviations. Columns without noise tie only samples that agree there.
    n_views
        Draws a sample.
    neighbors
        Most samples that a draw is tied to, the most probable ones (its own comes on top); None
        for :func:`default_neighbors`.
    mass
        Posterior probability that may be left out at a draw beside that; 0 and no ``neighbors``
        tie all samples to every draw, which is exact and takes m² V numbers.
    rng
        Random numbers.
    """
    if neighbors is None:
        count = default_neighbors(len(X), n_views) if mass else len(X)
    else:
        count = min(neighbors, len(X))
    points = drawn_views(X, noise, n_views, rng).reshape(-1, X.shape[1])
    own = np.tile(np.arange(len(X)), n_views)
    ties = _together(_noise_ties(X, weights, noise, points, own, count, mass))
    table, neglected = joint_table(ties, weights[own] / n_views, len(X))
    how = (
        f"{n_views} draws a sample with their exact normal densities, at most {count} samples "
        "and its own a draw"
    )
    return Vertices(points, table, how, neglected=neglected)


def default_neighbors(m: int, n_views: int) -> int:
    """As many neighbors as make 4 million ties, from 32 to all m samples.

    Examples
    --------
    >>> default_neighbors(1000, 8), default_neighbors(12_500, 8)
    (500, 40)
    """
    return min(m, max(NEIGHBORS, TIES // (m * n_views)))


def joint_table(ties: Ties, measure: Array, m: int) -> tuple[Any, float]:
    """Probabilities of vertices, CSR (m, N), rows sum to one, and the mean mass left out.

    ``measure`` are the weights :math:`q_s` of the vertices, shape (N,).
    """
    from scipy.sparse import coo_array

    values = ties.posterior * measure[ties.vertices]
    values /= np.bincount(ties.samples, values, minlength=m)[ties.samples]
    table = coo_array((values, (ties.samples, ties.vertices)), shape=(m, len(measure))).tocsr()
    return table, float(measure @ ties.neglected)


def _together(parts: Iterator[Ties]) -> Ties:
    return Ties(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _noise_ties(
    X: Array,
    weights: Array,
    noise: Noise,
    points: Array,
    own: Array,
    neighbors: int,
    mass: float,
) -> Iterator[Ties]:
    scale = np.broadcast_to(np.asarray(noise.scale), X.shape[1:])
    noisy = scale > 0
    middle = weights @ X
    rows = ((X - middle) / np.where(noisy, scale, 1))[:, noisy]
    draws = ((points - middle) / np.where(noisy, scale, 1))[:, noisy]
    # log P_i - |x - x_i|^2 / 2 up to a constant of x, as one matrix product
    constant = np.log(weights) - 0.5 * np.einsum("ij,ij->i", rows, rows)
    samples = np.column_stack([rows, constant])
    draws = np.column_stack([draws, np.ones(len(draws))])
    group = None if noisy.all() else np.unique(X[:, ~noisy], axis=0, return_inverse=True)[1].ravel()
    step = max(1, CHUNK_NUMBERS // len(X))
    for start in range(0, len(points), step):
        chunk = slice(start, start + step)
        log_density = draws[chunk] @ samples.T
        if group is not None:
            log_density[group[own[chunk], None] != group] = -np.inf
        yield _most_probable(log_density, own[chunk], start, neighbors, mass)


def _most_probable(L: Array, own: Array, start: int, neighbors: int, mass: float) -> Ties:
    """The samples that hold all but ``mass`` of the posterior, at most so many, and the own one."""
    n, m = L.shape
    top = L.max(axis=1)
    lowest = top + np.log(max(mass / m, np.nextafter(0.0, 1.0)))
    keep = lowest[:, None] <= L
    lost = np.zeros(n)
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > neighbors)
    if crowded.size:
        full = np.exp(L[crowded] - top[crowded, None]).sum(axis=1)
        largest = np.argpartition(L[crowded], m - neighbors, axis=1)[:, m - neighbors :]
        keep[crowded] = False
        keep[crowded[:, None], largest] = True
    keep[np.arange(n), own] = True
    vertices, samples = np.nonzero(keep)
    density = np.exp(L[vertices, samples] - top[vertices])
    total = np.bincount(vertices, density, minlength=n)
    if crowded.size:
        lost[crowded] = np.maximum(0, 1 - total[crowded] / full)
    return Ties(
        samples.astype(np.int32),
        (vertices + start).astype(np.int32),
        density / total[vertices],
        lost,
    )


def check_scale(noise: Noise, d: int) -> None:
    """Refuse noise that does not fit rows of d columns."""
    if np.ndim(noise.scale) and np.size(noise.scale) != d:
        raise InputError(f"scale has {np.size(noise.scale)} numbers for rows of {d} columns")
