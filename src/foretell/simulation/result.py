"""What a simulation found, beside the limit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.frames import to_frame
from foretell.errors import InputError
from foretell.inference.risklaw import RiskLaw

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Simulation:
    """Replicates of a two-stage study beside their limit.

    Attributes
    ----------
    excess_risk
        Exact excess risk of every replicate, shape (n_replicates,).
    law
        Limit law at the same sizes, of the same head.
    n_unlabeled, n_labeled
        Rows of each replicate; m counts labeled rows too if they are pooled.
    random_state
        The seed, also where none was given; :func:`~foretell.simulation.replicate` takes it.
    failures
        Text of the error by replicate, of those that were skipped; not in ``excess_risk``.
    """

    excess_risk: Array = field(repr=False)
    law: RiskLaw
    n_unlabeled: int
    n_labeled: int
    random_state: np.random.SeedSequence | None = field(default=None, repr=False)
    failures: Mapping[int, str] = field(default_factory=dict, repr=False)

    @property
    def ratio(self) -> float:
        """Mean over replicates divided by the mean of the limit law."""
        return float(self.excess_risk.mean() / self.law.mean())

    @property
    def ratio_se(self) -> float:
        """Standard error of the ratio from the spread of the replicates."""
        count = len(self.excess_risk)
        return float(self.excess_risk.std(ddof=1) / np.sqrt(count) / self.law.mean())

    def quantiles(self, levels: Sequence[float] = LEVELS) -> dict[str, Array]:
        """Quantiles of simulation and limit, columns of equal length.

        ``quantile`` (the level), ``simulation``, ``se`` (its simulation standard error, see
        :func:`quantile_se`), ``limit``, ``ratio`` and ``ratio_se``.
        """
        at = np.asarray(levels, dtype=np.float64)
        if at.ndim != 1 or not ((at > 0) & (at < 1)).all():
            raise InputError(f"levels of quantiles lie between 0 and 1; found {levels}")
        simulated, limit = np.quantile(self.excess_risk, at), self.law.ppf(at)
        se = quantile_se(self.excess_risk, at)
        return {
            "quantile": at,
            "simulation": simulated,
            "se": se,
            "limit": limit,
            "ratio": simulated / limit,
            "ratio_se": se / np.abs(limit),
        }

    def frame(self, levels: Sequence[float] = LEVELS, *, backend: str | None = None) -> Any:
        """The table of :meth:`quantiles` as a data frame, one row a quantile.

        ``backend`` is ``"pandas"``, ``"polars"`` or ``"pyarrow"``; None takes pandas if it is
        installed.
        """
        return to_frame(self.quantiles(levels), backend)

    def summary(self) -> str:
        """Mean and quantiles of simulation and limit, side by side, and the parts of the limit."""
        x, law = self.excess_risk, self.law
        se = x.std(ddof=1) / np.sqrt(len(x))
        lines = [
            f"{len(x)} replicates, n_unlabeled={self.n_unlabeled}, n_labeled={self.n_labeled}",
            f"mean: simulation {x.mean():.5g} ± {se:.2g}, limit {law.mean():.5g}, "
            f"ratio {self.ratio:.4f} ± {self.ratio_se:.4f}",
        ]
        if law.labeled is not None and law.unlabeled is not None:
            lines.append(
                f"parts of the limit: labeled {law.labeled.mean():.5g}, "
                f"unlabeled {law.unlabeled.mean():.5g}"
            )
        lines.append(
            f"{'quantile':>9}{'simulation':>13}{'s.e.':>11}{'limit':>13}{'ratio':>9}{'s.e.':>9}"
        )
        lines += [
            "{:>8.0%} {:>13.5g}{:>11.2g}{:>13.5g}{:>9.4f}{:>9.4f}".format(*row)
            for row in zip(*self.quantiles().values(), strict=True)
        ]
        return "\n".join([*lines, *told(self.failures)])

    def plot(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Density of simulation and limit, and their quantiles against each other.

        Parameters
        ----------
        path
            File to write or replace: ``.svg``, ``.png``, ``.html`` (needs no network) or
            ``.json``; None writes nothing.

        Returns
        -------
        dict
            The specification of the chart in Vega-Lite, data included.

        Raises
        ------
        InputError
            The file has another ending or cannot be written.
        MissingExtraError
            vl-convert is not installed and the file is not ``.json``.
        """
        from foretell.plots.charts import write
        from foretell.simulation.plot import specification

        chart = specification(self)
        if path is not None:
            write(chart, path)
        return chart


def told(failures: Mapping[int, str]) -> list[str]:
    """What a summary says of replicates that were skipped, nothing where none were."""
    if not failures:
        return []
    index, error = next(iter(failures.items()))
    return [
        f"{len(failures)} further replicates failed and are not in these numbers; the first, "
        f"replicate {index}: {error}"
    ]


def quantile_se(values: Array, levels: Array) -> Array:
    r"""Simulation standard errors of sample quantiles, without an estimate of the density.

    The j-th smallest of n draws is below x with the probability that a binomial variable of n
    draws with probability F(x) is at least j. With the empirical distribution in place of F the
    order statistic takes the value of the i-th smallest draw with the probability
    :math:`w_i = I_{i/n}(a, b) - I_{(i-1)/n}(a, b)` of a beta law, :math:`a = (n+1)q,
    b = (n+1)(1-q)`; the standard error is the standard deviation of that law.

    Parameters
    ----------
    values
        Draws, shape (n,).
    levels
        Levels q of the quantiles, between 0 and 1, shape (k,).

    References
    ----------
    .. [1] Maritz & Jarrett (1978). A note on estimating the variance of the sample median. JASA
       73, 194-196.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).random(10000)
    >>> bool(abs(quantile_se(draws, np.array([0.5]))[0] - 0.005) < 0.0015)
    True
    """
    from scipy.special import betainc

    x, n = np.sort(values), len(values)
    edges = np.arange(n + 1) / n

    def spread(q: float) -> float:
        weights = np.diff(betainc((n + 1) * q, (n + 1) * (1 - q), edges))
        return float(np.sqrt(weights @ (x - weights @ x) ** 2))

    return np.array([spread(q) for q in levels])
