"""Laws of a pre-training model and the encoder that it fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.base import PretrainingEstimator, PretrainingModel, pretrain, pretraining_method
from foretell.data.sources import ArraySource, Chunk, Source
from foretell.errors import InputError
from foretell.testing.affine_laws import affine_laws
from foretell.testing.laws import DIFFERENCES, FITTED, Check, Report, gap, reported
from foretell.testing.smooth_laws import smooth_laws

STEP = 1e-2  # relative change of weights
SEEN_ROWS = 25
CHUNK_ROWS = 17


@dataclass(frozen=True, eq=False)
class Sample(Source):
    """Rows in memory, single or pairs of views, beside the rows that heads see."""

    X: Array
    weights: Array | None
    seen: Array
    is_paired: bool
    chunk_rows: int | None = None

    @classmethod
    def of(cls, source: Source) -> Sample:
        """Walk through the source once, and once through what heads see of it."""
        chunks, seen = list(source.chunks()), list(source.observed.chunks())
        X = np.concatenate([c.X for c in chunks])
        rows = np.concatenate([c.X for c in seen])
        if len(rows) != len(X):
            raise InputError(f"the sample has {len(X)} rows but heads see {len(rows)} of it")
        given = [np.ones(len(c.X)) if c.weights is None else c.weights for c in chunks]
        plain = all(c.weights is None for c in chunks)
        return cls(X, None if plain else np.concatenate(given), rows, source.paired)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    @property
    def paired(self) -> bool:
        """Whether rows are pairs of views."""
        return self.is_paired

    @property
    def observed(self) -> Source:
        """The rows that heads see, with the same weights."""
        return ArraySource(self.seen, self.weights, self.chunk_rows) if self.is_paired else self

    def chunks(self) -> Iterator[Chunk]:
        """Consecutive slices."""
        return ArraySource(self.X, self.weights, self.chunk_rows).chunks()

    @property
    def weight(self) -> Array:
        """Weights, ones if there are none, shape (n,)."""
        return np.ones(len(self.X)) if self.weights is None else self.weights

    def times(self, factor: Array) -> Sample:
        """The same rows with other weights."""
        return replace(self, weights=self.weight * factor)

    def repeated(self, counts: Array) -> Sample:
        """Rows several times, with the weights they had."""
        weights = None if self.weights is None else np.repeat(self.weights, counts)
        X, seen = (np.repeat(rows, counts, axis=0) for rows in (self.X, self.seen))
        return replace(self, X=X, seen=seen, weights=weights)


def check_model(
    model: PretrainingModel | PretrainingEstimator,
    source: Source,
    *,
    rng: int = 0,
    raise_on_failure: bool = True,
) -> Report:
    r"""Fit a pre-training model to a sample and check what the rest of foretell relies on.

    Influences are derivatives of refits in the weights of rows (tested on inner products of
    features, which are constant on orbits of any group of orthogonal matrices); weights are
    repetition (for losses of pairs only equal weights are compared, as a repeated row is no
    independent pair); chunks do not matter. Smooth encoders: scores are horizontal with mean
    zero, curvature vanishes on the orbit alone, and derivatives are numerical ones (those of
    features where the encoder has ``with_theta(theta)``, itself at other parameters). Affine
    encoders: coordinates, moments, predictors and both influences belong together. Fits the
    model up to seven times; all rows are read into memory.

    Parameters
    ----------
    model
        Fits affine or smooth encoders. ``fit(..., start=encoder.params)`` is used where it exists.
    source
        A sample of a few hundred rows on which the model is identified.
    rng
        Seed of the random directions.
    raise_on_failure
        Whether to raise rather than return a report with failures.

    Raises
    ------
    AssertionError
        With the laws that fail.
    InputError
        If the encoder is neither affine nor smooth, or heads see another number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.models import FactorModel
    >>> from foretell.data.sources import ArraySource
    >>> draw = np.random.default_rng(0)
    >>> X = draw.normal(size=(300, 1)) @ np.ones((1, 4)) + 0.5 * draw.normal(size=(300, 4))
    >>> check_model(FactorModel(rank=1), ArraySource(X)).failed
    ()
    """
    laws = _laws(model, Sample.of(source), np.random.default_rng(rng))
    return reported(repr(model), laws, raise_on_failure)


def _laws(model: Any, sample: Sample, rng: np.random.Generator) -> Iterator[Check]:
    plain = pretrain(model, sample)
    smooth = hasattr(plain, "theta")
    if not smooth and not hasattr(plain, "feature_map"):
        raise InputError(
            f"{type(plain).__name__} is neither a smooth encoder (theta, pullback, ...) nor an "
            "affine one (feature_map, coordinates, ...); see foretell.base"
        )
    X = sample.seen[:SEEN_ROWS]
    shape = plain.encode(X).shape
    yield Check("features have shape (n, r)", float(shape != (len(X), plain.rank)), 0.0)
    yield Check("the group acts on r columns", float(plain.symmetry.rank != plain.rank), 0.0)
    if shape != (len(X), plain.rank):
        return
    counts = rng.integers(1, 4, sample.rows)
    heavy = sample.times(counts.astype(np.float64))
    encoder = _refit(model, heavy, plain)

    sizes = (encoder.n_rows, encoder.total_weight), (sample.rows, heavy.weight.sum())
    yield Check("rows and their weight are counted", gap(*sizes), 1e-12)
    whole = _inner(plain, X)
    cut = _refit(model, replace(sample, chunk_rows=CHUNK_ROWS), plain)
    yield Check("chunks do not matter", gap(_inner(cut, X), whole), FITTED)
    equal = _refit(model, sample.times(np.full(sample.rows, 2.5)), plain)
    yield Check("equal weights change nothing", gap(_inner(equal, X), whole), FITTED)
    if not getattr(plain, "pairwise", False):
        again = _refit(model, sample.repeated(counts), plain)
        yield Check("weights are repetition", gap(_inner(again, X), _inner(encoder, X)), FITTED)

    direction = rng.normal(size=sample.rows)
    whole_step, half_step = (
        _inner(_refit(model, heavy.times(1 + h * direction), encoder), X)
        - _inner(_refit(model, heavy.times(1 - h * direction), encoder), X)
        for h in (STEP, STEP / 2)
    )
    found = (8 * half_step - whole_step) / (6 * STEP)  # without the error of order STEP²
    moved = _moved_features(encoder, heavy, direction, X, smooth)
    F = encoder.encode(X)
    yield Check(
        "influences are derivatives of refits in the weights of rows",
        gap(moved @ F.T + F @ moved.T, found), DIFFERENCES,
    )  # fmt: skip
    yield from (smooth_laws if smooth else affine_laws)(encoder, heavy, X, rng)


def _refit(model: Any, sample: Sample, near: Any) -> Any:
    if "start" in signature(pretraining_method(model)).parameters and hasattr(near, "params"):
        return pretrain(model, sample, start=near.params)
    return pretrain(model, sample)


def _inner(encoder: Any, X: Array) -> Array:
    """Inner products of the features of rows: constant on orbits."""
    features = encoder.encode(X)
    return np.asarray(features @ features.T)


def _moved_features(
    encoder: Any, sample: Sample, direction: Array, X: Array, smooth: bool
) -> Array:
    """Derivative of features along relative changes of weights, from influences, (n, r)."""
    share = direction * sample.weight / sample.weight.sum()
    units = np.eye(encoder.rank)
    if smooth:
        shift = share @ encoder.influence(sample.X)
        pulled = [encoder.pullback(X, np.tile(e, (len(X), 1))) @ shift for e in units]
        return np.stack(pulled, axis=1)
    gamma = [share @ encoder.influence(sample.X, e) for e in units]
    return np.asarray(encoder.coordinates(X) @ np.stack(gamma, axis=1))
