"""The report of a verification: what was checked where, what was found, and the whole of it as text, JSON and pictures."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from xbackprop.storage import _write_atomically
from xbackprop.verification.page import MARKS, TITLES, figure, limit
from xbackprop.verification.verdicts import ADVISORY, DECISIVE, Element, Finding, Verdict, worst_verdict

#: Of the JSON file; it grows when a reader of an older one would misread the newer.
FORMAT = 1
#: Columns of text. Up to FEW runs are shown whole; of more, those that are no PASS, up to MANY of them.
WIDTH, FEW, MANY = 100, 4, 8


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of one run: W_l as "coefs_[l]", b_l as "intercepts_[l]", or the name a user gave it.

    norm : ‖g‖ of the analytic gradient. paper_error : eq. 18 on this tensor alone, NaN where it was not run.
    analytic, numeric : up to 2,000 of its elements, for the scatter; numeric by the best method that ran.
    diagnosis : in words, what the ratio analytic/numeric points to; empty where nothing is wrong.
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    paper_error: float
    verdict: Verdict
    diagnosis: str
    worst: Element | None
    analytic: Sequence[float] = ()
    numeric: Sequence[float] = ()


@dataclass(frozen=True)
class Curves:
    """What the pictures show.

    steps : for "central differences", "Richardson" and "complex step", pairs (h, relative error of the gradient).
    taylor : for every tensor, pairs (h, |remainder|).
    """

    steps: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    taylor: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One gradient at one point, on one backend.

    place : backend, version, device, dtype, point ("given", …), alpha.
    tensors, findings : what came out. notes : what could not be run, and why; what was sampled.
    paper_error : eq. 18 over all parameters, the paper's one figure; NaN where it was not run.
    """

    place: Mapping[str, str]
    tensors: Sequence[TensorSummary]
    findings: Sequence[Finding]
    notes: Sequence[str]
    paper_error: float
    curves: Curves
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst over its tensors; FAIL if any method that may decide fails, on one of them or on θ as a whole."""
        failed = [f.verdict for f in self.findings if f.verdict is Verdict.FAIL and f.method not in ADVISORY]
        return worst_verdict([*(t.verdict for t in self.tensors), *failed])


@dataclass(frozen=True)
class Report:
    """What `xbackprop.verify` and the other checks return.

    header : what was checked, versions, platform, seed, settings. runs : one per backend, dtype, point and α.
    not_run : what was asked for and could not be run, with the reason: never a pass.
    """

    header: Mapping[str, str]
    runs: Sequence[Run]
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst over all runs; never PASS if something that was asked for could not be run."""
        missing = [Verdict.INCONCLUSIVE] if self.not_run else []
        return worst_verdict([*(run.verdict for run in self.runs), *missing])

    @property
    def passed(self) -> bool:
        """Whether the verdict is PASS."""
        return self.verdict is Verdict.PASS

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """For every tensor the worst verdict over all runs."""
        names = dict.fromkeys(t.name for run in self.runs for t in run.tensors)
        return {
            name: worst_verdict(t.verdict for run in self.runs for t in run.tensors if t.name == name) for name in names
        }

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(sum(run.seconds for run in self.runs))

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        return f"{self.verdict}: {_finding_in_short(self)}; {self.seconds:.1f} s"

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in _text(self))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it: dictionaries, lists, text, numbers, None.

        Numbers that JSON does not have are text, "NaN", "Infinity", "-Infinity", which Python's `float` and
        JavaScript's `Number` read. Keys are the names of the fields, and beside them "format", "verdict", "passed",
        "summary", "seconds" and "verdicts"; a run has its "verdict" too.
        """
        told = {"verdict": self.verdict, "passed": self.passed, "summary": self.summary, "seconds": self.seconds}
        whole: dict[str, Any] = _plain({"format": FORMAT, **told, "verdicts": self.verdicts, **_fields(self)})
        for plain, run in zip(whole["runs"], self.runs, strict=True):
            plain["verdict"] = str(run.verdict)
        return whole

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write `to_dict` as strict JSON, atomically."""
        text = json.dumps(self.to_dict(), allow_nan=False)
        _write_atomically(Path(path), f"{text}\n".encode())


def _fields(thing: Any) -> dict[str, Any]:
    return {f.name: getattr(thing, f.name) for f in fields(thing)}


def _plain(thing: Any) -> Any:
    """What JSON has for it: numbers of NumPy's become Python's, sequences lists."""
    if thing is None or isinstance(thing, bool):
        return thing
    if isinstance(thing, str):
        return str(thing)
    if isinstance(thing, Integral):
        return int(thing)
    if isinstance(thing, Real):
        x = float(thing)
        return x if math.isfinite(x) else "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    if is_dataclass(thing):
        return _plain(_fields(thing))
    if isinstance(thing, Element):
        return _plain(thing._asdict())
    if isinstance(thing, Mapping):
        return {str(key): _plain(value) for key, value in thing.items()}
    return [_plain(value) for value in thing]


def _finding_in_short(report: Report) -> str:
    """What the verdict rests on: how much was looked at and by what, or what is wrong where, or what is missing."""
    runs, verdict = report.runs, report.verdict
    if not runs:
        return "nothing was run"
    concerned = [run for run in runs if run.verdict is verdict]
    where = f"{len(concerned)} of {len(runs)} runs" if len(runs) > 1 else ""
    if verdict is Verdict.PASS:
        tensors = {t.name: math.prod(t.shape) for run in runs for t in run.tensors}
        seen = [f"{len(runs)} runs"] if len(runs) > 1 else []
        seen += [_many(len(tensors), "tensor"), _many(sum(tensors.values()), "element")]
        return ", ".join([*seen, *_methods_that_pass(runs)])
    if not concerned:
        return (
            f"{_many(len(report.not_run), 'part')} of what was asked for could not be run: {', '.join(report.not_run)}"
        )
    names = list(dict.fromkeys(name for run in concerned for name in _concerned(run, verdict)))
    which = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    told = {
        Verdict.FAIL: f"the gradient is wrong in {which}",
        Verdict.INCONCLUSIVE: f"could not be told for {which}" if names else "there was nothing to look at",
        Verdict.VACUOUS: f"everything is zero, on both sides, in {which}",
    }
    return ", ".join(filter(None, [told[verdict], where]))


def _concerned(run: Run, verdict: Verdict) -> list[str]:
    """The tensors with that verdict, and where methods that may decide have it with no tensor's."""
    names = [t.name for t in run.tensors if t.verdict is verdict]
    if verdict is Verdict.FAIL:
        names += [f.tensor for f in run.findings if f.verdict is verdict and f.method not in ADVISORY]
    return names


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


def _text(report: Report) -> Iterator[str]:
    """The lines of the report, none longer than WIDTH. "PASS" is said of the whole alone; of its parts, "pass"."""
    runs = report.runs
    facts = [f"{key} {value}" for key, value in report.header.items()]
    yield from _wrapped("", "gradient check: " + facts[0] if facts else "gradient check")
    yield from _wrapped("  ", " · ".join(facts[1:]))
    shown = list(enumerate(runs, 1))
    if len(runs) > FEW:
        yield ""
        yield from _matrix(runs)
        shown = [(number, run) for number, run in shown if run.verdict is not Verdict.PASS]
    for number, run in shown[:MANY] if len(runs) > FEW else shown:
        yield ""
        yield from _wrapped("", (f"run {number}: " if len(runs) > 1 else "") + ", ".join(_place(run)))
        yield from _run_in_text(run)
    if len(runs) > FEW and len(shown) > MANY:
        yield from ("", f"{len(shown) - MANY} more runs are no pass: to_html and to_json have them all")
    yield ""
    for what, why in report.not_run.items():
        yield from _wrapped("", f"not run: {what}: {why}")
    yield from _wrapped("", report.summary)


def _place(run: Run) -> list[str]:
    """ "numpy 2.4.6", "cpu", "float64", and what else there is with its name."""
    known = ("device", "dtype")
    place = {k: v for k, v in run.place.items() if k != "version"}
    if "backend" in place:
        place["backend"] = f"{place['backend']} {run.place.get('version', '')}".strip()
    return [value if key in ("backend", *known) else f"{key} {value}" for key, value in place.items()]


class _Column(NamedTuple):
    head: Sequence[str]
    cells: Sequence[str]
    left: bool = False

    def lines(self, rows: int) -> list[str]:
        """Head and cells, equally wide; the head fills `rows` lines from below."""
        lines = [*[""] * (rows - len(self.head)), *self.head, *self.cells]
        width = max(map(len, lines))
        return [line.ljust(width) if self.left else line.rjust(width) for line in lines]


def _table(first: Sequence[_Column], more: Sequence[_Column]) -> Iterator[str]:
    """Columns side by side, and where they do not fit, in blocks that all begin with the columns `first`."""
    rows = max(len(column.head) for column in (*first, *more))
    stub = ["  ".join(line) for line in zip(*(column.lines(rows) for column in first), strict=True)]
    block, width = list(stub), len(stub[0])
    for column in more:
        lines = column.lines(rows)
        if width + 2 + len(lines[0]) > WIDTH and block != stub:
            yield from (*block, "")
            block, width = list(stub), len(stub[0])
        block = [f"{a}  {b}" for a, b in zip(block, lines, strict=True)]
        width += 2 + len(lines[0])
    yield from block


def _matrix(runs: Sequence[Run]) -> Iterator[str]:
    """A line for every run: what its place has of its own, the worst of every method, the verdict."""
    places = [dict(run.place) for run in runs]
    keys = [k for k in dict.fromkeys(k for p in places for k in p) if len({p.get(k) for p in places}) > 1]
    same = [f"{k} {v}" for k, v in places[0].items() if k not in keys]
    yield from _wrapped("", f"{len(runs)} runs{', all of them: ' if same else ''}{', '.join(same)}")
    first = [_Column(["run"], [str(i + 1) for i in range(len(runs))])]
    first += [_Column([_clip(k, 10)], [_clip(p.get(k, ""), 14) for p in places], left=True) for k in keys]
    methods = dict.fromkeys(f.method for run in runs for f in run.findings)
    more = []
    for method in methods:
        found = [[f for f in run.findings if f.method == method] for run in runs]
        more.append(_Column(_head(method, sum(found, [])), [_cell(_worst(fs)) if fs else "" for fs in found]))
    more.append(_Column(["verdict"], [_word(run.verdict) for run in runs], left=True))
    more.append(_Column(["seconds"], [f"{run.seconds:.1f}" for run in runs]))
    yield from _table(first, more)


def _worst(findings: Sequence[Finding]) -> Finding:
    """The one with the worst verdict, and among those the one that is furthest off."""
    verdict = worst_verdict(f.verdict for f in findings)
    sign = -1 if findings[0].method == "taylor" else 1
    return max(
        (f for f in findings if f.verdict is verdict), key=lambda f: math.inf if math.isnan(f.error) else sign * f.error
    )


def _head(method: str, findings: Iterable[Finding]) -> list[str]:
    bounds = {limit(method, f.bound) for f in findings}
    return [*TITLES.get(method, method).split(), *(bounds if len(bounds) == 1 else ["own limit"])]


def _cell(finding: Finding) -> str:
    return f"{figure(finding.error)} {MARKS[finding.verdict]}"


def _word(verdict: Verdict) -> str:
    return "pass" if verdict is Verdict.PASS else str(verdict)


def _run_in_text(run: Run) -> Iterator[str]:
    yield ""
    if run.tensors:
        yield from _tensors(run)
    for tensor in dict.fromkeys([*(t.name for t in run.tensors), *(f.tensor for f in run.findings)]):
        yield from _what_is_no_pass(run, tensor)
    counted = "; ".join(_counted(run))
    yield from _wrapped("", f"counted: {counted}" if counted else "", before=True)
    for note in run.notes:
        yield from _wrapped("", f"note: {note}")


def _tensors(run: Run) -> Iterator[str]:
    found = {(f.method, f.tensor): f for f in run.findings}
    names = [t.name for t in run.tensors]
    first = [
        _Column(["tensor"], [_clip(name, 24) for name in names], left=True),
        _Column(["shape"], ["×".join(map(str, t.shape)) for t in run.tensors]),
        _Column(["‖g‖"], [figure(t.norm) for t in run.tensors]),
    ]
    more = []
    for method in dict.fromkeys(f.method for f in run.findings):
        own = [f for f in run.findings if f.method == method]
        cells = [_cell(found[method, name]) if (method, name) in found else "" for name in names]
        if any(cells):
            more.append(_Column(_head(method, own), cells))
    more.append(_Column(["verdict"], [_word(t.verdict) for t in run.tensors], left=True))
    yield from _table(first, more)


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
    yield from _wrapped("", f"{tensor}{verdict}{f': {why}' if why else ''}")
    for f in bad:
        aside = ", which does not decide" if f.method in ADVISORY else ""
        parts = [f"{f.verdict}{aside}", f"{figure(f.error)} where {limit(f.method, f.bound)} is asked"]
        if f.worst is not None:
            name, position, analytic, numeric = f.worst
            parts.append(f"{name}{list(map(int, position))} is {analytic:.9g} analytic, {numeric:.9g} numeric")
        parts += [f.reason] if f.reason else []
        yield from _wrapped("  ", f"{TITLES.get(f.method, f.method)}: {'; '.join(parts)}")


def _counted(run: Run) -> Iterator[str]:
    """What every method counted over all tensors, and how much it looked at where that is not all."""
    sizes = {t.name: math.prod(t.shape) for t in run.tensors}
    for method in dict.fromkeys(f.method for f in run.findings):
        own = [f for f in run.findings if f.method == method]
        sums: dict[str, int] = {}
        for f in own:
            for what, count in f.counts.items():
                sums[what] = sums.get(what, 0) + int(count)
        parts = [f"{count:,} {what}" for what, count in sums.items() if count]
        checked, there = sum(f.checked for f in own), sum(sizes.get(f.tensor, 0) for f in own)
        if method in (*DECISIVE, *ADVISORY) and 0 < checked < there:  # the others count draws and steps
            parts.append(f"{checked:,} of {there:,} elements sampled")
        if parts:
            yield f"{TITLES.get(method, method)} {', '.join(parts)}"


def _clip(text: str, width: int) -> str:
    """On one line, and with its middle left out where it is too long."""
    text = _clean(text)
    return text if len(text) <= width else f"{text[: width // 2]}…{text[width // 2 + 1 - width :]}"


def _clean(text: str) -> str:
    """No line breaks, tabs or terminal codes: names and reasons are other people's."""
    return "".join(c if c.isprintable() else " " for c in text)


def _wrapped(indent: str, text: str, before: bool = False) -> list[str]:
    lines = textwrap.wrap(
        _clean(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
    return ["", *lines] if before and lines else lines
