"""Rows with a known covariance, and the exact error of any masked predictor on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.masked.covariance import Covariance, Dense, check_dimension
from foretell.theory.nodes import Seed

ZERO = 1e-10  # largest diagonal entry of a masked predictor, relative to its largest entry
ROWS = ("gaussian", "rademacher", "student", "elliptical")


@dataclass(frozen=True, eq=False)
class MaskedPopulation:
    r"""Centered rows :math:`x = \sqrt{s}\, B z` with covariance :math:`\Sigma = B B^\top`.

    Parameters
    ----------
    covariance
        A named covariance, or a matrix (d, d), semidefinite too.
    rows
        ``"gaussian"``: z normal, s = 1. ``"rademacher"``: z random signs. ``"student"``: z
        independent Student variables of variance one. ``"elliptical"``: z normal and
        :math:`s = (\nu - 2)/\chi^2_\nu`, of mean one, one a row: a multivariate Student law. The
        first three share the deterministic equivalents; elliptical rows have their own.
    degrees_of_freedom
        :math:`\nu > 2` of the last two.

    Raises
    ------
    InputError
        If the law is not known, degrees of freedom are at most 2, or the matrix is no covariance.

    Examples
    --------
    >>> import numpy as np
    >>> population = MaskedPopulation([[2.0, 1.0], [1.0, 2.0]])
    >>> population.sample_unlabeled(3, 0).shape
    (3, 2)
    >>> population.test_error(np.array([[0, 0.5], [0.5, 0]]))
    1.5
    """

    covariance: Any
    rows: Literal["gaussian", "rademacher", "student", "elliptical"] = "gaussian"
    degrees_of_freedom: float = 5.0

    def __post_init__(self) -> None:
        if not isinstance(self.covariance, Covariance):
            object.__setattr__(self, "covariance", Dense(self.covariance))
        if self.rows not in ROWS:
            raise InputError(f"rows is one of {', '.join(ROWS)}; found {self.rows!r}")
        if not self.degrees_of_freedom > 2:
            raise InputError(
                "degrees_of_freedom is above 2, so that rows have a covariance; found "
                f"{self.degrees_of_freedom}"
            )

    @property
    def n_columns(self) -> int:
        """Number d of columns."""
        return self.covariance.d

    def sample_unlabeled(self, size: int, random_state: Seed = None) -> Array:
        """Draw rows, shape (size, d)."""
        return self.sample_with_scales(size, random_state)[0]

    def sample_with_scales(self, size: int, random_state: Seed = None) -> tuple[Array, Array]:
        """Draw rows, shape (size, d), and their scales s, shape (size,), ones unless elliptical.

        Raises
        ------
        InputError
            If the size is no whole number from 1.
        """
        rng = np.random.default_rng(random_state)
        shape = (check_dimension(size, "size"), self.n_columns)
        nu = self.degrees_of_freedom
        scales = np.ones(size)
        if self.rows == "rademacher":
            white = rng.choice([-1.0, 1.0], shape)
        elif self.rows == "student":
            white = rng.standard_t(nu, shape) * np.sqrt((nu - 2) / nu)
        else:
            white = rng.standard_normal(shape)
        if self.rows == "elliptical":
            scales = (nu - 2) / rng.chisquare(nu, size)
        return np.sqrt(scales)[:, None] * self.covariance.color(white), scales

    def row_scales(self, size: int) -> Array:
        """The law of the scales as this many equally likely values, ascending, shape (size,).

        Quantiles at the middle of each of ``size`` equal probabilities; ones unless elliptical.
        """
        check_dimension(size, "size")
        if self.rows != "elliptical":
            return np.ones(size)
        from scipy.stats import chi2

        upper = (np.arange(size)[::-1] + 0.5) / size
        return np.asarray((self.degrees_of_freedom - 2) / chi2.ppf(upper, self.degrees_of_freedom))

    def test_error(self, coef: Any, intercept: float | Array = 0.0) -> float:
        """Exact mean squared error of a masked predictor on a new row, mean over coordinates.

        See ``test_error_per_coordinate``.
        """
        return float(self.test_error_per_coordinate(coef, intercept).mean())

    def test_error_per_coordinate(self, coef: Any, intercept: float | Array = 0.0) -> Array:
        r""":math:`[(I - A)^\top \Sigma (I - A)]_{kk} + b_k^2`, shape (d,).

        Parameters
        ----------
        coef
            A, shape (d, d), zero on the diagonal: x A + b predicts x, column k without x_k.
        intercept
            b, one number or shape (d,).

        Raises
        ------
        InputError
            If shapes do not fit, numbers are not finite, or the diagonal is not zero.
        """
        d = self.n_columns
        A = np.asarray(coef, dtype=float)
        b = np.asarray(intercept, dtype=float)
        if A.shape != (d, d) or b.shape not in ((), (d,)):
            raise InputError(
                f"coef has shape ({d}, {d}) and intercept is one number or ({d},); found "
                f"{A.shape} and {b.shape}"
            )
        if not (np.isfinite(A).all() and np.isfinite(b).all()):
            raise InputError("coef and intercept are finite; found entries that are not")
        if (seen := np.abs(np.diag(A)).max()) > ZERO * np.abs(A).max():
            raise InputError(
                "a masked predictor does not see the coordinate it predicts, so the diagonal of "
                f"coef is zero; found entries up to {seen:.3g}"
            )
        missed = np.eye(d) - A
        return np.asarray(np.einsum("jk,jk->k", missed, self.covariance.matrix() @ missed) + b**2)
