"""The limit of any model and head in a population: the estimators' own asymptotics on its nodes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from foretell._types import Array
from foretell.base import Head, HeadFit, pretrain
from foretell.data.sources import ArraySource, Source
from foretell.errors import InputError
from foretell.inference.asymptotics import asymptotics
from foretell.inference.limit import Asymptotics
from foretell.inference.risklaw import RiskLaw
from foretell.inference.tangent import Labeled
from foretell.theory.nodes import Nodes
from foretell.theory.population import Population

LIMIT_NODES = 2**15
RISK_NODES = 2**13
PAIR_NODES = 2**11  # of a loss of pairs, whose cost is the square


@dataclass(frozen=True, eq=False)
class PopulationLimit:
    """Where both stages converge in a population, and how fast.

    Attributes
    ----------
    encoder, head_fit
        Minimisers of the pre-training loss and of the head's, over the population.
    asymptotics
        Their joint limit, with the population's own covariances.
    """

    population: Population
    encoder: Any
    head: Head
    head_fit: HeadFit
    asymptotics: Asymptotics

    def law(
        self, n_unlabeled: float, n_labeled: float, *, over: Literal["limit", "best"] = "limit"
    ) -> RiskLaw:
        """Law of the excess risk.

        Parameters
        ----------
        n_unlabeled, n_labeled
            Rows without and with a target; an estimator that pools pre-trains on both.
        over
            ``"limit"``: over the risk of the limit of the predictor. ``"best"``: over that of the
            best predictor of the population, which a wrong model does not reach.
        """
        law = self.asymptotics.law(n_unlabeled, n_labeled)
        return law if over == "limit" else law + (self.irreducible - self.population.irreducible)

    def excess_risk(self, fitted: Any) -> float:
        """Risk of a fitted estimator less that of the limit, at the same nodes."""
        outputs = fitted.head_fit_.predict(fitted.encoder_.encode(self._rows))
        return self._risk_of(outputs) - self._irreducible

    @property
    def irreducible(self) -> float:
        """Risk of the limit of the predictor."""
        return self.asymptotics.irreducible

    def _risk_of(self, outputs: Array) -> float:
        return self.population.risk(np.tile(outputs, (self._nodes.copies, 1)), self._nodes)

    @cached_property
    def _nodes(self) -> Nodes:
        return self.population.nodes(RISK_NODES)

    @cached_property
    def _rows(self) -> Array:
        return self._nodes.X[: len(self._nodes.X) // self._nodes.copies]

    @cached_property
    def _irreducible(self) -> float:
        return self._risk_of(self.head_fit.predict(self.encoder.encode(self._rows)))


class OwnLimit(Population):
    """A population with the limit of the model that assumes it, by quadrature."""

    @property
    @abstractmethod
    def own_model(self) -> Any:
        """The pre-training model that assumes this population."""

    def _shortfall(self, intercept: bool) -> float:
        if self.has_limit:
            return 0.0
        return max(0.0, self._quadrature(intercept).irreducible - self.irreducible)

    def _quadrature(self, intercept: bool) -> PopulationLimit:
        if intercept not in self._quadratures:
            limit = stages_limit(self, self.own_model, self.targets.head(intercept))
            self._quadratures[intercept] = limit
        return self._quadratures[intercept]

    @cached_property
    def _quadratures(self) -> dict[bool, PopulationLimit]:
        return {}


def population_limit(
    population: Population,
    estimator: Any,
    *,
    unlabeled: Population | None = None,
    size: int = LIMIT_NODES,
    random_state: int = 0,
) -> PopulationLimit:
    r"""The limit of a two-stage estimator in a population, well specified or not.

    The population is replaced by its nodes, a quadrature; both stages are fitted to these, and
    the covariances of the estimator's own influences over nodes are those of the limit. Where the
    representation is not also best for the target (:math:`g \ne 0`) the law has its first-order
    normal term and the mean its second-order bias.

    Parameters
    ----------
    population
        Where labeled rows come from, and where risk is measured.
    estimator
        :class:`~foretell.TwoStageRegressor` or :class:`~foretell.TwoStageClassifier`; fitted or
        not, it is left as it is. Columns are not standardised unless it says so. A penalty of
        pre-training that a rule chooses is chosen at the nodes, not as in a sample: set a number.
    unlabeled
        Where unlabeled rows come from; None: from the same population.
    size, random_state
        Rows and seed of the quadrature; a loss of pairs takes at most 2**11 rows. With 2**15
        rows (eight times as many for t components) means agree to about 0.5 % between seeds.

    Raises
    ------
    InputError
        If the population has no pairs but the model needs them, or ``pool`` with two populations.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell import FactorModel, TwoStageRegressor
    >>> from foretell.theory import FactorPopulation
    >>> pop = FactorPopulation(np.eye(6)[:, :2] * 2.0, 1.0, [1.0, -0.5], 0.3)
    >>> limit = population_limit(pop, TwoStageRegressor(FactorModel(2), pool=False))
    >>> closed = pop.limit(1000, 500, intercept=True)
    >>> bool(abs(limit.law(1000, 500).mean() / closed.mean() - 1) < 0.01)
    True

    References
    ----------
    .. [1] Tinati & Tu (2026). Two-stage M-estimation under symmetry. COLT.
    """
    if unlabeled is not None and estimator.pool:
        raise InputError(
            "labeled and unlabeled rows come from two populations, but pool=True; set pool=False"
        )
    if not hasattr(estimator, "_stages"):
        raise InputError(
            "expected a TwoStageRegressor or a TwoStageClassifier; found "
            f"{type(estimator).__name__}"
        )
    model, head = estimator._stages()
    if head.quadratic != population.targets.head(True).quadratic:
        raise InputError(
            f"{type(estimator).__name__} does not suit targets that are "
            f"{'classes' if head.quadratic else 'numbers'}; use "
            f"{'TwoStageClassifier' if head.quadratic else 'TwoStageRegressor'}"
        )
    return stages_limit(
        population, model, head, pool=bool(estimator.pool),
        standardize=estimator.standardize is True, unlabeled=unlabeled, size=size,
        random_state=random_state,
    )  # fmt: skip


def stages_limit(
    population: Population,
    model: Any,
    head: Any,
    *,
    pool: bool = False,
    standardize: bool = False,
    unlabeled: Population | None = None,
    size: int = LIMIT_NODES,
    random_state: int = 0,
) -> PopulationLimit:
    """The same for a pre-training model and a head; see :func:`population_limit`."""
    if getattr(model, "pairwise", False):
        size = min(size, PAIR_NODES)

    def nodes_of(one: Population) -> Nodes:
        return one.nodes(size * one.node_factor, random_state)

    nodes = nodes_of(population)
    source = _source(model, nodes if unlabeled is None else nodes_of(unlabeled))
    encoder = pretrain(model, source, standardize=standardize, center=bool(head.intercept))
    count = len(nodes.X)
    y = nodes.y.reshape(count, -1) if head.quadratic else nodes.y.astype(np.int64)
    weights = nodes.probability * count
    fit = head.fit(encoder.encode(nodes.X), y, weights)
    labeled = Labeled(nodes.X, y, weights, nodes.pairs if source.observed is not source else None)
    limit = asymptotics(
        encoder, head, fit, source=source, labeled=labeled, pool=pool,
        shift=unlabeled is not None, exact=True,
    )  # fmt: skip
    return PopulationLimit(population, encoder, head, fit, limit)


def _source(model: Any, nodes: Nodes) -> Source:
    """The nodes as a pre-training sample: each row once, its probability as weight."""
    count = len(nodes.X) // nodes.copies
    weights = nodes.probability.reshape(-1, count).sum(axis=0) * count
    if hasattr(model, "with_views") and nodes.pairs is not None:
        from foretell.data.views import PairSource

        first, second = np.split(nodes.pairs[:count], 2, axis=1)
        return PairSource(ArraySource(first, weights), ArraySource(second))
    source: Source = ArraySource(nodes.X[:count], weights)
    return model.with_views(source) if hasattr(model, "with_views") else source
