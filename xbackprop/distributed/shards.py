"""Rows of one table that are spread over the ranks, and what all of them must know of it: y, classes, scaling."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Backend, is_sparse
from xbackprop.arrays.discovery import on_host
from xbackprop.data import tables
from xbackprop.data.dataset import Data, read_samples
from xbackprop.data.on_disk import OnDisk, is_on_disk
from xbackprop.data.scaling import Scaling, standardise
from xbackprop.data.targets import TargetRule, Targets, infer_targets
from xbackprop.distributed.agreement import gather
from xbackprop.distributed.communicator import Communicator
from xbackprop.distributed.rows import AllRows, Shard, numbers_of_shards
from xbackprop.nn.objective import Batch, make_batch, row_totals


class AllHeld:
    """A table of which every rank, or the only one, holds all rows."""

    def __init__(self, ranks: Communicator, n: int) -> None:
        self.ranks, self.n = ranks, n

    def class_numbers(self, data: Data) -> np.ndarray:
        """Return the number of the class of every row."""
        return data.backend.to_host(data.targets.class_numbers(data.backend.xp, data.y))

    def digest(self, data: Data) -> str:
        """Return what recognises the same data."""
        return data.digest()

    def any_weight(self, data: Data, numbers: np.ndarray) -> bool:
        """Return whether one of these rows has a weight above 0."""
        return bool(data.backend.xp.any(data.rows_of(data.weight, numbers) > 0))

    def own(self, numbers: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return None, since all of these rows are here, and their numbers."""
        return None, numbers

    def batch(self, data: Data) -> Batch:
        """Return this rank's part of all rows as one batch."""
        own = self.holding(None).stretch()
        return data.batch().part(own.start, own.stop)

    def holding(self, rows: np.ndarray | None) -> AllRows:
        """Return how the rows to train on, all or those with these numbers, are divided among the ranks."""
        return AllRows(self.n if rows is None else len(rows), self.ranks.rank, self.ranks.size)


class Shards:
    """A table of which each rank holds some rows; y is gathered, and known to all.

    Together the shards are one table, whose rows are numbered by `numbers_of_shards`. A fit on it ends where a single
    process ends that has the rows in this order.
    """

    def __init__(self, ranks: Communicator, where: str, X: Any, y: Any) -> None:
        self.ranks, y = ranks, on_host(y)
        n = int(tables.feature_table(where, X, None, None).shape[0])
        if n != len(y):
            raise ValueError(f"{where}: X and y must have as many rows, got {n} and {len(y)}")
        found = gather(ranks, y)
        self._numbers = numbers_of_shards([len(of) for of in found])
        self.n = sum(len(of) for of in found)
        if self.n < ranks.size:
            raise ValueError(f"{where}: there are {self.n} rows for {ranks.size} ranks")
        self.y = self._joined(found)
        self._mine = Shard(self.n, self._numbers[ranks.rank])

    def read(
        self, where: str, backend: Backend, targets: TargetRule | Targets, dtype: str | None, X: Any, y: Any,
        weight: Any = None, *, inputs: Scaling | bool | None = None, **how: Any,
    ) -> Data:  # fmt: skip
        """Read the rows of this rank as `read_samples` does, with the classes and the scaling of all rows."""
        dtype = tables.working_dtype(where, tables.feature_table(where, X, None, None), dtype)
        if isinstance(targets, TargetRule):
            rule = targets
            targets, rows, known = infer_targets(where, rule, self.y, self.n, dtype)
            if rule.scale:
                targets = targets._replace(scaling=standardise(where, "y", rows, None, known=known)[1])
        inputs = self._scaling(where, X) if inputs is True else inputs
        return read_samples(where, backend, targets, dtype, X, y, weight, inputs=inputs or None, **how)

    def class_numbers(self, data: Data) -> np.ndarray:
        """Return the number of the class of every row."""
        own = data.backend.to_host(data.targets.class_numbers(data.backend.xp, data.y))
        return self._joined(gather(self.ranks, own))

    def digest(self, data: Data) -> str:
        """Return what recognises the same shards of the same data."""
        return hashlib.sha256(repr(gather(self.ranks, data.digest())).encode()).hexdigest()

    def any_weight(self, data: Data, numbers: np.ndarray) -> bool:
        """Return whether one of these rows, on whichever rank, has a weight above 0."""
        _, here = self.own(numbers)
        return any(gather(self.ranks, bool(data.backend.xp.any(data.rows_of(data.weight, here) > 0))))

    def own(self, numbers: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return which of these rows, by their places in the list, are here, and their numbers among those here."""
        return self._mine.here(numbers)

    def batch(self, data: Data) -> Batch:
        """Return the rows of this rank as its part of all rows as one batch."""
        backend, whole = data.backend, self.n
        if data.weight is not None:
            own = np.asarray(backend.to_host(data.weight), dtype=np.float64)
            whole = backend.asarray(self.ranks.all_reduce(row_totals(np, own, own.ndim == 2)), data.dtype)
        return make_batch(backend, data.dense(), data.y, data.weight, whole=whole)

    def holding(self, rows: np.ndarray | None) -> Shard:
        """Return how the rows to train on, all or those with these numbers, are divided among the ranks."""
        return self._mine if rows is None else Shard(len(rows), self._mine.here(rows)[0])

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        """Return the rows of all ranks in the order of the table."""
        joined = np.concatenate([part for part in parts if len(part)])
        ordered = np.empty_like(joined)
        ordered[np.concatenate(self._numbers)] = joined
        return ordered

    def _scaling(self, where: str, X: Any) -> Scaling:
        if is_sparse(X):
            raise ValueError(f"{where}: X must be dense to be standardised, got a sparse matrix")
        X = tables.feature_table(where, X, None, None)
        table = X if isinstance(X, OnDisk) else OnDisk(where, X if is_on_disk(X) else on_host(X))
        first, *others = gather(self.ranks, table.moments())
        for other in others:
            first = first.joined(other)
        return Scaling(*first.mean_and_deviation())


Held = AllHeld | Shards
