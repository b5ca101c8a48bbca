"""Masked regression against PCA and masked PCA: theory beside simulation.

    python benchmarks/masked_pca.py [--columns 1000] [--draws 4] [--only crossover]

Parts: ``curves`` (both errors at shares of components, ten covariances), ``crossover`` (AR(1):
share k/d from which PCA beats masked regression at its optimal penalty, and the best masked PCA
over masked regression), ``spikes`` (one delocalized spike at order 1/d; a tenth of all
eigenvalues). Simulated errors are exact given the sample, with standard errors after ±. Seed 0.
"""

import argparse

import numpy as np

from foretell.theory.masked.comparison import autoregressive_crossover, compare_with_pca
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Dense,
    Spiked,
    benchmark_covariances,
)
from foretell.theory.masked.pca import PCALimit
from foretell.theory.masked.sample_pca import sample_pca_errors
from foretell.theory.masked.spiked_pca import spiked_comparison

ROWS = (0.5, 1, 2, 5, 20)
SHARES = np.array([0.01, 0.1, 0.3, 0.5, 0.7, 0.9])


def regression_error(X, sigma, alpha):
    Q = np.linalg.inv(X.T @ X / len(X) + alpha * np.eye(X.shape[1]))
    return np.mean(((Q @ sigma) * Q).sum(axis=1) / np.diag(Q) ** 2)


def simulate(covariance, n, draws, statistic):
    """Mean and standard error of what a statistic returns for X."""
    rng, sigma = np.random.default_rng(0), covariance.matrix()
    samples = (covariance.color(rng.standard_normal((n, covariance.d))) for _ in range(draws))
    values = np.array([statistic(X, sigma) for X in samples])
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)


def curves(d, draws):
    print("simulation / theory - 1, worst over k/d = .01 to .9; masked after the factor of P_kk")
    print(f"{'covariance':<22}{'n/d':>5}{'PCA':>10}{'masked PCA':>12}")
    for name, covariance in benchmark_covariances(d).items():
        for ratio in (0.5, 2):
            n = int(ratio * d)
            ranks = np.round(SHARES * d)[np.round(SHARES * d) < min(n, d - 2)]
            limit = PCALimit(covariance, n)
            finite = (1 - 2 / d) / (1 - 2 / (d - ranks))
            theory = np.array([limit.error(ranks), limit.masked_error(ranks) * finite])

            def both(X, sigma, ranks=ranks):
                found = sample_pca_errors(X, sigma, ranks)
                return [found.pca, found.masked_pca]

            gap = np.abs(simulate(covariance, n, draws, both)[0] / theory - 1).max(axis=1)
            print(f"{name:<22}{ratio:>5}{gap[0]:>10.4f}{gap[1]:>12.4f}", flush=True)


def crossover(d, draws):
    print("AR(1): regression, crossover k/d, best masked PCA / regression; simulation in brackets")
    for rho in (0.5, 0.9, 0.99):
        print(f"rho = {rho}: population crossover {autoregressive_crossover(rho):.4f}")
        for ratio in ROWS:
            n, covariance = int(ratio * d), AutoRegressive(d, rho)
            theory = compare_with_pca(covariance, n, ranks=[0])

            def three(X, sigma, alpha=theory.alpha):
                error, found = regression_error(X, sigma, alpha), sample_pca_errors(X, sigma)
                crossing = np.interp(-error, -found.pca, found.ranks) / d
                return error, crossing, found.masked_pca.min() / error

            expected = (
                theory.regression, theory.crossover, theory.best_masked_pca / theory.regression
            )  # fmt: skip
            found, noise = simulate(covariance, n, draws, three)
            cells = (
                f"{a:>9.4f} ({b:.4f} ± {c:.4f})"
                for a, b, c in zip(expected, found, noise, strict=True)
            )
            print(f"  n/d = {ratio:<4}{''.join(cells)}", flush=True)


def spikes(d, draws):
    d -= d % 2
    print("one spike: d (error - 1) of regression, PCA, masked PCA; simulation in brackets; limit")
    for theta in (1.0, 4.0, 8.0, 20.0):
        theory = spiked_comparison(theta, d, 2 * d)

        def three(X, sigma, alpha=theory.alpha):
            found = sample_pca_errors(X, sigma, [1])
            errors = regression_error(X, sigma, alpha), found.pca[0], found.masked_pca[0]
            return d * (np.array(errors) - 1)

        found, noise = simulate(Spiked(d, (theta,)), 2 * d, draws, three)
        expected = (theory.regression, theory.pca, theory.masked_pca)
        cells = (
            f"{a:>8.3f} ({b:.3f} ± {c:.3f})" for a, b, c in zip(expected, found, noise, strict=True)
        )
        print(f"  theta = {theta:<5}{''.join(cells)}  d -> inf: {theory.null}", flush=True)
    print("a tenth of the eigenvalues at 10, Haar: regression, PCA, masked PCA with k = d / 10")
    tau = np.repeat([1.0, 10.0], [d - d // 10, d // 10])
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((d, d)))[0]
    covariance = Dense((Q * tau) @ Q.T)
    for ratio in (2, 0.5):
        theory = compare_with_pca(tau, ratio * d, ranks=[d // 10])

        def errors(X, sigma, alpha=theory.alpha):
            found = sample_pca_errors(X, sigma, [d // 10])
            return regression_error(X, sigma, alpha), found.pca[0], found.masked_pca[0]

        found, noise = simulate(covariance, int(ratio * d), draws, errors)
        expected = (theory.regression, theory.pca[0], theory.masked_pca[0])
        cells = (
            f"{a:>8.4f} ({b:.4f} ± {c:.4f})" for a, b, c in zip(expected, found, noise, strict=True)
        )
        print(f"  n/d = {ratio:<4}{''.join(cells)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for part in (curves, crossover, spikes):
        if options.only in part.__name__:
            part(options.columns, options.draws)


if __name__ == "__main__":
    main()
