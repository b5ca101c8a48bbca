"""Epoch, loss and time left on the error stream: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from foretell.training.checkpoints import State
from foretell.training.settings import Training

LINE_SECONDS = 5.0  # least time between lines of a log


@contextmanager
def progress(training: Training, state: State) -> Iterator[Callable[[State], None]]:
    """A function that shows the state after each epoch; it does nothing unless asked to.

    Parameters
    ----------
    training
        Settings.
    state
        Where the run begins, epoch 0 or that of its checkpoint.
    """
    if not training.progress:
        yield lambda state: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        lines = Lines(training.epochs, state.epoch)
        if state.epoch == training.epochs:
            lines(state)
        yield lines
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeLeft(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=training.epochs, completed=state.epoch, loss=_loss(state))
        yield lambda state: bar.update(task, completed=state.epoch, loss=_loss(state))


@dataclass
class Lines:
    """Lines of a log: the first and the last epoch of a run, and between them every few seconds.

    Parameters
    ----------
    epochs
        Epochs of the whole training.
    begun
        Epochs that were done before this run.
    """

    epochs: int
    begun: int
    started: float = field(default_factory=lambda: time.monotonic())
    printed: float = -float("inf")

    def __call__(self, state: State) -> None:
        """Print the state if it is time to, and flush."""
        now = time.monotonic()
        if now - self.printed < LINE_SECONDS and state.epoch < self.epochs:
            return
        self.printed = now
        done = state.epoch - self.begun
        text = f"epoch {state.epoch}/{self.epochs}  {_loss(state)}"
        if done == 0:
            text += "  finished before, read from the checkpoint"
        elif state.epoch < self.epochs:
            left = (now - self.started) / done * (self.epochs - state.epoch)
            text += f"  {left:.0f} s left"
        print(text, file=sys.stderr, flush=True)


def _loss(state: State) -> str:
    return f"loss {state.losses[-1]:.4f}" if len(state.losses) else ""
