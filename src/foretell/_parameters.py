"""The scikit-learn estimator protocol, without importing scikit-learn.

Importing ``sklearn.base`` takes about as long as a bootstrap of the whole analysis; everything
that scikit-learn asks of an estimator is a convention, so following it needs no base class.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self


class Parameters:
    """Constructor arguments as parameters: get, set (nested by ``__``), show."""

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        arguments = list(inspect.signature(cls).parameters.values())
        return {argument.name: argument.default for argument in arguments}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; ``deep`` adds those of parameters that have some, as a__b."""
        own = {name: getattr(self, name) for name in self._defaults()}
        nested = {
            f"{name}__{inner}": value
            for name, part in own.items()
            if deep and not isinstance(part, type)
            for inner, value in _parameters_of(part).items()
        }
        return own | nested

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``a__b`` sets parameter b of parameter a.

        Where a is a frozen dataclass, such as ``Training``, a changed copy takes its place.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        for name, value in params.items():
            own, _, inner = name.partition("__")
            if own not in self._defaults():
                raise ValueError(
                    f"Invalid parameter {own!r} for estimator {self!r}. Valid parameters are: "
                    f"{sorted(self._defaults())!r}."
                )
            if not inner:
                setattr(self, own, value)
        nested: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            own, _, inner = name.partition("__")
            if inner:
                nested.setdefault(own, {})[inner] = value
        for own, changes in nested.items():
            self._set_inside(own, changes)
        return self

    def _set_inside(self, own: str, changes: dict[str, Any]) -> None:
        part = getattr(self, own)
        if hasattr(part, "set_params"):
            part.set_params(**changes)
            return
        valid = _parameters_of(part)
        for name in changes:
            if name not in valid:
                has = f"its parameters are {sorted(valid)}" if valid else "it has no parameters"
                raise ValueError(
                    f"Invalid parameter {name!r} for {own}={part!r}: {has}; set it as a whole, "
                    f"{own}=..."
                )
        setattr(self, own, replace(part, **changes))

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def _parameters_of(part: Any) -> dict[str, Any]:
    """Parameters of an estimator, or the fields of a frozen dataclass such as Noise(0.1)."""
    if hasattr(part, "get_params"):
        return dict(part.get_params())
    if not is_dataclass(part) or isinstance(part, type):
        return {}
    kind = getattr(type(part), "__dataclass_params__")  # noqa: B009
    if not (kind.frozen and kind.init):
        return {}
    return {field.name: getattr(part, field.name) for field in fields(part) if field.init}
