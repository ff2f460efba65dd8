"""Run every benchmark and write docs/benchmarks.md, its plots and docs/benchmarks.json; `nox -s bench` calls it.

--quick : run few rounds, and print the tables without writing them. --compare : compare new ratios with the published
ones, and write nothing. --net NAME, --dtype NAME : run only these.
"""

from __future__ import annotations

import argparse
import json
import sys

import digits
import footprint
import plots
from contenders import NETS
from harness import PAGE, write
from stepping import measure
from tables import checks, compared, machine, ratios, times

PUBLISHED = PAGE.with_suffix(".json")
RUNS, ONCE = (3, 2), (1, 3)  # runs, and the rounds of each


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--net", choices=list(NETS), action="append")
    parser.add_argument("--dtype", choices=["float32", "float64"], action="append")
    args = parser.parse_args()
    quick = args.quick or args.compare
    nets, dtypes = args.net or list(NETS), args.dtype or ["float32", "float64"]
    if args.compare:
        dtypes = args.dtype or ["float32"]
    found = {}
    for dtype in dtypes:
        once = quick or dtype == "float64"
        found[dtype] = measure(nets, dtype, *ONCE if once else RUNS)
    for dtype, results in found.items():
        print(f"\n{dtype}\n\n{times(results)}\n\n{ratios(results)}\n", flush=True)
    if args.compare:
        text, fell = compared(found, json.loads(PUBLISHED.read_text())["steps"])
        print(text)
        return int(fell)
    others = {"digits": digits.measure(3 if quick else 7), "footprint": footprint.measure(3 if quick else 15)}
    print(others["digits"], others["footprint"], sep="\n\n")
    if quick or args.net or args.dtype:
        return 0
    write(f"{machine()}\n\nMicroseconds per training step, float32:\n\n{times(found['float32'])}", "times")
    write(ratios(found["float32"]), "measured")
    write(f"{times(found['float64'])}\n\n{ratios(found['float64'])}", "float64")
    write(others["digits"], "digits")
    write(f"{checks(15)}\n\n{others['footprint']}", "footprint")
    PUBLISHED.write_text(json.dumps({"machine": machine(), "steps": found}, indent=1) + "\n")
    plots.draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
