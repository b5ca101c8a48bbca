"""A fitted masked regression as a representation, and the influence of every row on predictors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from foretell._types import Array
from foretell.base import Finding, Move
from foretell.data.sources import Moments, Source
from foretell.errors import IdentificationError, InputError
from foretell.models.factor_encoder import standardized
from foretell.models.masked_findings import masked_findings, penalty_findings
from foretell.models.masked_influence import (
    EigenvectorResponse,
    MaskedMap,
    ReconstructionResponse,
    Response,
    Rows,
)
from foretell.models.masked_rank import FIXED, RankChoice, check_rank, count_above, noise_level
from foretell.models.moment_moves import principal_moves, random_moves
from foretell.symmetry import Group, Orthogonal, Trivial

Features = Literal["eigenvectors", "reconstruction"]
SMALLEST_GAP = 1e-10
SPANNED = 1e-12


@dataclass(frozen=True, eq=False)
class MaskedEncoder:
    r"""Features of a masked ridge regression, and the influence of rows on them.

    With A the matrix of all regressions of one column on the others
    (:class:`~foretell.models.masked_influence.MaskedMap`) and x a centred (standardised) row:

    - ``"eigenvectors"``: :math:`x^\top D^{1/2} U_r`, the r leading right eigenvectors
      :math:`D^{1/2} U_r` of A, :math:`D = \mathrm{diag}\,(C + \alpha I)^{-1}`,
      :math:`U_r^\top U_r = I`; one point of the orbit of O(r).
    - ``"reconstruction"``: :math:`A^\top x`, what the other columns say of each; no symmetry.

    Predictors are written in the coordinates :math:`t(x) = (1, y)`,
    :math:`y = V^\top D^{1/2} x`, V all eigenvectors.

    The penalty is taken as given: errors and the excess risk are about the limit of the features
    at this penalty, whoever chose it. Measured with 8 columns and m = n = 3000, penalties by
    leave-one-out: 95 % intervals for that limit hold it in 95.0 to 95.2 % (± 0.4 %), the mean
    excess over it is 0.98 to 0.99 (± 0.02 to 0.06) of the law's. The chosen penalty itself falls
    with m; where the target is not in the features alone (:math:`g \ne 0`) the limit moves with
    it, by 16 to 50 % of the excess there. Set a number to compare samples of different sizes, or
    a sample with a population.

    Attributes
    ----------
    moments
        Of the rows of pre-training, about zero unless centered.
    scale
        Standard deviation of the columns (ones unless standardised), shape (d,).
    map
        A and its spectrum.
    features
        Which features.
    choice
        Rank and how it was chosen, how the penalty was chosen.
    standardized, centered
        Whether the columns were scaled, and whether their mean was estimated (or is zero).

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(300, 1))
    >>> source = ArraySource(z + rng.normal(size=(300, 5)))
    >>> encoder = MaskedEncoder.fit(source, 0.1)
    >>> encoder.rank, encoder.encode(source.X).shape
    (1, (300, 1))

    References
    ----------
    .. [1] Wortsman Zurich, Gerace, Loureiro & Lu (2026). arXiv 2601.23208.
    Derived in docs/masked-regression.md.
    """

    moments: Moments
    scale: Array
    map: MaskedMap
    features: Features
    choice: RankChoice
    standardized: bool
    centered: bool

    @classmethod
    def fit(
        cls,
        source: Source,
        alpha: float,
        *,
        rank: int | Literal["auto"] = "auto",
        features: Features = "eigenvectors",
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
        penalty_rule: str = FIXED,
    ) -> MaskedEncoder:
        """Fit to a sample with a given penalty.

        Parameters
        ----------
        source
            Unlabeled rows.
        alpha
            Ridge penalty, at least zero and finite, in units of the (standardised) columns'
            variance.
        rank
            Number r of eigenvectors, or ``"auto"``: as many as have eigenvalues above the largest
            of independent columns (:func:`~foretell.models.masked_rank.noise_level`), at least
            1. Without effect for ``features="reconstruction"``, which has rank d.
        features
            ``"eigenvectors"`` or ``"reconstruction"``.
        standardize
            Divide columns by their standard deviation first; the deviations are part of what is
            estimated.
        center
            Estimate the mean of the columns; without, it is taken to be zero.
        max_rank
            Largest rank that ``rank="auto"`` may choose.
        penalty_rule
            How alpha was chosen, in words, for the findings.

        Raises
        ------
        InputError
            If the penalty, rank or features are no valid choice, or a column is constant.
        IdentificationError
            If C is singular and alpha zero, eigenvalues r and r + 1 are equal, or the penalty is
            infinite: no column helps to predict another.
        """
        _check(source, alpha, features)
        alpha = float(alpha)
        sample = source.moments if center else source.moments.about_origin()
        scale, covariance = standardized(sample.covariance, standardize)
        fitted, d = MaskedMap.of(covariance, alpha), source.columns
        if features == "reconstruction":
            count, rule = d, "one feature a column"
        elif rank == "auto":
            level = noise_level(np.diag(covariance), sample.n_rows, alpha)
            count, rule = count_above(fitted, level, max_rank=max_rank)
        else:
            count, rule = check_rank(rank, d), FIXED
        choice = RankChoice(count, rule, penalty_rule)
        out = cls(sample, scale, fitted, features, choice, bool(standardize), center)
        out._check_identified()
        return out

    @property
    def n_rows(self) -> int:
        """Rows of the pre-training sample."""
        return self.moments.n_rows

    @property
    def total_weight(self) -> float:
        """Sum of their weights."""
        return self.moments.total_weight

    @property
    def center(self) -> Array:
        """Mean of the columns, shape (d,); zero unless centered."""
        return self.moments.mean

    @property
    def alpha(self) -> float:
        """Ridge penalty."""
        return self.map.alpha

    @property
    def rank(self) -> int:
        """Number r of features."""
        return self.choice.rank

    @property
    def rank_rule(self) -> str:
        """How the rank was chosen, in words."""
        return self.choice.rule

    @property
    def symmetry(self) -> Group:
        """Rotations of eigenvectors; none for reconstructions."""
        return Trivial(self.rank) if self.features == "reconstruction" else Orthogonal(self.rank)

    @property
    def n_columns(self) -> int:
        """Number d of columns."""
        return len(self.scale)

    @cached_property
    def noise_level(self) -> float:
        """Largest eigenvalue of A that independent columns give, in 19 normal samples."""
        return noise_level(np.diag(self.map.covariance), self.n_rows, self.alpha)

    @cached_property
    def second_moment(self) -> Array:
        """E t tᵀ in the pre-training sample, shape (1 + d, 1 + d)."""
        out = np.zeros((1 + self.n_columns, 1 + self.n_columns))
        out[0, 0] = 1.0
        out[1:, 1:] = self.map.second_moment
        return out

    @property
    def feature_map(self) -> Array:
        """N with features = y N, shape (d, r)."""
        return self._response.feature_map

    def coordinates(self, X: Array) -> Array:
        """t(x) of every row, shape (n, 1 + d)."""
        out = np.empty((len(X), 1 + self.n_columns))
        out[:, 0] = 1.0
        np.matmul(X - self.center, self._projection, out=out[:, 1:])
        return out

    def encode(self, X: Array) -> Array:
        """Features of every row, shape (n, r)."""
        if self.features == "reconstruction":
            return np.asarray(((X - self.center) / self.scale) @ self.map.matrix)
        return np.asarray((X - self.center) @ self._projection[:, : self.rank])

    def raw_coefficients(self, coordinates: Array) -> tuple[Array, Array]:
        """Intercept and coefficients on the raw columns of predictors given in t-coordinates.

        Shape (..., 1 + d) in, (...,) and (..., d) out; linear, so also for square roots of
        covariances.
        """
        slope = coordinates[..., 1:] @ self._projection.T
        return coordinates[..., 0] - slope @ self.center, slope

    def prepare(self, X: Array) -> Rows:
        """Coordinates of rows and what each does to the map."""
        deviations = None
        if self.standardized:
            deviations = ((X - self.center) / self.scale) ** 2 - 1.0
        return self.map.rows(self.coordinates(X), deviations)

    def influence(self, X: Array, coef: Array, *, prepared: Rows | None = None) -> Array:
        r"""First-order effect of each row on the predictor with these head coefficients.

        Row i of the result, shape (n, 1 + d), is m times the change of the predictor
        :math:`t(x)^\top \gamma` when row i joins the pre-training sample, at fixed penalty and
        head coefficients (shape (r,)), and for eigenvectors in the gauge in which they do not
        rotate.
        """
        rows = self.prepare(X) if prepared is None else prepared
        out = np.empty((len(X), 1 + self.n_columns))
        constant = self._onto_constant @ coef
        out[:, 0] = -rows.coordinates[:, 1:] @ constant
        out[:, 1:] = self._response.influence(rows, coef)
        return out

    def influence_adjoint(
        self, X: Array, gradient: Array, *, prepared: Rows | None = None
    ) -> Array:
        r"""The same for the features: entry (i, k) is the effect of row i on
        :math:`\partial (t^\top\gamma) / \partial w_k` applied to a gradient of shape (1 + d,).
        """
        rows = self.prepare(X) if prepared is None else prepared
        out = self._response.adjoint(rows, gradient[1:])
        return out - gradient[0] * (rows.coordinates[:, 1:] @ self._onto_constant)

    def spectrum(self) -> Array:
        """Eigenvalues of A, descending, shape (d,): real, below 1, of sum zero."""
        return 1.0 - self.map.remainder

    def findings(self, names: Sequence[str]) -> list[Finding]:
        """Weak or close eigenvalues, a rank at its bound, and how the penalty was chosen."""
        if self.features == "reconstruction":
            return penalty_findings(self.map.alpha, self.choice)
        return masked_findings(self.map, self.n_rows, self.noise_level, self.choice)

    def random_moves(
        self, source: Source, rng: np.random.Generator, power: float = 1.0
    ) -> Iterator[Move]:
        """Endless random changes of the moments, and this model refitted to each."""
        return random_moves(
            source, self.moments, self._whitener, self._moved, rng, centered=self.centered,
            power=power,
        )  # fmt: skip

    def principal_moves(self, source: Source, power: float = 1.0) -> list[Move] | None:
        """One standard deviation along each axis of the moments' covariance."""
        return principal_moves(
            source, self.moments, self._whitener, self._moved, centered=self.centered, power=power
        )

    @cached_property
    def _whitener(self) -> Array:
        """Brings the covariance near the identity, where it is not zero, shape (d, k)."""
        size, axes = np.linalg.eigh(self.map.covariance)
        spanned = size > SPANNED * size[-1]
        return np.asarray(axes[:, spanned] / np.sqrt(size[spanned]) / self.scale[:, None])

    def _moved(self, sample: Moments) -> Array:
        """Constant and features fitted to other moments, in the t-coordinates of this."""
        scale, covariance = standardized(sample.covariance, self.standardized)
        other = MaskedEncoder(
            sample, scale, MaskedMap.of(covariance, self.alpha), self.features, self.choice,
            self.standardized, self.centered,
        )  # fmt: skip
        slope = other._projection @ other.feature_map
        out = np.zeros((1 + self.n_columns, 1 + self.rank))
        out[0, 0] = 1.0
        out[0, 1:] = (self.center - other.center) @ slope
        root = np.sqrt(self.map.diagonal)
        out[1:, 1:] = self.map.eigenvectors.T @ (slope * (self.scale / root)[:, None])
        return out

    def _check_identified(self) -> None:
        if self.features == "reconstruction":
            return
        r, nu = self.rank, self.spectrum()
        if nu[r - 1] - nu[r] <= SMALLEST_GAP * max(1.0, abs(nu[r - 1])):
            raise IdentificationError(
                f"eigenvalues {r} and {r + 1} of A are both {nu[r]:.6g}, so rank {r} does not say "
                "which direction belongs to the features; choose a rank at a gap of the spectrum, "
                "or features='reconstruction' with a ridge head"
            )

    @cached_property
    def _projection(self) -> Array:
        """Centred rows times this are the coordinates after the first, shape (d, d)."""
        return self.map.projection / self.scale[:, None]

    @cached_property
    def _onto_constant(self) -> Array:
        """What a move of the mean takes from the constant, shape (d, r)."""
        return self.feature_map * float(self.centered)

    @cached_property
    def _response(self) -> Response:
        if self.features == "reconstruction":
            return ReconstructionResponse(self.map)
        return EigenvectorResponse(self.map, self.rank)


def _check(source: Source, alpha: float, features: str) -> None:
    m, d = source.rows, source.columns
    if features not in ("eigenvectors", "reconstruction"):
        raise InputError(f"features is 'eigenvectors' or 'reconstruction'; found {features!r}")
    if alpha == np.inf:
        raise IdentificationError(
            "the penalty is infinite, which a rule chooses where no column helps to predict "
            "another: there is nothing to learn from these rows; use a supervised method on the "
            "columns, or set a finite alpha"
        )
    if not alpha >= 0:
        raise InputError(f"alpha is a finite penalty, at least zero; found {alpha!r}")
    if d < 2:
        raise InputError(
            f"a masked regression needs at least 2 columns; found {d} feature(s) (n_features = {d})"
        )
    if m < 2:
        raise InputError(
            f"a masked regression needs at least 2 rows; found {m} sample(s) (n_samples = {m})"
        )
