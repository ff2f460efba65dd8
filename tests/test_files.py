"""Writing files: whole or not at all, without harm to links, modes, devices and other processes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from xbackprop.files import LEFT_BEHIND, remove_left_behind, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "net"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert (names(tmp_path), names(target.parent)) == (["folder", "link"], ["target"])
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "folder" / "later")
    write_atomically(dangling, b"new")
    assert (tmp_path / "folder" / "later").read_bytes() == b"new"


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """As /dev/null, which the tests must not put at risk."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"content")
    reader.join()
    assert read == [b"content"]
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        write_atomically(tmp_path, b"content")
    assert tmp_path.is_dir()


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("n" * 250)
    write_atomically(path, b"content")
    assert names(tmp_path) == [path.name]


def test_files_of_a_process_that_is_gone_are_removed_and_those_of_others_are_not(tmp_path):
    path = tmp_path / "checkpoint"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom xbackprop.files import write_atomically\n"
        "os.replace = lambda *_: os._exit(1)\n"  # killed in the midst of it
        "write_atomically(Path(sys.argv[1]), b'half')"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    host, own, token = left.suffix.split("-")
    ours = left.with_suffix(f"{host}-{os.getpid()}-{token}")  # this process is alive
    young, old = (left.with_suffix(f".elsewhere-{own}-{i}") for i in range(2))
    for other in (ours, young, old):
        other.write_bytes(b"half")
    past = time.time() - 2 * LEFT_BEHIND
    os.utime(old, (past, past))
    remove_left_behind(path)
    assert set(tmp_path.iterdir()) == {ours, young}


def test_many_writers_of_one_file(tmp_path):
    """Each finds its own temporary file: whoever is last has written all of it."""
    path, contents = tmp_path / "net", [bytes([i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["net"]
