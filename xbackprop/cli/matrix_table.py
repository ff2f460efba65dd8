"""Write the matrix of `xbackprop verify` row by row, in the width that there is."""

from __future__ import annotations

from collections.abc import Sequence

from xbackprop.cli.matrix import Cell
from xbackprop.verification.findings import Method, Role, Verdict
from xbackprop.verification.report.format import Column, finding_cell, mark_of
from xbackprop.verification.report.text import aligned

PLACES = {"backend": 10, "activation": 10, "loss": 20, "dtype": 7}
FIGURE = len("complex step")
VERDICT = max(map(len, Verdict))


class MatrixTable:
    """The table of the matrix: the error of every method; or, if they do not fit, marks; or the verdicts alone.

    Marks are shown of the methods that may decide.
    """

    def __init__(self, methods: Sequence[Method], width: int) -> None:
        deciding = [m for m in methods if m.role is not Role.ADVISORY]
        layouts: list[tuple[Sequence[Method], list[int]]] = [
            (methods, [FIGURE] * len(methods)),
            (deciding, [max(map(len, m.title.split())) for m in deciding]),
            ([], []),
        ]
        fitting = (layout for layout in layouts if self._total(layout[1]) <= width)
        self.methods, self.widths = next(fitting, layouts[-1])
        self.figures = self.widths is layouts[0][1]
        self.columns = [Column(title, [], left=True) for title in PLACES]
        self.columns += [*(Column(m.title, []) for m in self.methods), Column("verdict", [], left=True)]

    @staticmethod
    def _total(widths: Sequence[int]) -> int:
        return sum(w + 2 for w in (*PLACES.values(), *widths)) + VERDICT

    def head(self) -> str:
        """Return the head: one line with figures, or the words of each title one below the other."""
        titles = [[m.title] if self.figures else m.title.split() for m in self.methods]
        height = max(map(len, titles), default=1)
        above = [[""] * (height - len(words)) + words for words in titles]
        places = [[""] * (height - 1) + [name] for name in PLACES]
        verdict = [""] * (height - 1) + ["verdict"]
        return "\n".join(self._line(texts) for texts in zip(*places, *above, verdict, strict=True))

    def row(self, cell: Cell) -> str:
        """Return the line of one cell of the matrix."""
        kind = cell.kind
        place = [f"{kind.backend.name} {kind.device}", kind.activation.name, kind.loss, kind.dtype]
        worst = [cell.worst(m.name) for m in self.methods]
        errors = [finding_cell(f).text if self.figures else mark_of(f) for f in worst]
        return self._line([*place, *errors, str(cell.verdict)])

    def _line(self, texts: Sequence[str]) -> str:
        return aligned(self.columns, texts, (*PLACES.values(), *self.widths, 0)).rstrip()
