"""Headless Chromium for the tests of the report, and a run to report on."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSER = Path("/usr/bin/chromium")
DRIVER = Path("/usr/bin/chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A fresh browser with its console recorded; skips where there is none, fails on CI."""
    if missing := [str(path) for path in (BROWSER, DRIVER) if not path.exists()]:
        reason = f"{' and '.join(missing)} missing; install chromium and chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(BROWSER)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options=options, service=Service(executable_path=str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def set_width(driver: Any, width: int, height: int = 900) -> None:
    """Give the page exactly this many CSS pixels; a window cannot be as narrow as a phone."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


def open_report(driver: Any, page: Path, width: int = 1200) -> None:
    """Load a report and wait until its charts are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    set_width(driver, width)
    driver.get(page.as_uri())
    WebDriverWait(driver, 20).until(
        lambda d: d.execute_script("return document.documentElement.dataset.ready") == "true"
    )


# The forecast of example_run in closed form: risk = FLOOR + PER_UNLABELED/m + PER_LABELED/n.
FLOOR, PER_UNLABELED, PER_LABELED = 0.21, 22.0, 1.4


def example_risk(n_unlabeled: float, n_labeled: float, spread: float = 1.0) -> float:
    """The risk of ``example_run``; quantiles stretch the excess by ``spread``."""
    return FLOOR + spread * (PER_UNLABELED / n_unlabeled + PER_LABELED / n_labeled)


def example_run() -> dict[str, Any]:
    """A run of the shape that the estimators hand to the report."""
    m, n = 759, 60
    sizes_m = sorted({m, *(round(m * 10 ** (k / 7)) for k in range(-7, 8))})
    sizes_n = sorted({n, *(round(n * 10 ** (k / 7)) for k in range(-5, 10))})

    def grid(spread: float) -> list[list[float]]:
        return [[example_risk(i, j, spread) for j in sizes_n] for i in sizes_m]

    excess_unlabeled, excess_labeled = PER_UNLABELED / m, PER_LABELED / n
    excess = excess_unlabeled + excess_labeled
    shape = 4.0
    xs = [excess * 3.2 * (k + 0.5) / 200 for k in range(200)]
    density = [
        (shape / excess)
        * (u := shape * x / excess) ** (shape - 1)
        * math.exp(-u)
        / math.gamma(shape)
        for x in xs
    ]
    columns = [
        "mean radius", "mean texture", "mean perimeter", "mean area", "mean smoothness",
        "mean compactness", "mean concavity", "mean concave points", "mean symmetry",
        "mean fractal dimension", "radius error", "texture error", "perimeter error",
        "area error", "smoothness error", "compactness error", "concavity error",
        "concave points error", "symmetry error", "fractal dimension error", "worst radius",
        "worst texture", "worst perimeter", "worst area", "worst smoothness",
        "worst compactness", "worst concavity", "worst concave points", "worst symmetry",
    ]  # fmt: skip
    intervals = []
    for k in range(20):
        mean = 1.3 * math.sin(2.1 * k) + 0.2 * math.cos(5 * k)
        naive, se, noise = 0.10 + 0.05 * math.sin(k) ** 2, 0.17 + 0.07 * math.sin(k) ** 2, 0.65
        intervals.append(
            {
                "row": 17 + 37 * k,
                "observed": None if k % 7 == 3 else mean + noise * math.sin(11 * k + 1),
                "mean": mean, "se": se, "se_naive": naive,
                "lower": mean - 1.96 * se, "upper": mean + 1.96 * se,
                "naive_lower": mean - 1.96 * naive, "naive_upper": mean + 1.96 * naive,
                "pred_lower": mean - 1.96 * math.hypot(se, noise),
                "pred_upper": mean + 1.96 * math.hypot(se, noise),
            }
        )  # fmt: skip
    return {
        "version": 1, "foretell": "0.1.0", "created": "2026-11-22T10:00:00",
        "source": {
            "name": "tumors.parquet", "n_rows": 819, "n_columns": 30,
            "description": "Measurements of cell nuclei in digitized images.",
        },
        "target": "worst fractal dimension", "n_unlabeled": m, "n_labeled": n,
        "pool": True, "standardize": True,
        "model": {"name": "FactorModel", "noise": "isotropic", "rank": 3,
                  "rank_rule": "chosen by BIC among 1…15"},
        "head": {"name": "LinearHead", "penalty": 0.0},
        "regime": {"first_order": False, "statistic": 12.3, "p_value": 0.21,
                   "text": "The factors that describe the columns best also predict best, as far "
                           "as the data can tell; the extra error then shrinks like 1/rows."},
        "answer": [
            "Collect unlabeled rows first: they cause 55% of the extra error and ten times as "
            "many would lower the expected error from 0.525 to 0.473.",
            "Another 60 labels would lower it to 0.501.",
        ],
        "split": {
            "variance_share_unlabeled": 0.62,
            "rows": [
                {"quantity": "prediction, median row",
                 "labeled": 0.0123, "unlabeled": 0.0201, "total": 0.0318},
                {"quantity": "prediction, row at the 90% quantile",
                 "labeled": 0.0311, "unlabeled": 0.0402, "total": 0.0701},
                {"quantity": "mean of the predictions",
                 "labeled": 0.0068, "unlabeled": 0.00031, "total": 0.00711},
            ],
        },
        "risk": {"irreducible": FLOOR, "excess_mean": excess, "excess_labeled": excess_labeled,
                 "excess_unlabeled": excess_unlabeled, "current": FLOOR + excess,
                 "std": excess / math.sqrt(shape)},
        "law": {
            "x": xs, "pdf": density, "mean": excess,
            "quantiles": [
                {"q": q, "value": excess * v}
                for q, v in zip(
                    (0.05, 0.25, 0.5, 0.75, 0.95, 0.99),
                    (0.342, 0.634, 0.918, 1.277, 1.938, 2.511),
                    strict=True,
                )
            ],
        },
        "forecast": {
            "n_unlabeled": sizes_m, "n_labeled": sizes_n,
            "mean": grid(1.0), "q05": grid(0.342), "q95": grid(1.938), "irreducible": FLOOR,
            "current": {"n_unlabeled": m, "n_labeled": n, "mean": example_risk(m, n)},
        },
        "intervals": intervals,
        "coefficients": [
            {"column": name, "coefficient": 0.4 * math.sin(3 * k + 1) / 10 ** (k % 5),
             "se": (0.05 + 0.02 * (k % 3)) / 10 ** (k % 5),
             "se_naive": (0.03 + 0.02 * (k % 3)) / 10 ** (k % 5)}
            for k, name in enumerate(columns)
        ],
        "comparison": {
            "rows": [
                {"name": "factor model, rank 3 + least squares",
                 "mse": 0.528, "se": 0.061, "kind": "foretell"},
                {"name": "ridge on the raw columns, tuned penalty",
                 "mse": 0.602, "se": 0.072, "kind": "ridge"},
                {"name": "least squares on the raw columns",
                 "mse": 0.981, "se": 0.140, "kind": "ols"},
                {"name": "mean of the labels",
                 "mse": 1.313, "se": 0.190, "kind": "mean"},
            ],
            "how": "10-fold cross-validation over the 60 labeled rows; every method sees the "
                   "same folds, and stage 1 never sees the labels.",
            "verdict": "Pre-training is worth it here: the error is 12% below the best simpler "
                       "method.",
            "worth_it": True,
        },
        "eigenvalues": {
            "values": [13.1, 5.7, 2.9, *(1.4 * 0.82**k for k in range(26))],
            "rank": 3, "noise": 0.27,
            "note": "The gap after the third direction is 2.1 times the noise level.",
        },
        "diagnostics": [
            {"level": "ok", "title": "Symmetry is complete", "cure": None,
             "text": "The pre-training loss is flat in 3 directions, and rotations of 3 factors "
                     "explain all of them."},
            {"level": "note", "title": "Shared rows", "cure": None,
             "text": "The labeled rows take part in stage 1; the covariance of the two stages "
                     "is counted."},
            {"level": "warning", "title": "Few labels for each factor",
             "text": "60 labels for 4 coefficients; the approximation is accurate from "
                     "about 100 on.",
             "cure": "Label 40 more rows, or read the intervals as 10% too short."},
        ],
        "validation": {
            "text": "The 759 hidden labels were opened after everything else was computed.",
            "rows": [
                {"quantity": "95% prediction intervals cover", "promised": "95%",
                 "observed": "94.1% of 759 hidden labels", "ok": True},
                {"quantity": "mean squared error on new rows", "promised": "0.43 to 0.61",
                 "observed": "0.552", "ok": True},
                {"quantity": "mean of the target", "promised": "−0.05 to 0.05",
                 "observed": "0.071", "ok": False},
            ],
        },
        "provenance": [
            {"number": "Split of the variance",
             "how": "Sandwich covariance of both stages from the influence of "
             " each row; the parts are the rows that entered stage 1 and stage 2."},
            {"number": "Extra error and its law",
             "how": "Generalized chi-square law of the excess risk, second order"
             "; quantiles by inversion of its characteristic function."},
            {"number": "Forecast",
             "how": "The same law with the sizes replaced, on a grid; the page "
             "interpolates in the logarithm of the sizes."},
        ],
    }  # fmt: skip
