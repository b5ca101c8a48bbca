r"""Masked regression from rows with missing cells, and their conditional imputation.

For complete rows column k is predicted by the k-th column of
:math:`A = I - Q\,\mathrm{diag}(Q)^{-1}`, :math:`Q = (C + \alpha I)^{-1}`. Every other pattern of
missing cells has a predictor of its own, and all follow from Q: they are the conditional
expectations of a Gaussian with precision Q. The moments C are estimated by the EM algorithm for
that Gaussian with its ridge, which on complete rows is the ridge itself. Imputed values are linear
in what is observed; they do not need normal rows, and are consistent when cells are missing
completely at random (at random, if rows are normal).

Cost: a step takes :math:`O(n d^2 + d^3)` and, for each distinct pattern,
:math:`O(\min(|M|, |O|)^3)`, M the missing and O the observed cells. With d = 2000 columns, n = 200
rows and a fifth missing a step is some 30 Gflop: seconds, and a fit about a minute. Columns that
follow from others to a thousandth of their deviation need small penalties, where EM is slow: some
twenty steps at the default tolerance, which leaves errors of up to twice those of the limit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.data.checks import label, leave_out, reasons
from foretell.errors import ForetellWarning, InputError
from foretell.models.masked_em import Law, Moments, Rows, conditional_variances, fill
from foretell.models.masked_em_run import Run
from foretell.models.masked_left_out import left_out_errors, pair_loss, searched
from foretell.models.masked_patterns import Stack, stacks
from foretell.models.masked_systems import inverses

CHUNK = 4_000_000  # numbers of rows that are filled at a time


@dataclass(frozen=True, eq=False)
class IncompleteFit:
    """Moments of the completed sample and how they were found.

    Attributes
    ----------
    mean, scale
        Of the columns, shape (d,), in their units: the estimated mean, and the standard deviation
        of the observed cells; zeros and ones where they are not estimated.
    covariance
        C, expected covariance of the completed sample in units of the scale, shape (d, d).
    alpha
        Penalty, in units of the variance of the scaled columns.
    n_rows, total_weight
        Size of the sample.
    observed_weight
        Weight of the rows that observe each column, shape (d,).
    pair_weight
        Weight of the rows that observe a column and another one, averaged over others, (d,): what
        a column has learned from, if the others tell nothing about missing cells.
    filled
        The rows, missing cells at their conditional means, shape (n, d).
    objective
        Penalised log-likelihood of the observed cells, a unit of weight, after each step at the
        final penalty; it does not decrease.
    n_iter
        Number of EM steps, those of the search for the penalty included.
    change
        Movement of the imputed cells in the last step, root mean square, over the root mean
        square of their conditional standard deviations.
    converged
        Whether that is within the tolerance.
    centered
        Whether the mean was estimated.
    """

    mean: Array
    scale: Array
    covariance: Array
    alpha: float
    n_rows: int
    total_weight: float
    observed_weight: Array
    pair_weight: Array
    filled: Array
    objective: tuple[float, ...]
    n_iter: int
    change: float
    converged: bool
    centered: bool

    @cached_property
    def precision(self) -> Array:
        r""":math:`(C + \alpha I)^{-1}` in the units of the columns, shape (d, d)."""
        Q = Law.of(self.covariance, self.alpha).Q
        return np.asarray(Q / np.outer(self.scale, self.scale))

    def loo_errors(self, X: Array, weights: Array | None = None) -> Array:
        """Errors of the observed cells from the others of their row, the row left out, (n, d).

        Exact for complete rows; otherwise an approximation, see
        :func:`~foretell.models.masked_left_out.left_out_errors`. NaN where a cell is missing.

        Parameters
        ----------
        X, weights
            The rows of the fit and their weights, shape (n, d) and (n,).
        """
        X = np.asarray(X, dtype=np.float64)
        weights = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
        center = np.zeros(len(self.mean)) if not self.centered else self.mean
        rows = Rows.of((X - center) / self.scale, ~np.isnan(X), weights)
        at = Moments(np.zeros(len(self.mean)), self.covariance)
        errors = left_out_errors(
            rows,
            at,
            self.alpha,
            self.total_weight,
            self.total_weight / self.pair_weight,
            center=self.centered,
        )
        return np.where(rows.observed, errors * self.scale, np.nan)


def fit_incomplete(
    X: Any,
    weights: Any = None,
    *,
    alpha: Literal["loo"] | float = "loo",
    standardize: bool = True,
    center: bool = True,
    max_iter: int = 100,
    tol: float = 0.05,
    names: Sequence[str] | None = None,
) -> IncompleteFit:
    r"""Fit to rows with missing cells, by EM with a ridge.

    Complete rows give the mean and the covariance of the sample, and the same penalty means the
    same predictor.

    Parameters
    ----------
    X
        Rows, shape (n, d), NaN where a cell is missing.
    weights
        One weight a row, shape (n,); counts as repeated rows. None: all one.
    alpha
        Penalty in units of the variance of the scaled columns, or ``"loo"``: the penalty with the
        least error of observed cells, predicted from the other observed cells of their row when
        the row is left out, on at most about 1000 cells of evenly chosen rows. Where cells are
        missing that error is approximate and the penalty tends to be too small; measured in
        ``benchmarks/masked_impute.py``.
    standardize, center
        Whether to divide columns by the standard deviation of their observed cells, and to
        estimate the mean.
    max_iter
        Largest number of EM steps.
    tol
        Stop when imputed cells move by less than this many of their conditional standard
        deviations, root mean square, and not right after a leap. At the default the error of
        imputed cells is that of the limit within about a percent, but up to twice that where
        columns all but follow from others; use 1e-6 for the maximum itself.
    names
        Names of the columns for messages.

    Raises
    ------
    InputError
        For rows or columns with no observed cell, columns constant among observed cells, infinite
        values, fewer than two rows or columns, or a penalty that is negative or not finite.
    ConvergenceError
        If the covariance becomes singular, or a plain EM step lowers the likelihood.

    Warns
    -----
    ForetellWarning
        If ``max_iter`` steps do not suffice.

    References
    ----------
    .. [1] Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM
       algorithm. JRSS B 39.
    .. [2] Little, Rubin (2019). Statistical analysis with missing data, 3rd edition, section 11.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> full = rng.normal(size=(300, 1)) + 0.5 * rng.normal(size=(300, 6))
    >>> X = np.where(rng.random(full.shape) < 0.2, np.nan, full)
    >>> found = fit_incomplete(X)
    >>> hidden = np.isnan(X)
    >>> bool(np.std((found.filled - full)[hidden]) < 0.6 * np.std(full[hidden]))
    True
    """
    X, weights = _checked(X, weights, names)
    given: Any = alpha
    if given != "loo" and (isinstance(given, str) or not 0 <= given < np.inf):
        raise InputError(f"alpha is 'loo' or a finite penalty of at least zero; found {alpha!r}")
    kept = weights > 0
    observed = ~np.isnan(X)
    mean, scale = _mean_and_scale(X[kept], weights[kept], names, center=center)
    if not standardize:
        scale = np.ones(X.shape[1])
    rows = Rows.of((X[kept] - mean) / scale, observed[kept], weights[kept])
    if isinstance(alpha, str):
        run = searched(rows, center=center)
    else:
        run = Run.start(rows, float(alpha), center=center)
    run.converge(tol, max_iter)
    if not run.change <= tol:
        _warn(run, tol)
    filled = np.full(X.shape, np.nan)
    filled[kept] = np.where(observed[kept], X[kept], mean + scale * run.step.filled)
    new_mean = mean + scale * run.at.mean
    if not kept.all():
        Q = Law.of(run.at.covariance, run.alpha).Q / np.outer(scale, scale)
        filled[~kept] = conditional_fill(X[~kept], new_mean, Q)
    return IncompleteFit(
        mean=new_mean,
        scale=scale,
        covariance=run.at.covariance,
        alpha=run.alpha,
        n_rows=int(kept.sum()),
        total_weight=rows.total,
        observed_weight=rows.weights @ rows.observed,
        pair_weight=rows.total / pair_loss(rows),
        filled=filled,
        objective=tuple(run.objective),
        n_iter=run.n_steps,
        change=run.change,
        converged=bool(run.change <= tol),
        centered=center,
    )


def conditional_fill(X: Any, mean: Array, precision: Array) -> Array:
    r"""Rows with their missing cells (NaN) at their conditional means, shape (n, d).

    .. math:: x_M = \mu_M - Q_{MM}^{-1} Q_{MO} (x_O - \mu_O)

    for any pattern; for one missing cell this is the column of :math:`A = I - Q \mathrm{diag}
    (Q)^{-1}`. Exact; a row with nothing observed gets the mean.

    Parameters
    ----------
    X
        Rows, shape (n, d), NaN where a cell is missing.
    mean
        Shape (d,).
    precision
        Q, positive definite, up to a factor, shape (d, d).

    Examples
    --------
    >>> Q = np.linalg.inv([[1.0, 0.5], [0.5, 1.0]])
    >>> conditional_fill([[2.0, np.nan]], np.zeros(2), Q)
    array([[2., 1.]])
    """
    X = np.asarray(X, dtype=np.float64)
    filled = X.copy()
    law = _law(precision)
    for chunk in _chunks(X):
        missing = np.isnan(X[chunk])
        deviations = np.where(missing, 0.0, X[chunk] - mean)
        for _ in fill(deviations, law, stacks(missing)):
            pass
        filled[chunk] = np.where(missing, deviations + mean, X[chunk])
    return filled


def conditional_sd(X: Any, precision: Array) -> Array:
    r"""Conditional standard deviations of missing cells (NaN), zero where observed, (n, d).

    The root of the diagonal of :math:`Q_{MM}^{-1}`. They hold the noise of the cells at the
    estimated moments, not the error of these moments, and the penalty as if it were noise. Both
    are of relative order d/n, with opposite signs. For normal rows an interval of 1.96 of them
    covers about 95 %; where rows are not normal they are right on average only.

    Parameters
    ----------
    X
        Rows, shape (n, d).
    precision
        Q in the units of the columns, not up to a factor: ``IncompleteFit.precision``.

    Examples
    --------
    >>> Q = np.linalg.inv([[1.0, 0.6], [0.6, 1.0]])
    >>> conditional_sd([[2.0, np.nan]], Q).round(6)
    array([[0. , 0.8]])
    """
    X = np.asarray(X, dtype=np.float64)
    law = _law(precision)
    spread = np.zeros(X.shape)
    for chunk in _chunks(X):
        missing = np.isnan(X[chunk])
        variances = np.zeros(missing.shape)
        for stack in stacks(missing):
            variances[stack.rows] = _variances(stack, law)
        spread[chunk] = np.where(missing, np.sqrt(np.maximum(variances, 0.0)), 0.0)
    return spread


def _variances(stack: Stack, law: Law) -> Array:
    V, _ = inverses(stack.blocks(law.S if stack.by_observed else law.Q))
    return conditional_variances(stack, V, law)


def _law(precision: Array) -> Law:
    Q = np.asarray(precision, dtype=np.float64)
    S = np.linalg.inv(Q)
    return Law((S + S.T) / 2, Q, np.nan)


def _chunks(X: Array) -> list[slice]:
    size = max(1, CHUNK // max(X.shape[1], 1))
    return [slice(start, start + size) for start in range(0, len(X), size)]


def _checked(X: Any, weights: Any, names: Sequence[str] | None) -> tuple[Array, Array]:
    X = np.array(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[0] < 2 or X.shape[1] < 2:
        raise InputError(f"expected at least 2 rows and 2 columns; found an array {X.shape}")
    if np.isinf(X).any():
        bad = np.flatnonzero(np.isinf(X).any(axis=0))
        raise InputError(
            f"{bad.size} of {X.shape[1]} columns hold infinite numbers, the first is "
            f"{label(names, bad[0])}; write NaN where a cell is missing"
        )
    weights = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(X),) or not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError(
            f"weights are finite numbers of at least zero, one for each of {len(X)} rows; found "
            f"shape {weights.shape}"
        )
    if int((weights > 0).sum()) < 2:
        raise InputError(
            f"expected at least 2 rows of positive weight; found {int((weights > 0).sum())}"
        )
    observed = ~np.isnan(X[weights > 0])
    if (empty := np.flatnonzero(~observed.any(axis=1))).size:
        first = np.flatnonzero(weights > 0)[empty[0]]
        raise InputError(
            f"{empty.size} of {len(observed)} rows have no observed cell, the first is row "
            f"{first}; leave them out, they tell nothing about the others"
        )
    if (empty := np.flatnonzero(~observed.any(axis=0))).size:
        values = {label(names, j): "every cell is missing" for j in empty}
        raise InputError(
            f"{empty.size} of {X.shape[1]} columns have no observed cell: {reasons(values)}; "
            f"{leave_out(names, empty)}"
        )
    return X, weights


def _mean_and_scale(
    X: Array, weights: Array, names: Sequence[str] | None, *, center: bool
) -> tuple[Array, Array]:
    """Mean of the observed cells, or zeros, and their deviation from it, shape (d,)."""
    observed = ~np.isnan(X)
    total = weights @ observed
    mean = weights @ np.where(observed, X, 0.0) / total
    variance = weights @ np.where(observed, X - mean, 0.0) ** 2 / total
    rounding = 4 * np.finfo(np.float64).eps * np.abs(mean)
    if (constant := np.flatnonzero(variance <= rounding**2)).size:
        counts = observed.sum(axis=0)
        values = {label(names, j): f"{mean[j]:g} in {counts[j]} observed cell(s)" for j in constant}
        raise InputError(
            f"{constant.size} of {len(mean)} columns are constant among their observed cells: "
            f"{reasons(values)}; {leave_out(names, constant)}"
        )
    if not center:
        return np.zeros(len(mean)), np.sqrt(variance + mean**2)
    return mean, np.sqrt(variance)


def _warn(run: Run, tol: float) -> None:
    share = 1.0 - float(run.rows.weights @ run.rows.observed.mean(axis=1)) / run.rows.total
    moved = "were filled only once"
    if np.isfinite(run.change) and len(run.objective) > 1:
        gain = run.objective[-1] - run.objective[-2]
        moved = (
            f"still moved by {run.change:.2g} of their conditional standard deviations (tolerance "
            f"{tol:g}; the log-likelihood gained {gain:.2g} a row)"
        )
    warnings.warn(
        f"after {run.n_steps} EM steps imputed cells {moved}; {share:.0%} of the cells are missing "
        f"and the penalty is {run.alpha:.2g}: raise max_iter, tol or the penalty",
        ForetellWarning,
        stacklevel=3,
    )
