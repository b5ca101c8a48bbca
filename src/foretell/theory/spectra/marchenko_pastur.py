"""The generalised Marchenko-Pastur law: limiting eigenvalues of a sample covariance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.atoms import Atoms, as_atoms
from foretell.theory.spectra.curve import Arc, Curve, density, invert, resolved, sampled, tabulated
from foretell.theory.spectra.edges import Support, real_branch, support
from foretell.theory.spectra.law_points import real_points
from foretell.theory.spectra.quantiles import quantile_angle, survival


@dataclass(frozen=True, eq=False, repr=False)
class MarchenkoPastur:
    r"""Limiting law F of the eigenvalues of :math:`X^\top X / n` when :math:`d/n \to \gamma`.

    Rows of X, (n, d), are independent with covariance :math:`\Sigma` whose eigenvalues have the law
    H. With :math:`z(w) = w (1 + \gamma \int \tau\, dH(\tau) / (w - \tau))`,

    .. math:: F'(x) = \frac{\mathrm{Im}\, w}{\pi \gamma |w|^2}, \qquad
              1 - F(x) = \frac{1}{\pi} \Big[ \Big(\frac1\gamma - 1\Big) \arg w
              + \int \Big( \arg(w - \tau)
              - \frac{\tau\, \mathrm{Im}\, w}{|w - \tau|^2} \Big) dH \Big]

    at the w in the upper half-plane with z(w) = x, which Newton's method finds from a curve that is
    tabulated once for each interval of the support. Nothing is smoothed and no distance from the
    real axis is needed: density, probabilities and quantiles are exact to rounding, amplified near
    an edge by 1 / (distance to it). One positive atom is solved in closed form.

    Attributes
    ----------
    eigenvalues, weights
        Positive atoms of H, ascending, and their probabilities, shape (p,); the rest is at zero.
        Beyond 4096 atoms these are compressed ones.
    aspect_ratio
        :math:`\gamma = d / n`, dimensions over samples.
    edges
        Ends of the intervals of the continuous part, ascending, shape (k, 2).
    masses
        Probability of each interval, shape (k,).
    atom
        Probability of an eigenvalue that is zero, :math:`\max(H(0), 1 - 1/\gamma)`.

    References
    ----------
    .. [1] Marchenko & Pastur (1967). Distribution of eigenvalues for some sets of random matrices.
    .. [2] Silverstein & Choi (1995). Analysis of the limiting spectral distribution of large
       dimensional random matrices. J. Multivariate Analysis 54. Theorems 1.1, 4.1 and 4.2 (edges).
    .. [3] Bai & Silverstein (1999). Exact separation of eigenvalues. Annals of Probability 27.
    .. [4] docs/masked-regression.md, for the curve and the closed form of F.

    Examples
    --------
    >>> law = marchenko_pastur([1.0], 0.25)
    >>> law.edges.tolist(), float(law.cdf(law.edges[0, 1]))
    ([[0.25, 2.25]], 1.0)
    """

    eigenvalues: Array
    weights: Array
    aspect_ratio: float
    edges: Array
    masses: Array
    atom: float
    _atoms: Atoms
    _support: Support
    _arcs: dict[int, Arc] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"MarchenkoPastur({len(self.eigenvalues)} atoms, aspect_ratio={self.aspect_ratio:.4g}, "
            f"{len(self.edges)} intervals, atom={self.atom:.4g})"
        )

    def companion(self, x: ArrayLike) -> Any:
        r"""The w with z(w) = x that belongs to the law, complex, of the shape of x.

        Im w > 0 inside the support. Elsewhere w is real with z'(w) > 0: at :math:`x = -\alpha` it
        is minus the effective ridge :math:`\kappa(\alpha)`, and above the bulk it maps an outlier
        to the population eigenvalue that causes it. :math:`-1/w` is the Stieltjes transform of the
        eigenvalues of XX'/n.

        Raises
        ------
        InputError
            If x is not finite.
        """
        x = _numbers(x, finite=True)
        flat = x.ravel() / self._atoms.scale
        w = _one_atom(self._atoms, flat) if len(self.eigenvalues) == 1 else self._invert(flat)
        return (w * self._atoms.scale).reshape(x.shape)[()]

    def pdf(self, x: ArrayLike) -> Any:
        """Density of the continuous part at x; zero outside its intervals and at their ends.

        At a hard edge (0, where the aspect ratio times the mass of positive eigenvalues is one)
        it is inf. The atom at zero does not show.
        """
        x = _numbers(x)
        out = np.zeros(x.shape)
        inside = self._which(x) >= 0
        w = self.companion(x[inside]) / self._atoms.scale
        out[inside] = density(self._atoms, w) / self._atoms.scale
        if self.edges[0, 0] == 0:
            out[x == 0] = np.inf
        return out[()]

    def cdf(self, x: ArrayLike) -> Any:
        """Probability of values up to x, the atom at zero included."""
        x = _numbers(x)
        first, last = self.edges[0, 0], self.edges[-1, 1]
        out = np.where(x < 0, 0.0, np.where(x < first, self.atom, 1.0))
        inside = (x >= first) & (x < last)
        w = self.companion(x[inside]) / self._atoms.scale
        out[inside] = np.clip(1 - survival(self._atoms, w), self.atom, 1.0)
        return out[()]

    def ppf(self, q: ArrayLike) -> Any:
        """Least x with probability q up to it; for q = 0 the least point of the support, 0
        where that has an atom.

        Raises
        ------
        InputError
            If q is outside [0, 1].
        """
        q = _numbers(q)
        bad = ~((q >= 0) & (q <= 1))
        if bad.any():
            raise InputError(f"a probability is between 0 and 1; found {q[bad].flat[0]:.6g}")
        reached = self.atom + np.cumsum(self.masses)
        reached[-1] = 1.0
        which = np.searchsorted(reached, q)
        out = np.where(q == 0, self.edges[0, 0], self.edges[np.minimum(which, len(reached) - 1), 1])
        out = np.where((q <= self.atom) & (self.atom > 0), 0.0, out)
        for i in np.unique(which[(q > self.atom) & (q < reached[which])]):
            chosen = (which == i) & (q > self.atom) & (q < reached[which])
            angle = quantile_angle(self._atoms, self._arc(int(i)), q[chosen])
            low, high = self.edges[i]
            out[chosen] = low + (high - low) * np.sin(angle / 2) ** 2
        return out[()]

    def mean(self) -> float:
        """Mean, that of the population eigenvalues."""
        return float(self.weights @ self.eigenvalues)

    def var(self) -> float:
        r"""Variance, :math:`\mathrm{Var}_H(\tau) + \gamma (\int \tau\, dH)^2`."""
        square = float(self.weights @ self.eigenvalues**2)
        return square + (self.aspect_ratio - 1) * self.mean() ** 2

    def rvs(
        self,
        size: int | tuple[int, ...] | None = None,
        random_state: int | np.random.Generator | None = None,
    ) -> Any:
        """Independent draws, by the quantile function."""
        return self.ppf(np.random.default_rng(random_state).random(size))

    def curve(self, n_nodes: int | None = None) -> Curve:
        """Nodes along all intervals, whose weights integrate against the continuous part.

        Parameters
        ----------
        n_nodes
            Nodes on each interval, of the midpoint rule in the angle of Re w, which converges
            geometrically. None: Gauss rules on panels that are halved until the density is resolved
            to rounding, also where intervals nearly touch.

        Raises
        ------
        InputError
            If n_nodes is not positive.
        """
        if n_nodes is not None and n_nodes < 1:
            raise InputError(f"n_nodes is a positive whole number; found {n_nodes}")
        parts = [self._nodes(i, n_nodes) for i in range(len(self.edges))]
        x, w, weight = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "w", "weight")
        )
        return Curve(x * self._atoms.scale, w * self._atoms.scale, weight)

    def summary(self) -> str:
        """Aspect ratio, moments, atom and intervals in lines of text."""
        lines = [
            f"Marchenko-Pastur law of {len(self.eigenvalues)} population eigenvalues",
            f"dimensions / samples   {self.aspect_ratio:.6g}",
            f"mean, variance         {self.mean():.6g}, {self.var():.6g}",
            f"mass at zero           {self.atom:.6g}",
        ]
        lines += [
            f"interval               [{low:.6g}, {high:.6g}]  mass {mass:.6g}"
            for (low, high), mass in zip(self.edges[:10], self.masses[:10], strict=True)
        ]
        if len(self.edges) > 10:
            lines.append(f"and {len(self.edges) - 10} more intervals up to {self.edges[-1, 1]:.6g}")
        return "\n".join(lines)

    def _which(self, x: Array) -> Array:
        """Index of the interval around x; -1 where there is none."""
        i = np.searchsorted(self.edges[:, 0], x, side="left") - 1
        return np.where((i >= 0) & (x < self.edges[np.maximum(i, 0), 1]), i, -1)

    def _arc(self, i: int, n_nodes: int | None = None) -> Arc:
        if n_nodes is None and i in self._arcs:
            return self._arcs[i]
        atoms = replace(self._atoms, origin=float(self._support.origin[i]))
        (u_0, u_1), (x_0, x_1) = self._support.offset[i].tolist(), self._support.x[i].tolist()
        if n_nodes is not None:
            return sampled(atoms, (u_0, u_1), (x_0, x_1), n_nodes)
        self._arcs[i] = tabulated(atoms, (u_0, u_1), (x_0, x_1))
        return self._arcs[i]

    def _nodes(self, i: int, n_nodes: int | None) -> Curve:
        if n_nodes is None:
            self._arcs[i] = resolved(self._arc(i), float(self.masses[i]))
        return self._arc(i, n_nodes).curve

    def _invert(self, x: Array) -> Array:
        """w at x in units of the largest eigenvalue; by arcs inside, on the real line outside."""
        w = np.empty(len(x), complex)
        which = self._which(x * self._atoms.scale)
        w[which < 0] = real_branch(self._atoms, self._support, x[which < 0])
        for i in np.unique(which[which >= 0]):
            w[which == i] = invert(self._atoms, self._arc(int(i)), x[which == i])
        return w


def _numbers(x: ArrayLike, finite: bool = False) -> Array:
    values = real_points(x)
    bad = ~np.isfinite(values) if finite else np.isnan(values)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} of {values.size} points are not {'finite' if finite else 'numbers'}"
        )
    return values


def _one_atom(atoms: Atoms, x: Array) -> Array:
    """Root of w^2 - (x + 1 - c) w + x = 0, c the aspect ratio of the positive part."""
    c = 1 - atoms.excess
    half = (x + atoms.excess) / 2
    root = np.sqrt(c)
    low, high = (1 - root) ** 2, (1 + root) ** 2
    square = (x - low) * (x - high) / 4
    inside = square < 0
    outer = half + np.where(x >= high, 1.0, -1.0) * np.sqrt(np.abs(square))
    other = half - np.where(x >= high, 1.0, -1.0) * np.sqrt(np.abs(square))
    cancels = (half > 0) & (x < low)
    real = np.where(cancels, x / np.where(cancels, other, 1.0), outer)
    return np.where(inside, half + 1j * np.sqrt(np.abs(square)), real)


def marchenko_pastur(
    eigenvalues: Any, aspect_ratio: float, *, weights: ArrayLike | None = None
) -> MarchenkoPastur:
    r"""Law of the eigenvalues of :math:`X^\top X/n` for rows with these population eigenvalues.

    Parameters
    ----------
    eigenvalues
        Population eigenvalues, not negative, shape (p,); or a covariance (d, d), a
        :class:`~foretell.theory.spectra.spectrum.Spectrum`, or what has one as ``spectrum``. More
        than 4096 different ones are compressed (bins of two Gauss nodes that are narrow where
        eigenvalues are rare; for 5,000 lognormal ones of log-deviation 1/2 the density changes by
        less than 1e-6 and probabilities by less than 1e-8).
    aspect_ratio
        :math:`\gamma = d / n`, dimensions over samples.
    weights
        Probabilities of the eigenvalues, shape (p,), not negative; they are divided by their sum.
        None: all the same.

    Raises
    ------
    InputError
        If eigenvalues or weights are negative, not finite or all zero, of different lengths, range
        over more than 60 powers of ten, or the aspect ratio is not positive.

    Examples
    --------
    >>> law = marchenko_pastur([1.0, 3.0, 10.0], 0.1, weights=[0.2, 0.4, 0.4])
    >>> law.edges.round(4).tolist(), law.masses.round(4).tolist()
    ([[0.6521, 1.1767], [1.829, 4.1211], [6.615, 14.5818]], [0.2, 0.4, 0.4])
    """
    atoms = as_atoms(eigenvalues, aspect_ratio, weights)
    where = support(atoms)
    return MarchenkoPastur(
        atoms.tau * atoms.scale, atoms.weight, atoms.aspect_ratio, where.x * atoms.scale,
        where.masses, where.atom, atoms, where,
    )  # fmt: skip
