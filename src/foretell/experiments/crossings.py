"""Up to how many labels one feature set is better than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretell._types import Array


@dataclass(frozen=True)
class Crossing:
    """Number of labels beyond which the first feature set is no longer better than the second.

    Attributes
    ----------
    first, second
        Names of the feature sets.
    labels, low, high
        The number and its interval. 0 if the first set is better at none of the numbers of labels
        that were examined, ``inf`` if it is still better at the largest.
    level
        Probability of the interval.
    smallest, largest
        Range of numbers of labels that was examined.
    better_at_largest
        Probability, or share of bootstrap samples, that the first set is better at the largest.

    Examples
    --------
    >>> print(Crossing("learned", "raw", 120.0, 70.0, 300.0, 0.9, 20, 5000, 0.0))
    learned stops being better than raw at about 120 labels (90 % interval 70 to 300)
    """

    first: str
    second: str
    labels: float
    low: float
    high: float
    level: float
    smallest: int
    largest: int
    better_at_largest: float

    @classmethod
    def of(
        cls,
        first: str,
        second: str,
        differences: Array,
        sizes: Sequence[float] | Array,
        *,
        level: float,
        best: float | None = None,
    ) -> Crossing:
        """Crossing of a sample of curves (R, S) of error of the first less error of the second.

        ``best`` is the crossing of the best curve; None takes the median of the sample.
        """
        crossings = last_advantage(differences, sizes)
        tail = (1 - level) / 2
        low, middle, high = np.quantile(crossings, [tail, 0.5, 1 - tail], method="nearest")
        if best is not None:
            middle, low, high = best, min(low, best), max(high, best)
        share = float(np.isinf(crossings).mean())
        ends = int(sizes[0]), int(sizes[-1])
        return cls(first, second, float(middle), float(low), float(high), level, *ends, share)

    def __str__(self) -> str:
        interval = f"{100 * self.level:g} % interval {self.span()}"
        if np.isinf(self.labels):
            return f"{self.first} is better than {self.second} up to {self.largest:,} ({interval})"
        if self.labels == 0:
            return f"{self.first} is not better than {self.second} at any number ({interval})"
        return (
            f"{self.first} stops being better than {self.second} at about "
            f"{rounded(self.labels)} labels ({interval})"
        )

    def span(self) -> str:
        """The interval in words."""
        if np.isinf(self.low):
            return f"more than {self.largest:,}"
        low = f"fewer than {self.smallest:,}" if self.low == 0 else rounded(self.low)
        if self.high == 0:
            return low
        high = f"more than {self.largest:,}" if np.isinf(self.high) else rounded(self.high)
        return f"{low} to {high}"


def last_advantage(differences: Array, sizes: Sequence[float] | Array) -> Array:
    """Largest number of labels at which a curve is negative, shape (R,), of curves (R, S).

    Between sizes the curve is taken to be linear in the logarithm of the number of labels. 0 where
    a curve is nowhere negative, ``inf`` where it is so at the last size.

    Examples
    --------
    >>> curves = np.array([[-1.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
    >>> last_advantage(curves, [10, 1000]).round(6).tolist()
    [100.0, inf, 0.0]
    """
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    found = np.zeros(len(differences))
    for r, curve in enumerate(differences):
        negative = np.flatnonzero(curve < 0)
        if not negative.size:
            continue
        if (i := negative[-1]) == len(logs) - 1:
            found[r] = np.inf
            continue
        share = curve[i] / (curve[i] - curve[i + 1])
        found[r] = np.exp(logs[i] + share * (logs[i + 1] - logs[i]))
    return found


def rounded(number: float) -> str:
    """A number of labels to two digits."""
    digits = max(0, int(np.floor(np.log10(max(number, 1.0)))) - 1)
    return f"{round(number / 10**digits) * 10**digits:,}"
