r"""Errors without a penalty where normal rows have them in closed form at finite n."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.spectrum import Spectrum


def least_squares_errors(spectrum: Spectrum, n_samples: float) -> tuple[Array, Array, Array]:
    r"""Exact means of test error, training error and squared norm of the columns of A.

    Least squares of a coordinate on the d - 1 others, n normal rows of mean zero, n at least the
    rank r of :math:`\Sigma`, with :math:`\Omega = \Sigma^{+}` (the inverse, where there is one):

    .. math:: \frac{n-1}{n-r}\frac{1}{\Omega_{kk}}, \qquad
              \frac{n-r+1}{n}\frac{1}{\Omega_{kk}}, \qquad
              \frac{(\Omega^2)_{kk}}{\Omega_{kk}^2} - 1 + \frac{\mathrm{tr}\,\Omega -
              (\Omega^2)_{kk}/\Omega_{kk}}{(n-r)\,\Omega_{kk}}.

    At n = r test error and norm have no mean (they are infinite), the training error has.
    A coordinate that is a combination of others, a share :math:`P_{kk} > 0` of it in the null
    space of :math:`\Sigma`, is predicted without error, by coefficients of squared norm
    :math:`1/P_{kk} - 1`: the limit of small penalties.

    Parameters
    ----------
    spectrum
        Spectrum of the covariance.
    n_samples
        Rows n, at least the rank.

    Returns
    -------
    tuple
        Three arrays, one number for each type of coordinate, shape (g,).

    Raises
    ------
    InputError
        If there are fewer rows than the rank.

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
    n, rank = n_samples, spectrum.rank
    if n < rank:
        raise InputError(
            f"least squares needs as many rows as the rank of the covariance; found n = {n:g} and "
            f"rank {rank:g}"
        )
    inverse = pseudo_inverse(spectrum)
    null, best = spectrum.null_shares, best_linear_errors(spectrum)
    precision, square = spectrum.diagonal(inverse), spectrum.diagonal(inverse**2)
    is_free = null == 0
    norm = 1 / np.where(is_free, 1.0, null) - 1
    train = (n - rank + 1) / n * best
    if n == rank:
        unbounded = np.where(is_free, np.inf, 0.0)
        return unbounded, train, norm + unbounded
    p, s = precision[is_free], square[is_free]
    others = float(spectrum.trace(inverse)) - s / p
    norm[is_free] = s / p**2 - 1 + others / ((n - rank) * p)
    return (n - 1) / (n - rank) * best, train, norm


def pseudo_inverse(spectrum: Spectrum) -> Array:
    """Inverse eigenvalues, zero for those that are zero, shape (p,)."""
    tau = spectrum.eigenvalues
    return np.divide(1.0, tau, out=np.zeros(len(tau)), where=tau > 0)


def best_linear_errors(spectrum: Spectrum) -> Array:
    r"""Error :math:`1/\Omega_{kk}` of the best linear prediction of a coordinate from the others.

    Zero for a coordinate that is a combination of others; one number for each type, shape (g,).

    Examples
    --------
    >>> best_linear_errors(Spectrum.of([[1.0, 0.6], [0.6, 1.0]])).round(2).tolist()
    [0.64, 0.64]
    """
    precision = spectrum.diagonal(pseudo_inverse(spectrum))
    is_free = spectrum.null_shares == 0
    return np.divide(1.0, precision, out=np.zeros(len(precision)), where=is_free)
