r"""The spectral contrastive loss of a mini-batch, without bias."""

from __future__ import annotations

from typing import Any


def spectral_loss(first: Any, second: Any, weights: Any) -> Any:
    r"""Unbiased estimate of the population loss from two views of b independent rows.

    .. math:: -\frac{2}{b} \sum_i w_i\, z_i^\top z_i^+
        + \frac{1}{4 b (b - 1)} \sum_{i \ne j} w_i w_j
          \sum_{u \in \{z_i, z_i^+\}} \sum_{v \in \{z_j, z_j^+\}} (u^\top v)^2,

    the U-statistic over pairs of different rows and all four pairs of their views; its mean is
    :math:`-2 E f(x)^\top f(x^+) + E (f(x)^\top f(x'))^2`. The double sum is the squared norm of
    the second moments less what each row adds with itself, so that it costs b r² instead of b² r.

    Parameters
    ----------
    first, second
        Features of the two views, shapes (b, r), b >= 2.
    weights
        Of the rows, shape (b,), with mean one in the sample.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> ones = jnp.ones((3, 1))
    >>> float(spectral_loss(ones, ones, jnp.ones(3)))
    -1.0

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. Section 3.2; the estimate of Section 4.1 with both
       views of every row.
    """
    b = len(first)
    positive = weights @ (first * second).sum(axis=1) / b
    moments = first.T @ (weights[:, None] * first) + second.T @ (weights[:, None] * second)
    own = (
        (first**2).sum(axis=1) ** 2
        + (second**2).sum(axis=1) ** 2
        + 2 * (first * second).sum(axis=1) ** 2
    )
    negative = ((moments**2).sum() - weights**2 @ own) / (4 * b * (b - 1))
    return negative - 2 * positive
