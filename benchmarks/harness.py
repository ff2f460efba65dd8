"""Side-by-side timing: every contender in its own process, taking turns, so that thread pools do not fight.

A contender is a picklable callable that sets itself up and returns a function to be timed; that function returns
how many units of work (training steps, say) it has done.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
THREADS = os.cpu_count() or 1
#: Seconds between turns: the threads of a BLAS spin for some 30 ms after its last product, on cores that others need.
PAUSE = 0.1
#: Libraries are measured as they come, and not held to the instructions or caches of another processor.
HELD = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY", "XLA_FLAGS")
for variable in HELD:
    os.environ.pop(variable, None)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))


Setup = Callable[[], Callable[[], float]]


def _serve(setup: Setup, pipe: Connection, own: bool) -> None:
    """Set up, then answer every request for a turn with its figure, or with the text of the error that it raised."""
    try:
        work = setup()
        work()
        pipe.send(0.0)
        while pipe.recv():
            time.sleep(PAUSE)
            work()  # caches and threads as they are in the midst of training
            began = time.perf_counter()
            said = work()
            pipe.send(said if own else (time.perf_counter() - began) / said)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


class Contender:
    """A process with one contender in it. `reason` is the text that says why it takes no more turns, or empty."""

    def __init__(self, setup: Setup, own: bool) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(setup, theirs, own), daemon=True)
        self.process.start()
        theirs.close()  # the only end that is left is in the process: when that dies, `recv` says so and does not wait
        self.reason = ""
        self._hear(self.pipe.recv)

    def turn(self) -> float:
        """The figure of one turn."""
        return self._hear(lambda: self.pipe.send(True) or self.pipe.recv())

    def close(self) -> None:
        """End the process."""
        if not self.reason:
            self._hear(lambda: self.pipe.send(False))
        self.process.join()

    def _hear(self, exchange: Callable[[], Any]) -> Any:
        try:
            answer = exchange()
        except (EOFError, OSError):  # the process has died, before the answer or before the question
            self.process.join()
            answer = f"its process ended with status {self.process.exitcode}"
        if isinstance(answer, str):
            self.reason = answer
        return answer


def take_turns(contenders: dict[str, Setup], rounds: int, own: bool = False) -> dict[str, list[float]]:
    """Seconds per unit of work: for each contender one figure a round, all contenders in every round.

    A contender that raises, for want of its library, say, or whose process dies, is named on stderr with the reason,
    and has no figures at all.

    own : the figure is what the contender says, seconds that it has measured itself.
    """
    running = {name: Contender(setup, own) for name, setup in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in running.items():
            if not contender.reason:
                seconds[name].append(contender.turn())  # the text of a reason, if it fails: then all of them go
    for name, contender in running.items():
        contender.close()
        if contender.reason:
            print(f"{name} is left out: {contender.reason}", file=sys.stderr, flush=True)
            del seconds[name]
    return seconds


def write(text: str, part: str) -> None:
    """Put a table into docs/benchmarks.md, between the marks of its part."""
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    page = PAGE.read_text()
    head, tail = page.split(begin)[0], page.split(end)[1]
    PAGE.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def ratio(slow: list[float], fast: list[float]) -> float:
    """How many times faster `fast` is: the median of the rounds' ratios, so that a drifting machine cancels."""
    return median(a / b for a, b in zip(slow, fast, strict=True))
