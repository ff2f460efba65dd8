"""Finding the communicator that a user asks for, and ending a whole job when a rank fails.

Communicators live outside this package. They are found through the entry-point group ``xbackprop.communicators``.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from xbackprop.distributed.agreement import end_all
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.errors import BackendError

ENTRY_POINTS = "xbackprop.communicators"
#: The name that looks at the environment.
AUTO = "auto"
#: Variables by which launchers tell a process of its rank: torchrun's, and those of Open MPI, MPICH and PMIx.
LAUNCHERS = {
    "torch": ("TORCHELASTIC_RUN_ID",),
    "mpi": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MPI_LOCALRANKID"),
}


def find_communicator(where: str, given: Any) -> Communicator:
    """Return the communicator that is meant: an object itself, one by its name, or by the launcher of this process.

    Raises
    ------
    BackendError : for an unknown name, or a library that is not installed.
    """
    if given is None:
        return ALONE
    if isinstance(given, Communicator):
        return given
    name = launched_by() if given == AUTO else given
    return ALONE if name is None else _named(name)


def launched_by() -> str | None:
    """Return the name of the communicator of the launcher that has started this process, or None without one."""
    for name, variables in LAUNCHERS.items():
        if any(variable in os.environ for variable in variables):
            return name
    jax = sys.modules.get("jax")
    return "jax" if jax is not None and jax.distributed.is_initialized() else None


def communicator_names() -> list[str]:
    """List the names of the installed communicators, whether or not their libraries are installed."""
    return sorted(_installed())


@functools.cache
def _installed() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


@functools.cache
def _named(name: str) -> Communicator:
    """Return the communicator of this process; it joins the others once."""
    if name not in _installed():
        known = ", ".join([AUTO, *communicator_names()])
        raise BackendError(f"communicator: unknown communicator {name!r}; expected one of: {known}, or an object")
    made: Communicator = _installed()[name].load()()
    if made.size > 1:
        _end_all_on_error(made)
    return made


def _end_all_on_error(ranks: Communicator) -> None:
    """End all ranks when an error ends one of them, in place of letting the others wait for it."""
    former = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        end_all(ranks, lambda: former(kind, error, trace))

    sys.excepthook = hook
