"""What the user of a fit to rows with missing cells should know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foretell.base import Finding
from foretell.data.checks import listed
from foretell.estimators.masked_gaps import Gaps
from foretell.models.masked_fit import MaskedFit

SPARSE = 20  # observed cells of a column below which little is known of it
REPEATED = 1e-6  # distance of a correlation from one
IDLE = 0.01  # largest eigenvalue of A where predictions are means
TINY = 1e-9  # penalty of columns that follow from others


def gap_findings(fit: MaskedFit, gaps: Gaps, names: Sequence[str]) -> list[Finding]:
    """About missing cells, warnings first."""
    return [*_sparse(gaps, names), *_apart(gaps, names), *_ends(fit), _at_random()]


def _sparse(gaps: Gaps, names: Sequence[str]) -> list[Finding]:
    few = np.flatnonzero(gaps.observed < SPARSE)
    if not few.size:
        return []
    named = [f"{names[j]} ({gaps.observed[j]})" for j in few.tolist()]
    return [
        Finding(
            "warning",
            f"{few.size} of {len(names)} columns have fewer than {SPARSE} observed cells",
            f"{listed(named, 8)}: what fills the others, and their errors, rests on these few",
            "leave these columns out, or observe them in more rows",
        )
    ]


def _apart(gaps: Gaps, names: Sequence[str]) -> list[Finding]:
    if not len(gaps.apart):
        return []
    count = len(gaps.apart)
    named = [f"{names[i]} and {names[j]}" for i, j in gaps.apart[:8].tolist()]
    return [
        Finding(
            "warning",
            f"{count} pairs of columns are never observed in the same row"
            if count > 1
            else "Two columns are never observed in the same row",
            f"{listed(named, 8)}{' and others' if count > 8 else ''}: nothing tells how they vary "
            "together; they are taken to be unrelated given the other columns",
            "observe both in some rows, or leave one of them out",
        )
    ]


def _ends(fit: MaskedFit) -> list[Finding]:
    alpha = float(np.max(fit.alpha))
    if fit.spectrum()[0] < IDLE:
        return [
            Finding(
                "warning",
                "Missing cells are filled with means",
                f"the penalty is {alpha:.3g}: other columns do not help to predict, and every "
                "missing cell is close to the mean of its column",
                "collect more rows, or columns that are related",
            )
        ]
    if alpha < TINY:
        return [
            Finding(
                "note",
                "The penalty is next to nothing",
                f"alpha = {alpha:.3g}: columns are all but exact combinations of others",
                "leave out columns that are computed from others",
            )
        ]
    return []


def _at_random() -> Finding:
    return Finding(
        "note",
        "Filled cells rest on cells missing at random",
        "whether a cell is missing may depend on the observed cells of its row, not on its own "
        "value; otherwise filled values, and the errors stated for them, are off. Filled cells are "
        "conditional means and vary less than the true ones",
        "do not compute variances, correlations or standard errors from filled columns as if they "
        "were observed; imputation_sd() of the estimator tells how far each cell may be off",
    )
