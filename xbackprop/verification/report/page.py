"""A report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from xbackprop.verification.findings import Finding, Results, Run, TensorSummary, Verdict
from xbackprop.verification.methods import METHODS
from xbackprop.verification.report import format as write
from xbackprop.verification.report import plots
from xbackprop.verification.report.format import FEW, MARKS, Cell, Column, clean, runs_table, tensors_table
from xbackprop.verification.report.text import summary_of

MEANING = {
    Verdict.PASS: "A method that decides agrees, and no method that may decide disagrees.",
    Verdict.FAIL: "A method that may decide disagrees by more than its limit.",
    Verdict.INCONCLUSIVE: "It could not be told, or not be run; the reason stands beside it. Never a pass.",
    Verdict.VACUOUS: "All that was compared is zero, on both sides: nothing is shown by it. Never a pass.",
}
CSS = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1d2126;--muted:#5c6670;--line:#dde1e6;--card:#f6f7f9;--link:#2f62a0;
--pass:#1a7a3a;--fail:#b3261e;--inconclusive:#8a5a00;--vacuous:#55606b;--ink:#333;--faint:#8a8a8a;--grid:#e4e4e4;
--c0:#4477aa;--c1:#ee6677;--c2:#228833;--c3:#aa3377;--c4:#66ccee;--c5:#ccbb44}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e3e6ea;--muted:#9aa4ae;--line:#333a42;--card:#1c2026;
--link:#8ab4e8;--pass:#58c27d;--fail:#ff8a80;--inconclusive:#e3b341;--vacuous:#a8b3bd;--ink:#d5d9de;--faint:#8b939b;
--grid:#2b3138;--c0:#7fb0e6;--c1:#ff8c9b;--c2:#66c47a;--c3:#dc86b4;--c4:#7fdcf5;--c5:#ddd06a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:20px 16px 60px}
h1,h2,h3{line-height:1.25;margin:0}h2{font-size:1.25rem;margin:2.2em 0 .6em;overflow-wrap:anywhere}
h3{font-size:1rem;margin:1.4em 0 .5em}
a{color:var(--link)}p{margin:.5em 0;overflow-wrap:anywhere}code{font:.93em ui-monospace,Consolas,monospace}
.banner{color:var(--bg);padding:18px 22px;border-radius:8px}
.banner h1{font-size:2.4rem;letter-spacing:.02em}.banner p{margin:.2em 0 0;font-size:1.05rem}
.banner.pass{background:var(--pass)}.banner.fail{background:var(--fail)}
.banner.inconclusive{background:var(--inconclusive)}.banner.vacuous{background:var(--vacuous)}
b.pass,td.pass{color:var(--pass)}b.fail,td.fail{color:var(--fail);font-weight:600}
b.inconclusive,td.inconclusive{color:var(--inconclusive)}b.vacuous,td.vacuous{color:var(--vacuous)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:10px 20px;margin:18px 0}
dl.words{display:block}dl.words div{display:grid;grid-template-columns:150px 1fr;gap:18px;margin:.35em 0}
dt{color:var(--muted);font-size:.85rem}dl.words dt{color:inherit;font-size:inherit;font-weight:600}
dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:5px 12px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;vertical-align:bottom}th small{display:block;font-weight:400;color:var(--muted)}
th:first-child,td:first-child,.text{text-align:left}details td:last-child{white-space:normal;min-width:16em}
th:first-child,td:first-child{position:sticky;left:0;background:var(--bg);padding-left:0}
details th:first-child,details td:first-child{background:var(--card)}
.pictures{display:flex;flex-wrap:wrap;align-items:flex-start;gap:14px;margin:14px 0}
.pictures svg{flex:1 1 300px;min-width:0;max-width:430px;height:auto}
details{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 16px;margin:8px 0}
details:target{outline:2px solid var(--link)}summary{cursor:pointer;overflow-wrap:anywhere}
summary b{margin-left:.6em}
details.run{background:none;margin:14px 0}summary h2{display:inline;font-size:1.05rem}section.run>details{margin:8px 0}
details.run th:first-child,details.run td:first-child{background:var(--bg)}
details.run details th:first-child,details.run details td:first-child{background:var(--card)}
.aside{color:var(--muted)}
@media (max-width:600px){dl{grid-template-columns:1fr 1fr}
dl.words div{display:block;margin:.7em 0}.banner h1{font-size:1.9rem}}
@media print{main{max-width:none;padding:0}.banner{print-color-adjust:exact;-webkit-print-color-adjust:exact}
details,svg,tr{break-inside:avoid}h2,h3{break-after:avoid}.scroll{overflow:visible}table{font-size:.72rem}
th,td{padding:3px 6px}.pictures svg{flex-basis:30%}details::details-content{content-visibility:visible;height:auto}}
"""
#: Opens what a link leads to, and everything for the printer; without it, sections are opened by hand.
SCRIPT = """
const show=()=>{const t=document.getElementById(location.hash.slice(1));
for(let e=t;e;e=e.parentElement)if(e.tagName==="DETAILS")e.open=true;if(t)t.scrollIntoView()};
addEventListener("hashchange",show);show();
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(e=>{e.open=true}));
"""


def page(report: Results) -> str:
    """The whole page."""
    runs, verdict, facts = report.runs, report.verdict, list(report.header.items())
    title = f"Gradient check{f' of {facts[0][1]}' if facts else ''}"
    draws = plots.available()
    short = summary_of(report).removeprefix(f"{verdict}: ")
    parts = [
        f'<header class="banner {verdict.lower()}"><p>{_escaped(title)}</p>',
        f"<h1>{verdict}</h1><p>{_escaped(short)}</p></header>",
        _facts(facts),
    ]
    if report.not_run:
        listed = _facts(report.not_run.items(), "words")
        parts.append(f'<section id="not-run"><h2>Not run</h2>{listed}</section>')
    if len(runs) > 1:
        same, columns = runs_table(runs)
        shared = f"<p>All of them: {_escaped(same)}.</p>" if same else ""
        parts.append(f'<section id="runs"><h2>{len(runs)} runs</h2>{shared}{_table(columns)}</section>')
    if not draws:
        how = "<code>pip install 'xbackprop[plot]'</code>"
        parts.append(f"<p class=aside>Pictures need matplotlib: {how}, then write this page again.</p>")
    for number, run in enumerate(runs, 1):
        parts += _run(run, number, len(runs), draws)
    parts += _legend()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{verdict}: {_escaped(title)}</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + f"\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def _escaped(text: str) -> str:
    return html.escape(clean(text))


def _facts(facts: Iterable[tuple[str, str]], kind: str = "facts") -> str:
    inside = "".join(f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>" for name, value in facts)
    return f"<dl class={kind}>{inside}</dl>"


def _verdict(verdict: Verdict) -> str:
    return f'<b class="{verdict.lower()}">{verdict}</b>'


def _table(columns: Sequence[Column]) -> str:
    """The columns of a table, as text has them too."""
    head = "".join(
        f"<th{' class=text' if c.left else ''}>{_escaped(c.title)}"
        f"{f'<small>{_escaped(c.below)}</small>' if c.below else ''}</th>"
        for c in columns
    )
    rows = zip(*(column.cells for column in columns), strict=True)
    lines = "\n".join(f"<tr>{''.join(map(_cell, columns, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _cell(column: Column, cell: Cell) -> str:
    kinds = [*(["text"] if column.left else []), *([cell.verdict.lower()] if cell.verdict else [])]
    hint = f' title="{cell.hint}"' if cell.hint else ""
    inside = f'<a href="#{cell.anchor}">{_escaped(cell.text)}</a>' if cell.anchor else _escaped(cell.text)
    return f'<td class="{" ".join(kinds)}"{hint}>{inside}</td>' if kinds else f"<td{hint}>{inside}</td>"


def _run(run: Run, number: int, total: int, draws: bool) -> Iterator[str]:
    """One run: its place, its pictures, its tensors."""
    folded = total > FEW and run.verdict is Verdict.PASS
    opening, closing = ("<details {}><summary>", "</summary>") if folded else ("<section {}>", "")
    title = (f"Run {number}: " if total > 1 else "") + write.format_place(run.place)
    yield opening.format(f'id="run-{number}" class="run"')
    yield f"<h2>{_escaped(title)} {_verdict(run.verdict)}</h2>{closing}"
    whole = write.format_number(run.paper_error)
    yield f"<p>Equation 18 over all parameters, the paper's one figure: {whole}. It took {run.seconds:.1f} s.</p>"
    yield from (f"<p>{_escaped(note)}</p>" for note in run.notes)
    looks = plots.looks(t.name for t in run.tensors)
    if draws:
        wrong = [t.name for t in run.tensors if t.verdict is Verdict.FAIL]
        yield _pictures(f"run-{number}", plots.panels(run.curves, run.tensors, looks, wrong))
    yield _table(tensors_table(run, number))
    for i, tensor in enumerate(run.tensors, 1):
        anchor = f"run-{number}-tensor-{i}"
        yield from _tensor(run, tensor, anchor)
        if draws and not folded:
            drawings = plots.panels(run.curves, [tensor], looks)
            del drawings["steps"]
            yield _pictures(anchor, drawings, f" of {tensor.name}")
        yield "</details>"
    if draws and folded:
        yield f"<p class=aside>Of more than {FEW} runs, tensors of those that pass have no pictures of their own.</p>"
    yield "</details>" if folded else "</section>"


def _pictures(anchor: str, drawings: Mapping[str, plots.Draw], of: str = "") -> str:
    labels = {"steps": "error against step", "taylor": "Taylor remainder", "scatter": "analytic against numeric"}
    heights = {name: 4.4 if "steps" in drawings and name != "steps" else 3.95 for name in drawings}  # room for names
    drawn = [plots.svg(draw, f"{anchor}-{name}", labels[name] + of, heights[name]) for name, draw in drawings.items()]
    return f'<div class="pictures">{"".join(drawn)}</div>'


def _tensor(run: Run, tensor: TensorSummary, anchor: str) -> Iterator[str]:
    """Everything that is known of one tensor; the section stays open."""
    opened = "" if tensor.verdict is Verdict.PASS else " open"
    yield f'<details id="{anchor}"{opened}><summary><code>{_escaped(tensor.name)}</code>{_verdict(tensor.verdict)}'
    yield f" <span class=aside>{_escaped(tensor.diagnosis)}</span></summary>"
    facts = [("shape", "×".join(map(str, tensor.shape))), ("elements", f"{math.prod(tensor.shape):,}")]
    yield _facts(
        [*facts, ("‖g‖", write.format_number(tensor.norm)), ("eq. 18", write.format_number(tensor.paper_error))]
    )
    if tensor.diagnosis:
        yield f"<p><strong>Diagnosis:</strong> {_escaped(tensor.diagnosis)}.</p>"
    if tensor.worst:
        yield f"<p><strong>Worst element:</strong> {_escaped(write.format_element(tensor.worst))}.</p>"
    yield _table(_findings_table([f for f in run.findings if f.tensor == tensor.name]))


def _findings_table(findings: Sequence[Finding]) -> list[Column]:
    """A line for every method."""

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
    yield _facts([(f"{MARKS[verdict]} {verdict}", text) for verdict, text in MEANING.items()], "words")
    yield "<h3>Methods</h3>"
    does_not = " It is reported, and decides nothing: it fails gradients that are right where they are small."
    words = [(m.title, m.explained + write.advisory(m, does_not)) for m in METHODS.values()]
    yield _facts(words, "words") + "</section>"
