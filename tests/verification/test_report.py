"""The report: its text, its JSON, its pictures and its page, on reports made up here."""

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import (
    FAIL,
    FAILING,
    INCONCLUSIVE,
    METHODS,
    NASTY,
    PASSING,
    PLACE,
    REPORTS,
    SHAPES,
    SIGN,
    finding,
    make_report,
    make_run,
    many,
    runs,
)

from xbackprop.display import drawing
from xbackprop.errors import BackendError
from xbackprop.verification.findings import Curves, Element, Run, TensorSummary
from xbackprop.verification.report.report import Report


@pytest.fixture(params=REPORTS)
def report(request):
    return REPORTS[request.param]


# --- text -------------------------------------------------------------------------------------------------------------


@given(runs=st.lists(runs(), max_size=6), name=st.text(max_size=200))
def test_text_fits_a_terminal_and_says_pass_of_a_pass_alone(runs, name):
    tensors = [TensorSummary(name, (2, 3), math.nan, math.inf, FAIL, name, Element(name, (1, 2), 1e300, -1e-300))]
    found = [finding("oracle", name, FAIL, worst=tensors[0].worst)]
    for report in (Report({"k": name}, runs, {}), Report({}, [*runs, Run({}, tensors, found, [name], 0, Curves(), 0)])):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 100
        assert max(map(len, report.to_text(80).splitlines())) <= 80
        assert all(line.isprintable() for line in lines)  # no terminal codes either
        if not report.passed and "PASS" not in name:
            assert "PASS" not in str(report)


def test_text_ends_with_the_verdict(report):
    end = " ".join(line.strip() for line in str(report).splitlines()[-3:])
    assert f"{report.verdict}: " in end
    assert end.endswith(f"; {report.seconds:.1f} s")


def test_text_of_a_failure_names_element_diagnosis_methods_and_notes():
    text = re.sub(r"\s+", " ", str(FAILING))
    worst = FAILING.runs[0].tensors[1].worst
    assert f"worst coefs_[1][1, 1], analytic {worst.analytic:.9g}, numeric {worst.numeric:.9g}" in text
    assert f"coefs_[1] FAIL: {SIGN}" in text
    for method in METHODS:
        assert f"{method} says fail" in text
    assert "28 crossed" in text
    assert "8 of 43 elements sampled" in text
    assert "the oracle needs torch" in text
    assert text.endswith("FAIL: the gradient is wrong in coefs_[1], by complex step, differences, Taylor, dot product, "
                         "oracle; 0.2 s")  # fmt: skip


def test_many_runs_are_a_line_each_and_only_bad_ones_are_shown_whole():
    for report, shown in ((many(), []), (many([3, 7]), ["run 4:", "run 8:"])):
        text = str(report)
        assert len(re.findall(r"^ *\d+  (?:numpy|torch) 2\.4\.6  ", text, re.MULTILINE)) == 12
        assert re.findall(r"^run \d+:", text, re.MULTILINE) == shown
        assert "note on" in text


def test_what_a_pass_rests_on_is_said():
    assert PASSING.summary.startswith("PASS: 4 tensors, 8 of 43 elements, complex step, differences, Taylor")
    half = make_run()
    weaker = [
        replace(f, verdict=INCONCLUSIVE) if f.method == "taylor" and "coefs" in f.tensor else f for f in half.findings
    ]
    report = make_report(replace(half, findings=weaker))
    assert report.passed
    assert "Taylor (2 of 4)" in report.summary
    assert "cupy" in str(REPORTS["not run"])


# --- JSON -------------------------------------------------------------------------------------------------------------


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_json_is_strict_and_whole(report, tmp_path):
    path = tmp_path / "report.json"
    report.to_json(path)
    read = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert read == report.to_dict()
    assert (read["format"], read["verdict"], read["passed"]) == (1, report.verdict, report.passed)
    assert read["not_run"] == report.not_run
    assert read["verdicts"] == report.verdicts
    assert len(read["runs"]) == len(report.runs)
    for plain, run in zip(read["runs"], report.runs, strict=True):
        assert plain["verdict"] == run.verdict
        assert [t["name"] for t in plain["tensors"]] == [t.name for t in run.tensors]
        for told, f in zip(plain["findings"], run.findings, strict=True):
            assert (told["method"], told["tensor"], told["verdict"]) == (f.method, f.tensor, f.verdict)
            np.testing.assert_equal(float(told["error"]), f.error)
            assert told["counts"] == f.counts
            assert told["worst"] is None or told["worst"]["position"] == list(f.worst.position)


def test_json_writes_what_it_has_no_number_for_as_text(tmp_path):
    odd = replace(make_run(), paper_error=math.nan, seconds=np.float32(0.5))
    odd.tensors[0].analytic[:3] = math.inf, -math.inf, 0.25
    plain = make_report(odd).to_dict()["runs"][0]
    assert (plain["paper_error"], plain["seconds"]) == ("NaN", 0.5)
    assert plain["tensors"][0]["analytic"][:3] == ["Infinity", "-Infinity", 0.25]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["to_json", "to_html"])
def test_a_write_that_fails_leaves_what_was_there(write, tmp_path, monkeypatch):
    write = partial(getattr(Report, write), REPORTS["not run"])
    monkeypatch.setattr(drawing, "available", lambda: False)  # pictures take time
    target = tmp_path / "report"
    target.write_text("old")
    with monkeypatch.context() as broken:
        broken.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="the disk is full"):
            write(target)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write(folder)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "report")
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "report"]
    write(target)
    assert target.read_text("utf-8") != "old"


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="pictures need matplotlib")


def test_a_plot_has_three_labelled_panels(report, matplotlib, tmp_path):
    from matplotlib.figure import Figure

    settings = dict(matplotlib.rcParams)
    for number in range(min(len(report.runs), 2)):
        figure = report.plot(number)
        assert isinstance(figure, Figure)
        assert len(figure.axes) == 3
        assert all(axes.get_title(loc="left") and axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
        if report is FAILING:  # the one that is drawn; to draw the others too would take a minute
            figure.savefig(tmp_path / "report.png")
    assert dict(matplotlib.rcParams) == settings
    with pytest.raises(IndexError, match="counted from 0"):
        report.plot(len(report.runs))


def test_a_plot_shows_every_tensor_and_every_kind_of_difference(matplotlib):
    steps, taylor, scatter = FAILING.plot().axes
    assert {line.get_label() for line in steps.lines} >= {"central differences", "Richardson", "complex step"}
    assert any("1e-100" in text.get_text() for text in steps.texts)
    for axes in (taylor, scatter):
        assert {text.get_text() for text in axes.get_legend().get_texts()} == set(SHAPES)
    crowd = make_run(names=[f"{i}" for i in range(4)])
    crowd = replace(crowd, tensors=[replace(t, name=f"$\\bad_{i}") for i, t in enumerate(crowd.tensors * 5)])
    make_report(crowd).plot().draw_without_rendering()  # 20 tensors, of names that are no formulas


def test_without_matplotlib_a_plot_says_what_to_install_and_a_page_too(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match=re.escape("pip install matplotlib")):
        FAILING.plot()
    FAILING.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "pip install matplotlib" in page
    assert "<svg" not in page
    assert "FAIL" in page


# --- the page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A page taken apart: its ids, links and text. Tags must close in the order in which they open."""

    EMPTY = ("meta", "br", "img", "input", "hr", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.said = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_startendtag(self, tag, attrs):
        self.take(tag, attrs)

    def handle_starttag(self, tag, attrs):
        self.take(tag, attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def take(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src")]
        self.links += [m for _, value in attrs for m in re.findall(r"url\(([^)]*)\)", value or "")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def stub(draw, name, label, height=None):
    """Stands for `drawing.svg`, which takes a tenth of a second."""
    return f'<svg id="{name}" role="img" aria-label="{label}"></svg>'


def written(report, tmp_path):
    report.to_html(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text("utf-8")


def test_a_page_is_well_formed_and_stands_alone(report, tmp_path, monkeypatch):
    if report is not FAILING:
        monkeypatch.setattr(drawing, "svg", stub)
    text = written(report, tmp_path)
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "link" not in [tag for tag, _ in page.tags]
    assert not [attrs for tag, attrs in page.tags if tag == "script" and attrs]
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(["']?(?:https?:)?//|@import""", text)
    assert f"<h1>{report.verdict}</h1>" in text
    for number, run in enumerate(report.runs, 1):
        for i in range(1, len(run.tensors) + 1):
            assert page.ids.count(f"run-{number}-tensor-{i}") == 1
    said = " ".join(page.said)
    assert all(reason in said for reason in report.not_run.values())
    assert all(f.reason in said for run in report.runs for f in run.findings if f.tensor != "θ")


def test_a_page_is_the_same_each_time(tmp_path):
    assert written(FAILING, tmp_path) == written(FAILING, tmp_path)


def test_a_page_shows_text_of_others_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda draw, name, label, height=None: stub(draw, name, ""))
    run = make_run([NASTY], names=(NASTY, "coefs_[1]"), place={**PLACE, NASTY: NASTY})
    run = replace(run, notes=[NASTY], tensors=[replace(t, diagnosis=NASTY) for t in run.tensors])
    text = written(Report({NASTY: NASTY}, [run, run], {NASTY: NASTY}), tmp_path)
    page = Page(text)
    assert not [attrs for tag, attrs in page.tags if tag == "b" and "class" not in attrs]
    assert "<b>&" not in text
    assert page.said.count(NASTY) >= 8


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here to open the page in")
@pytest.mark.parametrize("name", ["failing", "one of twelve"])
def test_a_browser_shows_verdict_and_anchors(name, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "svg", stub)
    report = REPORTS[name]
    written(report, tmp_path)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = f"{(tmp_path / 'page.html').as_uri()}#run-1-tensor-1"
    probe = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=120)
    page = Page(probe.stdout[: probe.stdout.rindex("</html>") + 7])
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "FAIL" in page.said
    assert not [attrs for _, attrs in page.tags if "hidden" in attrs]
    target = next(attrs for _, attrs in page.tags if attrs.get("id") == "run-1-tensor-1")
    assert "open" in target  # the link has opened what it leads to
