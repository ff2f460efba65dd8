"""Options that several commands have, and functions that read the text of an option's value."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from xbackprop.cli.tables import BUNDLED
from xbackprop.nn.activations import ACTIVATIONS

DATA_HELP = f"a CSV file, or a data set of scikit-learn's: {', '.join(BUNDLED)}"


def add_activation(parser: argparse.ArgumentParser) -> None:
    """Add --activation, one for all hidden layers."""
    parser.add_argument(
        "--activation", choices=list(ACTIVATIONS), metavar="NAME", default="relu",
        help=f"activation of the hidden layers: {', '.join(ACTIVATIONS)} (default %(default)s)",
    )  # fmt: skip


def add_dtype(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --dtype, the precision of the computation."""
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], default=default, help="precision (default %(default)s)"
    )


def add_place(parser: argparse.ArgumentParser, chosen: str = "") -> None:
    """Add --backend and --device, which say where to compute.

    chosen : how the backend is chosen where none is named, if it is; else it is NumPy's.
    """
    add, default = parser.add_argument, chosen or "numpy"
    text = f"one that `xbackprop backends` lists (default: {default})"
    add("--backend", metavar="NAME", default=None if chosen else "numpy", help=text)
    add("--device", metavar="NAME", help="the device, as the library calls it: cuda:1 for torch, 0 for CuPy")


def widths(text: str) -> tuple[int, ...]:
    """Read the widths of layers: "64,32" is (64, 32)."""
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as in 64,32, got {text!r}") from None


def integer_or(word: str) -> Callable[[str], int | str]:
    """Return a function that reads a whole number, or this word."""

    def read(text: str) -> int | str:
        try:
            return text if text == word else int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number or {word}, got {text!r}") from None

    return read
