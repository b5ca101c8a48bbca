"""The law of a quadratic form in normal variables, the limit law of an excess risk."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foretell.errors import InputError
from foretell.inference.contour import (
    Floats,
    Tails,
    Terms,
    collect,
    quantiles,
    tails,
)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class RiskLaw:
    """The law of a quadratic form in independent standard normal variables.

    .. math:: X = c + \\sum_k (l_k z_k + w_k z_k^2), \\qquad z_k \\sim N(0, 1)

    Two-stage excess risk has this law to second order: the weights are half the eigenvalues of
    the profile curvature in units of the estimators' covariance, the linear part comes from the
    risk gradient. Methods follow the frozen distributions of ``scipy.stats``. Tails are computed
    by integration along a contour, with about 13 digits relative to the smaller tail, for up to
    1,000 distinct nonzero weights; beyond that the 500 largest are kept and each sign of the
    others is replaced by 8 gamma terms with the same first 16 cumulants (``exact`` is then False).
    A law without random terms is a point mass: its density is inf there and 0 elsewhere.

    Parameters
    ----------
    weights
        Weights of the squares, shape (k,), of either sign.
    linear
        Coefficients of the linear terms, shape (k,); None for zeros.
    offset
        The constant.
    labeled, unlabeled
        The laws of the two parts, kept for reports; not used here. They scale with the law.
    regime
        A word on where the law comes from, kept for reports.

    Raises
    ------
    InputError
        When a coefficient is not a finite number or the shapes differ.
    ConvergenceError
        From any tail, density or quantile, when its integral did not settle.

    References
    ----------
    Imhof (1961), Lugannani and Rice (1980), Davies (1980), Lindsay, Pilla and Basak (2000),
    Weideman and Trefethen (2007): see the module.

    Examples
    --------
    >>> law = RiskLaw([0.6, 0.3, 0.1])  # Imhof (1961), Q1
    >>> [round(float(p), 4) for p in law.sf([0.1, 0.7, 2.0])]
    [0.9458, 0.5064, 0.124]
    """

    weights: Floats
    linear: Floats
    offset: float
    labeled: RiskLaw | None
    unlabeled: RiskLaw | None
    regime: str | None
    exact: bool
    _terms: Terms | None
    __array_ufunc__: ClassVar[None] = None  # so that numpy scalars leave ``a * law`` to the law

    def __init__(
        self,
        weights: ArrayLike,
        linear: ArrayLike | None = None,
        offset: float = 0.0,
        *,
        labeled: RiskLaw | None = None,
        unlabeled: RiskLaw | None = None,
        regime: str | None = None,
    ) -> None:
        w = finite_vector(weights, "weights")
        l = np.zeros(w.size) if linear is None else finite_vector(linear, "linear")
        c = float(finite_vector([offset], "offset")[0])
        if l.shape != w.shape:
            raise InputError(
                f"linear has {l.size} coefficients but weights has {w.size}; give one of each for "
                "every term, 0 where there is none"
            )
        terms, exact = collect(w, l, c)
        values = (w, l, c, labeled, unlabeled, regime, exact, terms)
        for attribute, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, attribute.name, value)

    def __repr__(self) -> str:
        end = "" if self.exact else ", exact=False"
        size, mean, std = self.weights.size, self.mean(), self.std()
        return f"RiskLaw({size} terms, mean={mean:.4g}, std={std:.4g}{end})"

    def __mul__(self, factor: float) -> RiskLaw:
        """The law of ``factor * X``; its parts are scaled too."""
        return RiskLaw(
            self.weights * factor,
            self.linear * factor,
            self.offset * factor,
            labeled=None if self.labeled is None else self.labeled * factor,
            unlabeled=None if self.unlabeled is None else self.unlabeled * factor,
            regime=self.regime,
        )

    def __add__(self, other: float | RiskLaw) -> RiskLaw:
        """The law of ``X + other``; a law counts as independent, and drops the parts."""
        if not isinstance(other, RiskLaw):
            return RiskLaw(
                self.weights,
                self.linear,
                self.offset + other,
                labeled=self.labeled,
                unlabeled=self.unlabeled,
                regime=self.regime,
            )
        return RiskLaw(
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.linear, other.linear]),
            self.offset + other.offset,
            regime=self.regime if self.regime == other.regime else None,
        )

    __rmul__ = __mul__
    __radd__ = __add__

    def _at(self, x: ArrayLike, *, density: bool) -> Tails:
        """Log-tails and log-density at points of any shape."""
        x = np.asarray(x, dtype=float)
        if self._terms is None:
            flat = x.ravel() - self.offset
            out = Tails(*(np.full(flat.shape, np.nan) for _ in range(4)))
            out.lower[:] = np.where(flat >= 0, 0.0, -np.inf)
            out.upper[:] = np.where(flat >= 0, -np.inf, 0.0)
            out.density[:] = np.where(flat == 0, np.inf, -np.inf)
            for values in out:
                values[np.isnan(flat)] = np.nan
        else:
            y = (x.ravel() - self._terms.origin) / self._terms.scale
            out = tails(self._terms, y, density=density)
            out.density[:] -= math.log(self._terms.scale)
        return Tails(*(values.reshape(x.shape) for values in out))

    def cdf(self, x: ArrayLike) -> Any:
        """Probability of values up to x."""
        t = self._at(x, density=False)
        return np.where(t.lower < t.upper, np.exp(t.lower), -np.expm1(t.upper))[()]

    def sf(self, x: ArrayLike) -> Any:
        """Probability of values above x."""
        t = self._at(x, density=False)
        return np.where(t.upper < t.lower, np.exp(t.upper), -np.expm1(t.lower))[()]

    def logcdf(self, x: ArrayLike) -> Any:
        """Logarithm of ``cdf``, also where that underflows."""
        return self._at(x, density=False).lower[()]

    def logsf(self, x: ArrayLike) -> Any:
        """Logarithm of ``sf``, also where that underflows."""
        return self._at(x, density=False).upper[()]

    def pdf(self, x: ArrayLike) -> Any:
        """Density at x; inf where it has a pole, and at the offset of a point mass."""
        return np.exp(self.logpdf(x))

    def logpdf(self, x: ArrayLike) -> Any:
        """Logarithm of ``pdf``."""
        return self._at(x, density=True).density[()]

    def _quantile(self, lower: Floats, upper: Floats) -> Any:
        """Points with these log-tails; the ends of the support at -inf."""
        start, end = self.support()
        x = np.where(lower == -np.inf, start, np.where(upper == -np.inf, end, np.nan))
        inside = np.isfinite(lower) & np.isfinite(upper)
        if self._terms is None:
            x[inside] = self.offset
        elif inside.any():
            y = quantiles(self._terms, lower[inside], upper[inside])
            x[inside] = y * self._terms.scale + self._terms.origin
        return x[()]

    def ppf(self, q: ArrayLike) -> Any:
        """Point with probability q below it; nan unless 0 <= q <= 1."""
        return self._quantile(*log_parts(q))

    def isf(self, q: ArrayLike) -> Any:
        """Point with probability q above it; nan unless 0 <= q <= 1."""
        return self._quantile(*log_parts(q)[::-1])

    def interval(self, confidence: ArrayLike) -> tuple[Any, Any]:
        """Ends of the central interval of this probability."""
        tail = (1 - np.asarray(confidence, dtype=float)) / 2
        return self.ppf(tail), self.isf(tail)

    def median(self) -> Any:
        """The point that halves the probability."""
        return self.ppf(0.5)

    def support(self) -> tuple[float, float]:
        """Smallest closed interval of probability one."""
        t = self._terms
        if t is None:
            return self.offset, self.offset
        end = t.origin + t.scale * t.far
        return (
            end if t.bounded and t.bend > 0 else -math.inf,
            end if t.bounded and t.bend < 0 else math.inf,
        )

    def cumulant(self, order: int) -> float:
        """Cumulant of this order, from 1."""
        if order < 1:
            raise InputError(f"order is {order}, but cumulants start at 1; ask for 1 or more")
        w, l = self.weights, self.linear
        value = 2.0 ** (order - 1) * math.factorial(order - 1) * np.sum(w**order)
        if order == 1:
            return float(self.offset + value)
        return float(value + math.factorial(order) / 2 * np.sum(l**2 * (2 * w) ** (order - 2)))

    def moment(self, order: int) -> float:
        """Moment about zero of this order, from 0."""
        moments = [1.0]
        for n in range(1, order + 1):
            pairs = ((k, self.cumulant(k) * moments[n - k]) for k in range(1, n + 1))
            moments.append(sum(math.comb(n - 1, k - 1) * value for k, value in pairs))
        return moments[order]

    def mean(self) -> float:
        """Mean, the first cumulant."""
        return self.cumulant(1)

    def var(self) -> float:
        """Variance, the second cumulant."""
        return self.cumulant(2)

    def std(self) -> float:
        """Standard deviation."""
        return 0.0 if self._terms is None else self._terms.scale

    def stats(self, moments: str = "mv") -> tuple[float, ...]:
        """Mean, variance, skewness and excess kurtosis, as the letters m, v, s, k ask for."""
        unit = self.std() or math.nan
        values: dict[str, Callable[[], float]] = {
            "m": self.mean,
            "v": self.var,
            "s": lambda: self.cumulant(3) / unit**3,
            "k": lambda: self.cumulant(4) / unit**4,
        }
        if not set(moments) <= set(values):
            raise InputError(f"moments is {moments!r}; choose letters from 'mvsk'")
        return tuple(values[letter]() for letter in moments)

    def rvs(
        self,
        size: int | tuple[int, ...] | None = None,
        random_state: int | np.random.Generator | None = None,
    ) -> Any:
        """Independent draws, by summing the terms (never approximated)."""
        rng = np.random.default_rng(random_state)
        active = (self.weights != 0) | (self.linear != 0)
        w, l = self.weights[active], self.linear[active]
        out = np.full(() if size is None else size, self.offset)
        flat = out.reshape(-1)
        rows = max(1, 2**20 // max(1, w.size))
        for start in range(0, flat.size, rows):
            part = flat[start : start + rows]
            z = rng.standard_normal((part.size, w.size))
            part += z @ l + (z * z) @ w
        return out[()]


def finite_vector(values: ArrayLike, name: str) -> Floats:
    """A read-only copy of finite numbers in one dimension."""
    try:
        v = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold real numbers ({error}); convert it first") from None
    if v.ndim != 1:
        raise InputError(f"{name} has shape {v.shape}, but one dimension is expected; ravel it")
    bad = np.flatnonzero(~np.isfinite(v))
    if bad.size:
        raise InputError(
            f"{name} must be finite, but {bad.size} of {v.size} are not (the first, {v[bad[0]]}, "
            f"at position {bad[0]}); look for a division by zero or drop these terms"
        )
    v.setflags(write=False)
    return v


def log_parts(q: ArrayLike) -> tuple[Floats, Floats]:
    """Logarithms of q and 1 - q; nan where q is no probability."""
    q = np.asarray(q, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(q), np.log1p(-q)
    return logs
