r"""Spiked covariances at order 1/d, where masked regression and PCA differ.

With a fixed number of delocalised spikes, :math:`\Sigma = I + \sum_i \theta_i v_i v_i^\top` and
:math:`v_{ik}^2` about 1/d, the error of every sensible predictor is 1 at leading order. What
tells them apart is :math:`d\,(\text{error} - 1)`. Derived in docs/masked-regression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError
from foretell.theory.spectra.effective_ridge import check_samples, effective_ridge

EXPANDS = 3  # optimal effective ridge over the largest eigenvalue from which d is large


@dataclass(frozen=True)
class SpikedComparison:
    r"""Excess errors :math:`d\,(\text{error} - 1)` under delocalised spikes.

    Attributes
    ----------
    null
        Of predicting zero: :math:`\sum_i \theta_i`.
    regression
        Of masked regression at ``alpha``.
    pca
        Of PCA that keeps one component for each spike and sees the whole row.
    masked_pca
        Of the same components used to predict a coordinate from the others.
    alpha, kappa
        Penalty and effective ridge of the regression. The optimal ones grow in proportion to d,
        as :math:`d \gamma / \sum_i \theta_i^2`.
    limit
        First two terms for large d of ``regression`` at the optimal penalty,
        :math:`\sum\theta_i - (\sum\theta_i^2)^2 / (\gamma d)`; NaN where d is too small for
        them: :math:`d\gamma/\sum\theta_i^2 < 3 (1 + \max\theta_i)`, the optimal effective ridge
        against the spikes.
    """

    null: float
    regression: float
    pca: float
    masked_pca: float
    alpha: float
    kappa: float
    limit: float

    @property
    def beats_pca(self) -> bool:
        """Whether masked regression has a smaller error than PCA."""
        return self.regression < self.pca

    @property
    def beats_masked_pca(self) -> bool:
        """Whether masked regression has a smaller error than masked PCA."""
        return self.regression < self.masked_pca


def spiked_comparison(
    spikes: Any, d: int, n_samples: int, *, alpha: float | str = "optimal"
) -> SpikedComparison:
    r"""Masked regression, PCA and masked PCA under a few delocalised spikes, at order 1/d.

    With :math:`\gamma = d/n` and m spikes, PCA with m components has

    .. math:: d(\text{err} - 1) \to \sum_i \theta_i - \sum_i s_i, \qquad
        s_i = \frac{\theta_i(1 + \theta_i)}{\theta_i + \gamma}
        \text{ if } \theta_i > \sqrt\gamma, \text{ else } 1,

    and masked PCA 2 m more, its share :math:`P_{kk}` of a coordinate being 1 - m/d. Masked
    regression has, with :math:`q_i = \theta_i/(1 + \theta_i + \kappa)`,

    .. math:: \text{err} = \frac{1 + \frac1d\sum_i[(1+\theta_i)(1-q_i)^2 - 1]}
        {(1 - \frac1d\sum_i q_i)^2 (1 - \mathrm{df}_2/n)} .

    A finite :math:`\kappa` costs :math:`d\gamma/(1+\kappa)^2` in units of 1/d and gains a constant.
    The optimum therefore moves to :math:`\kappa^* \sim d\gamma/\sum\theta_i^2`, which is infinite
    in the limit: there masked regression predicts zero, and
    :math:`d(\text{err} - 1) = \sum\theta_i - (\sum\theta_i^2)^2/(\gamma d) + \dots` tends to
    that of predicting zero. At a fixed penalty its excess is of order d instead.

    Parameters
    ----------
    spikes
        :math:`\theta_i > -1`, shape (m,), or one number. The vectors are orthonormal and have
        no large entries; their squares average to 1/d in each coordinate.
    d, n_samples
        Number of coordinates and of rows.
    alpha
        Ridge penalty (:math:`\lambda` of a mean square), or ``"optimal"``.

    Raises
    ------
    InputError
        If a spike is not above -1, there are d or more, n_samples < 2 or alpha <= 0.

    Examples
    --------
    >>> c = spiked_comparison(4.0, 800, 1600)
    >>> round(c.regression, 2), round(c.pca, 2), round(c.masked_pca, 2)
    (3.57, -0.44, 1.56)
    """
    theta = _check(spikes, d)
    gamma = d / check_samples(n_samples)
    case = _Spikes(theta, d, gamma)
    kappa = case.best_kappa() if alpha == "optimal" else case.kappa(alpha)
    null, pca = float(theta.sum()), float(theta.sum() - explained(theta, gamma).sum())
    return SpikedComparison(
        null=null,
        regression=case.excess(kappa),
        pca=pca,
        masked_pca=pca + 2 * len(theta),
        alpha=kappa * (1 - case.df1(kappa)),
        kappa=kappa,
        limit=_two_terms(theta, gamma * d),
    )


def _two_terms(theta: Array, gamma_d: float) -> float:
    square = float(theta @ theta)
    if gamma_d < EXPANDS * square * (1 + float(theta.max())):
        return float("nan")
    return float(theta.sum()) - square**2 / gamma_d


def explained(spikes: Any, aspect_ratio: float) -> Array:
    r"""Population variance along the leading sample components, one for each spike.

    :math:`u_i^\top \Sigma u_i \to \theta(1+\theta)/(\theta+\gamma)` if
    :math:`\theta > \sqrt\gamma`, and 1, that of noise, below the threshold.

    Examples
    --------
    >>> explained([4.0, 0.5], 0.5).round(4).tolist()
    [4.4444, 1.0]

    References
    ----------
    .. [1] Paul (2007). Asymptotics of sample eigenstructure for a large dimensional spiked
       covariance model. Statistica Sinica 17. Theorem 4.
    """
    theta, gamma = np.atleast_1d(np.asarray(spikes, dtype=float)), float(aspect_ratio)
    is_seen = theta > np.sqrt(gamma)
    return np.where(is_seen, theta * (1 + theta) / np.where(is_seen, theta + gamma, 1.0), 1.0)


def masked_pca_threshold(aspect_ratio: float) -> float:
    r"""Spike above which masked PCA with one component beats masked regression, as d grows.

    The root :math:`(1 + \sqrt{1 + 8\gamma})/2` of :math:`\theta(1+\theta)/(\theta+\gamma) = 2`:
    the component must explain more than the 2/d that predicting a coordinate from the others
    costs. Plain PCA, which sees the coordinate, wins for every spike.

    Raises
    ------
    InputError
        If the aspect ratio d/n is not positive.

    Examples
    --------
    >>> masked_pca_threshold(1.0)
    2.0
    """
    if not aspect_ratio > 0:
        raise InputError(f"the aspect ratio d / n is positive; found {aspect_ratio}")
    return float(1 + np.sqrt(1 + 8 * aspect_ratio)) / 2


@dataclass(frozen=True)
class _Spikes:
    """Masked regression at an effective ridge; all logarithms, so that order 1/d is exact."""

    theta: Array
    d: int
    gamma: float

    def kappa(self, alpha: float | str) -> float:
        if isinstance(alpha, str) or not 0 < alpha < np.inf:
            raise InputError(f"alpha is 'optimal' or a positive penalty; found {alpha!r}")
        return float(effective_ridge(self._eigenvalues, self.d / self.gamma, alpha))

    def df1(self, kappa: float) -> float:
        """Degrees of freedom over n."""
        rest = 1 - len(self.theta) / self.d
        spiked = np.sum((1 + self.theta) / (1 + self.theta + kappa)) / self.d
        return self.gamma * (rest / (1 + kappa) + float(spiked))

    def excess(self, kappa: float) -> float:
        r""":math:`d(\text{err} - 1)`."""
        d, theta = self.d, self.theta
        q = theta / (1 + theta + kappa)
        risk = np.log1p(np.sum((1 + theta) * (1 - q) ** 2 - 1) / d)
        return float(d * np.expm1(risk - 2 * np.log1p(-q.sum() / d) - np.log1p(-self._df2(kappa))))

    def best_kappa(self) -> float:
        """Root of the slope of the logarithm of the error."""
        from scipy.optimize import brentq

        if not self.theta.any():
            raise InputError("without spikes the optimal penalty is infinite; give a spike")
        low = 0.0
        if self.gamma >= 1:
            low = float(effective_ridge(self._eigenvalues, self.d / self.gamma, 0.0))
        scale = self.d * self.gamma / float(self.theta @ self.theta) + self.theta.max() + 1
        grid = low + np.geomspace(1e-8, 1e4, 400) * scale
        best = int(np.argmin([self.excess(float(kappa)) for kappa in grid]))
        if best in (0, len(grid) - 1):
            raise ConvergenceError(
                f"the optimal penalty was not bracketed by effective ridges up to {grid[-1]:.3g}; "
                "give alpha"
            )
        return float(brentq(self._slope, grid[best - 1], grid[best + 1], xtol=1e-12, rtol=1e-12))

    def _slope(self, kappa: float) -> float:
        d, theta = self.d, self.theta
        inverse = 1 / (1 + theta + kappa)
        q, slope = theta * inverse, -theta * inverse**2
        risk = 1 + np.sum((1 + theta) * (1 - q) ** 2 - 1) / d
        from_risk = -2 * np.sum((1 + theta) * (1 - q) * slope) / d / risk
        from_diagonal = 2 * np.sum(slope) / d / (1 - q.sum() / d)
        rest = (1 - len(theta) / d) / (1 + kappa) ** 3
        from_freedom = -2 * self.gamma * (rest + np.sum((1 + theta) ** 2 * inverse**3) / d)
        return float(from_risk + from_diagonal + from_freedom / (1 - self._df2(kappa)))

    def _df2(self, kappa: float) -> float:
        rest = (1 - len(self.theta) / self.d) / (1 + kappa) ** 2
        spiked = np.sum((1 + self.theta) ** 2 / (1 + self.theta + kappa) ** 2) / self.d
        return self.gamma * (rest + float(spiked))

    @property
    def _eigenvalues(self) -> Array:
        return np.concatenate([1 + self.theta, np.ones(self.d - len(self.theta))])


def _check(spikes: Any, d: int) -> Array:
    theta = np.atleast_1d(np.asarray(spikes, dtype=float))
    if theta.ndim != 1 or not np.isfinite(theta).all() or (theta <= -1).any() or not theta.size:
        raise InputError(f"spikes are finite numbers above -1, at least one; found {spikes!r}")
    if d != int(d) or len(theta) >= d:
        raise InputError(f"there are fewer spikes than coordinates; found {len(theta)} and d = {d}")
    return theta
