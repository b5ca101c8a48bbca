"""scikit-learn estimators: a representation from all rows, a head from the labeled ones."""

from foretell.estimators.classifier import TwoStageClassifier
from foretell.estimators.masked_imputer import MaskedImputer
from foretell.estimators.masked_regression import MaskedRegression
from foretell.estimators.regressor import TwoStageRegressor

__all__ = ["MaskedImputer", "MaskedRegression", "TwoStageClassifier", "TwoStageRegressor"]
