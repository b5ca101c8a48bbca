r"""Imbalance of classes in pre-training: long tails, and the relative gap that they cause.

The quality A of a representation is the accuracy of a probe fitted to balanced labeled rows. What
imbalance costs is :math:`\Delta = (A_{bal} - A_{imb}) / A_{bal}`, both pre-trained on as many rows
(Liu, HaoChen, Gaidon & Ma 2022). A toy model in which self-supervised learning loses less
than supervised learning is in :mod:`foretell.theory.imbalance_toy`, rare clusters of positive-pair
graphs in :mod:`foretell.theory.imbalanced_clusters`, an experiment on one's own data in
:mod:`foretell.experiments.imbalance`.

References
----------
.. [1] Liu, HaoChen, Gaidon & Ma (2022). Self-supervised learning is more robust to dataset
   imbalance. ICLR. arXiv:2110.05025. Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_array, real_number, whole_number
from foretell.errors import InputError

Tail = Literal["exponential", "pareto"]
TAILS = ("exponential", "pareto")


def long_tail(n_classes: int, n: int, ratio: float, kind: Tail = "exponential") -> Array:
    r"""Rows of K classes from the most to the least frequent, shape (K,), adding up to n.

    Shares are proportional to :math:`\text{ratio}^{-k/(K-1)}` (``"exponential"``) or to the power
    law :math:`(k+1)^{-\log \text{ratio} / \log K}` (``"pareto"``), k = 0, ..., K - 1: in both
    the first class is ``ratio`` times the last. Whole numbers by largest remainders: none is
    more than one away from its share, and they do not increase.

    Parameters
    ----------
    n_classes
        Number K >= 2 of classes.
    n
        Rows in total.
    ratio
        Largest over smallest share, >= 1 (the inverse of r of Liu et al.).
    kind
        Shape of the tail.

    Raises
    ------
    InputError
        If a class is left without a row, or an argument is out of range.

    Examples
    --------
    >>> long_tail(4, 100, 10).tolist()
    [56, 26, 12, 6]
    >>> long_tail(4, 100, 10, "pareto").tolist()
    [64, 20, 10, 6]
    """
    shares = tail_shares(n_classes, ratio, kind)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < n_classes:
        raise InputError(f"n is a whole number of rows, at least one a class; found {n!r}")
    exact = shares * n
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: n - sizes.sum()]] += 1
    if sizes[-1] < 1:
        raise InputError(
            f"the rarest of {n_classes} classes gets {exact[-1]:.2g} of {n} rows at ratio "
            f"{ratio:g}; raise n to {int(np.ceil(1 / shares[-1]))}, or lower the ratio"
        )
    return sizes


def tail_shares(n_classes: int, ratio: float, kind: Tail = "exponential") -> Array:
    """Shares of the classes of a long tail before rounding, shape (K,), summing to one.

    Raises
    ------
    InputError
        If there are fewer than 2 classes, the ratio is below 1, or the kind is unknown.

    Examples
    --------
    >>> tail_shares(3, 4.0).round(3).tolist()
    [0.571, 0.286, 0.143]
    """
    whole_number(n_classes, "n_classes", 2)
    ratio = real_number(ratio, "ratio")
    if not (np.isfinite(ratio) and ratio >= 1):
        raise InputError(f"ratio is largest over smallest class, at least 1; found {ratio!r}")
    if kind not in TAILS:
        raise InputError(f"kind is 'exponential' or 'pareto'; found {kind!r}")
    k = np.arange(n_classes)
    if kind == "exponential":
        share = float(ratio) ** (-k / (n_classes - 1))
    else:
        share = (k + 1.0) ** (-np.log(ratio) / np.log(n_classes))
    return np.asarray(share / share.sum())


@dataclass(frozen=True)
class RelativeGap:
    """A relative gap and its standard error over draws.

    Attributes
    ----------
    value
        Share of the balanced quality that imbalance costs; negative if it helps.
    se
        Standard error; 0 from single numbers, which are taken as known.

    Examples
    --------
    >>> print(relative_gap([0.9, 0.92], [0.81, 0.83]))
    9.9 % (s.e. 0.1)
    """

    value: float
    se: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % (s.e. {100 * self.se:.1f})"


def relative_gap(balanced: Any, imbalanced: Any) -> RelativeGap:
    r""":math:`\Delta = (A_{bal} - A_{imb}) / A_{bal}` of a quality measure such as accuracy.

    Of draws, the ratio of means; the standard error is first order (delta method) and takes
    draw i of both as a pair, so that what they have in common cancels.

    Parameters
    ----------
    balanced, imbalanced
        Quality > 0 after pre-training on balanced and on imbalanced samples: numbers, or
        one a draw, shape (n,), n >= 2.

    Raises
    ------
    InputError
        If shapes differ, there is one draw only, or values are not finite and positive.

    Examples
    --------
    >>> relative_gap(0.9, 0.81).value.__round__(6)
    0.1

    References
    ----------
    .. [1] Liu, HaoChen, Gaidon & Ma (2022). Section 2.3.
    """
    value, influence = _gap(balanced, imbalanced)
    return RelativeGap(value, _standard_error(influence))


def gap_difference(first: tuple[Any, Any], second: tuple[Any, Any]) -> RelativeGap:
    """The first relative gap less the second, with a standard error that pairs the draws.

    Parameters
    ----------
    first, second
        (balanced, imbalanced) as in :func:`relative_gap`, draw i of all four a pair.

    Raises
    ------
    InputError
        As :func:`relative_gap`, or if the numbers of draws differ.

    Examples
    --------
    >>> print(gap_difference(([0.9, 0.92], [0.7, 0.73]), ([0.9, 0.92], [0.81, 0.83])))
    11.5 % (s.e. 0.7)
    """
    (one, u), (two, v) = _gap(*first), _gap(*second)
    if u.shape != v.shape:
        raise InputError(f"both gaps need the same draws; found {u.size} and {v.size}")
    return RelativeGap(one - two, _standard_error(u - v))


def _gap(balanced: Any, imbalanced: Any) -> tuple[float, Array]:
    """The relative gap, and what each draw adds to it, shape (n,) (one zero for numbers)."""
    b, i = (real_array(values, "qualities", "(n,)") for values in (balanced, imbalanced))
    if b.shape != i.shape or b.ndim > 1:
        raise InputError(
            f"expected two numbers, or draws of the same shape (n,); found {b.shape} and {i.shape}"
        )
    if b.ndim and len(b) < 2:
        raise InputError(f"a standard error needs at least 2 draws; found {len(b)}")
    if not (np.isfinite(b).all() and np.isfinite(i).all() and (i >= 0).all() and (b > 0).all()):
        raise InputError("qualities are finite, at least 0, and positive where balanced")
    value = 1.0 - i.mean() / b.mean()
    return float(value), np.atleast_1d(((1.0 - value) * b - i) / b.mean())


def _standard_error(influence: Array) -> float:
    n = len(influence)
    return float(influence.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
