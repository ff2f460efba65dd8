"""A report as a terminal shows it, and its verdict in one sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from xbackprop.verification.findings import Element, Finding, Results, Run, Verdict, worst_verdict
from xbackprop.verification.report.format import (
    ADVISORY,
    DECISIVE,
    FEW,
    MARKS,
    TITLES,
    WIDTH,
    Column,
    clip,
    figure,
    in_words,
    limit,
    table,
    with_version,
    wrapped,
)

#: Of more than FEW runs, text shows in full those that are no PASS, up to MANY of them.
MANY = 8


def summary_of(report: Results) -> str:
    """The verdict in one sentence."""
    return f"{report.verdict}: {_in_short(report)}; {report.seconds:.1f} s"


def _in_short(report: Results) -> str:
    """What the verdict rests on: how much was looked at and by what, or what is wrong where, or what is missing."""
    runs, verdict = report.runs, report.verdict
    concerned = [run for run in runs if run.verdict is verdict]
    if not runs:
        return "nothing was run"
    if not concerned:
        passing = sum(run.verdict is Verdict.PASS for run in runs)
        return f"{passing} of {_many(len(runs), 'run')} pass, and these could not be run: {_few(report.not_run)}"
    several = f" ({len(concerned)} of {len(runs)} runs)" if len(runs) > 1 else ""
    names = dict.fromkeys(name for run in concerned for name in _concerned(run, verdict))
    if verdict is Verdict.FAIL:
        methods = dict.fromkeys(f.method for run in concerned for f in run.findings if _decides(f, verdict))
        found = f", by {', '.join(TITLES.get(m, m) for m in methods)}" if methods else ""
        return f"the gradient is wrong in {_few(names)}{found}{several}"
    if verdict is Verdict.INCONCLUSIVE:
        return (f"could not be told for {_few(names)}" if names else "there was nothing to look at") + several
    if verdict is Verdict.VACUOUS:
        return f"everything is zero, on both sides, in {_few(names)}{several}"
    sizes = {t.name: math.prod(t.shape) for run in runs for t in run.tensors}
    looked, size = min(map(_looked_at, runs)), sum(sizes.values())
    seen = [f"{len(runs)} runs"] if len(runs) > 1 else []
    seen += [_many(len(sizes), "tensor"), (f"{looked:,} of " if looked < size else "") + _many(size, "element")]
    return ", ".join([*seen, *_methods_that_pass(runs)])


def _looked_at(run: Run) -> int:
    """The elements that were held, one by one, to some method that decides."""
    deciding = [f for f in run.findings if f.method in DECISIVE and f.verdict is Verdict.PASS]
    return sum(max((f.checked for f in deciding if f.tensor == t.name), default=0) for t in run.tensors)


def _decides(finding: Finding, verdict: Verdict) -> bool:
    return finding.verdict is verdict and finding.method not in ADVISORY


def _concerned(run: Run, verdict: Verdict) -> list[str]:
    """The tensors with that verdict; of a FAIL also where methods found it, be it on θ as a whole."""
    names = [t.name for t in run.tensors if t.verdict is verdict]
    return names + [f.tensor for f in run.findings if _decides(f, verdict)] if verdict is Verdict.FAIL else names


def _few(names: Iterable[str]) -> str:
    short = [clip(name, 24) for name in names]
    return ", ".join(short[:3]) + (f" and {len(short) - 3} more" if len(short) > 3 else "")


def _methods_that_pass(runs: Sequence[Run]) -> Iterator[str]:
    """The methods on which a PASS rests; with how often, where some of their findings are none."""
    findings = [f for run in runs for f in run.findings if f.method not in ADVISORY]
    for method in dict.fromkeys(f.method for f in findings):
        verdicts = [f.verdict for f in findings if f.method == method]
        passed = verdicts.count(Verdict.PASS)
        if passed:
            share = "" if passed == len(verdicts) else f" ({passed} of {len(verdicts)})"
            yield f"{TITLES.get(method, method)}{share}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def report_in_text(report: Results) -> Iterator[str]:
    """The lines of the report, none longer than WIDTH. "PASS" is said of the whole alone; of its parts, "pass"."""
    runs = report.runs
    facts = [f"{key} {value}" for key, value in report.header.items()]
    yield from wrapped("", "gradient check: " + facts[0] if facts else "gradient check")
    yield from wrapped("  ", " · ".join(facts[1:]))
    shown = list(enumerate(runs, 1))
    if len(runs) > FEW:
        yield ""
        yield from _matrix(runs)
        shown = [(number, run) for number, run in shown if run.verdict is not Verdict.PASS]
    for number, run in shown[:MANY] if len(runs) > FEW else shown:
        yield ""
        yield from wrapped("", (f"run {number}: " if len(runs) > 1 else "") + ", ".join(in_words(run.place)))
        yield from _run_in_text(run)
    if len(runs) > FEW and len(shown) > MANY:
        yield from ("", f"{len(shown) - MANY} more runs are no pass: to_html and to_json have them all")
    yield ""
    for what, why in report.not_run.items():
        yield from wrapped("", f"not run: {what}: {why}")
    yield from wrapped("", summary_of(report))


def _matrix(runs: Sequence[Run]) -> Iterator[str]:
    """A line for every run: what its place has of its own, the worst of every method, the verdict."""
    places = [run.place for run in runs]
    keys = [k for k in dict.fromkeys(k for p in places for k in p) if len({p.get(k) for p in places}) > 1]
    same = [f"{k} {v}" for k, v in places[0].items() if k not in keys]
    if "version" in keys:
        keys.remove("version")
        same += dict.fromkeys(with_version(p).get("backend", "") for p in places)
    yield from wrapped("", f"{len(runs)} runs{': ' if same else ''}{', '.join(same)}")
    first = [Column(["run"], [str(i + 1) for i in range(len(runs))])]
    first += [Column([clip(k, 10)], [clip(p.get(k, ""), 16) for p in places], left=True) for k in keys]
    last = Column(["verdict"], [_word(run.verdict) for run in runs], left=True)
    figures, marks = [], []
    for method in dict.fromkeys(f.method for run in runs for f in run.findings):
        found = [[f for f in run.findings if f.method == method] for run in runs]
        worst = [_worst(own) if own else None for own in found]
        figures.append(Column(_head(method, chain(*found)), [_cell(f) if f else "" for f in worst]))
        marks.append(Column(_head(method, ()), [MARKS[f.verdict] if f else "" for f in worst]))
    fits = sum(column.width + 2 for column in (*first, *figures, last)) - 2 <= WIDTH
    yield from table(first, [*(figures if fits else marks), last])
    notes = Counter(note for run in runs if run.verdict is Verdict.PASS for note in dict.fromkeys(run.notes))
    for note, count in notes.items():  # the other runs have theirs below
        yield from wrapped("", f"note on {_many(count, 'run')}: {note}")


def _worst(findings: Sequence[Finding]) -> Finding:
    """The one with the worst verdict, and among those the one that is furthest off."""
    verdict = worst_verdict(f.verdict for f in findings)
    sign = -1 if findings[0].method == "taylor" else 1
    return max(
        (f for f in findings if f.verdict is verdict), key=lambda f: math.inf if math.isnan(f.error) else sign * f.error
    )


def _head(method: str, findings: Iterable[Finding]) -> list[str]:
    bounds = {limit(method, f.bound) for f in findings}
    return [*TITLES.get(method, method).split(), *(bounds if len(bounds) < 2 else ["own limit"])]


def _cell(finding: Finding) -> str:
    return f"{figure(finding.error)} {MARKS[finding.verdict]}"


def _word(verdict: Verdict) -> str:
    return "pass" if verdict is Verdict.PASS else str(verdict)


def _run_in_text(run: Run) -> Iterator[str]:
    yield ""
    if run.tensors or run.findings:
        yield from _tensors(run)
    for tensor in dict.fromkeys([*(t.name for t in run.tensors), *(f.tensor for f in run.findings)]):
        yield from _what_is_no_pass(run, tensor)
    counted = "; ".join(_counted(run))
    after = [f"counted: {counted}"] if counted else []
    after += [f"note: {note}" for note in run.notes]
    for i, line in enumerate(after):
        yield from ([""] if i == 0 else [])
        yield from wrapped("", line)


def _tensors(run: Run) -> Iterator[str]:
    """A line for every tensor, and for what was found on θ as a whole."""
    found = {(f.method, f.tensor): f for f in run.findings}
    told = {t.name: t for t in run.tensors}
    names = list(dict.fromkeys([*told, *(f.tensor for f in run.findings)]))
    summaries = [told.get(name) for name in names]
    first = [
        Column(["tensor"], [clip(name, 24) for name in names], left=True),
        Column(["shape"], ["×".join(map(str, t.shape)) if t else "" for t in summaries]),
        Column(["‖g‖"], [figure(t.norm) if t else "" for t in summaries]),
    ]
    more = []
    for method in dict.fromkeys(f.method for f in run.findings):
        own = [f for f in run.findings if f.method == method]
        cells = [_cell(found[method, name]) if (method, name) in found else "" for name in names]
        more.append(Column(_head(method, own), cells))
    more.append(Column(["verdict"], [_word(t.verdict) if t else "" for t in summaries], left=True))
    yield from table(first, more)


def _what_is_no_pass(run: Run, tensor: str) -> Iterator[str]:
    """The methods that do not pass a tensor, and what they say."""
    bad = [f for f in run.findings if f.tensor == tensor and f.verdict is not Verdict.PASS]
    told = next((t for t in run.tensors if t.name == tensor), None)
    if not bad and (told is None or told.verdict is Verdict.PASS):
        return
    yield ""
    verdict = f" {_word(told.verdict)}" if told else ""
    why = told.diagnosis if told else ""
    if told and not any(f.tensor == tensor and f.method in DECISIVE for f in run.findings):
        why = why or "no method that decides has looked at it"
    yield from wrapped("", f"{tensor}{verdict}{f': {why}' if why else ''}")
    seen: list[Element] = []
    for f in bad:
        parts = [f"{f.verdict}{', which does not decide' if f.method in ADVISORY else ''}"]
        if not math.isnan(f.error):
            measure = "order" if f.method == "taylor" else "error"
            parts.append(f"{measure} {figure(f.error)}, must be {limit(f.method, f.bound)}")
        parts += [f.reason] if f.reason else []
        if f.worst is not None and f.worst not in seen:  # methods mostly agree on it
            name, position, analytic, numeric = f.worst
            parts.append(f"worst {name}{list(map(int, position))}, analytic {analytic:.9g}, numeric {numeric:.9g}")
            seen.append(f.worst)
        yield from wrapped("  ", f"{TITLES.get(f.method, f.method)}: {'; '.join(parts)}")


def _counted(run: Run) -> Iterator[str]:
    """What every method counted over all tensors, and how much it looked at where that is not all."""
    sizes = {t.name: math.prod(t.shape) for t in run.tensors}
    for method in dict.fromkeys(f.method for f in run.findings):
        own = [f for f in run.findings if f.method == method]
        sums: Counter[str] = Counter()
        for f in own:
            sums.update(f.counts)
        parts = [f"{count:,} {what}" for what, count in sums.items() if count]
        checked, there = sum(f.checked for f in own), sum(sizes.get(f.tensor, 0) for f in own)
        if method in (*DECISIVE, *ADVISORY) and 0 < checked < there:  # the others count draws and steps
            parts.append(f"{checked:,} of {there:,} elements sampled")
        if parts:
            yield f"{TITLES.get(method, method)} {', '.join(parts)}"
