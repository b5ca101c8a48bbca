"""Masked regression on real tables beside scikit-learn, and its choice of the penalty.

    python benchmarks/masked_real.py ridgecv  # held-out error and time against RidgeCV per column
    python benchmarks/masked_real.py speed    # time against that loop, d = 200
    python benchmarks/masked_real.py regret   # chosen penalty against the best, exact risk
    python benchmarks/masked_real.py regret 160 4  # the same with d = 160, four draws each

One thread each: OPENBLAS_NUM_THREADS=1 is set here before NumPy is loaded.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Any

import numpy as np

ALPHAS = np.geomspace(1e-6, 1e4, 41)  # in units of the variance, times the number of rows
SPLITS = 10


def tables() -> dict[str, np.ndarray]:
    from sklearn import datasets

    from foretell.data.samples import PORTFOLIOS, load_french

    french = load_french()
    digits = datasets.load_digits().data
    return {
        "breast_cancer": datasets.load_breast_cancer().data,
        "wine": datasets.load_wine().data,
        "diabetes": datasets.load_diabetes().data,
        "digits": digits[:, digits.std(axis=0) > 0.5],
        "french": np.column_stack([np.asarray(french[name]) for name in PORTFOLIOS]),
    }


def ridge_per_column(X: np.ndarray, alphas: np.ndarray = ALPHAS, **options: Any) -> Any:
    """Predictions of new rows by RidgeCV of each standardized column on the others."""
    from sklearn.linear_model import RidgeCV

    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = (X - mean) / scale
    columns = range(X.shape[1])
    models = [
        RidgeCV(len(X) * alphas, **options).fit(np.delete(Z, k, axis=1), Z[:, k]) for k in columns
    ]

    def predict(new: np.ndarray) -> np.ndarray:
        new = (new - mean) / scale
        found = [models[k].predict(np.delete(new, k, axis=1)) for k in columns]
        return np.stack(found, axis=1) * scale + mean

    return predict


def split(X: np.ndarray, n_train: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and others, in units of the deviation; no column constant in the first."""
    X = X / X.std(axis=0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    train, test = X[order[:n_train]], X[order[n_train:]]
    keep = train.std(axis=0) > 0
    return train[:, keep], test[:, keep]


def ridgecv() -> None:
    """Held-out error, mean over columns in units of the variance, against RidgeCV per column."""
    from foretell import MaskedRegression

    print(f"{'table':<16}{'n':>6}{'d':>5}{'RidgeCV':>10}{'common':>18}{'per target':>18}{'gcv':>9}")
    for name, X in tables().items():
        for n in (X.shape[1], 3 * X.shape[1], len(X) // 2, len(X) * 4 // 5):
            if n > len(X) * 4 // 5:
                continue
            errors, seconds = [], np.zeros(4)
            for seed in range(SPLITS):
                train, test = split(X, n, seed)
                one = []
                for j, fit in enumerate(
                    (
                        lambda X: ridge_per_column(X),
                        lambda X: MaskedRegression().fit(X).transform,
                        lambda X: MaskedRegression(alpha_per_target=True).fit(X).transform,
                        lambda X: MaskedRegression("gcv").fit(X).transform,
                    )
                ):
                    start = time.perf_counter()
                    predict = fit(train)
                    seconds[j] += time.perf_counter() - start
                    one.append(((test - predict(test)) ** 2).mean())
                errors.append(one)
            mean = np.mean(errors, axis=0)
            gap = np.array(errors) / np.array(errors)[:, :1] - 1
            se = gap.std(axis=0) / np.sqrt(SPLITS)
            shown = [f"{100 * (mean[j] / mean[0] - 1):+9.2f}±{100 * se[j]:.2f}%" for j in (1, 2)]
            print(
                f"{name:<16}{n:>6}{train.shape[1]:>5}{mean[0]:>10.4f}{shown[0]:>18}{shown[1]:>18}"
                f"{100 * (mean[3] / mean[0] - 1):>+8.2f}%"
                f"   times {seconds[0] / seconds[1]:.0f}, {seconds[0] / seconds[2]:.0f}",
                flush=True,
            )  # fmt: skip


def covariances(d: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ten covariances, delocalised directions for the spikes."""
    k = np.arange(d)
    lags = np.abs(k[:, None] - k)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    power = (k + 1.0) ** -1.0
    power *= d / power.sum()
    size, blocks = d // 10, np.zeros((d, d))
    for j in range(10):
        part = slice(j * size, (j + 1) * size if j < 9 else d)
        r, variance = (0.2, 0.5, 0.8)[j % 3], (0.5, 1.0, 3.0)[j // 3 % 3]
        blocks[part, part] = variance * r
    blocks[k, k] = np.array([(0.5, 1.0, 3.0)[min(9, j // size) // 3 % 3] for j in k])
    graded = np.sqrt(np.linspace(0.2, 4.0, d))
    return {
        "identity": np.eye(d),
        "spike 4": np.eye(d) + 4 * np.outer(axes[0], axes[0]),
        "spikes 6, 3": np.eye(d) + axes[:2].T * [6.0, 3.0] @ axes[:2],
        **{f"AR {rho}": rho**lags for rho in (0.5, 0.9, 0.99)},
        "power, diagonal": np.diag(power),
        "power, Haar": axes.T * power @ axes,
        "blocks": blocks,
        "graded": 0.8**lags * np.outer(graded, graded),
    }


def regret(d: int = 480, draws: int = 1) -> None:
    """Exact risk at the chosen penalty over that at the best one, minus 1."""
    from scipy.optimize import minimize_scalar

    from foretell.data.sources import ArraySource
    from foretell.models.masked import fit_masked
    from foretell.models.masked_path import complement, resolvent

    rng = np.random.default_rng(0)
    worst = {"loo": 0.0, "gcv": 0.0}
    print(f"{'covariance':<18}{'n/d':>5}{'best alpha':>12}{'loo':>12}{'regret':>10}{'gcv':>12}")
    for name, S in covariances(d, rng).items():
        root = np.linalg.cholesky(S)
        for ratio in (0.5, 2.0, 5.0):
            for _ in range(draws):
                X = rng.standard_normal((int(ratio * d), d)) @ root.T
                options = {"standardize": False, "center": False}
                fits = {rule: fit_masked(ArraySource(X), alpha=rule, **options) for rule in worst}
                spaces = fits["loo"].spaces

                def risk(alpha: float, spaces: Any = spaces, S: Any = S) -> float:
                    left = complement(spaces, resolvent(spaces, alpha))
                    return float((left * (S @ left)).sum() / d)

                least = min(
                    (
                        minimize_scalar(
                            lambda t: risk(np.exp(t)),
                            bounds=(np.log(alpha) - 2, np.log(alpha) + 2),
                            method="bounded",
                            options={"xatol": 1e-2},
                        )
                        for alpha in {min(f.alpha, 1e3) for f in fits.values()}
                    ),
                    key=lambda found: found.fun,
                )
                if name == "identity":
                    least.x, least.fun = np.inf, risk(np.inf)
                gaps = {rule: risk(f.alpha) / least.fun - 1 for rule, f in fits.items()}
                worst = {rule: max(worst[rule], gaps[rule]) for rule in worst}
                print(
                    f"{name:<18}{ratio:>5}{np.exp(least.x):>12.4g}{fits['loo'].alpha:>12.4g}"
                    f"{gaps['loo']:>10.1e}{fits['gcv'].alpha:>12.4g}{gaps['gcv']:>10.1e}",
                    flush=True,
                )
    print(f"largest regret: {worst['loo']:.1e} by LOO, {worst['gcv']:.1e} by GCV; required 1e-3")


def speed(d: int = 200) -> None:
    """Time of the fit with all leave-one-out errors against the loop over columns."""
    from foretell import MaskedRegression

    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d))))
    for n in (100, 500, 2000):
        X = rng.standard_normal((n, d)) @ root.T
        times = []
        for fit in (
            lambda X: MaskedRegression().fit(X),
            lambda X: MaskedRegression(alpha_per_target=True).fit(X),
            lambda X: ridge_per_column(X, np.geomspace(1e-4, 1e3, 15)),
        ):
            best = np.inf
            for _ in range(3 if len(times) < 2 else 1):
                start = time.perf_counter()
                fit(X)
                best = min(best, time.perf_counter() - start)
            times.append(best)
        print(
            f"d={d}, n={n}: common {times[0]:.3f} s, per target {times[1]:.3f} s, RidgeCV loop "
            f"{times[2]:.2f} s (15 penalties): {times[2] / times[0]:.0f} and "
            f"{times[2] / times[1]:.0f} times; required 20"
        )


if __name__ == "__main__":
    commands = {"ridgecv": ridgecv, "speed": speed, "regret": regret}
    commands[sys.argv[1] if len(sys.argv) > 1 else "ridgecv"](*map(int, sys.argv[2:]))
