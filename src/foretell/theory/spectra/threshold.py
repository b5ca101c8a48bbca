"""The spike from which on its direction shows in a spectrum (Baik, Ben Arous & Peche)."""

from __future__ import annotations

import numpy as np

from foretell.errors import InputError
from foretell.theory.spectra.bulk import Bulk, check_aspect_ratio


def bbp_threshold(
    aspect_ratio: float, *, support: int | None = None, alpha: float | None = None
) -> float:
    r"""Smallest positive spike whose direction shows in the spectrum.

    :math:`\sqrt{\gamma}` for the covariance, and for the coefficients if the direction is spread
    over all coordinates; a negative spike then shows below :math:`-\sqrt\gamma` if
    :math:`\gamma < 1`. A direction uniform on b coordinates needs a larger spike, without penalty
    :math:`\sqrt\gamma\, b/(b-1)` for n > d, and may never show for b = 1.

    Parameters
    ----------
    aspect_ratio
        Columns per row, d / n.
    support
        Number b of coordinates; None for all.
    alpha
        Ridge penalty from 0 to infinity; needed with ``support``.

    Returns
    -------
    float
        The threshold, inf if no spike is large enough.

    Raises
    ------
    InputError
        If a number is out of range, or a localized direction comes without a penalty.

    Examples
    --------
    >>> round(bbp_threshold(0.5), 4), round(bbp_threshold(0.5, support=2, alpha=0), 4)
    (0.7071, 1.4142)
    >>> bbp_threshold(0.5, support=1, alpha=0.1), round(bbp_threshold(0.5, support=1, alpha=10), 2)
    (inf, 2.08)
    """
    gamma = check_aspect_ratio(aspect_ratio)
    root = float(np.sqrt(gamma))
    if alpha is not None and not (isinstance(alpha, float | int | np.number) and alpha >= 0):
        raise InputError(f"alpha is a penalty from 0 to inf; found {alpha!r}")
    if support is None:
        return root
    if support != int(support) or support < 1:
        raise InputError(f"a support is a whole number of coordinates from 1; found {support}")
    b = int(support)
    if alpha is None:
        raise InputError(
            f"a localized direction has a threshold that depends on the penalty; found alpha = "
            f"{alpha}; give one from 0 to inf"
        )
    s = 1 + root
    if np.isinf(alpha):
        return b * s * root / (b * s - 1)
    kappa = Bulk.of(None, gamma).kappa(float(alpha))
    return _quadratic_threshold(s, b, float(alpha), kappa)


def _quadratic_threshold(s: float, b: int, alpha: float, kappa: float) -> float:
    """Positive root of the condition that the resolvent is singular at the edge."""
    square = s * (b - 1)
    linear = s * b * (1 + kappa) + (b - 1) * (s + alpha) - b * (s**2 + alpha)
    constant = b * (1 + kappa) * (s - s**2)
    if square == 0:
        return -constant / linear if linear > 0 else float("inf")
    root = np.sqrt(linear**2 - 4 * square * constant)
    # The two forms of the root; the one without cancellation.
    return float(-2 * constant / (linear + root) if linear > 0 else (root - linear) / (2 * square))
