"""Theory of masked regression against simulation, and its speed.

Run ``python benchmarks/masked.py kappa``: the effective ridge against 50 digits, and its time for
a million eigenvalues.

Run ``python benchmarks/masked.py errors``: test and training error at d = 990 over ten
covariances, n / d in 0.5, 1, 2, 5 and six penalties. Draws are appended to ``--file``; a run that
was stopped goes on where it was; ``--only NAME --draws 20`` adds draws for one covariance. Beside
each gap stands the standard error of the simulated mean; "warned" are penalties at which the
library warns.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from foretell.theory.masked.covariances import Covariance, benchmark_covariances
from foretell.theory.masked.errors import EquivalentWarning, masked_path, masked_regression
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.effective_ridge import effective_ridge, ridges

RATIOS = (0.5, 1.0, 2.0, 5.0)
PENALTIES = (1e-6, 1e-3, 1e-2, 0.1, 1.0, 10.0)
BOUNDS = {"test": 0.005, "training": 0.02}


def milliseconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Best processor time of several runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def exact_ridge(tau: np.ndarray, n: int, alpha: float) -> Any:
    """Effective ridge to 50 digits, by Newton's method from the one in double precision."""
    import mpmath

    mpmath.mp.dps = 60
    values = [mpmath.mpf(float(t)) for t in tau]
    kappa = mpmath.mpf(effective_ridge(tau, n, alpha))
    for _ in range(5):
        gap = kappa * (1 - sum(t / (t + kappa) for t in values) / n) - mpmath.mpf(alpha)
        kappa -= gap / (1 - sum((t / (t + kappa)) ** 2 for t in values) / n)
    assert abs(gap) < mpmath.mpf(10) ** -45 * max(kappa, alpha)
    return kappa


def kappa(_: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    spectra = {
        "lognormal": np.exp(rng.normal(size=40)),
        "1e-11 to 1": np.geomspace(1e-11, 1, 40),
        "identity": np.ones(40),
        "1 and 100 to 1e8": np.r_[np.ones(36), 1e2, 1e4, 1e6, 1e8],
        "1 / j^2": 1 / np.arange(1.0, 41) ** 2,
    }
    print("largest relative error of kappa against 50 digits, d = 40")
    for name, tau in spectra.items():
        worst = 0.0
        for n in (2, 5, 10, 20, 39, 40, 41, 80, 400):
            for alpha in (0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 1e4):
                if alpha > 0 or n < 40:
                    exact = exact_ridge(tau, n, alpha)
                    worst = max(worst, abs(float(effective_ridge(tau, n, alpha) / exact - 1)))
        print(f"  {name:18} {worst:.1e}")
    print("a million eigenvalues, processor times in ms (50 penalties from 1e-8 to 100)")
    d, grid = 10**6, np.geomspace(1e-8, 1e2, 50)
    large = {"lognormal": np.exp(rng.normal(size=d)), "1 / j": 1 / np.arange(1.0, d + 1)}
    for name, tau in large.items():
        few, counts = compressed(tau, np.ones(d))
        shrink = milliseconds(lambda: compressed(tau, np.ones(d)))  # noqa: B023
        for n in (d // 2, d, 2 * d):
            one = max(milliseconds(lambda: effective_ridge(tau, n, a), 3) for a in (1e-6, 1e-2, 1))  # noqa: B023
            fifty = milliseconds(lambda: ridges(few, counts, n, grid))  # noqa: B023
            full = [effective_ridge(tau, n, float(a)) for a in grid[::7]]
            gap = np.abs(effective_ridge(tau, n, grid)[::7] / full - 1).max()
            print(f"  {name:10} n/d {n / d:3.1f}: one {one:5.1f}, compression {shrink:5.1f}, "
                  f"then 50 {fifty:4.1f}; difference {gap:.1e}")  # fmt: skip


def draw(covariance: Covariance, n: int, alphas: list[float], rng: np.random.Generator) -> Any:
    """Mean errors of one sample at each penalty, exact given the sample, (L, 2).

    With Q = (C + alpha)^-1 the errors are (Q S Q)_kk / Q_kk^2, where S is the covariance for the
    test error and C for the training error.
    """
    X = covariance.color(rng.standard_normal((n, covariance.d)))
    values, vectors = np.linalg.eigh(X.T @ X / n)
    values = np.maximum(values, 0.0)
    values[: max(0, covariance.d - n)] = 0.0
    squares = vectors**2
    inside = vectors.T @ covariance.matrix() @ vectors
    errors = []
    for alpha in alphas:
        inverse = 1 / (values + alpha)
        weighted = vectors * inverse
        scale = (squares @ inverse) ** 2
        test = ((weighted @ inside) * weighted).sum(axis=1) / scale
        train = squares @ (values * inverse**2) / scale
        errors.append([float(test.mean()), float(train.mean())])
    return errors


def penalties(ratio: float, everything: bool) -> list[float]:
    """Penalties at n = ratio d; at n = d those for which the theory is not meant are left out."""
    return [a for a in PENALTIES if ratio != 1 or a > 1e-3 or everything]


def settings(options: argparse.Namespace) -> Iterator[tuple[str, Covariance, float]]:
    for name, covariance in benchmark_covariances(options.d).items():
        for ratio in RATIOS:
            yield name, covariance, ratio


def simulate(options: argparse.Namespace) -> dict[tuple[str, float], list[Any]]:
    """Errors of all draws, from the file and new ones."""
    found: dict[tuple[str, float], dict[int, Any]] = {}
    if options.file.exists():
        for line in options.file.read_text().splitlines():
            row = json.loads(line)
            if row["d"] == options.d:
                found.setdefault((row["name"], row["ratio"]), {})[row["draw"]] = row["errors"]
    for i in range(options.draws):
        for name, covariance, ratio in settings(options):
            done = found.setdefault((name, ratio), {})
            if i in done or (options.only and options.only not in name):
                continue
            seed = zlib.crc32(f"{name} {ratio} {options.d} {i}".encode())
            rng = np.random.default_rng(seed)
            done[i] = draw(covariance, round(ratio * options.d), penalties(ratio, True), rng)
            row = {"name": name, "ratio": ratio, "d": options.d, "draw": i, "errors": done[i]}
            with options.file.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return {key: [draws[i] for i in sorted(draws)] for key, draws in found.items()}


def errors(options: argparse.Namespace) -> None:
    simulated = simulate(options)
    worst: dict[str, tuple[float, str]] = dict.fromkeys(BOUNDS, (0.0, ""))
    n_lines, beyond = 0, []
    print(f"{'covariance':14} {'n/d':>4} {'alpha':>7} {'test':>9} {'sim/theory-1':>13} {'s.e.':>6}"
          f" {'training':>9} {'sim/theory-1':>13} {'s.e.':>6}   (per cent)")  # fmt: skip
    for name, covariance, ratio in settings(options):
        if not (draws := simulated.get((name, ratio))):
            continue
        n, alphas = round(ratio * options.d), penalties(ratio, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EquivalentWarning)
            path = masked_path(covariance, n, alphas)
        theory = np.stack([path.test_error, path.train_error], axis=1)
        ratios = np.array(draws) / theory - 1
        gaps, spread = ratios.mean(axis=0), ratios.std(axis=0, ddof=1) / len(draws) ** 0.5
        for i, alpha in enumerate(alphas):
            left_out = alpha not in penalties(ratio, False)
            warned = " warned" if is_warned(covariance, n, alpha) else ""
            line = f"{name:14} {ratio:4g} {alpha:7.0e} " + " ".join(
                f"{theory[i, j]:9.3g} {100 * gaps[i, j]:13.3f} {100 * spread[i, j]:6.3f}"
                for j in range(2)
            )
            print(line + (" left out" if left_out else "") + warned)
            if left_out:
                continue
            n_lines += 1
            for (key, bound), gap, error in zip(
                BOUNDS.items(), np.abs(gaps[i]), spread[i], strict=True
            ):
                worst[key] = max(worst[key], (float(gap), line))
                if gap > bound:
                    sure = "" if gap - 2 * error > bound else " (by less than 2 s.e.)"
                    beyond.append(f"{key}{sure}: {line}")
    print(f"\n{n_lines} lines")
    for key, (gap, line) in worst.items():
        print(f"worst {key} error {100 * gap:.3f} % (bound {100 * BOUNDS[key]:g} %)\n  {line}")
    print("beyond the bounds:", *(beyond or ["none"]), sep="\n  ")


def is_warned(covariance: Covariance, n: int, alpha: float) -> bool:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        masked_regression(covariance, n, alpha)
    return any(issubclass(w.category, EquivalentWarning) for w in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    commands.add_parser("kappa", help="effective ridge").set_defaults(run=kappa)
    one = commands.add_parser("errors", help="test and training error against simulation")
    one.add_argument("--draws", type=int, default=4)
    one.add_argument("--d", type=int, default=990)
    one.add_argument("--only", default="", help="covariances whose name contains this")
    one.add_argument("--file", type=Path, default=Path("masked-errors.jsonl"))
    one.set_defaults(run=errors)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
