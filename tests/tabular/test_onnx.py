"""The ONNX model of a model for tables gives what it gives, from text, dates and gaps to labels and values."""

import datetime

import numpy as np
import pytest

import xbackprop
from xbackprop.export.onnx_network import run
from xbackprop.tabular import TableEncoder, onnx_inputs
from xbackprop.tabular.onnx_encoder import NO_DATE

pytest.importorskip("onnx", reason="onnx is not installed")
N = 240


def table(rng, n=N):
    """Columns of every kind, with gaps."""
    numbers = rng.standard_normal(n) * 1e3
    numbers[::7] = np.nan
    start = np.datetime64("1999-11-28T23:15:00", "us")
    dates = start + rng.integers(0, 4000 * 86_400, n).astype("timedelta64[s]")
    later = dates + rng.integers(0, 10**6, n).astype("timedelta64[s]")
    later[::9] = np.datetime64("NaT")
    texts = np.array(["ash", "elm", "oak", "yew", "fir"])[rng.integers(0, 5, n)].astype(object)
    texts[::11] = None
    return {
        "a number": numbers, "whole": rng.integers(0, 90, n), "tree": texts, "flag": rng.integers(0, 2, n).astype(bool),
        "street": np.array([f"street {i}" for i in rng.integers(0, 80, n)]), "sold": dates, "paid": later,
    }  # fmt: skip


STRANGE = {
    "a number": [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0],
    "whole": [0.0, 1e9, np.nan, -1.0, 45.0, 89.0],
    "tree": ["ash", "elm", None, "never seen", "oak", "yew"],
    "flag": [True, False, True, False, True, False],
    "street": ["street 1", "elsewhere", "street 9", "street 2", "street 3", None],
    "sold": np.array(
        ["1600-02-29", "2000-02-29", "1900-03-01", "2400-12-31", "1970-01-01", "NaT"], dtype="datetime64[us]"
    ),
    "paid": np.array(
        ["1969-12-31T23:59:59", "NaT", "2000-01-01", "1582-10-15", "2038-01-19", "NaT"], dtype="datetime64[us]"
    ),
}  # fmt: skip


@pytest.mark.parametrize("bins", ["none", "quantile", "tree"])
def test_the_encoding_is_that_of_the_encoder_down_to_strange_cells(bins):
    rng = np.random.default_rng(0)
    X, y = table(rng), rng.integers(0, 3, N)
    encoder = TableEncoder(bins=bins, max_levels=20, min_frequency=2, task="classification").fit(X, y)
    model = encoder.to_onnx(example=X)
    assert {block.kind for block in encoder.blocks_} == {"number", "category", "date"}
    assert any(block.part.startswith("since") for block in encoder.blocks_)
    for rows in (X, table(np.random.default_rng(1)), STRANGE):
        found = run(model, onnx_inputs(encoder, rows))["encoded"]
        np.testing.assert_allclose(found, encoder.transform(rows), rtol=1e-6, atol=1e-6)


def test_calendars_agree_on_every_day_of_four_centuries():
    days = np.arange("1890-01-01", "2290-01-01", 13, dtype="datetime64[D]").astype("datetime64[us]")
    X = {"day": days}
    encoder = TableEncoder(bins="none").fit(X)
    assert {block.part for block in encoder.blocks_} == {"elapsed", "year", "month", "day", "weekday"}
    np.testing.assert_allclose(
        run(encoder.to_onnx(), onnx_inputs(encoder, X))["encoded"], encoder.transform(X), atol=1e-6
    )


@pytest.mark.parametrize("labels", ["text", "numbers"])
def test_a_classifier(labels):
    rng = np.random.default_rng(0)
    X = table(rng)
    y = np.where(np.nan_to_num(X["a number"]) + 10 * X["whole"] > 450, 5, 2)
    y = np.array(["no", "yes"])[(y > 2).astype(int)] if labels == "text" else y
    model = xbackprop.TabularClassifier(preset="fast", n_networks=2, max_iter=5, folds=2, random_state=0).fit(X, y)
    found = run(model.to_onnx(example=X), onnx_inputs(model, X))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=3e-6)
    np.testing.assert_array_equal(found["label"], model.predict(X))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regressor(outputs, tmp_path):
    import onnx

    rng = np.random.default_rng(0)
    X = table(rng)
    y = np.nan_to_num(X["a number"])[:, None] * np.ones(outputs) + 100.0 * X["whole"][:, None]
    y = y[:, 0] if outputs == 1 else y
    model = xbackprop.TabularRegressor(preset="fast", n_networks=2, max_iter=5, random_state=0).fit(X, y)
    model.to_onnx(tmp_path / "model.onnx", example=X)
    with pytest.raises(
        ValueError, match=r"TabularRegressor\.to_onnx: dtype must be 'float32' or 'float64', got 'int8'"
    ):
        model.to_onnx(dtype="int8")
    found = run(onnx.load(tmp_path / "model.onnx"), onnx_inputs(model, X))["values"]
    expected = model.predict(X)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_one_row_as_a_mapping_and_a_column_that_is_not_there():
    rng = np.random.default_rng(0)
    X = table(rng)
    model = xbackprop.TabularRegressor(preset="fast", n_networks=1, max_iter=2, random_state=0).fit(X, X["whole"] * 1.5)
    row = {name: values[3] for name, values in X.items()}
    made = onnx_inputs(model, row)
    assert made["sold"].dtype == np.int64
    assert made["tree"].dtype == object
    np.testing.assert_allclose(run(model.to_onnx(), made)["values"], model.predict(row), rtol=1e-4)
    seconds = int(X["sold"][3].astype("datetime64[s]").astype(np.int64))
    expected = datetime.datetime.fromtimestamp(int(made["sold"][0, 0]), datetime.UTC)
    assert int(expected.timestamp()) == seconds != NO_DATE
    with pytest.raises(ValueError, match="onnx_inputs: there is no column 'tree'"):
        onnx_inputs(model, {name: value for name, value in row.items() if name != "tree"})
