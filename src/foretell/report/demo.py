"""The two demonstrations of ``foretell demo``: pre-training competes, and it does not help."""

from __future__ import annotations

from dataclasses import dataclass, replace

from foretell._types import Array
from foretell.data.samples import PORTFOLIOS, Demo, demo_fund
from foretell.data.tables import Table, load
from foretell.heads import LinearHead
from foretell.models import FactorModel


@dataclass(frozen=True)
class Case:
    """A table, how to fit it, the targets that were hidden, and what the reader is told."""

    table: Table
    model: FactorModel
    head: LinearHead
    truth: Array
    description: str


def finance_fund() -> Case:
    """Finance stocks among 18 style portfolios: three factors carry most of what matters."""
    return _case("Money", demo_fund("Money"))


def energy_fund() -> Case:
    """Energy stocks among all other portfolios: what matters is not in three factors."""
    return _case("Enrgy", demo_fund("Enrgy", columns="others", n_labeled=120))


DEMOS = (finance_fund, energy_fund)


def _case(fund: str, demo: Demo) -> Case:
    n, N = int(demo.labeled.sum()), len(demo.truth)
    description = (
        f"Monthly returns (percent) of US stock portfolios, 1949 to 2017 (Kenneth French's data "
        f"library). The target is the portfolio of {PORTFOLIOS[fund]} firms, as if it were a fund "
        f"with {n} known months among {N} of the market; the other {N - n} are hidden and then "
        "used to check every promise. Three factors, fixed beforehand; the portfolio was chosen to "
        "show one side. Months are nearly independent in level, but calm and stormy years follow "
        "each other and tails are heavy: intervals hold on average, not in every period."
    )
    table = replace(load(demo.table, demo.target), source_name="US stock portfolios")
    return Case(table, FactorModel(rank=3), LinearHead(), demo.truth, description)
