"""What foretell raises and warns: each says what was found, what was expected, what to change."""

from __future__ import annotations


class ForetellError(Exception):
    """Base class of every error that foretell raises on purpose."""


class InputError(ForetellError, ValueError):
    """The data or an argument cannot be used as it is."""


class IdentificationError(ForetellError, ValueError):
    """The data do not determine the parameters beyond the declared symmetry."""


class ConvergenceError(ForetellError, RuntimeError):
    """An iteration stopped before it reached a minimum."""


class MissingExtraError(ForetellError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class ForetellWarning(UserWarning):
    """Something the user should act on; the message says how."""
