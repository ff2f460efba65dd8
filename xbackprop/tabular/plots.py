"""Draw how a model for tables was trained and what it is worth: pictures for a notebook, for files, and for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.display import drawing
from xbackprop.display.drawing import COLOURS, DASHED, FAINT, Draw
from xbackprop.display.page import escaped, facts, html_page, table
from xbackprop.tabular.evaluation import Bin, Evaluation, Histogram

#: Columns that the picture of their importance shows; classes of a confusion matrix whose numbers are written in it.
SHOWN, WRITTEN = 20, 12
TITLES = {
    "curves": "Validation loss",
    "confusion": "True against predicted class",
    "reliability": "Reliability",
    "residuals": "True against predicted value",
    "importance": "Permutation importance",
}


def panels(model: Any, evaluation: Evaluation | None) -> dict[str, Draw]:
    """Return, for the name of each picture, the function that draws it on given axes."""
    found: dict[str, Draw] = {"curves": lambda axes: draw_curves(axes, model.curves_)}
    if evaluation is None:
        return found
    e = evaluation
    if e.confusion:
        found["confusion"] = lambda axes: draw_confusion(axes, e.classes, e.confusion)
    if e.values:
        found["residuals"] = lambda axes: draw_values(axes, e.values[0])
    if e.reliability:
        labels = _reliability_labels(model)
        found["reliability"] = lambda axes: draw_reliability(axes, e.reliability, labels, e.calibration_error)
    found["importance"] = lambda axes: draw_importance(axes, e.importance, e.metric)
    return found


def _reliability_labels(model: Any) -> tuple[str, str]:
    if not model.n_classes_:
        return "quantile", "part of the rows below it"
    if model.n_classes_ == 2:
        label = str(model.classes_[1])
        return f"probability of {label}", f"part that is {label}"
    return "probability of the predicted class", "part that is right"


def write_pictures(model: Any, evaluation: Evaluation | None, folder: Path, title: str) -> list[Path]:
    """Write every picture as PNG and SVG, and a page with all of them, into a folder; return the files.

    Raises
    ------
    BackendError : if matplotlib is not installed.
    """
    drawings = panels(model, evaluation)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in drawings.items():
        with drawing.style():
            figure = drawing.figure_of((5.2, 4.4), layout="constrained")
            draw(figure.subplots())
            for ending in ("png", "svg"):
                path = folder / f"{name}.{ending}"
                figure.savefig(path, dpi=160)
                written.append(path)
    page = folder / "index.html"
    page.write_text(_page(model, evaluation, drawings, title), "utf-8")
    return [*written, page]


def _page(model: Any, evaluation: Evaluation | None, drawings: Mapping[str, Draw], title: str) -> str:
    settings = ["learning_rate_init", "weight_decay", "dropout", "depth", "activation", "loss", "bins"]
    head = ["chosen", model.metric_, "epochs", *settings]
    rows = [
        [str(row["chosen"] or "–"), f"{row['score']:.4f}", f"{row['epochs']:.0f}", *(_number(row[s]) for s in settings)]
        for row in model.leaderboard_
    ]
    known = [("networks", str(len(model.networks_))), ("validation", f"{model.metric_} {model.validation_score_:.4f}"),
             ("training", f"{model.fit_seconds_:.1f} s")]  # fmt: skip
    scores: list[tuple[str, str]] = []
    if evaluation is not None:
        known.append(("rows evaluated", f"{evaluation.rows:,}"))
        scores = [(name, f"{s.value:.4f} ({s.low:.4f} to {s.high:.4f})") for name, s in evaluation.scores.items()]
    pictures = "".join(
        drawing.svg(draw, name, TITLES[name], 3.95, 0.28 if name in ("confusion", "importance") else 0.17)
        for name, draw in drawings.items()
    )
    columns = [
        [name, c.kind, str(len(c.levels) or ""), f"{c.missing:,}" if c.missing else "", c.becomes]
        for name, c in model.columns_.items()
    ]
    parts = [
        f"<header><h1>{escaped(title)}</h1></header>",
        facts([*known, *scores]),
        f'<div class="pictures">{pictures}</div>',
        f"<h2>Candidates</h2>{table(head, rows)}",
        f"<h2>Columns</h2>{table(['column', 'kind', 'levels', 'missing', 'becomes'], columns, text=(0, 1, 4))}",
    ]
    return html_page(title, parts)


def _number(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def draw_curves(axes: Any, curves: Sequence[Mapping[str, Any]]) -> None:
    """Draw the validation loss of each network after each epoch, with a dot at the epoch whose weights it kept."""
    axes.set(title=TITLES["curves"], xlabel="epoch", ylabel="validation loss")
    for i, curve in enumerate(curves):
        losses = np.array([np.nan if v is None else v for v in curve["validation"]], dtype=np.float64)
        if not np.isfinite(losses).any():
            continue
        colour, best = COLOURS[i % len(COLOURS)], int(np.nanargmin(losses))
        axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, alpha=0.7, linewidth=1.0)
        axes.plot([best + 1], [losses[best]], marker="o", color=colour)
    if any(c["validation"] for c in curves) and all(v is not None and v > 0 for c in curves for v in c["validation"]):
        axes.set_yscale("log")
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(lambda value, _: f"{value:.3g}")


def draw_confusion(axes: Any, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Draw how many rows of each class were predicted to be of each; shades are parts of the true class."""
    matrix = np.array(counts)
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    k = len(classes)
    for i, j in np.ndindex(k, k):
        axes.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], color=COLOURS[0], alpha=float(0.85 * parts[i, j]), lw=0)
        if k <= WRITTEN:
            axes.text(j + 0.5, i + 0.5, f"{matrix[i, j]:,}", ha="center", va="center")
    places = np.arange(k) + 0.5
    few = slice(None, None, max(1, k // WRITTEN))
    axes.set(title=TITLES["confusion"], xlabel="predicted", ylabel="true", xlim=(0, k), ylim=(k, 0))
    axes.set_xticks(places[few], _short(classes)[few], rotation=0 if k < 5 else 45)
    axes.set_yticks(places[few], _short(classes)[few])
    axes.grid(visible=False)


def draw_values(axes: Any, histogram: Histogram) -> None:
    """Draw the number of rows by their predicted and their true value."""
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    shades = np.sqrt(counts / max(counts.max(), 1))  # few rows stay visible
    for i, j in np.argwhere(counts):
        x, y = edges[i : i + 2], edges[j : j + 2]
        axes.fill([*x, *x[::-1]], np.repeat(y, 2), color=COLOURS[0], alpha=float(0.1 + 0.9 * shades[i, j]), lw=0)
    axes.plot(edges[[0, -1]], edges[[0, -1]], **DASHED)
    axes.set(title=TITLES["residuals"], xlabel="predicted", ylabel="true", xlim=edges[[0, -1]], ylim=edges[[0, -1]])


def draw_reliability(axes: Any, bins: Sequence[Bin], labels: tuple[str, str], error: float) -> None:
    """Draw what came true against what was predicted; on the diagonal a model is as right as it says."""
    axes.plot([0, 1], [0, 1], **DASHED)
    for b in bins:  # a standard error either way
        half = np.sqrt(max(b.observed * (1.0 - b.observed), 1e-12) / max(b.rows, 1))
        axes.plot([b.predicted] * 2, [b.observed - half, b.observed + half], color=FAINT, linewidth=1.0)
    axes.plot([b.predicted for b in bins], [b.observed for b in bins], marker="o", color=COLOURS[0])
    axes.text(0.03, 0.95, f"calibration error {error:.3f}", transform=axes.transAxes, va="top")
    axes.set(title=TITLES["reliability"], xlabel=labels[0], ylabel=labels[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def draw_importance(axes: Any, importance: Mapping[str, tuple[float, float]], metric: str) -> None:
    """Draw what the score loses as each column is shuffled, with a standard deviation either way."""
    shown = list(importance.items())[:SHOWN][::-1]
    places, values = np.arange(len(shown)), np.array([mean for _, (mean, _) in shown])
    axes.barh(places, values, color=COLOURS[0], height=0.7)
    for place, (_, (mean, deviation)) in zip(places, shown, strict=True):
        axes.plot([mean - deviation, mean + deviation], [place] * 2, color=FAINT, linewidth=1.0)
    axes.set_yticks(places, _short([name for name, _ in shown]))
    axes.set(title=TITLES["importance"], xlabel=f"worsening of {metric} as the column is shuffled")


def _short(names: Sequence[str], most: int = 14) -> list[str]:
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
