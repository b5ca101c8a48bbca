r"""Masked ridge regression as a scikit-learn transformer and imputer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from foretell._types import Array
from foretell.base import Finding
from foretell.data.frames import backend_of
from foretell.data.inputs import weights_of
from foretell.data.sources import ArraySource, Source
from foretell.errors import InputError
from foretell.estimators.columns import ColumnEstimator
from foretell.estimators.masked_gaps import Gaps
from foretell.estimators.masked_summary import MaskedSummary, findings, summarize
from foretell.models.masked import fit_masked, fit_masked_incomplete
from foretell.models.masked_encoder import Features, MaskedEncoder
from foretell.models.masked_fit import ColumnErrors, MaskedFit, PenaltyPath

RULES = {"loo": "leave-one-out errors", "gcv": "generalized cross-validation"}


class MaskedRegression(ColumnEstimator):
    r"""Every column predicted from all others by ridge regression, fitted all at once.

    Column k of A holds the coefficients that predict column k; its diagonal is zero. With C the
    covariance of the (standardized) columns,

    .. math:: A = I - Q \, \mathrm{diag}(Q)^{-1}, \qquad Q = (C + \alpha I)^{-1},

    which minimizes :math:`\frac1n \sum_i (x_{ik} - x_i^\top a_k)^2 + \alpha \|a_k\|^2` for each k:
    masked self-supervised learning with a linear model. One eigendecomposition gives all columns,
    all penalties and all n d leave-one-out errors.

    Parameters
    ----------
    alpha
        Ridge penalty per row, in units of the variance of the (standardized) columns, from 0 to
        infinity; scikit-learn's ``Ridge`` calls n times it alpha. Or the rule that chooses it:
        ``"loo"``, the exact leave-one-out error, or ``"gcv"``, generalized cross-validation, which
        is faster and too optimistic if rows differ much in length. Both are means over columns of
        errors in units of the variance, unless ``standardize=False``. For rows with missing cells
        both are an approximate leave-one-out error.
    alpha_per_target
        Whether each column has its own penalty, chosen by its own error and, as if they were 20
        further rows, by that of all columns. Better where columns differ much in how well they are
        predicted; there is then no common precision matrix, spectrum or imputation.
    alphas
        Penalties to choose from; None covers the whole spectrum of C and infinity. Errors are
        smooth in the penalty, and the choice is refined between them.
    standardize
        Divide columns by their standard deviation first, so that their units do not matter; all
        results are in the units of the columns.
    center
        Estimate the mean of the columns; without, it is taken to be zero.
    rank, features
        Only for stage 1 of :class:`~foretell.TwoStageRegressor`: number of leading eigenvectors of
        A, or "auto"; ``"eigenvectors"`` or ``"reconstruction"`` (all predictions) as features.
    max_iter, tol
        For rows with missing cells: the largest number of iterations, and how far imputed cells
        may move in the last one, in units of their conditional standard deviations.

    Attributes
    ----------
    alpha_
        The penalty, or one a column, shape (d,).
    coef_, intercept_
        A in the units of the columns, shape (d, d), formed when asked for; and shape (d,). The
        prediction of column k is ``X @ coef_[:, k] + intercept_[k]``.
    loo_error_
        Mean squared error of each column in its units, shape (d,), rows left out one by one. For
        rows with missing cells approximate, of the observed cells of at most some 100,000 / d
        evenly chosen rows.
    train_error_, gcv_, egcv_
        The same in the fit, by generalized cross-validation, and the latter corrected for rows of
        unequal length. For complete rows only.
    path_
        Mean over columns of these errors along the penalties. For complete rows only.
    mean_, scale_
        Of the columns, shape (d,).
    precision_
        :math:`Q` in the units of the columns up to a factor, shape (d, d), formed when asked for.
    n_iter_
        Iterations for missing cells, 1 where there are none.
    n_features_in_, feature_names_in_
        Columns seen in fit.

    Raises
    ------
    InputError
        For data or parameters that cannot be used; the message names column, count and cure.

    Notes
    -----
    Leave-one-out errors are exact at the scale of the columns, which is not estimated again
    without the row: a change of relative order 1/n. Sample weights count as repeated rows: a row
    of weight 3 stands for three, of which one is left out; a row that weighs less than 1 is left
    out as a whole.

    What is said of missing cells, their values and standard deviations, holds if cells are missing
    at random: whether a cell is missing may depend on observed cells of its row, not on its own
    value. Filled cells are conditional means and vary less than the cells they stand for:
    variances, correlations and standard errors computed from a filled table are off.

    Rows with missing cells need ``alphas=None``, ``alpha_per_target=False`` and a finite penalty.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1)) + 0.5 * rng.normal(size=(200, 6))
    >>> fitted = MaskedRegression().fit(X)
    >>> bool(fitted.score(X) > 0.7), np.diag(fitted.coef_).tolist()
    (True, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    >>> X[0, 2] = np.nan
    >>> bool(abs(fitted.impute(X)[0, 2] - X[0, [0, 1, 3, 4, 5]].mean()) < 0.5)
    True

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv 2601.23208. Their :math:`\alpha` is
       the number of rows over the number of columns.

    Identities derived in docs/masked-regression.md.
    """

    def __init__(
        self,
        alpha: float | Literal["loo", "gcv"] = "loo",
        *,
        alpha_per_target: bool = False,
        alphas: Sequence[float] | None = None,
        standardize: bool = True,
        center: bool = True,
        rank: int | Literal["auto"] = "auto",
        features: Features = "eigenvectors",
        max_iter: int = 100,
        tol: float = 0.05,
    ) -> None:
        self.alpha = alpha
        self.alpha_per_target = alpha_per_target
        self.alphas = alphas
        self.standardize = standardize
        self.center = center
        self.rank = rank
        self.features = features
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to rows.

        Parameters
        ----------
        X
            Rows, shape (n, d): array or data frame (pandas, polars, pyarrow), NaN where a cell is
            missing; or a :class:`~foretell.data.sources.Source` of complete rows.
        y
            Not used.
        sample_weight
            One weight a row, shape (n,), at least zero; counts as repeated rows.
        """
        if isinstance(X, Source):
            if sample_weight is not None:
                raise InputError("a Source has weights of its own; leave out sample_weight")
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = X.observed.columns
            return self._store(self._complete(X.observed, None))
        rows = self._rows(X, reset=True)
        names = self.feature_names_ if hasattr(self, "feature_names_in_") else None
        weights = weights_of(sample_weight, len(rows))
        kept = slice(None) if weights is None else weights > 0
        if np.isnan(rows[kept]).any():
            fit = self._incomplete(rows, weights, names)
            return self._store(fit, Gaps.of(fit, rows, weights))
        source = ArraySource(rows[kept], None if weights is None else weights[kept])
        return self._store(self._complete(source, names))

    def transform(self, X: Any) -> Any:
        """Each cell as predicted from the other cells of its row, shape (n, d).

        From the other cells that are observed, where some are missing. Observed cells are replaced
        too; to keep them and fill the missing ones use :meth:`impute`, and in pipelines
        :class:`~foretell.MaskedImputer`.
        """
        self._check_fitted()
        rows = self._rows(X, reset=False)
        return self._contained(self.fit_.predict(rows), X)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit to rows and predict their cells, shape (n, d)."""
        return self.fit(X, y, sample_weight).transform(X)

    def impute(self, X: Any) -> Any:
        """Rows with missing cells (NaN) filled by their conditional mean, shape (n, d).

        Any cells may be missing: those of a row are predicted jointly from the observed ones, as
        for normal rows with covariance :math:`C + \\alpha I`. A data frame comes back as one, of
        floating-point numbers: integers and booleans are filled with fractions.

        Right on average if cells are missing completely at random, or at random and rows are
        normal. Filled columns vary less than complete ones would: do not compute variances or
        correlations from them.
        """
        self._check_fitted()
        rows = self._rows(X, reset=False)
        filled = self.fit_.fill(rows)
        backend = backend_of(X)
        return self._framed(filled, X, backend) if backend else filled

    def imputation_sd(self, X: Any) -> Any:
        r"""Standard deviation of each filled cell from the true one, shape (n, d); zero elsewhere.

        .. math:: \sqrt{r_k \, [Q_{MM}^{-1}]_{kk}}

        for cell k of the missing cells M of a row: the conditional law of the fit, with :math:`r_k`
        such that the left-out errors of column k are of this size. It counts the error of the fit
        as far as left-out errors show it. If cells are missing at random and rows are normal, the
        filled value plus or minus 1.96 of it covers the true one in about 95 % of the cells; from
        few rows, d > n/2, in 90 to 95 %. A data frame comes back as one.

        Raises
        ------
        InputError
            If the fit has one penalty for each column, or does not determine conditional means.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> full = rng.normal(size=(500, 1)) + 0.5 * rng.normal(size=(500, 6))
        >>> X = np.where(rng.random(full.shape) < 0.2, np.nan, full)
        >>> fitted = MaskedRegression().fit(X)
        >>> z = ((fitted.impute(X) - full) / fitted.imputation_sd(X).clip(1e-300))[np.isnan(X)]
        >>> bool(0.93 < np.mean(np.abs(z) < 1.96) < 0.97)
        True
        """
        fit = self._fitted()
        rows = self._rows(X, reset=False)
        ratio = self._gaps.ratio if self._gaps else self.loo_error_ * np.diag(fit.precision)
        spread = fit.fill_sd(rows, ratio)
        backend = backend_of(X)
        return self._framed(spread, X, backend) if backend else spread

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of the variance about the means of the fit that the other columns explain.

        One minus the squared errors of ``transform`` over those of the means, summed over rows and
        columns, in units of the variances if columns are standardized. New rows give an honest
        score, the rows of the fit one that is too large. Missing cells are left out.
        """
        self._check_fitted()
        rows = self._rows(X, reset=False)
        weights = weights_of(sample_weight, len(rows))
        shares = np.ones(len(rows)) if weights is None else weights
        seen = ~np.isnan(rows)
        errors, spread = rows - self.fit_.predict(rows), rows - self.fit_.mean
        unexplained, total = (
            float(shares @ (np.where(seen, one / self.fit_.scale, 0.0) ** 2).sum(axis=1))
            for one in (errors, spread)
        )
        if not total > 0:
            raise InputError(
                "every cell of the rows to score is the mean of its column, or missing; score "
                "other rows"
            )
        return 1.0 - unexplained / total

    def loo_errors(self, X: Any, sample_weight: Any = None) -> Array:
        """Error in each cell when its row is left out of the fit, shape (n, d).

        Exact for complete rows. For rows with missing cells an approximation, in which each cell
        is predicted from those of its row that are present; NaN where it is missing.

        Parameters
        ----------
        X, sample_weight
            The rows of the fit and their weights; they are not kept.

        Raises
        ------
        InputError
            If these are not the rows of the fit.
        """
        fit, rows = self._fitted(), self._rows(X, reset=False)
        weights = weights_of(sample_weight, len(rows))
        if fit.incomplete is not None:
            return fit.loo_residuals(rows, weights)
        shares = np.ones(len(rows)) if weights is None else weights
        errors = np.zeros(rows.shape)
        errors[shares > 0] = self.fit_.loo_residuals(rows[shares > 0], shares[shares > 0])
        found = shares @ errors**2 / shares.sum()
        if not np.allclose(found, self.loo_error_, rtol=1e-6, atol=1e-12 * self.fit_.scale.min()):
            raise InputError(
                "these are not the rows of the fit, or not their weights: the leave-one-out error "
                f"of the first column would be {found[0]:.4g}, it was {self.loo_error_[0]:.4g}"
            )
        return errors

    def spectrum(self) -> Array:
        """Eigenvalues of A, real and below 1, descending, shape (d,); their sum is zero."""
        self._check_fitted()
        return self.fit_.spectrum()

    def diagnose(self) -> list[Finding]:
        """What to know about the fit and what to do, warnings first."""
        self._check_fitted()
        return findings(self.fit_, self.feature_names_, self._gaps)

    def summary(self) -> MaskedSummary:
        """Tables of the fit: penalty, errors of the columns, findings."""
        self._check_fitted()
        rule = self._rule(complete=self.fit_.incomplete is None)
        return summarize(self.fit_, self.feature_names_, rule, self._gaps)

    def pretrain(
        self,
        source: Source,
        *,
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
    ) -> MaskedEncoder:
        """Fit as stage 1 of :class:`~foretell.TwoStageRegressor`, which says whether to scale."""
        alpha, alphas = self._penalty()
        if self.alpha_per_target:
            raise InputError(
                "features of stage 1 need one penalty for all columns; found alpha_per_target=True"
            )
        rows = source.observed
        if self.alpha in RULES:
            chosen = fit_masked(
                rows, alpha=alpha, alphas=alphas, standardize=standardize, center=center
            )
            alpha = chosen.alpha
        return MaskedEncoder.fit(
            rows, float(alpha), rank=self.rank, features=self.features,
            standardize=standardize, center=center, max_rank=max_rank, penalty_rule=self._rule(),
        )  # fmt: skip

    @property
    def loo_error_(self) -> Array:
        """Mean squared error of each column, rows left out one by one, shape (d,)."""
        self._check_fitted()
        return self._of_complete_rows("loo_error_").loo if self._gaps is None else self._gaps.error

    @property
    def train_error_(self) -> Array:
        """Mean squared error of each column in the fit, shape (d,); for complete rows."""
        return self._of_complete_rows("train_error_").train

    @property
    def gcv_(self) -> Array:
        """Generalized cross-validation of each column, shape (d,); for complete rows."""
        return self._of_complete_rows("gcv_").gcv

    @property
    def egcv_(self) -> Array:
        """The same, corrected for rows of unequal length, shape (d,); for complete rows."""
        return self._of_complete_rows("egcv_").egcv

    @property
    def path_(self) -> PenaltyPath:
        """Mean errors over columns along the penalties; for complete rows."""
        self._of_complete_rows("path_")
        assert self.fit_.path is not None
        return self.fit_.path

    @property
    def coef_(self) -> Array:
        """A in the units of the columns, shape (d, d), its diagonal zero."""
        return self._fitted().coef

    @property
    def intercept_(self) -> Array:
        """Constant of each prediction, shape (d,)."""
        return self._fitted().intercept

    @property
    def precision_(self) -> Array:
        """Q in the units of the columns, up to a factor, shape (d, d)."""
        return self._fitted().precision

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fit_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(allow_nan=self.alphas is None and not self.alpha_per_target),
        )

    def _fitted(self) -> MaskedFit:
        self._check_fitted()
        return self.fit_

    def _of_complete_rows(self, name: str) -> ColumnErrors:
        errors = self._fitted().errors
        if errors is None:
            raise AttributeError(
                f"{name} is known for complete rows only, and cells are missing in the rows of "
                "this fit; use loo_error_, which is approximate there, or score on other rows"
            )
        return errors

    def _complete(self, source: Source, names: list[str] | None) -> MaskedFit:
        alpha, alphas = self._penalty()
        return fit_masked(
            source, alpha=alpha, alphas=alphas, per_target=bool(self.alpha_per_target),
            standardize=bool(self.standardize), center=bool(self.center), names=names,
        )  # fmt: skip

    def _incomplete(self, rows: Array, weights: Array | None, names: list[str] | None) -> MaskedFit:
        alpha, alphas = self._penalty()
        if alphas is not None or self.alpha_per_target:
            raise InputError(
                f"Input X contains NaN: {int(np.isnan(rows).sum())} cells are missing; for "
                "incomplete rows expected alphas=None and alpha_per_target=False (leave out "
                f"--alpha-per-target on the command line); found {self!r}"
            )
        return fit_masked_incomplete(
            rows, weights, alpha="loo" if isinstance(alpha, str) else alpha,
            standardize=bool(self.standardize), center=bool(self.center),
            max_iter=self.max_iter, tol=self.tol, names=names,
        )  # fmt: skip

    def _store(self, fit: MaskedFit, gaps: Gaps | None = None) -> Self:
        self.fit_, self.alpha_, self._gaps = fit, fit.alpha, gaps
        self.n_iter_ = 1 if fit.incomplete is None else fit.incomplete.n_iter
        self.mean_, self.scale_ = fit.mean, fit.scale
        return self

    def _rule(self, *, complete: bool = True) -> str:
        if not isinstance(self.alpha, str):
            return "fixed beforehand"
        return RULES[self.alpha] if complete else "approximate leave-one-out errors"

    def _penalty(self) -> tuple[Any, Array | None]:
        """Checked penalty and grid."""
        alpha = self.alpha
        if isinstance(alpha, str):
            if alpha not in RULES:
                raise InputError(f"alpha is a penalty, 'loo' or 'gcv'; found {alpha!r}")
        elif (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float | np.integer | np.floating)
            or not 0 <= alpha <= np.inf
        ):
            raise InputError(
                f"alpha is a penalty of at least zero, or 'loo' or 'gcv'; found {alpha!r}"
            )
        if self.alphas is None:
            return alpha, None
        alphas = np.unique(np.asarray(self.alphas, dtype=np.float64))
        if alphas.ndim != 1 or not alphas.size or not (alphas > 0).all():
            raise InputError(f"alphas are one or more positive penalties; found {self.alphas!r}")
        return alpha, alphas
