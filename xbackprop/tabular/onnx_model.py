"""Write a model for tables as ONNX: its encoders and its networks, and the mean of their outputs."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from xbackprop.export import onnx_network as onnx
from xbackprop.export.onnx_graph import Graph
from xbackprop.export.portable import Portable
from xbackprop.mlp.exports import portable
from xbackprop.tabular.base import BaseTabular
from xbackprop.tabular.columns import Table, convert
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.onnx_encoder import DTYPES, NO_DATE, encoded
from xbackprop.tabular.reading import read_table


def export(where: str, model: BaseTabular, path: str | PathLike[str] | None, dtype: str, example: Any) -> Any:
    """Return the ONNX model, held to the predictions for an example, and write it where a path is given."""
    groups = [(enc, [portable(where, net.models_(where), dtype) for net in nets]) for enc, nets in model.groups_]
    graph, each = Graph(where, dtype), []
    for encoder, networks in groups:
        h = encoded(graph, encoder.blocks_)
        each += [_outputs(graph, net, h) for net in networks]
    deepest = max(len(net.networks[0].sizes) for _, networks in groups for net in networks)
    value = onnx.mean(graph, each)
    if model.n_classes_:
        label, kind = onnx.labels(graph, model.classes_, graph.node("ArgMax", value, axis=-1, keepdims=0))  # type: ignore[attr-defined]
        outputs: onnx.Outputs = {"label": (label, kind, ["n"])}
        outputs["probabilities"] = (value, dtype, ["n", model.n_classes_])
    else:
        outputs = {"values": _in_range(graph, model, value)}
    inputs = {name: (DTYPES[kind], ["n", 1]) for name, kind in _columns(model).items()}
    made = graph.model(inputs, outputs, {})
    given, expected = None, {}
    if example is not None:
        given = onnx_inputs(model, example)
        found = model.predict_proba(example) if model.n_classes_ else model.predict(example)  # type: ignore[attr-defined]
        expected = {"probabilities" if model.n_classes_ else "values": np.asarray(found)}
    return onnx.finish(where, made, path, "float32", deepest, given, expected)


def export_encoder(where: str, encoder: TableEncoder, path: str | PathLike[str] | None, example: Any) -> Any:
    """Return the ONNX model of an encoder alone, whose output is `encoded`, and write it where a path is given."""
    graph = Graph(where, "float32")
    value, width = encoded(graph, encoder.blocks_), len(encoder.get_feature_names_out())
    inputs = {name: (DTYPES[kind], ["n", 1]) for name, kind in _columns(encoder).items()}
    about = {"feature_names": encoder.get_feature_names_out().tolist()}
    made = graph.model(inputs, {"encoded": (value, "float32", ["n", width])}, about)
    given, expected = None, {}
    if example is not None:
        given, expected = onnx_inputs(encoder, example), {"encoded": encoder.transform(example)}
    return onnx.finish(where, made, path, "float32", 1, given, expected)


def onnx_inputs(model: BaseTabular | TableEncoder, X: Any) -> dict[str, np.ndarray]:
    """Return the columns of a table as the inputs (n, 1) of the ONNX model that `to_onnx` makes."""
    table = read_table("onnx_inputs", X)
    return {name: _input(table, name, kind)[:, None] for name, kind in _columns(model).items()}


def _columns(model: BaseTabular | TableEncoder) -> dict[str, str]:
    """Return the kinds of the columns that are used, by name."""
    used: dict[str, str] = {}
    for encoder in [model] if isinstance(model, TableEncoder) else [encoder for encoder, _ in model.groups_]:
        used |= {block.column: block.kind for block in encoder.blocks_}
        used |= {b.part.removeprefix("since "): "date" for b in encoder.blocks_ if b.part.startswith("since ")}
    return used


def _input(table: Table, name: str, kind: str) -> np.ndarray:
    if name not in table.columns:
        raise ValueError(f"onnx_inputs: there is no column {name!r}; the columns are {', '.join(table.columns)}")
    column = convert("onnx_inputs", name, table.columns[name], kind)
    match kind:
        case "number":
            return column.values
        case "date":
            seconds = column.values.astype("datetime64[s]").astype(np.int64)
            return np.where(column.missing, NO_DATE, seconds)
    return np.array([*column.levels, ""], dtype=object)[column.values]


def _outputs(graph: Graph, net: Portable, h: str) -> str:
    """Write the probabilities or the values of one network."""
    z, targets = onnx.logits(graph, net.networks[0], h), net.targets
    if targets.kind == "numbers":
        return onnx.in_units(graph, targets, onnx.output(graph, net.loss, z))
    assert targets.classes is not None
    return onnx.probabilities(graph, net.loss, targets.kind, len(targets.classes), z)


def _in_range(graph: Graph, model: BaseTabular, value: str) -> tuple[str, str, list[Any]]:
    """Write the values within the range of the training targets, in the shape that `predict` gives."""
    low, high = (graph.constant(np.atleast_1d(bound)) for bound in model.range_)  # type: ignore[attr-defined]
    value = graph.node("Min", graph.node("Max", value, low), high)
    targets = model.networks_[0].model_.targets
    if not targets.vector:
        return value, graph.dtype, ["n", targets.n_outputs]
    return graph.node("Squeeze", value, graph.constant([1], "int64")), graph.dtype, ["n"]
