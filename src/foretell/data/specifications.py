"""Augmentations from text, as a command line has them: ``noise:0.5``, ``mask:0.2+noise:0.1``."""

from __future__ import annotations

import math

from foretell.data.augmentations import Augment, Compose, Crop, Mask, Noise
from foretell.errors import InputError


def augmentation(text: str) -> Augment:
    """The augmentation that a text says: kind and strength, parts joined by ``+``.

    ``noise:0.5`` is normal noise of that standard deviation, ``mask:0.2`` replaces each entry with
    that probability by zero, ``crop:20`` keeps a window of so many columns.

    Raises
    ------
    InputError
        If a part is not of this form or its strength is out of range.

    Examples
    --------
    >>> augmentation("mask:0.2+noise:0.1")
    Compose(Mask(probability=0.2, fill=0.0), Noise(scale=0.1))
    """
    parts = [_part(part.strip()) for part in text.split("+")]
    return parts[0] if len(parts) == 1 else Compose(*parts)


def scaled(text: str, factor: float) -> str:
    """The same text with all strengths of noise and masks times a factor.

    Raises
    ------
    InputError
        If the text has crops, whose strength is not a number that can be scaled.

    Examples
    --------
    >>> scaled("mask:0.2+noise:0.1", 2)
    'mask:0.4+noise:0.2'
    """
    out = []
    for part in text.split("+"):
        kind, _, strength = part.strip().partition(":")
        if kind == "crop":
            raise InputError("strengths multiply noise and masks; found a crop, which has none")
        out.append(f"{kind}:{float(strength) * factor:g}")
    return "+".join(out)


def _part(text: str) -> Augment:
    kind, _, strength = text.partition(":")
    try:
        number = float(strength)
    except ValueError:
        number = math.nan
    if kind not in ("noise", "mask", "crop") or not math.isfinite(number):
        raise InputError(
            f"an augmentation is noise:0.5, mask:0.2 or crop:20, parts joined by +; found {text!r}"
        )
    if kind == "noise":
        return Noise(number)
    if kind == "mask":
        return Mask(number)
    if number != int(number):
        raise InputError(f"a crop is a whole number of columns; found {text!r}")
    return Crop(int(number))
