"""Models for tables from the command: files as people have them, and errors in words."""

import gzip

import numpy as np
import pytest

from xbackprop.cli import main
from xbackprop.tabular.files import read_table_file


@pytest.fixture
def file(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_cells_are_numbers_dates_codes_and_missing(file):
    table = read_table_file(
        file("a;b;c;d;e\n1,5;007;2019-01-31;?;9007199254740993\n-2;012;2019-02-01;NA;9007199254740992\n")
    )
    a, b, c, d, e = table.columns.values()
    np.testing.assert_array_equal(a.values, [1.5, -2.0])
    assert (b.kind, b.levels) == ("category", ("007", "012"))
    assert (c.kind, d.kind) == ("date", "empty")
    assert e.levels == ("9007199254740993", "9007199254740992")


def test_a_file_has_many_forms(file):
    rows = 'name,n\n"a\nb",1\n" c, d ",2\n'
    plain = read_table_file(file(rows))
    assert plain.columns["name"].levels == ("a\nb", "c, d")
    others = [b"\xef\xbb\xbf" + rows.encode(), rows.replace("\n", "\r\n").encode()]
    assert read_table_file(file(others[0])).columns.keys() == plain.columns.keys()
    assert read_table_file(file(others[1])).n == 2
    assert read_table_file(file(gzip.compress(rows.encode()), "t.csv.gz")).n == 2
    assert read_table_file(file("caf\xe9,b\n1,2\n".encode("latin-1"))).columns.keys() == {"caf\xe9", "b"}
    assert list(read_table_file(file("1\t2\n3\t4\n"), header=False).columns) == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("a,b\n", "there is a header and nothing below it"),
        ("a,b\n1\n", "line 2: expected 2 cells, as in the first line, got 1"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("1,2\n3,4\n", "--no-header if there are none"),
        ("a,b\n\0,2\n", "NUL bytes"),
        ("a,b\n" + "1,x\n" * 9, "has one class, 'x'; there is nothing to learn"),
        ("a,b\n" + "1,\n" * 9, "column 'b' is empty in all rows"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_an_error_in_words(file, content, message, capsys):
    assert main.main(["train", file(content), "--target", "b"]) == 2
    assert message in capsys.readouterr().err


def test_train_predict_evaluate(file, tmp_path, capsys):
    rng = np.random.RandomState(0)
    kinds = [("red", "y") if i % 3 else ("blue", "n") for i in range(90)]
    rows = [f"{rng.normal():.3f},{colour},{'' if i % 9 == 4 else y}" for i, (colour, y) in enumerate(kinds)]
    table, model = file("x,colour,label\n" + "\n".join(rows) + "\n"), str(tmp_path / "m.safetensors")
    assert main.main(["train", table, "--target", "label", "--preset", "fast", "--out", model]) == 0
    out = capsys.readouterr().out
    assert "10 without a target left out" in out
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["held-out", "always", "linear", "importance"]
    assert main.main(["predict", model, file("colour,x\nred,1.0\ngreen,\nblue,2.0\n", "new.csv")]) == 0
    found = capsys.readouterr().out.split()
    assert (found[0], found[1], found[3]) == ("prediction", "y", "n")
    assert main.main(["evaluate", model, table, "--target", "label"]) == 0
    assert "accuracy 1.0000" in capsys.readouterr().out
    assert main.main(["predict", model, file("x\n1\n", "less.csv")]) == 2
    assert "there is no column 'colour'" in capsys.readouterr().err
    assert main.main(["train", table, "--target", "label", "--preset", "fast", "--hidden", "4"]) == 2
    assert "leave one out" in capsys.readouterr().err
