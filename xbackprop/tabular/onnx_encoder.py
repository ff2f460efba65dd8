"""Write the encoding of a table as ONNX operators: a column is a value (n, 1), in float64, text or int64."""

from __future__ import annotations

import numpy as np

from xbackprop.export.onnx_graph import Graph
from xbackprop.export.onnx_namespace import NAMESPACE as xp
from xbackprop.export.onnx_namespace import Value
from xbackprop.tabular.blocks import Block
from xbackprop.tabular.categories import OneHotCode, TargetCode
from xbackprop.tabular.dates import DAY
from xbackprop.tabular.numbers import NumberCode

#: The dtype of the input of each kind of column, and the missing date.
DTYPES = {"number": "float64", "category": "str", "date": "int64"}
NO_DATE = int(np.iinfo(np.int64).min)
#: Beyond it a square is infinite; the scale of numbers is level there.
FAR = 1e150


def encoded(graph: Graph, blocks: list[Block]) -> str:
    """Write the inputs of a network (n, width) of these blocks, in the network's dtype."""
    parts = [graph.cast(_encoded(graph, block).name, graph.dtype) for block in blocks]
    return parts[0] if len(parts) == 1 else str(graph.node("Concat", *parts, axis=1))


def _encoded(graph: Graph, block: Block) -> Value:
    column = Value(graph, block.column, DTYPES[block.kind])
    match block.code:
        case OneHotCode():
            return _one_hot(column, block.code)
        case TargetCode():
            return _target_means(column, block.code)
        case _:
            if block.kind != "date":
                finite = ~(column.made("IsNaN", dtype="bool") | column.made("IsInf", dtype="bool"))
                return _numbers(column, finite, block.code)
            return _numbers(*_part(column, block.part), block.code)


def _numbers(x: Value, known: Value, code: NumberCode) -> Value:
    """Write the scale with its smooth clip, the bins, and whether a number is missing; see `NumberCode`."""
    x = xp.where(known, x, 0.0)
    z = xp.minimum(xp.maximum((x - code.centre) * code.scale, -FAR), FAR)  # type: ignore[attr-defined]
    parts = [z / xp.sqrt(1.0 + xp.square(z / code.clip))]  # type: ignore[attr-defined]
    if len(code.edges):
        low = x.of(code.edges[None, :-1])
        inside = (x - low) / x.of(np.diff(code.edges)[None, :])
        parts.append(xp.minimum(xp.maximum(inside, 0.0), 1.0))  # type: ignore[attr-defined]
    parts = [xp.where(known, part, 0.0) for part in parts]
    if code.gaps:
        parts.append(xp.astype(~known, "float64"))
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)


def _one_hot(text: Value, code: OneHotCode) -> Value:
    """Write a column of 0 and 1 for each level; see `OneHotCode`."""
    width = len(code.names)
    places = {level: j for j, level in enumerate(code.levels)} | dict.fromkeys(code.rare, len(code.levels))
    place = _looked_up(text, places, missing=width - 1 if code.gaps else width, other=width)
    return xp.astype(place.equals(place.of(np.arange(width)[None, :])), "float32")


def _target_means(text: Value, code: TargetCode) -> Value:
    """Write the standardised means of the levels; see `TargetCode`."""
    rows = {level: i for i, level in enumerate(code.levels)}
    row = _looked_up(text, rows, missing=len(rows), other=len(rows))
    table = code.scaled(np.vstack([code.means, code.default[None, :]]))
    graph = text.graph
    means = graph.node("Gather", graph.constant(table, "float64"), row.name)  # (n, 1, K)
    return Value(graph, graph.node("Squeeze", means, graph.constant([1], "int64")), "float64")


def _looked_up(text: Value, numbers: dict[str, int], missing: int, other: int) -> Value:
    """Write the number of each text; `missing` of the empty one, unless that is a level, `other` of all unknown."""
    numbers = {"": missing, **numbers}
    return text.made(
        "LabelEncoder", dtype="int64", domain="ai.onnx.ml", keys_strings=list(numbers),
        values_int64s=list(numbers.values()), default_int64=other,
    )  # fmt: skip


def _part(seconds: Value, part: str) -> tuple[Value, Value]:
    """Write a part of dates as numbers, and where it is known; see `dates.part_of` and `dates.hours_between`."""
    known = ~seconds.equals(NO_DATE)
    if part.startswith("since "):
        other = Value(seconds.graph, part.removeprefix("since "), "int64")
        return xp.astype(seconds - other, "float64") / 3600.0, known & ~other.equals(NO_DATE)
    seconds = xp.where(known, seconds, 0)
    of_day = seconds % int(DAY)
    days = (seconds - of_day) // int(DAY)
    match part:
        case "elapsed":
            return xp.astype(seconds, "float64") / DAY, known
        case "weekday":
            return xp.astype((days + 3) % 7, "float64"), known
        case "hour":
            return xp.astype(of_day, "float64") / 3600.0, known
        case _:
            return xp.astype(dict(zip(("year", "month", "day"), _civil(days), strict=True))[part], "float64"), known


def _civil(days: Value) -> tuple[Value, Value, Value]:
    """Write year, month and day of days since 1970, in years that begin in March, so that leap days come last.

    Howard Hinnant, "chrono-compatible low-level date algorithms", 2013: an era has 400 years and 146,097 days.
    """
    shifted = days + 719_468  # since 0000-03-01
    of_era = shifted % 146_097
    era = (shifted - of_era) // 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    early = month >= 10  # January and February, which belong to the next year
    return year + 400 * era + xp.astype(early, "int64"), xp.where(early, month - 9, month + 3), day
