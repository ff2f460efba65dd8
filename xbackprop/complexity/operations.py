"""Counting the operations of an elementwise function, by running it on numbers that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Counting:
    """A number that is only counted: every arithmetic operation with it is one, and gives another such number."""

    dtype, ndim, shape = "counting", 2, (1, 1)

    def __init__(self, tally: list[int]) -> None:
        self.tally = tally

    def _one(self, *_: Any) -> Counting:
        self.tally[0] += 1
        return Counting(self.tally)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _one
    __neg__ = __abs__ = __pow__ = __gt__ = __lt__ = __ge__ = __le__ = __and__ = __or__ = _one


class CountingNamespace:
    """An array API namespace of such numbers: every function is one operation, but for those that move or fill."""

    FREE = ("astype", "zeros_like", "ones_like", "real", "reshape", "asarray")

    def __init__(self, tally: list[int]) -> None:
        self.tally = tally

    def __eq__(self, other: object) -> bool:  # all alike, for functions that remember what a namespace can do
        return isinstance(other, CountingNamespace)

    def __hash__(self) -> int:
        return 0

    def isdtype(self, *_: Any) -> bool:
        """Return False: no number is complex."""
        return False

    def __getattr__(self, name: str) -> Callable[..., Counting]:
        def function(*_: Any, **__: Any) -> Counting:
            self.tally[0] += name not in self.FREE
            return Counting(self.tally)

        return function


def operations(function: Callable[..., Any], n_arrays: int, *constants: Any) -> int:
    """Count the operations per element of ``function(xp, *arrays, *constants)``; a call of exp, √ or max is one."""
    tally = [0]
    try:
        function(CountingNamespace(tally), *(Counting(tally) for _ in range(n_arrays)), *constants)
    except (TypeError, AttributeError) as error:
        name = getattr(function, "__name__", repr(function))
        raise ValueError(f"{name}: its operations cannot be counted, it is not elementwise: {error}") from error
    return tally[0]
