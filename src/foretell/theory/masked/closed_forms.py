r"""Errors of masked regression in closed form: identity, AR(1), blocks, spikes.

In these families all coordinates are alike, and everything is an explicit function of the
effective ridge :math:`\kappa`. ``aspect_ratio`` is d/n (the paper's alpha is its inverse), in the
limit of large d and n; identity and blocks hold for every d. Derived in docs/masked-regression.md,
"Deterministic equivalents, n and d large".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from foretell.errors import ConvergenceError, InputError
from foretell.theory.masked.autoregressive import check_correlation
from foretell.theory.masked.covariance import check_dimension, finite_vector


@dataclass(frozen=True)
class ClosedForm:
    r"""Masked regression on coordinates that are alike, per coordinate.

    Attributes
    ----------
    alpha, aspect_ratio
        Ridge penalty, and d/n.
    kappa
        Effective ridge.
    df1, df2
        :math:`\mathrm{tr}[\Sigma R]/d` and :math:`\mathrm{tr}[\Sigma^2 R^2]/d`,
        :math:`R = (\Sigma + \kappa I)^{-1}`.
    resolvent, spread
        :math:`R_{kk}` and :math:`(R \Sigma R)_{kk}`.
    """

    alpha: float
    aspect_ratio: float
    kappa: float
    df1: float
    df2: float
    resolvent: float
    spread: float

    @property
    def test_error(self) -> float:
        """Mean squared error on a new row."""
        return self.spread / self.resolvent**2 / (1 - self.aspect_ratio * self.df2)

    @property
    def train_error(self) -> float:
        """Mean squared error on the rows of training."""
        k = self.kappa
        return (self.alpha / k if k > 0 else 1 - self.aspect_ratio) ** 2 * self.test_error


MOST_HIDDEN = 0.99999
Functions = Callable[[float], tuple[float, float, float, float]]


def identity_closed_form(aspect_ratio: float, alpha: float) -> ClosedForm:
    """Independent columns of variance one; exact in the deterministic equivalent at every d.

    Raises
    ------
    InputError
        If the ratio is not positive, the penalty is negative, or d = n without a penalty.

    Examples
    --------
    >>> round(identity_closed_form(0.5, 0.0).test_error, 12)
    2.0
    """

    def functions(kappa: float) -> tuple[float, float, float, float]:
        a = 1 / (1 + kappa)
        return a, a**2, a, a**2

    return _solve(functions, aspect_ratio, alpha)


def autoregressive_closed_form(rho: float, aspect_ratio: float, alpha: float) -> ClosedForm:
    r"""Long stationary AR(1), variance one: with :math:`b = (1+\rho^2)/(1-\rho^2)` and
    :math:`\varphi = (1 + 2 b \kappa + \kappa^2)^{-1/2}`,

    .. math:: \mathrm{df}_1/d = \varphi, \quad \mathrm{df}_2/d = \varphi^3 (1 + b\kappa), \quad
              R_{kk} = (1 - \varphi)/\kappa, \quad (R\Sigma R)_{kk} = (b + \kappa) \varphi^3.

    The limit of d to infinity at fixed d/n; a line of d columns differs by O(1/d).

    Raises
    ------
    InputError
        If rho lies outside (-1, 1), the ratio is not positive, the penalty is negative, or
        d = n without a penalty.

    Examples
    --------
    >>> form = autoregressive_closed_form(0.9, aspect_ratio=0.5, alpha=0.0950)
    >>> round(form.kappa, 4), round(form.test_error, 4)
    (0.1297, 0.1395)
    """
    check_correlation(rho)
    b = (1 + rho**2) / ((1 - rho) * (1 + rho))

    def functions(kappa: float) -> tuple[float, float, float, float]:
        square = 1 + 2 * b * kappa + kappa**2
        phi = square**-0.5
        resolvent = (2 * b + kappa) / (square**0.5 * (1 + square**0.5))
        return phi, phi**3 * (1 + b * kappa), resolvent, (b + kappa) * phi**3

    return _solve(functions, aspect_ratio, alpha)


def block_closed_form(
    size: int, correlation: float, aspect_ratio: float, alpha: float
) -> ClosedForm:
    """Independent blocks of equally correlated columns of variance one, at every d.

    Parameters
    ----------
    size
        Columns in a block.
    correlation
        Within blocks, from -1/(size - 1) to 1, both excluded.
    aspect_ratio, alpha
        d/n, and the ridge penalty.

    Raises
    ------
    InputError
        If a number lies outside its range, or d = n without a penalty.

    Examples
    --------
    >>> round(block_closed_form(10, 0.5, aspect_ratio=0.5, alpha=0.1).test_error, 4)
    0.7896
    """
    b = check_dimension(size, "size")
    if not (correlation * (b - 1) > -1 and correlation < 1):
        raise InputError(
            f"a block of {b} columns has a correlation above -1/{b - 1} and below 1; found "
            f"{correlation}"
        )
    low, high, share = 1 - correlation, 1 + (b - 1) * correlation, 1 / b

    def mean(of: Callable[[float], float]) -> float:
        return (1 - share) * of(low) + share * of(high)

    def functions(kappa: float) -> tuple[float, float, float, float]:
        return (
            mean(lambda tau: tau / (tau + kappa)),
            mean(lambda tau: (tau / (tau + kappa)) ** 2),
            mean(lambda tau: 1 / (tau + kappa)),
            mean(lambda tau: tau / (tau + kappa) ** 2),
        )

    return _solve(functions, aspect_ratio, alpha)


def spiked_excess(spikes: ArrayLike, aspect_ratio: float, alpha: float) -> float:
    r"""What delocalized spikes add to the test error summed over coordinates, for large d.

    At fixed penalty and d/n, :math:`d\,(\mathrm{test} - \mathrm{test}_{\mathrm{identity}})` tends
    to this number: with a fixed number of spikes the error per coordinate is that of the identity
    at leading order, and spikes enter at order 1/d. May be of either sign.

    Raises
    ------
    InputError
        If a spike is at most -1, the ratio is not positive, the penalty is negative, or d = n
        without a penalty.

    Examples
    --------
    >>> round(spiked_excess([4.0], aspect_ratio=0.5, alpha=1.0), 4)
    1.2763
    """
    theta = finite_vector(np.atleast_1d(np.asarray(spikes)), "spikes")
    if theta.min() <= -1:
        raise InputError(f"a spike is above -1; found {theta.min():.6g}")
    form = identity_closed_form(aspect_ratio, alpha)
    kappa, gamma = form.kappa, aspect_ratio
    a, s = 1 / (1 + kappa), 1 / (1 + theta + kappa)
    free = 1 - gamma * a**2
    spread = ((1 + theta) * s**2 - a**2) / a**2 - 2 * (s - a) / a
    variance = gamma * ((1 + theta) ** 2 * s**2 - a**2) / free
    # The penalty is fixed, so spikes move kappa, and with it the variance of the identity.
    moved = kappa * gamma * ((1 + theta) * s - a) / free
    return form.test_error * float((spread + variance - moved * 2 * gamma * a**3 / free).sum())


def autoregressive_population_error(rho: float, d: int) -> float:
    r"""Least error of one coordinate of an AR(1) line given the others, mean over d of them.

    :math:`[(d-2)(1-\rho^2)/(1+\rho^2) + 2(1-\rho^2)]/d`, d >= 2.

    Raises
    ------
    InputError
        If rho lies outside (-1, 1), or d is below 2.

    Examples
    --------
    >>> round(autoregressive_population_error(0.5, 10), 12)
    0.63
    """
    check_correlation(rho)
    if check_dimension(d) < 2:
        raise InputError(f"d is at least 2, as one coordinate has no others; found {d}")
    noise = (1 - rho) * (1 + rho)
    return ((d - 2) * noise / (1 + rho**2) + 2 * noise) / d


def autoregressive_hidden_error(rho: float, mask_rate: float) -> float:
    r"""Least error of a hidden entry of a long AR(1) whose entries are hidden at random.

    The nearest seen entries lie a steps before and b after with probability
    :math:`(1-p)^2 p^{a+b-2}`, and leave
    :math:`(1-\rho^{2a})(1-\rho^{2b})/(1-\rho^{2(a+b)})`. The sum over both is cut where what is
    left is below rounding.

    Parameters
    ----------
    rho
        Correlation of neighbours, in (-1, 1).
    mask_rate
        Probability p of hiding an entry, in (0, 1).

    Raises
    ------
    InputError
        If a number lies outside its range, or the rate is above 0.99999 (millions of terms).

    Examples
    --------
    >>> round(autoregressive_hidden_error(0.9, 0.5), 4)
    0.172
    """
    check_correlation(rho)
    if not 0 < mask_rate <= MOST_HIDDEN:
        raise InputError(
            f"mask_rate is a probability, positive and at most {MOST_HIDDEN}; found {mask_rate}"
        )
    p, r, near = float(mask_rate), float(rho) ** 2, (1 - abs(rho)) * (1 + abs(rho))
    rest = np.arange(int(np.ceil(np.log(1e-20) / np.log(p))) + 2.0)  # a + b - 2
    # Sums of (1 - r^a)(1 - r^b) / (1 - r)^2 over a + b: the generating function is
    # 1 / ((1 - x)(1 - r x))^2, whose coefficients are sums of positive terms.
    pairs = np.cumsum(np.cumsum((rest + 1) * r**rest))
    left = -np.expm1((rest + 2) * np.log(r)) if r > 0 else 1.0
    return float(((1 - p) ** 2 * p**rest * pairs / left).sum() * near**2)


def _solve(functions: Functions, aspect_ratio: float, alpha: float) -> ClosedForm:
    r"""The closed form at the root of :math:`\alpha = \kappa (1 - \gamma\,\mathrm{df}_1/d)`.

    Newton's method on a convex function from above the root, hence monotone; variances are one.
    """
    gamma = aspect_ratio
    if not 0 < gamma < np.inf:
        raise InputError(f"aspect_ratio is d/n, positive; found {aspect_ratio}")
    if not 0 <= alpha < np.inf:
        raise InputError(f"alpha is a finite penalty, not negative; found {alpha}")
    if alpha == 0 and gamma == 1:
        raise InputError("the error diverges at d = n without a penalty; give alpha > 0")
    kappa = alpha + gamma
    if gamma < 1:
        kappa = min(kappa, alpha / (1 - gamma))
    for _ in range(200):
        df1, df2, resolvent, spread = functions(kappa)
        lost = kappa * resolvent
        step = (kappa * ((1 - gamma) + gamma * lost) - alpha) / (1 - gamma * df2)
        if step <= 4 * np.finfo(float).eps * kappa:
            return ClosedForm(alpha, gamma, kappa, df1, df2, resolvent, spread)
        kappa -= step
    raise ConvergenceError(
        f"the effective ridge at alpha = {alpha:.3g}, d/n = {gamma:g} did not settle; found "
        f"{kappa:.6g}; change alpha by a little"
    )
