"""Draw docs/by-hand.png and write docs/by-hand.ipynb from docs/by-hand.md: python docs/by_hand.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from xbackprop.display.drawing import COLOURS, FAINT, INK, figure_of, style

DOCS = Path(__file__).parent
PAGE = DOCS / "by-hand.md"
UP, DOWN = COLOURS[0], COLOURS[1]


def cells(page: str) -> list[tuple[str, str]]:
    """Return the page as a notebook has it: ("code", text) and ("markdown", text)."""
    parts = re.split(r"```python\n(.*?)```\n", page, flags=re.S)
    kinds = ["markdown", "code"] * len(parts)
    return [(kind, part.strip("\n")) for kind, part in zip(kinds, parts, strict=False) if part.strip()]


def notebook(page: str) -> str:
    """Return the page as the text of a notebook, without outputs."""
    found = [
        {"cell_type": kind, "id": f"cell-{i}", "metadata": {}, "source": text.splitlines(keepends=True)}
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for i, (kind, text) in enumerate(cells(page))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def blocks(page: str) -> dict:
    """Run the first blocks, up to the gradients; return their names."""
    names: dict = {}
    for kind, text in cells(page)[:4]:
        if kind == "code":
            exec(text, names)
    return names


def draw(n: dict) -> None:
    """Draw the network: a unit for each number, the way up in blue, slopes in red."""
    places = {"x": [(0, 1.4), (0, -1.4)], "1": [(3.2, 1.4), (3.2, -1.4)], "2": [(6.2, 0)], "C": [(8.2, 0)]}
    with style():
        figure = figure_of((8.2, 4.4), "constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal")
        for j, i in np.ndindex(2, 2):
            _edge(axes, places["x"][j], places["1"][i], n["W1"][j, i], n["dW1"][j, i], 0.5 if i == j else 0.3)
        for j in range(2):
            _edge(axes, places["1"][j], places["2"][0], n["W2"][j, 0], n["dW2"][j, 0], 0.42)
        axes.plot([6.2, 8.2], [0, 0], color=FAINT, lw=1, zorder=0)
        for i in range(2):
            _unit(axes, places["x"][i], f"x = {n['x'][0, i]:g}", "")
            _unit(axes, places["1"][i], f"z = {n['z1'][0, i]:g}\nh = {n['h1'][0, i]:g}", f"δ = {n['d1'][0, i]:g}")
        _unit(axes, places["2"][0], f"z = {n['z2'].item():g}", f"δ = {n['d2'].item():g}")
        _unit(axes, places["C"][0], f"C = {n['C']:g}", "")
        axes.text(-0.4, -2.5, "the way up: weights, z and h", color=UP, fontsize=9)
        axes.text(3.4, -2.5, "the way down: ∂C/∂W and δ = ∂C/∂z", color=DOWN, fontsize=9)
        axes.set(xlim=(-0.7, 8.9), ylim=(-2.7, 2.5))
        figure.savefig(DOCS / "by-hand.png", dpi=130)


def _edge(axes, start, end, weight, slope, where) -> None:
    axes.plot([start[0], end[0]], [start[1], end[1]], color=FAINT, lw=1, zorder=0)
    x, y = (a + where * (b - a) for a, b in zip(start, end, strict=True))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(x, y + 0.12, f"{weight:g}", color=UP, ha="center", va="bottom", fontsize=8, bbox=box)
    axes.text(x, y - 0.12, f"{slope:g}", color=DOWN, ha="center", va="top", fontsize=8, bbox=box)


def _unit(axes, place, up, down) -> None:
    axes.plot(*place, "o", ms=44, mfc="white", mec=INK, mew=1.0, zorder=2)
    axes.text(*place, up, color=UP, ha="center", va="center", fontsize=8, zorder=3)
    axes.text(place[0], place[1] + 0.62, down, color=DOWN, ha="center", va="bottom", fontsize=8.5)


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    draw(blocks(text))
    (DOCS / "by-hand.ipynb").write_text(notebook(text), "utf-8")
