"""Groups act by isometries; vertical and horizontal spaces, alignment, products."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from foretell import Orthogonal, Permutations, Product, Signs, Trivial
from foretell.errors import InputError

GROUPS = [
    Trivial(3),
    Orthogonal(1),
    Orthogonal(2),
    Orthogonal(4),
    Signs(3),
    Permutations(4),
    Product(Orthogonal(3), Permutations(2)),
    Product(Orthogonal(2), Signs(1), Product(Orthogonal(2), Trivial(2))),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=repr)


def elements(group):
    """All elements of a small finite group."""
    eye = np.eye(group.rank)
    if isinstance(group, Signs):
        return [np.diag(signs) for signs in product([1.0, -1.0], repeat=group.rank)]
    if isinstance(group, Permutations):
        return [eye[list(order)] for order in permutations(range(group.rank))]
    return [eye]


@every_group
def test_elements_are_isometries_and_the_group_is_closed(group, rng):
    g, h = group.random(rng), group.random(rng)
    np.testing.assert_allclose(g.T @ g, np.eye(group.rank), atol=1e-12)
    point, other = rng.standard_normal((2, 7, group.rank))
    moved = group.act(group.act(point, g), h)
    np.testing.assert_allclose(moved, group.act(point, g @ h), atol=1e-12)
    distance = np.linalg.norm(group.act(point, g) - group.act(other, g))
    np.testing.assert_allclose(distance, np.linalg.norm(point - other), rtol=1e-12)


@every_group
def test_generators_are_tangent_to_the_orbit(group, rng):
    """The path W exp(tK) stays in the orbit and leaves W with velocity W K."""
    point, step = rng.standard_normal((6, group.rank)), 1e-6
    for K in group.generators():
        np.testing.assert_array_equal(K, -K.T)
        forward, back = (group.act(point, expm(t * K)) for t in (step, -step))
        velocity = (forward - back) / (2 * step)
        np.testing.assert_allclose(velocity, point @ K, atol=1e-8)
        np.testing.assert_allclose(group.horizontal(point, velocity), 0, atol=1e-8)


@every_group
def test_horizontal_and_vertical_are_complements(group, rng):
    point, tangent = rng.standard_normal((2, 6, group.rank))
    basis = group.vertical(point).reshape(-1, point.size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
    horizontal = group.horizontal(point, tangent)
    np.testing.assert_allclose(basis @ horizontal.ravel(), 0, atol=1e-12)
    np.testing.assert_allclose(group.horizontal(point, horizontal), horizontal, atol=1e-12)
    vertical = (basis.T @ (basis @ tangent.ravel())).reshape(point.shape)
    np.testing.assert_allclose(horizontal + vertical, tangent, atol=1e-12)


@every_group
def test_dimension_is_the_rank_of_the_vertical_space(group, rng):
    point = rng.standard_normal((8, group.rank))
    assert len(group.vertical(point)) == group.dimension == len(group.generators())
    assert group.vertical(point).shape == (group.dimension, 8, group.rank)


@every_group
def test_projection_moves_with_the_point(group, rng):
    """The horizontal part of a moved tangent at a moved point is the moved horizontal part."""
    point, tangent = rng.standard_normal((2, 6, group.rank))
    g = group.random(rng)
    np.testing.assert_allclose(
        group.horizontal(group.act(point, g), group.act(tangent, g)),
        group.act(group.horizontal(point, tangent), g),
        atol=1e-12,
    )


@every_group
def test_alignment_undoes_a_move(group, rng):
    point = rng.standard_normal((9, group.rank))
    moved = group.act(point, group.random(rng))
    aligned = group.act(moved, group.align(moved, point))
    np.testing.assert_allclose(aligned, point, atol=1e-12)


@pytest.mark.parametrize("group", [Signs(4), Permutations(4), Trivial(3)], ids=repr)
def test_alignment_in_a_finite_group_is_the_best_element(group, rng):
    for _ in range(20):
        point, reference = rng.standard_normal((2, 5, group.rank))
        found = np.linalg.norm(point @ group.align(point, reference) - reference)
        best = min(np.linalg.norm(point @ g - reference) for g in elements(group))
        np.testing.assert_allclose(found, best, rtol=1e-12)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_procrustes_beats_random_rotations_and_is_horizontal(r, rng):
    group = Orthogonal(r)
    for _ in range(5):
        point, reference = rng.standard_normal((2, 6, r))
        aligned = point @ group.align(point, reference)
        found = np.linalg.norm(aligned - reference)
        others = [np.linalg.norm(point @ group.random(rng) - reference) for _ in range(2000)]
        assert found <= min(others) + 1e-12
        gap = aligned - reference
        np.testing.assert_allclose(group.horizontal(reference, gap), gap, atol=1e-10)


def test_product_acts_on_blocks(rng):
    first, second = Orthogonal(3), Permutations(2)
    group = Product(first, second)
    point, tangent = rng.standard_normal((2, 6, 5))
    a, b = slice(0, 3), slice(3, 5)
    horizontal = group.horizontal(point, tangent)
    np.testing.assert_allclose(
        horizontal[:, a], first.horizontal(point[:, a], tangent[:, a]), atol=1e-12
    )
    np.testing.assert_array_equal(horizontal[:, b], tangent[:, b])
    g = group.align(point, tangent)
    np.testing.assert_allclose(g[a, a], first.align(point[:, a], tangent[:, a]), atol=1e-12)
    np.testing.assert_array_equal(g[b, b], second.align(point[:, b], tangent[:, b]))
    assert not g[a, b].any()
    assert not group.random(rng)[a, b].any()
    assert Product(Orthogonal(3), Permutations(2)) == group != Product(second, first)
    assert hash(Product(Orthogonal(3), Permutations(2))) == hash(group)
    assert eval(repr(group)) == group


@pytest.mark.parametrize(("columns", "expected"), [(0, 0), (1, 3), (2, 5), (3, 6), (4, 6)])
def test_orbits_through_points_of_low_rank_are_smaller(columns, expected, rng):
    """W of rank k in R^{d x 4}: rotations of its kernel do nothing, 6 - (4 - k)(3 - k)/2."""
    point = rng.standard_normal((7, columns)) @ rng.standard_normal((columns, 4))
    group = Orthogonal(4)
    basis = group.vertical(point)
    assert len(basis) == expected == 6 - (4 - columns) * (3 - columns) // 2
    tangent = rng.standard_normal((7, 4))
    flat = basis.reshape(len(basis), point.size)
    projected = tangent.ravel() - flat.T @ (flat @ tangent.ravel())
    np.testing.assert_allclose(group.horizontal(point, tangent).ravel(), projected, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_projections_do_not_depend_on_the_unit(scale, rng):
    point, tangent = rng.standard_normal((2, 6, 3))
    group = Orthogonal(3)
    expected = group.horizontal(point, tangent)
    np.testing.assert_allclose(group.horizontal(scale * point, tangent), expected, atol=1e-10)
    assert len(group.vertical(scale * point)) == 3


@given(
    d=st.integers(1, 6),
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    kinds=st.lists(st.sampled_from([Trivial, Orthogonal, Signs, Permutations]), min_size=3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_any_shape_is_projected_and_aligned(d, sizes, kinds, seed):
    rng = np.random.default_rng(seed)
    group = Product(*(kind(size) for kind, size in zip(kinds, sizes, strict=False)))
    point, tangent = rng.standard_normal((2, d, group.rank))
    basis = group.vertical(point)
    basis = basis.reshape(len(basis), point.size)
    projected = tangent.ravel() - basis.T @ (basis @ tangent.ravel())
    np.testing.assert_allclose(group.horizontal(point, tangent).ravel(), projected, atol=1e-8)
    g = group.align(point, tangent)
    np.testing.assert_allclose(g.T @ g, np.eye(group.rank), atol=1e-10)
    before = np.linalg.norm(point - tangent)
    assert np.linalg.norm(group.act(point, g) - tangent) <= before + 1e-10


def test_points_may_have_any_leading_shape(rng):
    group = Orthogonal(3)
    point, tangent = rng.standard_normal((2, 2, 4, 3))
    flat = group.horizontal(point.reshape(8, 3), tangent.reshape(8, 3))
    np.testing.assert_allclose(group.horizontal(point, tangent).reshape(8, 3), flat, atol=1e-12)


def test_haar_measure_has_uniform_columns():
    """First two moments of an entry of a uniform orthogonal matrix: 0 and 1/r."""
    rng = np.random.default_rng(0)
    draws = np.array([Orthogonal(3).random(rng) for _ in range(4000)])
    assert (np.abs(draws.mean(0)) < 4 * np.sqrt(1 / 3 / 4000)).all()
    spread = np.sqrt(2 / (3**2 * 5) * 2 / 4000)  # variance of a squared entry is 4/45
    assert (np.abs((draws**2).mean(0) - 1 / 3) < 4 * spread).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match=r"acts on -1 columns; it needs >= 0"):
        Orthogonal(-1)
    with pytest.raises(InputError, match="at least one group"):
        Product()
    for method in ("vertical",):
        with pytest.raises(InputError, match=r"3 columns; found shape \(4, 2\)"):
            getattr(Orthogonal(3), method)(np.ones((4, 2)))
    with pytest.raises(InputError, match=r"found shape \(4, 2\)"):
        Product(Orthogonal(2), Signs(1)).horizontal(np.ones((4, 2)), np.ones((4, 2)))
    with pytest.raises(InputError, match=r"found shape \(4, 2\)"):
        Permutations(3).align(np.ones((4, 3)), np.ones((4, 2)))
