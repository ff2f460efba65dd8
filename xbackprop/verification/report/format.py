"""How figures, limits, places and verdicts are written, on a page and on a terminal alike; and tables of plain text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from xbackprop.verification.findings import Role, Verdict
from xbackprop.verification.methods import METHODS

#: Columns of a terminal.
WIDTH = 100
#: One character for a verdict, in tables.
MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.VACUOUS: "∅"}
#: How methods are called where there is room, if not by their names.
TITLES = {name: method.title for name, method in METHODS.items()}
DECISIVE = [name for name, method in METHODS.items() if method.role is Role.DECISIVE]
ADVISORY = [name for name, method in METHODS.items() if method.role is Role.ADVISORY]
#: Of more runs than these, only those that are no PASS are shown in full.
FEW = 4


def figure(value: float | str) -> str:
    """A number in at most seven characters or so: 2.83, 1.2e-16, a dash for NaN."""
    x = float(value)
    if math.isnan(x):
        return "–"
    if 0.01 <= abs(x) < 999.5:
        return f"{x:#.3g}".rstrip(".")
    if x == 0:
        return "0"
    return _short(f"{x:.1e}")


def limit(method: str, bound: float | str) -> str:
    """What an error is held to: "≤ 1e-12"; an order is held to be at least so large."""
    return f"{'≥' if method == 'taylor' else '≤'} {_short(f'{float(bound):.3g}')}"


def with_version(place: Mapping[str, str]) -> dict[str, str]:
    """A run's place, with "numpy 2.4.6" for the backend."""
    backend = f"{place.get('backend', '')} {place.get('version', '')}".strip()
    return {k: backend if k == "backend" else v for k, v in place.items() if k != "version"}


def in_words(place: Mapping[str, str]) -> list[str]:
    """ "numpy 2.4.6", "cpu", "float64", and what else there is with its name."""
    plain = ("backend", "device", "dtype")
    return [value if key in plain else f"{key} {value}" for key, value in with_version(place).items()]


def _short(text: str) -> str:
    return text.replace("e-0", "e-").replace("e+0", "e+")


def clip(text: str, width: int) -> str:
    """On one line, and with its middle left out where it is too long."""
    text = clean(text)
    return text if len(text) <= width else f"{text[: width // 2]}…{text[width // 2 + 1 - width :]}"


def clean(text: str) -> str:
    """No line breaks, tabs or terminal codes: names and reasons are other people's."""
    return "".join(c if c.isprintable() else " " for c in text)


def wrapped(indent: str, text: str) -> list[str]:
    """The lines of a text, indented, the later ones a little further."""
    return textwrap.wrap(
        clean(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


class Column(NamedTuple):
    """One column of a table on a terminal: lines of head, and cells."""

    head: Sequence[str]
    cells: Sequence[str]
    left: bool = False

    @property
    def width(self) -> int:
        """Of the widest line."""
        return max(map(len, (*self.head, *self.cells)))

    def lines(self, rows: int) -> list[str]:
        """Head and cells, equally wide; the head stands on `rows` lines, at their foot."""
        lines = [*[""] * (rows - len(self.head)), *self.head, *self.cells]
        return [line.ljust(self.width) if self.left else line.rjust(self.width) for line in lines]


def table(first: Sequence[Column], more: Sequence[Column]) -> Iterator[str]:
    """Columns side by side; where they do not all fit, in blocks that each begin with the columns `first`."""
    block = list(first)
    for column in more:
        if sum(c.width + 2 for c in (*block, column)) - 2 > WIDTH and len(block) > len(first):
            yield from (*_side_by_side(block), "")
            block = list(first)
        block.append(column)
    yield from _side_by_side(block)


def _side_by_side(columns: Sequence[Column]) -> Iterator[str]:
    rows = max(len(column.head) for column in columns)
    for line in zip(*(column.lines(rows) for column in columns), strict=True):
        yield "  ".join(line)
