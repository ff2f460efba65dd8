"""The command ``xbackprop predict``: apply a saved network to the rows of a table."""

from __future__ import annotations

import argparse
import csv
import sys
from contextlib import nullcontext
from pathlib import Path

from xbackprop.cli.devices import parse_device
from xbackprop.cli.options import DATA_HELP, add_place
from xbackprop.cli.tables import read_features
from xbackprop.mlp.mlp import MLP

HELP = "print what a model predicts for every row of a table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the table, and what to do with the predictions."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `xbackprop train` wrote")
    add("data", metavar="DATA", help=f"{DATA_HELP}; columns that the model does not know are ignored")
    add("--proba", action="store_true", help="give the probability of every class instead of the label")
    add("--out", type=Path, metavar="FILE", help="write a CSV file instead of printing")
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Print the predictions as CSV, a header and one row per line, or write them to a file."""
    net = MLP.load(args.model, backend=args.backend, device=parse_device(args.device))
    X = read_features(args.data, net.feature_names_in_, net.n_features_in_)
    if args.proba:
        values, header = net.predict_proba(X), [str(label) for label in net.classes_]
    else:
        values = net.predict(X).reshape(len(X), -1)
        header = ["prediction"] if values.shape[1] == 1 else [f"prediction {i + 1}" for i in range(values.shape[1])]
    with nullcontext(sys.stdout) if args.out is None else open(args.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(values)
    return 0
