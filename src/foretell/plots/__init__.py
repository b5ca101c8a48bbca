"""Charts of theory, fits and simulations, as Vega-Lite specifications."""

from foretell.plots.charts import write
from foretell.plots.masked_results import (
    plot_comparison,
    plot_errors,
    plot_phases,
    plot_spectrum,
)

__all__ = ["plot_comparison", "plot_errors", "plot_phases", "plot_spectrum", "write"]
