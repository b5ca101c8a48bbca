r"""Expectation and maximisation for a Gaussian with a ridge, from rows with missing cells.

The penalised log-likelihood of the observed cells, with :math:`S = C + \alpha I` and
:math:`W = \sum_i w_i`,

.. math:: \ell(\mu, S) = -\tfrac12 \sum_i w_i \left[\log\det S_{OO}
          + (x_O - \mu_O)^\top S_{OO}^{-1} (x_O - \mu_O)\right]
          - \tfrac{W \alpha}{2} \mathrm{tr}\, S^{-1},

is maximal on complete rows at the moments of the sample, C = X'X/n: the ridge. With missing cells
its EM step replaces those moments by their expectations given the observed cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.models.masked_patterns import Stack, stacks
from foretell.models.masked_systems import inverses

TINY = 1e-300


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of a completed sample, in standardised units."""

    mean: Array
    covariance: Array


class Law(NamedTuple):
    r"""Covariance :math:`S = C + \alpha I` of the rows, its inverse and the log of its determinant.

    Raises ``numpy.linalg.LinAlgError`` from :meth:`of` where S is not positive definite.
    """

    S: Array
    Q: Array
    log_determinant: float

    @classmethod
    def of(cls, covariance: Array, alpha: float) -> Law:
        """Law of a covariance of the completed sample (d, d) and a penalty."""
        S = covariance.copy()
        S.flat[:: len(S) + 1] += alpha
        root = np.linalg.cholesky(S)
        Q = np.linalg.inv(S)
        return cls(S, (Q + Q.T) / 2, 2.0 * float(np.log(np.diag(root)).sum()))


@dataclass(frozen=True, eq=False)
class Rows:
    """Incomplete rows in standardised units.

    Attributes
    ----------
    Z
        Observed values, zero where missing, shape (n, d).
    observed
        Which cells are observed, shape (n, d).
    weights
        One weight a row, shape (n,).
    stacks
        The incomplete rows by pattern.
    """

    Z: Array
    observed: Any
    weights: Array
    stacks: list[Stack]

    @classmethod
    def of(cls, Z: Array, observed: Any, weights: Array) -> Rows:
        """Rows by pattern; values where missing are ignored."""
        return cls(np.where(observed, Z, 0.0), observed, weights, stacks(~observed, weights))

    def some(self, chosen: Any) -> Rows:
        """Some of the rows, by their numbers, shape (b,)."""
        return Rows.of(self.Z[chosen], self.observed[chosen], self.weights[chosen])

    @property
    def total(self) -> float:
        """Total weight."""
        return float(self.weights.sum())

    @property
    def missing_shares(self) -> Array:
        """Share of the weight whose cell in a column is missing, shape (d,)."""
        return np.asarray(1.0 - self.weights @ self.observed / self.total)

    @property
    def missing_weight(self) -> float:
        """Weighted number of missing cells."""
        return float(self.weights @ (~self.observed).sum(axis=1))

    def deviations(self, mean: Array) -> Array:
        """Deviations from a mean, zero where missing, shape (n, d)."""
        return (self.Z - mean) * self.observed


class Step(NamedTuple):
    """What one EM step found.

    Attributes
    ----------
    filled
        Rows with their missing cells at their conditional means, shape (n, d).
    image
        Moments after the step.
    objective
        Penalised log-likelihood before the step, a unit of weight.
    spread
        Root mean square of the conditional standard deviations of the missing cells.
    """

    filled: Array
    image: Moments
    objective: float
    spread: float


def fill(deviations: Array, law: Law, stacks: list[Stack]) -> Iterator[tuple[Stack, Array, Array]]:
    """Put conditional means into the missing cells of deviations (n, d), in place.

    Gives each stack with the inverses of its systems, shape (s, s, u), and the logs of their
    determinants, shape (u,), once its rows are filled.
    """
    pulled = deviations @ law.Q if stacks else deviations
    for stack in stacks:
        if stack.by_observed:
            V, logs = inverses(stack.blocks(law.S))
            unseen = 1.0 - stack.spread_out(np.ones(stack.own.shape))
            deviations[stack.rows] += (stack.solved(V, deviations) @ law.S) * unseen
        else:
            V, logs = inverses(stack.blocks(law.Q))
            deviations[stack.rows] -= stack.solved(V, pulled)
        yield stack, V, logs


def conditional_sums(deviations: Array, law: Law, stacks: list[Stack]) -> tuple[Array, float]:
    r"""Fill in place; weighted sums over the incomplete rows.

    Returns those of conditional covariances, (d, d), and :math:`\log\det S_{OO} - \log\det S`.
    """
    d = len(law.S)
    total, inner, weight, log_determinants = np.zeros((d, d)), np.zeros((d, d)), 0.0, 0.0
    for stack, V, logs in fill(deviations, law, stacks):
        log_determinants += float(stack.weights @ (logs - law.log_determinant * stack.by_observed))
        if stack.by_observed:
            inner += stack.scattered(V)
            weight += float(stack.weights.sum())
        else:
            total += stack.scattered(V)
    if weight:
        total += weight * law.S - law.S @ inner @ law.S
    return total, log_determinants


def conditional_variances(stack: Stack, V: Array, law: Law) -> Array:
    """Conditional variances of the missing cells of the rows of a stack, shape (b, d).

    From the inverses V of its systems; other cells hold anything.
    """
    if stack.by_observed:
        return np.asarray(np.diag(law.S) - stack.quadratic(V, law.S))
    return stack.spread_out(stack.of_rows(np.einsum("ssu->su", V)))


def em_step(rows: Rows, at: Moments, alpha: float, *, center: bool) -> Step:
    """One EM step.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance with its ridge is not positive definite.
    """
    law = Law.of(at.covariance, alpha)
    total = rows.total
    R = rows.deviations(at.mean)
    spread, log_determinants = conditional_sums(R, law, rows.stacks)
    shift = rows.weights @ R / total
    second = (R * rows.weights[:, None]).T @ R / total
    objective = -0.5 * (
        law.log_determinant
        + log_determinants / total
        + float(np.vdot(law.Q, second))
        + alpha * float(np.trace(law.Q))
    )
    covariance, mean = second + spread / total, at.mean
    if center:
        mean = mean + shift
        covariance -= np.outer(shift, shift)
    typical = np.sqrt(max(float(np.trace(spread)), 0.0) / max(rows.missing_weight, TINY))
    image = Moments(mean, (covariance + covariance.T) / 2)
    return Step(R + at.mean, image, objective, float(typical))
