"""Examples and the code blocks of the documentation run as they stand."""

import re
import runpy
import textwrap
from pathlib import Path

import numpy as np
import pytest

from foretell.theory import FactorPopulation

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{k}")
    for page in PAGES
    for k, block in enumerate(re.findall(r"^ *```python\n(.*?)```", page.read_text(), re.S | re.M))
]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_example_runs_and_prints_a_number(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(r"\d", capsys.readouterr().out)


@pytest.mark.parametrize("block", BLOCKS)
def test_documented_code_runs(block):
    pop = FactorPopulation(np.eye(12)[:, :3] * 2.0, 1.0, [1.0, -0.5, 0.5], 0.3)
    X, y = pop.sample_labeled(300, random_state=0)
    y[100:] = np.nan
    exec(textwrap.dedent(block), {"X": X, "y": y, "X_new": X[:5]})


def test_documents_link_to_files_that_exist():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_documents_have_code_blocks():
    assert len(BLOCKS) >= 2
