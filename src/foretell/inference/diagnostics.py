"""Findings about a fit: what could mislead, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foretell.base import Encoder, Finding
from foretell.inference.limit import Asymptotics

FEW_UNITS = 20
LABELS_A_LOGIT = 2  # labels a coefficient below which laws of classifiers are no guide
NEGLIGIBLE = 0.01  # of the risk: a part of the excess this far below zero is noise
ORDER = {"warning": 0, "note": 1, "ok": 2}


def findings(encoder: Encoder, limit: Asymptotics, names: Sequence[str]) -> list[Finding]:
    """Findings of the encoder and of the limit, warnings first."""
    stage_one = _given(limit) if limit.held_fixed else [_regime(limit)]
    out = [*encoder.findings(names), *stage_one, *_sizes(limit)]
    labeled, unlabeled = limit.mean_excess()
    if min(labeled, unlabeled) < -NEGLIGIBLE * (limit.irreducible + abs(labeled + unlabeled)):
        part = "unlabeled" if unlabeled < labeled else "labeled"
        out.append(
            Finding(
                "warning",
                f"The {part} part of the excess risk is estimated to be negative",
                f"{min(labeled, unlabeled):.3g}: its second-order mean, estimated from "
                f"{limit.n_labeled} labels, outweighs its variance; forecasts are unreliable",
                "label more rows, use a model with fewer parameters, or change the penalty",
            )
        )
    if labeled + unlabeled > limit.irreducible:
        out.append(
            Finding(
                "warning",
                "The estimated excess risk exceeds the irreducible risk",
                f"{labeled + unlabeled:.3g} against {limit.irreducible:.3g}: the sample is too "
                "small for limit laws to be accurate",
                "read the figures as orders of magnitude, or reduce the rank",
            )
        )
    return sorted(out, key=lambda finding: ORDER[finding.level])


def _regime(limit: Asymptotics) -> Finding:
    test = limit.test
    p_value = f"p = {test.p_value:.3g}" if test.p_value >= 1e-4 else "p < 0.0001"
    if test.first_order:
        return Finding(
            "note",
            "The target uses directions that pre-training does not learn",
            f"The test of g = 0 rejects ({p_value}; {test.method}): the learned features are not "
            "the best ones for this target, and the excess risk has a normal term of order "
            "1/sqrt(m)",
            "a larger rank or ridge on the raw columns may predict better; compare them",
        )
    return Finding(
        "ok",
        "No sign that the target needs more than the learned features",
        f"The test of g = 0 does not reject ({p_value}; {test.method}): the excess risk is taken "
        "to be of order 1/m",
    )


def _given(limit: Asymptotics) -> list[Finding]:
    """What follows from a first stage that is held fixed."""
    if not limit.pool:
        return []
    return [
        Finding(
            "note",
            "Labeled rows helped to train the network",
            f"the {limit.n_labeled} labeled rows, without their labels, are among those of "
            "pre-training; their features may fit them better than new rows, which a law that "
            "takes the network as given does not see",
            "for few unlabeled rows, set pool=False",
        )
    ]


def _sizes(limit: Asymptotics) -> list[Finding]:
    out = []
    q = limit.head_map.shape[1]
    if limit.n_labeled < (LABELS_A_LOGIT if limit.classes else 1) * q:
        out.append(
            Finding(
                "warning",
                "Too few labels for a law of this head",
                f"{q} coefficients ({len(limit.residual_variance)} output(s)) on "
                f"{limit.n_labeled} labeled rows: laws and errors are first order in coefficients "
                "a label and no guide here (of a classifier the excess log-loss was 2.2 times "
                "that of the law at 1.3 labels a coefficient, 3.9 times at 0.65, 1.1 at 5)",
                "trust the interval of accuracy(), label more rows, or reduce the rank",
            )
        )
    elif limit.n_labeled < 10 * q:
        out.append(
            Finding(
                "note",
                "Few labels for this many features",
                f"{limit.n_labeled} labeled rows for {q} head coefficients; intervals use "
                "leverage-corrected errors and Student's t, but limits are rough",
                "label more rows, reduce the rank, or set a penalty",
            )
        )
    if limit.residual_df < min(FEW_UNITS, limit.n_labeled - q):
        out.append(
            Finding(
                "warning",
                "Few clusters, or a short series for its lags",
                f"errors and the test of g rest on {limit.residual_df + 1:.0f} independent groups "
                "of labeled rows; standard errors are rough and tend to be too small",
                "label rows of more clusters, or give fewer lags",
            )
        )
    if limit.n_unlabeled == 0:
        out.append(
            Finding(
                "note",
                "No row is unlabeled",
                f"pre-training used the {limit.n_labeled} labeled rows alone, so it adds no data",
                "add unlabeled rows: missing targets, or X_unlabeled",
            )
        )
    if not np.isfinite(limit.irreducible) or limit.irreducible <= 0:
        out.append(
            Finding(
                "warning",
                "The irreducible risk cannot be told from zero",
                "the residuals of the labeled rows are smaller than their estimated optimism",
                "label more rows or reduce the rank",
            )
        )
    return out
