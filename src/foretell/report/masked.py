"""Everything a report says about a masked regression, as a dictionary that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import foretell
from foretell._types import Array
from foretell.data.tables import as_frame, numbers_of
from foretell.models.masked_rank import DRAWS, noise_level
from foretell.report.left_out import FOLDS, LeftOut, Part, learning_curve, left_out
from foretell.report.page import plain
from foretell.theory.masked.covariance import Diagonal
from foretell.theory.spectra.masked_spectrum import masked_spectrum

CLEAR = 2.0  # standard errors
MOST_COLUMNS = 2000  # of a spectrum
MOST_DRAWN = 500  # columns up to which independent ones are drawn, and eigenvalues shown
NAMED, LONG = 4, 40  # columns in the answer, and letters of each
FEW = 10  # rows below which there is nothing to draw
SMALL = 0.03  # gain, as a share of the error, that hardly helps


def collect_masked(
    frame: Any,
    estimator: Any,
    *,
    name: str = "a table",
    warned: Sequence[str] = (),
    advance: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Gather the report of a fitted masked regression.

    Parameters
    ----------
    frame
        The data frame it was fitted to, NaN where a cell is missing.
    estimator
        A :class:`~foretell.MaskedRegression` fitted to it.
    name
        What to call the table.
    warned
        Warnings of the fit, which become findings.
    advance
        Called with the name of each step before it starts.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from foretell import MaskedRegression
    >>> rng = np.random.default_rng(0)
    >>> common = rng.standard_normal(100)
    >>> table = pa.table({c: common + rng.standard_normal(100) for c in "abcd"})
    >>> run = collect_masked(table, MaskedRegression().fit(table))
    >>> bool(0.2 < run["explained"]["left_out"] < 0.5)
    True
    """
    table = as_frame(frame)
    X = np.column_stack([numbers_of(table[column]) for column in table.columns])
    missing = np.isnan(X)
    complete = not missing.any()
    advance("leave out rows")
    found = left_out(X, estimator)
    parts = learning_curve(X, estimator, found, advance=advance)
    how = "left out one by one"
    if not complete:
        how = "left out a tenth at a time" if found.tested.all() else "left out, a tenth of all"
    advance("spectrum")
    columns = _columns(table.columns, found, missing)
    findings = [
        {"level": "warning", "title": "The fit warned", "text": text, "cure": None}
        for text in warned
    ] + [finding._asdict() for finding in estimator.diagnose()]
    run = {
        "version": 1,
        "foretell": foretell.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {"name": name, "n_rows": len(X), "n_columns": X.shape[1]},
        "model": {
            "name": "MaskedRegression",
            "alpha": np.max(estimator.alpha_),
            "least_alpha": np.min(estimator.alpha_),
            "per_target": np.ndim(estimator.alpha_) > 0,
            "infinite": bool(np.isinf(estimator.alpha_).any()),
            "rule": _rule(estimator, complete),
            "standardize": bool(estimator.standardize),
        },
        "missing": {
            "cells": int(missing.sum()),
            "share": float(missing.mean()),
            "columns": int(missing.any(axis=0).sum()),
            "rows": int(missing.any(axis=1).sum()),
        },
        "explained": {
            "left_out": 1.0 - found.unexplained,
            "se": found.unexplained_se,
            "in_fit": estimator.score(frame),
            "how": how,
        },
        "columns": columns,
        "path": _path(estimator) if complete and len(X) >= FEW else None,
        "spectrum": _spectrum(estimator, len(X)) if len(X) >= FEW else None,
        "learning": _learning(parts, found, len(X) if complete else len(X) - len(X) // FOLDS),
        "diagnostics": findings,
    }
    run["answer"] = _answer(run)
    run["provenance"] = _provenance(run)
    plainly: dict[str, Any] = plain(run)
    return plainly


def _columns(names: Sequence[str], found: LeftOut, missing: Array) -> list[dict[str, Any]]:
    """Errors of the columns, the best predicted first."""
    rows = [
        {
            "column": name,
            "missing": count,
            "deviation": deviation,
            "rmse": rmse,
            "explained": explained,
            "se": se,
            "predicted": bool(explained > CLEAR * se),
        }
        for name, count, deviation, rmse, explained, se in zip(
            names, missing.sum(axis=0), found.deviation, found.rmse, found.explained,
            found.explained_se, strict=True,
        )
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -np.nan_to_num(row["explained"], nan=-np.inf))


def _path(estimator: Any) -> dict[str, Any] | None:
    """Errors along finite penalties, in shares of the left-out error of the means."""
    path = estimator.path_
    keep = np.isfinite(path.alphas)
    if keep.sum() < 2:
        return None
    unit = float(np.mean(estimator.fit_.mean_error / estimator.scale_**2))
    series = {"train": path.train, "loo": path.loo, "gcv": path.gcv, "egcv": path.egcv}
    return {
        "alphas": path.alphas[keep],
        **{key: None if one is None else one[keep] / unit for key, one in series.items()},
        "alpha": estimator.alpha_ if np.ndim(estimator.alpha_) == 0 else None,
    }


def _spectrum(estimator: Any, n_rows: int) -> dict[str, Any] | None:
    """Eigenvalues of A beside those of unrelated columns of the same variances."""
    alpha, d = estimator.alpha_, len(estimator.mean_)
    if np.ndim(alpha) or not 0 < alpha < np.inf or d > MOST_COLUMNS:
        return None
    values = estimator.spectrum()
    variances = estimator.fit_.variance / estimator.scale_**2
    free = max(n_rows - 1, 2)
    alike = np.ones(d) if estimator.standardize else Diagonal(variances)
    law = masked_spectrum(alike, free, alpha)
    edge = float(max(law.edges.max(), *(atom.location for atom in law.atoms), -np.inf))
    drawn = d <= MOST_DRAWN
    level = noise_level(variances, free, alpha) if drawn else edge
    places = np.unique(np.linspace(0, d - 1, min(d, MOST_DRAWN)).round().astype(int))
    return {
        "k": places + 1,
        "values": values[places],
        "noise": law.ppf(1.0 - (places + 0.5) / d),
        "edge": edge,
        "level": level,
        "level_rule": f"the largest of unrelated normal columns in {DRAWS} samples" if drawn
        else "the upper edge of the law of unrelated columns",
        "above": int((values > level).sum()),
    }  # fmt: skip


def _learning(parts: Sequence[Part], found: LeftOut, n_rows: int) -> dict[str, Any] | None:
    if not parts:
        return None
    rows: list[dict[str, Any]] = [
        {"n_rows": part.n_rows, "unexplained": part.unexplained, "gain": None, "gain_se": None}
        for part in parts
    ]
    rows.append({"n_rows": n_rows, "unexplained": found.unexplained})
    for row, part in zip(rows[1:], parts, strict=True):
        row |= {"gain": part.gain, "gain_se": part.gain_se}
    return {"rows": rows, "verdict": _verdict(rows[-1], parts[-1], found)}


def _verdict(full: dict[str, Any], half: Part, found: LeftOut) -> str:
    """What the last doubling of the rows says about the next, and no more."""
    if found.unexplained > 1 - CLEAR * found.unexplained_se:
        return (
            f"With all {full['n_rows']:,} rows the other columns predict no better than means do. "
            "Whether they would with more rows is not known."
        )
    change = (
        f"the unexplained share from {half.unexplained:.3g} with {half.n_rows:,} rows to "
        f"{full['unexplained']:.3g} with {full['n_rows']:,}"
    )
    noise = CLEAR * half.gain_se
    if half.gain > noise:
        share = half.gain / half.unexplained
        return f"More rows have helped so far: they lowered {change}, by {_percent(share)} of it."
    if half.gain < -noise:
        return (
            f"More rows have not helped: they raised {change}, more than chance explains. Rows "
            "differ from one another; look for groups and outliers."
        )
    if noise < SMALL * half.unexplained:
        return f"More rows of the same kind will hardly help: they changed {change}, within chance."
    return f"Whether more rows help is not clear: they changed {change}, within chance."


def _answer(run: dict[str, Any]) -> list[str]:
    share = run["explained"]["left_out"]
    poor = [row["column"] for row in run["columns"] if not row["predicted"]]
    cells = run["missing"]["cells"]
    first = (
        f"The other columns explain {_percent(share)} of the variance of a column, in rows "
        f"{run['explained']['how']}."
        if share > CLEAR * run["explained"]["se"]
        else "The other columns do not clearly predict a column better than its mean does."
    )
    if cells:
        share = _percent(run["missing"]["share"])
        first += (
            f" {cells:,} missing cells ({share}) are filled."
            if cells > 1
            else f" The missing cell ({share}) is filled."
        )
    alpha = run["model"]["alpha"]
    second = f"The penalty is {_penalty(alpha)}, {run['model']['rule']}. "
    if run["model"]["per_target"]:
        least = _penalty(run["model"]["least_alpha"])
        second = f"Penalties are {least} to {_penalty(alpha)}, {run['model']['rule']}. "
    if not poor:
        second += "Every column is predicted better than by its mean."
    elif len(poor) == len(run["columns"]):
        second += "No column is clearly predicted better than by its mean."
    else:
        named = [name if len(name) <= LONG else f"{name[:LONG]}…" for name in poor[:NAMED]]
        more = f" and {len(poor) - NAMED} more" if len(poor) > NAMED else ""
        second += f"Nothing clearly predicts {', '.join(named)}{more}."
    return [first, second]


def _penalty(alpha: float) -> str:
    return "infinite" if np.isinf(alpha) else f"{alpha:.3g}"


def _rule(estimator: Any, complete: bool) -> str:
    if not isinstance(estimator.alpha, str):
        return "fixed beforehand"
    if not complete:
        return "chosen by approximate leave-one-out errors"
    if estimator.alpha == "gcv":
        return "chosen by generalized cross-validation"
    return "chosen by leave-one-out errors"


def _percent(share: float) -> str:
    return f"{share:.1%}" if abs(share) < 0.0995 or share > 0.95 else f"{share:.0%}"


def _provenance(run: dict[str, Any]) -> list[dict[str, str]]:
    exact = not run["missing"]["cells"]
    entries = {
        "All regressions at once": "A = I − Q diag(Q)⁻¹ with Q = (C + αI)⁻¹, C the covariance of "
        + ("standardized " if run["model"]["standardize"] else "")
        + "columns: column k of A predicts column k from all others by ridge regression with "
        "penalty α per row.",
        "Errors of columns": "Exact leave-one-out errors of all cells from the one fit: the "
        "residual over one minus its leverage, mean and coefficients without the row, the scale "
        "of the columns with it. Their standard errors come from the spread over rows."
        if exact
        else f"Rows are divided at random into {FOLDS} parts; the observed cells of each are "
        "predicted from the other observed cells of their row by a fit to the other parts, at "
        "the chosen penalty; of large tables only some parts are.",
        "Filled cells": "Conditional means given the observed cells of the row, for normal rows "
        "whose covariance C + αI is of largest penalized likelihood (EM). They hold if cells are "
        "missing at random, and vary less than the true ones.",
        "Shares explained": "One minus the squared error over that of the mean of the column, both "
        "without the row that is predicted.",
        "Errors along the penalty": "Means over columns, in shares of the left-out error of their "
        "means. GCV divides the training error by the squared mean of one minus the leverages; "
        "eGCV weighs rows by their squared length, and also holds for rows of very unequal length.",
        "Unrelated columns": "The limit law of the eigenvalues of A for unrelated columns of the "
        "same number, rows and penalty, and the largest eigenvalue of such columns, drawn from "
        "the normal law.",
        "More rows": "Fits to random halves, quarters and eighths of the rows, each with a penalty "
        "of its own, tested on all rows outside; differences on the same rows. Nothing is "
        "extrapolated.",
    }
    shown = {
        "Filled cells": not exact,
        "Errors along the penalty": run["path"],
        "Unrelated columns": run["spectrum"],
        "More rows": run["learning"],
    }
    return [
        {"number": number, "how": how} for number, how in entries.items() if shown.get(number, True)
    ]
