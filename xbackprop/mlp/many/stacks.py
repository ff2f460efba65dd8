"""Train networks as stacks: those of one shape, whose steps differ in numbers only, take them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from xbackprop.arrays.backend import is_sparse
from xbackprop.data.batches import Samples
from xbackprop.data.dataset import Data, SampleStore
from xbackprop.data.on_disk import is_on_disk
from xbackprop.mlp.fitting import Fitting, prepare, rewinding
from xbackprop.mlp.many.tasks import Ended, Note, Task, one_by_one
from xbackprop.mlp.run import Run
from xbackprop.training.loop import step_of, train_alone
from xbackprop.training.stack import Member, shared_part, train_stack

#: The memory that the networks of a stack may take, apart from their samples; those beyond it form another stack.
STACK_BYTES = 2**31


class _Ready(NamedTuple):
    """A network that has its samples and its starting weights.

    call, run, data : its call of `fit`, and all its samples.
    rewind : puts its random number generator back to where it was before.
    """

    i: int
    call: Fitting
    run: Run
    data: Data
    rewind: Callable[[], None]


def in_stacks(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train networks in stacks, as many in each as the memory allows; with L-BFGS or a sparse X one by one."""
    store, waiting, taken = SampleStore(), list[_Ready](), 0.0
    backend = tasks[0].backend
    for task in tasks:
        try:
            if task.settings.lbfgs or is_sparse(task.table[0]) or is_on_disk(task.table[0]):
                yield from one_by_one([task], note)
                continue
            call = task.fitting(note)
            _, settings, start, *_ = call.arguments
            rewind = rewinding(settings, start)
            with backend.device_context():
                run = prepare(*call.arguments, **call.options, store=store)
        except Exception as error:
            yield Ended(task.i, "", error)
            continue
        if run.is_over:
            yield Ended(task.i, call.finish(run.result()))
            continue
        assert run.data is not None
        data, run.data = run.data, None
        waiting.append(_Ready(task.i, call, run, data, rewind))
        taken += _bytes(run)
        if taken > STACK_BYTES:
            yield from _train(waiting)
            waiting, taken = [], 0.0
    yield from _train(waiting)


def _train(waiting: Sequence[_Ready]) -> Iterator[Ended]:
    groups: dict[Any, list[_Ready]] = {}
    for ready in waiting:
        run, weighted = ready.run, 0 if ready.data.weight is None else ready.data.weight.ndim
        key = (shared_part(step_of(run.model.objective, run.plan)), run.plan.batch_size, run.n, run.model.dtype)
        groups.setdefault((*key, weighted), []).append(ready)
    for group in groups.values():
        _, most = group[0].run.backend.together(group[0].run.products)
        for start in range(0, len(group), most):
            yield from _train_group(group[start : start + most])


def _train_group(group: Sequence[_Ready]) -> Iterator[Ended]:
    """Train networks that fit into one stack. After Ctrl-C, when all have ended, KeyboardInterrupt is raised again."""
    backend = group[0].run.backend
    left, interrupted = dict(enumerate(group)), False
    try:
        with backend.device_context():
            members = [
                Member(ready.run.training(), ready.run.model.progress, _samples(ready.data), ready.run.rows)
                for ready in group
            ]  # fmt: skip
            for j, theta in train_stack(backend, members) if len(group) > 1 else _train_single(group[0]):
                ready = left.pop(j)
                if isinstance(theta, Exception):
                    ready.rewind()
                    yield Ended(ready.i, "", theta)
                    continue
                ready.run.end(theta)
                ended = Ended(ready.i, ready.call.finish(ready.run.result()))
                interrupted = interrupted or ended.stop_reason == "interrupted"
                yield ended
        if interrupted:
            raise KeyboardInterrupt
    except BaseException:
        for ready in left.values():
            ready.rewind()
        raise


def _train_single(ready: _Ready) -> Iterator[tuple[int, Any]]:
    """Train a network that has no others beside it."""
    data = ready.data if ready.run.rows is None else ready.data.rows(ready.run.rows)
    try:
        yield 0, train_alone(ready.run.training(), _samples(data))
    except Exception as error:
        yield 0, error


def _samples(data: Data) -> Samples:
    return data.X, data.y, data.weight


def _bytes(run: Run) -> float:
    """Return the bytes of a network in training: θ, what is like it, and the activations."""
    model, plan = run.model, run.plan
    like_theta = 6 + plan.optimizer.n_moments  # in the stack and apart, the gradient, and what a step makes
    layers = 3 * plan.batch_size * sum(model.objective.layout.sizes)
    return (like_theta * model.objective.layout.n_parameters + layers) * (8 if model.dtype == "float64" else 4)
