"""``foretell masked``: masked regression on a table, in theory, and its phases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from foretell.cli.common import Command, progress
from foretell.errors import InputError

PENALTIES_A_DECADE = 20
BINS = 48  # of a spectrum
BAND = 2.0  # standard deviations of replicates around their mean


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
@click.option("--drop", multiple=True, help="Column to leave out; repeat for several.")
@click.option("--no-standardize", is_flag=True, help="Use the columns in their own units.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="HTML report to write.")
@click.option("--imputed", type=click.Path(path_type=Path),
              help="Write the table with missing cells filled (CSV or Parquet).")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="Also write the numbers to this file.")  # fmt: skip
def fit(
    table: Path,
    alpha: str,
    drop: tuple[str, ...],
    no_standardize: bool,
    output: Path | None,
    imputed: Path | None,
    json_path: Path | None,
) -> None:
    """Predict every column of TABLE (CSV, Parquet, Arrow) from the others; fill missing cells."""
    from foretell.report.files import check_writable

    for path in (output, imputed, json_path):
        if path is not None:
            check_writable(path)
    with progress(4) as advance:
        advance("read the table")
        from foretell.estimators import MaskedRegression
        from foretell.report.masked import collect_masked, numeric_columns

        frame, name = numeric_columns(table, drop), table.name
        advance("fit")
        estimator = MaskedRegression(_rule(alpha), standardize=not no_standardize).fit(frame)
        advance("collect")
        run = collect_masked(frame, estimator, name=name)
        advance("write")
        if output is not None:
            from foretell.report.masked_page import render_masked

            page = render_masked(run)
        if json_path is not None:
            _write_json(run, json_path)
        if imputed is not None:
            _write_table(estimator.impute(frame), imputed)
        if output is not None:
            from foretell.report.files import write_text

            write_text(page, output)
    click.echo(str(estimator.summary()))
    for title, path in (("Report", output), ("Filled table", imputed), ("Numbers", json_path)):
        if path is not None:
            click.echo(f"{title}: {path}")


@masked.command()
@click.argument("covariance")
@click.option("--samples", type=float, required=True, help="Number n of rows.")
@click.option("--columns", type=int, help="Number d of columns of a named covariance.")
@click.option("--alpha", default="optimal", show_default=True, help="Penalty: optimal or a number.")
@click.option("--rank", type=int, help="Also PCA with this many components.")
@click.option("--mask-rate", type=float, help="Train over random masks that hide this share.")
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
    alpha: str,
    rank: int | None,
    mask_rate: float | None,
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
    from foretell.plots.charts import check_format
    from foretell.report.files import check_writable

    for path in (curves, spectrum, comparison):
        if path is not None:
            check_format(path)
    for path in (curves, spectrum, comparison, json_path):
        if path is not None:
            check_writable(path)
    sigma = _covariance(covariance, columns)
    from foretell.theory.masked import MaskedPopulation, masked_regression, optimal_alpha

    population = MaskedPopulation(sigma, rows)
    scales = population.row_scales(10_000) if rows == "elliptical" else None
    penalty = optimal_alpha(sigma, samples, row_scales=scales) if alpha == "optimal" else (
        _penalty(alpha)
    )  # fmt: skip
    if mask_rate is not None:
        penalty = 0.0 if alpha == "optimal" else penalty
        found = masked_regression(sigma, samples, penalty, mask_rate=mask_rate)
        click.echo(found.summary())
        numbers = {"alpha": penalty, "mask_rate": mask_rate, "test_error": found.test_error,
                   "single_test_error": found.single_test_error}  # fmt: skip
    else:
        result = masked_regression(sigma, samples, penalty, row_scales=scales)
        click.echo(result.summary())
        numbers = {
            key: getattr(result, key)
            for key in (
                "alpha",
                "n_samples",
                "d",
                "kappa",
                "test_error",
                "train_error",
                "norm",
                "null_error",
                "best_linear_error",
            )
        }
    if rank is not None:
        from foretell.theory.masked import masked_pca_error, pca_error

        numbers["pca"] = float(pca_error(sigma, samples, rank))
        numbers["masked_pca"] = float(masked_pca_error(sigma, samples, rank))
        click.echo(
            f"PCA, {rank} components: {numbers['pca']:.5g}; masked PCA {numbers['masked_pca']:.5g}"
        )
    simulated: list[Any] = []
    grid = _grid(penalty, population)
    if replicates:
        wanted = [penalty, *(grid[:: len(grid) // 6] if curves is not None else [])]
        simulated = _simulate(population, wanted, samples, replicates, rank, jobs, seed)
        click.echo(simulated[0].summary())
        numbers["simulation"] = {
            name: {"mean": float(v.mean()), "sd": float(v.std(ddof=1))}
            for name, v in simulated[0].numbers.items()
        }
    if curves is not None:
        _draw_curves(curves, covariance, sigma, samples, grid, scales, simulated, numbers)
    if spectrum is not None:
        _draw_spectrum(spectrum, covariance, population, samples, penalty, seed)
    if comparison is not None:
        _draw_comparison(comparison, covariance, sigma, samples, penalty)
    if json_path is not None:
        _write_json(numbers, json_path)


@masked.command()
@click.option("--support", type=int, help="Columns that carry the spike; all without it.")
@click.option("--alpha", default="optimal", show_default=True, help="Penalty: optimal or a number.")
@click.option("--ratios", default="0.2,8", show_default=True, help="Range of n / d.")
@click.option("--spikes", default="0.1,6", show_default=True, help="Range of strengths.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("phases.html"),
              show_default=True, help="Chart to write.")  # fmt: skip
def phases(support: int | None, alpha: str, ratios: str, spikes: str, output: Path) -> None:
    """Where a spike of the covariance shows in the sample covariance and in A."""
    import numpy as np

    from foretell.plots.charts import check_format, write
    from foretell.plots.masked import phases as draw
    from foretell.report.files import check_writable
    from foretell.theory.spectra import phase_diagram

    check_format(output)
    check_writable(output)
    x = np.geomspace(*_range(ratios, "--ratios"), 60)
    y = np.linspace(*_range(spikes, "--spikes"), 60)
    penalty: Any = alpha if alpha == "optimal" else _penalty(alpha)
    found = phase_diagram(x, y, alpha=penalty, support=support)
    chart = draw(
        x, y, np.array(found.names)[found.phase],
        {"threshold of C": (x, found.covariance_boundary),
         "threshold of A": (x, found.coefficient_boundary)},
        titles=("rows per column, n / d", "strength of the spike"),
        subtitle=f"penalty {alpha}; spike on {support or 'all'} columns",
    )  # fmt: skip
    write(chart, output)
    for ratio in (0.5, 1.0, 2.0, 4.0):
        if x[0] <= ratio <= x[-1]:
            low, high = (
                float(np.interp(ratio, x, line))
                for line in (found.covariance_boundary, found.coefficient_boundary)
            )
            click.echo(f"n/d = {ratio:g}: shows in C above {low:.3g}, in A above {high:.3g}")
    click.echo(f"Chart: {output}")


def _covariance(text: str, columns: int | None) -> Any:
    from foretell.data.matrices import read_matrix
    from foretell.theory.masked.covariances import Dense, named_covariance

    if Path(text).suffix and ":" not in text:
        matrix = read_matrix(text)
        if columns is not None and columns != len(matrix):
            raise InputError(
                f"--columns is {columns}, and {text} has {len(matrix)}; leave --columns out"
            )
        return Dense(matrix)
    if columns is None:
        raise InputError(f"a covariance by name, {text!r}, needs --columns")
    return named_covariance(text, columns)


def _penalty(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"--alpha is a number or optimal; found {text!r}") from None
    if not value >= 0:
        raise InputError(f"--alpha is not negative; found {text}")
    return value


def _rule(text: str) -> Any:
    return text if text in ("loo", "gcv") else _penalty(text)


def _range(text: str, name: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} is two numbers, low,high; found {text!r}") from None
    if not 0 < low < high < math.inf:
        raise InputError(f"{name} ascends from above 0; found {text}")
    return low, high


def _grid(penalty: float, population: Any) -> Any:
    """Penalties around the one in use and the mean variance."""
    import numpy as np

    variance = population.covariance.spectrum
    mean = float(variance.trace(variance.eigenvalues)) / variance.d
    middle = penalty if 0 < penalty < math.inf else mean
    low, high = 1e-3 * min(middle, mean), 1e2 * max(middle, mean)
    return np.geomspace(low, high, int(PENALTIES_A_DECADE * math.log10(high / low)))


def _simulate(
    population: Any, alphas: Sequence[float], samples: float, replicates: int,
    rank: int | None, jobs: int, seed: int,
) -> list[Any]:  # fmt: skip
    from foretell.estimators import MaskedRegression
    from foretell.simulation import simulate

    if samples != int(samples):
        raise InputError(f"a simulation needs a whole number of --samples; found {samples}")
    with progress(len(alphas) * replicates) as advance:
        return [
            simulate(
                population,
                MaskedRegression(
                    float(alpha), standardize=False, center=False, rank=rank or "auto"
                ),
                n_unlabeled=int(samples), n_replicates=replicates, random_state=seed, n_jobs=jobs,
                done=lambda: advance("replicates"),
            )
            for alpha in alphas
        ]  # fmt: skip


def _draw_curves(
    path: Path, name: str, sigma: Any, samples: float, grid: Any, scales: Any,
    simulated: Sequence[Any], numbers: dict[str, Any],
) -> None:  # fmt: skip
    from foretell.plots.charts import write
    from foretell.plots.masked import error_curves
    from foretell.theory.masked import masked_path

    path_ = masked_path(sigma, samples, grid, row_scales=scales)
    points = [
        {"alpha": sim.alpha, "of": of, "mean": float(v.mean()),
         "low": float(v.mean() - BAND * v.std(ddof=1)),
         "high": float(v.mean() + BAND * v.std(ddof=1))}
        for sim in simulated
        for of in ("test error", "train error")
        for v in [sim.numbers[of]]
    ]  # fmt: skip
    levels = {"PCA": numbers["pca"]} if "pca" in numbers else {}
    if math.isfinite(numbers.get("masked_pca", math.inf)):
        levels["masked PCA"] = numbers["masked_pca"]
    write(
        error_curves(
            {"alpha": path_.alpha, "test error": path_.test_error,
             "train error": path_.train_error},
            simulated=points, levels=levels, title=f"Masked regression, {name}",
            subtitle=f"{samples:g} rows of {path_.d} columns"
            + ("; points and bands: simulation, ± 2 standard deviations" if points else ""),
        ),
        path,
    )  # fmt: skip
    click.echo(f"Error curves: {path}")


def _draw_spectrum(
    path: Path, name: str, population: Any, samples: float, alpha: float, seed: int
) -> None:
    import numpy as np

    from foretell.plots.charts import write
    from foretell.plots.masked import spectrum_of_masked
    from foretell.theory.spectra import empirical_spectrum, masked_spectrum

    law = masked_spectrum(population.covariance, samples, alpha)
    X = population.sample_unlabeled(int(samples), seed)
    values = empirical_spectrum(X, alpha).eigenvalues
    outliers = [outlier.location for outlier in law.outliers]
    places = [*law.edges.ravel(), *values, *outliers]
    edges = np.linspace(min(places), max(places), BINS + 1)
    chart = spectrum_of_masked(
        edges, np.diff(law.cdf(edges)), eigenvalues=values, outliers=outliers,
        title=f"Eigenvalues of A, {name}",
        subtitle=f"{samples:g} rows of {population.n_columns} columns, penalty {alpha:.3g}; "
        "bars: one sample",
    )  # fmt: skip
    write(chart, path)
    click.echo(f"Spectrum: {path}")


def _draw_comparison(path: Path, name: str, sigma: Any, samples: float, alpha: float) -> None:
    from foretell.plots.charts import write
    from foretell.plots.masked import pca_comparison
    from foretell.theory.masked import compare_with_pca

    found = compare_with_pca(sigma, samples, alpha=alpha)
    click.echo(found.summary())
    write(
        pca_comparison(
            found.ranks / found.d, {"PCA": found.pca, "masked PCA": found.masked_pca},
            found.regression, crossover=found.crossover or None,
            title=f"Masked regression beside PCA, {name}",
            subtitle=f"{samples:g} rows of {found.d} columns, penalty {alpha:.3g}",
        ),
        path,
    )  # fmt: skip
    click.echo(f"Comparison: {path}")


def _write_json(values: Any, path: Path) -> None:
    from foretell.report.files import write_text

    write_text(json.dumps(_finite(values), indent=1, allow_nan=False), path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_table(table: Any, path: Path) -> None:
    import io

    from pyarrow import csv, parquet

    from foretell.report.files import write_bytes

    buffer = io.BytesIO()
    if path.suffix.lower() == ".parquet":
        parquet.write_table(table, buffer)
    else:
        csv.write_csv(table, buffer)
    write_bytes(buffer.getvalue(), path)
