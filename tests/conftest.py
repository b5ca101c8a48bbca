"""Fixtures shared by all tests."""

import os
import tempfile
import zlib
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from foretell.data.tables import read_table
from foretell.theory import FactorPopulation


@pytest.fixture
def rng(request):
    """Random numbers seeded by the name of the test, so that every failure repeats."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.split("/")[-1].encode()))


@pytest.fixture(scope="session")
def population():
    """Twenty columns, three factors in all of them; the limit is known in closed form."""
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 3)))[0]
    loadings = axes * np.sqrt([5.0, 3.0, 1.5])
    return FactorPopulation(loadings, 1.0, np.array([1.0, -0.7, 0.5]), 0.3)


@pytest.fixture(scope="session")
def small_population():
    """Six columns, two factors: small enough for brute force."""
    loadings = np.array([[2, 0], [1, 1], [0, 1.5], [1, -1], [0.5, 0], [0, 0.5]])
    return FactorPopulation(loadings, 1.0, np.array([1.0, -0.7]), 0.3)


@pytest.fixture(scope="session")
def table(population):
    """Rows, targets that are missing after the 150th, and new rows."""
    X, y = population.sample_labeled(600, random_state=1)
    y[150:] = np.nan
    return X, y, population.sample_unlabeled(7, random_state=2)


@pytest.fixture
def closed_file():
    """A table that may not be read, in a folder of its own; root tries as user nobody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = folder / "t.csv"
        path.write_text("a,y\n1,2\n")
        read_table(path)  # imports what nobody may not
        path.chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if is_root:
                os.seteuid(0)
