r"""Masked ridge regression: every column of a sample predicted from all others, penalty and all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.data.checks import label, leave_out, reasons
from foretell.data.sources import Moments, Source
from foretell.errors import ForetellWarning, InputError
from foretell.models.masked_fit import ColumnErrors, MaskedFit, PenaltyPath
from foretell.models.masked_missing import fit_incomplete
from foretell.models.masked_path import (
    Eigenspaces,
    PathErrors,
    Rows,
    default_alphas,
    path_errors,
    smallest,
)

Rule = Literal["loo", "gcv"]
PRIOR_ROWS = 20  # what the curve of all columns counts beside that of one column


def fit_masked(
    source: Source,
    *,
    alpha: Rule | float = "loo",
    alphas: Array | None = None,
    per_target: bool = False,
    standardize: bool = True,
    center: bool = True,
    names: Sequence[str] | None = None,
) -> MaskedFit:
    """Fit to a sample of complete rows.

    Parameters
    ----------
    source
        Rows, n of them with d columns: three passes over them in chunks; in memory if n <= d + 1.
    alpha
        Penalty, from zero to infinity, or the rule that chooses it.
    alphas
        Penalties to choose from; None covers the spectrum. The choice is refined between them.
    per_target
        Whether each column has its own, the minimum of its logarithmic error plus 20 / n times
        that of all columns: own errors are noisy in small samples.
    standardize, center
        Whether to divide columns by their standard deviation, and to estimate their mean.
    names
        Names of the columns for messages.

    Raises
    ------
    InputError
        If there are too few rows or columns, a column is constant, a value is not finite, or the
        limit without a penalty does not exist.

    Examples
    --------
    >>> from foretell.data.sources import ArraySource
    >>> rng = np.random.default_rng(0)
    >>> fit = fit_masked(ArraySource(rng.normal(size=(50, 4)) + rng.normal(size=(50, 1))))
    >>> fit.errors.loo.shape, bool(0 < fit.alpha < 1)
    ((4,), True)
    """
    n, d = source.rows, source.columns
    if d < 2:
        raise InputError(
            "masked regression predicts columns from one another and needs at least 2; found "
            f"{d} feature(s) (n_features = {d})"
        )
    if n < 2:
        raise InputError(
            f"masked regression needs at least 2 rows; found {n} sample(s) (n_samples = {n})"
        )
    sample = source.moments if n > d + center else _moments_of_rows(source)
    mean, scale = mean_and_scale(sample, standardize=standardize, center=center, names=names)

    def chunks() -> Iterator[Rows]:
        for X, weights in source.chunks():
            weights = np.ones(len(X)) if weights is None else weights
            yield Rows((X - mean) / scale, weights, sample.total_weight, center)

    spaces = _eigenspaces(sample, chunks, mean, scale, center=center)
    chosen, path = _choose(spaces, chunks, alpha, alphas, per_target=per_target)
    if np.min(chosen) <= 0:
        spaces.check_ridgeless()
    at = path_errors(spaces, chunks(), np.asarray(chosen)[None])
    path = _mean_over_columns(at) if path is None else path
    assert at.loo is not None
    errors = ColumnErrors(*(e[0] * scale**2 for e in (at.train, at.loo, at.gcv, at.egcv)))
    return MaskedFit(
        mean, scale, spaces, chosen, n, sample.total_weight, center, path=path, errors=errors
    )


def fit_masked_incomplete(
    X: Array,
    weights: Array | None = None,
    *,
    alpha: Literal["loo"] | float = "loo",
    standardize: bool = True,
    center: bool = True,
    max_iter: int = 100,
    tol: float = 0.05,
    names: Sequence[str] | None = None,
) -> MaskedFit:
    """Fit to rows with missing cells (NaN), shape (n, d), all of them in memory.

    The covariance is that of :func:`~foretell.models.masked_missing.fit_incomplete`, which says
    what the parameters mean and what it raises.
    """
    f = fit_incomplete(
        X, weights, alpha=alpha, standardize=standardize, center=center, max_iter=max_iter,
        tol=tol, names=names,
    )  # fmt: skip
    spaces = Eigenspaces.of_covariance(f.covariance)
    without_rows = replace(f, filled=np.empty((0, X.shape[1])))
    return MaskedFit(
        f.mean, f.scale, spaces, f.alpha, f.n_rows, f.total_weight, center, incomplete=without_rows
    )


def mean_and_scale(
    sample: Moments, *, standardize: bool, center: bool, names: Sequence[str] | None = None
) -> tuple[Array, Array]:
    """Mean and scale of the columns, shape (d,); zeros and ones where not estimated.

    Raises
    ------
    InputError
        If a column is constant, or its numbers are not finite.
    """
    variance = np.diag(sample.covariance) if sample.covariance.ndim == 2 else sample.covariance
    if (bad := np.flatnonzero(~np.isfinite(variance + sample.mean))).size:
        raise InputError(
            f"{bad.size} of {len(variance)} columns hold missing or infinite numbers, the first is "
            f"{label(names, bad[0])}; give incomplete rows as an array or a data frame"
        )
    rounding = 4 * np.finfo(np.float64).eps * np.abs(sample.mean)
    if (constant := np.flatnonzero(variance <= rounding**2)).size:
        values = {label(names, j): f"{sample.mean[j]:g}" for j in constant}
        raise InputError(
            f"{constant.size} of {len(variance)} columns are constant over all {sample.n_rows} "
            f"rows: {reasons(values)}; {leave_out(names, constant)}"
        )
    if not center:
        variance = variance + sample.mean**2
    mean = sample.mean if center else np.zeros(len(variance))
    return mean, np.sqrt(variance) if standardize else np.ones(len(variance))


def _moments_of_rows(source: Source) -> Moments:
    """Moments without the covariance: the variances take its place, shape (d,)."""
    X, weights = _in_memory(source)
    total = float(weights.sum())
    mean = weights @ X / total
    return Moments(len(X), total, mean, weights @ (X - mean) ** 2 / total)


def _in_memory(source: Source) -> tuple[Array, Array]:
    chunks = list(source.chunks())
    weights = [np.ones(len(X)) if weights is None else weights for X, weights in chunks]
    return np.concatenate([X for X, _ in chunks]), np.concatenate(weights)


def _eigenspaces(
    sample: Moments,
    chunks: Callable[[], Iterator[Rows]],
    mean: Array,
    scale: Array,
    *,
    center: bool,
) -> Eigenspaces:
    if sample.covariance.ndim == 2:
        moments = sample if center else sample.about_origin()
        return Eigenspaces.of_covariance(moments.covariance / np.outer(scale, scale))
    Y = np.concatenate([np.sqrt(rows.weights / rows.total)[:, None] * rows.Z for rows in chunks()])
    return Eigenspaces.of_rows(Y, sample.n_rows - center)


def _choose(
    spaces: Eigenspaces,
    chunks: Callable[[], Iterator[Rows]],
    alpha: Rule | float,
    alphas: Array | None,
    *,
    per_target: bool,
) -> tuple[float | Array, PenaltyPath | None]:
    """The penalty, or one a column, and the errors along the path if a rule chose it."""
    if not isinstance(alpha, str):
        return float(alpha), None
    grid = default_alphas(spaces) if alphas is None else alphas
    errors = path_errors(spaces, chunks(), grid, loo=alpha == "loo")
    found = errors.loo if errors.loo is not None else errors.gcv
    tiny = np.finfo(np.float64).tiny
    curves = np.log(np.maximum(found.mean(axis=1, keepdims=True), tiny))
    if per_target:
        curves = np.log(np.maximum(found, tiny)) + PRIOR_ROWS / errors.size * curves
    if alphas is not None and len(alphas) > 1:
        _check_ends(grid, np.argmin(curves, axis=0))
    chosen = np.array([smallest(grid, curve) for curve in curves.T])
    return chosen if per_target else float(chosen[0]), _mean_over_columns(errors)


def _check_ends(grid: Array, best: Array) -> None:
    for end, value, where in ((0, grid[0], "smallest"), (len(grid) - 1, grid[-1], "largest")):
        if 0 < value < np.inf and (best == end).any():
            warnings.warn(
                f"the error is least at the {where} of the {len(grid)} penalties, {value:g}, in "
                f"{int((best == end).sum())} of {len(best)} curves; give alphas beyond it, or None "
                "to cover the whole spectrum",
                ForetellWarning,
                stacklevel=5,
            )


def _mean_over_columns(errors: PathErrors) -> PenaltyPath:
    train, gcv, egcv = (one.mean(axis=1) for one in (errors.train, errors.gcv, errors.egcv))
    loo = None if errors.loo is None else errors.loo.mean(axis=1)
    return PenaltyPath(errors.alphas, train, gcv, egcv, loo)
