"""Ranks of jax.distributed, whose sums are a part of the compiled epoch: `jax.distributed.initialize()` comes first."""

from __future__ import annotations

import copy
import functools
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.batches import Samples, take_arrays
from xbackprop.distributed.communicator import Communicator
from xbackprop.distributed.objective import RankStep
from xbackprop.distributed.rows import Part
from xbackprop.errors import BackendError
from xbackprop.nn.dropout import Masks
from xbackprop.nn.objective import Batch, inverse_of
from xbackprop.training.step import StepNumbers

try:
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from xbackprop_jax import step_on_layers, typed
except ImportError as error:
    raise BackendError("communicator 'jax' needs JAX, which is not installed: pip install jax") from error

AXIS = "ranks"
EACH, ALL = PartitionSpec(AXIS), PartitionSpec()  # an array of which each rank has a part; one that all have


class JaxCommunicator(Communicator):
    """The processes of `jax.distributed`, each with its first device.

    They compute in one program, so every rank must have JAX's backend, the same devices and dtypes.
    """

    def __init__(self) -> None:
        if not jax.distributed.is_initialized():
            raise BackendError(
                "communicator 'jax': call jax.distributed.initialize(…) at the start of the script, on every process"
            )
        self.rank, self.size = jax.process_index(), jax.process_count()
        first = {device.process_index: device for device in reversed(jax.devices())}
        self._mesh = Mesh(np.array([first[rank] for rank in range(self.size)]), (AXIS,))

    def all_reduce(self, x: Array) -> Array:
        """Return Σ over the ranks of x: of NumPy, in its own memory; of JAX, also within a compiled function."""
        if isinstance(x, jax.core.Tracer):
            return jax.lax.psum(x, AXIS)
        with jax.enable_x64(True):
            found = _sum(self._mesh)(self._each(x)).addressable_data(0)
            if not isinstance(x, np.ndarray):
                return found
            x[...] = np.asarray(found)
        return x

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each rank has given."""
        data = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
        lengths = self._gathered(np.array([len(data)], dtype=np.int32))[:, 0]
        room = 1 << int(lengths.max() - 1).bit_length()  # so that few lengths are compiled
        found = self._gathered(np.concatenate([data, np.zeros(room - len(data), dtype=np.uint8)]))
        return [pickle.loads(row[:n].tobytes()) for row, n in zip(found, lengths, strict=True)]

    def takes(self, backend: Backend) -> bool:
        """Return whether this is JAX's backend."""
        return backend.library == "jax"

    def abort(self, code: int = 1) -> None:
        """End this process at once; the others hear of it from JAX's coordinator."""
        os._exit(code)

    def compile(self, step: RankStep) -> Callable:
        """Return a function that takes all the steps in one call, in which the gradients are summed."""
        if step.objective.backend.library != "jax":
            return super().compile(step)
        loop = super().compile(step)
        padded = _PaddedStep(**{field.name: getattr(step, field.name) for field in fields(step)})
        kept: list[Any] = [None, None]  # the samples of the last call, and the same as the mesh has them

        def run(
            carry: Any, samples: Samples, mine: Sequence[Part], at: StepNumbers, *_: Any
        ) -> tuple[Any, list[Array]]:
            if isinstance(mine[0].rows, slice) and mine[0].rows.start is None:  # of a file, read part by part
                return loop(carry, samples, mine, at)
            if kept[0] is not samples:
                kept[:] = samples, self._padded_samples(samples)
            theta, moments = carry
            given = (
                self._all((theta, *moments)),
                kept[1],
                self._padded_rows(mine, samples, at),
                typed(at, theta.dtype),
            )
            found, costs = _epoch(padded, self._mesh)(*given)
            theta, *moments = (a.addressable_data(0) for a in found)
            return (theta, tuple(moments)), [costs.addressable_data(0)[0]]

        return run

    def _each(self, x: Any) -> Array:
        """Return an array (R, ...) of the mesh, of which x is this rank's row."""
        local = jax.device_put(jnp.asarray(x)[None], self._mesh.devices[self.rank])
        return jax.make_array_from_single_device_arrays(
            (self.size, *local.shape[1:]), NamedSharding(self._mesh, EACH), [local]
        )

    def _all(self, arrays: Sequence[Array]) -> list[Array]:
        """Return arrays that every rank has as arrays of the mesh."""
        everywhere, device = NamedSharding(self._mesh, ALL), self._mesh.devices[self.rank]
        local = [jax.device_put(a, device) for a in arrays]
        return [jax.make_array_from_single_device_arrays(a.shape, everywhere, [a]) for a in local]

    def _gathered(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(_copy(self._mesh)(self._each(x)).addressable_data(0))

    def _padded_samples(self, samples: Samples) -> Samples:
        """Return the samples as arrays of the mesh, of as many rows as the rank with most of them has."""
        n = samples[1].shape[0]
        most = max(self.all_gather(n))
        X, y, _ = (
            None if a is None else self._each(jnp.pad(a, [(0, most - n), *[(0, 0)] * (a.ndim - 1)])) for a in samples
        )
        return X, y, None

    def _padded_rows(self, mine: Sequence[Part], samples: Samples, at: StepNumbers) -> _Rows:
        """Return the rows of the steps as arrays of the mesh; a rank with fewer of a batch has some of no weight."""
        m, share = len(mine), _shares(mine, samples, at)
        most = max(self.all_gather(max(len(part.numbers) for part in mine)))
        some = max(1, -(-mine[0].size // self.size) // 8)
        most = -(-most // some) * some  # so that few sizes are compiled
        rows, places = np.zeros((2, m, most), dtype=np.int64)
        shares = np.zeros((m, most, *share[0].shape[1:]), dtype=share[0].dtype)
        for i, part in enumerate(mine):
            n = len(part.numbers)
            rows[i, :n], places[i, :n], shares[i, :n] = part.numbers, part.places, share[i]
        return _Rows(*map(self._each, (rows, places, np.array([part.size for part in mine]), shares)))


class _Rows(NamedTuple):
    """The rows of a step, their places in the batch, its size, and each row's part of its mean: 0 for no row."""

    rows: Array
    places: Array
    size: Array
    share: Array


@dataclass(frozen=True)
class _PaddedStep(RankStep):
    """A step on `_Rows`."""

    def take(self, samples: Samples, rows: Any, at: StepNumbers) -> Batch:
        X, y = take_arrays(self.objective.backend, samples[:2], rows.rows)
        total = at.whole[0] if at.whole.ndim else at.whole
        return Batch(X, y, total, inverse_of(jnp, total), rows.share)

    def masks(self, batch: Batch, rows: Any, at: StepNumbers) -> Masks:
        masks = super().masks(batch, rows, at)
        backend = copy.copy(masks.backend)
        backend.device = None  # of the program, in which each rank has its own
        return replace(masks, backend=backend)


def _shares(mine: Sequence[Part], samples: Samples, at: StepNumbers) -> list[np.ndarray]:
    """Return for each step the parts of the mean (n, 1), or with weights of the targets (n, n_L), of its rows."""
    _, y, weight = samples
    if weight is None:
        return [np.full((len(part.numbers), 1), 1.0 / part.size, dtype=y.dtype) for part in mine]
    host, found = np.asarray(weight), []
    for part, whole in zip(mine, np.asarray(at.whole), strict=True):
        own = host[part.numbers].reshape(len(part.numbers), -1)
        of = whole[1:] if host.ndim == 2 else whole[:1]
        found.append(np.divide(own, of, out=np.zeros_like(own), where=of > 0))
    return found


@functools.lru_cache(maxsize=64)
def _epoch(step: _PaddedStep, mesh: Mesh) -> Callable:
    """Return the epoch as one program of all ranks; compiled once for equal steps and arrays of equal shapes."""
    objective = step.objective

    def epoch(arrays: list[Array], samples: Samples, rows: _Rows, at: StepNumbers) -> Any:
        samples, rows = jax.tree.map(lambda a: a[0], (samples, rows))  # this rank's

        def take(carry: Any, now: Any) -> Any:
            return step_on_layers(step, carry, samples, *now)

        layers, costs = jax.lax.scan(take, [objective.layers(a) for a in arrays], (rows, at))
        return [objective.flatten(a) for a in layers], costs[None]

    return jax.jit(
        jax.shard_map(epoch, mesh=mesh, in_specs=(ALL, EACH, EACH, ALL), out_specs=(ALL, EACH), check_vma=False)
    )


@functools.lru_cache(maxsize=4)
def _sum(mesh: Mesh) -> Callable:
    return jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=NamedSharding(mesh, ALL))


@functools.lru_cache(maxsize=4)
def _copy(mesh: Mesh) -> Callable:
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, ALL))
