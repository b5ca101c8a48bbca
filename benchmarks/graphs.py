"""Speed, memory and accuracy of positive-pair graphs at N = 100,000.

Run ``python benchmarks/graphs.py scale``: 64 leading eigenpairs of three graphs with 10⁵ vertices,
each in a fresh process: 12,500 samples with 8 drawn points each (Gaussian noise in six dimensions,
exact densities), 100,000 samples of few points each, and a neighbour graph given by its weights
only. CPU seconds include the normalisation, peak memory the whole process, residuals are the
largest norm of Āv - λv. ``peers`` compares Lanczos without a filter, PROPACK, randomised SVD and
LOBPCG on smaller graphs of the same kinds, 20,000 vertices and 32 eigenpairs, each stopped after
``--limit`` CPU seconds (about two minutes in all); ``scale --peers`` does so at full size.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg, svds
from scipy.spatial import cKDTree

from foretell.theory.graphs.graph import PositivePairGraph

RANK = 64
GRAPHS = ("kernel", "square", "weights")
SOLVERS = ("foretell", "eigsh", "propack", "randomised", "lobpcg")


def normal_samples(m: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Rows around 20 centers."""
    centers = 3 * rng.standard_normal((20, d))
    return centers[rng.integers(20, size=m)] + rng.standard_normal((m, d))


def augmentations(m: int, views: int, neighbors: int, noise: float = 0.5, d: int = 6) -> Any:
    """Densities of drawn points given samples, for a sample's own and its nearest points."""
    rng = np.random.default_rng(0)
    X = normal_samples(m, d, rng)
    points = np.repeat(X, views, axis=0) + noise * rng.standard_normal((m * views, d))
    near = cKDTree(points).query(X, neighbors)[1]
    columns = np.hstack([near, np.arange(m * views).reshape(m, views)])
    rows = np.repeat(np.arange(m), columns.shape[1])
    pairs = np.unique(np.stack([rows, columns.ravel()]), axis=1)
    squares = ((X[pairs[0]] - points[pairs[1]]) ** 2).sum(axis=1)
    A = sp.csr_array((np.exp(-squares / (2 * noise**2)), pairs), shape=(m, m * views))
    A.data /= np.repeat(A.sum(axis=1), np.diff(A.indptr))
    return A


def neighbor_weights(n: int, neighbors: int, d: int = 6) -> Any:
    """Symmetric weights of nearest neighbours."""
    X = normal_samples(n, d, np.random.default_rng(0))
    distance, near = cKDTree(X).query(X, neighbors + 1)
    rows = np.repeat(np.arange(n), neighbors)
    data = np.exp(-(distance[:, 1:] ** 2).ravel())
    W = sp.csr_array((data, (rows, near[:, 1:].ravel())), shape=(n, n))
    return W + W.T


def build(name: str, n: int) -> Callable[[], PositivePairGraph]:
    """How to make the graph of n vertices, from what is there already."""
    if name == "weights":
        W = neighbor_weights(n, 10)
        return lambda: PositivePairGraph(W)
    A = augmentations(n // 8, 8, 64) if name == "kernel" else augmentations(n, 1, 8)
    return lambda: PositivePairGraph.from_augmentations(A)


def solve(solver: str, graph: PositivePairGraph, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues and their eigenvectors by one of the solvers."""
    inner, rng = graph.normalized, np.random.default_rng(0)
    if solver == "foretell":
        found = graph.pairs(k)
        return found.values, found.vectors
    operator = LinearOperator((graph.n, graph.n), matvec=inner.matvec, matmat=inner.matvec)
    if solver == "eigsh":
        return eigsh(operator, k, which="LA", tol=1e-9, rng=rng)
    if solver == "lobpcg":
        start = np.hstack([inner.roots[:, None], rng.standard_normal((graph.n, k - 1))])
        return lobpcg(operator, start, tol=1e-7, maxiter=200)
    if inner.factor is None:
        raise SystemExit("needs a factor")
    if solver == "propack":
        _, s, Vt = svds(inner.factor, k, solver="propack", rng=rng, tol=1e-8, maxiter=2000)
    else:
        from sklearn.utils.extmath import randomized_svd

        _, s, Vt = randomized_svd(inner.factor, k, random_state=0)
    return s**2, Vt.T


def one(name: str, solver: str, n: int, k: int) -> None:
    """One graph and solver, in this process."""
    make = build(name, n)
    start = time.process_time()
    graph = make()
    values, V = solve(solver, graph, k)
    seconds = time.process_time() - start
    residual = np.linalg.norm(graph.normalized.matvec(V) - V * values, axis=0).max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    last = np.sort(values)[0]
    print(f"{seconds:8.1f} CPU s {peak:6.2f} GB   residual {residual:.1e}   λ_{k} {last:.8f}")


def compare(names: list[str], solvers: tuple[str, ...], n: int, k: int, limit: int) -> None:
    """Every graph and solver in a process of its own."""
    for name in names:
        for solver in solvers:
            call = [sys.executable, __file__, "one", "--graph", name, "--solver", solver]
            call += ["--n", str(n), "--rank", str(k)]
            limited = ["sh", "-c", f'ulimit -t {limit}; exec "$@"', "sh"]
            done = subprocess.run([*limited, *call], capture_output=True, text=True)
            lines = done.stderr.strip().splitlines()
            failed = lines[-1] if lines else f"more than {limit} CPU s"
            print(f"{name:8} {solver:10} {done.stdout.strip() or failed}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["scale", "peers", "one"])
    parser.add_argument("--graph", choices=GRAPHS, action="append")
    parser.add_argument("--solver", choices=SOLVERS, default="foretell")
    parser.add_argument("--n", type=int, help="vertices")
    parser.add_argument("--rank", type=int, help="eigenpairs")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--limit", type=int, help="CPU seconds a solver")
    args = parser.parse_args()
    small = args.what == "peers"
    n, k = args.n or (20_000 if small else 100_000), args.rank or (32 if small else 64)
    if args.what == "one":
        one(args.graph[0], args.solver, n, k)
        return
    solvers = SOLVERS if small or args.peers else SOLVERS[:1]
    compare(args.graph or list(GRAPHS), solvers, n, k, args.limit or (20 if small else 120))


if __name__ == "__main__":
    main()
