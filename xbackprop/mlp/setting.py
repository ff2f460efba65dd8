"""`Setting`, the declaration of one parameter, and checks of single settings that `validation` does not have.

A check, ``check(where, name, value)``, looks at one value alone: it returns the value in its plain form or raises a
ValueError. Conditions on several settings together are in `settings`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.distributed.communicator import Communicator
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.dropout import LEVELS
from xbackprop.optim.schedules import SCHEDULES
from xbackprop.validation import dtype_of, fraction, integer, non_negative, number, one_of

CLASSES = ("MLP", "MLPClassifier", "MLPRegressor")
ESTIMATORS = CLASSES[1:]

Check = Callable[[str, str, Any], Any]


@dataclass(frozen=True)
class Setting:
    """One parameter of the constructors.

    Parameters
    ----------
    name, default, check : the parameter, its default in `MLP`, and the check of its value.
    meaning : its description in docstrings and docs.
    classes : the classes that have it.
    defaults, meanings : for each class where they differ from those of `MLP`, the default and the description.
    changes_on_resume : whether a run may be resumed from a checkpoint with another value.
    in_files : whether model files hold it; settings of a process, such as the device, stay out.
    """

    name: str
    default: Any
    check: Check
    meaning: str
    classes: Sequence[str] = CLASSES
    defaults: Mapping[str, Any] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    changes_on_resume: bool = False
    in_files: bool = True

    def meaning_in(self, owner: str) -> str:
        """Return the description of the parameter in the class of this name."""
        return self.meanings.get(owner, self.meaning)

    def default_of(self, owner: str) -> Any:
        """Return the default in the class of this name."""
        return self.defaults.get(owner, self.default)


def accept(where: str, name: str, value: Any) -> Any:
    """Return any value unchanged, since `settings` or the data decide whether it is valid."""
    return value


def flag(where: str, name: str, value: Any) -> bool:
    """Return the truth value of `value`."""
    return bool(value)


def choice(known: Iterable[str]) -> Check:
    """Return a check for one of the known names."""
    return lambda where, name, value: one_of(where, name, value, known)


def at_least(least: int) -> Check:
    """Return a check for a whole number of at least `least`."""
    return lambda where, name, value: integer(where, name, value, least)


def optional(check: Check, nothing: Any = None) -> Check:
    """Return a check that accepts one more value, `nothing`: None, or a word."""

    def checked(where: str, name: str, value: Any) -> Any:
        is_nothing = value is None if nothing is None else isinstance(value, type(nothing)) and value == nothing
        return value if is_nothing else check(where, name, value)

    return checked


def one_or_more(check: Check, expected: str, kinds: type | tuple[type, ...]) -> Check:
    """Return a check for a value of these kinds, or a sequence of them, whose length `settings` checks."""

    def checked(where: str, name: str, value: Any) -> Any:
        if isinstance(value, kinds):
            return check(where, name, value)
        if not isinstance(value, Sequence):
            raise ValueError(f"{where}: {name} must be {expected} or a sequence of them, got {value!r}")
        return tuple(check(where, f"{name}[{i}]", v) for i, v in enumerate(value))

    return checked


def activation(where: str, name: str, value: Any) -> Activation:
    """Return an activation, from its name or unchanged."""
    return value if isinstance(value, Activation) else ACTIVATIONS[one_of(where, name, value, ACTIVATIONS)]


def schedule(where: str, name: str, value: Any) -> Any:
    """Check for the name of a schedule, or a function (epoch, epochs) -> factor."""
    return value if callable(value) else one_of(where, name, value, SCHEDULES)


def scoring(where: str, name: str, value: Any) -> Any:
    """Check for None, "loss" or a function (net, X, y) -> number."""
    if not (value is None or callable(value) or value == "loss"):
        raise ValueError(f"{where}: {name} must be None, 'loss' or a function (net, X, y) -> number, got {value!r}")
    return value


def folder(where: str, name: str, value: Any) -> Any:
    """Check for the path of a folder, or None."""
    if not (value is None or isinstance(value, str | PathLike)):
        raise ValueError(f"{where}: {name} must be a folder or None, got {value!r}")
    return value


def class_weight(where: str, name: str, value: Any) -> Any:
    """Check for "balanced", a mapping of labels to weights of at least 0, or None."""
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: {name} must be 'balanced', a mapping of labels to weights or None, got {value!r}")
    return {label: non_negative(where, f"{name}[{label!r}]", weight) for label, weight in value.items()}


def interval(where: str, name: str, value: Any) -> Any:
    """Check for k of `backprop.recompute`, None to keep every layer, or "sqrt", which `settings` resolves."""
    if isinstance(value, str) and value != "sqrt":
        raise ValueError(f"{where}: {name} must be a whole number, 'sqrt' or None, got {value!r}")
    return value if value is None or value == "sqrt" else integer(where, name, value, 1)


def backend(where: str, name: str, value: Any) -> Any:
    """Check for the name of a backend, a `Backend` or None."""
    if value is not None and not isinstance(value, str | Backend):
        raise ValueError(f"{where}: {name} must be a name, a Backend or None, got {value!r}")
    return value


def communicator(where: str, name: str, value: Any) -> Any:
    """Check for the name of a communicator, a `Communicator` or None."""
    if value is not None and not isinstance(value, str | Communicator):
        raise ValueError(f"{where}: {name} must be a name, a Communicator or None, got {value!r}")
    return value


def random_state(where: str, name: str, value: Any) -> Any:
    """Check for a seed below 2**32, a `RandomState` or None."""
    if value is None or isinstance(value, np.random.RandomState):
        return value
    seed = integer(where, name, value, 0)
    if seed >= 2**32:
        raise ValueError(f"{where}: {name} must be below 2**32, got {value!r}")
    return seed


def inside(where: str, name: str, value: Any) -> float:
    """Check for a number in (0, 1)."""
    return number(where, name, value, lambda v: 0 < v < 1, "a number between 0 and 1")


def quantiles(where: str, name: str, value: Any) -> float | tuple[float, ...]:
    """Check for a number in (0, 1), or several in ascending order; return a single one as a number."""
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        return inside(where, name, value)
    each = tuple(float(inside(where, f"{name}[{i}]", q)) for i, q in enumerate(value))
    if not each or any(a >= b for a, b in itertools.pairwise(each)):
        raise ValueError(f"{where}: {name} must be in ascending order, got {value!r}")
    return each if len(each) > 1 else each[0]


def closed(where: str, name: str, value: Any) -> float:
    """Check for a number in [0, 1]."""
    return fraction(where, name, value, one_allowed=True)


def dropout_rate(where: str, name: str, value: Any) -> float:
    """Check for a number in [0, 1) that a multiple of 2⁻¹⁶ below 1 is nearest to, since rates are rounded to one."""
    rate = fraction(where, name, value)
    if round(rate * LEVELS) == LEVELS:
        raise ValueError(f"{where}: {name} must be below 1 as a multiple of 2**-16, got {value!r}")
    return rate


def precision(where: str, name: str, value: Any) -> str:
    """Return the name of a floating dtype, from its name or from a library's object for it."""
    return dtype_of(where, value)
