"""Contrastive pre-training on two domains, a head on one, and the error on the other.

The comparison of Shen et al. (2022), on anybody's rows: beside it features learned on the source
alone, raw columns, a supervised network of the same architecture, and what target labels would
give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.experiments.domain_result import (
    ALONE,
    CONTRASTIVE,
    POOLED,
    RAW,
    SUPERVISED,
    WALK,
    DomainAdaptation,
)
from foretell.experiments.domains import Domains, check_options
from foretell.experiments.feature_maps import FeatureMap, pretrained
from foretell.experiments.probes import predictions
from foretell.experiments.supervised_features import SupervisedModel, supervised_counterpart
from foretell.theory.transfer import STEPS, choose_steps, transfer_head


def domain_adaptation(
    X_source: Any,
    y_source: Any,
    X_target: Any,
    model: Any,
    *,
    y_target: Any = None,
    n_labels: int | None = None,
    probe: Any = "linear",
    steps: Sequence[int] = STEPS,
    supervised: SupervisedModel | None = None,
    test_share: float = 0.3,
    n_draws: int = 5,
    random_state: int = 0,
) -> DomainAdaptation:
    """Accuracy on a target domain of heads that have seen source labels alone.

    In every draw a share of the rows of both domains is set aside for testing. Methods:

    - ``contrastive on both``: the model is pre-trained on the other rows of both domains, without
      labels, and the probe fitted to source labels;
    - ``contrastive on both, walk``: the same features with the head of
      :func:`~foretell.theory.transfer.transfer_head`, its steps chosen on source labels;
    - ``contrastive on source``: the model has not seen the target;
    - ``raw``: the probe on the columns;
    - ``supervised``: features of the same network, learned from source labels with the same
      augmentation, then the probe; for models with an ``encoder``, or where ``supervised`` is
      given;
    - ``..., both labels``: with the labels of the target rows that are not set aside, as well.

    Parameters
    ----------
    X_source, y_source
        Rows of the source domain, shape (n, d), and their classes, shape (n,).
    X_target
        Rows of the target domain, shape (m, d).
    model
        Pre-training model, e.g. ``SpectralContrastive(rank, augment, encoder=MLP())``. Its
        augmentation decides which domains are connected. Its ``random_state``, if any, changes
        from draw to draw.
    y_target
        Classes of target rows, shape (m,), for evaluation; None: predictions for all target rows,
        of which none is set aside, and no accuracy.
    n_labels
        Source labels that are used, drawn anew in every draw, at least two a class; None for all.
    probe
        ``"linear"``, ``"ridge"`` or ``"neighbors"``, tuned on the labeled rows, or a scikit-learn
        classifier.
    steps
        Candidates for the steps of the walk.
    supervised
        Model with ``fit(X, y, random_state=...)`` that returns features as a function.
    test_share
        Share of rows set aside, between 0 and 1.
    n_draws
        At least 2.
    random_state
        Seed, a whole number >= 0.

    Raises
    ------
    InputError
        If rows are not finite or have different columns, labels have the wrong length or do not
        name at least two classes, the target has classes that the source lacks, or a number is
        out of its range.

    References
    ----------
    .. [1] Shen, Jones, Kumar, Xie, HaoChen, Ma & Liang (2022). Connect, not collapse: explaining
       contrastive learning for unsupervised domain adaptation. ICML. arXiv:2204.00570.

    Examples
    --------
    >>> from foretell.data.augmentations import Noise
    >>> from foretell.models import SpectralContrastive
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 2
    >>> X = rng.standard_normal((300, 5)) + 4.0 * np.eye(2, 5)[y]
    >>> shifted = X[:150] + np.array([0, 0, 6.0, 0, 0])
    >>> model = SpectralContrastive(2, Noise(0.5))
    >>> found = domain_adaptation(X[150:], y[150:], shifted, model, y_target=y[:150])
    >>> bool(found.target["contrastive on both"].mean() > 0.9)
    True
    """
    data = Domains.checked(X_source, y_source, X_target, y_target)
    check_options(data, n_labels, probe, test_share, n_draws, random_state)
    if supervised is None and getattr(model, "encoder", None) is not None:
        supervised = supervised_counterpart(model)
    study = _Study(data, model, supervised, probe, tuple(steps), n_labels, test_share)
    draws = [study.draw(seed) for seed in np.random.SeedSequence(random_state).spawn(n_draws)]
    names = list(draws[0].source)
    target = None
    if data.y_target is not None:
        target = {name: np.array([draw.target[name] for draw in draws]) for name in names}
    return DomainAdaptation(
        data.classes,
        target,
        {name: np.array([draw.source[name] for draw in draws]) for name in names},
        {name: np.stack([draw.predictions[name] for draw in draws]) for name in names},
        np.array([draw.steps for draw in draws]),
        draws[0].n_labels,
    )


@dataclass(frozen=True)
class _Draw:
    source: dict[str, float]
    target: dict[str, float]
    predictions: dict[str, Array]
    steps: int
    n_labels: int


@dataclass(frozen=True, eq=False)
class _Study:
    data: Domains
    model: Any
    supervised: SupervisedModel | None
    probe: Any
    steps: tuple[int, ...]
    n_labels: int | None
    test_share: float

    def draw(self, seed: np.random.SeedSequence) -> _Draw:
        """One split of both domains, one training of everything."""
        data, rng = self.data, np.random.default_rng(seed)
        K = len(data.classes)
        start = int(rng.integers(2**31))
        learn, test = _stratified_halves(data.y_source, self.test_share, rng)
        if data.y_target is None:
            seen, unseen = np.arange(len(data.X_target)), np.arange(0)
        else:
            seen, unseen = _halves(rng.permutation(len(data.X_target)), self.test_share)
        labeled = _labeled(learn, data.y_source, self.n_labels, rng)
        X, y = data.X_source[labeled], data.y_source[labeled]
        unlabeled = np.concatenate([data.X_source[learn], data.X_target[seen]])
        maps: dict[str, FeatureMap] = {
            CONTRASTIVE: pretrained(self.model, unlabeled, start),
            ALONE: pretrained(self.model, data.X_source[learn], start),
            RAW: lambda rows: rows,
        }
        if self.supervised is not None:
            maps[SUPERVISED] = self.supervised.fit(X, y, random_state=start)
        out = _Draw({}, {}, {}, 0, len(labeled))
        new = np.concatenate([data.X_target, data.X_source[test]])

        def record(name: str, found: Array) -> None:
            on_target, on_source = found[: len(data.X_target)], found[len(data.X_target) :]
            out.predictions[name] = data.classes[on_target]
            out.source[name] = float(np.mean(on_source == data.y_source[test]))
            if data.y_target is not None:
                out.target[name] = float(np.mean(on_target[unseen] == data.y_target[unseen]))

        def probed(features: FeatureMap, rows: Array, labels: Array) -> Array:
            return predictions(
                self.probe, features(rows), labels, features(new), n_classes=K, seed=start
            )

        for name, features in maps.items():
            record(name, probed(features, X, y))
        known = np.full(len(unlabeled), -1)
        known[np.searchsorted(learn, labeled)] = y
        steps, found = self._walk(maps[CONTRASTIVE], unlabeled, known, new)
        record(WALK, found)
        if data.y_target is not None:
            rows = np.concatenate([X, data.X_target[seen]])
            labels = np.concatenate([y, data.y_target[seen]])
            if self.supervised is not None:
                maps[SUPERVISED] = self.supervised.fit(rows, labels, random_state=start)
            for name in [name for name in maps if name != ALONE]:
                record(name + POOLED, probed(maps[name], rows, labels))
        return _Draw(out.source, out.target, out.predictions, steps, len(labeled))

    def _walk(
        self, features: FeatureMap, rows: Array, known: Array, new: Array
    ) -> tuple[int, Array]:
        """Steps chosen on the source, and classes of new rows by the head of the walk.

        Features are centered, which removes the eigenvector of eigenvalue one: it is the same in
        all scores on a graph, and only nearly so for features that are learned. They are brought
        to mean square one, since powers of large ones overflow.
        """
        f = np.asarray(features(rows), dtype=np.float64)
        center = f.mean(axis=0)
        scale = np.sqrt(((f - center) ** 2).sum(axis=1).mean())
        f = (f - center) / scale
        steps = choose_steps(f, None, known, self.steps).steps
        head = transfer_head(f, None, known, steps)
        return steps, head.predict((features(new) - center) / scale)


def _labeled(learn: Array, y: Array, n_labels: int | None, rng: np.random.Generator) -> Array:
    """Rows whose labels are used: two of every class, then at random."""
    if n_labels is None:
        return learn
    order = rng.permutation(learn)
    _, first = np.unique(y[order], return_index=True)
    rest = np.setdiff1d(np.arange(len(order)), first)
    _, second = np.unique(y[order[rest]], return_index=True)
    must = np.concatenate([first, rest[second]])
    rest = np.setdiff1d(np.arange(len(order)), must)
    return np.asarray(order[np.concatenate([must, rest])[:n_labels]])


def _halves(order: Array, test_share: float) -> tuple[Array, Array]:
    n_test = min(max(1, round(test_share * len(order))), len(order) - 1)
    return order[n_test:], order[:n_test]


def _stratified_halves(
    y: Array, test_share: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Rows to learn from and to test on, every class in both."""
    parts = [_halves(rng.permutation(np.flatnonzero(y == c)), test_share) for c in np.unique(y)]
    learn, test = (np.sort(np.concatenate(half)) for half in zip(*parts, strict=True))
    return learn, test
