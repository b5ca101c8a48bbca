"""Expected or random edges between blocks of vertices."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.nodes import Seed

Edges = Literal["expected", "bernoulli", "poisson"]
DENSE = 20_000  # vertices of an expected graph, whose weights are a dense matrix


def block_edges(n: Array, c: Array, edges: str, random_state: Seed) -> Any:
    """Weights of blocks of sizes n, shape (K,), with expected weights c, shape (K, K).

    Raises
    ------
    InputError
        For an unknown kind of edges, a probability above 1, or a dense matrix that is too large.
    """
    blocks = np.repeat(np.arange(len(n)), n)
    if edges == "expected":
        if len(blocks) > DENSE:
            raise InputError(
                f"an expected graph of {len(blocks):,} vertices is a dense matrix; expected at "
                f"most {DENSE:,}: use its spectrum, or edges='bernoulli'"
            )
        return c[np.ix_(blocks, blocks)]
    if edges not in ("bernoulli", "poisson"):
        raise InputError(f"edges are 'expected', 'bernoulli' or 'poisson'; found {edges!r}")
    if edges == "bernoulli" and c.max() > 1:
        raise InputError(
            f"probabilities of edges are at most 1; found {c.max():g}; scale the weights down, or "
            "use edges='poisson'"
        )
    return _sampled(n, c, edges == "poisson", np.random.default_rng(random_state))


def _sampled(n: Array, c: Array, repeated: bool, rng: np.random.Generator) -> Any:
    from scipy.sparse import coo_array

    first = np.concatenate([[0], np.cumsum(n)])
    rows, columns = [], []
    for a in range(len(n)):
        for b in range(a, len(n)):
            total = int(n[a]) * (int(n[a]) + 1) // 2 if a == b else int(n[a]) * int(n[b])
            if repeated:
                pairs = rng.integers(total, size=rng.poisson(c[a, b] * total))
            else:
                count = rng.binomial(total, c[a, b])
                pairs = rng.choice(total, count, replace=False, shuffle=False)
            i, j = _triangle(pairs) if a == b else np.divmod(pairs, n[b])
            rows.append(i + first[a])
            columns.append(j + first[b])
    i, j = np.concatenate(rows), np.concatenate(columns)
    off = i != j
    both = (np.concatenate([i, j[off]]), np.concatenate([j, i[off]]))
    return coo_array((np.ones(len(both[0])), both), shape=(first[-1], first[-1])).tocsr()


def _triangle(pairs: Array) -> tuple[Array, Array]:
    """Pairs i >= j of numbers 0, 1, ... in the order (0, 0), (1, 0), (1, 1), (2, 0), ...."""
    i = ((np.sqrt(8 * pairs + 1.0) - 1) // 2).astype(np.int64)
    i += (i + 1) * (i + 2) // 2 <= pairs
    i -= i * (i + 1) // 2 > pairs
    return i, pairs - i * (i + 1) // 2
