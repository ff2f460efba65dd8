"""The command ``xbackprop plot``: draw how a model for tables was trained, and what it is worth."""

from __future__ import annotations

import argparse
from pathlib import Path

from xbackprop.cli.options import add_place
from xbackprop.cli.words import report

HELP = "draw curves, errors, reliability and importance of a model for tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the rows to draw it on, and the folder of the pictures."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `xbackprop train` wrote")
    add("data", metavar="TABLE", nargs="?", help="rows to evaluate it on (default: those that train held out)")
    add("--target", metavar="COLUMN", help="the column of TABLE that the model predicts")
    add("--out", type=Path, metavar="FOLDER", required=True, help="write PNG and SVG files and index.html here")
    add("--no-header", action="store_true", help="the first line has values; columns are called 1, 2, …")
    add("--seed", type=int, metavar="N", default=0, help="seed of resampling and shuffling (default %(default)s)")
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Write the pictures and a page with all of them."""
    if (args.data is None) != (args.target is None):
        raise ValueError("TABLE and --target go together: rows to evaluate the model on, and the column it predicts")
    from xbackprop.cli.table_model import load_model, read_known
    from xbackprop.tabular.plots import write_pictures

    model = load_model(args)
    if args.data is not None:
        table, y = read_known(args.data, args.target, not args.no_header, model)
        model.evaluate(table, y, seed=args.seed)
    evaluation = getattr(model, "evaluation_", None)
    if evaluation is None:
        report("note", "the file has no evaluation; with TABLE and --target, all pictures are drawn")
    title = f"{Path(args.model).name}: {type(model).__name__}"
    for path in write_pictures(model, evaluation, args.out, title):
        report("written", str(path))
    return 0
