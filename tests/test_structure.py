"""Imports point downwards, importing is fast, and JAX stays out until it is needed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import foretell

SOURCE = Path(foretell.__file__).parent
LAYERS = [
    {"errors", "_types", "_parameters"},
    {"data"},
    {"linalg"},
    {"symmetry"},
    {"base"},
    {"mestimation"},
    {"training"},
    {"models"},
    {"heads"},
    {"inference"},
    {"theory"},
    {"estimators"},
    {"experiments"},
    {"plots"},
    {"simulation", "testing"},
    {"report"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(path):
    """Modules of foretell that a file imports, anywhere in it, as tuples of parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "foretell" and "." in name:
                yield tuple(name.split(".")[1:])


def layer(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path):
    """A file imports from its own folder or from layers above it in the table of the design."""
    if path == SOURCE / "__init__.py":
        return  # lists public names, and imports them when asked
    own = layer(path)
    assert own in LEVEL, f"{path.name} has no layer; add it to the table"
    for parts in imported(path):
        if parts[0] not in LEVEL:
            assert parts[0] in ("__version__", *foretell.__all__), parts
            continue
        same = parts[0] == own and (SOURCE / own).is_dir()
        assert same or LEVEL[parts[0]] < LEVEL[own], f"{own} imports {'.'.join(parts)}"


def test_modules_of_a_folder_do_not_import_in_circles():
    edges = {}
    for path in MODULES:
        name = path.relative_to(SOURCE).with_suffix("").parts
        name = name[:-1] if name[-1] == "__init__" else name
        known = {p.relative_to(SOURCE).with_suffix("").parts for p in MODULES}
        edges[name] = {parts for parts in imported(path) if parts in known and parts != name}
    done, active = set(), []

    def visit(name):
        assert name not in active, [*active, name]
        if name in done:
            return
        active.append(name)
        for other in edges.get(name, ()):
            visit(other)
        active.pop()
        done.add(name)

    for name in edges:
        if name:
            visit(name)


def test_inference_names_no_model():
    for path in (SOURCE / "inference").glob("*.py"):
        assert not any(parts[0] in ("models", "heads") for parts in imported(path)), path.name


def run(code):
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


LOADED = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"


def test_importing_foretell_loads_nothing_heavy():
    loaded = run(f"import foretell; {LOADED}")
    assert not {"jax", "numpy", "scipy", "sklearn", "pandas", "polars", "pyarrow"} & set(loaded)


def test_factor_models_do_not_need_jax():
    code = """
import numpy as np
from foretell import FactorModel, TwoStageRegressor
X = np.random.default_rng(0).standard_normal((200, 4)) @ np.diag([3, 1, 1, 1.0])
est = TwoStageRegressor(FactorModel(1)).fit(X, X[:, 0] + X[:, 1] ** 2)
est.summary(), est.excess_risk().ppf(0.9), est.get_prediction(X[:2]).conf_int()
"""
    loaded = run(code + LOADED)
    assert not {"jax", "matplotlib", "pyarrow", "jinja2"} & set(loaded)


def test_every_public_name_can_be_imported():
    code = """
import foretell, json
print(json.dumps([repr(getattr(foretell, name)) for name in dir(foretell)]))
"""
    assert len(run(code)) > len(foretell.__all__)
    for name in foretell.__all__:
        assert getattr(foretell, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        foretell.nothing  # noqa: B018


def test_import_takes_a_blink():
    """Best of three fresh processes; the interpreter's own start is not counted."""
    code = "import time; t = time.perf_counter(); import foretell; print(time.perf_counter() - t)"
    assert min(run(code) for _ in range(3)) < 0.3


def test_import_changes_no_global_setting():
    code = """
import json, numpy, os, random, sklearn, joblib
state = lambda: (numpy.geterr(), dict(os.environ), numpy.get_printoptions(), random.getstate())
before = state()
import foretell.cli, foretell.estimators, foretell.simulation, foretell.theory
after = state()
print(json.dumps([a == b for a, b in zip(before, after)]))
"""
    assert all(run(code))
