"""The command ``xbackprop``: puts the commands together, runs one, and turns errors into exit codes.

A command is a module of this folder with three things: `HELP`, a line for the list of commands; `add_arguments`, which
tells argparse its options; and `run`, which does the work and returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from xbackprop.cli import backends, complexity, evaluate, export, plot, predict, train, verify
from xbackprop.cli.screen import in_words
from xbackprop.errors import DivergenceError, GradientCheckError
from xbackprop.version import __version__

#: Errors whose message tells the user what to change; BackendError and ModelFileError are among them.
USER_ERRORS = (ValueError, ImportError, OSError, DivergenceError)


class Command(Protocol):
    """The attributes that the module of a command must have."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work with the values of the options; return the exit code."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "plot": plot,
    "export": export,
    "verify": verify,
    "complexity": complexity,
    "backends": backends,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    The code is that of the command, 0 if all went well; 1 if a gradient is wrong or the reader of the output has
    gone; 2 for errors that the user can correct; 130 after Ctrl-C.
    """
    try:
        args, unknown = make_parser().parse_known_args(argv)
        args.argv = list(sys.argv[1:] if argv is None else argv)  # for the head of a report
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")  # with the usage of this command alone
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for example, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush at exit succeeds
        return 1
    except KeyboardInterrupt:
        print("xbackprop: interrupted", file=sys.stderr)
        return 130
    except GradientCheckError as error:
        print(f"xbackprop: error: {error}", file=sys.stderr)
        return 1
    except USER_ERRORS as error:
        print(f"xbackprop: error: {in_words(error)}", file=sys.stderr)
        return 2
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with a subparser for each command."""
    parser = argparse.ArgumentParser(
        "xbackprop", description="A multi-layer perceptron with hand-derived gradients, on any array library."
    )
    parser.add_argument("--version", action="version", version=f"xbackprop {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=command.HELP, description=command.HELP, allow_abbrev=False
        )  # an abbreviation would mean another option as soon as there is one more
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run, parser=subparser)
    return parser
