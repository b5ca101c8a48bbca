"""The state of a training on disk: written whole or not at all, and read only by the same run."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from foretell._types import Array
from foretell.errors import InputError, MissingExtraError

FORMAT = "foretell training 1"


class State(NamedTuple):
    """A training after some epochs: parameters, memory of the optimiser, losses, shape (epoch,)."""

    epoch: int
    params: Any
    optimizer: Any
    losses: Array


@dataclass(frozen=True)
class Checkpoint:
    """A safetensors file that holds the state of one run.

    It is written beside its place and moved there once it is on the disk, so that a process that
    is killed leaves either the old or the new state.

    Parameters
    ----------
    path
        The file; its folder exists.
    fingerprint
        What the result of the run depends on, by name; see
        :func:`~foretell.training.fingerprints.fingerprint`.

    Raises
    ------
    InputError
        If the folder does not exist, or the path is a folder.
    MissingExtraError
        If safetensors is not installed.
    """

    path: Path
    fingerprint: dict[str, str]

    def __post_init__(self) -> None:
        if self.path.is_dir() or not self.path.absolute().parent.is_dir():
            raise InputError(
                f"a checkpoint is a file in a folder that exists; found {str(self.path)!r}"
            )
        _safetensors()

    def save(self, state: State) -> None:
        """Replace the file by this state."""
        arrays = _named(state)
        metadata = {
            "format": FORMAT,
            "epoch": str(state.epoch),
            "digest": _digest(arrays),
            "fingerprint": json.dumps(self.fingerprint),
        }
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        with open(unfinished, "wb") as file:
            file.write(_safetensors().save(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)
        if os.name == "posix":  # elsewhere folders cannot be opened
            folder = os.open(self.path.absolute().parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def resume(self, start: State) -> State:
        """The state of the file, or the start if there is none.

        Raises
        ------
        InputError
            If the file is damaged, is no checkpoint, or belongs to a run that differs.
        """
        if not self.path.exists():
            return start
        data = self.path.read_bytes()
        metadata, arrays = self._read(data)
        self._compare(json.loads(metadata["fingerprint"]))
        epoch = int(metadata["epoch"])
        if metadata["digest"] != _digest(arrays) or len(arrays["losses"]) != epoch:
            raise InputError(f"the checkpoint {self.path} is damaged: {self._cure}")
        parts = {
            name: [arrays[f"{name}.{k}"] for k in range(_count(arrays, name))]
            for name in ("params", "optimizer")
        }
        found = [_restored(getattr(start, name), leaves) for name, leaves in parts.items()]
        if any(part is None for part in found):
            raise InputError(
                f"the checkpoint {self.path} holds other arrays than this encoder and optimiser "
                f"have (another version of a package?): {self._cure}"
            )
        return State(epoch, found[0], found[1], arrays["losses"])

    _cure = "remove the file to start afresh, or restore it from a copy"

    def _read(self, data: bytes) -> tuple[dict[str, str], dict[str, Array]]:
        library = _safetensors()
        try:
            length = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
            arrays = library.load(data)
        except (_unreadable(), ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f"the checkpoint {self.path} cannot be read, it is truncated or no checkpoint "
                f"({error}): {self._cure}"
            ) from error
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{self.path} is not a checkpoint of this version of foretell (found format "
                f"{metadata.get('format')!r}, expected {FORMAT!r}); use another path"
            )
        return metadata, arrays

    def _compare(self, found: dict[str, str]) -> None:
        names = [*self.fingerprint, *(name for name in found if name not in self.fingerprint)]
        differ = [n for n in names if found.get(n) != self.fingerprint.get(n)]
        if differ:
            changes = "; ".join(
                f"{name}: {found.get(name)} there, {self.fingerprint.get(name)} here"
                for name in differ
            )
            longer = (
                "; a finished training cannot be prolonged, since the learning rates of all its "
                "steps follow from the number of epochs"
            )
            folds = "; checkpoints do not go with cross-validation, whose folds are other data"
            note = longer if differ == ["epochs"] else folds if "data" in differ else ""
            raise InputError(
                f"the checkpoint {self.path} belongs to another run, which differs in "
                f"{', '.join(differ)} ({changes}){note}; train with what it was made with, use "
                "another path, or remove the file"
            )


def _named(state: State) -> dict[str, Array]:
    arrays = {"losses": np.asarray(state.losses, dtype=np.float64)}
    for name in ("params", "optimizer"):
        for k, leaf in enumerate(jax.tree.leaves(getattr(state, name))):
            arrays[f"{name}.{k}"] = np.asarray(leaf, order="C")
    return arrays


def _count(arrays: dict[str, Array], name: str) -> int:
    return sum(key.startswith(f"{name}.") for key in arrays)


def _restored(like: Any, leaves: list[Array]) -> Any:
    """A pytree with these leaves, None unless they have the shapes and types of the example."""
    expected, tree = jax.tree.flatten(like)
    kinds = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in expected]
    if kinds != [(leaf.shape, leaf.dtype) for leaf in leaves]:
        return None
    return jax.tree.unflatten(tree, leaves)


def _digest(arrays: dict[str, Array]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        found.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def _safetensors() -> Any:
    try:
        import safetensors.numpy as library
    except ImportError as error:
        raise MissingExtraError(
            "a checkpoint needs safetensors, which is not installed; pip install "
            "'foretell[networks]'"
        ) from error
    return library


def _unreadable() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
