"""What imbalance of classes costs a representation, learned with and without labels, on real data.

Representations are learned from balanced and from long-tailed samples of one size and judged by
a linear probe on balanced labeled rows (Liu, HaoChen, Gaidon & Ma 2022, Section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.data.numbers import whole_number
from foretell.errors import InputError
from foretell.experiments.feature_maps import FeatureMap, pretrained
from foretell.experiments.imbalance_result import Accuracies, ImbalanceGap
from foretell.experiments.supervised_features import SupervisedModel, supervised_counterpart
from foretell.theory.imbalance import Tail, long_tail, tail_shares


def imbalance_gap(
    X: Any,
    y: Any,
    model: Any,
    *,
    ratio: float = 100.0,
    n: int | None = None,
    kind: Tail = "exponential",
    sizes: Any = None,
    order: Any = None,
    supervised: SupervisedModel | None = None,
    X_test: Any = None,
    y_test: Any = None,
    X_probe: Any = None,
    y_probe: Any = None,
    out_of_domain: tuple[Any, Any, Any, Any] | None = None,
    probe: Any = None,
    n_draws: int = 10,
    random_state: int = 0,
) -> ImbalanceGap:
    r"""What a long tail of classes costs features learned without and with labels.

    In every draw classes are put in order, a balanced and a long-tailed sample of n rows
    are drawn without replacement (rows of a class in common as far as both reach), and the
    model and its supervised counterpart are fitted to both. A probe fitted to the same balanced
    labeled rows gives the accuracy of each, class by class.

    Parameters
    ----------
    X, y
        Rows, shape (N, d), and classes, shape (N,), that samples are drawn from. Without test
        or probe rows a quarter of every class is set aside for each.
    model
        Pre-training model: linear such as ``SpectralContrastive(rank, augment)``, or with a
        network. Its ``random_state``, if any, changes from draw to draw.
    ratio
        Most frequent over rarest class, >= 1, before rounding.
    n
        Rows of pre-training; None for as many as the smallest class allows to be most frequent.
    kind
        ``"exponential"`` or ``"pareto"``, see :func:`~foretell.theory.imbalance.long_tail`.
    sizes
        Rows of the classes in the long-tailed sample, most frequent first, shape (K,), in place of
        ``ratio``, ``n`` and ``kind``.
    order
        Classes from the most to the least frequent; None for a random order in every draw.
    supervised
        Model with ``fit(X, y, random_state=...)`` that returns features as a function; None for
        the counterpart of the same architecture
        (:mod:`foretell.experiments.supervised_features`).
    X_test, y_test
        Rows for the accuracy, of the same classes; their numbers may differ.
    X_probe, y_probe
        Labeled rows for the probe; the same number of each class is used.
    out_of_domain
        Labeled rows and classes for a probe, test rows and classes, of another problem with the
        same columns.
    probe
        scikit-learn classifier; None for logistic regression on standardised features.
    n_draws
        Draws, at least 2.
    random_state
        Seed, a whole number >= 0.

    Raises
    ------
    InputError
        If there is one class, a class is too small, ratio < 1, n_draws < 2, values are not
        finite, or shapes do not fit.

    Examples
    --------
    >>> from foretell import SpectralContrastive
    >>> from foretell.data.augmentations import Noise
    >>> from foretell.theory.imbalance_toy import RareClassToy
    >>> X, y = RareClassToy(1 / 3, n_columns=10).sample([300, 300, 300], 0)
    >>> model = SpectralContrastive(2, Noise(0.5))
    >>> found = imbalance_gap(X, y, model, ratio=20, order=[0, 1, 2], n_draws=3)
    >>> found.sizes.tolist(), found.gap("self-supervised").value < 0.05
    ([150, 34, 7], True)

    References
    ----------
    .. [1] Liu, HaoChen, Gaidon & Ma (2022). Self-supervised learning is more robust to dataset
       imbalance. ICLR. arXiv:2110.05025. Section 2.
    """
    n_draws = whole_number(n_draws, "n_draws", 2)
    seed = whole_number(random_state, "random_state", 0)
    seeds = np.random.SeedSequence(seed).spawn(n_draws + 1)
    rows = _labeled(X, y, "X", "y")
    classes = np.unique(rows.y)
    if len(classes) < 2:
        raise InputError(f"imbalance needs at least 2 classes; y has {len(classes)}")
    rows, test, labeled = _split(rows, (X_test, y_test), (X_probe, y_probe), seeds[0])
    available = int(np.unique(rows.y, return_counts=True)[1].min())
    tail = _tail(len(classes), available, ratio, n, kind) if sizes is None else _given_sizes(sizes)
    counts = _checked_sizes(tail, len(classes), available)
    elsewhere = None if out_of_domain is None else _elsewhere(out_of_domain, rows.X.shape[1])
    judge = _Judge(probe, labeled, test, elsewhere)
    models = (model, supervised or supervised_counterpart(model))
    ranking = None if order is None else _ordered(order, classes)
    draws = [_draw(rows, ranking, classes, counts, models, judge, seed) for seed in seeds[1:]]
    by_method = zip(*draws, strict=True)
    return ImbalanceGap(counts[1], counts[0], *(_accuracies(found) for found in by_method))


def _draw(
    rows: _Labeled,
    ranking: Array | None,
    classes: Array,
    counts: tuple[Array, Array],
    models: tuple[Any, SupervisedModel],
    judge: _Judge,
    seed: Any,
) -> tuple[list[Any], list[Any]]:
    """What the judge finds, balanced and then imbalanced, without labels and with them."""
    rng = np.random.default_rng(seed)
    ranked = rng.permutation(classes) if ranking is None else ranking
    shuffled = [rng.permutation(np.flatnonzero(rows.y == c)) for c in ranked]
    start = int(rng.integers(2**31))
    without, with_labels = [], []
    for sizes in counts:
        chosen = np.concatenate([r[:c] for r, c in zip(shuffled, sizes, strict=True)])
        chosen = chosen[rng.permutation(len(chosen))]
        sample, codes = rows.X[chosen], np.searchsorted(classes, rows.y[chosen])
        without += judge(pretrained(models[0], sample, start), ranked)
        with_labels += judge(models[1].fit(sample, codes, random_state=start), ranked)
    return without, with_labels


def _ordered(order: Any, classes: Array) -> Array:
    ranked = np.asarray(order)
    if ranked.shape != classes.shape or not np.array_equal(np.sort(ranked), classes):
        raise InputError(
            f"order holds each of the classes {classes.tolist()} once; found {order!r}"
        )
    return ranked


class _Labeled(NamedTuple):
    X: Array
    y: Array


@dataclass(frozen=True)
class _Judge:
    """Accuracy class by class of a probe on features."""

    probe: Any
    labeled: _Labeled
    test: _Labeled
    elsewhere: tuple[_Labeled, _Labeled] | None

    def __call__(self, features: FeatureMap, classes: Array) -> list[Any]:
        """Accuracies of the classes, shape (K,), and the mean in the other domain or None."""
        by_class = self._by_class(features, self.labeled, self.test, classes)
        if self.elsewhere is None:
            return [by_class, None]
        labeled, test = self.elsewhere
        return [by_class, self._by_class(features, labeled, test, np.unique(test.y)).mean()]

    def _by_class(
        self, features: FeatureMap, labeled: _Labeled, test: _Labeled, classes: Array
    ) -> Array:
        from sklearn.base import clone

        probe = _default_probe() if self.probe is None else clone(self.probe)
        right = probe.fit(features(labeled.X), labeled.y).predict(features(test.X)) == test.y
        return np.array([right[test.y == c].mean() for c in classes])


def _default_probe() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))


def _accuracies(draws: tuple[list[Any], ...]) -> Accuracies:
    balanced, balanced_out, imbalanced, imbalanced_out = map(list, zip(*draws, strict=True))
    if balanced_out[0] is None:
        return Accuracies(np.array(balanced), np.array(imbalanced))
    return Accuracies(*map(np.array, (balanced, imbalanced, balanced_out, imbalanced_out)))


def _labeled(X: Any, y: Any, name: str, target: str) -> _Labeled:
    rows, labels = np.asarray(X, dtype=np.float64), np.asarray(y)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not rows.size:
        raise InputError(
            f"{name} has shape (N, d) and {target} (N,); found {rows.shape} and {labels.shape}"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{name} holds numbers that are not finite; leave those rows out")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError(f"{target} has classes that are missing; leave those rows out")
    return _Labeled(rows, labels)


def _split(
    rows: _Labeled, test: tuple[Any, Any], probe: tuple[Any, Any], seed: Any
) -> tuple[_Labeled, _Labeled, _Labeled]:
    """Rows to draw from, to test on, and as many labeled ones of each class for the probe."""
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(rows.y, return_counts=True)
    aside = max(1, int(counts.min()) // 4)
    if counts.min() < 4 and (test[0] is None or probe[0] is None):
        raise InputError(
            f"class {classes[counts.argmin()]!r} has {counts.min()} rows; at least 4 are needed to "
            "set some aside for the probe and the test, or give X_probe and X_test"
        )
    given = []
    for pair, names in ((test, ("X_test", "y_test")), (probe, ("X_probe", "y_probe"))):
        if (pair[0] is None) != (pair[1] is None):
            raise InputError(f"give both {names[0]} and {names[1]}, or neither")
        if pair[0] is None:
            chosen = _of_each(rows.y, classes, aside, rng)
            part = _Labeled(rows.X[chosen], rows.y[chosen])
            rows = _Labeled(np.delete(rows.X, chosen, axis=0), np.delete(rows.y, chosen))
        else:
            part = _labeled(*pair, *names)
            _check_same(part, rows.X.shape[1], classes, names)
        given.append(part)
    smallest = int(np.unique(given[1].y, return_counts=True)[1].min())
    chosen = _of_each(given[1].y, classes, smallest, rng)
    return rows, given[0], _Labeled(given[1].X[chosen], given[1].y[chosen])


def _of_each(y: Array, classes: Array, count: int, rng: np.random.Generator) -> Array:
    return np.concatenate([rng.permutation(np.flatnonzero(y == c))[:count] for c in classes])


def _check_same(part: _Labeled, d: int, classes: Array, names: tuple[str, str]) -> None:
    if part.X.shape[1] != d:
        raise InputError(f"{names[0]} has {part.X.shape[1]} columns where X has {d}")
    if not np.array_equal(np.unique(part.y), classes):
        raise InputError(
            f"{names[1]} has the classes {np.unique(part.y).tolist()} where y has "
            f"{classes.tolist()}; expected the same"
        )


def _tail(K: int, available: int, ratio: float, n: int | None, kind: Tail) -> Array:
    """A long tail of n rows, or of as many as there are for the most frequent class, (K,)."""
    if n is not None:
        return long_tail(K, n, ratio, kind)
    most = int(available / tail_shares(K, ratio, kind)[0])
    sizes = long_tail(K, most, ratio, kind)
    return sizes if sizes[0] <= available else long_tail(K, most - 1, ratio, kind)


def _given_sizes(sizes: Any) -> Array:
    tail = np.asarray(sizes)
    if tail.ndim != 1 or tail.dtype.kind not in "iu" or (tail < 1).any():
        raise InputError(f"sizes are whole numbers >= 1, one a class; found {sizes!r}")
    if (np.diff(tail) > 0).any():
        raise InputError(f"sizes do not increase, the most frequent class first; found {sizes!r}")
    return tail


def _checked_sizes(tail: Array, K: int, available: int) -> tuple[Array, Array]:
    """Rows of the classes in the balanced and in the long-tailed sample, shapes (K,)."""
    if len(tail) != K:
        raise InputError(f"sizes has {len(tail)} numbers for {K} classes")
    if tail[0] > available:
        raise InputError(
            f"the most frequent class needs {tail[0]} rows, and the smallest class has {available} "
            f"to draw from; lower n (or sizes) by the factor {available / tail[0]:.3g}, or add rows"
        )
    return long_tail(K, int(tail.sum()), 1.0), tail


def _elsewhere(given: tuple[Any, Any, Any, Any], d: int) -> tuple[_Labeled, _Labeled]:
    if len(given) != 4:
        raise InputError(
            "out_of_domain holds labeled rows, their classes, test rows and their classes; found "
            f"{len(given)} entries"
        )
    labeled = _labeled(given[0], given[1], "out_of_domain[0]", "out_of_domain[1]")
    test = _labeled(given[2], given[3], "out_of_domain[2]", "out_of_domain[3]")
    if len(classes := np.unique(labeled.y)) < 2:
        raise InputError("out_of_domain rows need at least 2 classes; found 1")
    for part, names in ((labeled, ("[0]", "[1]")), (test, ("[2]", "[3]"))):
        _check_same(part, d, classes, (f"out_of_domain{names[0]}", f"out_of_domain{names[1]}"))
    return labeled, test
