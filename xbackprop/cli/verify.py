"""The command ``xbackprop verify``: check gradients on all backends, or of a saved network on given data."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class
from xbackprop.cli.devices import installed, parse_device
from xbackprop.cli.matrix import DTYPES, PARITY, Cell, matrix
from xbackprop.cli.matrix_table import MatrixTable
from xbackprop.cli.screen import clear_line, in_words, progress_line, terminal_width
from xbackprop.cli.tables import BUNDLED, read_dataset, read_features
from xbackprop.errors import BackendError
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.tensor_file import is_of_tables
from xbackprop.mlp.verify import verify
from xbackprop.validation import one_of
from xbackprop.verification.findings import Verdict
from xbackprop.verification.methods import METHODS
from xbackprop.verification.report.report import Report
from xbackprop.verification.report.text import WIDTH
from xbackprop.verification.run import DEFAULT, make_header

HELP = "verify gradients, on every backend or of a saved network"

#: Exit codes: everything passed; something failed; something was inconclusive (with `--strict`); something that was
#: asked for could not run.
PASSED, FAILED, UNDECIDED, NOT_RUN = 0, 1, 2, 3


def run(args: argparse.Namespace) -> int:
    """Print the report and write the files that were asked for; return one of the exit codes above."""
    try:
        if (args.net is None) != (args.data is None):
            raise ValueError("--net and --data go together: a saved network, and the samples to verify it on")
        for path in (args.json, args.html):  # checked before the work, not after it
            if path is not None and not path.parent.is_dir():
                raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
        methods, dtypes = _list(args.methods, "--methods", METHODS), _list(args.dtypes, "--dtypes", DTYPES)
        report = _matrix(args, methods, dtypes) if args.net is None else _network(args, methods, dtypes)
        if args.json is not None:
            report.to_json(args.json)
        if args.html is not None:
            report.to_html(args.html)
    except (ValueError, ImportError, OSError) as error:  # BackendError and ModelFileError are among them
        print(f"xbackprop verify: not run: {in_words(error)}", file=sys.stderr)
        return NOT_RUN
    if report.verdict is Verdict.FAIL:
        return FAILED
    if report.not_run or not report.runs:
        return NOT_RUN
    return UNDECIDED if args.strict and not report.passed else PASSED


def _network(args: argparse.Namespace, methods: list[str] | None, dtypes: list[str] | None) -> Report:
    """Verify the saved network of --net on samples of --data."""
    homes, not_run = _places(args.backends) if args.backends else ([], {})
    backends = [backend for _, backend in homes] if args.backends else None
    if is_of_tables(args.net):
        from xbackprop.cli.verify_table import verify_tabular

        report = verify_tabular(args, backends, methods, dtypes, progress_line())
    else:
        report = _single_network(args, backends, methods, dtypes)
    report = replace(report, header=_header(report, args), not_run={**report.not_run, **not_run})
    clear_line()
    print(report.to_text(min(terminal_width(), WIDTH)))
    return report


def _single_network(
    args: argparse.Namespace, backends: list[Backend] | None, methods: list[str] | None, dtypes: list[str] | None
) -> Report:
    net = MLP.load(args.net)
    data = read_dataset(args.data, args.target, net.task)
    X = read_features(args.data, net.feature_names_in_, net.n_features_in_) if net.feature_names_in_ else data.X
    rows = np.sort(np.random.RandomState(args.seed).permutation(len(X))[: args.samples])
    return verify(
        net,
        X[rows],
        data.y[rows],
        methods=methods,
        backends=backends,
        dtypes=dtypes,
        thorough=args.thorough,
        seed=args.seed,
        pictures=args.html is not None,
        progress=progress_line(),
    )


def _header(report: Report, args: argparse.Namespace) -> dict[str, str]:
    """Return the head of the report with the files, the command and the date: what a reader of the page asks first."""
    files = {"model": args.net, "data": args.data} if args.net is not None else {}
    now = datetime.datetime.now(datetime.UTC)
    when = {"command": f"xbackprop {shlex.join(args.argv)}", "date": f"{now:%Y-%m-%d %H:%M} UTC"}
    return {**report.header, **files, **when}


def _matrix(args: argparse.Namespace, methods: list[str] | None, dtypes: list[str] | None) -> Report:
    """Verify small networks on every backend, and print each row of the table as soon as it is known."""
    aside = {b.name: b.reason for b in installed() if b.reason is not None}
    names = args.backends or ",".join(b.name for b in installed() if b.reason is None)
    homes, not_run = _places(names)
    asked = methods or [*DEFAULT, *(["differences"] if args.thorough else [])]
    shown = [m for name, m in METHODS.items() if name in asked and _is_here(m.needs)]
    table = MatrixTable([*shown, *([PARITY] if methods is None else [])], terminal_width())
    print(table.head())
    cells: list[Cell] = []
    how = {"dtypes": dtypes or DTYPES, "methods": methods, "thorough": args.thorough, "seed": args.seed}
    for device, backend in homes:
        for cell in matrix(backend, device, **how):
            cells.append(cell)
            print(table.row(cell), flush=True)
    runs = [run for cell in cells for run in cell.runs]
    header = make_header({"matrix": f"{len(cells)} cells, {len(runs)} gradients"}, args.seed)
    report = Report(header, runs, not_run)
    report = replace(report, header=_header(report, args))
    for name, reason in (aside if not args.backends else {}).items():
        print(f"not checked: {name}: {reason}")
    for line in _reasons(report):
        print(line)
    print(report.summary)
    return report


def _reasons(report: Report) -> Iterator[str]:
    """Yield the reasons why something is not a PASS or did not run, each once."""
    yield from dict.fromkeys(f"not run: {name}: {reason}" for name, reason in report.not_run.items())
    yield from dict.fromkeys(f"note: {note}" for run in report.runs for note in run.notes)
    for run in report.runs:
        if run.verdict is not Verdict.PASS:
            where = ", ".join(run.place[key] for key in ("backend", "device", "activation", "loss", "hidden", "dtype"))
            for tensor in run.tensors:
                if tensor.verdict is not Verdict.PASS:
                    found = [f for f in run.findings if f.tensor == tensor.name and f.verdict is tensor.verdict]
                    why = tensor.diagnosis or "; ".join(f"{f.method}: {f.reason}" for f in found)
                    yield f"{tensor.verdict}: {where}: {tensor.name}: {why}"
            for finding in run.findings:
                if finding.tensor == "θ" and finding.verdict is Verdict.FAIL:
                    yield f"FAIL: {where}: {finding.method}: {finding.reason}"


def _is_here(package: str) -> bool:
    return not package or importlib.util.find_spec(package) is not None


def _places(text: str) -> tuple[list[tuple[str, Backend]], dict[str, str]]:
    """Read backends as in "numpy,torch:cuda:1", by default on all their devices; return them, and the missing ones."""
    found: list[tuple[str, Backend]] = []
    not_run: dict[str, str] = {}
    for item in text.split(","):
        name, _, device = item.strip().partition(":")
        try:
            kind = backend_class(name)
            for each in [device] if device else kind.devices():
                found.append((each, kind(device=parse_device(each))))  # type: ignore[call-arg]
        except BackendError as error:
            not_run[f"backend {item}"] = str(error)
    return found, not_run


def _list(text: str | None, option: str, known: Iterable[str]) -> list[str] | None:
    """Read names out of `known`, as in "complex-step,taylor"; None stays None."""
    if text is None:
        return None
    names = (name.strip().replace("-", " ").replace("_", " ") for name in text.split(","))
    return [one_of("verify", option, name, known) for name in names]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options for the network and the data, the extent of the checks, and the files of the report."""
    parser.epilog = "exit code: 0 if all passed, 1 if one failed, 2 if undecided under --strict, 3 if not run"
    add = parser.add_argument
    add("--net", metavar="MODEL", help="a file that train wrote, to be verified on --data; without it, the matrix")
    add("--data", metavar="DATA", help=f"a CSV file, or a data set of scikit-learn's: {', '.join(BUNDLED)}")
    add("--target", metavar="COLUMN", help="the column of --data that the network predicts")
    add("--no-header", action="store_true", help="of a model for tables: columns are called 1, 2, …")
    add("--samples", type=int, metavar="N", default=200, help="rows of --data, drawn at random (default %(default)s)")
    add(
        "--backends",
        metavar="NAMES",
        help="as in numpy,torch:cuda:1 (default: all; with --net, NumPy)",
    )
    names = ", ".join(name.replace(" ", "-") for name in METHODS)
    add("--methods", metavar="NAMES", help=f"out of {names}")
    add("--dtypes", metavar="NAMES", help="float64, float32 or both (default: both; with --net, its own)")
    add("--thorough", action="store_true", help="differences everywhere, three points, three penalties, four depths")
    add("--strict", action="store_true", help="exit with 2 where something could not be told")
    add("--seed", type=int, metavar="N", default=0, help="of networks, directions and samples (default %(default)s)")
    add("--html", type=Path, metavar="FILE", help="write the report as one page")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
