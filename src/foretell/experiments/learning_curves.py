r"""Power laws through noisy learning curves, one or two at a time, as draws from a posterior.

.. math:: e(n) = e_0 \bigl(\varphi + (1 - \varphi) (n / n_0)^{-c}\bigr)

:math:`e_0` is the error at :math:`n_0` labels, :math:`\varphi` the share of it that no number of
labels removes. Given :math:`(\varphi, c)` the errors are linear in :math:`e_0`, which is
integrated out in closed form; the two others live on a grid. Two curves are fitted with the
covariance between them: measured on the same rows they err together, and their difference is known
better than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array

SHARES = (np.arange(20) + 0.5) / 20
EXPONENTS = np.geomspace(0.08, 2.5, 24)
TYPICAL_EXPONENT, LOG_DEVIATION = 0.5, 0.7  # of a log-normal prior
MISFIT = 0.03  # of an error: how far learning curves are from power laws
INFLATION = 1.6  # of the variance between rows, for rows that serve to learn as well as to test


@dataclass(frozen=True)
class PowerLaws:
    r"""Draws of power laws for one feature set.

    Attributes
    ----------
    level, share, exponent
        :math:`e_0`, :math:`\varphi` and c, shape (R,) each.
    reference
        Number of labels :math:`n_0`.
    """

    level: Array
    share: Array
    exponent: Array
    reference: float

    def at(self, sizes: Any) -> Array:
        """Errors at numbers of labels (S,), shape (R, S).

        Examples
        --------
        >>> one = np.ones(1)
        >>> PowerLaws(0.2 * one, 0.5 * one, 0.5 * one, 100).at([100, 400]).round(3).tolist()
        [[0.2, 0.15]]
        """
        falling = _falling(np.asarray(sizes, dtype=np.float64) / self.reference, self.exponent)
        share = self.share[:, None]
        return np.asarray(self.level[:, None] * (share + (1 - share) * falling))


@dataclass(frozen=True)
class MeasuredCurves:
    """Errors of F curves at S numbers of labels, and the covariance of all of them.

    Attributes
    ----------
    sizes
        Numbers of labels, shape (S,).
    mean
        Shape (F, S).
    covariance
        Shape (F, S, F, S).
    """

    sizes: Array
    mean: Array
    covariance: Array

    @classmethod
    def of(cls, errors: Array, sizes: Sequence[int], *, is_classification: bool) -> MeasuredCurves:
        """From the errors of n rows, shape (F, S, n).

        Rows are a sample: their covariance over n, times 1.6 because the same rows are learned
        from, which the spread between rows does not show. Rates get half a row more, so that no
        error at all is not a certainty.
        """
        F, S, n = errors.shape
        mean = errors.mean(axis=2)
        deviations = (errors - mean[:, :, None]).reshape(F * S, n)
        covariance = INFLATION * deviations @ deviations.T / (n * (n - 1))
        least = 0.5 / n if is_classification else 1e-12 * float(mean.max())
        covariance += np.kron(np.eye(F), np.full((S, S), least**2))
        covariance += np.diag((MISFIT * np.maximum(mean, least)).ravel() ** 2)
        return cls(np.asarray(sizes, dtype=float), mean, covariance.reshape(F, S, F, S))

    def only(self, *chosen: int) -> MeasuredCurves:
        """Some of the curves, in this order."""
        rows = list(chosen)
        return MeasuredCurves(self.sizes, self.mean[rows], self.covariance[rows][:, :, rows])


def sample_power_laws(
    measured: MeasuredCurves, reference: float, *, n_draws: int, seed: Any
) -> list[PowerLaws]:
    """Draws of the power laws behind one or two measured curves, jointly for two.

    Parameters
    ----------
    measured
        One or two curves.
    reference
        Number of labels at which the level is stated.
    n_draws
        Number R of draws.
    seed
        Of the draws.
    """
    F, S = measured.mean.shape
    share, exponent = (grid.ravel() for grid in np.meshgrid(SHARES, EXPONENTS, indexing="ij"))
    prior = log_prior(share, exponent)
    falling = _falling(measured.sizes / reference, exponent)
    shapes = share[:, None] + (1 - share[:, None]) * falling
    precision = np.linalg.inv(measured.covariance.reshape(F * S, F * S))
    pull = shapes @ (precision @ measured.mean.ravel()).reshape(F, S).T
    precision = precision.reshape(F, S, F, S)
    own = [((shapes @ precision[f, :, f]) * shapes).sum(axis=1) for f in range(F)]
    rng = np.random.default_rng(seed)
    if F == 1:
        evidence = prior + 0.5 * pull[:, 0] ** 2 / own[0] - 0.5 * np.log(own[0])
        (chosen,) = _choose(evidence, n_draws, rng)
        level = pull[chosen, 0] / own[0][chosen]
        level = level + rng.standard_normal(n_draws) / np.sqrt(own[0][chosen])
        levels, indices = [level], [chosen]
    else:
        shared = shapes @ precision[0, :, 1] @ shapes.T
        a, b, first, second = own[0][:, None], own[1], pull[:, :1], pull[:, 1]
        determinant = a * b - shared**2
        fit = (first**2 * b - 2 * first * second * shared + second**2 * a) / determinant
        evidence = prior[:, None] + prior + 0.5 * fit - 0.5 * np.log(determinant)
        i, j = _choose(evidence, n_draws, rng)
        information = np.empty((n_draws, 2, 2))
        information[:, 0, 0], information[:, 1, 1] = own[0][i], own[1][j]
        information[:, 0, 1] = information[:, 1, 0] = shared[i, j]
        root = np.linalg.cholesky(np.linalg.inv(information))
        moment = np.stack([pull[i, 0], pull[j, 1]], axis=1)[:, :, None]
        noise = root @ rng.standard_normal((n_draws, 2, 1))
        both = (np.linalg.solve(information, moment) + noise)[:, :, 0]
        levels, indices = [both[:, 0], both[:, 1]], [i, j]
    return [
        PowerLaws(np.maximum(level, 0), share[k], exponent[k], reference)
        for level, k in zip(levels, indices, strict=True)
    ]


def log_prior(share: Array, exponent: Array) -> Array:
    """Beta(1/2, 1/2) for the share of the error that stays, log-normal for the exponent."""
    arcsine = -0.5 * np.log(share * (1 - share))
    return np.asarray(arcsine - 0.5 * (np.log(exponent / TYPICAL_EXPONENT) / LOG_DEVIATION) ** 2)


def _falling(ratios: Array, exponent: Array) -> Array:
    return np.asarray(ratios[None] ** -exponent[:, None])


def _choose(evidence: Array, n_draws: int, rng: np.random.Generator) -> tuple[Array, ...]:
    """Indices of cells of a table of log-probabilities, drawn in proportion to these."""
    weights = np.exp(evidence - evidence.max()).ravel()
    cells = rng.choice(len(weights), n_draws, p=weights / weights.sum())
    return np.unravel_index(cells, evidence.shape)
