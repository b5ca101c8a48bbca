"""Points, atoms and quantiles of the law of an eigenvalue."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError, InputError

STEPS = 80
SETTLED = 1e-13


class Atom(NamedTuple):
    """An eigenvalue that has a mass of its own."""

    location: float
    mass: float


class Points(NamedTuple):
    """Points of a density: sum(weight * f(nu)) integrates f against the continuous part.

    All have shape (k * n_nodes,), ascending in nu.
    """

    nu: Array
    density: Array
    weight: Array


class Law(Protocol):
    """What quantiles are computed from."""

    def pdf(self, nu: Any) -> Any:
        """Density of the continuous part."""

    def cdf(self, nu: Any) -> Any:
        """Distribution."""

    @property
    def edges(self) -> Array:
        """Ends of the intervals of the continuous part."""

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """Eigenvalues with a mass."""


def real_points(points: Any, name: str = "a point") -> Array:
    """Real numbers as an array of any shape.

    Raises
    ------
    InputError
        If they are text, complex or no numbers.
    """
    given = np.asarray(points)
    if given.dtype.kind not in "biuf":
        raise InputError(f"{name} of a law is a real number; found {points!r}")
    return given.astype(float)


def law_quantiles(law: Law, q: Any) -> Any:
    """Smallest eigenvalues with a share q below them, any shape, by safeguarded Newton steps."""
    q = real_points(q, "a share")
    if not ((q >= 0) & (q <= 1)).all():
        raise InputError(f"a share lies between 0 and 1; found {q.min():.3g} to {q.max():.3g}")
    share = q.ravel()
    low, high, out, inside = _brackets(law, share)
    out[inside] = _newton(law, share[inside], low[inside], high[inside])
    return out.reshape(q.shape)[()]


def _brackets(law: Law, share: Array) -> tuple[Array, Array, Array, Array]:
    """Intervals that hold the quantiles; those at atoms and at edges are known already."""
    atoms = law.atoms
    stops = np.array(sorted([*law.edges.ravel(), *(atom.location for atom in atoms)]))
    after = law.cdf(stops)
    jump = {atom.location: atom.mass for atom in atoms}
    before = after - np.array([jump.get(float(stop), 0.0) for stop in stops])
    index = np.minimum(np.searchsorted(after, share - SETTLED), len(stops) - 1)
    at_stop = (share >= before[index] - SETTLED) | (index == 0)
    low = stops[np.maximum(index - 1, 0)]
    return low, stops[index], np.where(at_stop, stops[index], np.nan), ~at_stop


def _newton(law: Law, share: Array, low: Array, high: Array) -> Array:
    low, high = low.copy(), high.copy()
    nu = (low + high) / 2
    active = np.arange(len(share))
    for _ in range(STEPS):
        if not len(active):
            return nu
        gap = law.cdf(nu[active]) - share[active]
        slope = law.pdf(nu[active])
        below = gap < 0
        low[active] = np.where(below, nu[active], low[active])
        high[active] = np.where(below, high[active], nu[active])
        with np.errstate(divide="ignore", invalid="ignore"):
            new = nu[active] - gap / slope
        lo, up = low[active], high[active]
        new = np.where((new > lo) & (new < up), new, (lo + up) / 2)
        exact = np.abs(gap) < SETTLED
        done = exact | (np.abs(new - nu[active]) < SETTLED * (1 + np.abs(new)))
        nu[active] = np.where(exact, nu[active], new)
        active = active[~done]
    raise ConvergenceError(
        f"{len(active)} quantiles did not settle; the density has a gap that the edges do not show"
    )
