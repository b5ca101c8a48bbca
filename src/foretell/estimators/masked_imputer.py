"""Missing cells filled by masked regression, as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from foretell.estimators.masked_regression import MaskedRegression


class MaskedImputer(MaskedRegression):
    r"""Missing cells filled from the observed cells of their row; observed cells stay.

    A :class:`~foretell.MaskedRegression` whose ``transform`` is ``impute``. Filled values hold if
    cells are missing at random, and are conditional means: filled columns vary less than complete
    ones would. What follows in a pipeline takes filled cells as observed, so its standard errors
    do not count the uncertainty of filling; ``imputation_sd`` tells it cell by cell.

    Parameters
    ----------
    alpha
        Ridge penalty per row, or the rule that chooses it, ``"loo"`` or ``"gcv"``; finite where
        the rows of the fit have missing cells.
    alphas
        Penalties to choose from, for fits to complete rows only; None covers all.
    standardize, center
        Whether to divide columns by their standard deviation, and to estimate their mean.
    max_iter, tol
        Of the iterations for rows with missing cells.

    Attributes
    ----------
    alpha_, coef_, intercept_, loo_error_, mean_, scale_, precision_, n_iter_, n_features_in_
        As of :class:`~foretell.MaskedRegression`.

    Raises
    ------
    InputError
        For data or parameters that cannot be used; the message names column, count and cure.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> full = rng.normal(size=(200, 1)) + 0.5 * rng.normal(size=(200, 6))
    >>> X = np.where(rng.random(full.shape) < 0.1, np.nan, full)
    >>> filled = MaskedImputer().fit_transform(X)
    >>> hidden = np.isnan(X)
    >>> bool((filled == full)[~hidden].all()), bool(np.std((filled - full)[hidden]) < 0.7)
    (True, True)
    """

    def __init__(
        self,
        alpha: float | Literal["loo", "gcv"] = "loo",
        *,
        alphas: Sequence[float] | None = None,
        standardize: bool = True,
        center: bool = True,
        max_iter: int = 100,
        tol: float = 0.05,
    ) -> None:
        super().__init__(
            alpha, alphas=alphas, standardize=standardize, center=center, max_iter=max_iter, tol=tol
        )

    def transform(self, X: Any) -> Any:
        """Rows with missing cells (NaN) filled by their conditional means, shape (n, d)."""
        self._check_fitted()
        return self._contained(self.fit_.fill(self._rows(X, reset=False)), X)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit to rows and fill their missing cells, shape (n, d)."""
        return self.fit(X, y, sample_weight).transform(X)
