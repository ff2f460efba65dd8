"""`TableEncoder`: its formulas, one result for one table in every library, and errors that name the column."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import check_estimator

from xbackprop import TableEncoder

TABLE = {
    "age": [22.0, 38.0, None, 35.0, 54.0, 2.0, 27.0, 14.0, 58.0, 20.0, 39.0, 31.0],
    "sex": ["m", "f", "f", "f", "m", "m", "f", "f", "f", "m", "m", "f"],
    "port": ["S", "C", "S", None, "Q", "S", "S", "C", "S", "S", "S", "Q"],
    "day": [f"2019-03-{d:02d} 1{d % 3}:30:00" for d in range(1, 13)],
    "name": [f"passenger {i}" for i in range(12)],
    "ship": ["Titanic"] * 12,
}


def test_every_library_gives_the_same_numbers():
    """What a frame is made of does not matter; a row as a mapping is a row of the table."""
    pandas, polars, pyarrow = map(pytest.importorskip, ("pandas", "polars", "pyarrow"), [None] * 3)
    encoder = TableEncoder(bins="quantile", min_frequency=1).fit(TABLE)
    expected = encoder.transform(TABLE)
    for frame in (pandas.DataFrame(TABLE), polars.DataFrame(TABLE), pyarrow.table(TABLE)):
        np.testing.assert_array_equal(encoder.transform(frame), expected)
        np.testing.assert_array_equal(TableEncoder(bins="quantile", min_frequency=1).fit_transform(frame), expected)
    row = {name: cells[4] for name, cells in TABLE.items()}
    np.testing.assert_array_equal(encoder.transform(row), expected[4:5])
    assert expected.dtype == np.float32
    assert expected.shape[1] == len(encoder.get_feature_names_out()) == len(set(encoder.get_feature_names_out()))


def test_columns_are_taken_for_what_they_hold():
    encoder = TableEncoder(min_frequency=1).fit(TABLE)
    kinds = {name: column.kind for name, column in encoder.columns_.items()}
    assert kinds == {"age": "number", "sex": "category", "port": "category", "day": "date", "name": "dropped",
                     "ship": "dropped"}  # fmt: skip
    assert "names each row" in encoder.columns_["name"].becomes
    assert encoder.columns_["age"].missing == 1
    assert "port missing" in encoder.columns_["port"].features


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=60), st.floats(-1e9, 1e9))
def test_numbers_follow_the_formulas(numbers, new):
    """The scale z/√(1 + (z/3)²) with the quartiles, and e_t, whose sum over the bins is where the number lies."""
    encoder = TableEncoder(bins="quantile", max_bins=4, min_bin=1).fit({"a": numbers, "b": list(range(len(numbers)))})
    (code,) = (block.code for block in encoder.blocks_ if block.column == "b")
    encoded = encoder.transform({"a": 0.0, "b": new})[0]
    names = encoder.get_feature_names_out().tolist()
    low, middle, high = np.quantile(np.arange(len(numbers)), [0.25, 0.5, 0.75])
    z = (new - middle) / (high - low)
    assert encoded[names.index("b")] == pytest.approx(z / np.sqrt(1 + (z / 3) ** 2), rel=1e-5, abs=1e-6)
    bins = encoded[[i for i, name in enumerate(names) if name.startswith("b ")]]
    place = np.interp(new, code.edges, np.arange(len(code.edges)))
    assert bins.sum() == pytest.approx(place, abs=1e-4)
    assert np.all((bins[1:] == 0) | (bins[:-1] == 1))  # a bin begins where the one before is full


def test_an_unknown_level_is_zero_and_a_missing_one_has_a_column():
    encoder = TableEncoder(min_frequency=1).fit({"c": ["a", "b", "c", None] * 3})
    assert encoder.get_feature_names_out().tolist() == ["c=a", "c=b", "c=c", "c missing"]
    np.testing.assert_array_equal(encoder.transform({"c": ["d", None, "b"]}), [[0] * 4, [0, 0, 0, 1], [0, 1, 0, 0]])


def test_target_means_of_a_row_do_not_see_its_own_target():
    """With a level for every two rows, the means of training rows would tell y; cross-fitted, they do not."""
    rng = np.random.RandomState(0)
    levels, y = np.repeat([f"level {i}" for i in range(200)], 3), rng.normal(size=600)
    encoder = TableEncoder(max_levels=2, random_state=1)
    fitted = encoder.fit_transform({"c": levels}, y)[:, -1]
    leaking = encoder.transform({"c": levels})[:, -1]
    assert encoder.get_feature_names_out()[-1] == "c target mean"
    assert np.corrcoef(leaking, y)[0, 1] > 0.5
    assert abs(np.corrcoef(fitted, y)[0, 1]) < 0.15


def test_the_width_is_bounded():
    rng = np.random.RandomState(0)
    table = {f"n{i}": rng.normal(size=300) for i in range(20)} | {"c": rng.randint(90, size=300).astype(str)}
    for width in (60, 150):
        assert TableEncoder(max_width=width).fit_transform(table, rng.normal(size=300)).shape[1] <= width
    assert TableEncoder(max_bytes=4 * 300 * 50).fit_transform(table).shape[1] <= 50


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, "a", 2], "column 'c' mixes numbers and text: 1 in row 0, 'a' in row 1"),
        ([[1], [2], [3]], r"column 'c' (is nested|must have one axis)"),
        ([1.0, np.inf, 2.0], "column 'c' must be finite, got inf in row 1"),
    ],
)
def test_a_column_that_cannot_be_read_is_named(column, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder(infinite="error").fit({"c": column})


def test_another_table_than_in_fit():
    encoder = TableEncoder(min_frequency=1).fit({"n": [1.0, 2.0, 3.0], "c": ["a", "b", "a"]})
    with pytest.raises(ValueError, match="there is no column 'c', which the encoder was fitted with"):
        encoder.transform({"n": [1.0]})
    with pytest.raises(ValueError, match="column 'n' must have numbers, as in fit, got 'x' in row 1"):
        encoder.transform({"n": ["1", "x"], "c": ["a", "b"]})
    np.testing.assert_array_equal(
        encoder.transform({"c": ["a"], "more": [1], "n": ["2"]}), encoder.transform({"n": [2.0], "c": ["a"]})
    )


def test_whole_numbers_that_float64_would_merge_stay_apart():
    ids = [2**53 + i for i in range(3)] * 4
    encoder = TableEncoder(min_frequency=1).fit({"id": ids})
    assert encoder.columns_["id"].levels == tuple(map(str, ids[:3]))


def test_read_only_input_and_scikit_learns_checks():
    X = np.arange(40.0).reshape(10, 4)
    X.flags.writeable = False
    assert np.isfinite(TableEncoder().fit_transform(X)).all()
    results = check_estimator(TableEncoder(), on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
