"""Exact results without data."""

from foretell.theory.populations import FactorPopulation

__all__ = ["FactorPopulation"]
