"""Starting weights: zero biases, and W from a distribution whose variance keeps signals alive from layer to layer.

| family | Var W | source |
|---|---|---|
| he | 2 / n_in | He, Zhang, Ren and Sun, 2015 (the paper's) |
| glorot | 2 / (n_in + n_out) | Glorot and Bengio, 2010 |
| lecun | 1 / n_in | LeCun, Bottou, Orr and Müller, 1998 |

``_normal`` draws N(0, Var W), ``_uniform`` U(±√(3 Var W)). "sklearn" and "sklearn_logistic" are scikit-learn's start:
W and b from U(±√(g/(n_in + n_out))), g = 6, and 2 for logistic units. Draws are made on the host, so that the same seed
gives the same weights on every library and device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

#: Var W = gain / fan, by family: the gain, and the fan of (n_in, n_out).
VARIANCES: dict[str, tuple[float, Callable[[int, int], int]]] = {
    "he": (2.0, lambda n_in, _: n_in),
    "glorot": (2.0, lambda n_in, n_out: n_in + n_out),
    "lecun": (1.0, lambda n_in, _: n_in),
}
#: g of scikit-learn's start.
GAINS = {"sklearn": 6.0, "sklearn_logistic": 2.0}
INITIALIZERS: tuple[str, ...] = tuple(f"{family}_{law}" for family in VARIANCES for law in ("normal", "uniform"))


def draw(name: str, rng: np.random.RandomState, n_in: int, n_out: int) -> np.ndarray:
    """Draw W (n_in, n_out), float64, from the named distribution."""
    family, law = name.split("_")
    gain, fan = VARIANCES[family]
    deviation = math.sqrt(gain / fan(n_in, n_out))
    if law == "normal":
        return deviation * rng.standard_normal((n_in, n_out))
    bound = math.sqrt(3) * deviation
    return rng.uniform(-bound, bound, (n_in, n_out))


def draw_layers(
    inits: Sequence[str], rng: np.random.RandomState, sizes: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw (W_l, b_l) of every layer, in order; b_l (1, n_l) is zero, but drawn too for scikit-learn's start."""
    return [_draw_layer(init, rng, n_in, n_out) for init, (n_in, n_out) in zip(inits, pairwise(sizes), strict=True)]


def _draw_layer(init: str, rng: np.random.RandomState, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    if init not in GAINS:
        return draw(init, rng, n_in, n_out), np.zeros((1, n_out))
    bound = math.sqrt(GAINS[init] / (n_in + n_out))
    return rng.uniform(-bound, bound, (n_in, n_out)), rng.uniform(-bound, bound, (1, n_out))
