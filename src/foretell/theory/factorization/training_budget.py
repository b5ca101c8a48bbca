r"""Train longer, or collect more? Excess downstream risk after t of gradient flow on m pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foretell._types import Array
from foretell.errors import IdentificationError, InputError
from foretell.inference.risklaw import RiskLaw
from foretell.models.canonical import noise_edge
from foretell.theory.factor_limits import two_stage_law, view_price
from foretell.theory.factorization.budget_law import PairPrice, label_price, pair_price, reduced
from foretell.theory.factorization.budget_results import (
    BudgetCurve,
    StatisticalRisk,
    TrainingWorth,
)
from foretell.theory.factorization.feature_flow import TIME_SCALE, features
from foretell.theory.factorization.spectral_training import (
    SpectralTraining,
    as_given,
    checked_times,
)
from foretell.theory.population import check_sizes

SMALLEST_GAP = 1e-4  # below, derivatives would drown in rounding, and no sample tells
SEARCH = 2000  # times at which the search of time_enough looks


@dataclass(frozen=True, eq=False)
class TrainingBudget(SpectralTraining):
    r"""Excess downstream risk of linear spectral pre-training, stopped at time t.

    Pre-training follows the preconditioned gradient flow :math:`\dot\theta = -\hat\Sigma^{-1}
    \nabla \hat L(\theta)` of the spectral contrastive loss of m pairs, the gradient flow of the
    whitened factor :math:`X = \Sigma^{1/2}\theta`, from a start that does not depend on the
    sample; a head is fitted to n labels by least squares or ridge, without a constant. Time 1
    here is time 4 of :class:`~foretell.theory.FactorizationFlow` with target K. Risk is half the
    squared error, and excess is over the limit :math:`t, m, n \to \infty`:

    .. math:: \mathrm{total}(t) = \mathrm{opt}(t) + \mathrm{unlabeled}(t) / m
        + \mathrm{labeled}(t) / n + O(m^{-2} + n^{-2} + (mn)^{-1}).

    The optimization part is exact. The statistical parts are means over samples and hold for
    normal pairs and rows. Least squares sees the span of the features alone,
    :math:`e^{4tT}\,\mathrm{span}\,\theta(0)`, :math:`T = \Sigma^{-1} \Sigma_+`: the scale of the
    start and the O(1/t) shrinking of surplus features do not matter to it.

    Parameters
    ----------
    population
        A :class:`ViewPopulation` with normal factors and numbers as targets, or
        :class:`PairMoments` of normal pairs of any law.
    rank
        Number k of features, 1 to d; above the number of directions that views share the surplus
        features are noise, see :meth:`statistical`.
    start
        :math:`\theta(0)`, shape (d, k); None: normal entries of variance ``scale``² / d.
    scale
        Size of the random start.
    penalty
        :math:`\alpha \ge 0` of a ridge head, which minimises half the mean squared error plus
        :math:`\tfrac{\alpha}{2} \|w\|^2`; 0 for least squares.
    random_state
        Seed of the random start.

    Raises
    ------
    InputError
        If an argument is out of range or of a wrong shape.
    IdentificationError
        If correlations k and k + 1 are equal and not zero, or the start has no component on the
        directions to be learned.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory import ViewPopulation
    >>> pop = ViewPopulation(np.eye(10)[:, :2] * [2, 1.5], np.full(10, 0.8), [1.0, -0.5], 0.3)
    >>> budget = TrainingBudget(pop, 2)
    >>> round(budget.exponent, 4), bool(budget.optimization(0) > budget.optimization(2))
    (5.9016, True)
    >>> parts = budget.statistical(1000, 1000)
    >>> round(parts.unlabeled * 1000, 5), round(parts.labeled * 1000, 5)
    (1.04226, 0.53224)

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. The loss.
    .. [2] Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanović (2024). arXiv 2411.15972. The flow.
    """

    def statistical(
        self, n_unlabeled: float, n_labeled: float, t: ArrayLike | None = None
    ) -> StatisticalRisk:
        r"""Mean excess risk that finite samples cause, first order in 1/m and 1/n.

        At the end of training (t None) with as many features as views share directions this is
        ``ViewPopulation.limit``. With k more than these r the classical law does not hold, its
        curvature is flat in the surplus features; but least squares has a law still: these span
        k - r of the d - r directions of noise (those of the start until :math:`4t \approx
        \sqrt m`, eigenvectors of sampling noise after), independently of the errors in what is
        learned, so the unlabeled part falls to (d - k)/(d - r) of its value and the labeled part
        rises to k/r of it. At rank d it is supervised least squares.

        At finite t the risk gradient is not zero, so the unlabeled part has the second-order
        bias of the flow and may be negative; ``fluctuation`` is the standard deviation of its
        first-order term, of mean zero. While unfinished training still matters, expect the
        expansion to hold only for :math:`4t \ll \sqrt m`. Measured against simulation, in percent
        of the statistical parts: correlations 0.83 and 0.74, m = n = 1000, 2 to 3 % at the end,
        10 % on the way; a correlation of 0.39, m = 2000, 17 % at t = 2; m = 60, 75 %.

        Parameters
        ----------
        n_unlabeled, n_labeled
            Pairs m and labels n.
        t
            Times, or None for the end of training.

        Raises
        ------
        InputError
            If sizes are not positive, times negative, or factors not normal.
        IdentificationError
            If the gap at the rank is below 1e-4; or with surplus features, where what they see
            or weigh matters (a ridge head, a target outside the shared directions), once
            :math:`4t` exceeds about half of the inverse of the sampling noise of K.
        """
        m, n = check_sizes(n_unlabeled, n_labeled)
        factors = getattr(self.population, "factors", "normal")
        if factors != "normal":
            raise InputError(
                f"the statistical parts are those of normal pairs; found {factors} factors; "
                "simulate with early_stopping"
            )
        times = np.array(np.inf) if t is None else checked_times(t)
        self._check_surplus(m, times)
        if t is None and self.surplus and self._surplus_is_noise:
            return self._surplus_law(m, n)
        price, labeled = self._prices(times.ravel())
        law = self._surplus_law(m, n).law if t is None and self._is_classical else None
        return StatisticalRisk(
            as_given(price.mean / m, times),
            as_given(labeled / n, times),
            as_given(np.sqrt(price.variance / m), times),
            law,
        )

    def total(self, t: ArrayLike, n_unlabeled: float, n_labeled: float) -> Any:
        """Mean excess risk over the limit after time t on m pairs, with n labels; shape of t."""
        parts = self.statistical(n_unlabeled, n_labeled, t)
        return self.optimization(t) + parts.total

    def time_enough(self, n_unlabeled: float, n_labeled: float, share: float = 0.1) -> float:
        """Time after which the optimization part stays below a share of the statistical parts.

        From there on more data is worth more than more training. Statistical parts are those of
        the end of training.

        Raises
        ------
        InputError
            If share is not positive.
        IdentificationError
            As :meth:`statistical`, or if training approaches its limit only as 1/t.
        """
        if not (np.isfinite(share) and share > 0):
            raise InputError(f"share is above 0; found {share}")
        level = share * float(self.statistical(n_unlabeled, n_labeled).total)
        rate = self.exponent
        if not np.isfinite(rate):
            return 0.0
        end = 1.0 / rate
        while np.any(abs(self.optimization(end * np.linspace(1, 2, 20))) > 1e-3 * level):
            end *= 2
        times = np.linspace(0, end, SEARCH)
        above = np.flatnonzero(self.optimization(times) > level)
        if not above.size:
            return 0.0
        from scipy.optimize import brentq

        low, high = times[above[-1]], times[above[-1] + 1]
        return float(brentq(lambda t: self.optimization(t) - level, low, high, xtol=1e-12))

    def worth(self, t: float, n_unlabeled: float, n_labeled: float) -> TrainingWorth:
        """How much more data lowers the mean risk as much as training twice as long."""
        m, n = check_sizes(n_unlabeled, n_labeled)
        if np.ndim(t) or not (np.isfinite(t) and t > 0):
            raise InputError(f"the time is one number above 0; found {t}")
        parts = self.statistical(m, n, t)
        gain = float(self.total(t, m, n) - self.total(2 * t, m, n))
        both = float(parts.total)
        return TrainingWorth(
            float(t), gain, _factor(parts.unlabeled, gain), _factor(parts.labeled, gain),
            _factor(both, gain),
        )  # fmt: skip

    def curve(self, times: ArrayLike, n_unlabeled: float, n_labeled: float) -> BudgetCurve:
        """All parts along times, shape (T,), as a table."""
        m, n = check_sizes(n_unlabeled, n_labeled)
        t = checked_times(times)
        if t.ndim != 1 or not t.size:
            raise InputError(f"times have shape (T,), at least one; found {t.shape}")
        parts = self.statistical(m, n, t)
        return BudgetCurve(
            t, self.optimization(t), parts.unlabeled, parts.labeled, m, n, self.exponent
        )

    def _check_surplus(self, m: float, times: Array) -> None:
        if not self.surplus or (self.penalty == 0 and self._surplus_is_noise):
            return
        free = self.moments.n_columns - self.moments.n_shared
        longest = 0.5 / (TIME_SCALE * noise_edge(free, max(1, int(m))))
        if times.max(initial=0.0) > longest:
            raise IdentificationError(
                f"rank {self.rank} has {self.surplus} features more than views share directions: "
                "the curvature is flat in them, so that sampling noise, not the population, "
                "decides where they point and how large they are, and this head or target sees "
                f"that. Expansions in 1/m hold up to t = {longest:.3g}; ask for earlier times, "
                f"reduce the rank to {self.moments.n_shared}, or simulate with early_stopping"
            )

    def _prices(self, t: Array) -> tuple[PairPrice, Array]:
        s = TIME_SCALE * t
        rho, p = self._rho, self._learned
        gap = min(rho[p - 1] - rho[p] if p < len(rho) else 1.0, 1.0)
        if gap < SMALLEST_GAP:
            raise IdentificationError(
                f"correlations {p} and {p + 1} differ by {gap:.2g}: an expansion in 1/m needs far "
                f"more than {1 / gap**2:.2g} pairs; choose a rank at a gap of the spectrum"
            )
        task = reduced(rho, self._gamma, self._canonical_start)
        found = features(*self._moved, s, self.penalty > 0)
        labeled = label_price(found, self._gamma, self.moments.unexplained, self.penalty)
        return pair_price(task, s, self.penalty, gap), labeled

    def _surplus_law(self, m: float, n: float) -> StatisticalRisk:
        """The law at the end of training when all beyond the r shared directions is noise."""
        d, r, k = self.moments.n_columns, self.moments.n_shared, self.rank
        noise = self.moments.unexplained
        if k == d:
            labeled = RiskLaw(np.repeat(np.linalg.eigvalsh(noise) / (2 * n), d))
            law = RiskLaw(labeled.weights, labeled=labeled, unlabeled=RiskLaw([]))
            return StatisticalRisk(0.0, labeled.mean(), 0.0, law)
        price = view_price(self._rho[:r], d, m) * (d - k) / (d - r)
        law = two_stage_law(price, self._gamma[:r], d - k, noise, k, n)
        assert law.labeled is not None
        assert law.unlabeled is not None
        return StatisticalRisk(law.unlabeled.mean(), law.labeled.mean(), 0.0, law)


def _factor(part: float, gain: float) -> float:
    """How many times more data takes the gain off a part that is inverse to it."""
    return part / (part - gain) if part > max(gain, 0.0) else float("inf")
