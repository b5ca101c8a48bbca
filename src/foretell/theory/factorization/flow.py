r"""The gradient flow of symmetric low-rank factorization, in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.factorization import cascade as cascades
from foretell.theory.factorization import cascade_residuals, stability
from foretell.theory.factorization import equilibria as equilibrium_sets
from foretell.theory.factorization import lyapunov as lyapunovs
from foretell.theory.factorization import rates as exponents
from foretell.theory.factorization import saddle_times as saddles
from foretell.theory.factorization.levels import check_start
from foretell.theory.factorization.plane import Plane
from foretell.theory.factorization.rotation import rotated
from foretell.theory.factorization.target import ROUNDING, Target

if TYPE_CHECKING:
    from foretell.theory.factorization.cascade import Coordinates
    from foretell.theory.factorization.cascade_residuals import Residuals
    from foretell.theory.factorization.equilibria import Equilibria
    from foretell.theory.factorization.lyapunov import Lyapunov
    from foretell.theory.factorization.rates import Rates
    from foretell.theory.factorization.saddle_times import SaddleTimes
    from foretell.theory.factorization.stability import StableSet

_LARGE = 512  # eigenvectors from which on their product is worth a shortcut
Pieces = Iterator[tuple[slice, Array]]


@dataclass(frozen=True, eq=False)
class FactorizationFlow:
    r"""Gradient flow :math:`\dot X = (M - XX^\top) X` of
    :math:`f(X) = \frac14 \lVert XX^\top - M \rVert_F^2` from any start.

    The Gram matrix has the closed form

    .. math:: P(t) = e^{Mt} X_0 \Bigl[ I + 2 X_0^\top \int_0^t e^{2Ms} ds \, X_0 \Bigr]^{-1}
        X_0^\top e^{Mt},

    evaluated so that it neither overflows nor cancels at any time (see ``plane.py``): a few
    roundings for the eigenpairs at hand. A component of the start within rounding of zero is
    zero, so a start orthogonal to an eigenvector stays so.

    Parameters
    ----------
    target
        M, symmetric, shape (d, d): eigenvalues of any sign, zero or repeated. Or a ``Target``;
        ``Target.low_rank`` for operators of which only the nonzero eigenpairs are known.
    start
        :math:`X_0`, shape (d, k), 1 <= k <= d, of any rank.

    Raises
    ------
    InputError
        If the target is not symmetric and finite, or the start has a wrong shape or numbers that
        are not finite.

    Notes
    -----
    ``times``, in all methods, is one number or shape (T,), in any order, finite and not negative;
    one number drops the leading axis of the answer, but not of ``coordinates`` and ``lyapunov``.
    One eigendecomposition, O(d^3), then O(d k^2) a time in the eigenbasis, and O(d^2 k) to leave
    it: O(d p k) with p eigenpairs.

    Examples
    --------
    >>> flow = FactorizationFlow(np.diag([2.0, 1.0]), np.eye(2) / 10)
    >>> flow.gram([0.0, 100.0]).round(6).tolist()
    [[[0.01, 0.0], [0.0, 0.01]], [[2.0, 0.0], [0.0, 1.0]]]

    References
    ----------
    .. [1] Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanović (2024). Stability
       properties of gradient flow dynamics for the symmetric low-rank matrix factorization
       problem. arXiv 2411.15972.
    """

    target: Any
    start: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", Target.of(self.target))
        object.__setattr__(self, "start", check_start(self.target, self.start))

    @property
    def rank(self) -> int:
        """Number k of columns of X."""
        return int(self.start.shape[1])

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of M that the flow meets, descending, shape (n,).

        All d of them; or those of a low-rank target, and a zero for each direction outside their
        span that the start reaches, at most k.
        """
        return self._plane.values

    @property
    def coefficients(self) -> Array:
        """Start in the eigenbasis, ``basis.T @ start``, shape (n, k)."""
        return self._plane.start

    @property
    def basis(self) -> Array:
        """Eigenvectors of ``eigenvalues``, shape (d, n)."""
        return self._frame[1]

    def gram(self, times: Any) -> Array:
        """P = XX', shape (T, d, d).

        >>> float(FactorizationFlow([[1.0]], [[1e-6]]).gram(50.0)[0, 0])  # logistic growth
        1.0
        """
        d = self.target.d

        def squared(part: Array) -> Array:
            F = self._outside(part)
            return np.asarray(F @ np.swapaxes(F, -1, -2))

        return self._evaluate(times, self._plane.factors, squared, (d, d), d * d)

    def solution(self, times: Any) -> Array:
        r"""X, shape (T, d, k): the solution itself, not only up to a rotation.

        For k > 1 the rotation of ``factor`` that makes it X has no closed form; it is integrated
        to about 1e-13 (see ``rotation.py``), in a number of steps that depends on the largest time,
        not on how many are asked for.

        >>> FactorizationFlow(np.eye(2), np.eye(2) / 2).solution(0.0).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
        """
        return self._evaluate(times, self._rotated, self._outside, self.start.shape)

    def factor(self, times: Any) -> Array:
        """F with FF' = XX', shape (T, d, k); X up to a rotation, without the work for that.

        >>> F = FactorizationFlow(np.eye(2), np.eye(2) / 2).factor(30.0)
        >>> np.round(F @ F.T, 6).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        return self._evaluate(times, self._plane.factors, self._outside, self.start.shape)

    def loss(self, times: Any) -> Array:
        r""":math:`\frac14 \lVert XX^\top - M \rVert_F^2`, shape (T,); keeps its digits near zero.

        >>> float(FactorizationFlow(np.diag([2.0, 1.0]), [[1.0], [0.0]]).loss(40.0).round(9))
        0.25
        """
        values = self.eigenvalues

        def loss(part: Array) -> Array:
            residual = part @ np.swapaxes(part, -1, -2)
            residual[:, range(len(values)), range(len(values))] -= values
            return np.asarray((residual**2).sum((1, 2)) / 4)

        return self._evaluate(times, self._plane.factors, loss, (), len(values) ** 2)

    def singular_values(self, times: Any) -> Array:
        """Singular values of X, descending, shape (T, k); exact to rounding of the largest.

        >>> FactorizationFlow(np.diag([4.0, 1.0]), np.eye(2)).singular_values(50.0).tolist()
        [2.0, 1.0]
        """

        def singular(part: Array) -> Array:
            found = np.linalg.svd(part, compute_uv=False)
            return np.pad(found, ((0, 0), (0, self.rank - found.shape[1])))

        return self._evaluate(times, self._plane.factors, singular, (self.rank,))

    def coordinates(self, times: Any, *, split: int | None = None) -> Coordinates:
        """Leading block P1, tilt W and Schur complement S of P in the eigenbasis.

        For a low-rank target the eigenbasis is ``basis``. ``split`` is the size of P1, needed
        only for a start of lower rank; see ``cascade.coordinates``.

        >>> c = FactorizationFlow(np.diag([2.0, 0.0]), np.eye(2)).coordinates([0.0, 100.0])
        >>> (1 / c.schur[:, 0, 0]).round(6).tolist()  # the 1/t mode
        [1.0, 201.0]
        """
        return cascades.coordinates(
            self.eigenvalues, self.coefficients, np.atleast_1d(self._check(times)), split=split
        )

    def residuals(self, times: Any) -> Residuals:
        """What is left of the three equations of the cascade, relative, shape (T,) each.

        >>> flow = FactorizationFlow(np.diag([2.0, -1.0]), [[1.0], [1.0]])
        >>> bool(flow.residuals([0.5, 1.0]).tilt.max() < 1e-12)
        True
        """
        t = np.sort(np.atleast_1d(self._check(times)))
        factors = np.concatenate([F for _, F in self._plane.factors(t)])
        return cascade_residuals.residuals(self.coordinates(t), factors)

    def rates(self) -> Rates:
        """Asymptotic rates of P1, W and S for almost every start with k columns.

        >>> FactorizationFlow(np.diag([2.0, -1.0]), [[1.0], [1.0]]).rates().tilt
        3.0
        """
        return exponents.rates(self.eigenvalues, self.rank)

    def lyapunov(self, times: Any, *, rate: float | None = None) -> Lyapunov:
        """Lyapunov functions of the cascade, with the rates that they certify.

        >>> found = FactorizationFlow(np.diag([2.0, -1.0]), [[1.0], [1.0]]).lyapunov([0.0, 1.0])
        >>> found.tilt.rate
        6.0
        """
        return lyapunovs.lyapunov(self.coordinates(times), rate=rate)

    def equilibria(self, *, max_count: int | None = None) -> Equilibria:
        """All equilibria by rising loss, found as they are asked for.

        >>> [e.stable for e in FactorizationFlow(np.diag([2.0, 1.0]), [[1.0], [1.0]]).equilibria()]
        [True, False, False]
        """
        return equilibrium_sets.equilibria(self.target, self.rank, max_count=max_count)

    def is_in_stable_set(self, start: Any = None) -> StableSet:
        """Whether the flow tends to the global minimum, and where it tends; true or false.

        >>> bool(FactorizationFlow(np.diag([2.0, 1.0]), [[0.0], [1.0]]).is_in_stable_set())
        False
        """
        return stability.is_in_stable_set(self.target, self.start if start is None else start)

    def saddle_times(self, start: Any = None) -> SaddleTimes:
        """When each direction is learned, and the saddles at which the flow waits.

        >>> FactorizationFlow(np.diag([2.0, 1.0]), np.eye(2) / 1e3).saddle_times().times.round(4)
        array([3.6272, 6.9078])
        """
        flow = self if start is None else FactorizationFlow(self.target, start)
        return saddles.saddle_times(self.target, flow.start, flow._diagonals)

    def _diagonals(self, times: Array) -> Array:
        """v_i' P v_i for the eigenvectors of the target, shape (T, p)."""
        rows = self._frame[2]
        return self._evaluate(
            times, self._plane.factors, lambda part: (part[:, rows] ** 2).sum(2), rows.shape
        )

    @cached_property
    def _frame(self) -> tuple[Array, Array, Array]:
        """Eigenvalues (n,), eigenvectors (d, n), and where those of the target are (p,)."""
        values, V = self.target.eigenvalues, self.target.vectors
        outside = _complement(V, self.start)
        values = np.concatenate([values, np.zeros(outside.shape[1])])
        order = np.argsort(-values, kind="stable")
        places = np.argsort(order)[: V.shape[1]]
        if not outside.size:
            return values, V, places
        return values[order], np.concatenate([V, outside], axis=1)[:, order], places

    @cached_property
    def _plane(self) -> Plane:
        values, V, _ = self._frame
        sizes = np.maximum(np.abs(V).T @ np.abs(self.start), np.linalg.norm(self.start, axis=0))
        return Plane(values, V.T @ self.start, 2 * sizes)  # eigenvectors have errors of their own

    def _rotated(self, times: Array) -> Pieces:
        return rotated(self._plane, times)

    def _outside(self, part: Array) -> Array:
        """Out of the eigenbasis, (T', n, k) to (T', d, k), as one product of matrices.

        Where that product takes the time, the last rows are left out if they have decayed below
        rounding of the sum.
        """
        n = part.shape[1]
        if n > _LARGE:
            size = np.abs(part).max(2)
            least = ROUNDING / n * size.max(1, keepdims=True)
            n = int(np.flatnonzero((size >= least).any(0))[-1]) + 1
        flat = part[:, :n].transpose(1, 0, 2).reshape(n, -1)
        product = self._frame[1][:, :n] @ flat
        return product.reshape(-1, len(part), part.shape[2]).transpose(1, 0, 2)

    def _check(self, times: Any) -> Array:
        t = np.asarray(times, dtype=np.float64)
        if t.ndim > 1 or not np.isfinite(t).all():
            raise InputError(
                f"times is one finite number or an array of shape (T,); found shape {t.shape}"
                f" with {int((~np.isfinite(t)).sum())} numbers that are not finite"
            )
        if t.min(initial=0.0) < 0:
            raise InputError(
                f"times are not negative; found {t.min():g}; the flow starts at time 0"
            )
        return t

    def _evaluate(
        self,
        times: Any,
        pieces: Callable[[Array], Pieces],
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        size: int = 1,
    ) -> Array:
        """A function of factors (T', n, k) at all times, which holds ``size`` numbers a time."""
        t = self._check(times)
        every = np.atleast_1d(t)
        order = np.argsort(every, kind="stable")
        out = np.empty((len(every), *shape))
        count = max(1, 2**24 // size)
        for part, F in pieces(every[order]) if len(every) else ():
            for a in range(0, len(F), count):
                out[order[part][a : a + count]] = function(F[a : a + count])
        return out if t.ndim else out[0]


def _complement(V: Array, start: Array) -> Array:
    """Orthonormal basis of the part of the start outside the columns of V, (d, at most k)."""
    d, p = V.shape
    if p == d:
        return np.zeros((d, 0))
    U, s, _ = np.linalg.svd(start - V @ (V.T @ start), full_matrices=False)
    noise = 8 * np.sqrt(d) * ROUNDING * float(np.linalg.norm(start))
    U = U[:, s > noise][:, : d - p]
    U = U - V @ (V.T @ U)  # what rounding left of V, which a small s has magnified
    return np.asarray(np.linalg.qr(U)[0])
