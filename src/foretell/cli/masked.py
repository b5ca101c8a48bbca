"""``foretell masked``: masked regression on a table, in theory, and its phases."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from foretell.cli.common import Command, progress, warnings_told
from foretell.errors import ForetellWarning, InputError

STEPS = 8  # of a fit
SHOWN = 12  # columns printed
TABLES = (".csv", ".parquet")


class Group(click.Group):
    """Group of commands whose foreseen errors are messages."""

    command_class = Command


@click.group(cls=Group)
def masked() -> None:
    """Every column predicted from all others: on a table, and in theory."""


@masked.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--alpha", default="loo", show_default=True,
              help="Penalty: loo, gcv or a number.")  # fmt: skip
@click.option("--alpha-per-target", is_flag=True,
              help="A penalty for each column; for complete tables.")  # fmt: skip
@click.option("--drop", multiple=True, help="Column to leave out; repeat for several.")
@click.option("--no-standardize", is_flag=True, help="Use the columns in their own units.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="HTML report to write.")
@click.option("--imputed", type=click.Path(path_type=Path),
              help="Write the table with missing cells filled (.csv or .parquet).")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def fit(
    table: Path,
    alpha: str,
    alpha_per_target: bool,
    drop: tuple[str, ...],
    no_standardize: bool,
    output: Path | None,
    imputed: Path | None,
    json_path: Path | None,
) -> None:
    """Predict every column of TABLE (CSV, Parquet, Arrow) from the others; fill missing cells.

    Numeric and boolean columns are used as they are; others have to be left out with --drop, and
    stay as they are in the filled table. Filled integer and true/false columns come back as numbers
    with fractions. Filled values hold if cells are missing at random, and vary less than the true
    ones.
    """
    if alpha_per_target:
        refuse("--alpha-per-target", {"--imputed": imputed is not None})
    rule: Any = alpha if alpha in ("loo", "gcv") else penalty(alpha, "loo, gcv")
    outputs = given({"--output": output, "--imputed": imputed, "--json": json_path}, source=table)
    if imputed is not None and imputed.suffix.lower() not in TABLES:
        raise InputError(f"--imputed ends in {' or '.join(TABLES)}; found {imputed.name!r}")
    with progress(STEPS) as advance:
        advance("read the table")
        from foretell.estimators import MaskedRegression
        from foretell.report.masked import collect_masked
        from foretell.report.masked_tables import filled_table, numeric_columns

        frame = numeric_columns(table, drop)
        advance("fit")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ForetellWarning)
            estimator = MaskedRegression(
                rule, alpha_per_target=alpha_per_target, standardize=not no_standardize
            ).fit(frame)
        warned = [str(one.message) for one in caught]
        run = collect_masked(frame, estimator, name=table.name, warned=warned, advance=advance)
        advance("write")
        contents: dict[Path, bytes] = {}
        if output is not None:
            from foretell.report.masked_page import render_masked

            contents[output] = render_masked(run).encode("utf-8", "replace")
        if imputed is not None:
            filled = estimator.impute(frame)
            contents[imputed] = filled_table(table, filled, imputed.suffix.lower())
        if json_path is not None:
            contents[json_path] = as_json(run)
        write_all(contents)
    click.echo("\n".join([*run["answer"], "", *_columns(run), *_findings(run)]))
    tell(outputs)


@masked.command()
@click.argument("covariance")
@click.option("--samples", type=float, required=True, help="Number n of rows.")
@click.option("--columns", type=int, help="Number d of columns of a named covariance.")
@click.option("--alpha", help="Penalty: optimal or a number.  [default: optimal; 0 with random "
              "masks]")  # fmt: skip
@click.option("--rank", type=int, help="Also PCA with this many components.")
@click.option("--mask-rate", help="Train over random masks that hide this share, or optimal.")
@click.option("--replicates", type=int, default=0, show_default=True,
              help="Also simulate this many samples.")  # fmt: skip
@click.option("--rows", type=click.Choice(["gaussian", "rademacher", "student", "elliptical"]),
              default="gaussian", show_default=True, help="Law of the rows.")  # fmt: skip
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--curves", type=click.Path(path_type=Path),
              help="Draw errors against the penalty: .svg, .png, .html or .json.")  # fmt: skip
@click.option("--spectrum", type=click.Path(path_type=Path),
              help="Draw the density of the eigenvalues of A.")  # fmt: skip
@click.option("--comparison", type=click.Path(path_type=Path),
              help="Draw the errors of PCA beside it, over all ranks.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def theory(
    covariance: str,
    samples: float,
    columns: int | None,
    alpha: str | None,
    rank: int | None,
    mask_rate: str | None,
    replicates: int,
    rows: Any,
    jobs: int,
    seed: int,
    curves: Path | None,
    spectrum: Path | None,
    comparison: Path | None,
    json_path: Path | None,
) -> None:
    """Errors of masked regression on rows with this COVARIANCE.

    A file (.npy, .csv, .tsv, .txt) with a square matrix, or a name with options: identity,
    spiked:spikes=6,3, ar1:rho=0.9, powerlaw:exponent=1,basis=haar, blocks:size=10,correlations=0.5,
    graded:rho=0.8, diagonal:variances=1,4.
    """
    from foretell.cli.masked_theory import Question, covariance_of, random_masks

    drawn = {"--curves": curves, "--spectrum": spectrum, "--comparison": comparison}
    charts = given(drawn, charts=True)
    outputs = given({**drawn, "--json": json_path})
    if not 2 <= samples < math.inf:
        raise InputError(f"--samples is at least 2 and finite; found {samples:g}")
    if mask_rate is not None:
        refuse("--mask-rate", {
            **dict.fromkeys(charts, True), "--rank": rank is not None,
            "--replicates": replicates != 0, "--rows": rows != "gaussian", "--jobs": jobs != 1,
            "--seed": seed != 0,
        })  # fmt: skip
        if alpha == "optimal":
            raise InputError(
                "--alpha optimal is for one hidden entry; with --mask-rate give a number, or leave "
                "--alpha out for none"
            )
        sigma = covariance_of(covariance, columns)
        with warnings_told():
            text, numbers = random_masks(
                sigma, samples, mask_rate, penalty(alpha or "0", "a share of 0 to 1")
            )
        click.echo(text)
        write_all({} if json_path is None else {json_path: as_json(numbers)})
        return tell(outputs)
    chosen = None if alpha in (None, "optimal") else penalty(str(alpha), "optimal")
    question = Question(
        covariance, covariance_of(covariance, columns), samples, chosen, rank, rows, replicates,
        jobs, seed,
    )  # fmt: skip
    question.check(charts)
    with warnings_told():
        text, numbers, drawings = question.answer(charts)
    contents = {path: drawings[name] for name, path in charts.items()}
    write_all(contents | ({} if json_path is None else {json_path: as_json(numbers)}))
    click.echo(text)
    return tell(outputs)


@masked.command()
@click.option("--support", type=int, help="Columns that carry the spike; all without it.")
@click.option("--alpha", default="optimal", show_default=True, help="Penalty: optimal or a number.")
@click.option("--ratios", default="0.2,8", show_default=True, help="Range of n / d.")
@click.option("--spikes", default="0.1,6", show_default=True, help="Range of strengths.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("phases.html"),
              show_default=True, help="Chart to write.")  # fmt: skip
def phases(support: int | None, alpha: str, ratios: str, spikes: str, output: Path) -> None:
    """Where a spike of the covariance shows in the sample covariance and in A."""
    from foretell.cli.masked_charts import draw_phases

    given({"--output": output}, charts=True)
    level: Any = alpha if alpha == "optimal" else penalty(alpha, "optimal")
    lines, content = draw_phases(
        support, level, interval(ratios, "--ratios"), interval(spikes, "--spikes"),
        output.suffix.lower(),
    )  # fmt: skip
    write_all({output: content})
    click.echo("\n".join([*lines, f"Chart: {output}"]))


def penalty(text: str, others: str) -> float:
    """A penalty from the command line."""
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"--alpha is a number or {others}; found {text!r}") from None
    if not value >= 0:
        raise InputError(f"--alpha is not negative; found {text}")
    return value


def interval(text: str, name: str) -> tuple[float, float]:
    """Two ascending positive numbers from the command line."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} is two numbers, low,high; found {text!r}") from None
    if not 0 < low < high < math.inf:
        raise InputError(f"{name} ascends from above 0; found {text}")
    return low, high


def refuse(option: str, others: Mapping[str, bool]) -> None:
    """Raise if an option comes with others that it has no meaning with."""
    if named := [name for name, present in others.items() if present]:
        raise InputError(f"{option} does not go with {', '.join(named)}; leave one of them out")


def given(
    paths: Mapping[str, Path | None], *, charts: bool = False, source: Path | None = None
) -> dict[str, Path]:
    """The outputs that are asked for, once it is certain that they can be written."""
    from foretell.plots.charts import check_format
    from foretell.report.files import check_writable

    found = {name: path for name, path in paths.items() if path is not None}
    places: dict[Path, str] = {} if source is None else {source.resolve(): "TABLE"}
    for name, path in found.items():
        if charts:
            check_format(path)
        place = check_writable(path)
        if place in places:
            raise InputError(f"{places[place]} and {name} are the same file, {path}; name another")
        places[place] = name
    return found


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write files, each whole or not at all."""
    from foretell.report.files import write_bytes

    for path, content in contents.items():
        write_bytes(content, path)


def as_json(values: Any) -> bytes:
    """Numbers as JSON, null where not finite."""
    from foretell.report.page import plain

    return json.dumps(plain(values), indent=1, allow_nan=False).encode()


def tell(outputs: Mapping[str, Path]) -> None:
    """Name the files that were written."""
    for name, path in outputs.items():
        click.echo(f"{name.removeprefix('--')}: {path}")


def _columns(run: Mapping[str, Any]) -> list[str]:
    rows = run["columns"]
    wide = max(20, min(40, max(len(row["column"]) for row in rows)))
    lines = [f"  {'column':<{wide}}{'error (rms)':>14}{'explained':>12}{'missing':>10}"]
    lines += [
        f"  {row['column'][:wide]:<{wide}}{_cell(row['rmse'], '.4g'):>14}"
        f"{_cell(row['explained'], '.3f'):>12}{row['missing']:>10,}"
        for row in rows[:SHOWN]
    ]
    return [*lines, f"  … and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else lines


def _cell(value: float | None, form: str) -> str:
    text = "–" if value is None else format(value, form)
    return text if text.strip("-0.") else text.lstrip("-")


def _findings(run: Mapping[str, Any]) -> list[str]:
    lines = []
    for finding in run["diagnostics"]:
        lines.append(f"  [{finding['level']}] {finding['title']}: {finding['text']}")
        lines += [f"      -> {finding['cure']}"] if finding["cure"] else []
    return ["", *lines] if lines else []
