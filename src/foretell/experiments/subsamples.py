"""Errors that a pilot of labels shows at sizes below its own, without one further label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.experiments.probes import loss, predictions


def subsampled_errors(
    features: Mapping[str, Array],
    y: Array,
    sizes: Sequence[int],
    *,
    n_splits: int,
    probe: Any,
    n_classes: int | None,
    seed: int,
) -> Array:
    """Error of each pilot row when it is left out, shape (features, sizes, n).

    For every size, the rows are left out in blocks, all of them equally often, and a probe learns
    from as many of the other rows as the size says; feature sets share the splits, so that
    differences between them are paired. Means over splits of which there are at least
    ``n_splits`` a size.
    """
    n = len(y)
    errors = np.zeros((len(features), len(sizes), n))
    for s, size in enumerate(sizes):
        n_rounds = 0
        rng = np.random.default_rng([seed, s])
        while n_rounds * _blocks(n, size) < n_splits:
            n_rounds += 1
            for train, out in _round(n, size, rng):
                fold_seed = rng.integers(2**32)
                for f, X in enumerate(features.values()):
                    found = predictions(
                        probe, X[train], y[train], X[out], n_classes=n_classes, seed=fold_seed
                    )
                    errors[f, s, out] += loss(found, y[out], n_classes)
        errors[:, s] /= n_rounds
    return errors


def _blocks(n: int, size: int) -> int:
    return -(-n // (n - size))


def _round(n: int, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Rows to learn from (size,) and rows left out, the latter a partition of all rows."""
    for out in np.array_split(rng.permutation(n), _blocks(n, size)):
        others = np.setdiff1d(np.arange(n), out)
        yield rng.permutation(others)[:size], out
