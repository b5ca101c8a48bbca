"""``foretell report`` and ``foretell demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from foretell.cli.common import Command, progress, rank_of, write_report
from foretell.errors import InputError


@click.command(cls=Command)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to predict; missing where unlabeled.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, help="HTML file to write.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
@click.option("--predictions", type=click.Path(path_type=Path),
              help="Also write a prediction with intervals for every row.")  # fmt: skip
@click.option("--model", type=click.Choice(["factor", "masked"]), default="factor",
              show_default=True, help="A factor model, or ridge regressions of each column on the "
              "others (eigenvectors, penalty by leave-one-out).")  # fmt: skip
@click.option("--rank", default="auto", show_default=True, help="Number of features, or auto.")
@click.option("--noise", type=click.Choice(["isotropic", "diagonal"]), default="diagonal",
              show_default=True,
              help="Of a factor model: alike in all columns, or one a column.")  # fmt: skip
@click.option("--penalty", type=float, default=0.0, show_default=True, help="Ridge on the head.")
@click.option("--drop", multiple=True, help="Column to leave out; repeat for several.")
@click.option("--unlabeled", type=click.Path(path_type=Path), help="Table with more rows.")
@click.option("--no-pool", is_flag=True, help="Keep labeled rows out of pre-training.")
@click.option("--no-standardize", is_flag=True, help="Use the columns in their own units.")
@click.option("--seed", type=int, default=0, show_default=True)
def report(
    table: Path,
    target: str,
    output: Path,
    json_path: Path | None,
    predictions: Path | None,
    model: str,
    rank: str,
    noise: Literal["isotropic", "diagonal"],
    penalty: float,
    drop: tuple[str, ...],
    unlabeled: Path | None,
    no_pool: bool,
    no_standardize: bool,
    seed: int,
) -> None:
    """Fit TABLE (CSV, Parquet, Arrow) and write a report.

    Rows in which the target is missing are the unlabeled ones. Numeric and boolean columns are
    used as they are; others have to be left out with --drop.
    """
    from foretell.report.files import check_writable

    for path in (output, json_path, predictions):
        if path is not None:
            check_writable(path)
    with progress() as advance:
        advance("read the table")
        from foretell.data import tables
        from foretell.heads import LinearHead

        data = tables.load(table, target, drop=drop)
        more = None
        if unlabeled is not None:
            more = tables.as_frame(tables.read_table(unlabeled))
            more = more.select([c for c in data.names if c in more.columns]).to_native()
        if data.n_unlabeled == 0 and more is None:
            raise InputError(
                f"all {data.n_labeled} rows of {table.name} have a value in {target!r}, so there "
                "is no unlabeled row to learn from; leave the target missing where it is not "
                "known, or give more rows with --unlabeled"
            )
        estimator = _fit(
            data, _model(model, rank_of(rank), noise), LinearHead(penalty), X_unlabeled=more,
            pool=not no_pool, standardize=not no_standardize, seed=seed, advance=advance,
        )  # fmt: skip
        run = _collect(data, estimator, advance=advance)
        advance("write the report")
        write_report(run, output, json_path)
        if predictions is not None:
            _write_predictions(data, estimator, predictions)
    _tell(run)
    click.echo(f"Report: {output}")


@click.command(cls=Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, help="HTML file to write.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def demo(output: Path, json_path: Path | None) -> None:
    """Run the main job on bundled real data, where pre-training is level with ridge and where not.

    Writes the report of a fund with a short history among markets with a long one, and beside
    it (named *-no-help.html) one of a fund for which pre-training does not help.
    """
    from foretell.report.demo import DEMOS
    from foretell.report.files import check_writable

    outputs = [output, output.with_name(f"{output.stem}-no-help{output.suffix}")]
    for path in outputs:
        check_writable(path)
    if json_path is not None:
        check_writable(json_path)
    for make, path, numbers in zip(DEMOS, outputs, (json_path, None), strict=True):
        with progress() as advance:
            advance("read bundled data")
            case = make()
            estimator = _fit(case.table, case.model, case.head, advance=advance)
            run = _collect(
                case.table, estimator, truth=case.truth, description=case.description,
                advance=advance,
            )  # fmt: skip
            advance("write the report")
            write_report(run, path, numbers)
        click.echo(case.description)
        _tell(run)
        for row in (run["validation"] or {"rows": []})["rows"]:
            click.echo(f"  {row['quantity']}: promised {row['promised']}, {row['observed']}")
        click.echo(f"Report: {path}\n")


def _fit(
    data: Any,
    model: Any,
    head: Any,
    *,
    X_unlabeled: Any = None,
    pool: bool = True,
    standardize: bool = True,
    seed: int = 0,
    advance: Callable[[str], None],
) -> Any:
    """Fit to a :class:`~foretell.data.tables.Table`."""
    advance("fit both stages")
    from foretell.estimators import TwoStageRegressor

    estimator = TwoStageRegressor(
        model, head, pool=pool, standardize=standardize, random_state=seed
    )
    return estimator.fit(data.frame(), data.y, X_unlabeled=X_unlabeled)


def _model(name: str, rank: int | Literal["auto"], noise: Literal["isotropic", "diagonal"]) -> Any:
    if name == "masked":
        from foretell.estimators.masked_regression import MaskedRegression

        return MaskedRegression(rank=rank)
    from foretell.models import FactorModel

    return FactorModel(rank, noise)


def _collect(data: Any, estimator: Any, **options: Any) -> dict[str, Any]:
    from foretell.report.collect import collect

    return collect(data, estimator, **options)


def _tell(run: dict[str, Any]) -> None:
    """The answer, and every finding that is not simply fine."""
    click.echo("\n".join(run["answer"]))
    for finding in run["diagnostics"]:
        if finding["level"] != "ok":
            click.echo(f"  [{finding['level']}] {finding['title']}: {finding['text']}")
            if finding["cure"]:
                click.echo(f"      -> {finding['cure']}")


def _write_predictions(data: Any, estimator: Any, path: Path) -> None:
    import io

    import pyarrow as pa
    from pyarrow import csv, parquet

    from foretell.report.files import write_bytes

    table = estimator.get_prediction(data.frame()).summary_frame()
    table = table.add_column(0, "row", pa.array(range(len(table))))
    buffer = io.BytesIO()
    if path.suffix.lower() == ".parquet":
        parquet.write_table(table, buffer)
    else:
        csv.write_csv(table, buffer)
    write_bytes(buffer.getvalue(), path)
