"""JAX arrays on one device; an epoch of training is one compiled call. No autograd: `jax.grad` is not used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace, extended, is_host_array
from xbackprop.data.batches import as_row_indices, take_rows
from xbackprop.errors import BackendError
from xbackprop.nn.activations import identity
from xbackprop.nn.dropout import threefry, uniform_bits
from xbackprop.nn.objective import Objective
from xbackprop.nn.parameters import Layout
from xbackprop.nn.penalty import add_penalty_gradient
from xbackprop.optim.optimizers import clip_norm
from xbackprop.training.step import Step, StepNumbers

try:
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import erf
except ImportError as error:
    raise BackendError("backend 'jax' needs JAX, which is not installed: pip install jax") from error

NAMESPACE = extended(jnp, erf=erf)
for constant in (Layout, Objective):
    jax.tree_util.register_static(constant)  # compiled functions take it as it is
#: Rows times parameters of a step for which a turn of the loop takes four: below and above, one is as fast or faster.
UNROLLED = range(2**17, 2**23)

#: Multiplications in the forward pass of a stack up to which it is the faster the larger it is, on a CPU: 1.7 times
#: one network after the other at 4.7e7 (32 of 64-100-10, 200 rows), 1.2 at 1.2e8 and 0.84 at 9e8 (784-256-128-10).
STACKED_PRODUCTS = 1e8


def _take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    return x.at[rows].get(mode="promise_in_bounds")  # `take` looks whether they are


def _uniform_bits(xp: Namespace, key: tuple[Any, Any], step: Array | int, n: int, device: Any) -> Array:
    """Draw in unsigned words of 32 bits, which wrap by themselves."""
    place = xp.arange((n + 3) // 4, dtype=xp.uint32, device=device)
    seed, layer = (xp.asarray(word, dtype=xp.uint32) for word in key)
    x, y = threefry(place, xp.full_like(place, step), (seed, layer))
    return xp.concat([x & 0xFFFF, x >> 16, y & 0xFFFF, y >> 16])[:n]


@functools.lru_cache(maxsize=1024)  # a user's own functions may come and go
def _compiled(function: Callable) -> Callable:
    return jax.jit(functools.partial(function, NAMESPACE), inline=True)


class _Moments(Sequence[Array]):
    """Moments that lie in layers: each is joined into an array like θ when it is asked for, which most never are.

    layers : of θ, and of each moment. theta : the same θ as one array, by which the next steps know that its layers
    are here and need not be cut.
    """

    def __init__(self, objective: Objective, theta: Array, layers: list[Any]) -> None:
        self.objective, self.theta, self.layers = objective, theta, layers

    def __len__(self) -> int:
        return len(self.layers) - 1

    def __getitem__(self, i: Any) -> Array:
        with self.objective.backend.device_context():
            return _joined(self.layers[1:][i])


@functools.partial(jax.jit)
def _joined(layers: Any) -> Array:
    """Join layers of one axis, or two in a stack, into an array like θ: `Layout.flatten`."""
    return jnp.concat([*(W for W, _ in layers), *(b for _, b in layers)], axis=-1)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _scan(step: Step, layers: list[Any], samples: Any, rows: Array, at: StepNumbers) -> tuple[list[Any], Array]:
    """Take all the steps; compiled once for equal steps and arrays of equal shapes.

    The layers that come in are used up: their memory is that of those that go out. Both have one axis, since XLA joins
    such arrays three times as fast.
    """
    if samples[1].shape[0] < 2**31:
        rows = rows.astype(jnp.int32)
    layout = step.objective.layout
    unroll = 4 if rows.shape[-1] * layout.n_parameters in UNROLLED else 1

    def take(carry: Any, now: Any) -> Any:
        return step_on_layers(step, carry, samples, *now)

    def take_stack(carry: Any, now: Any) -> Any:
        of_each = jax.tree.map(lambda x: 0 if x.ndim else None, now)
        return jax.vmap(take, (0, of_each))(carry, now)

    layers, costs = jax.lax.scan(
        take if rows.ndim == 2 else take_stack,
        [
            [
                (W.reshape(*W.shape[:-1], *shape), b[..., None, :])
                for (W, b), shape in zip(a, layout.shapes, strict=True)
            ]
            for a in layers
        ],
        (rows, at),
        unroll=unroll,
    )
    return _flat(layers, rows.ndim - 2), costs


def _flat(layers: list[Any], lead: int) -> list[Any]:
    """Return the layers with one axis behind the first `lead` ones."""
    return jax.tree.map(lambda a: a.reshape(*a.shape[:lead], -1), layers)


def step_on_layers(step: Step, carry: list[Any], samples: Any, rows: Array, at: StepNumbers) -> tuple[list[Any], Array]:
    """`Step.__call__` with every W_l and b_l an array of its own: the carry is [layers, moments cut like them …]."""
    layers, *moments = carry
    objective, backend = step.objective, step.objective.backend
    cost, found = objective.layer_gradients(layers, step.batch(samples, rows, at))
    gradients = jax.tree.leaves(found)
    if step.clip_norm:
        clipped = backend.bind(clip_norm)(list(map(jnp.ravel, gradients)), step.clip_norm)
        gradients = [a.reshape(g.shape) for a, g in zip(clipped, gradients, strict=True)]
    if step.decays:
        layers = [(backend.bind(add_penalty_gradient)(W, W, -at.decay), b) for W, b in layers]
    results = []
    for a, g, *arrays in zip(jax.tree.leaves(layers), gradients, *map(jax.tree.leaves, moments), strict=True):
        results.append(step.update(a, g, arrays, at))
    columns = zip(*((a, *arrays) for a, arrays in results), strict=True)
    return [jax.tree.unflatten(jax.tree.structure(layers), column) for column in columns], cost


def typed(at: StepNumbers, dtype: Any) -> StepNumbers:
    """Return the numbers of the steps in the dtypes that a compiled epoch takes."""
    kinds = (dtype, dtype, np.uint32, np.uint32, *[dtype] * 4)
    columns = zip(at, kinds, strict=True)
    return StepNumbers(*(None if column is None else column.astype(kind) for column, kind in columns))


class JaxBackend(Backend):
    """JAX on one device: "cpu", "cuda:1", a `jax.Device`, or None for JAX's default.

    float64 is float64 within `device_context`, whatever `jax_enable_x64` says outside.
    """

    name = "jax"
    fixed_shapes = True
    overrides: ClassVar = {take_rows: _take_rows, uniform_bits: _uniform_bits}

    def __init__(self, device: Any = None) -> None:
        super().__init__(NAMESPACE, _device(device))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the device by its name, since a device cannot be pickled."""
        return type(self), (str(self.device),)

    @classmethod
    def devices(cls) -> list[str]:
        """List the devices by JAX's names, such as "TFRT_CPU_0"."""
        return [str(device) for device in jax.local_devices()]

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` on this device; NumPy's memory is copied, so that nobody can write to it."""
        with self.device_context():
            return jax.device_put(np.array(x, dtype) if is_host_array(x) else x.astype(dtype or x.dtype), self.device)

    def to_host(self, x: Array) -> np.ndarray:
        """Return `x` as a NumPy array. Waits for the device."""
        return np.asarray(x)

    def read(self, numbers: list[Array]) -> np.ndarray:
        """Join arrays of numbers, since the costs of an epoch come as one array. Waits for the device."""
        return np.concatenate([np.ravel(np.asarray(x, dtype=np.float64)) for x in numbers])

    def copy(self, x: Array) -> Array:
        """Return a copy, which outlives a carry that is used up."""
        return x.copy()

    def device_context(self) -> AbstractContextManager:
        """Enable float64, make this device the default, and on a GPU compute float32 products in float32.

        There JAX's default is TF32, which keeps three digits: after 30 steps weights were 3% off, and 1e-5 with this. A
        precision that the user has set in JAX's configuration stays.
        """
        stack = ExitStack()
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.default_device(self.device))
        if self.device.platform != "cpu" and getattr(jax.config, "jax_default_matmul_precision", None) is None:
            stack.enter_context(jax.default_matmul_precision("highest"))
        return stack

    def together(self, products: float) -> tuple[str, int]:
        """Return "stack"; on a CPU a stack of wide networks is faster as several."""
        most = STACKED_PRODUCTS / products if self.device.platform == "cpu" else 2**16
        return "stack", max(1, int(most))

    def threads(self, n: int) -> AbstractContextManager:
        """Raise BackendError: XLA takes its threads when the process begins."""
        raise BackendError(
            f"threads: JAX takes its threads from the cores that the process may use, and cannot be held to {n}; start "
            f"Python with taskset -c 0-{n - 1} or the like"
        )

    def bind(self, function: Callable) -> Callable:
        """Return the function compiled, except the identity, and one whose shapes depend on a number it takes."""
        if function in (uniform_bits, identity):
            return super().bind(function)
        return _compiled(self.overrides.get(function, function))

    def compile(self, step: Any) -> Callable:
        """Return a function that takes all the steps on batches of one size in one call.

        Every W_l and b_l is an array of its own there: out of one vector XLA would copy them at every step. The layers
        stay from call to call, and θ is joined from them after each.
        """

        def run(carry: Any, samples: Any, rows: Any, at: StepNumbers, *workspace: Any) -> tuple[Any, list[Array]]:
            theta, moments = carry
            objective = step.objective
            if isinstance(moments, _Moments) and moments.theta is theta:
                layers = moments.layers
            else:
                layers = _flat([objective.layers(a) for a in (theta, *moments)], theta.ndim - 1)
            rows = as_row_indices(rows, samples[1].shape[0])
            layers, costs = _scan(step, layers, samples, rows, typed(at, theta.dtype))
            theta = _joined(layers[0])
            return (theta, _Moments(objective, theta, layers)), [costs]

        return run


def _device(device: Any) -> Any:
    """Return JAX's own object for a device or its name."""
    if isinstance(device, jax.Device):
        return device
    known = jax.local_devices()
    if device is None:
        return known[0]
    for found in [*known, *_on_cpu()]:
        if device in (str(found), found.platform):
            return found
    raise BackendError(f"device: JAX sees {', '.join(map(str, known))}, got {device!r}")


def _on_cpu() -> list[Any]:
    """List the devices of the CPU, which JAX does not list beside a GPU's."""
    try:
        return jax.devices("cpu")
    except RuntimeError:
        return []
