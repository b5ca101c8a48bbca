"""What ``foretell masked theory`` computes and simulates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from foretell.cli.common import progress
from foretell.cli.masked_charts import CHARTS
from foretell.errors import InputError

PENALTIES_A_DECADE = 20
SIMULATED = 6  # penalties along error curves
SCALES = 10_000  # nodes of the law of the lengths of elliptical rows
FACTS = (
    "alpha", "n_samples", "d", "kappa", "test_error", "train_error", "norm", "null_error",
    "best_linear_error",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What to compute for one covariance.

    Attributes
    ----------
    name, covariance
        As given, and what it means.
    samples
        Number n of rows.
    chosen
        Penalty, None for the best.
    rank
        Components of PCA, or None.
    rows, replicates, jobs, seed
        Law of the rows, and how often, on how many processes and from which seed to simulate.
    """

    name: str
    covariance: Any
    samples: float
    chosen: float | None
    rank: int | None
    rows: Literal["gaussian", "rademacher", "student", "elliptical"]
    replicates: int
    jobs: int
    seed: int

    def check(self, charts: Mapping[str, Path]) -> None:
        """Refuse numbers out of range, and options that have no meaning together.

        Raises
        ------
        InputError
            Naming the options.
        """
        drawn = "--spectrum" in charts
        if self.chosen == math.inf:
            raise InputError("--alpha is finite here; found inf, which predicts every mean")
        d = self.covariance.d
        if self.replicates < 0 or self.replicates == 1:
            raise InputError(
                f"--replicates is 0, or at least 2 for a spread; found {self.replicates}"
            )
        if self.rank is not None and not 0 <= self.rank < d:
            raise InputError(f"--rank lies between 0 and d - 1 = {d - 1}; found {self.rank}")
        if self.jobs < 1:
            raise InputError(f"--jobs is at least 1; found {self.jobs}")
        if self.seed < 0:
            raise InputError(f"--seed is not negative; found {self.seed}")
        if (self.replicates or drawn) and self.samples != int(self.samples):
            raise InputError(
                "samples are drawn, so --samples is a whole number; found "
                f"{self.samples:g}; leave out --replicates and --spectrum, or round it"
            )
        if self.replicates and self.samples < 3:
            raise InputError(f"a simulation needs at least 3 --samples; found {self.samples:g}")
        if not self.replicates:
            self._check_unused(drawn)
        if self.rows == "elliptical" and (
            named := [n for n in ("--spectrum", "--comparison") if n in charts]
            + ["--rank"] * (self.rank is not None)
        ):
            raise InputError(
                f"there is no theory of {', '.join(named)} for elliptical rows; leave it out, or "
                "use other --rows"
            )
        if drawn and self.chosen == 0:
            raise InputError("--spectrum needs a positive penalty; found --alpha 0")

    def _check_unused(self, drawn: bool) -> None:
        for option, unused in {
            "--jobs": self.jobs != 1,
            "--seed": self.seed != 0 and not drawn,
            f"--rows {self.rows}": self.rows in ("rademacher", "student") and not drawn,
        }.items():
            if unused:
                raise InputError(
                    f"{option} matters for a simulation only; add --replicates, or leave it out"
                )

    @cached_property
    def population(self) -> Any:
        """Rows with the covariance."""
        from foretell.theory.masked import MaskedPopulation

        return MaskedPopulation(self.covariance, self.rows)

    @cached_property
    def scales(self) -> Any:
        """Nodes of the law of the lengths of rows, None where they are alike."""
        return self.population.row_scales(SCALES) if self.rows == "elliptical" else None

    @cached_property
    def alpha(self) -> float:
        """The penalty."""
        from foretell.theory.masked import optimal_alpha

        if self.chosen is not None:
            return self.chosen
        return float(optimal_alpha(self.covariance, self.samples, row_scales=self.scales))

    @property
    def variance(self) -> float:
        """Mean variance of the columns."""
        spectrum = self.covariance.spectrum
        return float(spectrum.trace(spectrum.eigenvalues)) / spectrum.d

    @cached_property
    def grid(self) -> Any:
        """Penalties around the one in use and the mean variance."""
        import numpy as np

        mean = self.variance
        middle = self.alpha or mean
        low, high = 1e-3 * min(middle, mean), 1e2 * max(middle, mean)
        return np.geomspace(low, high, int(PENALTIES_A_DECADE * math.log10(high / low)))

    def answer(self, charts: Mapping[str, Path]) -> tuple[str, dict[str, Any], dict[str, bytes]]:
        """Text, numbers, and the contents of the files of the charts."""
        from foretell.plots.charts import drawn
        from foretell.theory.masked import masked_pca_error, masked_regression, pca_error

        if math.isinf(self.alpha):
            return self._unrelated(charts)
        penalties = self._simulated_penalties("--curves" in charts) if self.replicates else []
        drawings: dict[str, bytes] = {}
        with progress(2 + len(charts) + self.replicates * len(penalties)) as advance:
            advance("theory")
            result = masked_regression(
                self.covariance, self.samples, self.alpha, row_scales=self.scales
            )
            lines = [result.summary()]
            numbers: dict[str, Any] = {"covariance": self.name, "rows": self.rows}
            numbers |= {key: getattr(result, key) for key in FACTS}
            if self.rank is not None:
                pca, hidden = (
                    float(error(self.covariance, self.samples, self.rank))
                    for error in (pca_error, masked_pca_error)
                )
                numbers |= {"rank": self.rank, "pca": pca, "masked_pca": hidden}
                lines.append(f"PCA, {self.rank} components   {pca:.6g}   (masked: {hidden:.6g})")
            simulated = self._simulate(penalties, advance)
            if simulated:
                lines += ["", simulated[0].summary()]
                numbers["simulation"] = {
                    name: {"mean": float(v.mean()), "sd": float(v.std(ddof=1))}
                    for name, v in simulated[0].numbers.items()
                }
            for option, path in charts.items():
                advance(f"draw {option.removeprefix('--')}")
                text, chart = CHARTS[option](self, numbers, simulated)
                lines += ["", text] if text else []
                drawings[option] = drawn(chart, path.suffix.lower())
        return "\n".join(lines), numbers, drawings

    def _unrelated(
        self, charts: Mapping[str, Path]
    ) -> tuple[str, dict[str, Any], dict[str, bytes]]:
        """The answer where no finite penalty is best, so that there is nothing to draw."""
        text = (
            f"The best penalty is infinite: from {self.samples:g} rows columns do not predict one "
            f"another, and the error is the mean variance, {self.variance:.6g}"
        )
        if charts or self.replicates or self.rank is not None:
            raise InputError(f"{text[0].lower()}{text[1:]}; give --alpha a number")
        numbers = {"covariance": self.name, "rows": self.rows, "alpha": math.inf,
                   "n_samples": self.samples, "d": self.covariance.d,
                   "test_error": self.variance, "null_error": self.variance}  # fmt: skip
        return f"{text}.", numbers, {}

    def _simulated_penalties(self, curves: bool) -> list[float]:
        """The penalty in use first, and for curves some others that are not next to it."""
        step = max(1, len(self.grid) // SIMULATED)
        others = [float(a) for a in self.grid[step // 2 :: step] if curves]
        return [self.alpha, *(a for a in others if not 0.5 < a / max(self.alpha, 1e-300) < 2)]

    def _simulate(self, alphas: Sequence[float], advance: Callable[[str], None]) -> list[Any]:
        from foretell.estimators import MaskedRegression
        from foretell.simulation import simulate

        return [
            simulate(
                self.population,
                MaskedRegression(
                    alpha, standardize=False, center=False,
                    rank="auto" if self.rank is None else self.rank,
                ),
                n_unlabeled=int(self.samples), n_replicates=self.replicates,
                random_state=self.seed, n_jobs=self.jobs, done=lambda: advance("replicates"),
            )
            for alpha in alphas
        ]  # fmt: skip


def covariance_of(text: str, columns: int | None) -> Any:
    """The covariance of a file, or of a name and a number of columns."""
    from foretell.data.matrices import DELIMITERS, read_matrix
    from foretell.theory.masked.covariances import KINDS, Dense, named_covariance

    known = text.partition(":")[0] in KINDS
    if not known and (Path(text).suffix.lower() in (".npy", *DELIMITERS) or Path(text).exists()):
        if not Path(text).is_file() or not Path(text).stat().st_size:
            raise InputError(f"{text} is no file, or an empty one; give a square matrix or a name")
        matrix = read_matrix(text)
        if columns is not None and columns != len(matrix):
            raise InputError(
                f"--columns is {columns}, and {text} has {len(matrix)}; leave --columns out"
            )
        return Dense(matrix)
    if columns is None and known:
        raise InputError(f"a covariance by name, {text!r}, needs --columns")
    return named_covariance(text, 2 if columns is None else columns)


def random_masks(
    covariance: Any, samples: float, rate: str, alpha: float
) -> tuple[str, dict[str, Any]]:
    """Text and numbers of one predictor trained over random masks."""
    from foretell.theory.masked import masked_regression, optimal_mask_rate

    if rate == "optimal":
        share = optimal_mask_rate(covariance, samples, alpha)
        if not 0 < share < 1:
            raise InputError(
                f"the best mask rate is {share:g}: "
                + ("columns do not predict one another" if share else "the penalty is too large")
                + "; give a number between 0 and 1"
            )
    else:
        try:
            share = float(rate)
        except ValueError:
            raise InputError(f"--mask-rate is a share or optimal; found {rate!r}") from None
    found = masked_regression(covariance, samples, alpha, mask_rate=share)
    names = ("mask_rate", "alpha", "n_samples", "kappa", "test_error", "single_test_error",
             "train_error", "single_train_error")  # fmt: skip
    return found.summary(), {name: getattr(found, name) for name in names}
