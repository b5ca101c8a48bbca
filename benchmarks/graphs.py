"""Speed, memory and accuracy of positive-pair graphs at N = 100,000.

Run ``python benchmarks/graphs.py scale``: 64 leading eigenpairs of three graphs with 10⁵ vertices,
each in a fresh process: 12,500 samples with 8 drawn points each (Gaussian noise in six dimensions,
exact densities), 100,000 samples of few points each, and a neighbour graph given by its weights
only. CPU seconds include the normalisation, peak memory the whole process, residuals are the
largest norm of Āv - λv. ``--peers`` adds Lanczos without a filter, PROPACK, randomised SVD and
LOBPCG on the same graphs, each stopped after ``--limit`` CPU seconds.
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


def build(name: str) -> tuple[Any, Callable[[], PositivePairGraph]]:
    """What the graph is made of, and how."""
    if name == "weights":
        W = neighbor_weights(100_000, 10)
        return W, lambda: PositivePairGraph(W)
    A = augmentations(12_500, 8, 64) if name == "kernel" else augmentations(100_000, 1, 8)
    return A, lambda: PositivePairGraph.from_augmentations(A)


def solve(solver: str, graph: PositivePairGraph) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors by one of the solvers."""
    inner, rng = graph.normalized, np.random.default_rng(0)
    if solver == "foretell":
        found = graph.pairs(RANK)
        return found.values, found.vectors
    operator = LinearOperator((graph.n, graph.n), matvec=inner.matvec, matmat=inner.matvec)
    if solver == "eigsh":
        return eigsh(operator, RANK, which="LA", tol=1e-9, rng=rng)
    if solver == "lobpcg":
        start = np.hstack([inner.roots[:, None], rng.standard_normal((graph.n, RANK - 1))])
        return lobpcg(operator, start, tol=1e-7, maxiter=200)
    if inner.factor is None:
        raise SystemExit("needs a factor")
    if solver == "propack":
        _, s, Vt = svds(inner.factor, RANK, solver="propack", rng=rng, tol=1e-8, maxiter=2000)
    else:
        from sklearn.utils.extmath import randomized_svd

        _, s, Vt = randomized_svd(inner.factor, RANK, random_state=0)
    return s**2, Vt.T


def one(name: str, solver: str) -> None:
    """One graph and solver, in this process."""
    _, make = build(name)
    start = time.process_time()
    graph = make()
    values, V = solve(solver, graph)
    seconds = time.process_time() - start
    residual = np.linalg.norm(graph.normalized.matvec(V) - V * values, axis=0).max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    last = np.sort(values)[0]
    print(f"{seconds:8.1f} CPU s {peak:6.2f} GB   residual {residual:.1e}   λ_{RANK} {last:.8f}")


def scale(args: argparse.Namespace) -> None:
    for name in args.graph or GRAPHS:
        for solver in SOLVERS if args.peers else SOLVERS[:1]:
            call = [sys.executable, __file__, "one", "--graph", name, "--solver", solver]
            limit = ["sh", "-c", f'ulimit -t {args.limit}; exec "$@"', "sh"]
            done = subprocess.run([*limit, *call], capture_output=True, text=True)
            errors = done.stderr.strip().splitlines()
            failed = errors[-1] if errors else f"more than {args.limit} CPU s"
            print(f"{name:8} {solver:10} {done.stdout.strip() or failed}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["scale", "one"])
    parser.add_argument("--graph", choices=GRAPHS, action="append")
    parser.add_argument("--solver", choices=SOLVERS, default="foretell")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--limit", type=int, default=120, help="CPU seconds a solver")
    args = parser.parse_args()
    if args.what == "one":
        one(args.graph[0], args.solver)
    else:
        scale(args)


if __name__ == "__main__":
    main()
