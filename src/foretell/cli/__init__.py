"""The command line: ``foretell report``, ``demo``, ``simulate``, ``masked``, ``dynamics``,
``graph``."""

from __future__ import annotations

import click

from foretell import __version__
from foretell.cli.dynamics import dynamics
from foretell.cli.graph import graph
from foretell.cli.masked import masked
from foretell.cli.report import demo, report
from foretell.cli.simulate import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foretell")
def main() -> None:
    """What pre-training buys, how sure we are, and what to collect next."""


for command in (report, demo, simulate, masked, dynamics, graph):
    main.add_command(command)
