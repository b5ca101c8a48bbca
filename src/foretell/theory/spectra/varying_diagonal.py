r"""Spectrum of masked regression where the diagonal of the resolvent varies.

Eigenvalues of the coefficients are :math:`\nu = 1 - 1/\mu` with :math:`\mu` those of
:math:`\Delta^{1/2}(C + \lambda)\Delta^{1/2}` and :math:`\Delta = (\kappa/\lambda)
\mathrm{diag}(R)`. With :math:`G = (\omega \Sigma + \lambda - x \Delta^{-1})^{-1}` and
:math:`1/\omega = 1 + \mathrm{tr}[\Sigma G]/n` the distribution of :math:`\mu` is

.. math:: F(x) = \frac{1}{\pi d} \left[ -\arg\det(\omega\Sigma + \lambda - x\Delta^{-1})
          + n \arg\omega - n\, \mathrm{Im}\, \omega \right],

without quadrature: the right side is stationary in :math:`\omega`. Derived in
docs/masked-regression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError
from foretell.theory.spectra.companion_root import Root, companion_root
from foretell.theory.spectra.law_points import Atom, Points, law_quantiles, real_points
from foretell.theory.spectra.metric_pencil import Pencil
from foretell.theory.spectra.outliers import Outlier

SCANS = {16: 1501, 64: 401}  # points that look for intervals, by the largest block
LEAST_SCAN = 97  # the same for larger blocks
ROUNDS = 30
REFINE = 5  # points that a gap with hidden intervals is divided by
EDGE = 1e-13
SAME_SCALE = 1e-10
ROUNDING = 1e-12
FEWEST, MOST = 33, 1056  # nodes of an interval of a curve
LARGE, MOST_LARGE = 64, 132  # most nodes where a block is larger than this
CURVE = 1e-9  # relative error of the mass at which nodes suffice


@dataclass(frozen=True, eq=False)
class VaryingDiagonalLaw:
    """Limit law of the eigenvalues of the coefficients, coordinates of any kind.

    Every evaluation of the density or the distribution costs one symmetric eigendecomposition
    of each kind of block of the covariance; coordinates without correlation cost nothing.

    Attributes
    ----------
    pencil
        Eigenvalues of the covariance in the metric of penalty and diagonal.
    n_samples
        Number of rows.
    kappa
        Effective ridge.
    outliers
        Limits of the eigenvalues of spikes, where the covariance is a spiked one.
    """

    pencil: Pencil
    n_samples: float
    kappa: float
    outliers: tuple[Outlier, ...] = ()

    @property
    def alpha(self) -> float:
        """Penalty."""
        return self.pencil.alpha

    @property
    def d(self) -> float:
        """Number of coordinates."""
        return float(self.pencil.scales[1].sum())

    def pdf(self, nu: Any) -> Any:
        """Density of the continuous part at eigenvalues nu, any shape; zero above one."""
        nu = real_points(nu)
        out = np.zeros(nu.shape)
        below = nu < 1
        mu = 1 / (1 - nu[below])
        out[below] = mu**2 * self._density(mu)
        return out[()]

    def cdf(self, nu: Any) -> Any:
        """Share of eigenvalues up to nu, any shape."""
        nu = real_points(nu)
        out = np.where(np.isnan(nu), np.nan, 1.0)
        below = nu < 1
        out[below] = self._distribution(1 / (1 - nu[below]))
        return out[()]

    def ppf(self, q: Any) -> Any:
        """Eigenvalue with a share q below it, any shape."""
        return law_quantiles(self, q)

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        """Eigenvalues with mass: null spaces of coordinates of one kind, more than their rank.

        In data they are spread with a standard deviation of order d^-1/2.
        """
        scales, counts, ranks = self.pencil.scales
        start = np.concatenate([[True], np.diff(scales) > SAME_SCALE * scales[1:]])
        where = np.cumsum(start) - 1
        known = np.minimum(np.bincount(where, weights=ranks), self.n_samples)
        mass = np.bincount(where, weights=counts) - known
        rows = zip(scales[start], mass, strict=True)
        return tuple(
            Atom(1 - 1 / (self.alpha * float(scale)), float(m) / self.d)
            for scale, m in rows
            if m > 0
        )

    @cached_property
    def edges(self) -> Array:
        """Ends of the intervals that carry the continuous part, ascending, shape (k, 2).

        Intervals of any width are found, by their mass. A gap narrower than the scan that looks
        for it (97 points in the logarithm of 1 - nu for blocks of more than 64 coordinates, 1501
        below 17) may be missed; its two neighbours then count as one interval.
        """
        return 1 - np.exp(-self._log_edges)

    def curve(self, n_nodes: int | None = None) -> Points:
        """Points along each interval, with weights that integrate against the law.

        Nodes are those of Chebyshev in log(1 - nu), where the density has square-root ends; the
        weights of an interval are scaled to its mass, which the distribution gives exactly.

        Parameters
        ----------
        n_nodes
            Nodes on each interval. None: doubled from 33 until the mass before scaling is right
            to 1e-9, at most to 1056, or 132 if a block has more than 64 coordinates. Where
            intervals nearly touch that leaves the mean an error of 1e-5 to 1e-3.

        Raises
        ------
        InputError
            If there are fewer than two nodes.
        """
        if n_nodes is not None and n_nodes < 2:
            raise InputError(f"n_nodes is {n_nodes}; an interval needs at least 2 nodes")
        ends = zip(self._log_edges, self._masses, strict=True)
        parts = [self._interval(low, high, mass, n_nodes) for (low, high), mass in ends]
        return Points(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _interval(self, low: float, high: float, mass: float, n_nodes: int | None) -> Points:
        n = FEWEST if n_nodes is None else n_nodes
        most = MOST if self._largest <= LARGE else MOST_LARGE
        while True:
            theta = (np.arange(n) + 0.5) * np.pi / n
            mu = np.exp((low + high) / 2 - (high - low) / 2 * np.cos(theta))
            density = self._density(mu)
            weight = density * mu * (high - low) / 2 * np.sin(theta) * np.pi / n
            error = abs(weight.sum() / mass - 1)
            if n_nodes is not None or error < CURVE or 2 * n > most:
                return Points(1 - 1 / mu, density * mu**2, weight * (mass / weight.sum()))
            n *= 2

    def mean(self) -> float:
        """Mean by the curve and the atoms; zero, up to the error of that quadrature."""
        points = self.curve()
        atoms = sum(atom.mass * atom.location for atom in self.atoms)
        return float(points.weight @ points.nu + atoms)

    def _root(self, t: Array) -> Root:
        return companion_root(t, self.pencil.counts / self.n_samples)

    def _distribution(self, mu: Array) -> Array:
        if not len(mu):
            return mu
        t = self.pencil.eigenvalues(mu)
        v = self._root(t).v
        angle = np.angle(v)
        turns = (np.angle(v[:, None] + t) - angle[:, None]) @ self.pencil.counts
        rows = self.n_samples * (v.imag / np.abs(v) ** 2 - angle)
        total = (np.pi * self.pencil.negative(mu) - turns + rows) / (np.pi * self.d)
        return np.asarray(np.clip(total, 0.0, 1.0))

    def _density(self, mu: Array) -> Array:
        if not len(mu):
            return mu
        t, slope = self.pencil.eigenpairs(mu)
        root = self._root(t)
        gap = (root.u[:, None] + t) ** 2 + root.height[:, None]
        total = (slope / gap) @ self.pencil.counts
        return np.asarray(np.sqrt(root.height) * total / (np.pi * self.d))

    def _indicator(self, logs: Array) -> Array:
        """Positive inside the support, negative outside, close to linear at its edges."""
        root = self._root(self.pencil.eigenvalues(np.exp(logs)))
        scale = root.u**2 + root.height
        return np.where(root.inside, root.height / scale, -(root.excess**2))

    @cached_property
    def _log_edges(self) -> Array:
        """Ends of the intervals of log mu, shape (k, 2)."""
        low, high = self._range()
        logs = np.linspace(low, high, self._scan)
        values = self._indicator(logs)
        known: dict[tuple[float, float], float] = {}
        for _ in range(ROUNDS):
            edges = self._changes(logs, values, known)
            hidden = self._hidden(np.concatenate([[low], edges, [high]]).reshape(-1, 2))
            if not len(hidden):
                return edges.reshape(-1, 2)
            parts = [logs[(logs > a) & (logs < b)] for a, b in hidden]
            stops = [np.array([a, *p, b]) for (a, b), p in zip(hidden, parts, strict=True)]
            hidden = self._hidden(np.concatenate([np.stack([t[:-1], t[1:]], 1) for t in stops]))
            inner = np.linspace(hidden[:, 0], hidden[:, 1], REFINE + 2)[1:-1].ravel()
            order = np.argsort(np.concatenate([logs, inner]), kind="stable")
            values = np.concatenate([values, self._indicator(inner)])[order]
            logs = np.concatenate([logs, inner])[order]
        raise ConvergenceError(
            f"{len(hidden)} gaps of the spectrum, the first at {1 - np.exp(-hidden[0, 0]):.6g}, "
            "hold eigenvalues in intervals too narrow to resolve; give coordinates that are almost "
            "alike equal covariances, or use diagonal='constant'"
        )

    @cached_property
    def _masses(self) -> Array:
        """Shares of the intervals without the atoms in them, shape (k,)."""
        return self._growth(self._log_edges)

    @property
    def _scan(self) -> int:
        return next((n for size, n in SCANS.items() if self._largest <= size), LEAST_SCAN)

    @property
    def _largest(self) -> int:
        return max((len(block.scale) for block in self.pencil.blocks), default=1)

    def _range(self) -> tuple[float, float]:
        """Bounds of the support in log mu, with a margin."""
        scales = self.pencil.scales[0]
        largest = self.pencil.eigenvalues(np.zeros(1)).max() * self.alpha
        top = largest * (1 + np.sqrt(self.pencil.counts.sum() / self.n_samples)) ** 2
        low = np.log(self.alpha * scales[0])
        high = np.log((top + self.alpha) * scales[-1])
        return float(low - 0.01), float(high + 0.01)

    def _hidden(self, gaps: Array) -> Array:
        """Those of the gaps (k, 2) over which the distribution grows all the same."""
        return gaps[self._growth(gaps) > 0.25 / self.d]

    def _growth(self, intervals: Array) -> Array:
        """Mass of the continuous part in intervals of log mu (k, 2), shape (k,)."""
        ends = self._distribution(np.exp(intervals.ravel())).reshape(-1, 2)
        grown = ends[:, 1] - ends[:, 0]
        for atom in self.atoms:
            at = -np.log1p(-atom.location)
            grown -= np.where((intervals[:, 0] < at) & (at <= intervals[:, 1]), atom.mass, 0.0)
        return np.asarray(grown)

    def _changes(
        self, logs: Array, values: Array, known: dict[tuple[float, float], float]
    ) -> Array:
        """Edges between points of different sign; those found before are kept."""
        from scipy.optimize import brentq

        def value(at: float) -> float:
            return float(self._indicator(np.array([at]))[0])

        edges = []
        for i in np.flatnonzero((values[1:] > 0) != (values[:-1] > 0)):
            ends = float(logs[i]), float(logs[i + 1])
            if ends not in known:
                known[ends] = float(brentq(value, *ends, xtol=EDGE, rtol=1e-14))
            edges.append(known[ends])
        return np.array(edges)
