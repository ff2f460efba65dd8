"""Side-by-side timing: every contender in its own process, taking turns, so that thread pools do not fight.

A contender is a picklable callable that sets itself up and returns a function to be timed; that function returns
how many units of work (training steps, say) it has done.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

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


def _serve(setup: Callable[[], Callable[[], float]], pipe: Connection, own: bool) -> None:
    work = setup()
    work()
    pipe.send("ready")
    while pipe.recv():
        time.sleep(PAUSE)
        work()  # caches and threads as they are in the midst of training
        began = time.perf_counter()
        said = work()
        pipe.send(said if own else (time.perf_counter() - began) / said)


def take_turns(
    contenders: dict[str, Callable[[], Callable[[], float]]], rounds: int, own: bool = False
) -> dict[str, list[float]]:
    """Seconds per unit of work: for each contender one figure a round, all contenders in every round.

    own : the figure is what the contender says, seconds that it has measured itself.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, setup in contenders.items():
        pipes[name], theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(setup, theirs, own), daemon=True)
        process.start()
        pipes[name].recv()
        processes.append(process)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
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
