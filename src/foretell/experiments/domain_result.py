"""Accuracies on another domain, method by method, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.errors import InputError

CONTRASTIVE = "contrastive on both"
WALK = "contrastive on both, walk"
ALONE = "contrastive on source"
RAW = "raw"
SUPERVISED = "supervised"
POOLED = ", both labels"
LEVEL = 0.95


class Difference(NamedTuple):
    """Mean of a difference of accuracies over draws, and its standard error."""

    value: float
    se: float

    def __str__(self) -> str:
        return f"{100 * self.value:+.1f} +- {100 * self.se:.1f} points"


@dataclass(frozen=True, eq=False)
class DomainAdaptation:
    """Heads fitted on source labels, read on a target domain.

    Standard errors are over draws of halves, labels, starts and views. Rows recur from draw to
    draw, so that they say how far to trust a comparison on these rows rather than on others.

    Attributes
    ----------
    classes
        The classes, shape (K,).
    target
        Accuracy on target rows that no method has seen, by method, shape (n_draws,); None where
        target labels were not given: it cannot be known then.
    source
        The same on source rows.
    predictions
        Classes of all target rows, by method, shape (n_draws, n_target); methods that need
        target labels are left out where there are none.
    steps
        Steps of the walk that the source chose, shape (n_draws,).
    n_labels
        Source labels.
    """

    classes: Array
    target: Mapping[str, Array] | None
    source: Mapping[str, Array]
    predictions: Mapping[str, Array]
    steps: Array
    n_labels: int

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.steps)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""
        return tuple(self.source)

    def difference(self, method: str, other: str) -> Difference:
        """Target accuracy of one method less that of another, draw by draw.

        Raises
        ------
        InputError
            If there were no target labels, or no such method.
        """
        if self.target is None:
            raise InputError(
                "accuracy on the target cannot be known without its labels; pass y_target"
            )
        for name in (method, other):
            if name not in self.target:
                raise InputError(f"there is no method {name!r}; choose from {self.methods}")
        gap = self.target[method] - self.target[other]
        return Difference(float(gap.mean()), _se(gap))

    @property
    def best_baseline(self) -> str:
        """The better of the methods that learn from the source alone, on the target."""
        names = [name for name in (RAW, SUPERVISED) if name in self.source]
        if self.target is None:
            return names[-1]
        means = {name: float(self.target[name].mean()) for name in names}
        return max(means, key=means.__getitem__)

    def verdict(self) -> str:
        """Whether pre-training on both domains helps on the target, and whether it has to be both.

        Beside an accuracy or a difference stands its standard error over draws; differences are
        judged at the level 95 % (t).
        """
        if self.target is None:
            first, second = self.predictions[CONTRASTIVE], self.predictions[self.best_baseline]
            agreement = 100 * float((first == second).mean())
            return (
                "the error on the target cannot be known without target labels; contrastive "
                f"pre-training and the {self.best_baseline} baseline agree on {agreement:.0f} % of "
                "target rows; label some of those where they do not to learn which is right"
            )
        baseline = self.best_baseline
        found = self.difference(CONTRASTIVE, baseline)
        reach = self._reach(found)
        where = (
            f"{_percent(self.target[CONTRASTIVE])} against {_percent(self.target[baseline])} of "
            f"the {baseline} baseline ({found}; +- standard errors over {self.n_draws} draws)"
            f"{self._alone()}"
        )
        accuracy, chance = self.target[CONTRASTIVE], 1 / len(self.classes)
        if accuracy.mean() <= chance + 2 * _se(accuracy):
            return f"pre-training on both does no better on the target than chance: {where}"
        if abs(found.value) <= reach:
            return f"{self.n_draws} draws do not tell whether pre-training on both helps: {where}"
        said = "helps" if found.value > 0 else "hurts"
        return f"pre-training on both domains {said} on the target: {where}"

    def _alone(self) -> str:
        """A sentence on pre-training on the source alone, where that is as good or better."""
        if self.target is None or ALONE not in self.target:
            return ""
        found = self.difference(ALONE, CONTRASTIVE)
        if found.value <= 0:
            return ""
        said = "better" if found.value > self._reach(found) else "no worse"
        return (
            f". Pre-training on the source alone does {said}: {_percent(self.target[ALONE])} "
            f"({found})"
        )

    def _reach(self, found: Difference) -> float:
        """Half the width of the confidence interval of a mean over draws."""
        from scipy.stats import t

        return float(t.ppf((1 + LEVEL) / 2, self.n_draws - 1)) * found.se

    def frame(self, backend: str | None = None) -> Any:
        """Data frame with a row for each method and draw; NaN where the target is not known."""
        pairs = [(method, draw) for method in self.methods for draw in range(self.n_draws)]
        target = self.target
        columns = {
            "method": [method for method, _ in pairs],
            "draw": [draw for _, draw in pairs],
            "source_accuracy": [float(self.source[method][draw]) for method, draw in pairs],
            "target_accuracy": [
                float("nan") if target is None else float(target[method][draw])
                for method, draw in pairs
            ],
        }
        return to_frame(columns, backend)

    def __str__(self) -> str:
        width = max(20, *map(len, self.methods)) + 2
        lines = [f"{'accuracy (%) +- s.e.':<{width}}{'source':>14}{'target':>14}"]
        for method in self.methods:
            target = "not known" if self.target is None else _percent(self.target[method])
            lines.append(f"{method:<{width}}{_percent(self.source[method]):>14}{target:>14}")
        steps = ", ".join(str(t) for t in np.unique(self.steps))
        lines.append(f"{self.n_labels} source labels, {self.n_draws} draws; walks of {steps} steps")
        return "\n".join([*lines, self.verdict()])


def _se(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _percent(values: Array) -> str:
    return f"{100 * values.mean():.1f} +- {100 * _se(values):.1f}"
