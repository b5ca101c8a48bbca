"""Samples and augmentations as graphs: exact kernels, drawn ones, block models, strengths."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import norm

from foretell.data.augmentations import Compose, Crop, Mask, Noise
from foretell.data.sources import ArraySource
from foretell.data.views import AugmentedSource, PairSource
from foretell.errors import ForetellWarning, InputError
from foretell.theory.graphs.augmented import augmentation_probabilities, augmented_table
from foretell.theory.graphs.block_models import (
    block_spectrum,
    block_weights,
    domain_blocks,
    domain_spectrum,
    hierarchical_blocks,
)
from foretell.theory.graphs.densities import noise_vertices
from foretell.theory.graphs.draws import counted, rounded
from foretell.theory.graphs.kernels import listed_views, merged, simplified
from foretell.theory.graphs.label_error import label_error
from foretell.theory.graphs.masks import mask_vertices
from foretell.theory.graphs.partitions import disagreement
from foretell.theory.graphs.strength import augmentation_strength


def spectrum(probabilities, weights, k=5):
    """Leading eigenvalues of the graph, from the samples' side, densely."""
    A = probabilities.toarray()
    B = np.sqrt(weights)[:, None] * A / np.sqrt(weights @ A)
    return np.linalg.eigvalsh(B @ B.T)[::-1][:k]


def as_dict(augmented, i):
    """Probabilities of the augmented points of sample i, by point."""
    row = augmented.probabilities[[i]].tocoo()
    return {tuple(augmented.points[x]): p for x, p in zip(row.col, row.data, strict=True)}


def few_levels(m, rng):
    """Rows of a continuous, some binary and some rounded columns."""
    return np.column_stack(
        [
            rng.standard_normal(m),
            rng.random((m, 3)) < 0.4,
            rng.integers(0, 4, (m, 2)),
            np.round(rng.standard_normal(m), 1),
        ]
    )


# exact kernels


def test_masks_are_listed_with_the_probabilities_of_their_patterns():
    """Against every pattern one by one; the third column is the fill in one sample."""
    X = np.array([[1.0, 2.0, 0.0], [1.0, 5.0, 3.0], [4.0, 2.0, 3.0]])
    graph = augmentation_probabilities(X, Mask(0.3))
    assert graph.exact
    assert graph.views is None
    for i, row in enumerate(X):
        expected = {}
        for pattern in itertools.product([0, 1], repeat=3):
            point = tuple(row * pattern)
            chance = np.prod([0.7 if kept else 0.3 for kept in pattern])
            expected[point] = expected.get(point, 0) + chance
        found = as_dict(graph, i)
        assert found.keys() == expected.keys()
        for point, chance in expected.items():
            assert found[point] == pytest.approx(chance, abs=1e-15)
    assert len(graph.points) == len({tuple(p) for p in graph.points})


def test_crops_are_listed_with_equal_probabilities():
    X = np.array([[1.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 0.0]])
    graph = augmentation_probabilities(X, Crop(2))
    assert as_dict(graph, 0) == pytest.approx(
        {(1, 1, 0, 0): 1 / 3, (0, 1, 1, 0): 1 / 3, (0, 0, 1, 2): 1 / 3}
    )
    assert as_dict(graph, 1)[(0, 1, 1, 0)] == pytest.approx(1 / 3)
    assert graph.n_points == 5


@pytest.mark.parametrize("augment", [Mask(0.4, fill=-1.0), Crop(3, fill=9.0)])
def test_listed_probabilities_are_the_frequencies_of_the_augmentation(augment):
    """The augmentation itself, drawn 20,000 times, within four standard errors."""
    row = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    found = as_dict(augmentation_probabilities(row, augment), 0)
    draws = augment(np.repeat(row, 20_000, axis=0), np.random.default_rng(0))
    points, counts = np.unique(draws, axis=0, return_counts=True)
    assert found.keys() == {tuple(p) for p in points}
    for point, count in zip(points, counts, strict=True):
        p = found[tuple(point)]
        assert abs(count / 20_000 - p) < 4 * np.sqrt(p * (1 - p) / 20_000)


def test_certain_masks_are_listed_whatever_the_number_of_columns():
    X = np.random.default_rng(0).standard_normal((5, 40))
    everything = augmentation_probabilities(X, Mask(1.0))
    assert everything.n_points == 1
    with pytest.warns(ForetellWarning, match="falls apart into as many pieces"):
        nothing = augmentation_probabilities(X, Mask(0.0))
    assert np.array_equal(nothing.points, X)


def test_rows_are_merged_whatever_their_zeros():
    points, index = merged(lambda k: np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, k]]), 2)
    assert points.tolist() == [[0.0, 1.0], [2.0, 0.0], [2.0, 1.0]]
    assert index.tolist() == [[0, 0, 1], [0, 0, 2]]


def test_parts_of_one_kind_are_joined():
    assert simplified(Compose(Mask(0.5), Mask(0.5))) == Mask(0.75)
    assert simplified(Compose(Noise([3.0, 0.0]), Noise(4.0))) == Noise((5.0, 4.0))
    assert simplified(Compose(Compose(Noise(1.0)))) == Noise(1.0)
    mixed = Compose(Mask(0.5), Mask(0.5, fill=1.0), Noise(1.0))
    assert simplified(mixed).parts == mixed.parts


# drawn points with known densities


@pytest.mark.parametrize("m", [30, 300])
def test_drawn_masks_have_the_posteriors_of_all_samples(m):
    """Against every sample at every point; 300 samples use lists and bit sets of samples."""
    rng = np.random.default_rng(m)
    X, P = few_levels(m, rng), rng.random(m) + 0.1
    P /= P.sum()
    mask = Mask(0.6, fill=0.0)  # which is also a value of the sample
    found = mask_vertices(X, P, mask, n_views=4, neighbors=None, rng=np.random.default_rng(1))
    views = np.stack([mask(X, r) for r in [np.random.default_rng(1)] for _ in range(4)])
    q = np.zeros(len(found.points))
    for view in views:
        for i, point in enumerate(view):
            q[np.flatnonzero((found.points == point).all(axis=1))] += P[i] / 4
    A = np.ones((m, len(found.points)))
    for j in range(X.shape[1]):
        x, xbar = found.points[:, j], X[:, [j]]
        A *= np.where(x == 0, np.where(xbar == 0, 1.0, 0.6), np.where(x == xbar, 0.4, 0.0))
    expected = q * A / (P @ A)
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(found.probabilities.toarray() - expected).max() < 1e-14


def test_drawn_normal_noise_has_the_densities_of_all_samples():
    """Against products of SciPy densities; a column without noise separates the samples."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(40, 2)), rng.integers(0, 2, 40)])
    P = rng.random(40) + 0.1
    P /= P.sum()
    scale = np.array([0.5, 2.0, 0.0])
    found = noise_vertices(X, P, Noise(tuple(scale)), n_views=3, neighbors=40, mass=1e-12, rng=rng)
    x = found.points
    A = norm.pdf(x[:, 0], X[:, [0]], 0.5) * norm.pdf(x[:, 1], X[:, [1]], 2.0)
    A *= x[:, 2] == X[:, [2]]
    expected = np.tile(P / 3, 3) * A / (P @ A)
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(found.probabilities.toarray() - expected).max() < 1e-12
    assert found.neglected == 0


def test_noise_far_from_the_origin_keeps_its_digits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    near = augmentation_probabilities(X, Noise(0.5)).probabilities.toarray()
    far = augmentation_probabilities(X + 1e6, Noise(0.5)).probabilities.toarray()
    assert np.abs(near - far).max() < 1e-8


def test_fewer_neighbors_keep_the_most_probable_samples_and_their_own():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    with pytest.warns(ForetellWarning, match=r"neighbors=20"):
        few = augmentation_probabilities(X, Noise(1.0), neighbors=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = augmentation_probabilities(X, Noise(1.0), neighbors=50, mass=1e-12)
    assert np.array_equal(few.points, full.points)
    density = np.exp(-0.5 * ((X[:, None] - full.points) ** 2).sum(axis=2))
    posterior = density / density.sum(axis=0)
    kept = few.probabilities.toarray() > 0
    own = np.tile(np.arange(50), 8)
    largest = np.argsort(-posterior, axis=0)[:5]
    assert kept[largest, np.arange(400)].all()
    assert kept[own, np.arange(400)].all()
    assert kept.sum() <= 6 * 400
    assert few.neglected == pytest.approx(np.mean(1 - (posterior * kept).sum(axis=0)), rel=1e-3)
    assert full.neglected < 1e-12


def test_neighbors_of_masks_are_a_part_of_the_posterior():
    rng = np.random.default_rng(0)
    X, P = few_levels(60, rng), np.full(60, 1 / 60)
    options = {"n_views": 4, "rng": np.random.default_rng(1)}
    full = mask_vertices(X, P, Mask(0.8, fill=-1.0), neighbors=None, **options)
    options = {"n_views": 4, "rng": np.random.default_rng(1)}
    few = mask_vertices(X, P, Mask(0.8, fill=-1.0), neighbors=3, **options)
    assert np.diff(few.probabilities.tocsc().indptr).max() == 3
    assert 0.2 < few.neglected < 1
    assert full.neglected < 1e-12


def test_noise_on_a_normal_population_has_the_spectrum_of_mehler():
    r"""X ~ N(0, 1) as Gauss-Hermite nodes: eigenvalues rho^j, rho = 1 / (1 + scale^2)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    keep = weights > 1e-12
    X, P = nodes[keep, None], weights[keep] / weights[keep].sum()
    rho = 1 / (1 + 0.8**2)
    found = []
    for seed in range(12):
        graph = augmentation_probabilities(X, Noise(0.8), weights=P, n_views=400, random_state=seed)
        found.append(spectrum(graph.probabilities, graph.weights))
    se = np.std(found, axis=0, ddof=1) / np.sqrt(12)
    assert np.abs(found[0][0] - 1) < 1e-12
    assert (np.abs(np.mean(found, axis=0) - rho ** np.arange(5)) < 4 * se + 1e-12).all()
    assert (se[1:] < 0.005).all()


def test_the_error_of_drawn_points_falls_with_the_root_of_their_number():
    """Second eigenvalue against quadrature over the line: 16 times the draws, a quarter."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 1))
    grid = np.linspace(-8, 8, 3001)
    A = norm.pdf(grid, X, 0.7)
    A /= A.sum(axis=1, keepdims=True)
    B = A / np.sqrt(A.sum(axis=0))
    exact = np.linalg.eigvalsh(B @ B.T)[-2]
    errors = {}
    for n_views in (4, 64):
        graphs = [
            augmentation_probabilities(
                X, Noise(0.7), n_views=n_views, neighbors=40, random_state=seed
            )
            for seed in range(60)
        ]
        errors[n_views] = [spectrum(g.probabilities, g.weights)[1] - exact for g in graphs]
    size = {v: np.sqrt(np.mean(np.square(e))) for v, e in errors.items()}
    assert 2.5 < size[4] / size[64] < 6
    assert abs(np.mean(errors[64])) < 4 * np.std(errors[64]) / np.sqrt(60) + 0.5 * size[64]


# counted draws


def shaken(X, rng):
    """Each column moves up by one with probability 0.3, modulo 3."""
    return (X + (rng.random(X.shape) < 0.3)) % 3


def test_counted_draws_are_unbiased_without_pairs_of_a_draw_with_itself():
    """Mean weights of 400 graphs of 3 draws against the exact ones, in four standard errors."""
    X = np.array([[0.0], [1.0], [1.0], [2.0]])
    A = np.zeros((4, 3))
    for i, x in enumerate(X[:, 0].astype(int)):
        A[i, x], A[i, (x + 1) % 3] = 0.7, 0.3
    exact = A.T @ A / 4
    weights = np.zeros((400, 3, 3))
    for seed in range(400):
        graph = augmentation_probabilities(X, shaken, n_views=3, random_state=seed)
        assert graph.views == 3
        W = graph.normalized.weights.toarray()
        place = graph.points[:, 0].astype(int)
        weights[seed][np.ix_(place, place)] = W
    se = weights.std(axis=0, ddof=1) / 20
    assert (np.abs(weights.mean(axis=0) - exact) < 4 * se).all()
    with_themselves = (2 * weights.mean(axis=0) + np.diag(exact.sum(axis=0))) / 3
    assert (np.abs(with_themselves - exact) > 4 * se).any()


def test_rounded_draws_are_counted_in_their_cells():
    rng = np.random.default_rng(0)
    views, centers = rng.normal(size=(5, 20, 2)), rng.normal(size=(4, 2))
    found = rounded(views, centers, rng)
    nearest = np.argmin(((views[:, :, None] - centers) ** 2).sum(axis=3), axis=2)
    expected = np.stack([(nearest == c).mean(axis=0) for c in range(4)], axis=1)
    order = [int(np.flatnonzero((centers == p).all(axis=1))[0]) for p in found.points]
    assert np.abs(found.probabilities.toarray() - expected[:, order]).max() < 1e-15


@pytest.mark.parametrize("cells", [30, 600])
def test_cells_connect_a_continuous_augmentation(cells):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) + np.repeat([[0, 0], [40, 0]], 100, axis=0)
    augment = Compose(Mask(0.0), Noise(1.0), lambda X, rng: X)
    with pytest.warns(ForetellWarning, match="cells=200"):
        augmentation_probabilities(X, augment)
    graph = augmentation_probabilities(X, augment, cells=cells)
    assert graph.n_points <= cells
    assert graph.normalized.n_components < 10
    labels = graph.normalized.components
    left = graph.points[:, 0] < 20
    assert not set(labels[left]) & set(labels[~left])


def test_points_may_be_given():
    X = np.array([[0.0], [1.0]])
    with pytest.warns(ForetellWarning, match="fewer cells"):
        graph = augmentation_probabilities(X, Noise(0.01), points=[[0.1], [0.9], [7.0]])
    assert graph.points.tolist() == [[0.1], [0.9]]
    assert np.allclose(graph.probabilities.toarray(), np.eye(2))


# labels


def test_labels_of_points_agree_with_the_other_functions():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (80, 4)).astype(float), rng.integers(0, 3, 80)
    P = rng.random(80) + 0.1
    for options in ({}, {"cells": 12}):
        graph = augmentation_probabilities(X, Mask(0.4, fill=-1.0), weights=P, **options)
        twin = label_error(graph.probabilities, y, P)
        labels = graph.bayes_labels(y)
        assert graph.alpha(y) == pytest.approx(twin.alpha, abs=1e-12)
        assert graph.error(labels, y) == pytest.approx(twin.alpha, abs=1e-12)
        phi = graph.label_disagreement(y)
        assert phi == pytest.approx(disagreement(graph.normalized, labels), abs=1e-12)
        assert phi <= 2 * graph.alpha(y)
        brute = np.array([P[y == c] @ graph.probabilities.toarray()[y == c] for c in range(3)])
        assert np.array_equal(labels, brute.argmax(axis=0))


def test_unlabeled_samples_are_left_out_of_labels():
    X = np.array([[0.0, 1.0], [0.0, 2.0], [3.0, 1.0]])
    graph = augmentation_probabilities(X, Mask(0.5, fill=-1.0))
    with pytest.raises(InputError, match="from unlabeled samples only"):
        graph.bayes_labels(["a", "b", None])
    assert graph.alpha(["a", "b", None]) == pytest.approx(0.25)
    assert graph.alpha([0.0, 1.0, np.nan]) == pytest.approx(0.25)


def test_origins_are_the_most_probable_samples():
    X = np.array([[0.0], [10.0]])
    with pytest.warns(ForetellWarning, match="more noise"):
        graph = augmentation_probabilities(X, Noise(0.1), n_views=3)
    assert graph.origins.tolist() == [0, 1] * 3


# strengths


def test_stronger_noise_connects_and_blurs():
    """Two classes of two clusters each: phi, alpha and 1 - lambda grow with the noise."""
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0], [4, 0], [0, 9], [4, 9]])
    X = rng.normal(size=(160, 2)) + np.repeat(middles, 40, axis=0)
    y = np.repeat(["a", "a", "b", "b"], 40)
    sweep = augmentation_strength(X, y, Noise, [0.8, 1.5, 3.0], k=4, neighbors=160)
    numbers = sweep.frame("pandas")
    assert numbers["strength"].tolist() == [0.8, 1.5, 3.0]
    for name in ("alpha", "phi", "conductance"):
        assert (np.diff(numbers[name]) > 0).all()
    assert (np.diff(numbers["eigenvalue"]) < 0).all()
    assert (numbers["bound"] >= numbers["probe_error"]).all()
    assert (numbers["error"] <= numbers["probe_error"] + numbers["alpha"] + 1e-12).all()
    assert (numbers["error"] >= numbers["alpha"] - 1e-12).all()
    assert (numbers["phi"] <= 2 * numbers["alpha"]).all()
    assert (numbers["sparsest_lower"] <= numbers["sparsest_upper"]).all()
    assert sweep.parts == 2
    assert sweep.best == min(sweep.rows, key=lambda row: row.error)
    assert len(str(sweep).splitlines()) == 5
    graph = augmentation_probabilities(X, Noise(1.5), neighbors=160)
    assert sweep.rows[1].alpha == graph.alpha(y)
    assert sweep.rows[1].phi == pytest.approx(graph.label_disagreement(y), abs=1e-12)
    values = spectrum(graph.probabilities, graph.weights, 6)
    assert sweep.rows[1].eigenvalue == pytest.approx(values[4], abs=1e-8)
    assert sweep.rows[1].eigengap == pytest.approx(values[3] - values[4], abs=1e-8)


def test_augmentations_that_blur_everything_have_one_bayes_label():
    X = np.ones((3, 2))
    row = augmentation_strength(X, [0, 0, 1], Mask, [0.5], k=1).rows[0]
    assert row.phi == row.conductance == row.probe_error == row.bound == 0
    assert row.error == pytest.approx(row.alpha)
    assert row.alpha == pytest.approx(1 / 3)


def test_strengths_without_an_augmentation_or_with_too_many_dimensions_are_refused():
    with pytest.raises(InputError, match="no strength"):
        augmentation_strength(np.eye(3), [0, 1, 1], Mask, [], k=1)
    with pytest.raises(InputError, match="one vertex"):
        augmentation_strength(np.eye(3), [0, 1, 1], Mask, [1.0], k=1)


def test_without_mass_left_out_densities_are_exact():
    X = np.random.default_rng(0).standard_normal((40, 2))
    found = augmentation_probabilities(X, Noise(0.1), mass=0, n_views=3)
    P = found.probabilities.toarray()
    assert found.neglected == 0.0
    distance = ((found.points[None] - X[:, None]) ** 2).sum(axis=2)
    density = np.exp(-0.5 * distance / 0.1**2)
    exact = density / density.sum(axis=0)
    np.testing.assert_allclose(P, exact / exact.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-300)
    assert (P > 0).sum() > (augmentation_probabilities(X, Noise(0.1), n_views=3).joint > 0).sum()


# inputs


def test_tables_and_sources_are_taken_like_arrays():
    rng = np.random.default_rng(0)
    X, weights = rng.integers(0, 3, (30, 3)).astype(float), rng.random(30) + 0.1
    expected = augmentation_probabilities(X, Mask(0.5), weights=weights)
    frame = pd.DataFrame(X, columns=list("abc"))
    source = ArraySource(X, weights, chunk_rows=7)
    table, labels = augmented_table(
        frame.assign(y=["p", None, "q"] * 10, id=range(30)),
        Mask(0.5),
        target="y",
        drop="id",
        weights=weights,
    )
    assert labels[[0, 2]].tolist() == ["p", "q"]
    assert pd.isna(labels[1])
    assert table.names == ("a", "b", "c")
    for other in (
        augmentation_probabilities(frame, Mask(0.5), weights=weights),
        augmentation_probabilities(source, Mask(0.5)),
        augmentation_probabilities(AugmentedSource(source, Mask(0.5))),
        table,
    ):
        assert np.array_equal(other.points, expected.points)
        assert np.array_equal(other.probabilities.toarray(), expected.probabilities.toarray())
        assert np.allclose(other.weights, weights / weights.sum(), rtol=1e-14)


def test_equal_seeds_give_equal_graphs():
    X = np.random.default_rng(0).normal(size=(50, 3))
    one, two, other = (
        augmentation_probabilities(X, Noise(1.0), neighbors=50, random_state=s) for s in (1, 1, 2)
    )
    assert np.array_equal(one.points, two.points)
    assert (one.probabilities != two.probabilities).nnz == 0
    assert not np.array_equal(one.points, other.points)


@pytest.mark.parametrize(
    ("X", "augment", "options", "message"),
    [
        (np.array([[1.0, np.nan]]), Mask(0.5), {}, "contains NaN"),
        (np.array([[1.0, np.inf]]), Mask(0.5), {}, "contains infinity"),
        (np.empty((0, 2)), Mask(0.5), {}, "at least one row"),
        (np.ones((3, 0)), Mask(0.5), {}, "at least one row"),
        (np.ones(3), Mask(0.5), {}, "Expected 2D array"),
        (np.array([["a", "b"]]), Mask(0.5), {}, "cannot be used as numbers"),
        (pa.table({"a": ["x"]}), Mask(0.5), {}, "cannot be used as numbers"),
        (PairSource(np.ones((2, 1)), np.ones((2, 1))), Mask(0.5), {}, "pairs of views"),
        (ArraySource(np.ones((2, 1)), np.ones(2)), Mask(0.5), {"weights": [1, 1]}, "of its own"),
        (np.eye(2), Compose(), {}, r"empty, Compose\(\)"),
        (np.eye(2), None, {}, "expected an augmentation"),
        (np.eye(2), "noise", {}, "a function of rows"),
        (np.eye(2), Noise(1.0), {"n_views": 0}, "n_views is a whole number >= 1"),
        (np.eye(2), shaken, {"n_views": 1}, "n_views >= 2"),
        (np.eye(2), Noise(1.0), {"cells": 0}, "cells is a whole number >= 1"),
        (np.eye(2), Noise(1.0), {"cells": 2, "points": np.eye(2)}, "found both"),
        (np.eye(2), Noise(1.0), {"points": np.eye(3)}, r"points of shape \(c, 2\)"),
        (np.eye(2), Noise(1.0), {"points": np.array([[np.nan, 0]])}, "points contains NaN"),
        (np.eye(2), Noise(1.0), {"neighbors": 0}, "neighbors is a whole number"),
        (np.eye(2), Noise(1.0), {"mass": -0.1}, "mass is at least 0"),
        (np.eye(2), Noise(1.0), {"weights": [1.0]}, "one weight a row"),
        (np.eye(2), Noise(1.0), {"weights": [1.0, 0.0]}, "weights are positive"),
        (np.eye(2), Noise(1.0), {"weights": [1.0, -1.0]}, "at least zero"),
        (np.eye(2), Noise([1.0, 1.0, 1.0]), {}, "scale has 3 numbers"),
        (np.eye(2), Crop(3), {}, "a window of 1 to 2"),
        (np.eye(2), Mask(0.5, fill=[1.0]), {}, "fill has 1 numbers"),
        (np.eye(2), Mask(0.5, fill=np.nan), {}, "fill is finite"),
        (np.eye(2), lambda X, rng: X[:1], {}, "expected the same shape"),
        (np.eye(2), lambda X, rng: X / 0.0 if False else X * np.nan, {}, "not finite"),
    ],
)
def test_bad_input_is_refused(X, augment, options, message):
    with pytest.raises(InputError, match=message):
        augmentation_probabilities(X, augment, **options)


def test_labels_of_the_wrong_length_are_refused():
    graph = augmentation_probabilities(np.eye(3), Mask(0.5))
    for call in (graph.alpha, graph.bayes_labels, graph.label_disagreement):
        with pytest.raises(InputError, match="one label a sample"):
            call([0, 1])
    with pytest.raises(InputError, match="none of the 3 samples"):
        graph.alpha([np.nan] * 3)
    with pytest.raises(InputError, match="one prediction a point"):
        graph.error([0], [0, 1, 1])
    with pytest.raises(InputError, match="no column 'z'"):
        augmented_table(pa.table({"a": [1.0]}), Mask(0.5), target="z")


def test_masks_that_tie_everything_are_refused_with_a_cure(monkeypatch):
    monkeypatch.setattr("foretell.theory.graphs.masks.MOST_TIES", 1000)
    X = (np.random.default_rng(0).random((300, 20)) < 0.5) * 1.0
    with pytest.raises(InputError, match="neighbors=32"):
        augmentation_probabilities(X, Mask(0.9, fill=-1.0))


# block models


def dense_spectrum(weights):
    W = np.asarray(weights)
    root = np.sqrt(W.sum(axis=1))
    return np.linalg.eigvalsh(W / root[:, None] / root)[::-1]


def test_block_spectra_are_those_of_the_dense_graphs():
    rng = np.random.default_rng(0)
    c = rng.random((4, 4))
    graph = block_weights([3, 5, 2, 7], c + c.T)
    dense = dense_spectrum(graph.weights)
    dense = dense[np.argsort(-np.abs(dense))]
    expected = graph.spectrum[np.argsort(-np.abs(graph.spectrum))]
    assert np.abs(dense[:4] - expected).max() < 1e-12
    assert np.abs(dense[4:]).max() < 1e-12
    assert np.array_equal(graph.spectrum, block_spectrum([3, 5, 2, 7], c + c.T))


@pytest.mark.parametrize(
    ("branching", "strengths"),
    [
        ([3], [0.2, 1.0]),
        ([2, 3], [0.1, 0.4, 1.0]),
        ([2, 2, 2], [0.3, 0.1, 0.6, 0.2]),
        ([1, 4], [5, 1, 2]),
    ],
)
def test_trees_of_blocks_have_their_closed_spectrum(branching, strengths):
    graph = hierarchical_blocks(branching, strengths, size=4)
    K = int(np.prod(branching))
    expected = np.sort(np.concatenate([graph.spectrum, np.zeros(3 * K)]))[::-1]
    assert np.abs(dense_spectrum(graph.weights) - expected).max() < 1e-12
    for level, labels in enumerate(graph.labels):
        assert len(np.unique(labels)) == np.prod(branching[: level + 1])
    same = graph.labels[-1][:, None] == graph.labels[-1]
    assert (graph.weights[same] == strengths[-1]).all()
    apart = graph.labels[0][:, None] != graph.labels[0]
    assert (graph.weights[apart] == strengths[0]).all()


@pytest.mark.parametrize(("classes", "domains"), [(2, 2), (3, 4)])
def test_classes_crossed_with_domains_have_their_closed_spectrum(classes, domains):
    rho, alpha, beta, gamma = 1.0, 0.35, 0.2, 0.05
    graph = domain_blocks(rho, alpha, beta, gamma, classes=classes, domains=domains, size=3)
    expected = np.sort(np.concatenate([graph.spectrum, np.zeros(2 * classes * domains)]))[::-1]
    assert np.abs(dense_spectrum(graph.weights) - expected).max() < 1e-12
    kind, domain = graph.labels
    assert graph.weights[(kind[:, None] == kind) & (domain[:, None] != domain)].max() == alpha
    S = rho + alpha + beta + gamma
    four = domain_spectrum(rho, alpha, beta, gamma)
    assert four["class"][0] == pytest.approx((rho + alpha - beta - gamma) / S, abs=1e-15)
    assert four["domain"][0] == pytest.approx((rho - alpha + beta - gamma) / S, abs=1e-15)
    assert four["both"][0] == pytest.approx((rho - alpha - beta + gamma) / S, abs=1e-15)


@pytest.mark.parametrize("edges", ["bernoulli", "poisson"])
def test_random_edges_have_the_expected_weights(edges):
    """Mean of 400 graphs against the expected one; every pair can be drawn."""
    sizes, c = [4, 3], np.array([[0.6, 0.2], [0.2, 0.5]])
    expected = block_weights(sizes, c).weights
    drawn = np.array(
        [
            block_weights(sizes, c, edges=edges, random_state=seed).weights.toarray()
            for seed in range(400)
        ]
    )
    assert (drawn == drawn.transpose(0, 2, 1)).all()
    se = drawn.std(axis=0, ddof=1) / 20
    assert (np.abs(drawn.mean(axis=0) - expected) < 4 * se).all()
    if edges == "bernoulli":
        assert set(np.unique(drawn)) == {0.0, 1.0}


def test_large_blocks_are_sampled_sparsely():
    graph = block_weights([4000, 6000], [[2e-3, 1e-4], [1e-4, 1e-3]], edges="bernoulli")
    assert graph.weights.shape == (10_000, 10_000)
    total = 4000**2 * 2e-3 + 6000**2 * 1e-3 + 2 * 24e6 * 1e-4
    assert abs(graph.weights.sum() - total) < 4 * np.sqrt(2 * total)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: block_weights([2, 0], np.ones((2, 2))), "sizes are whole numbers"),
        (lambda: block_weights([2, 2], np.ones((3, 3))), r"between has shape \(2, 2\)"),
        (lambda: block_weights([2, 2], [[1, 2], [3, 1]]), "symmetric"),
        (lambda: block_weights([2, 2], [[1, -1], [-1, 1]]), "at least zero"),
        (lambda: block_weights([2, 2], [[1, 0], [0, 0]]), r"blocks \[1\] are tied to no block"),
        (lambda: block_weights([2, 2], 2 * np.ones((2, 2)), edges="bernoulli"), "at most 1"),
        (lambda: block_weights([2], [[1.0]], edges="random"), "found 'random'"),
        (lambda: block_weights([30_000], [[1.0]]), "dense matrix"),
        (lambda: hierarchical_blocks([2, 2], [1.0, 2.0], 3), "3 strengths"),
        (lambda: hierarchical_blocks([], [1.0], 3), "branching is a list"),
    ],
)
def test_bad_blocks_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_listed_views_of_other_augmentations_are_refused():
    with pytest.raises(InputError, match="cannot be listed"):
        listed_views(np.eye(2), Noise(1.0))


def test_equal_draws_are_one_vertex():
    views = np.array([[[1.0], [2.0]], [[2.0], [2.0]]])
    found = counted(views)
    assert found.points.tolist() == [[1.0], [2.0]]
    assert found.probabilities.toarray().tolist() == [[0.5, 0.5], [0.0, 1.0]]
