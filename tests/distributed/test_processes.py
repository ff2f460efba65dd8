"""Real processes: those of mpiexec and torchrun. They end where one process ends, and when one fails, all end."""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
#: Seconds within which all ranks must have ended after one has failed.
SOON = 20
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1",
               "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # fmt: skip


def command(launcher, size, case, folder, backend="numpy", *, restarts=0):
    """The command that starts so many ranks; a machine without the launcher skips."""
    script = [str(WORKER), case, str(folder), launcher, backend]
    if launcher == "torch":
        how = [f"--nproc-per-node={size}", f"--max-restarts={restarts}", "--standalone"]
        return [sys.executable, "-m", "torch.distributed.run", *how, *script]
    if importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None:
        pytest.skip("mpi4py or mpiexec is not installed")
    return ["mpiexec", "--oversubscribe", "--bind-to", "none", "-n", str(size), sys.executable, *script]


class Job:
    """A launcher that runs. What it and the ranks say goes to a file, which no rank that is left can hold open."""

    def __init__(self, launcher, size, case, folder, backend="numpy", **options):
        self.said = folder.parent / f"{folder.name} said"
        how = command(launcher, size, case, folder, backend, **options)
        with self.said.open("w") as out:
            self.process = subprocess.Popen(how, env={**os.environ, **ENVIRONMENT}, stdout=out, stderr=out)

    def outcome(self, seconds=90):
        """The exit code and what was said; a job that has not ended in time is ended, and fails the test."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # on which launchers end their ranks
            self.process.wait(30)
            pytest.fail(f"the job was still running after {seconds} s: {self.said.read_text()}")
        return code, self.said.read_text()

    def wait_for(self, path):
        """Wait until a rank has written a file; return what is in it."""
        while not (path.exists() and path.read_text()):
            assert self.process.poll() is None, self.said.read_text()
            time.sleep(0.02)
        return path.read_text()


@pytest.mark.parametrize(
    ("launcher", "size", "backend"), [("mpi", 2, "numpy"), ("mpi", 3, "torch"), ("torch", 2, "torch")]
)
def test_ranks_end_where_one_process_ends(tmp_path, launcher, size, backend):
    code, said = Job(launcher, size, "equal", tmp_path, backend).outcome()
    assert code == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"rank {rank} of {size}" for rank in range(size)]


def test_what_mpi_does_not_sum_is_refused_or_goes_through_the_host(tmp_path):
    code, said = Job("mpi", 2, "edge", tmp_path).outcome()
    assert code == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rank 0 of 2", "rank 1 of 2"]


@pytest.mark.parametrize("launcher", ["mpi", "torch"])
def test_a_rank_that_raises_ends_all_in_its_words(tmp_path, launcher):
    code, said = Job(launcher, 2, "fail", tmp_path).outcome(SOON)
    assert code != 0
    assert "LookupError: the last rank has no data" in said


def test_ranks_that_do_not_agree_say_so_once(tmp_path):
    code, said = Job("mpi", 2, "disagree", tmp_path).outcome(SOON)
    assert code != 0
    assert said.count("ValueError: MLP.fit: all ranks must have the same alpha: rank 0 has 0.1, rank 1 0.2") == 1


def assert_gone(pids):
    """Fail if one of these processes is still there a little after its launcher has ended."""
    latest = time.monotonic() + SOON
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < latest, left
        time.sleep(0.05)


@pytest.mark.parametrize(("launcher", "victim"), [("mpi", 0), ("mpi", 1), ("torch", 1)])
def test_a_rank_that_is_killed_ends_all(tmp_path, launcher, victim):
    job = Job(launcher, 2, "long", tmp_path)
    pids = [int(job.wait_for(tmp_path / f"pid {rank}")) for rank in range(2)]
    job.wait_for(tmp_path / "epoch")
    time.sleep(random.random())
    os.kill(pids[victim], signal.SIGKILL)
    code, _ = job.outcome(SOON)
    assert code != 0
    assert_gone(pids)


def test_torchrun_starts_ranks_again_and_they_go_on(tmp_path):
    code, said = Job("torch", 2, "restart", tmp_path, restarts=1).outcome()
    assert code == 0, said
    assert (tmp_path / "went on").exists()


def test_ctrl_c_ends_with_the_last_whole_epoch(tmp_path):
    job = Job("torch", 2, "long", tmp_path)
    job.wait_for(tmp_path / "epoch")
    for rank in range(2):
        os.kill(int((tmp_path / f"pid {rank}").read_text()), signal.SIGINT)
    code, said = job.outcome(SOON)
    assert code == 0, said
    assert said.count("interrupted; the network keeps the weights of epoch") == 1
