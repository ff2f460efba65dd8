"""Mistreat files, tables, settings and running processes at random, and count how often the promises hold.

`nox -s stress` runs it; `python tests/stress/stress.py --tries 100 --seed 1` runs it shorter, or otherwise. A promise
is: a right result, or an error in words of the kind that is documented, and nothing lost. Whatever does not hold is
printed with what is needed to do it again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

import xbackprop
from xbackprop import MLP, DivergenceError, ModelFileError
from xbackprop.cli.main import main as command
from xbackprop.mlp import tensor_file
from xbackprop.mlp.setting_table import SETTINGS
from xbackprop.training.checkpoints import FILE

ODD = [
    None, True, False, 0, -1, 1, 3, 10**9, 10**400, -(10**400), 1e308, -1e308, 0.5, float(2**53), "", "x", "nan", "inf",
    "<U999999999", "\0", "9" * 5000, [], [[]], {}, {"a": 1}, [None], [1, 1], [[0, "x"]], ["relu"] * 3, [2, 1, 0],
]  # fmt: skip


class Failure(Exception):
    """A promise that did not hold."""


def trained(folder: Path, seed: int) -> tuple[MLP, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    X, y = rng.standard_normal((40, 4)), np.array(["ash", "beech", "cedar"])[np.arange(40) % 3]
    net = MLP((5,), max_iter=3, random_state=seed, checkpoint=folder, dropout=0.1, early_stopping=seed % 2 == 0)
    return net.fit(X, y), X, y


def flipped_files(rng: np.random.RandomState, folder: Path) -> None:
    """Flip, cut, repeat or insert bytes of a checkpoint: it is refused as damaged, or is the file that it was."""
    net, X, y = trained(folder, rng.randint(100))
    path = folder / FILE
    whole = path.read_bytes()
    for _ in range(25):
        content, at = bytearray(whole), rng.randint(len(whole))
        kind = rng.randint(5)
        if kind == 0:
            content[at] ^= 1 << rng.randint(8)
        elif kind == 1:
            del content[at : at + rng.randint(1, 50)]
        elif kind == 2:
            content[at:at] = rng.bytes(rng.randint(1, 50))
        elif kind == 3:
            content[at : at + 8] = rng.bytes(8)
        else:
            other = rng.randint(len(whole))
            content[at : at + 30] = content[other : other + 30]
        if bytes(content) == whole:
            continue
        path.write_bytes(bytes(content))
        for read in (lambda: MLP.load(path), lambda: MLP(**{**vars_of(net), "resume": True}).fit(X, y)):
            try:
                read()
            except ModelFileError:
                continue
            raise Failure(f"a damaged file was read: kind {kind} at {at}")


def vars_of(net: MLP) -> dict:
    return {s.name: getattr(net, s.name) for s in SETTINGS}


def crafted_files(rng: np.random.RandomState, folder: Path) -> None:
    """Put odd values into the configuration or odd tensors, with a right checksum: refused, or a network that works."""
    net, X, y = trained(folder, rng.randint(100))
    path = folder / FILE
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        text = file.metadata()["configuration"]
    for _ in range(25):
        configuration, spoilt = json.loads(text), dict(tensors)
        if rng.randint(4):
            place = configuration
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                key = keys[rng.randint(len(keys))]
                if not isinstance(place[key], dict | list) or not place[key] or rng.randint(4) == 0:
                    break
                place = place[key]
            place[key] = ODD[rng.randint(len(ODD))]
        else:
            name = list(tensors)[rng.randint(len(tensors))]
            a = tensors[name]
            others = [a[..., :-1], a.astype(np.float32), a.astype(np.int8), a.reshape(-1), a[None], np.zeros_like(a)]
            spoilt[name] = others[rng.randint(len(others))]
        tensor_file.write_tensors(path, spoilt, configuration)
        for read in (lambda: MLP.load(path), lambda: MLP(**{**vars_of(net), "resume": True}).fit(X, y)):
            try:
                predicted = read().predict_proba(X)
            except (ModelFileError, ValueError):  # also: of another run
                continue
            if not np.isfinite(predicted).all():
                raise Failure(f"a crafted file gives probabilities that are not finite: {configuration}")


def tables(rng: np.random.RandomState, folder: Path) -> None:
    """Train on tables with odd cells, lines and bytes: a network, or one line of error and exit code 2."""
    cells = [
        "1",
        "-2.5",
        "",
        " ",
        "NA",
        "nan",
        "inf",
        "1e400",
        "007",
        "12%",
        "1,5",
        '"',
        '"a\nb"',
        "ä",
        "\0",
        "=1+1",
        "0x1F",
    ]
    columns = rng.randint(1, 5)
    rows = [[f"c{i}" for i in range(columns)] + ["y"]]
    for _ in range(rng.randint(0, 40)):
        odd = rng.randint(30) == 0
        rows.append(
            [cells[rng.randint(len(cells))] if odd or rng.randint(40) == 0 else f"{rng.randn():.3f}" for _ in rows[0]]
        )
    if rng.randint(2):
        for row in rows[1:]:
            row[-1] = ["a", "b", "7", "07"][rng.randint(4)]
    if rng.randint(8) == 0 and len(rows) > 1:
        rows[rng.randint(1, len(rows))].append("more")
    if rng.randint(8) == 0:
        rows[0][0] = ["", "y", "1"][rng.randint(3)]
    content = ["\n", "\r\n"][rng.randint(2)].join([",", ";", "\t"][rng.randint(3)].join(row) for row in rows).encode()
    content = [content, b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content[: len(content) // 2]][
        rng.randint(4)
    ]
    path = folder / "table.csv"
    path.write_bytes(content)
    options = ["--hidden", "4", "--max-iter", "3", "--dtype", ["float32", "float64"][rng.randint(2)]]
    options += [[], ["--task", "classification"], ["--task", "regression"]][rng.randint(3)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command(["train", str(path), "--target", "y", *options])
    if (status, err.getvalue()) != (0, "") and (status != 2 or not err.getvalue().startswith("xbackprop: error: ")):
        raise Failure(f"status {status}: {err.getvalue()!r} for {content!r} {options}")


def extremes(rng: np.random.RandomState, folder: Path) -> None:
    """Train with odd settings and odd data: finite weights, or an error in words."""
    numbers = [
        0.0,
        5e-324,
        1e-300,
        1e-16,
        0.5,
        1 - 1e-16,
        1.0,
        2.0,
        1e16,
        1e300,
        1.7e308,
        np.inf,
        np.nan,
        -1.0,
        10**400,
    ]
    chosen = [SETTINGS[i] for i in rng.choice(len(SETTINGS), 3, replace=False)]
    skipped = (
        "checkpoint",
        "resume",
        "backend",
        "device",
        "verbose",
        "hidden_layer_sizes",
        "threads",
        "max_iter",
        "max_fun",
    )
    how = {s.name: numbers[rng.randint(len(numbers))] for s in chosen if s.name not in skipped}
    for name, values in {
        "solver": ["adam", "sgd", "rmsprop", "adagrad", "adamw", "lbfgs"],
        "learning_rate": ["constant", "step", "invscaling", "adaptive", "one_cycle"],
        "activation": list(xbackprop.ACTIVATIONS),
        "dtype": ["float32", "float64"],
    }.items():
        how[name] = values[rng.randint(len(values))]
    X = rng.standard_normal((20, 3)) * 10.0 ** rng.randint(-300, 300)
    X[rng.randint(20), rng.randint(3)] *= [1.0, 1e8, np.inf, np.nan, 0.0][rng.randint(5)]
    weight = [None, np.full(20, numbers[rng.randint(len(numbers) - 1)], dtype=float)][rng.randint(2)]
    try:
        net = MLP((3,), max_iter=3, **{"random_state": 0, **how}).fit(X, np.arange(20) % 2, weight)
    except (ValueError, DivergenceError) as error:
        if not str(error).startswith("MLP"):
            raise Failure(f"{error!r} for {how}") from error
        return
    if not all(np.isfinite(w).all() for w in (*net.coefs_, *net.intercepts_)):
        raise Failure(f"weights that are not finite, for {how}")


SCRIPT = """
import sys, warnings
import numpy as np
from xbackprop import MLP
warnings.simplefilter("ignore")
rng = np.random.RandomState(0)
X, y = rng.standard_normal((400, 20)), rng.randint(3, size=400)
net = MLP((30,), max_iter=80, tol=0.0, n_iter_no_change=1000, dropout=0.1, random_state=0, checkpoint=sys.argv[1],
          resume=True, early_stopping=True, learning_rate="cosine")
print("begun", flush=True)
net.fit(X, y)
print(float(sum(abs(a).sum() for a in (*net.coefs_, *net.intercepts_))).hex(), len(net.loss_curve_))
"""


def kills(rng: np.random.RandomState, folder: Path) -> None:
    """Kill a run, or interrupt it, four times at random; the fifth goes on to where it would have come undisturbed."""
    script = folder / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    results = []
    for name, count in (("whole", 0), ("killed", 4)):
        for i in range(count + 1):
            call = [sys.executable, str(script), str(folder / name)]
            with subprocess.Popen(
                call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                if i < count:
                    time.sleep(rng.uniform(0.0, 0.15))
                    process.send_signal([signal.SIGKILL, signal.SIGINT][rng.randint(2)])
                rest = process.stdout.read()
            if process.returncode not in (0, -signal.SIGKILL, -signal.SIGINT):  # the last before or after training
                raise Failure(f"exit code {process.returncode}")
        results.append(rest)
    if results[0] != results[1]:
        raise Failure(f"{results}")
    if left := [p.name for p in (folder / "killed").iterdir() if p.name != FILE]:
        raise Failure(f"left behind: {left}")


#: What is tried, and how many times for `--tries 100`.
PARTS: dict[Callable[[np.random.RandomState, Path], None], int] = {
    flipped_files: 20, crafted_files: 20, tables: 100, extremes: 100, kills: 5,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=400, help="how much is tried (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=[part.__name__ for part in PARTS], action="append")
    args = parser.parse_args()
    failed = 0
    print(f"{'':<16}{'tried':>8}{'held':>8}")
    for part, share in PARTS.items():
        if args.part and part.__name__ not in args.part:
            continue
        tries = max(1, args.tries * share // 100)
        held = 0
        for i in range(tries):
            seed = args.seed + 1000 * i
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    part(np.random.RandomState(seed), Path(folder))
                    held += 1
                except Exception as error:  # whatever it is, the promise did not hold
                    print(f"{part.__name__} with RandomState({seed}): {type(error).__name__}: {error}"[:600])
        failed += tries - held
        print(f"{part.__name__:<16}{tries:>8}{held:>8}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
