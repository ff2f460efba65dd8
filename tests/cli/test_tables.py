"""Tables: what a CSV file may look like, what it may not, and how rows are held out."""

import os
import threading
import time

import numpy as np
import pytest

from xbackprop.cli.tables import BUNDLED, Dataset, hold_out, read_csv, read_dataset, read_features


@pytest.fixture
def csv(tmp_path):
    """Writes a file and gives its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_columns_are_features_but_for_the_target(csv):
    data = read_dataset(csv("a,label,b\n1,x,2.5\n-3e2, y ,4\n\n"), "label")
    np.testing.assert_array_equal(data.X, [[1, 2.5], [-300, 4]])
    assert data.X.dtype == np.float64
    assert data.y.tolist() == ["x", "y"]
    assert data.features == ["a", "b"]
    assert (data.target, data.task) == ("label", "classification")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_line_ends_quotes_and_a_byte_order_mark(csv, delimiter, newline):
    lines = [f'"a{delimiter}1"{delimiter}b{delimiter}y', f"1{delimiter}2{delimiter}0.5", f"3{delimiter}4{delimiter}1.5"]
    data = read_dataset(csv(b"\xef\xbb\xbf" + newline.join(lines).encode()), "y")
    assert data.features == [f"a{delimiter}1", "b"]
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("cells", "task", "expected", "dtype"),
    [
        (["cat", "dog", "cat"], None, "classification", "U"),
        ([0, 1, 1, 0], None, "classification", "i"),
        (["1.0", "2.0", "1", "2"], None, "classification", "i"),
        ([1, 2, 3, 4], None, "regression", "f"),
        ([0.5, 1.5, 0.5, 1.5], None, "regression", "f"),
        (list(range(21)) * 3, None, "regression", "f"),
        (list(range(20)) * 3, None, "classification", "i"),
        ([0, 1, 1, 0], "regression", "regression", "f"),
        ([1, 2, 3, 4], "classification", "classification", "i"),
        ([0.5, 1.5, 0.5], "classification", "classification", "f"),
        ([1, 2, "other"], "classification", "classification", "U"),
    ],
)
def test_the_task_follows_from_the_target(csv, cells, task, expected, dtype):
    data = read_dataset(csv("x,y\n" + "".join(f"1,{cell}\n" for cell in cells)), "y", task)
    assert data.task == expected
    assert data.y.dtype.kind == dtype
    assert len(data.y) == len(cells)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("a,y\n", "a header and nothing below it"),
        ("a,y\n1,2\n3\n", "line 3: expected 2 cells, as in the header, got 1"),
        ("a,y\n1,2\n3,4,5\n", "line 3: expected 2 cells, as in the header, got 3"),
        ("a,y\n1,2\n,4\n", "line 3: column 'a' is empty"),
        ("a,y\n1,2\n3, \n", "line 3: column 'y' is empty"),
        ("a,y\n1,2\nred,4\n", "line 3: column 'a' must have finite numbers, got 'red'"),
        ("a,y\n1,2\nnan,4\n", "line 3: column 'a' must have finite numbers, got 'nan'"),
        ("a,y\n1,2\n3,-inf\n", "line 3: column 'y' must have finite numbers, got '-inf'"),
        ("a,y\n1,2\n3,NA\n", r"line 3: column 'y' must have finite numbers, got 'NA' .*--task classification"),
        ("a,b\n1,2\n", "there is no column 'y'; the columns are a, b"),
        ("y\n1\n", "there must be a column beside the target"),
        ("1,2\n3,4\n", "line 1: expected the names of the columns, got the numbers 1, 2"),
        ("a,a,y\n1,2,3\n", "line 1: two columns are called 'a'"),
        (",a,y\n1,2,3\n", "line 1: column 1 has no name"),
        ('a,y\n1,"2\n', "line 2: this is no CSV"),
        (b"a,y\n1,\xff\n", "the file must be text in UTF-8"),
    ],
)
def test_a_bad_file_is_refused_in_words(csv, content, message):
    path = csv(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_dataset(path, "y")
    assert str(caught.value).startswith(path)


def test_other_refusals(csv, tmp_path):
    path = csv("a,y\n1,x\n2,z\n")
    with pytest.raises(ValueError, match=r"say with --target which column to predict; there are a, y"):
        read_dataset(path)
    with pytest.raises(ValueError, match="column 'y' must have finite numbers, got 'x'"):
        read_dataset(path, "y", "regression")
    with pytest.raises(
        FileNotFoundError, match=r"no\.csv: there is no such file, and no such data set; those are .*iris"
    ):
        read_dataset(str(tmp_path / "no.csv"), "y")


@pytest.mark.parametrize(
    ("name", "shape", "task"),
    [
        ("breast_cancer", (569, 30), "classification"),
        ("diabetes", (442, 10), "regression"),
        ("digits", (1797, 64), "classification"),
        ("iris", (150, 4), "classification"),
        ("wine", (178, 13), "classification"),
    ],
)
def test_the_data_sets_of_scikit_learn(name, shape, task):
    pytest.importorskip("sklearn")
    assert name in BUNDLED
    data = read_dataset(name)
    assert (data.X.shape, data.y.shape, data.task) == (shape, shape[:1], task)
    assert len(set(data.features)) == shape[1]
    if name == "iris":
        assert set(data.y) == {"setosa", "versicolor", "virginica"}
        with pytest.raises(ValueError, match="must be numbers, got labels like 'setosa'"):
            read_dataset(name, task="regression")
    with pytest.raises(ValueError, match="knows its own target, got --target x"):
        read_dataset(name, "x")


def test_a_file_goes_before_a_data_set_of_its_name(csv, tmp_path, monkeypatch):
    csv("a,y\n1,0.5\n", "iris")
    monkeypatch.chdir(tmp_path)
    assert read_dataset("iris", "y").X.shape == (1, 1)


def test_features_are_found_by_name_whatever_else_there_is(csv):
    path = csv("b,note,a\n2,?,1\n4,,3\n")
    np.testing.assert_array_equal(read_features(path, ["a", "b"], 2), [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="there is no column 'c'; the columns are b, note, a"):
        read_features(path, ["a", "c"], 2)
    with pytest.raises(ValueError, match="knows its 3 columns by place only, got 2 columns"):
        read_features(csv("b,a\n1,2\n"), None, 3)


def test_features_of_a_data_set():
    pytest.importorskip("sklearn")
    data = read_dataset("iris")
    np.testing.assert_array_equal(read_features("iris", data.features[::-1], 4), data.X[:, ::-1])
    np.testing.assert_array_equal(read_features("iris", None, 4), data.X)
    with pytest.raises(ValueError, match="iris: there is no column 'age', which the model needs"):
        read_features("iris", ["age"], 1)


def labelled(y, task="classification"):
    return Dataset(np.zeros((len(y), 1)), np.asarray(y), ["x"], "y", task)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
def test_the_same_fraction_of_every_class_is_held_out(fraction):
    y = np.repeat(["a", "b", "c"], [100, 50, 10])
    rows, held_out = hold_out(labelled(y), fraction, seed=3)
    assert sorted([*rows, *held_out]) == list(range(160))
    for label, count in (("a", 100), ("b", 50), ("c", 10)):
        assert np.sum(y[held_out] == label) == round(fraction * count)


def test_every_class_stays_in_training():
    y = np.array([0, 0, 0, 0, 0, 1, 2, 2])
    rows, _ = hold_out(labelled(y), 0.9, seed=0)
    assert set(y[rows]) == {0, 1, 2}


def test_the_seed_decides_which_rows():
    data = labelled(np.linspace(0, 1, 50), "regression")
    first, second, other = (hold_out(data, 0.2, seed)[1] for seed in (1, 1, 2))
    assert len(first) == 10
    np.testing.assert_array_equal(first, second)
    assert set(first) != set(other)


def test_fractions_that_cannot_be_held_out():
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match="--held-out must be a number between 0 and 1"):
            hold_out(labelled([0, 1] * 9), fraction, seed=0)
    with pytest.raises(ValueError, match=r"4 samples are too few to hold out a fraction of 0\.2"):
        hold_out(labelled([0, 0, 1, 1]), 0.2, seed=0)


def test_lines_are_those_of_the_file(csv):
    table = read_csv(csv('a,y\n\n"two\nlines",1\n'))
    assert (table.columns, table.lines) == ({"a": ("two\nlines",), "y": ("1",)}, [4])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["007", "07", "7", "1e1"], ["007", "07", "7", "1e1"]),
        (["10000000000000000000", "1"], ["10000000000000000000", "1"]),
        (["9007199254740993", "9007199254740992"], [9007199254740993, 9007199254740992]),
        (["-9223372036854775808", "5"], [-(2**63), 5]),
        (["1.0", "2", "2.00"], [1, 2, 2]),
        (["0.5", "1"], [0.5, 1.0]),
        (["+1", "1"], ["+1", "1"]),
        (["1_0", "10"], ["1_0", "10"]),
    ],
)
def test_labels_that_differ_stay_different(csv, cells, expected):
    data = read_dataset(csv("x,y\n" + "".join(f"1,{cell}\n" for cell in cells)), "y", "classification")
    assert data.y.tolist() == expected


def test_codes_with_leading_zeros_are_classes(csv):
    data = read_dataset(csv("x,y\n" + "1,007\n2,010\n3,007\n4,010\n"), "y")
    assert (data.task, sorted(set(data.y.tolist()))) == ("classification", ["007", "010"])


def test_a_target_of_numbers_with_units_is_no_label(csv):
    path = csv("x,y\n" + "".join(f"{i},{i}%\n" for i in range(80)))
    with pytest.raises(
        ValueError, match=r"column 'y' has 80 different texts in 80 rows, such as '0%': a regression must"
    ):
        read_dataset(path, "y")
    assert read_dataset(path, "y", "classification").task == "classification"


def test_a_pipe_is_read(csv, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a,y\n1,0.5\n2,1.5\n",))
    writer.start()
    data = read_dataset(str(pipe), "y")
    writer.join()
    np.testing.assert_array_equal(data.X, [[1], [2]])


def test_the_time_to_read_grows_with_the_cells_alone(csv):
    """As many cells in 16 times as many columns take about as long."""

    def seconds(rows, columns):
        header = ",".join(f"c{i}" for i in range(columns))
        path = csv(header + ",y\n" + ("0.25," * columns + "1.5\n") * rows, f"{columns}.csv")
        began = time.perf_counter()
        read_dataset(path, "y")
        return time.perf_counter() - began

    assert min(seconds(40, 2560) for _ in range(3)) < 4 * min(seconds(640, 160) for _ in range(3))
