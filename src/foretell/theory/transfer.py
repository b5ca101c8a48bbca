r"""Linear transfer to related subpopulations: a head from source vertices, read on the target.

The head :math:`\arg\max_i \langle f(x), \Sigma^{t-1} b_i \rangle`, with :math:`b_i` the mean
feature of source class i and :math:`\Sigma = E f f^\top`, is a random walk of t steps on the
positive-pair graph, cut to rank k.
:func:`source_mass` is the walk itself,
:mod:`foretell.theory.transfer_bounds` bounds what the cut costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import eigenpairs
from foretell.theory.graphs.inputs import check_dimension
from foretell.theory.graphs.probe import chance_wrong
from foretell.theory.graphs.walks import walk_mass
from foretell.theory.subpopulations import (
    UNLABELED,
    as_normalized,
    checked_labels,
    checked_rows,
    checked_steps,
    parts_of,
)

STEPS = (1, 2, 3, 5, 8, 13)
TIED, ROUNDING = 1e-7, 1e-13


@dataclass(frozen=True, eq=False)
class TransferHead:
    """A linear head for c classes on k features.

    Attributes
    ----------
    coef
        :math:`\\Sigma^{t-1} b_i` as columns, shape (k, c).
    class_mass
        Weight of every class in the source, shape (c,): scores times these are masses of walks.
    steps
        t.
    """

    coef: Array
    class_mass: Array
    steps: int

    def scores(self, features: Array) -> Array:
        """Scores of rows of features, shape (n, c)."""
        return np.asarray(features @ self.coef)

    def predict(self, features: Array) -> Array:
        """Classes of rows of features, whole numbers, shape (n,)."""
        return self.scores(features).argmax(axis=1)


@dataclass(frozen=True, eq=False)
class StepChoice:
    """How many steps suit the source, by leaving out one source row at a time.

    Attributes
    ----------
    steps
        The largest candidate whose error is within one standard error of the smallest.
    candidates, errors, standard_errors
        Every t, its error on rows left out, and the standard error of its difference from the
        smallest, shape (T,) each.
    """

    steps: int
    candidates: Array
    errors: Array
    standard_errors: Array

    def __str__(self) -> str:
        table = ", ".join(
            f"t={t}: {e:.3f}" for t, e in zip(self.candidates, self.errors, strict=True)
        )
        return (
            f"{self.steps} step(s), the longest walk within one standard error of the best on "
            f"source rows left out ({table})"
        )


@dataclass(frozen=True, eq=False)
class Transfer:
    """What the head of the source says on the target.

    Attributes
    ----------
    predictions
        Classes of the target vertices, shape (n_target,).
    scores
        Their scores, shape (n_target, c).
    error
        Probability of a wrong class on the target; None if target labels are not known. Where
        the largest scores are equal to 1e-7 of their size (as zeros are, where no walk arrives),
        the expected error of drawing among these classes; ``predictions`` has the first of them.
    head
        The head.
    features
        Of all vertices, shape (n, k).
    choice
        How t was chosen; None if it was given.
    """

    predictions: Array
    scores: Array
    error: float | None
    head: TransferHead
    features: Array
    choice: StepChoice | None

    def __str__(self) -> str:
        k, c = self.head.coef.shape
        said = "not known without target labels" if self.error is None else f"{self.error:.4g}"
        return f"{c} classes, {k} features, {self.head.steps} step(s): target error {said}"


def transfer_head(
    features: Array, weights: Array | None, source_labels: Array, steps: int = 1
) -> TransferHead:
    r"""The head of t steps from features of all rows and labels of the source.

    For the features :math:`f(x) = w_x^{-1/2} (\sqrt{\lambda_j} v_j(x))_{j \le k}` of a graph, its
    score is exact: with :math:`\bar A_k = \sum_{j \le k} \lambda_j v_j v_j^\top`,

    .. math:: w(S_i) \, \langle f(x), \Sigma^{t-1} b_i \rangle
        = \sum_{x' \in S_i} w_x^{-1/2} (\bar A_k^t)_{x x'} w_{x'}^{1/2},

    the mass that a walk of t steps from x, cut to rank k, puts into class i. Dividing by the mass
    :math:`w(S_i)` of the class makes the scores of a long walk equal rather than proportional to
    the classes.

    Parameters
    ----------
    features
        f(x) of source and target rows, shape (n, k), of a graph or learned.
    weights
        Weight of every row, shape (n,), any scale; None weighs all alike.
    source_labels
        Classes 0 to c - 1 of source rows, -1 for all others, shape (n,).
    steps
        t, a whole number >= 1.

    Raises
    ------
    InputError
        If shapes or labels do not fit, there is one class, or a number is not finite.

    References
    ----------
    .. [1] HaoChen, Wei, Kumar & Ma (2022). Beyond separability: analyzing the linear
       transferability of contrastive representations to related subpopulations. NeurIPS.
       arXiv:2204.02683. The head; the identity is derived in docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> f = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 0.5], [1.0, -0.7]])
    >>> head = transfer_head(f, None, np.array([0, 1, -1, -1]))
    >>> head.predict(f[2:]).tolist()
    [0, 1]
    """
    f, w, labels = checked_rows(features, weights, source_labels)
    steps = checked_steps([steps])[0]
    share = np.eye(labels.max() + 1)[labels] * (w * (labels >= 0))[:, None]
    mass = share.sum(axis=0)
    means = f.T @ share / mass
    power = np.linalg.matrix_power((f * w[:, None]).T @ f, steps - 1)
    return TransferHead(power @ means, mass, steps)


def choose_steps(
    features: Array,
    weights: Array | None,
    source_labels: Array,
    candidates: Sequence[int] = STEPS,
) -> StepChoice:
    """The number of steps t from the source alone, by leaving out one row at a time.

    A source row is classified by the means of the others. Labels reach source rows by short walks
    and the target only by long ones, while walks that are too long forget the class. So the
    choice is the largest t whose error is within one (paired) standard error of the smallest. It
    is a rule, no guarantee: what happens between source and target cannot be seen from source
    labels.

    Parameters
    ----------
    features, weights, source_labels
        As for :func:`transfer_head`; every class needs at least two rows.
    candidates
        Numbers of steps to choose from.

    Raises
    ------
    InputError
        As :func:`transfer_head`, or if a class has a single source row.

    Examples
    --------
    >>> f = np.array([[1.0, 1.0], [1.0, 0.9], [1.0, -1.0], [1.0, -0.8], [1.0, 0.2]])
    >>> choose_steps(f, None, np.array([0, 0, 1, 1, -1]), (1, 2)).steps
    2
    """
    f, w, labels = checked_rows(features, weights, source_labels)
    tried = np.array(sorted(set(checked_steps(candidates))))
    source = np.flatnonzero(labels >= 0)
    y, own = labels[source], w[source]
    if (counts := np.bincount(y)).min() < 2:
        raise InputError(
            f"leaving one row out needs two source rows in every class; found {counts.min()} in "
            f"class {counts.argmin()}; give steps instead, or label more rows"
        )
    sigma = (f * w[:, None]).T @ f
    member = np.eye(y.max() + 1)[y]
    mass = own @ member
    sums = f[source].T @ (member * own[:, None])
    wrong = np.empty((len(tried), len(y)))
    for row, t in enumerate(tried):
        reach = f[source] @ np.linalg.matrix_power(sigma, int(t) - 1)
        itself = (reach * f[source]).sum(axis=1) * own
        scores = (reach @ sums - member * itself[:, None]) / (mass - member * own[:, None])
        wrong[row] = chance_wrong(scores, y, _ties(scores, np.abs(scores).max()))
    errors = wrong.mean(axis=1)
    excess = wrong - wrong[errors.argmin()]
    spread = excess.std(axis=1, ddof=1) / np.sqrt(len(y))
    good = errors - errors.min() <= spread * (1 + 1e-9)
    return StepChoice(int(tried[good].max()), tried, errors, spread)


def transfer(
    graph: Any,
    labels: Array,
    source: Array,
    target: Array,
    k: int,
    steps: int | None = None,
) -> Transfer:
    """The head of the source on the target, with the best k features of a positive-pair graph.

    Parameters
    ----------
    graph
        ``PositivePairGraph``, or its weights, shape (n, n).
    labels
        Classes 0 to c - 1, shape (n,); -1 where not known, which on the target leaves the error
        open.
    source, target
        Vertices: masks of shape (n,) or indices, without a common vertex.
    k
        Number of features, 1 to n - 1; eigenvectors of negative eigenvalue among them are zero.
    steps
        t; None chooses it by :func:`choose_steps`.

    Raises
    ------
    InputError
        If the labels, the vertices or k do not fit the graph.

    Examples
    --------
    >>> from foretell.theory.domain_adaptation import DomainToy
    >>> toy = DomainToy(1.0, 0.3, 0.2, 0.1)
    >>> print(transfer(toy.weights, toy.classes, toy.domains == 0, toy.domains == 1, 3, 1))
    2 classes, 3 features, 1 step(s): target error 0
    """
    normalized, y, source, target = parts_of(graph, labels, source, target)
    features = graph_features(normalized, k)
    known = np.where(source, y, UNLABELED)
    choice = None
    if steps is None:
        choice = choose_steps(features, normalized.degrees, known)
        steps = choice.steps
    head = transfer_head(features, normalized.degrees, known, steps)
    scores = head.scores(features[target])
    predictions = scores.argmax(axis=1)
    truth, w = y[target], normalized.degrees[target]
    error = None
    if (truth >= 0).all():
        every = head.scores(features)
        error = float(w @ chance_wrong(scores, truth, _ties(scores, np.abs(every).max())) / w.sum())
    return Transfer(predictions, scores, error, head, features, choice)


def source_mass(graph: Any, source_labels: Array, steps: int) -> Array:
    """Probability that a walk of t steps from each vertex ends in each source class, (n, c).

    The exact counterpart, of full rank, of the scores of :func:`transfer_head` times their
    ``class_mass``; t products with the graph.

    Raises
    ------
    InputError
        If labels do not fit the graph, or steps is not a whole number >= 1.

    Examples
    --------
    >>> from foretell.theory.domain_adaptation import DomainToy
    >>> toy = DomainToy(4, 3, 2, 1)
    >>> source_mass(toy.weights, np.array([0, 1, -1, -1]), 1).round(2).tolist()
    [[0.4, 0.2], [0.2, 0.4], [0.3, 0.1], [0.1, 0.3]]
    """
    normalized, kept, n = as_normalized(graph)
    labels = checked_labels(source_labels, n)[kept]
    member = np.eye(labels.max() + 1)[labels] * (labels >= 0)[:, None]
    return walk_mass(normalized, member, checked_steps([steps])[0])


def graph_features(graph: Any, k: int) -> Array:
    """Features of the minimum of the spectral contrastive loss, shape (n, k)."""
    normalized = as_normalized(graph)[0]
    check_dimension(normalized, k)
    pairs = eigenpairs(normalized, k)
    scale = np.sqrt(np.maximum(pairs.values, 0.0))
    return np.asarray(pairs.vectors * scale / np.sqrt(normalized.degrees)[:, None])


def _ties(scores: Array, largest: float) -> Array:
    """Differences of scores that count as none: 1e-7 of their size, or rounding, shape (n, 1)."""
    return np.maximum(TIED * np.abs(scores).max(axis=1, keepdims=True), ROUNDING * largest)
