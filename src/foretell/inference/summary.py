"""The fit as tables of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.base import Finding, HeadFit
from foretell.data.frames import to_frame
from foretell.inference.accuracy import accuracy_of
from foretell.inference.limit import Asymptotics

LONGEST = 40  # lines of quantities that pre-training found


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
    """Coefficient of the predictor on one raw column, with and without the first stage.

    For features that are not linear in the columns: a quantity that pre-training identifies, with
    its standard error.
    """

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
        columns = {
            name: [getattr(one, name) for one in self.coefficients] for name in Coefficient._fields
        }
        return to_frame(columns, backend)

    def __str__(self) -> str:
        width = max(map(len, self.facts))
        lines = ["Two-stage fit", *(f"  {k:<{width}}  {v}" for k, v in self.facts.items()), ""]
        lines.append(f"{'Split by stage':<34}{'labeled':>12}{'unlabeled':>12}{'total':>12}")
        for split in self.splits:
            numbers = (split.labeled, split.unlabeled, split.total)
            lines.append(f"  {split.quantity:<32}" + "".join(f"{v:>12.4g}" for v in numbers))
        affine = not all(np.isnan(c.se_naive) for c in self.coefficients)
        shown = self.coefficients[:LONGEST]
        if affine:
            shown = sorted(self.coefficients, key=lambda c: -abs(c.value) / max(c.se, 1e-300))[:12]
        title = "Predictor on the columns" if affine else "What pre-training found"
        wide = min(60, max([32, *(2 + len(c.column) for c in shown)]))
        if shown:
            naive = f"{'naive se':>12}" if affine else ""
            lines += ["", f"{title:<{wide + 2}}{'value':>12}{'se':>12}{naive}"]
        for c in shown:
            naive = f"{c.se_naive:>12.4g}" if affine else ""
            name = f"  {c.column[: wide - 1]:<{wide}}"
            lines.append(f"{name}{c.value:>12.4g}{c.se:>12.4g}{naive}")
        if len(self.coefficients) > len(shown):
            lines.append(f"  … and {len(self.coefficients) - len(shown)} more")
        lines += ["", "Findings"]
        for finding in self.findings:
            lines.append(f"  [{finding.level}] {finding.title}: {finding.text}")
            if finding.cure:
                lines.append(f"      -> {finding.cure}")
        return "\n".join(lines)

    __repr__ = __str__


def summarize(
    encoder: Any,
    limit: Asymptotics,
    fit: HeadFit,
    names: Sequence[str],
    findings: list[Finding],
    targets: Sequence[str] = ("y",),
) -> Summary:
    """Tables of a fit."""
    labeled, unlabeled = limit.mean_excess()
    m, n = limit.stage_sizes()
    test = limit.test
    risk = limit.irreducible + labeled + unlabeled
    scale, loss = (1.0, "log-loss") if limit.classes else (2.0, "mean squared error")
    facts = {
        "rows of pre-training (m)": f"{m:,.0f}"
        + (f", of them {n:,.0f} labeled" if limit.pool else ""),
        "labeled rows (n)": f"{n:,.0f}",
        "columns, rank": f"{len(names)}, {encoder.rank}",
        "columns standardised": "yes" if encoder.standardized else "no",
        f"irreducible {loss}": f"{scale * limit.irreducible:.4g}",
        f"expected {loss}": f"{scale * risk:.4g}",
    }
    if limit.held_fixed:
        facts["stage 1"] = "held fixed: errors and laws are conditional on the network"
    else:
        facts["test of g = 0"] = f"p = {test.p_value:.3g} ({test.method})"
        facts["regime"] = limit.regime
    if limit.accuracy is not None:
        facts["accuracy on new rows"] = f"{limit.accuracy:.1%} (leave-one-out)"
    if limit.hits is not None:
        found = accuracy_of(limit.hits, left_out=limit.classes)
        facts["95 % interval of accuracy"] = f"{found.low:.1%} to {found.high:.1%}"
    typical = limit.variance(_typical_directions(limit))
    extra = "log-loss" if limit.classes else "squared error"
    splits = [
        Split(
            "variance of a typical prediction",
            *(float(np.mean(part)) for part in typical),
        ),
        Split(f"expected extra {extra}", scale * labeled, scale * unlabeled, 0.0),
    ]
    if hasattr(encoder, "raw_coefficients"):
        table = coefficient_table(encoder, limit, fit, names, targets)
    elif limit.held_fixed:
        table = []
    else:
        m_covariance = limit.unlabeled[: len(encoder.theta), : len(encoder.theta)] / m
        table = [
            Coefficient(_named(p.name, names), p.value, p.se, float("nan"))
            for p in encoder.parameters(m_covariance)
        ]
    return Summary(facts, splits, table, findings)


def _named(quantity: str, names: Sequence[str]) -> str:
    """Columns by their names, where a model numbers them."""
    return re.sub(
        r"^((?:mean|variance) of )column (\d+)",
        lambda found: found[1] + repr(names[int(found[2])]),
        quantity,
    )


def coefficient_table(
    encoder: Any,
    limit: Asymptotics,
    fit: HeadFit,
    names: Sequence[str],
    targets: Sequence[str] = ("y",),
) -> list[Coefficient]:
    """Coefficients on the raw columns with their standard errors, standardisation undone."""
    m, n = limit.stage_sizes()
    k, size = fit.coef.shape[1], len(limit.unlabeled) // fit.coef.shape[1]
    slope = encoder.feature_map @ fit.coef
    predictor = np.concatenate([fit.intercept[None], slope]).T
    out: list[Coefficient] = []
    for c in range(k):
        block = slice(c * size, (c + 1) * size)
        onto = encoder.raw_coefficients(limit.head_map[block].T)[1].T
        labeled = np.einsum("dq,dq->d", onto @ limit.labeled, onto) / n
        spread, axes = np.linalg.eigh(limit.unlabeled[block, block])
        root = encoder.raw_coefficients((axes * np.sqrt(np.maximum(spread, 0.0))).T)[1]
        unlabeled = (root**2).sum(axis=0) / m
        moved = encoder.raw_coefficients(limit.shared[block].T)[1].T
        shared = 2.0 * np.einsum("dq,dq->d", moved, onto) / m
        values = encoder.raw_coefficients(predictor[c])[1]
        se = np.sqrt(np.maximum(labeled + unlabeled + shared, 0.0))
        rows = np.column_stack([values, se, np.sqrt(labeled)])
        prefix = f"{targets[c]}: " if k > 1 else ""
        out += [
            Coefficient(prefix + name, *map(float, row))
            for name, row in zip(names, rows, strict=True)
        ]
    return out


def _typical_directions(limit: Asymptotics) -> Array:
    """Directions whose average variance is that of a row drawn from the sample, (P, P)."""
    size, axes = np.linalg.eigh(limit.curvature)
    root = np.sqrt(np.maximum(size, 0.0))[:, None] * axes.T
    return np.asarray(root * np.sqrt(len(root)))
