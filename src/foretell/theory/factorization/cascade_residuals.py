r"""How well a trajectory satisfies the three differential equations of the cascade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.theory.factorization.cascade import Coordinates, row_space


@dataclass(frozen=True, eq=False)
class Residuals:
    """Relative residuals of the equations of P1, W and S, each of shape (T,)."""

    leading: Array
    tilt: Array
    schur: Array


def residuals(coordinates: Coordinates, factor: Array) -> Residuals:
    r"""Relative residuals of the three differential equations at every time.

    Left-hand sides are the exact derivatives of :math:`P_1`, W and S that the velocity
    :math:`\dot F = (\Lambda - F F^\top) F` of the factors implies; right-hand sides are the
    equations at the coordinates. Where factors and coordinates come from different formulas, a
    small residual confirms both.

    Residuals of :math:`P_1` and S are Frobenius norms relative to the sum of the norms of the
    terms (S with a floor of a rounding unit times :math:`\|\Lambda\| \|F_2\|^2`). That of W is
    relative to :math:`\|\Lambda\| \|F_2\| \|F_1^+\|`: W taken from a factor is no more
    accurate than this times the rounding unit.

    Parameters
    ----------
    coordinates
        At T times.
    factor
        F in the eigenbasis at the same times, :math:`F F^\top = P`, shape (T, d, k). Made there,
        not rotated into it, which loses entries below the rounding of the largest: S would be
        lost once it is.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory.factorization.cascade import coordinates
    >>> values, start = np.array([2.0, 1.0, -1.0]), np.eye(3)[:, :2] + 0.1
    >>> found = residuals(coordinates(values, start, np.zeros(1)), start[None])
    >>> max(found.leading.item(), found.tilt.item(), found.schur.item()) < 1e-14
    True
    """
    r, L1, L2 = coordinates.split, coordinates.growth, coordinates.decay
    P1, W, S = coordinates.leading, coordinates.tilt, coordinates.schur
    dP1, dW, dS = _derivatives(np.concatenate([L1, -L2]), factor, r)
    square = P1 @ (P1 + W @ _transposed(P1 @ W))
    linear = L1[:, None] * P1
    gap1 = dP1 - linear - _transposed(linear) + 2 * square
    gapW = dW + L1[:, None] * W + W * L2 + 2 * W @ S
    gapS = dS + L2[:, None] * S + S * L2 + 2 * S @ S
    top = np.abs(np.concatenate([L1, L2])).max(initial=0.0)
    lower = np.linalg.norm(factor[:, r:], axis=(1, 2))
    least = np.linalg.svd(factor[:, :r], compute_uv=False).min(axis=1, initial=np.inf)
    eps = np.finfo(np.float64).eps
    return Residuals(
        _ratio(gap1, 2 * (_norm(linear) + _norm(square))),
        _ratio(gapW, top * lower / least),
        _ratio(gapS, 2 * (_norm(S * L2) + _norm(S @ S)) + eps * top * lower**2),
    )


def _derivatives(values: Array, factor: Array, r: int) -> tuple[Array, Array, Array]:
    """Derivatives of P1, W and S along the flow of F.

    With T = (-W', I): T F = G, G F1' = 0 and S = T P T', hence dS = T dF G' + its transpose, and
    W' P1 = F2 F1' gives dW' P1 = (T dF) F1' + G dF1'.
    """
    velocity = values[:, None] * factor - factor @ (_transposed(factor) @ factor)
    Q, R = row_space(factor, r)
    N, null = Q[..., :r], Q[..., r:]
    G = factor[:, r:] @ null @ _transposed(null)
    W = np.linalg.solve(R, _transposed(factor[:, r:] @ N))
    moved = velocity[:, r:] - _transposed(W) @ velocity[:, :r]
    dP1 = velocity[:, :r] @ _transposed(factor[:, :r])
    right = velocity[:, :r] @ _transposed(G)
    inner = np.linalg.solve(R, _transposed(moved @ N))
    dW = inner + np.linalg.solve(R, np.linalg.solve(_transposed(R), right))
    dS = moved @ _transposed(G)
    return dP1 + _transposed(dP1), dW, dS + _transposed(dS)


def _transposed(a: Array) -> Array:
    return np.swapaxes(a, -1, -2)


def _norm(a: Array) -> Array:
    return np.asarray(np.linalg.norm(a, axis=(-2, -1)))


def _ratio(gap: Array, scale: Array) -> Array:
    return np.divide(_norm(gap), scale, out=np.zeros(len(gap)), where=scale > 0)
