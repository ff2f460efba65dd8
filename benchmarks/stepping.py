"""Time training steps of every contender on every net, side by side."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from statistics import median

from contenders import nerva_epoch, optax_epoch, products, sklearn_epoch, torch_epoch, xbackprop_epoch
from harness import ratio, take_turns

#: Pairs of contenders: the first one's time divided by the second one's is the published ratio.
RATIOS = {
    "NumPy vs scikit-learn": ("scikit-learn", "NumPy"),
    "NumPy vs torch autograd": ("torch autograd", "NumPy"),
    "NumPy vs optax": ("optax", "NumPy"),
    "Numba vs scikit-learn": ("scikit-learn", "Numba"),
    "Numba vs torch autograd": ("torch autograd", "Numba"),
    "Numba vs optax": ("optax", "Numba"),
    "torch vs torch autograd": ("torch autograd", "torch"),
    "compiled torch vs torch.compile": ("torch.compile", "torch, compiled"),
    "JAX vs optax": ("optax", "JAX"),
    "NumPy SGD vs nerva": ("nerva", "NumPy SGD"),
}
#: Contenders whose time is divided by that of the bare products.
TO_PRODUCTS = {
    "NumPy, Adam": ("NumPy", "products"),
    "Numba, Adam": ("Numba", "products"),
    "NumPy, SGD": ("NumPy SGD", "products"),
}


def contenders(net: str, dtype: str) -> dict:
    found = {
        "NumPy": partial(xbackprop_epoch, net, dtype, "numpy"),
        "Numba": partial(xbackprop_epoch, net, dtype, "numba"),
        "torch": partial(xbackprop_epoch, net, dtype, "torch"),
        "torch, compiled": partial(xbackprop_epoch, net, dtype, "torch-compiled"),
        "JAX": partial(xbackprop_epoch, net, dtype, "jax"),
        "scikit-learn": partial(sklearn_epoch, net, dtype),
        "torch autograd": partial(torch_epoch, net, dtype),
        "torch.compile": partial(torch_epoch, net, dtype, compiled=True),
        "optax": partial(optax_epoch, net, dtype),
        "NumPy SGD": partial(xbackprop_epoch, net, dtype, "numpy", "sgd", 0.0),
        "products": partial(products, net, dtype),
    }
    if dtype == "float32":  # the only dtype it has
        found["nerva"] = partial(nerva_epoch, net)
    cuda = find_spec("torch") is not None and _has_cuda()
    return found | ({"torch-cuda": partial(xbackprop_epoch, net, dtype, "torch:cuda")} if cuda else {})


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def measure(nets: list[str], dtype: str, runs: int, rounds: int) -> dict:
    """Return, for every net, the median microseconds of each contender, and the median of each ratio in each run."""
    results = {}
    for net in nets:
        seconds = take_turns(contenders(net, dtype), runs * rounds)
        ratios: dict[str, list[float]] = {}
        for first in range(0, runs * rounds, rounds):
            run = {name: values[first : first + rounds] for name, values in seconds.items()}
            for name, (slow, fast) in {**RATIOS, **TO_PRODUCTS}.items():
                if slow in run and fast in run:
                    longer = ratio(run[slow], run[fast])
                    ratios.setdefault(name, []).append(round(longer, 3))
        microseconds = {name: round(median(values) * 1e6, 1) for name, values in seconds.items()}
        results[net] = {"microseconds": microseconds, "ratios": ratios}
        print(dtype, net, microseconds, ratios, flush=True)
    return results
