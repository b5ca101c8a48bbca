"""Whether the representation is also best for the target."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import null_space
from scipy.special import fdtrc

from foretell._types import Array
from foretell.errors import IdentificationError
from foretell.inference.risklaw import RiskLaw

LABELS_PER_DIRECTION = 2
TEST_LEVEL = 0.05
EXACT_TOLERANCE = 3e-3  # g of a population this far below its second-order scale is zero


class GradientTest(NamedTuple):
    r"""Wald test of the hypothesis that the representation is also best for the target.

    g is tested in the directions in which pre-training is uncertain. With more than twice as many
    labels as directions, the Wald statistic is referred to Hotelling's distribution; otherwise the
    first-order variance itself to the weighted sum of chi-squares it then is.

    Attributes
    ----------
    statistic
        Estimated first-order variance of the excess risk times m,
        :math:`\hat g^\top \Sigma_1 \hat g`.
    p_value
        Of the hypothesis g = 0.
    null_mean
        What noise in g adds to the statistic on average.
    method
        The reference distribution, in words.
    first_order
        Whether the hypothesis is rejected at the 5 % level.
    """

    statistic: float
    p_value: float
    null_mean: float
    method: str
    first_order: bool


def outside_head(vectors: Array, curvature: Array, head_map: Array) -> Array:
    """What of gradients, (P,) or (P, k), a refit of the head without its penalty leaves.

    The curvature is that of the loss in the outputs alone: residuals that a penalty causes are
    linear in the features, and so is their gradient in the representation.
    """
    onto = curvature @ head_map
    try:
        absorbed = np.linalg.solve(head_map.T @ onto, head_map.T @ vectors)
    except np.linalg.LinAlgError as error:
        raise IdentificationError(
            "the features are collinear, so that only the penalty determines the head; no errors "
            "can be given; reduce the rank, or label more rows"
        ) from error
    return np.asarray(vectors - onto @ absorbed)


def gradient_test(
    gradient: Array, head_map: Array, unlabeled: Array, spread: Array, n: int
) -> GradientTest:
    """Test a gradient (P,) with noise ``spread`` (P, P) from n independent labels or clusters."""
    outside = null_space(head_map.T)  # what a refit of the head cannot absorb
    size, axes = np.linalg.eigh(outside.T @ unlabeled @ outside)
    keep = size > 1e-13 * size.max(initial=0.0)
    k = int(keep.sum())
    if k == 0:
        return GradientTest(0.0, 1.0, 0.0, "nothing to test", False)
    root = np.sqrt(size[keep])[:, None] * (outside @ axes[:, keep]).T
    moved, noise = root @ gradient, root @ spread @ root.T
    weights = np.maximum(np.linalg.eigvalsh(noise), 0.0)
    statistic = float(moved @ moved)
    if n > LABELS_PER_DIRECTION * k and weights[0] > 1e-12 * weights[-1]:
        ratio = float(moved @ np.linalg.solve(noise, moved)) * (n - k) / (k * (n - 1))
        p_value = float(fdtrc(k, n - k, ratio))
        method = f"Wald test with Hotelling's F({k}, {n - k})"
    else:
        p_value = float(RiskLaw(weights).sf(statistic))
        method = f"weighted chi-squares in {k} directions, too many for {n} labels to tell apart"
    first_order = p_value < TEST_LEVEL
    return GradientTest(statistic, p_value, float(weights.sum()), method, first_order)


def exact_test(outside: Array, unlabeled: Array, curvature: Array) -> GradientTest:
    """Whether g of a population is zero, up to the accuracy of its quadrature."""
    statistic = float(outside @ unlabeled @ outside)
    size = float(np.einsum("pq,pq->", curvature, unlabeled))
    first_order = statistic > (EXACT_TOLERANCE * size) ** 2
    return GradientTest(statistic, 0.0 if first_order else 1.0, 0.0, "population", first_order)
