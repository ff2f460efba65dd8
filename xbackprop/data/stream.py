"""`Stream`: a table that comes in chunks, anew in every epoch: Parquet's row groups, a database, a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from xbackprop.arrays.discovery import on_host
from xbackprop.data.on_disk import OnDisk

Chunks = Callable[[], Iterable[Any]]


class _Source:
    """The chunks' X as rows that can be read in their order, from the first row on, again and again."""

    def __init__(self, where: str, chunks: Chunks, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.where, self.chunks, self.shape, self.dtype = where, chunks, shape, dtype
        self._coming: Iterator[tuple[np.ndarray, Any, Any]] = iter(())
        self._left, self._at = np.empty((0, shape[1]), dtype), 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        if start == 0:
            self._coming, self._at = tables_of(self.where, self.chunks), 0
            self._left = np.empty((0, self.shape[1]), self.dtype)
        if start != self._at:
            raise ValueError(f"{self.where}: a stream gives its rows in their order; row {start} was asked for")
        parts, have = [self._left], len(self._left)
        while have < stop - start:
            try:
                X, _, _ = next(self._coming)
            except StopIteration:
                raise ValueError(
                    f"{self.where}: the stream ended after {start + have} rows; when it was read first, it had "
                    f"{self.shape[0]}"
                ) from None
            if X.shape[1] != self.shape[1]:
                raise _other_width(self.where, f"after {start + have} rows", X, self.shape[1])
            parts.append(X)
            have += len(X)
        joined = np.concatenate(parts)
        self._left, self._at = joined[stop - start :], stop
        return joined[: stop - start]


def read_stream(where: str, chunks: Chunks) -> tuple[OnDisk, np.ndarray, np.ndarray | None]:
    """Read a stream once: return its X, to be read again batch by batch, and y and the weights, which are kept.

    Parameters
    ----------
    chunks : a function that returns an iterable of (X, y) or (X, y, sample_weight), the same at each call.

    Raises
    ------
    ValueError : for a stream that yields nothing, or chunks that do not go together; it names the chunk.
    """
    if not callable(chunks):
        raise ValueError(
            f"{where}: chunks must be a function that begins anew at each call, such as a generator function, got "
            f"{type(chunks).__name__}"
        )
    ys: list[np.ndarray] = []
    weights: list[np.ndarray | None] = []
    width, dtype = -1, np.dtype("float32")
    for i, (X, y, weight) in enumerate(tables_of(where, chunks)):
        width = X.shape[1] if width < 0 else width
        if X.shape[1] != width:
            raise _other_width(where, f"chunk {i}", X, width)
        if len(X) != len(y) or (weight is not None and len(weight) != len(X)):
            raise ValueError(f"{where}: chunk {i} has {len(X)} rows of X, and {len(y)} of y")
        dtype = np.promote_types(dtype, X.dtype if X.dtype.kind == "f" else np.float64)
        ys.append(y)
        weights.append(weight)
    if not ys:
        raise ValueError(f"{where}: the stream yields no chunk")
    if len({weight is None for weight in weights}) > 1:
        raise ValueError(f"{where}: all chunks must have weights, or none")
    y = np.concatenate(ys)
    table = OnDisk(where, _Source(where, chunks, (len(y), width), dtype))
    return table, y, None if weights[0] is None else np.concatenate([w for w in weights if w is not None])


def tables_of(where: str, chunks: Chunks) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield the chunks of a pass as arrays on the host."""
    for i, chunk in enumerate(chunks()):
        if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
            raise ValueError(f"{where}: chunk {i} must be (X, y) or (X, y, sample_weight), got {type(chunk).__name__}")
        X, y, *weight = (on_host(part) for part in chunk)
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise ValueError(f"{where}: chunk {i} must have X of two axes with numbers, got {X.shape}, {X.dtype}")
        yield X, y, weight[0] if weight else None


def _other_width(where: str, place: str, X: np.ndarray, width: int) -> ValueError:
    return ValueError(f"{where}: {place} the stream has {X.shape[1]} columns, and before it had {width}")
