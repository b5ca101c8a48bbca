"""Exact results without data."""

from foretell.theory.bounds import ge_factor_rate, ge_mixture_rate, haochen_rate
from foretell.theory.connectivity import connectivity_of_graph, connectivity_of_rows
from foretell.theory.dependent_rows import Clustered, Serial
from foretell.theory.domain_adaptation import DomainToy
from foretell.theory.factor_population import FactorPopulation
from foretell.theory.factorization import FactorizationFlow
from foretell.theory.graphs.block_models import block_weights, domain_blocks, hierarchical_blocks
from foretell.theory.graphs.graph import PositivePairGraph
from foretell.theory.graphs.strength import augmentation_strength
from foretell.theory.imbalance import long_tail, relative_gap
from foretell.theory.imbalance_toy import RareClassToy
from foretell.theory.imbalanced_clusters import (
    cluster_spectrum,
    linked_spectrum,
    smallest_learned_mass,
)
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
from foretell.theory.transfer import transfer_head
from foretell.theory.transfer_bounds import transfer_bound
from foretell.theory.view_population import ViewPopulation

__all__ = [
    "Clustered", "DomainToy", "FactorPopulation", "FactorizationFlow", "MaskedPopulation",
    "MixturePopulation", "Nodes", "PopulationLimit", "PositivePairGraph", "RareClassToy", "Serial",
    "ViewPopulation", "augmentation_strength", "block_weights", "cluster_spectrum", "compare",
    "connectivity_of_graph", "connectivity_of_rows", "domain_blocks", "ge_factor_rate",
    "ge_mixture_rate", "haochen_rate", "hierarchical_blocks", "linked_spectrum", "long_tail",
    "marchenko_pastur", "masked_path", "masked_regression", "masked_spectrum", "optimal_alpha",
    "population_limit", "relative_gap", "smallest_learned_mass", "transfer_bound", "transfer_head",
]  # fmt: skip
