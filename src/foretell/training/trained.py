"""A trained network and its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from foretell._types import Array
from foretell.data.sources import ArraySource, Source
from foretell.errors import ConvergenceError, InputError
from foretell.training.networks import Encoder, capped
from foretell.training.settings import Training, precision


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes
    ----------
    encoder
        The network as it was given.
    params
        Its parameters, a pytree of arrays of NumPy.
    losses
        Mean loss of the mini-batches of each epoch, shape (epochs,); constant features reach -1.
    rank
        Number of features.
    offset, scale
        Of the columns, shape (d,): the network sees ``(X - offset) / scale``.
    training
        The settings.
    """

    encoder: Encoder
    params: Any
    losses: Array
    rank: int
    offset: Array
    scale: Array
    training: Training

    def apply(self, params: Any, X: Any) -> Any:
        """Features of rows in their own units, shape (n, rank), in JAX, at any parameters."""
        cap = self.training.norm_cap
        return _apply(self.encoder, cap, params, self.offset, self.scale, X)

    def features(self, X: Source | Array) -> Array:
        """Features of single rows, shape (n, rank), as doubles.

        Raises
        ------
        InputError
            If rows do not have the columns of the training, or numbers are not finite.
        """
        source = X if isinstance(X, Source) else ArraySource(np.asarray(X), chunk_rows=2048)
        if source.columns != len(self.offset):
            raise InputError(
                f"the network was trained on rows of {len(self.offset)} columns; found "
                f"{source.columns}" + (" (pairs of views; pass .observed)" if source.paired else "")
            )
        compiled = cached(_compiled, self.encoder, self.training.norm_cap)
        out = np.empty((source.rows, self.rank))
        start = 0
        with precision(self.training.dtype):
            for rows, _ in source.chunks():
                with np.errstate(over="ignore"):
                    block = np.asarray(rows, dtype=self.training.dtype)
                if not np.isfinite(block).all():
                    raise InputError(
                        "rows hold numbers that are not finite, or too large for "
                        f"{self.training.dtype}; leave them out"
                    )
                Z = compiled(self.params, self.offset, self.scale, block)
                out[start : start + len(rows)] = Z
                start += len(rows)
        if not np.isfinite(out).all():
            raise ConvergenceError(
                "the network returned features that are not finite; train with a smaller "
                "learning_rate"
            )
        return out

    def __str__(self) -> str:
        return (
            f"{self.encoder}: {self.rank} features after {len(self.losses)} epochs, loss "
            f"{self.losses[-1]:.4g} (constant features: -1, at best {-self.rank})"
        )


def cached(compile: Callable[..., Any], encoder: Encoder, *settings: Any) -> Any:
    """What a function with a cache returns for an encoder, computed anew if that has no hash."""
    try:
        hash(encoder)
    except TypeError:
        return compile.__wrapped__(encoder, *settings)  # type: ignore[attr-defined]
    return compile(encoder, *settings)


@lru_cache(maxsize=16)
def _compiled(encoder: Encoder, norm_cap: float | None) -> Any:
    return jax.jit(partial(_apply, encoder, norm_cap))


def _apply(
    encoder: Encoder, norm_cap: float | None, params: Any, offset: Any, scale: Any, X: Any
) -> Any:
    return capped(encoder.apply(params, (X - offset) / scale), norm_cap)
