"""A masked regression as tables of text, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell.base import Finding
from foretell.data.checks import listed
from foretell.data.frames import to_frame
from foretell.models.masked_fit import ColumnErrors, MaskedFit

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
        Leave-one-out error of each column, in its units, the share of its variance that the other
        columns explain, and its penalty.
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


def summarize(fit: MaskedFit, names: Sequence[str], rule: str) -> MaskedSummary:
    """Tables of a fit, ``rule`` how the penalty was chosen."""
    alphas = np.broadcast_to(fit.alpha, fit.mean.shape)
    low, high = float(alphas.min()), float(alphas.max())
    facts = {
        "rows (n)": f"{fit.n_rows:,}",
        "columns (d)": f"{len(names):,}",
        "penalty (alpha)": f"{low:.4g}" + (f" to {high:.4g}" if high > low else "") + f", {rule}",
    }
    columns: list[ColumnError] = []
    if fit.incomplete is not None:
        facts["missing cells"] = f"filled in {fit.incomplete.n_iter} iterations"
    if fit.errors is not None:
        explained = 1.0 - fit.errors.loo / fit.variance
        facts["explained, left out"] = f"{1.0 - _total(fit, fit.errors.loo) / fit.size:.3f}"
        facts["explained, in the fit"] = f"{1.0 - _total(fit, fit.errors.train) / fit.size:.3f}"
        columns = [
            ColumnError(name, float(np.sqrt(error)), float(share), float(alpha))
            for name, error, share, alpha in zip(
                names, fit.errors.loo, explained, alphas, strict=True
            )
        ]
    return MaskedSummary(facts, columns, findings(fit, names))


def findings(fit: MaskedFit, names: Sequence[str]) -> list[Finding]:
    """What the user should know about a fit, warnings first."""
    if fit.errors is None:
        return _penalty(fit)
    return [*_heavy_rows(fit, fit.errors), *_penalty(fit), *_unpredicted(fit, fit.errors, names)]


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
            "choose the penalty by alpha='loo', and transform columns with heavy tails (logarithm, "
            "ranks)",
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
                "leave out columns that are computed from others, or give smaller alphas",
            )
        ]
    return []


def _unpredicted(fit: MaskedFit, errors: ColumnErrors, names: Sequence[str]) -> list[Finding]:
    worse = np.flatnonzero(errors.loo > fit.variance * (1 + 2 / fit.n_rows))
    if not worse.size or np.isinf(fit.alpha).all():
        return []
    return [
        Finding(
            "note",
            f"{worse.size} of {len(names)} columns are predicted worse than by their mean",
            f"left out row by row: {listed([names[j] for j in worse.tolist()], 8)}",
            "give each column its own penalty (alpha_per_target=True)",
        )
    ]
