"""Train networks of one shape as a stack: θ (k, P), and one step for all of them.

The stack runs the lines that one network runs, on arrays with a leading axis. Each network keeps its own record and its
own decisions, in the generator that `training.loop.train` is; when it ends it leaves the stack.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.batches import Samples
from xbackprop.optim.optimizers import State
from xbackprop.training.loop import Steps, Taken, Training
from xbackprop.training.plan import Progress
from xbackprop.training.step import Step, StepNumbers, read_epoch, run_epoch


class Member(NamedTuple):
    """A network of a stack: its training and progress, the samples read for it, and which of them it is trained on."""

    training: Training
    progress: Progress
    samples: Samples
    rows: np.ndarray | None = None


class _MomentsOf(Sequence[Array]):
    """The moments of one network of a stack, taken out of it when they are asked for, which most never are."""

    def __init__(self, whole: Callable[[int], Array], n: int, i: int) -> None:
        self.whole, self.n, self.i = whole, n, i

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, j: Any) -> Array:
        return self.whole(range(self.n)[j])[self.i, ...]


def shared_part(step: Step) -> Step:
    """Return the step without what networks of a stack may differ in: the strength of their penalties."""
    objective = step.objective
    l2, l1 = bool(objective.l2), bool(objective.l1)
    like = replace(objective, alpha=1.0 if l2 or l1 else 0.0, l1_ratio=0.5 if l2 and l1 else float(l1))
    return replace(step, objective=like)


def train_stack(backend: Backend, members: Sequence[Member]) -> Iterator[tuple[int, Array | Exception]]:
    """Train networks whose steps have an equal `shared_part`, on as many rows each; yield (i, θ) as each ends.

    An error in a callback or a score ends its network alone: then it is yielded in place of θ. Ctrl-C ends them all, as
    it ends one: each keeps the weights of its last whole epoch.
    """
    samples, places = _pool(backend, members)
    asked: dict[int, Steps] = {}
    ended: list[tuple[int, Array | Exception]] = []
    stack: _Stack | None = None
    left = set(range(len(members)))

    def ask(i: int, advance: Callable[..., Steps], *argument: Any) -> None:
        """Let a network go on to its next epoch, or end."""
        try:
            asked[i] = advance(*argument)
        except StopIteration as end:
            left.remove(i)
            asked.pop(i, None)
            ended.append((i, _own_arrays(backend, members[i].progress, end.value)))
        except Exception as error:
            left.remove(i)
            asked.pop(i, None)
            ended.append((i, error))

    for i, member in enumerate(members):
        ask(i, member.training.__next__)
    while left or ended:
        try:
            while ended:
                yield ended.pop()
            if not left:
                return
            if stack is None or stack.is_too_large_for(asked):
                stack = _Stack(asked, samples, [places[i] for i in asked])
            for i, result in stack.take(asked).items():
                ask(i, members[i].training.send, result)
            if any(members[i].progress.stop_reason == "interrupted" for i, _ in ended):
                raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            for i in sorted(left):
                ask(i, members[i].training.throw, error)


def _own_arrays(backend: Backend, progress: Progress, theta: Array) -> Array:
    """Give a network that has ended arrays of its own, since those of the stack may be used up; return its θ."""
    progress.state = State(progress.state.t, tuple(map(backend.copy, progress.state.moments)))
    if progress.last_theta is not None:
        progress.last_theta = backend.copy(progress.last_theta)
    return backend.copy(theta)


class _Stack:
    """The networks that train at present, as arrays with a leading axis.

    A network that has ended leaves it. Where another shape costs a compilation, it stays until half of them have ended,
    and takes steps that nobody looks at.
    """

    def __init__(self, asked: dict[int, Steps], samples: Samples, places: Sequence[np.ndarray]) -> None:
        first = next(iter(asked.values()))
        self.members, self.samples, self.places = list(asked), samples, places
        self.step, self.backend = _common_step([steps.step for steps in asked.values()]), first.step.objective.backend
        xp = self.backend.xp
        self.theta = xp.stack([steps.theta for steps in asked.values()])
        states = [tuple(steps.state.moments) for steps in asked.values()]
        self.moments: Sequence[Array] = tuple(map(xp.stack, zip(*states, strict=True)))
        self.workspace = self.step.objective.workspace(self.theta, first.batch_size)
        self.run = self.backend.compile(self.step)
        objectives = [steps.step.objective for steps in asked.values()]
        same = all(objective == objectives[0] for objective in objectives)
        self.penalties = None if same else [(objective.l2, objective.l1) for objective in objectives]

    def is_too_large_for(self, asked: dict[int, Steps]) -> bool:
        """Return whether the networks that go on should have a smaller stack."""
        most = len(asked) * (2 if self.backend.fixed_shapes else 1)
        return len(self.members) >= max(most, len(asked) + 1)

    def take(self, asked: dict[int, Steps]) -> dict[int, Taken]:
        """Take the steps of an epoch of all the networks; return where they led those that have asked for them."""
        any_steps = next(iter(asked.values()))
        each = [asked.get(i, any_steps) for i in self.members]
        order = np.stack([
            place if steps.order is None else place[steps.order]
            for steps, place in zip(each, self.places, strict=True)
        ])  # fmt: skip
        self.theta, state, costs, rows = run_epoch(
            self.step, self.theta, State(0, self.moments), self.samples, any_steps.batch_size, order,
            _numbers(each, self.penalties), self.workspace, self.run,
        )  # fmt: skip
        self.moments = state.moments
        losses, finite = read_epoch(self.backend, self.theta, costs, rows)
        whole, n = functools.cache(self.moments.__getitem__), len(self.moments)
        states = [State(steps.state.t + state.t, _MomentsOf(whole, n, j)) for j, steps in enumerate(each)]
        thetas = self.backend.bind(_unstack)(self.theta)
        found = map(Taken, thetas, states, losses, finite)
        return {i: taken for i, taken in zip(self.members, found, strict=True) if i in asked}


def _unstack(xp: Any, a: Array) -> tuple[Array, ...]:
    """Take a stack apart: a function that a backend can bind, so that a compiler makes one call of it."""
    return xp.unstack(a)


def _pool(backend: Backend, members: Sequence[Member]) -> tuple[Samples, list[np.ndarray]]:
    """Join the samples of all networks, those that several share only once; return where the rows of each lie."""
    starts: dict[tuple[int, ...], int] = {}
    parts: list[Samples] = []
    end, places = 0, []
    for member in members:
        n, key = member.samples[0].shape[0], tuple(map(id, member.samples))
        if key not in starts:
            starts[key], end = end, end + n
            parts.append(member.samples)
        places.append(starts[key] + (np.arange(n) if member.rows is None else member.rows))
    if len(parts) == 1:
        return parts[0], places
    X, y, weight = (None if of[0] is None else backend.xp.concat(of) for of in zip(*parts, strict=True))
    return (X, y, weight), places


def _common_step(steps: Sequence[Step]) -> Step:
    """Return the step of all the networks: their own if they are equal, else the part that they share."""
    return steps[0] if all(step == steps[0] for step in steps) else shared_part(steps[0])


def _numbers(
    each: Sequence[Steps], penalties: list[tuple[float, float]] | None
) -> Callable[[int, int, int], StepNumbers]:
    """Return the function that joins the numbers of the networks: columns (m, k) where they differ, else (m,).

    penalties : l2 and l1 of each network, where these differ.
    """

    def at(i: int, done: int, m: int) -> StepNumbers:
        columns = zip(*(steps.at(i, steps.state.t + done, m) for steps in each), strict=True)
        numbers = StepNumbers(*map(_joined, columns))
        if penalties is None:
            return numbers
        l2, l1 = (np.tile(of_each, (m, 1)) for of_each in zip(*penalties, strict=True))
        return numbers._replace(l2=l2, l1=l1)

    return at


def _joined(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    first = columns[0]
    if first is None or all(np.array_equal(first, column) for column in columns[1:]):  # type: ignore[arg-type]
        return first
    return np.stack(columns, axis=1)  # type: ignore[arg-type]
