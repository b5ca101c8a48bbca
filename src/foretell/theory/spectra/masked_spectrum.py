r"""Limiting spectrum of the coefficients of masked ridge regression."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.spectra.constant_diagonal import ConstantDiagonalLaw
from foretell.theory.spectra.effective_ridge import effective_ridge
from foretell.theory.spectra.marchenko_pastur import marchenko_pastur
from foretell.theory.spectra.metric_pencil import Pencil, pencil_of_diagonal, pencil_of_matrix
from foretell.theory.spectra.outliers import Outlier, masked_outliers
from foretell.theory.spectra.spectrum import Spectrum, check_covariance
from foretell.theory.spectra.varying_diagonal import VaryingDiagonalLaw

ALIKE = 0.01  # squared variation of the diagonal times d, in units of the eigenvalues' spread
NEAR = 1e-4  # relative distance of entries of the diagonal that count as equal where n < d

Diagonal = Literal["auto", "constant", "varying"]


def masked_spectrum(
    covariance: Any, n_samples: float, alpha: float, *, diagonal: Diagonal = "auto"
) -> ConstantDiagonalLaw | VaryingDiagonalLaw:
    r"""Limit law of the eigenvalues of the coefficients A of masked ridge regression.

    Column k of A, with zero diagonal, predicts coordinate k from the others; its eigenvalues are
    real and below one, and their sum is zero. The law has methods ``pdf``, ``cdf``, ``ppf``,
    ``curve`` (points and quadrature weights) and ``mean``, and attributes ``edges`` and
    ``atoms``. Spikes of the covariance are part of it with their mass of 1/d; their limits are in
    :func:`~.outliers.masked_outliers`.

    Distance to the eigenvalues of data (Kolmogorov) is of order 1/d: 0.01 at d = 240, 0.004 at
    d = 960. It is of order d^-1/3 to d^-1/2 next to an atom, at n = d, and where most eigenvalues
    of the covariance are so far below the penalty that the law is almost an atom: data spread it
    by the d^-1/2 that the diagonal of the resolvent fluctuates.

    Parameters
    ----------
    covariance
        Covariance (d, d); eigenvalues (d,) if coordinates are alike; or what has an attribute
        ``spectrum``, and ``matrix()`` where coordinates differ.
    n_samples
        Number n of rows, at least 2. What the paper calls alpha is ``n_samples / d``.
    alpha
        Ridge penalty, positive.
    diagonal
        Whether the resolvent has a ``"constant"`` diagonal (the law is then an image of the
        generalised Marchenko-Pastur law, at the cost of the eigenvalues alone) or a
        ``"varying"`` one (one symmetric eigendecomposition, O(d^3), for each point and each kind
        of block of the covariance; nothing for uncorrelated coordinates). ``"auto"`` takes it as
        constant if coordinates are alike or it varies (relative standard deviation) less than
        0.1 d^-1/2 of the spread of the eigenvalues, well below what it does in data. For a
        stationary series much longer than its correlation say ``"constant"``: the rows at its
        ends are few, and matter at order 1/d.

    Raises
    ------
    InputError
        If the covariance, the penalty or the number of samples is out of range, or coordinates
        differ and there is no matrix.

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv 2601.23208. The law is derived in
       docs/masked-regression.md, "The spectrum of A".

    Examples
    --------
    >>> law = masked_spectrum(np.ones(100), n_samples=200, alpha=0.1)
    >>> law.edges.round(3).tolist(), abs(round(law.mean(), 9))
    ([[-2.629, 0.776]], 0.0)
    """
    spectrum = Spectrum.of(covariance)
    penalty = check_penalty(alpha)
    kappa = float(effective_ridge(spectrum, n_samples, penalty))
    scale = kappa / penalty * spectrum.diagonal(1 / (spectrum.eigenvalues + kappa))
    if diagonal not in ("auto", "constant", "varying"):
        raise InputError(f"diagonal is 'auto', 'constant' or 'varying'; found {diagonal!r}")
    mean = spectrum.mean(scale)
    outliers = _outliers(covariance, spectrum.d / float(n_samples), penalty)
    weights = spectrum.counts / spectrum.d
    sample = marchenko_pastur(spectrum.eigenvalues, spectrum.d / float(n_samples), weights=weights)
    quarter, most = np.log(sample.ppf([0.25, 0.75]) + penalty)
    spread = min(1.0, float(most - quarter) ** 2)
    variation = spectrum.mean((scale / mean - 1) ** 2)
    is_alike = spectrum.alike or variation <= ALIKE / spectrum.d * spread
    if diagonal == "constant" or (diagonal == "auto" and is_alike):
        return ConstantDiagonalLaw(sample, mean, penalty, float(n_samples), kappa, outliers)
    if n_samples < spectrum.d:
        scale = _merged(scale, spectrum.copies)
    pencil = _pencil(covariance, spectrum, scale, penalty)
    return VaryingDiagonalLaw(pencil, float(n_samples), kappa, outliers)


def check_penalty(alpha: float) -> float:
    """A finite penalty above zero."""
    if not 0 < float(alpha) < np.inf:
        raise InputError(
            f"the spectrum needs a penalty alpha > 0; found {alpha!r}; without one, take a small "
            "penalty, such as 1e-6 of the mean variance"
        )
    return float(alpha)


def _outliers(covariance: Any, aspect_ratio: float, alpha: float) -> tuple[Outlier, ...]:
    """Limits for a covariance that says that it is spiked."""
    spikes = getattr(covariance, "spikes", None)
    directions = getattr(covariance, "directions", None)
    if spikes is None or directions is None:
        return ()
    support = covariance.support if directions == "localized" else None
    return masked_outliers(spikes, aspect_ratio, alpha, support=support)


def _merged(scale: Array, copies: Array) -> Array:
    """Entries closer than their effect on a finite sample replaced by their mean.

    With fewer rows than columns, those of many almost equal coordinates would otherwise carry
    intervals too narrow to be told from an atom.
    """
    order = np.argsort(scale)
    steps = np.diff(np.log(scale[order])) > NEAR
    group = np.empty(len(scale), dtype=int)
    group[order] = np.concatenate([[0], np.cumsum(steps)])
    total = np.bincount(group, weights=copies)
    return np.asarray((np.bincount(group, weights=copies * scale) / total)[group])


def _pencil(covariance: Any, spectrum: Spectrum, scale: Array, alpha: float) -> Pencil:
    if spectrum.alike:  # the equation is that of independent columns with these variances
        tau = spectrum.eigenvalues
        return Pencil(np.stack([tau, np.full(len(tau), scale[0]), spectrum.counts]), (), alpha)
    if (spectrum.profile.max(axis=1) > 1 - 1e-12).all():
        return pencil_of_diagonal(spectrum, scale, alpha)
    if hasattr(covariance, "matrix"):
        matrix = covariance.matrix()
    elif np.ndim(covariance) == 2:
        matrix = covariance
    else:
        raise InputError(
            "coordinates differ, so that the spectrum of the coefficients needs the covariance "
            "itself; found eigenvalues and profiles; give a matrix, or what has matrix()"
        )
    return pencil_of_matrix(check_covariance(matrix), spectrum.per_coordinate(scale), alpha)
