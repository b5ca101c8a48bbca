"""The charts of ``foretell masked theory`` and ``phases``."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foretell.errors import InputError

BINS = 48  # of a spectrum
BAND = 2.0  # standard deviations of replicates around their mean


def curves(question: Any, numbers: dict[str, Any], simulated: Sequence[Any]) -> tuple[str, Any]:
    """Errors along the penalty, simulated ones over them."""
    from foretell.plots.masked import error_curves
    from foretell.theory.masked import masked_path

    path = masked_path(
        question.covariance, question.samples, question.grid, row_scales=question.scales
    )
    points = [
        {"alpha": sim.alpha, "of": of, "mean": float(v.mean()),
         "low": float(v.mean() - BAND * v.std(ddof=1)),
         "high": float(v.mean() + BAND * v.std(ddof=1))}
        for sim in simulated
        if question.grid[0] <= sim.alpha <= question.grid[-1]
        for of in ("test error", "train error")
        for v in [sim.numbers[of]]
    ]  # fmt: skip
    names = {"pca": "PCA", "masked_pca": "masked PCA"}
    levels = {text: numbers[key] for key, text in names.items() if key in numbers}
    chart = error_curves(
        {"alpha": path.alpha, "test error": path.test_error, "train error": path.train_error},
        simulated=points,
        levels={text: level for text, level in levels.items() if math.isfinite(level)},
        chosen=question.alpha,
        title=f"Masked regression, {question.name}",
        subtitle=f"{question.samples:g} {question.rows} rows of {path.d} columns"
        + ("; dots and bars: simulation, ± 2 standard deviations" if points else ""),
    )
    numbers["curves"] = {
        "alpha": path.alpha, "test_error": path.test_error, "train_error": path.train_error,
    }  # fmt: skip
    return "", chart


def spectrum(question: Any, numbers: dict[str, Any], simulated: Sequence[Any]) -> tuple[str, Any]:
    """Eigenvalues of A in theory over those of a sample."""
    from foretell.plots.masked_spectra import bins_of, spectrum_of_masked
    from foretell.theory.spectra import empirical_spectrum, masked_spectrum

    if question.alpha <= 0:
        raise InputError(
            "the best penalty is zero, for which the law of the spectrum is not known; give --alpha"
        )
    law = masked_spectrum(question.covariance, question.samples, question.alpha)
    X = question.population.sample_unlabeled(int(question.samples), question.seed)
    values = empirical_spectrum(X, question.alpha).eigenvalues
    outliers = [outlier.location for outlier in law.outliers]
    atoms = [atom.location for atom in law.atoms]
    edges = bins_of([*law.edges.ravel(), *atoms, *values, *outliers], BINS)
    cumulative = law.cdf(edges)
    cumulative[0] = 0.0  # an atom at the first end belongs to the first bin
    chart = spectrum_of_masked(
        edges,
        cumulative[1:] - cumulative[:-1],
        eigenvalues=values,
        outliers=outliers,
        title=f"Eigenvalues of A, {question.name}",
        subtitle=f"{question.samples:g} rows of {question.population.n_columns} columns, penalty "
        f"{question.alpha:.3g}; bars: one sample, line: theory",
    )
    numbers["spectrum"] = {"edges": law.edges, "outliers": outliers}
    bulk = [(low, high) for low, high in law.edges if not any(low < v < high for v in outliers)]
    bulk = bulk or law.edges.tolist()
    text = f"Eigenvalues of A in {', '.join(f'[{low:.4g}, {high:.4g}]' for low, high in bulk)}"
    if law.atoms:
        shares = (f"a share of {atom.mass:.3g} at {atom.location:.4g}" for atom in law.atoms)
        text += f"; {', '.join(shares)}, more spread in samples"
    if outliers:
        text += f"; outliers at {', '.join(f'{v:.4g}' for v in outliers)}"
    return text, chart


def comparison(question: Any, numbers: dict[str, Any], simulated: Sequence[Any]) -> tuple[str, Any]:
    """Errors of PCA over all ranks."""
    from foretell.plots.masked import pca_comparison
    from foretell.theory.masked import compare_with_pca

    found = compare_with_pca(question.covariance, question.samples, alpha=question.alpha)
    numbers["comparison"] = {
        "crossover": found.crossover, "best_masked_rank": found.best_masked_rank,
        "best_masked_pca": found.best_masked_pca, "ranks": found.ranks, "pca": found.pca,
        "masked_pca": found.masked_pca,
    }  # fmt: skip
    chart = pca_comparison(
        found.ranks / found.d,
        {"PCA": found.pca, "masked PCA": found.masked_pca},
        found.regression,
        crossover=found.crossover or None,
        title=f"Masked regression beside PCA, {question.name}",
        subtitle=f"{question.samples:g} rows of {found.d} columns, penalty {question.alpha:.3g}",
    )
    return found.summary(), chart


CHARTS = {"--curves": curves, "--spectrum": spectrum, "--comparison": comparison}


def draw_phases(
    support: int | None, alpha: Any, ratios: tuple[float, float], spikes: tuple[float, float],
    ending: str,
) -> tuple[list[str], bytes]:  # fmt: skip
    """Some thresholds in words, and the content of the file of the phase diagram."""
    import numpy as np

    from foretell.plots.masked_spectra import phases
    from foretell.theory.spectra import phase_diagram

    told = [ratio for ratio in (0.25, 0.5, 1.0, 2.0, 4.0) if ratios[0] <= ratio <= ratios[1]]
    x, y = np.unique([*np.geomspace(*ratios, 121), *told]), np.geomspace(*spikes, 3)
    found = phase_diagram(x, y, alpha=alpha, support=support)
    chart = phases(
        x, spikes, found.covariance_boundary, found.coefficient_boundary,
        subtitle=f"penalty {alpha}; spike on {support or 'all'} columns",
    )  # fmt: skip
    lines = []
    for ratio in told:
        at = int(np.searchsorted(x, ratio))
        low, high = found.covariance_boundary[at], found.coefficient_boundary[at]
        above = f"above {high:.3g}" if math.isfinite(high) else "never"
        lines.append(f"n/d = {ratio:g}: shows in C above {low:.3g}, in A {above}")
    return lines, drawn_to(chart, ending)


def drawn_to(chart: dict[str, Any], ending: str) -> bytes:
    """The content of a chart's file with this ending."""
    from foretell.plots.charts import write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"chart{ending}")
        write(chart, path)
        return path.read_bytes()
