r"""Features along the flow of the spectral loss, and what heads on them lose.

Training moves :math:`\theta` by :math:`\dot\theta = -\Sigma^{-1} \nabla L(\theta) = 4\,(T -
\theta\theta^\top \Sigma)\,\theta` with :math:`T = \Sigma^{-1} \Sigma_+`: gradient flow of the
whitened factor :math:`X = \Sigma^{1/2} \theta`. Then :math:`\mathrm{span}\,\theta(t) =
e^{4tT}\,\mathrm{span}\,\theta(0)`; scales follow the closed form of the factorization flow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foretell._types import Array

TIME_SCALE = 4.0  # the loss is 4 times the one of the factorization flow, up to a constant
TIE = 1e-12


class Features(NamedTuple):
    r"""Features at T times: :math:`\theta\theta^\top = W N^{-1} W^\top`.

    Attributes
    ----------
    frames
        W, shape (..., T, d, k), bounded at all times; spans the features.
    weights
        N, shape (..., T, k, k), positive definite; None unless asked for.
    """

    frames: Array
    weights: Array | None


def features(within: Array, across: Array, start: Array, s: Array, scales: bool) -> Features:
    r"""Features after the factorization flow has run for times s = 4 t.

    With the eigenvectors V and eigenvalues of K in descending order, :math:`Y = V^\top
    \Sigma^{1/2} \theta(0) = L Q^\top`, L lower trapezoidal, W is
    :math:`\Sigma^{-1/2} V e^{s\Lambda} L` with column j in units of :math:`e^{s\lambda_j}`, or of
    :math:`e^{s\max(\lambda_j, 0)}` if scales matter: no exponent is positive, and equal
    eigenvalues stay together.

    Parameters
    ----------
    within, across
        :math:`\Sigma, \Sigma_+`, shape (..., d, d).
    start
        :math:`\theta(0)`, shape (d, k).
    s
        Times, shape (T,); inf is allowed where eigenvalues differ.
    scales
        Whether to compute N.

    Examples
    --------
    >>> import numpy as np
    >>> start = np.array([[0.6], [0.8]])
    >>> W, N = features(np.eye(2), np.diag([0.5, 0.1]), start, np.array([0.0, np.inf]), True)
    >>> (W[0] / np.sqrt(N[0])).round(12).tolist(), (W[1] ** 2 / N[1]).round(12).tolist()
    ([[0.6], [0.8]], [[0.5], [0.0]])
    """
    sizes, vectors = np.linalg.eigh(within)
    root = (vectors * np.sqrt(sizes)[..., None, :]) @ vectors.swapaxes(-1, -2)
    unroot = (vectors / np.sqrt(sizes)[..., None, :]) @ vectors.swapaxes(-1, -2)
    target = unroot @ across @ unroot
    values, axes = np.linalg.eigh((target + target.swapaxes(-1, -2)) / 2)
    values, axes = values[..., ::-1], axes[..., ::-1]
    Y = axes.swapaxes(-1, -2) @ root @ start
    R = np.asarray(np.linalg.qr(Y.swapaxes(-1, -2), mode="r"))
    L = np.tril(R.swapaxes(-1, -2))
    log = np.log(abs(L), out=np.full(L.shape, -np.inf), where=L != 0)[..., None, :, :]
    # a head that weighs features must see those with negative eigenvalues vanish
    unit = values[..., : start.shape[1]]
    unit = np.maximum(unit, 0.0) if scales else unit
    size = log + _times(s, values[..., :, None] - unit[..., None, :])
    top = (log if scales else size).max(axis=-2, keepdims=True)
    F = np.sign(L)[..., None, :, :] * np.exp(size - top)
    weights = _weights(values, L, unit, top, s) if scales else None
    return Features((unroot @ axes)[..., None, :, :] @ F, weights)


def _times(s: Array, lag: Array) -> Array:
    """s times negative differences of eigenvalues, shape (..., T, d, k).

    Zero where they are zero, also at s = inf, and where they are positive: there L is zero.
    """
    lag = lag[..., None, :, :]
    out = np.zeros(np.broadcast_shapes(lag.shape, (len(s), 1, 1)))
    return np.multiply(s[:, None, None], lag, out=out, where=lag < -TIE)


def _weights(values: Array, L: Array, unit: Array, top: Array, s: Array) -> Array:
    r"""N of :class:`Features`: the bracket :math:`I + 2 Y^\top \int_0^s e^{2\Lambda u} du\, Y` of
    the closed form, in the units of the columns of W."""
    pair = unit[..., :, None] + unit[..., None, :]
    scale = top + top.swapaxes(-1, -2)
    decay = np.exp(_times(s, -pair) - scale)
    linear = 2 * np.where(np.isfinite(s), s, 0.0)[:, None, None] * decay  # of eigenvalue zero
    out = decay * np.eye(L.shape[-1])
    for l in range(L.shape[-2]):
        rows = L[..., l, :]
        outer = (rows[..., :, None] * rows[..., None, :])[..., None, :, :]
        value = values[..., l, None, None]
        flat = abs(value) < TIE
        grown = np.exp(_times(s, 2 * value - pair) - scale) - decay
        steady = grown / np.where(flat, 1.0, value)[..., None, :, :]
        out = out + outer * np.where(flat[..., None, :, :], linear, steady)
    return out


def missed(found: Features, gamma: Array, penalty: float) -> Array:
    r"""Best predictor less that of the head, in coordinates of unit covariance of x.

    Least squares leaves :math:`\gamma - W (W^\top W)^{-1} W^\top \gamma`, a ridge head, the
    minimiser of half the squared error plus half the penalty times the squared norm of its
    coefficients, :math:`\gamma - W (W^\top W + \alpha N)^{-1} W^\top \gamma`. Shape (..., T, d, q).
    """
    W = found.frames
    if penalty == 0:
        Q = np.linalg.qr(W)[0]
        once = gamma - Q @ (Q.swapaxes(-1, -2) @ gamma)
        return once - Q @ (Q.swapaxes(-1, -2) @ once)
    assert found.weights is not None
    inner = W.swapaxes(-1, -2) @ W + penalty * found.weights
    return gamma - W @ np.linalg.solve(inner, W.swapaxes(-1, -2) @ gamma)
