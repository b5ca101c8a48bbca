"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import foretell

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(foretell.__path__, "foretell.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags)
    assert result.failed == 0


def test_public_names_have_an_example():
    for name in foretell.__all__:
        if not hasattr(foretell, name) or name in ("Asymptotics", "asymptotics"):
            continue  # made by an estimator, which has one
        assert ">>>" in (getattr(foretell, name).__doc__ or ""), name
