"""Image augmentations against scipy's interpolation, and their distributions."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from foretell.data.augmentations import Compose, Noise
from foretell.data.image_augmentations import Affine, Contrast, Erase, Shift
from foretell.data.sources import ArraySource
from foretell.data.views import AugmentedSource
from foretell.errors import InputError

EVERYTHING = Affine((6, 9), rotation=40, scale=(0.6, 1.5), shear=0.4, shift=2.5, bend=0.8, fill=0.3)


def positions(augment, images, rng):
    """Where every pixel of a (h, w) image comes from: the augmentation of its coordinates."""
    h, w = augment.shape
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    state = rng.bit_generator.state
    found = []
    for coordinate in (rows, columns):
        rng.bit_generator.state = state
        found.append(augment(np.tile(coordinate.ravel() * 1.0, (len(images), 1)), rng))
    return found


def test_affine_is_the_map_it_says(rng):
    """Rotation, shear, scale and shift of one image, its draws repeated by hand."""
    h, w, image = 7, 10, rng.standard_normal((1, 70))
    seed = 11
    draws = np.random.default_rng(seed)
    angle = np.deg2rad(30) * draws.uniform(-1, 1)
    size, slope = draws.uniform(0.8, 1.3), 0.3 * draws.uniform(-1, 1)
    move = 2.0 * draws.uniform(-1, 1, 2)
    forward = (
        size
        * np.linalg.inv([[1, 0], [slope, 1]])
        @ [
            [np.cos(angle), np.sin(angle)],
            [-np.sin(angle), np.cos(angle)],
        ]
    )
    middle = np.array([(h - 1) / 2, (w - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1).reshape(-1, 2)
    origin = (grid - middle - move) @ np.linalg.inv(forward).T + middle
    expected = map_coordinates(
        image.reshape(h, w), origin.T, order=1, mode="grid-constant", cval=0.2
    )
    augment = Affine((h, w), rotation=30, scale=(0.8, 1.3), shear=0.3, shift=2.0, fill=0.2)
    assert np.allclose(augment(image, np.random.default_rng(seed))[0], expected, atol=1e-12)


def test_every_image_has_its_own_map(rng):
    """Twenty different images at once, against one by one with the same positions."""
    images = rng.standard_normal((20, 6 * 9))
    wide = Affine((6, 9), rotation=10, scale=(1.5, 2), bend=0.3)  # nothing from over the border
    rows, columns = positions(wide, images, np.random.default_rng(3))
    inside = (rows > 0) & (rows < 5) & (columns > 0) & (columns < 8)
    assert inside.mean() > 0.9
    found = wide(images, np.random.default_rng(3))
    for k, image in enumerate(images):
        at = np.stack([rows[k], columns[k]])
        expected = map_coordinates(image.reshape(6, 9), at, order=1)
        assert np.allclose(found[k][inside[k]], expected[inside[k]], atol=1e-9)
    assert np.ptp(rows, axis=0).min() > 0


def test_bending_has_the_deviation_and_length_it_says(rng):
    h, w, length, n = 12, 20, 2.5, 3000
    bent = Affine((h, w), bend=0.4, bend_length=length)
    blank = np.zeros((n, h * w))
    rows, columns = positions(bent, blank, rng)
    middle = np.ravel_multi_index((6, np.arange(6, 13)), (h, w))
    for moved, still in ((rows, np.full(7, 6.0)), (columns, np.arange(6.0, 13.0))):
        field = moved[:, middle] - still
        assert abs(field.mean()) < 4 * field.mean(axis=1).std() / np.sqrt(n)
        squares = field**2
        assert abs(squares.mean() - 0.16) < 4 * squares.mean(axis=1).std() / np.sqrt(n)
        products = field[:, [0]] * field / 0.16
        expected = np.exp(-(np.arange(7) ** 2) / (4 * length**2))
        error = products.std(axis=0) / np.sqrt(n)
        assert (np.abs(products.mean(axis=0) - expected) < 4 * error + 0.01).all()


def test_shift_moves_whole_images(rng):
    X = rng.standard_normal((500, 5 * 4))
    moved = Shift((5, 4), 2, fill=9.0)(X, rng).reshape(-1, 5, 4)
    seen = set()
    for before, after in zip(X.reshape(-1, 5, 4), moved, strict=True):
        padded = np.pad(before, 2, constant_values=9.0)
        places = {
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(padded[i : i + 5, j : j + 4], after)
        }
        assert len(places) == 1
        seen |= places
    assert len(seen) == 25


def test_erasing_covers_all_pixels_alike(rng):
    n = 20_000
    covered = Erase((5, 6), (2, 3), fill=1.0)(np.zeros((n, 30)), rng).mean(axis=0)
    share = 2 * 3 / ((5 + 1) * (6 + 2))
    assert (np.abs(covered - share) < 5 * np.sqrt(share * (1 - share) / n)).all()
    whole = Erase((5, 6), 11)(np.ones((200, 30)), rng)
    assert whole.min() == 0


def test_contrast_is_one_line_an_image(rng):
    X = rng.standard_normal((50, 12))
    changed = Contrast((0.5, 2.0), brightness=0.3)(X, rng)
    for before, after in zip(X, changed, strict=True):
        slope, level = np.polyfit(before, after, 1)
        assert 0.5 <= slope <= 2
        assert abs(level) <= 0.3
        assert np.allclose(after, slope * before + level)


ALL = [
    Shift((6, 9), 1),
    EVERYTHING,
    Erase((6, 9), 2),
    Contrast(),
    Compose(EVERYTHING, Contrast(), Noise(0.1)),
]


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_input_is_left_alone_and_draws_repeat(augment, rng):
    X = rng.standard_normal((10, 54))
    kept = X.copy()
    first, second = (augment(X, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(X, kept)
    assert np.array_equal(first, second)
    assert first.shape == X.shape
    assert not np.array_equal(first, augment(X, np.random.default_rng(2)))
    source = AugmentedSource(ArraySource(X), augment)
    assert sum(len(chunk.X) for chunk in source.chunks()) == 10


@pytest.mark.parametrize("augment", ALL[:4], ids=str)
def test_single_precision_stays_single(augment, rng):
    X = rng.standard_normal((30, 54))
    double, single = (augment(X.astype(t), np.random.default_rng(1)) for t in ("f8", "f4"))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.abs(single - double).max() < 2e-4


@pytest.mark.parametrize("make", [
    lambda shape: Shift(shape, 1),
    lambda shape: Affine(shape, rotation=20, scale=(0.9, 1.1), shear=0.1, shift=1, bend=0.5),
    lambda shape: Erase(shape, 2),
])  # fmt: skip
def test_channels_change_together(make, rng):
    X = rng.standard_normal((10, 6, 9, 3))
    together = make((6, 9, 3))(X.reshape(10, -1), np.random.default_rng(1)).reshape(X.shape)
    for c in range(3):
        alone = make((6, 9))(X[..., c].reshape(10, -1), np.random.default_rng(1))
        assert np.array_equal(together[..., c].reshape(10, -1), alone)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Shift((8,), 1), r"shape \(h, w\) or \(h, w, channels\); found \(8,\)"),
        (lambda: Shift((8, 8), -1), "a whole number >= 0; found -1"),
        (lambda: Affine((8, 8), rotation=-1), "rotation is a number >= 0"),
        (lambda: Affine((8, 8), scale=(0.0, 1.0)), "scale has a smallest and a largest value"),
        (lambda: Affine((8, 8), scale=(1.2, 1.1)), "0 < low <= high"),
        (lambda: Affine((8, 8), bend=np.nan), "bend is a number >= 0"),
        (lambda: Affine((8, 8), bend_length=0), "bend_length is a number > 0"),
        (lambda: Erase((8, 8), 0), "a height and a width >= 1; found 0"),
        (lambda: Contrast((-1, 1)), "factor has a smallest and a largest value"),
        (lambda: Contrast(brightness=-1), "brightness is a number >= 0"),
        (lambda: Shift((8, 8), 1)(np.ones((2, 63)), None), "64 pixels; found rows of 63 columns"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words):
        make()
