"""What identifies a run: data, encoder, augmentation and settings, in words and digests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.training.batches import Views
from foretell.training.networks import Encoder
from foretell.training.settings import Training

NOT_PART = ("checkpoint", "checkpoint_seconds", "progress")


def fingerprint(encoder: Encoder, views: Views, rank: int, training: Training) -> dict[str, str]:
    """Everything that the result depends on, by name.

    Functions are identified by their names, code, defaults and enclosed values; objects that are
    not dataclasses by their type and attributes.
    """
    settings = {
        field.name: repr(getattr(training, field.name))
        for field in dataclasses.fields(training)
        if field.name not in NOT_PART
    }
    return {
        "rows": str(views.rows.shape),
        "data": digest(views.rows),
        "weights": digest(views.weights),
        "pairs": str(views.paired),
        "augment": identity(views.augment),
        "encoder": identity(encoder),
        "rank": str(rank),
        "random_state": str(views.seed),
        **settings,
    }


def digest(array: Array) -> str:
    """Of the numbers of an array."""
    data = np.ascontiguousarray(array)
    return hashlib.blake2b(data.view(np.uint8).data, digest_size=16).hexdigest()


def identity(thing: Any) -> str:
    """What an object is, as text that another process arrives at as well."""
    if isinstance(thing, np.ndarray):
        return f"array{thing.shape}:{digest(thing)}"
    if isinstance(thing, functools.partial):
        return f"partial({identity((thing.func, thing.args, thing.keywords))})"
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        parts = identity((thing.__defaults__, thing.__kwdefaults__, cells))
        return f"{thing.__module__}.{thing.__qualname__}:{_code(thing.__code__)}{parts}"
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(identity, thing))}]"
    if isinstance(thing, dict):
        return f"{{{', '.join(f'{k!r}: {identity(v)}' for k, v in thing.items())}}}"
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = [(f.name, getattr(thing, f.name)) for f in dataclasses.fields(thing)]
        return f"{type(thing).__qualname__}({', '.join(f'{k}={identity(v)}' for k, v in fields)})"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))


def _code(code: CodeType) -> str:
    inner = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    text = code.co_code + repr((code.co_names, inner)).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()
