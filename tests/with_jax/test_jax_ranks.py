"""Processes of jax.distributed, whose epochs are one compiled program: they end where one process ends."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason='jax is not installed; nox -s "tests(jax)" brings its own')
pytestmark = pytest.mark.backends("jax")

WORKER = Path(__file__).parents[1] / "distributed" / "worker.py"
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}


def outcomes(case, folder, seconds):
    """Start two ranks; return the exit code of each, and what they said."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    said = [folder.parent / f"said by {rank}" for rank in range(2)]
    ranks = []
    for rank in range(2):
        how = [sys.executable, str(WORKER), case, str(folder), "jax", "jax", str(port), "2", str(rank)]
        with said[rank].open("w") as out:
            ranks.append(subprocess.Popen(how, env={**os.environ, **ENVIRONMENT}, stdout=out, stderr=out))
    try:
        return [rank.wait(seconds) for rank in ranks], "".join(path.read_text() for path in said)
    finally:
        for rank in ranks:
            rank.kill()


def test_compiled_epochs_of_two_ranks_are_those_of_one_process(tmp_path):
    codes, said = outcomes("compiled", tmp_path, 240)
    assert codes == [0, 0], said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rank 0 of 2", "rank 1 of 2"]


def test_a_rank_that_raises_ends_the_other(tmp_path):
    codes, said = outcomes("fail", tmp_path, 240)
    assert all(codes)
    assert "LookupError: the last rank has no data" in said
