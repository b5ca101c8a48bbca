"""Replicates on disk as soon as they are finished, so that a simulation can be resumed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foretell.errors import InputError
from foretell.simulation.fingerprint import differences

FORMAT = "foretell simulation"
MAGIC = f'{{"format": "{FORMAT}", "version": 1, '.encode()

# excess risk, several numbers by name, or the error of a replicate that could not be fitted
Outcome = float | dict[str, float] | str
NAMES = {float: "excess_risk", dict: "numbers", str: "error"}


class Journal:
    """An append-only file of JSON lines: what is simulated, then one line a replicate.

    The file is locked while it is open. Every line reaches the operating system before the next
    replicate is waited for, so that a killed process loses nothing that it had finished; a last
    line without its end is what the kill interrupted, and is cut off.

    Parameters
    ----------
    path
        The file; made if there is none.
    study
        Description of everything that determines the numbers, JSON-able; ``random_state`` is
        that of the file if it is None.

    Attributes
    ----------
    study
        The description with the random state in use.
    outcomes
        Excess risk, numbers by name, or the text of an error, by replicate.

    Raises
    ------
    InputError
        If the file is not one of a simulation, is of another study, is damaged, is in use by
        another process, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], study: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.study = dict(study)
        self.outcomes: dict[int, Outcome] = {}
        try:
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._refused(error) from error
        try:
            _lock(self._file.fileno(), self.path)
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, index: int, outcome: Outcome) -> None:
        """Write down a finished replicate."""
        name = NAMES[type(outcome)]
        self._append({"replicate": index, name: outcome})
        self.outcomes[index] = outcome

    def _load(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        begun = content[: len(MAGIC)]
        if not MAGIC.startswith(begun):
            raise InputError(
                f"{self.path} is not a file of simulated replicates, so it was left as it is; "
                "choose another path"
            )
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        if whole:
            header, *lines = whole[:-1].split(b"\n")
            self._compare(self._parse(header, 1))
            for number, line in enumerate(lines, 2):
                self._take(self._parse(line, number), number)
            return
        if self.study["random_state"] is None:
            self.study["random_state"] = fresh_random_state()
        self._append({"format": FORMAT, "version": 1, "study": self.study})
        os.fsync(self._file.fileno())

    def _compare(self, header: dict[str, Any]) -> None:
        there = header.get("study") or {}
        if self.study["random_state"] is None:
            self.study["random_state"] = there.get("random_state")
        if found := differences(there, json.loads(json.dumps(self.study))):
            raise InputError(
                f"{self.path} holds replicates of another study: {'; '.join(found)}; choose "
                "another path, or repeat the study of the file"
            )

    def _take(self, record: dict[str, Any], number: int) -> None:
        index = record.get("replicate")
        outcome: Any = next((record[name] for name in NAMES.values() if name in record), None)
        if not isinstance(index, int) or index < 0 or type(outcome) not in NAMES:
            raise self._damaged(number)
        known = self.outcomes.get(index)
        if known is not None and not isinstance(known, str) and known != outcome:
            raise self._damaged(number)
        self.outcomes[index] = outcome

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise self._damaged(number)
        return record

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise self._refused(error) from error

    def _damaged(self, number: int) -> InputError:
        return InputError(
            f"line {number} of {self.path} is damaged; remove this line, and its replicate is "
            "computed again, or choose another path"
        )

    def _refused(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} could not be written: {error.strerror or error}; replicates that it "
            "holds are safe; free some space or choose another path"
        )


def fresh_random_state() -> dict[str, Any]:
    """A seed from the operating system, as it stands in a file."""
    import numpy as np

    return {"entropy": np.random.SeedSequence().entropy, "spawn_key": []}


def _lock(descriptor: int, path: Path) -> None:
    """Keep other processes out until this one closes the file or ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 2**40, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            f"{path} is in use by another simulation ({error.strerror or error}); wait until it "
            "ends, or choose another path"
        ) from error
