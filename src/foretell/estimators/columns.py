"""Rows in and out of estimators that predict columns from columns; cells may be missing."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Self

import numpy as np

from foretell._parameters import Parameters
from foretell._types import Array
from foretell.data.checks import check_values, reasons
from foretell.data.frames import backend_of, to_frame
from foretell.data.inputs import check_cells, compare_names
from foretell.data.tables import as_frame, is_frame, numbers_of, refusal_of
from foretell.errors import InputError

CONTAINERS = ("default", "pandas", "polars")


def match_columns(estimator: Any, names: list[str] | None, count: int, *, reset: bool) -> None:
    """Remember the columns of a fit, or refuse others; names are None for arrays.

    Raises
    ------
    InputError
        If names or their number are not those of the fit.
    """
    if reset:
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        estimator.n_features_in_ = count
        return
    if names is not None and hasattr(estimator, "feature_names_in_"):
        compare_names(names, list(estimator.feature_names_in_))
    if count != estimator.n_features_in_:
        raise InputError(
            f"X has {count} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input; give the columns of the fit"
        )


class ColumnEstimator(Parameters):
    """Names of columns, rows with missing cells, and answers in the container asked for."""

    n_features_in_: int

    @property
    def feature_names_(self) -> list[str]:
        """Names of the columns, ``x0, x1, …`` for arrays."""
        self._check_fitted()
        if hasattr(self, "feature_names_in_"):
            return [str(name) for name in self.feature_names_in_]
        return [f"x{j}" for j in range(self.n_features_in_)]

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns that come out: those that go in, shape (d,).

        Raises
        ------
        InputError
            If ``input_features`` are not the columns of the fit.
        """
        names = self.feature_names_
        if input_features is not None:
            given = [str(name) for name in input_features]
            if len(given) != len(names):
                raise InputError(
                    f"input_features should have length equal to number of features ({len(names)}),"
                    f" got {len(given)}; give the columns of the fit"
                )
            if hasattr(self, "feature_names_in_") and given != names:
                raise InputError("input_features is not equal to feature_names_in_; leave it out")
            names = given
        return np.array(names, dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Container of what ``transform`` returns: "default" (array), "pandas" or "polars".

        Raises
        ------
        InputError
            If there is no such container.
        """
        if transform is None:
            return self
        if transform not in CONTAINERS:
            raise InputError(f"transform is one of {', '.join(CONTAINERS)}; found {transform!r}")
        # the name that scikit-learn's clone copies
        self._sklearn_output_config = {"transform": transform}
        return self

    def _contained(self, values: Array, X: Any) -> Any:
        """An array, or the data frame that ``set_output`` or scikit-learn's settings ask for."""
        kind = getattr(self, "_sklearn_output_config", {}).get("transform")
        if kind is None and "sklearn" in sys.modules:
            kind = sys.modules["sklearn"].get_config()["transform_output"]
        return values if kind in (None, "default") else self._framed(values, X, kind)

    def _framed(self, values: Array, X: Any, backend: str) -> Any:
        frame = to_frame(dict(zip(self.feature_names_, values.T, strict=True)), backend)
        if backend == "pandas" and backend_of(X) == "pandas":
            frame.index = X.index
        return frame

    def _check_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet; call fit first"
            )

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """Rows as float64, shape (n, d), NaN where missing; never the user's own memory."""
        if reset:
            self.__dict__.pop("feature_names_in_", None)
        if is_frame(X):
            rows, names = _of_frame(X)
        else:
            rows, names = self._of_array(X, reset=reset), None
        match_columns(self, names, rows.shape[1], reset=reset)
        return rows

    def _of_array(self, X: Any, *, reset: bool) -> Array:
        if not reset and hasattr(self, "feature_names_in_"):
            warnings.warn(
                f"X does not have valid feature names, but {type(self).__name__} was fitted with "
                "feature names; give a data frame, or fit to an array",
                UserWarning,
                stacklevel=4,
            )
        if not (type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.size):
            from sklearn.utils import check_array

            X = np.asarray(X) if isinstance(X, list | tuple) else X
            if isinstance(X, np.ndarray) and X.ndim == 2:
                check_cells(X)
            X = check_array(X, dtype=np.float64, ensure_all_finite=False, estimator=self)
        _check_present(X, None)
        return np.asarray(X)


def _of_frame(X: Any) -> tuple[Array, list[str]]:
    frame = as_frame(X)
    names = list(frame.columns)
    if bad := {repr(c): why for c in names if (why := refusal_of(frame[c]))}:
        raise InputError(
            f"{len(bad)} of {len(names)} columns cannot be used as numbers: {reasons(bad)}; "
            "encode them as numbers, or leave them out"
        )
    rows = np.array([numbers_of(frame[c]) for c in names]).T.reshape(len(frame), len(names))
    if not rows.size:
        raise InputError(
            f"Found array with {rows.shape[0]} sample(s) (shape={rows.shape}) while a minimum of 1 "
            "is required; give rows and columns"
        )
    _check_present(rows, names)
    return np.ascontiguousarray(rows), names


def _check_present(X: Array, names: list[str] | None) -> None:
    """Refuse infinite and too large numbers; missing ones may be."""
    missing = np.isnan(X)
    check_values(np.where(missing, 0.0, X) if missing.any() else X, names)
