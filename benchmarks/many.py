"""Time many networks trained together beside one after the other, and a search beside scikit-learn's; see how ensembles
do beside their networks. Draws docs/many-networks.png.

`--tables DIR` : a folder with california.csv (the table of Pace and Barry, 1997), which is left out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import geometric_mean, mean, median
from typing import Any

import numpy as np
from estimators import table
from harness import PAGE, take_turns, write

BACKENDS = ("numpy", "numba", "jax", "torch")
SIZES = (2, 8, 32)  # of the runs of many networks
#: Layers, rows of a batch, rows, epochs of a timed fit.
NETS = {
    "64-32-10": ((64, 32, 10), 32, 1797, 40),
    "64-100-10": ((64, 100, 10), 200, 1797, 40),
    "784-256-128-10": ((784, 256, 128, 10), 128, 2000, 4),
}
GRID = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1], "learning_rate_init": [1e-3, 3e-3]}
SEARCHED = ("digits", "breast_cancer", "diabetes")
MEMBERS, SPLITS = 8, 5
PICTURE = PAGE.with_name("many-networks.png")


def train(backend: str, net: str, k: int) -> Callable[[], int]:
    """Train k networks by `fit_many`, or with k = 1 one by its own `fit`; the unit of work is a network."""
    import xbackprop

    warnings.simplefilter("ignore")
    sizes, batch_size, n, epochs = NETS[net]
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], n)

    def work() -> int:
        nets = [
            xbackprop.MLP(
                sizes[1:-1], batch_size=batch_size, max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=i,
                backend=backend,
            )
            for i in range(k)
        ]  # fmt: skip
        if k == 1:
            nets[0].fit(X, y)
        else:
            xbackprop.fit_many(nets, X, y)
        return k

    return work


def networks(rounds: int) -> tuple[str, dict[str, Any]]:
    """Return the table of the times of a network among k, as parts of the time of one alone."""
    lines = ["| network, batch | backend | one alone | " + " | ".join(f"k = {k}" for k in SIZES) + " |"]
    lines.append("|---" * (3 + len(SIZES)) + "|")
    found: dict[str, Any] = {}
    for net, (_, batch_size, n, epochs) in NETS.items():
        steps = epochs * -(-n // batch_size)
        for backend in BACKENDS:
            seconds = take_turns({str(k): partial(train, backend, net, k) for k in (1, *SIZES)}, rounds)
            if len(seconds) < 1 + len(SIZES):
                continue
            parts = {k: [a / b for a, b in zip(seconds[str(k)], seconds["1"], strict=True)] for k in SIZES}
            cells = [f"{median(p):.2f} ({min(p):.2f}–{max(p):.2f})" for p in parts.values()]
            alone = f"{median(seconds['1']) / steps * 1e6:.0f} µs a step"
            lines.append(f"| {net}, {batch_size} | {backend} | {alone} | " + " | ".join(cells) + " |")
            found.setdefault(net, {})[backend] = {k: median(p) for k, p in parts.items()}
            print(lines[-1], flush=True)
    return "\n".join(lines), found


def search(library: str, name: str) -> Callable[[], int]:
    """Search the grid over five folds; scikit-learn with two processes."""
    from sklearn import model_selection, neural_network

    import xbackprop
    import xbackprop.model_selection

    warnings.simplefilter("ignore")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.pop(variable, None)  # without them joblib gives each of its processes one thread
    X, y = table(name)
    module, home = (
        (neural_network, model_selection) if library == "scikit-learn" else (xbackprop, xbackprop.model_selection)
    )
    net = (module.MLPRegressor if name == "diabetes" else module.MLPClassifier)(random_state=0)
    how = {"n_jobs": 2} if library == "scikit-learn" else {}
    net = net if library == "scikit-learn" else net.set_params(backend=library)

    def work() -> int:
        home.GridSearchCV(net, GRID, cv=5, refit=False, **how).fit(X, y)
        return 1

    return work


def searches(rounds: int) -> str:
    """Return the table of the speed-ups of a search."""
    ours = ("numpy", "numba")
    lines = ["| data | scikit-learn, two processes | NumPy | Numba |", "|---|---|---|---|"]
    ratios: dict[str, list[float]] = {backend: [] for backend in ours}
    for name in SEARCHED:
        seconds = take_turns({library: partial(search, library, name) for library in ("scikit-learn", *ours)}, rounds)
        cells = []
        for backend in ours:
            each = [a / b for a, b in zip(seconds["scikit-learn"], seconds[backend], strict=True)]
            ratios[backend].append(median(each))
            cells.append(f"{median(each):.2f} ({min(each):.2f}–{max(each):.2f})")
        lines.append(f"| {name} | {median(seconds['scikit-learn']):.1f} s | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    means = " | ".join(f"{geometric_mean(values):.2f}" for values in ratios.values())
    return "\n".join([*lines, f"| geometric mean | | {means} |"])


def california(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the standardised numbers of the table, and the median value of a house, without rows that have gaps."""
    rows = [line.split(",")[:9] for line in (folder / "california.csv").read_text().splitlines()[1:]]
    numbers = np.array([row for row in rows if all(row)], dtype=float)
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    return numbers[:, :8], numbers[:, 8]


def ensembles(tables: Path | None, splits: int) -> tuple[str, dict[str, Any]]:
    """Return the table of the errors of ensembles beside the mean of their networks, on held-out rows."""
    lines = [
        f"| data | measure | mean of {MEMBERS} networks | ensemble | splits in which it is better |", "|---" * 5 + "|",
    ]  # fmt: skip
    curves: dict[str, Any] = {}
    for name in (*SEARCHED, *(["california"] if tables else [])):
        assert tables is not None or name != "california"
        X, y = california(tables) if name == "california" and tables else table(name)
        found = [_errors(X, y, split) for split in range(splits)]
        for measure in found[0]:
            each, together = ([f[measure][i] for f in found] for i in (0, 1))
            wins = sum(b < a for a, b in zip(each, together, strict=True))
            lines.append(f"| {name} | {measure} | {mean(each):.4f} | {mean(together):.4f} | {wins} of {splits} |")
            print(lines[-1], flush=True)
        first = next(iter(found[0]))
        curves[name] = [mean(f[first][2][k] / f[first][0] for f in found) for k in range(MEMBERS)]
    return "\n".join(lines), curves


def _errors(X: np.ndarray, y: np.ndarray, split: int) -> dict[str, tuple[float, float, list[float]]]:
    """Return for each measure the mean of the networks, the ensemble's, and that of any 1, 2 … of them."""
    from sklearn.metrics import log_loss, root_mean_squared_error, zero_one_loss
    from sklearn.model_selection import train_test_split

    import xbackprop

    warnings.simplefilter("ignore")
    classes = y.dtype.kind == "i"
    parts = train_test_split(X, y, test_size=0.3, random_state=split, stratify=y if classes else None)
    X_train, X_test, y_train, y_test = parts
    kind = xbackprop.MLPClassifier if classes else xbackprop.MLPRegressor
    net = kind(hidden_layer_sizes=(64,), early_stopping=True, n_networks=MEMBERS, random_state=split, max_iter=100)
    net.fit(X_train, y_train)
    if not classes:
        each = np.stack([member.predict(X_test) for member in net.networks_])
        measures: dict[str, Callable[[Any], float]] = {"RMSE": lambda out: root_mean_squared_error(y_test, out)}
        assert np.allclose(each.mean(axis=0), net.predict(X_test))
    else:
        each = np.stack([member.predict_proba(X_test) for member in net.networks_])
        measures = {
            "log-loss": lambda p: log_loss(y_test, p),
            "error": lambda p: zero_one_loss(y_test, net.classes_[p.argmax(axis=1)]),
        }
        assert np.allclose(each.mean(axis=0), net.predict_proba(X_test))
    return {
        name: (
            mean(measure(out) for out in each),
            measure(each.mean(axis=0)),
            [mean(measure(_some(each, first, k)) for first in range(MEMBERS)) for k in range(1, MEMBERS + 1)],
        )
        for name, measure in measures.items()
    }


def _some(each: np.ndarray, first: int, k: int) -> np.ndarray:
    """Return the mean output of k of the networks in a ring, from one of them on."""
    return each.take(range(first, first + k), axis=0, mode="wrap").mean(axis=0)


def draw(times: dict[str, Any], curves: dict[str, Any]) -> None:
    """Draw the time of a network among k, and the error of an ensemble of k."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    colours = dict(zip(BACKENDS, ("#56b4e9", "#0072b2", "#cc79a7", "#e69f00"), strict=True))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for net, style in zip(times, ("-", "--", ":"), strict=False):
        for backend, parts in times[net].items():
            left.plot([1, *map(int, parts)], [1.0, *parts.values()], style, marker="o", ms=4, color=colours[backend])
            left.plot([], [], color=colours[backend], label=backend if net == next(iter(times)) else None)
        left.plot([], [], style, color="#555555", label=net)
    left.axhline(0.5, color="#999999", lw=0.8)
    left.text(1.05, 0.51, "two cores", color="#666666", fontsize=8)
    left.set_xscale("log", base=2)
    left.set_xticks([1, *SIZES], [1, *SIZES])
    left.set_ylim(0)
    left.set(xlabel="networks trained together, k", ylabel="time of a network, of one alone", title="Time")
    left.legend(fontsize=7, ncol=2, frameon=False)
    for (name, values), colour in zip(curves.items(), ("#0072b2", "#e69f00", "#009e73", "#cc79a7"), strict=False):
        right.plot(range(1, MEMBERS + 1), values, marker="o", ms=4, color=colour, label=name)
    right.set(xlabel="networks of the ensemble, k", ylabel="held-out error, of the mean network",
              title="Log-loss, or RMSE of a regression")  # fmt: skip
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, printed and not written")
    parser.add_argument("--parts", default="networks,searches,ensembles", help="which to run (default %(default)s)")
    parser.add_argument("--tables", type=Path, help="the folder that has california.csv")
    options = parser.parse_args()
    parts = options.parts.split(",")
    found: dict[str, str] = {}
    kept = PAGE.with_name("many-networks.json")
    drawn: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if "networks" in parts:
        found["many"], drawn["times"] = networks(1 if options.quick else 3)
    if "searches" in parts:
        found["searches"] = searches(1 if options.quick else 3)
    if "ensembles" in parts:
        found["ensembles"], drawn["curves"] = ensembles(options.tables, 2 if options.quick else SPLITS)
    if not options.quick:
        for part, content in found.items():
            write(content, part)
        kept.write_text(json.dumps(drawn))
        if {"times", "curves"} <= drawn.keys():
            draw(drawn["times"], drawn["curves"])
