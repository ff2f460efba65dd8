"""Write files completely or not at all."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from zlib import crc32

#: A temporary file from another computer that is older than this was left by a process that was killed as it wrote.
LEFT_BEHIND = 600.0  # seconds; writing takes a few


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to the disk and rename it, so that no reader sees half a file.

    A file that is there keeps its mode, and a link its target. A pipe or a device such as /dev/null is written to, and
    not replaced.
    """
    path = Path(os.path.realpath(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        path.write_bytes(content)  # which says so if it is a folder
        return
    temporary = path.with_name(f".{path.name[:100]}.{_host()}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        # a new file has the mode that the umask allows, as every file that a program makes
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be flushed
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_left_behind(path: Path) -> None:
    """Remove temporary files of `path` that killed processes left, and none of a process that may be writing now."""
    for left in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):  # another process was faster
            if _is_abandoned(left):
                left.unlink()


def _is_abandoned(temporary: Path) -> bool:
    host, _, rest = temporary.suffix[1:].partition("-")
    process = rest.partition("-")[0]
    if os.name == "posix" and host == _host() and process.isdecimal():
        try:
            os.kill(int(process), 0)  # sends nothing, and raises if there is no such process
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # of another user
            pass
        return False
    return time.time() - temporary.stat().st_mtime > LEFT_BEHIND


def _host() -> str:
    """Return the name of this computer as hexadecimal digits, which every file system takes."""
    name = os.uname().nodename if hasattr(os, "uname") else "windows"
    return f"{crc32(name.encode(errors='replace')):08x}"
