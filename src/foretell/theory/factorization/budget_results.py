"""What training budgets return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.inference.risklaw import RiskLaw


@dataclass(frozen=True, eq=False)
class StatisticalRisk:
    """Mean excess risk that finite samples cause; numbers, or arrays of the shape of the times.

    Attributes
    ----------
    unlabeled, labeled
        Parts of the m pairs and of the n labels.
    fluctuation
        Standard deviation of the first-order term in the pairs; zero at the end of training if
        the features are best for the target.
    law
        Law of both parts at the end of training, where it is known in closed form; else None.
    """

    unlabeled: Any
    labeled: Any
    fluctuation: Any
    law: RiskLaw | None = None

    @property
    def total(self) -> Any:
        """Sum of both parts."""
        return self.unlabeled + self.labeled


@dataclass(frozen=True)
class TrainingWorth:
    """Training twice as long, in data.

    Attributes
    ----------
    time
        The time t that is doubled.
    gain
        Mean risk at t less that at 2t; negative if training on makes it worse.
    pairs_factor, labels_factor, both_factor
        How many times more pairs, labels, or both at time t gain as much; inf if no number does,
        below 1 if training on loses.
    """

    time: float
    gain: float
    pairs_factor: float
    labels_factor: float
    both_factor: float

    def summary(self) -> str:
        """In words, one line."""
        if self.gain <= 0:
            return f"training from t = {self.time:g} to {2 * self.time:g} gains nothing"
        text = f"training from t = {self.time:g} to {2 * self.time:g} gains {self.gain:.3g}"
        factors = {
            "pairs": self.pairs_factor, "labels": self.labels_factor, "both": self.both_factor
        }  # fmt: skip
        enough = [
            f"{factor:.3g} times {'both' if what == 'both' else f'the {what}'}"
            for what, factor in factors.items()
            if np.isfinite(factor)
        ]
        if not enough:
            return f"{text}, more than any number of pairs and labels would"
        return f"{text}, as do {' or '.join(enough)}"


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """Parts of the mean excess risk along times; arrays of shape (T,).

    Attributes
    ----------
    times
        Times t.
    optimization, unlabeled, labeled
        Parts of unfinished training, m pairs, n labels.
    n_unlabeled, n_labeled
        m and n.
    exponent
        Rate at which the optimization part falls in the end.
    """

    times: Array
    optimization: Array
    unlabeled: Array
    labeled: Array
    n_unlabeled: float
    n_labeled: float
    exponent: float

    @property
    def total(self) -> Array:
        """Sum of the parts, shape (T,)."""
        return self.optimization + self.unlabeled + self.labeled

    def frame(self, backend: str | None = None) -> Any:
        """The curve as a data frame, one row a time; ``backend`` as in ``to_frame``."""
        columns = {
            "time": self.times,
            "optimization": self.optimization,
            "unlabeled": self.unlabeled,
            "labeled": self.labeled,
            "total": self.total,
        }
        return to_frame(columns, backend)

    def summary(self) -> str:
        """A table in plain text."""
        finite = np.isfinite(self.exponent)
        falls = f"falls as exp(-{self.exponent:.4g} t)" if finite else "costs nothing"
        lines = [
            f"Excess risk, m = {self.n_unlabeled:g} pairs, n = {self.n_labeled:g} labels; "
            f"unfinished training {falls}",
            f"{'time':>10} {'training':>12} {'pairs':>12} {'labels':>12} {'total':>12}",
        ]
        rows = zip(
            self.times, self.optimization, self.unlabeled, self.labeled, self.total, strict=True
        )
        lines += [f"{t:>10.4g} " + " ".join(f"{v:>12.4e}" for v in row) for t, *row in rows]
        return "\n".join(lines)
