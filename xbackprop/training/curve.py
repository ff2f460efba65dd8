"""`Curve`: a list of numbers to which one is appended after every epoch, and which is copied in no time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload


class Curve(Sequence[float]):
    """Numbers, one for every epoch. Copies share them, since a run of a million calls of `partial_fit` copies as often.

    Appending to a copy leaves the others as they are: whoever finds that the shared list has grown beyond its own
    length takes a list of its own.

    Examples
    --------
    >>> curve = Curve([0.5, 0.25])
    >>> other = curve.copy()
    >>> curve.append(0.125)
    >>> list(other), list(curve)
    ([0.5, 0.25], [0.5, 0.25, 0.125])
    """

    def __init__(self, numbers: Iterable[float] = ()) -> None:
        self._shared = list(numbers)
        self._length = len(self._shared)

    def append(self, number: float) -> None:
        """Add the number of one more epoch."""
        if len(self._shared) != self._length:
            self._shared = self._shared[: self._length]
        self._shared.append(number)
        self._length += 1

    def copy(self) -> Curve:
        """Return a copy, in a time that does not grow with the length."""
        other = Curve()
        other._shared, other._length = self._shared, self._length
        return other

    def tolist(self) -> list[float]:
        """Return the numbers as a list of the caller's own."""
        return self._shared[: self._length]

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        return self._shared[range(self._length)[index]] if isinstance(index, int) else self.tolist()[index]
