"""The benchmarks' harness: contenders take turns, and one that cannot take part is named and left out."""

import json
import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
#: In a process of its own: the harness sets variables of the environment, and starts processes that run this file.
SCRIPT = f"""
import json, os, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
from harness import take_turns

def counting(step=1):
    turns = []
    def work():
        turns.append(step)
        return len(turns)
    return work

def missing():
    import a_library_that_nobody_has

def killed():
    os.kill(os.getpid(), 9)

def in_a_turn(harm):
    turns = []
    def work():
        turns.append(1)
        if len(turns) > 4:  # the first call, and two calls a turn
            harm()
        return 1
    return work

def killed_in_a_turn():
    return in_a_turn(killed)

def failing_in_a_turn():
    return in_a_turn(lambda: 1 / 0)

if __name__ == "__main__":
    contenders = [counting, missing, killed, killed_in_a_turn, failing_in_a_turn]
    print(json.dumps(take_turns({{f.__name__: f for f in contenders}}, 3, own=True)))
"""


def test_a_contender_that_cannot_take_part_is_named_and_left_out(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"counting": [3, 5, 7]}  # every turn warms up with one call and times the next
    said = dict(line.split(" is left out: ") for line in done.stderr.splitlines())
    assert said == {
        "missing": "ModuleNotFoundError: No module named 'a_library_that_nobody_has'",
        "killed": "its process ended with status -9",
        "killed_in_a_turn": "its process ended with status -9",
        "failing_in_a_turn": "ZeroDivisionError: division by zero",
    }


SLOW = f"""
import json, sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from harness import take_turns

def quick():
    return lambda: 1

def never_ready():
    time.sleep(60)

def slow_turns():
    def work():
        time.sleep(0.5)
        return 1
    return work

if __name__ == "__main__":
    contenders = {{f.__name__: f for f in [quick, never_ready, slow_turns]}}
    print(json.dumps(take_turns(contenders, 20, limit=8.0)))
"""


def test_on_a_lent_machine_nobody_is_waited_for_and_the_last_round_ends_in_time(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SLOW)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20.0
    found = json.loads(done.stdout)
    assert found.keys() == {"quick", "slow_turns"}
    assert 1 <= len(found["quick"]) < 20
    assert "never_ready is left out: it was not set up in" in done.stderr
