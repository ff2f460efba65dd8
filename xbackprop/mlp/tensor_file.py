"""Tensors and a configuration in one safetensors file, with a checksum. No pickle: reading a file runs no code.

Metadata: `format` ("xbackprop"), `format_version`, `configuration` (JSON), `checksum` (from version 2 on). The same
contents give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.errors import ModelFileError
from xbackprop.files import write_atomically

FORMAT = "xbackprop"
FORMAT_VERSION = 2


def write_tensors(
    path: str | PathLike[str], tensors: Mapping[str, np.ndarray], configuration: Mapping[str, Any]
) -> None:
    """Write a file atomically: a reader finds the complete old file or the complete new one."""
    import json  # imported here and below, so that training does not wait for it

    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(a) for name, a in tensors.items()}  # it writes strided arrays wrongly
    text = json.dumps(configuration, allow_nan=False)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "configuration": text,
        "checksum": checksum(tensors, text),
    }
    write_atomically(Path(path), _with_sorted_header(save(tensors, metadata)))


def read_tensors(where: str, path: str | PathLike[str]) -> tuple[dict[str, np.ndarray], Any]:
    """Read the tensors and the configuration.

    Raises
    ------
    ModelFileError : for a file that is damaged or not xbackprop's. OSError : for one that cannot be read.
    """
    import json

    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # a missing file is a FileNotFoundError that names it
        pass
    try:
        with safe_open(path, "np") as file:  # which compares the sizes in the header with the file's
            metadata = file.metadata() or {}
            version = _version(where, path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except SafetensorError as error:
        raise ModelFileError(f"{where}: {path} is no safetensors file, or is damaged or cut short: {error}") from error
    text = metadata.get("configuration", "")
    if version > 1 and metadata.get("checksum") != checksum(tensors, text):
        raise ModelFileError(f"{where}: {path} is damaged: its contents do not have the checksum that it was given")
    with checked(where, path):
        return tensors, json.loads(text)


def is_of_tables(path: str | PathLike[str]) -> bool:
    """Return whether a file is of a model for tables, and not of a network; False for a file of anything else."""
    import json

    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # a missing file is a FileNotFoundError that names it
        pass
    try:
        with safe_open(path, "np") as file:
            configuration = json.loads((file.metadata() or {}).get("configuration", "null"))
    except (SafetensorError, ValueError):
        return False
    return isinstance(configuration, dict) and "tabular" in configuration


def checksum(tensors: Mapping[str, np.ndarray], text: str) -> str:
    """Return the SHA-256 of the configuration's text and of the tensors' names, types, shapes and bytes."""
    total = sha256(text.encode())
    for name, a in sorted(tensors.items()):
        total.update(f"\n{name} {a.dtype.str} {a.shape}\n".encode())
        total.update(a.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


@contextmanager
def checked(where: str, path: str | PathLike[str]) -> Iterator[None]:
    """Context manager for the use of what a file holds: any error becomes a ModelFileError that names the file."""
    try:
        yield
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ModelFileError(f"{where}: {path} has parts missing or wrong: {kind}{error}") from error


def _with_sorted_header(content: bytes) -> bytes:
    """Return the file with its header in alphabetical order, since safetensors writes metadata in any order."""
    import json

    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + content[end:]


def _version(where: str, path: str | PathLike[str], metadata: Mapping[str, str]) -> int:
    """Return the version of the format; raise ModelFileError for a file from elsewhere or of a newer one."""
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{where}: {path} is a safetensors file, but not of xbackprop: its format is {metadata.get('format')!r}"
        )
    version = metadata.get("format_version", "")
    if version not in map(str, range(1, FORMAT_VERSION + 1)):
        raise ModelFileError(
            f"{where}: {path} has format version {version!r}, and this xbackprop reads up to {FORMAT_VERSION}; "
            f"upgrade xbackprop"
        )
    return int(version)
