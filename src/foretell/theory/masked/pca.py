r"""Principal components of n rows as a predictor: plain, and with the coordinate hidden.

PCA with k components reconstructs a new row x by :math:`UU^\top x`; it sees every coordinate that
it reconstructs. Masked PCA fits the k scores by least squares to the other coordinates and reads
the hidden one off: a linear predictor with residual :math:`(Px)_k / P_{kk}`,
:math:`P = I - UU^\top`, that has the information of masked regression. With k = n < d it is
ridgeless masked regression.

The errors are limits for n and d large and comparable, exact in the spectrum. They are derived in
docs/masked-regression.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foretell._types import Array
from foretell.theory.masked.pca_limit import PCALimit, check_rank, shaped
from foretell.theory.spectra.spectrum import Spectrum

__all__ = [
    "PCALimit", "masked_pca_error", "pca_error", "population_masked_pca_error",
    "population_pca_error",
]  # fmt: skip


def pca_error(covariance: Any, n_samples: float, rank: Any) -> Any:
    r"""Error :math:`\tfrac1d E\|x - UU^\top x\|^2` of PCA fitted to n rows, on a new row x.

    With :math:`\gamma = d/n`, :math:`w = u + iy` the solution of

    .. math:: z(w) = w \Bigl(1 + \frac1n \sum_j \frac{\tau_j}{w - \tau_j}\Bigr) = x,

    and :math:`x_k` the quantile of the sample spectrum with a share k/d above it,

    .. math:: \text{err} = \int_{x < x_k} \frac{y}{\pi\gamma x}\,dx
              \;\bigl[\, + \kappa_0/\gamma \text{ if } n < d \,\bigr],

    because :math:`u_j^\top\Sigma u_j \to |w|^2/x` at density :math:`y/(\pi\gamma|w|^2)`. The
    bracket is the null space of the sample, :math:`\kappa_0` the effective ridge at no penalty;
    more than n components take random directions of it, so that it falls evenly from k = n to d.
    Eigenvalues that stand apart ("spikes") are intervals of mass 1/d of their own, with the
    values of spiked theory.

    Parameters
    ----------
    covariance
        Covariance (d, d), its eigenvalues (d,), or what has an attribute ``spectrum``.
    n_samples
        Number n of rows with mean zero, at least 2; after centering, n - 1.
    rank
        Number k of components, from 0 to d; a number or an array, not necessarily whole.

    Returns
    -------
    float or array
        Mean squared error per coordinate, of the shape of ``rank``. The relative error of the
        limit is about 1/d.

    Raises
    ------
    InputError
        If a rank lies outside 0, ..., d, n_samples < 2, or the covariance is not semidefinite.

    Examples
    --------
    >>> pca_error([1.0] * 60, 120, [0, 15, 60]).round(4).tolist()
    [1.0, 0.75, 0.0]

    References
    ----------
    .. [1] Ledoit & Péché (2011). Eigenvectors of some large sample covariance matrix ensembles.
       Probability Theory and Related Fields 151. Theorem 4.
    """
    return PCALimit(covariance, n_samples).error(rank)


def masked_pca_error(covariance: Any, n_samples: float, rank: Any) -> Any:
    r"""Error of predicting each coordinate from the others by the components of n rows.

    .. math:: \frac1d \sum_k \frac{(P \Sigma P)_{kk}}{P_{kk}^2}

    Where coordinates are alike this is :math:`\text{err}/(1 - \eta)^2` with the error of
    :func:`pca_error` and :math:`\eta = k/d`. In general, with
    :math:`S_k(w) = [\Sigma(\Sigma - w)^{-1}]_{kk}`, :math:`g_k = \mathrm{Im}(w S_k)`,
    :math:`f_k = \mathrm{Im}(S_k)/(\pi x)` and integrals over :math:`x, x' < x_k`,

    .. math::
        P_{kk} &\to \int f_k\,dx, \\
        (P\Sigma P)_{kk} &\to \int \frac{|w|^2}{x} f_k\,dx + \frac{1}{\pi^2}\iint
            \frac{y' g_k - y g_k'}{x x' (x - x')}\,dx\,dx',

    the double contour integral of
    :math:`Q(z)\Sigma Q(z') \sim \frac{w w'}{z z' (z - z')} [\Sigma(\Sigma-w)^{-1} -
    \Sigma(\Sigma-w')^{-1}]`, collapsed onto the real axis. The null space adds its own terms.

    Parameters
    ----------
    covariance, n_samples
        As in :func:`pca_error`. Eigenvalues alone mean coordinates that are alike.
    rank
        Number k of components, at least 0 and less than d; a number or an array.

    Returns
    -------
    float or array
        Mean squared error per coordinate, of the shape of ``rank``. At finite d the
        :math:`P_{kk}` vary between samples, which raises the error by a factor of about
        :math:`(1 - 2/d)/(1 - 2/(d - k))`, exact for the identity; it is not included. With it,
        the relative error of the limit is about 1/d. Integrals are exact to 1e-7 or better, to
        1e-5 where intervals of the spectrum nearly touch.

    Raises
    ------
    InputError
        If a rank lies outside 0, ..., d - 1, n_samples < 2, or the covariance is not semidefinite.

    Examples
    --------
    >>> masked_pca_error([1.0] * 60, 120, [0, 15, 30]).round(4).tolist()
    [1.0, 1.3333, 2.0]
    """
    return PCALimit(covariance, n_samples).masked_error(rank)


def population_pca_error(covariance: Any, rank: Any) -> Any:
    r"""Error of PCA that knows the covariance, :math:`\tfrac1d \sum_{j>k} \tau_j`: exact.

    Parameters and errors are those of :func:`pca_error`.

    Examples
    --------
    >>> population_pca_error([4.0, 2.0, 1.0, 1.0], [0, 1, 2])
    array([2. , 1. , 0.5])
    """
    spectrum = Spectrum.of(covariance)
    ranks = check_rank(rank, spectrum.d)
    kept = _population_shares(spectrum, ranks)
    return shaped(kept @ (spectrum.counts * spectrum.eigenvalues) / spectrum.d, rank)


def population_masked_pca_error(covariance: Any, rank: Any) -> Any:
    r"""Error of masked PCA that knows the covariance: exact, with :math:`P\Sigma P = P\Sigma`.

    An eigenspace that the rank cuts loses the same share of every direction. Parameters and errors
    are those of :func:`masked_pca_error`; infinite where a coordinate lies in the span of the
    components, as it does for a diagonal covariance.

    Examples
    --------
    >>> population_masked_pca_error([4.0, 2.0, 1.0, 1.0], [0, 1]).round(4).tolist()
    [2.0, 1.7778]
    """
    spectrum = Spectrum.of(covariance)
    ranks = check_rank(rank, spectrum.d, masked=True)
    kept = _population_shares(spectrum, ranks)
    outside = kept @ spectrum.profile.T
    inside = (kept * spectrum.eigenvalues) @ spectrum.profile.T
    is_open = outside > 1e-12
    risk = np.where(is_open, inside / np.where(is_open, outside, 1.0) ** 2, np.inf)
    return shaped(risk @ spectrum.copies / spectrum.d, rank)


def _population_shares(spectrum: Spectrum, ranks: Array) -> Array:
    """Share of each eigenspace that is not among the leading components, shape (r, p)."""
    below = np.cumsum(spectrum.counts) - spectrum.counts
    left = spectrum.d - ranks[:, None] - below
    return np.clip(left / spectrum.counts, 0.0, 1.0)
