"""Training budgets against simulation: risk along the flow of samples, beside its expansion.

    python benchmarks/training_budget.py [--replicates 2000] [--seed 0]

For each setting: at some times the simulated mean excess risk, its standard error, the sum of the
parts, and the difference in standard errors and in percent of the statistical parts; "-" where
the theory refuses. Then whether stopping early helps, chosen and measured on different halves of
the replicates.
"""

import argparse
import time

import numpy as np

from foretell.errors import IdentificationError
from foretell.theory import ViewPopulation
from foretell.theory.factorization.early_stopping import early_stopping
from foretell.theory.factorization.training_budget import TrainingBudget

TIMES = [0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 10.0]


def strong():
    return ViewPopulation(np.eye(10)[:, :2] * [2, 1.5], 0.8, [1.0, -0.5], 0.3)


def weak():
    return ViewPopulation(np.eye(20)[:, :2] * [2.0, 0.8], 1.0, [0.5, 1.0], 0.3)


SETTINGS = {
    "classical": (strong, 2, 1000, 1000, 0.0),
    "surplus features": (strong, 5, 1000, 1000, 0.0),
    "too few features": (strong, 1, 1000, 1000, 0.0),
    "ridge head": (strong, 2, 1000, 1000, 0.1),
    "weak direction": (weak, 2, 2000, 1000, 0.0),
    "weak, few pairs": (weak, 2, 60, 1000, 0.0),
    "surplus, few pairs, ridge": (weak, 20, 60, 50, 0.03),
    "the same, stronger ridge": (weak, 20, 60, 50, 0.3),
}


def predicted(budget, t, m, n):
    try:
        parts = budget.statistical(m, n, t)
    except IdentificationError:
        return None
    return budget.shortfall + budget.optimization(t) + parts.total, abs(parts.total)


def run(name, replicates, seed):
    make, rank, m, n, penalty = SETTINGS[name]
    began = time.perf_counter()
    budget = TrainingBudget(make(), rank, penalty=penalty)
    found = early_stopping(make(), rank, m, n, TIMES, replicates, seed, penalty=penalty)
    print(f"\n{name}: rank {rank}, m = {m}, n = {n}, penalty {penalty}")
    for t, mean, se in zip(found.times, found.mean, found.se, strict=True):
        line = f"  t = {t:5.2f}  simulated {mean:.5e} ± {se:.1e}"
        theory = predicted(budget, t, m, n)
        if theory is None:
            print(line, " theory -")
            continue
        value, size = theory
        gap = mean - value
        print(line, f" theory {value:.5e}  {gap / se:+5.1f} s.e. {gap / size:+8.1%}")
    print(f"  {found.summary()}   [{time.perf_counter() - began:.1f} s]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for setting in SETTINGS:
        run(setting, options.replicates, options.seed)
