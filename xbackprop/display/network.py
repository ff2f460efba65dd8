"""A drawing of a network's layers as HTML, which notebooks show."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise

#: Units that a layer is drawn with at the most; of wider ones the middle is left out.
SHOWN = 7
GAP, STEP, RADIUS = 116, 20, 6


def network_html(sizes: Sequence[int], names: Sequence[str], facts: Iterable[tuple[str, str]]) -> str:
    """Return a drawing of layers of these widths, and a table of facts.

    names : what stands beneath each layer: "X", the activation of each hidden layer, the output.
    """
    height = (SHOWN + 1) * STEP
    columns = [_places(size, 40 + l * GAP, height) for l, size in enumerate(sizes)]
    edges = [
        f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}"/>'
        for below, above in pairwise(columns)
        for a, b in below
        for c, d in above
    ]
    units = [f'<circle cx="{x}" cy="{y}" r="{RADIUS}"/>' for column in columns for x, y in column]
    dots = [
        f'<text x="{40 + l * GAP}" y="{height / 2 + 4}" text-anchor="middle" font-size="14">⋮</text>'
        for l, size in enumerate(sizes)
        if size > SHOWN
    ]
    labels = [
        f'<text x="{40 + l * GAP}" y="{height + 14}" text-anchor="middle" font-size="11">{size:,}</text>'
        f'<text x="{40 + l * GAP}" y="{height + 29}" text-anchor="middle" font-size="11">{html.escape(name)}</text>'
        for l, (size, name) in enumerate(zip(sizes, names, strict=True))
    ]
    width = 80 + (len(sizes) - 1) * GAP
    label = f"layers of {'-'.join(map(str, sizes))} units"
    drawing = (
        f'<svg width="{width}" height="{height + 36}" role="img" aria-label="{label}">'
        f'<g stroke="currentColor" stroke-opacity="0.18">{"".join(edges)}</g>'
        f'<g fill="#4477aa" stroke="currentColor">{"".join(units)}</g>'
        f'<g fill="currentColor" font-family="sans-serif">{"".join(dots + labels)}</g></svg>'
    )
    rows = "".join(
        f'<tr><td style="text-align:left">{html.escape(name)}</td>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for name, value in facts
    )
    return f"<div>{drawing}<table>{rows}</table></div>"


def _places(size: int, x: int, height: int) -> list[tuple[int, float]]:
    """Return the places of the units of a layer, without those in the middle of a wide one."""
    drawn = min(size, SHOWN)
    top = height / 2 - (drawn - 1) * STEP / 2
    return [(x, top + i * STEP) for i in range(drawn) if size <= SHOWN or i != drawn // 2]
