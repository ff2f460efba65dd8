"""torch with a step of training compiled: the generic functions, traced once and given to Inductor.

`torch.compile` itself stops at every number that the namespace makes a tensor of; `make_fx` goes through. Inductor is
called as `torch._inductor.compile`. It needs a C++ compiler on the machine, and keeps what it made on the disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from xbackprop.errors import BackendError
from xbackprop.steps import At, Step
from xbackprop_torch import TorchBackend, torch  # type: ignore[attr-defined]  # says what to install without torch

Leaf = tuple[tuple[int, ...], tuple[int, ...], Any] | None  # the shape, strides and dtype of an array, or no array


class _Traced(TorchBackend):
    """The library within a compiled step: nothing overridden, since the compiler fuses the readable functions."""

    overrides: ClassVar = {}
    reuses_buffers = False


class CompiledTorchBackend(TorchBackend):
    """`TorchBackend` whose steps are compiled, once for each step that is equal and arrays of equal shapes.

    Activations that checkpointing forgets are the compiler's to keep or to compute again.
    """

    name = "torch-compiled"
    reuses_buffers = False  # there is nothing to lend

    def compile(self, step: Any) -> Callable:
        """A loop over one compiled function, which updates θ and the moments in place."""
        traced = replace(step, objective=replace(step.objective, backend=_Traced(self.device)))

        def run(carry: Any, samples: Any, rows: Any, at: At, *lent: Any) -> tuple[Any, list[Any]]:
            if isinstance(rows, list):  # slices
                rows = self.asarray(np.array([range(*chosen.indices(samples[1].shape[0])) for chosen in rows]))
            columns = [None if column is None else self.asarray(column).unbind() for column in at]
            numbers = [[None] * len(rows) if column is None else column for column in columns]
            first, spec = torch.utils._pytree.tree_flatten(
                (carry, samples, rows[0], At(*(column[0] for column in numbers)))
            )
            call = _compiled(traced, spec, tuple(map(_leaf, first)), self.device, torch.get_num_threads())
            fixed = [x for x in first[: -1 - len(numbers)] if x is not None]
            present = [column for column in columns if column is not None]
            return carry, [call(*fixed, *now)[0] for now in zip(rows.unbind(), *present, strict=True)]

        return run


def _leaf(x: Any) -> Leaf:
    return None if x is None else (tuple(x.shape), x.stride(), x.dtype)


@functools.lru_cache(maxsize=128)
def _compiled(step: Step, spec: Any, leaves: tuple[Leaf, ...], device: Any, threads: int) -> Callable:
    """A function of the arrays among the leaves of (carry, samples, rows, at), that gives C; `threads` are built in."""

    def flat(*arrays: Any) -> tuple[Any]:
        given = iter(arrays)
        carry, *batch = torch.utils._pytree.tree_unflatten(
            [None if leaf is None else next(given) for leaf in leaves], spec
        )
        new, cost = step(carry, *batch)
        for old, x in zip(*map(torch.utils._pytree.tree_leaves, (carry, new)), strict=True):
            old.copy_(x)
        return (cost,)

    examples: list[Any] = [
        torch.empty_strided(leaf[0], leaf[1], dtype=leaf[2], device=device) for leaf in leaves if leaf is not None
    ]
    try:
        from torch._inductor import compile as inductor
        from torch.fx.experimental.proxy_tensor import make_fx

        graph = make_fx(flat, tracing_mode="fake")(*examples)
        return inductor(graph, examples, {"cpp_wrapper": device.type == "cpu"})
    except Exception as error:  # of the tracer, of Inductor, of a C++ compiler that is not there
        raise BackendError(
            f"backend 'torch-compiled': torch {torch.__version__} could not compile a step: "
            f"{type(error).__name__}: {(str(error).strip() or '(no message)').splitlines()[0]}"
        ) from error
