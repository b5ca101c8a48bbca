r"""Factor models: loadings from unlabeled rows, and what each row does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from foretell.base import Finding
from foretell.data.sources import Moments, Source
from foretell.errors import IdentificationError, InputError
from foretell.models import maximum_likelihood as ml
from foretell.symmetry import Orthogonal

Array = npt.NDArray[np.float64]


class RankChoice(NamedTuple):
    """How the rank was chosen: the rule in words and the criterion by rank."""

    rule: str
    criterion: dict[int, float]


class FactorModel(BaseEstimator):  # type: ignore[misc]
    r"""Factor model :math:`x = \mu + W z + \varepsilon`, fitted by maximum likelihood.

    :math:`z \sim N(0, I_r)`, :math:`\varepsilon \sim N(0, \Psi)`; the features of a row are
    :math:`E[z \mid x] = W^\top (W W^\top + \Psi)^{-1} (x - \mu)`. The loadings W are identified
    up to O(r). Inference does not rest on normal rows: the meat is empirical.

    Parameters
    ----------
    rank
        Number r of factors, or ``"auto"``: the minimiser of the Bayesian information criterion
        of this likelihood, :math:`-2 \log L + k \log m`; rank 0 where the columns share nothing.
        Sample weights count as repeated rows.
    noise
        ``"isotropic"``: :math:`\Psi = \sigma^2 I` (probabilistic principal components, closed
        form). ``"diagonal"``: one variance a column (factor analysis; does not depend on the
        units of the columns).

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(500, 8))
    >>> FactorModel().fit(ArraySource(X)).rank
    2

    References
    ----------
    .. [1] Tipping & Bishop (1999). Probabilistic principal component analysis. JRSS B 61.
    .. [2] Schwarz (1978). Estimating the dimension of a model. Annals of Statistics 6.
    """

    def __init__(
        self,
        rank: int | Literal["auto"] = "auto",
        noise: Literal["isotropic", "diagonal"] = "isotropic",
    ) -> None:
        self.rank = rank
        self.noise = noise

    def fit(
        self, source: Source, *, standardize: bool = False, max_rank: int | None = None
    ) -> FactorEncoder:
        """Fit to a sample.

        Parameters
        ----------
        source
            Unlabeled rows.
        standardize
            Divide columns by their standard deviation first; the deviations are part of what
            is estimated.
        max_rank
            Largest rank that ``rank="auto"`` may choose.

        Raises
        ------
        InputError
            If the rank or noise is not a valid choice for a sample of this size.
        IdentificationError
            If the loss is flat in more directions than rotations explain.
        """
        self._check(source)
        sample = source.moments
        if self.rank == "auto":
            covariance = _standardized(sample.covariance, standardize)[1]
            rank, choice = self._choose_rank(covariance, sample, max_rank)
        else:
            rank, choice = int(self.rank), RankChoice("given", {})
        encoder = _from_moments(sample, rank, self.noise == "diagonal", standardize, choice)
        spectrum = ml.Spectrum(encoder.eigenvalues, encoder.eigenvectors)
        ml.check_minimum(spectrum, rank, encoder.clamped)
        return encoder

    def _check(self, source: Source) -> None:
        m, d = source.rows, source.columns
        if self.noise not in ("isotropic", "diagonal"):
            raise InputError(f"noise is 'isotropic' or 'diagonal'; found {self.noise!r}")
        if d < 2:
            raise InputError(
                f"a factor model needs at least 2 columns; found {d} feature(s) (n_features = {d})"
            )
        if isinstance(self.rank, str) and self.rank == "auto":
            if m < 4:
                raise InputError(
                    f"choosing the rank needs at least 4 rows in the pre-training sample; found "
                    f"{m} sample(s) (n_samples = {m})"
                )
            return
        if isinstance(self.rank, bool) or not isinstance(self.rank, int | np.integer):
            raise InputError(f"rank is a whole number or 'auto'; found {self.rank!r}")
        if not 1 <= self.rank < d:
            raise InputError(
                f"the rank is at least 1 and below the number of columns; found rank {self.rank} "
                f"with {d} columns; choose rank <= {d - 1}"
            )
        if m < self.rank + 2:
            raise InputError(
                f"rank {self.rank} needs at least {self.rank + 2} rows in the pre-training "
                f"sample; found {m} sample(s); collect more rows or reduce the rank"
            )

    def _choose_rank(
        self, covariance: Array, sample: Moments, max_rank: int | None
    ) -> tuple[int, RankChoice]:
        d = len(covariance)
        values = np.linalg.eigvalsh(covariance)[::-1]
        spanned = int((values > 1e-12 * values[0]).sum())
        bounds = [d - 1, spanned - 1, sample.n_rows - 2]
        if self.noise == "diagonal":
            bounds.append(ml.largest_rank(d))
        if max_rank is not None:
            bounds.append(max_rank)
        criterion: dict[int, float] = {}
        best = 0
        for rank in range(max(0, min(bounds)) + 1):
            if self.noise == "isotropic":
                noise = np.full(d, ml.isotropic_noise(values, rank))
                scaled, count = values / noise, d * rank + 1
            else:
                noise, _ = ml.diagonal_noise(covariance, rank)
                scaled, count = ml.spectrum(covariance, noise).values, d * rank + d
            count -= rank * (rank - 1) // 2
            loss = ml.negative_log_likelihood(noise, scaled, rank)
            criterion[rank] = 2 * sample.total_weight * loss + count * np.log(sample.total_weight)
            best = min(criterion, key=criterion.__getitem__)
            if self.noise == "diagonal" and rank >= best + 3:
                break
        rule = f"smallest Bayesian information criterion among ranks 0 to {max(criterion)}"
        return best, RankChoice(rule, criterion)


def _standardized(covariance: Array, standardize: bool) -> tuple[Array, Array]:
    """Scale of the columns, shape (d,), and the covariance in units of it."""
    d = len(covariance)
    scale = np.sqrt(np.diag(covariance)) if standardize else np.ones(d)
    if not (scale > 0).all():
        raise InputError(
            f"columns {np.flatnonzero(~(scale > 0)).tolist()} are constant in the pre-training "
            "sample; drop them"
        )
    return scale, covariance / np.outer(scale, scale)


def _from_moments(
    sample: Moments, rank: int, diagonal: bool, standardize: bool, choice: RankChoice
) -> FactorEncoder:
    """Maximum likelihood as a function of the first two moments alone."""
    scale, covariance = _standardized(sample.covariance, standardize)
    if diagonal:
        noise, clamped = ml.diagonal_noise(covariance, rank)
        values, vectors = ml.spectrum(covariance, noise)
    else:
        clamped = None
        values, vectors = ml.spectrum(covariance, np.ones(len(covariance)))
        variance = ml.isotropic_noise(values, rank)
        if variance <= 1e-13 * values[0]:
            kept = int((values > 1e-13 * values[0]).sum())
            raise IdentificationError(
                f"the pre-training sample spans only {kept} directions, so rank {rank} leaves no "
                f"noise to estimate; choose a rank below {kept}, or collect more rows"
            )
        noise, values = np.full(len(values), variance), values / variance
    return FactorEncoder(
        center=sample.mean, scale=scale, noise=noise, eigenvalues=values, eigenvectors=vectors,
        rank=rank, clamped=clamped, standardized=standardize, n_rows=sample.n_rows,
        total_weight=sample.total_weight, choice=choice,
    )  # fmt: skip


@dataclass(frozen=True)
class FactorEncoder:
    r"""A fitted factor model: features of rows, and the influence of rows on features.

    Predictors are written in the coordinates :math:`t(x) = (1, y)`,
    :math:`y = U^\top \Psi^{-1/2} z`, z the (standardised) row: the second moment of t in the
    pre-training sample is the diagonal matrix of (1, eigenvalues).

    Attributes
    ----------
    center, scale
        Mean and standard deviation of the columns (ones unless standardised), shape (d,).
    noise
        Noise variances of the standardised columns, shape (d,).
    eigenvalues, eigenvectors
        Of the covariance in units of the noise, descending, shapes (d,) and (d, d).
    clamped
        Columns whose noise variance stopped at its lower bound (Heywood cases), shape (d,);
        None for isotropic noise.
    n_rows, total_weight
        Size of the pre-training sample.
    """

    center: Array
    scale: Array
    noise: Array
    eigenvalues: Array
    eigenvectors: Array
    rank: int
    clamped: npt.NDArray[np.bool_] | None
    standardized: bool
    n_rows: int
    total_weight: float
    choice: RankChoice

    @property
    def symmetry(self) -> Orthogonal:
        """Rotations of the factors."""
        return Orthogonal(self.rank)

    @property
    def n_columns(self) -> int:
        """Number d of columns."""
        return len(self.center)

    @property
    def loadings(self) -> Array:
        """W in units of the standardised columns, shape (d, r); one point of its orbit."""
        U, l = self.eigenvectors[:, : self.rank], self.eigenvalues[: self.rank]
        return np.sqrt(self.noise)[:, None] * U * np.sqrt(l - 1.0)

    @property
    def second_moment(self) -> Array:
        """Diagonal of E t tᵀ in the pre-training sample, shape (1 + d,)."""
        return np.concatenate([[1.0], self.eigenvalues])

    @property
    def feature_map(self) -> Array:
        """N with features = y N, shape (d, r): posterior mean of the factors."""
        out = np.zeros((self.n_columns, self.rank))
        out[np.arange(self.rank), np.arange(self.rank)] = self._gain
        return out

    def coordinates(self, X: Array) -> Array:
        """t(x) of every row, shape (n, 1 + d)."""
        return np.concatenate([np.ones((len(X), 1)), self._rotated(X)], axis=1)

    def encode(self, X: Array) -> Array:
        """Features E[z | x] of every row, shape (n, r)."""
        U = self.eigenvectors[:, : self.rank] / np.sqrt(self.noise)[:, None]
        return np.asarray(((X - self.center) / self.scale) @ U * self._gain)

    def raw_coefficients(self, coordinates: Array) -> tuple[Array, Array]:
        """Intercept and coefficients on the raw columns of predictors given in t-coordinates.

        Shape (..., 1 + d) in, (...,) and (..., d) out; linear, so also for square roots of
        covariances.
        """
        slope = coordinates[..., 1:] @ self.eigenvectors.T / np.sqrt(self.noise) / self.scale
        return coordinates[..., 0] - slope @ self.center, slope

    def influence(self, X: Array, coef: Array) -> Array:
        r"""First-order effect of each row on the predictor with these head coefficients.

        Row i of the result, shape (n, 1 + d), is m times the change of the predictor
        :math:`t(x)^\top \gamma` when row i joins the pre-training sample, at fixed head
        coefficients (shape (r,)) and in the gauge in which the factors do not rotate. Its
        covariance over rows, divided by m, is the covariance of the estimated predictor.
        """
        r = self.rank
        Y = self._rotated(X)
        ratio, turn = self._divided
        out = np.empty((len(X), 1 + self.n_columns))
        out[:, 0] = -Y[:, :r] @ (self._gain * coef)
        np.multiply(Y, Y[:, :r] @ (ratio * coef).T, out=out[:, 1:])
        out[:, 1 : 1 + r] -= np.diag(ratio)[:r] * self.eigenvalues[:r] * coef
        U = self.eigenvectors
        weight = -0.5 * U * (U[:, :r] @ (turn * coef).T)
        out[:, 1:] += self._through_noise(X, Y, weight)
        return out

    def influence_adjoint(self, X: Array, gradient: Array) -> Array:
        r"""The same for the features: entry (i, k) is the effect of row i on
        :math:`\partial (t^\top\gamma) / \partial w_k` applied to a gradient of shape (1 + d,).
        """  # noqa: D205
        r = self.rank
        Y = self._rotated(X)
        ratio, turn = self._divided
        g = gradient[1:, None]
        out = Y[:, :r] * (Y @ (ratio * g) - gradient[0] * self._gain)
        out -= np.diag(ratio)[:r] * self.eigenvalues[:r] * gradient[1 : 1 + r]
        U = self.eigenvectors
        weight = -0.5 * U[:, :r] * (U @ (turn * g))
        return np.asarray(out + self._through_noise(X, Y, weight))

    def spectrum(self) -> Array:
        """Eigenvalues of the covariance in units of the noise, descending, shape (d,)."""
        return self.eigenvalues

    def findings(self, names: Sequence[str]) -> list[Finding]:
        """Weak factors, close eigenvalues, Heywood cases, the choice of the rank."""
        out = []
        r, spike = self.rank, self.eigenvalues[: self.rank] - 1.0
        ratio = self.n_columns / self.n_rows
        if r == 0:
            return [Finding(
                "warning", "The columns have no common factors",
                "the criterion prefers rank 0: nothing is learned from unlabeled rows, and every "
                "prediction is the mean of the labels",
                "use a supervised method on the columns, or set the rank",
            )]  # fmt: skip
        if len(hidden := spike[spike <= np.sqrt(ratio)]):
            needed = self.n_columns / hidden.min() ** 2
            out.append(Finding(
                "warning", f"{len(hidden)} of {r} factors are too weak to be learned",
                f"their strength over the noise is {_listed(hidden)}, not above sqrt(d/m) = "
                f"{np.sqrt(ratio):.3g}; below it the estimated direction is unrelated to the true "
                "one",
                f"reduce the rank to {max(1, r - len(hidden))}, or collect {needed:,.0f} or more "
                "unlabeled rows",
            ))  # fmt: skip
        elif (shrink := ratio / spike.min() ** 2) > 0.1:
            out.append(Finding(
                "note", "The weakest factor is near the detection threshold",
                f"(d/m) / spike^2 = {shrink:.2f}; the limit law is first order in this ratio and "
                "understates the unlabeled part of the risk here",
                "reduce the rank, or collect more unlabeled rows",
            ))  # fmt: skip
        gap = (self.eigenvalues[r - 1] - self.eigenvalues[r]) / self.eigenvalues[r - 1]
        noise_in_gap = np.sqrt(2.0 / self.n_rows)
        if gap < 4 * noise_in_gap:
            out.append(Finding(
                "warning", f"Eigenvalues {r} and {r + 1} are close",
                f"they differ by {100 * gap:.2g} %, within four standard errors of an eigenvalue "
                f"({400 * noise_in_gap:.2g} %): which direction belongs to the features is "
                "hardly determined",
                "choose a rank at a gap of the spectrum",
            ))  # fmt: skip
        if self.clamped is not None and self.clamped.any():
            columns = [repr(names[j]) for j in np.flatnonzero(self.clamped)]
            out.append(Finding(
                "warning", f"Heywood case in {len(columns)} column(s)",
                f"the noise variance of {', '.join(columns[:10])} stopped at its bound, "
                f"{ml.SMALLEST_UNIQUENESS:g} of the variance; errors take the bound as given",
                "reduce the rank, drop the column, or use noise='isotropic'",
            ))  # fmt: skip
        if self.choice.criterion and r == max(self.choice.criterion) and r > 1:
            out.append(Finding(
                "note", "The rank is the largest one allowed",
                f"the criterion still falls at rank {r}; ranks stop there because of the number of "
                "labeled rows or of columns: no small number of factors describes these columns",
                "compare ranks by cross-validation",
            ))  # fmt: skip
        return out

    def second_order_bias(
        self,
        source: Source,
        cross_moment: Array,
        intercept: bool,
        penalty: Array,
        rng: np.random.Generator,
    ) -> float:
        r"""Mean second-order change of the profile risk that first-order influence leaves out.

        With V the risk after the head is refitted, m times :math:`E[V(\hat\theta) - V(\theta^*)]`
        less the quadratic form of first-order influences, by symmetric differences along
        random mixtures of rows (the moments move by :math:`m^{-1/2} \sum_i \epsilon_i (x_i x_i^\top
        - S)`, signs :math:`\epsilon`), so that nothing rests on normal rows.

        Parameters
        ----------
        source
            The pre-training sample.
        cross_moment
            E t y, shape (1 + d,).
        intercept, penalty
            Whether the head has an intercept, and the second derivative of its penalty (q, q).
        rng
            Source of the signs.
        """
        first, second = _mixtures(source, self, rng)
        second_moment = self.second_moment

        def predictor(encoder: FactorEncoder) -> tuple[float, Array]:
            columns = self._seen_from_here(encoder)
            columns = columns if intercept else columns[:, 1:]
            hessian = columns.T @ (second_moment[:, None] * columns)
            coef = np.linalg.solve(hessian + penalty, columns.T @ cross_moment)
            gamma = columns @ coef
            return float(0.5 * gamma @ (second_moment * gamma) - cross_moment @ gamma), gamma

        here, _ = predictor(self)
        covariance = self._raw_covariance()
        out: list[float] = []
        for shift, turn in zip(first, second, strict=True):
            if not turn.any():
                out.append(0.0)
                continue
            step = 1e-3 * np.linalg.norm(covariance) / np.linalg.norm(turn)
            moved = []
            for h in (step, -step):
                mean = self.center + h * shift
                sample = Moments(self.n_rows, self.total_weight, mean, covariance + h * turn)
                moved.append(predictor(self._refitted(sample)))
            (up, gamma_up), (down, gamma_down) = moved
            slope = (gamma_up - gamma_down) / (2 * step)
            curved = (up + down - 2 * here) / (2 * step**2)
            out.append(curved - 0.5 * float(slope @ (second_moment * slope)))
        return float(np.mean(out))

    def _refitted(self, sample: Moments) -> FactorEncoder:
        diagonal = self.clamped is not None
        return _from_moments(sample, self.rank, diagonal, self.standardized, self.choice)

    def _raw_covariance(self) -> Array:
        root = np.sqrt(self.noise) * self.scale
        half = root[:, None] * self.eigenvectors
        return (half * self.eigenvalues) @ half.T

    def _seen_from_here(self, other: FactorEncoder) -> Array:
        """Constant and features of another encoder in the t-coordinates of this, (1+d, 1+r)."""
        columns = np.zeros((other.rank, 1 + other.n_columns))
        columns[:, 1:] = other.feature_map.T
        intercept, slope = other.raw_coefficients(columns)
        out = np.zeros((1 + self.n_columns, 1 + other.rank))
        out[0, 0] = 1.0
        out[0, 1:] = intercept + slope @ self.center
        out[1:, 1:] = self.eigenvectors.T @ (slope * self.scale * np.sqrt(self.noise)).T
        return out

    @property
    def _gain(self) -> Array:
        top = self.eigenvalues[: self.rank]
        return np.sqrt(top - 1.0) / top

    @property
    def _divided(self) -> tuple[Array, Array]:
        """Divided differences of the gain and their partner for the noise, shapes (d, r).

        Loewner's formula for the derivative of a function of a symmetric matrix; the gain of
        directions outside the factors is zero.
        """
        r, l = self.rank, self.eigenvalues
        top, gain = l[:r], np.zeros(len(l))
        gain[:r] = self._gain
        gap = top - l[:, None]
        middle = (top + l[:, None]) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (2 - middle) / (2 * middle**2 * np.sqrt(middle - 1))
            ratio = (gain[:r] - gain[:, None]) / gap
        near = np.zeros_like(gap, dtype=bool)
        near[:r] = np.abs(gap[:r]) < 1e-5 * top
        ratio[near] = slope[near]
        return ratio, ratio * (top + l[:, None]) + gain[:r]

    def _rotated(self, X: Array) -> Array:
        Z = (X - self.center) / self.scale
        if self.clamped is None:
            return np.asarray(Z @ self.eigenvectors) / np.sqrt(self.noise[0])
        return np.asarray((Z / np.sqrt(self.noise)) @ self.eigenvectors)

    def _through_noise(self, X: Array, Y: Array, weight: Array) -> Array:
        """Effect of each row through log noise and log variance, ``eta @ weight``, (n, k).

        eta is the relative change of noise and scale together. For isotropic noise without
        standardisation it is the same in every column.
        """
        r, l = self.rank, self.eigenvalues
        if self.clamped is None:
            left_over = (Y[:, r:] ** 2).sum(axis=1) - l[r:].sum()
            count = len(l) - r
            if not self.standardized:
                return np.asarray(np.outer(left_over / count, weight.sum(axis=0)))
            share = (self.eigenvectors[:, r:] ** 2) @ l[r:] / count
            centered = ((X - self.center) / self.scale) ** 2 - 1.0
            total = weight.sum(axis=0)
            mixed = centered @ (weight - np.outer(share, total))
            return np.asarray(mixed + np.outer(left_over / count, total))
        return self._through_diagonal_noise(X, Y, weight)

    def _through_diagonal_noise(self, X: Array, Y: Array, weight: Array) -> Array:
        r, l, U = self.rank, self.eigenvalues, self.eigenvectors
        assert self.clamped is not None
        free, clamped = ~self.clamped, self.clamped
        hessian = 2.0 * ml.noise_hessian(ml.Spectrum(l, U), r)
        solved = np.linalg.solve(hessian[np.ix_(free, free)], weight[free])
        out = np.zeros((len(X), weight.shape[1]))
        if clamped.any():
            variance = self.noise[clamped] / ml.SMALLEST_UNIQUENESS
            at_bound = ((X - self.center) / self.scale)[:, clamped] ** 2 / variance - 1.0
            out += at_bound @ (weight[clamped] - hessian[np.ix_(clamped, free)] @ solved)
        outside = U[free, r:]
        left_over = (Y[:, r:] @ outside.T) ** 2 - (outside**2) @ l[r:]
        out += left_over @ solved
        top, rest = l[:r, None], l[None, r:]
        turn = (1.0 - rest) / (rest - top)
        # A Cauchy-like matrix: a handful of terms reproduces it to rounding.
        left, size, right = np.linalg.svd(turn, full_matrices=False)
        for a, s, b in zip(left.T, size, right, strict=True):
            if s <= 1e-15 * max(1.0, size[0]):
                break
            inner = (Y[:, :r] * (a * s)) @ U[free, :r].T
            inner *= (Y[:, r:] * b) @ outside.T
            out -= 2.0 * (inner @ solved)
        return out


MIXTURES = 24
MIXTURE_COST = 1e11


def _mixtures(
    source: Source, encoder: FactorEncoder, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Random mixtures of centred first and second moments, shapes (k, d) and (k, d, d).

    Their covariance is that of one row's. Large samples enter by a random part of their rows.
    """
    d, m = source.columns, source.rows
    share = min(1.0, MIXTURE_COST / (MIXTURES * m * d**2))
    first, second = np.zeros((MIXTURES, d)), np.zeros((MIXTURES, d, d))
    covariance = encoder._raw_covariance()
    for X, weights in source.chunks():
        keep = rng.random(len(X)) < share
        centered = X[keep] - encoder.center
        weight = np.ones(len(centered)) if weights is None else weights[keep]
        weight = weight * (m / encoder.total_weight / np.sqrt(m * share))
        for k in range(MIXTURES):
            signed = weight * rng.choice([-1.0, 1.0], size=len(centered))
            first[k] += signed @ centered
            second[k] += (centered.T * signed) @ centered - signed.sum() * covariance
    return first, second


def _listed(values: Array) -> str:
    return ", ".join(f"{v:.3g}" for v in values)
