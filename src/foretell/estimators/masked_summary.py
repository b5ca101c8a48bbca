"""A masked regression as tables of text, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.base import Finding
from foretell.data.checks import listed
from foretell.data.frames import to_frame
from foretell.estimators.masked_gap_findings import REPEATED, gap_findings
from foretell.estimators.masked_gaps import Gaps
from foretell.models.masked_fit import ColumnErrors, MaskedFit

FEW = 10  # rows below which nothing is sure
CELLS = 300_000  # correlations held at a time
ROUNDING = 1e-6  # of errors that are those of means
SHOWN = 12  # columns in a printed summary
HEAVY = 1.1  # ratio of eGCV to GCV; 0.97 to 1.02 for rows of equal length, 1.2 to 1.7 for t5 rows


class ColumnError(NamedTuple):
    """How well a column is predicted from the others, rows left out one by one."""

    column: str
    rmse: float
    explained: float
    alpha: float


@dataclass(frozen=True)
class MaskedSummary:
    """Tables of a masked regression; print it, or read its attributes.

    Attributes
    ----------
    facts
        Name and value of single facts.
    columns
        Leave-one-out error of each column, in its units; the share that the other columns explain
        of the error of its mean, rows left out likewise; and its penalty.
    findings
        What to know and what to do, warnings first.
    """

    facts: dict[str, str]
    columns: list[ColumnError]
    findings: list[Finding]

    def frame(self, backend: str | None = None) -> Any:
        """Errors of the columns as a data frame."""
        values = zip(*self.columns, strict=True)
        return to_frame(dict(zip(ColumnError._fields, values, strict=True)), backend)

    def __str__(self) -> str:
        width = max(map(len, self.facts))
        lines = ["Masked regression", *(f"  {k:<{width}}  {v}" for k, v in self.facts.items()), ""]
        shown = sorted(self.columns, key=lambda c: -c.explained)[:SHOWN]
        if shown:
            wide = max(20, min(40, max(len(c.column) for c in shown)))
            lines.append(f"  {'left out row by row':<{wide}}{'error (rms)':>14}{'explained':>12}")
        lines += [f"  {c.column[:wide]:<{wide}}{c.rmse:>14.4g}{c.explained:>12.3f}" for c in shown]
        if len(self.columns) > len(shown):
            lines.append(f"  … and {len(self.columns) - len(shown)} more")
        lines += ["", "Findings"] if self.findings else []
        for finding in self.findings:
            lines.append(f"  [{finding.level}] {finding.title}: {finding.text}")
            if finding.cure:
                lines.append(f"      -> {finding.cure}")
        return "\n".join(lines)

    __repr__ = __str__


def summarize(
    fit: MaskedFit, names: Sequence[str], rule: str, gaps: Gaps | None = None
) -> MaskedSummary:
    """Tables of a fit, ``rule`` how the penalty was chosen."""
    alphas = np.broadcast_to(fit.alpha, fit.mean.shape)
    low, high = float(alphas.min()), float(alphas.max())
    facts = {
        "rows (n)": f"{fit.n_rows:,}",
        "columns (d)": f"{len(names):,}",
        "penalty (alpha)": f"{low:.4g}" + (f" to {high:.4g}" if high > low else "") + f", {rule}",
    }
    if fit.incomplete is not None:
        facts["missing cells"] = f"filled in {fit.incomplete.n_iter} iterations"
    loo = gaps.error if gaps is not None else None if fit.errors is None else fit.errors.loo
    columns: list[ColumnError] = []
    if loo is not None:
        about = "about " if gaps is not None else ""
        left_out = 1.0 - _total(fit, loo) / _total(fit, fit.mean_error)
        facts["explained, left out"] = f"{about}{left_out:.3f}"
        columns = [
            ColumnError(name, float(np.sqrt(error)), float(share), float(alpha))
            for name, error, share, alpha in zip(
                names, loo, 1.0 - loo / fit.mean_error, alphas, strict=True
            )
        ]
    if fit.errors is not None:
        facts["explained, in the fit"] = f"{1.0 - _total(fit, fit.errors.train) / fit.size:.3f}"
    return MaskedSummary(facts, columns, findings(fit, names, gaps))


def findings(fit: MaskedFit, names: Sequence[str], gaps: Gaps | None = None) -> list[Finding]:
    """What the user should know about a fit, warnings first."""
    found = _few_rows(fit) or [*_repeated(fit, names), *_penalty(fit)]
    if fit.errors is not None:
        found += [*_heavy_rows(fit, fit.errors), *_unpredicted(fit, fit.errors.loo, names)]
    if gaps is not None:
        found += [*gap_findings(fit, gaps, names), *_unpredicted(fit, gaps.error, names)]
    return sorted(found, key=lambda one: one.level != "warning")


def _total(fit: MaskedFit, error: Any) -> float:
    return float((error / fit.scale**2).sum())


def _heavy_rows(fit: MaskedFit, errors: ColumnErrors) -> list[Finding]:
    if not (np.isfinite(errors.gcv).all() and errors.gcv.min() > 0):
        return []
    ratio = _total(fit, errors.egcv) / _total(fit, errors.gcv)
    if ratio < HEAVY:
        return []
    return [
        Finding(
            "warning",
            "Rows differ much in length",
            f"corrected for the lengths of rows, generalized cross-validation is {ratio:.2f} times "
            "the plain one: rows have heavy tails, and what rests on rows of equal length (GCV, "
            "the theory for normal rows) is too small",
            "transform columns with heavy tails (logarithm, ranks), and let leave-one-out errors "
            "choose the penalty (alpha='loo', the default)",
        )
    ]


def _penalty(fit: MaskedFit) -> list[Finding]:
    infinite, d = int(np.isinf(fit.alpha).sum()), len(fit.mean)
    if infinite:
        which = "each column" if np.ndim(fit.alpha) == 0 else f"{infinite} of {d} columns"
        return [
            Finding(
                "note",
                "Means predict as well as the other columns",
                f"the penalty of {which} is infinite: no finite one has a smaller error",
                "collect more rows, or columns that are related",
            )
        ]
    if (
        fit.path is not None
        and len(fit.path.alphas) > 1
        and np.any(fit.alpha <= fit.path.alphas[0])
    ):
        return [
            Finding(
                "note",
                "The penalty is the least one considered",
                f"alpha = {float(np.min(fit.alpha)):.3g}: columns are all but exact combinations "
                "of others",
                "leave out columns that are computed from others, or give a smaller penalty "
                "yourself (alpha)",
            )
        ]
    return []


def _unpredicted(fit: MaskedFit, loo: Array, names: Sequence[str]) -> list[Finding]:
    worse = np.flatnonzero(loo > fit.mean_error * (1 + ROUNDING))
    if not worse.size or np.isinf(fit.alpha).all():
        return []
    can_differ = np.ndim(fit.alpha) == 0 and fit.incomplete is None
    cure = "give each column its own penalty (alpha_per_target=True, --alpha-per-target)"
    return [
        Finding(
            "note",
            f"{worse.size} of {len(names)} columns are predicted worse than by their mean",
            f"when rows are left out: {listed([names[j] for j in worse.tolist()], 8)}; a single "
            "penalty serves all columns, and is small for these"
            if can_differ
            else f"when rows are left out: {listed([names[j] for j in worse.tolist()], 8)}",
            cure if can_differ else "leave them out, unless they help to predict others",
        )
    ]


def _few_rows(fit: MaskedFit) -> list[Finding]:
    if fit.n_rows >= FEW:
        return []
    return [
        Finding(
            "warning",
            f"Only {fit.n_rows} rows",
            "from so few, errors and the penalty are hardly known",
            f"collect at least {FEW} rows, better several times as many as columns",
        )
    ]


def _repeated(fit: MaskedFit, names: Sequence[str]) -> list[Finding]:
    """Columns that repeat another, up to scale, sign and shift."""
    V = fit.spaces.vectors * np.sqrt(np.maximum(fit.spaces.values, 0.0))
    V = V / np.linalg.norm(V, axis=1, keepdims=True)
    pairs: list[tuple[int, int]] = []
    step = CELLS // len(V) + 1
    for start in range(0, len(V), step):
        alike = np.abs(V[start : start + step] @ V.T) > 1 - REPEATED
        found = np.argwhere(np.triu(alike, start + 1))
        pairs += [(int(i) + start, int(j)) for i, j in found]
    if not pairs:
        return []
    named = [f"{names[i]} and {names[j]}" for i, j in pairs[:8]]
    return [
        Finding(
            "warning",
            f"{len(pairs)} pairs of columns repeat one another"
            if len(pairs) > 1
            else "Two columns repeat one another",
            f"{listed(named, 8)}{' and others' if len(pairs) > 8 else ''}: each predicts the "
            "other, and what is said of how well columns are predicted is about copies",
            "keep one of each",
        )
    ]
