"""What a user should know about a masked regression as a representation."""

from __future__ import annotations

import numpy as np

from foretell._types import Array
from foretell.base import Finding
from foretell.models.masked_influence import MaskedMap
from foretell.models.masked_rank import DRAWS, FIXED, RankChoice


def masked_findings(
    fitted: MaskedMap, n_rows: int, level: float, choice: RankChoice
) -> list[Finding]:
    """Findings about the leading eigenvectors, given the level of noise, and about the penalty."""
    return [
        *_weak(fitted, n_rows, level, choice.rank),
        *_close(fitted, n_rows, choice.rank),
        *_bound(choice),
        *penalty_findings(fitted.alpha, choice),
    ]


def penalty_findings(alpha: float, choice: RankChoice) -> list[Finding]:
    """That a penalty was chosen, if it was."""
    if choice.penalty_rule == FIXED:
        return []
    return [Finding(
        "note", "The penalty was chosen on the same rows",
        f"alpha = {alpha:.3g} by {choice.penalty_rule}; errors and forecasts are those of features "
        "at this penalty, and do not count that other samples choose another",
    )]  # fmt: skip


def gap_error(fitted: MaskedMap, n_rows: int, rank: int) -> float:
    r"""Standard error of the difference between eigenvalues r and r + 1 of A, for normal rows.

    A row moves eigenvalue :math:`1 - \mu_j` by a quadratic form
    :math:`y^\top K_j y - E y^\top K_j y`, of variance
    :math:`2 \,\mathrm{tr}\,(K \Gamma)^2 / n` with :math:`\Gamma = E yy^\top`; the scales of
    standardised columns are taken as known.
    """
    V, mu = fitted.eigenvectors, fitted.remainder

    def form(j: int) -> Array:
        """Of :math:`-V_j^T dM V_j = p_j^2 + mu_j V_j^T diag(epsilon) V_j` in p."""
        out = -mu[j] * (V.T * V[:, j] ** 2) @ V
        out[j, j] += 1.0
        return np.asarray(out)

    K = (form(rank - 1) - form(rank)) @ fitted.steady
    return float(np.sqrt(2.0 * np.sum(K * K.T) / n_rows))


def _close(fitted: MaskedMap, n_rows: int, rank: int) -> list[Finding]:
    gap = float(fitted.remainder[rank] - fitted.remainder[rank - 1])
    error = gap_error(fitted, n_rows, rank)
    if gap >= 4 * error:
        return []
    return [Finding(
        "warning", f"Eigenvalues {rank} and {rank + 1} of A are close",
        f"they differ by {gap:.2g}, within four standard errors ({4 * error:.2g}, for normal "
        "rows): which direction belongs to the features is hardly determined",
        "choose a rank at a gap of the spectrum",
    )]  # fmt: skip


def _weak(fitted: MaskedMap, n_rows: int, level: float, rank: int) -> list[Finding]:
    weak = int((1.0 - fitted.remainder[:rank] <= level).sum())
    if not weak:
        return []
    cure = f"reduce the rank to {rank - weak}, or collect more rows"
    if weak == rank:
        cure = "use a supervised method on the columns, or collect more rows"
    return [Finding(
        "warning", f"{weak} of {rank} features are not told from noise",
        f"the smallest of their eigenvalues is {1.0 - fitted.remainder[rank - 1]:.3g}; independent "
        f"columns reach {level:.3g} in {DRAWS} samples of {n_rows:,} rows",
        cure,
    )]  # fmt: skip


def _bound(choice: RankChoice) -> list[Finding]:
    if "at most" not in choice.rule:
        return []
    return [Finding(
        "note", "The rank is the largest one allowed",
        f"{choice.rule}; ranks stop there because of the number of labeled rows or of columns",
        "compare ranks by cross-validation, or use features='reconstruction' with a ridge head",
    )]  # fmt: skip
