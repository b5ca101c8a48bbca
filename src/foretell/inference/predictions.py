"""Predictions with standard errors that include pre-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.inference.asymptotics import Asymptotics, Parts


@dataclass(frozen=True, repr=False)
class Prediction:
    """Predictions of some rows and where their uncertainty comes from.

    Attributes
    ----------
    mean
        Predictions, shape (k,), in units of the target.
    parts
        Variance of each by stage: labeled, unlabeled, and the covariance through shared rows.
    residual_variance
        Variance of the target around the best predictor on these features.
    residual_df, pretraining_df
        Degrees of freedom of the two stages.
    backend, index
        Data frame library of :meth:`summary_frame`, and its index if that is pandas.
    """

    mean: Array
    parts: Parts
    residual_variance: float
    residual_df: int
    pretraining_df: float
    backend: str | None = None
    index: Any = None

    def __repr__(self) -> str:
        return f"Prediction of {len(self.mean)} rows; see summary_frame(), conf_int(), pred_int()"

    @property
    def se(self) -> Array:
        """Standard error with both stages, shape (k,)."""
        return np.sqrt(np.maximum(self.parts.total, 0.0))

    @property
    def se_naive(self) -> Array:
        """Standard error that takes the learned features as given, shape (k,)."""
        return np.sqrt(self.parts.labeled)

    def conf_int(self, level: float = 0.95) -> Array:
        """Confidence interval of the best predictor at each row, shape (k, 2).

        Student's t with Satterthwaite's degrees of freedom: n - q for the labeled part, m - 1
        for the unlabeled one.
        """
        return self._interval(self.se, level)

    def naive_conf_int(self, level: float = 0.95) -> Array:
        """The interval of the one-stage formula, for comparison, shape (k, 2)."""
        half = stdtrit(self.residual_df, 0.5 + _checked(level) / 2) * self.se_naive
        return np.column_stack([self.mean - half, self.mean + half])

    def pred_int(self, level: float = 0.95) -> Array:
        """Interval for a new target value at each row, shape (k, 2), for normal residuals."""
        return self._interval(np.sqrt(self.se**2 + self.residual_variance), level)

    def summary_frame(self, level: float = 0.95) -> Any:
        """Everything above as a data frame, one row a prediction."""
        confidence, prediction = self.conf_int(level), self.pred_int(level)
        frame = to_frame(
            {
                "mean": self.mean,
                "se": self.se,
                "se_naive": self.se_naive,
                "conf_low": confidence[:, 0],
                "conf_high": confidence[:, 1],
                "pred_low": prediction[:, 0],
                "pred_high": prediction[:, 1],
            },
            self.backend,
        )
        if self.index is not None:
            frame.index = self.index
        return frame

    def _interval(self, deviation: Array, level: float) -> Array:
        half = stdtrit(self._degrees(), 0.5 + _checked(level) / 2) * deviation
        return np.column_stack([self.mean - half, self.mean + half])

    def _degrees(self) -> Array:
        labeled, total = self.parts.labeled, np.maximum(self.parts.total, 1e-300)
        rest = np.abs(total - labeled)
        spread = labeled**2 / self.residual_df + rest**2 / max(1.0, self.pretraining_df)
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = np.where(spread > 0, total**2 / spread, self.residual_df)
        return np.asarray(np.maximum(degrees, 1.0))


def predict(
    asymptotics: Asymptotics, coordinates: Array, *, backend: str | None = None, index: Any = None
) -> Prediction:
    """Prediction at rows given by their coordinates t, shape (k, P)."""
    m, _ = asymptotics.stage_sizes()
    return Prediction(
        mean=coordinates @ asymptotics.predictor,
        parts=asymptotics.variance(coordinates),
        residual_variance=2.0 * asymptotics.irreducible,
        residual_df=asymptotics.residual_df,
        pretraining_df=m - 1.0,
        backend=backend,
        index=index,
    )


def _checked(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"a level lies strictly between 0 and 1; found {level}")
    return level
