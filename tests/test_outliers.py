"""Outliers of masked regression: formulas against one another, thresholds, simulation, phases."""

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.masked.covariances import Spiked
from foretell.theory.masked.optimal import optimal_alpha
from foretell.theory.spectra import (
    bbp_threshold,
    block_outliers,
    covariance_outliers,
    empirical_spectrum,
    masked_outliers,
    masked_spectrum,
    phase_diagram,
)
from foretell.theory.spectra.phase import optimal_spike_penalty

ROW = ("location", "right_overlap", "left_overlap", "symmetric_overlap")


def identity_kappa(gamma, alpha):
    shift = alpha + gamma - 1
    return (shift + np.sqrt(shift**2 + 4 * alpha)) / 2


def numbers(outlier):
    return [getattr(outlier, name) for name in ROW]


def uniform_block(theta, b):
    return np.eye(b) + theta * np.ones((b, b)) / b


@pytest.mark.parametrize(("gamma", "alpha"), [(0.5, 0.1), (2.0, 1.0), (0.2, 1e-3)])
@pytest.mark.parametrize("theta", [-0.9, 0.3, 1.5, 8.0])
def test_delocalized_spikes_have_their_closed_form(gamma, alpha, theta):
    rows = masked_outliers([theta], gamma, alpha)
    in_covariance = covariance_outliers([theta], gamma)
    if abs(theta) < np.sqrt(gamma) or (theta < 0 and gamma > 1):
        assert rows == in_covariance == ()
        return
    kappa = identity_kappa(gamma, alpha)
    delta = kappa / alpha / (1 + kappa)
    s = (1 + theta) * (1 + gamma / theta)
    overlap = (1 - gamma / theta**2) / (1 + gamma / theta)
    assert in_covariance[0].location == pytest.approx(s, rel=1e-12)
    assert in_covariance[0].overlap == pytest.approx(overlap, rel=1e-12)
    expected = [1 - 1 / (delta * (s + alpha)), *[overlap] * 3]
    assert numbers(rows[0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.5, 0.1), (0.1, 0.05), (2.0, 0.5)])
@pytest.mark.parametrize(("theta", "b"), [(20.0, 2), (6.0, 5), (3.0, 4), (-0.7, 3), (8.0, 1)])
def test_uniform_spikes_are_blocks(gamma, alpha, theta, b):
    """One dimension at a time against the determinant of the block."""
    rows = masked_outliers([theta], gamma, alpha, support=b)
    spread = [numbers(row) for row in rows for _ in range(row.multiplicity)]
    block = [numbers(row) for row in block_outliers(uniform_block(theta, b), gamma, alpha)]
    assert len(block) == len(spread)
    for one, other in zip(block, spread, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("gamma", "alpha", "theta", "b"), [(0.5, 0.1, 4.0, 3), (2.0, 1.0, 9.0, 5)])
def test_uniform_spikes_have_the_closed_form_of_the_notes(gamma, alpha, theta, b):
    row = masked_outliers([theta], gamma, alpha, support=b)[0]
    kappa = identity_kappa(gamma, alpha)
    q = 1 - theta / (b * (1 + theta + kappa))
    delta = kappa / alpha / (1 + kappa)
    z = 1 / (delta * (1 - row.location)) - alpha
    w = max(np.roots([1, gamma - 1 - z, z]).real)
    omega = 1 + gamma / (w - 1)
    assert w * omega == pytest.approx(z)
    assert (z + alpha) / q == pytest.approx(alpha + omega * (1 + theta), rel=1e-10)
    c2 = 1 / (1 + q * (1 + theta) * gamma / ((w - 1) ** 2 - gamma))
    assert row.symmetric_overlap == pytest.approx(c2, rel=1e-9)
    assert row.right_overlap == pytest.approx(q * c2 / (q * c2 + 1 - c2), rel=1e-9)
    assert row.left_overlap == pytest.approx(c2 / q / (c2 / q + 1 - c2), rel=1e-9)


def test_wide_support_is_delocalized():
    narrow = masked_outliers([4.0], 0.5, 0.1, support=10**7)[0]
    assert numbers(narrow) == pytest.approx(numbers(masked_outliers([4.0], 0.5, 0.1)[0]), rel=1e-5)


def test_blocks_apart_do_not_see_each_other():
    first, second = uniform_block(9.0, 2), np.array([[3.0, 2.5], [2.5, 4.0]])
    joint = np.block([[first, np.zeros((2, 2))], [np.zeros((2, 2)), second]])
    rows = block_outliers(first, 0.3, 0.1) + block_outliers(second, 0.3, 0.1)
    apart = sorted(numbers(row) for row in rows)
    found = sorted(numbers(row) for row in block_outliers(joint, 0.3, 0.1))
    assert np.array(found) == pytest.approx(np.array(apart), rel=1e-9)
    spikes = masked_outliers([9.0, 4.0], 0.3, 0.1, support=[2, None])
    assert {row.spike for row in spikes} >= {9.0, 4.0}


def test_a_flat_bulk_in_two_halves_is_flat():
    """The general bulk, with its edges by the solver, against variance one in closed form."""
    split = masked_outliers([4.0, -0.9], 0.5, 0.1, bulk=[1 - 1e-9, 1 + 1e-9])
    whole = masked_outliers([4.0, -0.9], 0.5, 0.1)
    assert len(split) == len(whole) == 2
    for one, other in zip(split, whole, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-6)
    block = uniform_block(9.0, 2)
    for one, other in zip(
        block_outliers(block, 0.5, 0.1, bulk=[1 - 1e-7, 1 + 1e-7]),
        block_outliers(block, 0.5, 0.1),
        strict=True,
    ):
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-5)


def test_units_do_not_matter():
    block, bulk = np.array([[9.0, 7.0], [7.0, 9.0]]), np.array([1.0, 1.5])
    one = block_outliers(block, 0.1, 0.05, bulk=bulk)
    other = block_outliers(7 * block, 0.1, 0.35, bulk=7 * bulk)
    assert len(one) == 2
    for a, b in zip(one, other, strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=1e-9)


def test_thresholds_of_the_notes():
    root = np.sqrt(0.5)
    assert bbp_threshold(0.5) == pytest.approx(root)
    for b in (2, 5, 10):
        expected = root * b / (b - 1)
        assert bbp_threshold(0.5, support=b, alpha=0.0) == pytest.approx(expected, rel=1e-12)
    for alpha in (0.0, 1e-3, 0.1, 1.0):
        assert bbp_threshold(0.5, support=1, alpha=alpha) == np.inf
    assert bbp_threshold(0.5, support=1, alpha=10.0) == pytest.approx(2.08, abs=5e-3)
    assert bbp_threshold(0.5, support=1, alpha=np.inf) == pytest.approx(1 + root)
    for b in (1, 3):
        far = bbp_threshold(0.5, support=b, alpha=1e7)
        assert far == pytest.approx(bbp_threshold(0.5, support=b, alpha=np.inf), rel=1e-5)
    assert bbp_threshold(0.5, support=10**8, alpha=0.1) == pytest.approx(root, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.2, 1.0, 3.0])
@pytest.mark.parametrize(("support", "alpha"), [(None, 0.1), (2, 0.1), (6, 2.0), (1, 30.0)])
def test_an_outlier_appears_at_the_threshold_from_the_bulk(gamma, support, alpha):
    theta = bbp_threshold(gamma, support=support, alpha=alpha)

    def leading(factor):
        rows = masked_outliers([theta * factor], gamma, alpha, support=support)
        kappa = identity_kappa(gamma, alpha)
        delta = kappa / alpha / (1 + kappa)
        edge = 1 - 1 / (delta * ((1 + np.sqrt(gamma)) ** 2 + alpha))
        return [row for row in rows if row.location > edge - 1e-12], edge

    assert leading(0.999)[0] == []
    (row,), edge = leading(1.001)
    assert row.location == pytest.approx(edge, abs=1e-4)
    assert row.right_overlap < 5e-3


def simulated(rng, block, gamma, alpha, d, draws):
    """Eigenvalues and vectors of draws with this covariance of the first coordinates."""
    n, b = round(d / gamma), len(block)
    root = np.linalg.cholesky(block)
    out = []
    for _ in range(draws):
        X = rng.standard_normal((n, d))
        X[:, :b] = X[:, :b] @ root.T
        out.append(empirical_spectrum(X, alpha))
    return out


def check(spectra, rows, share, d):
    """Location and overlaps within four standard errors and the order 1/d of the theory."""
    means = np.mean([s.eigenvalues for s in spectra], axis=0)
    for row in rows:
        index = int(np.argmin(np.abs(np.log(1 - means) - np.log(1 - row.location))))
        logs = [np.log(1 - s.eigenvalues[index]) for s in spectra]
        found = [
            logs,
            *(
                [share(vectors(s)[:, index]) for s in spectra]
                for vectors in (lambda s: s.right, lambda s: s.left, lambda s: s.symmetric)
            ),
        ]
        theory = [np.log(1 - row.location), *numbers(row)[1:]]
        for values, expected in zip(found, theory, strict=True):
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            assert abs(np.mean(values) - expected) < 4 * error + 5 / d


LOCALIZED = {
    "pair, few columns": (uniform_block(20.0, 2), 0.1, 0.05),
    "five": (uniform_block(6.0, 5), 0.5, 0.1),
    "one, strong penalty": (np.array([[9.0]]), 0.5, 10.0),
    "pair, n < d": (uniform_block(20.0, 2), 2.0, 0.5),
    "general": (
        np.array([[4.0, 2.5, 0.3], [2.5, 3.0, -0.4], [0.3, -0.4, 0.5]]),
        0.2,
        0.1,
    ),
}


@pytest.mark.parametrize("name", LOCALIZED)
def test_localized_outliers_of_data(rng, name):
    """Also those below the bulk, which a localized spike of either sign can cause."""
    block, gamma, alpha = LOCALIZED[name]
    d = 200
    spectra = simulated(rng, block, gamma, alpha, d, 8)
    rows = block_outliers(block, gamma, alpha)
    if gamma > 1:  # an outlier within the spread of the null space is not to be seen
        rows = [row for row in rows if row.symmetric_overlap > 0.3]
    assert rows
    check(spectra, rows, lambda u: (u[: len(block)] ** 2).sum(), d)


def test_a_localized_spike_pulls_an_eigenvalue_below_the_bulk():
    """Two columns that predict each other have eigenvalues of both signs."""
    rows = masked_outliers([20.0], 0.1, 0.05, support=2)
    assert [round(row.location, 3) for row in rows] == [0.914, -1.136]
    assert rows[1].spike is None
    assert rows[1].multiplicity == 1


@pytest.mark.parametrize(
    ("spikes", "gamma", "alpha"),
    [((4.0,), 0.5, 0.1), ((6.0, 3.0), 0.5, 0.1), ((4.0, -0.85), 0.2, 0.1), ((8.0,), 2.0, 1.0)],
)
def test_delocalized_outliers_of_data(rng, spikes, gamma, alpha):
    d, draws = 240, 8
    covariance = Spiked(d, spikes)
    n = round(d / gamma)
    rows = masked_outliers(spikes, gamma, alpha)
    assert len(rows) == len(spikes)
    spectra = [
        empirical_spectrum(covariance.color(rng.standard_normal((n, d))), alpha)
        for _ in range(draws)
    ]
    for row in rows:
        v = covariance.vectors[:, covariance.spikes.index(row.spike)]
        check(spectra, [row], lambda u, v=v: (u @ v) ** 2, d)


def test_outliers_of_another_bulk_in_data(rng):
    """A spike over a bulk of two variances with eigenvectors spread over all coordinates."""
    d, n, alpha, draws = 240, 480, 0.2, 8
    variances = np.repeat([1.0, 3.0], [120, 120])
    variances[0] = 9.0
    spectra, tops = [], []
    for _ in range(draws):
        V = np.linalg.qr(rng.standard_normal((d, d)))[0]
        X = rng.standard_normal((n, d)) * np.sqrt(variances) @ V.T
        spectra.append((empirical_spectrum(X, alpha), V[:, 0]))
        tops.append(np.linalg.eigvalsh(X.T @ X / n)[-1])
    (row,) = masked_outliers([8.0], 0.5, alpha, bulk=[1.0, 3.0])
    (in_covariance,) = covariance_outliers([8.0], 0.5, bulk=[1.0, 3.0])
    logs = [np.log(1 - s.eigenvalues[0]) for s, _ in spectra]
    overlaps = [(s.right[:, 0] @ v) ** 2 for s, v in spectra]
    for values, expected, scale in (
        (logs, np.log(1 - row.location), 1.0),
        (overlaps, row.right_overlap, 1.0),
        (tops, in_covariance.location, 9.0),
    ):
        error = np.std(values, ddof=1) / np.sqrt(draws)
        assert abs(np.mean(values) - expected) < 4 * error + 5 * scale / d


def test_a_spiked_covariance_brings_its_outliers():
    law = masked_spectrum(Spiked(400, (4.0, 0.2)), 800, 0.1)
    assert law.outliers == masked_outliers([4.0, 0.2], 0.5, 0.1)
    assert len(law.outliers) == 1
    localized = masked_spectrum(Spiked(60, (6.0,), "localized", 3), 120, 0.1)
    assert localized.outliers == masked_outliers([6.0], 0.5, 0.1, support=3)
    assert masked_spectrum(np.ones(10), 20, 0.1).outliers == ()


@pytest.mark.parametrize("support", [None, 1, 3])
@pytest.mark.parametrize("alpha", [0.3, 20.0])
def test_phases_agree_with_the_outliers(support, alpha):
    diagram = phase_diagram(
        np.linspace(0.2, 4, 7), np.linspace(0.2, 9, 6), alpha=alpha, support=support
    )
    for i, theta in enumerate(diagram.spikes):
        for j, ratio in enumerate(diagram.sample_ratios):
            gamma = 1 / ratio
            rows = masked_outliers([theta], gamma, alpha, support=support)
            kappa = identity_kappa(gamma, alpha)
            edge = 1 - alpha * (1 + kappa) / kappa / ((1 + np.sqrt(gamma)) ** 2 + alpha)
            above = [row for row in rows if row.location > edge and row.spike == theta]
            in_covariance = covariance_outliers([theta], gamma)
            assert diagram.phase[i, j] == (2 if above else 1 if in_covariance else 0)
            overlap = above[0].right_overlap if above else 0.0
            assert diagram.coefficient_overlap[i, j] == pytest.approx(overlap, abs=1e-9)
            overlap = in_covariance[0].overlap if in_covariance else 0.0
            assert diagram.covariance_overlap[i, j] == pytest.approx(overlap, abs=1e-12)
    limit = diagram.coefficient_boundary
    assert ((diagram.spikes[:, None] > limit) == (diagram.phase == 2)).all()


def test_phases_at_the_optimal_penalty_change_at_the_boundary():
    diagram = phase_diagram([0.5, 2.0, 5.0], [1.0], support=2, d=400)
    for factor, visible in ((0.999, False), (1.001, True)):
        spikes = diagram.coefficient_boundary * factor
        around = phase_diagram(diagram.sample_ratios, spikes, support=2, d=400)
        assert (np.diag(around.phase == 2) == visible).all()
    assert (diagram.coefficient_boundary > diagram.covariance_boundary).all()


@pytest.mark.parametrize(("theta", "n", "b"), [(4.0, 400, None), (2.0, 100, None), (6.0, 400, 2)])
def test_optimal_penalty_of_a_spike_is_that_of_its_covariance(theta, n, b):
    kind = ("delocalized", 1) if b is None else ("localized", b)
    covariance = Spiked(200, (theta,), *kind)
    found = optimal_spike_penalty(theta, 200 / n, d=200, support=b or 200)
    assert found == pytest.approx(optimal_alpha(covariance, n), rel=1e-4)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="above -1"):
        masked_outliers([-1.0], 0.5, 0.1)
    with pytest.raises(InputError, match="above -1"):
        covariance_outliers([np.nan], 0.5)
    with pytest.raises(InputError, match="positive; found 0"):
        masked_outliers([1.0], 0.0, 0.1)
    with pytest.raises(InputError, match="penalty alpha > 0"):
        masked_outliers([1.0], 0.5, 0.0)
    with pytest.raises(InputError, match="coordinates from 1; found 0"):
        masked_outliers([1.0], 0.5, 0.1, support=0)
    with pytest.raises(InputError, match="2 spikes but 1 supports"):
        masked_outliers([1.0, 2.0], 0.5, 0.1, support=[2])
    with pytest.raises(InputError, match="block_outliers"):
        masked_outliers([1.0], 0.5, 0.1, support=2, bulk=[1.0, 2.0])
    with pytest.raises(InputError, match="positive definite"):
        block_outliers([[1.0, 1.0], [1.0, 1.0]], 0.5, 0.1)
    with pytest.raises(InputError, match="depends on the penalty"):
        bbp_threshold(0.5, support=2)
    with pytest.raises(InputError, match="support = 6, d = 5"):
        phase_diagram([1.0], [1.0], support=6, d=5)
    with pytest.raises(InputError, match="spikes: finite numbers above 0"):
        phase_diagram([1.0], [-0.5])
    with pytest.raises(InputError, match=r"alpha: finite numbers above 0.*take a small one"):
        phase_diagram([1.0], [1.0], alpha=0.0)
    with pytest.raises(InputError, match="alpha is a penalty from 0 to inf; found -1"):
        bbp_threshold(0.5, alpha=-1)
