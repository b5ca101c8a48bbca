"""Laws of ``RiskLaw``: identities, closed forms, published tables, independent high precision."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from foretell.errors import ConvergenceError, InputError
from foretell.inference import contour
from foretell.inference.risklaw import RiskLaw

BOTH_TAILS = np.array([1e-10, 1e-6, 1e-3, 0.05, 0.3, 0.5, 0.7, 0.95])

# One law of each kind: dense, decaying, both signs, few terms, with normal terms, near-normal.
SOME = {
    "one square": RiskLaw([1.0]),
    "three squares": RiskLaw([0.6, 0.3, 0.1]),
    "shifted square": RiskLaw([0.5], [2.0], 3.0),
    "decaying": RiskLaw(1 / np.arange(1.0, 60.0) ** 2),
    "negative": RiskLaw([-1.0, -0.2], [0.0, 0.3], 1.0),
    "difference": RiskLaw([1.0, -1.0]),
    "three of both signs": RiskLaw([1.0, -0.1, -0.1], [0.0, 0.2, 0.0]),
    "one against many": RiskLaw(np.r_[1.0, np.linspace(-0.015, -0.005, 400)]),
    "square and normal": RiskLaw([1.0, 0.0], [0.0, 0.01]),
    "all kinds": RiskLaw([1.0, -0.5, 0.0, 0.0], [0.0, 0.3, 0.1, 0.0], -2.0),
    "near-normal": RiskLaw([1e-4, -2e-4, 1e-4], [1.0, 0.5, 0.2]),
    "normal": RiskLaw([0.0, 0.0], [1.0, 2.0], 1.0),
    "wide range": RiskLaw([1.0, 1e-8, 1e-4], [0.0, 1e-6, 0.0]),
}
every_law = pytest.mark.parametrize("law", SOME.values(), ids=SOME.keys())


def chi_square_form(
    weights: tuple[float, ...], dof: tuple[int, ...], shift: tuple[float, ...] | None = None
) -> RiskLaw:
    """Sum of weight x chi-square(dof, noncentrality), as the tables write it."""
    w, l, offset = [], [], 0.0
    for a, n, d in zip(weights, dof, shift or (0.0,) * len(dof), strict=True):
        w += [a] * n
        l += [2 * a * d**0.5] + [0.0] * (n - 1)
        offset += a * d
    return RiskLaw(w, l, offset)


def paired_tail(weights: np.ndarray, x: float) -> float:
    """P(X > x), x >= 0, when every weight occurs twice: partial fractions, 700 digits."""
    with localcontext() as context:
        context.prec = 700
        exact = [Decimal(float(w)) for w in weights]
        total = Decimal(0)
        for i, a in enumerate(exact):
            if a > 0:
                product = Decimal(1)
                for j, b in enumerate(exact):
                    if j != i:
                        product *= a - b
                total += (-Decimal(float(x)) / (2 * a)).exp() * a ** (len(exact) - 1) / product
        return float(total)


def conditioned_tail(weights: tuple[float, float], linear: tuple[float, float], x: float) -> str:
    """P(X > x) for two terms, by integrating over z_2 at 40 digits: made ``CONDITIONED``."""
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 40
    w, l, y = [mp.mpf(v) for v in weights], [mp.mpf(v) for v in linear], mp.mpf(x)

    def first_term(rest):
        discriminant = l[0] ** 2 + 4 * w[0] * (y - rest)
        if discriminant <= 0:
            return mp.mpf(w[0] > 0)
        ends = sorted((-l[0] + sign * mp.sqrt(discriminant)) / (2 * w[0]) for sign in (1, -1))
        inside = mp.ncdf(ends[1]) - mp.ncdf(ends[0])
        return mp.ncdf(ends[0]) + mp.ncdf(-ends[1]) if w[0] > 0 else inside

    # Break where the discriminant, a quadratic in z_2, vanishes.
    constant = -y - l[0] ** 2 / (4 * w[0])
    if w[1]:
        root = mp.sqrt(l[1] ** 2 - 4 * w[1] * constant)
        breaks = [(-l[1] + sign * root) / (2 * w[1]) for sign in (1, -1)]
    else:
        breaks = [-constant / l[1]]
    breaks = [b for b in breaks if mp.im(b) == 0 and abs(b) < 24]
    grid = sorted([mp.mpf(k) for k in range(-24, 25, 2)] + breaks)
    tail = mp.quad(lambda z: mp.npdf(z) * first_term(l[1] * z + w[1] * z * z), grid, maxdegree=12)
    return mp.nstr(tail, 17)


CONDITIONED = [
    ((1, -1), (0, 0), 0.01, 0.489791383468582522),
    ((1, -1), (0, 0), 3, 0.0560906146953272319),
    ((1, -1), (0, 0), 30, 3.03183728437019548e-8),
    ((1, -0.5), (0.3, 2), 0.5, 0.549632977791194021),
    ((1, -0.5), (0.3, 2), 40, 4.285354176798737e-10),
    ((1, 1e-8), (0, 0), 1e-7, 0.999761684458055883),
    ((1, 1e-8), (0, 0), 1e-3, 0.974773005464470614),
    ((1e-4, 0), (1, 0.5), 0, 0.500007136496595923),
    ((1e-4, 0), (1, 0.5), 7, 1.94761225232103378e-10),
    ((1, 0), (0, 0.01), 0, 0.967256866773001628),
    ((1, 0), (0, 0.01), 0.02, 0.892167841920301133),
    ((0.5, 1e-4), (0, 1), 12, 1.6585491278426205e-6),
    ((1, -0.01), (5, 3), 0, 0.519438150943106654),
    ((1, -0.01), (5, 3), 60, 1.48681204597432526e-8),
]

# A thousand terms, all different, of both signs, and x, P(X > x) or P(X <= x), made by
# ``vertical_line_tail``.
INDEX = np.arange(1000)
THOUSAND = RiskLaw(((17 * INDEX) % 1009 - 500) / 1000, ((INDEX * INDEX) % 1013 - 506) / 2000)
VERTICAL = [
    (-95.0, "cdf", 1.0217126962857981321e-11),
    (0.0, "sf", 0.50633877956341796335),
    (10.0, "sf", 0.23827296264897962751),
    (60.0, "sf", 9.0495772628216484005e-6),
    (110.0, "sf", 1.0888225934986639703e-14),
]


def vertical_line_tail(x: float, steps: int = 70) -> str:
    """Smaller tail of ``THOUSAND`` by the trapezoidal rule on a vertical line, at 35 digits."""
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 35
    std = THOUSAND.std()
    c = mp.mpf(min(max(x / std, 1.5), 6.0) if x >= 0 else max(x / std, -6.0)) / std
    total = mp.mpf(0)
    terms = [(mp.mpf(w), mp.mpf(l)) for w, l in zip(THOUSAND.weights, THOUSAND.linear, strict=True)]
    for j in range(steps):
        s = mp.mpc(c, mp.mpf(0.2) / std * j)
        k = sum(l * l * s * s / (2 * (1 - 2 * w * s)) - mp.log(1 - 2 * w * s) / 2 for w, l in terms)
        total += (mp.exp(k - s * x) / s).real / (2 if j == 0 else 1)
    return mp.nstr(abs(total) * mp.mpf(0.2) / std / mp.pi, 20)


@pytest.mark.parametrize(
    ("law", "points", "published"),
    [
        (chi_square_form((0.6, 0.3, 0.1), (1, 1, 1)), (0.1, 0.7, 2), (0.9458, 0.5064, 0.1240)),
        (chi_square_form((0.6, 0.3, 0.1), (2, 2, 2)), (0.2, 2, 6), (0.9935, 0.3998, 0.0161)),
        (chi_square_form((0.6, 0.3, 0.1), (6, 4, 2)), (1, 5, 12), (0.9973, 0.4353, 0.0088)),
        (chi_square_form((0.6, 0.3, 0.1), (2, 4, 6)), (1, 3, 8), (0.9666, 0.4196, 0.0087)),
        (chi_square_form((0.7, 0.3), (6, 2), (6, 2)), (2, 10, 20), (0.9939, 0.4087, 0.0221)),
        (chi_square_form((0.7, 0.3), (1, 1), (6, 2)), (1, 6, 15), (0.9549, 0.4076, 0.0223)),
        (
            chi_square_form((0.7, 0.3, 0.7, 0.3), (6, 2, 1, 1), (6, 2, 6, 2)),
            (7, 16, 26),
            (0.9563, 0.4152, 0.0462),
        ),
        (
            chi_square_form((0.7, 0.3, -0.7, -0.3), (6, 2, 1, 1), (6, 2, 6, 2)),
            (-4, 4, 14),
            (0.9218, 0.4779, 0.0396),
        ),
    ],
    ids=["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q5 + Q6", "Q5 - Q6"],
)
def test_published_tables(law, points, published):
    """Imhof (1961), table 1; Davies (1980), table 3, at ten times the points and weights.

    The first value of Q2 was recomputed by partial fractions: 0.993547.
    """
    np.testing.assert_allclose(law.sf(points), published, atol=5.1e-5)


@pytest.mark.parametrize(
    ("law", "points", "tails"),
    [
        (chi_square_form((0.5, 0.4, 0.1), (1, 2, 1), (1, 0.6, 0.8)), (2, 6, 8),
         (0.457461, 0.031109, 0.006885)),
        (chi_square_form((0.7, 0.3), (1, 1), (6, 2)), (1, 6, 15), (0.954873, 0.407565, 0.022343)),
        (chi_square_form((0.995, 0.005), (1, 1), (1, 2)), (2, 8, 12),
         (0.347941, 0.033475, 0.006748)),
        (chi_square_form((0.35, 0.15, 0.35, 0.15), (1, 1, 6, 2), (6, 2, 6, 2)), (3.5, 8, 13),
         (0.956318, 0.415239, 0.046231)),
    ],
)  # fmt: skip
def test_six_digit_examples(law, points, tails):
    """Forms of Duchesne & Lafaye de Micheaux (2010), after Liu, Tang & Zhang (2009), table 1.

    The first value of the third form is commonly quoted as .347939; ours is .347941.
    """
    np.testing.assert_allclose(law.sf(points), tails, atol=5.1e-7)


def test_even_degrees_are_partial_fractions():
    """Each weight twice: a mixture of exponentials with signed coefficients, to 1e-13."""
    weights = np.array([0.6, 0.3, 0.1, -0.7, -0.25])
    law = RiskLaw(np.repeat(weights, 2))
    x = [0.0, 0.2, 2.0, 6.0, 25.0]
    np.testing.assert_allclose(law.sf(x), [paired_tail(weights, v) for v in x], rtol=1e-13)
    np.testing.assert_allclose(
        law.cdf([-0.2, -6.0]), [paired_tail(-weights, v) for v in (0.2, 6.0)], rtol=1e-13
    )


@pytest.mark.parametrize("both_signs", [False, True])
def test_thousand_weights_are_partial_fractions(both_signs):
    """500 different weights, each twice, at 700 digits; tails to 1e-12."""
    weights = np.random.default_rng(11).uniform(-1.0 if both_signs else 0.1, 1.0, 500)
    law = RiskLaw(np.repeat(weights, 2))
    x = law.mean() + 7.5 * law.std()
    assert law.sf(x) < 1e-10
    assert law.sf(x) == pytest.approx(paired_tail(weights, x), rel=1e-12, abs=0)


@pytest.mark.parametrize(("weights", "linear", "x", "tail"), CONDITIONED)
def test_two_terms_agree_with_conditioning_at_40_digits(weights, linear, x, tail):
    assert RiskLaw(weights, linear).sf(x) == pytest.approx(tail, rel=2e-14, abs=0)


@pytest.mark.parametrize(("x", "side", "tail"), VERTICAL)
def test_thousand_terms_agree_with_a_vertical_line_at_35_digits(x, side, tail):
    assert THOUSAND.exact
    assert getattr(THOUSAND, side)(x) == pytest.approx(tail, rel=1e-13, abs=0)


@pytest.mark.slow
def test_high_precision_constants_are_what_their_scripts_give():
    for weights, linear, x, tail in CONDITIONED:
        assert float(conditioned_tail(weights, linear, x)) == pytest.approx(tail, rel=2e-15, abs=0)
    for x, _, tail in VERTICAL:
        assert float(vertical_line_tail(x)) == pytest.approx(tail, rel=2e-15, abs=0)


@pytest.mark.parametrize(
    ("law", "peer", "rtol"),
    [
        (RiskLaw([1.0]), stats.chi2(1), 1e-13),
        (RiskLaw([2.0] * 7, offset=-1.0), stats.chi2(7, loc=-1, scale=2), 1e-13),
        (RiskLaw([0.5] * 1000), stats.gamma(500), 1e-12),
        (RiskLaw([0.0, 0.0], [3.0, -4.0], 1.0), stats.norm(1, 5), 1e-13),
        # Near the end of the support x is only known to its spacing beside the offset.
        (RiskLaw([1.0, 1.0], [2 * 3**0.5, 0.0], 3.0), stats.ncx2(2, 3), 1e-6),
        (RiskLaw([1.0, 1.0, -1.0, -1.0]), stats.laplace(scale=2), 1e-13),
    ],
    ids=["chi2", "scaled chi2", "gamma", "normal", "ncx2", "laplace"],
)
def test_closed_forms(law, peer, rtol):
    """A single weight is a chi-square; two of either sign are a Laplace law."""
    low, high = peer.ppf(BOTH_TAILS), peer.isf(BOTH_TAILS)
    np.testing.assert_allclose(law.cdf(low), peer.cdf(low), rtol=rtol)
    np.testing.assert_allclose(law.sf(high), peer.sf(high), rtol=rtol)
    np.testing.assert_allclose(law.pdf(high), peer.pdf(high), rtol=rtol)
    np.testing.assert_allclose(law.logsf(high), peer.logsf(high), rtol=rtol)
    np.testing.assert_allclose(law.ppf(BOTH_TAILS), low, rtol=10 * rtol, atol=1e-13)
    np.testing.assert_allclose(law.isf(BOTH_TAILS), high, rtol=10 * rtol, atol=1e-13)
    np.testing.assert_allclose(law.stats("mvsk"), peer.stats("mvsk"), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(law.support(), peer.support(), atol=1e-15)


def test_difference_of_two_squares_has_a_bessel_density():
    """z1^2 - z2^2 has density K0(|x| / 2) / 2 pi, with a logarithmic pole at 0."""
    law, x = SOME["difference"], np.array([1e-8, 0.1, 3.0, 45.0])
    np.testing.assert_allclose(law.pdf(x), special.k0(x / 2) / (2 * np.pi), rtol=1e-13)
    assert law.pdf(0.0) == np.inf
    assert law.median() == pytest.approx(0.0, abs=1e-15)


def test_the_sum_of_two_laws_is_their_convolution():
    a, b = RiskLaw([1.0, 0.3], [0.5, 0.0], 1.0), RiskLaw([-0.4, -0.4], [0.0, 0.7])
    x = 2.5
    value, error = integrate.quad(
        lambda y: a.sf(x - y) * b.pdf(y), -60, b.support()[1], epsabs=1e-9, limit=200
    )
    assert (a + b).sf(x) == pytest.approx(value, abs=10 * error + 1e-9)


@every_law
def test_the_mirrored_law_swaps_the_tails(law):
    mirrored = RiskLaw(-law.weights, -law.linear, -law.offset)
    x = law.mean() + law.std() * np.array([-8.0, -2.0, -0.3, 0.0, 0.4, 3.0, 11.0])
    np.testing.assert_allclose(mirrored.sf(-x), law.cdf(x), rtol=1e-11, atol=0)
    np.testing.assert_allclose(mirrored.cdf(-x), law.sf(x), rtol=1e-11, atol=0)
    np.testing.assert_allclose(mirrored.isf(0.01), -law.ppf(0.01), rtol=1e-12)


@every_law
def test_tails_are_monotone_and_add_to_one(law):
    x = law.mean() + law.std() * np.linspace(-40, 60, 501)
    cdf, sf = law.cdf(x), law.sf(x)
    np.testing.assert_allclose(cdf + sf, 1, rtol=1e-15)
    assert np.all(np.diff(cdf) >= -1e-15)
    assert np.all(np.diff(sf) <= 1e-15)
    assert np.all(law.pdf(x) >= 0)
    assert cdf[0] < 1e-12
    assert sf[-1] < 1e-12


@every_law
def test_quantiles_invert_the_tails_down_to_1e_10(law):
    rtol = 1e-12 + 4e-16 * max(abs(law.pdf(law.isf(1e-10)) * law.isf(1e-10)) / 1e-10, 1)
    np.testing.assert_allclose(law.sf(law.isf(BOTH_TAILS)), BOTH_TAILS, rtol=rtol)
    if law.support()[0] == -np.inf:
        np.testing.assert_allclose(law.cdf(law.ppf(BOTH_TAILS)), BOTH_TAILS, rtol=1e-11)
    top = 1 - 1e-10
    assert law.sf(law.ppf(top)) == pytest.approx(1 - top, rel=1e-6, abs=0)


@every_law
def test_the_distribution_is_the_integral_of_the_density(law):
    """Gauss-Legendre between quantiles, 20 points each, off the point where all squares vanish."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    curved = law.weights != 0
    w, l = law.weights[curved], law.linear[curved]
    below = law.cdf(law.offset - np.sum(l**2 / (4 * w)))
    fractions = np.array([0.01, 0.02, 0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 0.98, 0.99])
    for q in (below * fractions, below + (1 - below) * fractions):
        x = law.ppf(q[(q > 1e-6) & (q < 1 - 1e-6)])
        half = np.diff(x) / 2
        points = x[:-1] + half * (1 + nodes[:, None])
        between = np.diff(law.cdf(x))
        np.testing.assert_allclose(half * (weights @ law.pdf(points)), between, rtol=1e-6)


@every_law
def test_sixteen_powers_of_ten_in_scale_change_nothing(law):
    x = law.mean() + law.std() * np.array([-3.0, -0.5, 0.1, 2.0, 6.0])
    for factor in (1e-12, 1e12):
        scaled = factor * law
        np.testing.assert_allclose(scaled.cdf(x * factor), law.cdf(x), rtol=1e-10)
        np.testing.assert_allclose(scaled.sf(x * factor), law.sf(x), rtol=1e-10)
        np.testing.assert_allclose(scaled.pdf(x * factor) * factor, law.pdf(x), rtol=1e-10)


@every_law
def test_cumulants_are_moments_of_the_density(law):
    """Mean and variance from 200 quantiles at normal nodes, tails cut at 1e-9."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = law.ppf(special.ndtr(6 * nodes))
    mass = 6 * weights * stats.norm.pdf(6 * nodes)
    mean = mass @ x
    assert mean == pytest.approx(law.mean(), abs=1e-4 * law.std())
    assert mass @ (x - mean) ** 2 == pytest.approx(law.var(), rel=1e-3)


def test_cumulants_have_their_closed_form():
    w, l = np.array([0.7, -0.2, 0.0]), np.array([0.4, 1.1, 0.6])
    law = RiskLaw(w, l, 0.3)
    k2 = np.sum(2 * w**2 + l**2)
    k3 = np.sum(8 * w**3 + 6 * w * l**2)
    k4 = np.sum(48 * w**4 + 48 * w**2 * l**2)
    assert law.mean() == pytest.approx(0.3 + w.sum())
    assert law.var() == pytest.approx(k2)
    assert [law.cumulant(3), law.cumulant(4)] == pytest.approx([k3, k4])
    assert law.stats("sk") == pytest.approx((k3 / k2**1.5, k4 / k2**2))
    assert law.moment(0) == 1
    assert law.moment(3) == pytest.approx(k3 + 3 * k2 * law.mean() + law.mean() ** 3)


@every_law
def test_draws_follow_the_law(law):
    """Seeded simulation of 20,000: tails and mean within four standard errors."""
    n = 20_000
    draws = law.rvs(n, random_state=20240)
    np.testing.assert_array_equal(draws, law.rvs(n, np.random.default_rng(20240)))
    assert abs(draws.mean() - law.mean()) <= 4 * draws.std() / n**0.5
    for q in (0.05, 0.5, 0.9):
        observed = np.mean(draws <= law.ppf(q))
        assert abs(observed - q) <= 4 * (q * (1 - q) / n) ** 0.5
    assert law.rvs((2, 3), 0).shape == (2, 3)
    assert np.ndim(law.rvs(random_state=0)) == 0


coefficient = st.floats(-3, 3).map(lambda v: 0.0 if abs(v) < 1e-9 else v)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(coefficient, coefficient), min_size=1, max_size=6), st.floats(0.001, 0.999)
)
def test_any_law_inverts_its_distribution(terms, q):
    law = RiskLaw(*np.transpose(terms))
    x = law.ppf(q)
    if law.std() == 0:
        assert x == law.offset
        return
    # x is a double, so q is known to the density times its spacing.
    spacing = 4e-16 * (abs(x) + abs(law._terms.origin))
    assert law.cdf(x) == pytest.approx(q, abs=1e-12 + spacing * law.pdf(x), rel=1e-10)
    assert law.sf(x) == pytest.approx(1 - q, abs=1e-12 + spacing * law.pdf(x), rel=1e-10)


LARGE = {
    "uniform": (np.random.default_rng(1).uniform(0.1, 1, 1500), None),
    "both signs": tuple(np.random.default_rng(2).normal(size=(2, 1500))),
    "slow decay": (1 / np.sqrt(np.arange(1, 4001.0)) * (-1) ** np.arange(4000), None),
    "mostly linear": tuple(np.random.default_rng(3).normal(size=(2, 3000)) * [[0.01], [1]]),
}


@pytest.mark.parametrize(("weights", "linear"), LARGE.values(), ids=LARGE.keys())
def test_more_than_a_thousand_weights_are_matched_to_1e_11(weights, linear, monkeypatch):
    """Against the exact routine; the largest relative error measured in these tails is 6e-14."""
    law = RiskLaw(weights, linear)
    monkeypatch.setattr(contour, "EXACT_LIMIT", 10**6)
    exact = RiskLaw(weights, linear)
    assert (law.exact, exact.exact) == (False, True)
    assert law.var() == exact.var()
    low, high = exact.ppf(BOTH_TAILS), exact.isf(BOTH_TAILS)
    np.testing.assert_allclose(law.cdf(low), BOTH_TAILS, rtol=1e-11)
    np.testing.assert_allclose(law.sf(high), BOTH_TAILS, rtol=1e-11)
    np.testing.assert_allclose(law.pdf(high), exact.pdf(high), rtol=1e-11)


def test_gauss_atoms_keep_the_power_sums():
    points, mass = np.linspace(0.1, 1, 50), np.linspace(1, 2, 50)
    t, m = contour.gauss_atoms(points, mass, 4)
    for power in range(8):
        assert m @ t**power == pytest.approx(mass @ points**power, rel=1e-13, abs=0)
    assert abs(m @ t**8 / (mass @ points**8) - 1) > 1e-9


def test_equal_weights_are_merged_and_stay_exact():
    law = RiskLaw(np.repeat([1.0, 0.5], 2000))
    assert law.exact
    peer = RiskLaw(np.repeat([1.0, 0.5], 20))
    assert law.var() == pytest.approx(100 * peer.var())


def test_scipy_conventions():
    law = RiskLaw([1.0, 0.5])
    assert isinstance(law.cdf(1.0), np.float64)
    assert law.ppf([[0.1], [0.2]]).shape == (2, 1)
    assert law.cdf(np.empty((0, 2))).shape == (0, 2)
    assert np.isnan(law.cdf(np.nan))
    np.testing.assert_array_equal(np.isnan(law.ppf([-0.1, 1.1, np.nan])), True)
    np.testing.assert_array_equal(law.ppf([0, 1]), law.support())
    np.testing.assert_array_equal(law.isf([1, 0]), law.support())
    np.testing.assert_array_equal(law.cdf([-np.inf, -1, 0, np.inf]), [0, 0, 0, 1])
    np.testing.assert_array_equal(law.sf([-np.inf, -1, 0, np.inf]), [1, 1, 1, 0])
    np.testing.assert_array_equal(law.pdf([-1, np.inf]), [0, 0])
    np.testing.assert_allclose(law.interval(0.9), law.ppf([0.05, 0.95]))
    assert law.logcdf(-1.0) == -np.inf
    assert repr(RiskLaw([1.0], offset=1.0)) == "RiskLaw(1 terms, mean=2, std=1.414)"


def test_the_end_of_the_support_has_its_density():
    """chi-square(k) at 0: a pole for k = 1, one half for k = 2, zero for k = 3."""
    ends = [RiskLaw([1.0] * k).pdf(0.0) for k in (1, 2, 3)]
    np.testing.assert_allclose(ends, [np.inf, 0.5, 0])
    shifted = RiskLaw([2.0, 1.0], [1.0, 0.0])
    end = shifted.support()[0]
    assert end == -1 / 8
    assert shifted.pdf(end) == pytest.approx(shifted.pdf(end + 1e-9), rel=1e-6, abs=0)


def test_a_law_without_random_terms_is_a_point_mass():
    law = RiskLaw([0.0, 0.0], offset=2.0)
    np.testing.assert_array_equal(law.cdf([1.9, 2.0, np.nan]), [0, 1, np.nan])
    np.testing.assert_array_equal(law.sf([1.9, 2.0]), [1, 0])
    np.testing.assert_array_equal(law.pdf([1.9, 2.0]), [0, np.inf])
    np.testing.assert_array_equal(law.ppf([0, 0.3, 1, 2]), [2, 2, 2, np.nan])
    np.testing.assert_array_equal(law.rvs(3), [2, 2, 2])
    assert (law.mean(), law.var(), law.support()) == (2, 0, (2, 2))
    assert RiskLaw([]).median() == 0


def test_algebra_keeps_parts_where_they_still_mean_something():
    part = RiskLaw([1.0])
    law = RiskLaw([1.0, 0.5], labeled=part, unlabeled=RiskLaw([0.5]), regime="chi-square")
    scaled = np.float64(2.0) * law + 1
    assert scaled.labeled.mean() == 2
    assert (scaled.offset, scaled.regime) == (1, "chi-square")
    assert (law * -1).support() == (-np.inf, 0)
    assert (law + part).labeled is None
    assert (law + part).weights.size == 3


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (([1.0, np.nan],), "1 of 2"),
        (([1.0], [np.inf]), "linear"),
        (([1.0], [1.0, 2.0]), "2 coefficients but weights has 1"),
        (([[1.0]],), r"shape \(1, 1\)"),
        ((["a"],), "real numbers"),
        (([1.0], None, np.nan), "offset"),
    ],
)
def test_bad_coefficients_are_named(arguments, found):
    with pytest.raises(InputError, match=found):
        RiskLaw(*arguments)


def test_bad_orders_are_named():
    with pytest.raises(InputError, match="order is 0"):
        RiskLaw([1.0]).cumulant(0)
    with pytest.raises(InputError, match="mvsk"):
        RiskLaw([1.0]).stats("x")


def test_an_integral_that_does_not_settle_is_an_error(monkeypatch):
    monkeypatch.setattr(contour, "AGREEMENT", 1e-20)
    with pytest.raises(ConvergenceError, match="contour integral"):
        RiskLaw([1.0, -0.3]).cdf(0.5)


def test_tails_below_every_double_have_a_finite_logarithm():
    """Far out, log P(chi2_1 > x) = -x / 2 - log(x pi / 2) / 2 + o(1)."""
    law, x = RiskLaw([1.0]), np.array([1e3, 1e6, 1e12])
    np.testing.assert_allclose(law.logsf(x), -x / 2 - np.log(x * np.pi / 2) / 2, rtol=1e-5)
    near = np.array([1e-101, 1e-200])
    np.testing.assert_allclose(law.cdf(near), (2 * near / np.pi) ** 0.5, rtol=1e-13)
    np.testing.assert_allclose(law.pdf(near), (2 * np.pi * near) ** -0.5, rtol=1e-13)
