"""Coverage of nominal 95 % intervals for E[y | x] in the factor model.

    python benchmarks/coverage.py [--replicates 1000] [--seed 0]

x = W z + e with 50 columns, rank 3, unit noise; y = 1/2 + b'z + N(0, 1), b = (1, 1, 1). Every
replicate draws new loadings, samples and 20 new rows. "same rows": all rows are labeled and enter
both stages. "naive": the one-stage formula on the learned features.
"""

from __future__ import annotations

import argparse

import numpy as np

from foretell import FactorModel, TwoStageRegressor
from foretell.theory import FactorPopulation

SPIKES = {"moderate": [6.0, 4.0, 2.5], "weak": [3.0, 2.2, 1.5], "strong": [20.0, 15.0, 10.0]}


def replicate(
    spikes: list[float], m: int, n: int, shared: bool, seed: list[int], noise: str
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(50, 3)))[0]
    pop = FactorPopulation(axes * np.sqrt(spikes), 1.0, np.ones(3), 1.0)
    X, y = pop.sample_labeled(n, rng)
    rows = None if shared else pop.sample_unlabeled(m, rng)
    new = pop.sample_unlabeled(20, rng)
    est = TwoStageRegressor(FactorModel(3, noise), pool=shared).fit(X, y + 0.5, X_unlabeled=rows)
    prediction = est.get_prediction(new)
    truth = pop.best_predictor(new) + 0.5
    both = (prediction.conf_int(), prediction.naive_conf_int())
    inside = [((ci[:, 0] <= truth) & (truth <= ci[:, 1])).mean() for ci in both]
    return float(inside[0]), float(inside[1])


def coverage(
    spikes: list[float], m: int, n: int, shared: bool, count: int, seed: int, noise: str
) -> tuple[float, float, float]:
    """Coverage, its standard error over replicates, and naive coverage."""
    hits = np.array([replicate(spikes, m, n, shared, [seed, k], noise) for k in range(count)])
    return hits[:, 0].mean(), hits[:, 0].std(ddof=1) / np.sqrt(count), hits[:, 1].mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", default="isotropic")
    arguments = parser.parse_args()
    print(f"{'spikes':<10}{'m':>6}{'n':>6}  {'rows':<10}{'covers':>9}{'se':>8}{'naive':>9}")
    for name, m, n, shared in [
        ("moderate", 500, 500, False), ("weak", 500, 500, False),
        ("moderate", 500, 500, True), ("weak", 500, 500, True),
        ("moderate", 2000, 500, False), ("moderate", 500, 60, False),
    ]:  # fmt: skip
        result = coverage(
            SPIKES[name], m, n, shared, arguments.replicates, arguments.seed, arguments.noise
        )
        rows = "same" if shared else "separate"
        print("{:<10}{:>6}{:>6}  {:<10}{:>9.4f}{:>8.4f}{:>9.4f}".format(name, m, n, rows, *result))


if __name__ == "__main__":
    main()
