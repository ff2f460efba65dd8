"""A namespace of the array API whose arrays write an ONNX graph: what is written once is exported as it stands.

An activation f(xp, z) is called with this namespace and a value of the graph; each function that it calls becomes a
node. So are those of ours that have no operator of their own, or none in float64, and the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xbackprop.errors import ExportError
from xbackprop.export.onnx_graph import Graph


class Value:
    """A value of the graph, with the operators of an array."""

    def __init__(self, graph: Graph, name: str, dtype: str) -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

    def made(self, operator: str, *others: Any, dtype: str | None = None, **attributes: Any) -> Value:
        """Return the result of an operator on this value and others, of which numbers become constants."""
        names = [other.name if isinstance(other, Value) else self._number(other) for other in others]
        name = self.graph.node(operator, self.name, *names, **attributes)
        return Value(self.graph, name, dtype or self.dtype)

    def of(self, number: Any) -> Value:
        """Return a number as a value of the same dtype."""
        return number if isinstance(number, Value) else Value(self.graph, self._number(number), self.dtype)

    def _number(self, number: Any) -> str:
        return self.graph.constant(number, self.dtype)

    def __neg__(self) -> Value:
        return self.made("Neg")

    def __add__(self, other: Any) -> Value:
        return self.made("Add", other)

    def __radd__(self, other: Any) -> Value:
        return self.of(other).made("Add", self)

    def __sub__(self, other: Any) -> Value:
        return self.made("Sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self.of(other).made("Sub", self)

    def __mul__(self, other: Any) -> Value:
        return self.made("Mul", other)

    def __rmul__(self, other: Any) -> Value:
        return self.of(other).made("Mul", self)

    def __truediv__(self, other: Any) -> Value:
        return self.made("Div", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.of(other).made("Div", self)

    def __floordiv__(self, other: Any) -> Value:
        """Divide whole numbers that are not negative: ONNX cuts towards zero."""
        return self.made("Div", other)

    def __mod__(self, other: Any) -> Value:
        return self.made("Mod", other)

    def __pow__(self, other: Any) -> Value:
        return self.made("Pow", other)

    def __abs__(self) -> Value:
        return self.made("Abs")

    def __gt__(self, other: Any) -> Value:
        return self.made("Greater", other, dtype="bool")

    def __ge__(self, other: Any) -> Value:
        return self.made("GreaterOrEqual", other, dtype="bool")

    def __lt__(self, other: Any) -> Value:
        return self.made("Less", other, dtype="bool")

    def __le__(self, other: Any) -> Value:
        return self.made("LessOrEqual", other, dtype="bool")

    def __and__(self, other: Any) -> Value:
        return self.made("And", other)

    def __or__(self, other: Any) -> Value:
        return self.made("Or", other)

    def __invert__(self) -> Value:
        return self.made("Not")

    def equals(self, other: Any) -> Value:
        """Return where both are equal; `==` would make values unfit for sets."""
        return self.made("Equal", other, dtype="bool")

    def __bool__(self) -> bool:
        raise TypeError("an array of unknown numbers is neither true nor false; use xp.where")


def _unary(operator: str) -> Callable[..., Value]:
    def function(_: OnnxNamespace, x: Value) -> Value:
        return x.made(operator)

    function.__doc__ = f"Write {operator}, elementwise."
    return function


def _binary(operator: str) -> Callable[..., Value]:
    def function(_: OnnxNamespace, x: Any, y: Any) -> Value:
        return (x if isinstance(x, Value) else y.of(x)).made(operator, y)

    function.__doc__ = f"Write {operator}, elementwise."
    return function


#: Functions of the standard that are an operator, by its name.
UNARY = {
    "abs": "Abs", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "sign": "Sign", "sin": "Sin",
    "cos": "Cos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "floor": "Floor", "ceil": "Ceil", "negative": "Neg",
}  # fmt: skip
BINARY = {
    "maximum": "Max", "minimum": "Min", "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div",
    "pow": "Pow",
}  # fmt: skip


class OnnxNamespace:
    """The functions of the standard that activations and outputs are made of, on `Value`s."""

    float32, float64, int64 = "float32", "float64", "int64"

    def isdtype(self, dtype: str, kind: Any) -> bool:
        """Return whether a dtype is of a kind: no value is complex."""
        kinds = kind if isinstance(kind, tuple) else (kind,)
        return dtype in kinds or (dtype.startswith("float") and bool({"real floating", "numeric"} & set(kinds)))

    def expm1(self, x: Value) -> Value:
        """exp x - 1."""
        return x.made("Exp") - 1.0

    def log1p(self, x: Value) -> Value:
        """log(1 + x)."""
        return (1.0 + x).made("Log")

    def square(self, x: Value) -> Value:
        """x²."""
        return x * x

    def where(self, condition: Value, x: Any, y: Any) -> Value:
        """Return x where the condition is true, else y."""
        one = x if isinstance(x, Value) else y
        return Value(condition.graph, condition.made("Where", one.of(x), one.of(y)).name, one.dtype)

    def zeros_like(self, x: Value) -> Value:
        """Zeros in the shape of x."""
        return self._filled(x, 0.0)

    def ones_like(self, x: Value) -> Value:
        """Ones in the shape of x."""
        return self._filled(x, 1.0)

    def astype(self, x: Value, dtype: str) -> Value:
        """Return x in another dtype."""
        return Value(x.graph, x.graph.cast(x.name, dtype), dtype)

    def sum(self, x: Value, axis: int, keepdims: bool = False) -> Value:
        """Sum along an axis."""
        return self._reduced("ReduceSum", x, axis, keepdims)

    def max(self, x: Value, axis: int, keepdims: bool = False) -> Value:
        """The largest along an axis."""
        return self._reduced("ReduceMax", x, axis, keepdims)

    def sort(self, x: Value, axis: int = -1) -> Value:
        """Return x in ascending order."""
        shape = x.graph.node("Shape", x.name, start=axis)
        values, _ = x.graph.node("TopK", x.name, shape, outputs=2, axis=axis, largest=0, sorted=1)
        return Value(x.graph, values, x.dtype)

    def concat(self, parts: list[Value], axis: int = 0) -> Value:
        """Join along an axis."""
        name = parts[0].graph.node("Concat", *(part.name for part in parts), axis=axis)
        return Value(parts[0].graph, name, parts[0].dtype)

    def _reduced(self, operator: str, x: Value, axis: int, keepdims: bool) -> Value:
        name = x.graph.node(operator, x.name, x.graph.constant([axis], "int64"), keepdims=int(keepdims))
        return Value(x.graph, name, x.dtype)

    def _filled(self, x: Value, number: float) -> Value:
        return Value(x.graph, x.graph.node("Expand", x.of(number).name, x.graph.node("Shape", x.name)), x.dtype)


for _name, _operator in UNARY.items():
    setattr(OnnxNamespace, _name, _unary(_operator))
for _name, _operator in BINARY.items():
    setattr(OnnxNamespace, _name, _binary(_operator))
NAMESPACE = OnnxNamespace()


def traced(graph: Graph, what: str, function: Callable[..., Any], z: str) -> str:
    """Write f(xp, z) into the graph; ExportError where it calls what has no counterpart there."""
    try:
        result = function(NAMESPACE, Value(graph, z, graph.dtype))
    except Exception as error:  # of a function of the user's own, whatever it does with an array that has no numbers
        missing = getattr(error, "name", None) if isinstance(error, AttributeError) else None
        why = f"it calls xp.{missing}, which has no operator here" if missing else f"{type(error).__name__}: {error}"
        raise ExportError(
            f"{graph.where}: {what} could not be written as ONNX operators: {why}; use arithmetic, comparisons and "
            f"{', '.join(sorted([*UNARY, *BINARY, 'expm1', 'log1p', 'where']))}"
        ) from error
    if not isinstance(result, Value):
        raise ExportError(f"{graph.where}: {what} must return an array made from z, got {type(result).__name__}")
    return result.name
