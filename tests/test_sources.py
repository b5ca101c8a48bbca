"""Samples as chunks: moments against numpy, and sources that select, join and stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretell.data.sources import ArraySource, ChunkSource, ConcatenatedSource, SelectedSource
from foretell.errors import InputError


def check(source, X, weights=None, rtol=1e-10):
    """Moments and rows of a source are those of an array."""
    rows = [chunk.X for chunk in source.chunks()]
    np.testing.assert_array_equal(np.concatenate(rows), X)
    again = [chunk.X for chunk in source.chunks()]
    np.testing.assert_array_equal(np.concatenate(again), X)
    assert (source.rows, source.columns) == X.shape
    moments = source.moments
    weights = np.ones(len(X)) if weights is None else weights
    assert moments.n_rows == len(X)
    np.testing.assert_allclose(moments.total_weight, weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(moments.mean, np.average(X, axis=0, weights=weights), rtol=rtol)
    covariance = np.atleast_2d(np.cov(X.T, aweights=weights, bias=True))
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(moments.covariance, covariance, atol=rtol * scale.max(), rtol=0)


@pytest.mark.parametrize("chunk_rows", [None, 1, 7, 100, 10**6])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_moments_are_those_of_numpy(rng, chunk_rows, weighted, offset):
    X = rng.standard_normal((100, 3)) @ rng.standard_normal((3, 3)) + offset
    weights = rng.uniform(0.1, 3, 100) if weighted else None
    # An offset of 1e8 leaves eight digits of the rows.
    check(ArraySource(X, weights, chunk_rows), X, weights, rtol=1e-7 if offset else 1e-10)


def test_offset_does_not_cancel_the_variance(rng):
    """Sums of squares of these rows agree in all sixteen digits; deviations do not."""
    X = rng.standard_normal((1000, 2)).round(6)
    plain = ArraySource(X, chunk_rows=10).moments
    moved = ArraySource(X + 2.0**26, chunk_rows=10).moments
    np.testing.assert_allclose(moved.covariance, plain.covariance, atol=1e-7)


@given(
    n=st.integers(1, 40),
    d=st.integers(1, 5),
    step=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_chunks_of_any_size_give_the_same_moments(n, d, step, seed):
    X = np.random.default_rng(seed).standard_normal((n, d))
    whole, parts = ArraySource(X).moments, ArraySource(X, chunk_rows=step).moments
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-12)
    np.testing.assert_allclose(parts.covariance, whole.covariance, atol=1e-12)


def test_chunks_are_views():
    X = np.ones((10, 2))
    assert all(np.shares_memory(chunk.X, X) for chunk in ArraySource(X, chunk_rows=3).chunks())


@pytest.mark.parametrize("chunk_rows", [1, 3, None])
@pytest.mark.parametrize("weighted", [False, True])
def test_selection_keeps_the_rows_of_the_mask(rng, chunk_rows, weighted):
    X = rng.standard_normal((50, 3))
    weights = rng.uniform(0.1, 3, 50) if weighted else None
    mask = rng.uniform(size=50) < 0.4
    mask[:9] = False  # chunks without a row
    source = SelectedSource(ArraySource(X, weights, chunk_rows), mask)
    check(source, X[mask], None if weights is None else weights[mask])
    assert all(len(chunk.X) for chunk in source.chunks())


def test_concatenation_joins_weighted_and_plain_rows(rng):
    X = rng.standard_normal((30, 3))
    weights = np.concatenate([rng.uniform(0.1, 3, 10), np.ones(20)])
    source = ConcatenatedSource(
        (ArraySource(X[:10], weights[:10], 4), ArraySource(X[10:11]), ArraySource(X[11:]))
    )
    check(source, X, weights)
    empty = ConcatenatedSource((ArraySource(X[:0]), ArraySource(X)))
    check(empty, X)


def test_generated_chunks_are_the_rows(rng):
    X = rng.standard_normal((30, 3))
    check(ChunkSource(lambda: iter(np.array_split(X, 4)), (30, 3)), X)
    check(ChunkSource(lambda: (part.tolist() for part in np.array_split(X, 4)), (30, 3)), X)
    mask = X[:, 0] > 0
    check(SelectedSource(ChunkSource(lambda: iter([X]), (30, 3)), mask), X[mask])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ArraySource(np.ones(3)), r"rows and columns; found shape \(3,\)"),
        (lambda: ArraySource(np.ones((3, 2)), np.ones(2)), r"3 rows but weights of shape \(2,\)"),
        (
            lambda: ConcatenatedSource(
                (ArraySource(np.ones((3, 2))), ArraySource(np.ones((3, 4))))
            ),
            r"different numbers of columns: \[2, 4\]",
        ),
        (lambda: ArraySource(np.ones((0, 2))).moments, "the sample is empty"),
        (lambda: ArraySource(np.ones((2, 2)), np.zeros(2)).moments, "positive weight"),
        (
            lambda: ChunkSource(lambda: iter([np.ones((2, 3))]), (2, 4)).moments,
            r"chunks with 4 columns; found \(2, 3\)",
        ),
        (
            lambda: ChunkSource(lambda: iter([np.ones(3)]), (1, 3)).moments,
            r"3 columns; found \(3,\)",
        ),
        (
            lambda: ChunkSource(lambda: iter([np.ones((2, 3))]), (5, 3)).moments,
            "expected 5 rows in all chunks; found 2",
        ),
    ],
)
def test_sources_that_cannot_be_read_say_why(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_generator_that_is_used_up_is_noticed():
    """A function that returns the same iterator twice yields nothing on the second pass."""
    used = iter([np.eye(3)])
    source = ChunkSource(lambda: used, (3, 3))
    assert len(list(source.chunks())) == 1
    with pytest.raises(InputError, match="expected 3 rows in all chunks; found 0"):
        list(source.chunks())
