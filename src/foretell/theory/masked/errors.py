r"""Errors of masked self-supervised regression: each coordinate predicted from all others by ridge
regression on n rows.

Loss of column k: mean square plus ``alpha`` times the squared norm. ``alpha`` is always the
penalty; what arXiv 2601.23208 calls alpha is ``n_samples / d``.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.elliptical import RowScales
from foretell.theory.masked.error_columns import error_columns
from foretell.theory.masked.finite_size import warn_if_far, warn_user
from foretell.theory.masked.random_masks import RandomMaskErrors, random_mask_errors
from foretell.theory.masked.results import EquivalentWarning, MaskedPath, MaskedTheory
from foretell.theory.masked.ridgeless import best_linear_errors
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.effective_ridge import (
    LARGE,
    check_penalties,
    check_samples,
)
from foretell.theory.spectra.spectrum import Spectrum

__all__ = ["EquivalentWarning", "MaskedPath", "MaskedTheory", "masked_path", "masked_regression"]

CHUNK = 4_000_000  # entries of the arrays (eigenvalues, penalties) held at a time


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
        Ridge penalty, not negative; zero gives the limits of small penalties: least squares (n at
        least the rank r of the covariance) or interpolation with least norm (n < r: training error
        zero). ``inf`` predicts zero.
    row_scales
        Rows are :math:`\sqrt{t_i}\, y_i` with :math:`y_i` of this covariance: an array of
        :math:`t_i`, or a pair (values, weights). Only their law matters: the array need not be of
        length n. Test errors are for rows of scale one.
    mask_rate
        Probability with which entries are hidden when one predictor is trained over random masks
        (zeros in place of hidden entries,
        :func:`~foretell.theory.masked.random_masks.random_mask_errors`); None hides one coordinate
        at a time.
    finite_sample
        At alpha = 0 and n >= r use the exact means for normal rows, which differ from the limits
        by factors 1 - 1/n (test) and 1 + 1/(n - r) (train), instead of these. The slope is that
        of the limit in either case.

    Returns
    -------
    MaskedTheory
        Or RandomMaskErrors if a mask rate is given. Without a penalty and at n = r test error and
        norm have no finite mean and are infinite, with a warning. Coordinates that are
        combinations of others are predicted without error as the penalty vanishes and n >= r.

    Raises
    ------
    InputError
        If the covariance is not symmetric, finite and semidefinite; n_samples < 2; a negative
        penalty; scales that are not positive.

    Warns
    -----
    EquivalentWarning
        If means over samples are expected to differ from the limit by more than 2 % (test) or 5 %
        (training), with that difference: the next order of the expansion in 1/n
        (:func:`~foretell.theory.masked.finite_size.finite_size_corrections`), which is not added
        to the numbers. It is about one over :math:`n - \mathrm{df}_2`: small samples, and small
        penalties with n near the effective rank. In 1,312 simulated cases (d = 4 to
        150, n/d = 0.2 to 5, seven families of covariances, singular ones too) it was never given
        where the difference was below half of that, and never missing where it was above 1.25
        times that. Where it exceeds a half only "half or more" is said. For normal
        rows; an estimate of the order for rows of unequal length.

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
    exact = finite_sample and n >= spectrum.rank and rows.alike
    test, train, columns = error_columns(spectrum, n, penalty[None], rows, exact)
    _warn(spectrum, n, penalty[None], columns)
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
    exact = finite_sample and n >= spectrum.rank and rows.alike
    size = max(1, CHUNK // len(spectrum.eigenvalues))
    parts = [
        error_columns(spectrum, n, penalties[i : i + size], rows, exact)[2]
        for i in range(0, len(penalties), size)
    ]
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    _warn(spectrum, n, penalties, columns)
    return MaskedPath(
        alpha=penalties, n_samples=n, d=spectrum.d, **_references(spectrum), **columns
    )


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


def _warn(spectrum: Spectrum, n: float, alphas: Array, columns: dict[str, Any]) -> None:
    """Warn of limits that are far from means, and where there is no mean; drop the corrections."""
    test, train = columns.pop("test"), columns.pop("train")
    if np.isinf(columns["test_error"]).any():
        warn_user(
            f"the test error has no finite mean without a penalty where n = {n:g} is the rank of "
            "the covariance; use a penalty, or another n"
        )
    rest = n - columns["second_degrees_of_freedom"]
    warn_if_far(n, spectrum.d, alphas, test, train, rest)
