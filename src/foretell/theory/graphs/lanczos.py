"""Largest eigenpairs of a symmetric operator by filtered Lanczos, multiplicities included.

ARPACK does the Lanczos iteration (implicitly restarted, from a single vector) on a Chebyshev
polynomial of the operator. The polynomial stays within one on the unwanted part of the spectrum
and grows above it, so few vectors have to be kept orthogonal: with n = 10⁵ that is most of the
cost. A single vector may not see all copies of a multiple eigenvalue; therefore the complement of
what was found is searched from a fresh start, until nothing larger is in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from foretell._types import Array
from foretell.errors import ConvergenceError

PROBES, PROBE_STEPS = 3, 60
SEARCH_STEPS = 40
MAX_DEGREE, MAX_GROWTH = 12, 1e4
QUICK_RESTARTS = 30
MAX_SEARCHES, MAX_REFINEMENTS = 50, 20
MAX_WORK = 6e10  # multiplications of the last, patient attempt: about a CPU minute


@dataclass(frozen=True, eq=False)
class Operator:
    """Symmetric operator on R^n with spectrum in [lower, 1].

    ``apply`` maps (n,) to (n,) and (n, c) to (n, c); ``locked`` (n, c) are orthonormal
    eigenvectors that are known and not searched for: they count as if of eigenvalue ``lower`` - 1.
    """

    n: int
    lower: float
    apply: Callable[[Array], Array]
    locked: Array

    def without(self, vectors: Array) -> Operator:
        """The operator with more locked vectors (n, c)."""
        return replace(self, locked=np.hstack([self.locked, vectors]))

    def __call__(self, V: Array) -> Array:
        """The product with V, with locked vectors moved below the spectrum."""
        inside = self.locked.T @ V
        image = self.apply(V - self.locked @ inside)
        return self.outside(image) + (self.lower - 1) * (self.locked @ inside)

    def outside(self, V: Array) -> Array:
        """V without its part in the span of the locked vectors."""
        return np.asarray(V - self.locked @ (self.locked.T @ V))


def largest_pairs(
    operator: Operator, count: int, *, tolerance: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The ``count`` largest eigenvalues, descending, and orthonormal eigenvectors (n, count).

    Residuals are about ``tolerance`` or smaller; callers check them.

    Raises
    ------
    ConvergenceError
        If the iteration does not converge, or copies of multiple eigenvalues keep appearing.
    """
    wanted = min(count + 2 + count // 10, operator.n - 2)
    sizes = [wanted, *(more for more in (2 * wanted, 4 * wanted) if more <= operator.n // 3)]
    for size in sizes[:-1]:
        # a cluster of eigenvalues that reaches beyond the wanted ones converges when it is whole
        with contextlib.suppress(ConvergenceError):
            return _complete(operator, count, size, tolerance, rng, patient=False)
    return _complete(operator, count, sizes[-1], tolerance, rng, patient=True)


def _complete(
    operator: Operator,
    count: int,
    wanted: int,
    tolerance: float,
    rng: np.random.Generator,
    *,
    patient: bool,
) -> tuple[Array, Array]:
    """The ``count`` largest pairs among ``wanted`` that are found with all their copies."""
    cut = spectral_cut(operator, wanted, rng)
    values, vectors = _filtered(operator, wanted, cut, tolerance, rng, patient=patient)
    for _ in range(MAX_SEARCHES):
        complement = operator.without(vectors)
        if not _has_larger(complement, values[-1], min(cut, values[-1]), rng):
            return values[:count], vectors[:, :count]
        more = min(wanted, operator.n - vectors.shape[1] - 1)
        found = _filtered(complement, more, min(cut, values[-1]), tolerance, rng, patient=patient)[
            1
        ]
        values, vectors = rayleigh_ritz(operator, np.hstack([vectors, found]))
        values, vectors = values[:wanted], vectors[:, :wanted]
    raise ConvergenceError(
        f"after {MAX_SEARCHES} searches there are still eigenvalues above the {count} found; the "
        "spectrum has multiplicities that are too large: ask for fewer eigenpairs"
    )


def rayleigh_ritz(operator: Operator, V: Array) -> tuple[Array, Array]:
    """Ritz values, descending, and vectors of the span of the columns of V (n, c)."""
    Q = np.linalg.qr(V)[0]
    small = Q.T @ operator(Q)
    values, rotation = np.linalg.eigh(0.5 * (small + small.T))
    return values[::-1], Q @ rotation[:, ::-1]


def refined(operator: Operator, V: Array, count: int, tolerance: float) -> tuple[Array, Array]:
    """Ritz values and vectors of the span of V, improved until ``count`` residuals are small.

    The filter leaves a part of the unwanted spectrum where wanted eigenvalues lie within 1e-6 of
    the cut. Each step adds the residuals to the span (block Krylov, restarted), at most 20 times;
    callers check the result.
    """
    width = V.shape[1]
    values, V = rayleigh_ritz(operator, V)
    for _ in range(MAX_REFINEMENTS):
        residuals = operator.outside(operator(V) - V * values)
        sizes = np.linalg.norm(residuals, axis=0)
        if sizes[:count].max() <= 0.5 * tolerance:
            break
        poor = sizes > 1e-3 * tolerance
        room = operator.n - operator.locked.shape[1] - width
        directions = (residuals[:, poor] / sizes[poor])[:, :room]
        values, V = rayleigh_ritz(operator, np.hstack([V, directions]))
        values, V = values[:width], V[:, :width]
    return values, V


def spectral_cut(operator: Operator, count: int, rng: np.random.Generator) -> float:
    """A number that is likely below ``count`` eigenvalues and above most others.

    The number of eigenvalues above x is estimated by stochastic Lanczos quadrature: exact in the
    mean, relative error about (2 / (3 count))^½; the margin is a third of ``count``.
    """
    steps = min(PROBE_STEPS, operator.n - 1)
    v = rng.standard_normal((operator.n, PROBES))
    v /= np.linalg.norm(v, axis=0)
    before, beta = np.zeros_like(v), np.zeros(PROBES)
    alphas, betas = [], []
    for _ in range(steps):
        w = operator(v) - beta * before
        alphas.append((v * w).sum(axis=0))
        w -= alphas[-1] * v
        beta = np.linalg.norm(w, axis=0)
        betas.append(beta)
        if beta.min() < 1e-10:
            break
        before, v = v, w / beta
    nodes, masses = [], []
    for a, b in zip(np.array(alphas).T, np.array(betas).T, strict=True):
        theta, S = np.linalg.eigh(np.diag(a) + np.diag(b[:-1], 1) + np.diag(b[:-1], -1))
        nodes.append(theta)
        masses.append(S[0] ** 2 * operator.n / PROBES)
    theta = np.concatenate(nodes)
    order = np.argsort(-theta)
    above = np.cumsum(np.concatenate(masses)[order])
    last = min(int(np.searchsorted(above, 4 * count / 3 + 2)), len(order) - 1)
    cut = theta[order][last]
    return float(1 - 1.1 * (1 - cut))


def _chebyshev(operator: Operator, cut: float) -> Operator:
    """Chebyshev polynomial of the operator: within one on [lower, cut], increasing above."""
    middle, half = (cut + operator.lower) / 2, (cut - operator.lower) / 2
    if half < 1e-2 * (1 - operator.lower):
        return operator
    growth = np.arccosh((1 - middle) / half) if cut < 1 else 0.0
    degree = min(MAX_DEGREE, int(np.arccosh(MAX_GROWTH) / growth) if growth > 0 else MAX_DEGREE)

    def apply(V: Array) -> Array:
        before, now = V, (operator.apply(V) - middle * V) / half
        for _ in range(degree - 1):
            before, now = now, (2 / half) * (operator.apply(now) - middle * now) - before
        return now

    return replace(operator, lower=-1.0, apply=apply)


def _filtered(
    operator: Operator,
    count: int,
    cut: float,
    tolerance: float,
    rng: np.random.Generator,
    *,
    patient: bool,
) -> tuple[Array, Array]:
    """Pairs found from one start. All Ritz values above the cut: nothing else can be larger."""
    for _ in range(3):
        vectors = _arpack(_chebyshev(operator, cut), count, 1e-2 * tolerance, rng)
        if vectors is None:
            break
        values, vectors = rayleigh_ritz(operator, vectors)
        if values[-1] >= cut:
            return values, vectors
        cut = 1 - 1.1 * (1 - values[-1])
    vectors = _arpack(operator, count, 1e-2 * tolerance, rng, patient=True) if patient else None
    if vectors is None:
        raise ConvergenceError(
            f"Lanczos did not find {count} eigenpairs (those asked for, and spare ones) of "
            f"{operator.n} vertices in {MAX_WORK:.0e} multiplications; the spectrum has almost no "
            "gaps: ask for more eigenpairs, so that a gap follows, or add weight between the "
            "parts of the graph that hardly touch (or remove it, which makes them components)"
        )
    return rayleigh_ritz(operator, vectors)


def _arpack(
    operator: Operator,
    count: int,
    tolerance: float,
    rng: np.random.Generator,
    *,
    patient: bool = False,
) -> Array | None:
    n = operator.n
    linear = LinearOperator((n, n), matvec=operator, dtype=np.float64)
    size = min(n, max((3 * count) // 2 + 10, 20) + patient * count)
    start = rng.standard_normal(n)
    limit = (
        int(np.clip(MAX_WORK / (4.0 * n * size * (size - count)), 2, 1000))
        if patient
        else QUICK_RESTARTS
    )
    try:
        found = eigsh(
            linear, count, which="LA", v0=start, ncv=size, tol=tolerance, maxiter=limit, rng=rng
        )
    except ArpackNoConvergence:
        return None
    return np.asarray(found[1])


def _has_larger(complement: Operator, value: float, cut: float, rng: np.random.Generator) -> bool:
    """Whether a short Lanczos run from a fresh start sees an eigenvalue above the value.

    A Ritz value is a lower bound of the largest eigenvalue, so that yes is certain.
    """
    polynomial = _chebyshev(complement, cut)
    steps = min(SEARCH_STEPS, complement.n)
    basis = np.empty((steps, complement.n))
    v = rng.standard_normal(complement.n)
    alphas, betas = [], []
    for j in range(steps):
        basis[j] = v / np.linalg.norm(v)
        v = polynomial(basis[j])
        alphas.append(float(basis[j] @ v))
        for _ in range(2):
            v -= basis[: j + 1].T @ (basis[: j + 1] @ v)
        betas.append(float(np.linalg.norm(v)))
        if betas[-1] < 1e-12:
            break
    b = betas[: len(alphas) - 1]
    top = np.linalg.eigh(np.diag(alphas) + np.diag(b, 1) + np.diag(b, -1))[1][:, -1]
    y = top @ basis[: len(alphas)]
    return bool(y @ complement(y) > (value + 1e-9) * (y @ y))
