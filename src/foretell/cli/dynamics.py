"""``foretell dynamics``: the gradient flow of symmetric low-rank factorization."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from foretell.cli.common import Command
from foretell.errors import InputError

PREFIX = "eigenvalues:"
TIMES = 400
SHOWN = 8  # equilibria


@click.command(cls=Command)
@click.argument("target")
@click.option("--rank", type=int, required=True, help="Number k of columns of X.")
@click.option("--start", "start_file", type=click.Path(path_type=Path),
              help="File (.npy) with X at time 0, shape (d, k).")  # fmt: skip
@click.option("--size", type=float, default=0.01, show_default=True,
              help="Standard deviation of the entries of a random start.")  # fmt: skip
@click.option("--until", type=float, help="Last time drawn; where all is learned without it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--trajectories", type=click.Path(path_type=Path),
              help="Draw singular values over time: .svg, .png, .html or .json.")  # fmt: skip
@click.option("--cascade", type=click.Path(path_type=Path),
              help="Draw the parts of the cascade and the envelope of S.")  # fmt: skip
@click.option("--portrait", type=click.Path(path_type=Path),
              help="Draw the phase portrait of the two leading directions.")  # fmt: skip
@click.option("--landscape", type=click.Path(path_type=Path),
              help="Draw the losses of the equilibria.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def dynamics(
    target: str,
    rank: int,
    start_file: Path | None,
    size: float,
    until: float | None,
    seed: int,
    trajectories: Path | None,
    cascade: Path | None,
    portrait: Path | None,
    landscape: Path | None,
    json_path: Path | None,
) -> None:
    """Equilibria, order of learning and rates of dX/dt = (M - XX')X.

    TARGET is a file with a symmetric matrix M (.npy, .csv, .tsv, .txt), or eigenvalues:3,2,1,0.
    """
    from foretell.plots.charts import check_format, drawn
    from foretell.report.files import check_writable, write_bytes, write_text

    files = {"trajectories": trajectories, "cascade": cascade, "portrait": portrait,
             "landscape": landscape}  # fmt: skip
    wanted = {name: path for name, path in files.items() if path is not None}
    for path in wanted.values():
        check_format(path)
    for path in (*wanted.values(), *([json_path] if json_path else [])):
        check_writable(path)
    flow = _flow(target, rank, start_file, size, seed)
    lines, numbers = _told(flow)
    charts = {path: _chart(name, flow, until, seed) for name, path in wanted.items()}
    contents = {path: drawn(chart, path.suffix.lower()) for path, chart in charts.items()}
    for path, content in contents.items():
        write_bytes(content, path)
    if json_path is not None:
        write_text(json.dumps(numbers, indent=1, allow_nan=False), json_path)
    click.echo("\n".join(lines))
    for name, path in wanted.items():
        click.echo(f"{name.capitalize()}: {path}")


def _flow(target: str, rank: int, start_file: Path | None, size: float, seed: int) -> Any:
    import numpy as np

    from foretell.data.matrices import read_matrix
    from foretell.theory import FactorizationFlow

    matrix = np.diag(_eigenvalues(target)) if target.startswith(PREFIX) else read_matrix(target)
    if start_file is not None:
        try:
            start = np.load(start_file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{start_file} cannot be read as an array: {error}") from error
        if start.ndim != 2 or start.shape[1] != rank:
            raise InputError(f"--rank is {rank}; found a start of shape {start.shape}")
    else:
        if not 0 < size < math.inf:
            raise InputError(f"--size is a number above 0; found {size}")
        if rank < 1:
            raise InputError(f"--rank is at least 1; found {rank}")
        start = size * np.random.default_rng(seed).normal(size=(len(matrix), rank))
    return FactorizationFlow(matrix, start)


def _eigenvalues(text: str) -> list[float]:
    try:
        return [float(part) for part in text.removeprefix(PREFIX).split(",")]
    except ValueError:
        raise InputError(f"eigenvalues are numbers, as in eigenvalues:3,1,0; found {text!r}") from (
            None
        )


def _told(flow: Any) -> tuple[list[str], dict[str, Any]]:
    """What is said, and the numbers behind it."""
    found = flow.equilibria(max_count=SHOWN)
    shown = list(found)
    inside = flow.is_in_stable_set()
    learned = flow.saddle_times()
    rates = flow.rates()
    lines = [
        f"Target {flow.target.d} x {flow.target.d} with {flow.target.positive} positive "
        f"eigenvalues; X has {flow.rank} columns",
        f"{found.count} equilibria" + (", those of least loss:" if found.count > 1 else ":"),
        *(f"  {equilibrium}" for equilibrium in shown),
        "",
        f"The start is {'inside' if inside else 'outside'} the stable set; it tends to: "
        f"{inside.reached}",
        "",
        str(learned),
        "",
        f"Rates: P1 {_rate(rates.leading, rates.leading_power)}, W "
        f"{_rate(rates.tilt, rates.tilt_power)}, S {_rate(rates.schur, rates.schur_power)}",
    ]
    numbers = {
        "eigenvalues": flow.target.eigenvalues.tolist(),
        "equilibria": [
            {"indices": list(e.indices), "loss": e.loss, "kind": e.kind,
             "escape_rates": e.escape_rates.tolist()}
            for e in shown
        ],
        "n_equilibria": int(found.count),
        "in_stable_set": bool(inside),
        "learned_at": [float(t) if math.isfinite(t) else None for t in learned.times],
        "rates": {
            name: _number(getattr(rates, name)) for name in ("leading", "tilt", "schur")
        },
    }  # fmt: skip
    return lines, numbers


def _rate(exponent: float, power: int) -> str:
    if math.isinf(exponent):
        return "is zero"
    factor = {0: "", 1: "t ", -1: "1/t "}[power]
    if exponent:
        return f"~ {factor}exp(-{exponent:.4g} t)"
    return f"~ {factor.strip()}" if power else "settles inside an eigenspace (equal eigenvalues)"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _chart(name: str, flow: Any, until: float | None, seed: int) -> dict[str, Any]:
    import numpy as np

    from foretell.plots import dynamics

    if until is not None and not 0 < until < math.inf:
        raise InputError(f"--until is a time above 0; found {until}")
    end = _end(flow) if until is None else until
    draw: dict[str, Callable[[], dict[str, Any]]] = {
        "trajectories": lambda: dynamics.plot_trajectories(flow, np.linspace(0, end, TIMES)),
        "cascade": lambda: dynamics.plot_schur(flow, _cascade_times(flow, end)),
        "portrait": lambda: dynamics.plot_portrait(flow.target, flow.rank, random_state=seed),
        "landscape": lambda: dynamics.plot_landscape(flow),
    }
    return draw[name]()


def _cascade_times(flow: Any, end: float) -> Any:
    """From the first moves to well into the 1/t mode, which a small start reaches late."""
    import numpy as np

    from foretell.theory.factorization.cascade import schur_size

    size = float(schur_size(flow.coordinates(0.0).schur_factor)[0])
    slow = 100.0 / size if size > 0 else 0.0
    return np.geomspace(1e-3 * end, max(100.0 * end, slow), TIMES)


def _end(flow: Any) -> float:
    """A time by which everything that is learned has been."""
    import numpy as np

    times = flow.saddle_times().times
    last = float(times[np.isfinite(times)].max(initial=0.0))
    scale = float(np.abs(flow.target.eigenvalues).max()) or 1.0
    return 1.3 * last + 3.0 / scale
