"""What the commands share: errors as messages, a progress bar, parsing, writing."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from foretell.errors import ForetellError, ForetellWarning, InputError

STEPS = 9  # of a report


class Command(click.Command):
    """A command whose foreseen errors are one message and exit status 2, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and turn errors about the input into usage errors."""
        try:
            return super().invoke(ctx)
        except ForetellError as error:
            raise click.UsageError(str(error), ctx) from error


@contextmanager
def progress(total: int = STEPS) -> Iterator[Callable[[str], None]]:
    """Bar of the steps begun, on a terminal and after two seconds; silent elsewhere."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    started = time.monotonic()
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=total, visible=False)

        def advance(step: str) -> None:
            bar.update(task, description=step, advance=1, visible=time.monotonic() - started > 2)

        yield advance


@contextmanager
def warnings_told() -> Iterator[None]:
    """Print foreseen warnings as one line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ForetellWarning)
        yield
    for text in dict.fromkeys(str(one.message) for one in caught):
        click.echo(f"Warning: {text}", err=True)


def rank_of(text: str) -> int | Literal["auto"]:
    """A rank from the command line."""
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--rank is a whole number or auto; found {text!r}") from None


def write_report(run: dict[str, Any], output: Path, json_path: Path | None) -> None:
    """The page of a run, and its numbers."""
    from foretell.report.files import write_text
    from foretell.report.html import render

    page = render(run)
    if json_path is not None:
        write_text(json.dumps(run, indent=1, allow_nan=False), json_path)
    write_text(page, output)
