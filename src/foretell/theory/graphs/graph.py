"""Positive-pair graphs: contrastive learning as spectral clustering, as one object."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array, whole_number
from foretell.errors import ForetellWarning, InputError
from foretell.theory.graphs.angles import PrincipalAngles, principal_angles
from foretell.theory.graphs.augmented import (
    Augmented,
    augmentation_probabilities,
    augmented_table,
)
from foretell.theory.graphs.block_models import BlockGraph, block_weights
from foretell.theory.graphs.cheeger import cheeger_lower, cheeger_upper
from foretell.theory.graphs.eigenpairs import Eigenpairs, eigenpairs
from foretell.theory.graphs.inputs import check_dimension, feature_rows
from foretell.theory.graphs.partitions import (
    ClusterWeights,
    Conductance,
    cluster_weights,
    conductance,
    disagreement,
)
from foretell.theory.graphs.probe import Fit, Probe, probe, probe_features
from foretell.theory.graphs.probe_bound import probe_bound
from foretell.theory.graphs.probe_curve import ProbeCurve, probe_curve
from foretell.theory.graphs.rates import GraphRates, graph_rates
from foretell.theory.graphs.sparsest import SparsestPartition, sparsest_partition
from foretell.theory.graphs.trained_probe import TrainedProbe, spectral_loss, trained_probe
from foretell.theory.graphs.walks import walk_mass
from foretell.theory.graphs.weights import (
    NormalizedGraph,
    normalized_augmentations,
    normalized_weights,
)

TIE, ZERO = 1e-10, 1e-12

Isolated = Literal["error", "drop"]


class PositivePairGraph:
    r"""Graph of augmented points, joined where they are views of the same sample.

    Weights :math:`w(x, x^+)` are probabilities of positive pairs, :math:`w_x` those of vertices.
    Minimisers of the spectral contrastive loss over all k-dimensional features are, up to
    rotation, the embedding by the k leading eigenvectors of
    :math:`\bar A = D^{-1/2} W D^{-1/2}`.

    Parameters
    ----------
    weights
        Symmetric, non-negative, any scale, shape (n, n); an array or any SciPy sparse format.
    isolated
        What to do with vertices whose weights are all zero: ``"error"``, or ``"drop"`` them;
        ``kept`` then says which vertices remain. Labels and features may be given for all vertices
        or for those kept; what is returned is for those kept.
    random_state
        Seed of iterations.

    Attributes
    ----------
    normalized
        Degrees, components and products with :math:`\bar A`.
    kept
        Numbers of the n vertices that remain, shape (n,).
    n_given
        Number of vertices before isolated ones were dropped.
    source
        The augmented points or the block model that the graph was made from, or None.
    sample_labels
        Labels of the samples, shape (m,), if the graph is from a table with a target, or None.

    Raises
    ------
    InputError
        If weights are not square, symmetric (to 1e-10 of the largest), finite and non-negative,
        or rows are all zero.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS 34. Section 3.

    Examples
    --------
    >>> g = PositivePairGraph(np.kron(np.eye(2), np.ones((3, 3))) + 0.1)
    >>> g.spectrum(2).round(4).tolist(), round(g.minimal_loss(2), 4)
    ([1.0, 0.8333], -1.6944)
    >>> abs(g.spectral_loss(g.embedding(2)) - g.minimal_loss(2)) < 1e-12
    True
    """

    def __init__(
        self, weights: Any, *, isolated: Isolated = "error", random_state: int = 0
    ) -> None:
        normalized, kept = normalized_weights(weights, isolated=isolated)
        self._set(normalized, kept, np.shape(weights)[0], random_state)

    def _set(
        self,
        normalized: NormalizedGraph,
        kept: Array,
        n_given: int,
        random_state: int,
        source: Augmented | BlockGraph | None = None,
    ) -> Self:
        self.normalized = normalized
        self.kept = kept
        self.n_given = n_given
        self.random_state = whole_number(random_state, "random_state", 0)
        self.source = source
        self.sample_labels: Array | None = None
        self._known: Eigenpairs | None = None
        return self

    @classmethod
    def from_augmentations(
        cls,
        probabilities: Any,
        weights: Any = None,
        *,
        views: int | None = None,
        isolated: Isolated = "error",
        random_state: int = 0,
    ) -> Self:
        r"""Graph of :math:`W = A^\top P A`; W is formed only if ``weights`` is read.

        Parameters
        ----------
        probabilities
            :math:`A(x \mid \bar x)`, shape (m, n), dense or sparse: a row a sample, sums to one.
        weights
            Probabilities P of the samples, any scale, shape (m,); None: equal.
        views
            V if rows are counts of V drawn views each. Pairs of a draw with itself are then left
            out: :math:`\bar A = (V B^\top B - I) / (V - 1)` with
            :math:`B = P^{1/2} A D^{-1/2}` and A the counts over V. The eigenvectors stay.

        Raises
        ------
        InputError
            If entries are negative or not finite, rows do not sum to one (to V), or some point
            is a view of no sample.

        Examples
        --------
        >>> g = PositivePairGraph.from_augmentations([[0.5, 0.5, 0], [0, 0.5, 0.5]])
        >>> g.spectrum(2).round(6).tolist()
        [1.0, 0.5]
        """
        normalized, kept = normalized_augmentations(
            probabilities, weights, views=views, isolated=isolated
        )
        n = np.shape(probabilities)[1]
        return cls.__new__(cls)._set(normalized, kept, n, random_state)

    @classmethod
    def from_samples(
        cls, X: Any, augment: Any = None, *, random_state: int = 0, **options: Any
    ) -> Self:
        """Graph of the augmented points of samples.

        Options and errors are those of
        :func:`~foretell.theory.graphs.augmented.augmentation_probabilities`; ``source`` keeps the
        points.

        Examples
        --------
        >>> from foretell.data.augmentations import Mask
        >>> g = PositivePairGraph.from_samples([[0.0, 1.0], [0.0, 2.0]], Mask(0.5, fill=-1.0))
        >>> g.n, g.source.exact
        (6, True)
        """
        whole_number(random_state, "random_state", 0)
        made = augmentation_probabilities(X, augment, random_state=random_state, **options)
        return cls._from_augmented(made, random_state)

    @classmethod
    def from_table(
        cls,
        frame: Any,
        augment: Any,
        *,
        target: str | None = None,
        random_state: int = 0,
        **options: Any,
    ) -> Self:
        """Graph of the augmented rows of a data frame; ``sample_labels`` keeps the target.

        Options and errors are those of
        :func:`~foretell.theory.graphs.augmented.augmented_table`.
        """
        whole_number(random_state, "random_state", 0)
        made, labels = augmented_table(
            frame, augment, target=target, random_state=random_state, **options
        )
        graph = cls._from_augmented(made, random_state)
        graph.sample_labels = labels
        return graph

    @classmethod
    def _from_augmented(cls, made: Augmented, random_state: int) -> Self:
        kept = np.arange(made.n_points)
        return cls.__new__(cls)._set(made.normalized, kept, len(kept), random_state, made)

    @classmethod
    def from_blocks(
        cls, blocks: BlockGraph, *, isolated: Isolated = "drop", random_state: int = 0
    ) -> Self:
        """Graph of a block model, kept as ``source`` with its labels.

        Models are made by ``block_weights``, ``hierarchical_blocks`` and ``domain_blocks``.
        """
        normalized, kept = normalized_weights(blocks.weights, isolated=isolated)
        n = blocks.weights.shape[0]
        return cls.__new__(cls)._set(normalized, kept, n, random_state, blocks)

    @classmethod
    def block_model(
        cls, sizes: Sequence[int] | Array, between: Any, *, random_state: int = 0, **options: Any
    ) -> Self:
        """Graph of blocks of given sizes and mutual weights.

        Options and errors are those of
        :func:`~foretell.theory.graphs.block_models.block_weights`.

        Examples
        --------
        >>> g = PositivePairGraph.block_model([20, 20], [[1.0, 0.2], [0.2, 1.0]])
        >>> g.spectrum(2).round(6).tolist(), g.source.blocks.shape
        ([1.0, 0.666667], (40,))
        """
        whole_number(random_state, "random_state", 0)
        blocks = block_weights(sizes, between, random_state=random_state, **options)
        return cls.from_blocks(blocks, random_state=random_state)

    @property
    def n(self) -> int:
        """Number of vertices."""
        return self.normalized.n

    @property
    def degrees(self) -> Array:
        """Probabilities of the vertices, shape (n,); they sum to one."""
        return self.normalized.degrees

    @property
    def weights(self) -> Any:
        """W, shape (n, n), sums to one: a CSR array, or dense if given so."""
        return self.normalized.weights

    @property
    def operator(self) -> Any:
        r""":math:`\bar A` as a SciPy ``LinearOperator``, shape (n, n)."""
        from scipy.sparse.linalg import LinearOperator

        multiply = self.normalized.matvec
        return LinearOperator(
            (self.n, self.n), matvec=multiply, rmatvec=multiply, matmat=multiply, dtype=np.float64
        )

    @property
    def n_components(self) -> int:
        """Number of connected components: the multiplicity of eigenvalue one."""
        return self.normalized.n_components

    @property
    def component_labels(self) -> Array:
        """Connected component of each vertex, shape (n,), numbered by first appearance."""
        return self.normalized.components

    def spectrum(self, k: int) -> Array:
        r"""The k algebraically largest eigenvalues of :math:`\bar A`, descending, shape (k,).

        Raises
        ------
        InputError
            If k is not a whole number with 1 <= k < n.
        ConvergenceError
            If a residual stays above 1e-8; also of all methods below that use eigenvectors.
        """
        check_dimension(self.normalized, k)
        return self.pairs(k).values[:k].copy()

    def pairs(self, k: int) -> Eigenpairs:
        """At least the k largest eigenpairs, residuals checked; the largest set is kept."""
        if self._known is None or len(self._known.values) < k:
            self._known = eigenpairs(self.normalized, k, random_state=self.random_state)
        return self._known

    def gap(self, k: int) -> float:
        r""":math:`\lambda_k - \lambda_{k+1}`."""
        check_dimension(self.normalized, k)
        values = self.pairs(k + 1).values
        return float(values[k - 1] - values[k])

    def eigenvectors(self, k: int) -> Array:
        r"""Orthonormal leading eigenvectors of :math:`\bar A`, shape (n, k).

        Warns
        -----
        ForetellWarning
            If :math:`\lambda_k = \lambda_{k+1}`: the span is one of many.
        """
        return self._unique(k).vectors[:, :k].copy()

    def embedding(self, k: int) -> Array:
        r"""A minimiser of the spectral contrastive loss, shape (n, k): a row f(x) a vertex.

        :math:`F = V_k \max(\Lambda_k, 0)^{1/2}`, :math:`f(x) = F_x / \sqrt{w_x}`; its second
        moment :math:`E f f^\top` is diagonal with :math:`\max(\lambda_1, 0), \dots`. Columns of
        negative eigenvalues are zero. Other minimisers are rotations of it.

        Warns
        -----
        ForetellWarning
            If :math:`\lambda_k = \lambda_{k+1} > 0`: the minimiser is one of many, and not only
            up to rotation.
        """
        found = self._unique(k, positive=True)
        scales = np.sqrt(np.maximum(found.values[:k], 0.0))
        return np.asarray(found.vectors[:, :k] * scales / self.normalized.roots[:, None])

    def spectral_loss(self, features: Any) -> float:
        r"""Population spectral contrastive loss of features f, shape (n, r).

        .. math:: L(f) = -2 \sum_{x, x^+} w(x, x^+) f(x)^\top f(x^+)
            + \sum_{x, x'} w_x w_{x'} (f(x)^\top f(x'))^2

        in O(nnz r + n r²) operations. Features whose loss is not finite are refused.
        """
        return spectral_loss(self.normalized, feature_rows(self.normalized, self._rows(features)))

    def minimal_loss(self, k: int) -> float:
        r"""Minimum of the loss over k-dimensional features: :math:`-\sum_i \max(\lambda_i, 0)^2`.

        References
        ----------
        .. [1] HaoChen et al. (2021), Lemma 3.2, with the theorem of Eckart and Young.
        """
        return -float(np.sum(np.maximum(self.spectrum(k), 0.0) ** 2))

    def conductance(self, labels: Any) -> Conductance:
        """Conductance of the parts that labels (n,) define."""
        return conductance(self.normalized, self._select(labels))

    def cluster_weights(self, labels: Any) -> ClusterWeights:
        """Mass of positive pairs inside the clusters that labels (n,) define, and between them."""
        return cluster_weights(self.normalized, self._select(labels))

    def disagreement(self, labels: Any) -> float:
        """Probability that the two ends of a positive pair have different labels."""
        return disagreement(self.normalized, self._select(labels))

    def sparsest_partition(self, m: int, **options: Any) -> SparsestPartition:
        """A partition into m parts of small conductance, with bounds on the smallest."""
        options = {"random_state": self.random_state} | options
        return sparsest_partition(self.normalized, m, pairs=self._pairs_or_none(m), **options)

    def cheeger(self, m: int) -> tuple[float, float | None]:
        """Bounds on the sparsest m-partition from the spectrum; no upper one for m > 2."""
        check_dimension(self.normalized, m, "m")
        value = float(self.spectrum(m)[-1])
        return cheeger_lower(value), cheeger_upper(value) if m == 2 else None

    def probe(self, labels: Any, k: int) -> Probe:
        """The best linear head on the k-dimensional embedding, beside its bound."""
        chosen = self._select(labels)
        return probe(self.normalized, chosen, k, pairs=self._pairs_or_none(k, 1))

    def probe_error(self, labels: Any, k: int) -> float:
        """0-1 error of the best least-squares head on the k-dimensional embedding."""
        return float(self.probe(labels, k).error)

    def probe_bound(self, labels: Any, k: int) -> float:
        r"""Bound on that error that needs no head: :math:`2 \phi / (1 - \lambda_{k+1})`."""
        chosen = self._select(labels)
        pairs = self._pairs_or_none(k, 1)
        return float(probe_bound(self.normalized, chosen, k, pairs=pairs))

    def probe_curve(
        self, labels: Any, k: int, n_labeled: Sequence[int], **options: Any
    ) -> ProbeCurve:
        """Mean error of heads fitted to n drawn labels, beside its limit and rate."""
        options = {"random_state": self.random_state, "pairs": self._pairs_or_none(k)} | options
        return probe_curve(self.normalized, self._select(labels), k, n_labeled, **options)

    def probe_features(self, features: Any, labels: Any) -> Fit:
        """Errors of the best least-squares head on any features (n, r), without intercept."""
        return probe_features(self.normalized, self._rows(features), self._select(labels))

    def trained_probe(self, features: Any, labels: Any) -> TrainedProbe:
        """The same for trained features, beside the bound from their excess loss."""
        chosen = self._rows(features)
        pairs = self._pairs_or_none(_columns(chosen), 1)
        return trained_probe(self.normalized, chosen, self._select(labels), pairs=pairs)

    def rates(self, labels: Any, k: int, **options: Any) -> GraphRates:
        """What the published theorems say about this graph, beside the computable bound."""
        options = {"random_state": self.random_state, "pairs": self._pairs_or_none(k, 1)} | options
        return graph_rates(self.normalized, self._select(labels), k, **options)

    def principal_angles(self, features: Any, k: int | None = None) -> PrincipalAngles:
        """Angles between features (n, r) and the k leading eigenvectors (None: as many)."""
        chosen = self._rows(features)
        pairs = self._pairs_or_none(_columns(chosen) if k is None else k, 1)
        return principal_angles(self.normalized, chosen, k, pairs=pairs)

    def walk_mass(self, indicators: Any, t: int, k: int | None = None) -> Array:
        """Mass that a walk of t steps carries into sets, exact or by k eigenvectors."""
        pairs = None if k is None else self._pairs_or_none(k)
        return walk_mass(self.normalized, self._select(indicators), t, k, pairs=pairs)

    def summary(self) -> str:
        """Size, components and leading eigenvalues in a few lines."""
        k = min(8, self.n - 1)
        values = self.spectrum(k) if k else [1.0]
        shown = ", ".join(f"{0.0 if abs(value) < ZERO else value:.4g}" for value in values)
        lines = [
            f"{self!r}",
            f"  leading eigenvalues: {shown}",
        ]
        if self.n < self.n_given:
            lines.append(f"  dropped: {self.n_given - self.n} vertices in no positive pair")
        if self.n_components > 1:
            lines.append(
                f"  not connected: eigenvalue 1 has multiplicity {self.n_components}; fewer "
                "dimensions cannot tell all components apart"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        vertices = "1 vertex" if self.n == 1 else f"{self.n} vertices"
        s = "" if self.n_components == 1 else "s"
        return f"PositivePairGraph({vertices}, {self.n_components} component{s})"

    def _unique(self, k: int, *, positive: bool = False) -> Eigenpairs:
        """k + 1 pairs; warns if the k-th eigenvalue is tied with the next."""
        check_dimension(self.normalized, k)
        found = self.pairs(k + 1)
        tied = found.values[k - 1] - found.values[k] <= TIE
        if tied and not (positive and found.values[k - 1] <= TIE):
            smaller = np.flatnonzero(found.values[: k - 1] - found.values[1:k] > TIE) + 1
            known = np.flatnonzero(found.values[k:-1] - found.values[k + 1 :] > TIE) + k + 1
            larger = self.n_components if k < self.n_components else min(known, default=None)
            cures = [f"k = {smaller[-1]}"] if smaller.size else []
            cures += [f"k = {larger}"] if larger is not None else []
            advice = f"{' and '.join(cures)} have a gap" if cures else "take a larger k"
            warnings.warn(
                f"eigenvalues {k} and {k + 1} are equal ({found.values[k]:.6g}), so that the "
                f"{k}-dimensional embedding is one of many; {advice}",
                ForetellWarning,
                stacklevel=3,
            )
        return found

    def _pairs_or_none(self, k: Any, more: int = 0) -> Eigenpairs | None:
        """k + more pairs if k makes sense; else None, for the called function to refuse k."""
        whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
        return self.pairs(int(k) + more) if whole and 1 <= k <= self.n - more else None

    def _rows(self, features: Any) -> Array:
        """Features of the vertices that were kept, as numbers."""
        expected = f"({self.n}, r), one row a vertex"
        return np.asarray(self._select(np.atleast_1d(real_array(features, "features", expected))))

    def _select(self, values: Any) -> Any:
        """Rows of labels or features of the vertices that were kept."""
        if self.n == self.n_given or isinstance(values, str) or not hasattr(values, "__len__"):
            return values
        count = values.shape[0] if hasattr(values, "shape") else len(values)
        if count == self.n:
            return values
        if count != self.n_given:
            raise InputError(
                f"found {count} rows of labels or features; expected {self.n_given}, one a "
                f"vertex, or {self.n}, one a vertex that was kept"
            )
        if hasattr(values, "to_numpy"):
            values = values.to_numpy()
        return (
            values[self.kept] if isinstance(values, np.ndarray) else [values[i] for i in self.kept]
        )


def _columns(features: Array) -> int:
    """Number of columns; 0, which is refused later, if there are none."""
    return features.shape[1] if features.ndim == 2 else 0
