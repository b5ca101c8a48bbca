r"""Errors without a penalty where normal rows have them in closed form at finite n."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.equivalent import check_inverse
from foretell.theory.spectra.spectrum import Spectrum


def least_squares_errors(spectrum: Spectrum, n_samples: float) -> tuple[Array, Array, Array]:
    r"""Exact means of test error, training error and squared norm of the columns of A.

    Least squares of a coordinate on the d - 1 others, n >= d normal rows of mean zero, no
    penalty, with :math:`\Omega = \Sigma^{-1}`:

    .. math:: \frac{n-1}{n-d}\frac{1}{\Omega_{kk}}, \qquad
              \frac{n-d+1}{n}\frac{1}{\Omega_{kk}}, \qquad
              \frac{(\Omega^2)_{kk}}{\Omega_{kk}^2} - 1 + \frac{\mathrm{tr}\,\Omega -
              (\Omega^2)_{kk}/\Omega_{kk}}{(n-d)\,\Omega_{kk}}.

    At n = d test error and norm have no mean (they are infinite), the training error has.

    Parameters
    ----------
    spectrum
        Spectrum of the covariance, which must have an inverse.
    n_samples
        Rows n, at least d.

    Returns
    -------
    tuple
        Three arrays, one number for each type of coordinate, shape (g,).

    Raises
    ------
    InputError
        If there are fewer rows than coordinates or the covariance has no inverse.

    Examples
    --------
    >>> test, train, norm = least_squares_errors(Spectrum.of([1.0, 1.0, 1.0, 1.0]), 6)
    >>> test.tolist(), train.tolist(), norm.tolist()
    ([2.5], [0.5], [1.5])

    References
    ----------
    .. [1] Anderson (2003). An introduction to multivariate statistical analysis. Chapter 7.
       Mean of an inverse Wishart matrix.
    """
    n, d = n_samples, float(spectrum.d)
    if n < d:
        raise InputError(
            f"least squares on the other coordinates needs n >= d; found n = {n:g} and d = {d:g}"
        )
    check_inverse(spectrum, np.zeros(1))
    omega = 1 / spectrum.eigenvalues
    precision, square = spectrum.diagonal(omega), spectrum.diagonal(omega**2)
    train = (n - d + 1) / n / precision
    if n == d:
        return np.full_like(train, np.inf), train, np.full_like(train, np.inf)
    others = float(spectrum.trace(omega)) - square / precision
    norm = square / precision**2 - 1 + others / ((n - d) * precision)
    return (n - 1) / (n - d) / precision, train, norm


def best_linear_errors(spectrum: Spectrum) -> Array:
    r"""Error :math:`1/\Omega_{kk}` of the best linear prediction of a coordinate from the others.

    Zero for a coordinate that is a combination of others; one number for each type, shape (g,).

    Examples
    --------
    >>> best_linear_errors(Spectrum.of([[1.0, 0.6], [0.6, 1.0]])).round(2).tolist()
    [0.64, 0.64]
    """
    positive = spectrum.eigenvalues > 0
    inverse = np.divide(1.0, spectrum.eigenvalues, out=np.zeros(len(positive)), where=positive)
    dependent = spectrum.diagonal((~positive).astype(float)) > 0
    return np.where(dependent, 0.0, 1 / spectrum.diagonal(inverse))
