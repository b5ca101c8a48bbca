r"""Distinct eigenvalues of a target: what counts as equal, as zero, as positive.

Equilibria of :math:`\dot X = (M - XX^\top)X` depend on eigenvalues only through their order and
their signs, which rounding blurs: eigenvalues closer than ``tolerance`` times the largest
absolute one are equal here, and those below it are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.target import Target

EQUAL = 1e-12


@dataclass(frozen=True, eq=False)
class Levels:
    """The positive eigenvalues of a target, grouped; and how many are zero or negative.

    Parameters
    ----------
    target
        Target of M.
    tolerance
        Eigenvalues that differ by at most this times the largest absolute eigenvalue are equal.

    Examples
    --------
    >>> import numpy as np
    >>> levels = Levels(Target.of(np.diag([3.0, 1.0, 1.0, 0.0, -2.0])))
    >>> levels.values.tolist(), levels.sizes.tolist(), levels.n_zero
    ([3.0, 1.0], [1, 2], 1)
    """

    target: Target
    tolerance: float = EQUAL

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise InputError(f"expected 0 <= tolerance < 1; found {self.tolerance}")

    @cached_property
    def _resolution(self) -> float:
        return self.tolerance * float(np.abs(self.target.eigenvalues).max(initial=0.0))

    @cached_property
    def n_positive(self) -> int:
        """Number r of positive eigenvalues; they come first."""
        return int((self.target.eigenvalues > self._resolution).sum())

    @cached_property
    def n_zero(self) -> int:
        """Number of zero eigenvalues, those that ``target`` leaves out included."""
        kept = self.target.eigenvalues
        return int((np.abs(kept) <= self._resolution).sum()) + self.target.d - len(kept)

    @cached_property
    def starts(self) -> Array:
        """Index of the first eigenvalue of each positive level, shape (L,)."""
        drops = -np.diff(self.target.eigenvalues[: self.n_positive]) > self._resolution
        return np.flatnonzero(np.concatenate([[self.n_positive > 0], drops]))

    @cached_property
    def sizes(self) -> Array:
        """Multiplicity of each positive level, shape (L,); they add up to r."""
        return np.diff(np.append(self.starts, self.n_positive)) if len(self.starts) else self.starts

    @cached_property
    def values(self) -> Array:
        """Positive levels, descending, shape (L,): means of the eigenvalues that are equal."""
        if not len(self.starts):
            return np.zeros(0)
        return self.totals(self.target.eigenvalues[None])[0] / self.sizes

    @cached_property
    def eigenvalues(self) -> Array:
        """All d eigenvalues with equal ones made equal and zero ones zero; first those of
        ``target`` in its order, then the zeros that it leaves out.
        """
        kept = self.target.eigenvalues
        kept = np.where(np.abs(kept) <= self._resolution, 0.0, kept)
        kept[: self.n_positive] = np.repeat(self.values, self.sizes)
        return np.concatenate([kept, np.zeros(self.target.d - len(kept))])

    def rows(self, level: int) -> slice:
        """Where the eigenvalues of a positive level are."""
        return slice(self.starts[level], self.starts[level] + self.sizes[level])

    def totals(self, diagonals: Array) -> Array:
        """Sums over each positive level of the last axis, shape (T, p) to (T, L)."""
        if not len(self.starts):
            return np.zeros((len(diagonals), 0))
        return np.asarray(np.add.reduceat(diagonals[:, : self.n_positive], self.starts, axis=1))

    def optimum(self, k: int) -> tuple[int, ...]:
        """Members of each level in the best rank-k approximation of the positive part."""
        before = np.cumsum(self.sizes) - self.sizes
        return tuple(np.clip(k - before, 0, self.sizes).tolist())


def check_rank(target: Target, k: int) -> int:
    """The number of columns of X, checked.

    Raises
    ------
    InputError
        If k is not a whole number from 1 to d.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= target.d:
        raise InputError(
            f"the rank is a whole number from 1 to d = {target.d}, the size of the target; "
            f"found {k!r}"
        )
    return int(k)


def check_start(target: Target, start: Array) -> Array:
    """A start X0, shape (d, k), in double precision, checked.

    Raises
    ------
    InputError
        If the shape is not (d, k) with 1 <= k <= d, or a number is not finite.
    """
    X0 = np.asarray(start)
    if X0.ndim != 2 or len(X0) != target.d or not 1 <= X0.shape[1] <= target.d:
        raise InputError(
            f"the start has shape (d, k) with d = {target.d}, the size of the target, and "
            f"1 <= k <= d; found {X0.shape}"
        )
    if not np.issubdtype(X0.dtype, np.number) or np.iscomplexobj(X0):
        raise InputError(f"the start holds real numbers; found dtype {X0.dtype}")
    if not np.isfinite(X0).all():
        raise InputError(
            f"the start has {int((~np.isfinite(X0)).sum())} numbers that are not finite; "
            "expected finite ones"
        )
    return X0.astype(np.float64)
