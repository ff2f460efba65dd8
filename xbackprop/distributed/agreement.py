"""Decisions and errors that all ranks share, so that none waits for one that has gone another way.

Every message here is an `all_gather`, whatever it is for. So a rank that fails while samples are read can say so in
its next message, and the others hear of it in theirs.
"""

from __future__ import annotations

import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_host_array
from xbackprop.distributed.communicator import Communicator
from xbackprop.errors import RankError

#: The attribute of an error that every rank knows of.
KNOWN = "__xbackprop_known__"
#: Seconds that another rank than the first waits before it speaks of an error.
PATIENCE = 1.0
#: Words of 32 bits from which on a checksum is that of the sums of blocks, and the words of a block.
LARGE, BLOCK = 2**18, 2**10


class Failure(NamedTuple):
    """The message of a rank that has failed."""

    words: str
    interrupted: bool = False


def gather(ranks: Communicator, value: Any) -> list[Any]:
    """Return what each rank has given; raise RankError if one has failed instead."""
    found = ranks.all_gather(value)
    for rank, one in enumerate(found):
        if isinstance(one, Failure):
            raise _known(KeyboardInterrupt() if one.interrupted else RankError(f"rank {rank}: {one.words}"))
    return found


def on_first(ranks: Communicator, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on rank 0 and return its result on all ranks; an error is one of all ranks.

    The function is called by rank 0 alone: it writes files, prints, calls what the user has given.
    """
    if ranks.size == 1:
        return function(*arguments)
    result: Any = None
    error: BaseException | None = None
    if ranks.rank == 0:
        try:
            result = function(*arguments)
        except BaseException as raised:
            error, result = raised, failure_of(raised)
    try:
        return gather_first(ranks, result)
    except BaseException:
        if error is not None:
            raise _known(error) from None
        raise


def failure_of(error: BaseException) -> Failure:
    """Return the message by which other ranks hear of an error."""
    return Failure(f"{type(error).__name__}: {error}", isinstance(error, KeyboardInterrupt))


def _known(error: BaseException) -> BaseException:
    setattr(error, KNOWN, True)
    return error


def agree(ranks: Communicator, where: str, facts: Mapping[str, Any]) -> None:
    """Raise ValueError on all ranks if one of these facts is not the same on all of them."""
    first, *others = gather(ranks, dict(facts))
    for rank, other in enumerate(others, 1):
        for name, value in first.items():
            if other[name] != value:
                raise ValueError(
                    f"{where}: all ranks must have the same {name}: rank 0 has {value!r}, rank {rank} {other[name]!r}"
                )


def gather_first(ranks: Communicator, value: Any) -> Any:
    """Return what rank 0 has given; raise RankError if a rank has failed instead."""
    return gather(ranks, value)[0]


@contextmanager
def failing_together(ranks: Communicator) -> Iterator[Callable[[], None]]:
    """Context manager in which an error of one rank ends all of them. It gives a function that says: all is read.

    Before that the others hear of the error in their next message, and raise it too. Afterwards they may be waiting for
    a sum, and the whole job is ended.
    """
    reading = ranks.size > 1

    def ready() -> None:
        nonlocal reading
        if reading:
            gather(ranks, None)
            reading = False

    try:
        yield ready
    except BaseException as error:
        if ranks.size > 1 and not (isinstance(error, RankError) or hasattr(error, KNOWN)):
            if reading:
                ranks.all_gather(failure_of(error))
            else:
                end_all(ranks, partial(traceback.print_exception, error, file=sys.stderr))
        raise


def end_all(ranks: Communicator, say: Callable[[], None], code: int = 1) -> None:
    """End the whole job after an error of this rank, which `say` puts into words.

    Where the first rank has the same error it ends all of them before the others have said it, too.
    """
    if ranks.rank:
        time.sleep(PATIENCE)
    say()
    sys.stdout.flush()
    sys.stderr.flush()
    ranks.abort(code)


def share_stream(ranks: Communicator, rng: np.random.RandomState) -> np.random.RandomState:
    """Put the random number generator of every rank to the state of that of rank 0; return it."""
    if ranks.size > 1:
        rng.set_state(gather_first(ranks, rng.get_state()))
    return rng


def shared(ranks: Communicator, backend: Backend, x: Array | None) -> Array | None:
    """Return the array of rank 0, or None if it has none, as an array of the backend on every rank."""
    if ranks.size == 1:
        return x
    found = gather_first(ranks, None if x is None or ranks.rank else backend.to_host(x))
    return None if found is None else backend.copy(backend.asarray(found))


def checksum(backend: Backend, x: Array) -> int:
    """Return 20 bits in which all bits of an array of floating numbers have a part."""
    host = np.asarray(x) if is_host_array(x) else backend.to_host(x)
    words = np.ascontiguousarray(host).reshape(-1).view(np.uint32)
    whole = len(words) // BLOCK * BLOCK if len(words) > LARGE else 0
    sums = words[:whole].reshape(-1, BLOCK).sum(axis=1, dtype=np.uint64)  # several times as fast as a CRC of all
    return zlib.crc32(words[whole:].tobytes(), zlib.crc32(sums.tobytes())) & 0xFFFFF
