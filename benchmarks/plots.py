"""Draw the speed-ups of the tables, net by net."""

from __future__ import annotations

from statistics import median

from harness import PAGE

#: Okabe and Ito's colours, which the colour-blind can tell.
PLOTTED = {
    "NumPy vs scikit-learn": "#56b4e9",
    "Numba vs scikit-learn": "#0072b2",
    "Numba vs torch autograd": "#009e73",
    "Numba vs optax": "#f0e442",
    "torch vs torch autograd": "#e69f00",
    "JAX vs optax": "#cc79a7",
}
PICTURE = PAGE.with_name("benchmarks.png")


def draw(found: dict) -> None:
    """Draw a panel for each dtype, a group of bars for each net, and on each bar the range of the runs."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(found), 1, figsize=(11, 3.6 * len(found)), sharey=True, squeeze=False)
    for panel, (dtype, results) in zip(panels[:, 0], found.items(), strict=True):
        for i, (name, colour) in enumerate(PLOTTED.items()):
            ratios = {j: result["ratios"].get(name) for j, result in enumerate(results.values())}
            values = [v for v in ratios.values() if v]
            places = [j + (i - 2.5) * 0.14 for j, v in ratios.items() if v]
            middles = [median(v) for v in values]
            spread = [[m - min(v) for m, v in zip(middles, values, strict=True)],
                      [max(v) - m for m, v in zip(middles, values, strict=True)]]  # fmt: skip
            panel.bar(places, [m - 1 for m in middles], 0.13, bottom=1, color=colour, label=name)
            panel.errorbar(places, middles, spread, fmt="none", ecolor="#333333", elinewidth=0.8)
        panel.set_yscale("log")
        panel.set_yticks([0.5, 0.7, 1, 1.5, 2, 3, 5], ["0.5", "0.7", "1", "1.5", "2", "3", "5"])
        panel.minorticks_off()
        panel.axhline(1, color="#333333", linewidth=1)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.set_xticks(
            range(len(results)), [net.replace("-2048-1024", "\n-2048-1024") for net in results], fontsize=8
        )
        panel.set_ylabel(f"times faster, {dtype}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(ncol=6, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=120)
    plt.close(figure)
