"""`run_methods` fails every wrong gradient of the campaign, and no right one."""

import importlib.util

import pytest
from campaign import BEGIN, END, Tally, table, write
from faults import EQUIVALENT, FAULTS
from networks import Setting, case_of, correct_network, settings
from planting import is_live, planted
from rules import RULES, host_functions, rejections

from xbackprop.verification.findings import Verdict
from xbackprop.verification.run import DEFAULT, run_methods

FIRST = ("complex step",)  # the quickest of the methods
CORRECT = 240
STRIDE = 40


def test_every_fault_has_a_name_of_its_own():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert set(EQUIVALENT) <= set(names)
    assert {fault.number for fault in FAULTS} == set(range(24))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_default_fails_every_live_fault(fault):
    survivors, equivalent = [], []
    for setting in settings(weighted=fault.weighted):
        case = case_of(setting)
        if not fault.concerns(case.objective):
            continue
        if not is_live(fault, case.objective, case.theta, case.batch):
            equivalent.append(str(setting))
            continue
        with planted(fault, case.objective) as faulty:
            verdict = default_verdict(faulty, case)
        if verdict is not Verdict.FAIL:
            survivors.append(f"{setting}: {verdict}")
    assert survivors == []
    assert bool(equivalent) == (fault.name in EQUIVALENT)


def default_verdict(objective, case):
    """The verdict of `run_methods`. One FAIL settles it, so the quickest method is asked before all of them are."""
    assert set(FIRST) <= set(DEFAULT)
    verdict = run_methods(objective, case.theta, case.batch, methods=FIRST).verdict
    return verdict if verdict is Verdict.FAIL else run_methods(objective, case.theta, case.batch).verdict


@pytest.mark.parametrize("first", range(0, CORRECT, STRIDE))
def test_the_default_fails_no_right_gradient(first):
    alarms = []
    for case in map(correct_network, range(first, first + STRIDE)):
        run = run_methods(case.objective, case.theta, case.batch)
        if run.verdict is Verdict.FAIL:
            alarms.append((case.what, [f for f in run.findings if f.verdict is Verdict.FAIL]))
    assert alarms == []


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch's gradcheck is one of the rules")
def test_every_rule_passes_a_right_gradient_and_rejects_a_wrong_sign():
    case = case_of(Setting("classification", "tanh", "λ=1e-3"))
    _, right = rejections(case.objective, case)
    with planted(FAULTS[0], case.objective) as faulty:
        _, wrong = rejections(faulty, case)
    assert tuple(right) == tuple(wrong) == RULES
    run = {rule for rule, verdict in right.items() if verdict is not None}
    assert not any(right.values())
    assert {rule for rule, verdict in wrong.items() if verdict} == run - {"dot product alone"}  # which sees no loss


def test_a_fault_leaves_the_cost_alone():
    case = case_of(Setting("regression", "gelu", "λ=1e-3"))
    right, _ = host_functions(case.objective, case)
    for fault in FAULTS:
        with planted(fault, case.objective) as faulty:
            assert host_functions(faulty, case)[0](case.theta) == right(case.theta), fault


def test_a_table_goes_between_the_markers_and_nowhere_else(tmp_path):
    tally = Tally()
    tally.plant(FAULTS[0], Setting("classification", "tanh", "λ=1e-3"))
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write(table(tally), page)
    assert page.read_text() == f"above\n{BEGIN}\n{table(tally)}\n{END}\nbelow\n"
    assert "| λ=1e-3, of 1 |" in table(tally)
