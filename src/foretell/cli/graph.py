"""``foretell graph``: the positive-pair graph of an augmented table, or of given weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foretell.cli.common import Command, warnings_told
from foretell.cli.graph_told import LOOKED_AT, Sample, finite, told
from foretell.errors import InputError

WEIGHTS = (".npz", ".npy", ".mtx")


@click.command(cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--augment", help="Augmentation of the rows of a table: noise:0.5, mask:0.2, "
              "crop:20, or several joined by +.")  # fmt: skip
@click.option("--label", help="Column of the table with classes, missing where unlabeled.")
@click.option("--labels", "labels_file", type=click.Path(path_type=Path),
              help="File with one label a vertex, a line each, for weights.")  # fmt: skip
@click.option("--drop", multiple=True, help="Column to leave out; repeat for several.")
@click.option("--drop-isolated", is_flag=True,
              help="Leave out vertices whose weights are all zero.")  # fmt: skip
@click.option("--no-standardize", is_flag=True,
              help="Augment columns in their own units, not in standard deviations.")  # fmt: skip
@click.option("--views", type=int, default=8, show_default=True, help="Augmentations of each row.")
@click.option("--cells", type=int, help="Round augmented rows to so many cells.")
@click.option("--rank", default="auto", show_default=True,
              help="Number of features; auto: before the largest gap.")  # fmt: skip
@click.option("--parts", type=int, help="Also look for the sparsest partition into so many parts.")
@click.option("--strengths", help="Also with all strengths times these factors, as in 0.5,1,2.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--spectrum", type=click.Path(path_type=Path),
              help="Draw the eigenvalues and their gaps: .svg, .png, .html or .json.")  # fmt: skip
@click.option("--embedding", type=click.Path(path_type=Path),
              help="Draw two features of every vertex.")  # fmt: skip
@click.option("--clusters", type=click.Path(path_type=Path),
              help="Draw the graph of the classes.")  # fmt: skip
@click.option("--strength", type=click.Path(path_type=Path),
              help="Draw what --strengths do.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def graph(
    source: Path,
    augment: str | None,
    label: str | None,
    labels_file: Path | None,
    drop: tuple[str, ...],
    drop_isolated: bool,
    no_standardize: bool,
    views: int,
    cells: int | None,
    rank: str,
    parts: int | None,
    strengths: str | None,
    seed: int,
    spectrum: Path | None,
    embedding: Path | None,
    clusters: Path | None,
    strength: Path | None,
    json_path: Path | None,
) -> None:
    """What contrastive pre-training can learn from SOURCE, before anything is trained.

    SOURCE is a table (CSV, Parquet, Arrow) whose rows are augmented, or the weights of a graph
    (.npz as SciPy saves sparse matrices, .npy, .mtx).
    """
    from foretell.plots.charts import check_format, drawn
    from foretell.report.files import check_writable, write_bytes, write_text

    wanted = {"spectrum": spectrum, "embedding": embedding, "clusters": clusters,
              "strength": strength}  # fmt: skip
    files = {name: path for name, path in wanted.items() if path is not None}
    for path in files.values():
        check_format(path)
    for path in (*files.values(), *([json_path] if json_path else [])):
        check_writable(path)
    _check_options(source, augment, label, labels_file, strengths, files)
    if parts is not None and parts < 2:
        raise InputError(f"--parts is at least 2; found {parts}")
    factors = _factors(strengths)
    with warnings_told():
        options = {"n_views": views, "cells": cells, "random_state": seed}
        if source.suffix.lower() in WEIGHTS:
            rows, y = None, None
            sample = _from_weights(source, labels_file, seed, drop_isolated=drop_isolated)
        else:
            rows, y = _table(source, label, drop, standardize=not no_standardize)
            sample = _from_rows(rows, y, str(augment), options)
        if sample.missing and ("clusters" in files or factors):
            raise InputError(f"--clusters and --strengths need classes: {sample.missing}")
        k = _rank(sample.graph, rank)
        lines, numbers = told(sample, k, parts, y)
        sweep = None
        if factors and rows is not None and y is not None:
            sweep = _swept(rows, y, str(augment), factors, k, options)
            lines += ["", str(sweep)]
            numbers["strengths"] = [asdict(row) for row in sweep.rows]
        charts = {path: _chart(name, sample, k, sweep) for name, path in files.items()}
    contents = {path: drawn(chart, path.suffix.lower()) for path, chart in charts.items()}
    for path, content in contents.items():
        write_bytes(content, path)
    if json_path is not None:
        write_text(json.dumps(finite(numbers), indent=1, allow_nan=False), json_path)
    click.echo("\n".join(lines))
    for name, path in files.items():
        click.echo(f"{name.capitalize()}: {path}")


def _check_options(
    source: Path,
    augment: str | None,
    label: str | None,
    labels_file: Path | None,
    strengths: str | None,
    files: dict[str, Path],
) -> None:
    """Refuse, before any work, options that do not go together."""
    if source.suffix.lower() in WEIGHTS:
        if augment or label or strengths:
            raise InputError(
                f"{source.name} holds weights of a graph, which --augment, --label and --strengths "
                "are not for; give labels of the vertices by --labels FILE"
            )
    elif not augment:
        raise InputError("a table needs --augment, such as --augment noise:0.5")
    elif labels_file:
        raise InputError("labels of a table are one of its columns: --label COLUMN")
    labeled = label or labels_file
    if "clusters" in files and not labeled:
        raise InputError("--clusters draws the graph of the classes: give --label or --labels")
    if strengths and not label:
        raise InputError("--strengths compares disagreements of classes: give --label")
    if "strength" in files and not strengths:
        raise InputError("--strength draws what --strengths do: give factors, as in 0.5,1,2")


def _factors(text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = []
    if not factors or not all(math.isfinite(f) and f > 0 for f in factors):
        raise InputError(f"--strengths are numbers above 0, as in 0.5,1,2; found {text!r}")
    return sorted(factors)


def _from_weights(
    path: Path, labels_file: Path | None, seed: int, *, drop_isolated: bool
) -> Sample:
    from foretell.data.matrices import read_weights
    from foretell.theory import PositivePairGraph

    isolated: Any = "drop" if drop_isolated else "error"
    graph = PositivePairGraph(read_weights(path), isolated=isolated, random_state=seed)
    labels = None if labels_file is None else _lines(labels_file)
    if labels is not None and len(labels) == graph.n_given:
        labels = [labels[i] for i in graph.kept.tolist()]
    dropped = graph.n_given - graph.n
    how = f"weights of {graph.n:,} vertices"
    return Sample(
        graph, labels, None, how + (f", {dropped:,} isolated ones dropped" * (dropped > 0))
    )


def _lines(path: Path) -> list[str | None]:
    """A label a line; None for empty lines, except at the end."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return [line.strip() or None for line in text.rstrip().split("\n")]


def _table(path: Path, label: str | None, drop: tuple[str, ...], *, standardize: bool) -> Any:
    """Rows of a table, in standard deviations, and the class of each row or None."""
    from foretell.data.labeled import split_labels, standardized
    from foretell.data.tables import design_matrix, read_table

    rest, y = split_labels(read_table(path), label, drop)
    rows, _ = design_matrix(rest.to_native())
    return (standardized(rows) if standardize else rows), y


def _from_rows(rows: Any, y: Any, augment: str, options: dict[str, Any]) -> Sample:
    """The graph of all rows; labels of vertices if each is reached from a labeled row."""
    from foretell.data.specifications import augmentation
    from foretell.theory import PositivePairGraph

    graph = PositivePairGraph.from_samples(rows, augmentation(augment), **options)
    made: Any = graph.source
    if y is None:
        return Sample(graph, None, None, str(made))
    lost = int((~made.has_label(y)).sum())
    if not lost:
        return Sample(graph, made.bayes_labels(y), made.alpha(y), str(made))
    missing = (
        f"{lost:,} of {graph.n:,} augmented points come from unlabeled rows only; leave these rows "
        "out, or augment more, so that they share points with labeled ones"
    )
    return Sample(graph, None, made.alpha(y), str(made), missing)


def _rank(graph: Any, text: str) -> int:
    """The number of features asked for, or that before the largest gap, from 2 on."""
    if text != "auto":
        try:
            return int(text)
        except ValueError:
            raise InputError(f"--rank is a whole number or auto; found {text!r}") from None
    values = graph.spectrum(min(LOOKED_AT, graph.n - 1))
    if len(values) < 3:
        return 1
    gaps = values[1:-1] - values[2:]
    return int(gaps.argmax()) + 2


def _swept(
    rows: Any, y: Any, augment: str, factors: list[float], k: int, options: dict[str, Any]
) -> Any:
    from foretell.data.specifications import augmentation, scaled
    from foretell.theory.graphs.strength import augmentation_strength

    return augmentation_strength(
        rows, y, lambda factor: augmentation(scaled(augment, factor)), factors, k, **options
    )


def _chart(name: str, sample: Sample, k: int, sweep: Any) -> dict[str, Any]:
    from foretell.plots import graphs

    graph = sample.graph
    if name == "spectrum":
        return graphs.plot_graph_spectrum(graph, min(max(k + 5, 12), graph.n - 1))
    if name == "embedding":
        # those before only tell components apart
        first = graph.n_components if graph.n_components + 2 <= min(LOOKED_AT, graph.n - 1) else 0
        k = min(first + 2, graph.n - 1)
        axes = (first, first + 1) if k > 1 else (0, 0)
        return graphs.plot_embedding(graph.embedding(k), sample.labels, axes=axes)
    if name == "clusters":
        return graphs.plot_clusters(graph, sample.labels)
    return graphs.plot_strength(sweep)
