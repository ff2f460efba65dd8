"""The command ``xbackprop complexity``: count what a training step of a network costs."""

from __future__ import annotations

import argparse

from xbackprop.arrays.discovery import get_backend
from xbackprop.cli.devices import parse_device
from xbackprop.cli.options import add_activation, add_dtype, add_place, integer_or, widths
from xbackprop.complexity.counting import count, matrix_rate
from xbackprop.optim.optimizers import OPTIMIZERS

HELP = "count what a training step costs: operations, bytes, time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the network and the kind of step."""
    add = parser.add_argument
    add("sizes", type=widths, metavar="SIZES", help="widths of all layers, from input to output, as in 784,256,10")
    add("--batch-size", type=int, metavar="M", default=200, help="samples per step (default %(default)s)")
    add_activation(parser)
    add("--solver", choices=list(OPTIMIZERS), default="adam", help="optimizer (default %(default)s)")
    add(
        "--dropout", type=float, metavar="RATE", default=0.0,
        help="probability of leaving out a hidden unit (default %(default)s)",
    )  # fmt: skip
    add(
        "--checkpoint-activations", type=integer_or("sqrt"), metavar="K",
        help="keep only the activations of every K-th layer and compute the others again; or sqrt",
    )  # fmt: skip
    add_dtype(parser, "float32")
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Print operations, memory, and the time that the matrix products take at the speed measured here."""
    counted = count(
        args.sizes, args.batch_size, activation=args.activation, solver=args.solver, dropout=args.dropout,
        checkpoint_activations=args.checkpoint_activations, dtype=args.dtype, backend=get_backend(args.backend),
    )  # fmt: skip
    rate = matrix_rate(args.backend, args.dtype, parse_device(args.device))
    speed, milliseconds = f"{rate / 1e9:,.1f}e9 multiply-adds/s", f"{counted.seconds(rate) * 1e3:,.3g} ms"
    print(counted)
    print(f"\nmatrix products: {milliseconds} a step, at {speed} measured here")
    return 0
