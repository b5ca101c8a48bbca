r"""How strong an augmentation should be: the numbers of the theory, strength by strength.

A stronger augmentation ties samples of one class together, so that fewer dimensions suffice
(:math:`1 - \lambda_{k+1}` and the conductance inside classes grow), and makes the label of an
augmented point harder to tell (:math:`\alpha` and :math:`\phi` grow).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foretell.data.augmentations import Augment
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.theory.graphs.augmented import Augmented, augmentation_probabilities
from foretell.theory.graphs.eigenpairs import eigenpairs
from foretell.theory.graphs.inputs import Labels, check_dimension
from foretell.theory.graphs.partitions import part_conductance
from foretell.theory.graphs.probe import least_squares, ratio
from foretell.theory.graphs.probe_bound import label_bound
from foretell.theory.graphs.sparsest import sparsest_partition
from foretell.theory.graphs.weights import NormalizedGraph


@dataclass(frozen=True)
class Strength:
    r"""The graph of one augmentation, in numbers.

    Attributes
    ----------
    strength
        What was given to ``augment_of``.
    n_points, n_components
        Augmented points, and connected components of their graph.
    alpha
        :math:`\alpha`: probability that the Bayes label of an augmented point is not the label of
        its sample; no classifier of augmented points does better.
    phi
        :math:`\phi`: mass of positive pairs with different Bayes labels, at most 2 alpha.
    eigenvalue
        :math:`\lambda_{k+1}`.
    eigengap
        :math:`\lambda_k - \lambda_{k+1}`.
    conductance
        Largest conductance of a class: the weight that leaves it, over its weight.
    sparsest_lower, sparsest_upper
        Bounds on the conductance of the sparsest partition into ``parts`` parts.
    probe_error
        0-1 error of the best least-squares head on k spectral features, against Bayes labels.
    bound
        Computable bound on it, :math:`2 \phi / (1 - \lambda_{k+1})`; inf if the graph has more
        than k components.
    bound_ratio
        Bound over error.
    error
        Error of that head against the labels of the samples: at most ``probe_error + alpha``.
    neglected
        Posterior probability left out when the graph was built.
    """

    strength: Any
    n_points: int
    n_components: int
    alpha: float
    phi: float
    eigenvalue: float
    eigengap: float
    conductance: float
    sparsest_lower: float
    sparsest_upper: float
    probe_error: float
    bound: float
    bound_ratio: float
    error: float
    neglected: float


@dataclass(frozen=True, eq=False)
class StrengthSweep:
    """Graphs of several augmentations of the same samples, in numbers.

    Attributes
    ----------
    k
        Dimensions of the embedding.
    parts
        Parts of the sparsest partition.
    rows
        One :class:`Strength` an augmentation.
    """

    k: int
    parts: int
    rows: tuple[Strength, ...]

    @property
    def best(self) -> Strength:
        """The strength with the least error against the labels of the samples, the first one."""
        return min(self.rows, key=lambda row: row.error)

    def frame(self, backend: str | None = None) -> Any:
        """The numbers as a data frame, one row a strength."""
        names = asdict(self.rows[0])
        return to_frame(
            {name: [getattr(row, name) for row in self.rows] for name in names}, backend
        )

    def __str__(self) -> str:
        head = f"{'strength':>10} {'alpha':>8} {'phi':>8} {'1-λ':>8} {'probe':>8} {'bound':>8} "
        lines = [f"positive-pair graphs, k = {self.k}", head + f"{'error':>8} {'pieces':>7}"]
        for row in self.rows:
            numbers = (
                row.alpha,
                row.phi,
                1 - row.eigenvalue,
                row.probe_error,
                row.bound,
                row.error,
            )
            shown = " ".join(f"{number:>8.3g}" for number in numbers)
            lines.append(f"{row.strength!s:>10} {shown} {row.n_components:>7}")
        return "\n".join(lines)


def augmentation_strength(
    X: Any,
    y: Any,
    augment_of: Callable[[Any], Augment],
    strengths: Sequence[Any],
    k: int,
    *,
    parts: int | None = None,
    **options: Any,
) -> StrengthSweep:
    r"""Graphs of an augmentation at several strengths, in the numbers that the theory turns on.

    Parameters
    ----------
    X
        Samples, as in :func:`~foretell.theory.graphs.augmented.augmentation_probabilities`.
    y
        Labels of the samples, shape (m,).
    augment_of
        Augmentation of a strength, for example ``Noise`` or ``lambda p: Mask(p)``.
    strengths
        What it is called with, one after the other.
    k
        Dimensions of the embedding.
    parts
        Parts of the sparsest partition; None for :math:`\lfloor k/2 \rfloor`, that of the theorem,
        but at least 2.
    **options
        Of :func:`~foretell.theory.graphs.augmented.augmentation_probabilities`.

    Raises
    ------
    InputError
        If there is no strength, or k is not below the number of augmented points, and as
        :func:`~foretell.theory.graphs.augmented.augmentation_probabilities` does.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS 34. arXiv:2106.04156. Theorem 3.7.

    Examples
    --------
    >>> from foretell.data.augmentations import Noise
    >>> X = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0, 0], [6, 6]], 30, axis=0)
    >>> sweep = augmentation_strength(X, np.repeat([0, 1], 30), Noise, [0.5, 1.0, 4.0], k=2)
    >>> [row.alpha < 0.2 for row in sweep.rows], sweep.rows[1].eigenvalue < sweep.rows[0].eigenvalue
    ([True, True, True], True)
    """
    if not len(strengths):
        raise InputError("there is no strength to look at; expected one or more")
    parts = max(2, k // 2) if parts is None else parts
    rows = []
    for strength in strengths:
        augmented = augmentation_probabilities(X, augment_of(strength), **options)
        rows.append(_numbers(strength, augmented, y, k, parts))
    return StrengthSweep(k, parts, tuple(rows))


def _numbers(strength: Any, augmented: Augmented, y: Any, k: int, parts: int) -> Strength:
    graph = augmented.normalized
    check_dimension(graph, k)
    pairs = eigenpairs(graph, max(k + 1, min(parts, graph.n - 1)))
    partition = sparsest_partition(graph, min(parts, graph.n), pairs=pairs, n_starts=2)
    classes, codes = np.unique(augmented.bayes_labels(y), return_inverse=True)
    labels = Labels(codes, tuple(classes.tolist()))
    fit = least_squares(graph, pairs.vectors[:, :k], labels)
    bound = label_bound(graph, labels, k, pairs)
    return Strength(
        strength,
        augmented.n_points,
        graph.n_components,
        augmented.alpha(y),
        bound.disagreement,
        float(pairs.values[k]),
        float(pairs.values[k - 1] - pairs.values[k]),
        _largest(graph, labels),
        partition.lower,
        partition.upper,
        fit.error,
        bound.error,
        ratio(bound.error, fit.error),
        augmented.error(fit.predictions, y),
        augmented.neglected,
    )


def _largest(graph: NormalizedGraph, labels: Labels) -> float:
    return 0.0 if len(labels.classes) == 1 else part_conductance(graph, labels).largest
