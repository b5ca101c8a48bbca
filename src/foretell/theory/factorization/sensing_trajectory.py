"""A factor over time, fitted to linear measurements, and how far it is from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foretell._types import Array
from foretell.errors import InputError


class Loss(Protocol):
    """What has a loss of X (d, k), such as other measurements."""

    def loss(self, X: Array) -> float:
        """Loss of X."""
        ...


@dataclass(frozen=True, eq=False)
class SensingTrajectory:
    """X over time, fitted to measurements.

    Attributes
    ----------
    times
        Times of the flow, eta j for descent, shape (T,).
    solution
        X, shape (T, d, k).
    loss
        On the measurements, shape (T,).
    """

    times: Array
    solution: Array
    loss: Array

    @property
    def gram(self) -> Array:
        """XX', shape (T, d, d)."""
        return np.asarray(self.solution @ np.swapaxes(self.solution, 1, 2))

    def error(self, truth: Array) -> Array:
        """Relative error |XX' - M| / |M| in Frobenius norm to a truth M (d, d), shape (T,).

        Raises
        ------
        InputError
            If the truth has another shape, or is zero.
        """
        M = np.asarray(truth, dtype=np.float64)
        d = self.solution.shape[1]
        if M.shape != (d, d) or not np.isfinite(M).all() or not M.any():
            raise InputError(f"the truth is finite, not zero, of shape ({d}, {d}); found {M.shape}")
        gaps = [np.linalg.norm(X @ X.T - M) for X in self.solution]
        return np.array(gaps) / np.linalg.norm(M)

    def held_out(self, sensing: Loss) -> Array:
        """Loss on other measurements of the same target, shape (T,); its minimum is where to stop.

        With noise of variance v it is, in expectation, a quarter of the squared error plus v/4
        (Gaussian measurements).
        """
        return np.array([sensing.loss(X) for X in self.solution])
