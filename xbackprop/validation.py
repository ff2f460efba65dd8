"""Checks of numbers, names and sizes that users hand in.

Every function takes `where`, the call that the user made, and raises a ValueError that names this call, the value that
was expected and the value that was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import import_module
from numbers import Integral, Real
from typing import Any

import numpy as np

from xbackprop.errors import BackendError


def integer(where: str, name: str, value: Any, at_least: int) -> int:
    """Return `value` as an int if it is a whole number of at least `at_least`; raise ValueError otherwise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < at_least:
        raise ValueError(f"{where}: {name} must be a whole number of at least {at_least}, got {value!r}")
    return int(value)


def number(where: str, name: str, value: Any, accept: Callable[[float], bool], expected: str) -> float:
    """Return `value` as a Python float, since a NumPy float64 would turn a float32 network into a float64 one."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not accept(_float(value)):
        raise ValueError(f"{where}: {name} must be {expected}, got {value!r}")
    return float(value)


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond the largest float
        return math.inf


def positive(where: str, name: str, value: Any) -> float:
    """Return `value` as a float if it is finite and above zero; raise ValueError otherwise."""
    return number(where, name, value, lambda v: 0 < v < math.inf, "a positive number")


def non_negative(where: str, name: str, value: Any) -> float:
    """Return `value` as a float if it is finite and not negative; raise ValueError otherwise."""
    return number(where, name, value, lambda v: 0 <= v < math.inf, "a number of at least 0")


def fraction(where: str, name: str, value: Any, one_allowed: bool = False) -> float:
    """Return `value` as a float if it lies in [0, 1), or in [0, 1] with `one_allowed`; raise ValueError otherwise."""
    expected = "a number in [0, 1]" if one_allowed else "a number in [0, 1)"
    return number(where, name, value, lambda v: 0 <= v < 1 or (one_allowed and v == 1), expected)


def one_of(where: str, name: str, value: Any, known: Iterable[str]) -> str:
    """Return `value` if it is one of the `known` names; raise ValueError otherwise."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def layer_sizes(where: str, name: str, value: Any, at_least: int = 0) -> tuple[int, ...]:
    """Return widths of layers as a tuple, from a whole number or a sequence of at least `at_least` of them."""
    if isinstance(value, Integral):
        value = (value,)
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise ValueError(f"{where}: {name} must be a sequence of whole numbers, got {value!r}")
    sizes = tuple(integer(where, f"{name}[{i}]", size, 1) for i, size in enumerate(value))
    if len(sizes) < at_least:
        raise ValueError(f"{where}: {name} must be at least {at_least} whole numbers, got {value!r}")
    return sizes


def needed(where: str, module: str, package: str | None = None) -> Any:
    """Import a module of another package, or raise BackendError, an ImportError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        name = package or module.split(".")[0]
        raise BackendError(f"{where} needs {name}, which is not installed: pip install {name}") from error


def dtype_of(where: str, dtype: Any) -> str:
    """Return the name of a floating dtype, from its name or from a library's object for it."""
    name = getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]
    return one_of(where, "dtype", name, ("float32", "float64"))
