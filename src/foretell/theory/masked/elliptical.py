r"""Rows of unequal length: :math:`x_i = \sqrt{t_i}\, y_i` with :math:`y_i` of covariance
:math:`\Sigma`.

Universality of the deterministic equivalents fails for them: with multivariate t rows of five
degrees of freedom the formulas of equal rows are off by up to 10 % (test) and 70 % (train).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError
from foretell.theory.spectra.effective_ridge import exact_count, ridges

STEP = 1e-13
MAX_STEPS = 500


@dataclass(frozen=True, eq=False)
class RowScales:
    r"""Law of the squared length :math:`t` of a row relative to that of a row of :math:`\Sigma`.

    Everything depends on it through :math:`m_{ab}(s) = E[t^a/(s+t)^b]`, where s is what a unit of
    squared row length weighs against the leverage of the row.

    Attributes
    ----------
    scales, weights
        Values :math:`t`, positive, and their probabilities, shape (m,).

    Examples
    --------
    >>> rows = RowScales.of(([0.5, 3.0], [0.8, 0.2]))
    >>> rows.mean, round(rows.moment(1, 1, 1.0), 6)
    (1.0, 0.416667)
    """

    scales: Array
    weights: Array

    @classmethod
    def of(cls, row_scales: Any) -> RowScales:
        """Law of scales from None (all one), an array of equally likely ones, or a pair of arrays
        (values, weights). The array is an empirical law; it need not be as long as the sample.

        Raises
        ------
        InputError
            If scales or weights are not positive finite numbers, or their shapes differ.
        """
        if isinstance(row_scales, RowScales):
            return row_scales
        if row_scales is None:
            return cls(np.ones(1), np.ones(1))
        if isinstance(row_scales, tuple) and len(row_scales) == 2 and np.ndim(row_scales[0]) == 1:
            scales, weights = (np.asarray(a, dtype=float) for a in row_scales)
        else:
            scales = np.asarray(row_scales, dtype=float)
            weights = np.ones(scales.shape)
        if scales.ndim != 1 or scales.size == 0 or scales.shape != weights.shape:
            raise InputError(
                "row_scales is an array of scales, shape (m,), or a pair of scales and weights of "
                f"that shape; found shapes {scales.shape} and {weights.shape}"
            )
        both = np.concatenate([scales, weights])
        if not np.isfinite(both).all() or (both <= 0).any():
            raise InputError(
                "row_scales and their weights are positive and finite; found values from "
                f"{both.min():.3g} to {both.max():.3g}; drop rows of length zero"
            )
        return cls(scales, weights / weights.sum())

    @property
    def alike(self) -> bool:
        """Whether all rows have scale one."""
        return bool((self.scales == 1).all())

    @property
    def mean(self) -> float:
        """Mean scale."""
        return float(self.weights @ self.scales)

    def moment(self, a: int, b: int, s: float) -> float:
        """Mean of t**a / (s + t)**b."""
        return float(self.weights @ (self.scales**a / (s + self.scales) ** b))

    def moments(self, s: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Means of t/(s+t), t/(s+t)², t²/(s+t)², t/(s+t)³, t²/(s+t)³ at each s, shape (L,)."""
        powers = ((1, 1), (1, 2), (2, 2), (1, 3), (2, 3))
        rows = [[self.moment(a, b, float(value)) for value in s] for a, b in powers]
        return tuple(np.array(row) for row in rows)  # type: ignore[return-value]

    def solve(self, share: float, free: float) -> float:
        r"""The s at which :math:`E[t/(s+t)]` is a share of one; ``free`` is the rest of one."""
        if self.alike:
            return free / share
        s = free / (share * float(self.weights @ (1 / self.scales)))
        for _ in range(MAX_STEPS):  # convex and decreasing, from the left
            if free < share:
                gap = free - s * self.moment(0, 1, s)
            else:
                gap = self.moment(1, 1, s) - share
            step = gap / self.moment(1, 2, s)
            s += step
            if abs(step) <= STEP * s:
                return s
        raise self._lost()

    def _lost(self) -> ConvergenceError:
        low, high = self.scales.min(), self.scales.max()
        return ConvergenceError(
            f"the equation of the row scales did not settle in {MAX_STEPS} steps; found scales "
            f"from {low:.3g} to {high:.3g}; drop rows of negligible length"
        )


def elliptical_ridges(
    eigenvalues: Array, counts: Array, n: float, alphas: Array, rows: RowScales
) -> tuple[Array, Array]:
    r"""Effective ridges :math:`\kappa` and s at each penalty, shape (L,) each.

    With :math:`h = E[t/(s+t)]`, they solve :math:`\mathrm{df}_1(\kappa) = n h` and
    :math:`\alpha = \kappa s h`. In the notation of docs/masked-regression.md :math:`\omega = sh`
    and :math:`g = 1/s`. Rows of scale one give :math:`\alpha = \kappa(1 - \mathrm{df}_1/n)`.

    Parameters
    ----------
    eigenvalues, counts
        Those of the covariance of y, shape (p,).
    """
    if rows.alike:
        kappas = ridges(eigenvalues, counts, n, alphas)
        return kappas, np.array([_weight_of_equal_rows(eigenvalues, counts, n, *pair)
                                 for pair in zip(alphas, kappas, strict=True)])  # fmt: skip
    positive = eigenvalues > 0
    tau, counts = eigenvalues[positive], counts[positive]
    rank = exact_count(counts)
    pairs = np.zeros((len(alphas), 2))
    for i, alpha in enumerate(alphas):
        if alpha == np.inf:
            pairs[i] = np.inf, np.inf
        elif alpha > 0:
            s = _root(tau, counts, rank, n, float(alpha), rows)
            pairs[i] = alpha / (s * rows.moment(1, 1, s)), s
        elif n > rank:
            pairs[i] = 0.0, rows.solve(rank / n, (n - rank) / n)
        elif n < rank:
            pairs[i] = ridges(tau, counts, n, np.zeros(1))[0], 0.0
    return pairs[:, 0], pairs[:, 1]


def _weight_of_equal_rows(
    eigenvalues: Array, counts: Array, n: float, alpha: float, kappa: float
) -> float:
    """The s of rows of scale one; 1 / s is df1 / (n - df1)."""
    if alpha == 0:
        rank = exact_count(counts[eigenvalues > 0])
        return max(n - rank, 0.0) / rank
    if alpha == np.inf:
        return np.inf
    return alpha / (kappa * float(counts @ (eigenvalues / (eigenvalues + kappa))) / n)


def _root(tau: Array, counts: Array, rank: float, n: float, alpha: float, rows: RowScales) -> float:
    """Root in s of a decreasing function, by Newton's method in log s within a bracket.

    The function is a difference of shares, or of what they leave of one, whichever is small.
    """
    low, high = 0.0, np.inf
    s = rows.mean
    for _ in range(MAX_STEPS):
        share = rows.moment(1, 1, s)
        kappa = alpha / (s * share)
        inverse = 1 / (tau + kappa)
        if 2 * share < 1:
            gap = share - float(counts @ (tau * inverse)) / n
        else:
            gap = ((n - rank) + kappa * float(counts @ inverse)) / n - s * rows.moment(0, 1, s)
        bend = float(counts @ (tau * inverse**2)) / n
        slope = -s * rows.moment(1, 2, s) - bend * kappa * rows.moment(2, 2, s) / share
        low, high = (s, high) if gap > 0 else (low, s)
        step = -gap / slope
        trial = s * np.exp(min(max(step, -5.0), 5.0))
        if not low < trial < high:
            if abs(step) <= 100 * STEP:
                return s
            trial = np.sqrt(low * high) if low > 0 and high < np.inf else trial
        if abs(step) <= STEP:
            return float(trial)
        s = float(trial)
    raise rows._lost()
