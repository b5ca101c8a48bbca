"""How nearly measurements keep the norm of matrices of low rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import InputError


@dataclass(frozen=True, eq=False)
class Isometry:
    """Extremes found of the measured square of symmetric matrices of unit norm and given rank.

    Attributes
    ----------
    rank
        The rank.
    lowest, highest
        Smallest and largest measured square found; both 1 for full observation.
    """

    rank: int
    lowest: float
    highest: float

    @property
    def constant(self) -> float:
        """Lower bound of the restricted isometry constant: max(1 - lowest, highest - 1)."""
        return max(1.0 - self.lowest, self.highest - 1.0)


def restricted_isometry(
    normal: Callable[[Array], Array],
    d: int,
    rank: int,
    *,
    n_starts: int = 10,
    n_steps: int = 100,
    seed: int = 0,
) -> Isometry:
    r"""Extremes of :math:`\langle E, N(E) \rangle` over :math:`\|E\|_F = 1`, rank(E) <= r.

    The exact constant is hard to compute; this is a local search, so that the true interval is at
    least as wide. From random starts, power iterations :math:`E \leftarrow T_r(N(E))`, and
    :math:`E \leftarrow T_r(c E - N(E))` for the other end, with T_r the best symmetric
    approximation of rank r scaled to norm one. Each maximizes a linear bound of a quadratic form
    that is convex along differences (of rank 2r; c is the highest value found there), hence does
    not step back. Measured for 20 rows, rank 2 and 200 to 800 measurements: 10 starts of 100
    iterations find both ends to 0.02 of what 200 iterations find.

    Parameters
    ----------
    normal
        N, linear, symmetric and positive semi-definite on symmetric (d, d) matrices.
    d, rank
        1 <= r <= d.
    n_starts, n_steps, seed
        Starts and iterations of the search, for each end.

    Raises
    ------
    InputError
        If the rank or a count is out of range.

    Examples
    --------
    >>> found = restricted_isometry(lambda E: 2 * np.diag(np.diag(E)), 3, 1, n_steps=200)
    >>> round(found.highest, 6), round(found.lowest, 3)
    (2.0, 0.667)
    """
    for name, value, most in (
        ("rank", rank, d),
        ("n_starts", n_starts, None),
        ("n_steps", n_steps, None),
    ):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < 1 or (most is not None and value > most):
            limit = f"between 1 and d = {most}" if most else "of at least 1"
            raise InputError(f"{name} is a whole number {limit}; found {value!r}")
    rng = np.random.default_rng(seed)
    wide = min(2 * rank, d)
    low, high, shift = np.inf, -np.inf, 0.0
    for _ in range(n_starts):
        high = max(high, _climb(normal, _random(rng, d, rank), rank, n_steps))
        shift = max(shift, _climb(normal, _random(rng, d, wide), wide, n_steps))
    for _ in range(n_starts):
        start = _random(rng, d, rank)
        low = min(low, shift - _climb(lambda E: shift * E - normal(E), start, rank, n_steps))
    return Isometry(rank, low, high)


def _random(rng: np.random.Generator, d: int, rank: int) -> Array:
    G = rng.standard_normal((d, d))
    return truncated(G + G.T, rank)


def _climb(normal: Callable[[Array], Array], E: Array, rank: int, n_steps: int) -> float:
    """Largest of <E, N(E)> along the power iteration from E."""
    best = -np.inf
    for _ in range(n_steps):
        image = normal(E)
        best = max(best, float((E * image).sum()))
        E = truncated(image, rank)
    return best


def truncated(E: Array, rank: int) -> Array:
    """Best approximation of a symmetric matrix by rank r, scaled to norm one."""
    values, vectors = np.linalg.eigh((E + E.T) / 2)
    kept = np.argsort(-np.abs(values))[:rank]
    size = float(np.linalg.norm(values[kept]))
    if size == 0:
        return np.asarray(np.outer(vectors[:, 0], vectors[:, 0]))
    return np.asarray((vectors[:, kept] * (values[kept] / size)) @ vectors[:, kept].T)
