"""Charts of what the theory of masked regression returns.

Each gives a Vega-Lite specification, data included, which notebooks draw, and writes it to
``path`` if there is one: ``.svg``, ``.png``, ``.html`` or ``.json``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.plots.charts import write
from foretell.plots.masked import error_curves, pca_comparison
from foretell.plots.masked_spectra import bins_of, phases, spectrum_of_masked

BINS = 48  # of a spectrum
BAND = 2.0  # standard deviations of replicates around their mean

Path = str | os.PathLike[str] | None


def plot_errors(
    errors: Any,
    *,
    simulations: Sequence[Any] = (),
    levels: Mapping[str, float] | None = None,
    chosen: float | None = None,
    title: str = "Masked regression",
    path: Path = None,
) -> dict[str, Any]:
    """Training and test error against the penalty, simulations over them.

    Parameters
    ----------
    errors
        A :class:`~foretell.theory.masked.MaskedPath`.
    simulations
        Results of :func:`~foretell.simulate` at single penalties: their means, and bars of two
        standard deviations of the replicates.
    levels
        Horizontal lines by name, such as the error of PCA.
    chosen
        A penalty to mark.
    title, path
        Text above, and the file to write.

    Examples
    --------
    >>> from foretell.theory import masked_path
    >>> chart = plot_errors(masked_path([1.0, 4.0] * 50, 200, [0.01, 0.1, 1.0]))
    >>> chart["title"]["subtitle"]
    '200 rows of 100 columns'
    """
    low, high = errors.alpha.min(), errors.alpha.max()
    points = [
        _band(sim, of)
        for sim in simulations
        if low <= sim.alpha <= high
        for of in ("test error", "train error")
    ]
    told = "; dots and bars: simulation, ± 2 standard deviations" if points else ""
    chart = error_curves(
        {
            "alpha": errors.alpha,
            "test error": errors.test_error,
            "train error": errors.train_error,
        },
        simulated=points,
        levels={k: v for k, v in (levels or {}).items() if math.isfinite(v)},
        chosen=chosen,
        title=title,
        subtitle=f"{errors.n_samples:g} rows of {errors.d} columns{told}",
    )
    return _written(chart, path)


def plot_spectrum(
    law: Any,
    eigenvalues: Array | None = None,
    *,
    title: str = "Eigenvalues of A",
    subtitle: str = "",
    path: Path = None,
) -> dict[str, Any]:
    """Law of the eigenvalues of A over those of samples, outliers as dashed lines.

    Parameters
    ----------
    law
        Of :func:`~foretell.theory.masked_spectrum`.
    eigenvalues
        Of one sample or several, any shape, such as ``MaskedRegression.spectrum()``; None draws
        none.
    title, subtitle, path
        Texts above, and the file to write.

    Examples
    --------
    >>> from foretell.theory import masked_spectrum
    >>> chart = plot_spectrum(masked_spectrum(np.ones(100), 200, 0.1))
    >>> len(chart["layer"])
    1
    """
    outliers = [outlier.location for outlier in law.outliers]
    atoms = [atom.location for atom in law.atoms]
    values = [] if eigenvalues is None else np.ravel(eigenvalues).tolist()
    edges = bins_of([*law.edges.ravel(), *atoms, *values, *outliers], BINS)
    cumulative = law.cdf(edges)
    cumulative[0] = 0.0  # an atom at the first end belongs to the first bin
    chart = spectrum_of_masked(
        edges,
        np.diff(cumulative),
        eigenvalues=None if eigenvalues is None else np.ravel(eigenvalues),
        outliers=outliers,
        title=title,
        subtitle=subtitle,
    )
    return _written(chart, path)


def plot_phases(diagram: Any, *, subtitle: str = "", path: Path = None) -> dict[str, Any]:
    """Where a spike shows in the sample covariance and in A.

    Parameters
    ----------
    diagram
        Of :func:`~foretell.theory.spectra.phase_diagram`, its ratios ascending.
    subtitle, path
        Text above, and the file to write.

    Examples
    --------
    >>> from foretell.theory.spectra import phase_diagram
    >>> diagram = phase_diagram([0.5, 1.0, 2.0], [0.5, 4.0], alpha=0.1, support=5)
    >>> chart = plot_phases(diagram)
    """
    chart = phases(
        diagram.sample_ratios,
        (float(diagram.spikes.min()), float(diagram.spikes.max())),
        diagram.covariance_boundary,
        diagram.coefficient_boundary,
        subtitle=subtitle,
    )
    return _written(chart, path)


def plot_comparison(
    comparison: Any, *, title: str = "Masked regression beside PCA", path: Path = None
) -> dict[str, Any]:
    """Errors of PCA and masked PCA over k/d, that of masked regression as a line.

    Parameters
    ----------
    comparison
        Of :func:`~foretell.theory.masked.compare_with_pca`.
    title, path
        Text above, and the file to write.

    Examples
    --------
    >>> from foretell.theory.masked import AutoRegressive, compare_with_pca
    >>> chart = plot_comparison(compare_with_pca(AutoRegressive(50, 0.9), 100))
    """
    c = comparison
    chart = pca_comparison(
        c.ranks / c.d,
        {"PCA": c.pca, "masked PCA": c.masked_pca},
        c.regression,
        crossover=c.crossover or None,
        title=title,
        subtitle=f"{c.n_samples:g} rows of {c.d} columns, penalty {c.alpha:.3g}",
    )
    return _written(chart, path)


def _band(simulation: Any, of: str) -> dict[str, Any]:
    values = simulation.numbers[of]
    mean, reach = float(values.mean()), BAND * float(values.std(ddof=1))
    return {
        "alpha": simulation.alpha,
        "of": of,
        "mean": mean,
        "low": mean - reach,
        "high": mean + reach,
    }


def _written(chart: dict[str, Any], path: Path) -> dict[str, Any]:
    if path is not None:
        write(chart, path)
    return chart
