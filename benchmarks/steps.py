"""Microseconds per training step, side by side: `python benchmarks/steps.py [net ...]`."""

from __future__ import annotations

import sys
from functools import partial

from contenders import NETS, products, sklearn_epoch, torch_epoch, xbackprop_epoch
from harness import median, ratio, take_turns


def contenders(net: str) -> dict:
    return {
        "NumPy": partial(xbackprop_epoch, net, "numpy", "adam"),
        "torch": partial(xbackprop_epoch, net, "torch", "adam"),
        "scikit-learn": partial(sklearn_epoch, net),
        "torch autograd": partial(torch_epoch, net),
        "NumPy, SGD": partial(xbackprop_epoch, net, "numpy", "sgd"),
        "NumPy, SGD, no penalty": partial(xbackprop_epoch, net, "numpy", "sgd", 0.0),
        "NumPy products": partial(products, net, "numpy"),
        "torch products": partial(products, net, "torch"),
    }


if __name__ == "__main__":
    for net in sys.argv[1:] or NETS:
        t = take_turns(contenders(net), 7 if net.startswith("1024") else 21)
        print(net, {name: round(median(v) * 1e6) for name, v in t.items()})
        print(
            "   NumPy/sklearn %.2f  NumPy/torch %.2f  torch/torch %.2f  sgd/bare %.2f  no penalty %.2f"
            % (
                ratio(t["scikit-learn"], t["NumPy"]),
                ratio(t["torch autograd"], t["NumPy"]),
                ratio(t["torch autograd"], t["torch"]),
                ratio(t["NumPy, SGD"], t["NumPy products"]),
                ratio(t["NumPy, SGD, no penalty"], t["NumPy products"]),
            ),
            flush=True,
        )
