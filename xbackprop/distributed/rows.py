"""The rows of each batch that a rank computes with: one permutation for all ranks, of which each takes its part."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from xbackprop.arrays.backend import Backend


class Part(NamedTuple):
    """The rows of a batch that a rank has.

    rows : their numbers among the samples of this rank, indices on the device or a slice; and `numbers`, on the host.
    places : their numbers in the batch (m,), on the device. size : the rows of the whole batch.
    """

    rows: Any
    numbers: np.ndarray
    places: Any
    size: int


class Holding(Protocol):
    """The rows of the table that a rank holds."""

    n: int

    def of_epoch(self, order: np.ndarray | None, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places in the epoch of this rank's rows, ascending, and their numbers among its own samples."""


class AllRows:
    """Every rank holds all n rows, and takes a stretch of each batch, as long as the others' to within one row."""

    def __init__(self, n: int, rank: int, size: int) -> None:
        self.n, self.rank, self.size = n, rank, size

    def of_epoch(self, order: np.ndarray | None, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places in the epoch of this rank's rows, ascending, and their numbers among all samples."""
        place = np.arange(self.n)
        in_batch = place % batch_size
        rows = np.where(place < self.n // batch_size * batch_size, batch_size, self.n % batch_size)
        mine = (in_batch >= self.rank * rows // self.size) & (in_batch < (self.rank + 1) * rows // self.size)
        places = place[mine]
        return places, places if order is None else order[places]

    def stretch(self) -> slice:
        """Return this rank's part of all the rows as they are."""
        return slice(self.rank * self.n // self.size, (self.rank + 1) * self.n // self.size)


class Shard:
    """Each rank holds rows of its own. Together they are one table, whose rows are numbered by `numbers_of_shards`.

    own : the numbers in the table of this rank's rows, ascending, in the order in which it holds them.
    """

    def __init__(self, n: int, own: np.ndarray) -> None:
        self.n = n
        self._local = np.full(n, -1, dtype=np.int64)
        self._local[own] = np.arange(len(own))

    def of_epoch(self, order: np.ndarray | None, batch_size: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        """Return the places in the epoch of this rank's rows, ascending, and their numbers among its own."""
        return self.here(order)

    def here(self, numbers: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows of a list, or of the table, are this rank's, by their places, and their numbers here."""
        local = self._local if numbers is None else self._local[numbers]
        places = np.flatnonzero(local >= 0)
        return places, local[places]


def numbers_of_shards(counts: list[int]) -> list[np.ndarray]:
    """Number the rows of shards of these sizes as rows of one table; return the numbers of each shard's rows.

    Each shard is spread evenly over the table, in its order: so every batch has rows of all shards, in proportion, also
    where they are not shuffled, and neighbours in the table are neighbours in a shard, which blocks of a file need.

    Examples
    --------
    >>> [numbers.tolist() for numbers in numbers_of_shards([4, 2])]
    [[0, 2, 3, 5], [1, 4]]
    """
    spread = np.concatenate([(np.arange(n) + 0.5) / n for n in counts if n] or [np.empty(0)])
    number = np.empty(len(spread), dtype=np.int64)
    number[np.argsort(spread, kind="stable")] = np.arange(len(spread))
    return np.split(number, np.cumsum(counts)[:-1])


def parts(backend: Backend, holding: Holding, order: np.ndarray | None, batch_size: int) -> list[Part]:
    """Return this rank's part of each batch of an epoch; all the indices are on the device before the first step.

    order : the numbers of the rows in the order in which they are taken, or None to take all as they are.
    """
    places, rows = holding.of_epoch(order, batch_size)
    starts = np.arange(0, holding.n, batch_size)
    ends = np.minimum(starts + batch_size, holding.n)
    cuts = np.searchsorted(places, [*starts, holding.n])
    on_device = rows if order is None else backend.asarray(rows)
    in_batch = backend.asarray(places - starts[np.searchsorted(starts, places, side="right") - 1])
    found = []
    for start, end, first, last in zip(starts, ends, cuts[:-1], cuts[1:], strict=True):
        if order is None:  # neighbours, which need no indices
            taken: Any = slice(int(rows[first]), int(rows[last - 1]) + 1) if last > first else slice(0, 0)
        else:
            taken = on_device[first:last]
        found.append(Part(taken, rows[first:last], in_batch[first:last], int(end - start)))
    return found
