"""Every benchmark, side by side, three times over; writes docs/benchmarks.md. `nox -s bench`, or `-- --quick`."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from statistics import geometric_mean, median

import checking
from contenders import LARGE, NETS, SMALL, products, sklearn_epoch, torch_epoch, xbackprop_epoch
from harness import THREADS, ratio, take_turns, write

#: What is divided by what, per net.
RATIOS = {
    "NumPy vs scikit-learn": ("scikit-learn", "NumPy"),
    "NumPy vs torch autograd": ("torch autograd", "NumPy"),
    "torch vs torch autograd": ("torch autograd", "torch"),
    "SGD vs products": ("NumPy SGD", "products"),
}


def contenders(net: str) -> dict:
    return {
        "NumPy": partial(xbackprop_epoch, net, "numpy", "adam"),
        "torch": partial(xbackprop_epoch, net, "torch", "adam"),
        "scikit-learn": partial(sklearn_epoch, net),
        "torch autograd": partial(torch_epoch, net),
        "NumPy SGD": partial(xbackprop_epoch, net, "numpy", "sgd", 0.0),
        "products": partial(products, net, "numpy"),
    }


def import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def measure(runs: int, rounds: int) -> tuple[dict, dict]:
    """Microseconds per step, and ratios, of every net: medians of the runs' medians, with the runs' range."""
    microseconds: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, list[float]]] = {net: {name: [] for name in RATIOS} for net in NETS}
    for net in NETS:
        seconds = take_turns(contenders(net), runs * rounds)
        for first in range(0, runs * rounds, rounds):
            run = {name: values[first : first + rounds] for name, values in seconds.items()}
            for name, (slow, fast) in RATIOS.items():
                ratios[net][name].append(ratio(run[slow], run[fast]))
        microseconds[net] = {name: median(values) * 1e6 for name, values in seconds.items()}
        print(net, {k: round(v) for k, v in microseconds[net].items()}, ratios[net], flush=True)
    return microseconds, ratios


def report(microseconds: dict, ratios: dict, runs: int) -> str:
    names = list(next(iter(microseconds.values())))
    lines = [
        f"{platform.machine()}, {THREADS} cores, no GPU; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "scikit-learn", "xbackprop"))
        + f"; float32; medians of {runs} runs.",
        "",
        "Microseconds per training step:",
        "",
        "| net | batch | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
        *(
            f"| {net} | {NETS[net][1]} | " + " | ".join(f"{microseconds[net][n]:,.0f}" for n in names) + " |"
            for net in NETS
        ),
        "",
        "How many times faster, and in brackets the range of the runs:",
        "",
        "| net | " + " | ".join(RATIOS) + " |",
        "|---" * (len(RATIOS) + 1) + "|",
    ]
    for net in NETS:
        cells = [f"{median(v):.2f} ({min(v):.2f}–{max(v):.2f})" for v in ratios[net].values()]
        lines.append(f"| {net} | " + " | ".join(cells) + " |")
    for title, nets in (("all six", list(NETS)), ("small three", SMALL), ("large three", LARGE)):
        means = [geometric_mean(median(ratios[net][name]) for net in nets) for name in RATIOS]
        lines.append(f"| geometric mean, {title} | " + " | ".join(f"{m:.2f}" for m in means) + " |")
    theirs, ours = checking.compare(5 * runs)
    faster = ratio(theirs, ours)
    imports = [(import_seconds("numpy"), import_seconds("xbackprop")) for _ in range(5 * runs)]
    lines += [
        "",
        f"The paper's check of a 64-32-10 net on 10 samples: {median(theirs):.3f} s by the paper's loop, "
        f"{median(ours):.3f} s in stacks, {faster:.1f} times faster.",
        "",
        f"`import numpy` {median(a for a, _ in imports) * 1e3:.0f} ms, `import xbackprop` "
        f"{median(b for _, b in imports) * 1e3:.0f} ms, {median(b / a for a, b in imports):.2f} times.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short run, printed and not written")
    quick = parser.parse_args().quick
    runs, rounds = (1, 3) if quick else (3, 5)
    text = report(*measure(runs, rounds), runs)
    print(text)
    if not quick:
        write(text, "measured")
