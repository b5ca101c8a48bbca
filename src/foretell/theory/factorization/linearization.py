r"""Linearization of :math:`\dot X = (M - XX^\top)X` at an equilibrium, in closed form.

At :math:`\bar X = \sum_{a \le s} \sqrt{\lambda_{i_a}}\, v_{i_a} e_a^\top`, with :math:`I =
\{i_1, \dots, i_s\}` and k - s unused columns, minus the Hessian of :math:`f = \tfrac14 \|XX^\top -
M\|_F^2` is :math:`Z \mapsto (M - \bar X \bar X^\top) Z - (Z \bar X^\top + \bar X Z^\top) \bar X`.
Its d k eigenvalues, from the coordinates :math:`v_j^\top Z e_a`, are

* :math:`\lambda_j - \lambda_i` for i in I and j not in I (eigenvector :math:`v_j e_a^\top`,
  :math:`i = i_a`): another eigenvector takes over a column;
* :math:`\lambda_j`, k - s times, for j not in I (:math:`v_j e_b^\top`, b unused): an unused column
  learns j;
* :math:`-(\lambda_i + \lambda_j)` for i <= j in I: sizes and angles inside the learned span;
* 0, s(s - 1)/2 + s(k - s) times: the orbit :math:`\bar X O(k)` (vertical).

Derived here; agrees with the equilibria and stability of [1]_.

References
----------
.. [1] Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanović (2024). arXiv 2411.15972.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foretell._types import Array


@dataclass(frozen=True, eq=False)
class Linearization:
    r"""Eigenvalues of the linearization at an equilibrium, and the directions that grow.

    Parameters
    ----------
    eigenvalues
        All d eigenvalues of M in which equal ones are equal as numbers and zero ones zero.
    chosen
        The set I as indices into ``eigenvalues``, shape (s,); their eigenvalues are positive.
    columns
        Number k >= s of columns of X.

    Examples
    --------
    >>> import numpy as np
    >>> at = Linearization(np.array([3.0, 2.0, 0.0]), np.array([1]), 2)
    >>> at.escape_rates.tolist(), at.escapes.tolist()
    ([3.0, 1.0], [[0, 1], [0, 0]])
    >>> at.n_escape, at.n_attracting, at.n_vertical, at.n_family, at.n_flat
    (2, 2, 1, 0, 1)
    >>> at.rates.tolist()
    [3.0, 1.0, 0.0, 0.0, -2.0, -4.0]
    """

    eigenvalues: Array
    chosen: Array
    columns: int

    @cached_property
    def _others(self) -> Array:
        return np.setdiff1d(np.arange(len(self.eigenvalues)), self.chosen)

    @cached_property
    def _between(self) -> Array:
        """Rates (d - s, s) of replacing a chosen eigenvector by another."""
        return self.eigenvalues[self._others, None] - self.eigenvalues[self.chosen]

    @cached_property
    def _unused(self) -> int:
        return self.columns - len(self.chosen)

    @cached_property
    def escapes(self) -> Array:
        """Pairs (j, a), shape (n_escape, 2), by falling rate: eigenvector j grows in column a.

        Columns a < s hold the a-th chosen eigenvector, which j replaces; others are unused.
        """
        j, a = np.nonzero(self._between > 0)
        free = self._others[self.eigenvalues[self._others] > 0]
        unused = np.arange(len(self.chosen), self.columns)
        pairs = np.concatenate(
            [
                np.stack([np.repeat(free, len(unused)), np.tile(unused, len(free))], axis=1),
                np.stack([self._others[j], a], axis=1),
            ]
        )
        return pairs[np.argsort(-self._rate(pairs), kind="stable")]

    def _rate(self, pairs: Array) -> Array:
        replaced = np.append(self.eigenvalues[self.chosen], np.zeros(self._unused))
        return self.eigenvalues[pairs[:, 0]] - replaced[pairs[:, 1]]

    @cached_property
    def escape_rates(self) -> Array:
        r"""Positive eigenvalues, falling, shape (n_escape,): X leaves as :math:`e^{rate\,t}`.

        :math:`\lambda_j - \lambda_i` where j replaces i in I with :math:`\lambda_j >
        \lambda_i`; :math:`\lambda_j` in every unused column. XX' leaves at the same rate where
        a column is replaced, and at twice the rate where an unused one grows.
        """
        return self._rate(self.escapes)

    @cached_property
    def rates(self) -> Array:
        """All d k eigenvalues, falling, shape (d k,)."""
        used = self.eigenvalues[self.chosen]
        within = np.add.outer(used, used)[np.triu_indices(len(used))]
        free = np.repeat(self.eigenvalues[self._others], self._unused)
        every = np.concatenate([self._between.ravel(), free, -within, np.zeros(self.n_vertical)])
        return np.sort(every)[::-1]

    def gram_rates(self) -> Array:
        r"""Eigenvalues for :math:`\dot P = MP + PM - 2P^2` on symmetric matrices, falling.

        Shape (d(d + 1)/2,): :math:`a_i + a_j` for i <= j, with :math:`a_i = -\lambda_i` for
        chosen i, else :math:`\lambda_i`. For i and j not chosen the direction has a rank above
        that of the equilibrium: X moves there only in unused columns, at half the rate.
        """
        a = self.eigenvalues.copy()
        a[self.chosen] *= -1.0
        return np.sort(np.add.outer(a, a)[np.triu_indices(len(a))])[::-1]

    @property
    def n_escape(self) -> int:
        """Number of positive eigenvalues; zero at a minimum only."""
        return len(self.escapes)

    @property
    def n_vertical(self) -> int:
        """Zero eigenvalues along the orbit of X under O(k): the dimension of that orbit."""
        s = len(self.chosen)
        return s * (s - 1) // 2 + s * self._unused

    @cached_property
    def n_family(self) -> int:
        """Zero eigenvalues along a family of equilibria (repeated eigenvalues, partly chosen)."""
        return int((self._between == 0).sum())

    @cached_property
    def n_flat(self) -> int:
        """Other zero eigenvalues: unused columns times zero eigenvalues of M.

        Along these f grows only as the fourth power and X decays as 1/sqrt(2t), XX' as 1/(2t).
        """
        return self._unused * int((self.eigenvalues[self._others] == 0).sum())

    @property
    def n_attracting(self) -> int:
        """Number of negative eigenvalues."""
        total = len(self.eigenvalues) * self.columns
        return total - self.n_escape - self.n_vertical - self.n_family - self.n_flat

    @property
    def is_hyperbolic(self) -> bool:
        """Whether every zero eigenvalue is explained by the symmetry or by a family.

        Then convergence along the rest is exponential; if not, the linearization does not
        decide, and over-parameterized columns follow the slow mode 1/t.
        """
        return self.n_flat == 0
