"""Draw the pictures of a report with matplotlib: error against step, Taylor remainders, analytic against numeric.

The functions draw on the axes that they are given.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from xbackprop.display.drawing import COLOURS, DASHED, FAINT, MARKERS, Draw, figure_of, style
from xbackprop.verification.findings import Curves, TensorSummary

Points = Sequence[tuple[float, float]]
Looks = Mapping[str, tuple[str, str]]  # the colour and the marker of every tensor

LINES = {"central differences": COLOURS[0], "Richardson": COLOURS[2], "complex step": COLOURS[1]}
PAPER_STEP = 1e-5
LEAST = 1e-17  # smaller relative errors, such as zero, are drawn here, below rounding
LEGEND = 9  # tensors that a legend names; the others are counted
DOTS = 300  # elements of a tensor in a scatter plot

SMALL = {"textcoords": "offset points", "fontsize": 8}


def picture(curves: Curves, tensors: Sequence[TensorSummary], wrong: Collection[str] = ()) -> Any:
    """Draw the three panels side by side, as a matplotlib `Figure` that a notebook shows.

    wrong : the tensors to highlight.

    Raises
    ------
    BackendError : if matplotlib is not installed.
    """
    with style():
        figure = figure_of((13.5, 4.6), layout="constrained")
        drawings = panels(curves, tensors, looks(t.name for t in tensors), wrong)
        for axes, draw in zip(figure.subplots(1, 3), drawings.values(), strict=True):
            draw(axes)
    return figure


def panels(
    curves: Curves, tensors: Sequence[TensorSummary], looks: Looks, wrong: Collection[str] = ()
) -> dict[str, Draw]:
    """Return, for the name of each panel, the function that draws it on given axes."""
    names = {t.name for t in tensors}
    taylor = {name: points for name, points in curves.taylor.items() if name in names}
    pairs = {t.name: list(zip(t.numeric, t.analytic, strict=False)) for t in tensors}
    return {
        "steps": lambda axes: draw_steps(axes, curves.steps),
        "taylor": lambda axes: draw_taylor(axes, taylor, looks, wrong),
        "scatter": lambda axes: draw_scatter(axes, pairs, looks, wrong),
    }


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Choose a colour and a marker for every tensor: all colours with one marker, then all with the next."""
    n = len(COLOURS)
    return {name: (COLOURS[i % n], MARKERS[i // n % len(MARKERS)]) for i, name in enumerate(dict.fromkeys(names))}


def draw_steps(axes: Any, steps: Mapping[str, Points]) -> None:
    """Draw relative errors against the step for central differences, Richardson and the complex step.

    The complex step goes on to steps of 1e-200, far beyond the axis; an arrow shows this.
    """
    axes.set(title="Error of the numeric slope", xlabel="step h", ylabel="relative error of ∇C")
    real = [h for name, points in steps.items() if name != "complex step" for h, _ in _positive(points)]
    if not real:
        return _nothing(axes)
    left, right = min(real), max(real)
    axes.set_xlim(left / 2, right * 2)
    _scales(axes, "log")
    for name, points in sorted(steps.items(), key=lambda item: item[0] != "complex step"):  # lowest curve
        shown = [(h, max(e, LEAST)) for h, e in _finite(points) if left <= h <= right]
        width = 2.8 if name == "complex step" else 1.3
        axes.plot(*_columns(shown), color=LINES.get(name, FAINT), marker="o", label=name, linewidth=width)
        if name == "complex step" and points:
            _on_to_the_left(axes, points, shown, left)
    axes.set_ylim(LEAST / 4, 10 * max(10.0 * LEAST, *(e for points in steps.values() for _, e in _finite(points))))
    axes.axvline(PAPER_STEP, **DASHED)
    axes.annotate("the paper's h = 1e-5", (PAPER_STEP, 0.0), (4, 5), xycoords=("data", "axes fraction"), **SMALL)
    inside = {"bbox_to_anchor": (PAPER_STEP, 1.0), "bbox_transform": axes.get_xaxis_transform()}  # the V is empty there
    axes.legend(loc="upper right", labelcolor="linecolor", **inside)
    return None


def _on_to_the_left(axes: Any, points: Points, shown: Points, left: float) -> None:
    """Draw an arrow at the left edge for steps that are smaller than the axis shows."""
    beyond = [(h, max(e, LEAST)) for h, e in _finite(points) if h < left]
    if not beyond:
        return
    colour = LINES["complex step"]
    level = min(shown)[1] if shown else beyond[0][1]
    if not shown:
        axes.axhline(level, color=colour)
    axes.plot([left / 2], [level], marker="<", color=colour, markersize=6, clip_on=False)
    axes.annotate(f"on to h = {min(beyond)[0]:.0e}", (left / 2, level), (8, 5), color=colour, **SMALL)


def draw_taylor(axes: Any, curves: Mapping[str, Points], looks: Looks, wrong: Collection[str] = ()) -> None:
    """Draw |remainder| against the step for every tensor, and lines of slope 1 and 3 beside them."""
    axes.set(title="Taylor remainder", xlabel="step h along a random direction", ylabel="|remainder|")
    kept = {name: _positive(points) for name, points in curves.items()}
    every = [point for points in kept.values() for point in points]
    if not every:
        return _nothing(axes)
    _scales(axes, "log")
    for name in _wrong_last(kept, wrong):
        colour, marker = looks[name]
        axes.plot(*_columns(kept[name]), color=colour, marker=marker, **_weight(name, wrong))
    largest, top = max(h for h, _ in every), 6 * max(r for _, r in every)
    bottom = min(*(r for _, r in every), 1e-15 * top)  # room for both slopes, whichever one the curves have
    smallest = min(min(h for h, _ in every), largest / 10)
    for order, word in ((1, "order 1: wrong"), (3, "order 3: right")):
        h = max(smallest, largest * (bottom / top) ** (1 / order))
        axes.plot([h, largest], [top * (h / largest) ** order, top], **DASHED)
        middle = math.sqrt(h * largest)
        axes.annotate(word, (middle, top * (middle / largest) ** order), (-4, 3), ha="right", va="bottom", **SMALL)
    _legend(axes, [name for name in kept if kept[name]], looks, wrong)
    return None


def draw_scatter(axes: Any, pairs: Mapping[str, Points], looks: Looks, wrong: Collection[str] = ()) -> None:
    """Draw analytic against numeric derivatives: elements that are right lie on the diagonal."""
    axes.set(title="Gradient, element by element", xlabel="numeric ∂C/∂θ", ylabel="analytic ∂C/∂θ")
    dots = {name: _thinned(_finite(points)) for name, points in pairs.items()}
    sizes = sorted(abs(v) for points in dots.values() for point in points for v in point if v != 0)
    if not sizes:
        return _nothing(axes)
    _scale(axes, sizes)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1)
    axes.annotate("equal", (0.93, 0.93), (-4, 4), xycoords="axes fraction", ha="right", **SMALL)
    for name in _wrong_last(dots, wrong):
        colour, marker = looks[name]
        axes.plot(*_columns(dots[name]), color=colour, marker=marker, linestyle="", **_weight(name, wrong))
    _legend(axes, list(dots), looks, wrong)
    return None


def _scale(axes: Any, sizes: Sequence[float]) -> None:
    """Set the same limits on both axes, and a logarithmic scale around a linear middle if sizes differ much."""
    largest, small = sizes[-1], sizes[len(sizes) // 10]
    axes.set_aspect("equal", adjustable="box")
    if small > largest / 50:
        end = 1.08 * largest
    else:
        top = math.ceil(math.log10(largest))
        bottom = max(math.floor(math.log10(small)), top - 6)
        _scales(axes, "symlog", linthresh=10.0**bottom)
        apart = math.ceil((top - bottom + 1) / 3)  # decades between labels, so that they do not touch
        decades = range(top, bottom + apart - 2, -apart)
        ticks = [-(10.0**k) for k in decades] + [0.0] + [10.0**k for k in reversed(decades)]
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        end = 10.0**top * 1.3
    axes.set(xlim=(-end, end), ylim=(-end, end))


def _scales(axes: Any, scale: str, **options: float) -> None:
    """Label both axes with powers of ten as plain text, since parsing formulas takes longer than all the rest."""
    axes.set_xscale(scale, **options)
    axes.set_yscale(scale, **options)
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_power_of_ten)


def _power_of_ten(x: float, _: Any = None) -> str:
    if x == 0:
        return "0"
    power = str(round(math.log10(abs(x)))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{'−' if x < 0 else ''}10{power}"


def _wrong_last(names: Mapping[str, Any], wrong: Collection[str]) -> list[str]:
    return sorted(names, key=lambda name: name in wrong)  # the last ones are drawn on top


def _weight(name: str, wrong: Collection[str]) -> dict[str, float]:
    if not wrong:
        return {"alpha": 0.8}
    return {"alpha": 1.0, "linewidth": 2.0, "markersize": 4.5} if name in wrong else {"alpha": 0.35}


def _legend(axes: Any, names: Sequence[str], looks: Looks, wrong: Collection[str]) -> None:
    """Name the tensors below the axes, wrong ones first. Names are plain text: a "$" in them starts no formula."""
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    ordered = _wrong_last(dict.fromkeys(names), set(names) - set(wrong))
    shown = ordered if len(ordered) <= LEGEND else ordered[: LEGEND - 1]
    texts = [name if len(name) <= 18 else f"{name[:8]}…{name[-9:]}" for name in shown]
    handles = [Line2D([], [], color=looks[n][0], marker=looks[n][1], linestyle="", markersize=5) for n in shown]
    if len(shown) < len(ordered):
        handles.append(Line2D([], [], linestyle=""))
        texts.append(f"and {len(ordered) - len(shown)} more")
    legend = axes.legend(handles, ["x"] * len(texts), loc="upper left", bbox_to_anchor=(-0.05, -0.16), ncols=3)
    for place, text in zip(legend.get_texts(), texts, strict=True):
        place.set_parse_math(False)
        place.set_text(text)


def _nothing(axes: Any) -> None:
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def _finite(points: Points) -> list[tuple[float, float]]:
    numbers = [(float(x), float(y)) for x, y in points]
    return [(x, y) for x, y in numbers if math.isfinite(x) and math.isfinite(y)]


def _positive(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in _finite(points) if x > 0 and y > 0]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most about DOTS points, among them the furthest from the diagonal and the outermost."""
    if len(points) <= DOTS:
        return points
    extreme = {max(points, key=lambda p: abs(p[1] - p[0])), min(points), max(points)}
    return [*points[:: -(-len(points) // DOTS)], *sorted(extreme)]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
