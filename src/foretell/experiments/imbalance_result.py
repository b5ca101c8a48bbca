"""Accuracies after balanced and after long-tailed pre-training, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.theory.imbalance import RelativeGap, gap_difference, relative_gap

Method = Literal["self-supervised", "supervised"]
Domain = Literal["in", "rare", "out"]
PLACES = {"in": "", "rare": " on the rarer half of the classes", "out": " out of domain"}
METHODS: tuple[Method, ...] = ("self-supervised", "supervised")


class Accuracies(NamedTuple):
    """Accuracy after balanced and after long-tailed pre-training.

    ``balanced`` and ``imbalanced`` have shape (n_draws, K), a column a class, the most frequent
    class of the draw first; ``balanced_out`` and ``imbalanced_out``, shape (n_draws,), are the
    mean over classes of another domain, or None.
    """

    balanced: Array
    imbalanced: Array
    balanced_out: Array | None = None
    imbalanced_out: Array | None = None

    def means(self, domain: Domain) -> tuple[Array, Array]:
        """Mean accuracy over classes of each draw, balanced and imbalanced, shapes (n_draws,).

        Over all classes (``"in"``), those that are the rarer half of the draw (``"rare"``), or the
        classes of the other domain (``"out"``).

        Raises
        ------
        InputError
            If there is no such domain.
        """
        if domain == "out" and self.balanced_out is not None and self.imbalanced_out is not None:
            return self.balanced_out, self.imbalanced_out
        if domain not in ("in", "rare"):
            raise InputError(
                "domain is 'in', 'rare', or 'out' where out_of_domain rows were given; found "
                f"{domain!r}"
            )
        first = 0 if domain == "in" else (self.balanced.shape[1] + 1) // 2
        return self.balanced[:, first:].mean(axis=1), self.imbalanced[:, first:].mean(axis=1)


@dataclass(frozen=True, eq=False)
class ImbalanceGap:
    """Balanced and long-tailed pre-training compared, with and without labels.

    Standard errors are over draws of the pre-training sample (with the order of classes in the
    tail, starts and views); probe and test rows stay the same, and what they add to the
    uncertainty is common to all and not included.

    Attributes
    ----------
    sizes
        Rows of the classes in the long-tailed sample, most frequent first, shape (K,).
    balanced_sizes
        The same in the balanced one, shape (K,); they add up to as many.
    self_supervised, supervised
        Accuracies of the two representations.
    """

    sizes: Array
    balanced_sizes: Array
    self_supervised: Accuracies
    supervised: Accuracies

    @property
    def n(self) -> int:
        """Rows of pre-training."""
        return int(self.sizes.sum())

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.supervised.balanced)

    @property
    def ratio(self) -> float:
        """Most frequent over rarest class, as drawn."""
        return float(self.sizes[0] / self.sizes[-1])

    @property
    def domains(self) -> tuple[Domain, ...]:
        """``("in", "rare")``, and ``"out"`` where there is another domain."""
        out: tuple[Domain, ...] = ("in", "rare", "out")
        return out if self.supervised.balanced_out is not None else out[:2]

    def accuracies(self, method: Method) -> Accuracies:
        """Accuracies of ``"self-supervised"`` or ``"supervised"`` features."""
        if method not in METHODS:
            raise InputError(f"method is one of {METHODS}; found {method!r}")
        return self.supervised if method == "supervised" else self.self_supervised

    def gap(self, method: Method, domain: Domain = "in") -> RelativeGap:
        """Relative gap (balanced - imbalanced) / balanced of the mean accuracy over classes."""
        return relative_gap(*self.accuracies(method).means(domain))

    def advantage(self, domain: Domain = "in") -> RelativeGap:
        """Supervised less self-supervised gap; positive where self-supervision is more robust."""
        return gap_difference(self.supervised.means(domain), self.self_supervised.means(domain))

    def verdict(self, domain: Domain = "in") -> str:
        """Whether self-supervised features are more robust, in one sentence (level 95 %)."""
        from scipy.stats import t

        found = self.advantage(domain)
        reach = float(t.ppf(0.975, self.n_draws - 1)) * found.se
        where = PLACES[domain]
        numbers = (
            f"the gap is {self.gap('self-supervised', domain)} self-supervised and "
            f"{self.gap('supervised', domain)} supervised"
        )
        if abs(found.value) <= reach:
            low, high = 100 * (found.value - reach), 100 * (found.value + reach)
            freedom = self.n_draws - 1
            return (
                f"{self.n_draws} draws do not tell which is more robust{where}: {numbers}; the "
                f"difference is {100 * found.value:.1f} points, 95 % interval {low:.1f} to "
                f"{high:.1f} (t, {freedom} degree{'s' if freedom > 1 else ''} of freedom)"
            )
        better = METHODS[0] if found.value > 0 else METHODS[1]
        return f"{better.capitalize()} features are more robust to imbalance{where}: {numbers}"

    def frame(self, backend: str | None = None) -> Any:
        """Data frame with a row for each draw, method, domain, sample and class.

        ``position`` counts classes from the most frequent, 0; -1 for means over classes.
        """
        records = [row for method in METHODS for row in self._rows(method)]
        return to_frame({name: [row[name] for row in records] for name in records[0]}, backend)

    def _rows(self, method: Method) -> Iterator[dict[str, Any]]:
        found = self.accuracies(method)
        for sample, sizes, by_class in (
            ("balanced", self.balanced_sizes, found.balanced),
            ("imbalanced", self.sizes, found.imbalanced),
        ):
            for draw, values in enumerate(by_class):
                for k, value in enumerate(values):
                    yield _row(method, "in", sample, draw, k, int(sizes[k]), value)
        for domain in self.domains:
            for sample, means in zip(("balanced", "imbalanced"), found.means(domain), strict=True):
                for draw, value in enumerate(means):
                    yield _row(method, domain, sample, draw, -1, self.n, value)

    def __str__(self) -> str:
        lines = [
            f"{self.n} rows, {len(self.sizes)} classes of {self.sizes[0]} to {self.sizes[-1]}, "
            f"{self.n_draws} draws",
            f"{'accuracy':24}{'balanced':>9}{'imbalanced':>12}   relative gap",
        ]
        for domain in self.domains:
            for method in METHODS:
                even, tail = (float(a.mean()) for a in self.accuracies(method).means(domain))
                name = f"{method} ({domain})"
                lines.append(f"{name:24}{even:9.3f}{tail:12.3f}   {self.gap(method, domain)}")
        return "\n".join([*lines, *(f"{self.verdict(domain)}." for domain in self.domains)])


def _row(
    method: str, domain: str, sample: str, draw: int, position: int, n: int, value: float
) -> dict[str, Any]:
    return {
        "method": method, "domain": domain, "sample": sample, "draw": draw,
        "position": position, "rows": n, "accuracy": float(value),
    }  # fmt: skip
