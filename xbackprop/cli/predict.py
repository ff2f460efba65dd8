"""The command ``xbackprop predict``: apply a saved network to the rows of a table."""

from __future__ import annotations

import argparse
import csv
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from xbackprop.cli.devices import parse_device
from xbackprop.cli.options import DATA_HELP, add_place
from xbackprop.cli.tables import read_features
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.tensor_file import is_of_tables

HELP = "print what a model predicts for every row of a table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the table, and what to do with the predictions."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `xbackprop train` wrote")
    add("data", metavar="DATA", help=f"{DATA_HELP}; columns that the model does not know are ignored")
    add("--proba", action="store_true", help="give the probability of every class instead of the label")
    add("--out", type=Path, metavar="FILE", help="write a CSV file instead of printing")
    add("--no-header", action="store_true", help="the table's first line has values; columns are called 1, 2, …")
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Print the predictions as CSV, a header and one row per line, or write them to a file."""
    net, X = _read(args)
    if args.proba:
        values, header = net.predict_proba(X), [str(label) for label in net.classes_]
    else:
        values = net.predict(X)
        values = values.reshape(len(values), -1)
        header = ["prediction"] if values.shape[1] == 1 else [f"prediction {i + 1}" for i in range(values.shape[1])]
    with nullcontext(sys.stdout) if args.out is None else open(args.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(values)
    return 0


def _read(args: argparse.Namespace) -> tuple[Any, Any]:
    """Read the model, a network or one for tables, and the rows for it."""
    place = {"backend": args.backend, "device": parse_device(args.device)}
    if is_of_tables(args.model):
        from xbackprop.tabular import load_tabular
        from xbackprop.tabular.files import read_table_file

        return load_tabular(args.model, **place), read_table_file(args.data, not args.no_header)
    net = MLP.load(args.model, **place)
    return net, read_features(args.data, net.feature_names_in_, net.n_features_in_)
