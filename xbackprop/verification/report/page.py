"""A report as one HTML file, from the dictionary that `Report.to_dict` makes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xbackprop.verification.findings import Verdict
from xbackprop.verification.report import plots
from xbackprop.verification.report.format import (
    ADVISORY,
    DECISIVE,
    FEW,
    MARKS,
    TITLES,
    clean,
    figure,
    in_words,
    limit,
    with_version,
)

#: What a method does, and what its error is measured in.
EXPLAINED = {
    "complex step": "Im C(θ + ih) / h with h = 1e-200, element by element: right to rounding, since nothing is "
    "subtracted. The error is relative to the largest derivative of the tensor.",
    "differences": "Central differences, extrapolated to h = 0, each with an estimate of its own error. The error is "
    "in units of that estimate.",
    "oracle": "The gradient that torch.autograd takes of the same cost. The error is in units of what rounding alone "
    "may do.",
    "reference": "The slope of a cost written anew in scalar loops and calculated with 50 digits: the one check of the "
    "forward pass too.",
    "taylor": "The remainder |(C(θ + hv) - C(θ - hv)) / 2 - h⟨g, v⟩| shrinks like h³ if g is the gradient, and like h "
    "if it is not. The figure is that order.",
    "dot product": "⟨Jv, w⟩ = ⟨v, Jᵀw⟩, forward mode on the left, backpropagation on the right. The error is in units "
    "of u times ⟨Jv, w⟩ with every term made positive.",
    "paper": "Equation 18 of the paper: central differences with h = 1e-5, and one relative error.",
}
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
th:first-child,td:first-child,.text{text-align:left}td.text.long{white-space:normal;min-width:16em}
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


def page(report: Mapping[str, Any]) -> str:
    """The whole page, which needs nothing beside it, from the dictionary of a report."""
    runs = report["runs"]
    facts = list(report["header"].items())
    verdict, what = report["verdict"], f"Gradient check{f' of {facts[0][1]}' if facts else ''}"
    short = report["summary"].removeprefix(f"{verdict}: ")
    draws = plots.available()
    parts = [
        f'<header class="banner {verdict.lower()}"><p>{_escaped(what)}</p>',
        f"<h1>{verdict}</h1><p>{_escaped(short)}</p></header>",
        _facts(facts),
        *_not_run(report["not_run"]),
        *(_matrix(runs) if len(runs) > 1 else []),
    ]
    if not draws:
        how = "<code>pip install 'xbackprop[plot]'</code>"
        parts.append(f"<p class=aside>Pictures need matplotlib: {how}, then write this page again.</p>")
    for number, run in enumerate(runs, 1):
        parts += _run(run, number, len(runs), draws)
    parts += _legend()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{verdict}: {_escaped(what)}</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + f"\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def _escaped(text: Any) -> str:
    return html.escape(clean(str(text)))


def _facts(facts: Iterable[tuple[str, str]], kind: str = "facts") -> str:
    inside = "".join(f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>" for name, value in facts)
    return f"<dl class={kind}>{inside}</dl>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{"".join(head)}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _th(title: str, below: str = "", text: bool = False) -> str:
    small = f"<small>{_escaped(below)}</small>" if below else ""
    return f"<th{' class=text' if text else ''}>{_escaped(title)}{small}</th>"


def _td(inside: Any, kind: str = "") -> str:
    return f'<td class="{kind}">{_escaped(inside)}</td>' if kind else f"<td>{_escaped(inside)}</td>"


def _link(anchor: str, text: str) -> str:
    return f'<td><a href="#{anchor}">{_escaped(text)}</a></td>'


def _verdict(verdict: str, tag: str = "td") -> str:
    return f'<{tag} class="{"text " if tag == "td" else ""}{verdict.lower()}">{verdict}</{tag}>'


def _cell(finding: Mapping[str, Any] | None) -> str:
    if finding is None:
        return "<td></td>"
    verdict, bound = finding["verdict"], limit(finding["method"], finding["bound"])
    text = f"{figure(finding['error'])} {MARKS[Verdict(verdict)]}"
    return f'<td class="{verdict.lower()}" title="{verdict}, limit {bound}">{text}</td>'


def _methods(findings: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The methods that were run, with what they are held to, where that is one figure for all."""
    bounds: dict[str, set[str]] = {}
    for f in findings:
        bounds.setdefault(f["method"], set()).add(limit(f["method"], f["bound"]))
    return {method: next(iter(seen)) if len(seen) == 1 else "own limits" for method, seen in bounds.items()}


def _not_run(not_run: Mapping[str, str]) -> Iterator[str]:
    if not_run:
        yield '<section id="not-run"><h2>What was not run</h2>'
        yield _facts(not_run.items(), "words") + "</section>"


def _matrix(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for every run: its place, the worst of every method, its verdict."""
    places = [with_version(run["place"]) for run in runs]
    every = dict.fromkeys(key for place in places for key in place)
    keys = [key for key in every if len({place.get(key) for place in places}) > 1]
    same = ", ".join(f"{key} {value}" for key, value in places[0].items() if key not in keys)
    methods = _methods(f for run in runs for f in run["findings"])
    head = [_th("run"), *(_th(key, text=True) for key in keys)]
    head += [_th(TITLES.get(m, m), bound) for m, bound in methods.items()]
    rows = []
    for number, run in enumerate(runs, 1):
        cells = [_link(f"run-{number}", str(number)), *(_td(places[number - 1].get(key, ""), "text") for key in keys)]
        cells += [_cell(_worst([f for f in run["findings"] if f["method"] == m])) for m in methods]
        rows.append([*cells, _verdict(run["verdict"]), _td(f"{run['seconds']:.1f}")])
    yield f'<section id="runs"><h2>{len(runs)} runs</h2>{f"<p>All of them: {_escaped(same)}.</p>" if same else ""}'
    yield _table([*head, _th("verdict", text=True), _th("seconds")], rows) + "</section>"


def _worst(findings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The one with the worst verdict, and of those the one that is furthest off."""
    order = [Verdict.PASS, Verdict.VACUOUS, Verdict.INCONCLUSIVE, Verdict.FAIL]

    def badness(f: Mapping[str, Any]) -> tuple[int, float]:
        error = float(f["error"]) * (-1 if f["method"] == "taylor" else 1)
        return order.index(Verdict(f["verdict"])), math.inf if math.isnan(error) else error

    return max(findings, key=badness, default=None)


def _run(run: Mapping[str, Any], number: int, total: int, draws: bool) -> Iterator[str]:
    """One run: its place, its pictures, its tensors."""
    place = ", ".join(in_words(run["place"]))
    folded = total > FEW and run["verdict"] == Verdict.PASS
    opening, closing = ("<details {}><summary>", "</summary>") if folded else ("<section {}>", "")
    yield opening.format(f'id="run-{number}" class="run"')
    yield f"<h2>{f'Run {number}: ' if total > 1 else ''}{_escaped(place)} {_verdict(run['verdict'], 'b')}</h2>{closing}"
    whole = figure(run["paper_error"])
    yield f"<p>Equation 18 over all parameters, the paper's one figure: {whole}. It took {run['seconds']:.1f} s.</p>"
    yield from (f"<p>{_escaped(note)}</p>" for note in run["notes"])
    if draws:
        wrong = [t["name"] for t in run["tensors"] if t["verdict"] == Verdict.FAIL]
        pairs = {t["name"]: _pair(t) for t in run["tensors"]}
        curves = run["curves"]
        yield _pictures(
            f"run-{number}", plots.panels(_points(curves["steps"]), _points(curves["taylor"]), pairs, wrong)
        )
    methods = _methods(f for f in run["findings"])
    head = [_th("tensor"), _th("shape"), _th("‖g‖"), *(_th(TITLES.get(m, m), b) for m, b in methods.items())]
    rows = []
    tensors = {t["name"]: t for t in run["tensors"]}
    for i, name in enumerate(dict.fromkeys([*tensors, *(f["tensor"] for f in run["findings"])]), 1):
        found = {f["method"]: f for f in run["findings"] if f["tensor"] == name}
        told = tensors.get(name)
        shape = ["×".join(map(str, told["shape"])), figure(told["norm"])] if told else ["", ""]
        first = _link(f"run-{number}-tensor-{i}", name) if told else _td(name)
        last = _verdict(told["verdict"]) if told else "<td></td>"
        rows.append([first, *map(_td, shape), *(_cell(found.get(m)) for m in methods), last])
    yield _table([*head, _th("verdict", text=True)], rows)
    for i, tensor in enumerate(run["tensors"], 1):
        yield from _tensor(run, tensor, f"run-{number}-tensor-{i}", draws and not folded)
    if draws and folded:
        yield f"<p class=aside>Of more than {FEW} runs, tensors of those that pass have no pictures of their own.</p>"
    yield "</details>" if folded else "</section>"


def _pair(tensor: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    return [float(v) for v in tensor["analytic"]], [float(v) for v in tensor["numeric"]]


def _points(curves: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, list[tuple[float, float]]]:
    return {name: [(float(x), float(y)) for x, y in points] for name, points in curves.items()}


def _pictures(anchor: str, drawings: Mapping[str, plots.Draw], of: str = "") -> str:
    labels = {"steps": "error against step", "taylor": "Taylor remainder", "scatter": "analytic against numeric"}
    sizes = {name: (4.6, 4.4) if "steps" in drawings and name != "steps" else (4.6, 3.95) for name in drawings}
    drawn = [plots.svg(draw, f"{anchor}-{name}", labels[name] + of, sizes[name]) for name, draw in drawings.items()]
    return f'<div class="pictures">{"".join(drawn)}</div>'


def _tensor(run: Mapping[str, Any], tensor: Mapping[str, Any], anchor: str, draws: bool) -> Iterator[str]:
    """All that is known of one tensor."""
    name, verdict = tensor["name"], tensor["verdict"]
    opened = "" if verdict == Verdict.PASS else " open"
    yield f'<details id="{anchor}"{opened}><summary><code>{_escaped(name)}</code>{_verdict(verdict, "b")}'
    yield f" <span class=aside>{_escaped(tensor['diagnosis'])}</span></summary>"
    facts = [("shape", "×".join(map(str, tensor["shape"]))), ("elements", f"{math.prod(tensor['shape']):,}")]
    facts += [("‖g‖", figure(tensor["norm"])), ("eq. 18", figure(tensor["paper_error"]))]
    yield _facts(facts)
    if tensor["diagnosis"]:
        yield f"<p><strong>Diagnosis:</strong> {_escaped(tensor['diagnosis'])}.</p>"
    if tensor["worst"]:
        yield f"<p><strong>Worst element:</strong> {_escaped(_element(tensor['worst']))}.</p>"
    head = [_th("method"), _th("verdict", text=True), *map(_th, ("error", "limit", "looked at"))]
    head += [_th(title, text=True) for title in ("counted", "worst element, reason")]
    yield _table(head, [_finding(f) for f in run["findings"] if f["tensor"] == name])
    if draws:
        remainders = {key: points for key, points in run["curves"]["taylor"].items() if key == name}
        names = [t["name"] for t in run["tensors"]]
        drawings = plots.panels({}, _points(remainders), {name: _pair(tensor)}, names=names)
        yield _pictures(anchor, {k: drawings[k] for k in ("taylor", "scatter")}, f" of {name}")
    yield "</details>"


def _finding(f: Mapping[str, Any]) -> list[str]:
    aside = ", does not decide" if f["method"] in ADVISORY else ""
    unit = "" if f["method"] in (*DECISIVE, *ADVISORY) else {"taylor": " steps"}.get(f["method"], " draws")
    counted = ", ".join(f"{count:,} {what}" for what, count in f["counts"].items() if count)
    figures = (figure(f["error"]), limit(f["method"], f["bound"]), f"{f['checked']:,}{unit}")
    return [
        _td(TITLES.get(f["method"], f["method"]) + aside),
        _verdict(f["verdict"]),
        *map(_td, figures),
        _td(counted, "text"),
        _td("; ".join(filter(None, [_element(f["worst"]) if f["worst"] else "", f["reason"]])), "text long"),
    ]


def _element(worst: Mapping[str, Any]) -> str:
    analytic, numeric = float(worst["analytic"]), float(worst["numeric"])
    return f"{worst['tensor']}{worst['position']}: analytic {analytic:.9g}, numeric {numeric:.9g}"


def _legend() -> Iterator[str]:
    yield '<section id="legend"><h2>How to read it</h2><h3>Verdicts</h3>'
    yield _facts([(f"{MARKS[verdict]} {verdict}", text) for verdict, text in MEANING.items()], "words")
    yield "<h3>Methods</h3>"
    does_not = " It is reported, and decides nothing: it fails gradients that are right where they are small."
    words = [(TITLES.get(m, m), text + (does_not if m in ADVISORY else "")) for m, text in EXPLAINED.items()]
    yield _facts(words, "words") + "</section>"
