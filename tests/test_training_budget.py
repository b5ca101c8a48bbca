"""Training budgets against flows, limits, autodiff of the flow, descent on samples, simulation."""

import numpy as np
import pytest
from scipy.linalg import expm

from foretell.errors import IdentificationError, InputError
from foretell.theory import ViewPopulation
from foretell.theory.factorization import FactorizationFlow
from foretell.theory.factorization.budget_law import Task, label_price, pair_price, reduced
from foretell.theory.factorization.early_stopping import EarlyStopping, early_stopping
from foretell.theory.factorization.feature_flow import features
from foretell.theory.factorization.pair_moments import PairMoments
from foretell.theory.factorization.training_budget import TrainingBudget

SIZES = 1000, 1000
TIMES = np.array([0.0, 0.2, 0.5, 1.0, 2.0, 4.0])


def population(d=10, **options):
    return ViewPopulation(np.eye(d)[:, :2] * [2, 1.5], np.full(d, 0.8), [1.0, -0.5], 0.3, **options)


def uneven(rng, d=5):
    """Pairs in which no two correlations are equal and some are negative; two targets."""
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    root = Q * np.linspace(0.7, 1.6, d) @ Q.T
    across = root @ (Q[:, ::-1] * np.array([0.8, 0.55, 0.3, 0.1, -0.4])) @ Q[:, ::-1].T @ root
    return PairMoments(root @ root, across, rng.normal(size=(d, 2)), 40 * np.eye(2))


def whitened(moments, start):
    sizes, vectors = np.linalg.eigh(moments.within)
    root = vectors * np.sqrt(sizes) @ vectors.T
    inverse = np.linalg.inv(root)
    return inverse @ moments.across @ inverse, root @ start, inverse @ moments.cross


@pytest.mark.parametrize("rank", [1, 2, 4, 5])
@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_optimization_is_the_loss_of_a_head_on_the_factorization_flow(rng, rank, penalty):
    """With time 4t, for targets with negative eigenvalues and ranks above the positive ones."""
    moments = uneven(rng)
    budget = TrainingBudget(moments, rank, penalty=penalty, scale=0.8)
    K, X0, c = whitened(moments, budget.start)
    times = np.array([0.0, 0.1, 0.4, 1.0])
    for t, value in zip(times, budget.optimization(times), strict=True):
        X = FactorizationFlow(K, X0).factor([4 * t])[0]
        coef = np.linalg.solve(X.T @ X + penalty * np.eye(rank), X.T @ c)
        assert 0.5 * ((c - X @ coef) ** 2).sum() == pytest.approx(
            value + budget.shortfall, rel=1e-8
        )


@pytest.mark.parametrize("values", [[0.8, 0.5, 0, 0, 0, 0], [0.8, 0.4, 0.1, -0.05, -0.2, -0.6]])
@pytest.mark.parametrize("rank", [2, 4, 6])
def test_scales_are_those_of_the_factorization_flow(rng, rank, values):
    """Also late, where surplus features shrink as 1/t, or vanish: only a ridge head sees that."""
    start = rng.normal(size=(6, rank))
    s = np.array([0.0, 1.0, 30.0, 300.0, 1e5])
    W, N = features(np.eye(6), np.diag(values), start, s, True)
    gram = W @ np.linalg.solve(N, W.swapaxes(-1, -2))
    assert np.allclose(gram, FactorizationFlow(np.diag(values), start).gram(s), rtol=0, atol=1e-9)


def test_a_ridge_head_at_the_end_is_one_very_late():
    """Features along negative eigenvalues of a sample vanish, and cost nothing."""
    found = early_stopping(population(), 10, 60, 50, [1e5, 1e7], 5, penalty=0.3)
    assert np.allclose(found.risks, found.end[:, None], rtol=1e-5)


def test_the_end_of_training_is_the_limit_of_the_population():
    pop = population()
    budget = TrainingBudget(pop, 2)
    law = pop.limit(*SIZES)
    at_end, late = budget.statistical(*SIZES), budget.statistical(*SIZES, 30.0)
    assert budget.optimization(30.0) < 1e-20
    for parts in (at_end, late):
        assert parts.unlabeled == pytest.approx(law.unlabeled.mean(), rel=1e-8)
        assert parts.labeled == pytest.approx(law.labeled.mean(), rel=1e-8)
    assert at_end.law.ppf(0.9) == pytest.approx(law.ppf(0.9), rel=1e-8)
    assert late.fluctuation < 1e-12


def test_surplus_features_cost_at_the_end_what_they_cost_late():
    """The law with (d - k) / (d - r) of the unlabeled part, and the expansion along the flow."""
    budget = TrainingBudget(population(), 5)
    end, late = budget.statistical(*SIZES), budget.statistical(*SIZES, 20.0)
    law = population().limit(*SIZES)
    assert end.unlabeled == pytest.approx(law.unlabeled.mean() * 5 / 8, rel=1e-10)
    assert end.labeled == pytest.approx(law.labeled.mean() * 5 / 2, rel=1e-10)
    assert late.unlabeled == pytest.approx(end.unlabeled, rel=1e-7)
    assert late.labeled == pytest.approx(end.labeled, rel=1e-10)
    assert budget.surplus == 3


def test_all_columns_as_features_are_supervised_learning():
    pop = population()
    parts = TrainingBudget(pop, 10).statistical(*SIZES)
    assert parts.unlabeled == 0
    assert parts.labeled == pytest.approx(pop.supervised_limit(1000).mean(), rel=1e-10)


def test_two_targets_add_up():
    one, two = [1.0, -0.5], [0.3, 2.0]
    W = np.eye(8)[:, :2] * 2.0 + 0.1

    def make(coef):
        return TrainingBudget(ViewPopulation(W, 0.7, np.array(coef), 0.3), 2)

    parts = [make(coef).curve(TIMES, *SIZES) for coef in (one, two, np.transpose([one, two]))]
    for name in ("optimization", "unlabeled", "labeled"):
        a, b, both = (getattr(p, name) for p in parts)
        assert np.allclose(a + b, both, rtol=1e-6, atol=1e-12)


def product(a, b):
    """Of power series to second order, as lists of their three coefficients."""
    return [sum(a[i] @ b[k - i] for i in range(k + 1)) for k in range(3)]


def risk_series(rho, gamma, start, s, dS, dC):
    """Coefficients of the risk in the size of a change of moments, by the matrix exponential."""
    T = [np.diag(rho), dC - dS * rho, dS @ (dS * rho - dC)]  # (I + dS)^{-1} (D + dC)
    zero = np.zeros_like(dS)
    whole = expm(s * np.block([T, [zero, *T[:2]], [zero, zero, T[0]]]))
    W = [block @ start for block in np.split(whole[: len(rho)], 3, axis=1)]
    gram, cross = product([w.T for w in W], W), [w.T @ gamma for w in W]
    coef = []
    for k in range(3):
        rest = cross[k] - sum(gram[k - i] @ coef[i] for i in range(k))
        coef.append(np.linalg.solve(gram[0], rest))
    left = [g - w for g, w in zip([gamma, 0, 0], product(W, coef), strict=True)]
    return [0.5 * sum((left[i] * left[k - i]).sum() for i in range(k + 1)) for k in range(3)]


def test_price_of_pairs_is_that_of_the_series_of_the_exponential(rng):
    """Entry by entry of two independent Wishart covariances, x + x⁺ and x - x⁺."""
    task, d = uneven(rng).canonical, 5
    start = rng.normal(size=(d, 2))
    times = np.array([0.3, 1.0, 3.0])
    price = pair_price(Task(task.rho, task.gamma, start, np.ones(d)), times, 0.0, 0.25)
    for at, s in enumerate(times):
        mean = variance = 0.0
        for sign in (1, -1):
            for i, j in zip(*np.triu_indices(d), strict=True):
                E = np.zeros((d, d))
                E[i, j] = E[j, i] = 0.5
                _, first, second = risk_series(task.rho, task.gamma, start, s, E, sign * E)
                entry = (1 + sign * task.rho[i]) * (1 + sign * task.rho[j]) * (1 + (i == j))
                mean, variance = mean + entry * second, variance + entry * first**2
        assert price.mean[at] == pytest.approx(mean, rel=1e-7)
        assert price.variance[at] == pytest.approx(variance, rel=1e-7)


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_directions_alike_are_counted_not_computed(rng, rank, penalty):
    task = PairMoments.of(population(direct=0.1 * rng.normal(size=10))).canonical
    start = rng.normal(size=(10, rank))
    small = reduced(task.rho, task.gamma, start)
    assert len(small.rho) == 2 + rank + 1 + 1
    s = np.array([0.5, 2.0, 5.0])
    fast = pair_price(small, s, penalty, 0.7)
    dense = pair_price(Task(task.rho, task.gamma, start, np.ones(10)), s, penalty, 0.7)
    assert np.allclose(fast.mean, dense.mean, rtol=1e-6, atol=1e-8)
    assert np.allclose(fast.variance, dense.variance, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("rank", "penalty"), [(2, 0.0), (4, 0.0), (1, 0.0), (2, 0.1)],
    ids=["classical", "surplus", "too few", "ridge"],
)  # fmt: skip
def test_simulated_risk_is_the_sum_of_the_parts(rank, penalty):
    """At every time; the next order in 1/m and 1/n is 3 % of the statistical parts here."""
    budget = TrainingBudget(population(), rank, penalty=penalty)
    found = early_stopping(population(), rank, *SIZES, TIMES, 300, penalty=penalty)
    curve = budget.curve(TIMES, *SIZES)
    excess = found.mean - budget.shortfall
    order = 0.03 * (abs(curve.unlabeled) + curve.labeled)
    assert np.all(abs(excess - curve.total) < 4 * found.se + order)
    if not (budget.surplus and penalty):
        end = budget.statistical(*SIZES).total
        se = found.end.std() / np.sqrt(len(found.end))
        assert abs(found.risk_at_end - budget.shortfall - end) < 4 * se + 0.03 * end


def test_fluctuation_is_that_of_samples():
    """Where the risk gradient is not zero the risk of one sample moves by 1 / sqrt(m)."""
    found = early_stopping(population(), 2, *SIZES, [0.5, 0.7], 400)
    theory = TrainingBudget(population(), 2).statistical(*SIZES, [0.5, 0.7]).fluctuation
    spread = found.risks.std(axis=0, ddof=1)
    fourth = ((found.risks - found.mean) ** 4).mean(axis=0)
    se = np.sqrt(fourth / spread**4 - 1) / 2 / np.sqrt(400)
    assert np.all(abs(spread / theory - 1) < 4 * se + 0.02)


@pytest.mark.parametrize("k", [1, 2])
def test_labels_of_a_ridge_head_cost_what_simulation_says(rng, k):
    """Features fixed, rows and labels drawn; the first-order term, of mean zero, is taken off."""
    d, n, penalty, reps = 4, 400, 0.3, 6000
    gamma = np.array([1.0, -0.5, 0.4, 0.0]) if k == 2 else np.eye(d)[0]
    found = features(np.eye(d), np.diag([0.8, 0.5, 0.1, 0]), np.eye(d)[:, :k] + 0.2 * (k - 1),
                     np.array([0.7]), True)  # fmt: skip
    theory = label_price(found, gamma[:, None], np.array([[0.01]]), penalty)[0] / n
    X = found.frames[0] @ np.linalg.inv(np.linalg.cholesky(found.weights[0])).T
    inverse = np.linalg.inv(X.T @ X + penalty * np.eye(k))
    best = inverse @ X.T @ gamma
    least = 0.5 * ((gamma - X @ best) ** 2).sum()
    excess = np.empty(reps)
    for i in range(reps):
        u = rng.normal(size=(n, d))
        y = u @ gamma + 0.1 * rng.normal(size=n)
        f = u @ X
        w = np.linalg.solve(f.T @ f / n + penalty * np.eye(k), f.T @ y / n)
        score = f.T @ (y - f @ best) / n - penalty * best
        first = -penalty * best @ inverse @ score
        excess[i] = 0.5 * ((gamma - X @ w) ** 2).sum() - least - first
    assert abs(excess.mean() - theory) < 4 * excess.std() / np.sqrt(reps) + 10 / n * abs(theory)


def test_descent_on_the_loss_of_a_sample_follows_the_flow(rng):
    """Preconditioned by the inverse of the sample's covariance; the error halves with the step."""
    x, z = np.split(population(6).sample_unlabeled(300, 1), 2, axis=1)
    within, across = (x.T @ x + z.T @ z) / 600, (x.T @ z + z.T @ x) / 600
    start, t = 0.3 * rng.normal(size=(6, 2)), 0.5
    W, N = features(within, across, start, np.array([4 * t]), True)
    exact = W[0] @ np.linalg.solve(N[0], W[0].T)
    errors = []
    for steps in (500, 1000):
        theta = start
        for _ in range(steps):
            gradient = 4 * (within @ theta @ theta.T @ within - across) @ theta
            theta = theta - t / steps * np.linalg.solve(within, gradient)
        errors.append(abs(theta @ theta.T - exact).max())
    assert errors[0] < 3e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("rank", "coef", "penalty"),
    [(2, [1, -0.5], 0.0), (2, [1, 0], 0.0), (4, [1, -0.5], 0.0), (1, [1, -0.5], 0.0),
     (1, [0, 1], 0.0), (2, [1, -0.5], 0.2), (3, [1, -0.5], 0.2)],
)  # fmt: skip
def test_unfinished_training_falls_at_the_exponent(rank, coef, penalty):
    pop = ViewPopulation(np.eye(8)[:, :2] * [3, 0.8], 0.8, coef, 0.3)
    budget = TrainingBudget(pop, rank, penalty=penalty)
    t = np.array([0.0, 1.0]) + 28
    t /= budget.exponent
    a, b = np.log(abs(budget.optimization(t)))
    # sizes and directions of features fall at one rate if the next correlation is 0: ridge sees
    # (c + t) exp(-exponent t)
    assert a - b == pytest.approx(1, rel=0.03 if penalty else 0.01)


def test_surplus_features_shrink_as_one_over_t_for_a_ridge_head_alone(rng):
    """The target has a part off the shared directions: ridge approaches its limit as 1/t, least
    squares sees it from the start; and ridge pays ever less for the labels of surplus features."""
    pop = population(direct=np.linspace(0, 0.5, 10))
    t = np.array([1e2, 1e3, 1e4])
    ridge, squares = (TrainingBudget(pop, 4, penalty=a, scale=30) for a in (0.5, 0.0))
    assert ridge.exponent == 0
    slopes = np.diff(np.log(abs(ridge.optimization(t)))) / np.log(10)
    assert np.all((slopes > -1.01) & (slopes < -0.99))
    assert np.all(abs(squares.optimization(t)) < 1e-14)
    budget = TrainingBudget(population(), 4, penalty=0.5, scale=30)
    found = features(*budget._moved, 4 * t, True)
    cost = label_price(found, budget._gamma, budget.moments.unexplained, 0.5)
    two = TrainingBudget(population(), 2, penalty=0.5)
    learned = label_price(
        features(*two._moved, 4 * t[-1:], True), two._gamma, two.moments.unexplained, 0.5
    )
    # S = 1 / (8t): each surplus feature has share 1 / (8 alpha t) in tr H
    assert cost[-1] == pytest.approx(learned[0], rel=1e-3)
    assert (cost[0] - learned[0]) / (cost[1] - learned[0]) == pytest.approx(10, rel=0.05)


def test_time_enough_is_where_training_falls_below_its_share():
    budget = TrainingBudget(population(), 2)
    t = budget.time_enough(*SIZES, share=0.2)
    level = 0.2 * budget.statistical(*SIZES).total
    assert budget.optimization(t) == pytest.approx(level, rel=1e-6)
    assert np.all(budget.optimization(t * np.linspace(1.001, 4, 200)) < level)
    budget = TrainingBudget(ViewPopulation(np.eye(8)[:, :2] * [3, 0.8], 0.8, [1, 1], 0.3), 2)
    later = budget.time_enough(4e9, 4e9) - budget.time_enough(1e9, 1e9)
    assert later == pytest.approx(np.log(4) / budget.exponent, rel=0.01)
    assert TrainingBudget(population(), 10).time_enough(*SIZES) == 0


def test_worth_of_training_is_the_data_that_gains_as_much():
    budget = TrainingBudget(population(), 2)
    t = budget.time_enough(*SIZES, share=0.3)
    worth = budget.worth(t, *SIZES)
    now = budget.total(t, *SIZES)
    assert worth.gain == pytest.approx(now - budget.total(2 * t, *SIZES), rel=1e-10)
    m, n = SIZES
    for more in (
        (worth.pairs_factor * m, n),
        (m, worth.labels_factor * n),
        (worth.both_factor * m, worth.both_factor * n),
    ):
        if np.isfinite(more).all():
            assert budget.total(t, *more) == pytest.approx(now - worth.gain, rel=1e-8)
    assert "gains" in worth.summary()
    early = budget.worth(0.5, *SIZES)
    assert early.both_factor == np.inf


def test_stopping_early_helps_a_ridge_head_on_surplus_features():
    """Few pairs and labels, 20 features for 2 directions: the end of training has learned the
    noise of the sample; with many pairs and least squares there is nothing to gain."""
    weak = ViewPopulation(np.eye(20)[:, :2] * [2.0, 0.8], 1.0, [0.5, 1.0], 0.3)
    times = [0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0]
    found = early_stopping(weak, 20, 60, 50, times, 80, 1, penalty=0.03)
    assert found.helps
    assert 0.3 <= found.best_time <= 1.0
    assert "helps" in found.summary()
    plain = early_stopping(population(), 2, *SIZES, [0.5, 1.0, 2.0, 4.0], 60, 1)
    assert not plain.helps
    assert plain.gain < 0.01 * plain.risk_at_end


def test_the_half_that_chooses_the_time_does_not_measure_the_gain():
    risks = np.array([[1.0, 2.0], [5.0, 3.0], [1.0, 2.0], [6.0, 3.0]])
    found = EarlyStopping(np.array([0.5, 1.0]), risks, np.full(4, 4.0), 10, 10)
    assert found.best_time == 0.5
    assert found.gain == -1.5
    assert found.gain_se == 0.5


def test_too_few_features_are_best_at_the_time_the_theory_says():
    """One feature for two directions: on its way to the first it passes the target's mixture."""
    times = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 6.0, 20.0])
    found = early_stopping(population(), 1, *SIZES, times, 60, 1)
    theory = TrainingBudget(population(), 1).curve(times, *SIZES).total
    assert found.helps
    assert found.best_time == times[theory.argmin()]


def test_results_read_as_tables():
    curve = TrainingBudget(population(), 2).curve(TIMES, *SIZES)
    frame = curve.frame("pandas")
    assert list(frame.columns) == ["time", "optimization", "unlabeled", "labeled", "total"]
    assert np.allclose(frame["total"], curve.total)
    assert len(curve.summary().splitlines()) == 2 + len(TIMES)


def test_seeds_repeat_and_scale_does_not_matter_to_least_squares():
    a, b = (early_stopping(population(), 2, 100, 100, [0.5], 5, 3, scale=c) for c in (0.1, 9.0))
    assert np.allclose(a.risks, b.risks, rtol=1e-9)
    assert np.array_equal(a.risks, early_stopping(population(), 2, 100, 100, [0.5], 5, 3).risks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "whole number"), ({"rank": 11}, "whole number"),
        ({"rank": True}, "whole number"), ({"penalty": -1.0}, "penalty"),
        ({"penalty": np.nan}, "penalty"), ({"scale": 0.0}, "scale"),
        ({"start": np.ones((10, 3))}, "shape"), ({"start": np.ones((10, 2))}, "dependent"),
        ({"start": np.full((10, 2), np.nan)}, "finite"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainingBudget(population(), **({"rank": 2} | options))


def test_what_the_theory_does_not_cover_is_refused_with_the_reason():
    budget = TrainingBudget(population(), 2)
    for t in (-1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="times"):
            budget.optimization(t)
    with pytest.raises(InputError, match="share"):
        budget.time_enough(*SIZES, share=0)
    with pytest.raises(InputError, match="positive numbers"):
        budget.statistical(0, 10)
    with pytest.raises(IdentificationError, match="flat in them"):
        TrainingBudget(population(), 4, penalty=0.1).statistical(*SIZES)
    with pytest.raises(IdentificationError, match="flat in them"):
        TrainingBudget(population(direct=np.ones(10)), 4).statistical(*SIZES, 5.0)
    start = np.eye(10)[:, 1:3]
    with pytest.raises(IdentificationError, match="saddle"):
        TrainingBudget(population(), 2, start=start)
    equal = ViewPopulation(np.eye(6)[:, :2] * 2.0, 1.0, [1.0, 1.0], 0.3)
    with pytest.raises(IdentificationError, match="depends on the start"):
        TrainingBudget(equal, 1)
    uniform = TrainingBudget(population(factors="uniform"), 2)
    assert uniform.optimization(5.0) < 1e-9
    with pytest.raises(InputError, match="uniform factors"):
        uniform.statistical(*SIZES)
    with pytest.raises(InputError, match="classes"):
        TrainingBudget(population(outcome="logistic"), 2)
    with pytest.raises(InputError, match="no constant"):
        TrainingBudget(population(intercept=1.0), 2)
    with pytest.raises(InputError, match="ViewPopulation"):
        TrainingBudget(np.eye(3), 2)
    with pytest.raises(InputError, match="more than 10 pairs"):
        early_stopping(population(), 2, 10, 100, [1.0])
    with pytest.raises(InputError, match="replicates"):
        early_stopping(population(), 2, 100, 100, [1.0], 2)


def test_moments_of_no_law_are_refused():
    good = {
        "within": np.eye(3),
        "across": np.eye(3) / 2,
        "cross": np.ones(3),
        "outcome_variance": 4.0,
    }
    for change, message in [
        ({"across": np.eye(2)}, "shape"), ({"across": np.triu(np.ones((3, 3)))}, "symmetric"),
        ({"across": 2 * np.eye(3)}, "beyond 1"), ({"outcome_variance": 1.0}, "explains more"),
        ({"cross": np.full(3, np.nan)}, "finite"), ({"outcome_variance": np.ones(3)}, "E yy'"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            PairMoments(**(good | change))
    with pytest.raises(IdentificationError, match="depend on each other"):
        PairMoments(**(good | {"within": np.ones((3, 3)), "across": np.zeros((3, 3))}))
    with pytest.raises(IdentificationError, match="no direction"):
        TrainingBudget(PairMoments(**(good | {"across": -np.eye(3) / 2})), 1)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [3, 5, 8])
def test_surplus_features_have_a_law_early_and_late(rank):
    """Before 4t = sqrt(m), when they are those of the start, and after, when they are noise of the
    sample: mean and tail of the law with (d - k) / (d - r) of the unlabeled part."""
    m, replicates = 6000, 1500
    budget = TrainingBudget(population(), rank)
    found = early_stopping(population(), rank, m, m, [3.0, 3000.0], replicates)
    law = budget.statistical(m, m).law
    for risks in (*found.risks.T, found.end):
        se = risks.std() / np.sqrt(replicates)
        assert abs(risks.mean() - law.mean()) < 4 * se + 30 / m * law.mean()
        beyond = (risks > law.ppf(0.9)).mean()
        assert abs(beyond - 0.1) < 4 * np.sqrt(0.09 / replicates)


@pytest.mark.slow
def test_simulation_agrees_with_uneven_pairs(rng):
    """No isotropy, negative correlations, fewer features than shared directions."""
    W = np.array([[2, 0.3, 0], [1.2, 1, 0.3], [0.2, 1.5, 0], [1, -1, 0.5], [0.9, 1.2, -0.7]])
    pop = ViewPopulation(W, np.linspace(0.5, 1.2, 5), [1.0, -0.5, 0.8], 0.3)
    budget = TrainingBudget(pop, 2)
    found = early_stopping(pop, 2, 4000, 4000, TIMES, 1500)
    curve = budget.curve(TIMES, 4000, 4000)
    excess = found.mean - budget.shortfall
    order = 0.02 * (abs(curve.unlabeled) + curve.labeled)
    assert np.all(abs(excess - curve.total) < 4 * found.se + order)
