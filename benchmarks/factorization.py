"""Gradient flow of symmetric low-rank factorization: time and memory of large cases, and accuracy.

    python benchmarks/factorization.py flow [--d 5000] [--k 20] [--times 1000] [--low-rank 0]
    python benchmarks/factorization.py accuracy [--targets 50]

``flow``: ``solution`` after the eigendecomposition, for a target with normal eigenvalues (half of
them negative) and a start of size 1e-3. ``accuracy``: against DOP853 at tolerance 1e-12 on random
targets, d up to 50, t up to 100/gap.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from foretell.theory import FactorizationFlow
from foretell.theory.factorization import Target

SMALLEST = 1e-5
Array = np.ndarray[Any, np.dtype[Any]]


def large(d: int, k: int, count: int, low_rank: int) -> None:
    from scipy.fft import dct

    rng = np.random.default_rng(0)
    p = low_rank or d
    V = dct(np.eye(d), norm="ortho") * rng.choice([-1.0, 1.0], (d, 1))  # orthogonal, made quickly
    target = Target(np.sort(rng.normal(size=p))[::-1], np.ascontiguousarray(V[:, :p]))
    flow = FactorizationFlow(target, 1e-3 * rng.normal(size=(d, k)))
    times = np.linspace(0.0, 50.0, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, cpu = time.perf_counter(), time.process_time()
    X = flow.solution(times)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"solution{X.shape}: {wall:.1f} s, {cpu:.1f} CPU s, {peak:.2f} GB ({before:.2f} before)")
    last = len(times) // 2
    again = flow.gram(times[last]) - X[last] @ X[last].T
    print(f"XX' - P at t = {times[last]:.1f}: {np.abs(again).max():.1e}")


def random_case(seed: int) -> tuple[Array, Array, Array, float]:
    """Target, start (d, rank), orthonormal rows (rank, k), and the time 100/gap."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 51))
    k = int(rng.integers(1, d + 1))
    rank = int(rng.integers(1, k + 1))
    values = rng.uniform(-1, 1, d)
    if seed % 3 == 1:
        values[rng.random(d) < 0.5] = 0.0
    if seed % 3 == 2:
        values = rng.choice([1.0, 0.5, 0.2, 0.0, -0.5], d)
    V = np.linalg.qr(rng.normal(size=(d, d)))[0]
    M = (V * values) @ V.T
    start = 10 ** rng.uniform(-3, 0.3) * rng.normal(size=(d, rank)) / np.sqrt(d)
    rows = np.linalg.qr(rng.normal(size=(k, rank)))[0].T
    gap = np.diff(np.unique(np.append(values, 0.0).round(9))).min(initial=1.0)
    return (M + M.T) / 2, start, rows, 100 / max(float(gap), 1e-3)


def accuracy(count: int) -> None:
    from scipy.integrate import solve_ivp

    print(
        f"{'d':>4}{'k':>4}{'rank':>5}{'100/gap':>9}{'solution':>10}{'gram':>9}{'s':>7}{'ODE s':>8}"
    )
    for seed in range(count):
        M, A, W, stop = random_case(seed)
        times = np.concatenate([[0.0], np.geomspace(1e-2, stop, 25)])

        def slope(_: float, x: Array, M: Array = M, A: Array = A) -> Array:
            X = x.reshape(A.shape)
            return (M @ X - X @ (X.T @ X)).ravel()

        begin = time.perf_counter()
        flow = FactorizationFlow(M, A @ W)
        X, P = flow.solution(times), flow.gram(times)
        middle = time.perf_counter()
        found = solve_ivp(
            slope, (0, stop), A.ravel(), method="DOP853", rtol=1e-12, atol=1e-15, t_eval=times
        )
        end = time.perf_counter()
        expected = found.y.T.reshape(-1, *A.shape) @ W
        gram = expected @ np.swapaxes(expected, 1, 2)
        errors = [
            (
                np.linalg.norm(a - b, axis=(1, 2))
                / np.maximum(np.linalg.norm(b, axis=(1, 2)), SMALLEST)  # the solver has an atol
            ).max()
            for a, b in ((X, expected), (P, gram))
        ]
        print(
            f"{len(M):4d}{W.shape[1]:4d}{len(W):5d}{stop:9.0f}{errors[0]:10.1e}{errors[1]:9.1e}"
            f"{middle - begin:7.2f}{end - middle:8.2f}", flush=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    flow = commands.add_parser("flow")
    flow.add_argument("--d", type=int, default=5000)
    flow.add_argument("--k", type=int, default=20)
    flow.add_argument("--times", type=int, default=1000)
    flow.add_argument("--low-rank", type=int, default=0)
    commands.add_parser("accuracy").add_argument("--targets", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.command == "flow":
        large(arguments.d, arguments.k, arguments.times, arguments.low_rank)
    else:
        accuracy(arguments.targets)


if __name__ == "__main__":
    main()
