"""`Report`: the results of a verification, with methods that write text, JSON, pictures and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from xbackprop.files import write_atomically
from xbackprop.verification.findings import Element, Finding, Results, Verdict
from xbackprop.verification.report import page, plots
from xbackprop.verification.report.text import WIDTH, reason_of, report_in_text, summary_of

#: The version of the JSON file; it increases when a reader of the older form would misread the newer one.
FORMAT = 1


@dataclass(frozen=True, repr=False)
class Report(Results):
    """The result of `xbackprop.verify` and the other checks: `passed`, `verdict`, `verdicts`, and views of the rest.

    It is true if it has passed, so that ``assert check_gradient(...)`` asserts that.
    """

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        """Return the verdict and the diagnoses in one line, which pytest shows for an assertion that fails."""
        told = [f"{t.name}: {t.diagnosis}" for run in self.runs for t in run.tensors if t.diagnosis]
        if not told and not self.passed:
            told = [f"{f.tensor}: {f.reason}" for run in self.runs for f in run.findings if f.reason][:1]
        return f"<Report {'; '.join([self.summary, *told])}>"

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        return summary_of(self)

    @property
    def short(self) -> str:
        """The verdict, and for each tensor that failed its worst element by each method: some lines for a test."""
        lines = [f"{next(iter(self.header.values()), '')}: {self.verdict}: {reason_of(self)}"]
        for finding in (f for run in self.runs for f in run.findings if f.verdict not in ("PASS", "VACUOUS")):
            worst = finding.worst
            if worst is None or finding.verdict != "FAIL":
                lines.append(f"  {finding.tensor}: {finding.reason}")
                continue
            place = f"{worst.tensor}[{', '.join(map(str, worst.position))}]"
            lines.append(f"  {place} is {worst.analytic:.10g}, by {finding.method} {worst.numeric:.10g}")
        return "\n".join(dict.fromkeys(lines))

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = WIDTH) -> str:
        """Return the report as text for a terminal of this width."""
        return "\n".join(line.rstrip() for line in report_in_text(self, width))

    def to_dict(self) -> dict[str, Any]:
        """Return all results in the types of JSON: dictionaries, lists, text, numbers, None.

        Numbers that JSON does not have are text: "NaN", "Infinity", "-Infinity", which Python's `float` and
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
        write_atomically(Path(path), f"{text}\n".encode())

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write one HTML page that needs no other files, atomically; without matplotlib it has no pictures."""
        write_atomically(Path(path), page.page(self).encode(errors="replace"))

    def plot(self, run: int = 0) -> Any:
        """Draw the pictures of one run: error against step, Taylor remainders, analytic against numeric.

        Returns
        -------
        A matplotlib `Figure` with three axes, without a window; a notebook shows it.

        Raises
        ------
        BackendError : if matplotlib is not installed. IndexError : if there is no such run.
        """
        if not -len(self.runs) <= run < len(self.runs):
            raise IndexError(f"Report.plot: run must be one of {len(self.runs)}, counted from 0, got {run}")
        tensors = self.runs[run].tensors
        return plots.picture(self.runs[run].curves, tensors, [t.name for t in tensors if t.verdict is Verdict.FAIL])


def _fields(thing: Any) -> dict[str, Any]:
    named = {f.name: getattr(thing, f.name) for f in fields(thing)}
    return {"method": named.pop("by").name, **named} if isinstance(thing, Finding) else named


def _plain(thing: Any) -> Any:
    """Convert to the types of JSON: NumPy's numbers to Python's, sequences to lists."""
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
