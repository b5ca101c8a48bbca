r"""Eigenvalues of masked regression and of the sample covariance outside their bulk.

The population is a bulk and few other directions. If those are spread over all coordinates
(delocalized) the coefficients show what the covariance shows. If they live on few coordinates
(localized), the diagonal of the resolvent sees them: outliers are the points x where
:math:`\omega(x)\Sigma + \lambda - x\Delta^{-1}`, restricted to those coordinates, is singular.
All of it is derived in docs/masked-regression.md, "The spectrum of A"; it holds in the limit, with
corrections of order d^-1/2 in a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell.errors import InputError
from foretell.theory.spectra.bulk import Bulk
from foretell.theory.spectra.localized import Mode, modes
from foretell.theory.spectra.spectrum import check_covariance


@dataclass(frozen=True)
class Outlier:
    """An eigenvalue of the coefficients outside the bulk of the others.

    Attributes
    ----------
    location
        The eigenvalue, below one.
    multiplicity
        How many eigenvalues tend to it.
    right_overlap, left_overlap, symmetric_overlap
        Squared overlap of the unit eigenvector with the spike; for localized directions the share
        of its squared length on their coordinates. Right: A u = nu u; left: A' u = nu u;
        symmetric: of the symmetric matrix that is similar to A.
    spike
        The spike that it shows, None for directions that are only next to one.
    """

    location: float
    multiplicity: int
    right_overlap: float
    left_overlap: float
    symmetric_overlap: float
    spike: float | None = None


@dataclass(frozen=True)
class CovarianceOutlier:
    """An eigenvalue of the sample covariance outside the bulk: place, squared overlap, spike."""

    location: float
    overlap: float
    spike: float


def covariance_outliers(
    spikes: Any, aspect_ratio: float, *, bulk: Any = None
) -> tuple[CovarianceOutlier, ...]:
    r"""Eigenvalues of the sample covariance that leave the bulk, largest first.

    A direction of variance :math:`1 + \theta` shows at :math:`(1+\theta)(1+\gamma/\theta)` if
    :math:`|\theta| > \sqrt\gamma`, wherever it points.

    Parameters
    ----------
    spikes
        Numbers theta above -1, shape (r,); variances are 1 + theta.
    aspect_ratio
        Columns per row, d / n.
    bulk
        Covariance, eigenvalues or spectrum of the bulk; None for variance one.

    Raises
    ------
    InputError
        If a spike is not above -1 or the aspect ratio is not positive.

    Examples
    --------
    >>> [(round(o.location, 4), round(o.overlap, 4)) for o in covariance_outliers([4, 0.5], 0.5)]
    [(5.625, 0.8611)]

    References
    ----------
    .. [1] Baik, Ben Arous & Peche (2005). Annals of Probability 33. Paul (2007). Statistica
       Sinica 17, theorem 4. Bai & Yao (2012). J. Multivariate Analysis 106.
    """
    law = Bulk.of(bulk, aspect_ratio)
    rows = []
    for theta in _spikes(spikes):
        found = _delocalized(law, 1 + theta)
        if found is not None:
            rows.append(CovarianceOutlier(*found, theta))
    return tuple(sorted(rows, key=lambda row: -row.location))


def masked_outliers(
    spikes: Any,
    aspect_ratio: float,
    alpha: float,
    *,
    support: int | Sequence[int | None] | None = None,
    bulk: Any = None,
) -> tuple[Outlier, ...]:
    r"""Eigenvalues of the coefficients that leave the bulk, largest first.

    Parameters
    ----------
    spikes
        Numbers theta above -1, shape (r,); variances are 1 + theta along orthogonal directions.
    aspect_ratio
        Columns per row, d / n.
    alpha
        Ridge penalty, positive.
    support
        Number b of coordinates of each direction, uniform on them and apart from those of other
        directions; None for directions spread over all. One for all spikes or one each.
    bulk
        Covariance or eigenvalues of the bulk, whose coordinates are alike; None for variance one,
        which localized directions need (:func:`block_outliers` is general).

    Notes
    -----
    A localized spike, of either sign, may also cause eigenvalues below the bulk: two columns that
    predict each other have eigenvalues of both signs. Those of the b - 1 directions on its
    coordinates at right angles to it have ``spike`` None. For n < d an outlier within
    1.5 d^-1/2 of the eigenvalue of the null space mixes with it in data.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> row, = masked_outliers([4.0], 0.5, 0.1)
    >>> round(row.location, 4), round(row.right_overlap, 4)
    (0.8822, 0.8611)
    >>> masked_outliers([4.0], 0.5, 0.1, support=1)  # what no other column shares stays hidden
    ()
    """
    penalty = _penalty(alpha)
    law = Bulk.of(bulk, aspect_ratio)
    kappa = law.kappa(penalty)
    thetas = _spikes(spikes)
    rows: list[Outlier] = []
    for theta, size in zip(thetas, _supports(support, len(thetas)), strict=True):
        if size is None:
            found = _delocalized(law, 1 + theta)
            if found is not None:
                nu = _coefficient(law, kappa, penalty, found[0])
                rows.append(Outlier(nu, 1, *(found[1],) * 3, theta))
            continue
        if not law.is_flat:
            raise InputError("localized spikes need a bulk of variance one; use block_outliers")
        ratio = 1 - theta / (size * (1 + theta + kappa))
        for variance, copies in ((1 + theta, 1), (1.0, size - 1)):
            if copies:
                found_modes = modes(law, kappa, penalty, np.array([[variance]]), np.array([ratio]))
                spike = theta if variance != 1 else None
                rows += [_outlier(law, kappa, penalty, m, copies, spike) for m in found_modes]
    return tuple(sorted(rows, key=lambda row: -row.location))


def block_outliers(
    block: Any, aspect_ratio: float, alpha: float, *, bulk: Any = None
) -> tuple[Outlier, ...]:
    """Outliers of the coefficients that any covariance of few coordinates causes.

    The other coordinates, alike and infinitely many, are the bulk and uncorrelated with these.

    Parameters
    ----------
    block
        Covariance of b coordinates, shape (b, b), positive definite.
    aspect_ratio, alpha, bulk
        As for :func:`masked_outliers`.

    Raises
    ------
    InputError
        If a number is out of range, or the block is not symmetric and positive definite.

    Examples
    --------
    >>> rows = block_outliers([[3.0, 2.5], [2.5, 3.0]], 0.5, 0.1)
    >>> [round(row.location, 3) for row in rows]
    [0.889]
    """
    penalty = _penalty(alpha)
    law = Bulk.of(bulk, aspect_ratio)
    kappa = law.kappa(penalty)
    sigma = check_covariance(block)
    least = float(np.linalg.eigvalsh(sigma)[0])
    if least <= 0:
        raise InputError(f"a block is positive definite; found an eigenvalue of {least:.3g}")
    inverse = np.diag(np.linalg.inv(sigma + kappa * np.eye(len(sigma))))
    found = modes(law, kappa, penalty, sigma, np.asarray(inverse / law.resolvent(kappa)))
    rows = [_outlier(law, kappa, penalty, mode, 1, None) for mode in found]
    return tuple(sorted(rows, key=lambda row: -row.location))


def _delocalized(law: Bulk, variance: float) -> tuple[float, float] | None:
    """Eigenvalue of the sample covariance and squared overlap, where a variance is visible."""
    if (law.tau == variance).any():
        return None
    slope = law.slopes(variance)[1]
    place = law.z(variance)
    return (place, variance * slope / place) if slope > 0 and place > 0 else None


def _coefficient(law: Bulk, kappa: float, alpha: float, place: float) -> float:
    """Eigenvalue of the coefficients that belongs to one of the sample covariance."""
    return 1 - alpha / (kappa * law.resolvent(kappa) * (place + alpha))


def _outlier(
    law: Bulk, kappa: float, alpha: float, mode: Mode, copies: int, spike: float | None
) -> Outlier:
    nu = _coefficient(law, kappa, alpha, mode.place)
    rest = 1 - mode.symmetric
    right, left = (part / (part + rest) for part in (mode.right, mode.left))
    return Outlier(nu, copies, right, left, mode.symmetric, spike)


def _spikes(spikes: Any) -> list[float]:
    values = np.atleast_1d(np.asarray(spikes, dtype=float))
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or values.min() <= -1:
        raise InputError(
            f"spikes are one or more finite numbers above -1, the variance less one; found {spikes}"
        )
    return [float(value) for value in values]


def _supports(support: Any, count: int) -> list[int | None]:
    values = [support] * count if support is None or np.ndim(support) == 0 else list(support)
    if len(values) != count:
        raise InputError(f"there are {count} spikes but {len(values)} supports; give one each")
    for value in values:
        if value is not None and (value != int(value) or value < 1):
            raise InputError(f"a support is a whole number of coordinates from 1; found {value}")
    return [None if value is None else int(value) for value in values]


def _penalty(alpha: float) -> float:
    if not 0 < float(alpha) < np.inf:
        raise InputError(f"outliers of the coefficients need a penalty alpha > 0; found {alpha!r}")
    return float(alpha)
