"""The scikit-learn estimator protocol, without importing scikit-learn.

Importing ``sklearn.base`` takes about as long as a bootstrap of the whole analysis; everything
that scikit-learn asks of an estimator is a convention, so following it needs no base class.
"""

from __future__ import annotations

import inspect
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
            if deep and hasattr(part, "get_params") and not isinstance(part, type)
            for inner, value in part.get_params().items()
        }
        return own | nested

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``a__b`` sets parameter b of parameter a.

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
        for name, value in params.items():
            own, _, inner = name.partition("__")
            if inner:
                getattr(self, own).set_params(**{inner: value})
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"
