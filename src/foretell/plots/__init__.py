"""Charts of theory, fits and simulations, as Vega-Lite specifications."""

from foretell.plots.charts import write
from foretell.plots.graphs import (
    plot_clusters,
    plot_embedding,
    plot_graph_spectrum,
    plot_strength,
)
from foretell.plots.label_efficiency import plot_label_efficiency
from foretell.plots.masked_results import (
    plot_comparison,
    plot_errors,
    plot_phases,
    plot_spectrum,
)

__all__ = [
    "plot_clusters",
    "plot_comparison",
    "plot_embedding",
    "plot_errors",
    "plot_graph_spectrum",
    "plot_label_efficiency",
    "plot_phases",
    "plot_spectrum",
    "plot_strength",
    "write",
]
