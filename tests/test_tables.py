"""Tables in: one matrix whatever the container, and refusals that name column, count and cure."""

import gzip
import math
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretell.data import checks, tables
from foretell.data.checks import check_columns, check_values
from foretell.data.sources import ArraySource
from foretell.data.tables import (
    as_frame,
    count_labeled,
    design_matrix,
    is_frame,
    load,
    read_table,
    split_target,
)
from foretell.errors import InputError

COLUMNS = {
    "length": [1.5, -2.25, 0.1, 1e-3],
    "count": [3, 1, 4, 1],
    "flag": [True, False, False, True],
    "big": [2**53, 0, 1, -(2**53)],
}
MATRIX = np.array([[float(v) for v in column] for column in COLUMNS.values()]).T
ODD_NAMES = [
    "<script>alert(1)</script>",
    "",
    "ä ß 漢",
    "a,b",
    'say "x"',
    "two\nlines",
    "\ttab",
    "&amp;",
]
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame, "arrow": pa.table}


@pytest.fixture
def write(tmp_path):
    """Writes bytes or text to a file of the given name."""

    def to(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


def refusal(call, *args, **kwargs):
    """The message of the InputError that a call must raise."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def check_matrix(X, names=None):
    """What a fit asks of its rows: values one by one, then columns by their moments."""
    check_values(X, names)
    check_columns(ArraySource(np.asarray(X, dtype=np.float64)).moments, names)


def says(message, *words):
    assert [word for word in words if word not in message] == [], message


# Files


def test_every_file_format_gives_the_same_table(tmp_path):
    table = pa.table(COLUMNS)
    frame = table.to_pandas()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.TSV", index=False, sep="\t")
    frame.to_csv(tmp_path / "t.x.csv.gz", index=False)
    frame.to_csv(tmp_path / "bom.csv", index=False, encoding="utf-8-sig")
    pa.parquet.write_table(table, tmp_path / "t.Parquet")
    for name in ("t.feather", "t.arrow"):
        pa.feather.write_feather(table, tmp_path / name)
    with pa.ipc.new_stream(tmp_path / "t.ipc", table.schema) as stream:
        stream.write_table(table)
    for path in tmp_path.iterdir():
        X, names = design_matrix(read_table(path))
        assert names == list(COLUMNS)
        np.testing.assert_array_equal(X, MATRIX, err_msg=path.name)


@pytest.mark.parametrize("cell", sorted(tables.MISSING_CELLS))
def test_spellings_of_missing_keep_a_column_numeric(write, cell):
    column = read_table(write("t.csv", f"a,b\n1,2\n{cell},3\n"))["a"]
    assert (str(column.type), column.to_pylist()) == ("int64", [1, None])


def test_odd_column_names_survive_csv(tmp_path):
    table = pa.table({name: [1.0, 2.0] for name in ODD_NAMES})
    pa.csv.write_csv(table, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv").column_names == ODD_NAMES


def test_cells_with_line_breaks_may_straddle_blocks(write):
    path = write("t.csv", "words,a\n" + '"\n\n\n\n\n\n\n\n",1\n' * 700_000)
    assert read_table(path).num_rows == 700_000


def test_row_labels_of_pandas_are_left_out_of_parquet(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[7, 3])
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").column_names == ["a"]


def test_row_numbers_of_pandas_are_refused(tmp_path):
    pd.DataFrame({"a": [3.0, 1.0, 2.0]}).to_csv(tmp_path / "t.csv")
    message = refusal(design_matrix, read_table(tmp_path / "t.csv"))
    says(message, "'' counts the rows", "drop=['']", "index=False")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "", ["t.csv is empty (0 bytes)", "expected a header"]),
        ("t.csv", "\n\n", ["cannot be read", "t.csv"]),
        ("t.csv", "a,b,c\n", ["3 columns but no rows"]),
        ("t.csv", "a,b\n1,2\n\n3\n4,5,6\n", ["row 3", "1 cells, expected 2", "'3'", "2 such rows"]),
        ("t.csv", 'a,b\n1,2\n"x,2\n', ["row 3", "quotes must close"]),
        ("t.csv", "a,b,a,b\n1,2,3,4\n", ["several columns named 'a', 'b'", "rename"]),
        ("t.csv", "a;b\n1,5;2\n", ["semicolons", "expected ','", "'a;b'"]),
        ("t.csv", "a\tb\n1\t2\n", ["'a\\tb'", "tabs"]),
        ("t.tsv", "a,b\n1,2\n", ["'a,b'", "commas", "expected '\\t'"]),
        ("t.csv", "ä,b\n1,2\n".encode("latin-1"), ["column name", "not UTF-8"]),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), ["in UTF-16", "save it as UTF-8"]),
        ("t.csv.gz", "a,b\n1,2\n", ["t.csv.gz", "damaged"]),
        (
            "t.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-20],
            ["t.csv.gz", "damaged"],
        ),
        ("t.parquet", "a,b\n1,2\n", ["t.parquet", "damaged"]),
        ("t.feather", "a,b\n1,2\n", ["t.feather", "damaged"]),
        ("t.arrow", b"ARROW1", ["t.arrow", "damaged"]),
        ("t.xlsx", "x", ["'.xlsx'", ".csv", ".parquet", ".feather"]),
        ("t.tar.gz", "x", ["'.tar.gz'", ".csv.gz"]),
        ("table", "x", ["no extension", ".parquet"]),
    ],
)
def test_files_that_cannot_be_read_say_why(write, name, content, words):
    says(refusal(read_table, write(name, content)), *words)


def test_missing_file_names_its_likeliest_siblings(write):
    path = write("flats_2024.csv", "a\n1\n")
    says(
        refusal(read_table, path.with_name("flats2024.csv")), "no file", "did you mean 'flats_2024"
    )
    says(refusal(read_table, path.parent / "none" / "t.csv"), "there is no file")


def test_directory_and_table_without_columns_are_refused(tmp_path):
    says(refusal(read_table, tmp_path), "is a directory")
    empty = pa.table({"a": [1]}).drop_columns(["a"])
    pa.parquet.write_table(empty, tmp_path / "t.parquet")
    says(refusal(read_table, tmp_path / "t.parquet"), "no columns")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), ["t.parquet may not be read", "permissions"]),
        (pa.ArrowNotImplementedError("codec 'x'\nstack"), ["damaged? codec 'x'"]),
    ],
)
def test_failures_of_the_reader_are_refusals(write, monkeypatch, error, words):
    def fail(path):
        raise error

    monkeypatch.setattr(pa.parquet, "ParquetFile", fail)
    message = refusal(read_table, write("t.parquet", "x"))
    says(message, *words)
    assert "stack" not in message


def test_permissions_of_the_file_count(closed_file):
    says(refusal(read_table, closed_file), "t.csv may not be read", "change its permissions")


def test_refusals_chain_the_error_of_the_parser(write):
    with pytest.raises(InputError) as caught:
        read_table(write("t.parquet", "x"))
    assert isinstance(caught.value.__cause__, pa.ArrowInvalid)


# Frames


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_every_container_gives_the_same_matrix(make):
    X, names = design_matrix(make(COLUMNS))
    np.testing.assert_array_equal(X, MATRIX)
    assert (X.dtype, X.flags.c_contiguous, names) == (np.float64, True, list(COLUMNS))


@given(
    names=st.lists(st.text(max_size=6), min_size=1, max_size=6, unique=True),
    make=st.sampled_from(sorted(FRAMES)),
)
@settings(max_examples=60, deadline=None)
def test_column_names_may_be_any_text(names, make):
    values = np.random.default_rng(0).standard_normal((4, len(names)))
    frame = FRAMES[make](dict(zip(names, values.T, strict=True)))
    X, found = design_matrix(frame)
    assert found == names
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(X, values)
    message = refusal(design_matrix, frame, ["no such name"])
    says(message, *map(repr, names))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_refusals_show_odd_names_as_python_would(name):
    frame = pa.table({name: ["x", "y"], "z": [1, 2]})
    says(refusal(design_matrix, frame), f"{name!r}: text", "leave them out (--drop")


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, None, 0], dtype="Int64"),
        pd.array([True, None, False], dtype="boolean"),
        pd.array([1.0, None, 0.0], dtype="Float32"),
        pd.array([1, None, 0], dtype="int8[pyarrow]"),
        pd.array([Decimal(1), None, Decimal(0)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        pd.array([Decimal(1), None, Decimal(0)], dtype=object),
        pd.array([True, None, False], dtype=object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_missing_cells_of_nullable_columns_become_nan(column):
    _, y = split_target(pd.DataFrame({"y": column, "a": [1.0, 2.0, 3.0]}), "y")
    np.testing.assert_array_equal(y, [1.0, math.nan, 0.0])


def test_names_that_are_not_text_become_text():
    X, names = design_matrix(pd.DataFrame([[1, 2], [2, 0], [5, 1]]), ["1", "0"])
    assert (names, X[0].tolist()) == (["1", "0"], [2.0, 1.0])
    clash = pd.DataFrame([[1, 2]], columns=["1", 1])
    says(refusal(as_frame, clash), "two columns share a name", "'1'")


def test_repeated_names_in_a_frame_are_refused():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert is_frame(frame)
    says(refusal(design_matrix, frame), "two columns share a name", "'a'")


@pytest.mark.parametrize("thing", [[[1.0]], np.ones((2, 2)), pd.Series([1]), {"a": [1]}, None, "t"])
def test_what_is_not_a_frame_is_refused(thing):
    assert not is_frame(thing)
    says(refusal(as_frame, thing), "expected a data frame", type(thing).__name__)


def test_is_frame_imports_no_data_frame_package():
    code = (
        "import sys; from foretell.data.tables import is_frame; assert not is_frame([[1.0]]);"
        "print({'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_pandas_block_in_row_order_is_not_copied():
    values = np.random.default_rng(0).standard_normal((5, 3))
    X, _ = design_matrix(pd.DataFrame(values, columns=list("abc"), copy=False))
    assert np.shares_memory(X, values)


def test_checks_do_not_copy_the_matrix(monkeypatch):
    monkeypatch.setattr(checks, "CHUNK", 64)
    values = np.random.default_rng(0).standard_normal((1000, 4))
    seen = [C for _, C in checks._chunks(values)]
    assert len(seen) == 63
    assert all(np.shares_memory(C, values) for C in seen)


# What is not a number


def test_all_columns_that_are_not_numbers_are_listed_at_once():
    frame = pa.table(
        {
            "name": ["ann", "bob"],
            "day": pa.array([date(2020, 1, 1)] * 2),
            "when": pa.array([datetime(2020, 1, 1)] * 2),
            "took": pa.array([timedelta(1)] * 2),
            "kind": pa.array(["u", "v"]).dictionary_encode(),
            "raw": pa.array([b"x", b"y"]),
            "many": pa.array([[1], [2]]),
            "record": pa.array([{"u": 1}] * 2),
            "fine": [1.0, 2.0],
        }
    )
    says(
        refusal(design_matrix, frame),
        "8 of 9 columns",
        "'name': text, 2 distinct values, e.g. 'ann'",
        *["'day': date", "'when': datetime", "'took': duration", "'kind': categorical"],
        *["'raw': binary", "'many': list", "'record': struct"],
        "leave them out (--drop",
    )


def test_columns_in_use_are_the_only_ones_judged():
    frame = pa.table({"name": ["ann", "bob"], "a": [1.0, 2.0]})
    assert design_matrix(frame, ["a"])[0].tolist() == [[1.0], [2.0]]


def test_stray_text_is_shown_and_counted(write):
    path = write("t.csv", "a,b\n1,2\nn/k,3\n,4\n4,5\n?,6\n")
    says(
        refusal(design_matrix, read_table(path)),
        "'a': read as text because 2 of 4 cells are not numbers",
        "the first 'n/k' in row 1 (counting from 0)",
    )


def test_numbers_written_as_text_are_called_so():
    message = refusal(design_matrix, pl.DataFrame({"a": ["1.5", None, "2"], "b": [1, 2, 3]}))
    says(message, "every cell reads as a number, e.g. '1.5'")
    says(refusal(design_matrix, pl.DataFrame({"a": ["1_0", "2"]})), "1 of 2 cells", "'1_0'")


def test_python_objects_are_refused_with_an_example():
    frame = pd.DataFrame({"a": [1.0, {"x": 1}], "b": [1.0, 2.0]})
    says(refusal(design_matrix, frame), "'a': Python objects, e.g. {'x': 1} (dict)")


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**62])
def test_integers_that_float64_cannot_hold_are_refused(make, value):
    message = refusal(design_matrix, make({"a": [1, 2], "id": [value, 0]}))
    says(message, f"'id': integers as large as {value}", "identifier", "store it as float")


def test_integers_of_any_container_are_judged():
    says(refusal(design_matrix, pa.table({"u": pa.array([2**64 - 1, 0], pa.uint64())})), "'u'")
    says(refusal(design_matrix, pd.DataFrame({"o": pd.Series([2**70, 0], dtype=object)})), "'o'")
    says(refusal(check_values, np.array([[1, -(2**62)], [2, 3]])), "column 1", "identifier")


def test_many_columns_at_fault_are_cut_short():
    frame = pa.table({f"c{j}": ["x", "y"] for j in range(30)})
    says(refusal(design_matrix, frame), "30 of 30 columns", "'c19': text", "and 10 more", "--drop")


# What is a number but cannot be used


def rows(n=40, d=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("names", [None, list("abcde")])
@pytest.mark.parametrize(
    ("value", "word"), [(math.nan, "contains NaN"), (math.inf, "infinity"), (-math.inf, "infinity")]
)
def test_missing_and_infinite_numbers_are_counted(monkeypatch, names, value, word):
    monkeypatch.setattr(checks, "CHUNK", 15)
    X = rows()
    X[[7, 8], 3] = value
    X[12, 1] = value
    first, second = ("column 1", "column 3") if names is None else ("'b'", "'d'")
    message = refusal(check_values, X, names, where="X_new")
    says(
        message, f"Input X_new contains {word.split()[-1]}", f"{first}: 1 of 40 rows, first row 12"
    )
    says(message, f"{second}: 2 of 40 rows, first row 7", "count from 0", "Fill them in")
    if names:
        says(message, "leave out 'b', 'd' (--drop")


def test_missing_cells_of_features_are_counted():
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [1.0, None, None], "c": [None, None, None]})
    message = refusal(design_matrix, frame)
    says(
        message,
        "'b': 2 of 3 rows, first row 1",
        "'c': 3 of 3 rows, first row 0",
        "leave out 'b', 'c'",
    )


def test_numbers_whose_squares_are_lost_are_refused():
    X = rows()
    X[3, 2] = -1e151
    says(refusal(check_values, X), "column 2: up to 1e+151", "rescale")
    for scale in (1e-152, 1e-160):
        X = rows() * [1, scale, 1, 1, 1]
        check_values(X)
        says(refusal(check_matrix, X), "column 1: variance", "below 1e-300", "rescale")


@pytest.mark.parametrize("scale", [1e-140, 1e-20, 1.0, 1e20, 1e149])
def test_scale_of_a_column_is_no_fault(scale):
    check_matrix(rows() * [1, scale, 1, 1, 1])


def test_constant_columns_are_listed():
    X = rows()
    X[:, 1] = 0.3
    X[::2, 1] = 0.1 + 0.2
    X[:, 4] = 0
    says(
        refusal(check_matrix, X, list("abcde")),
        "2 of 5",
        "'b': 0.3",
        "'e': 0",
        "leave out 'b', 'e' (--drop",
    )
    says(refusal(check_matrix, X), "column 1", "column 4", "all 40 rows")
    check_values(X)


def test_small_spread_about_a_large_mean_is_no_fault():
    check_matrix(1e9 + rows())


def test_repeated_columns_are_named_in_pairs():
    X = rows(300, 60)
    X[:, 40] = X[:, 7]
    X[:, 55] = 32 - 1.8 * X[:, 7]
    X[:, 20] = 1e-30 * X[:, 9]
    X[:, 30] = X[:, 31] + 1e-5 * X[:, 32]
    message = refusal(check_matrix, X)
    pairs = "column 9 and column 20; column 7 and column 40; column 7 and column 55;"
    says(message, "3 of 60 columns", f"shift: {pairs} keep one of each")
    check_matrix(np.delete(X, [20, 40, 55], axis=1))
    names = [f"c{j}" for j in range(60)]
    says(refusal(check_matrix, X, names), "'c9' and 'c20'", "leave out 'c20', 'c40', 'c55' (--drop")


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 30), d=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_repeated_columns_are_those_of_correlation_one(seed, n, d):
    rng = np.random.default_rng(seed)
    X = np.vstack([np.eye(3, d), np.zeros((1, d)), rng.integers(0, 3, (n, d))]).astype(float)
    X[0] += np.arange(d) + 1.0  # no constant column
    same = np.triu(np.abs(np.corrcoef(X.T).reshape(d, d)) >= 1 - 1e-12, 1).any()
    if same:
        says(refusal(check_matrix, X), "repeat another")
    else:
        check_matrix(X)


def test_repeats_among_a_thousand_columns_are_found_quickly():
    X = rows(2000, 1000)
    X[:, 900] = X[:, 3]
    start = time.perf_counter()
    says(refusal(check_matrix, X), "column 3 and column 900")
    assert time.perf_counter() - start < 2  # takes 0.02 s; the correlations of all pairs 0.1 s


def test_repeats_are_found_beside_a_column_that_is_nearly_one():
    Q = np.linalg.qr(np.column_stack([np.ones(50), rows(50, 3, seed=1)]))[0]
    _, w, u, v = Q.T
    X = np.column_stack([w + u, w * (1 + 1e-7) + v, w * (1 + 2e-7) + u * (1 + 2e-7)])
    says(refusal(check_matrix, X), "column 0 and column 2; keep")
    X[:, 2] = w * (1 + 2e-5) + u  # correlation 1 - 5e-11
    check_matrix(X)


def test_noise_free_factor_is_one_column_repeated():
    X = np.outer(rows(200, 1), rows(1, 300))
    says(refusal(check_matrix, X), "column 0 and column 1;", "and 279 more")


def test_shape_and_type_of_an_array_are_checked():
    says(refusal(check_values, np.ones(3)), "Expected 2D array")
    says(refusal(check_values, np.array([["a"]])), "<U1", "convert")
    check_values(np.ones((3, 0)))
    check_values(np.ones((0, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_])
def test_arrays_of_any_number_type_are_checked(dtype):
    check_matrix(np.array([[1, 0], [0, 1], [1, 1]], dtype=dtype))


def test_two_rows_lie_on_a_line_without_fault():
    check_matrix([[1.0, 2.0], [2.0, 1.0]])


def test_rows_to_predict_may_be_alike():
    assert design_matrix(pa.table({"": [1.0]}))[0].tolist() == [[1.0]]
    X, _ = design_matrix(pa.table({"a": [1.0, 1.0], "b": [1.0, 1.0]}))
    assert X.shape == (2, 2)


# Targets


def test_target_is_split_off_with_nan_for_unlabeled():
    features, y = split_target(pd.DataFrame({"a": [1, 2, 3], "y": [True, False, None]}), "y")
    assert features.columns == ["a"]
    np.testing.assert_array_equal(y, [1.0, 0.0, math.nan])
    assert count_labeled(y) == 2


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["a", "b", "a"], ["text, 2 distinct values", "two classes may be coded 0, 1"]),
        (["1", "2", "x"], ["1 of 3 cells are not numbers", "'x' in row 2"]),
        ([date(2020, 1, 1)] * 3, ["date"]),
        ([None, None, None], ["missing in all 3 rows"]),
        ([math.nan] * 3, ["missing in all 3 rows"]),
        ([5.0, None, 5.0], ["is 5 in all 2 labeled rows (of 3)"]),
        ([5.0, None, None], ["is 5 in all 1 labeled rows (of 3)", "two different"]),
        ([1.0, math.inf, -math.inf], ["infinity in 2 of 3 rows, first row 1"]),
        ([1.0, 2e150, None], ["2e+150", "rescale"]),
        ([2**60, 1, None], ["identifier"]),
    ],
)
def test_targets_that_cannot_be_predicted_say_why(column, words):
    frame = pa.table({"a": [1, 2, 3], "<b>y</b>": column})
    says(refusal(split_target, frame, "<b>y</b>"), "'<b>y</b>'", *words)


def test_unknown_target_names_its_likeliest_columns():
    frame = pa.table({"price": [1, 2], "area": [3, 4]})
    says(
        refusal(split_target, frame, "prize"),
        "did you mean 'price'",
        "2 columns are 'price', 'area'",
    )
    wide = pa.table({f"c{j}": [1, 2] for j in range(50)})
    says(refusal(split_target, wide, "zzz"), "50 columns", "and 30 more")


# Both


def test_load_gives_the_same_table_from_file_and_frame(write):
    path = write("flats.csv", "id,rooms,area,rent\nx1,2,50,700\nx2,3,80,NA\nx3,1,40,500\n")
    table = load(path, "rent", drop=["id"])
    assert (table.names, table.target, table.dropped) == (("rooms", "area"), "rent", ("id",))
    assert (table.source_name, table.n_labeled, table.n_unlabeled) == ("flats.csv", 2, 1)
    again = load(read_table(path), "rent", columns=["rooms", "area"])
    assert (again.source_name, again.dropped) == ("data frame", ("id",))
    np.testing.assert_array_equal(again.X, table.X)
    np.testing.assert_array_equal(again.y, table.y)
    one = load(str(path), "rent", drop="id", columns=["area", "id"])
    assert (one.names, one.X.shape) == (("area",), (3, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop": ["rom"]}, ["drop: there is no column 'rom'", "did you mean 'rooms'"]),
        ({"drop": ["rent"]}, ["both the target and in drop"]),
        ({"drop": ["rooms", "area"]}, ["no column is left", "2 dropped"]),
        ({"columns": ["rooms", "rent"]}, ["columns: there is no column 'rent'"]),
        ({"columns": ["rooms", "rooms"]}, ["columns names 'rooms' more than once"]),
        ({"columns": ["rooms", "area"], "drop": ["area", "area"]}, ["drop names 'area' more"]),
    ],
)
def test_choice_of_columns_is_checked(options, words):
    frame = pa.table({"rooms": [1, 2, 3], "area": [3, 4, 7], "rent": [5, 6, None]})
    says(refusal(load, frame, "rent", **options), *words)


def test_a_large_csv_loads_in_a_second(tmp_path):
    X = rows(50_000, 50)
    pa.csv.write_csv(pa.table({f"c{j}": X[:, j] for j in range(50)}), tmp_path / "t.csv")
    start = time.perf_counter()
    table = load(tmp_path / "t.csv", "c0")
    assert time.perf_counter() - start < 3  # takes 0.2 s; others may use the machine
    np.testing.assert_array_equal(table.X, X[:, 1:])
