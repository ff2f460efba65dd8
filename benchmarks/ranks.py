"""Time one network on several processes of this machine beside one process and torch's DDP; see what a sum takes.

`--rounds N`, `--write` puts the tables into docs/many-machines.md. A job is started for each figure, and contenders
take turns; a rank has one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from harness import THREADS as CORES
from harness import write
from rank_worker import NETS

from xbackprop.nn.parameters import Layout

WORKER = Path(__file__).with_name("rank_worker.py")
PAGE = Path(__file__).parent.parent / "docs" / "many-machines.md"
WIDE = "1024-2048-2048-1024-10"
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHERS = {
    "none": [sys.executable],
    "mpi": ["mpiexec", "--bind-to", "none", "-n", "{n}", sys.executable],
    "torch": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "{n}"],
}
#: A cluster's network: seconds of a message, bytes per second (100 Gbit/s); and ranks to predict the time of.
LATENCY, BANDWIDTH, RANKS = 3e-5, 12.5e9, (2, 8, 64, 512)


def job(kind: str, communicator: str, backend: str, net: str, threads: int, n: int) -> Any:
    """Start a job and return the figure of its first rank."""
    launcher = [word.format(n=n) for word in LAUNCHERS[communicator]]
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [*launcher, str(WORKER), kind, communicator, backend, net, str(threads)],
        env={**variables, **ENVIRONMENT}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(contenders: dict[str, tuple[Any, ...]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, arguments in contenders.items():
            found[name].append(job(*arguments))
    return found


def middle(slow: list[float], fast: list[float]) -> str:
    """Say the ratio of the speeds, the median over the rounds, and its least and most."""
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def wide(rounds: int) -> str:
    contenders = {
        f"one process, {CORES} threads": ("train", "none", "numpy", WIDE, CORES, 1),
        "MPI, 2 ranks": ("train", "mpi", "numpy", WIDE, 1, 2),
        "gloo, 2 ranks": ("train", "torch", "numpy", WIDE, 1, 2),
        "gloo, 2 ranks, torch's backend": ("train", "torch", "torch", WIDE, 1, 2),
        "torch DDP, gloo, 2 ranks": ("ddp", "torch", "torch", WIDE, 1, 2),
        "one process, 1 thread": ("train", "none", "numpy", WIDE, 1, 1),
    }
    found = in_turns(contenders, rounds)
    first, *_ = found.values()
    lines = [f"| {WIDE}, batch {NETS[WIDE][1]}, float32 | ms per step | speed, of one process with {CORES} threads |",
             "|---|---|---|"]  # fmt: skip
    lines += [f"| {name} | {1e3 * median(took):.0f} | {middle(first, took)} |" for name, took in found.items()]
    ours, theirs = found["gloo, 2 ranks, torch's backend"], found["torch DDP, gloo, 2 ranks"]
    lines += ["", f"With gloo, on torch's tensors, the speed is {middle(theirs, ours)} times that of torch's DDP."]
    ratios = sorted(job("overhead", "mpi", "numpy", WIDE, 1, 1))
    over = f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    lines += [f"A communicator of one rank makes a step {over} times as long, fits taking turns in one process."]
    return "\n".join(lines)


def sizes(rounds: int) -> str:
    contenders = {}
    for net in NETS:
        contenders[net, "one"] = ("train", "none", "numpy", net, 1, 1)
        contenders[net, "threads"] = ("train", "none", "numpy", net, CORES, 1)
        contenders[net, "ranks"] = ("train", "mpi", "numpy", net, 1, 2)
    found = in_turns(contenders, rounds)
    lines = [
        "| net | batch | ms per step, one thread | 2 ranks of one thread | one process, 2 threads |",
        "|---|---|---|---|---|",
    ]
    for net, (_, batch, _) in NETS.items():
        one, threads, ranks = (found[net, how] for how in ("one", "threads", "ranks"))
        lines.append(f"| {net} | {batch} | {1e3 * median(one):.2f} | {middle(one, ranks)} | {middle(one, threads)} |")
    return "\n".join(lines)


def sums() -> str:
    ours, gloo = job("reduction", "mpi", "numpy", WIDE, 1, 2), job("reduction", "torch", "numpy", WIDE, 1, 2)
    lines = ["| float32 numbers | MPI, ms | mpi4py's `Allreduce` alone | ratio | gloo, ms |", "|---|---|---|---|---|"]
    for (n, mine, alone), (_, by_gloo) in zip(ours, gloo, strict=True):
        own, other, third = 1e3 * mine, 1e3 * alone, 1e3 * by_gloo
        lines.append(f"| {n:,} | {own:.2f} | {other:.2f} | {mine / alone:.2f} | {third:.2f} |")
    return "\n".join(lines)


def predicted(step: float, update: float, parameters: int, ranks: int, *, growing: bool) -> float:
    """Return the seconds of a step on so many ranks; `growing` : whether the batch grows with them.

    The products are divided by the ranks, the update is not; a ring sends 2 (R-1)/R of the gradient through each rank.
    """
    products = (step - update) / (1 if growing else ranks)
    sent = 2 * (ranks - 1) / ranks * 4 * parameters
    return products + update + LATENCY * math.ceil(math.log2(ranks)) + sent / BANDWIDTH


def model(step: float, update: float) -> str:
    parameters = Layout(NETS[WIDE][0]).n_parameters
    lines = ["| ranks | efficiency, batch of 512 on each rank | efficiency, batch of 512 in all |", "|---|---|---|"]
    for ranks in RANKS:
        weak = step / predicted(step, update, parameters, ranks, growing=True)
        strong = step / ranks / predicted(step, update, parameters, ranks, growing=False)
        lines.append(f"| {ranks} | {weak:.2f} | {strong:.2f} |")
    known = f"On one thread here a step takes {1e3 * step:.0f} ms, of which the update takes {1e3 * update:.0f}."
    return "\n".join([*lines, "", known])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/many-machines.md")
    args = parser.parse_args()
    step, update = (job(kind, "none", "numpy", WIDE, 1, 1) for kind in ("train", "update"))
    parts = {
        "wide": lambda: wide(args.rounds), "sizes": lambda: sizes(args.rounds), "sums": sums,
        "model": lambda: model(step, update),
    }  # fmt: skip
    for part, measure in parts.items():
        text = measure()
        print(f"{text}\n", flush=True)
        if args.write:
            write(text, part, PAGE)


if __name__ == "__main__":
    main()
