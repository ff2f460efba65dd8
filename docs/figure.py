"""Draw docs/figure.png: run `python docs/figure.py` after `nox -s bench`, with matplotlib and torch installed."""

import json
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from xbackprop import ACTIVATIONS
from xbackprop.arrays.discovery import backend_class
from xbackprop.cli.devices import installed
from xbackprop.cli.matrix import matrix
from xbackprop.mlp.setting_table import TASKS
from xbackprop.verification.methods import METHODS

HERE = Path(__file__).parent
COLOURS = {"numpy": "#4477aa", "torch": "#ee6677", "numba": "#228833", "jax": "#aa3377", "cupy": "#ccbb44"}


def gradients(axes):
    """Draw the errors that the paper's check and the complex step find, by activation, on every available backend."""
    backends = [backend_class(b.name)() for b in installed() if b.reason is None]
    cells = [cell for b in backends for cell in matrix(b, dtypes=["float64"]) if cell.kind.loss in TASKS.values()]
    activations = list(ACTIVATIONS)
    for cell in cells:
        name = cell.kind.backend.name
        x = activations.index(cell.kind.activation.name) + 0.2 * (list(COLOURS).index(name) - 1.5)
        for method, markers in (("paper", "os"), ("complex step", "^v")):
            marker = markers[cell.kind.task == "regression"]
            error = cell.worst(method).error
            axes.semilogy(x, error, marker, color=COLOURS[name], alpha=0.8, markersize=6)
    for method, text in (("paper", "limit of the paper's check"), ("complex step", "limit of the complex step")):
        limit = METHODS[method].bound
        axes.axhline(limit, color="#999999", linestyle="--", linewidth=1)
        axes.text(len(activations) - 0.6, limit * 1.5, text, ha="right", color="#666666", fontsize=8)
    axes.set_xticks(range(len(activations)), activations, rotation=35, ha="right")
    axes.set_ylim(1e-20, 1e-5)
    axes.set_title("Errors of the hand-derived gradients", fontsize=10)
    axes.set_ylabel("relative difference")
    labels = ("differences, classes", "differences, regression", "complex step, classes", "complex step, regression")
    shapes = [
        Line2D([], [], marker=m, linestyle="", color="#555555", label=label)
        for m, label in zip("os^v", labels, strict=True)
    ]
    dots = [Line2D([], [], marker="o", linestyle="", color=COLOURS[b.name], label=b.name) for b in backends]
    axes.legend(handles=shapes + dots, fontsize=7, loc="lower left", ncol=2, frameon=False)


def speed(axes):
    """Draw the ratios of docs/benchmarks.json: how many times as fast as other libraries a training step is."""
    results = json.loads((HERE / "benchmarks.json").read_text())["steps"]["float32"]
    series = ("NumPy vs scikit-learn", "Numba vs scikit-learn", "Numba vs torch autograd", "JAX vs optax")
    for i, (name, colour) in enumerate(zip(series, ("#4477aa", "#228833", "#ee6677", "#aa3377"), strict=True)):
        places = [j + 0.2 * (i - 1.5) for j in range(len(results))]
        middles = [median(result["ratios"][name]) for result in results.values()]
        axes.barh(places, middles, 0.18, color=colour, label=name)
    axes.axvline(1, color="#555555", linewidth=1)
    axes.set_yticks(range(len(results)), list(results), fontsize=8)
    axes.invert_yaxis()
    axes.set_title("Relative speed of a training step (2 cores, float32, Adam)", fontsize=10)
    axes.legend(fontsize=7, frameon=False)


if __name__ == "__main__":
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    gradients(left)
    speed(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "figure.png", dpi=110)
