"""Time `xbackprop.verify` on a small network and one of a million parameters, and every method on it by itself."""

import time
from statistics import median

import numpy as np

from xbackprop import MLP, verify

NETS = {"64-32-10": ((32,), 64), "784-800-400-10": ((800, 400), 784)}
SAMPLES, CLASSES = 200, 10


def seconds(net: MLP, X: np.ndarray, y: np.ndarray, runs: int, **options) -> list[float]:
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        assert verify(net, X, y, **options).passed
        found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    rng = np.random.RandomState(0)
    y = rng.randint(0, CLASSES, SAMPLES)
    for name, (hidden, features) in NETS.items():
        X = rng.standard_normal((SAMPLES, features))
        net = MLP(hidden, random_state=0, backend="numpy").initialize(X, y)
        ways = {"default": {}, "default, no pictures": {"pictures": False}}
        if features == 64:
            ways |= {"with differences": {"methods": ["complex step", "differences"], "pictures": False}}
        for way, options in ways.items():
            times = seconds(net, X, y, 3, **options)
            print(f"{name}, {way}: {median(times):.1f} s ({min(times):.1f} to {max(times):.1f})", flush=True)
