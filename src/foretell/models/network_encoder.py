"""A network trained by mini-batches as a fitted encoder that every law takes as given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from foretell._types import Array
from foretell.base import Finding, Move
from foretell.data.sources import Chunk, Source
from foretell.symmetry import Orthogonal

if TYPE_CHECKING:
    from foretell.training import Trained

DEAD = 1e-8  # variance of a feature beside the largest below which it is constant
TAIL = 0.1  # share of the epochs whose fall in the loss says whether training had ended
STILL_FALLING = 0.05  # of the whole fall
UNEVEN = 20.0  # largest over median deviation of columns from which on units differ


@dataclass(frozen=True, eq=False)
class NetworkEncoder:
    r"""A trained network: features of rows, held fixed in everything that is inferred.

    Predictors are written in the coordinates :math:`t(x) = (1, f(x))`, in which the features are
    the identity and rows of pre-training have no influence. **Laws, standard errors and intervals
    on such features are conditional on the network**: they hold what the labels leave open, given
    these features, and nothing of how other unlabeled rows or another seed would have changed
    them. A network of 10⁵ parameters trained for some epochs ends at no stationary point that
    could be linearised; :func:`~foretell.estimators.pretraining_spread.pretraining_spread`
    measures that part by training again.

    Attributes
    ----------
    trained
        The network with its parameters: ``trained.features(X)``, shape (n, rank), and ``params``,
        a pytree of NumPy arrays, and ``losses``, one an epoch.
    n_columns
        Columns d of a row.
    n_rows, total_weight
        Size of the pre-training sample.
    mean, covariance
        Moments of the features over the rows of pre-training, shapes (r,) and (r, r).
    unevenness
        Largest standard deviation of a column over the median one, constant columns left out.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.augmentations import Noise
    >>> from foretell.data.sources import ArraySource
    >>> from foretell.models import SpectralContrastive
    >>> from foretell.training import MLP, Training
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> model = SpectralContrastive(2, Noise(0.1), encoder=MLP((8,)), training=Training(epochs=2))
    >>> encoder = model.fit(ArraySource(X))
    >>> encoder.encode(X).shape, encoder.n_parameters
    ((64, 2), 50)
    """

    trained: Trained
    n_columns: int
    n_rows: int
    total_weight: float
    mean: Array
    covariance: Array
    unevenness: float = 1.0

    @classmethod
    def over(cls, source: Source, trained: Trained) -> NetworkEncoder:
        """The encoder with moments of its features and units of the columns, a pass each.

        Raises
        ------
        ConvergenceError
            If the network returns features that are not finite.
        """
        rows = source.observed
        moments = FeatureSource(rows, trained).moments
        return cls(
            trained, rows.columns, source.rows, moments.total_weight, moments.mean,
            moments.covariance, unevenness(rows),
        )  # fmt: skip

    @property
    def rank(self) -> int:
        """Number r of features."""
        return self.trained.rank

    @property
    def held_fixed(self) -> bool:
        """True: laws are conditional on the network."""
        return True

    @property
    def standardized(self) -> bool:
        """False: the network sees the columns in their own units."""
        return False

    @property
    def rank_rule(self) -> str:
        """How the rank was chosen, in words."""
        return "fixed beforehand"

    @property
    def symmetry(self) -> Orthogonal:
        """Rotations of the features."""
        return Orthogonal(self.rank)

    @cached_property
    def n_parameters(self) -> int:
        """Numbers in the parameters of the network."""
        import jax

        return int(sum(np.size(leaf) for leaf in jax.tree.leaves(self.trained.params)))

    @cached_property
    def second_moment(self) -> Array:
        """E t tᵀ over the rows of pre-training, shape (1 + r, 1 + r)."""
        mean = np.concatenate([[1.0], self.mean])
        out = np.outer(mean, mean)
        out[1:, 1:] += self.covariance
        return out

    @property
    def feature_map(self) -> Array:
        """The identity, shape (r, r)."""
        return np.eye(self.rank)

    def encode(self, X: Array) -> Array:
        """Features of rows (n, d), shape (n, r), computed 2,048 rows at a time.

        Raises
        ------
        InputError
            If rows have another number of columns, or numbers that are not finite.
        ConvergenceError
            If features are not finite.
        """
        return self.trained.features(X)

    def coordinates(self, X: Array) -> Array:
        """t(x) of rows, shape (n, 1 + r)."""
        return np.concatenate([np.ones((len(X), 1)), self.encode(X)], axis=1)

    def prepare(self, X: Array) -> None:
        """Nothing: rows of pre-training have no influence."""

    def influence(self, X: Array, coef: Array, *, prepared: Any = None) -> Array:
        """Zeros, shape (n, 1 + r): the network is held fixed."""
        return np.zeros((len(X), 1 + self.rank))

    def influence_adjoint(self, X: Array, gradient: Array, *, prepared: Any = None) -> Array:
        """Zeros, shape (n, r): the network is held fixed."""
        return np.zeros((len(X), self.rank))

    def principal_moves(self, source: Source, power: float = 1.0) -> list[Move] | None:
        """No moves."""
        return []

    def random_moves(
        self, source: Source, rng: np.random.Generator, power: float = 1.0
    ) -> Iterator[Move]:
        """No moves."""
        return iter(())

    def spectrum(self) -> Array:
        """Second moments of the features along their principal axes, descending, shape (r,).

        At the minimum of the spectral contrastive loss over all functions these are the leading
        eigenvalues of the positive-pair graph.
        """
        return np.linalg.eigvalsh(self.second_moment[1:, 1:])[::-1]

    def findings(self, names: Sequence[str]) -> list[Finding]:
        """That stage 1 is held fixed; whether training had ended; features that say nothing."""
        out = [Finding(
            "note", "Stage 1 is held fixed: laws are conditional on the network",
            f"{self.n_parameters:,} parameters trained by mini-batches have no stationary point "
            "to linearise at; errors, intervals and laws hold what the labels leave open given "
            "these features, not how other unlabeled rows or another seed would have changed them",
            "measure that part with pretraining_spread, which trains again",
        )]  # fmt: skip
        variance = np.sort(np.linalg.eigvalsh(self.covariance))[::-1]
        alive = int((variance > DEAD * max(variance[0], 1e-300)).sum())
        if alive < self.rank:
            out.append(Finding(
                "warning", f"Features span {alive} of {self.rank} dimensions",
                "the others are constant or repeat them (dimensional collapse)",
                f"train longer, or reduce the rank to {max(1, alive)}",
            ))  # fmt: skip
        if self.trained.training.scale_inputs != "columns" and self.unevenness > UNEVEN:
            out.append(Finding(
                "warning", "Columns of very different units, and no scaling of each",
                f"the largest standard deviation of a column is {self.unevenness:,.0f} times the "
                "median one, so that the network and its augmentation hardly see the others",
                "set Training(scale_inputs='columns'), and give noise in the units of each "
                "column, e.g. Noise(0.3 * X.std(axis=0))",
            ))  # fmt: skip
        epochs = len(self.trained.losses)
        falling = _still_falling(self.trained.losses)
        if falling is not None and falling > STILL_FALLING:
            out.append(Finding(
                "note", "The training loss was still falling",
                f"the last tenth of {epochs} epochs brought {falling:.0%} of the fall",
                "train for more epochs",
            ))  # fmt: skip
        return out


@dataclass(frozen=True, eq=False)
class FeatureSource(Source):
    """Features of the rows of a source, chunk by chunk."""

    source: Source
    trained: Trained

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.source.rows

    @property
    def columns(self) -> int:
        """Number of features."""
        return self.trained.rank

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of the source, encoded."""
        for X, weights in self.source.chunks():
            yield Chunk(self.trained.features(X), weights)


def unevenness(source: Source) -> float:
    """Largest standard deviation of a column over the median one, constant columns left out."""
    n, total, squares, origin = 0, np.zeros(source.columns), np.zeros(source.columns), None
    for X, _ in source.chunks():
        origin = np.asarray(X[:1], dtype=np.float64) if origin is None else origin
        shifted = X - origin
        n += len(X)
        total += shifted.sum(axis=0)
        squares += (shifted**2).sum(axis=0)
    deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
    varying = deviation[deviation > 0]
    return float(varying.max() / np.median(varying)) if varying.size else 1.0


def _still_falling(losses: Array) -> float | None:
    """Share of the whole fall of the loss in the last tenth of the epochs; None below ten."""
    if len(losses) < 10:
        return None
    tail = max(1, round(TAIL * len(losses)))
    whole = losses[0] - min(losses)
    before = np.mean(losses[-2 * tail : -tail])
    return float((before - np.mean(losses[-tail:])) / whole) if whole > 0 else 0.0
