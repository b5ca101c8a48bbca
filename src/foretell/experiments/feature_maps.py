"""Features as functions of rows, learned without labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from foretell._types import Array
from foretell.base import pretrain
from foretell.data.sources import ArraySource

FeatureMap = Callable[[Array], Array]


def pretrained(model: Any, X: Array, random_state: int) -> FeatureMap:
    """Features of a model pre-trained on rows (n, d), with this ``random_state`` if it has one."""
    own = copy.copy(model)
    if hasattr(own, "random_state"):
        own.random_state = random_state
    encode: FeatureMap = pretrain(own, ArraySource(X)).encode
    return encode
