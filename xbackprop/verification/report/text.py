"""Write a report as text for a terminal, and its verdict in one sentence."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from xbackprop.display.page import clean
from xbackprop.verification.findings import Element, Finding, Results, Role, Run, Verdict, any_failed
from xbackprop.verification.report import format as write
from xbackprop.verification.report.format import FEW, Cell, Column, runs_table, tensors_table

#: The width of the text where none is given, and that of a name in a table, in characters.
WIDTH, NAME = 100, 24
#: With more than FEW runs, the text shows in full only those that are not a PASS, up to MANY of them.
MANY = 8


def summary_of(report: Results) -> str:
    """Return the verdict in one sentence."""
    return f"{report.verdict}: {reason_of(report)}; {report.seconds:.1f} s"


def reason_of(report: Results) -> str:
    """Return the reason of the verdict: the extent of the checks and the methods, or the tensors that do not pass."""
    runs, verdict = report.runs, report.verdict
    concerned = [run for run in runs if run.verdict is verdict]
    if not runs:
        return "nothing was run"
    if not concerned:
        passing = sum(run.verdict is Verdict.PASS for run in runs)
        return f"{passing} of {_many(len(runs), 'run')} pass, and these could not be run: {_few(report.not_run)}"
    several = f" ({len(concerned)} of {len(runs)} runs)" if len(runs) > 1 else ""
    names = dict.fromkeys(t.name for run in concerned for t in run.tensors if t.verdict is verdict)
    if verdict is Verdict.FAIL:
        failed = [f for run in concerned for f in run.findings if any_failed([f])]
        names |= dict.fromkeys(f.tensor for f in failed)  # a finding may also be on θ as a whole
        by = ", by " + ", ".join(dict.fromkeys(f.by.title for f in failed)) if failed else ""
        return f"the gradient is wrong in {_few(names)}{by}{several}"
    if verdict is Verdict.INCONCLUSIVE:
        return (f"could not be told for {_few(names)}" if names else "there was nothing to look at") + several
    if verdict is Verdict.VACUOUS:
        return f"everything is zero, on both sides, in {_few(names)}{several}"
    sizes = [math.prod(t.shape) for run in runs for t in run.tensors]
    looked, size = sum(map(_looked_at, runs)), sum(sizes)
    seen = [f"{len(runs)} runs"] if len(runs) > 1 else []
    seen += [_many(len(sizes), "tensor"), (f"{looked:,} of " if looked < size else "") + _many(size, "element")]
    return ", ".join([*seen, *_methods_that_pass(runs)])


def _looked_at(run: Run) -> int:
    """Count the elements that a decisive method compared one by one."""
    passing = [f for f in run.findings if f.by.role is Role.DECISIVE and f.verdict is Verdict.PASS]
    return sum(max((f.checked for f in passing if f.tensor == t.name), default=0) for t in run.tensors)


def _methods_that_pass(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the methods that a PASS is based on, with the number of passes if not all their findings pass."""
    findings = [f for run in runs for f in run.findings if f.by.role is not Role.ADVISORY]
    for title in dict.fromkeys(f.by.title for f in findings):
        verdicts = [f.verdict for f in findings if f.by.title == title]
        passed = verdicts.count(Verdict.PASS)
        if passed:
            yield title if passed == len(verdicts) else f"{title} ({passed} of {len(verdicts)})"


def _few(names: Iterable[str]) -> str:
    short = [_clip(name) for name in names]
    return ", ".join(short[:3]) + (f" and {len(short) - 3} more" if len(short) > 3 else "")


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def report_in_text(report: Results, width: int = WIDTH) -> Iterator[str]:
    """Yield the lines of the report, none longer than `width`. Only the whole is called "PASS"; its parts "pass"."""
    runs = report.runs
    facts = [f"{key} {value}" for key, value in report.header.items()]
    yield from _wrapped(width, "", ": ".join(["gradient check", *facts[:1]]))
    yield from _wrapped(width, "  ", " · ".join(facts[1:]))
    shown = [(number, run) for number, run in enumerate(runs, 1) if len(runs) <= FEW or run.verdict is not Verdict.PASS]
    if len(runs) > FEW:
        yield from ("", *_runs(runs, width))
        shown, rest = shown[:MANY], len(shown) - MANY
    for number, run in shown:
        yield ""
        yield from _wrapped(width, "", (f"run {number}: " if len(runs) > 1 else "") + write.format_place(run.place))
        yield from ("", *_run(run, width))
    if len(runs) > FEW and rest > 0:
        yield from ("", f"{rest} more runs are no pass: to_html and to_json have them all")
    yield ""
    for name, why in report.not_run.items():
        yield from _wrapped(width, "", f"not run: {name}: {why}")
    yield from _wrapped(width, "", summary_of(report))


def _runs(runs: Sequence[Run], width: int) -> Iterator[str]:
    same, columns = runs_table(runs)
    yield from _wrapped(width, "", f"{len(runs)} runs{': ' if same else ''}{same}")
    columns = columns[:-1]  # without the times
    if sum(_width(column) + 2 for column in columns) - 2 > width:
        columns = [c._replace(cells=[Cell(x.mark) for x in c.cells], below="") if c.of_method else c for c in columns]
    yield from _table(columns, width, keep=len([c for c in columns[:-1] if not c.of_method]))
    notes = Counter(note for run in runs if run.verdict is Verdict.PASS for note in dict.fromkeys(run.notes))
    for note, count in notes.items():  # runs that are shown in full have their notes there
        yield from _wrapped(width, "", f"note on {_many(count, 'run')}: {note}")


def _run(run: Run, width: int) -> Iterator[str]:
    if run.tensors or run.findings:
        yield from _table(tensors_table(run), width, keep=3)
    for tensor in dict.fromkeys([*(t.name for t in run.tensors), *(f.tensor for f in run.findings)]):
        yield from _problems(run, tensor, width)
    counted = "; ".join(_counted(run))
    after = [f"counted: {counted}"] if counted else []
    after += [f"note: {note}" for note in run.notes]
    yield from [""] if after else []
    for line in after:
        yield from _wrapped(width, "", line)


def _problems(run: Run, tensor: str, width: int) -> Iterator[str]:
    """Yield lines with the methods that do not pass a tensor, and their reasons."""
    findings = [f for f in run.findings if f.tensor == tensor]
    bad = [f for f in findings if f.verdict is not Verdict.PASS]
    told = next((t for t in run.tensors if t.name == tensor), None)
    if not bad and (told is None or told.verdict is Verdict.PASS):
        return
    why = told.diagnosis if told else ""
    if told and not any(f.by.role is Role.DECISIVE for f in findings):
        why = why or "no method that decides has looked at it"
    yield ""
    yield from _wrapped(width, "", tensor + (f" {_word(told.verdict)}" if told else "") + (f": {why}" if why else ""))
    seen: list[Element] = []
    for f in bad:
        yield from _wrapped(width, "  ", f"{f.by.title}: {'; '.join(_reasons(f, seen))}")


def _reasons(f: Finding, seen: list[Element]) -> Iterator[str]:
    yield f.verdict + write.advisory(f.by, ", which does not decide")
    if not math.isnan(f.error):
        measure = "order" if f.by.at_least else "error"
        yield f"{measure} {write.format_number(f.error)}, must be {write.format_bound(f.by, f.bound)}"
    if f.reason:
        yield f.reason
    if f.worst is not None and f.worst not in seen:  # methods mostly agree on the worst element
        seen.append(f.worst)
        yield f"worst {write.format_element(f.worst)}"


def _counted(run: Run) -> Iterator[str]:
    """Yield for each method its counts over all tensors, and the elements it checked if it did not check all."""
    sizes = {t.name: math.prod(t.shape) for t in run.tensors}
    for method in {f.method: f.by for f in run.findings}.values():
        own = [f for f in run.findings if f.method == method.name]
        sums: Counter[str] = Counter()
        for f in own:
            sums.update(f.counts)
        parts = [write.format_counts(sums)] if any(sums.values()) else []
        checked, there = sum(f.checked for f in own), sum(sizes.get(f.tensor, 0) for f in own)
        if method.counted == "elements" and 0 < checked < there:
            parts.append(f"{checked:,} of {there:,} elements sampled")
        if parts:
            yield f"{method.title} {', '.join(parts)}"


def _word(verdict: str) -> str:
    return "pass" if verdict == Verdict.PASS else verdict


def _clip(text: str, width: int = NAME) -> str:
    """Write a text on one line, without its middle if it is too long."""
    text = clean(text)
    return text if len(text) <= width else f"{text[: width // 2]}…{text[width // 2 + 1 - width :]}"


def _wrapped(width: int, indent: str, text: str) -> list[str]:
    """Break a text into indented lines, the later ones indented further."""
    return textwrap.wrap(
        clean(text), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def aligned(columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line of a table, with the texts padded to the widths of the columns."""
    cells = zip(columns, texts, widths, strict=True)
    return "  ".join(text.ljust(width) if column.left else text.rjust(width) for column, text, width in cells)


def _lines(column: Column) -> list[str]:
    """Return the lines of a column: its head, one word per line, and its cells."""
    below = [column.below] if column.below else []
    titles = column.title.split() if column.of_method else [_clip(column.title)]
    return [*titles, *below, *(_clip(_word(cell.text)) for cell in column.cells)]


def _width(column: Column) -> int:
    return max(map(len, _lines(column)))


def _table(columns: Sequence[Column], width: int, keep: int) -> Iterator[str]:
    """Write columns side by side; if they do not all fit, in blocks that each begin with the first `keep` columns."""
    lines, widths = [_lines(column) for column in columns], [_width(column) for column in columns]
    height = max(map(len, lines))
    rows = list(zip(*([""] * (height - len(own)) + own for own in lines), strict=True))
    blocks = [list(range(keep))]
    for i in range(keep, len(columns)):
        if sum(widths[k] + 2 for k in (*blocks[-1], i)) - 2 > width and len(blocks[-1]) > keep:
            blocks.append(list(range(keep)))
        blocks[-1].append(i)
    for number, block in enumerate(blocks):
        yield from [""] if number else []
        for row in rows[min(height - len(lines[k]) for k in block) :]:
            yield aligned([columns[k] for k in block], [row[k] for k in block], [widths[k] for k in block])
