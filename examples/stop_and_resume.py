"""Kill a training run, start the script again, and get the weights of an uninterrupted run, bit by bit."""

import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import xbackprop


def train(folder, report=None):
    """Train with checkpoints; with resume=True, `fit` continues from the checkpoint in the folder if there is one."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((500, 20)), rng.randint(3, size=500)
    net = xbackprop.MLP(
        (32,), dropout=0.1, learning_rate="cosine", max_iter=200, tol=0.0, n_iter_no_change=200, random_state=0,
        checkpoint=folder, resume=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        net.fit(X, y, callback=report)
    return net


def main():
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        expected = train(whole)
        process = spawn.Process(target=train, args=(killed,))
        process.start()
        while not (killed / "checkpoint.safetensors").exists():
            time.sleep(0.001)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        epochs = len(xbackprop.MLP.load(killed / "checkpoint.safetensors").loss_curve_)
        print(f"killed after at least {epochs} of 200 epochs")
        resumed = train(killed)
        same = all(np.array_equal(a, b) for a, b in zip(resumed.coefs_, expected.coefs_, strict=True))
        print(f"resumed; the final weights are {'the same, bit by bit' if same else 'different'}")
        assert same


if __name__ == "__main__":
    main()
