"""Gradient flow of symmetric low-rank factorization; docs/dynamics.md."""

from foretell.theory.factorization.descent import DescentTrajectory, gradient_descent
from foretell.theory.factorization.early_stopping import EarlyStopping, early_stopping
from foretell.theory.factorization.flow import FactorizationFlow
from foretell.theory.factorization.pair_moments import PairMoments
from foretell.theory.factorization.sensing import MatrixSensing
from foretell.theory.factorization.step_limits import StepLimits, step_limits
from foretell.theory.factorization.target import Target
from foretell.theory.factorization.training_budget import TrainingBudget

__all__ = [
    "DescentTrajectory", "EarlyStopping", "FactorizationFlow", "MatrixSensing", "PairMoments",
    "StepLimits", "Target", "TrainingBudget", "early_stopping", "gradient_descent", "step_limits",
]  # fmt: skip
