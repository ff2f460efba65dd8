"""Train networks as stacks: those of one shape, whose steps differ in numbers only, take them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from xbackprop.arrays.backend import is_sparse
from xbackprop.data.batches import Samples
from xbackprop.data.dataset import SampleStore
from xbackprop.mlp.fitting import Fitting, Run, prepare, rewinding
from xbackprop.mlp.many.tasks import Ended, Note, Task, train_one
from xbackprop.training.loop import step_of
from xbackprop.training.stack import Member, shared_part, train_stack

#: The memory that the networks of a stack may take, apart from their samples; those beyond it form another stack.
STACK_BYTES = 2**31


class _Ready(NamedTuple):
    """A network that has its samples and its starting weights.

    call, run : its call of `fit`. rewind : puts its random number generator back to where it was before.
    """

    i: int
    call: Fitting
    run: Run
    samples: Samples
    rewind: Callable[[], None]


def in_stacks(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train networks in stacks, as many in each as the memory allows; with L-BFGS or a sparse X one by one."""
    store, waiting = SampleStore(), list[_Ready]()
    backend = tasks[0].backend
    for task in tasks:
        try:
            call = task.net._fitting(*task.samples(), lambda epoch, i=task.i: note(i, epoch))
            _, settings, start, X, *_ = call.arguments
            if settings.lbfgs or is_sparse(X):
                yield train_one(task, note)
                continue
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
        waiting.append(_Ready(task.i, call, run, (data.X, data.y, data.weight), rewind))
        if sum(_bytes(ready.run) for ready in waiting) > STACK_BYTES:
            yield from _train(waiting)
            waiting.clear()
    yield from _train(waiting)


def _train(waiting: Sequence[_Ready]) -> Iterator[Ended]:
    groups: dict[Any, list[_Ready]] = {}
    for ready in waiting:
        run, (_, _, weight) = ready.run, ready.samples
        key = (shared_part(step_of(run.model.objective, run.plan)), run.plan.batch_size, run.n, run.model.dtype)
        groups.setdefault((*key, weight is None), []).append(ready)
    for group in groups.values():
        yield from _train_group(group)


def _train_group(group: Sequence[_Ready]) -> Iterator[Ended]:
    """Train networks that fit into one stack."""
    backend = group[0].run.backend
    left = dict(enumerate(group))
    try:
        with backend.device_context():
            members = [
                Member(ready.run.training(), ready.run.model.progress, ready.samples, ready.run.rows)
                for ready in group
            ]  # fmt: skip
            for j, theta in train_stack(backend, members):
                ready = left.pop(j)
                if isinstance(theta, Exception):
                    ready.rewind()
                    yield Ended(ready.i, "", theta)
                    continue
                ready.run.end(theta)
                yield Ended(ready.i, ready.call.finish(ready.run.result()))
    except BaseException:
        for ready in left.values():
            ready.rewind()
        raise


def _bytes(run: Run) -> float:
    """Return the bytes of a network in training: θ, what is like it, and the activations."""
    model, plan = run.model, run.plan
    like_theta = 6 + plan.optimizer.n_moments  # in the stack and apart, the gradient, and what a step makes
    layers = 3 * plan.batch_size * sum(model.objective.layout.sizes)
    return (like_theta * model.objective.layout.n_parameters + layers) * (8 if model.dtype == "float64" else 4)
