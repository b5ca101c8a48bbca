"""Square matrices from files."""

import numpy as np
import pytest

from foretell.data.matrices import read_matrix
from foretell.errors import InputError

MATRIX = np.array([[2.0, 1.0], [1.0, 3.5]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.csv", "2,1\n1,3.5\n"),
        ("header.csv", "a,b\n2,1\n1,3.5\n"),
        ("both.csv", ",a,b\na,2,1\nb,1,3.5\n"),
        ("names.tsv", "a\t2\t1\nb\t1\t3.5\n\n"),
        ("space.txt", "  2   1\n1 3.5\n"),
        ("mark.csv", "\ufeff2,1\n1,3.5\n"),
    ],
)
def test_names_are_left_out(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_matrix(path), MATRIX)


def test_arrays_of_numpy(tmp_path):
    np.save(tmp_path / "matrix.npy", MATRIX)
    np.testing.assert_array_equal(read_matrix(tmp_path / "matrix.npy"), MATRIX)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_matrix(tmp_path / "objects.npy")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wide.csv", "1,2,3\n4,5,6\n", "expected a square matrix"),
        ("ragged.csv", "1,2\n3\n", "1 and 2 cells"),
        ("words.csv", "1,2\n3,x\n", "cannot be read"),
        ("empty.csv", "\n", "no numbers"),
        ("matrix.xlsx", "1", "is read from"),
    ],
)
def test_what_is_no_matrix_says_why(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_matrix(path)
    with pytest.raises(InputError, match=r"no file|is read from"):
        read_matrix(tmp_path / f"missing-{name}")
