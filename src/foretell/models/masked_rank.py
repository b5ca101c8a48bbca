"""How many eigenvalues of a masked regression stand above what independent columns give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.models.masked_influence import MaskedMap

FIXED = "fixed beforehand"
DRAWS = 19  # the largest of 19 is passed by one in 20 further draws


class RankChoice(NamedTuple):
    """How many features, by which rule in words, and how the penalty was chosen."""

    rank: int
    rule: str
    penalty_rule: str


def noise_level(variances: Array, n_rows: int, alpha: float, *, seed: int = 0) -> float:
    r"""Largest eigenvalue of A in 19 samples of independent normal columns.

    An eigenvalue of further such rows passes it with probability 1/20: an exact Monte Carlo test
    of "no column helps to predict another" for normal columns of these variances, at any n, d
    and penalty. Samples enter by their Wishart covariance, so that n does not matter for time.

    Parameters
    ----------
    variances
        Of the columns, shape (d,).
    n_rows
        Number n of rows.
    alpha
        Ridge penalty.
    seed
        Of the samples.

    Examples
    --------
    >>> round(noise_level(np.ones(60), 200, 0.1), 3)
    0.676

    References
    ----------
    .. [1] Horn (1965). A rationale and test for the number of factors in factor analysis.
       Psychometrika 30.
    .. [2] Smith & Hocking (1972). Algorithm AS 53: Wishart variate generator. Applied Statistics
       21.
    """
    rng = np.random.default_rng(seed)
    scale = np.sqrt(variances)
    top = [
        1.0 - MaskedMap.of(_wishart(rng, scale, n_rows), alpha).remainder[0] for _ in range(DRAWS)
    ]
    return float(max(top))


def _wishart(rng: np.random.Generator, scale: Array, n_rows: int) -> Array:
    """Covariance of n normal rows about zero with these standard deviations, shape (d, d)."""
    d = len(scale)
    if n_rows < d:
        half = rng.standard_normal((d, n_rows))
    else:
        half = np.tril(rng.standard_normal((d, d)), -1)
        half[np.diag_indices(d)] = np.sqrt(rng.chisquare(n_rows - np.arange(d)))
    half *= scale[:, None]
    return np.asarray(half @ half.T / n_rows)


def count_above(fitted: MaskedMap, level: float, *, max_rank: int | None) -> tuple[int, str]:
    """Rank and rule for ``rank="auto"``: at least 1, at most ``max_rank`` and d - 1."""
    d = len(fitted.diagonal)
    most = d - 1 if max_rank is None else max(1, min(d - 1, max_rank))
    found = int((1.0 - fitted.remainder > level).sum())
    rule = (
        f"{found} eigenvalue(s) of A above {level:.3g}, the largest of independent columns in "
        f"{DRAWS} samples"
    )
    if found < 1:
        return 1, f"{rule}; at least 1"
    if found > most:
        return most, f"{rule}; at most {most}"
    return found, rule


def check_rank(rank: object, n_columns: int) -> int:
    """The rank as a whole number from 1 to d - 1.

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer):
        raise InputError(f"rank is a whole number or 'auto'; found {rank!r}")
    if not 1 <= rank < n_columns:
        raise InputError(
            f"the rank is at least 1 and below the number of columns; found rank {rank} with "
            f"{n_columns} columns; choose rank <= {n_columns - 1}"
        )
    return int(rank)
