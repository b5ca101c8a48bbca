r"""Largest eigenpairs of a banded graph by shift-invert Lanczos: gaps of 1e-9 are no obstacle.

Long paths and chains of clusters that hardly touch have eigenvalues so close to one that products
with :math:`\bar A` need 1e5 steps to tell them apart. Numbered by reverse Cuthill-McKee their
matrices are banded, and :math:`((1 + \delta) I - \bar A)^{-1}` costs no more than a few products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError

SHIFT = 1e-9
MOST_ENVELOPE, ENVELOPE_A_ROW = 5_000_000, 100
MAX_SEARCHES, TOLERANCE = 50, 1e-10
LARGER = 1e-6  # relative, of inverse distances from 1 + SHIFT


def is_banded(matrix: Any) -> bool:
    """Whether the factors of a CSR matrix without pivoting are sparse: they fill its envelope."""
    if isinstance(matrix, np.ndarray) or not np.diff(matrix.indptr).all():
        return False
    first = np.minimum.reduceat(matrix.indices, matrix.indptr[:-1])
    envelope = float(np.maximum(np.arange(len(first)) - first, 0).sum())
    return envelope <= min(MOST_ENVELOPE, ENVELOPE_A_ROW * len(first))


def banded_pairs(adjacency: Any, perron: Array, count: int, *, rng: np.random.Generator) -> Array:
    r"""Eigenvectors (n, count) of the ``count`` largest eigenvalues after that of ``perron``.

    A single vector may not see all copies of a multiple eigenvalue: the complement of what was
    found is searched from fresh starts, until nothing larger is in it.

    Raises
    ------
    ConvergenceError
        If the iteration does not converge, or copies of multiple eigenvalues keep appearing.
    """
    solve = _inverse(adjacency)
    locked, values = perron[:, None], np.empty(0)
    for _ in range(MAX_SEARCHES):
        missing = max(count - len(values), 1)
        found, vectors = _search(solve, locked, missing, rng)
        if len(values) >= count and found.max() <= (1 + LARGER) * np.sort(values)[-count]:
            break
        values = np.concatenate([values, found])
        locked = np.linalg.qr(np.hstack([locked, vectors]))[0]
    else:
        raise ConvergenceError(
            f"after {MAX_SEARCHES} searches there are still eigenvalues above the {count} found; "
            "the spectrum has multiplicities that are too large: ask for fewer eigenpairs"
        )
    return locked[:, 1:]


def _inverse(adjacency: Any) -> Callable[[Array], Array]:
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import splu

    shifted = (diags_array(np.full(adjacency.shape[0], 1.0 + SHIFT)) - adjacency).tocsc()
    options = {"SymmetricMode": True}
    factors = splu(shifted, permc_spec="NATURAL", diag_pivot_thresh=0.0, options=options)
    return factors.solve


def _search(
    solve: Callable[[Array], Array],
    locked: Array,
    count: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Largest eigenpairs of the inverse outside the locked vectors, from one start."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = len(locked)

    def apply(v: Array) -> Array:
        image = solve(v - locked @ (locked.T @ v))
        return np.asarray(image - locked @ (locked.T @ image))

    linear = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    start = rng.standard_normal(n)
    start -= locked @ (locked.T @ start)
    size = min(n, 2 * count + 20)
    try:
        return eigsh(
            linear, count, which="LA", v0=start, ncv=size, tol=TOLERANCE, maxiter=100, rng=rng
        )
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"shift-invert Lanczos found {len(error.eigenvalues)} of {count} eigenpairs of {n} "
            "vertices; ask for fewer eigenpairs"
        ) from error
