"""Speed of the whole inference beside the bootstrap and beside PCA.

    python benchmarks/speed.py warm     # one process: inference / bootstrap, d=50, m=20000, n=500
    python benchmarks/speed.py cold     # fresh processes, imports included
    python benchmarks/speed.py wide     # d=1000, r=20, m=100000: time against PCA, memory
    python benchmarks/speed.py report   # `foretell report` on 50,000 x 50 from a cold start
    python benchmarks/speed.py imports  # `import foretell`

One thread each: OPENBLAS_NUM_THREADS=1 is set here before NumPy is loaded.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

D, R, M, N, B = 50, 3, 20_000, 500, 200


def data(d: int, r: int, m: int, n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.normal(size=(d, r)))[0] * np.sqrt(np.linspace(6, 2.5, r))

    def rows(k: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.standard_normal((k, d))
        z = rng.standard_normal((k, r))
        for start in range(0, k, 1000):  # no second array of this size
            X[start : start + 1000] += z[start : start + 1000] @ W.T
        return X, 0.5 + z.sum(axis=1) + rng.standard_normal(k)

    X, y = rows(n)
    return rows(m)[0], X, y, rows(20)[0]


def bootstrap(U: np.ndarray, X: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Tuned: resampled covariances from weighted products, top eigenvectors, normal equations."""
    from scipy.linalg import eigh

    rng = np.random.default_rng(1)
    m, d = U.shape
    n = len(y)
    out = np.empty((B, len(new)))
    for b in range(B):
        weight = np.bincount(rng.integers(0, m, m), minlength=m).astype(float)
        mean = weight @ U / m
        S = (U.T * weight) @ U / m - np.outer(mean, mean)
        V = eigh(S, subset_by_index=[d - R, d - 1])[1]
        pick = rng.integers(0, n, n)
        F = np.column_stack([np.ones(n), (X[pick] - mean) @ V])
        coef = np.linalg.solve(F.T @ F, F.T @ y[pick])
        out[b] = coef[0] + (new - mean) @ V @ coef[1:]
    return out.std(axis=0)


def inference(U: np.ndarray, X: np.ndarray, y: np.ndarray, new: np.ndarray, r: int = R):
    from foretell import FactorModel, TwoStageRegressor

    est = TwoStageRegressor(FactorModel(rank=r), pool=False).fit(X, y, X_unlabeled=U)
    law = est.excess_risk()
    law.ppf(np.array([0.05, 0.5, 0.95]))
    return est.get_prediction(new).se


def seconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def warm() -> None:
    sample = data(D, R, M, N)
    ours, theirs = inference(*sample), bootstrap(*sample)
    print(f"standard errors, median ratio to bootstrap: {np.median(ours / theirs):.3f}")
    a = seconds(lambda: inference(*sample), 9)
    b = seconds(lambda: bootstrap(*sample), 3)
    print(f"inference {a:.4f} s, bootstrap (B={B}) {b:.3f} s, ratio 1/{b / a:.0f}; required 1/40")


def cold() -> None:
    times: dict[str, list[float]] = {"inference": [], "bootstrap": []}
    for _ in range(5):
        for name, values in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, __file__, f"_{name}"], check=True)
            values.append(time.perf_counter() - start)
    a, b = (float(np.median(v)) for v in times.values())
    print(f"fresh process: inference {a:.2f} s, bootstrap {b:.2f} s, ratio {a / b:.2f}; required 1")


def wide() -> None:
    d, r, m, n = 1000, 20, 100_000, 5_000
    sample = data(d, r, m, n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    a = seconds(lambda: inference(*sample, r=r), 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    from sklearn.decomposition import PCA

    pca = PCA(r, svd_solver="randomized", random_state=0)
    b = seconds(lambda: pca.fit(sample[0]), 1)
    print(f"inference {a:.1f} s, randomised PCA {b:.1f} s, ratio {a / b:.2f}; required 5")
    print(f"peak memory {before:.2f} GB with the data, {after:.2f} GB after inference; required +2")


def report() -> None:
    _, X, y, _ = data(50, 3, 10, 50_000)
    y[500:] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        header = ",".join([*(f"x{j}" for j in range(50)), "y"])
        rows = np.column_stack([X, y])
        np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.6g")
        path.write_text(path.read_text().replace(",nan\n", ",\n"))
        start = time.perf_counter()
        output = str(Path(folder, "report.html"))
        command = [sys.executable, "-m", "foretell.cli", "report", str(path), "--target", "y"]
        subprocess.run([*command, "-o", output], check=True)
        print(f"report on 50,000 x 50: {time.perf_counter() - start:.1f} s; required 15")


def imports() -> None:
    bare = [sys.executable, "-c", "pass"]
    ours = [sys.executable, "-c", "import foretell"]
    a, b = (
        seconds(lambda command=command: subprocess.run(command, check=True), 9)
        for command in (ours, bare)
    )
    print(f"import foretell: {a - b:.3f} s beyond a bare interpreter; required 0.3")


if __name__ == "__main__":
    sample_commands = {"_inference": inference, "_bootstrap": bootstrap}
    name = sys.argv[1] if len(sys.argv) > 1 else "warm"
    if name in sample_commands:
        sample_commands[name](*data(D, R, M, N))
    else:
        {"warm": warm, "cold": cold, "wide": wide, "report": report, "imports": imports}[name]()
