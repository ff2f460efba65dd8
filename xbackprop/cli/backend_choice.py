"""Choose the backend of a training by what the user says, what is installed, and how long it will take."""

from __future__ import annotations

import argparse
import os

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import VARIABLE, get_backend
from xbackprop.cli.devices import parse_device
from xbackprop.errors import BackendError

#: Seconds of NumPy's work for which it pays that Numba starts in one second, and compiles a new program in five.
START_UP = 20.0


def choose_backend(args: argparse.Namespace, seconds: float) -> tuple[Backend, str]:
    """Return the backend to train with, and the reason if it was chosen here and not by the user.

    Numba's is chosen where it is installed and the seconds that NumPy would take at the most exceed its start-up.
    """
    asked = args.backend, parse_device(args.device)
    if any(x is not None for x in asked) or os.environ.get(VARIABLE):
        return get_backend(*asked), ""
    if seconds < START_UP:
        return get_backend("numpy"), ""
    worth = f"for up to {seconds:,.0f} s of work"
    try:
        return get_backend("numba"), f"; chosen {worth}, --backend numpy would train without compiling"
    except BackendError:
        return get_backend("numpy"), f"; numba, which is not installed, would be faster {worth}"
