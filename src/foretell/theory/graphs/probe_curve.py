r"""Error of a linear probe fitted to few labels, against the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.data.numbers import real_number, whole_number
from foretell.errors import InputError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import Labels, check_dimension, label_codes, leading
from foretell.theory.graphs.probe import expected_error, least_squares
from foretell.theory.graphs.weights import NormalizedGraph


@dataclass(frozen=True, eq=False)
class ProbeCurve:
    r"""Errors of heads fitted to n labels drawn from the graph, over repeated draws.

    Attributes
    ----------
    n_labeled
        Numbers of labels, shape (s,).
    error, error_se
        Mean 0-1 error over the whole graph and its standard error, shape (s,).
    excess_risk, excess_risk_se
        Mean squared risk less that of the best head, and its standard error, shape (s,).
    excess_limit
        What ``excess_risk`` is to first order in 1/n, in closed form, shape (s,):
        :math:`\sum_x w_x \|z_x\|^2 \|r_x\|^2 / n` with z the features scaled to unit covariance
        and r the residuals of the best head.
    rate
        :math:`\sqrt{k/n}`, the order of published bounds, shape (s,): no bound by itself.
    best_error
        0-1 error of the best least-squares head, what ``error`` tends to.
    """

    n_labeled: Array
    error: Array
    error_se: Array
    excess_risk: Array
    excess_risk_se: Array
    excess_limit: Array
    rate: Array
    best_error: float

    def __str__(self) -> str:
        lines = [f"{'labels':>8} {'error':>18} {'excess risk':>12} {'limit':>10} {'sqrt(k/n)':>10}"]
        for i, n in enumerate(self.n_labeled):
            shown = f"{self.error[i]:.4f} ± {self.error_se[i]:.4f}"
            lines.append(
                f"{n:8d} {shown:>18} {self.excess_risk[i]:12.4g} {self.excess_limit[i]:10.3g} "
                f"{self.rate[i]:10.3g}"
            )
        return "\n".join([*lines, f"{'all':>8} {self.best_error:18.4f}"])


def probe_curve(
    graph: NormalizedGraph,
    labels: Any,
    k: int,
    n_labeled: Sequence[int],
    *,
    n_draws: int = 200,
    penalty: float = 1.0,
    pairs: Eigenpairs | None = None,
    random_state: int = 0,
) -> ProbeCurve:
    r"""Mean error of the linear probe fitted to n labels, simulated, beside its limit and rate.

    Labeled vertices are independent draws by degree. The head is ridge regression of class
    indicators on the k leading eigenvectors scaled to :math:`E z z^\top = I`, with
    :math:`(Z^\top Z + \text{penalty} \cdot I)^{-1} Z^\top Y`.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    labels
        Class of each vertex, any hashable values, shape (n,), two or more classes.
    k
        Dimensions, 1 to n - 1.
    n_labeled
        Numbers of labels.
    n_draws
        Repetitions for each number, two or more.
    penalty
        In units of one label a direction, so that it matters little for n well above k; positive,
        because few labels do not determine a head of k coefficients.
    pairs
        k or more leading eigenpairs; None computes k.
    random_state
        Seed.

    Raises
    ------
    InputError
        If a number of labels is below one, n_draws below two, the penalty not positive, or
        labels or k as for ``probe``.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Theorem 5.1 for the rate.
       The limit is the sandwich of least squares, derived in docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((4, 4))) + 0.02)
    >>> curve = probe_curve(graph, [0, 0, 0, 0, 1, 1, 1, 1], 2, [1, 40], n_draws=50)
    >>> bool(curve.error[0] > 0.02), float(curve.error[1]), curve.best_error
    (True, 0.0, 0.0)
    """
    check_dimension(graph, k)
    found = label_codes(labels, graph.n)
    sizes = np.asarray(n_labeled)
    if sizes.ndim != 1 or not sizes.size or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise InputError(f"n_labeled is a list of whole numbers from 1; found {n_labeled!r}")
    whole_number(n_draws, "n_draws", 2)
    if not real_number(penalty, "penalty") > 0:
        raise InputError(f"expected a positive penalty; found {penalty}")
    vectors = leading(graph, k, pairs).vectors[:, :k]
    best = least_squares(graph, vectors, found)
    Z = vectors / graph.roots[:, None]
    rng = np.random.default_rng(random_state)
    drawn = np.array([
        [_one_draw(graph, Z, found, int(n), penalty, rng) for _ in range(n_draws)] for n in sizes
    ])  # fmt: skip
    mean, se = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(n_draws)
    residuals = found.indicators - best.scores
    first = float(graph.degrees @ ((Z**2).sum(axis=1) * (residuals**2).sum(axis=1)))
    return ProbeCurve(
        n_labeled=sizes,
        error=mean[:, 0], error_se=se[:, 0],
        excess_risk=mean[:, 1] - best.squared_risk, excess_risk_se=se[:, 1],
        excess_limit=first / sizes,
        rate=np.sqrt(k / sizes),
        best_error=best.error,
    )  # fmt: skip


def _one_draw(
    graph: NormalizedGraph,
    Z: Array,
    labels: Labels,
    n: int,
    penalty: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """0-1 error and squared risk over the graph of one head fitted to n drawn labels."""
    rows = rng.choice(graph.n, n, p=graph.degrees)
    z, c = Z[rows], len(labels.classes)
    y = np.equal.outer(labels.codes[rows], np.arange(c)).astype(np.float64)
    head = np.linalg.solve(z.T @ z + penalty * np.eye(Z.shape[1]), z.T @ y)
    scores = Z @ head
    risk = float(graph.degrees @ ((labels.indicators - scores) ** 2).sum(axis=1))
    return expected_error(scores, labels.codes, graph.degrees), risk
