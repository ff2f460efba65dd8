"""Draw the pictures of a report with matplotlib: error against step, Taylor remainders, analytic against numeric.

The functions draw on the axes that they are given. Nothing uses pyplot, so a user's figures stay as they are.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xbackprop.errors import BackendError
from xbackprop.verification.findings import Curves, TensorSummary

Points = Sequence[tuple[float, float]]
Looks = Mapping[str, tuple[str, str]]  # the colour and the marker of every tensor
Draw = Callable[[Any], None]

#: Paul Tol's "bright" colours, which the colour-blind can tell apart, on white and on black. Tensors that share a
#: colour have different markers.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44")
MARKERS = ("o", "s", "^", "D")
INK, FAINT, GRID = "#333333", "#8a8a8a", "#e4e4e4"
LINES = {"central differences": COLOURS[0], "Richardson": COLOURS[2], "complex step": COLOURS[1]}
PAPER_STEP = 1e-5
LEAST = 1e-17  # smaller relative errors, such as zero, are drawn here, below rounding
LEGEND = 9  # tensors that a legend names; the others are counted
DOTS = 300  # elements of a tensor in a scatter plot

STYLE = {
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"], INK),
    **dict.fromkeys(["axes.edgecolor", "xtick.color", "ytick.color"], FAINT),
    **{"font.size": 9.0, "axes.titlesize": 10.0, "axes.titlelocation": "left", "axes.titlepad": 10.0},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8},
    **{"axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.5},
    **{"lines.linewidth": 1.3, "lines.markersize": 3.5, "lines.markeredgewidth": 0.0},
    **{"legend.frameon": False, "legend.fontsize": 8.0, "legend.handlelength": 1.6, "legend.columnspacing": 1.2},
}
DASHED = {"color": FAINT, "linestyle": (0, (4, 3)), "linewidth": 1}
SMALL = {"textcoords": "offset points", "fontsize": 8}


def available() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def picture(curves: Curves, tensors: Sequence[TensorSummary], wrong: Collection[str] = ()) -> Any:
    """Draw the three panels side by side, as a matplotlib `Figure` that a notebook shows.

    wrong : the tensors to highlight.

    Raises
    ------
    BackendError : if matplotlib is not installed.
    """
    with _style():
        figure = _figure((13.5, 4.6), layout="constrained")
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


@contextmanager
def _style(**extra: Any) -> Iterator[None]:
    """Context manager that sets matplotlib's defaults and STYLE, and restores the user's settings afterwards."""
    try:
        import matplotlib.style
    except ImportError as error:
        raise BackendError("pictures need matplotlib, which is not installed: pip install matplotlib") from error
    with matplotlib.style.context(["default", {**STYLE, **extra}]):
        yield


def _figure(size: tuple[float, float], layout: Any = None) -> Any:
    from matplotlib.figure import Figure

    class Picture(Figure):  # type: ignore[misc]
        def _repr_svg_(self) -> str:  # notebooks call this; they show other figures only if pyplot made them
            out = io.StringIO()
            self.savefig(out, format="svg")
            return out.getvalue()

    return Picture(figsize=size, layout=layout)


def svg(draw: Draw, name: str, label: str, height: float = 4.4) -> str:
    """Draw one panel as an <svg> element for a page; the same numbers give the same bytes.

    name : the prefix of its ids, which must be unique in a page. label : a description for those who cannot see it.
    Colours are the page's variables: --ink, --faint, --grid, and --c0 … --c5 for COLOURS.
    """
    with _style(**{"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure = _figure((4.6, height))  # fixed margins, since fitting them to the texts takes most of the time
        draw(figure.subplots())
        figure.subplots_adjust(left=0.17, right=0.97, top=1 - 0.35 / height, bottom=(height - 3.35) / height)
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return _inline(out.getvalue(), name, label)


def _inline(text: str, name: str, label: str) -> str:
    """Convert matplotlib's SVG file to an element: without prologue, size and unused ids; others start with `name`."""
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = dict.fromkeys(re.findall(r"""(?:href="|url\()#([^")]+)""", body))
    names = {old: f"{name}-{i}" for i, old in enumerate(used)}
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", body)
    body = re.sub(r'(?:xlink:)?href="#([^"]*)"', lambda m: f'href="#{names[m[1]]}"', body)
    body = re.sub(r"url\(#([^)]*)\)", lambda m: f"url(#{names[m[1]]})", body)
    body = re.sub(r' (?:d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)  # a 7000th of an inch
    variables = {INK: "--ink", FAINT: "--faint", GRID: "--grid"} | {c: f"--c{i}" for i, c in enumerate(COLOURS)}
    for colour, variable in variables.items():
        body = body.replace(colour, f"var({variable})")
    return f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{html.escape(label)}">{body.strip()}\n'
