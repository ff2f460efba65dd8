"""List the backends of this machine and their devices."""

from __future__ import annotations

from typing import NamedTuple

from xbackprop.arrays.discovery import backend_class, backend_names


class Installed(NamedTuple):
    """A backend that is installed: the version and the devices of its library, or the reason why it cannot be used."""

    name: str
    version: str
    devices: list[str]
    reason: str | None


def installed() -> list[Installed]:
    """Return all backends, usable or not."""
    return [_installed(name) for name in backend_names()]


def _installed(name: str) -> Installed:
    try:
        backend = backend_class(name)
        devices = backend.devices()
        return Installed(name, backend(device=parse_device(devices[0])).version, devices, None)  # type: ignore[call-arg]
    except Exception as error:  # a library may fail to load with any error
        return Installed(name, "", [], str(error) or type(error).__name__)


def parse_device(text: str | None) -> str | int | None:
    """Convert the text of a device to the type that its library takes: CuPy's are numbers, torch's are names."""
    return int(text) if text is not None and text.isdecimal() else text
