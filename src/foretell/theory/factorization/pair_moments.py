r"""Second moments of pairs of views and of a target: all that linear spectral training sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError, InputError
from foretell.theory.outcomes import LinearOutcome
from foretell.theory.view_population import ViewPopulation

SAME = 1e-10  # correlations nearer than this are equal
SYMMETRIC = 1e-10


class CanonicalTask(NamedTuple):
    r"""Pairs and target in coordinates :math:`A^\top x`, :math:`A^\top \Sigma A = I`.

    Attributes
    ----------
    rho
        Eigenvalues of :math:`K = \Sigma^{-1/2} \Sigma_+ \Sigma^{-1/2}`, descending, shape (d,).
    gamma
        Coefficients of the best linear predictor, shape (d, q).
    axes
        A, shape (d, d).
    """

    rho: Array
    gamma: Array
    axes: Array


@dataclass(frozen=True, eq=False)
class PairMoments:
    r"""Second moments of views (x, x⁺), exchangeable, of mean zero, and of targets y.

    Parameters
    ----------
    within
        :math:`\Sigma = E\,xx^\top`, shape (d, d), positive definite.
    across
        :math:`\Sigma_+ = E\,x x_+^\top`, shape (d, d), symmetric.
    cross
        :math:`E\,xy`, shape (d,), or (d, q) for q targets.
    outcome_variance
        :math:`E\,y^2`, one number, or :math:`E\,yy^\top`, shape (q, q).

    Raises
    ------
    InputError
        If shapes do not match, a matrix is not symmetric, a number is not finite, or the moments
        are those of no law: correlations beyond 1, or a target of less variance than explained.
    IdentificationError
        If ``within`` is singular.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = PairMoments(np.eye(2), np.diag([0.5, 0.2]), [1.0, 0.0], 1.5)
    >>> pairs.canonical.rho.tolist(), pairs.unexplained.tolist()
    ([0.5, 0.2], [[0.5]])
    """

    within: Array
    across: Array
    cross: Array
    outcome_variance: float | Array

    def __post_init__(self) -> None:
        for name in ("within", "across", "cross"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        d = len(self.within)
        shapes = self.within.shape, self.across.shape
        if shapes != ((d, d), (d, d)) or self.cross.ndim not in (1, 2) or len(self.cross) != d:
            raise InputError(
                "within and across have shape (d, d) and cross (d,) or (d, q); found "
                f"{self.within.shape}, {self.across.shape} and {self.cross.shape}"
            )
        q = self.cross.reshape(d, -1).shape[1]
        second = np.asarray(self.outcome_variance, dtype=np.float64)
        if second.size != q * q:
            raise InputError(
                f"outcome_variance is E yy' of the {q} target(s) of cross; found shape "
                f"{second.shape}"
            )
        values = (self.within, self.across, self.cross, second)
        if not all(np.isfinite(v).all() for v in values):
            raise InputError("the moments hold numbers that are not finite")
        for name in ("within", "across"):
            matrix = getattr(self, name)
            if abs(matrix - matrix.T).max() > SYMMETRIC * abs(self.within).max():
                raise InputError(f"{name} is symmetric for exchangeable views; average it with its "
                                 "transpose")  # fmt: skip
        if (low := np.linalg.eigvalsh(self.within))[0] <= 1e-12 * low[-1]:
            raise IdentificationError(
                f"the covariance of x has eigenvalues from {low[0]:.3g} to {low[-1]:.3g}: columns "
                "depend on each other; drop some"
            )
        if (top := abs(self.canonical.rho).max()) > 1 + 1e-8:
            raise InputError(f"views have a correlation of {top:.6g}, beyond 1; check across")
        if np.linalg.eigvalsh(self.unexplained)[0] < -1e-10 * abs(second).max():
            raise InputError("cross explains more than outcome_variance; check both")

    @classmethod
    def of(cls, population: ViewPopulation | PairMoments) -> PairMoments:
        """The moments of a population of pairs.

        Raises
        ------
        InputError
            For other populations, classes as targets, or a constant in the target.
        """
        if isinstance(population, PairMoments):
            return population
        if not isinstance(population, ViewPopulation):
            raise InputError(
                "expected a ViewPopulation, or the PairMoments of your own pairs; found "
                f"{type(population).__name__}"
            )
        if not isinstance(population.targets, LinearOutcome):
            raise InputError("a training budget is for numbers as targets; found classes")
        if np.any(population.intercept):
            raise InputError("the head has no constant: set intercept=0 in the population")
        best = population._best_coef
        cross = population.covariance @ best
        explained = best.reshape(len(best), -1).T @ cross.reshape(len(best), -1)
        return cls(
            population.covariance,
            population.loadings @ population.loadings.T,
            cross,
            population._unexplained + explained,
        )

    @property
    def n_columns(self) -> int:
        """Number d of columns of a view."""
        return len(self.within)

    @cached_property
    def canonical(self) -> CanonicalTask:
        """Coordinates in which x has unit covariance and K is diagonal."""
        sizes, vectors = np.linalg.eigh(self.within)
        root = vectors / np.sqrt(sizes) @ vectors.T
        target = root @ self.across @ root
        rho, axes = np.linalg.eigh((target + target.T) / 2)
        rho, axes = rho[::-1].copy(), root @ axes[:, ::-1]
        rho[abs(rho) < SAME] = 0.0
        return CanonicalTask(rho, axes.T @ self.cross.reshape(len(rho), -1), axes)

    @property
    def n_shared(self) -> int:
        """Number of positive eigenvalues of K: directions that views share."""
        return int((self.canonical.rho > 0).sum())

    @cached_property
    def unexplained(self) -> Array:
        """Covariance (q, q) of the target about its best linear predictor."""
        gamma = self.canonical.gamma
        return np.reshape(self.outcome_variance, 2 * gamma.shape[1:]) - gamma.T @ gamma
