"""Write a report as one HTML file that needs no other files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from xbackprop.display import drawing
from xbackprop.display.page import escaped, facts, html_page
from xbackprop.verification.findings import Finding, Results, Run, TensorSummary, Verdict
from xbackprop.verification.methods import METHODS
from xbackprop.verification.report import format as write
from xbackprop.verification.report import plots
from xbackprop.verification.report.format import FEW, MARKS, Cell, Column, runs_table, tensors_table
from xbackprop.verification.report.text import summary_of

MEANING = {
    Verdict.PASS: "A method that decides agrees, and no method that may decide disagrees.",
    Verdict.FAIL: "A method that may decide disagrees by more than its limit.",
    Verdict.INCONCLUSIVE: "It could not be decided or not be run; the reason is given beside it. It is never a pass.",
    Verdict.VACUOUS: "All derivatives compared are zero on both sides, which shows nothing. It is never a pass.",
}
#: A script that opens the section of a link, and all sections for printing; without it, readers open them by hand.
SCRIPT = """
const show=()=>{const t=document.getElementById(location.hash.slice(1));
for(let e=t;e;e=e.parentElement)if(e.tagName==="DETAILS")e.open=true;if(t)t.scrollIntoView()};
addEventListener("hashchange",show);show();
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(e=>{e.open=true}));
"""


def page(report: Results) -> str:
    """Return the HTML page of a report."""
    runs, verdict, head = report.runs, report.verdict, list(report.header.items())
    title = f"Gradient check{f' of {head[0][1]}' if head else ''}"
    draws = drawing.available()
    short = summary_of(report).removeprefix(f"{verdict}: ")
    parts = [
        f'<header class="banner {verdict.lower()}"><p>{escaped(title)}</p>',
        f"<h1>{verdict}</h1><p>{escaped(short)}</p></header>",
        facts(head),
    ]
    if report.not_run:
        listed = facts(report.not_run.items(), "words")
        parts.append(f'<section id="not-run"><h2>Not run</h2>{listed}</section>')
    if len(runs) > 1:
        same, columns = runs_table(runs)
        shared = f"<p>All of them: {escaped(same)}.</p>" if same else ""
        parts.append(f'<section id="runs"><h2>{len(runs)} runs</h2>{shared}{_table(columns)}</section>')
    if not draws:
        how = "<code>pip install matplotlib</code>"
        parts.append(f"<p class=aside>Pictures need matplotlib: {how}, then write this page again.</p>")
    for number, run in enumerate(runs, 1):
        parts += _run(run, number, len(runs), draws)
    parts += _legend()
    return html_page(f"{verdict}: {title}", parts, SCRIPT)


def _verdict(verdict: Verdict) -> str:
    return f'<b class="{verdict.lower()}">{verdict}</b>'


def _table(columns: Sequence[Column]) -> str:
    """Write the columns of `format` as an HTML table."""
    head = "".join(
        f"<th{' class=text' if c.left else ''}>{escaped(c.title)}"
        f"{f'<small>{escaped(c.below)}</small>' if c.below else ''}</th>"
        for c in columns
    )
    rows = zip(*(column.cells for column in columns), strict=True)
    lines = "\n".join(f"<tr>{''.join(map(_cell, columns, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _cell(column: Column, cell: Cell) -> str:
    kinds = [*(["text"] if column.left else []), *([cell.verdict.lower()] if cell.verdict else [])]
    hint = f' title="{cell.hint}"' if cell.hint else ""
    inside = f'<a href="#{cell.anchor}">{escaped(cell.text)}</a>' if cell.anchor else escaped(cell.text)
    return f'<td class="{" ".join(kinds)}"{hint}>{inside}</td>' if kinds else f"<td{hint}>{inside}</td>"


def _run(run: Run, number: int, total: int, draws: bool) -> Iterator[str]:
    """Write the section of one run: its place, its pictures, its tensors."""
    folded = total > FEW and run.verdict is Verdict.PASS
    opening, closing = ("<details {}><summary>", "</summary>") if folded else ("<section {}>", "")
    title = (f"Run {number}: " if total > 1 else "") + write.format_place(run.place)
    yield opening.format(f'id="run-{number}" class="run"')
    yield f"<h2>{escaped(title)} {_verdict(run.verdict)}</h2>{closing}"
    whole = write.format_number(run.paper_error)
    yield f"<p>Equation 18 over all parameters, the paper's one figure: {whole}. It took {run.seconds:.1f} s.</p>"
    yield from (f"<p>{escaped(note)}</p>" for note in run.notes)
    looks = plots.looks(t.name for t in run.tensors)
    if draws:
        wrong = [t.name for t in run.tensors if t.verdict is Verdict.FAIL]
        yield _pictures(f"run-{number}", plots.panels(run.curves, run.tensors, looks, wrong))
    yield _table(tensors_table(run, number))
    for i, tensor in enumerate(run.tensors, 1):
        anchor = f"run-{number}-tensor-{i}"
        yield from _tensor(run, tensor, anchor)
        if draws and tensor.verdict is not Verdict.PASS:  # for a PASS the pictures of the run are enough
            drawings = plots.panels(run.curves, [tensor], looks)
            del drawings["steps"]
            yield _pictures(anchor, drawings, f" of {tensor.name}")
        yield "</details>"
    yield "</details>" if folded else "</section>"


def _pictures(anchor: str, drawings: Mapping[str, drawing.Draw], of: str = "") -> str:
    labels = {"steps": "error against step", "taylor": "Taylor remainder", "scatter": "analytic against numeric"}
    heights = {name: 4.4 if "steps" in drawings and name != "steps" else 3.95 for name in drawings}  # room for names
    drawn = [drawing.svg(draw, f"{anchor}-{name}", labels[name] + of, heights[name]) for name, draw in drawings.items()]
    return f'<div class="pictures">{"".join(drawn)}</div>'


def _tensor(run: Run, tensor: TensorSummary, anchor: str) -> Iterator[str]:
    """Write the section of one tensor, with all its findings; the caller closes it."""
    opened = "" if tensor.verdict is Verdict.PASS else " open"
    yield f'<details id="{anchor}"{opened}><summary><code>{escaped(tensor.name)}</code>{_verdict(tensor.verdict)}'
    yield f" <span class=aside>{escaped(tensor.diagnosis)}</span></summary>"
    size = [("shape", "×".join(map(str, tensor.shape))), ("elements", f"{math.prod(tensor.shape):,}")]
    yield facts([*size, ("‖g‖", write.format_number(tensor.norm)), ("eq. 18", write.format_number(tensor.paper_error))])
    if tensor.diagnosis:
        yield f"<p><strong>Diagnosis:</strong> {escaped(tensor.diagnosis)}.</p>"
    if tensor.worst:
        yield f"<p><strong>Worst element:</strong> {escaped(write.format_element(tensor.worst))}.</p>"
    yield _table(_findings_table([f for f in run.findings if f.tensor == tensor.name]))


def _findings_table(findings: Sequence[Finding]) -> list[Column]:
    """Return the table of a tensor's findings, with a line for every method."""

    def column(title: str, texts: Iterable[str], left: bool = False) -> Column:
        return Column(title, [Cell(text) for text in texts], left=left)

    units = ["" if f.by.counted == "elements" else f" {f.by.counted}" for f in findings]
    last = ["; ".join(filter(None, [f.worst and write.format_element(f.worst), f.reason])) for f in findings]
    return [
        column("method", [f.by.title + write.advisory(f.by, ", does not decide") for f in findings]),
        write.verdict_column([f.verdict for f in findings]),
        column("error", [write.format_number(f.error) for f in findings]),
        column("limit", [write.format_bound(f.by, f.bound) for f in findings]),
        column("looked at", [f"{f.checked:,}{unit}" for f, unit in zip(findings, units, strict=True)]),
        column("counted", [write.format_counts(f.counts) for f in findings], left=True),
        column("worst element, reason", last, left=True),
    ]


def _legend() -> Iterator[str]:
    yield '<section id="legend"><h2>How to read it</h2><h3>Verdicts</h3>'
    yield facts([(f"{MARKS[verdict]} {verdict}", text) for verdict, text in MEANING.items()], "words")
    yield "<h3>Methods</h3>"
    does_not = " It is reported, and decides nothing: it fails gradients that are right where they are small."
    words = [(m.title, m.explained + write.advisory(m, does_not)) for m in METHODS.values()]
    yield facts(words, "words") + "</section>"
