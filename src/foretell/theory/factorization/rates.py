r"""How fast the parts of the cascade converge: asymptotic exponents and the envelope of S."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.cascade import (
    check_times,
    compressed,
    count_positive,
    without_noise,
)


@dataclass(frozen=True, eq=False)
class Rates:
    r"""Asymptotic rates: a distance behaves as :math:`t^{power} e^{-exponent \cdot t}`.

    Distances are :math:`\|P_1 - \Lambda_1\|`, :math:`\|W\|` and :math:`\|S\|`. They hold for almost
    every start of the given number of columns; special starts (a zero entry of W(0)) are faster.
    Powers show once :math:`2 t \|S(0)\|` is large, for a small start very late.

    Attributes
    ----------
    growth, decay
        Diagonals of :math:`\Lambda_1` and :math:`\Lambda_2`, shapes (r,) and (d - r,).
    leading, leading_power
        Exponent of :math:`P_1`: :math:`2 \min \Lambda_1`, or, with fewer columns than positive
        eigenvalues, :math:`2 (\lambda_k - \lambda_{k+1})`, twice that of W, which then lags.
        The power is 1 if zero eigenvalues outnumber the spare columns: the
        forcing :math:`W W^\top` is then in resonance.
    tilt, tilt_power
        Exponent of W: :math:`\min \Lambda_1 + \min \Lambda_2`. The power is -1 if all zero
        eigenvalues are covered by spare columns: the slow mode of S then damps W as well.
    schur, schur_power
        Exponent of S: :math:`2 \min \Lambda_2`, zero with power -1 in the over-parameterized
        case with zero eigenvalues: :math:`\|S\|` tends to 1/(2t). Infinite if S is zero.
    """

    growth: Array
    decay: Array
    leading: float
    leading_power: int
    tilt: float
    tilt_power: int
    schur: float
    schur_power: int

    @property
    def tilt_exponents(self) -> Array:
        r"""Exponent :math:`\lambda_i + \mu_j` of every entry of W, shape (r, d - r)."""
        return np.add.outer(self.growth, self.decay)

    @property
    def leading_exponents(self) -> Array:
        r"""Exponent of every entry of :math:`P_1^{-1} - \Lambda_1^{-1}`, shape (r, r).

        :math:`\lambda_i + \lambda_j + 2 \min(0, \min \Lambda_2)`.
        """
        lag = 2 * self.decay.min(initial=0.0)
        return np.add.outer(self.growth, self.growth) + lag

    @property
    def schur_exponents(self) -> Array:
        r"""Exponent :math:`\mu_i + \mu_j` of every entry of S, shape (d - r, d - r)."""
        exponents = np.add.outer(self.decay, self.decay)
        return exponents if np.isfinite(self.schur) else np.full_like(exponents, np.inf)


def rates(eigenvalues: Array, rank: int) -> Rates:
    r"""Asymptotic rates of the three parts, for almost every start with ``rank`` columns.

    Read off the closed forms in :mod:`foretell.theory.factorization.cascade`; the powers from
    :math:`(I + 2 t S_0)^{-1}`, which tends to the projector on the null space of :math:`S_0`
    with a remainder of order 1/t.

    Parameters
    ----------
    eigenvalues
        Of the target, descending, shape (d,).
    rank
        Number k of columns of the start.

    Raises
    ------
    InputError
        If the rank is not at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> found = rates(np.array([3.0, 2.0, 0.0, 0.0]), 3)
    >>> found.leading, found.tilt, found.schur, found.schur_power
    (4.0, 2.0, 0.0, -1)
    """
    if rank < 1:
        raise InputError(f"the start has at least one column; found rank {rank}")
    values = without_noise(eigenvalues)
    r = min(rank, count_positive(values))
    growth, decay = values[:r], 0.0 - values[r:]
    slow, spare = decay.min(initial=np.inf), min(rank - r, len(decay))
    zeros = int(np.count_nonzero(decay == 0)) if slow == 0 else 0
    fast = growth.min(initial=np.inf)
    return Rates(
        growth, decay,
        leading=float(2 * (fast + min(slow, 0.0))),
        leading_power=int(zeros > spare),
        tilt=float(fast + slow),
        tilt_power=-int(0 < zeros <= spare),
        schur=float(2 * slow) if spare else np.inf,
        schur_power=-int(zeros > 0 and spare > 0),
    )  # fmt: skip


def schur_envelope(decay: Array, schur_factor: Array, times: Array) -> Array:
    r"""Upper bound of the largest eigenvalue of S at given times, shape (T,).

    With :math:`\sigma` the largest eigenvalue and :math:`\mu = \min \Lambda_2 \ge 0`,
    :math:`\dot\sigma \le -2 \mu \sigma - 2 \sigma^2` gives

    .. math:: \|S(t)\| \le \frac{e^{-2 \mu t}}{1 / \|S(0)\| + (1 - e^{-2 \mu t}) / \mu},

    which is :math:`1 / (2t + 1/\|S(0)\|)` for :math:`\mu = 0`: exact where
    :math:`\Lambda_2 = 0`.

    Parameters
    ----------
    decay
        Diagonal of :math:`\Lambda_2`, shape (d - r,), none negative unless S is zero.
    schur_factor
        G at time zero, shape (d - r, q).
    times
        Shape (T,).

    Raises
    ------
    InputError
        If times are negative or not finite.

    Examples
    --------
    >>> schur_envelope(np.zeros(2), np.eye(2), np.array([0.0, 50.0])).round(6).tolist()
    [1.0, 0.009901]
    """
    times = check_times(times)
    if not schur_factor.size:
        return np.zeros(len(times))
    top = float(np.linalg.norm(compressed(schur_factor), 2)) ** 2
    mu = float(decay.min())
    integral = 2 * times if mu == 0 else -np.expm1(-2 * mu * times) / mu
    return np.asarray(top * np.exp(-2 * mu * times) / (1 + top * integral))
