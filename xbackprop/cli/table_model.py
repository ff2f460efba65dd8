"""What the commands that take a model for tables share: the model from its file, and rows whose target is known."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from xbackprop.cli.devices import parse_device
from xbackprop.cli.tables import infer_target
from xbackprop.mlp.tensor_file import is_of_tables
from xbackprop.tabular import load_tabular
from xbackprop.tabular.columns import Column, Table, number_as_text
from xbackprop.tabular.files import read_table_file


def load_model(args: argparse.Namespace) -> Any:
    """Return the model of the file that is named, on the backend that is; ValueError for a file of another kind."""
    if not is_of_tables(args.model):
        raise ValueError(f"{args.model}: this is not of a model for tables, which `xbackprop train TABLE` trains")
    return load_tabular(args.model, backend=args.backend, device=parse_device(args.device))


def read_known(path: str, target: str, header: bool, model: Any) -> tuple[Table, np.ndarray]:
    """Return the rows of a table whose target is known, and the target: labels or numbers, as `fit` takes them."""
    table = read_table_file(path, header)
    if target not in table.columns:
        raise ValueError(f"{path}: there is no column {target!r}; the columns are {', '.join(table.columns)}")
    column = table.columns[target]
    rows = np.flatnonzero(~column.missing)
    if not len(rows):
        raise ValueError(f"{path}: column {target!r} is empty in all rows")
    task = "classification" if model.n_classes_ else "regression"
    y, _ = infer_target(path, target, cells_of(column.take(rows)), task)
    return table.take(rows), y


def cells_of(column: Column) -> list[str]:
    """Return the cells of a column as text."""
    if column.kind == "category":
        return [column.levels[code] for code in column.values]
    if column.kind == "number":
        return [number_as_text(v) for v in column.values.tolist()]
    return [str(v) for v in column.values]
