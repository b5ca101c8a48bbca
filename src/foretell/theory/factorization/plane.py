r"""The moving plane behind the closed form of the gradient flow, at any time without overflow.

In the eigenbasis, with :math:`Y = V^\top X_0` of shape (n, k), :math:`E = e^{\Lambda t}` and
:math:`D^2 = 2 \int_0^t e^{2\Lambda s} ds`, the closed form is
:math:`P = E Y (I + Y^\top D^2 Y)^{-1} Y^\top E`. Up to the bounded factors E/D this is a block of
the projector on the range of :math:`A = (I; D Y)`: a plane of k dimensions in k + n, given by rows
that differ by any power of ten.

Choose k rows of A, the pivots, such that the plane is the graph of a matrix K of moderate size
over them: :math:`K = A A_{piv}^{-1}`, :math:`K_{ij} = G_{ij} D_i / D_j`, where G does not depend
on time. Pivots come from Gaussian elimination with complete pivoting, whose errors are small row
by row [1]_; they serve until an entry of K has grown, and are then chosen again. With the
Cholesky factor R of :math:`K^\top K \succeq I` and the rows of K below the identity,

.. math:: F = E D^{-1} K R^{-1}, \qquad P = F F^\top .

Derived here. Errors of P are a few roundings, relative to the diagonal of P, at any time and size
of the start; those of Y and of the eigenvalues come on top.

References
----------
.. [1] Higham (2002). Accuracy and stability of numerical algorithms. SIAM. Section 19.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.theory.factorization.target import ROUNDING

_CHUNK = 2**21  # entries of K held at once
_SOON = 1e-100  # stands for time 0, where D vanishes
LEAST = 1e-150  # entries of K whose squares are subnormal, which is slow


@dataclass(frozen=True, eq=False)
class Frame:
    """Pivot rows of A, and the graph of the plane over them.

    Attributes
    ----------
    pivots
        Rows of A, shape (k,), the first k of which are those of the identity.
    graph
        G, shape (k + n, k), the identity at the pivots.
    noise
        Sizes of the terms whose sums are G, over those of G; rounding is a few units of these.
    limit
        Largest entry that K times ``noise`` may have while the pivots serve.
    """

    pivots: Array
    graph: Array
    noise: Array
    limit: float


class Plane:
    """Range of (I; D Y) at any time.

    Parameters
    ----------
    values
        Eigenvalues, shape (n,).
    coefficients
        Y, shape (n, k).
    noise
        Sizes of the terms whose sums are Y. An entry of Y, or a remainder in the elimination,
        within rounding of such sums is zero: a flow leaves a saddle because its start is not
        orthogonal to the way out, never because of rounding.
    """

    def __init__(self, values: Array, coefficients: Array, noise: Array) -> None:
        n, k = coefficients.shape
        self.values = values
        self.rank = k
        self.start = coefficients
        self.all_values = np.concatenate([np.zeros(k), values])
        self.linear = np.concatenate([np.zeros(k), np.maximum(values, 0.0)])
        self._tolerance = 8 * np.sqrt(n) * ROUNDING
        Y = np.where(np.abs(coefficients) > self._tolerance * noise, coefficients, 0.0)
        self._rows = np.vstack([np.eye(k), Y])
        self._noise = np.vstack([np.eye(k), noise])
        self.chunk = max(1, _CHUNK // self._rows.size)  # times to hold at once

    def _mean(self, times: Array) -> Array:
        """Mean of exp(-2 |lambda| s) over [0, t], shape (T, n)."""
        x = 2 * np.abs(self.values) * times[:, None]
        return np.divide(-np.expm1(-x), x, out=np.ones_like(x), where=x > 0)

    def _rest(self, times: Array) -> Array:
        """log D less max(lambda, 0) t, for all rows of A, shape (T, k + n)."""
        rest = 0.5 * np.log(2 * times[:, None] * self._mean(times))
        return np.concatenate([np.zeros((len(times), self.rank)), rest], axis=1)

    def growth(self, times: Array) -> Array:
        r"""Rates :math:`d \log D / dt = E^2 / D^2` of all rows of A, shape (T, k + n).

        Zero for the identity, :math:`\lambda / (1 - e^{-2 \lambda t})` below it.
        """
        times = np.maximum(times, _SOON)
        decay = np.exp(-2 * np.maximum(-self.values, 0.0) * times[:, None])
        rates = decay / (2 * times[:, None] * self._mean(times))
        return np.concatenate([np.zeros((len(times), self.rank)), rates], axis=1)

    def unsettled(self, time: float) -> Array:
        """How far each rate of growth is from its limit, relative, shape (k + n,)."""
        return np.asarray(np.exp(-2 * np.abs(self.all_values) * time))

    def slopes(self, frame: Frame, times: Array, rows: Array | slice = slice(None)) -> Array:
        """K at some rows of A, shape (T, rows, k)."""
        times = np.maximum(times, _SOON)
        rest, graph = self._rest(times), frame.graph[rows]
        # eigenvalues are subtracted before time multiplies them: exact at large times
        gap = self.linear[rows, None] - self.linear[frame.pivots]
        with np.errstate(divide="ignore", over="ignore"):
            K = times[:, None, None] * gap + np.log(np.abs(graph))
            K += rest[:, rows, None]
            K -= rest[:, None, frame.pivots]
            np.exp(K, out=K)
        K *= np.sign(graph)
        return K

    def root(self, slopes: Array) -> Array:
        """Upper triangular R with R'R = K'K, shape (T, k, k)."""
        K = np.where(np.abs(slopes) < LEAST, 0.0, slopes)
        return np.swapaxes(np.linalg.cholesky(np.swapaxes(K, -1, -2) @ K), -1, -2)

    def factor(self, frame: Frame, times: Array, slopes: Array | None = None) -> Array:
        """F, shape (T, n, k), at times for which the frame serves."""
        K = self.slopes(frame, times) if slopes is None else slopes
        inverse = np.linalg.inv(self.root(K))
        H = K[:, self.rank :] * np.sqrt(self.growth(times)[:, self.rank :, None])
        F = np.asarray(H @ inverse)
        F[times == 0] = self._rows[self.rank :]
        return F

    def serves(self, frame: Frame, slopes: Array) -> Array:
        """Whether K and its noise are within the limit of the frame, shape (T,)."""
        with np.errstate(over="ignore"):
            return np.asarray(np.abs(slopes * frame.noise).max((1, 2)) <= frame.limit)

    def factors(self, times: Array) -> Iterator[tuple[slice, Array]]:
        """F for slices of ascending times."""
        size = self.chunk
        frame, first = self.frame(times[0]), 0
        while first < len(times):
            chunk = times[first : first + size]
            K = self.slopes(frame, chunk)
            fits = self.serves(frame, K)
            count = len(fits) if fits.all() else int(np.argmin(fits))
            if count:
                yield slice(first, first + count), self.factor(frame, chunk[:count], K[:count])
            if count < len(chunk):
                frame = self.frame(chunk[count])
            first += count

    def frame(self, time: float) -> Frame:
        """Frame by Gaussian elimination with complete pivoting on A at one time.

        The numbers are those of (I; Y), which need no scale; the order is that of A.
        """
        multipliers, noise, pivots = self._eliminate(max(time, _SOON))
        triangle = multipliers[pivots]
        for j in range(self.rank - 2, -1, -1):
            below = triangle[j + 1 :, j]
            noise[:, j] += np.abs(multipliers[:, j + 1 :]) @ np.abs(below)
            multipliers[:, j] -= multipliers[:, j + 1 :] @ below
            multipliers[:, j] *= np.abs(multipliers[:, j]) > self._tolerance * noise[:, j]
        multipliers[pivots] = np.eye(self.rank)
        size = np.abs(multipliers)
        noise = np.divide(noise, size, out=np.zeros_like(noise), where=size > 0)
        noise[pivots] = np.eye(self.rank)
        fresh = Frame(pivots, multipliers, noise, np.inf)
        loudest = np.abs(self.slopes(fresh, np.array([time])) * noise).max()
        return Frame(pivots, multipliers, noise, max(16.0, 4 * float(loudest)))

    def _eliminate(self, time: float) -> tuple[Array, Array, Array]:
        """Multipliers (k + n, k), the sizes of the terms whose sums they are, and the pivots."""
        k, left, noise = self.rank, self._rows.copy(), self._noise.copy()
        scale = (self.linear * time + self._rest(np.array([time]))[0])[:, None]
        multipliers, sizes = np.zeros_like(left), np.zeros_like(left)
        pivots, columns = np.zeros(k, dtype=int), np.arange(k)
        rows = np.arange(len(left))
        for j in range(k):
            with np.errstate(divide="ignore"):
                size = np.log(np.abs(left)) + scale[rows]
            p, c = np.unravel_index(int(np.argmax(size)), size.shape)
            pivots[j] = rows[p]
            m = left[:, c] / left[p, c]
            multipliers[rows, j], sizes[rows, j] = m, noise[:, c] / np.abs(left[p, c])
            rows, columns = np.delete(rows, p), np.delete(columns, c)
            step = np.delete(m, p)[:, None] * np.delete(left[p], c)
            carried = np.abs(np.delete(m, p))[:, None] * np.delete(noise[p], c)
            noise = np.delete(np.delete(noise, p, 0), c, 1) + np.abs(step) + carried
            left = np.delete(np.delete(left, p, 0), c, 1) - step
            left[np.abs(left) <= self._tolerance * noise] = 0.0
        return multipliers, sizes, pivots
