"""Measure the time of an import, and the disk space of a library with all that it requires."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from statistics import median

MODULES = {"numpy": "numpy", "xbackprop": "xbackprop", "numba": "numba", "scikit-learn": "sklearn.neural_network",
           "torch": "torch", "jax": "jax"}  # fmt: skip


def import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def required(name: str) -> set[str]:
    """Return the distributions that `pip install name` installs, by their declared requirements, without extras."""
    found: set[str] = set()
    left = [name]
    while left:
        one = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if one in found:
            continue
        try:
            wanted = distribution(one).requires or []
        except PackageNotFoundError:  # required on another system or Python only
            continue
        found.add(one)
        left += [re.split(r"[^\w.-]", line)[0] for line in wanted if "extra ==" not in line]
    return found


def megabytes(name: str) -> float:
    """Return the size of the files of `name` and its requirements."""
    files = {file.locate() for one in required(name) for file in distribution(one).files or []}
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure(rounds: int) -> str:
    """Time imports in turns; return the table, with each time as a multiple of NumPy's."""
    seconds: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(rounds):
        for name, module in MODULES.items():
            seconds[name].append(import_seconds(module))
    lines = ["| | import, ms | times NumPy's | installed, MB, with all it requires |", "|---|---|---|---|"]
    for name, values in seconds.items():
        times = median(a / b for a, b in zip(values, seconds["numpy"], strict=True))
        lines.append(f"| {name} | {median(values) * 1e3:.0f} | {times:.2f} | {megabytes(name):,.0f} |")
    return "\n".join(lines)
