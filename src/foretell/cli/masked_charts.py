"""The charts of ``foretell masked theory`` and ``phases``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from foretell.errors import InputError


def curves(question: Any, numbers: dict[str, Any], simulated: Sequence[Any]) -> tuple[str, Any]:
    """Errors along the penalty, simulated ones over them."""
    from foretell.plots import plot_errors
    from foretell.theory.masked import masked_path

    path = masked_path(
        question.covariance, question.samples, question.grid, row_scales=question.scales
    )
    numbers["curves"] = {
        "alpha": path.alpha, "test_error": path.test_error, "train_error": path.train_error,
    }  # fmt: skip
    names = {"pca": "PCA", "masked_pca": "masked PCA"}
    return "", plot_errors(
        path,
        simulations=simulated,
        levels={text: numbers[key] for key, text in names.items() if key in numbers},
        chosen=question.alpha,
        title=f"Masked regression, {question.name}, {question.rows} rows",
    )


def spectrum(question: Any, numbers: dict[str, Any], simulated: Sequence[Any]) -> tuple[str, Any]:
    """Eigenvalues of A in theory over those of a sample."""
    from foretell.plots import plot_spectrum
    from foretell.theory.spectra import empirical_spectrum, masked_spectrum

    if question.alpha <= 0:
        raise InputError(
            "the best penalty is zero, for which the law of the spectrum is not known; give --alpha"
        )
    law = masked_spectrum(question.covariance, question.samples, question.alpha)
    X = question.population.sample_unlabeled(int(question.samples), question.seed)
    chart = plot_spectrum(
        law,
        empirical_spectrum(X, question.alpha).eigenvalues,
        title=f"Eigenvalues of A, {question.name}",
        subtitle=f"{question.samples:g} rows of {question.population.n_columns} columns, penalty "
        f"{question.alpha:.3g}; bars: one sample, line: theory",
    )
    outliers = [outlier.location for outlier in law.outliers]
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
    from foretell.plots import plot_comparison
    from foretell.theory.masked import compare_with_pca

    found = compare_with_pca(question.covariance, question.samples, alpha=question.alpha)
    numbers["comparison"] = {
        "crossover": found.crossover, "best_masked_rank": found.best_masked_rank,
        "best_masked_pca": found.best_masked_pca, "ranks": found.ranks, "pca": found.pca,
        "masked_pca": found.masked_pca,
    }  # fmt: skip
    title = f"Masked regression beside PCA, {question.name}"
    return found.summary(), plot_comparison(found, title=title)


CHARTS = {"--curves": curves, "--spectrum": spectrum, "--comparison": comparison}


def draw_phases(
    support: int | None, alpha: Any, ratios: tuple[float, float], spikes: tuple[float, float],
    ending: str,
) -> tuple[list[str], bytes]:  # fmt: skip
    """Some thresholds in words, and the content of the file of the phase diagram."""
    import numpy as np

    from foretell.plots import plot_phases
    from foretell.plots.charts import drawn
    from foretell.theory.spectra import phase_diagram

    told = [ratio for ratio in (0.25, 0.5, 1.0, 2.0, 4.0) if ratios[0] <= ratio <= ratios[1]]
    x, y = np.unique([*np.geomspace(*ratios, 121), *told]), np.geomspace(*spikes, 3)
    found = phase_diagram(x, y, alpha=alpha, support=support)
    told_by = f"penalty {alpha}; spike on {support or 'all'} columns"
    chart = plot_phases(found, subtitle=told_by)
    lines = []
    for ratio in told:
        at = int(np.searchsorted(x, ratio))
        low, high = found.covariance_boundary[at], found.coefficient_boundary[at]
        above = f"above {high:.3g}" if math.isfinite(high) else "never"
        lines.append(f"n/d = {ratio:g}: shows in C above {low:.3g}, in A {above}")
    return lines, drawn(chart, ending)
