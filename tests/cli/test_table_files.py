"""Models for tables from the command: files as people have them, and errors in words."""

import gzip
import re
from xml.etree import ElementTree

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


def test_plot_and_verify_take_a_model_for_tables(file, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib draws")
    rng = np.random.RandomState(0)
    x = rng.normal(size=(80, 2))
    rows = [f"{a:.3f},{b:.3f},{a + b * b:.3f}" for a, b in x]
    table, model = file("a,b,y\n" + "\n".join(rows) + "\n"), str(tmp_path / "m.safetensors")
    assert main.main(["train", table, "--target", "y", "--preset", "fast", "--out", model]) == 0
    assert main.main(["plot", model, "--out", str(tmp_path / "pictures")]) == 0
    assert main.main(["plot", model, table, "--target", "y", "--out", str(tmp_path / "others")]) == 0
    for folder in ("pictures", "others"):
        names = {path.name for path in (tmp_path / folder).iterdir()}
        assert names == {
            "index.html",
            *(f"{n}.{e}" for n in ("curves", "residuals", "importance") for e in ("png", "svg")),
        }
        assert ElementTree.parse(tmp_path / folder / "curves.svg").getroot().tag.endswith("svg")
    capsys.readouterr()
    assert main.main(["plot", model, table, "--out", str(tmp_path)]) == 2
    assert "TABLE and --target go together" in capsys.readouterr().err
    verify = [
        "verify",
        "--net",
        model,
        "--data",
        table,
        "--target",
        "y",
        "--samples",
        "20",
        "--methods",
        "complex-step",
    ]
    assert main.main(verify) == 0
    out = capsys.readouterr().out
    assert "networks of a TabularRegressor" in out
    assert re.search(r"PASS: (5|10) runs", out)
    assert main.main(["verify", "--net", model, "--data", table]) == 3
    assert "say with --target which column" in capsys.readouterr().err


def test_evaluate_plot_and_verify_take_labels_of_any_kind(file, tmp_path, capsys):
    """Labels of text, and numbers that are not 0, 1, …, are not the numbers of classes."""
    pytest.importorskip("matplotlib", reason="matplotlib draws")
    x = np.random.RandomState(0).normal(size=90)
    for names in (["low", "high"], ["1", "2"]):
        rows = [f"{a:.3f},{names[int(a > 0)]}" for a in x]
        table, model = file("a,y\n" + "\n".join(rows) + "\n"), str(tmp_path / "m.safetensors")
        assert main.main(["train", table, "--target", "y", "--preset", "fast", "--out", model]) == 0
        assert main.main(["plot", model, table, "--target", "y", "--out", str(tmp_path / "pictures")]) == 0
        verify = ["verify", "--net", model, "--data", table, "--target", "y", "--samples", "9", "--methods", "oracle"]
        assert main.main(verify) == 0
        capsys.readouterr()
        assert main.main(["evaluate", model, table, "--target", "y"]) == 0
        counts = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
        assert [line[0] for line in counts] == sorted(names)
        assert sum(int(n) for line in counts for n in line[1:]) == len(x)


def test_files_of_other_tools_are_the_csv(file, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas writes them")
    pytest.importorskip("pyarrow", reason="pyarrow reads them")
    frame = pandas.DataFrame({
        "n": [1.5, None, 3.0], "k": [1, 2, 3], "c": ["a", None, "b"], "d": pandas.to_datetime(["2019-01-31"] * 3),
    })  # fmt: skip
    expected = read_table_file(file(frame.to_csv(index=False)))
    writers = {"parquet": frame.to_parquet, "feather": frame.to_feather}
    try:
        import openpyxl  # noqa: F401

        writers["xlsx"] = lambda path: frame.to_excel(path, index=False)
    except ImportError:
        pass
    for ending, write in writers.items():
        write(tmp_path / f"t.{ending}")
        found = read_table_file(str(tmp_path / f"t.{ending}"))
        assert found.columns.keys() == expected.columns.keys()
        for name, column in found.columns.items():
            assert (column.kind, column.levels) == (expected.columns[name].kind, expected.columns[name].levels)
            np.testing.assert_array_equal(column.values, expected.columns[name].values)


def test_a_large_file_is_the_small_one(file, monkeypatch):
    """pyarrow reads files from a size on, in columns: they have the same cells."""
    pytest.importorskip("pyarrow", reason="pyarrow reads them")
    path = file("a;b;c;d;e\n1,5;007;2019-01-31;?;x\n-2;012;2019-02-01;NA;\n")
    small = read_table_file(path)
    monkeypatch.setattr("xbackprop.tabular.files.LARGE", 1)
    large = read_table_file(path)
    assert large.columns.keys() == small.columns.keys()
    for name, column in large.columns.items():
        assert (column.kind, column.levels) == (small.columns[name].kind, small.columns[name].levels)
        np.testing.assert_array_equal(column.values, small.columns[name].values)
