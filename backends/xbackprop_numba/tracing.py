"""Write a generic function of arrays as scalar code, by calling it on numbers that record what is done with them.

The compiled epoch needs f, f′, losses and updates as the bodies of its loops. Numba can compile the functions' source,
but it would make float64 of ``0.5 * z`` for a float32 z. A trace does as the array API does: a Python number takes the
dtype of the array it meets. It goes through helpers, through functions made by `functools.partial`, and a user's own
functions; one that asks for a value, as ``if z > 0`` does, raises `Untraceable`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

REAL, BOOL = "real", "bool"
#: Where a value lives: a number known before the loops, in float64; one per row; one per element; a sum over all, in
#: float64 again.
NUMBER, ROW, ELEMENT, TOTAL = range(4)

UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "tan", "sinh", "cosh", "atan", "asinh", "floor")
REDUCTIONS = ("sum", "max")
# NaN stays; where the second is a plain number, one comparison is enough, which is one instruction.
MAXIMUM = "({0} if {0} >= {1} or {0} != {0} else {1})"
MINIMUM = "({0} if {0} <= {1} or {0} != {0} else {1})"


class Untraceable(Exception):
    """The function asks its arguments for what a number in a loop does not have."""


class Value:
    """A number in a loop: the text of an operation, with the values that it is made of.

    stage : how many sums or maxima over a row come before it.
    """

    __array_ufunc__ = None  # NumPy's numbers leave the operation to this class

    def __init__(self, text: str, parts: Sequence[Value] = (), level: int = NUMBER, dtype: str = REAL) -> None:
        self.text, self.parts, self.level, self.dtype = text, parts, level, dtype
        self.stage: int = max((part.stage for part in parts), default=0)

    def _with(self, text: str, *others: Any, dtype: str = REAL) -> Value:
        return operation(text, self, *others, dtype=dtype)

    def __add__(self, other: Any) -> Value:
        return self._with("({0} + {1})", other)

    def __radd__(self, other: Any) -> Value:
        return self._with("({1} + {0})", other)

    def __sub__(self, other: Any) -> Value:
        return self._with("({0} - {1})", other)

    def __rsub__(self, other: Any) -> Value:
        return self._with("({1} - {0})", other)

    def __mul__(self, other: Any) -> Value:
        return self._with("({0} * {1})", other)

    def __rmul__(self, other: Any) -> Value:
        return self._with("({1} * {0})", other)

    def __truediv__(self, other: Any) -> Value:
        return self._with("({0} / {1})", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with("({1} / {0})", other)

    def __pow__(self, other: Any) -> Value:
        return self._with("({0} * {0})") if other == 2 else self._with("({0} ** {1})", other)

    def __neg__(self) -> Value:
        return self._with("(-{0})")

    def __abs__(self) -> Value:
        return self._with("abs({0})")

    def __gt__(self, other: Any) -> Value:
        return self._with("({0} > {1})", other, dtype=BOOL)

    def __ge__(self, other: Any) -> Value:
        return self._with("({0} >= {1})", other, dtype=BOOL)

    def __lt__(self, other: Any) -> Value:
        return self._with("({0} < {1})", other, dtype=BOOL)

    def __le__(self, other: Any) -> Value:
        return self._with("({0} <= {1})", other, dtype=BOOL)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return self._with("({0} == {1})", other, dtype=BOOL)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return self._with("({0} != {1})", other, dtype=BOOL)

    def __hash__(self) -> int:
        return id(self)

    def __and__(self, other: Any) -> Value:
        return self._with("({0} and {1})", other, dtype=BOOL)

    def __or__(self, other: Any) -> Value:
        return self._with("({0} or {1})", other, dtype=BOOL)

    def __invert__(self) -> Value:
        return self._with("(not {0})", dtype=BOOL)

    def __bool__(self) -> bool:
        raise Untraceable("it asks whether a number is true")


def operation(text: str, *parts: Any, dtype: str = REAL) -> Value:
    """Return the value of an operation; Python's numbers, and those of float64, take the dtype of the arrays."""
    values = [_value(part) for part in parts]
    level = max(value.level for value in values)
    if level == TOTAL and any(value.level in (ROW, ELEMENT) for value in values):
        raise Untraceable("it mixes a sum over all rows with single ones")
    if level in (ROW, ELEMENT):
        values = [_as_real(value) for value in values]
    return Value(text, values, level, dtype)


def _value(x: Any) -> Value:
    if isinstance(x, Value):
        return x
    if isinstance(x, bool | int | float) or type(x).__module__ == "numpy":
        number = float(x)
        return Value(
            repr(number) if math.isfinite(number) else "np.nan" if number != number else f"{'-' * (number < 0)}np.inf"
        )
    raise Untraceable(f"it takes a {type(x).__name__}")


def _as_real(value: Value) -> Value:
    return Value("real({0})", [value]) if value.level == NUMBER and value.dtype == REAL else value


class TracedNamespace:
    """The array API's functions on such values: those that work element by element, and sums and maxima of rows."""

    float32 = float64 = REAL

    def isdtype(self, dtype: Any, kind: Any) -> bool:
        """Return whether the dtype, the one real dtype or bool, is of this kind."""
        return dtype == (BOOL if kind == "bool" else REAL) and "complex" not in str(kind)

    def astype(self, x: Value, dtype: str, **_: Any) -> Value:
        """Convert; only a boolean changes."""
        return operation("(real(1.0) if {0} else real(0.0))", x) if x.dtype == BOOL and dtype == REAL else x

    def where(self, condition: Value, x: Any, y: Any) -> Value:
        """Choose x or y."""
        return operation("({1} if {0} else {2})", condition, x, y)

    def maximum(self, x: Any, y: Any) -> Value:
        """Return the larger number, or NaN if one is."""
        return operation(MAXIMUM if isinstance(y, Value) else "({1} if {0} < {1} else {0})", x, y)

    def minimum(self, x: Any, y: Any) -> Value:
        """Return the smaller number, or NaN if one is."""
        return operation(MINIMUM if isinstance(y, Value) else "({1} if {0} > {1} else {0})", x, y)

    def clip(self, x: Any, low: Any = None, high: Any = None) -> Value:
        """Return x cut at low and high."""
        x = x if low is None else self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    def sign(self, x: Value) -> Value:
        """Return 1, 0, -1 or NaN."""
        return operation("(real(1.0) if {0} > 0.0 else (real(-1.0) if {0} < 0.0 else {0}))", x)

    def square(self, x: Value) -> Value:
        """Return x²."""
        return operation("({0} * {0})", x)

    def real(self, x: Value) -> Value:
        """Return x, which is real."""
        return x

    def abs(self, x: Value) -> Value:
        """Return |x|."""
        return abs(x)

    def full_like(self, x: Value, value: Any) -> Value:
        """Return the number as one like x."""
        number = _as_real(_value(value))
        return Value(number.text, number.parts, x.level)

    def zeros_like(self, x: Value) -> Value:
        """Return 0 as a number like x."""
        return self.full_like(x, 0.0)

    def ones_like(self, x: Value) -> Value:
        """Return 1 as a number like x."""
        return self.full_like(x, 1.0)

    def sum(self, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
        """Sum over the columns, for one number per row, or over all."""
        return _reduced("sum", x, axis, keepdims)

    def max(self, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
        """Return the largest number of each row."""
        return _reduced("max", x, axis, keepdims)

    def __getattr__(self, name: str) -> Callable[[Value], Value]:
        if name not in UNARY:
            raise AttributeError(name)
        return lambda x: operation(f"{name}({{0}})", x)


NAMESPACE = TracedNamespace()


def _reduced(text: str, x: Value, axis: Any, keepdims: bool) -> Value:
    if axis == -1 and keepdims and x.level == ELEMENT:
        result = Value(text, [x], ROW)
        result.stage = x.stage + 1
        return result
    if text == "sum" and axis in (None, (-2, -1)) and not keepdims and x.level in (ROW, ELEMENT):
        return Value(text, [x], TOTAL)
    raise Untraceable(f"it takes the {text} over axis {axis}")


def trace(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function(xp, *arguments)`` on values; raise `Untraceable` if it needs more than these have."""
    try:
        return function(NAMESPACE, *arguments)
    except (AttributeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        raise Untraceable(f"{type(error).__name__}: {error}") from error


def in_order(results: Iterable[Value]) -> list[Value]:
    """List all values that the results are made of, each once, after those that it needs."""
    found: dict[int, Value] = {}
    waiting = [*results]
    while waiting:
        value = waiting[-1]
        missing = [part for part in value.parts if id(part) not in found]
        if missing:
            waiting += missing
        else:
            found.setdefault(id(waiting.pop()), value)
    return list(found.values())


class Writer:
    """Lines of code, each of which gives a value its name."""

    def __init__(self, letter: str = "t") -> None:
        self.letter = letter
        self.lines: list[str] = []
        self.names: dict[int, str] = {}

    def write(self, value: Value, indent: int) -> str:
        """Write the line of a value whose parts have names already; return its name."""
        if id(value) not in self.names:
            parts = [self.names[id(part)] for part in value.parts]
            text = value.text.format(*parts)
            if not value.parts:  # an argument or a number
                self.names[id(value)] = text
            else:
                name = self.names[id(value)] = f"{self.letter}{len(self.names)}"
                self.lines.append("    " * indent + f"{name} = {text}")
        return self.names[id(value)]


def elementwise(results: Sequence[Value], indent: int) -> tuple[list[str], list[str], list[str]]:
    """Write elementwise values as lines; return those before the loops, those within them, and the results' names.

    A number that came from an array must be read before the loop: within it, a store might have changed it.
    """
    before, within = Writer("c"), Writer()
    for value in in_order(results):
        if value.text in REDUCTIONS:
            raise Untraceable(f"it takes a {value.text}, and is not elementwise")
        if value.level == NUMBER:
            within.names[id(value)] = before.write(value, 1)
        else:
            within.write(value, indent)
    return before.lines, within.lines, [within.names[id(value)] for value in results]


def rowwise(cost: Value, delta: Value) -> tuple[list[str], int]:
    """Write a loss row by row: every sum or maximum over a row ends a loop over its columns, and begins another.

    Return the body of a function of z, y, share (a number or one per row), delta and scratch (slots, columns), and the
    number of slots: values of an earlier loop are kept there for a later one.
    """
    ordered = in_order([cost, delta])
    last_use = {id(v): v.stage for v in ordered}
    for value in ordered:
        for part in value.parts:
            last_use[id(part)] = max(
                last_use[id(part)], value.stage - (value.level == ROW and value.text in REDUCTIONS)
            )
    totals = {id(v): i for i, v in enumerate(v for v in ordered if v.level == TOTAL and v.text in REDUCTIONS)}
    folds = {id(v): i for i, v in enumerate(v for v in ordered if v.level == ROW and v.text in REDUCTIONS)}
    writer = Writer()
    slots: dict[int, int] = {}
    names, lines = writer.names, writer.lines

    def of(level: int, stage: int, among: dict[int, int] | None = None) -> list[Value]:
        return [v for v in ordered if (v.level, v.stage) == (level, stage) and (among is None or id(v) in among)]

    def add_to_totals(level: int, stage: int, indent: str) -> None:
        for value in ordered:
            if id(value) in totals and (value.parts[0].level, value.parts[0].stage) == (level, stage):
                lines.append(f"{indent}total{totals[id(value)]} += {names[id(value.parts[0])]}")

    for value in of(NUMBER, 0):
        writer.write(value, 1)
    lines += [f"    total{i} = 0.0" for i in totals.values()]
    lines.append("    for i in range(z.shape[0]):")
    for stage in range(max(v.stage for v in ordered) + 1):
        for value in of(ROW, stage):
            if id(value) not in folds:
                writer.write(value, 2)
        add_to_totals(ROW, stage, "        ")
        ending = of(ROW, stage + 1, folds)
        lines += [f"        s{folds[id(v)]} = {'0.0' if v.text == 'sum' else 'real(-np.inf)'}" for v in ending]
        lines.append("        for k in range(z.shape[1]):")
        for value in ordered:
            if value.level == ELEMENT and id(value) in slots and last_use[id(value)] >= stage:
                lines.append(f"            {names[id(value)]} = scratch[{slots[id(value)]}, k]")
        for value in of(ELEMENT, stage):
            name = writer.write(value, 3)
            if value.parts and last_use[id(value)] > stage:
                slots[id(value)] = len(slots)
                lines.append(f"            scratch[{slots[id(value)]}, k] = {name}")
        for value in ending:
            so_far, name = f"s{folds[id(value)]}", names[id(value.parts[0])]
            more = f"{so_far} + {name}" if value.text == "sum" else MAXIMUM.format(so_far, name)
            lines.append(f"            {so_far} = {more}")
            names[id(value)] = f"r{folds[id(value)]}"
        add_to_totals(ELEMENT, stage, "            ")
        if delta.stage == stage:
            lines.append(f"            delta[i, k] = {names[id(delta)]}")
        if lines[-1].startswith("        for k"):
            lines.pop()
        lines += [f"        r{folds[id(v)]} = real(s{folds[id(v)]})" for v in ending]
    names |= {key: f"total{i}" for key, i in totals.items()}
    for value in ordered:
        if value.level == TOTAL:
            writer.write(value, 1)
    lines.append(f"    return {names[id(cost)]}")
    return lines, len(slots)
