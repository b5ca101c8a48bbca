r"""How far mean errors of masked regression at finite n and d are from their limits."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.theory.masked.equivalent import Equivalent
from foretell.theory.masked.results import EquivalentWarning

TEST, TRAIN = 0.02, 0.05  # relative corrections from which on a warning is due
SERIOUS = 0.5  # correction beyond which its size is not known
FEW = 2.0  # n - df2 below which the corrections say nothing of the test error


def finite_size_corrections(at: Equivalent, n: float) -> tuple[Array, Array]:
    r"""Relative corrections of order 1/n to the limits of test and training error, (g, L) each.

    Means over samples are the limits times one plus these. Coordinate k is regressed on the d - 1
    others, so that its mean errors are linear in their resolvent, for which Stein's identity gives

    .. math:: \alpha\, E Q \approx \kappa R \Bigl[I + \frac{(\Sigma R)^2}{n - \mathrm{df}_2}\Bigr],
              \qquad \alpha = \kappa \Bigl(1 - \frac{\mathrm{df}_1}{n} +
              \frac{\mathrm{df}_2 - \mathrm{df}_3}{n (n - \mathrm{df}_2)}\Bigr).

    Products of two resolvents are derivatives of it. The corrections are small where
    :math:`n - \mathrm{df}_2` is large, whatever n - d is; without a penalty and for n > d they are
    -1/n and 1/(n - d).

    Assumes normal rows. For rows of unequal length :math:`n_e = \mathrm{df}_2/(1 - u)` takes the
    place of n, u of :class:`~foretell.theory.masked.equivalent.Equivalent`, which gives the order
    only. Relative error of the corrections: their own size, or :math:`1/(n - \mathrm{df}_2)`.

    Parameters
    ----------
    at
        Equivalents at L effective ridges, of a covariance with an inverse where one is zero.
    n
        Rows.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.theory.masked.elliptical import RowScales, elliptical_ridges
    >>> from foretell.theory.spectra.spectrum import Spectrum
    >>> s, rows = Spectrum.of([1.0] * 50), RowScales.of(None)
    >>> pair = elliptical_ridges(s.eigenvalues, s.counts, 75, np.zeros(1), rows)
    >>> test, train = finite_size_corrections(Equivalent.at(s, 75, *pair, rows), 75)
    >>> test.round(6).tolist(), train.round(6).tolist()  # -1/n and 1/(n - d)
    ([[-0.013333]], [[0.04]])
    """
    spectrum, kappa = at.spectrum, at.kappa
    tau, counts = spectrum.eigenvalues[:, None], spectrum.counts
    p, x = tau / (tau + kappa), kappa / (tau + kappa)
    scaled = (tau[0] + kappa) / (tau + kappa)
    first = spectrum.profile @ scaled
    m1, m2, m3 = ((spectrum.profile @ (scaled * x**j)) / first for j in (1, 2, 3))
    left = 1 - m1
    share = np.divide(1.0, left, out=np.zeros_like(left), where=left > 0)
    second, third = np.maximum(m2 - m1**2, 0.0) * share, (m3 - 2 * m1 * m2 + m1**3) * share
    lost = left, left - (m1 - 2 * m2 + m1**2)
    rows = n if (at.weight == 0).all() else at.df2 / np.maximum(1 - at.spread, 1e-300)
    traces = at.df2, counts @ p**3, counts @ p**4
    return regression_corrections(traces, rows, at.spread, lost, second, third)


def regression_corrections(
    traces: tuple[Any, Any, Any],
    n: Any,
    u: Any,
    lost: tuple[Any, Any],
    second: Any,
    third: Any,
) -> tuple[Any, Any]:
    r"""The corrections from what they are made of; arrays of shapes that go together.

    Parameters
    ----------
    traces
        :math:`\mathrm{tr}(\Sigma R)^j`, j = 2, 3, 4.
    n, u
        Rows, and 1 - df2/n.
    lost
        What df1 and df2 lose if the predicted coordinate is left out.
    second, third
        :math:`\kappa^2 b^\top \Sigma^2 R^3 b` and :math:`\kappa^3 b^\top \Sigma^2 R^4 b` of the
        covariance of the predictors, with b the best linear coefficients, over the test error
        times u.
    """
    df2, df3, df4 = traces
    e = 1 / (n * u)
    steep = (df2 - df3) * e
    shift = -e * (lost[0] + steep)  # of log kappa
    response = e * (-2 * steep + 3 * e * (df3 - df4) - 2 * steep**2)
    common = -e * (lost[1] + 2 * (df2 - df3) * shift) - e * steep - response
    common = common + 2 * second * shift + e * (second - 3 * third) - 2 * e * steep * second
    test = common + 2 * e * second + e * (2 * df3 - df2) / n - 2 * e * steep * df2 / n
    return test, common - 2 * shift


def warn_if_far(n: float, d: float, alphas: Array, test: Array, train: Array, rest: Array) -> None:
    """Warn once if test or training error may be far from its limit at one of the penalties.

    Parameters
    ----------
    test, train
        Relative corrections of the totals, shape (L,); zero where there is none.
    rest
        n - df2, shape (L,).
    """
    test = np.where((rest < FEW) & (test != 0), np.inf, test)
    parts = []
    for name, sizes, most in (("test", test, TEST), ("training", train, TRAIN)):
        large = np.abs(sizes) > most
        if large.any():
            worst = int(np.argmax(np.abs(sizes)))
            parts.append((f"{name} error {_size(float(sizes[worst]))}", large, worst))
    if not parts:
        return
    where = np.logical_or.reduce([large for _, large, _ in parts])
    worst = parts[0][2]
    at = f"alpha = {alphas[worst]:.3g}" if where.sum() == 1 else (
        f"{where.sum()} penalties, alpha = {alphas[where].min():.3g} to {alphas[where].max():.3g}"
    )  # fmt: skip
    named = " and ".join(text.partition(" error")[0] for text, _, _ in parts)
    warn_user(
        f"{named} error inaccurate: n = {n:g}, d = {d:g} and {at} are far from the limit of large "
        f"n and d, n less the second degrees of freedom being {rest[worst]:.3g}: "
        f"{' and '.join(text for text, _, _ in parts)}; use a larger penalty, or simulate"
    )


def warn_user(message: str) -> None:
    """An :class:`EquivalentWarning` at the line outside foretell that made the call."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, EquivalentWarning, stacklevel=level)


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == "foretell"


def _size(correction: float) -> str:
    if abs(correction) > SERIOUS:
        return "may be off by half or more"
    side = "low" if correction > 0 else "high"
    return f"may be off by about {100 * abs(correction):.2g} % (too {side})"
