"""torch with training steps compiled: the generic functions, traced once and given to Inductor.

`torch.compile` itself stops at every number that the namespace makes a tensor of; `make_fx` goes through. Inductor is
called as `torch._inductor.compile`. It needs a C++ compiler on the machine, and keeps what it made on the disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xbackprop.data.batches import as_row_indices
from xbackprop.errors import BackendError
from xbackprop.training.step import Step, StepNumbers
from xbackprop_torch import TorchBackend, torch  # type: ignore[attr-defined]  # says what to install without torch

#: The fewest steps of one shape for which a CUDA graph is captured: that takes as long as some steps.
GRAPHED = 8

Leaf = tuple[tuple[int, ...], tuple[int, ...], Any] | None  # the shape, strides and dtype of an array, or no array


class CompiledTorchBackend(TorchBackend):
    """`TorchBackend` whose steps are compiled, once for each step that is equal and arrays of equal shapes. On CUDA all
    that a step launches is captured as one graph, anew in every epoch, and replayed.

    Activations that checkpointing forgets are the compiler's to keep or to compute again.
    """

    name = "torch-compiled"
    fixed_shapes = True
    reuses_buffers = False  # the compiler makes its own memory

    def compile(self, step: Any) -> Callable:
        """Return a loop over one compiled step, which updates θ and the moments in place."""
        readable = self.generic()  # which the compiler fuses
        traced = replace(step, objective=replace(step.objective, backend=readable))

        def run(carry: Any, samples: Any, rows: Any, at: StepNumbers, *workspace: Any) -> tuple[Any, list[Any]]:
            columns = [None if column is None else self.asarray(column).unbind() for column in at]
            each = [
                self.asarray(as_row_indices(rows, samples[1].shape[0])).unbind(),
                *(c for c in columns if c is not None),
            ]
            steps = list(zip(*each, strict=True))
            now = StepNumbers(*(None if column is None else column[0] for column in columns))
            leaves, spec = torch.utils._pytree.tree_flatten((carry, samples, steps[0][0], now))
            call = _compiled(traced, spec, tuple(map(_leaf, leaves)), self.device, torch.get_num_threads())
            fixed = [x for x in torch.utils._pytree.tree_leaves((carry, samples)) if x is not None]
            take = _replayed(call, fixed, steps[0]) if self.graphs and len(steps) >= GRAPHED else _called(call, fixed)
            return carry, [take(*now) for now in steps]

        return run

    @property
    def graphs(self) -> bool:
        """Whether steps are captured as CUDA graphs."""
        return bool(self.device.type == "cuda")


def _called(call: Callable, fixed: list[Any]) -> Callable[..., Any]:
    return lambda *now: call(*fixed, *now)[0]


def _replayed(call: Callable, fixed: list[Any], first: tuple[Any, ...]) -> Callable[..., Any]:
    """Return the same as `_called` by a CUDA graph, into whose inputs the numbers of each step are copied."""
    held = [x.clone() for x in first]
    replay, (cost,) = _captured(call, [*fixed, *held])

    def take(*now: Any) -> Any:
        for place, x in zip(held, now, strict=True):
            place.copy_(x)
        replay()
        return cost.clone()

    return take


def _captured(call: Callable, arrays: list[Any]) -> tuple[Callable[[], None], tuple[Any, ...]]:
    """Capture ``call(*arrays)`` as a CUDA graph; return its replay, and the arrays that a replay fills."""
    with torch.cuda.device(arrays[0].device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what the first call does in addition must not be captured; on copies, since a
            call(*(x.clone() for x in arrays))  # step writes to θ
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = call(*arrays)
    return graph.replay, results


def _leaf(x: Any) -> Leaf:
    return None if x is None else (tuple(x.shape), x.stride(), x.dtype)


@functools.lru_cache(maxsize=128)
def _compiled(step: Step, spec: Any, leaves: tuple[Leaf, ...], device: Any, threads: int) -> Callable:
    """Compile a function of the arrays among the leaves of (carry, samples, rows, at), which returns C.

    Inductor builds the number of threads in, so it is part of the key.
    """

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
