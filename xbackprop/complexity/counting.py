"""The cost of a training step in operations, bytes and time: Section 4 of the paper, counted.

Time is O(m Σ n_{l-1} n_l) and memory O(m Σ n_l + Σ n_{l-1} n_l), for m samples. Matrix products are counted from the
widths, elementwise operations by running the functions themselves on numbers that count, and memory by going through
the passes of `backprop` array by array; the temporaries of an elementwise function are measured, on NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from xbackprop import validation
from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import get_backend
from xbackprop.complexity.memory import StepMemory
from xbackprop.complexity.operations import operations
from xbackprop.nn import backprop
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.backprop import last_kept
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.nn.objective import Objective
from xbackprop.nn.parameters import Layout
from xbackprop.nn.penalty import add_penalty_gradient
from xbackprop.optim.optimizers import OPTIMIZERS, Optimizer

#: The fields of `Memory`, for the table.
MEANINGS = {
    "parameters": "θ, and its copy where steps write into it",
    "gradients": "∂C/∂θ",
    "state": "the optimizer's moments",
    "activations": "X, and what the forward pass keeps",
    "temporaries": "δ, y, and what is made on the way",
}


class Work(NamedTuple):
    """Number of operations.

    products : multiply-adds of matrix products. elementwise : all others; a call of exp or √ counts as one.
    """

    products: int
    elementwise: int


class Memory(NamedTuple):
    """Bytes held at the moment of a step when they are most.

    parameters, gradients : θ, with a copy of it where steps write into it, and g. state : the optimizer's moments.
    activations : the arrays that the forward pass keeps, and X.
    temporaries : all others, such as δ_l, y, and the temporaries of f′ and of the optimizer's step.
    """

    parameters: int
    gradients: int
    state: int
    activations: int
    temporaries: int

    @property
    def total(self) -> int:
        """Sum of all bytes."""
        return sum(self)


@dataclass(frozen=True)
class Complexity:
    """The cost of one training step, from `count`; `str` makes a table of it.

    sizes : (n_0, …, n_L). batch_size : m. checkpoint_every : k of checkpointing, 0 without.
    forward, backward, recompute, update : the `Work` of each part; checkpointing adds `recompute`.
    memory : `Memory`. traffic : bytes of the operands and results of all matrix products.
    """

    sizes: tuple[int, ...]
    batch_size: int
    dtype: str
    checkpoint_every: int
    forward: Work
    backward: Work
    recompute: Work
    update: Work
    memory: Memory
    traffic: int

    @property
    def products(self) -> int:
        """Multiply-adds of all the matrix products of a step."""
        return self.forward.products + self.backward.products + self.recompute.products

    @property
    def intensity(self) -> float:
        """Floating point operations of the matrix products, two per multiply-add, per byte of `traffic`."""
        return 2.0 * self.products / self.traffic

    def seconds(self, rate: float) -> float:
        """Seconds that the matrix products take at a rate in multiply-adds per second, such as `matrix_rate` gives."""
        return self.products / rate

    def __str__(self) -> str:
        parts = {"forward": self.forward, "backward": self.backward, "recompute": self.recompute, "update": self.update}
        kept = {0: "", 1: ", every layer kept", 2: ", every other layer kept"}
        checkpoint = kept.get(self.checkpoint_every, f", one of {self.checkpoint_every} layers kept")
        rows = [
            f"{'-'.join(map(str, self.sizes))}, batches of {self.batch_size:,}, {self.dtype}{checkpoint}",
            "",
            f"{'per step':<14}{'multiply-adds':>16}{'elementwise':>16}",
            *(f"{name:<14}{work.products:>16,}{work.elementwise:>16,}" for name, work in parts.items()),
            f"{'all':<14}{self.products:>16,}{sum(work.elementwise for work in parts.values()):>16,}",
            f"{'intensity':<14}{self.intensity:>16.1f} flops per byte, of the matrix products",
            "",
            f"{'memory':<14}{'bytes':>16}",
            *(f"{name:<14}{size:>16,}  {MEANINGS[name]}" for name, size in self.memory._asdict().items()),
            f"{'all':<14}{self.memory.total:>16,}",
        ]
        return "\n".join(rows)


def count(
    sizes: Sequence[int],
    batch_size: int = 200,
    *,
    activation: str | Activation = "relu",
    loss: str | Loss = "cross_entropy",
    solver: str = "adam",
    alpha: float = 1e-4,
    dropout: float = 0.0,
    checkpoint_activations: int | str | None = None,
    dtype: str = "float32",
    backend: str | Backend = "numpy",
) -> Complexity:
    """Count the cost of a training step of a network, without making the network.

    Parameters
    ----------
    sizes : (n_0, n_1, …, n_L), the widths of input, hidden layers and output. batch_size : m.
    activation, loss, solver, alpha, dropout, checkpoint_activations, dtype : as in `MLP`.
    backend : a name or a `Backend`: those that reuse buffers need less memory.

    Raises
    ------
    ValueError : for an argument that `MLP` would refuse as well.

    Examples
    --------
    >>> count((784, 100, 10), 128).forward.products
    10163200
    """
    where = "complexity.count"
    n_0, *hidden, n_L = validation.layer_sizes(where, "sizes", sizes, at_least=2)
    if not isinstance(activation, Activation):
        activation = ACTIVATIONS[validation.one_of(where, "activation", activation, ACTIVATIONS)]
    if not isinstance(loss, Loss):
        loss = LOSSES[validation.one_of(where, "loss", loss, LOSSES)]
    optimizer = OPTIMIZERS[validation.one_of(where, "solver", solver, OPTIMIZERS)]()
    objective = Objective(
        get_backend(backend), Layout((n_0, *hidden, n_L)), (activation,) * len(hidden), loss,
        validation.non_negative(where, "alpha", alpha),
        checkpoint_every=backprop.checkpoint_interval(where, checkpoint_activations, len(hidden) + 1),
    )  # fmt: skip
    m, dtype = validation.integer(where, "batch_size", batch_size, 1), validation.dtype_of(where, dtype)
    return count_step(objective, optimizer, m, dtype, bool(validation.fraction(where, "dropout", dropout)))


def count_step(objective: Objective, optimizer: Optimizer, m: int, dtype: str, dropout: bool = False) -> Complexity:
    """Count the cost of a step of this optimizer on m rows of this objective."""
    sizes, hidden, k = objective.layout.sizes, objective.hidden, objective.checkpoint_every
    L, itemsize = len(sizes) - 1, 4 if dtype == "float32" else 8
    top = last_kept(L, k)
    macs = [m * a * b for a, b in pairwise(sizes)]
    values = [operations(f.f, 1) + dropout for f in hidden]
    slopes = [operations(f.df, 2) + dropout + 1 for f in hidden]  # and the product with what comes back
    on_layers = [m * n * (1 + value) for n, value in zip(sizes[1:], [*values, 0], strict=True)]  # z + b, f
    forward = Work(sum(macs), sum(on_layers) + m * sizes[-1] * operations(objective.loss.value_and_delta, 3))
    backward = Work(
        2 * sum(macs) - macs[0],
        m * sum(sizes[1:]) + sum(m * n * slope for n, slope in zip(sizes[1:-1], slopes, strict=True)),
    )
    step, constants = optimizer.step
    per_parameter = operations(step, 2 + optimizer.n_moments, 1.0, *constants)
    penalty = operations(add_penalty_gradient, 2, 1.0) if objective.alpha else 0
    n_parameters, n_weights = objective.layout.n_parameters, objective.layout.n_weights
    memory = StepMemory(objective, optimizer, m, dtype, dropout).memory()
    products = [(m, a, b) for a, b in pairwise(sizes)]
    products += products + products[1:] + products[:top]
    return Complexity(
        sizes, m, dtype, k, forward, backward, Work(sum(macs[:top]), sum(on_layers[:top])),
        Work(0, n_parameters * per_parameter + n_weights * penalty),
        Memory(*(round(itemsize * numbers) for numbers in memory)),
        itemsize * sum(a * b + b * c + a * c for a, b, c in products),
    )  # fmt: skip


def matrix_rate(backend: str | Backend = "numpy", dtype: str = "float32", device: Any = None, n: int = 1024) -> float:
    """Measure the multiply-adds per second of a product of two n × n matrices on a backend: the median of seven."""
    home = get_backend(backend, device)
    seconds = []
    with home.device_context():
        a = home.xp.ones((n, n), dtype=getattr(home.xp, dtype), device=home.device)
        for _ in range(8):
            began = time.perf_counter()
            home.to_host((a @ a)[0, 0])  # waits for the device
            seconds.append(time.perf_counter() - began)
    return n**3 / sorted(seconds[1:])[3]
