r"""A toy model in which supervised learning misses what self-supervised learning finds.

The distribution is that of Liu, HaoChen, Gaidon & Ma (2022), Section 3.1. What is learned from it
and the accuracy that follows are derived in docs/theory/positive-pair-graphs.md: the statement of
their Theorem 3.1 could not be confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr

from foretell._types import Array
from foretell.data.numbers import real_array, real_number, whole_number
from foretell.errors import IdentificationError, InputError
from foretell.theory.imbalance import relative_gap
from foretell.theory.nodes import Seed

Method = Literal["self-supervised", "supervised"]
FAR = 9.0  # standard deviations beyond which a normal has mass 1e-19


@dataclass(frozen=True)
class RareClassToy:
    r"""Two frequent classes and a rare one in d columns, along two directions.

    With q uniform on {0, 1} and :math:`\xi \sim N(0, I_d)`: classes 0 and 1 are :math:`x = \pm
    e_1 - q \tau e_2 + \rho \xi`, class 2 is :math:`x = e_2 + \rho \xi`. The frequent classes differ
    along :math:`e_1` only; what they show along :math:`e_2` is not in their labels, and is what
    the rare class needs.

    Self-supervised: linear spectral contrastive learning of rank 2 from views :math:`x + s
    \varepsilon`; its directions are the leading principal ones of x, for every s > 0.
    Supervised: least squares on the labels by a linear network of two features or more (reduced
    rank regression), whose features span the discriminant directions.

    Parameters
    ----------
    rare_share
        Probability p of class 2, 0 <= p < 1; the frequent classes share the rest.
    tau
        :math:`\tau > 0`.
    rho
        :math:`\rho > 0`, standard deviation of the noise of every column.
    n_columns
        Number d >= 3 of columns.

    Raises
    ------
    InputError
        If a parameter is out of range.

    Examples
    --------
    >>> toy = RareClassToy(rare_share=0.01, tau=1.0, rho=0.3, n_columns=100)
    >>> for method in ("self-supervised", "supervised"):
    ...     gap = toy.relative_gap(method, 600)
    ...     print(method, toy.learned(method, 600).round(2), round(gap, 2))
    self-supervised [0.98 0.93] 0.0
    supervised [0.82 0.08] 0.11

    References
    ----------
    .. [1] Liu, HaoChen, Gaidon & Ma (2022). Self-supervised learning is more robust to dataset
       imbalance. ICLR. arXiv:2110.05025. Section 3.1 has the distribution.
    """

    rare_share: float
    tau: float = 1.0
    rho: float = 0.3
    n_columns: int = 100

    def __post_init__(self) -> None:
        for name in ("rare_share", "tau", "rho"):
            real_number(getattr(self, name), name)
        if not 0 <= self.rare_share < 1:
            raise InputError(f"rare_share lies in [0, 1); found {self.rare_share!r}")
        if not (0 < self.tau < np.inf and 0 < self.rho < np.inf):
            raise InputError(f"expected tau > 0 and rho > 0; found {self.tau!r} and {self.rho!r}")
        whole_number(self.n_columns, "n_columns", 3)

    @property
    def balanced(self) -> RareClassToy:
        """The same classes with equal shares."""
        return replace(self, rare_share=1 / 3)

    @property
    def shares(self) -> Array:
        """Probabilities of the classes, shape (3,)."""
        p = self.rare_share
        return np.array([(1 - p) / 2, (1 - p) / 2, p])

    @property
    def means(self) -> Array:
        """Means of the classes along e1 and e2, shape (3, 2); zero elsewhere."""
        return np.array([[1.0, -self.tau / 2], [-1.0, -self.tau / 2], [0.0, 1.0]])

    @cached_property
    def signal(self) -> Array:
        r"""Variances of x along :math:`e_1, e_2` less that of the noise, shape (2,).

        :math:`1 - p` and :math:`p + (1-p)\tau^2/2 - (p - (1-p)\tau/2)^2`. The second does not
        vanish with p: it tends to :math:`\tau^2/4`.
        """
        p, tau = self.rare_share, self.tau
        mean = p - (1 - p) * tau / 2
        return np.array([1 - p, p + (1 - p) * tau**2 / 2 - mean**2])

    def contrastive_correlations(self, noise: float) -> Array:
        r"""Canonical correlations of views along :math:`e_1, e_2` and elsewhere, shape (3,).

        :math:`(v_j + \rho^2) / (v_j + \rho^2 + s^2)` with v = ``signal`` and s the noise of
        the views; elsewhere v = 0. Exact.

        Raises
        ------
        InputError
            If the noise is not positive: identical views say nothing.
        """
        if not 0 < real_number(noise, "noise of the views") < np.inf:
            raise InputError(f"noise of the views is > 0; found {noise!r}")
        shared = np.append(self.signal, 0.0) + self.rho**2
        return np.asarray(shared / (shared + noise**2))

    @property
    def supervised_strengths(self) -> Array:
        r"""Variance of the labels explained along :math:`e_1, e_2`, shape (2,).

        The eigenvalues of :math:`\Sigma_{yx} \Sigma^{-1} \Sigma_{xy}`, y one-hot:
        :math:`\tfrac12 (1-p)^2 / (v_1 + \rho^2)` and
        :math:`\tfrac32 p^2 (1-p)^2 (1 + \tau/2)^2 / (v_2 + \rho^2)`. The second falls as
        :math:`p^2`: a network of one feature, or one shrunk towards fewer, drops it. Exact.
        """
        p = self.rare_share
        lift = np.array([0.5, 1.5 * p**2 * (1 + self.tau / 2) ** 2])
        return np.asarray((1 - p) ** 2 * lift / (self.signal + self.rho**2))

    def learned(self, method: Method, n: float) -> Array:
        r"""Squared cosines of learned features with :math:`e_1, e_2` from n rows, shape (2,).

        Self-supervised, :math:`\gamma = d/n` and :math:`\ell_j = v_j/\rho^2`:
        :math:`(1 - \gamma/\ell_j^2) / (1 + \gamma/\ell_j)`, and 0 for :math:`\ell_j \le
        \sqrt\gamma`. Rare rows hardly matter. Views are many; a single pair of a row adds noise
        of its own.

        Supervised: a difference of class means with squared Mahalanobis length
        :math:`\Delta_j^2` and noise :math:`u_j` a column has, in whitened coordinates, the
        squared cosine :math:`\kappa_j^2 = \frac{n-1-d}{n-2} \cdot \frac{\Delta_j^2}{\Delta_j^2 +
        (d-1) u_j}`, where :math:`\Delta_1^2 = 4/\rho^2`, :math:`u_1 = 1/n_0 + 1/n_1`,
        :math:`\Delta_2^2 = (1+\tau/2)^2 / \sigma^2`, :math:`\sigma^2 = \rho^2 + (1-p)\tau^2/4` and
        :math:`u_2 = 1/n_2 + 1/(n_0 + n_1)`. Unwhitened,
        :math:`\cos_2^2 = \kappa_2^2 \rho^2 / (\kappa_2^2 \rho^2 + (1-\kappa_2^2) \sigma^2)`.

        Leading order as n and d grow together; n times p rare rows, which need not be many.

        Parameters
        ----------
        method
            ``"self-supervised"`` or ``"supervised"``.
        n
            Rows of pre-training; ``inf`` for the population.

        Raises
        ------
        InputError
            If n is not positive or the method is unknown.
        IdentificationError
            If supervised least squares has too few rows, n <= d + 3.

        References
        ----------
        .. [1] Paul (2007). Asymptotics of sample eigenstructure for a large dimensional spiked
           covariance model. Statistica Sinica 17. Theorem 4.
        .. [2] Raudys & Young (2004). Results in statistical discriminant analysis: a review of the
           former Soviet Union literature. J. of Multivariate Analysis 89. The supervised case.
        """
        if not real_number(n, "n, the rows of pre-training,") > 0:
            raise InputError(f"n is a positive number of rows; found {n!r}")
        if method == "self-supervised":
            return self._principal(self.n_columns / n)
        if method == "supervised":
            return self._discriminant(n)
        raise InputError(f"method is 'self-supervised' or 'supervised'; found {method!r}")

    def accuracy(self, learned: Any) -> Array:
        r"""Accuracy, class by class, of a balanced probe on two features, shape (3,).

        Features :math:`z_j = \langle u_j, x \rangle`, :math:`u_j` orthonormal,
        with squared cosines ``learned`` with :math:`e_j`, and least squares on one-hot labels
        of equally frequent classes (any number of labeled rows). With :math:`a, b` its
        coefficients class 2 is chosen where :math:`\tfrac32 b (z_2 - \bar z_2) > a |z_1|`: normal
        masses of wedges, by one-dimensional quadrature to 1e-9.

        Parameters
        ----------
        learned
            Squared cosines, shape (2,), from 0 to 1; see :meth:`learned`.

        Raises
        ------
        InputError
            If they are not two numbers from 0 to 1.
        """
        cosines = real_array(learned, "learned squared cosines", "(2,)")
        if cosines.shape != (2,) or not ((cosines >= 0) & (cosines <= 1)).all():
            raise InputError(f"learned has two squared cosines, 0 to 1; found {learned!r}")
        c1, c2 = np.sqrt(cosines)
        v1, v2 = self.balanced.signal * cosines + self.rho**2
        a, b = c1 / 3 / v1, c2 * (2 + self.tau) / 9 / v2
        middle = c2 * (1 - self.tau) / 3
        frequent = np.mean([self._frequent(c1, -c2 * q, a, b, middle) for q in (0, self.tau)])
        return np.array([frequent, frequent, self._rare(c2, a, b, middle)])

    def relative_gap(self, method: Method, n: float) -> float:
        r""":math:`\Delta = (A_{bal} - A_{imb}) / A_{bal}` of the mean accuracy over classes.

        Of :meth:`learned` from n rows with equal shares and with these; leading order as there.
        """
        even = self.balanced
        balanced = even.accuracy(even.learned(method, n)).mean()
        return relative_gap(balanced, self.accuracy(self.learned(method, n)).mean()).value

    def rare_rows_needed(self, n: float) -> float:
        r"""Rare rows after which supervised features are half along :math:`e_2`: cosine² = 1/2.

        :math:`n_2 = (d-1) / \bigl(\Delta_2^2 (\tfrac{n-1-d}{n-2} (1 + \rho^2/\sigma^2) - 1)\bigr)`,
        the frequent classes' share of the noise neglected; ``inf`` where n is too small for any.
        Grows in proportion to d, while self-supervised learning needs none.

        Raises
        ------
        IdentificationError
            If supervised least squares has too few rows, n <= d + 3.
        """
        length, within = self._mahalanobis
        room = self._shrinkage(n) * (1 + self.rho**2 / within) - 1
        return float((self.n_columns - 1) / (length * room)) if room > 0 else float("inf")

    def sample(self, sizes: Any, random_state: Seed = None) -> tuple[Array, Array]:
        """Rows (n, d) and classes 0, 1, 2 (n,), in this order, with ``sizes`` (3,) of each."""
        counts = np.asarray(sizes)
        if counts.shape != (3,) or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise InputError(f"sizes are three whole numbers >= 0; found {sizes!r}")
        rng = np.random.default_rng(random_state)
        y = np.repeat(np.arange(3), counts)
        X = self.rho * rng.standard_normal((len(y), self.n_columns))
        X[:, 0] += np.array([1.0, -1.0, 0.0])[y]
        X[:, 1] += np.where(y == 2, 1.0, -self.tau * rng.integers(0, 2, len(y)))
        return X, y

    def _principal(self, gamma: float) -> Array:
        spike = self.signal / self.rho**2
        cosine = (1 - gamma / spike**2) / (1 + gamma / spike)
        return np.where(spike > np.sqrt(gamma), cosine, 0.0)

    @property
    def _mahalanobis(self) -> tuple[float, float]:
        """Squared length of the rare class's difference, and the variance within along e2."""
        within = self.rho**2 + (1 - self.rare_share) * self.tau**2 / 4
        return (1 + self.tau / 2) ** 2 / within, within

    def _shrinkage(self, n: float) -> float:
        if real_number(n, "n, the rows of pre-training,") <= self.n_columns + 3:
            raise IdentificationError(
                f"least squares on {self.n_columns} columns needs more than {self.n_columns + 3} "
                f"rows; found n={n:g}"
            )
        return 1.0 - (self.n_columns - 1) / (n - 2)

    def _discriminant(self, n: float) -> Array:
        kept, d = self._shrinkage(n), self.n_columns
        length, within = self._mahalanobis
        frequent = n * (1 - self.rare_share) / 2
        first = kept * 4 / (4 + self.rho**2 * (d - 1) * 2 / frequent)
        if self.rare_share == 0:
            return np.array([first, 0.0])
        noise = (d - 1) * (1 / (n * self.rare_share) + 0.5 / frequent)
        white = kept * length / (length + noise)
        second = white * self.rho**2 / (white * self.rho**2 + (1 - white) * within)
        return np.array([first, second])

    def _frequent(self, c1: float, mean: float, a: float, b: float, middle: float) -> float:
        """P(z1 > 0, class 2 not chosen) for z1 ~ N(c1, rho²), z2 ~ N(mean, rho²)."""
        if b == 0:
            return float(ndtr(c1 / self.rho))
        slope = a / (1.5 * b)
        return _wedge(c1 / self.rho, (middle - mean) / self.rho, slope)

    def _rare(self, c2: float, a: float, b: float, middle: float) -> float:
        """P(class 2 chosen) for z1 ~ N(0, rho²), z2 ~ N(c2, rho²)."""
        if b == 0:
            return 0.0
        return 2.0 * _wedge(0.0, (c2 - middle) / self.rho, -a / (1.5 * b))


def _wedge(shift: float, offset: float, slope: float) -> float:
    """P(t > 0, g < offset + slope t) for t ~ N(shift, 1) and g ~ N(0, 1)."""

    def density(t: float) -> float:
        return float(np.exp(-0.5 * (t - shift) ** 2) * ndtr(offset + slope * t))

    low, high = max(0.0, shift - FAR), shift + FAR
    corner = -offset / slope if slope else shift
    breaks = [t for t in (shift, corner) if low < t < high]
    mass = quad(density, low, high, points=breaks or None, epsabs=1e-11, limit=200)[0]
    return float(mass / np.sqrt(2 * np.pi))
