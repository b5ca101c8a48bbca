"""The generalised Marchenko-Pastur law against closed forms, high precision and simulation."""

import itertools

import mpmath
import numpy as np
import pytest

from foretell.errors import InputError
from foretell.theory.spectra.marchenko_pastur import marchenko_pastur
from foretell.theory.spectra.spectrum import Spectrum

THREE = [1.0, 3.0, 10.0]
ASPECTS = [0.1, 0.5, 1.0, 2.0, 8.0]


def random_law(rng, aspect_ratio=None):
    """A law with 1 to 50 atoms, some of them zero or of tiny weight, over up to 16 decades."""
    p = int(rng.integers(1, 51))
    tau = np.exp(rng.normal(size=p) * rng.choice([0.1, 1.0, 4.0, 8.0]))
    weights = rng.dirichlet(np.full(p, rng.choice([0.1, 1.0, 10.0])))
    if p > 2 and rng.random() < 0.2:
        tau[0] = 0.0
    gamma = float(np.exp(rng.uniform(np.log(0.05), np.log(20))))
    if rng.random() < 0.2:
        gamma = 1.0
    return marchenko_pastur(tau, aspect_ratio or gamma, weights=weights)


def exact_pairs(law):
    """gamma h_j and tau_j at the working precision; weights sum to one with the zeros."""
    weights = [mpmath.mpf(float(h)) for h in law.weights]
    total = mpmath.mpf(law.aspect_ratio) / sum(weights)
    atoms = [mpmath.mpf(float(t)) for t in law.eigenvalues]
    return [(total * h, t) for h, t in zip(weights, atoms, strict=True)]


def exact_w(law, x, start):
    """The w with z(w) = x at forty digits, from a start that selects the root."""
    pairs = exact_pairs(law)

    def miss(w):
        return w * (1 + sum(c * t / (w - t) for c, t in pairs)) - mpmath.mpf(float(x))

    return mpmath.findroot(miss, mpmath.mpmathify(start), tol=1e-70)


def exact_slope(law, w):
    return 1 - sum(c * t * t / (w - t) ** 2 for c, t in exact_pairs(law))


@pytest.mark.parametrize("gamma", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_one_atom_is_the_closed_form(gamma):
    """Marchenko & Pastur (1967): density sqrt((x - a)(b - x)) / (2 pi gamma s x)."""
    s = 2.5
    law = marchenko_pastur([s], gamma)
    a, b = s * (1 - np.sqrt(gamma)) ** 2, s * (1 + np.sqrt(gamma)) ** 2
    np.testing.assert_allclose(law.edges, [[a, b]], rtol=1e-14)
    x = np.linspace(a, b, 202)[1:-1]
    expected = np.sqrt((x - a) * (b - x)) / (2 * np.pi * gamma * s * x)
    np.testing.assert_allclose(law.pdf(x), expected, rtol=1e-13)
    assert law.atom == pytest.approx(max(0, 1 - 1 / gamma), abs=1e-15)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 4.0])
def test_closed_form_agrees_with_the_curve(gamma):
    """Two atoms that differ by rounding take the general path."""
    one = marchenko_pastur([1.0], gamma)
    two = marchenko_pastur([1.0, 1.0 + 1e-15], gamma)
    assert len(two.eigenvalues) == 2
    x = np.concatenate(
        [np.linspace(*one.edges[0], 52)[1:-1], [-1e3, -1.0, -1e-6, one.edges[0, 1] + 0.1, 50.0]]
    )
    np.testing.assert_allclose(two.companion(x), one.companion(x), rtol=2e-13)
    np.testing.assert_allclose(two.cdf(x), one.cdf(x), atol=1e-15)


@pytest.mark.parametrize("gamma", ASPECTS)
@pytest.mark.parametrize("weights", [None, [0.2, 0.4, 0.4], [0.001, 0.899, 0.1]])
def test_density_equals_forty_digit_roots(gamma, weights):
    law = marchenko_pastur(THREE, gamma, weights=weights)
    inside = np.concatenate(
        [low + (high - low) * np.array([0.02, 0.3, 0.9]) for low, high in law.edges]
    )
    for x, start, density in zip(inside, law.companion(inside), law.pdf(inside), strict=True):
        with mpmath.workdps(40):
            w = exact_w(law, x, complex(start))
            assert w.imag > 0  # the only root there
            exact = w.imag / (mpmath.pi * mpmath.mpf(gamma) * abs(w) ** 2)
            assert abs(density / exact - 1) < 1e-12


@pytest.mark.parametrize("gamma", ASPECTS)
def test_companion_off_the_support_equals_forty_digit_roots(gamma):
    """On the real branch: below zero, in the gaps and above the bulk."""
    law = marchenko_pastur(THREE, gamma, weights=[0.2, 0.4, 0.4])
    gaps = (law.edges[:-1, 1] + law.edges[1:, 0]) / 2
    low, high = law.edges[0, 0], law.edges[-1, 1]
    x = np.concatenate([[-1e4, -1.0, -1e-8, low / 2], gaps, [high + 0.5, 1e5]])
    w = law.companion(x[x != 0])
    assert (w.imag == 0).all()
    for place, value in zip(x[x != 0], w.real, strict=True):
        with mpmath.workdps(40):
            root = exact_w(law, place, float(value))
            assert exact_slope(law, root) > 0
            assert abs(value / root - 1) < 4e-15


@pytest.mark.parametrize("gamma", ASPECTS)
def test_edges_are_the_double_roots(gamma):
    """At forty digits: z(u) at the real zeros of z'."""
    law = marchenko_pastur(THREE, gamma, weights=[0.2, 0.4, 0.4])
    with mpmath.workdps(40):
        for edge, start in zip(
            law.edges.ravel(), law._support.u.ravel() * law._atoms.scale, strict=True
        ):
            if gamma == 1 and start == law._support.u[0, 0]:
                assert edge == start == 0
                continue
            near = (float(start), float(start) * (1 + 1e-9))
            u = mpmath.findroot(lambda w: exact_slope(law, w), near, tol=1e-60)
            exact = u * (1 + sum(c * t / (u - t) for c, t in exact_pairs(law)))
            assert abs(edge / exact - 1) < 4e-15


def test_nearly_square_case_keeps_its_lower_edge():
    """gamma = 1 - 2^-20: the edge (1 - sqrt(gamma))^2 is 2e-13 and has all its digits."""
    gamma = 1 - 2.0**-20
    law = marchenko_pastur([1.0, 1.0 + 1e-15], gamma)
    with mpmath.workdps(40):
        exact = float((1 - mpmath.sqrt(gamma)) ** 2)
    assert law.edges[0, 0] == pytest.approx(exact, rel=1e-9)
    assert law.curve().weight.sum() == pytest.approx(1.0, abs=1e-13)


def test_mass_and_moments_are_exact_for_random_spectra():
    rng = np.random.default_rng(11)
    for _ in range(60):
        law = random_law(rng)
        curve = law.curve()
        assert law.atom + law.masses.sum() == pytest.approx(1.0, abs=1e-14)
        which = np.searchsorted(law.edges[:, 0], curve.x, side="right") - 1
        masses = np.bincount(which, curve.weight, len(law.masses))
        np.testing.assert_allclose(masses, law.masses, rtol=1e-12, atol=1e-13)
        assert curve.weight @ curve.x == pytest.approx(law.mean(), rel=1e-13)
        assert curve.weight @ curve.x**2 == pytest.approx(law.var() + law.mean() ** 2, rel=2e-13)


@pytest.mark.parametrize("gamma", ASPECTS)
def test_area_above_the_distribution_function_is_the_mean(gamma):
    """The closed form of F: its integral over the support, by Gauss nodes in the angle."""
    law = marchenko_pastur([0.0, *THREE], gamma, weights=[0.1, 0.3, 0.4, 0.2])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    angle = (np.arange(16)[:, None] + (nodes + 1) / 2).ravel() * np.pi / 16
    weights = np.tile(weights, 16) / 16
    ends = np.concatenate([[0.0], law.edges.ravel()])
    for power in (1, 2):
        moment = 0.0
        for low, high in itertools.pairwise(ends):
            x = low + (high - low) * (1 - np.cos(angle)) / 2
            area = np.pi / 4 * (high - low) * np.sin(angle) * weights
            moment += float(area @ (power * x ** (power - 1) * (1 - law.cdf(x))))
        expected = law.mean() if power == 1 else law.var() + law.mean() ** 2
        assert moment == pytest.approx(expected, rel=1e-12)


def test_quantiles_invert_the_distribution_function():
    rng = np.random.default_rng(13)
    for _ in range(25):
        law = random_law(rng)
        q = np.concatenate([rng.random(20), [1e-9, 1 - 1e-9]])
        q = law.atom + (1 - law.atom) * q
        x = law.ppf(q)
        np.testing.assert_allclose(law.cdf(x), q, rtol=0, atol=1e-12)
        assert (np.diff(x[np.argsort(q)]) >= 0).all()


def test_gaps_hold_no_probability():
    law = marchenko_pastur(THREE, 0.1, weights=[0.2, 0.4, 0.4])
    middle = (law.edges[:-1, 1] + law.edges[1:, 0]) / 2
    np.testing.assert_array_equal(law.pdf(middle), 0.0)
    np.testing.assert_allclose(law.cdf(middle), [0.2, 0.6], rtol=1e-15)
    np.testing.assert_allclose(law.cdf(law.edges), [[0, 0.2], [0.2, 0.6], [0.6, 1]], atol=1e-15)
    assert law.ppf(0.1 + 0.1) == pytest.approx(law.edges[0, 1], rel=1e-9)


def test_points_at_zero_and_beyond_the_support():
    wide = marchenko_pastur([0.0, 1.0, 2.0], 4.0, weights=[0.1, 0.4, 0.5])
    assert wide.atom == pytest.approx(0.75)
    assert wide.cdf([-1.0, 0.0, np.inf]).tolist() == pytest.approx([0.0, 0.75, 1.0])
    assert wide.ppf([0.0, 0.5, 0.75]).tolist() == [0.0, 0.0, 0.0]
    tall = marchenko_pastur([0.0, 1.0, 2.0], 0.5, weights=[0.1, 0.4, 0.5])
    assert tall.atom == pytest.approx(0.1)
    square = marchenko_pastur([1.0, 2.0], 1.0)
    assert square.edges[0, 0] == 0.0
    assert square.pdf(0.0) == np.inf
    assert square.atom == 0.0
    assert square.companion(0.0) == 0.0


def test_zero_eigenvalues_shorten_the_rows():
    """A share 1 - s of zeros is the law at aspect ratio s * gamma, scaled to probability s."""
    full = marchenko_pastur([1.0, 3.0], 0.6)
    half = marchenko_pastur([0.0, 0.0, 1.0, 3.0], 1.2)
    x = np.linspace(0.05, 9, 50)
    np.testing.assert_allclose(half.pdf(x), 0.5 * full.pdf(x), rtol=1e-13)
    np.testing.assert_allclose(half.cdf(x), 0.5 + 0.5 * full.cdf(x), rtol=1e-14)


def test_inputs_that_mean_the_same_law():
    law = marchenko_pastur([1.0, 1.0, 3.0], 0.7)
    x = np.linspace(0.1, 8, 40)
    covariance = np.diag([3.0, 1.0, 1.0])
    spectrum = Spectrum.of(covariance)
    for same in (
        marchenko_pastur([3.0, 1.0], 0.7, weights=[5, 10]),
        marchenko_pastur(covariance, 0.7),
        marchenko_pastur(spectrum, 0.7),
    ):
        np.testing.assert_allclose(same.pdf(x), law.pdf(x), rtol=1e-12)
    scaled = marchenko_pastur([1e-9, 1e-9, 3e-9], 0.7)
    np.testing.assert_allclose(scaled.pdf(1e-9 * x) * 1e-9, law.pdf(x), rtol=1e-11)


def test_simulated_eigenvalues_follow_the_law():
    """Mean over eigenvalues of 1 / (1 + x): bias of order 1/d and four standard errors."""
    rng = np.random.default_rng(3)
    d, n, draws = 240, 480, 20
    tau = np.repeat(THREE, d // 3)
    law = marchenko_pastur(tau, d / n)
    values = []
    for _ in range(draws):
        X = rng.normal(size=(n, d)) * np.sqrt(tau)
        values.append((1 / (1 + np.linalg.eigvalsh(X.T @ X / n))).mean())
    curve = law.curve()
    theory = curve.weight @ (1 / (1 + curve.x))
    error = np.std(values, ddof=1) / np.sqrt(draws)
    assert abs(np.mean(values) - theory) < 4 * error + 1 / d**1.5


def test_fixed_nodes_converge_and_draws_have_the_moments():
    law = marchenko_pastur(THREE, 0.5)
    curve = law.curve(200)
    assert len(curve.x) == 200 * len(law.edges)
    assert curve.weight.sum() == pytest.approx(1.0, abs=1e-12)
    draws = law.rvs(4000, random_state=0)
    assert abs(draws.mean() - law.mean()) < 4 * np.sqrt(law.var() / 4000)
    assert law.rvs(random_state=1) > 0
    assert "mean, variance" in law.summary()
    assert "intervals" in repr(law)


def test_five_hundred_atoms_agree_with_the_limit():
    """AR(1): z(w) = w - gamma w / sqrt(1 - 2 b w + w^2) holds for the limit of many atoms."""
    rho, gamma = 0.5, 0.5
    angle = (np.arange(500) + 0.5) * np.pi / 500
    law = marchenko_pastur((1 - rho**2) / (1 - 2 * rho * np.cos(angle) + rho**2), gamma)
    b = (1 + rho**2) / (1 - rho**2)
    low, high = b - np.sqrt(b * b - 1), b + np.sqrt(b * b - 1)
    x = np.linspace(*law.edges[0], 22)[1:-1]
    w = law.companion(x)
    root = np.sqrt(low - w) * np.sqrt(high - w)
    np.testing.assert_allclose(w - gamma * w / root, x, rtol=1e-12, atol=1e-12)


def test_many_eigenvalues_are_compressed():
    """Lognormal spectra: the compressed law against all 5,000 atoms."""
    from foretell.theory.spectra import atoms

    tau = np.exp(0.5 * np.random.default_rng(5).normal(size=5000))
    law = marchenko_pastur(tau, 0.5)
    assert len(law.eigenvalues) < 2500
    assert law.mean() == pytest.approx(tau.mean(), rel=1e-14)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atoms, "MANY", 10**9)
        exact = marchenko_pastur(tau, 0.5)
    assert len(exact.eigenvalues) == 5000
    assert law.edges[-1, 1] == pytest.approx(exact.edges[-1, 1], rel=1e-9)
    x = np.linspace(0.2, 4, 30)
    np.testing.assert_allclose(law.pdf(x), exact.pdf(x), atol=1e-6)
    np.testing.assert_allclose(law.cdf(x), exact.cdf(x), atol=1e-8)


@pytest.mark.parametrize(
    ("eigenvalues", "gamma", "weights", "message"),
    [
        ([1.0, -1.0], 0.5, None, "not negative; found -1 at position 1"),
        ([1.0, np.nan], 0.5, None, "eigenvalues are finite"),
        ([0.0, 0.0], 0.5, None, "a law needs a positive one"),
        ([], 0.5, None, "at least one"),
        ([1.0], 0.0, None, "positive and finite; found 0"),
        ([1.0], -2.0, None, "positive and finite"),
        ([1.0], np.inf, None, "positive and finite"),
        ([1.0, 2.0], 0.5, [1.0], "give one each"),
        ([1.0, 2.0], 0.5, [1.0, -1.0], "weights are finite and not negative"),
        ([1.0, 2.0], 0.5, [0.0, 0.0], "weights are all zero"),
        ([0.0, 2.0], 0.5, [1.0, 0.0], "a law needs a positive one"),
        ([1e-40, 1e40], 0.5, None, "more than a factor"),
        (np.eye(2), 0.5, [1.0, 1.0], "has its own counts"),
    ],
)
def test_bad_input_is_named(eigenvalues, gamma, weights, message):
    with pytest.raises(InputError, match=message):
        marchenko_pastur(eigenvalues, gamma, weights=weights)


def test_bad_points_are_named():
    law = marchenko_pastur(THREE, 0.5)
    for q in (-0.1, 1.1, np.nan):
        with pytest.raises(InputError):
            law.ppf(q)
    for call in (law.pdf, law.cdf, law.companion):
        with pytest.raises(InputError):
            call([1.0, np.nan])
    with pytest.raises(InputError):
        law.companion(np.inf)
    with pytest.raises(InputError):
        law.curve(0)


def test_text_and_complex_points_are_refused():
    law = marchenko_pastur([1.0, 2.0], 0.5)
    for call in (law.pdf, law.cdf, law.ppf):
        for bad in ("x", 1j):
            with pytest.raises(InputError, match="real number"):
                call(bad)


def test_quantiles_of_a_steep_spectrum_leak_no_warnings():
    """Atoms over five decades: some Newton steps go to infinity, and are taken back."""
    law = marchenko_pastur(1 / np.arange(1, 401.0) ** 2, 4 / 3)
    shares = np.array([0.2501, 0.3, 0.5, 0.99])
    np.testing.assert_allclose(law.cdf(law.ppf(shares)), shares, atol=1e-10)
    assert law.ppf(0.01) == 0
