"""Time our estimators beside scikit-learn's: `fit` to the same loss, and `predict` of one row and of a million.

With the same seed both take the same steps to the same weights, so equally many epochs lead to the same loss, which is
asserted.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from statistics import geometric_mean, median

import numpy as np
from harness import take_turns, write

ROWS = 1_000_000
BACKENDS = ("numpy", "numba")
#: Epochs of a timed fit, which last some tenths of a second.
EPOCHS = {"digits": 60, "breast_cancer": 200, "diabetes": 200, "synthetic 100,000 × 100": 2}


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised X, and y, in float64."""
    from sklearn import datasets
    from sklearn.preprocessing import scale

    if name.startswith("synthetic"):
        X, y = datasets.make_classification(100_000, 100, n_informative=20, random_state=0)
    else:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return scale(X), scale(y) if name == "diabetes" else y


def estimator(library: str, name: str):  # type: ignore[no-untyped-def]
    """Return an estimator with default settings, except that it does not stop early: all epochs are run."""
    import sklearn.neural_network

    import xbackprop

    module = sklearn.neural_network if library == "scikit-learn" else xbackprop
    cls = module.MLPRegressor if name == "diabetes" else module.MLPClassifier
    net = cls(random_state=0, max_iter=EPOCHS[name], n_iter_no_change=EPOCHS[name])
    return net if library == "scikit-learn" else net.set_params(backend=library)


def fit(library: str, name: str) -> Callable[[], int]:
    warnings.simplefilter("ignore")
    X, y = table(name)
    net = estimator(library, name)

    def work() -> int:
        net.fit(X, y)
        return 1

    return work


def predict(library: str, name: str, rows: int, times: int) -> Callable[[], int]:
    warnings.simplefilter("ignore")
    X, y = table(name)
    net = estimator(library, name).set_params(max_iter=2).fit(X, y)
    X = np.tile(X, (-(-rows // len(X)), 1))[:rows]

    def work() -> int:
        for _ in range(times):
            net.predict(X)
        return times

    return work


def same_loss(name: str, backends: list[str]) -> float:
    """Return the last loss of scikit-learn; assert that these backends reach the same one."""
    warnings.simplefilter("ignore")
    X, y = table(name)
    theirs, *ours = (estimator(library, name).fit(X, y).loss_ for library in ("scikit-learn", *backends))
    assert all(abs(theirs - loss) < 1e-9 for loss in ours), f"{name}: {theirs} and {ours}"
    return theirs


def measure(rounds: int) -> str:
    lines = [
        "| data | loss of all | fit, NumPy | fit, Numba | predict 1 row | predict 1,000,000 rows |",
        "|---" * 6 + "|",
    ]
    fits: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for name in EPOCHS:
        cells = []
        for make, ours in (
            (fit, BACKENDS),
            (partial(predict, rows=1, times=300), BACKENDS[:1]),
            (partial(predict, rows=ROWS, times=1), BACKENDS[:1]),
        ):
            seconds = take_turns({lib: partial(make, lib, name) for lib in ("scikit-learn", *ours)}, rounds)
            for backend in ours:
                if not {"scikit-learn", backend} <= set(seconds):
                    cells.append("")
                    continue
                ratios = [a / b for a, b in zip(seconds["scikit-learn"], seconds[backend], strict=True)]
                cells.append(f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
                if make is fit:
                    fits[backend].append(median(ratios))
        loss = same_loss(name, [backend for backend in BACKENDS if fits[backend]])
        lines.append(f"| {name} | {loss:.4f} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    means = " | ".join(f"{geometric_mean(values):.2f}" if values else "" for values in fits.values())
    return "\n".join([*lines, f"| geometric mean | | {means} | | |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, printed and not written")
    quick = parser.parse_args().quick
    text = measure(3 if quick else 11)
    if not quick:
        write(text, "estimators")
