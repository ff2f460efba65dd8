"""Measure Section 4 of the paper: the time of a training step against the batch size m and the width n.

O(m Σ n_{l-1} n_l): with the network fixed the time grows as m, with m fixed and all layers n wide as n². The exponents
are those of straight lines through the logarithms of the upper half of the points, where fixed costs are small.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import numpy as np
from harness import PAGE, take_turns, write

M, N, LAYERS = 512, 512, 4
BATCHES = [32 * 2**i for i in range(9)]
WIDTHS = [32, 64, 128, 256, 512, 724, 1024, 1448, 2048]
PICTURE = PAGE.with_name("scaling.png")


def step(m: int, n: int):  # type: ignore[no-untyped-def]
    """Return a function that computes C and its gradient on m rows, in a net of LAYERS layers of width n.

    The update is left out, since its time does not depend on m.
    """
    from xbackprop.arrays.discovery import get_backend
    from xbackprop.nn.activations import ACTIVATIONS
    from xbackprop.nn.losses import LOSSES
    from xbackprop.nn.objective import Objective, make_batch
    from xbackprop.nn.parameters import Layout

    rng, layout, backend = np.random.RandomState(0), Layout((n,) * (LAYERS + 1)), get_backend("numpy")
    objective = Objective(backend, layout, (ACTIVATIONS["relu"],) * (LAYERS - 1), LOSSES["squared_error"], 0.0)
    theta = (rng.standard_normal(layout.n_parameters) / np.sqrt(n)).astype(np.float32)
    batch = make_batch(backend, *(rng.standard_normal((m, n)).astype(np.float32) for _ in range(2)))
    workspace = objective.workspace(theta, m)
    times = max(1, int(2e9 / (m * n * n * LAYERS * 3)))

    def work() -> int:
        for _ in range(times):
            objective.value_and_gradient(theta, batch, workspace)
        return times

    return work


def exponent(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Fit c sizeᵖ to the seconds; return p and log c."""
    upper = len(sizes) // 2
    p, c = np.polyfit(np.log(sizes[upper:]), np.log(seconds[upper:]), 1)
    return float(p), float(c)


def measure(rounds: int) -> str:
    began = time.perf_counter()
    by_m = take_turns({m: partial(step, m, N) for m in BATCHES}, rounds)
    by_n = take_turns({n: partial(step, M, n) for n in WIDTHS}, rounds)
    assert (list(by_m), list(by_n)) == (BATCHES, WIDTHS), "a straight line needs all of its points"
    curves = {"m": [median(v) for v in by_m.values()], "n": [median(v) for v in by_n.values()]}
    p_m, p_n = exponent(BATCHES, curves["m"]), exponent(WIDTHS, curves["n"])
    draw(curves, p_m, p_n)
    print(f"{time.perf_counter() - began:.0f} s", curves)
    return (
        f"{LAYERS} layers, float32, NumPy, C and its gradient: the time grows as m^{p_m[0]:.2f} from m = "
        f"{BATCHES[len(BATCHES) // 2]:,} to {BATCHES[-1]:,} with n = {N}, and as n^{p_n[0]:.2f} from n = "
        f"{WIDTHS[len(WIDTHS) // 2]:,} to {WIDTHS[-1]:,} with m = {M}; the paper has 1 and 2."
    )


def draw(curves: dict[str, list[float]], p_m: tuple[float, float], p_n: tuple[float, float]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6))
    parts = (("m", BATCHES, p_m, f"samples m of a batch, n = {N}"), ("n", WIDTHS, p_n, f"width n, m = {M}"))
    for panel, (name, sizes, (p, c), label) in zip(panels, parts, strict=True):
        upper = sizes[len(sizes) // 2 :]
        panel.loglog(sizes, np.multiply(curves[name], 1e3), "o", color="#0072b2", label="measured")
        fitted = np.exp(c) * np.array(upper, dtype=float) ** p * 1e3
        panel.loglog(upper, fitted, color="#d55e00", label=f"time ∝ {name}$^{{{p:.2f}}}$")
        panel.set_xticks(sizes[::2], [f"{size:,}" for size in sizes[::2]])
        panel.minorticks_off()
        panel.set_xlabel(label)
        panel.set_ylabel("milliseconds a gradient")
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    text = measure(5)
    print(text)
    write(text, "scaling")
