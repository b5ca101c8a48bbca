"""What the theory of masked regression returns and warns of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell._types import Array
from foretell.errors import ForetellWarning


class EquivalentWarning(ForetellWarning):
    """The limit of n and d large is inaccurate here: n less the second degrees of freedom is small.

    Where it is due see :func:`~foretell.theory.masked.errors.masked_regression`.
    """


@dataclass(frozen=True, eq=False)
class MaskedTheory:
    r"""Theory of masked regression at one penalty, n rows and d coordinates.

    Errors are mean squared errors :math:`E(x_k - \hat x_k)^2` for rows of mean zero.

    Attributes
    ----------
    alpha, n_samples, d
        Penalty, rows and coordinates.
    kappa
        Effective ridge.
    degrees_of_freedom, second_degrees_of_freedom
        :math:`\mathrm{tr}\,\Sigma R` and :math:`\mathrm{tr}\,(\Sigma R)^2` with
        :math:`R = (\Sigma + \kappa I)^{-1}`.
    test_error, train_error
        Means over coordinates, on a new row and on the n rows.
    test_error_per_coordinate, train_error_per_coordinate
        The same for each coordinate, shape (d,).
    norm
        Squared Frobenius norm of the matrix A of coefficients, over d.
    test_error_slope
        Derivative of ``test_error`` in ``alpha``.
    null_error
        Mean variance: the error of predicting zero.
    best_linear_error
        Mean of :math:`1/\Omega_{kk}`: the error at n infinite, no penalty. Zero for coordinates
        that are combinations of others.
    exact
        Whether errors and norm are exact means at finite n (normal rows, no penalty, n at least
        the rank) rather than limits.
    """

    alpha: float
    n_samples: float
    d: int
    kappa: float
    degrees_of_freedom: float
    second_degrees_of_freedom: float
    test_error: float
    train_error: float
    test_error_per_coordinate: Array
    train_error_per_coordinate: Array
    norm: float
    test_error_slope: float
    null_error: float
    best_linear_error: float
    exact: bool

    def summary(self) -> str:
        """The numbers in words, one a line."""
        kind = "exact mean for normal rows" if self.exact else "limit of large n and d"
        if self.exact and self.test_error == np.inf:
            kind = "normal rows: no finite mean at n = rank without a penalty"
        lines = [
            f"Masked regression: d = {self.d}, n = {self.n_samples:g}, alpha = {self.alpha:.4g}",
            f"effective ridge      {self.kappa:.6g}",
            f"degrees of freedom   {self.degrees_of_freedom:.6g}",
            f"test error           {self.test_error:.6g}   ({kind})",
            f"training error       {self.train_error:.6g}",
            f"best linear error    {self.best_linear_error:.6g}",
            f"variance             {self.null_error:.6g}",
            f"norm of A            {self.norm:.6g}   (squared, over d)",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class MaskedPath:
    """Columns of :class:`MaskedTheory` along penalties; arrays of shape (L,) in their order."""

    alpha: Array
    n_samples: float
    d: int
    kappa: Array
    degrees_of_freedom: Array
    second_degrees_of_freedom: Array
    test_error: Array
    train_error: Array
    norm: Array
    test_error_slope: Array
    null_error: float
    best_linear_error: float
