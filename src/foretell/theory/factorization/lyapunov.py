r"""Lyapunov functions that certify exponential convergence of W and P1.

Notation of :mod:`foretell.theory.factorization.cascade`; :math:`\lambda = \min \Lambda_1`,
:math:`\mu = \min \Lambda_2`. Either :math:`\mu \ge 0`, or S = 0 and :math:`\lambda + \mu > 0` is
the gap after the k-th eigenvalue. The inequalities are derived here, from the cascade alone.

*Tilt.* :math:`V_W = \|W\|_F^2` has the derivative :math:`-2 \sum_{ij} (\lambda_i + \mu_j) W_{ij}^2
- 4 \operatorname{tr}(W S W^\top)`, hence :math:`\dot V_W \le -2 (\lambda + \mu) V_W`.

*Deviation.* :math:`E = P_1^{-1} - \Lambda_1^{-1}` obeys the linear equation :math:`\dot E =
-\Lambda_1 E - E \Lambda_1 + 2 W W^\top`, so :math:`\tfrac{d}{dt} \|E\|_F \le -2 \lambda \|E\|_F +
2 \|W\|_F^2`. For :math:`V_E = \|E\|_F + c \|W\|_F^2`, any :math:`\rho \le 2 \lambda` with
:math:`\rho < 2 (\lambda + \mu)` and :math:`c = 2 / (2 (\lambda + \mu) - \rho)`,

.. math:: \dot V_E \le -2 \lambda \|E\|_F + (2 - 2 c (\lambda + \mu)) \|W\|_F^2
    \le -\rho V_E .

The rate is the asymptotic one (:math:`\rho = 2 \lambda`) if :math:`\mu > 0`, and comes as close to
it as wanted otherwise; but :math:`V_E` is large for a small start. As :math:`P_1 - \Lambda_1 =
-P_1 E \Lambda_1` and :math:`\|P_1(t)\| \le \max(\|P_1(0)\|, \|\Lambda_1\|)`, it bounds the leading
block: :math:`\|P_1 - \Lambda_1\|_F \le \|\Lambda_1\| \max(\|P_1(0)\|, \|\Lambda_1\|) V_E`.

*Divergence.* Stein's loss :math:`\ell = \operatorname{tr}(Z) - \log\det Z - r` of :math:`Z =
\Lambda_1^{-1/2} P_1 \Lambda_1^{-1/2}` grows only as the logarithm of a small start:

.. math:: \dot \ell = -2 \operatorname{tr}[\Lambda_1^{-1} (P_1 - \Lambda_1)^2]
    + 2 \operatorname{tr}[W^\top (P_1 - P_1 \Lambda_1^{-1} P_1) W]
    \le -2 \operatorname{tr}[\Lambda_1^{-1} (P_1 - \Lambda_1)^2]
    + \tfrac12 \operatorname{tr}(W^\top \Lambda_1 W),

since :math:`P_1 - P_1 \Lambda_1^{-1} P_1 \preceq \Lambda_1 / 4` (complete the square). With
:math:`\nu = \max(1, \lambda / (\lambda + \mu))`, :math:`\lambda_i \le \nu (\lambda_i + \mu_j)`, so
for :math:`V_\ell = \ell + \tfrac{\nu}{2} \|W\|_F^2` half of the decay of the second term pays for
the forcing and the other half remains:

.. math:: \dot V_\ell \le -2 \operatorname{tr}[\Lambda_1^{-1} (P_1 - \Lambda_1)^2]
    - (\lambda + \mu) \tfrac{\nu}{2} \|W\|_F^2 .

The first term is at most :math:`-2 \lambda \sum (z_i - 1)^2` in the eigenvalues of Z, and
:math:`h(z) = (z - 1)^2 / (z - 1 - \log z)` increases, so it is at most :math:`-2 \lambda h(z_*)
\ell`, where :math:`z_* < 1` solves :math:`z - 1 - \log z = V_\ell(0)`, the least eigenvalue that
:math:`V_\ell \le V_\ell(0)` allows: :math:`\dot V_\ell \le -\min(2 \lambda h(z_*), \lambda + \mu)
V_\ell`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError, InputError
from foretell.theory.factorization.cascade import Coordinates


@dataclass(frozen=True, eq=False)
class LyapunovFunction:
    """Values along a trajectory and a certified rate: derivative <= -rate * values.

    Attributes
    ----------
    times, values, derivative
        Shape (T,); the derivative is exact, from the differential equations.
    rate
        Proven for all times from the earliest one on.
    """

    times: Array
    values: Array
    derivative: Array
    rate: float

    @property
    def bound(self) -> Array:
        """Certified upper bound of the values, from the earliest time alone, shape (T,)."""
        first = int(np.argmin(self.times))
        return np.asarray(
            self.values[first] * np.exp(-self.rate * (self.times - self.times[first]))
        )


@dataclass(frozen=True, eq=False)
class Lyapunov:
    r"""Three Lyapunov functions; their inequalities are proven at the head of this module.

    Attributes
    ----------
    tilt
        :math:`\|W\|_F^2`, rate :math:`2 (\lambda + \mu)`.
    deviation
        :math:`\|P_1^{-1} - \Lambda_1^{-1}\|_F + c \|W\|_F^2`, with the rate asked for.
    divergence
        Stein's loss of :math:`P_1` and :math:`\tfrac{\nu}{2} \|W\|_F^2`; moderate for a small
        start.
    leading_bound
        Certified bound of :math:`\|P_1 - \Lambda_1\|_F`, from ``deviation``, shape (T,).
    """

    tilt: LyapunovFunction
    deviation: LyapunovFunction
    divergence: LyapunovFunction
    leading_bound: Array


def lyapunov(coordinates: Coordinates, *, rate: float | None = None) -> Lyapunov:
    r"""Lyapunov functions along a trajectory, with their certified rates.

    Parameters
    ----------
    coordinates
        At T times; certificates start from the earliest.
    rate
        Certified rate :math:`\rho` of ``deviation``, at most :math:`2 \lambda` and less than
        :math:`2 (\lambda + \mu)`. None: :math:`2 \lambda` if :math:`\mu \ge \lambda / 100`,
        otherwise 99 % of the lesser of :math:`2 \lambda` and :math:`2 (\lambda + \mu)`. Close to
        the limit the constant c is large.

    Raises
    ------
    IdentificationError
        If no eigenvalue is positive, or W does not converge because the k-th and the next
        eigenvalue are equal.
    InputError
        If the rate is outside its range, or there is no time.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory.factorization.cascade import coordinates
    >>> c = coordinates(np.array([2.0, -1.0]), np.array([[0.1], [1.0]]), np.arange(3.0))
    >>> found = lyapunov(c)
    >>> found.tilt.rate, found.deviation.rate
    (6.0, 4.0)
    >>> bool((found.divergence.values <= found.divergence.bound).all())
    True
    """
    if not len(coordinates.times):
        raise InputError("a certificate starts from the earliest of at least one time; found none")
    if not coordinates.split:
        raise IdentificationError(
            "the target has no positive eigenvalue: there is no leading block to converge, only "
            "S, for which see schur_envelope"
        )
    fast = float(coordinates.growth.min())
    slow = float(coordinates.decay.min()) if len(coordinates.decay) else fast  # W is empty
    if fast + slow <= 0:
        raise IdentificationError(
            f"eigenvalues {coordinates.split} and {coordinates.split + 1} of the target are both "
            f"{fast:g}: W does not converge, the limit depends on the start; use more columns"
        )
    rho = _default_rate(fast, slow) if rate is None else rate
    if not (0 < rho <= 2 * fast and rho < 2 * (fast + slow)):
        raise InputError(
            f"the certified rate is positive, at most {2 * fast:g} and below "
            f"{2 * (fast + slow):g}; found {rate}"
        )
    tilt = _tilt(coordinates, 2 * (fast + slow))
    deviation = _deviation(coordinates, tilt, rho)
    top = coordinates.growth.max()
    largest = np.linalg.norm(coordinates.leading[np.argmin(coordinates.times)], 2)
    return Lyapunov(
        tilt, deviation, _divergence(coordinates, tilt), top * max(top, largest) * deviation.bound
    )


def _default_rate(fast: float, slow: float) -> float:
    return 2 * fast if slow >= 0.01 * fast else 1.98 * min(fast, fast + slow)


def _tilt(c: Coordinates, rate: float) -> LyapunovFunction:
    square = c.tilt**2
    slowed = np.einsum("tij,ij->t", square, np.add.outer(c.growth, c.decay))
    damped = ((c.tilt @ c.schur_factor) ** 2).sum(axis=(1, 2))
    return LyapunovFunction(c.times, square.sum(axis=(1, 2)), -2 * slowed - 4 * damped, rate)


def _deviation(c: Coordinates, tilt: LyapunovFunction, rho: float) -> LyapunovFunction:
    E = c.deviation
    size = np.linalg.norm(E, axis=(1, 2))
    shrunk = np.einsum("tij,i->t", E**2, c.growth)
    forced = np.einsum("tij,tij->t", c.tilt, E @ c.tilt)
    slope = np.divide(2 * forced - 2 * shrunk, size, out=np.zeros_like(size), where=size > 0)
    weight = 2 / (tilt.rate - rho)
    values = size + weight * tilt.values
    return LyapunovFunction(c.times, values, slope + weight * tilt.derivative, rho)


def _divergence(c: Coordinates, tilt: LyapunovFunction) -> LyapunovFunction:
    fast, gap = float(c.growth.min()), tilt.rate / 2
    loss, error = _loss_of_leading(c)
    moved = c.leading @ c.tilt
    slope = (
        -2 * np.einsum("tij,i->t", error**2, 1 / c.growth)
        + 2 * (c.tilt * moved).sum(axis=(1, 2))
        - 2 * np.einsum("tij,i->t", moved**2, 1 / c.growth)
    )
    weight = max(1.0, fast / gap) / 2
    values = loss + weight * tilt.values
    rate = min(2 * fast * _least_ratio(float(values[np.argmin(c.times)])), gap)
    return LyapunovFunction(c.times, values, slope + weight * tilt.derivative, rate)


def _loss_of_leading(c: Coordinates) -> tuple[Array, Array]:
    """Stein's loss of P1, shape (T,), and P1 - Lambda1.

    Near the limit from the deviation, which has kept its digits; elsewhere from P1, as the
    deviation of a small start has entries so large that their rounding hides those of order one.
    """
    root = np.sqrt(c.growth)
    Y, Z = root[:, None] * c.deviation * root, c.leading / np.outer(root, root)
    near = np.linalg.norm(Y, axis=(1, 2)) < 0.5
    Y[~near] = 0.0
    far_loss = np.trace(Z, axis1=1, axis2=2) - np.linalg.slogdet(Z)[1] - len(root)
    loss = np.where(near, stein_loss(np.linalg.eigvalsh(Y)), far_loss)
    close = -c.leading @ c.deviation * c.growth
    return loss, np.where(near[:, None, None], close, c.leading - np.diag(c.growth))


def stein_loss(y: Array) -> Array:
    r"""Sum of :math:`z - 1 - \log z` over the last axis, z = 1/(1 + y), by a series for small y."""
    small = np.abs(y) < 0.01
    tiny, safe = np.where(small, y, 0.0), np.where(small, 0.0, y)
    series = sum((-1) ** n * (n - 1) / n * tiny**n for n in range(2, 10))
    return np.asarray((series + np.log1p(safe) - safe / (1 + safe)).sum(axis=-1))


def _least_ratio(value: float) -> float:
    """h(z) = (z - 1)^2 / (z - 1 - log z) at the root z < 1 of z - 1 - log z = value; 2 at 0."""
    from scipy.special import lambertw

    if value < 1e-6:
        return 2 - 2 * value**0.5  # below the expansion 2 - (4/3) sqrt(2 value); no cancellation
    z = -float(lambertw(-np.exp(-1 - value)).real)
    return (1 - z) ** 2 / value
