"""Monte Carlo against theory: repeat a whole study and compare with its limit."""

from foretell.simulation.limits import Population, PopulationLimit
from foretell.simulation.masked import MaskedReplicate, MaskedSimulation
from foretell.simulation.result import Simulation
from foretell.simulation.run import replicate, simulate
from foretell.simulation.study import Replicate

__all__ = [
    "MaskedReplicate", "MaskedSimulation", "Population", "PopulationLimit", "Replicate",
    "Simulation", "replicate", "simulate",
]  # fmt: skip
