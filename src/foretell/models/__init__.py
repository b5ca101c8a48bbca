"""Pre-training models, one file each."""

from foretell.models.factor import FactorModel

__all__ = ["FactorModel"]
