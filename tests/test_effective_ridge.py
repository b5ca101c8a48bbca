"""The effective ridge and compressed spectra, against 50 digits, closed forms and exact moments."""

import time

import mpmath
import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.spectra.compression import compressed
from foretell.theory.spectra.effective_ridge import LARGE, effective_ridge, ridges
from foretell.theory.spectra.spectrum import Spectrum

SPECTRA = {
    "identity": np.ones(20),
    "lognormal": np.exp(np.linspace(-2, 2, 20)),
    "conditioned": np.geomspace(1e-11, 1, 20),
    "spiked": np.r_[np.ones(17), 1e2, 1e5, 1e8],
}


def high_precision(tau, n, alpha):
    """Root to 50 digits, from above and checked on both sides; nothing of the code under test."""
    mpmath.mp.dps = 60
    values, alpha = [mpmath.mpf(float(t)) for t in tau], mpmath.mpf(alpha)

    def gap(kappa):
        return kappa * (1 - sum(t / (t + kappa) for t in values) / n) - alpha

    above = alpha + sum(values) / n
    for _ in range(60):  # monotone from above; the last steps are exact to 50 digits
        slope = 1 - sum((t / (t + above)) ** 2 for t in values) / n
        step = gap(above) / slope
        above -= step
        if abs(step) < mpmath.mpf(10) ** -52 * above:
            break
    assert gap(above * (1 + mpmath.mpf(10) ** -45)) > 0 > gap(above * (1 - mpmath.mpf(10) ** -45))
    assert above > 0
    return above


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("n", [2, 7, 19, 20, 21, 80])
def test_effective_ridge_has_fourteen_digits(name, n):
    tau = SPECTRA[name]
    for alpha in (0.0, 1e-9, 1e-3, 1.0, 1e4):
        if alpha == 0 and n >= 20:
            assert effective_ridge(tau, n, alpha) == 0
            continue
        exact = high_precision(tau, n, alpha)
        assert abs(effective_ridge(tau, n, alpha) / exact - 1) < 1e-14


def test_identity_solves_a_quadratic():
    gamma, alpha = 1.7, 0.3
    b = 1 - gamma - alpha
    root = (-b + np.sqrt(b * b + 4 * alpha)) / 2
    np.testing.assert_allclose(effective_ridge(np.ones(17), 10, alpha), root, rtol=1e-14)
    np.testing.assert_allclose(effective_ridge(np.ones(17), 10, 0.0), gamma - 1, rtol=1e-14)


def test_penalties_may_come_in_any_shape_and_order(rng):
    tau = np.exp(rng.normal(size=30))
    alphas = np.array([[1.0, 0.0, 1e-6], [1e3, 0.2, 1.0]])
    for n in (20, 30, 45):
        found = effective_ridge(tau, n, alphas)
        each = [[effective_ridge(tau, n, float(a)) for a in row] for row in alphas]
        np.testing.assert_allclose(found, each, rtol=4e-15)
        assert found.shape == alphas.shape
        assert isinstance(effective_ridge(tau, n, 1.0), float)


def test_covariance_its_eigenvalues_and_its_spectrum_give_the_same(rng):
    B = rng.normal(size=(12, 9))
    tau = np.r_[np.zeros(3), np.linalg.eigvalsh(B.T @ B)]
    expected = effective_ridge(tau, 6, 0.1)
    np.testing.assert_allclose(effective_ridge(B @ B.T, 6, 0.1), expected, rtol=1e-12)
    np.testing.assert_allclose(effective_ridge(Spectrum.of(tau), 6, 0.1), expected, rtol=1e-14)
    assert effective_ridge(tau, 6, 0.1) == pytest.approx(effective_ridge(tau[3:], 6, 0.1), 1e-14)


def test_effective_ridge_scales_with_the_covariance(rng):
    tau = np.exp(rng.normal(size=25))
    for scale in (1e-30, 1e30):
        found = effective_ridge(scale * tau, 10, scale * np.array([0.0, 0.1]))
        np.testing.assert_allclose(found, scale * effective_ridge(tau, 10, [0.0, 0.1]), rtol=1e-14)


@pytest.mark.parametrize("share", [0.5, 1.0, 3.0])
def test_long_lists_of_eigenvalues_meet_the_equation(rng, share):
    """A single penalty starts from a part of the spectrum, in whatever order it is; several
    compress it.
    """
    tau = rng.permutation(np.exp(2 * rng.normal(size=2 * LARGE)))
    n = share * len(tau)
    alphas = np.array([1e-6, 0.1, 10.0])
    several = effective_ridge(tau, n, alphas)
    for alpha, kappa in zip(alphas, several, strict=True):
        one = effective_ridge(tau, n, alpha)
        direct = ridges(tau, np.ones(len(tau)), n, np.array([alpha, alpha]))[0]
        np.testing.assert_allclose(one, direct, rtol=2e-14)
        np.testing.assert_allclose(kappa, one, rtol=1e-12)


def test_a_misleading_part_of_the_spectrum_is_a_start_all_the_same():
    """Every tenth eigenvalue, from which the start comes, is far below the others."""
    tau = np.ones(40_960)
    tau[::10] = 1e-6
    kappa = effective_ridge(tau, 4_000.0, 1e-3)
    np.testing.assert_allclose(kappa * (1 - (tau / (tau + kappa)).sum() / 4_000), 1e-3, rtol=1e-9)


def test_what_counts_is_the_rank():
    tau = np.r_[np.zeros(4), np.ones(6)]
    assert effective_ridge(tau, 6, 0.0) == effective_ridge(tau, 7, 0.0) == 0
    np.testing.assert_allclose(effective_ridge(tau, 3, 0.0), 1.0, rtol=1e-14)


@pytest.mark.slow
def test_a_million_eigenvalues_are_quick(rng):
    """One penalty under 50 ms and fifty under 100 ms, compression included, of processor time."""
    tau = np.exp(rng.normal(size=10**6))
    times = []
    for alpha in (0.01, 0.01, np.geomspace(1e-8, 1e2, 50), np.geomspace(1e-8, 1e2, 50)):
        start = time.process_time()
        effective_ridge(tau, 2e6, alpha)
        times.append(time.process_time() - start)
    assert min(times[:2]) < 0.05
    assert min(times[2:]) < 0.1


def test_compression_keeps_three_moments_of_each_bin(rng):
    tau = np.r_[np.zeros(5), np.exp(rng.normal(size=5000)), np.full(7, 3.3), 50.0, 60.0]
    counts = rng.integers(1, 4, size=len(tau)).astype(float)
    nodes, weights = compressed(tau, counts, width=0.1)
    assert len(nodes) < 300
    assert (np.diff(nodes) > 0).sum() > 100
    assert (weights > 0).all()
    assert {50.0, 60.0} <= set(nodes)
    for power in range(4):
        expected = counts @ tau**power
        np.testing.assert_allclose(weights @ nodes**power, expected, rtol=1e-13)
    assert weights[nodes == 0].sum() == counts[:5].sum()


@pytest.mark.parametrize("width", [1 / 64, 1 / 256])
def test_compression_is_of_fourth_order(rng, width):
    """Two-node Gauss rules leave f'''' / 4320 of a uniform bin: width**4 / 180 for 1 / tau."""
    tau = np.exp(rng.normal(size=100_000))
    nodes, weights = compressed(tau, np.ones(len(tau)), width=width)
    error = abs(weights @ (1 / nodes) / (1 / tau).sum() - 1)
    assert 0.3 * width**4 / 180 < error < 1.5 * width**4 / 180


def test_compression_keeps_repeated_and_single_eigenvalues():
    nodes, weights = compressed(np.array([2.0, 1.0, 0.0, 7.0]), np.array([3.0, 1.0, 2.0, 0.5]))
    np.testing.assert_array_equal(nodes, [0, 1, 2, 7])
    np.testing.assert_array_equal(weights, [2, 1, 3, 0.5])
    nodes, weights = compressed(2 + 1e-15 * np.arange(50), np.ones(50))
    np.testing.assert_allclose((nodes, weights), ([2], [50]), rtol=1e-13)


@pytest.mark.parametrize(
    ("covariance", "n", "alpha", "says"),
    [
        ([[1.0, 0.5], [0.2, 1.0]], 5, 0.1, "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], 5, 0.1, "negative"),
        ([[1.0, np.nan], [np.nan, 1.0]], 5, 0.1, "finite"),
        (np.r_[-1.0, np.ones(LARGE)], 5, 0.1, "negative"),
        (np.r_[np.inf, np.ones(LARGE)], 5, 0.1, "finite"),
        (np.zeros(3), 5, 0.1, "zero"),
        (np.ones(3), 1, 0.1, "at least 2"),
        (np.ones(3), np.nan, 0.1, "at least 2"),
        (np.ones(3), 5, -0.1, "not negative"),
        (np.ones(3), 5, [0.1, np.nan], "not negative"),
        (np.ones(3), 5, [], "one or more"),
    ],
)
def test_bad_input_is_explained(covariance, n, alpha, says):
    with pytest.raises(InputError, match=says):
        effective_ridge(np.asarray(covariance), n, alpha)
