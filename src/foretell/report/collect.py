"""Everything a report says about one run, as a dictionary that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

import foretell
from foretell._types import Array
from foretell.data.tables import Table
from foretell.estimators import TwoStageRegressor
from foretell.inference.limit import Asymptotics
from foretell.inference.predictions import Prediction
from foretell.inference.summary import Summary
from foretell.models.masked_encoder import MaskedEncoder
from foretell.report.comparison import Comparison, compare, fit_raw
from foretell.report.page import plain

GRID = 13
SHOWN_INTERVALS = 20
REVEALED = 20
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = {"FactorModel": "factor model", "MaskedRegression": "masked regression"}


def collect(
    table: Table,
    estimator: TwoStageRegressor,
    *,
    truth: Array | None = None,
    description: str | None = None,
    advance: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Gather the report of a fitted estimator.

    Parameters
    ----------
    table
        The table the estimator was fitted to, with names.
    estimator
        Fitted with inference.
    truth
        Targets of all rows, shape (N,), where they are known but were hidden from the fit;
        predictions, intervals and forecast are then checked against them.
    description
        What the table is, for the reader.
    advance
        Called with the name of each step before it starts.
    """
    limit: Asymptotics = estimator.asymptotics_
    labeled = ~np.isnan(table.y)
    model = type(estimator.model_).__name__
    label = f"{NAMES.get(model, model)}, rank {estimator.encoder_.rank}, and least squares"
    head = estimator.head_
    if head.penalty:
        label = label.replace("least squares", "ridge")
    advance("compare with ridge and least squares")
    comparison = compare(
        estimator.encoder_, head, table.X[labeled], table.y[labeled], label=label,
        random_state=estimator.random_state,
    )  # fmt: skip
    advance("summarise")
    summary = estimator.summary()
    law = limit.law()
    labeled_mean, unlabeled_mean = limit.mean_excess()
    advance("forecast")
    forecast = _forecast(limit)
    advance("check intervals")
    shown = _shown_rows(table, estimator)
    run: dict[str, Any] = {
        "version": 1,
        "foretell": foretell.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {
            "name": table.source_name,
            "n_rows": len(table.y),
            "n_columns": len(table.names),
            "description": description,
        },
        "target": table.target,
        "n_unlabeled": limit.n_unlabeled,
        "n_labeled": limit.n_labeled,
        "pool": limit.pool,
        "standardize": bool(estimator.standardized_),
        "model": {
            "name": model,
            "noise": getattr(estimator.model_, "noise", None),
            "rank": estimator.encoder_.rank,
            "rank_rule": estimator.encoder_.rank_rule,
        },
        "head": {"name": "LinearHead", "penalty": float(head.penalty)},
        "regime": {
            "first_order": limit.test.first_order,
            "statistic": limit.test.statistic,
            "p_value": limit.test.p_value,
            "text": next(f.text for f in summary.findings if "test of g" in f.text),
        },
        "answer": answer(limit, summary, comparison),
        "split": _split(limit, estimator, table),
        "risk": {
            "irreducible": limit.irreducible,
            "excess_mean": labeled_mean + unlabeled_mean,
            "excess_labeled": labeled_mean,
            "excess_unlabeled": unlabeled_mean,
            "current": limit.irreducible + labeled_mean + unlabeled_mean,
            "std": law.std(),
        },
        "law": _law(limit),
        "forecast": forecast,
        "intervals": _intervals(table, estimator, shown, truth),
        "coefficients": [
            {"column": c.column, "coefficient": c.value, "se": c.se, "se_naive": c.se_naive}
            for c in summary.coefficients
        ],
        "comparison": {
            "rows": [method._asdict() for method in comparison.methods],
            "how": comparison.how,
            "verdict": comparison.verdict,
            "worth_it": comparison.worth_it,
        },
        "eigenvalues": _eigenvalues(estimator),
        "diagnostics": [finding._asdict() for finding in summary.findings],
        "validation": None if truth is None else validate(table, estimator, truth, comparison),
        "provenance": PROVENANCE,
    }
    plainly: dict[str, Any] = plain(run)
    return plainly


def answer(limit: Asymptotics, summary: Summary, comparison: Comparison) -> list[str]:
    """The report in two sentences."""
    split = summary.splits[0]
    share = split.unlabeled / (split.labeled + split.unlabeled)
    now = 2 * sum(limit.mean_excess())
    more_labels = _round(limit.n_labeled)
    more_rows = _round(max(limit.n_unlabeled, limit.n_labeled))
    with_labels = 2 * sum(limit.mean_excess(None, limit.n_labeled + more_labels))
    with_rows = 2 * sum(limit.mean_excess(limit.n_unlabeled + more_rows, None))
    total = 2 * limit.irreducible + now
    verb, by = _change(now - with_labels, total)
    other_verb, other_by = _change(now - with_rows, total)
    again = "" if verb == other_verb else f"would {other_verb} it "
    first = (
        f"Of the variance of a typical prediction, {_percent(share)} comes from pre-training; "
        f"{more_labels:,} more labels would {verb} the expected squared error ({total:.3g} now) "
        f"{by}, {more_rows:,} more unlabeled rows {again}{other_by}."
    )
    return [first, comparison.verdict]


def validate(
    table: Table, estimator: TwoStageRegressor, truth: Array, comparison: Comparison
) -> dict[str, Any]:
    """How predictions, their intervals and the forecast did on hidden targets."""
    hidden = np.isnan(table.y) & ~np.isnan(truth)
    y = truth[hidden]
    prediction = estimator.get_prediction(table.frame(hidden))
    squared = (y - prediction.mean) ** 2
    mse, mse_se = squared.mean(), squared.std(ddof=1) / np.sqrt(len(y))
    limit: Asymptotics = estimator.asymptotics_
    expected = 2 * (limit.irreducible + sum(limit.mean_excess()))
    rows = []
    for level in (0.5, 0.8, 0.95):
        low, high = prediction.pred_int(level).T
        inside = (low <= y) & (y <= high)
        se = np.sqrt(level * (1 - level) / len(y))
        rows.append(
            {
                "quantity": f"{_percent(level)} prediction intervals cover",
                "promised": _percent(level),
                "observed": f"{_percent(inside.mean(), 1)} of {len(y):,} hidden targets",
                "ok": bool(abs(inside.mean() - level) < 4 * se),
            }
        )
    rows.append(
        {
            "quantity": "mean squared error",
            "promised": f"{expected:.3g}",
            "observed": f"{mse:.3g} ± {mse_se:.2g} on {len(y):,} hidden targets",
            "ok": bool(abs(mse - expected) < 4 * np.hypot(mse_se, _expected_se(estimator))),
        }
    )
    rows.append(
        {
            "quantity": "share of variance explained",
            "promised": _percent(1 - expected / np.nanvar(table.y), 1),
            "observed": _percent(float(1 - mse / y.var()), 1),
            "ok": None,
        }
    )
    rows.append(_doubled(table, estimator, truth))
    for method in comparison.methods:
        if method.kind in ("ridge", "ols"):
            observed = _alternative(method.kind, table, truth)
            rows.append(
                {
                    "quantity": f"mean squared error of {method.name}",
                    "promised": f"{method.mse:.3g} by cross-validation",
                    "observed": f"{observed:.3g}",
                    "ok": None,
                }
            )
    text = (
        f"{len(y):,} targets of this table are known but were hidden from the fit. They say how "
        "far the promises hold. Kept means: within four standard errors."
    )
    return {"text": text, "rows": rows}


def _doubled(table: Table, estimator: TwoStageRegressor, truth: Array) -> dict[str, Any]:
    """The forecast for twice the labels against what they give, over random further labels."""
    limit: Asymptotics = estimator.asymptotics_
    rng = np.random.default_rng(estimator.random_state)
    features = estimator.encoder_.encode(table.X)
    known = np.flatnonzero(~np.isnan(table.y))
    hidden = np.flatnonzero(np.isnan(table.y) & ~np.isnan(truth))
    more = min(limit.n_labeled, len(hidden) // 2)
    errors = []
    for _ in range(REVEALED):
        order = rng.permutation(hidden)
        train, test = np.concatenate([known, order[:more]]), order[more:]
        fit = estimator.head_.fit(features[train], truth[train])
        predicted = fit.predict(features[test])[:, 0]
        errors.append(float(np.mean((truth[test] - predicted) ** 2)))
    n = limit.n_labeled + more
    promised = 2 * (limit.irreducible + sum(limit.mean_excess(limit.n_unlabeled - more, n)))
    return {
        "quantity": f"mean squared error with {n:,} labels (forecast)",
        "promised": f"{promised:.3g}",
        "observed": f"{np.mean(errors):.3g}, average of {REVEALED} draws of further labels",
        "ok": bool(abs(np.mean(errors) - promised) < 4 * _expected_se(estimator)),
    }


def _alternative(kind: str, table: Table, truth: Array) -> float:
    """Mean squared error on hidden targets of what pre-training replaces."""
    known, hidden = ~np.isnan(table.y), np.isnan(table.y) & ~np.isnan(truth)
    predicted = fit_raw(kind, table.X[known], table.y[known], table.X[hidden])
    return float(np.mean((truth[hidden] - predicted) ** 2))


def _expected_se(estimator: TwoStageRegressor) -> float:
    """Rough standard error of the expected mean squared error: that of a residual variance."""
    limit: Asymptotics = estimator.asymptotics_
    return 2 * limit.irreducible * float(np.sqrt(2.0 / limit.residual_df))


def _change(gain: float, total: float) -> tuple[str, str]:
    verb = "lower" if gain > -5e-4 * total else "raise"
    share = abs(gain) / total
    return verb, f"by {_percent(share, 1)}" if share >= 5e-4 else "by less than 0.1%"


def _round(count: int) -> int:
    """One significant digit, so that a reader can repeat it."""
    size = 10 ** int(np.floor(np.log10(max(count, 1))))
    return int(round(count / size) * size)


def _split(limit: Asymptotics, estimator: TwoStageRegressor, table: Table) -> dict[str, Any]:
    prediction = _capped_prediction(table, estimator)
    labeled, unlabeled, shared = prediction.parts
    total = prediction.parts.total
    rows = []
    for name, q in (("a row with small variance (10%)", 0.1), ("a median row", 0.5),
                    ("a row with large variance (90%)", 0.9)):  # fmt: skip
        i = int(np.argsort(total)[int(q * (len(total) - 1))])
        title = f"variance, prediction of {name}"
        rows.append(_split_row(title, labeled[i], unlabeled[i], shared[i]))
    risk = limit.mean_excess()
    rows.append(_split_row("expected excess mean squared error", 2 * risk[0], 2 * risk[1], 0.0))
    share = float(unlabeled.mean() / (labeled.mean() + unlabeled.mean()))
    return {"variance_share_unlabeled": share, "rows": rows}


def _split_row(name: str, labeled: float, unlabeled: float, shared: float) -> dict[str, Any]:
    return {
        "quantity": name,
        "labeled": labeled,
        "unlabeled": unlabeled,
        "total": labeled + unlabeled + shared,
    }


def _capped_prediction(table: Table, estimator: TwoStageRegressor) -> Prediction:
    step = max(1, len(table.X) // 2000)
    return estimator.get_prediction(table.frame(np.arange(0, len(table.X), step)))


def _law(limit: Asymptotics) -> dict[str, Any]:
    law = limit.law()
    low, high = law.ppf(np.array([0.001, 0.995]))
    x = np.linspace(low, high, 161)
    quantiles = law.ppf(np.array(LEVELS))
    return {
        "x": x,
        "pdf": law.pdf(x),
        "quantiles": [{"q": q, "value": v} for q, v in zip(LEVELS, quantiles, strict=True)],
        "mean": law.mean(),
    }


def _grid(now: int, least: int) -> list[int]:
    low, high = max(least, now / 10), max(now, least, 10) * 100
    points = np.unique(np.round(np.geomspace(low, high, GRID)).astype(int)).tolist()
    return sorted({*points, max(now, least)})


def _forecast(limit: Asymptotics) -> dict[str, Any]:
    q = limit.head_map.shape[1]
    unlabeled = _grid(limit.n_unlabeled, 10)
    labeled = _grid(limit.n_labeled, 2 * q + 2)
    mean, low, high = (np.zeros((len(unlabeled), len(labeled))) for _ in range(3))
    for i, m in enumerate(unlabeled):
        for j, n in enumerate(labeled):
            mean[i, j] = limit.irreducible + sum(limit.mean_excess(m, n))
            low[i, j], high[i, j] = limit.irreducible + limit.law(m, n).ppf(np.array([0.05, 0.95]))
    return {
        "n_unlabeled": unlabeled,
        "n_labeled": labeled,
        "mean": mean,
        "q05": low,
        "q95": high,
        "irreducible": limit.irreducible,
        "current": {
            "n_unlabeled": limit.n_unlabeled,
            "n_labeled": limit.n_labeled,
            "mean": limit.irreducible + sum(limit.mean_excess()),
        },
    }


def _shown_rows(table: Table, estimator: TwoStageRegressor) -> Array:
    """Some unlabeled rows, spread evenly over the range of predictions."""
    rows = np.flatnonzero(np.isnan(table.y))
    if not len(rows):
        rows = np.arange(len(table.y))
    rows = rows[:: max(1, len(rows) // 2000)]
    order = rows[np.argsort(estimator.predict(table.frame(rows)), kind="stable")]
    count = min(SHOWN_INTERVALS, len(order))
    return order[np.linspace(0, len(order) - 1, count).round().astype(int)]


def _intervals(
    table: Table, estimator: TwoStageRegressor, rows: Array, truth: Array | None
) -> list[dict[str, Any]]:
    prediction = estimator.get_prediction(table.frame(rows))
    both, naive = prediction.conf_int(), prediction.naive_conf_int()
    new = prediction.pred_int()
    known = table.y if truth is None else truth
    return [
        {
            "row": int(row),
            "observed": known[row],
            "mean": prediction.mean[k],
            "se": prediction.se[k],
            "se_naive": prediction.se_naive[k],
            "lower": both[k, 0],
            "upper": both[k, 1],
            "naive_lower": naive[k, 0],
            "naive_upper": naive[k, 1],
            "pred_lower": new[k, 0],
            "pred_upper": new[k, 1],
        }
        for k, row in enumerate(rows)
    ]


def _eigenvalues(estimator: TwoStageRegressor) -> dict[str, Any] | None:
    encoder = estimator.encoder_
    values = encoder.spectrum()
    if values is None:
        return None
    shown = {"values": values[:100], "rank": encoder.rank}
    if isinstance(encoder, MaskedEncoder):
        return shown | {
            "noise": encoder.noise_level,
            "what": "Each dot is one direction in which columns predict one another, by the "
            "eigenvalue of the matrix of all regressions; strong ones become factors.",
            "caption": "Dots: eigenvalue of each direction, largest first",
            "note": f"One is perfect prediction; all sum to zero. Penalty {encoder.alpha:.3g}, "
            f"{encoder.choice.penalty_rule}. Rank: {encoder.rank_rule}.",
        }
    return shown | {
        "noise": 1.0,
        "note": f"In units of the noise variance. Rank: {encoder.rank_rule}.",
    }


def _percent(share: Any, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"


PROVENANCE = [
    {
        "number": "Variance of predictions and its split",
        "how": "Influence functions of every row on the learned features and on the head, their "
        "empirical covariance (robust to misspecification; residuals corrected for leverage), "
        "first order in 1/m and 1/n (Tinati & Tu 2026).",
    },
    {
        "number": "Naive intervals",
        "how": "The labeled part alone: features taken as given, as after any "
        "principal-component regression.",
    },
    {
        "number": "Law of the excess risk",
        "how": "The limiting weighted sum of chi-squares of both stages (and a normal term if the "
        "test of g = 0 rejects), inverted numerically to 1e-8.",
    },
    {
        "number": "Irreducible risk",
        "how": "Training risk plus its estimated optimism less the expected excess risk.",
    },
    {
        "number": "Forecast",
        "how": "Irreducible risk plus the law at other numbers of rows, drawn from the same "
        "population; extrapolation beyond the data rests on that.",
    },
    {
        "number": "Prediction intervals",
        "how": "Variance of the prediction plus residual variance, Student's t; assumes residuals "
        "of about normal shape and one variance.",
    },
    {
        "number": "Rows",
        "how": "Rows are treated as independent draws from one population.",
    },
]
