"""Draw pictures with matplotlib in one style, as figures for notebooks and files, and as SVG for pages.

Nothing uses pyplot, so a user's figures and settings stay as they are.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xbackprop.errors import BackendError

Draw = Callable[[Any], None]  # draws on the axes that it is given

#: Paul Tol's "bright" colours, which the colour-blind can tell apart, on white and on black. What shares a
#: colour has different markers.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44")
MARKERS = ("o", "s", "^", "D")
INK, FAINT, GRID = "#333333", "#8a8a8a", "#e4e4e4"

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


def available() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def style(**extra: Any) -> Iterator[None]:
    """Context manager that sets matplotlib's defaults and STYLE, and restores the user's settings afterwards."""
    try:
        import matplotlib.style
    except ImportError as error:
        raise BackendError("pictures need matplotlib, which is not installed: pip install matplotlib") from error
    with matplotlib.style.context(["default", {**STYLE, **extra}]):
        yield


def figure_of(size: tuple[float, float], layout: Any = None) -> Any:
    """Return an empty figure (inches), which a notebook shows."""
    from matplotlib.figure import Figure

    class Picture(Figure):  # type: ignore[misc]
        def _repr_svg_(self) -> str:  # notebooks call this; they show other figures only if pyplot made them
            out = io.StringIO()
            self.savefig(out, format="svg")
            return out.getvalue()

    return Picture(figsize=size, layout=layout)


def svg(draw: Draw, name: str, label: str, height: float = 4.4, left: float = 0.17) -> str:
    """Draw one panel as an <svg> element for a page; the same numbers give the same bytes.

    name : the prefix of its ids, which must be unique in a page. label : a description for those who cannot see it.
    height, left : of the panel in inches, of which 0.6 and more are below the axes; and the part left of them.
    Colours are the page's variables: --ink, --faint, --grid, and --c0 … --c5 for COLOURS.
    """
    with style(**{"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure = figure_of((4.6, height))  # fixed margins, since fitting them to the texts takes most of the time
        draw(figure.subplots())
        figure.subplots_adjust(left=left, right=0.97, top=1 - 0.35 / height, bottom=(height - 3.35) / height)
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
