"""How a network is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from foretell.data.numbers import whole_number
from foretell.errors import InputError


@dataclass(frozen=True)
class Training:
    r"""How a network is trained.

    Parameters
    ----------
    epochs
        Passes over the rows.
    batch_size
        Rows in a mini-batch, at least 2; the loss contrasts all pairs of them.
    learning_rate
        Largest step of Adam.
    weight_decay
        Decoupled (AdamW), times the learning rate; 0 for none.
    schedule
        ``"cosine"``: up over the first twentieth of the steps, then down to zero along a cosine;
        ``"constant"``.
    norm_cap
        Largest norm of a feature vector: longer ones are shrunk to it, in training and in what is
        returned; :math:`\sqrt\mu` of the code of the paper. None for none, the loss of the theory:
        a capped network does not reach its minimum, unless the largest norm there is smaller. With
        few labels the cap helps: in ``benchmarks/contrastive.py`` (64 features, 100 labels) a
        linear probe is right on 96.9 % of the digits with 2.0, 95.6 % with 1.0 and 92.4 % without,
        on MNIST on 94.4 % with 2.0 and 75.2 % without, where the same epochs do not even bring the
        loss as low.
    max_gradient_norm
        Longer gradients are shrunk to it; None for none.
    scale_inputs
        ``"overall"``: subtract one mean from all columns and divide by one standard deviation
        (images); ``"columns"``: by column (tables); None: leave the rows as they are. Views are
        drawn before, in the units of the columns.
    dtype
        ``"float32"`` or ``"float64"``, whatever the caller's JAX settings, which stay as they are.
    checkpoint
        File that holds the state after every epoch; a run that finds one goes on from it. None
        keeps nothing. It is for the run that wrote it: other rows, settings or ``epochs`` are
        refused.
    checkpoint_seconds
        Write at most this often, at the end of an epoch (and always after the last); 0 writes
        after every epoch.
    progress
        Show epoch, loss and time left on the error stream: a bar on a terminal, else a line every
        few seconds.

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> Training(epochs=10).batch_size
    512
    """

    epochs: int = 100
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    norm_cap: float | None = 2.0
    max_gradient_norm: float | None = None
    scale_inputs: Literal["overall", "columns"] | None = "overall"
    dtype: Literal["float32", "float64"] = "float32"
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 0.0
    progress: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            whole_number(getattr(self, name), name, least)
        for name in ("learning_rate", "norm_cap", "max_gradient_norm"):
            value = getattr(self, name)
            given = value is not None or name == "learning_rate"
            if given and not (_is_number(value) and value > 0):
                raise InputError(f"{name} is a positive number; found {value!r}")
        for name in ("weight_decay", "checkpoint_seconds"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise InputError(f"{name} is a number >= 0; found {value!r}")
        for name, choices in (
            ("schedule", ("cosine", "constant")),
            ("scale_inputs", ("overall", "columns", None)),
            ("dtype", ("float32", "float64")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is one of {choices}; found {getattr(self, name)!r}")


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX with or without doubles inside a block of this thread, whatever it does outside."""
    # jax.experimental.enable_x64 until JAX 0.8, jax.enable_x64 since.
    scope = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with scope(dtype == "float64"):
        yield


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
