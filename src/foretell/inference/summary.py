"""The fit as tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.base import Encoder, Finding
from foretell.data.frames import to_frame
from foretell.inference.asymptotics import Asymptotics


class Split(NamedTuple):
    """One quantity and its parts by stage."""

    quantity: str
    labeled: float
    unlabeled: float
    shared: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.labeled + self.unlabeled + self.shared


class Coefficient(NamedTuple):
    """Coefficient of the predictor on one raw column, with and without the first stage."""

    column: str
    value: float
    se: float
    se_naive: float


@dataclass(frozen=True)
class Summary:
    """Tables of a fit; print it, or read its attributes.

    Attributes
    ----------
    facts
        Name and value of single facts.
    splits
        Variances and risks by stage.
    coefficients
        The predictor on the raw columns.
    findings
        What to know and what to do, warnings first.
    """

    facts: dict[str, str]
    splits: list[Split]
    coefficients: list[Coefficient]
    findings: list[Finding]

    def frame(self, backend: str | None = None) -> Any:
        """Coefficients as a data frame."""
        columns = zip(*self.coefficients, strict=True)
        return to_frame(dict(zip(Coefficient._fields, columns, strict=True)), backend)

    def __str__(self) -> str:
        width = max(map(len, self.facts))
        lines = ["Two-stage fit", *(f"  {k:<{width}}  {v}" for k, v in self.facts.items()), ""]
        lines.append(f"{'Split by stage':<34}{'labeled':>12}{'unlabeled':>12}{'total':>12}")
        for split in self.splits:
            numbers = (split.labeled, split.unlabeled, split.total)
            lines.append(f"  {split.quantity:<32}" + "".join(f"{v:>12.4g}" for v in numbers))
        shown = sorted(self.coefficients, key=lambda c: -abs(c.value) / max(c.se, 1e-300))[:12]
        lines += ["", f"{'Predictor on the columns':<34}{'coef':>12}{'se':>12}{'naive se':>12}"]
        for c in shown:
            lines.append(f"  {c.column[:31]:<32}{c.value:>12.4g}{c.se:>12.4g}{c.se_naive:>12.4g}")
        if len(self.coefficients) > len(shown):
            lines.append(f"  … and {len(self.coefficients) - len(shown)} more columns")
        lines += ["", "Findings"]
        for finding in self.findings:
            lines.append(f"  [{finding.level}] {finding.title}: {finding.text}")
            if finding.cure:
                lines.append(f"      -> {finding.cure}")
        return "\n".join(lines)

    __repr__ = __str__


def summarize(
    encoder: Encoder, limit: Asymptotics, names: Sequence[str], findings: list[Finding]
) -> Summary:
    """Tables of a fit."""
    labeled, unlabeled = limit.mean_excess()
    m, n = limit.stage_sizes()
    test = limit.test
    risk = limit.irreducible + labeled + unlabeled
    facts = {
        "rows of pre-training (m)": f"{m:,.0f}"
        + (f", of them {n:,.0f} labeled" if limit.pool else ""),
        "labeled rows (n)": f"{n:,.0f}",
        "columns, rank": f"{len(names)}, {encoder.rank}",
        "columns standardised": "yes" if encoder.standardized else "no",
        "irreducible mean squared error": f"{2 * limit.irreducible:.4g}",
        "expected mean squared error": f"{2 * risk:.4g}",
        "test of g = 0": f"p = {test.p_value:.3g} ({test.method})",
        "regime": "first order (g != 0)" if test.first_order else "second order (g = 0)",
    }
    typical = limit.variance(_typical_directions(limit))
    splits = [
        Split(
            "variance of a typical prediction",
            *(float(np.mean(part)) for part in typical),
        ),
        Split("expected extra squared error", 2 * labeled, 2 * unlabeled, 0.0),
    ]
    return Summary(facts, splits, coefficient_table(encoder, limit, names), findings)


def coefficient_table(
    encoder: Encoder, limit: Asymptotics, names: Sequence[str]
) -> list[Coefficient]:
    """Coefficients on the raw columns with their standard errors, standardisation undone."""
    m, n = limit.stage_sizes()
    onto = encoder.raw_coefficients(limit.head_map.T)[1].T
    labeled = np.einsum("dq,dq->d", onto @ limit.labeled, onto) / n
    size, axes = np.linalg.eigh(limit.unlabeled)
    root = encoder.raw_coefficients((axes * np.sqrt(np.maximum(size, 0.0))).T)[1]
    unlabeled = (root**2).sum(axis=0) / m
    moved = encoder.raw_coefficients(limit.shared.T)[1].T
    shared = 2.0 * np.einsum("dq,dq->d", moved, onto) / m
    values = encoder.raw_coefficients(limit.predictor)[1]
    se = np.sqrt(np.maximum(labeled + unlabeled + shared, 0.0))
    return [
        Coefficient(name, *map(float, row))
        for name, row in zip(names, np.column_stack([values, se, np.sqrt(labeled)]), strict=True)
    ]


def _typical_directions(limit: Asymptotics) -> Array:
    """Directions whose average variance is that of a row drawn from the sample, (P, P)."""
    size, axes = np.linalg.eigh(limit.curvature)
    root = np.sqrt(np.maximum(size, 0.0))[:, None] * axes.T
    return np.asarray(root * np.sqrt(len(root)))
