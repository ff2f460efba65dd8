"""The terminal: its width, and a line on it that says what is being done."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

#: The width where output goes to a file or a program, in which nothing has to fit.
WIDE = 200
ERASE = "\r\x1b[K"


def terminal_width() -> int:
    """Return the columns of the terminal that standard output is, or WIDE if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE


def in_words(error: BaseException) -> str:
    """Return the message of an error; of the system's, the file and the reason without the number."""
    plain = isinstance(error, OSError) and error.filename is not None
    return f"{error.filename}: {error.strerror}" if plain else str(error)  # type: ignore[attr-defined]


def progress_line() -> Callable[[str], None] | None:
    """Return a function that shows a text in place of the one before, or None where nobody would see it."""
    if not sys.stderr.isatty():
        return None
    width = shutil.get_terminal_size().columns
    return lambda text: print(f"{ERASE}{text[: width - 1]}", end="", file=sys.stderr, flush=True)


def bar(part: float, width: int = 24) -> str:
    """Return a bar of which a part, from 0 to 1, is full."""
    full = round(width * min(max(part, 0.0), 1.0))
    return "━" * full + "╌" * (width - full)


def clear_line() -> None:
    """Erase the line that `progress_line` has written."""
    if sys.stderr.isatty():
        print(ERASE, end="", file=sys.stderr, flush=True)
