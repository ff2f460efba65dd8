"""The command ``xbackprop evaluate``: score a model for tables on rows whose target is known."""

from __future__ import annotations

import argparse

import numpy as np

from xbackprop.cli.options import add_place

HELP = "score a model for tables on rows whose target is known"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the table and its target."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `xbackprop train` wrote")
    add("data", metavar="TABLE", help="a table with the columns of the model, and the target")
    add("--target", metavar="COLUMN", required=True, help="the column that the model predicts")
    add("--no-header", action="store_true", help="the first line has values; columns are called 1, 2, …")
    add("--seed", type=int, metavar="N", default=0, help="seed of the intervals' resampling (default %(default)s)")
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Print every metric with its interval of 95%, and for a classification the confusion matrix."""
    from xbackprop.cli.table_model import load_model, read_known
    from xbackprop.cli.train_table import score_in_words
    from xbackprop.tabular.evaluation import confusion
    from xbackprop.tabular.selection import METRICS

    model = load_model(args)
    table, labels = read_known(args.data, args.target, not args.no_header, model)
    y = model.known_targets(args.data, labels, len(labels))
    p = model.predict_proba(table) if model.n_classes_ else model.predict(table)
    for metric in METRICS["classification" if model.n_classes_ else "regression"].values():
        print(score_in_words(metric, y, p, args.seed))
    if model.n_classes_:
        _show_confusion(model.classes_, confusion(y, p))
    return 0


def _show_confusion(classes: np.ndarray, counts: list[list[int]]) -> None:
    """Print how many rows of each class (a line) were predicted to be of each (a column)."""
    names = [str(label) for label in classes]
    width = max(len(text) for text in [*names, "predicted", str(np.max(counts))])
    print("\n" + " ".join(f"{text:>{width}}" for text in ["predicted", *names]))
    for name, row in zip(names, counts, strict=True):
        print(" ".join(f"{text:>{width}}" for text in [name, *map(str, row)]))
