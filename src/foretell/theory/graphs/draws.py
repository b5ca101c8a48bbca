"""Drawn views as vertices: equal draws merged, or all draws rounded to cells."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment
from foretell.errors import InputError
from foretell.theory.graphs.kernels import Vertices, merged, tallied

LARGEST_SEED = 2**31 - 1
MOST_MEANS = 512  # cells placed by k-means; more than that are a random subset of the draws


def drawn_views(X: Array, augment: Augment, n_views: int, rng: np.random.Generator) -> Array:
    """Independent views of every row, shape (n_views, m, d).

    Raises
    ------
    InputError
        If the augmentation changes the shape, or returns numbers that are not finite.
    """
    views = np.empty((n_views, *X.shape))
    for v in range(n_views):
        view = np.asarray(augment(X.copy(), rng), dtype=np.float64)
        if view.shape != X.shape:
            raise InputError(
                f"the augmentation turned rows of shape {X.shape} into {view.shape}; expected the "
                "same shape"
            )
        if not np.isfinite(view).all():
            raise InputError("the augmentation returned numbers that are not finite")
        views[v] = view
    return views


def counted(views: Array) -> Vertices:
    """Draws of each sample, shape (V, m, d), as vertices; equal draws are one vertex.

    The probabilities are counts divided by V.
    """
    count = len(views)
    points, index = merged(lambda v: views[v], count)
    table = tallied(index, np.full(count, 1 / count), len(points))
    return Vertices(points, table, f"{count} draws a sample, equal draws merged", views=count)


def rounded(views: Array, cells: int | Array, rng: np.random.Generator) -> Vertices:
    """Draws of each sample, shape (V, m, d), rounded to the nearest of some cells.

    This is the graph of another augmentation: augment, then round.

    Parameters
    ----------
    views
        Draws.
    cells
        Number of cells, placed on the draws by k-means (a random subset of the draws beyond 512),
        or their centers, shape (c, d). Cells that no draw reaches are left out.
    rng
        For the centers.
    """
    from sklearn.metrics import pairwise_distances_argmin

    count, m, d = views.shape
    flat = views.reshape(-1, d)
    if isinstance(cells, np.ndarray):
        centers, origin = cells, "the given points"
    else:
        centers, origin = _centers(flat, cells, rng)
    nearest = pairwise_distances_argmin(flat, centers)
    reached, index = np.unique(nearest, return_inverse=True)
    table = tallied(index.reshape(count, m), np.full(count, 1 / count), len(reached))
    how = f"{count} draws a sample, rounded to the nearest of {len(centers)} cells ({origin})"
    return Vertices(centers[reached], table, how, views=count)


def _centers(flat: Array, cells: int, rng: np.random.Generator) -> tuple[Array, str]:
    distinct, _ = merged(lambda _: flat, 1)
    if len(distinct) <= cells:
        return distinct, "all distinct draws"
    if cells > MOST_MEANS:
        chosen = rng.choice(len(distinct), cells, replace=False)
        return distinct[np.sort(chosen)], "random draws"
    from sklearn.cluster import MiniBatchKMeans

    seed = int(rng.integers(LARGEST_SEED))
    means = MiniBatchKMeans(cells, batch_size=2048, n_init=1, random_state=seed)
    return np.asarray(means.fit(flat).cluster_centers_, dtype=np.float64), "k-means of the draws"
