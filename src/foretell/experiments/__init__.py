"""What learned features buy, measured on data: label efficiency, other domains, long tails."""

from foretell.experiments.domain_result import DomainAdaptation
from foretell.experiments.domain_study import domain_adaptation
from foretell.experiments.imbalance import imbalance_gap
from foretell.experiments.imbalance_result import ImbalanceGap
from foretell.experiments.label_curves import LabelEfficiency, label_efficiency
from foretell.experiments.label_forecast import LabelForecast, forecast_labels
from foretell.experiments.labeled_features import random_features
from foretell.experiments.supervised_features import ReducedRank, SupervisedNetwork

__all__ = [
    "DomainAdaptation",
    "ImbalanceGap",
    "LabelEfficiency",
    "LabelForecast",
    "ReducedRank",
    "SupervisedNetwork",
    "domain_adaptation",
    "forecast_labels",
    "imbalance_gap",
    "label_efficiency",
    "random_features",
]
