"""Exact results without data."""

from foretell.theory.bounds import ge_factor_rate, ge_mixture_rate, haochen_rate
from foretell.theory.dependent_rows import Clustered, Serial
from foretell.theory.factor_population import FactorPopulation
from foretell.theory.factorization import FactorizationFlow
from foretell.theory.limits import PopulationLimit, population_limit
from foretell.theory.masked import (
    MaskedPopulation,
    masked_path,
    masked_regression,
    optimal_alpha,
)
from foretell.theory.mixture_population import MixturePopulation
from foretell.theory.nodes import Nodes
from foretell.theory.prior_art import compare
from foretell.theory.spectra import marchenko_pastur, masked_spectrum
from foretell.theory.view_population import ViewPopulation

__all__ = [
    "Clustered", "FactorPopulation", "FactorizationFlow", "MaskedPopulation", "MixturePopulation",
    "Nodes", "PopulationLimit", "Serial", "ViewPopulation", "compare", "ge_factor_rate",
    "ge_mixture_rate", "haochen_rate", "marchenko_pastur", "masked_path", "masked_regression",
    "masked_spectrum", "optimal_alpha", "population_limit",
]  # fmt: skip
