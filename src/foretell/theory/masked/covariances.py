"""Covariances by name: what users, benchmarks and the command line call them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from foretell.errors import InputError
from foretell.theory.masked.autoregressive import AutoRegressive, Graded
from foretell.theory.masked.block_covariance import Blocks
from foretell.theory.masked.covariance import Covariance, Dense, Diagonal, Identity
from foretell.theory.masked.rotated_covariances import PowerLaw, Spiked

__all__ = [
    "AutoRegressive", "Blocks", "Covariance", "Dense", "Diagonal", "Graded", "Identity",
    "PowerLaw", "Spiked", "benchmark_covariances", "named_covariance",
]  # fmt: skip


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _flag(text: str) -> bool:
    return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]


class Kind(NamedTuple):
    """How to build a named covariance: from d and options, each read from text."""

    build: Callable[..., Covariance]
    options: dict[str, Callable[[str], Any]]
    example: str


KINDS: dict[str, Kind] = {
    "identity": Kind(Identity, {}, "identity"),
    "spiked": Kind(
        Spiked,
        {"spikes": _numbers, "directions": str, "support": int, "random_state": int},
        "spiked:spikes=6,3",
    ),
    "ar1": Kind(AutoRegressive, {"rho": float, "ring": _flag}, "ar1:rho=0.9"),
    "powerlaw": Kind(
        PowerLaw,
        {"exponent": float, "basis": str, "random_state": int},
        "powerlaw:exponent=1,basis=haar",
    ),
    "blocks": Kind(
        Blocks.cycled,
        {"size": int, "correlations": _numbers, "variances": _numbers},
        "blocks:size=10,correlations=0.2,0.5",
    ),
    "graded": Kind(
        Graded,
        {"rho": float, "lowest": float, "highest": float},
        "graded:rho=0.8,lowest=0.2,highest=4",
    ),
    "diagonal": Kind(Diagonal.cycled, {"variances": _numbers}, "diagonal:variances=1,4"),
}


def named_covariance(text: str, d: int) -> Covariance:
    """Covariance of d columns from a name and options, ``name:option=value,option=value``.

    Values with commas are lists; those of ``blocks`` and ``diagonal`` are repeated in turn until
    there are d columns. ``KINDS`` lists names, options and examples.

    Raises
    ------
    InputError
        If a name, an option or a value is not known, an option is missing, or the covariance
        refuses a value; the message lists what there is.

    Examples
    --------
    >>> named_covariance("ar1:rho=0.9", 100)
    AutoRegressive(d=100, rho=0.9, ring=False)
    >>> named_covariance("spiked:spikes=6,3,directions=localized,support=5", 100).spikes
    (6.0, 3.0)
    """
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        known = "; ".join(kind.example for kind in KINDS.values())
        raise InputError(f"no covariance is called {name!r}; there are, for example: {known}")
    kind = KINDS[name]
    values = {
        option: _read(kind, name, option, value) for option, value in _options(name, rest).items()
    }
    if missing := _required(kind.build) - values.keys() - {"d"}:
        raise InputError(f"{name} needs {', '.join(sorted(missing))}; for example {kind.example!r}")
    return kind.build(d, **values)


def _options(name: str, rest: str) -> dict[str, str]:
    """Text of each option; a part without ``=`` continues the list before it."""
    found: dict[str, str] = {}
    last = None
    for part in filter(None, (part.strip() for part in rest.split(","))):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            if option in found:
                raise InputError(f"{name} has the option {option!r} twice; give it once")
            found[option], last = value, option
        elif last is None:
            raise InputError(
                f"options read option=value; found {part!r}; for example {KINDS[name].example!r}"
            )
        else:
            found[last] += f",{option}"
    return found


def _read(kind: Kind, name: str, option: str, value: str) -> Any:
    if option not in kind.options:
        known = ", ".join(kind.options) or "none"
        raise InputError(f"{name} has no option {option!r}; there are: {known}")
    try:
        return kind.options[option](value)
    except (ValueError, KeyError):
        raise InputError(
            f"{name} cannot read {option}={value}; for example {kind.example!r}"
        ) from None


def _required(build: Callable[..., Covariance]) -> set[str]:
    parameters = inspect.signature(build).parameters.values()
    return {p.name for p in parameters if p.default is inspect.Parameter.empty}


def benchmark_covariances(d: int) -> dict[str, Covariance]:
    """Ten covariances of d columns that tests, benchmarks and the documentation share, by name.

    Identity; one spike of 4 and two of 6 and 3, delocalized; AR(1) with correlation 0.5, 0.9 and
    0.99; eigenvalues that fall as 1/j, diagonal and with Haar eigenvectors; blocks of ten with
    correlation 0.2, 0.5, 0.8 and variance 0.5, 1, 3 in turn; AR(1) of correlation 0.8 with
    variances rising from 0.2 to 4.

    Raises
    ------
    InputError
        If d is not even.

    Examples
    --------
    >>> len(benchmark_covariances(120))
    10
    """
    if d < 10 or d % 2:
        raise InputError(f"the ten covariances need an even d from 10; found d = {d}")
    return {
        "identity": Identity(d),
        "spike 4": Spiked(d, (4.0,)),
        "spikes 6, 3": Spiked(d, (6.0, 3.0)),
        "AR(1) 0.5": AutoRegressive(d, 0.5),
        "AR(1) 0.9": AutoRegressive(d, 0.9),
        "AR(1) 0.99": AutoRegressive(d, 0.99),
        "power law, diagonal": PowerLaw(d, 1.0, "diagonal"),
        "power law, Haar": PowerLaw(d, 1.0, "haar"),
        "blocks": Blocks.cycled(d, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0)),
        "graded": Graded(d, 0.8),
    }
