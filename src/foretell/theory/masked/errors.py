r"""Errors of masked self-supervised regression: each coordinate predicted from all others by ridge
regression on n rows.

Loss of column k: mean square plus ``alpha`` times the squared norm. ``alpha`` is always the
penalty; what arXiv 2601.23208 calls alpha is ``n_samples / d``.
"""

from __future__ import annotations

import warnings
from typing import Any, overload

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.elliptical import RowScales, elliptical_ridges
from foretell.theory.masked.equivalent import Equivalent, check_inverse
from foretell.theory.masked.random_masks import RandomMaskErrors, random_mask_errors
from foretell.theory.masked.results import EquivalentWarning, MaskedPath, MaskedTheory
from foretell.theory.masked.ridgeless import best_linear_errors, least_squares_errors
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.effective_ridge import (
    LARGE,
    check_penalties,
    check_samples,
    exact_count,
)
from foretell.theory.spectra.spectrum import Spectrum

__all__ = ["EquivalentWarning", "MaskedPath", "MaskedTheory", "masked_path", "masked_regression"]

CHUNK = 4_000_000  # entries of the arrays (eigenvalues, penalties) held at a time
CLOSE_SHARE, CLOSE_COUNT = 0.1, 40  # |n - d| below both is close
TEST_SCALE, TRAIN_SCALE = 10, 5000  # of alpha n tr Omega, below which errors are off by 2 %


@overload
def masked_regression(
    covariance: Any,
    n_samples: float,
    alpha: float,
    *,
    row_scales: Any = None,
    mask_rate: None = None,
    finite_sample: bool = True,
) -> MaskedTheory: ...


@overload
def masked_regression(
    covariance: Any,
    n_samples: float,
    alpha: float,
    *,
    row_scales: Any = None,
    mask_rate: float,
    finite_sample: bool = True,
) -> RandomMaskErrors: ...


def masked_regression(
    covariance: Any,
    n_samples: float,
    alpha: float,
    *,
    row_scales: Any = None,
    mask_rate: float | None = None,
    finite_sample: bool = True,
) -> MaskedTheory | RandomMaskErrors:
    r"""Test and training error of masked regression, in total and for each coordinate.

    In the limit of n and d large and comparable, with the effective ridge :math:`\kappa`
    (:func:`~foretell.theory.spectra.effective_ridge.effective_ridge`) and
    :math:`R = (\Sigma + \kappa I)^{-1}`,

    .. math:: \mathrm{test}_k = \frac{(R\Sigma R)_{kk}}{R_{kk}^2 (1 - \mathrm{df}_2/n)}, \qquad
              \mathrm{train}_k = (\alpha/\kappa)^2\, \mathrm{test}_k .

    Rows have mean zero and the form :math:`\Sigma^{1/2} z`, with independent z of variance one and
    of any law (universality), or lengths given by ``row_scales``. Relative error of the total of
    order 1/d: at most 0.5 % (test) and 2 % (train) at d = 990 over ten covariances; of a single
    coordinate :math:`d^{-1/2}`.

    Parameters
    ----------
    covariance
        Covariance (d, d), its eigenvalues (d,) if coordinates are alike, or what has an attribute
        ``spectrum``.
    n_samples
        Rows n, at least 2.
    alpha
        Ridge penalty, not negative; zero gives the limits of least squares (n > d) and of
        interpolation with least norm (n < d: training error zero).
    row_scales
        Rows are :math:`\sqrt{t_i}\, y_i` with :math:`y_i` of this covariance: an array of
        :math:`t_i`, or a pair (values, weights). Test errors are for rows of scale one.
    mask_rate
        Probability with which entries are hidden when one predictor is trained over random masks
        (zeros in place of hidden entries,
        :func:`~foretell.theory.masked.random_masks.random_mask_errors`); None hides one coordinate
        at a time.
    finite_sample
        At alpha = 0 and n >= d use the exact means for normal rows, which differ from the limits
        by factors 1 - 1/n (test) and 1 + 1/(n - d) (train), instead of these. The slope is that
        of the limit in either case.

    Returns
    -------
    MaskedTheory
        Or RandomMaskErrors if a mask rate is given. At n = d without a penalty test error and
        norm are infinite, with a warning.

    Raises
    ------
    InputError
        If the covariance is not symmetric, finite and semidefinite, or is singular where its
        inverse is needed (alpha = 0 with n > d); n_samples < 2; a negative penalty; scales that
        are not positive.

    Warns
    -----
    EquivalentWarning
        If n is within min(40, d / 10) of d and the penalty small:
        :math:`s = \alpha n d\, \mathrm{tr} R / \mathrm{tr}\,\Sigma R`, which is
        :math:`\alpha n\, \mathrm{tr}\,\Omega` for small penalties, below 10
        (for n < d: 10 (d - n)²) for the test error, below 5,000 for the training error. Measured
        at n = d for five covariances, d = 100: at s = 1, 10, 100 and 1,000 the test error is off
        by -5, -1, -0.6 and -0.4 %, the training error by 160, 50, 14 and 4 %, which is
        2.6 / (n - df2), close to 1.3 / sqrt(s).

    Examples
    --------
    >>> theory = masked_regression([[1.0, 0.5], [0.5, 1.0]], n_samples=100, alpha=0.0)
    >>> round(theory.test_error, 4), round(theory.best_linear_error, 4)
    (0.7577, 0.75)
    >>> interpolation = masked_regression([1.0] * 300, n_samples=150, alpha=0.0)
    >>> round(interpolation.test_error, 6), interpolation.train_error
    (2.0, 0.0)

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv 2601.23208. The formulas are
       derived and checked by simulation in docs/masked-regression.md.
    """
    n = check_samples(n_samples)
    penalty = check_penalties(alpha)
    if penalty.ndim:
        raise InputError(f"alpha is one penalty; found {penalty.shape}; use masked_path for many")
    if mask_rate is not None:
        if row_scales is not None:
            raise InputError("random masks have no theory for row_scales; leave one of them out")
        return random_mask_errors(covariance, n, float(penalty), mask_rate)
    rows = RowScales.of(row_scales)
    spectrum = Spectrum.of(covariance)
    exact = finite_sample and n >= spectrum.d and rows.alike
    test, train, columns = _columns(spectrum, n, penalty[None], rows, exact)
    _warn_near_peak(spectrum, n, penalty[None], columns["kappa"], exact)
    values = {name: float(column[0]) for name, column in columns.items()}
    return MaskedTheory(
        alpha=float(penalty),
        n_samples=n,
        d=spectrum.d,
        test_error_per_coordinate=spectrum.per_coordinate(test[:, 0]),
        train_error_per_coordinate=spectrum.per_coordinate(train[:, 0]),
        exact=bool(exact and penalty == 0),
        **_references(spectrum),
        **values,
    )


def masked_path(
    covariance: Any,
    n_samples: float,
    alphas: Any,
    *,
    row_scales: Any = None,
    finite_sample: bool = True,
) -> MaskedPath:
    """Errors of masked regression along many penalties, as columns.

    Parameters and assumptions are those of :func:`masked_regression`. More than 20,000 eigenvalues
    of coordinates that are alike are compressed first, which changes errors by less than 1e-11.

    Examples
    --------
    >>> path = masked_path([0.5, 1.0, 4.0] * 50, n_samples=300, alphas=[0.01, 0.1, 1.0])
    >>> path.test_error.round(4).tolist()
    [1.7744, 1.4663, 1.2183]
    """
    n = check_samples(n_samples)
    penalties = np.atleast_1d(check_penalties(alphas))
    if penalties.ndim != 1:
        raise InputError(f"alphas has shape (L,); found {penalties.shape}")
    rows = RowScales.of(row_scales)
    spectrum = _compressed(Spectrum.of(covariance))
    exact = finite_sample and n >= spectrum.d and rows.alike
    size = max(1, CHUNK // len(spectrum.eigenvalues))
    parts = [
        _columns(spectrum, n, penalties[i : i + size], rows, exact)[2]
        for i in range(0, len(penalties), size)
    ]
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    _warn_near_peak(spectrum, n, penalties, columns["kappa"], exact)
    return MaskedPath(
        alpha=penalties, n_samples=n, d=spectrum.d, **_references(spectrum), **columns
    )


def _columns(
    spectrum: Spectrum, n: float, alphas: Array, rows: RowScales, exact: bool
) -> tuple[Array, Array, dict[str, Any]]:
    """Test and training errors of types, shape (g, L), and the columns of a path, shape (L,)."""
    kappa, weight = elliptical_ridges(spectrum.eigenvalues, spectrum.counts, n, alphas, rows)
    check_inverse(spectrum, kappa)
    at_peak = (kappa == 0) & (n == spectrum.d)
    shape = len(spectrum.profile), len(alphas)
    test, norm, train = np.full(shape, np.inf), np.full(shape, np.inf), np.zeros(shape)
    slope = np.full(len(alphas), -np.inf)
    df1, df2 = np.full((2, len(alphas)), n)
    if not at_peak.all():
        on = ~at_peak
        at = Equivalent.at(spectrum, n, kappa[on], weight[on], rows)
        test[:, on], norm[:, on] = at.test_errors(), at.norms()
        train[:, on] = test[:, on] * at.shrinkage
        slope[on] = spectrum.copies @ at.test_error_slopes() / spectrum.d / at.alpha_slope
        df1[on], df2[on] = at.df1, at.df2
    if exact and (alphas == 0).any():
        for errors, means in zip(
            (test, train, norm), least_squares_errors(spectrum, n), strict=True
        ):
            errors[:, alphas == 0] = means[:, None]
    share = spectrum.copies / spectrum.d
    columns = {
        "kappa": kappa,
        "degrees_of_freedom": df1,
        "second_degrees_of_freedom": df2,
        "test_error": share @ test,
        "train_error": share @ train,
        "norm": share @ norm,
        "test_error_slope": slope,
    }
    return test, train, columns


def _references(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "null_error": float(spectrum.trace(spectrum.eigenvalues)) / spectrum.d,
        "best_linear_error": spectrum.mean(best_linear_errors(spectrum)),
    }


def _compressed(spectrum: Spectrum) -> Spectrum:
    if not spectrum.alike or len(spectrum.eigenvalues) <= LARGE:
        return spectrum
    eigenvalues, counts = compressed(spectrum.eigenvalues, spectrum.counts)
    return Spectrum(eigenvalues, counts, (counts / counts.sum())[None, :])


def _warn_near_peak(
    spectrum: Spectrum, n: float, alphas: Array, kappas: Array, exact: bool
) -> None:
    """Warn where the smallest eigenvalues of the sample exceed the penalty only by chance."""
    tau, counts = (a[spectrum.eigenvalues > 0] for a in (spectrum.eigenvalues, spectrum.counts))
    rank = exact_count(counts)
    gap = n - rank
    if gap != 0 and abs(gap) >= min(CLOSE_COUNT, CLOSE_SHARE * rank):
        return
    inverses = [1 / (tau + kappa) for kappa in kappas]
    scales = alphas * n * rank * np.array([(counts @ r) / (counts @ (tau * r)) for r in inverses])
    is_limit = (alphas > 0) | (gap == 0) | (not exact)
    test = is_limit & (scales < TEST_SCALE * (max(1.0, gap**2) if gap < 0 else 1.0))
    train = is_limit & (scales < TRAIN_SCALE) & ((alphas > 0) | (gap > 0))
    if not (test | train).any():
        return
    named = " and ".join(name for name, bad in (("test", test), ("training", train)) if bad.any())
    warnings.warn(
        f"{named} error inaccurate: n = {n:g} is close to d = {rank:g} and alpha = "
        f"{alphas[test | train].max():.3g} small (scale {scales[test | train].max():.3g}, expected "
        f"{TRAIN_SCALE} or more); use a larger penalty, or simulate",
        EquivalentWarning,
        stacklevel=3,
    )
