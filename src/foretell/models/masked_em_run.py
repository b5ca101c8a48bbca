r"""EM for rows with missing cells, accelerated, until imputed cells no longer move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.models.masked_em import TINY, Moments, Rows, Step, em_step

WINDOW = 5  # steps that the acceleration combines
WINDOW_CELLS = 2e7  # numbers it may store
GAIN = 0.1  # likelihood a cell that a step may still gain, in units of the tolerance
LEAP = 6.0  # movement of the step before the last, in units of the tolerance
LOWERED = 1e-9  # relative loss of likelihood that is rounding


@dataclass(eq=False)
class Acceleration:
    r"""Anderson's combination of the last steps of a fixed point iteration.

    With images g and residuals f = g - x of the last steps, the next point is
    :math:`g - \Delta G \gamma`, :math:`\gamma = \arg\min \lVert f - \Delta F \gamma \rVert`.

    References
    ----------
    .. [1] Walker, Ni (2011). Anderson acceleration for fixed-point iterations. SIAM Journal on
       Numerical Analysis 49, algorithm AA.
    """

    images: list[Array] = field(default_factory=list)
    residuals: list[Array] = field(default_factory=list)

    def restart(self) -> None:
        """Forget all steps."""
        self.images.clear()
        self.residuals.clear()

    def next(self, point: Moments, image: Moments, alpha: float) -> Moments:
        """The next point, from the last one and its image; its S is positive definite."""
        flat, before = _unconstrained(image, alpha), _unconstrained(point, alpha)
        self.images.append(flat)
        self.residuals.append(flat - before)
        window = int(min(WINDOW, max(1, WINDOW_CELLS // flat.size)))
        del self.images[: -window - 1], self.residuals[: -window - 1]
        if len(self.images) < 2:
            return image
        dF = np.diff(np.array(self.residuals), axis=0)
        dG = np.diff(np.array(self.images), axis=0)
        gram = dF @ dF.T
        scale = np.sqrt(np.diag(gram))
        if not scale.min() > 0:
            return image
        gram /= np.outer(scale, scale)
        gram.flat[:: len(gram) + 1] += 1e-10
        gamma = np.linalg.solve(gram, (dF @ self.residuals[-1]) / scale) / scale
        return _constrained(flat - gamma @ dG, len(point.mean), alpha)


def _unconstrained(moments: Moments, alpha: float) -> Array:
    """Mean and Cholesky factor of S as one vector."""
    S = moments.covariance.copy()
    S.flat[:: len(S) + 1] += alpha
    return np.concatenate([moments.mean, np.linalg.cholesky(S).ravel()])


def _constrained(flat: Array, d: int, alpha: float) -> Moments:
    root = flat[d:].reshape(d, d)
    covariance = root @ root.T
    covariance.flat[:: d + 1] -= alpha
    return Moments(flat[:d], covariance)


@dataclass(eq=False)
class Run:
    """An EM iteration under way.

    Attributes
    ----------
    rows, center
        The sample, and whether its mean is estimated.
    alpha
        Penalty.
    at, step
        Moments, and the EM step from them.
    n_steps
        Steps taken.
    objective
        Penalised log-likelihood at the moments since the penalty is fixed.
    change
        Movement of imputed cells in the last step, in conditional standard deviations.
    before
        That in the step before it.
    """

    rows: Rows
    center: bool
    alpha: float
    at: Moments
    step: Step
    n_steps: int = 1
    objective: list[float] = field(default_factory=list)
    change: float = np.inf
    before: float = np.inf
    acceleration: Acceleration = field(default_factory=Acceleration)

    @classmethod
    def start(cls, rows: Rows, alpha: float, *, center: bool) -> Run:
        """From correlations of observed cells, smaller by the share that is missing.

        They are positive semidefinite whatever is missing, and those of the sample if nothing is.
        """
        share = np.sqrt(rows.weights @ rows.observed / rows.total)
        C = (rows.Z * rows.weights[:, None]).T @ rows.Z / rows.total / np.outer(share, share)
        at = Moments(np.zeros(len(C)), C)
        with _diagnosed(rows, alpha):
            step = em_step(rows, at, alpha, center=center)
        return cls(rows, center, alpha, at, step)

    def move(self, to: Moments, alpha: float) -> None:
        """Take a step from given moments."""
        with _diagnosed(self.rows, alpha):
            step = em_step(self.rows, to, alpha, center=self.center)
        self._accept(to, step, alpha)

    def relaxed(self) -> Moments:
        """The image of the last step, and beyond it by what steps are short of.

        Where nothing is known of missing cells that is their share of what is left. The image
        itself if that overshoots: if C without what the penalty has in it would not be positive
        semidefinite.
        """
        shares, image = self.rows.missing_shares, self.step.image
        by = shares.mean() / (1.0 - shares.mean())
        covariance = image.covariance + by * (image.covariance - self.at.covariance)
        if not _is_semidefinite(covariance - np.diag(self.alpha * shares)):
            return image
        return Moments(image.mean + by * (image.mean - self.at.mean), covariance)

    def converge(self, tol: float, max_iter: int) -> None:
        """Accelerated steps until imputed cells move by less than the tolerance.

        An accelerated step that lowers the likelihood is taken back for a plain one.
        """
        self.objective = [self.step.objective]
        while self.n_steps < max_iter:
            if self._rests(tol) and self._is_semidefinite():
                return
            if not self.rows.stacks and self.n_steps > 2:
                self.change = 0.0
                return
            if not self._leap():
                self.acceleration.restart()
                self.move(self.step.image, self.alpha)
                self._check_gain()
            self.objective.append(self.step.objective)

    def _rests(self, tol: float) -> bool:
        """Whether the last step moved little and gained little, and not right after a leap."""
        return self.change <= tol and self.before <= LEAP * tol and self.gain <= GAIN * tol

    @property
    def gain(self) -> float:
        """Likelihood that the last step gained, an observed cell."""
        if len(self.objective) < 2:
            return 0.0
        cells = float(self.rows.weights @ self.rows.observed.sum(axis=1)) / self.rows.total
        return (self.objective[-1] - self.objective[-2]) / cells

    def _is_semidefinite(self) -> bool:
        """Whether C is, as the image of any step, or was extrapolated too far."""
        if _is_semidefinite(self.at.covariance):
            return True
        self.acceleration.restart()
        self.move(self.step.image, self.alpha)
        self.objective.append(self.step.objective)
        return False

    def _leap(self) -> bool:
        to = self.acceleration.next(self.at, self.step.image, self.alpha)
        try:
            step = em_step(self.rows, to, self.alpha, center=self.center)
        except np.linalg.LinAlgError:
            return False
        self.n_steps += 1
        before = self.objective[-1]
        if not step.objective >= before - 1e-12 * (1.0 + abs(before)):
            return False
        self.n_steps -= 1
        self._accept(to, step, self.alpha)
        return True

    def _accept(self, at: Moments, step: Step, alpha: float) -> None:
        moved = float(self.rows.weights @ ((step.filled - self.step.filled) ** 2).sum(axis=1))
        self.before = self.change
        self.change = float(
            np.sqrt(moved / max(self.rows.missing_weight, TINY)) / max(step.spread, TINY)
        )
        self.at, self.step, self.alpha = at, step, alpha
        self.n_steps += 1

    def _check_gain(self) -> None:
        before, now = self.objective[-1], self.step.objective
        if now < before - LOWERED * (1.0 + abs(before)):
            raise ConvergenceError(
                f"an EM step lowered the penalised log-likelihood from {before:.9g} to {now:.9g} a "
                f"row: the covariance is singular to rounding at the penalty {self.alpha:.2g}; "
                "raise the penalty or leave out columns that follow from others"
            )


def _is_semidefinite(covariance: Array) -> bool:
    """Whether a covariance is positive semidefinite, to rounding."""
    try:
        np.linalg.cholesky(covariance + 1e-13 * np.eye(len(covariance)))
    except np.linalg.LinAlgError:
        return False
    return True


@contextmanager
def _diagnosed(rows: Rows, alpha: float) -> Iterator[None]:
    try:
        yield
    except np.linalg.LinAlgError as error:
        n, d = rows.Z.shape
        raise ConvergenceError(
            f"the covariance of {d} columns from {n} incomplete rows is singular at the penalty "
            f"{alpha:.2g}; raise the penalty or leave out columns that follow from others"
        ) from error
