"""Estimation of the joint limit of both stages from the samples they were fitted to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag

from foretell._types import Array
from foretell.base import Head, HeadFit
from foretell.data.sources import ArraySource, Source
from foretell.inference.accuracy import Hits, count_hits
from foretell.inference.bends import bent_response, implied_bend, mean_bend, third_order
from foretell.inference.dependence import Dependence
from foretell.inference.gradient_test import exact_test, gradient_test, outside_head
from foretell.inference.labeled_rows import (
    LabeledPoints,
    OwnInfluence,
    correct_classes,
    left_out,
    loss_by_output,
    onto,
    stacked,
    studentized,
)
from foretell.inference.limit import Asymptotics
from foretell.inference.tangent import (
    BiasTerms,
    Labeled,
    Tangent,
    curvature_roots,
    mean_curvature,
    tangent_of,
)


def asymptotics(
    encoder: Any,
    head: Head,
    fit: HeadFit,
    *,
    source: Source,
    labeled: Labeled,
    pool: bool,
    dependence: Dependence | None = None,
    shift: bool = False,
    exact: bool = False,
    random_state: int | None = 0,
) -> Asymptotics:
    """Estimate the joint limit of both stages from the samples they were fitted to.

    Parameters
    ----------
    encoder
        Fitted pre-training model: an affine or a smooth encoder (:mod:`foretell.base`).
    head, fit
        The head and its fitted coefficients.
    source
        All rows of pre-training, the labeled ones included if ``pool``.
    labeled
        The labeled sample.
    pool
        Whether the labeled rows are also rows of pre-training.
    dependence
        Which rows belong together; None: all rows are independent.
    shift
        Whether labeled rows come from another population than those of pre-training. The risk is
        always that of the labeled population; without a shift its curvature is estimated from the
        many rows of pre-training, with one from the labeled rows alone.
    exact
        The sample is the population itself, points with their probabilities as weights: nothing
        is corrected for having been estimated.
    random_state
        Seed of the random directions that estimate second-order biases, used only when the
        gradient test rejects or the head has a penalty.

    Notes
    -----
    Covariances are empirical (robust to misspecification and heteroskedasticity); those of the
    head use residuals corrected for leverage (HC2). Where the gradient test does not reject,
    residuals are taken to have mean zero given the row, up to what a penalty causes: the noise
    of few labels then enters neither the curvature of the risk nor second-order biases. First
    order in 1/m and 1/n.
    """
    study = _Study(
        tangent_of(encoder, head, fit), encoder, head, fit, source, labeled, pool, shift, exact
    )
    first = study.at_labels()
    form = study.straight + mean_bend(head, labeled, study.points)
    sums = study.sums(first, form, dependence)
    m, n, k = source.rows, len(labeled.y), study.k
    spread = form @ sums.unlabeled @ form / m + sums.gradient_meat / n**2
    if pool or dependence is not None:
        cross = sums.gradient_shared @ form / n / m
        spread = spread + cross + cross.T
    misfit = first.gradient
    if head.penalty:
        misfit = outside_head(misfit, study.straight, study.head_map)
        once = outside_head(spread, study.straight, study.head_map)
        spread = outside_head(once.T, study.straight, study.head_map)
    if exact:
        test = exact_test(misfit, sums.unlabeled, form)
    else:
        units = n if dependence is None else dependence.degrees("labeled") + 1
        test = gradient_test(misfit, study.head_map, sums.unlabeled, spread, min(n, units))

    as_found = exact or test.first_order
    curvature = form if as_found else study.curvature_without_misfit(study.tangent)
    gradient = first.gradient if as_found else first.gradient - misfit
    bias_unlabeled = bias_labeled = 0.0
    if test.first_order or head.penalty:
        bias_unlabeled = study.bias(
            gradient, curvature, sums.unlabeled, as_found, np.random.default_rng(random_state)
        )
    if head.penalty:
        second = sums.second_order - 0.5 * third_order(head, labeled, study.points, sums.meat / n)
        bias_labeled = float(-study.stationary @ first.inverse @ second)
    m_df, n_df = m - 1.0, n - len(sums.meat) // k
    if dependence is not None:
        m_df, n_df = dependence.degrees("pretraining"), min(n_df, dependence.degrees("labeled"))
    limit = Asymptotics(
        n_unlabeled=m - n if pool else m, n_labeled=n, pool=pool, curvature=curvature,
        unlabeled=sums.unlabeled, head_map=study.head_map, labeled=sums.meat / n,
        shared=sums.shared / n, gradient=first.gradient, misfit=misfit,
        head_gradient=-study.stationary, test=test, bias_unlabeled=bias_unlabeled,
        bias_labeled=bias_labeled, irreducible=np.nan, residual_variance=np.zeros(k),
        residual_df=n_df, pretraining_df=m_df,
        accuracy=None if head.quadratic else sums.hits.share,
        classes=0 if head.quadratic else k + 1,
        hits=None if head.quadratic or dependence is not None else sums.hits,
        held_fixed=study.held_fixed,
    )  # fmt: skip
    if exact:
        risk = first.risk
        return replace(limit, irreducible=float(risk.sum()), residual_variance=2.0 * risk)
    return study.with_irreducible(limit, first.risk + sums.optimism / n)


class _AtLabels(NamedTuple):
    """Means over the labeled rows: gradient (P,), inverse Hessian of the head, risk by output."""

    gradient: Array
    inverse: Array
    risk: Array


class _Sums(NamedTuple):
    """Second moments of influences, and what they do to the risk.

    Of u over m rows (a mean); of the head's influence xi, of u with it, of the gradient's change
    and of that with u over n rows (sums); the optimism of the risk by output, the second-order
    movement of the head, and which rows are classified right when left out.
    """

    unlabeled: Array
    meat: Array
    shared: Array
    gradient_meat: Array
    gradient_shared: Array
    optimism: Array
    second_order: Array
    hits: Hits


@dataclass(frozen=True)
class _Study:
    """Both fitted stages and their samples."""

    tangent: Tangent
    encoder: Any
    head: Any
    fit: HeadFit
    source: Source
    labeled: Labeled
    pool: bool
    shift: bool
    exact: bool

    @property
    def k(self) -> int:
        """Number of outputs."""
        return int(self.fit.coef.shape[1])

    @property
    def held_fixed(self) -> bool:
        """Whether everything is conditional on the representation."""
        return bool(getattr(self.encoder, "held_fixed", False))

    @property
    def power(self) -> float:
        """Of weights in covariances."""
        return 0.5 if self.exact else 1.0

    @cached_property
    def head_map(self) -> Array:
        """Derivative of the coordinates in the head, (P, q)."""
        return self.tangent.head_map

    @cached_property
    def one_penalty(self) -> Array:
        """Second derivative of the penalty of one output."""
        return np.asarray(self.head.penalty_matrix(self.head_map.shape[1] // self.k))

    @cached_property
    def penalty(self) -> Array:
        """The same of all outputs, (q, q)."""
        one = self.one_penalty
        return one if self.k == 1 else np.asarray(block_diag(*[one] * self.k))

    @cached_property
    def stationary(self) -> Array:
        """The penalty's pull at the head, (q,)."""
        return np.asarray(self.penalty @ stacked(self.head, self.fit))

    @cached_property
    def points(self) -> LabeledPoints:
        """Outputs and derivatives at the labeled rows."""
        return LabeledPoints(self.tangent, self.labeled)

    @cached_property
    def seen(self) -> Source:
        """Rows that represent those for which risk is measured."""
        if self.shift:
            return ArraySource(self.labeled.X, self.labeled.share)
        return self.source.observed

    @cached_property
    def straight(self) -> Array:
        """Curvature of the risk from that of the loss in the outputs alone."""
        return self._straight(self.tangent)

    def _straight(self, tangent: Tangent) -> Array:
        form = mean_curvature if self.shift else type(tangent).head_curvature
        return form(tangent, self.seen, self.head)

    def curvature_as_found(self, tangent: Tangent) -> Array:
        """With the residuals of the labeled rows."""
        bend = mean_bend(self.head, self.labeled, LabeledPoints(tangent, self.labeled))
        return self._straight(tangent) + bend

    def curvature_without_misfit(self, tangent: Tangent) -> Array:
        """With the mean residuals that the penalty causes."""
        straight = self.straight if tangent is self.tangent else self._straight(tangent)
        if not self.head.penalty or tangent.linear:
            return straight
        pull = self._solve_head(self.straight, self.stationary, penalized=False)
        return straight + implied_bend(tangent, self.tangent, self.seen, self.head, pull)

    def _solve_head(self, curvature: Array, rhs: Array, *, penalized: bool = True) -> Array:
        hessian = self.head_map.T @ curvature @ self.head_map
        return np.asarray(np.linalg.solve(hessian + self.penalty * float(penalized), rhs))

    def at_labels(self) -> _AtLabels:
        """One pass over the labeled rows."""
        head, share, q = self.head, self.labeled.share, self.head_map.shape[1]
        gradient, hessian, risk = np.zeros(self.tangent.size), np.zeros((q, q)), np.zeros(self.k)
        for rows, (outputs, tau) in self.points.each():
            y, part = self.labeled.y[rows], share[rows]
            slope = part[:, None] * head.slope(outputs, y)
            gradient += slope.ravel() @ tau.reshape(-1, self.tangent.size)
            phi = np.sqrt(part)[:, None, None] * onto(tau, self.head_map)
            if not head.quadratic:
                phi = curvature_roots(head, outputs) @ phi
            hessian += phi.reshape(-1, q).T @ phi.reshape(-1, q)
            risk += part @ loss_by_output(head, outputs, y)
        return _AtLabels(gradient, np.linalg.inv(hessian + self.penalty), risk)

    def sums(self, first: _AtLabels, form: Array, dependence: Dependence | None) -> _Sums:
        """One pass over the rows of pre-training and one over the labeled ones."""
        head, head_map, share = self.head, self.head_map, self.labeled.share
        n, m, (P, q) = len(share), self.source.rows, head_map.shape
        response = head_map @ np.linalg.inv(head_map.T @ form @ head_map + self.penalty)
        onto_head = form @ head_map
        active = np.flatnonzero(response.any(axis=1) | onto_head.any(axis=1))
        touched = int(active[-1]) + 1 if len(active) else 0

        def influence(X: Array, weights: Array | None) -> Array:
            u, pulled = self.tangent.influence(X, onto_head[:touched], first.gradient)
            u[:, :touched] -= pulled @ response[:touched].T
            if weights is not None:
                share = weights * (self.encoder.n_rows / self.encoder.total_weight)
                u *= (share**self.power)[:, None]
            return u

        unlabeled = np.zeros((P, P))
        moved_units = None if dependence is None else dependence.totals("pretraining", P)
        shares_rows = self.pool and not self.held_fixed
        own = OwnInfluence(self.labeled if shares_rows else None, P)
        for X, weights in () if self.held_fixed else self.source.chunks():
            u = influence(X, weights)
            own.keep(u)
            if moved_units is None:
                unlabeled += u.T @ u
            else:
                moved_units.add(u)

        meat, shared = np.zeros((q, q)), np.zeros((P, q))
        gradient_meat, gradient_shared = np.zeros((P, P)), np.zeros((P, P))
        head_units = None if dependence is None else dependence.totals("labeled", q + P)
        optimism, second_order = np.zeros(self.k), np.zeros(q)
        hit: list[Array] = []
        for rows, (outputs, tau) in self.points.each():
            y, part = self.labeled.y[rows], share[rows]
            phi, slope = onto(tau, head_map), head.slope(outputs, y)
            root = phi if head.quadratic else curvature_roots(head, outputs) @ phi
            scale = (n * part) ** self.power
            if not self.exact:
                slope = studentized(slope, root, first.inverse, part, head, outputs)
            score = np.einsum("nk,nkq->nq", slope, phi) + self.stationary
            xi = -(scale[:, None] * score) @ first.inverse
            meat += xi.T @ xi
            bent = np.einsum("nkq,nq->nk", root, xi) * (scale / n)[:, None]
            second_order -= np.einsum("nkq,nk->q", root, bent)
            moved = xi @ head_map.T
            change = scale[:, None] * (np.einsum("nk,nkp->np", slope, tau) - first.gradient)
            change += moved @ form
            if head_units is not None:
                head_units.add(np.concatenate([xi, change], axis=1))
            gradient_meat += change.T @ change
            if shares_rows:
                u = own.at(rows, influence)
                shared += u.T @ xi
                gradient_shared += change.T @ u
                moved = moved + u * (n / m)
            step = np.einsum("nkp,np->nk", tau, moved)
            optimism -= scale @ (slope * step) / n
            if not head.quadratic:
                without = left_out(head, outputs, y, phi, first.inverse, part, self.stationary)
                if shares_rows:
                    without = without - np.einsum("nkp,np->nk", tau, u) / m
                hit.append(correct_classes(head, without, y))
        if moved_units is not None and head_units is not None:
            U, both = moved_units.blocks(), head_units.blocks()
            unlabeled, meat, shared = U.T @ U, both[:, :q].T @ both[:, :q], U.T @ both[:, :q]
            gradient_meat, gradient_shared = both[:, q:].T @ both[:, q:], both[:, q:].T @ U
        seen = count_hits(np.concatenate(hit or [np.ones(n)]), self.labeled.weights)
        return _Sums(
            unlabeled / m, meat, shared, gradient_meat, gradient_shared, optimism, second_order,
            seen,
        )  # fmt: skip

    def bias(
        self,
        gradient: Array,
        curvature: Array,
        unlabeled: Array,
        as_found: bool,
        rng: np.random.Generator,
    ) -> float:
        """Second-order mean of the risk that influences of pre-training leave out, times m."""
        head, H = self.head, self.head_map
        profile = gradient - curvature @ H @ self._solve_head(curvature, H.T @ gradient)
        terms = BiasTerms(
            curvature, gradient, profile, self.one_penalty, bool(head.intercept), self.power, rng
        )
        out = self.tangent.bias(self.source, terms)
        if head.penalty and not (head.quadratic and self.tangent.linear):
            pull = self._solve_head(curvature, self.stationary)
            form = self.curvature_as_found if as_found else self.curvature_without_misfit
            out += bent_response(self.tangent, pull, form, unlabeled)
        return out

    def with_irreducible(self, limit: Asymptotics, fresh: Array) -> Asymptotics:
        """What remains of the risk on new rows, by output, without the excess."""
        irreducible = max(float(fresh.sum()) - sum(limit.mean_excess()), 0.0)
        if self.k == 1 or not self.head.quadratic:
            residual = np.full(self.k, 2.0 * irreducible)
            return replace(limit, irreducible=irreducible, residual_variance=residual)
        share = self.labeled.share
        spent = sum(
            share[rows] @ limit.variance(tau).total for rows, (_, tau) in self.points.each()
        )
        residual = np.maximum(2.0 * fresh - spent, 0.0)
        return replace(limit, irreducible=irreducible, residual_variance=residual)
