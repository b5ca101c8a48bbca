"""Classes as targets, and the accuracy of what predicts them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.inputs import classes_of, weights_of
from foretell.errors import InputError
from foretell.inference.accuracy import Accuracy, Hits, accuracy_of, count_hits
from foretell.inference.dependence import units_of


class ClassTargets:
    """What classifiers share: classes in, their accuracy out."""

    classes_: Array

    @abstractmethod
    def predict(self, X: Any) -> Array:
        """The most probable class of each row, shape (n,)."""

    def accuracy(
        self,
        X: Any = None,
        y: Any = None,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        level: float = 0.95,
    ) -> Accuracy:
        """Accuracy of this fit on new rows, with an interval that covers it.

        From a test sample, or without one from the labeled rows of the fit, each predicted by a
        fit that leaves it out. See :class:`~foretell.inference.accuracy.Accuracy` for what the
        interval rests on. The representation is the one that was learned from all rows; of models
        whose law holds both stages the left-out row is taken out of pre-training too, to first
        order.

        Parameters
        ----------
        X, y
            Test rows and their classes, missing where unknown; None for the rows of the fit.
        sample_weight
            Of the test rows, shape (n,).
        groups
            Clusters of the test rows, shape (n,), which may depend on each other.
        level
            Confidence level.

        Raises
        ------
        InputError
            If only one of X and y is given, no row has a class, the level is not inside (0, 1),
            or leave-one-out is not available: for rows that depend on each other and for
            ``inference=False``.
        """
        if (X is None) != (y is None):
            raise InputError("X and y belong together: give test rows and their classes, or none")
        if X is not None:
            hits = self._test_hits(X, y, sample_weight, groups)
            return accuracy_of(hits, level=level, how=f"{hits.rows:,} test rows")
        if sample_weight is not None or groups is not None:
            raise InputError("sample_weight and groups are those of test rows; give X and y")
        hits = self._left_out_hits()
        return accuracy_of(
            hits, level=level, how=f"leave-one-out over {hits.rows:,} labels",
            left_out=len(self.classes_),
        )  # fmt: skip

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows with a class whose most probable class is the right one."""
        return self._test_hits(X, y, sample_weight, None).share

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(poor_score=True),
            input_tags=InputTags(),
        )

    @abstractmethod
    def _left_out_hits(self) -> Hits:
        """Which labeled rows are predicted right when left out."""

    def _targets(self, y: Any, n_rows: int) -> Array:
        codes, self.classes_ = classes_of(y, n_rows)
        if len(self.classes_) == 1:
            raise InputError(
                f"the labeled rows have one class only ({str(self.classes_[0])!r}), so there is "
                "nothing to tell apart: the number of classes has to be at least 2, found 1 class; "
                "label rows of another class"
            )
        return codes

    def _head_targets(self, target: Array) -> Array:
        return target.astype(np.int64)

    def _check_targets(self, y: Array) -> None:
        present = np.unique(y)
        if len(present) < len(self.classes_):
            absent = [str(c) for j, c in enumerate(self.classes_) if j not in present]
            raise InputError(
                f"no labeled row with positive weight has class {', '.join(absent)}; label some, "
                "or drop the class"
            )

    def _test_hits(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Hits:
        predicted = self.predict(X)
        n = len(predicted)
        weights = weights_of(sample_weight, n)
        codes, found = classes_of(y, n)
        clusters = None if groups is None else units_of(groups, n)
        keep = ~np.isnan(codes)
        if weights is not None:
            keep &= weights > 0
        if not keep.any():
            raise InputError(f"none of the {n} rows to score has a class")
        _check_overlap(found[np.unique(codes[keep].astype(int))], self.classes_)
        hit = found[codes[keep].astype(int)] == predicted[keep]
        return count_hits(
            hit,
            None if weights is None else weights[keep],
            None if clusters is None else clusters[keep],
        )


def _check_overlap(found: Array, classes: Array) -> None:
    """Refuse test classes of another type or coding, of which none can ever be predicted."""
    if set(found.tolist()) & set(classes.tolist()):
        return
    one_type = (found.dtype.kind in "OUS") == (classes.dtype.kind in "OUS")
    if one_type and len(found) == 1:  # a fold of a class that the fit has not seen
        return
    raise InputError(
        f"none of the classes of the test rows, {_some(found)}, is one of the fit, "
        f"{_some(classes)}, so that no prediction can be right; give y as in the fit"
    )


def _some(classes: Array) -> str:
    """The first classes and their type."""
    first = classes[:5].tolist()
    more = ", ..." if len(classes) > 5 else ""
    return f"{', '.join(map(repr, first))}{more} (type {type(first[0]).__name__})"
