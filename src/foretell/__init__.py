"""foretell: what pre-training buys, how sure we are, and what to collect next."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Accuracy": "foretell.inference.accuracy",
    "Affine": "foretell.data.image_augmentations",
    "Asymptotics": "foretell.inference.limit",
    "CNN": "foretell.training",
    "Compose": "foretell.data.augmentations",
    "Contrast": "foretell.data.image_augmentations",
    "Crop": "foretell.data.augmentations",
    "Erase": "foretell.data.image_augmentations",
    "FactorModel": "foretell.models",
    "GaussianMixture": "foretell.models",
    "LinearHead": "foretell.heads",
    "LogisticHead": "foretell.heads",
    "LossModel": "foretell.models",
    "MLP": "foretell.training",
    "Mask": "foretell.data.augmentations",
    "MaskedImputer": "foretell.estimators",
    "MaskedRegression": "foretell.estimators",
    "NeighborsClassifier": "foretell.estimators",
    "Network": "foretell.training",
    "Noise": "foretell.data.augmentations",
    "Orthogonal": "foretell.symmetry",
    "PairSource": "foretell.data.views",
    "Permutations": "foretell.symmetry",
    "Product": "foretell.symmetry",
    "RiskLaw": "foretell.inference.risklaw",
    "Shift": "foretell.data.image_augmentations",
    "Signs": "foretell.symmetry",
    "SpectralContrastive": "foretell.models",
    "Training": "foretell.training",
    "Trivial": "foretell.symmetry",
    "TwoStageClassifier": "foretell.estimators",
    "TwoStageRegressor": "foretell.estimators",
    "asymptotics": "foretell.inference.asymptotics",
    "pretraining_spread": "foretell.estimators",
    "probe_accuracy": "foretell.estimators",
    "simulate": "foretell.simulation",
}

__all__ = [
    "CNN",
    "MLP",
    "Accuracy",
    "Affine",
    "Asymptotics",
    "Compose",
    "Contrast",
    "Crop",
    "Erase",
    "FactorModel",
    "GaussianMixture",
    "LinearHead",
    "LogisticHead",
    "LossModel",
    "Mask",
    "MaskedImputer",
    "MaskedRegression",
    "NeighborsClassifier",
    "Network",
    "Noise",
    "Orthogonal",
    "PairSource",
    "Permutations",
    "Product",
    "RiskLaw",
    "Shift",
    "Signs",
    "SpectralContrastive",
    "Training",
    "Trivial",
    "TwoStageClassifier",
    "TwoStageRegressor",
    "asymptotics",
    "pretraining_spread",
    "probe_accuracy",
    "simulate",
]

if TYPE_CHECKING:
    from foretell.data.augmentations import Compose, Crop, Mask, Noise
    from foretell.data.image_augmentations import Affine, Contrast, Erase, Shift
    from foretell.data.views import PairSource
    from foretell.estimators import (
        MaskedImputer,
        MaskedRegression,
        NeighborsClassifier,
        TwoStageClassifier,
        TwoStageRegressor,
        pretraining_spread,
        probe_accuracy,
    )
    from foretell.heads import LinearHead, LogisticHead
    from foretell.inference.accuracy import Accuracy
    from foretell.inference.asymptotics import asymptotics
    from foretell.inference.limit import Asymptotics
    from foretell.inference.risklaw import RiskLaw
    from foretell.models import FactorModel, GaussianMixture, LossModel, SpectralContrastive
    from foretell.simulation import simulate
    from foretell.symmetry import Orthogonal, Permutations, Product, Signs, Trivial
    from foretell.training import CNN, MLP, Network, Training


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'foretell' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
