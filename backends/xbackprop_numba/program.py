"""The compiled epoch of a step: write its program, compile it, and keep it on the disk.

A program is the text of a module: functions of this step's activations, loss and optimizer, traced from their generic
source, and the frame, `epoch.py`, behind them. It depends on what is computed and on the dtype, not on sizes, rates or
strengths, so most users need a handful.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numba

from xbackprop.files import write_atomically
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss
from xbackprop.nn.penalty import add_l1_gradient, add_penalty_gradient
from xbackprop.optim.optimizers import Optimizer, average_step
from xbackprop_numba import blas, passes, places, workers
from xbackprop_numba.tracing import ELEMENT, NUMBER, ROW, Value, elementwise, rowwise, trace

MARK = "# ---- compiled from here on\n"
FRAME = Path(__file__).with_name("epoch.py").read_text().split(MARK)[1]
#: Programs that stay on the disk, some 300 KB each; the oldest is removed for a new one.
KEPT = 64

HEAD = """\
from __future__ import annotations
import math
from math import acos, asin, asinh, atan, cos, cosh, exp, expm1, floor, log, log1p, sin, sinh, sqrt, tan, tanh
import numpy as np
from xbackprop.nn.dropout import LEVELS
from xbackprop_numba.blas import gemm
from xbackprop_numba.passes import inner, kernel, threefry_words
from xbackprop_numba.places import UNIT
from xbackprop_numba.workers import gather, meet
real = np.{dtype}
"""


@dataclass(frozen=True)
class Kind:
    """All that a program depends on: steps with equal kinds share one.

    activations : the different ones of all layers. optimizer : with its constants, of which only the number matters.
    weighted : the axes of the weights: 0 for none, 1 for those of rows, 2 for those of targets.
    """

    activations: tuple[Activation, ...]
    loss: Loss
    optimizer: Optimizer
    l2: bool
    l1: bool
    clips: bool
    decays: bool
    drops: bool
    averages: bool
    weighted: int
    dtype: str


def element(name: str) -> Value:
    """Return an argument of a traced function that has a value for each element."""
    return Value(name, level=ELEMENT)


def number(name: str) -> Value:
    """Return an argument that is one number."""
    return Value(name, level=NUMBER)


def _in_place(activation: Activation) -> bool:
    """Return whether h may overwrite z: f′ is the same at h, or does not look at z."""
    z, h = element("z"), element("h")
    df = trace(activation.df, z, h)
    return activation.in_place or (trace(activation.f, z) is z and not _uses(df, z)) or not _uses(df, z)


def _uses(value: Value, part: Value) -> bool:
    return value is part or any(_uses(p, part) for p in value.parts)


def _branches(bodies: Sequence[list[str]]) -> list[str]:
    """Write a choice by `kind` among bodies, or the only one."""
    if len(bodies) == 1:
        return bodies[0]
    lines = []
    for i, body in enumerate(bodies):
        lines += [f"    {'el' * (i > 0)}if kind == {i}:", *("    " + line for line in body)]
    return lines


def _activate(activations: Sequence[Activation], drops: bool) -> list[str]:
    bodies = []
    for activation in activations:
        before, lines, (h,) = elementwise([trace(activation.f, element("v"))], 3)
        bodies.append([
            *before,
            "    for i in range(z.shape[0]):",
            "        for j in range(z.shape[1]):",
            "            v = z[i, j] + b[j]",
            *([] if _in_place(activation) and not drops else ["            z[i, j] = v"]),
            *lines,
            f"            h[i, j] = {h}",
        ])  # fmt: skip
    return ["@inner", "def activate(kind, z, b, h):", *_branches(bodies)]


def _slope(activations: Sequence[Activation]) -> list[str]:
    bodies = []
    for activation in activations:
        before, lines, (df,) = elementwise([trace(activation.df, element("z[i, j]"), element("h[i, j]"))], 3)
        bodies.append([
            *before,
            "    for i in range(z.shape[0]):",
            "        for j in range(z.shape[1]):",
            *lines,
            f"            delta[i, j] = delta[i, j] * {df}",
        ])  # fmt: skip
    return ["@inner", "def slope(kind, z, h, delta):", *_branches(bodies)]


def _loss(loss: Loss, weighted: int) -> tuple[list[str], int]:
    share = (number("share"), Value("share[i]", level=ROW), element("share[i, k]"))[weighted]
    cost, delta = trace(loss.value_and_delta, element("z[i, k]"), element("y[i, k]"), share)
    lines, slots = rowwise(cost, delta)
    return ["@inner", "def loss(z, y, share, delta, scratch):", *lines], slots


def _penalised(kind: Kind, g: Value, w: Value) -> Value:
    for wanted, add, strength in ((kind.l2, add_penalty_gradient, "l2"), (kind.l1, add_l1_gradient, "l1")):
        if wanted:
            g = trace(add, g, w, number(strength))
    return g


def _update(kind: Kind) -> list[str]:
    step, constants = kind.optimizer.step
    n = kind.optimizer.n_moments
    moments = [f"m{i}" for i in range(n + kind.averages)]
    places = [f"{m}[i]" for m in moments]
    sliced = ["theta", "gradient", *moments]
    unpacked = [
        *([f"    {', '.join(moments)}, = moments"] if moments else []),
        f"    {', '.join(sliced)} = {', '.join(f'{name}[start:end]' for name in sliced)}",
    ]
    names = [number(f"constants[{i}]") for i in range(len(constants))]
    text: list[str] = []
    for of, parameters in (
        ("weights", "start, end, rate, decay, ema, l2, l1, constants"),
        ("biases", "start, end, rate, ema, constants"),
    ):
        theta, g = element("theta[i]"), element("gradient[i]")
        if of == "weights":
            g = g if kind.clips else _penalised(kind, g, theta)
            theta = trace(add_penalty_gradient, theta, theta, -number("decay")) if kind.decays else theta
        results = trace(step, theta, g, *map(element, places[:n]), number("rate"), *names)
        if kind.averages:
            results = (*results, *trace(average_step, element(places[n]), results[0], number("ema")))
        before, lines, found = elementwise(results, 2)
        text += [
            "@inner",
            f"def update_{of}(theta, gradient, moments, {parameters}):",
            *unpacked,
            *before,
            "    for i in range(theta.shape[0]):",  # from 0: then Numba knows that no index is negative
            *lines,
            *(f"        {place} = {name}" for place, name in zip(["theta[i]", *places], found, strict=True)),
        ]
    before, lines, (g_name,) = elementwise([_penalised(kind, element("gradient[i]"), element("theta[i]"))], 2)
    return [
        *text,
        "@inner",
        "def penalise(theta, gradient, l2, l1):",
        *before,
        "    for i in range(theta.shape[0]):",
        *lines,
        f"        gradient[i] = {g_name}",
    ]


@functools.lru_cache(maxsize=256)
def write_program(kind: Kind) -> tuple[str, int]:
    """Return the text of the program, and the slots per column that its loss needs; `Untraceable` says why not."""
    loss, slots = _loss(kind.loss, kind.weighted)
    flags = {
        "IN_PLACE": tuple(map(_in_place, kind.activations)), "WEIGHTED": kind.weighted > 0,
        "OF_TARGETS": kind.weighted == 2, "DROPS": kind.drops,
        "CLIPS": kind.clips, "PENALISED": kind.l2 or kind.l1, "HAS_L1": kind.l1,
    }  # fmt: skip
    lines = [f"{name} = {value}" for name, value in flags.items()]
    for function in (_activate(kind.activations, kind.drops), _slope(kind.activations), loss, _update(kind)):
        lines += ["", *function]
    return HEAD.format(dtype=kind.dtype) + "\n".join(lines) + "\n\n" + FRAME, max(1, slots)


def program_of(kind: Kind) -> tuple[ModuleType, int]:
    """Return the module of the program, compiled when it is first called, and the slots that its loss needs."""
    text, slots = write_program(kind)
    return _loaded(text), slots


def _folder() -> Path:
    """Return the folder of programs, one for each version of Numba and of the functions that programs call."""
    called = b"".join(Path(str(module.__file__)).read_bytes() for module in (blas, passes, places, workers))
    version = hashlib.blake2b(called + numba.__version__.encode(), digest_size=8).hexdigest()
    cache = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xbackprop" / f"numba-{version}"


@functools.lru_cache(maxsize=256)
def _loaded(text: str) -> ModuleType:
    name = f"xbackprop_epoch_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
    try:
        path = _folder() / f"{name}.py"
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent)
            write_atomically(path, text.encode())
    except OSError:  # nowhere to keep it
        path = Path(tempfile.mkdtemp(prefix="xbackprop-")) / f"{name}.py"
        path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba's cache finds functions by the module's name
    spec.loader.exec_module(module)
    return module


def _make_room(folder: Path) -> None:
    programs = sorted(folder.glob("*.py"), key=lambda p: p.stat().st_mtime)
    for old in programs[: max(0, len(programs) - KEPT + 1)]:
        for path in [old, *folder.glob(f"__pycache__/{old.stem}.*")]:
            path.unlink(missing_ok=True)
