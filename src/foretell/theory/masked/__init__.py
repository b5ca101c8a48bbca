"""Masked self-supervised regression in the proportional regime; docs/masked-regression.md."""

from foretell.theory.masked.closed_forms import (
    autoregressive_closed_form,
    autoregressive_hidden_error,
    autoregressive_population_error,
    block_closed_form,
    identity_closed_form,
    spiked_excess,
)
from foretell.theory.masked.comparison import (
    PCAComparison,
    autoregressive_crossover,
    compare_with_pca,
    population_crossover,
)
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Blocks,
    Dense,
    Diagonal,
    Graded,
    Identity,
    PowerLaw,
    Spiked,
    benchmark_covariances,
    named_covariance,
)
from foretell.theory.masked.errors import (
    EquivalentWarning,
    MaskedPath,
    MaskedTheory,
    masked_path,
    masked_regression,
)
from foretell.theory.masked.one_mask import OneMaskErrors, one_mask_errors
from foretell.theory.masked.optimal import optimal_alpha
from foretell.theory.masked.pca import (
    masked_pca_error,
    pca_error,
    population_masked_pca_error,
    population_pca_error,
)
from foretell.theory.masked.population import MaskedPopulation
from foretell.theory.masked.random_masks import (
    RandomMaskErrors,
    optimal_mask_rate,
    random_mask_coefficients,
    random_mask_errors,
)
from foretell.theory.masked.sample_pca import SamplePCAErrors, sample_pca_errors
from foretell.theory.masked.spiked_pca import (
    SpikedComparison,
    masked_pca_threshold,
    spiked_comparison,
)

__all__ = [
    "AutoRegressive", "Blocks", "Dense", "Diagonal", "EquivalentWarning", "Graded", "Identity",
    "MaskedPath", "MaskedPopulation", "MaskedTheory", "OneMaskErrors", "PCAComparison", "PowerLaw",
    "RandomMaskErrors", "SamplePCAErrors", "Spiked", "SpikedComparison",
    "autoregressive_closed_form", "autoregressive_crossover", "autoregressive_hidden_error",
    "autoregressive_population_error", "benchmark_covariances", "block_closed_form",
    "compare_with_pca", "identity_closed_form", "masked_path", "masked_pca_error",
    "masked_pca_threshold", "masked_regression", "named_covariance", "one_mask_errors",
    "optimal_alpha", "optimal_mask_rate", "pca_error", "population_crossover",
    "population_masked_pca_error", "population_pca_error", "random_mask_coefficients",
    "random_mask_errors", "sample_pca_errors", "spiked_comparison", "spiked_excess",
]  # fmt: skip
