"""The campaign: every fault in every setting before every rule, and correct networks before the same rules.

python tests/mutation/campaign.py            all of it, in minutes; prints the table
python tests/mutation/campaign.py --quick    two activations and 40 correct networks
python tests/mutation/campaign.py --write    puts the table into docs/verification.md
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, as pytest has it

import numpy as np
from faults import EQUIVALENT, FAULTS
from networks import ALL, REGIMES, SAMPLES, SIZES, Setting, case_of, correct_network, settings
from planting import LIVE, Fault, is_live, planted
from rules import COMBINED, RULES, rejections

from xbackprop.verification.findings import Role, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"
BEGIN, END = "<!-- campaign -->", "<!-- /campaign -->"
CORRECT = 1000
QUICK = (("tanh", "gelu"), 40)


class Tally:
    """What the rules did, counted."""

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()  # by regime
        self.equivalent: Counter[str] = Counter()  # by fault
        self.killed: dict[str, Counter[str]] = defaultdict(Counter)  # by rule, then by regime
        self.not_run: dict[str, Counter[str]] = defaultdict(Counter)
        self.survivors: dict[str, list[str]] = defaultdict(list)  # of the default combination, by fault and verdict
        self.correct: Counter[str] = Counter()  # verdicts of `run_methods` on correct networks
        self.alarms: Counter[str] = Counter()  # by rule
        self.alarmed: list[str] = []  # by the default combination

    def plant(self, fault: Fault, setting: Setting) -> None:
        """One fault in one setting."""
        case = case_of(setting)
        if not fault.concerns(case.objective):
            return
        if not is_live(fault, case.objective, case.theta, case.batch):
            self.equivalent[fault.name] += 1
            return
        self.live[setting.regime] += 1
        with planted(fault, case.objective) as faulty:
            run, rejected = rejections(faulty, case)
        for rule, verdict in rejected.items():
            self.killed[rule][setting.regime] += verdict is True
            self.not_run[rule][setting.regime] += verdict is None
        if not rejected[COMBINED]:
            self.survivors[f"{fault}: {run.verdict}"].append(str(setting))

    def release(self, seed: int) -> None:
        """One correct network."""
        case = correct_network(seed)
        run, rejected = rejections(case.objective, case)
        self.correct[run.verdict] += 1
        for rule, verdict in rejected.items():
            self.alarms[rule] += verdict is True
            self.not_run[rule]["correct"] += verdict is None
        if rejected[COMBINED]:
            failed = [f for f in run.findings if f.verdict is Verdict.FAIL and f.by.role is not Role.ADVISORY]
            why = {f"{f.method} on {f.tensor}" for f in failed}
            self.alarmed.append(f"{case.what}: {', '.join(sorted(why))}")


def run(activations: Iterable[str], correct: int) -> Tally:
    """The campaign on these activations and that many correct networks."""
    tally = Tally()
    for i, fault in enumerate(FAULTS, 1):
        print(f"{i}/{len(FAULTS)} {fault}", file=sys.stderr)
        for setting in settings(tuple(activations), weighted=fault.weighted):
            tally.plant(fault, setting)
    for seed in range(correct):
        tally.release(seed)
    return tally


def table(tally: Tally) -> str:
    """The counts in Markdown."""

    def cell(count: int, missing: int) -> str:
        return f"{count} ({missing} not run)" if missing else str(count)

    correct = sum(tally.correct.values())
    lines = [
        f"| rule | {' | '.join(f'{r}, of {tally.live[r]:,}' for r in REGIMES)} | false alarms, of {correct} |",
        f"|---|{'---:|' * (len(REGIMES) + 1)}",
    ]
    for rule in RULES:
        cells = [cell(tally.killed[rule][r], tally.not_run[rule][r]) for r in REGIMES]
        lines.append(f"| {rule} | {' | '.join(cells)} | {cell(tally.alarms[rule], tally.not_run[rule]['correct'])} |")
    return "\n".join(lines)


def account(tally: Tally, activations: Iterable[str]) -> str:
    """The table, and how it was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "jax"))
    equivalent = ";\n".join(f'"{name}", {n}: {EQUIVALENT[name]}' for name, n in tally.equivalent.items())
    others = {v: tally.correct[v] for v in (Verdict.INCONCLUSIVE, Verdict.VACUOUS)}
    survivors = [f"{what} in {len(where)} networks, the first {where[0]}" for what, where in tally.survivors.items()]
    listed = "".join(f"\n- {what}" for what in (*survivors, *tally.alarmed))
    return f"""{table(tally)}

A number says how many wrong gradients the rule rejects, and in the last column how many right ones. {len(FAULTS)}
faults were planted in networks {"-".join(map(str, SIZES))} of {SAMPLES} samples, with each loss and with
{", ".join(activations)}; λ is α/n, and W×0.05 has λ=1e-3 and all weights scaled. A planted fault
counts if it moves some tensor of the gradient by more than {LIVE:g} of its largest element;
{sum(tally.equivalent.values())} move none:
{equivalent}.

The right gradients belong to {sum(tally.correct.values())} networks drawn at random: none to three hidden layers, all
activations, weights between vanishing and saturated, units exactly at a kink, dead units, data that are fitted,
weights of zero. Of these, `run_methods` calls {others[Verdict.VACUOUS]} VACUOUS, zero on both sides, and
{others[Verdict.INCONCLUSIVE]} INCONCLUSIVE.

The paper verbatim is eq. 17 and 18 with ε = 1e-5 and the bound 1e-7, and kinks are nothing special to it. torch and
jax were called themselves, with their own steps and tolerances, on the same C(θ) and the same gradient, in float64.
xbackprop {version("xbackprop")}, {versions}; `python tests/mutation/campaign.py --write` measures it again.

{"What `run_methods` passes although it is wrong, or fails although it is right:" if listed else
 "`run_methods` passes none of the wrong gradients, and fails none of the right ones."}{listed}"""  # fmt: skip


def version(package: str) -> str:
    """The installed version of a distribution."""
    return importlib.metadata.version(package)


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the markers of the page, and leave the rest of the page alone."""
    old = page.read_text() if page.exists() else f"# Verification\n\n{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two activations and 40 correct networks")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    options = parser.parse_args()
    activations, correct = QUICK if options.quick else (ALL, CORRECT)
    np.seterr(over="ignore")
    tally = run(activations, correct)
    text = account(tally, activations)
    print(text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
