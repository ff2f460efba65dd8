"""Kill a random rank of a running job at a random moment, again and again: all ranks must end, soon, with an error.

``python tests/stress/killing.py --tries 30``, for MPI and for torchrun each.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
from test_processes import SOON, Job, assert_gone


def one_try(launcher, size, moment):
    """Kill a rank; return the seconds until all have ended, or None if they had not."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(launcher, size, "long", Path(folder))
        pids = [int(job.wait_for(Path(folder) / f"pid {rank}")) for rank in range(size)]
        time.sleep(moment)
        os.kill(random.choice(pids), signal.SIGKILL)
        began = time.monotonic()
        code, _ = job.outcome(SOON)
        assert_gone(pids)
        return None if code == 0 else time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    failed = 0
    for launcher in ("mpi", "torch"):
        took = [one_try(launcher, random.choice([2, 3]), random.uniform(0.0, 3.0)) for _ in range(args.tries)]
        failed += took.count(None)
        ended = sorted(t for t in took if t is not None)
        print(
            f"{launcher}: {len(ended)} of {len(took)} ended with an error, the slowest after {ended[-1]:.1f} s",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
