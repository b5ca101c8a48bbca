r"""Equilibria of the gradient flow :math:`\dot X = (M - XX^\top)X`, ordered by their loss.

X is an equilibrium exactly if :math:`XX^\top = \sum_{i \in I} \lambda_i v_i v_i^\top` for a set I
of at most k positive eigenvalues of M [1]_. Where eigenvalues repeat, only how many are taken from
each eigenspace matters for the loss and the stability: these equilibria form a family, a product
of Grassmannians.

References
----------
.. [1] Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanović (2024). arXiv 2411.15972.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization.levels import EQUAL, Levels, check_rank
from foretell.theory.factorization.linearization import Linearization
from foretell.theory.factorization.target import Target


@dataclass(frozen=True, eq=False)
class Equilibrium:
    r"""An equilibrium, or the representative of a family that repeated eigenvalues make.

    Attributes
    ----------
    levels
        The distinct positive eigenvalues of the target.
    columns
        Number k of columns of X.
    multiplicities
        How many eigenvectors are taken from each positive level, shape (L,).

    Examples
    --------
    >>> import numpy as np
    >>> saddle = equilibrium(Target.of(np.diag([3.0, 1.0, -1.0])), 1, [1])
    >>> saddle.kind, saddle.loss, saddle.escape_rates.tolist()
    ('strict saddle', 2.5, [2.0])
    """

    levels: Levels
    columns: int
    multiplicities: tuple[int, ...]

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """The set I as indices of eigenvalues, descending; the first ones of each level."""
        pairs = zip(self.levels.starts, self.multiplicities, strict=True)
        return tuple(int(start) + i for start, count in pairs for i in range(count))

    @property
    def rank(self) -> int:
        """Rank s of X, at most k."""
        return sum(self.multiplicities)

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues that are learned, descending, shape (s,)."""
        return np.repeat(self.levels.values, self.multiplicities)

    @cached_property
    def factor(self) -> Array:
        """X, shape (d, k): a learned eigenvector a column, then k - s columns of zeros."""
        vectors = self.levels.target.vectors
        X = np.zeros((len(vectors), self.columns))
        X[:, : self.rank] = vectors[:, self.indices] * np.sqrt(self.eigenvalues)
        return X

    @cached_property
    def gram(self) -> Array:
        """XX', shape (d, d); made when asked for."""
        X = self.factor[:, : self.rank]
        return X @ X.T

    @cached_property
    def loss(self) -> float:
        r""":math:`\tfrac14 \|XX^\top - M\|_F^2`, a quarter of the squares left out."""
        rest = self.levels.eigenvalues[self.levels.n_positive :]
        left = self.levels.sizes - np.asarray(self.multiplicities, dtype=int)
        return float(left @ self.levels.values**2 + rest @ rest) / 4

    @cached_property
    def linearization(self) -> Linearization:
        """Eigenvalues of the linearized flow at ``factor``, by their origin."""
        chosen = np.asarray(self.indices, dtype=int)
        return Linearization(self.levels.eigenvalues, chosen, self.columns)

    @property
    def stable(self) -> bool:
        """Whether I holds the k largest positive eigenvalues (all, if there are at most k)."""
        return self.multiplicities == self.levels.optimum(self.columns)

    @property
    def kind(self) -> Literal["global minimum", "strict saddle", "local maximum"]:
        """Every minimum is global; only X = 0 can be a maximum (M positive definite)."""
        if self.stable:
            return "global minimum"
        definite = self.levels.n_positive == self.levels.target.d
        return "local maximum" if not self.rank and definite else "strict saddle"

    @property
    def dimension(self) -> int:
        """Dimension of the family of XX': sum of m(n - m) over levels; 0 for a single one.

        The set of X is larger by ``linearization.n_vertical``, the orbit under O(k).
        """
        counts = np.asarray(self.multiplicities, dtype=int)
        return int(counts @ (self.levels.sizes - counts))

    @property
    def is_family(self) -> bool:
        """Whether other equilibria with these eigenvalues exist: a level is partly chosen."""
        return self.dimension > 0

    @property
    def is_hyperbolic(self) -> bool:
        """Whether zero eigenvalues of the linearization come only from O(k) or the family."""
        return self.linearization.is_hyperbolic

    @property
    def escape_rates(self) -> Array:
        """Positive eigenvalues of the linearization, falling, shape (n_escape,)."""
        return self.linearization.escape_rates

    def escape_direction(self, index: int = 0) -> Array:
        """Unit direction in X, shape (d, k), that grows at ``escape_rates[index]``."""
        j, a = self.linearization.escapes[index]
        Z = np.zeros((self.levels.target.d, self.columns))
        Z[:, a] = self.levels.target.vectors[:, j]
        return Z

    @property
    def escape_directions(self) -> Array:
        """All of them, shape (n_escape, d, k); ``escape_direction`` gives one at a time."""
        Z = np.zeros((len(self.escape_rates), self.levels.target.d, self.columns))
        j, a = self.linearization.escapes.T
        Z[np.arange(len(Z)), :, a] = self.levels.target.vectors[:, j].T
        return Z

    def __str__(self) -> str:
        learned = ", ".join(f"{value:.4g}" for value in self.eigenvalues) or "nothing"
        text = f"{self.kind}, loss {self.loss:.6g}, learned: {learned}"
        if self.is_family:
            text += f"; family of dimension {self.dimension}"
        if len(self.escape_rates):
            text += f"; leaves at rate {self.escape_rates[0]:.4g}"
        if not self.is_hyperbolic:
            text += f"; {self.linearization.n_flat} flat directions (1/t)"
        return text


@dataclass(frozen=True, eq=False)
class Equilibria:
    """The equilibria by rising loss, made one after the other while they are iterated over.

    Attributes
    ----------
    levels
        The distinct positive eigenvalues of the target.
    columns
        Number k of columns of X.
    max_count
        Where to stop; None for never.
    """

    levels: Levels
    columns: int
    max_count: int | None = None

    @cached_property
    def count(self) -> int:
        """How many there are (a family counts once), whatever ``max_count``.

        The sum of the coefficients up to order k of the product of 1 + x + … + x^n over levels
        of multiplicity n; for distinct eigenvalues the sum of binomials (r over s), s <= k.
        """
        ways = [1] + [0] * self.columns
        for size in self.levels.sizes.tolist():
            total = [0]
            for way in ways:
                total.append(total[-1] + way)
            ways = [total[s + 1] - total[max(0, s - size)] for s in range(self.columns + 1)]
        return sum(ways)

    @property
    def minimum(self) -> Equilibrium:
        """The global minimum."""
        return Equilibrium(self.levels, self.columns, self.levels.optimum(self.columns))

    def __len__(self) -> int:
        return self.count if self.max_count is None else min(self.count, self.max_count)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Equilibrium]:
        for counts in islice(self._counts(), self.max_count):
            yield Equilibrium(self.levels, self.columns, counts)

    def _counts(self) -> Iterator[tuple[int, ...]]:
        """Multiplicities by rising loss: best first, no more than what is asked for in memory.

        k picks from the levels, and from one further level of value 0 and size k for unused
        columns. A state is the level of each pick, sorted; moving one pick one level down never
        lowers the loss, and reaches every state from the best one.
        """
        k, L = self.columns, len(self.levels.values)
        sizes = [*self.levels.sizes.tolist(), k]
        gains = [*(self.levels.values**2).tolist(), 0.0]
        state = tuple(np.repeat(np.arange(L + 1), sizes)[:k].tolist())
        heap, seen = [(0.0, state)], {state}
        while heap:
            excess, state = heapq.heappop(heap)
            counts = [0] * (L + 1)
            for level in state:
                counts[level] += 1
            yield tuple(counts[:L])
            for i, level in enumerate(state):
                is_last = i + 1 == k or state[i + 1] > level
                if not is_last or level == L or counts[level + 1] == sizes[level + 1]:
                    continue
                following = (*state[:i], level + 1, *state[i + 1 :])
                if following not in seen:
                    seen.add(following)
                    loss = excess + gains[level] - gains[level + 1]
                    heapq.heappush(heap, (loss, following))


def equilibria(
    target: Target, k: int, *, max_count: int | None = None, tolerance: float = EQUAL
) -> Equilibria:
    r"""All equilibria of :math:`\dot X = (M - XX^\top)X`, by rising loss, found lazily.

    Parameters
    ----------
    target
        Target of M.
    k
        Number of columns of X.
    max_count
        Stop after so many; None for all, of which there may be :math:`2^r`.
    tolerance
        Eigenvalues closer than this times the largest absolute one count as equal.

    Returns
    -------
    Equilibria
        An iterable with ``count``, ``minimum`` and a length.

    Raises
    ------
    InputError
        If k is not from 1 to d, or ``max_count`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> found = equilibria(Target.of(np.diag([3.0, 2.0, 2.0, -1.0])), 2)
    >>> found.count
    5
    >>> for one in found:
    ...     print(one)
    global minimum, loss 1.25, learned: 3, 2; family of dimension 1
    strict saddle, loss 2.25, learned: 3; leaves at rate 2
    strict saddle, loss 2.5, learned: 2, 2; leaves at rate 1
    strict saddle, loss 3.5, learned: 2; family of dimension 1; leaves at rate 3
    strict saddle, loss 4.5, learned: nothing; leaves at rate 3
    """
    k = check_rank(target, k)
    is_count = isinstance(max_count, int | np.integer) and not isinstance(max_count, bool)
    if max_count is not None and not (is_count and max_count >= 1):
        raise InputError(
            f"max_count is a whole number, at least 1, or None for all; found {max_count!r}"
        )
    return Equilibria(Levels(target, tolerance), k, max_count)


def equilibrium(
    target: Target, k: int, indices: Sequence[int], *, tolerance: float = EQUAL
) -> Equilibrium:
    """The equilibrium that has learned these eigenvectors.

    Parameters
    ----------
    target
        Target of M.
    k
        Number of columns of X.
    indices
        The set I: distinct indices of positive eigenvalues, in their falling order. In a level of
        equal eigenvalues only how many there are matters.
    tolerance
        As for :func:`equilibria`.

    Raises
    ------
    InputError
        If an index repeats or belongs to no positive eigenvalue, or there are more than k.
    """
    k, levels = check_rank(target, k), Levels(target, tolerance)
    I = sorted(int(i) for i in indices)
    inside = all(0 <= i < levels.n_positive for i in I)
    if len(set(I)) != len(I) or len(I) > k or not inside:
        raise InputError(
            f"indices are at most k = {k} distinct numbers below r = {levels.n_positive}, the "
            f"number of positive eigenvalues; found {I}"
        )
    level = np.searchsorted(levels.starts, I, side="right") - 1
    counts = np.bincount(level, minlength=len(levels.starts))
    return Equilibrium(levels, k, tuple(counts.tolist()))
