r"""The penalty of a masked regression from rows with missing cells, by leaving rows out.

A cell k of a row is predicted from the other observed cells of the row,
:math:`r_k - E[r_k \mid r_{O \setminus k}] = (P r)_k / P_{kk}` with :math:`P = S_{OO}^{-1}`, as
cells that are really missing are. What the row itself added to S is removed by its leverage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foretell._types import Array
from foretell.errors import ConvergenceError
from foretell.models.masked_em import Law, Moments, Rows, fill
from foretell.models.masked_em_run import Run
from foretell.models.masked_patterns import Stack

CELLS = 1000  # observed cells that choose the penalty
FLAT = 5e-3  # relative gain, a factor of e, below which a smaller penalty is not worth it
LOWEST, HIGHEST = 1e-12, 1e4
START = (0.03, 2.0)  # between these penalties the search starts
COARSE, FINE = 8.0, 3.0  # factors between penalties of its two rounds
SAME = 1.25  # factor within which penalties are the same
FALLS = 0.5  # error, relative to that of the last step, at which the penalty is lowered
LOWER = 32.0  # factor by which it is lowered


def left_out_errors(
    rows: Rows, at: Moments, alpha: float, total: float, loss: Array, *, center: bool
) -> Array:
    r"""Errors of the observed cells from the others of their row, the row left out, (n, d).

    .. math:: e_{ik} = \frac{(P r)_k}{P_{kk}} \cdot \frac{1 + (c_k - 1) g_{ik}}{1 - g_{ik}},
              \qquad g_{ik} = \frac{\delta_i}{W}
              \left(1 + r^\top P r - \frac{(P r)_k^2}{P_{kk}}\right)

    with :math:`\delta_i = \min(w_i, 1)`, and without the 1 if the mean is not estimated. Exact
    for complete rows, where c = 1, at the fixed total penalty :math:`W \alpha`. Where cells are
    missing a row counts for more, because what is imputed in other rows follows it: :math:`c_k` is
    the weight W over that of the rows which observe a pair of cells with k, on average. This is
    an approximation.

    Parameters
    ----------
    rows
        Rows to leave out, shape (n, d).
    at, alpha
        Moments and penalty.
    total
        Total weight W of the sample.
    loss
        The factor c, shape (d,).

    Returns
    -------
    Array
        Errors in standardised units, zero where the cell is missing, shape (n, d).
    """
    law = Law.of(at.covariance, alpha)
    R = rows.deviations(at.mean)
    diagonal = np.where(rows.observed, np.diag(law.Q), 1.0)
    for stack, V, _ in fill(R, law, rows.stacks):
        diagonal[stack.rows] = _observed_precisions(stack, V, law)
    pulled = (R @ law.Q) * rows.observed
    diagonal[~rows.observed] = 1.0
    residual = pulled / diagonal
    removed = np.minimum(rows.weights, 1.0)[:, None] / total
    length = np.einsum("ij,ij->i", pulled, R)[:, None]
    leverage = removed * (float(center) + length - pulled * residual)
    leverage = np.clip(leverage, 0.0, 1.0 - 1e-9)
    return np.asarray(residual * (1.0 + (loss - 1.0) * leverage) / (1.0 - leverage))


def _observed_precisions(stack: Stack, V: Array, law: Law) -> Array:
    r"""Diagonals of :math:`S_{OO}^{-1}` of the rows of a stack, shape (b, d)."""
    if stack.by_observed:
        return stack.spread_out(stack.of_rows(np.einsum("ssu->su", V)))
    return np.asarray(np.diag(law.Q) - stack.quadratic(V, law.Q))


class PenaltySearch(NamedTuple):
    """Rows that choose the penalty, and how they count.

    Attributes
    ----------
    rows
        Rows to leave out.
    counts
        How much each counts, shape (b,).
    total
        Total weight of the sample.
    loss
        Weight of all rows over that of rows which observe a pair with a column, shape (d,).
    missing
        Share of the weight whose cell in a column is missing, shape (d,).
    center
        Whether the mean is estimated.
    """

    rows: Rows
    counts: Array
    total: float
    loss: Array
    missing: Array
    center: bool

    @classmethod
    def of(cls, rows: Rows, lengths: Array, *, center: bool) -> PenaltySearch:
        """Take rows spread evenly over their lengths, shape (n,), whatever their order."""
        total = float(rows.weights.sum())
        missing = rows.missing_shares
        wanted = int(max(CELLS / (len(missing) * (1.0 - missing.mean())), 24))
        some, counts = rows, rows.weights
        if wanted < 0.8 * len(rows.Z):
            order = np.argsort(lengths, kind="stable")
            reached = np.cumsum(rows.weights[order])
            levels = (np.arange(wanted) + 0.5) / wanted * reached[-1]
            picked, counts = np.unique(np.searchsorted(reached, levels), return_counts=True)
            chosen = order[picked]
            some = rows.some(chosen)
        return cls(some, counts.astype(np.float64), total, pair_loss(rows), missing, center)

    def error(self, at: Moments, alpha: float) -> float:
        """Mean squared left-out error of the observed cells; infinite where S is singular."""
        try:
            errors = left_out_errors(
                self.rows, at, alpha, self.total, self.loss, center=self.center
            )
        except np.linalg.LinAlgError:
            return np.inf
        cells = float(self.counts @ self.rows.observed.sum(axis=1))
        return float(self.counts @ (errors**2).sum(axis=1) / cells)

    def moved(self, at: Moments, alpha: float, to: float) -> Moments:
        r"""Moments whose conditional covariances follow a change of the penalty, to first order.

        They are at least :math:`\alpha I`, and lie in the moments for the missing cells.
        """
        covariance = at.covariance.copy()
        covariance.flat[:: len(covariance) + 1] += (to - alpha) * self.missing
        return Moments(at.mean, covariance)

    def best(
        self, at: Moments, alpha: float, factor: float, here: float | None = None
    ) -> tuple[float, float]:
        """Penalty with the least error near one and about that error.

        Steps by a factor, then a parabola. The error at the penalty itself may be known.
        """

        def error(exponent: int) -> float:
            if exponent not in found:
                to = alpha * factor**exponent
                found[exponent] = self.error(self.moved(at, alpha, to), to)
            return found[exponent]

        found = {} if here is None else {0: here}
        flat = FLAT * np.log(factor)
        place = 0
        while alpha * factor**place > LOWEST and error(place - 1) < error(place) * (1.0 - flat):
            place -= 1
        if place == 0:
            while alpha * factor**place < HIGHEST and error(place + 1) < error(place) * (
                1.0 + flat
            ):
                place += 1
        left, middle, right = error(place - 1), error(place), error(place + 1)
        bend = left - 2.0 * middle + right
        offset = 0.5 * (left - right) / bend if np.isfinite(bend) and bend > 0 else 0.0
        return float(alpha * factor ** (place + np.clip(offset, -0.5, 0.5))), middle


def searched(rows: Rows, *, center: bool) -> Run:
    """An EM iteration at the penalty that has the least left-out error.

    A coarse search after one EM step and a fine one after another: the moments hold the
    conditional covariances of missing cells, which the penalty has a part in. The first penalty
    keeps few rows from interpolating: below, the error has a second minimum. Where columns all but
    follow from others, the error still falls from step to step, and what the moments hold of
    earlier penalties hides that a smaller one is better: the penalty falls with it.
    """
    d = rows.Z.shape[1]
    start = float(np.clip(0.5 * d * pair_loss(rows).mean() / rows.total, *START))
    run = Run.start(rows, start, center=center)
    lengths = np.einsum("ij,ij->i", rows.Z @ Law.of(run.at.covariance, start).Q, rows.Z)
    search = PenaltySearch.of(rows, lengths, center=center)
    to = run.relaxed()
    alpha, error = search.best(to, start, COARSE)
    run.move(search.moved(to, start, alpha), alpha)
    fallen = False
    while True:
        to, before = run.relaxed(), error
        error = search.error(to, alpha)
        if not (error < FALLS * before and alpha > LOWEST * LOWER):
            break
        try:
            run.move(search.moved(to, alpha, alpha / LOWER), alpha / LOWER)
        except ConvergenceError:  # it is singular there; the penalty stays
            break
        alpha, fallen = run.alpha, True
    finer, _ = search.best(to, alpha, COARSE if fallen else FINE, error)
    finer = alpha if max(finer / alpha, alpha / finer) < SAME else finer
    run.move(search.moved(to, alpha, finer), finer)
    return run


def pair_loss(rows: Rows) -> Array:
    """Weight of all rows over that of rows that observe a pair with each column, shape (d,)."""
    observed = rows.observed.astype(np.float64)
    in_row = observed.sum(axis=1) - 1.0
    d = observed.shape[1]
    pairs = (rows.weights * in_row) @ observed / max(d - 1, 1)
    return np.asarray(rows.weights.sum() / np.maximum(pairs, 1.0))
