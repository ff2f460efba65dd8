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

import numpy as np

from xbackprop.nn.parameters import Layout

#: Var W = gain / fan, by family: the gain, and the fan of (n_in, n_out).
VARIANCES: dict[str, tuple[float, Callable[[int, int], int]]] = {
    "he": (2.0, lambda n_in, _: n_in),
    "glorot": (2.0, lambda n_in, n_out: n_in + n_out),
    "lecun": (1.0, lambda n_in, _: n_in),
}
#: g of scikit-learn's start.
GAINS = {"sklearn": 6.0, "sklearn_logistic": 2.0}
INITIALIZERS: tuple[str, ...] = tuple(f"{family}_{law}" for family in VARIANCES for law in ("normal", "uniform"))


#: Numbers drawn at a time: they are still in the cache when they are rounded to the dtype of θ.
BLOCK = 2**15


def draw(name: str, rng: np.random.RandomState, n_in: int, n_out: int) -> np.ndarray:
    """Draw W (n_in, n_out), float64, from the named distribution."""
    W = np.empty((n_in, n_out))
    _fill(W.reshape(-1), rng, *_law(name, n_in, n_out))
    return W


def draw_theta(inits: Sequence[str], rng: np.random.RandomState, layout: Layout, dtype: str) -> np.ndarray:
    """Draw θ (P,), float64 numbers rounded to the dtype, layer by layer, W_l before b_l.

    b_l is zero, but drawn too for scikit-learn's start.
    """
    theta = np.zeros(layout.n_parameters, dtype)
    for init, shape, (w, b) in zip(inits, layout.shapes, layout.slices(), strict=True):
        law, scale = _law(init, *shape)
        _fill(theta[w], rng, law, scale)
        if init in GAINS:
            _fill(theta[b], rng, law, scale)
    return theta


def _law(name: str, n_in: int, n_out: int) -> tuple[str, float]:
    """Return "normal" and the standard deviation, or "uniform" and the bound."""
    if name in GAINS:
        return "uniform", math.sqrt(GAINS[name] / (n_in + n_out))
    family, law = name.split("_")
    gain, fan = VARIANCES[family]
    deviation = math.sqrt(gain / fan(n_in, n_out))
    return law, deviation if law == "normal" else math.sqrt(3) * deviation


def _fill(out: np.ndarray, rng: np.random.RandomState, law: str, scale: float) -> None:
    """Fill a vector with draws; block by block, which takes the same numbers from the stream as all at once."""
    for start in range(0, out.shape[0], BLOCK):
        part = out[start : start + BLOCK]
        n = part.shape[0]
        part[:] = scale * rng.standard_normal(n) if law == "normal" else rng.uniform(-scale, scale, n)
