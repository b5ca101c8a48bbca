"""Random changes of rows that keep what they mean: views of the same thing.

An augmentation is a function of rows, shape (n, d), and a random generator that returns rows of
the same shape; these are the usual ones, and any other function will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError

Augment = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Noise:
    """Add independent normal noise.

    Parameters
    ----------
    scale
        Standard deviation >= 0 in the units of the columns: a number, or one a column, (d,).

    Examples
    --------
    >>> import numpy as np
    >>> Noise(0.0)(np.ones((1, 2)), np.random.default_rng(0)).tolist()
    [[1.0, 1.0]]
    """

    scale: float | Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _numbers(self.scale))
        if not (np.isfinite(self.scale).all() and (np.asarray(self.scale) >= 0).all()):
            raise InputError(f"the scale of noise is >= 0; found {self.scale}")

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Noisy rows, shape (n, d)."""
        scale = _fitting(self.scale, X, "scale")
        return np.asarray(X + scale * rng.standard_normal(X.shape))


@dataclass(frozen=True)
class Mask:
    """Replace entries, each with the same probability and independently.

    Parameters
    ----------
    probability
        Of being replaced, from 0 to 1.
    fill
        What replaces them: a number, or one a column, (d,).

    Examples
    --------
    >>> import numpy as np
    >>> Mask(1.0, fill=7.0)(np.ones((1, 2)), np.random.default_rng(0)).tolist()
    [[7.0, 7.0]]
    """

    probability: float
    fill: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", _numbers(self.fill))
        if not 0 <= self.probability <= 1:
            raise InputError(f"a probability lies between 0 and 1; found {self.probability}")

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Masked rows, shape (n, d)."""
        fill = _fitting(self.fill, X, "fill")
        return np.where(rng.random(X.shape) < self.probability, fill, X)


@dataclass(frozen=True)
class Crop:
    """Keep a window of consecutive columns where it is, for rows that are sequences.

    The window starts anywhere with the same probability, row by row, and does not wrap around;
    what lies outside is replaced, so that rows keep their d columns.

    Parameters
    ----------
    length
        Columns of the window, 1 to d.
    fill
        What replaces the others: a number, or one a column, (d,).

    Examples
    --------
    >>> import numpy as np
    >>> int(Crop(2)(np.ones((1, 5)), np.random.default_rng(0)).sum())
    2
    """

    length: int
    fill: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", _numbers(self.fill))

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Cropped rows, shape (n, d)."""
        n, d = X.shape
        if not 1 <= self.length <= d:
            raise InputError(f"a window of 1 to {d} columns can be cropped; found {self.length}")
        start = rng.integers(0, d - self.length + 1, size=(n, 1))
        column = np.arange(d)
        inside = (column >= start) & (column < start + self.length)
        return np.where(inside, X, _fitting(self.fill, X, "fill"))


@dataclass(frozen=True, init=False, repr=False)
class Compose:
    """One augmentation after the other.

    Examples
    --------
    >>> Compose(Mask(0.2), Noise(0.1))
    Compose(Mask(probability=0.2, fill=0.0), Noise(scale=0.1))
    """

    parts: tuple[Augment, ...]

    def __init__(self, *parts: Augment) -> None:
        for part in parts:
            check_augment(part)
        object.__setattr__(self, "parts", parts)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.parts))})"

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Augmented rows, shape (n, d)."""
        for part in self.parts:
            X = part(X, rng)
        return X


def check_augment(augment: Any) -> None:
    """Refuse what is no function of rows and a random generator.

    Raises
    ------
    InputError
        For a class in place of an object, what cannot be called, or not with two arguments.
    """
    if isinstance(augment, type):
        raise InputError(
            "expected an augmentation such as Noise(0.1); found the class "
            f"{augment.__name__}: write {augment.__name__}(...)"
        )
    if not callable(augment):
        raise InputError(
            f"augment is a function of rows and a generator; found {augment!r}; several become "
            "one by Compose(first, second, ...)"
        )
    try:
        arguments = signature(augment)
    except (TypeError, ValueError):  # built in, without a signature
        return
    try:
        arguments.bind(None, None)
    except TypeError as error:
        raise InputError(
            "an augmentation is called as augment(rows, rng), with rows and a random generator; "
            f"found a function of {arguments} ({error})"
        ) from error


def _numbers(value: float | Sequence[float]) -> float | tuple[float, ...]:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1:
        raise InputError(f"expected a number or one a column; found shape {array.shape}")
    return float(array) if array.ndim == 0 else tuple(array.tolist())


def _fitting(value: float | Sequence[float], X: Array, name: str) -> Array:
    array = np.asarray(value)
    if array.ndim and array.shape != X.shape[1:]:
        raise InputError(f"{name} has {len(array)} numbers for rows of {X.shape[1]} columns")
    return array
