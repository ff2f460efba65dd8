"""Write the results as Markdown."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from statistics import geometric_mean, median

import checking
from contenders import LARGE, NETS, SIX, SMALL, steps_in
from harness import THREADS, ratio
from stepping import RATIOS, TO_PRODUCTS

LIBRARIES = ("numpy", "numba", "torch", "jax", "optax", "scikit-learn", "nerva-numpy", "xbackprop")
FELL = 1.2  # a ratio is named if it is smaller than the published one by more than this factor


def machine() -> str:
    """Describe the machine and the versions of the libraries that were measured."""
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return f"{_processor()}, {THREADS} threads for each, no GPU; Python {platform.python_version()}, " + ", ".join(
        versions
    )


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def times(results: dict) -> str:
    """Write the table of microseconds per step, with the number of steps in a timed epoch."""
    names = list(dict.fromkeys(name for found in results.values() for name in found["microseconds"]))
    lines = ["| net | batch | steps of an epoch | " + " | ".join(names) + " |", "|---" * (len(names) + 3) + "|"]
    for net, found in results.items():
        cells = [f"{found['microseconds'][name]:,.0f}" if name in found["microseconds"] else "" for name in names]
        lines.append(f"| {net} | {NETS[net][1]} | {steps_in(NETS[net][0])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(results: dict) -> str:
    """Write the tables of speed-ups, with the range of the runs and geometric means, and of bare products."""
    names = [name for name in (*RATIOS, *TO_PRODUCTS) if any(name in found["ratios"] for found in results.values())]
    lines = ["| net | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for net, found in results.items():
        lines.append(f"| {net} | " + " | ".join(_cell(found["ratios"].get(name, [])) for name in names) + " |")
    for title, nets in (("all eight", list(NETS)), ("the six", SIX), ("small three", SMALL), ("large three", LARGE)):
        if all(net in results for net in nets):
            cells = [_mean([results[net]["ratios"].get(name, []) for net in nets]) for name in names]
            lines.append(f"| geometric mean, {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: list[list[float]]) -> str:
    """Write the geometric mean of the medians, if no net is missing."""
    return f"{geometric_mean(map(median, values)):.2f}" if all(values) else ""


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else ""
    return f"{median(values):.2f}{spread}"


def compared(found: dict, published: dict) -> tuple[str, bool]:
    """Write all ratios beside the published ones; return this table, and whether one is worse by more than a fifth."""
    lines = ["| dtype, net, ratio | published | now | |", "|---|---|---|---|"]
    fell = False
    for dtype, results in found.items():
        for net, result in results.items():
            for name, values in result["ratios"].items():
                was = median(published.get(dtype, {}).get(net, {"ratios": {}})["ratios"].get(name, [0.0]))
                now = median(values)
                worse = was > 0 and (now * FELL < was if name in RATIOS else now > was * FELL)
                fell |= worse
                lines.append(f"| {dtype}, {net}, {name} | {was:.2f} | {now:.2f} | {'fell' if worse else ''} |")
    return "\n".join(lines), fell


def checks(rounds: int) -> str:
    """Write the sentence on the time of the paper's gradient check."""
    theirs, ours = checking.compare(rounds)
    return (
        f"The paper's check of a 64-32-10 net on 10 samples: {median(theirs):.3f} s by the paper's loop, "
        f"{median(ours):.3f} s in stacks, {ratio(theirs, ours):.1f} times faster."
    )
