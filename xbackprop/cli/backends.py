"""The command ``xbackprop backends``: list the backends that are installed, with version and devices."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap

from xbackprop.cli.devices import installed

HELP = "list the array libraries that can be used, and their devices"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: this command has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print a line for each backend: the version of its library and its devices, or the reason why it is unusable."""
    for name, version, devices, reason in installed():
        if reason is None:
            print(f"{name:<9} {version:<14} {', '.join(devices)}")
        else:
            print(_wrapped(f"{name:<9} not available: {reason}"))
    return 0


def _wrapped(line: str) -> str:
    """Break the line between words for a terminal, and leave it whole if a program reads the output."""
    if not sys.stdout.isatty():
        return line
    return textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent=" " * 10)
