"""The spectrum of masked regression: identities, dense twins, and eigenvalues of data."""

import mpmath
import numpy as np
import pytest

from foretell.errors import IdentificationError, InputError
from foretell.theory.masked.covariances import (
    AutoRegressive,
    Blocks,
    Dense,
    Diagonal,
    Graded,
    Identity,
    PowerLaw,
    Spiked,
)
from foretell.theory.spectra import (
    ConstantDiagonalLaw,
    Spectrum,
    VaryingDiagonalLaw,
    coefficient_spectrum,
    effective_ridge,
    empirical_spectrum,
    masked_spectrum,
)
from foretell.theory.spectra.companion_root import companion_root

CASES = {
    "diagonal": (Diagonal.cycled(60, [0.3, 1.0, 4.0]), 120, 0.1),
    "diagonal, n < d": (Diagonal.cycled(60, [0.3, 1.0, 4.0]), 15, 0.5),
    "some columns zero": (Diagonal([0.0] * 20 + [1.0] * 40), 100, 0.2),
    "blocks": (Blocks.cycled(60, 5, (0.2, 0.8), (0.5, 2.0)), 120, 0.1),
    "blocks, n < d": (Blocks.cycled(60, 5, (0.2, 0.8), (0.5, 2.0)), 30, 1.0),
    "singular blocks": (Blocks.cycled(60, 5, 1.0, (0.5, 2.0)), 90, 0.3),
    "dense": (AutoRegressive(24, 0.6), 60, 0.2),
    "stationary, n < d": (AutoRegressive(40, 0.6), 20, 1.0),
    "localized spike": (Spiked(60, (6.0,), "localized", 3), 120, 0.1),
}


@pytest.fixture(params=CASES, scope="module")
def law(request):
    covariance, n, alpha = CASES[request.param]
    return masked_spectrum(covariance, n, alpha, diagonal="varying")


def random_covariance(rng, d):
    root = rng.standard_normal((d, d + 2))
    return root @ root.T / d + 0.1 * np.eye(d)


def continuous_points(law, count=7):
    inner = np.linspace(0.03, 0.97, count)
    return np.concatenate([low + (high - low) * inner for low, high in law.edges])


def test_root_solves_its_equation_to_fifty_digits(rng):
    """The physical root of the polynomial is the one in the upper half-plane."""
    t, share = np.array([-3.0, -0.4, 0.7, 11.0]), np.array([0.3, 0.5, 0.1, 0.4])
    found = companion_root(t[None, :], share).v[0]
    with mpmath.workdps(50):
        polynomial = [mpmath.mpf(1)]

        def times(p, q):
            out = [mpmath.mpf(0)] * (len(p) + len(q) - 1)
            for i, a in enumerate(p):
                for j, b in enumerate(q):
                    out[i + j] += a * b
            return out

        linear = [[mpmath.mpf(1), mpmath.mpf(x)] for x in t]
        for factor in linear:
            polynomial = times(polynomial, factor)
        total = times([1, -1], polynomial)  # (v - 1) prod (v + t_j)
        for j, (x, s) in enumerate(zip(t, share, strict=True)):
            rest = [mpmath.mpf(1)]
            for k, factor in enumerate(linear):
                rest = rest if k == j else times(rest, factor)
            term = times([mpmath.mpf(s) * mpmath.mpf(x), 0], rest)
            total = [
                a - b for a, b in zip(total, [0] * (len(total) - len(term)) + term, strict=True)
            ]
        roots = mpmath.polyroots(total[::-1], maxsteps=200, extraprec=200, asc=True)
        upper = [root for root in roots if mpmath.im(root) > 1e-20]
    assert len(upper) == 1
    assert abs(complex(upper[0]) - found) < 1e-14 * abs(found)


def test_root_holds_over_twenty_orders_of_magnitude(rng):
    t = rng.standard_normal((300, 40)) * 10.0 ** rng.uniform(-10, 10, (300, 40))
    v = companion_root(t, np.full(40, 1 / 25)).v
    right = 1 + (t * v[:, None] / (v[:, None] + t)).sum(axis=1) / 25
    assert (np.abs(right / v - 1) < 1e-10).all()
    assert (v.imag >= 0).all()


@pytest.mark.parametrize("n", [8, 30])
def test_density_is_the_trace_of_the_dense_resolvent(rng, n):
    """Im tr[G / Delta] / (pi d) with G inverted as a complex matrix, and omega from its trace."""
    d, alpha = 12, 0.3
    sigma = random_covariance(rng, d)
    kappa = effective_ridge(sigma, n, alpha)
    delta = kappa / alpha * np.diag(np.linalg.inv(sigma + kappa * np.eye(d)))
    law = masked_spectrum(sigma, n, alpha, diagonal="varying")
    for nu in continuous_points(law, 5):
        mu = 1 / (1 - nu)
        t = law.pencil.eigenvalues(np.array([mu]))
        omega = 1 / companion_root(t, law.pencil.counts / n).v[0]
        G = np.linalg.inv(omega * sigma + alpha * np.eye(d) - mu * np.diag(1 / delta))
        assert abs(omega * (1 + np.trace(sigma @ G) / n) - 1) < 1e-9
        dense = np.trace(G / delta[:, None]).imag / (np.pi * d)
        assert law.pdf(nu) == pytest.approx(dense * mu**2, rel=1e-7, abs=1e-9)


def test_mass_is_one_and_mean_zero(law):
    """Eigenvalues of a matrix with zero diagonal sum to zero, and so does their law."""
    points = law.curve()
    mass = points.weight.sum() + sum(atom.mass for atom in law.atoms)
    assert mass == pytest.approx(1, abs=1e-12)
    assert law.mean() == pytest.approx(0, abs=2e-5)


def test_quadrature_of_the_density_has_the_mass_of_the_distribution(law):
    """The weights before scaling: density against the closed form of the distribution."""
    for low, high in law.edges:
        theta = (np.arange(600) + 0.5) * np.pi / 600
        bottom, top = -np.log1p(-low), -np.log1p(-high)
        nu = 1 - np.exp(-((bottom + top) / 2 - (top - bottom) / 2 * np.cos(theta)))
        weight = (1 - nu) * (top - bottom) / 2 * np.sin(theta) * np.pi / 600
        inside = sum(atom.mass for atom in law.atoms if low < atom.location <= high)
        assert law.pdf(nu) @ weight == pytest.approx(
            law.cdf(high) - law.cdf(low) - inside, rel=2e-3, abs=1e-9
        )


def test_density_is_the_slope_of_the_distribution(law):
    nu = continuous_points(law, 4)
    nu = nu[[all(abs(x - atom.location) > 1e-3 for atom in law.atoms) for x in nu]]
    width = (law.edges[:, 1] - law.edges[:, 0]).min()
    step = 1e-5 * width
    slope = (law.cdf(nu + step) - law.cdf(nu - step)) / (2 * step)
    assert slope == pytest.approx(law.pdf(nu), rel=1e-4, abs=1e-9 / step)


def test_quantiles_invert_the_distribution(law):
    q = np.linspace(0.01, 0.99, 9)
    nu = law.ppf(q)
    assert (np.diff(nu) >= -1e-9).all()
    assert (law.cdf(nu) >= q - 1e-10).all()
    for atom in law.atoms:
        q = q[abs(law.ppf(q) - atom.location) > 1e-12]
    assert law.cdf(law.ppf(q)) == pytest.approx(q, abs=1e-9)


def test_distribution_jumps_by_the_mass_of_an_atom(law):
    for atom in law.atoms:
        step = 1e-7
        jump = law.cdf(atom.location + step) - law.cdf(atom.location - step)
        assert jump == pytest.approx(atom.mass, abs=2e-3)


@pytest.mark.parametrize("n", [40, 160, 400])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 5.0])
def test_both_laws_agree_where_the_diagonal_is_constant(n, alpha):
    """The image of the Marchenko-Pastur law against the equation in the indefinite metric."""
    eigenvalues = np.repeat([0.5, 1.0, 6.0], [40, 60, 60])
    image = masked_spectrum(eigenvalues, n, alpha)
    general = masked_spectrum(eigenvalues, n, alpha, diagonal="varying")
    assert isinstance(image, ConstantDiagonalLaw)
    assert isinstance(general, VaryingDiagonalLaw)
    assert 1 / (1 - general.edges) == pytest.approx(1 / (1 - image.edges), rel=1e-7)
    nu = continuous_points(image)
    assert general.cdf(nu) == pytest.approx(image.cdf(nu), abs=1e-10)
    assert general.pdf(nu) == pytest.approx(image.pdf(nu), rel=1e-7)
    assert [a.mass for a in general.atoms] == pytest.approx([a.mass for a in image.atoms])
    assert [a.location for a in general.atoms] == pytest.approx([a.location for a in image.atoms])
    for atom in image.atoms:
        assert image.cdf(atom.location) == pytest.approx(atom.mass, abs=1e-12)
    q = np.linspace(0, 1, 9)
    assert general.ppf(q) == pytest.approx(image.ppf(q), rel=1e-6, abs=1e-8)
    assert image.mean() == pytest.approx(0, abs=1e-5 if n == 160 else 1e-12)
    points = image.curve()
    assert points.weight.sum() + sum(a.mass for a in image.atoms) == pytest.approx(1, abs=1e-12)


def test_distribution_includes_the_atom_at_its_place():
    """Whatever way the location rounds."""
    for alpha in np.geomspace(1e-3, 10, 60):
        law = masked_spectrum(Identity(60), 20, alpha)
        assert law.cdf(law.atoms[0].location) == pytest.approx(2 / 3)


def test_identity_has_its_closed_form():
    gamma, alpha = 0.5, 0.1
    law = masked_spectrum(Identity(200), 400, alpha)
    shift = alpha + gamma - 1
    kappa = (shift + np.sqrt(shift**2 + 4 * alpha)) / 2
    s = (1 + np.array([-1, 1]) * np.sqrt(gamma)) ** 2
    assert law.edges[0] == pytest.approx(1 - alpha * (1 + kappa) / (kappa * (s + alpha)), rel=1e-12)
    assert law.pdf([law.edges[0, 0] - 0.01, law.edges[0, 1] + 0.01, 1.0, 2.0]).tolist() == [0.0] * 4
    assert law.cdf([-50.0, 1.0, 3.0]).tolist() == [0.0, 1.0, 1.0]


def distance(law, values):
    """Largest gap (Kolmogorov) between the law and eigenvalues."""
    values = np.sort(values)
    d = len(values)
    above = np.arange(1, d + 1) / d
    theory = law.cdf(values)
    return max(np.abs(theory - above).max(), np.abs(theory - above + 1 / d).max())


@pytest.mark.parametrize(
    ("covariance", "n", "alpha"),
    [
        (Identity(240), 480, 0.1),
        (Spiked(240, (6.0, 3.0)), 480, 0.1),
        (PowerLaw(240, 1.0, "haar"), 480, 0.1),
        (PowerLaw(240, 1.0, "diagonal"), 480, 0.1),
        (Blocks.cycled(240, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0)), 480, 0.1),
        (Blocks.cycled(240, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0)), 1200, 1.0),
        (Graded(120, 0.8), 240, 0.1),
    ],
    ids=lambda x: type(x).__name__ if not np.isscalar(x) else str(x),
)
def test_eigenvalues_of_data_follow_the_law(rng, covariance, n, alpha):
    """Kolmogorov distance is of order 1/d, 2.3/d to 3/d in the notes."""
    law = masked_spectrum(covariance, n, alpha)
    values = empirical_spectrum(
        covariance.color(rng.standard_normal((n, covariance.d))), alpha
    ).eigenvalues
    assert distance(law, values) < 4.5 / covariance.d


@pytest.mark.slow
@pytest.mark.parametrize("d", [480, 960])
def test_distance_to_data_falls_as_one_over_d(rng, d):
    covariance = Blocks.cycled(d, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0))
    law = masked_spectrum(covariance, 2 * d, 0.1)
    values = empirical_spectrum(covariance.color(rng.standard_normal((2 * d, d))), 0.1).eigenvalues
    assert distance(law, values) < 4.5 / d


def test_a_constant_diagonal_is_wrong_for_unequal_blocks(rng):
    """The distance does not fall with d, and ``auto`` does not choose it."""
    covariance = Blocks.cycled(240, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0))
    rows = covariance.color(rng.standard_normal((1200, 240)))
    values = empirical_spectrum(rows, 1.0).eigenvalues
    constant = masked_spectrum(covariance, 1200, 1.0, diagonal="constant")
    assert distance(constant, values) > 6 / 240
    assert distance(masked_spectrum(covariance, 1200, 1.0), values) < 4.5 / 240


def test_null_space_is_spread_about_its_atom(rng):
    """n < d: mass 1 - n/d at one point in the limit, standard deviation 1.55 / sqrt(d) in data."""
    d, n = 240, 120
    law = masked_spectrum(Identity(d), n, 0.1)
    (atom,) = law.atoms
    assert atom.mass == pytest.approx(0.5)
    values = empirical_spectrum(rng.standard_normal((n, d)), 0.1).eigenvalues
    null, bulk = values[n:], values[:n]
    assert null.mean() == pytest.approx(atom.location, abs=3e-3)
    assert null.std() * np.sqrt(d) == pytest.approx(1.55, rel=0.08)
    upper = 1 - law.cdf(bulk)
    assert np.abs(upper - np.arange(n) / d).max() < 4.5 / d


@pytest.mark.parametrize(("n", "d", "alpha"), [(40, 12, 0.3), (7, 15, 0.2), (9, 9, 1e-3)])
def test_empirical_spectrum_is_that_of_column_by_column_regressions(rng, n, d, alpha):
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    A = np.zeros((d, d))
    for k in range(d):
        rest = np.delete(np.arange(d), k)
        other = X[:, rest]
        normal = other.T @ other / n + alpha * np.eye(d - 1)
        A[rest, k] = np.linalg.solve(normal, other.T @ X[:, k] / n)
    found = empirical_spectrum(X, alpha)
    values, right, left = found.eigenvalues, found.right, found.left
    size = np.abs(A).max()
    assert (np.diff(values) <= 0).all()
    assert values.max() < 1
    assert values.sum() == pytest.approx(0, abs=1e-9 * size)
    assert A @ right == pytest.approx(right * values, abs=1e-9 * size)
    assert A.T @ left == pytest.approx(left * values, abs=1e-9 * size)
    for vectors in (right, left, found.symmetric):
        assert (vectors**2).sum(axis=0) == pytest.approx(1)
    again = coefficient_spectrum(A)
    assert again.eigenvalues == pytest.approx(values, abs=1e-8 * size)
    assert np.abs((again.right * right).sum(axis=0)) == pytest.approx(1, abs=1e-6)


def test_without_penalty_the_rows_are_reproduced(rng):
    X = rng.standard_normal((6, 20))
    found = empirical_spectrum(X, 0.0)
    assert found.eigenvalues[:6] == pytest.approx(1, abs=1e-12)
    limit = empirical_spectrum(X, 1e-9)
    assert limit.eigenvalues == pytest.approx(found.eigenvalues, abs=1e-6)


def test_coefficients_of_unconnected_columns_have_a_spectrum():
    A = np.zeros((5, 5))
    A[0, 1], A[1, 0], A[2, 3], A[3, 2] = 0.9, 0.1, -0.4, -0.1
    found = coefficient_spectrum(A)
    assert found.eigenvalues == pytest.approx([0.3, 0.2, 0, -0.2, -0.3], abs=1e-12)
    assert A @ found.right == pytest.approx(found.right * found.eigenvalues, abs=1e-12)
    assert coefficient_spectrum(np.zeros((3, 3))).eigenvalues.tolist() == [0.0] * 3


def test_the_diagonal_is_constant_only_for_coordinates_alike():
    assert isinstance(masked_spectrum(Spiked(400, (4.0,)), 800, 0.1), ConstantDiagonalLaw)
    assert isinstance(masked_spectrum(Diagonal.cycled(8, [1.0, 1.5]), 20, 0.1), VaryingDiagonalLaw)
    assert isinstance(masked_spectrum(Spiked(960, (4.0,), "haar"), 1920, 0.1), ConstantDiagonalLaw)
    assert isinstance(masked_spectrum(AutoRegressive(60, 0.99), 300, 1.0), VaryingDiagonalLaw)
    matrix = np.full((4, 4), 0.3) + 0.7 * np.eye(4)
    assert isinstance(masked_spectrum(matrix, 20, 0.1), ConstantDiagonalLaw)


def test_law_does_not_depend_on_how_the_covariance_is_given():
    blocks = Blocks.cycled(20, 5, (0.2, 0.8), (0.5, 2.0))
    nu = np.linspace(-2, 0.9, 9)
    named = masked_spectrum(blocks, 40, 0.1)
    order = np.random.default_rng(0).permutation(20)
    shuffled = blocks.matrix()[np.ix_(order, order)]
    assert masked_spectrum(shuffled, 40, 0.1).cdf(nu) == pytest.approx(named.cdf(nu), abs=1e-9)
    assert masked_spectrum(Dense(shuffled), 40, 0.1).pdf(nu) == pytest.approx(
        named.pdf(nu), rel=1e-6, abs=1e-9
    )
    diagonal = Diagonal.cycled(20, [1.0, 3.0])
    assert masked_spectrum(diagonal.spectrum, 40, 0.1).cdf(nu) == pytest.approx(
        masked_spectrum(diagonal.matrix(), 40, 0.1).cdf(nu), abs=1e-9
    )


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, np.inf])
def test_a_penalty_is_positive(alpha):
    with pytest.raises(InputError, match="penalty alpha > 0"):
        masked_spectrum(np.ones(5), 10, alpha)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least 2"):
        masked_spectrum(np.ones(5), 1, 0.1)
    with pytest.raises(InputError, match="symmetric"):
        masked_spectrum([[1.0, 0.5], [0.0, 1.0]], 10, 0.1)
    with pytest.raises(InputError, match="negative eigenvalue"):
        masked_spectrum([[1.0, 2.0], [2.0, 1.0]], 10, 0.1)
    with pytest.raises(InputError, match="give a matrix"):
        masked_spectrum(Blocks([2, 3], [0.1, 0.9]).spectrum, 10, 0.1)
    with pytest.raises(InputError, match="'auto', 'constant' or 'varying'"):
        masked_spectrum(np.ones(5), 10, 0.1, diagonal="none")
    law = masked_spectrum(Diagonal([1.0, 2.0]), 10, 0.1)
    with pytest.raises(InputError, match="between 0 and 1"):
        law.ppf([0.5, 1.5])
    with pytest.raises(InputError, match="at least 2 nodes"):
        law.curve(1)
    assert isinstance(Spectrum.of(np.ones(3)), Spectrum)


def test_bad_data_are_named(rng):
    X = rng.standard_normal((20, 4))
    with pytest.raises(InputError, match="not negative"):
        empirical_spectrum(X, -0.1)
    with pytest.raises(InputError, match="n >= 2"):
        empirical_spectrum(X[:1], 0.1)
    with pytest.raises(InputError, match="1 entries that are not finite"):
        empirical_spectrum(np.where(np.arange(80).reshape(20, 4) == 5, np.nan, X), 0.1)
    with pytest.raises(IdentificationError, match="need rank 4; found 3"):
        empirical_spectrum(np.column_stack([X[:, :3], X[:, 0] + X[:, 1]]), 0.0)
    with pytest.raises(IdentificationError, match="null space"):
        empirical_spectrum(np.eye(2, 3), 0.0)
    with pytest.raises(InputError, match="zero diagonal"):
        coefficient_spectrum(np.eye(2))
    with pytest.raises(InputError, match="symmetric matrix"):
        coefficient_spectrum([[0.0, 1.0, 0.5], [1.0, 0.0, 0.2], [0.9, 1.0, 0.0]])
    with pytest.raises(InputError, match="shape"):
        coefficient_spectrum(np.zeros((2, 3)))
