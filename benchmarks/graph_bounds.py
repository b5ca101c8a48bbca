"""Bounds on positive-pair graphs against the truth: violations and ratios, over random graphs.

    python benchmarks/graph_bounds.py probe [--graphs 200]
    python benchmarks/graph_bounds.py trained [--graphs 200]
    python benchmarks/graph_bounds.py partition [--graphs 60]
    python benchmarks/graph_bounds.py large [--vertices 100000]

``probe``: bound on risk and error of the best linear head, all k, graphs of 5 to 60 vertices.
``trained``: the bound from the excess pre-training loss, on perturbed embeddings. ``partition``:
the search for the sparsest partition against brute force, up to 8 vertices. ``large``: CPU seconds
of a partition, a probe and its bound on a sparse graph.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np

from foretell.theory.graphs.partitions import conductance
from foretell.theory.graphs.probe import probe
from foretell.theory.graphs.sparsest import sparsest_partition
from foretell.theory.graphs.trained_probe import trained_probe
from foretell.theory.graphs.weights import NormalizedGraph, normalized_weights

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = ("dense", "sparse", "blocks")


def random_weights(rng: np.random.Generator, kind: str, n: int, classes: int) -> tuple[Any, Array]:
    """Weights, and the blocks behind them (random labels if there are none)."""
    y = rng.permutation(np.append(np.arange(classes), rng.integers(classes, size=n - classes)))
    if kind == "dense":
        W = rng.random((n, n)) ** rng.integers(1, 6)
    elif kind == "sparse":
        W = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 4.0 / n))
        W[np.arange(n - 1), np.arange(1, n)] += 0.05 * rng.random(n - 1)
    else:
        leak = 10 ** rng.uniform(-4, -0.3)
        W = rng.random((n, n)) * np.where(np.equal.outer(y, y), 1.0, leak)
    return W + W.T, y


def case(seed: int) -> tuple[str, str, NormalizedGraph, Array, Any]:
    """Kind of graph, kind of labels, the graph, labels and all eigenpairs."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 61))
    kind, classes = KINDS[seed % 3], int(rng.integers(2, 6))
    W, y = random_weights(rng, kind, n, classes)
    graph, _ = normalized_weights(W)
    values, vectors = np.linalg.eigh(np.asarray(graph.adjacency))
    pairs = SimpleNamespace(values=values[::-1], vectors=vectors[:, ::-1])
    follows = kind == "blocks"
    if not follows and seed % 2:
        y, follows = sparsest_partition(graph, classes, pairs=pairs, n_starts=2).labels, True
    return kind, "cluster" if follows else "random", graph, y, pairs


def table(rows: list[tuple[str, float, float, float]], what: str) -> None:
    """Print ratios of bound to truth by group, and violations."""
    groups = sorted({row[0] for row in rows})
    print(f"{what:34} cases  violations  useful  truth 0  ratio: min  10 %  median  90 %")
    for group in groups:
        truth, bound, chance = np.array([row[1:] for row in rows if row[0] == group]).T
        known = truth > 1e-12
        ratios = np.quantile(bound[known] / truth[known], [0, 0.1, 0.5, 0.9])
        print(
            f"{group:34} {len(truth):5d}  {(truth > bound + 1e-12).sum():10d}  "
            f"{(bound < chance).mean():6.2f}  {(~known).mean():7.2f}        "
            + "  ".join(f"{r:5.3g}" for r in ratios)
        )


def probes(count: int) -> None:
    risk, error = [], []
    for seed in range(count):
        kind, labels, graph, y, pairs = case(seed)
        classes = len(set(y.tolist()))
        for k in range(1, graph.n):
            found = probe(graph, y, k, pairs=pairs)
            group = f"{kind}, {labels} labels, k {'<' if k < classes else '>='} classes"
            impurity = 1 - (found.bound.shares**2).sum()
            risk.append((group, found.squared_risk, found.bound.risk, impurity))
            error.append((group, found.error, found.bound.error, found.bound.chance))
    table(risk, "squared risk")
    table(error, "0-1 error")


def trained(count: int) -> None:
    rows = []
    for seed in range(count):
        kind, labels, graph, y, pairs = case(seed)
        rng = np.random.default_rng(seed)
        for size in (1e-4, 1e-3, 1e-2, 1e-1):
            k = int(rng.integers(1, graph.n // 2))
            F = pairs.vectors[:, :k] * np.sqrt(np.maximum(pairs.values[:k], 0.0))
            F = F + size * rng.normal(size=F.shape)
            found = trained_probe(graph, F / np.sqrt(graph.degrees)[:, None], y, pairs=pairs)
            group = f"{kind}, {labels} labels, noise {size:g}"
            rows.append((group, found.fit.squared_risk, found.bound.risk, 1.0))
    table(rows, "squared risk from excess loss")


def partitions(count: int) -> None:
    for m in (2, 3, 4):
        ratios, lower = [], []
        for seed in range(count):
            rng = np.random.default_rng(seed)
            n = int(rng.integers(m + 1, 9))
            W, _ = random_weights(rng, KINDS[seed % 3], n, 2)
            graph, _ = normalized_weights(W)
            H = np.equal.outer(np.array(list(product(range(m), repeat=n))), np.arange(m))
            H = H[H.any(axis=1).all(axis=1)].astype(float)
            inside = np.einsum("pxm,xy,pym->pm", H, np.asarray(graph.weights), H, optimize=True)
            best = (1 - inside / np.einsum("pxm,x->pm", H, graph.degrees)).max(axis=1).min()
            found = sparsest_partition(graph, m)
            ratios.append(found.upper / best)
            lower.append(best / found.lower)
        print(
            f"m = {m}: exact in {np.mean(np.array(ratios) < 1 + 1e-9):.2f}, found / best at most "
            f"{max(ratios):.3f}; best / lower bound {np.median(lower):.3g} (median)"
        )


def large(n: int) -> None:
    from scipy.sparse import coo_array

    from foretell.theory.graphs.eigenpairs import eigenpairs

    rng = np.random.default_rng(0)
    blocks = rng.integers(10, size=n)
    order = np.argsort(blocks, kind="stable")
    start = np.searchsorted(blocks[order], np.arange(11))
    i = np.repeat(np.arange(n), 8)
    own = order[rng.integers(start[blocks[i]], start[blocks[i] + 1])]
    j = np.where(rng.random(len(i)) < 0.05, rng.integers(n, size=len(i)), own)
    W = coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    graph, kept = normalized_weights(W + W.T, isolated="drop")
    pairs = timed("eigenpairs, k = 17", lambda: eigenpairs(graph, 17))
    found = timed("partition into 10", lambda: sparsest_partition(graph, 10, pairs=pairs))
    print(f"{found}; blocks themselves {conductance(graph, blocks[kept]).largest:.4g}")
    print(timed("probe, k = 16", lambda: probe(graph, blocks[kept], 16, pairs=pairs)))


def timed(name: str, run: Any) -> Any:
    start = time.process_time()
    result = run()
    print(f"{name}: {time.process_time() - start:.1f} CPU s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["probe", "trained", "partition", "large"])
    parser.add_argument("--graphs", type=int, default=None)
    parser.add_argument("--vertices", type=int, default=100_000)
    given = parser.parse_args()
    if given.what == "large":
        large(given.vertices)
    elif given.what == "partition":
        partitions(given.graphs or 60)
    else:
        {"probe": probes, "trained": trained}[given.what](given.graphs or 200)


if __name__ == "__main__":
    main()
