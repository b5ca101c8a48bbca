"""Output files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from foretell.errors import InputError


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """The text at ``path``, as UTF-8, whole or not at all; see :func:`write_bytes`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text("{}", pathlib.Path(folder, "run.json"))
    """
    write_bytes(text.encode("utf-8", "replace"), path)


def write_bytes(content: bytes, path: str | os.PathLike[str]) -> None:
    """The content at ``path``, whole or not at all.

    It is written beside ``path`` and moved over it at the end, so that an existing file survives
    any failure.

    Parameters
    ----------
    content
        What to write.
    path
        The file to write or replace; a link is followed.

    Raises
    ------
    InputError
        The file cannot be written, see :func:`check_writable`, or the disk refused it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(b"{}", pathlib.Path(folder, "run.json"))
    """
    target = check_writable(path)
    aside = target.with_name(f".foretell-{secrets.token_hex(6)}.part")
    try:
        with aside.open("xb") as file:
            if target.exists():
                os.chmod(aside, stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except OSError as error:
        raise InputError(
            f"{target} could not be written: {error.strerror or error}; an earlier file there is "
            "unchanged; free some space or choose another path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The file that ``path`` names, links followed, once it is certain that it can be written.

    Call it before long work. It creates an empty file in the directory and removes it.

    Raises
    ------
    InputError
        The directory is missing or not writable, or ``path`` is a directory, a device or a
        write-protected file.

    Examples
    --------
    >>> from foretell.report.files import check_writable
    >>> check_writable("no/such/folder/report.html")
    Traceback (most recent call last):
    foretell.errors.InputError: ...
    """
    try:
        target = Path(os.path.realpath(path))
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | stat.S_IWUSR
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the output cannot be written to {os.fspath(path)!r}: {reason}; choose another path"
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError(
            f"{target} is a directory; give the name of a file, for example "
            f"{target / 'report.html'}"
        )
    if not stat.S_ISREG(mode):
        raise InputError(f"{target} is not a regular file; give the path of an ordinary file")
    if not mode & stat.S_IWUSR:
        raise InputError(f"{target} is write-protected; choose another path or allow writing to it")
    if not target.parent.is_dir():
        raise InputError(
            f"the directory {target.parent} does not exist; create it or choose another path"
        )
    probe = target.with_name(f".foretell-{secrets.token_hex(6)}.part")
    try:
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"the directory {target.parent} cannot be written to: {error.strerror or error}; "
            "choose another path or change its permissions"
        ) from error
    return target
