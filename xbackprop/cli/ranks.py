"""A command on many ranks: the first one speaks, and an error of any of them ends all."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

from xbackprop.cli.screen import in_words
from xbackprop.distributed.agreement import end_all
from xbackprop.distributed.launch import AUTO, communicator_names, find_communicator
from xbackprop.errors import RankError


def add_communicator(parser: argparse.ArgumentParser) -> None:
    """Add --communicator."""
    names = ", ".join([*communicator_names(), AUTO])
    parser.add_argument(
        "--communicator", metavar="NAME",
        help=f"train on all the processes of mpiexec or torchrun: {names}, which is that of the launcher, if any",
    )  # fmt: skip


def on_ranks(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command on this rank; return its exit code, and end all ranks after an error."""
    ranks = find_communicator("xbackprop", args.communicator)
    if ranks.size == 1:
        return run(args)

    def say() -> None:
        print(f"xbackprop: error: {words}", file=sys.stderr)

    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if ranks.rank else sys.stdout):
            return run(args)
    except (ValueError, ImportError, OSError, ArithmeticError, RankError) as error:
        words = in_words(error)
        end_all(ranks, say, 2)
        raise
