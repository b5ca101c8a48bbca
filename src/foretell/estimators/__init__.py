"""scikit-learn estimators: a representation from all rows, a head from the labeled ones."""

from foretell.estimators.classifier import TwoStageClassifier
from foretell.estimators.masked_imputer import MaskedImputer
from foretell.estimators.masked_regression import MaskedRegression
from foretell.estimators.neighbors import NeighborsClassifier
from foretell.estimators.pretraining_spread import PretrainingSpread, pretraining_spread
from foretell.estimators.probes import probe_accuracy
from foretell.estimators.regressor import TwoStageRegressor

__all__ = [
    "MaskedImputer",
    "MaskedRegression",
    "NeighborsClassifier",
    "PretrainingSpread",
    "TwoStageClassifier",
    "TwoStageRegressor",
    "pretraining_spread",
    "probe_accuracy",
]
