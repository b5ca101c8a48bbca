"""Real data that come with foretell or with scikit-learn, and demonstrations made of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from foretell.data.tables import read_table
from foretell.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

INDUSTRIES = {
    "NoDur": "non-durables",
    "Durbl": "durables",
    "Manuf": "manufacturing",
    "Enrgy": "energy",
    "Chems": "chemicals",
    "BusEq": "business equipment",
    "Telcm": "telecommunications",
    "Utils": "utilities",
    "Shops": "retail",
    "Hlth": "health care",
    "Money": "finance",
    "Other": "all other industries",
}
STYLES = {
    f"S{size}{kind}{rank}": f"{firms} firms, {level} {trait}"
    for kind, trait in (("V", "book-to-market ratio"), ("M", "past return"))
    for size, firms in ((1, "small"), (3, "middle-sized"), (5, "large"))
    for rank, level in ((1, "low"), (3, "middle"), (5, "high"))
}
PORTFOLIOS = INDUSTRIES | STYLES


@dataclass(frozen=True)
class Description:
    """Where data come from and what they are.

    Attributes
    ----------
    title, source, license, unit
        What the data are, who published them, on which terms, and the unit of the columns.
    n_rows
        Number of rows, and what one row is.
    columns
        Meaning of each column.
    """

    title: str
    source: str
    license: str
    unit: str
    n_rows: int
    row: str
    columns: dict[str, str]


FRENCH = Description(
    title="Monthly returns of United States stock portfolios, January 1949 to March 2017",
    source=(
        "Kenneth R. French, Data Library, "
        "https://mba.tuck.dartmouth.edu/pages/faculty/ken.french/data_library.html; "
        "extract of linearmodels 7.1"
    ),
    license="NCSA (linearmodels); copyright E. F. Fama, K. R. French; see bundled/LICENSES.md",
    unit="return per month as a fraction, 0.01 is one percent; dates excepted",
    n_rows=819,
    row="a month",
    columns={
        "dates": "first day of the month",
        "MktRF": "market return above the risk-free rate",
        "SMB": "small minus big firms",
        "HML": "high minus low book-to-market ratio",
        "Mom": "high minus low past return",
        "RF": "risk-free rate",
    }
    | PORTFOLIOS,
)
DIABETES = Description(
    title="Disease progression of diabetes patients one year after baseline",
    source=(
        "B. Efron, T. Hastie, I. Johnstone, R. Tibshirani (2004), Least angle regression, "
        "doi:10.1214/009053604000000067; scikit-learn's load_diabetes(scaled=False)"
    ),
    license="BSD-3-Clause (scikit-learn)",
    unit="stated by column where known",
    n_rows=442,
    row="a patient",
    columns={
        "age": "years",
        "sex": "coded 1, 2",
        "bmi": "body mass index, kg/m²",
        "bp": "average blood pressure",
        "s1": "total serum cholesterol",
        "s2": "low-density lipoproteins",
        "s3": "high-density lipoproteins",
        "s4": "total cholesterol over high-density lipoproteins",
        "s5": "possibly the logarithm of serum triglycerides",
        "s6": "blood sugar",
        "progression": "measure of disease progression, 25 to 346 (the target)",
    },
)


@dataclass(frozen=True, eq=False)
class Demo:
    """A table with few labeled rows, and the labels that were taken out.

    Attributes
    ----------
    table
        Features and target of N rows; the target is missing in the unlabeled rows.
    target
        Name of the target.
    truth
        The target of all rows, shape (N,), for validation only.
    labeled
        Which rows kept their target, shape (N,).
    description
        Of the data behind the table.
    """

    table: pa.Table
    target: str
    truth: NDArray[np.float64]
    labeled: NDArray[np.bool_]
    description: Description


def load_french() -> pa.Table:
    """Monthly returns of 30 stock portfolios, four factors and the risk-free rate, 819 months.

    Returns are fractions; :data:`FRENCH` describes the columns.

    Examples
    --------
    >>> load_french().shape
    (819, 36)
    """
    with as_file(files("foretell.data") / "bundled" / "french.csv.gz") as path:
        return read_table(path)


def load_diabetes_table() -> pa.Table:
    """Ten measurements of 442 diabetes patients and the progression of the disease.

    Read from scikit-learn, in the original units; :data:`DIABETES` describes the columns.

    Examples
    --------
    >>> load_diabetes_table().shape
    (442, 11)
    """
    import pyarrow as pa
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, scaled=False)
    return pa.table(dict(zip(DIABETES.columns, [*X.T, y], strict=True)))


def demo_fund(
    fund: str = "Money",
    *,
    columns: Literal["styles", "others"] | Sequence[str] = "styles",
    n_labeled: int = 60,
    choice: Literal["random", "last"] = "random",
    random_state: int | np.random.Generator | None = 0,
) -> Demo:
    """Stock portfolios over 819 months, one of them a 'fund' whose return is known in few.

    This is return-based style analysis [1]_: what a fund holds is inferred from how its returns
    follow those of portfolios that are observed for much longer. Returns are in percent per month;
    the dates, the risk-free rate and the published factors (which the 18 styles reproduce with an
    R² of .91 to .99) are left out. Rows are in the order of time.

    Over 100 draws of 60 months (``random_state`` 0 to 99), the mean squared error in the hidden
    months is 5.7 for least squares on three principal components of all months, 5.8 on those of the
    labeled months only, 5.8 for a ridge regression on the 18 columns with its penalty chosen by
    cross-validation, 7.8 for least squares on them, and 27 without features. Pre-training reaches
    the tuned ridge regression, ahead of it in half of the draws; unlabeled months matter little.
    For energy (``demo_fund("Enrgy", columns="others")``), which three factors do not span, the
    numbers are 17.3, 16.9, 12.9, 19.1 and 28: the ridge regression is ahead in 96 draws.

    The months are neither normal nor independent. The excess kurtosis of the styles is 1.2 to 5.7,
    their autocorrelation at one month .02 to .21 and that of their squares .08 to .43. Prediction
    intervals of 95 % hold in 94 % of the hidden months on average, but in 74 % of those of 2008 and
    2009 and in 98 % of those after; intervals of 99 % in 98 %. Intervals of 95 % from the 60
    ``"last"`` months, which are calm, hold in 91 %.

    Parameters
    ----------
    fund
        A column of ``PORTFOLIOS``, to be predicted.
    columns
        ``"styles"`` are the 18 portfolios by size, value and momentum, ``"others"`` all portfolios
        but the fund; or names of columns of :func:`load_french`.
    n_labeled
        Number of months in which the fund's return is known, from 2 to 818.
    choice
        Whether these are random months or the last ones.
    random_state
        Seed of the random months.

    Raises
    ------
    InputError
        When the fund, a column, the number of months or the choice is not one of these.

    References
    ----------
    .. [1] W. F. Sharpe (1992). Asset allocation: management style and performance measurement.
       Journal of Portfolio Management 18(2), 7-19.

    Examples
    --------
    >>> demo = demo_fund()
    >>> demo.table.shape, int(demo.labeled.sum())
    ((819, 19), 60)
    """
    import pyarrow as pa

    if fund not in PORTFOLIOS:
        near = difflib.get_close_matches(fund, PORTFOLIOS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(
            f"there is no fund {fund!r}{hint}; expected one of {', '.join(PORTFOLIOS)}"
        )
    if isinstance(columns, str):
        if columns not in ("styles", "others"):
            raise InputError(
                f"columns is {columns!r}; expected 'styles', 'others' or a list of column names"
            )
        columns = [*(STYLES if columns == "styles" else PORTFOLIOS)]
    features = [c for c in columns if c != fund]
    if unknown := [c for c in features if c not in FRENCH.columns or c == "dates"]:
        raise InputError(
            f"there are no returns {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join([*FRENCH.columns][1:])}"
        )
    returns = load_french()
    percent = {c: 100 * returns[c].to_numpy() for c in [*features, fund]}
    return _hide(pa.table(percent), fund, n_labeled, choice, random_state, FRENCH)


def demo_diabetes(
    *, n_labeled: int = 60, random_state: int | np.random.Generator | None = 0
) -> Demo:
    """The diabetes table with few labeled patients, where pre-training pays only at a high rank.

    Over 100 draws of 60 patients (``random_state`` 0 to 99), the mean squared error for the others
    is 3,980 for least squares on three principal components, 3,240 on four, 3,290 on five, 3,600 on
    all ten columns, and 3,370 for a ridge regression with its penalty chosen by cross-validation:
    the progression follows the first component and the fourth, which carry 40 and 10 % of the
    variance.

    Parameters
    ----------
    n_labeled
        Number of patients with a label, from 2 to 441.
    random_state
        Seed of their choice.

    Examples
    --------
    >>> demo = demo_diabetes(n_labeled=100)
    >>> demo.table["progression"].null_count
    342
    """
    table = load_diabetes_table()
    return _hide(table, "progression", n_labeled, "random", random_state, DIABETES)


def _hide(
    table: pa.Table,
    target: str,
    n_labeled: int,
    choice: str,
    random_state: int | np.random.Generator | None,
    description: Description,
) -> Demo:
    import pyarrow as pa

    N = table.num_rows
    if not 2 <= n_labeled < N:
        raise InputError(f"n_labeled is {n_labeled}; expected 2 to {N - 1} of the {N} rows")
    if choice not in ("random", "last"):
        raise InputError(f"choice is {choice!r}; expected 'random' or 'last'")
    truth = np.array(table[target], dtype=np.float64)
    labeled = np.arange(N) >= N - n_labeled
    if choice == "random":
        labeled = np.random.default_rng(random_state).permutation(labeled)
    kept = pa.array(truth, mask=~labeled)
    table = table.set_column(table.column_names.index(target), target, kept)
    return Demo(table, target, truth, labeled, description)
