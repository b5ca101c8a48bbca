r"""Random changes of images that keep what they show, for rows that hold pixels.

A row of ``h * w * c`` columns is an image of shape (h, w) or (h, w, c), row of pixels by row of
pixels, channels last. These are augmentations like those of
:mod:`foretell.data.augmentations`, and compose with them. Rows keep their type: ``float32`` is
about twice as fast as ``float64``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

Range = tuple[float, float]


@dataclass(frozen=True)
class Shift:
    """Move every image by whole pixels, each way with the same probability.

    Parameters
    ----------
    shape
        (h, w) or (h, w, c).
    pixels
        Largest move in each direction, a whole number >= 0; moves from ``-pixels`` to ``pixels``,
        down and to the side independently.
    fill
        What comes in from beyond the border.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(3).reshape(1, 9)
    >>> Shift((3, 3), 0)(X, np.random.default_rng(0)).tolist() == X.tolist()
    True
    """

    shape: Sequence[int]
    pixels: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.shape))
        if self.pixels != int(self.pixels) or self.pixels < 0:
            raise InputError(f"images move by a whole number >= 0; found {self.pixels}")

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Moved images, shape (n, d)."""
        images, p = _images(X, self.shape), int(self.pixels)
        n, h, w, _ = images.shape
        padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=self.fill)
        down, right = rng.integers(0, 2 * p + 1, size=(2, n, 1, 1))
        rows, columns = np.arange(h)[:, None] + down, np.arange(w) + right
        return padded[np.arange(n)[:, None, None], rows, columns].reshape(X.shape)


@dataclass(frozen=True)
class Affine:
    r"""Rotate, scale, shear and move every image about its middle, and bend it smoothly.

    Each number is drawn uniformly, independently for each image. Colors are interpolated
    linearly between the four nearest pixels, once for all changes together.

    Parameters
    ----------
    shape
        (h, w) or (h, w, c).
    rotation
        Largest angle, in degrees, from ``-rotation`` to ``rotation``.
    scale
        Smallest and largest factor of the size, both > 0.
    shear
        Largest slope of what was upright.
    shift
        Largest move down and to the side, in pixels.
    bend
        Standard deviation, in pixels, of an elastic deformation: every pixel moves by a Gaussian
        field.
    bend_length
        Length in pixels over which the field varies: its correlation at distance s is
        :math:`\exp(-s^2 / (4\, \mathrm{bend\_length}^2))` away from the border.
    fill
        What comes in from beyond the border.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(9.0).reshape(1, 9)
    >>> Affine((3, 3))(X, np.random.default_rng(0)).tolist() == X.tolist()
    True

    References
    ----------
    .. [1] Simard, Steinkraus & Platt (2003). Best practices for convolutional neural networks
       applied to visual document analysis. ICDAR. Section 2 (elastic deformations).
    """

    shape: Sequence[int]
    rotation: float = 0.0
    scale: Range = (1.0, 1.0)
    shear: float = 0.0
    shift: float = 0.0
    bend: float = 0.0
    bend_length: float = 4.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.shape))
        object.__setattr__(self, "scale", _range(self.scale, "scale"))
        for name in ("rotation", "shear", "shift", "bend"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name} is a number >= 0; found {getattr(self, name)!r}")
        if not (math.isfinite(self.bend_length) and self.bend_length > 0):
            raise InputError(f"bend_length is a number > 0; found {self.bend_length!r}")

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Changed images, shape (n, d)."""
        images = _images(X, self.shape)
        n, h, w, _ = images.shape
        y, x = (np.arange(s, dtype=images.dtype) - (s - 1) / 2 for s in (h, w))
        y, x = (part.ravel().astype(images.dtype) for part in np.meshgrid(y, x, indexing="ij"))
        maps, moves = self._inverse(n, rng)
        maps, moves = maps.astype(images.dtype), moves.astype(images.dtype)
        middle = np.array([(h - 1) / 2, (w - 1) / 2], dtype=images.dtype)
        grid = np.stack([y, x, np.ones_like(y)])
        rows, columns = (
            np.concatenate([maps[:, k], (moves[:, k] + middle[k])[:, None]], axis=1) @ grid
            for k in (0, 1)
        )
        if self.bend > 0:
            for position in (rows, columns):
                position += self._field(n, h, w, rng).astype(images.dtype)
        return _interpolated(images, rows, columns, self.fill).reshape(X.shape)

    def _inverse(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Where pixels come from: positions (y, x) times (n, 2, 2) plus (n, 2)."""
        angle = np.deg2rad(self.rotation) * rng.uniform(-1, 1, n)
        size = rng.uniform(*self.scale, n)
        slope = self.shear * rng.uniform(-1, 1, n)
        move = self.shift * rng.uniform(-1, 1, (n, 2))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
        shear = np.tile(np.eye(2), (n, 1, 1))
        shear[:, 1, 0] = slope
        maps = turn @ shear / size[:, None, None]
        return maps, -(maps @ move[:, :, None])[:, :, 0]

    def _field(self, n: int, h: int, w: int, rng: np.random.Generator) -> Array:
        """Gaussian fields of standard deviation ``bend``, shape (n, h w)."""
        down, across = (_smoother(s, self.bend_length) for s in (h, w))
        noise = rng.standard_normal((n, down.shape[1], across.shape[1]), dtype=np.float32)
        return self.bend * (down @ noise @ across.T).reshape(n, h * w)


@dataclass(frozen=True)
class Erase:
    """Fill a rectangle of every image, placed anywhere with the same probability.

    Parameters
    ----------
    shape
        (h, w) or (h, w, c).
    size
        Height and width of the rectangle in pixels, or one number for both; it may reach over
        the border, so that every pixel is as likely to be covered as any other.
    fill
        What the rectangle holds.

    Examples
    --------
    >>> import numpy as np
    >>> Erase((4, 4), 9)(np.ones((1, 16)), np.random.default_rng(0)).shape
    (1, 16)

    References
    ----------
    .. [1] DeVries & Taylor (2017). Improved regularization of convolutional neural networks with
       cutout. arXiv:1708.04552.
    """

    shape: Sequence[int]
    size: int | Sequence[int]
    fill: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.shape))
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        if len(size) != 2 or any(s != int(s) or s < 1 for s in size):
            raise InputError(f"a rectangle has a height and a width >= 1; found {self.size}")
        object.__setattr__(self, "size", size)

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Images with a rectangle each, shape (n, d)."""
        images = _images(X, self.shape)
        inside = []
        for side, size in zip(images.shape[1:3], self.size, strict=True):  # type: ignore[arg-type]
            start = rng.integers(1 - size, side, size=(len(X), 1))
            place = np.arange(side)
            inside.append((place >= start) & (place < start + size))
        covered = inside[0][:, :, None] & inside[1][:, None, :]
        fill = np.asarray(self.fill, dtype=images.dtype)
        return np.where(covered[..., None], fill, images).reshape(X.shape)


@dataclass(frozen=True)
class Contrast:
    """Multiply the colors of an image by one random factor and add one random number.

    Parameters
    ----------
    factor
        Smallest and largest factor, both > 0; drawn uniformly for each image.
    brightness
        Largest number added, in the units of the pixels, from ``-brightness`` to ``brightness``.

    Examples
    --------
    >>> import numpy as np
    >>> Contrast((2.0, 2.0))(np.ones((1, 4)), np.random.default_rng(0)).tolist()
    [[2.0, 2.0, 2.0, 2.0]]
    """

    factor: Range = (0.8, 1.25)
    brightness: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _range(self.factor, "factor"))
        if not (math.isfinite(self.brightness) and self.brightness >= 0):
            raise InputError(f"brightness is a number >= 0; found {self.brightness!r}")

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Changed images, shape (n, d)."""
        factor = rng.uniform(*self.factor, (len(X), 1))
        added = self.brightness * rng.uniform(-1, 1, (len(X), 1))
        kind = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
        return X * factor.astype(kind) + added.astype(kind)


def _interpolated(images: Array, rows: Array, columns: Array, fill: float) -> Array:
    """Colors of images (n, h, w, c) between pixels, at positions (n, h w); shape (n, h w, c)."""
    n, h, w, c = images.shape
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=fill)
    flat, across = padded.reshape(-1, c), w + 3
    np.clip(rows, -1, h, out=rows)
    np.clip(columns, -1, w, out=columns)
    top, left = np.floor(rows), np.floor(columns)
    rows -= top
    columns -= left
    index = np.int32 if len(flat) < np.iinfo(np.int32).max else np.int64
    start = (top * across + left).astype(index)
    start += ((np.arange(n, dtype=np.int64) * (h + 3) + 1) * across + 1).astype(index)[:, None]
    down, right = rows[..., None], columns[..., None]

    def along(index: Array) -> Array:
        first, second = flat.take(index, axis=0), flat.take(index + 1, axis=0)
        second -= first
        second *= right
        second += first
        return second

    upper, lower = along(start), along(start + across)
    lower -= upper
    lower *= down
    lower += upper
    return lower


def _smoother(side: int, length: float) -> Array:
    """Matrix that turns white noise into values of unit variance at the pixels of one axis."""
    step = max(1.0, length)
    margin = math.ceil(3 * length / step)
    knots = step * np.arange(-margin, math.ceil((side - 1) / step) + margin + 1)
    kernel = np.exp(-((np.arange(side)[:, None] - knots) ** 2) / (2 * length**2))
    return (kernel / np.linalg.norm(kernel, axis=1, keepdims=True)).astype(np.float32)


def _images(X: Array, shape: Sequence[int]) -> Array:
    """Rows as images with channels, shape (n, h, w, c), of a floating type."""
    size = math.prod(shape)
    if X.ndim != 2 or X.shape[1] != size:
        raise InputError(
            f"images of shape {tuple(shape)} have {size} pixels; found rows of "
            + (f"{X.shape[1]} columns" if X.ndim == 2 else f"shape {X.shape}")
        )
    kind = X.dtype if X.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    return X.astype(kind, copy=False).reshape(len(X), *shape[:2], -1)


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sides = tuple(int(s) for s in shape)
        valid = len(sides) in (2, 3) and min(sides) >= 1 and sides == tuple(shape)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"images have shape (h, w) or (h, w, channels); found {shape!r}")
    return sides


def _range(limits: Range, name: str) -> Range:
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 < low <= high < math.inf:
        raise InputError(
            f"{name} has a smallest and a largest value, (low, high) with 0 < low <= high; found "
            f"{limits!r}"
        )
    return low, high
