"""Format the tables of a report, and the numbers, bounds, places and verdicts in them.

Text and page show the same tables: `runs_table`, with a line for every run, and `tensors_table`, with a line for every
tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from xbackprop.verification.findings import Element, Finding, Method, Role, Run, Verdict, worst_finding

#: The characters for verdicts in tables.
MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.VACUOUS: "∅"}
#: With more runs than this, only those that are not a PASS are shown in full.
FEW = 4


class Cell(NamedTuple):
    """A cell of a table; the verdict decides its colour. anchor : the id of the section with details, to link to."""

    text: str
    verdict: Verdict | None = None
    hint: str = ""
    anchor: str = ""

    @property
    def mark(self) -> str:
        """The verdict as one character."""
        return MARKS[self.verdict] if self.verdict else ""


class Column(NamedTuple):
    """A column of a table. below : the second line of its head. left : whether its cells are aligned to the left."""

    title: str
    cells: Sequence[Cell]
    below: str = ""
    left: bool = False
    of_method: bool = False


def format_number(value: float) -> str:
    """Write a number in at most about seven characters: 2.83, 1.2e-16, a dash for NaN."""
    x = float(value)
    if math.isnan(x):
        return "–"
    if 0.01 <= abs(x) < 999.5:
        return f"{x:#.3g}".rstrip(".")
    return "0" if x == 0 else _short(f"{x:.1e}")


def format_bound(method: Method, bound: float) -> str:
    """Write the limit of an error, as "≤ 1e-12", or "≥" for an order, which must be at least as large."""
    return f"{'≥' if method.at_least else '≤'} {_short(f'{float(bound):.3g}')}"


def _short(text: str) -> str:
    return text.replace("e-0", "e-").replace("e+0", "e+")


def format_element(worst: Element) -> str:
    """Write an element of θ with its analytic and its numeric derivative."""
    name, position, analytic, numeric = worst
    return f"{name}{list(map(int, position))}, analytic {analytic:.9g}, numeric {numeric:.9g}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Write counts as in "7 crossed, 2 zero"."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def with_version(place: Mapping[str, str]) -> dict[str, str]:
    """Return a run's place with the version in the backend's entry, as in "numpy 2.4.6"."""
    backend = f"{place.get('backend', '')} {place.get('version', '')}".strip()
    return {k: backend if k == "backend" else v for k, v in place.items() if k != "version"}


def format_place(place: Mapping[str, str]) -> str:
    """Write a place as in "numpy 2.4.6, cpu, float64"; other entries are written with their names."""
    plain = ("backend", "device", "dtype")
    return ", ".join(value if key in plain else f"{key} {value}" for key, value in with_version(place).items())


def mark_of(finding: Finding | None) -> str:
    """Return the verdict of a finding as one character."""
    return "" if finding is None else MARKS[finding.verdict]


def finding_cell(finding: Finding | None) -> Cell:
    """Return the cell with the error of a finding and its verdict."""
    if finding is None:
        return Cell("")
    hint = f"{finding.verdict}, limit {format_bound(finding.by, finding.bound)}"
    return Cell(f"{format_number(finding.error)} {MARKS[finding.verdict]}", finding.verdict, hint)


def verdict_column(verdicts: Sequence[Verdict | None]) -> Column:
    """Return the column of verdicts, the last one of a table."""
    return Column("verdict", [Cell(str(v or ""), v) for v in verdicts], left=True)


def method_columns(groups: Sequence[Sequence[Finding]]) -> Iterator[Column]:
    """Yield a column for every method, with its worst finding in every group, and its bound if it has one."""
    for method in {f.by.name: f.by for group in groups for f in group}.values():
        own = [[f for f in group if f.method == method.name] for group in groups]
        bounds = {format_bound(method, f.bound) for group in own for f in group}
        below = bounds.pop() if len(bounds) == 1 else "own limits"
        yield Column(method.title, [finding_cell(worst_finding(group)) for group in own], below, of_method=True)


def runs_table(runs: Sequence[Run]) -> tuple[str, list[Column]]:
    """Return the part of the places that all runs share, in words, and a table with a line for every run."""
    places = [with_version(run.place) for run in runs]
    keys = [k for k in dict.fromkeys(k for p in places for k in p) if len({p.get(k) for p in places}) > 1]
    same = ", ".join(f"{key} {value}" for key, value in places[0].items() if key not in keys)
    return same, [
        Column("run", [Cell(str(i), anchor=f"run-{i}") for i in range(1, len(runs) + 1)]),
        *(Column(key, [Cell(place.get(key, "")) for place in places], left=True) for key in keys),
        *method_columns([run.findings for run in runs]),
        verdict_column([run.verdict for run in runs]),
        Column("seconds", [Cell(f"{run.seconds:.1f}") for run in runs]),
    ]


def tensors_table(run: Run, number: int = 1) -> list[Column]:
    """Return the table with a line for every tensor of a run, and one for findings on θ as a whole."""
    told = {t.name: t for t in run.tensors}
    names = list(dict.fromkeys([*told, *(f.tensor for f in run.findings)]))
    tensors = [told.get(name) for name in names]
    anchors = {name: f"run-{number}-tensor-{i}" for i, name in enumerate(told, 1)}
    return [
        Column("tensor", [Cell(name, anchor=anchors.get(name, "")) for name in names], left=True),
        Column("shape", [Cell("×".join(map(str, t.shape)) if t else "") for t in tensors]),
        Column("‖g‖", [Cell(format_number(t.norm) if t else "") for t in tensors]),
        *method_columns([[f for f in run.findings if f.tensor == name] for name in names]),
        verdict_column([t.verdict if t else None for t in tensors]),
    ]


def advisory(method: Method, words: str) -> str:
    """Return the words for an advisory method, otherwise an empty text."""
    return words if method.role is Role.ADVISORY else ""
