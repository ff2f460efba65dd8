"""Blocks: what a column of a table became, as neighbouring columns of the inputs of a network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xbackprop.tabular import dates
from xbackprop.tabular.categories import OneHotCode, TargetCode
from xbackprop.tabular.columns import Table
from xbackprop.tabular.numbers import NumberCode

Code = NumberCode | OneHotCode | TargetCode


class ColumnReport(NamedTuple):
    """A column of the table that an encoder was fitted to.

    kind : "number", "category", "date" or "dropped". becomes : the encoding in words, or the reason to drop it.
    levels : the different values of a category. missing : the number of missing cells.
    features : the names of the columns that it became.
    """

    kind: str
    becomes: str
    levels: tuple[str, ...]
    missing: int
    features: tuple[str, ...]


class Block(NamedTuple):
    """Neighbouring columns of the result: those of a column of the table, or of a part of a date.

    column, kind : the name of the column, and the kind that it is read as. part : of a date, a row of `dates.PARTS`,
    or "since " and the name of another column of dates. code : the encoding.
    """

    column: str
    kind: str
    part: str
    code: Code

    @property
    def names(self) -> list[str]:
        """The names of the columns of the result."""
        label = f"{self.column}.{self.part}" if self.part else self.column
        return [f"{label}{rest}" for rest in self.code.names]


def numbers_of(table: Table, block: Block) -> np.ndarray:
    """Return the numbers (n,) that a block encodes."""
    values = table.columns[block.column].values
    if not block.part:
        return values
    if block.part.startswith("since "):
        return dates.hours_between(values, table.columns[block.part.removeprefix("since ")].values)
    return dates.part_of(values, block.part)


def in_words(block: Block) -> str:
    """Say what an encoding is."""
    match block.code:
        case NumberCode(edges=edges, gaps=gaps):
            bins = f", {len(edges) - 1} bins" if len(edges) else ""
            return f"{block.part or 'scaled'}{bins}{', missing or not' if gaps else ''}"
        case OneHotCode(levels=levels, rare=rare, gaps=gaps):
            others = [f"{len(rare)} rare ones together"] * bool(rare) + ["missing or not"] * gaps
            return ", ".join([f"{len(levels)} column{'s' * (len(levels) != 1)} of 0 and 1", *others])
    return "target means"
