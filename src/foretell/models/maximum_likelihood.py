r"""Maximum likelihood of the factor model :math:`x \sim N(\mu, WW^\top + \Psi)` from moments.

Everything here is a function of a covariance S, shape (d, d). With
:math:`\tilde S = \Psi^{-1/2} S \Psi^{-1/2} = U L U^\top` (eigenvalues descending), the loadings
at given noise are :math:`\Psi^{1/2} U_r (L_r - I)^{1/2}`, so only the noise is searched for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from foretell._types import Array
from foretell.errors import ConvergenceError, IdentificationError

SMALLEST_UNIQUENESS = 0.005
FLAT = 1e-8


class Spectrum(NamedTuple):
    """Eigenvalues, shape (d,), descending, and eigenvectors, shape (d, d), of scaled S."""

    values: Array
    vectors: Array


class NoiseFit(NamedTuple):
    """Noise variances, shape (d,), and which of them stopped at their bound (Heywood cases)."""

    noise: Array
    clamped: Array


def spectrum(covariance: Array, noise: Array) -> Spectrum:
    """Eigendecomposition of the covariance in units of the noise."""
    root = np.sqrt(noise)
    values, vectors = eigh(covariance / np.outer(root, root), check_finite=False)
    return Spectrum(np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1]))


def isotropic_noise(eigenvalues: Array, rank: int) -> float:
    """Mean of the eigenvalues that the factors leave over (Tipping & Bishop 1999, eq. 8)."""
    return float(eigenvalues[rank:].mean())


def negative_log_likelihood(noise: Array, values: Array, rank: int) -> float:
    """Per row, without d/2 log(2 pi): loadings are at their optimum for this noise."""
    inside, outside = values[:rank], values[rank:]
    return 0.5 * float(np.log(noise).sum() + np.log(inside).sum() + rank + outside.sum())


def noise_gradient(scaled: Spectrum, rank: int) -> Array:
    """Derivative of the profile likelihood in log noise, shape (d,).

    Half the diagonal of :math:`P_\\perp (I - \\tilde S) P_\\perp`; zero where the model
    reproduces the variance of every column.
    """
    outside = scaled.vectors[:, rank:]
    return 0.5 * np.asarray(outside**2 @ (1.0 - scaled.values[rank:]))


def noise_hessian(scaled: Spectrum, rank: int, *, exact: bool = True) -> Array:
    """Second derivative of the profile likelihood in log noise, shape (d, d).

    Without the exact part, the (positive semidefinite) expected value under the model.
    """
    inside, outside = scaled.vectors[:, :rank], scaled.vectors[:, rank:]
    top, rest = scaled.values[:rank], scaled.values[rank:]
    hessian = (outside @ outside.T) * ((outside * rest) @ outside.T)
    if exact:
        for u, value in zip(inside.T, top, strict=True):
            turn = (1.0 - rest) * (value + rest) / (value - rest)
            hessian += np.outer(u, u) * ((outside * turn) @ outside.T)
    return 0.5 * hessian


def diagonal_noise(covariance: Array, rank: int, *, max_iterations: int = 500) -> NoiseFit:
    """Noise variances of a factor model with one noise variance a column.

    Projected Newton steps on the profile likelihood in log noise, from Joereskog's start; no
    noise variance falls below 0.005 of its column's variance (a Heywood case stops there).

    Raises
    ------
    IdentificationError
        If the model has more parameters than the covariance has entries.
    ConvergenceError
        If the gradient does not vanish within the iterations.

    References
    ----------
    .. [1] Joereskog (1967). Some contributions to maximum likelihood factor analysis.
       Psychometrika 32. Section 4.
    .. [2] Lawley & Maxwell (1971). Factor Analysis as a Statistical Method. Section 4.
    """
    d = len(covariance)
    if rank == 0:
        return NoiseFit(np.diag(covariance).copy(), np.zeros(d, dtype=bool))
    surplus = ((d - rank) ** 2 - (d + rank)) / 2
    if surplus < 0:
        raise IdentificationError(
            f"a factor model with diagonal noise and rank {rank} on {d} columns is flat in at "
            f"least {-int(np.floor(surplus))} directions more than its rotations explain; "
            f"reduce the rank to {largest_rank(d)} or less, or use noise='isotropic'"
        )
    variance = np.diag(covariance).copy()
    lower, upper = np.log(SMALLEST_UNIQUENESS * variance), np.log(variance)
    values = np.linalg.eigvalsh(covariance)
    ridge = 1e-3 * variance.mean() if values[0] < 1e-10 * values[-1] else 0.0
    precision = np.diag(np.linalg.inv(covariance + ridge * np.eye(d)))
    log_noise = np.clip(np.log((1 - rank / (2 * d)) / precision), lower, upper)
    scaled = spectrum(covariance, np.exp(log_noise))
    value = negative_log_likelihood(np.exp(log_noise), scaled.values, rank)
    for _ in range(max_iterations):
        gradient = noise_gradient(scaled, rank)
        clamped = (log_noise <= lower) & (gradient > 0)
        free = ~clamped
        if np.abs(gradient[free]).max(initial=0.0) < 1e-12:
            return NoiseFit(np.exp(log_noise), clamped)
        step = np.zeros(d)
        exact = bool(np.abs(gradient[free]).max() < 0.1)
        step[free] = _newton_step(scaled, rank, gradient, free, exact=exact)
        step *= min(1.0, 2.0 / np.abs(step).max())
        moved = False
        for length in 0.5 ** np.arange(30):
            trial = np.clip(log_noise + length * step, lower, upper)
            new = spectrum(covariance, np.exp(trial))
            new_value = negative_log_likelihood(np.exp(trial), new.values, rank)
            better_gradient = np.abs(noise_gradient(new, rank)[free]).max(initial=0.0)
            flat = abs(new_value - value) <= 1e-13 * max(1.0, abs(value))
            if new_value < value and not flat:
                moved = True
            elif flat:
                moved = bool(better_gradient < np.abs(gradient[free]).max())
            if moved:
                log_noise, scaled, value = trial, new, new_value
                break
        if not moved:
            largest = np.abs(gradient[free]).max()
            if largest < 1e-9:
                return NoiseFit(np.exp(log_noise), clamped)
            raise ConvergenceError(
                f"the likelihood of the factor model (diagonal noise, rank {rank}) stopped "
                f"improving with a gradient of {largest:.1e}; reduce the rank, or use "
                "noise='isotropic'"
            )
    raise ConvergenceError(
        f"the factor model (diagonal noise, rank {rank}) did not converge in {max_iterations} "
        f"Newton steps (gradient {np.abs(gradient[free]).max():.1e}); reduce the rank, or use "
        "noise='isotropic'"
    )


def _newton_step(
    scaled: Spectrum, rank: int, gradient: Array, free: Array, *, exact: bool
) -> Array:
    for use_exact in (exact, False):
        hessian = noise_hessian(scaled, rank, exact=use_exact)[np.ix_(free, free)]
        damping = 1e-10 * np.trace(hessian) / len(hessian)
        try:
            factor = cho_factor(hessian + damping * np.eye(len(hessian)), check_finite=False)
        except np.linalg.LinAlgError:
            continue
        return -np.asarray(cho_solve(factor, gradient[free]))
    return -gradient[free]


def largest_rank(d: int) -> int:
    """Largest rank with diagonal noise that d columns can identify (Ledermann 1937)."""
    return max(0, int(np.floor(d + 0.5 - np.sqrt(2 * d + 0.25) + 1e-9)))


def check_minimum(scaled: Spectrum, rank: int, clamped: Array | None) -> None:
    """Raise unless the fit is a strict minimum on the quotient by rotations.

    The curvature is zero or negative where a factor is no stronger than the noise, where an
    eigenvalue inside the rank equals one outside (isotropic and diagonal), and where the noise
    itself is not determined (diagonal only; ``clamped`` is None for isotropic noise).
    """
    if rank == 0:
        return
    top, rest = scaled.values[:rank], scaled.values[rank:]
    weak = int((top <= 1.0 + FLAT).sum())
    if weak:
        raise IdentificationError(
            f"{weak} of the {rank} factors are not stronger than the noise (eigenvalues in "
            f"units of the noise {np.array2string(top, precision=6)}, expected > 1), so their "
            f"loadings are zero and their directions arbitrary; reduce the rank to {rank - weak}"
        )
    tied_inside = int((top <= rest[0] * (1 + FLAT)).sum())
    if tied_inside:
        tied_outside = int((rest >= top[-1] * (1 - FLAT)).sum())
        raise IdentificationError(
            f"the pre-training loss is flat in {tied_inside * tied_outside} directions more than "
            f"its rotations explain: eigenvalue {rank} ({top[-1]:.9g}) equals eigenvalue "
            f"{rank + 1} ({rest[0]:.9g}); choose a rank at a gap of the spectrum"
        )
    if clamped is None:
        return
    if clamped.all():
        raise IdentificationError(
            f"the noise variances of all {len(clamped)} columns stopped at their bounds: {rank} "
            "factors leave no noise to estimate; reduce the rank"
        )
    free = ~clamped
    size = np.linalg.eigvalsh(noise_hessian(scaled, rank)[np.ix_(free, free)])
    if size[0] < -FLAT * size[-1]:
        raise ConvergenceError(
            f"the likelihood of the factor model stopped at a saddle (curvature {size[0]:.1e} "
            f"beside {size[-1]:.1e}); reduce the rank, or use noise='isotropic'"
        )
    flat = int((size < FLAT * size[-1]).sum())
    if flat:
        raise IdentificationError(
            f"the pre-training loss is flat in {flat} directions more than its rotations "
            f"explain: the noise variances of {flat} combinations of columns are not determined "
            "at this rank; reduce the rank, or use noise='isotropic'"
        )
