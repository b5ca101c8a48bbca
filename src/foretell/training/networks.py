"""Encoders: small networks that turn rows into features, and anybody's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from foretell.errors import InputError


class Encoder(Protocol):
    """What training needs of a network: a start, and features of rows."""

    def init(self, key: Any, n_columns: int, rank: int) -> Any:
        """Starting parameters, a pytree of arrays."""

    def apply(self, params: Any, X: Any) -> Any:
        """Features, shape (n, rank), of rows, shape (n, n_columns), in JAX."""


@dataclass(frozen=True)
class MLP:
    """Dense layers with ReLU between them; the last one is linear.

    Weights start normal with variance 2 / (inputs) (1 / (inputs) in the last layer), biases at
    zero.

    Parameters
    ----------
    hidden
        Widths of the hidden layers; empty for linear features.
    layer_norm
        Bring the values of each hidden layer to mean zero and variance one within a row, before
        ReLU, with a learnt offset and scale.

    Raises
    ------
    InputError
        If a width is not a whole number of at least one.

    Examples
    --------
    >>> import jax
    >>> encoder = MLP(hidden=(32,))
    >>> params = encoder.init(jax.random.PRNGKey(0), n_columns=5, rank=2)
    >>> encoder.apply(params, jax.numpy.ones((3, 5))).shape
    (3, 2)

    References
    ----------
    .. [1] He, Zhang, Ren & Sun (2015). Delving deep into rectifiers. ICCV. Section 2.2.
    .. [2] Ba, Kiros & Hinton (2016). Layer normalization. arXiv:1607.06450.
    """

    hidden: Sequence[int] = (256, 256)
    layer_norm: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _widths(self.hidden, "hidden"))

    def init(self, key: Any, n_columns: int, rank: int) -> Any:
        """Starting parameters: a list of layers, dictionaries of arrays."""
        widths = [n_columns, *self.hidden]
        keys = jax.random.split(key, len(widths))
        layers = [_dense(keys[k], a, b, 2.0) for k, (a, b) in enumerate(pairwise(widths))]
        if self.layer_norm:
            for layer in layers:
                layer["scale"] = jnp.ones_like(layer["bias"])
        return [*layers, _dense(keys[-1], widths[-1], rank, 1.0)]

    def apply(self, params: Any, X: Any) -> Any:
        """Features, shape (n, rank)."""
        *hidden, last = params
        for layer in hidden:
            X = X @ layer["weight"]
            if self.layer_norm:
                X = _normalized(X) * layer["scale"]
            X = jax.nn.relu(X + layer["bias"])
        return X @ last["weight"] + last["bias"]


@dataclass(frozen=True)
class CNN:
    """Convolutions of 3 x 3 pixels in steps of 2 with ReLU, one dense layer, a linear one.

    Each convolution halves height and width (rounded up; zeros beyond the border). It is computed
    as one matrix product of shifted images.

    Parameters
    ----------
    shape
        Height and width of the images, and their channels if there are several; rows hold the
        pixels in this order, channels last.
    channels
        Channels after each convolution.
    hidden
        Width of the dense layer.

    Raises
    ------
    InputError
        If a number is not a whole number of at least one, or rows do not have the size of images.

    Examples
    --------
    >>> import jax
    >>> encoder = CNN(shape=(8, 8), channels=(4,), hidden=16)
    >>> params = encoder.init(jax.random.PRNGKey(0), n_columns=64, rank=2)
    >>> encoder.apply(params, jax.numpy.ones((3, 64))).shape
    (3, 2)
    """

    shape: Sequence[int] = (8, 8)
    channels: Sequence[int] = (16, 32)
    hidden: int = 128

    def __post_init__(self) -> None:
        shape = _widths(self.shape, "shape")
        if len(shape) not in (2, 3):
            raise InputError(f"images have shape (h, w) or (h, w, channels); found {shape}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "channels", _widths(self.channels, "channels"))
        object.__setattr__(self, "hidden", _widths([self.hidden], "hidden")[0])

    def init(self, key: Any, n_columns: int, rank: int) -> Any:
        """Starting parameters: a list of layers, dictionaries of arrays."""
        if n_columns != math.prod(self.shape):
            raise InputError(
                f"images of shape {self.shape} have {math.prod(self.shape)} pixels; found rows "
                f"of {n_columns} columns"
            )
        height, width = self.shape[:2]
        depths = [self.shape[2] if len(self.shape) == 3 else 1, *self.channels]
        keys = jax.random.split(key, len(depths) + 1)
        layers = []
        for k, (a, b) in enumerate(pairwise(depths)):
            layers.append(_dense(keys[k], 9 * a, b, 2.0))
            height, width = -(-height // 2), -(-width // 2)
        flat = height * width * depths[-1]
        return [
            *layers,
            _dense(keys[-2], flat, self.hidden, 2.0),
            _dense(keys[-1], self.hidden, rank, 1.0),
        ]

    def apply(self, params: Any, X: Any) -> Any:
        """Features, shape (n, rank)."""
        *convolutions, dense, last = params
        images = X.reshape(len(X), *self.shape[:2], -1)
        for layer in convolutions:
            images = jax.nn.relu(_patches(images) @ layer["weight"] + layer["bias"])
        X = images.reshape(len(X), -1)
        X = jax.nn.relu(X @ dense["weight"] + dense["bias"])
        return X @ last["weight"] + last["bias"]


@dataclass(frozen=True)
class Network:
    """An encoder given as two functions: any network of any library for JAX.

    Parameters
    ----------
    init
        ``init(key, n_columns, rank)``: starting parameters, a pytree of arrays of real numbers.
    apply
        ``apply(params, X)``: features, shape (n, rank), of rows, shape (n, n_columns); a function
        of its arguments alone that JAX can trace.

    Examples
    --------
    >>> import jax
    >>> linear = Network(
    ...     init=lambda key, n_columns, rank: jax.random.normal(key, (n_columns, rank)),
    ...     apply=lambda params, X: X @ params,
    ... )
    >>> linear.apply(linear.init(jax.random.PRNGKey(0), 5, 2), jax.numpy.ones((3, 5))).shape
    (3, 2)
    """

    init: Callable[[Any, int, int], Any]
    apply: Callable[[Any, Any], Any]


def capped(Z: Any, norm_cap: float | None) -> Any:
    """Features with norms above the cap shrunk to it, shape (n, rank)."""
    if norm_cap is None:
        return Z
    squares = (Z**2).sum(axis=1, keepdims=True)
    limit = jnp.asarray(norm_cap, Z.dtype)
    return Z * jnp.where(squares > limit**2, limit / jnp.sqrt(jnp.maximum(squares, limit**2)), 1)


def _dense(key: Any, inputs: int, outputs: int, gain: float) -> dict[str, Any]:
    weight = math.sqrt(gain / inputs) * jax.random.normal(key, (inputs, outputs))
    return {"weight": weight, "bias": jnp.zeros(outputs, weight.dtype)}


def _normalized(X: Any) -> Any:
    centered = X - X.mean(axis=1, keepdims=True)
    return centered / jnp.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)


def _patches(images: Any) -> Any:
    """Neighborhoods of 3 x 3 pixels of every second pixel, shape (n, h / 2, w / 2, 9 c)."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    rows, columns = -(-height // 2), -(-width // 2)
    shifted = [
        padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(3) for j in range(3)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _widths(numbers: Sequence[int], name: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(number) for number in numbers)
        valid = all(a == b and a >= 1 for a, b in zip(widths, numbers, strict=True))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"{name} holds whole numbers of at least one; found {numbers!r}")
    return widths
