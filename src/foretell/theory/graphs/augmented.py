"""Samples and an augmentation as a bipartite graph: which augmented points each sample reaches."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment, Mask, Noise
from foretell.data.inputs import is_missing
from foretell.data.tables import as_frame
from foretell.data.views import AugmentedSource
from foretell.errors import ForetellWarning, InputError
from foretell.theory.graphs.densities import check_scale, default_neighbors, noise_vertices
from foretell.theory.graphs.draws import counted, drawn_views, rounded
from foretell.theory.graphs.kernels import Vertices, can_be_listed, listed_views, simplified
from foretell.theory.graphs.masks import mask_vertices
from foretell.theory.graphs.samples import cells_of, check_counts, samples_of
from foretell.theory.graphs.weights import NormalizedGraph, normalized_augmentations
from foretell.theory.nodes import Seed

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NEGLECTED = 0.1  # posterior probability left out beyond which a warning says so


@dataclass(frozen=True, eq=False)
class Augmented:
    r"""Augmented points of some samples, and the probability of each given the sample.

    The positive-pair graph of the points has the weights
    :math:`w(x, x^+) = \sum_i P_i A(x \mid \bar x_i) A(x^+ \mid \bar x_i)`. Where the points were
    counted among V draws, the pairs of a draw with itself are left out, which makes the weights
    unbiased: :math:`(V \sum_i P_i A A - w_x 1[x = x^+]) / (V - 1)`.

    Attributes
    ----------
    points
        Augmented points, the vertices, shape (N, d).
    probabilities
        :math:`A(x \mid \bar x_i)`, sparse (m, N); rows sum to one.
    weights
        :math:`P_i` of the samples, shape (m,); they sum to one.
    how
        How the points and the probabilities were found, in words.
    exact
        Whether all augmented points are there with their exact probabilities.
    views
        V where pairs of a draw with itself are to be left out, None elsewhere.
    neglected
        Posterior probability of the samples that a point was not tied to, mean over points.
    names
        Names of the d columns, where a data frame brought them.
    """

    points: Array
    probabilities: csr_array
    weights: Array
    how: str
    exact: bool = False
    views: int | None = None
    neglected: float = 0.0
    names: tuple[str, ...] | None = None

    @property
    def n_samples(self) -> int:
        """Number m of samples."""
        return len(self.weights)

    @property
    def n_points(self) -> int:
        """Number N of augmented points."""
        return len(self.points)

    @cached_property
    def joint(self) -> csr_array:
        """Probability of sample and augmented point together, sparse (m, N); sums to one."""
        joint: Any = self.probabilities.copy()
        joint.data *= np.repeat(self.weights, np.diff(joint.indptr))
        return joint

    @cached_property
    def degrees(self) -> Array:
        """Probability of each augmented point, its degree in the graph, shape (N,)."""
        return np.asarray(self.joint.sum(axis=0)).ravel()

    @cached_property
    def normalized(self) -> NormalizedGraph:
        """The positive-pair graph of the augmented points."""
        table: Any = self.probabilities
        if self.views is not None:
            table = table.copy()
            table.data = np.rint(self.views * table.data)  # counts of draws
        return normalized_augmentations(table, self.weights, views=self.views)[0]

    @cached_property
    def origins(self) -> Array:
        """The most probable sample of each augmented point, shape (N,).

        Not always the one that it was drawn from: with much noise another is nearer.
        """
        by_point: Any = self.joint.tocsc()
        return np.asarray(by_point.argmax(axis=0)).ravel()

    def bayes_labels(self, y: Any) -> Array:
        """Most probable label of each augmented point, given the labels of the samples, (N,).

        Parameters
        ----------
        y
            Labels of the samples, shape (m,); None or NaN where they are not known, which leaves
            these samples out. The first label in sorted order wins a tie.

        Raises
        ------
        InputError
            If there is not one label a sample, or some points come from unlabeled samples only.
        """
        classes, mass = self._label_mass(y)
        lost = np.flatnonzero(mass.max(axis=1) == 0)
        if lost.size:
            raise InputError(
                f"{lost.size} of {self.n_points} augmented points come from unlabeled samples "
                "only; label all samples (with predictions, say), or build the graph of the "
                "labeled ones"
            )
        return np.asarray(classes[mass.argmax(axis=1)])

    def has_label(self, y: Any) -> Array:
        """Whether each augmented point is a view of some labeled sample, shape (N,)."""
        return np.asarray(self._label_mass(y)[1].max(axis=1) > 0)

    def alpha(self, y: Any) -> float:
        r"""Probability that the Bayes label of an augmentation is not the label of its sample.

        :math:`\alpha = 1 - \sum_x \max_c P(x, y = c)`, among the labeled samples.
        """
        mass = self._label_mass(y)[1]
        return float(max(0.0, 1 - mass.max(axis=1).sum() / mass.sum()))

    def error(self, predictions: Any, y: Any) -> float:
        """Probability that the prediction at an augmentation is not the label of its sample.

        Parameters
        ----------
        predictions
            Labels of the augmented points, shape (N,).
        y
            Labels of the samples, shape (m,), missing ones are left out.
        """
        classes, mass = self._label_mass(y)
        found = np.asarray(predictions)
        if found.shape != (self.n_points,):
            raise InputError(
                f"expected one prediction a point, shape ({self.n_points},); found {found.shape}"
            )
        right = found[:, None] == classes
        return float(max(0.0, 1 - mass[right].sum() / mass.sum()))

    def label_disagreement(self, y: Any) -> float:
        r"""Mass :math:`\phi` of positive pairs whose Bayes labels differ; at most 2 alpha."""
        labels, n_labels = _codes(self.bayes_labels(y))
        same: Any = self.probabilities @ np.eye(n_labels)[labels]
        agreement = float(self.weights @ (same**2).sum(axis=1))
        if self.views is not None:
            agreement = (self.views * agreement - 1) / (self.views - 1)
        return max(0.0, 1 - agreement)

    def _label_mass(self, y: Any) -> tuple[Array, Array]:
        """Labels, shape (c,), and the probability of point and label together, shape (N, c)."""
        labels = np.asarray(y)
        if labels.shape != (self.n_samples,):
            raise InputError(
                f"expected one label a sample, shape ({self.n_samples},); found {labels.shape}"
            )
        known = ~is_missing(labels)
        if not known.any():
            raise InputError(f"none of the {self.n_samples} samples has a label")
        classes, codes = np.unique(np.array(labels[known].tolist()), return_inverse=True)
        indicator = np.zeros((self.n_samples, len(classes)))
        indicator[np.flatnonzero(known), codes] = 1
        return classes, np.asarray(self.joint.T @ indicator)

    def __str__(self) -> str:
        lines = [
            f"{self.n_samples:,} samples, {self.n_points:,} augmented points, "
            f"{self.probabilities.nnz:,} probabilities: {self.how}",
        ]
        if self.neglected:
            lines.append(f"posterior probability left out: {self.neglected:.2g} a point")
        return "\n".join(lines)


def augmentation_probabilities(
    X: Any,
    augment: Augment | None = None,
    *,
    weights: Any = None,
    n_views: int = 8,
    neighbors: int | None = None,
    cells: int | None = None,
    points: Any = None,
    mass: float = 1e-4,
    random_state: Seed = 0,
) -> Augmented:
    r"""Augmented points of samples, with the probabilities :math:`A(x \mid \bar x_i)`.

    Exact where the augmented points can be listed: :class:`~foretell.data.augmentations.Crop`,
    and :class:`~foretell.data.augmentations.Mask` while m 2^d stays below 4 million. With exact
    probabilities on drawn points: longer masks, and :class:`~foretell.data.augmentations.Noise`.
    Any other function: draws, counted; draws of a continuous augmentation never coincide, so that
    they have to be rounded to ``cells``, which gives the graph of "augment, then round".

    Parameters
    ----------
    X
        Samples: an array of shape (m, d), a data frame of numbers, or a source of rows.
    augment
        A function of rows and a random generator. None where X is an ``AugmentedSource``.
    weights
        Positive weights of the samples, shape (m,), any scale; None weighs them alike.
    n_views
        Draws V a sample, at least 2 where draws are counted.
    neighbors
        Most samples that a drawn point is tied to, the most probable ones. None: all for masks; for
        noise as many as make 4 million probabilities, at least 32.
    cells
        Round the draws of any augmentation to so many cells.
    points
        Round the draws to these points instead, shape (c, d).
    mass
        Noise: posterior probability of samples that may be left out at a point even if fewer
        than ``neighbors`` are tied to it. With 0, and ``neighbors`` None, all are kept: the
        densities at the draws are exact, for m² V numbers.
    random_state
        Seed of the draws.

    Raises
    ------
    InputError
        If numbers are missing or infinite, shapes do not fit, or there is nothing to draw.

    Warns
    -----
    ForetellWarning
        If no augmented point is shared by two samples: the graph falls apart into the samples.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS 34. Section 3.

    Examples
    --------
    >>> X = np.array([[0.0, 1.0], [0.0, 2.0]])
    >>> a = augmentation_probabilities(X, Mask(0.5, fill=-1.0))
    >>> a.points.shape, a.probabilities.toarray().sum(axis=1).tolist(), a.alpha(["a", "b"])
    ((6, 2), [1.0, 1.0], 0.25)
    """
    if augment is None and isinstance(X, AugmentedSource):
        X, augment, random_state = X.source, X.augment, X.random_state
    if augment is None:
        raise InputError("expected an augmentation, such as Noise(0.5), beside the samples")
    rows, P, names = samples_of(X, weights)
    augment = simplified(augment)
    if isinstance(augment, Noise):
        check_scale(augment, rows.shape[1])
        if not np.any(augment.scale):
            augment = Mask(0.0)
    centers = cells_of(cells, points, rows.shape[1])
    check_counts(n_views, neighbors, mass)
    rng = np.random.default_rng(random_state)
    if centers is not None:
        vertices = rounded(_several(rows, augment, n_views, rng), centers, rng)
    elif can_be_listed(augment, *rows.shape):
        vertices = listed_views(rows, augment)
    elif isinstance(augment, Noise):
        vertices = noise_vertices(
            rows, P, augment, n_views=n_views, neighbors=neighbors, mass=mass, rng=rng
        )
    elif isinstance(augment, Mask):
        vertices = mask_vertices(rows, P, augment, n_views=n_views, neighbors=neighbors, rng=rng)
    else:
        vertices = counted(_several(rows, augment, n_views, rng))
    _warn_if_apart(vertices, augment, centers is not None)
    if vertices.neglected > NEGLECTED:
        count = neighbors or default_neighbors(len(rows), n_views)
        warnings.warn(
            f"each draw is tied to so few samples that {vertices.neglected:.0%} of the posterior "
            "probability is left out, which makes the graph more local than the augmentation; "
            f"tie draws to more samples (neighbors={4 * count}) or take fewer samples",
            ForetellWarning,
            stacklevel=2,
        )
    return Augmented(
        vertices.points,
        vertices.probabilities,
        P,
        vertices.how,
        vertices.exact,
        vertices.views,
        vertices.neglected,
        names,
    )


def augmented_table(
    frame: Any, augment: Augment, *, target: str | None = None, drop: Any = (), **options: Any
) -> tuple[Augmented, Array | None]:
    """The same for a data frame that also holds labels, and the labels, shape (m,), or None.

    Parameters
    ----------
    frame
        Data frame of m rows.
    augment
        A function of rows and a random generator.
    target
        Column of labels, of any type, missing in the unlabeled rows; it is not augmented.
    drop
        Name or names of other columns to leave out.
    **options
        Of :func:`augmentation_probabilities`.

    Raises
    ------
    InputError
        If a column is unknown, and as :func:`augmentation_probabilities` does.

    Examples
    --------
    >>> import pyarrow as pa
    >>> frame = pa.table({"a": [1, 2, 3], "b": [4, 4, 5], "kind": ["x", "x", None]})
    >>> graph, labels = augmented_table(frame, Mask(0.5), target="kind")
    >>> graph.names, graph.n_points, labels.tolist()
    (('a', 'b'), 9, ['x', 'x', None])
    """
    table = as_frame(frame)
    left_out = [drop] if isinstance(drop, str) else list(drop)
    left_out += [] if target is None else [target]
    if unknown := [name for name in left_out if name not in table.columns]:
        raise InputError(
            f"there is no column {', '.join(map(repr, unknown))}; the columns are "
            f"{', '.join(map(repr, table.columns))}"
        )
    labels = None if target is None else np.array(table[target].to_list(), dtype=object)
    kept = [name for name in table.columns if name not in left_out]
    if not kept:
        raise InputError("no column is left to augment; keep some")
    return augmentation_probabilities(table.select(kept).to_native(), augment, **options), labels


def _several(X: Array, augment: Augment, n_views: int, rng: np.random.Generator) -> Array:
    if n_views < 2:
        raise InputError(
            "positive pairs are counted among the draws of a sample; expected n_views >= 2, "
            f"found {n_views}"
        )
    return drawn_views(X, augment, n_views, rng)


def _codes(labels: Array) -> tuple[Array, int]:
    classes, codes = np.unique(labels, return_inverse=True)
    return codes, len(classes)


def _warn_if_apart(vertices: Vertices, augment: Augment, has_cells: bool) -> None:
    """Say so if every augmented point comes from one sample."""
    m, n_points = vertices.probabilities.shape
    if m == 1 or vertices.probabilities.nnz > n_points:
        return
    if has_cells:
        cure = "round the draws to fewer cells, or augment more"
    elif isinstance(augment, Noise):
        cure = "more noise, Noise(scale), ties them together"
    elif isinstance(augment, Mask):
        cure = "mask more entries, or round continuous columns first"
    else:
        cure = "round the draws to cells (cells=200), or augment more"
    warnings.warn(
        f"no augmented point is shared by two of the {m} samples, so that the graph falls apart "
        f"into as many pieces and has no structure to learn; {cure}",
        ForetellWarning,
        stacklevel=3,
    )
