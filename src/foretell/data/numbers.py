"""Numbers and arrays as users give them: accepted as real numbers, or refused by name."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError


def real_array(values: Any, name: str, expected: str) -> Array:
    """Values as a float64 array; its shape and whether it is finite are left to the caller.

    Parameters
    ----------
    values
        Anything NumPy makes an array of; objects only if all are real numbers.
    name, expected
        For messages: what they are, and the shape they should have.

    Raises
    ------
    InputError
        If rows have different lengths, or entries are text, complex, dates or missing.

    Examples
    --------
    >>> real_array([[1, 2], [3, 4]], "features", "(n, k)").dtype
    dtype('float64')
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(
            f"{name} are numbers of shape {expected}; found rows of different lengths"
        ) from error
    if array.dtype == object and all(isinstance(value, Real) for value in array.flat):
        array = array.astype(np.float64)
    if array.dtype.kind not in "buif":
        found = type(values).__name__ if not array.ndim else f"data of type {array.dtype}"
        raise InputError(f"{name} are real numbers of shape {expected}; found {found}")
    return np.asarray(array, dtype=np.float64)


def real_number(value: Any, name: str) -> float:
    """The value as a float, once it is a real number and no truth value.

    Examples
    --------
    >>> real_number(2, "rho")
    2.0
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise InputError(f"{name} is a real number; found {value!r}")
    return float(value)


def whole_number(value: Any, name: str, least: int, most: int | None = None, why: str = "") -> int:
    """The value as an int, once it is a whole number from ``least`` to ``most``.

    Examples
    --------
    >>> whole_number(2, "k", 1, 5)
    2
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        span = f"from {least} to {most}" if most is not None else f">= {least}"
        raise InputError(f"{name} is a whole number {span}{why}; found {value!r}")
    return int(value)
