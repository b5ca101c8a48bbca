"""``foretell simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretell.cli.common import Command, progress
from foretell.errors import InputError


@click.command(cls=Command)
@click.argument("population", type=click.Choice(["factor", "views", "mixture"]))
@click.option("--outcome", type=click.Choice(["linear", "logistic"]), default="linear",
              show_default=True, help="Numbers, or two classes.")  # fmt: skip
@click.option("--unlabeled", type=int, default=2000, show_default=True)
@click.option("--labeled", type=int, default=2000, show_default=True)
@click.option("--replicates", type=int, default=1000, show_default=True)
@click.option("--columns", type=int, default=20, show_default=True)
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--resume", type=click.Path(path_type=Path),
              help="Keep replicates in this file, and go on from those it holds.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path),
              help="Also draw both laws: .svg, .png, .html or .json.")  # fmt: skip
def simulate(
    population: str,
    outcome: str,
    unlabeled: int,
    labeled: int,
    replicates: int,
    columns: int,
    jobs: int,
    seed: int,
    resume: Path | None,
    plot: Path | None,
) -> None:
    """Compare the limit law with Monte Carlo.

    In a factor population of rank 3, in one with two views of rank 3, or in a mixture of three
    classes.
    """
    from foretell import TwoStageClassifier, TwoStageRegressor
    from foretell import simulate as run_simulation
    from foretell.plots.charts import check_format
    from foretell.report.files import check_writable

    if columns < 4:
        raise InputError(f"--columns is at least 4, one more than the rank; found {columns}")
    if plot is not None:
        check_format(plot)
        check_writable(plot)
    pop, model = _example(population, outcome, columns)
    kind = TwoStageRegressor if outcome == "linear" else TwoStageClassifier
    with progress(replicates) as advance:
        result = run_simulation(
            pop, kind(model, pool=False), n_unlabeled=unlabeled, n_labeled=labeled,
            n_replicates=replicates, random_state=seed, n_jobs=jobs,
            done=lambda: advance("replicates"), path=resume,
        )  # fmt: skip
    click.echo(result.summary())
    if plot is not None:
        result.plot(plot)
        click.echo(f"Plot: {plot}")


def _example(name: str, outcome: Any, columns: int) -> tuple[Any, Any]:
    """A population and the model that is right for it."""
    import numpy as np

    from foretell import FactorModel, GaussianMixture, SpectralContrastive
    from foretell.theory import FactorPopulation, MixturePopulation, ViewPopulation

    frame = np.eye(columns)[:, :3]
    coef = np.array([1.0, -0.7, 0.5])
    if name == "mixture":
        shares = np.array([0.5, 0.3, 0.2])
        mixture = MixturePopulation(4.0 * frame.T, shares, 1.0, coef, 0.3, outcome=outcome)
        return mixture, GaussianMixture(3, "spherical")
    loadings = frame * np.sqrt([5.0, 3.0, 1.5])
    if name == "views":
        views = ViewPopulation(loadings, 1.0, coef, 0.3, outcome=outcome)
        return views, SpectralContrastive(3)
    return FactorPopulation(loadings, 1.0, coef, 0.3, outcome=outcome), FactorModel(rank=3)
