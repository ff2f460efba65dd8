"""The command ``xbackprop export``: hand a saved model to programs that do without xbackprop."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xbackprop.cli.words import report
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.tensor_file import is_of_tables

HELP = "write a model as ONNX, or as a Python module that needs NumPy alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the files to write."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that `xbackprop train` wrote")
    add("--onnx", type=Path, metavar="FILE", help="write an ONNX model, of a model for tables with its encoding")
    add("--dtype", choices=["float32", "float64"], help="the numbers of the ONNX model (default: those of MODEL)")
    add("--python", type=Path, metavar="FILE", help="write a module, with its weights in an .npz file beside it")
    add("--embed", action="store_true", help="put the weights into the module")


def run(args: argparse.Namespace) -> int:
    """Write the files that are asked for."""
    if args.onnx is None and args.python is None:
        raise ValueError("nothing to write: give --onnx FILE, --python FILE, or both")
    model = _load(args)
    if args.python is not None:
        model.to_python(args.python, embed=args.embed)
        report("written", str(args.python) if args.embed else f"{args.python}, {args.python.with_suffix('.npz')}")
    if args.onnx is not None:
        model.to_onnx(args.onnx, dtype=args.dtype)
        report("written", str(args.onnx))
    return 0


def _load(args: argparse.Namespace) -> Any:
    if not is_of_tables(args.model):
        return MLP.load(args.model)
    if args.python is not None:
        raise ValueError(f"{args.model}: a model for tables can be exported with its encoding to ONNX alone (--onnx)")
    from xbackprop.tabular import load_tabular

    return load_tabular(args.model)
