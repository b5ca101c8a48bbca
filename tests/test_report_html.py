"""The HTML report: one file, nothing from the network, hostile texts stay texts, sliders tell
the truth."""

import builtins
import html
import json
import math
import os
import re
import stat
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from browser import (
    chromium,
    example_risk,
    example_run,
    open_report,
    set_width,
)
from foretell.errors import InputError, MissingExtraError
from foretell.report.html import charts, check_writable, number, percent, render, write

HOSTILE = '</script><img src=x onerror="window.__pwned=1">&amp;\'{{ 7*7 }}\u2028'
NUMBERS = [
    0.0, 1.0, -1.0, 0.5, 2.5, 0.12345, 0.00012345, 0.00099999, 1e-4, 9.9999e-5, 12.345, 99.995,
    999.5, 999.49, 1234.5, 9999.4, 9999.5, 12345.678, 1e6, 9999999.4, 9999999.6, 1e7, 1.5e300,
    -1e-300, 0.1 + 0.2, 1 / 3, -2 / 3 * 1e5, 5e-324,
]  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return render(example_run())


def hostile_run():
    """Every text of the example replaced by one that tries to leave its place."""

    def poison(value, key=None):
        if isinstance(value, dict):
            return {k: poison(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v, key) for v in value]
        kept = key in ("kind", "level")
        return f"{key} {HOSTILE}" if isinstance(value, str) and not kept else value

    return poison(example_run())


def embedded(page, name):
    text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    return json.loads(text[1], parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_page_asks_for_nothing(page):
    """No element loads anything, and the policy forbids it: a file in a mailbox is enough."""
    body = without_scripts(page)
    assert not re.search(r"<(script|img|iframe|object|embed|video|audio|source)\b[^>]*src=", body)
    assert re.findall(r"<link\b[^>]*>", body) == ['<link rel="icon" href="data:,">']
    assert "@import" not in body
    assert "url(" not in body
    assert not re.search(r"\b(src|href|action)\s*=\s*[\"']?(https?:)?//", body)
    assert "default-src 'none'" in body
    assert "unsafe-eval" not in page


def test_page_is_small(page, capsys):
    size = len(page.encode())
    with capsys.disabled():
        print(f"\nreport of {size / 1e6:.2f} MB")
    assert size < 2e6


def test_page_carries_the_run(page):
    assert embedded(page, "run") == example_run()
    assert page.count("<h1") == 1
    assert '<html lang="en">' in page
    for identifier in ("validation", "split", "law", "forecast", "intervals", "comparison",
                       "coefficients", "eigenvalues", "diagnostics", "provenance"):  # fmt: skip
        assert page.count(f'<section id="{identifier}"') == 1


def test_mean_squared_error_is_twice_the_risk():
    run = example_run()
    run["risk"] |= {"irreducible": 0.11111, "excess_mean": 0.033333}
    text = without_scripts(render(run))
    assert ">0.2222<" in text
    assert ">0.06667<" in text
    assert "0.1111<" not in text


def test_density_of_doubled_risk_keeps_its_mass():
    law = charts(example_run())["law"]["datasets"]
    x, pdf = np.array([[row["x"], row["pdf"]] for row in law["curve"]]).T
    assert np.trapezoid(pdf, x) == pytest.approx(1, abs=0.01)
    assert np.trapezoid(x * pdf, x) == pytest.approx(law["mean"][0]["x"], rel=0.02)


def test_hostile_texts_are_escaped():
    """Nothing a table holds can end an element or start a script."""
    page = render(hostile_run())
    assert "<img src=x" not in page
    assert page.count("</script>") == page.count("<script") == 4
    assert page.count(html.escape(HOSTILE, quote=False)[:20]) > 20
    assert embedded(page, "run") == hostile_run()
    assert "\u2028" not in "".join(re.findall(r"<script type.*?</script>", page, re.S))


def test_numbers_that_are_not_finite_become_null():
    run = example_run()
    run["risk"] |= {"std": math.nan, "current": math.inf}
    run["law"]["pdf"][0] = math.inf
    run["forecast"]["mean"][0][0] = math.nan
    run["intervals"][0] |= {"observed": math.nan, "lower": -math.inf}
    run["coefficients"][0] |= {"se": math.nan}
    run["comparison"]["rows"][1] |= {"mse": math.nan, "se": None}
    page = render(run)
    assert embedded(page, "run")["risk"]["std"] is None
    embedded(page, "charts")
    assert not re.search(r"\b(nan|inf|None)\b", without_scripts(page).split("</style>")[1])


@pytest.mark.parametrize("emptiness", ["missing", "none", "empty"])
def test_every_section_may_be_absent(emptiness):
    for key, value in example_run().items():
        run = example_run()
        if emptiness == "missing":
            del run[key]
        else:
            run[key] = None if emptiness == "none" else type(value)()
            if emptiness == "empty" and key == "forecast":
                continue
        assert "<h1" in render(run), key
    assert "No answer was computed" in render({})


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.12345, 3, "0.123"), (0.12345, 4, "0.1235"), (2.5, 1, "3"), (0.0, 3, "0"),
        (1234.5, 3, "1,235"), (12345.6, 4, "12,346"), (999.96, 4, "1,000"), (-1.5, 3, "−1.50"),
        (0.00012345, 3, "0.000123"), (0.000012345, 3, "1.23 × 10⁻⁵"), (1e7, 3, "1.00 × 10⁷"),
        (None, 3, "–"), (math.nan, 3, "–"), (-math.inf, 3, "–"),
    ],
)  # fmt: skip
def test_numbers_read_well(value, digits, text):
    assert number(value, digits) == text


def test_percentages_read_well():
    shares = [0, 0.05, 0.0314, 0.0996, 0.62, 1, -0.004, -0.00004, None]
    texts = ["0%", "5%", "3.1%", "10%", "62%", "100%", "−0.4%", "0%", "–"]
    assert [percent(share) for share in shares] == texts


def test_write_replaces_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o640)
    link = tmp_path / "link.html"
    link.symlink_to(path)
    write(example_run(), link)
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.html", "report.html"]


def test_a_failure_keeps_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"No space left on device.*unchanged"):
        write(example_run(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_unwritable_paths_are_refused_beforehand(tmp_path):
    locked = tmp_path / "locked.html"
    locked.write_text("old")
    locked.chmod(0o400)
    for path, cure in [
        (tmp_path, "give the name of a file"),
        (tmp_path / "missing" / "report.html", "create it"),
        (locked / "report.html", "another path"),
        (locked, "write-protected"),
        ("/dev/null", "not a regular file"),
        (tmp_path / ("x" * 300), "another path"),
        ("nul\0byte", "another path"),
    ]:
        with pytest.raises(InputError, match=cure):
            check_writable(path)
    assert check_writable(tmp_path / "new.html") == (tmp_path / "new.html").resolve()
    assert [p.name for p in tmp_path.iterdir()] == ["locked.html"]


@pytest.mark.parametrize("package", ["jinja2", "vl_convert"])
def test_missing_extra_is_named(package, monkeypatch):
    from foretell.report import page as module

    module.vega.cache_clear()
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'foretell\[report\]'"):
        render(example_run())


def test_the_module_loads_without_the_extra():
    code = "import sys, foretell.report.html; print({'jinja2', 'vl_convert'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# In the browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(driver, page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    open_report(driver, path)
    return driver


def value(driver, name):
    return float(
        driver.execute_script(f"return document.getElementById('forecast-{name}').dataset.value")
    )


def shown(driver, name):
    return driver.execute_script(f"return document.getElementById('forecast-{name}').textContent")


def size(driver, name):
    return int(shown(driver, name).replace(",", ""))


def slide(driver, name, position):
    driver.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));",
        f"slider-{name}", position,
    )  # fmt: skip


def assert_forecast_is_true(driver):
    """What the page says at the chosen sizes against the closed form, in mean squared error.

    The page interpolates the logarithm of the excess between sizes a factor 10**(1/7) apart;
    for A/m + B/n its curvature in log n is at most 1/4, so that the error of the excess is at
    most 1/4 · log(10)²/49/8 for each axis, 0.7 % for both.
    """
    m, n = size(driver, "unlabeled"), size(driver, "labeled")
    for name, spread in (("mean", 1.0), ("low", 0.342), ("high", 1.938)):
        truth = 2 * example_risk(m, n, spread)
        excess = truth - 2 * example_risk(math.inf, math.inf)
        bound = 2 * math.log(10) ** 2 / 49 / 8 / 4 * excess
        assert abs(value(driver, name) - truth) <= bound * 1.01 + 1e-12
        assert shown(driver, name) == number(value(driver, name), 4)
    change = 100 * (example_risk(m, n) / example_risk(759, 60) - 1)
    text = shown(driver, "change").replace("−", "-").rstrip("%")
    assert float(text) == pytest.approx(change, abs=0.06 + 0.007 * abs(change + 100))


@pytest.mark.browser
def test_page_is_quiet_and_offline(opened):
    assert opened.execute_script("return performance.getEntriesByType('resource')") == []
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []


@pytest.mark.browser
def test_charts_are_drawn(opened):
    sizes = opened.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => {"
        "const b = c.querySelector('svg').getBoundingClientRect();"
        "return [c.id, b.width, b.height, c.querySelectorAll('path').length]})"
    )
    assert len(sizes) == 6
    for _, width, height, marks in sizes:
        assert width > 400
        assert height > 100
        assert marks > 3


@pytest.mark.browser
def test_sliders_tell_the_closed_form(opened):
    assert (size(opened, "unlabeled"), size(opened, "labeled")) == (759, 60)
    assert value(opened, "mean") == pytest.approx(2 * example_risk(759, 60), rel=1e-12)
    assert shown(opened, "change") == "0%"
    for unlabeled, labeled in [(0, 0), (400, 400), (0, 400), (137, 251), (333, 18)]:
        slide(opened, "unlabeled", unlabeled)
        slide(opened, "labeled", labeled)
        assert_forecast_is_true(opened)
    grid = example_run()["forecast"]
    assert size(opened, "unlabeled") > 759
    slide(opened, "unlabeled", 400)
    assert size(opened, "unlabeled") == grid["n_unlabeled"][-1]


@pytest.mark.browser
def test_sliders_obey_the_keyboard_and_reset(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    for name, today in (("unlabeled", 759), ("labeled", 60)):
        slider = opened.find_element(By.ID, f"slider-{name}")
        before = value(opened, "mean")
        slider.send_keys(*[Keys.ARROW_RIGHT] * 12)
        assert size(opened, name) > today
        assert value(opened, "mean") < before
        assert slider.get_attribute("aria-valuetext") == f"{shown(opened, name)} {name} rows"
        assert_forecast_is_true(opened)
        slider.send_keys(Keys.HOME)
        assert size(opened, name) == example_run()["forecast"][f"n_{name}"][0]
        assert_forecast_is_true(opened)
    opened.find_element(By.ID, "forecast-reset").send_keys(Keys.ENTER)
    assert (size(opened, "unlabeled"), size(opened, "labeled")) == (759, 60)
    assert value(opened, "mean") == pytest.approx(2 * example_risk(759, 60), rel=1e-12)
    assert shown(opened, "change") == "0%"


@pytest.mark.browser
def test_marker_moves_with_the_slider(opened):
    from selenium.webdriver.support.ui import WebDriverWait

    marker = (
        "const m = document.querySelectorAll('#chart-forecast .mark-symbol path');"
        "return m[m.length - 1].getBoundingClientRect().x"
    )
    before = opened.execute_script(marker)
    slide(opened, "labeled", 390)
    WebDriverWait(opened, 5).until(lambda d: d.execute_script(marker) > before + 100)


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1200])
def test_page_fits_its_width(driver, tmp_path, page, width):
    """No sideways scrolling, with names that have no place to break either."""
    run = example_run()
    run["coefficients"][0]["column"] = "x" * 200
    run["target"] = run["comparison"]["rows"][0]["name"] = "y" * 200
    for k, text in enumerate((page, render(run))):
        path = tmp_path / f"{k}.html"
        path.write_text(text, encoding="utf-8")
        open_report(driver, path, width)
        driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert driver.execute_script(
            "return document.scrollingElement.scrollWidth <= document.documentElement.clientWidth"
        )


@pytest.mark.browser
def test_charts_follow_the_window(opened):
    from selenium.webdriver.support.ui import WebDriverWait

    width = "return document.querySelector('#chart-law svg').getBoundingClientRect().width"
    set_width(opened, 360)
    WebDriverWait(opened, 5).until(lambda d: d.execute_script(width) < 330)
    assert (
        opened.execute_script(
            "return document.querySelector('#chart-law svg').viewBox.baseVal.width"
        )
        < 330
    )


@pytest.mark.browser
def test_hostile_texts_are_shown_as_text(driver, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(hostile_run()), encoding="utf-8")
    open_report(driver, path)
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    visible = driver.execute_script("return document.body.innerText")
    start = HOSTILE[:40]
    for key in ("target", "column", "name", "quantity", "title", "number", "observed"):
        assert f"{key} {start}" in visible
    in_charts = driver.execute_script(
        "return [...document.querySelectorAll('.chart svg text')].map(t => t.textContent).join('|')"
    )
    assert f"name {start}" in in_charts
    assert f"quantity {start}" in in_charts
    assert driver.execute_script("return typeof window.__pwned") == "undefined"
    assert driver.execute_script("return document.images.length") == 0
    assert [e for e in driver.get_log("browser") if e["level"] == "SEVERE"] == []


@pytest.mark.browser
@pytest.mark.parametrize("digits", [3, 4])
def test_python_and_the_page_write_numbers_alike(driver, digits):
    """The rule stands in two languages; the page's copy must write what the Python one writes."""
    script = resources.files("foretell.report").joinpath("templates/report.js").read_text("utf-8")
    rule = script[script.index("const format") : script.index("// Axis labels")]
    rng = np.random.default_rng(0)
    values = [*NUMBERS, *(rng.choice([-1, 1], 2000) * 10 ** rng.uniform(-9, 12, 2000)).tolist()]
    written = driver.execute_script(
        rule + "return arguments[0].map((v) => format(v, arguments[1]))", values, digits
    )
    assert written == [number(value, digits) for value in values]
