"""Time contenders side by side: each in its own process, in turns, so that thread pools do not compete.

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
#: Variables that would set a library to the instructions or caches of another processor, or let each import compile its
#: source anew; libraries are timed without.
HELD = (
    "PYTHONDONTWRITEBYTECODE",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "XLA_FLAGS",
)
for variable in HELD:
    os.environ.pop(variable, None)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))


Setup = Callable[[], Callable[[], Any]]


def _serve(setup: Setup, pipe: Connection, own: bool) -> None:
    """Set up, then answer every request for a turn with its figure, or with the text of the error that it raised."""
    try:
        work = setup()
        work()
        pipe.send(0.0)
        while pipe.recv():
            time.sleep(PAUSE)
            work()  # so that caches and threads are as in the midst of training
            began = time.perf_counter()
            said = work()
            pipe.send(said if own else (time.perf_counter() - began) / said)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


class Contender:
    """A process that runs one contender. `reason` is the error that ended it, or empty while it takes turns."""

    def __init__(self, setup: Setup, own: bool) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        # no daemon, which could have no processes of its own; it ends when the pipe is closed
        self.process = spawn.Process(target=_serve, args=(setup, theirs, own))
        self.process.start()
        theirs.close()  # then the process holds the only other end: if it dies, `recv` raises and does not wait
        self.reason = ""

    def wait(self, patience: float | None) -> None:
        """Wait until it is set up, at most so many seconds."""
        if self.pipe.poll(patience):
            self._hear(self.pipe.recv)
        else:
            self.reason = f"it was not set up in {patience:.0f} s"
            self.process.kill()

    def turn(self) -> Any:
        """Ask for one turn and return its figure."""
        return self._hear(lambda: self.pipe.send(True) or self.pipe.recv())

    def close(self) -> None:
        """End the process."""
        if not self.reason:
            self._hear(lambda: self.pipe.send(False))
        self.process.join(2.0)
        if self.process.is_alive():  # waiting for processes of its own, which joblib keeps for the next task
            self.process.terminate()
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


def take_turns(
    contenders: dict[str, Setup], rounds: int, own: bool = False, limit: float | None = None
) -> dict[str, list[Any]]:
    """Return seconds per unit of work: one figure per contender and round; all contenders take a turn in every round.

    A contender that raises, because its library is missing for example, or whose process dies, is named on stderr with
    the reason and has no figures at all.

    own : whether the contender returns its own figure, or figures, of seconds that it has measured itself.
    limit : seconds, where the machine is lent: half of them for setting up, and no second round that would end later.
    """
    running = {name: Contender(setup, own) for name, setup in contenders.items()}
    began = time.monotonic()
    for contender in running.values():  # they set themselves up side by side, and are timed afterwards
        contender.wait(None if limit is None else max(0.0, began + limit / 2 - time.monotonic()))
    seconds: dict[str, list[Any]] = {name: [] for name in contenders}
    round_began = round_ended = time.monotonic()
    for _ in range(rounds):
        if limit is not None and 2 * round_ended - round_began > began + limit:  # if it takes as long as the last one
            break
        round_began = time.monotonic()
        for name, contender in running.items():
            if not contender.reason:
                seconds[name].append(contender.turn())  # text if it failed: then all its figures are dropped
        round_ended = time.monotonic()
    for name, contender in running.items():
        contender.close()
        if contender.reason:
            print(f"{name} is left out: {contender.reason}", file=sys.stderr, flush=True)
            del seconds[name]
    return seconds


def write(text: str, part: str, page: Path = PAGE) -> None:
    """Put a table into a page, docs/benchmarks.md, between the marks of its part."""
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    before = page.read_text()
    head, tail = before.split(begin)[0], before.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the speed-up of `fast`: the median of the rounds' ratios, in which a drift of the machine cancels."""
    return median(a / b for a, b in zip(slow, fast, strict=True))
