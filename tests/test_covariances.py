"""Named covariances and their populations: structure against dense matrices, closed forms."""

import numpy as np
import pytest
from scipy.linalg import circulant
from scipy.stats import chi2

from foretell.errors import InputError
from foretell.theory.masked.closed_forms import (
    autoregressive_closed_form,
    autoregressive_hidden_error,
    autoregressive_population_error,
    block_closed_form,
    identity_closed_form,
    spiked_excess,
)
from foretell.theory.masked.covariance import ordered_spectrum
from foretell.theory.masked.covariances import (
    KINDS,
    AutoRegressive,
    Blocks,
    Dense,
    Diagonal,
    Graded,
    Identity,
    PowerLaw,
    Spiked,
    benchmark_covariances,
    named_covariance,
)
from foretell.theory.masked.errors import masked_regression
from foretell.theory.masked.population import MaskedPopulation
from foretell.theory.spectra.spectrum import Spectrum

EXACT = [
    Identity(7),
    Diagonal.cycled(7, [1.0, 2.0, 1.0, 0.0]),
    Blocks.cycled(11, 3, [0.2, -0.3], [1.0, 2.0, 3.0]),
    Blocks([2, 3, 1], [-1.0, 1.0, 0.3], [1.0, 2.0, 0.5]),
    Blocks([4, 4], 0.5),
    AutoRegressive(1, 0.5),
    AutoRegressive(2, -0.99),
    AutoRegressive(11, 0.0),
    AutoRegressive(60, 0.99),
    AutoRegressive(61, -0.9),
    AutoRegressive(12, 0.9, ring=True),
    AutoRegressive(13, -0.5, ring=True),
    Graded(20, 0.8),
    Spiked(5, (4.0,)),
    Spiked(12, (6.0, 3.0, -0.5)),
    Spiked(12, (6.0, 3.0, 3.0, 0.0), "haar"),
    Spiked(12, (6.0, 3.0, -0.5), "localized", support=4),
    Spiked(12, (6.0, 6.0, -0.5), "localized"),
    Spiked(3, (6.0, 3.0, -0.5), "localized"),
    PowerLaw(9, 1.5, "diagonal"),
    Dense([[2.0, 2.0], [2.0, 2.0]]),
]


@pytest.mark.parametrize("covariance", EXACT, ids=repr)
def test_spectrum_is_that_of_the_matrix(covariance):
    """Traces and every diagonal entry of functions of the covariance, to rounding."""
    spectrum, dense = covariance.spectrum, Spectrum.of(covariance.matrix())
    assert (np.diff(spectrum.eigenvalues) >= 0).all()
    assert spectrum.d == dense.d == covariance.d
    np.testing.assert_allclose(spectrum.profile.sum(axis=1), 1.0, atol=1e-13)
    for f in (lambda t: t, lambda t: 1 / (t + 0.3), lambda t: t / (t + 0.01) ** 2):
        ours, theirs = f(spectrum.eigenvalues), f(dense.eigenvalues)
        np.testing.assert_allclose(spectrum.trace(ours), dense.trace(theirs), rtol=1e-11)
        np.testing.assert_allclose(
            spectrum.per_coordinate(spectrum.diagonal(ours)),
            dense.per_coordinate(dense.diagonal(theirs)),
            rtol=1e-11,
        )


@pytest.mark.parametrize("covariance", [*EXACT, PowerLaw(9, 1.5), PowerLaw(1, 0.0)], ids=repr)
def test_colored_rows_have_the_covariance(covariance):
    """Coloring the unit vectors gives B', and B B' is the covariance; rows do not mix."""
    root = covariance.color(np.eye(covariance.d))
    np.testing.assert_allclose(root.T @ root, covariance.matrix(), atol=1e-13 * covariance.d)
    np.testing.assert_allclose(covariance.color(np.eye(covariance.d)[:1]), root[:1], atol=1e-15)


def test_a_ring_is_circulant_with_the_covariance_of_its_name():
    first = 0.9 ** np.arange(20) + 0.9 ** (20 - np.arange(20))
    ring = AutoRegressive(20, 0.9, ring=True)
    np.testing.assert_allclose(ring.matrix(), circulant(first) / (1 - 0.9**20), rtol=1e-14)


def test_eigenvalues_of_a_line_keep_their_digits():
    """Products of the eigenvalues give the determinant (1 - rho^2)^(d-1) at condition 4e4."""
    values = AutoRegressive(400, 0.99).spectrum.eigenvalues
    np.testing.assert_allclose(np.log(values).sum(), 399 * np.log1p(-(0.99**2)), rtol=1e-13)


def test_delocalized_directions_are_flat_and_orthonormal():
    vectors = Spiked(24, (1.0, 2.0, 3.0), random_state=3).vectors
    np.testing.assert_allclose(np.abs(vectors), 24**-0.5, rtol=1e-14)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-14)
    assert (vectors != Spiked(24, (1.0, 2.0, 3.0), random_state=4).vectors).any()


def test_a_million_columns_need_no_matrix():
    """Types and eigenvalues are as few as structure allows."""
    d = 1_000_000
    for covariance, types, eigenvalues in (
        (Identity(d), 1, 1),
        (Spiked(d, (6.0, 3.0)), 1, 3),
        (Spiked(d, (6.0, 3.0), "localized", support=5), 3, 3),
        (Blocks.cycled(d, 10, (0.2, 0.5, 0.8), (0.5, 1.0, 3.0)), 3, 6),
        (Diagonal.cycled(d, (1.0, 2.0)), 2, 2),
        (AutoRegressive(d, 0.9, ring=True), 1, d // 2 + 1),
        (PowerLaw(d, 1.0), 1, d),
    ):
        spectrum = covariance.spectrum
        assert spectrum.profile.shape == (types, eigenvalues)
        assert spectrum.d == d


def test_equal_eigenvalues_are_merged_and_absent_ones_dropped():
    spectrum = ordered_spectrum(
        np.array([2.0, 1.0, 2.0, 5.0]), np.array([1.0, 3.0, 1.0, 0.0]), np.full((1, 4), 0.25)
    )
    assert spectrum.eigenvalues.tolist() == [1.0, 2.0]
    assert spectrum.counts.tolist() == [3.0, 2.0]
    assert spectrum.profile.tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize("aspect_ratio", [0.2, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0])
def test_closed_forms_agree_with_the_general_formula(aspect_ratio, alpha):
    """To 1e-12; a ring of 4,000 columns is its limit up to 0.9^4000."""
    d = 4_000
    for form, covariance in (
        (identity_closed_form(aspect_ratio, alpha), Identity(d)),
        (
            autoregressive_closed_form(0.9, aspect_ratio, alpha),
            AutoRegressive(d, 0.9, ring=True),
        ),
        (
            autoregressive_closed_form(-0.5, aspect_ratio, alpha),
            AutoRegressive(d, -0.5, ring=True),
        ),
        (block_closed_form(10, 0.5, aspect_ratio, alpha), Blocks.cycled(d, 10, 0.5)),
        (block_closed_form(5, -0.2, aspect_ratio, alpha), Blocks.cycled(d, 5, -0.2)),
    ):
        theory = masked_regression(covariance, d / aspect_ratio, alpha)
        np.testing.assert_allclose(form.kappa, theory.kappa, rtol=1e-12)
        np.testing.assert_allclose(form.df1, theory.degrees_of_freedom / d, rtol=1e-12)
        np.testing.assert_allclose(form.df2, theory.second_degrees_of_freedom / d, rtol=1e-12)
        np.testing.assert_allclose(form.test_error, theory.test_error, rtol=1e-12)
        np.testing.assert_allclose(form.train_error, theory.train_error, rtol=1e-12)


def test_closed_forms_without_a_penalty():
    """n > d: 1 / (Omega_kk (1 - d/n)) and (1 - d/n) / Omega_kk; n < d: no training error."""
    for form, precision in (
        (identity_closed_form(0.4, 0.0), 1.0),
        (autoregressive_closed_form(0.9, 0.4, 0.0), (1 + 0.81) / (1 - 0.81)),
        (block_closed_form(2, 0.5, 0.4, 0.0), 4 / 3),
    ):
        np.testing.assert_allclose(form.test_error, 1 / (precision * 0.6), rtol=1e-14)
        np.testing.assert_allclose(form.train_error, 0.6 / precision, rtol=1e-14)
    wide = autoregressive_closed_form(0.9, 2.0, 0.0)
    np.testing.assert_allclose(2 * wide.df1, 1.0, rtol=1e-14)
    assert wide.train_error == 0.0


@pytest.mark.parametrize("spikes", [(6.0, 3.0), (-0.5,), (0.1,)])
@pytest.mark.parametrize(("aspect_ratio", "alpha"), [(0.5, 0.1), (2.0, 0.1), (2.0, 0.0)])
def test_spikes_enter_at_order_one_over_d(spikes, aspect_ratio, alpha):
    """d times the difference to the identity tends to the closed form, with errors c/d."""
    limit = spiked_excess(spikes, aspect_ratio, alpha)
    plain = identity_closed_form(aspect_ratio, alpha).test_error
    gaps = [
        d * (masked_regression(Spiked(d, spikes), d / aspect_ratio, alpha).test_error - plain)
        - limit
        for d in (1_000, 10_000)
    ]
    assert abs(gaps[1]) < 1e-3 * max(abs(limit), 0.1)
    np.testing.assert_allclose(gaps[0] / gaps[1], 10.0, rtol=0.1)


@pytest.mark.parametrize(("rho", "d"), [(0.9, 2), (-0.5, 3), (0.3, 17)])
def test_least_error_of_a_line(rho, d):
    """Mean of 1 / Omega_kk by inversion."""
    precision = np.linalg.inv(AutoRegressive(d, rho).matrix())
    expected = (1 / np.diag(precision)).mean()
    np.testing.assert_allclose(autoregressive_population_error(rho, d), expected, rtol=1e-12)


@pytest.mark.parametrize("rho", [0.9, -0.5, 0.999, 0.0])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_hidden_error_of_a_line_is_its_double_sum(rho, p):
    a = np.arange(1, 400.0)
    b = a[:, None]
    r = rho**2
    terms = (1 - p) ** 2 * p ** (a + b - 2) * (1 - r**a) * (1 - r**b) / (1 - r ** (a + b))
    np.testing.assert_allclose(autoregressive_hidden_error(rho, p), terms.sum(), rtol=1e-11)


def test_hidden_error_of_a_line_at_rates_near_zero_and_one():
    """One neighbour each side at rate 0; the variance, one, at rate 1."""
    least = autoregressive_closed_form(0.9, 1e-9, 0.0).test_error
    np.testing.assert_allclose(autoregressive_hidden_error(0.9, 1e-12), least, rtol=1e-8)
    np.testing.assert_allclose(autoregressive_hidden_error(0.5, 0.99999), 1.0, rtol=1e-4)


def test_names_build_what_they_say():
    for name, kind in KINDS.items():
        assert named_covariance(kind.example, 20).d == 20, name
    assert named_covariance(" spiked:spikes=6,3, directions=localized, support=2", 10) == Spiked(
        10, (6.0, 3.0), "localized", 2
    )
    assert named_covariance("ar1:rho=-0.5,ring=yes", 10) == AutoRegressive(10, -0.5, True)
    blocks = named_covariance("blocks:size=4,correlations=.2,.5,variances=1,2,3", 10)
    assert blocks.sizes.tolist() == [4, 4, 2]
    assert blocks.correlations.tolist() == [0.2, 0.5, 0.2]
    assert blocks.variances.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arma:rho=0.9", "'arma'; there are, for example: identity; spiked:spikes=6,3; ar1"),
        ("ar1:phi=0.9", "ar1 has no option 'phi'; there are: rho, ring"),
        ("identity:rho=1", "identity has no option 'rho'; there are: none"),
        ("ar1", "ar1 needs rho; for example 'ar1:rho=0.9'"),
        ("ar1:rho=high", "ar1 cannot read rho=high"),
        ("ar1:rho=0.1,0.2", "ar1 cannot read rho=0.1,0.2"),
        ("ar1:rho=0.9,ring=maybe", "ar1 cannot read ring=maybe"),
        ("ar1:0.9", "options read option=value; found '0.9'"),
        ("ar1:rho=0.9,rho=0.8", "ar1 has the option 'rho' twice"),
        ("ar1:rho=1", r"rho is a correlation in \(-1, 1\); found 1.0"),
        ("", "no covariance is called ''"),
    ],
)
def test_names_that_are_wrong_say_what_there_is(text, words):
    with pytest.raises(InputError, match=words):
        named_covariance(text, 20)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: AutoRegressive(10, -1.0), "in .-1, 1.; found -1.0"),
        (lambda: AutoRegressive(10, np.nan), "found nan"),
        (lambda: AutoRegressive(0, 0.5), "d is a whole number from 1; found 0"),
        (lambda: Identity(2.0), "found 2.0"),
        (lambda: AutoRegressive(1_000_000, 0.5).spectrum, "GB; lower d.*ring"),
        (lambda: Diagonal(np.arange(1.0, 20_001)).spectrum, "3.2 GB"),
        (lambda: Spiked(10, (2.0, -1.0)), "above -1.*found -1"),
        (lambda: Spiked(10, ()), "spikes are finite numbers"),
        (lambda: Spiked(10, (np.inf,)), "spikes are finite numbers"),
        (lambda: Spiked(9, (2.0, 1.0)), "multiple of 2; found d = 9.*haar"),
        (lambda: Spiked(2, (2.0, 1.0, 0.5), "haar"), "3 spikes need 3 coordinates; found d = 2"),
        (lambda: Spiked(9, (2.0, 1.0), "localized", 5), "2 spikes need 10 coordinates"),
        (lambda: Spiked(9, (2.0,), "sideways"), "found 'sideways'"),
        (lambda: PowerLaw(9, -1.0), "exponent is finite and not negative; found -1"),
        (lambda: PowerLaw(9, 1.0, "fourier"), "found 'fourier'"),
        (lambda: Blocks([2.5], 0.1), "sizes of blocks are whole numbers"),
        (lambda: Blocks([3, 3], -0.6), "from -0.5 to 1; found -0.6"),
        (lambda: Blocks([3, 3], [0.1, 0.2, 0.3]), "one a block, 2; found 3"),
        (lambda: Blocks([3, 3], 0.1, 0.0), "variances of blocks are positive; found 0"),
        (lambda: Blocks.cycled(5, 6), "at most d = 5 columns; found size = 6"),
        (lambda: Diagonal([1.0, -1.0]), "found variances from -1 to 1"),
        (lambda: Diagonal(["a"]), "variances are numbers"),
        (lambda: Graded(5, 0.5, 0.0), "variances are positive and finite"),
        (lambda: Dense([[1.0, 2.0], [2.0, 1.0]]), "no negative eigenvalue"),
        (lambda: benchmark_covariances(25), "even d from 10; found d = 25"),
        (lambda: autoregressive_closed_form(1.0, 0.5, 0.1), "rho is a correlation"),
        (lambda: identity_closed_form(0.0, 0.1), "aspect_ratio is d/n, positive"),
        (lambda: identity_closed_form(0.5, -0.1), "not negative; found -0.1"),
        (lambda: identity_closed_form(1.0, 0.0), "diverges at d = n"),
        (lambda: block_closed_form(3, -0.5, 0.5, 0.1), "above -1/2 and below 1"),
        (lambda: spiked_excess([-1.0], 0.5, 0.1), "a spike is above -1"),
        (lambda: autoregressive_population_error(0.5, 1), "d is at least 2"),
        (lambda: autoregressive_hidden_error(0.5, 1.0), "at most 0.99999; found 1.0"),
        (lambda: MaskedPopulation(Identity(3), "cauchy"), "gaussian, rademacher.*found 'cauchy'"),
        (lambda: MaskedPopulation(Identity(3), "student", 2.0), "above 2.*found 2.0"),
        (lambda: MaskedPopulation(Identity(3)).sample_unlabeled(0), "size is a whole number"),
        (lambda: MaskedPopulation(Identity(3)).test_error(np.eye(3)), "entries up to 1"),
        (lambda: MaskedPopulation(Identity(3)).test_error(np.zeros((2, 2))), r"found \(2, 2\)"),
        (lambda: MaskedPopulation(Identity(2)).test_error(np.full((2, 2), np.nan)), "are finite"),
    ],
)
def test_bad_input_is_refused(build, words):
    with pytest.raises(InputError, match=words):
        build()


def test_the_ten_covariances_have_ten_names():
    ten = benchmark_covariances(20)
    assert len(ten) == 10
    assert all(covariance.matrix().shape == (20, 20) for covariance in ten.values())


@pytest.mark.parametrize("rows", ["gaussian", "rademacher", "student", "elliptical"])
def test_rows_have_the_covariance(rows, rng):
    """Entries of X'X/n within four and a half standard errors of that sample, 21 of them."""
    covariance = Graded(6, 0.8)
    X = MaskedPopulation(covariance, rows, 9.0).sample_unlabeled(20_000, rng)
    products = X[:, :, None] * X[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(products.mean(axis=0) - covariance.matrix()) < 4.5 * error + 1e-12).all()


def test_elliptical_rows_are_normal_after_division_by_their_scales(rng):
    population = MaskedPopulation(AutoRegressive(5, 0.5), "elliptical", 5.0)
    X, scales = population.sample_with_scales(20_000, rng)
    normal = np.linalg.solve(np.linalg.cholesky(population.covariance.matrix()), X.T).T
    fourth = (normal / np.sqrt(scales)[:, None]) ** 4
    assert abs(fourth.mean() - 3) < 4 * fourth.std() / np.sqrt(fourth.size)
    expected = np.quantile(scales, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        np.quantile(population.row_scales(2_000), [0.1, 0.5, 0.9]), expected, rtol=0.05
    )
    np.testing.assert_allclose(population.row_scales(100_000).mean(), 1.0, rtol=1e-3)
    below = chi2.sf(3.0 / population.row_scales(4), 5.0)
    np.testing.assert_allclose(below, [0.125, 0.375, 0.625, 0.875], rtol=1e-12)
    assert MaskedPopulation(Identity(2)).row_scales(3).tolist() == [1.0, 1.0, 1.0]


def test_rows_repeat_with_their_seed():
    population = MaskedPopulation(np.eye(3), "student")
    assert np.array_equal(population.sample_unlabeled(4, 1), population.sample_unlabeled(4, 1))


def test_error_of_a_masked_predictor_is_that_of_its_rows(rng):
    """Exact errors against the mean over the rows of a sample with exactly this covariance."""
    X = rng.standard_normal((40, 6))
    X -= X.mean(axis=0)
    population = MaskedPopulation(X.T @ X / 40)
    A = rng.standard_normal((6, 6))
    np.fill_diagonal(A, 0.0)
    b = rng.standard_normal(6)
    expected = ((X - X @ A - b) ** 2).mean(axis=0)
    np.testing.assert_allclose(population.test_error_per_coordinate(A, b), expected, rtol=1e-12)
    np.testing.assert_allclose(population.test_error(A, b), expected.mean(), rtol=1e-12)
