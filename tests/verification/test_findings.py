"""How the verdicts of methods combine to those of tensors, runs and reports."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from reports import FAIL, FINDINGS, INCONCLUSIVE, METHODS, PASS, VACUOUS, VERDICTS, finding, make_report, make_run, runs

from xbackprop.verification import findings
from xbackprop.verification.report.report import Report


@given(st.lists(runs(), max_size=6), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
def test_a_fail_anywhere_is_a_fail_and_what_was_not_run_is_no_pass(found, not_run):
    report = Report({}, found, not_run)
    failed = any(f.verdict is FAIL and f.by.role is not findings.Role.ADVISORY for run in found for f in run.findings)
    assert (report.verdict is FAIL) == failed
    assert report.passed == (report.verdict is PASS)
    if not found or not_run or any(run.verdict is not PASS for run in found):
        assert not report.passed
    if report.passed:
        assert all(t.verdict is PASS for run in found for t in run.tensors)
    for name, verdict in report.verdicts.items():
        assert verdict is findings.worst_verdict(t.verdict for run in found for t in run.tensors if t.name == name)


@given(st.lists(VERDICTS))
def test_the_worst_verdict_decides(verdicts):
    severity = [PASS, VACUOUS, INCONCLUSIVE, FAIL].index
    worst = findings.worst_verdict(verdicts)
    assert worst is (max(verdicts, key=severity) if verdicts else INCONCLUSIVE)


@given(FINDINGS)
def test_the_worst_finding_has_the_worst_verdict_and_of_those_is_furthest_from_its_bound(found):
    for method in METHODS:
        own = [f for f in found if f.method == method]
        worst = findings.worst_finding(own)
        assert (worst is None) == (not own)
        if own:
            assert worst.verdict is findings.worst_verdict(f.verdict for f in own)
            sign = -1 if method == "taylor" else 1
            errors = [math.inf if math.isnan(f.error) else sign * f.error for f in own if f.verdict is worst.verdict]
            assert math.isnan(worst.error) or sign * worst.error == max(errors)


@given(FINDINGS)
def test_no_tensor_passes_by_what_does_not_decide(found):
    aside = [f for f in found if f.method in ("taylor", "dot product", "paper")]
    assert findings.tensor_verdict(aside) is not PASS


def test_the_paper_alone_fails_nothing():
    run = make_run()
    aside = replace(run, findings=[*run.findings, finding("paper", "θ", FAIL)])
    assert make_report(aside).passed
