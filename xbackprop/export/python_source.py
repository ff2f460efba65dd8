"""Networks as a module of some lines of NumPy, for the smallest of servers."""

from __future__ import annotations

import base64
import io
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.errors import ExportError
from xbackprop.export.portable import Portable, name_of
from xbackprop.files import write_atomically
from xbackprop.nn.activations import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

_SIGMOID = "0.5 + 0.5 * np.tanh(0.5 * z)"
#: The activations as NumPy's expressions of z.
EXPRESSIONS = {
    "identity": "z",
    "relu": "np.maximum(z, 0.0)",
    "leaky_relu": f"np.maximum(z, {LEAKY_SLOPE} * z)",
    "tanh": "np.tanh(z)",
    "logistic": _SIGMOID,
    "softplus": "np.logaddexp(0.0, z)",
    "elu": "np.maximum(z, 0.0) + np.expm1(np.minimum(z, 0.0))",
    "gelu": "0.5 * z * (1.0 + np.vectorize(math.erf, otypes=[z.dtype])(z * math.sqrt(0.5)))",
    "silu": f"z * ({_SIGMOID})",
    "selu": f"{SELU_SCALE} * (np.maximum(z, 0.0) + {SELU_ALPHA} * np.expm1(np.minimum(z, 0.0)))",
    "mish": "z * np.tanh(np.logaddexp(0.0, z))",
}
#: The outputs of losses, as lines of a function of z.
OUTPUTS = {
    "softmax": "e = np.exp(z - z.max(axis=1, keepdims=True))\n    return e / e.sum(axis=1, keepdims=True)",
    "logistic": f"return {_SIGMOID}",
    "linear": "return z",
    "ascending": "return np.sort(z, axis=1)",
    "exponential": "return np.exp(z)",
}
HEAD = '''"""{title}. Written by xbackprop; it needs NumPy alone."""

{imports}

{weights}


{functions}

def logits(X):
    """Return the logits of each network (M, n, n_outputs)."""
    X = np.asarray(X{cast}).reshape(-1, {n_features})
    found = []
    for m in range({networks}):
        h = {inputs}
        for l in range({depth}):
            z = h @ WEIGHTS[f"W_{{m}}_{{l}}"] + WEIGHTS[f"b_{{m}}_{{l}}"]
            h = HIDDEN[l](z) if l < {last} else z
        found.append(h)
    return np.stack(found)

'''
NUMBERS = '''
def predict(X):
    """Return the values {shape} of a regression."""
    h = np.mean([output(z) for z in logits(X)], axis=0)
    return {undone}{column}
'''
CLASSES = '''
def predict_proba(X):
    """Return the probabilities (n, {n_classes})."""
    return np.mean([{probability} for z in logits(X)], axis=0)


def predict(X):
    """Return the {result}."""
    return {decided}
'''


def to_python(net: Portable, path: str | PathLike[str] | None, embed: bool) -> str:
    """Return the source, and write it where a path is given: with its weights in it, or in an .npz beside it."""
    if path is None and not embed:
        raise ExportError(
            f"{net.where}: weights stand in a file beside the module, or in it: give a path, or embed=True"
        )
    arrays = {
        f"{letter}_{m}_{l}": a
        for m, network in enumerate(net.networks)
        for l, layer in enumerate(network.layers)
        for letter, a in zip("Wb", layer, strict=True)
    }
    arrays |= {} if net.inputs is None else {"mean": net.inputs.mean, "deviation": net.inputs.deviation}
    if net.targets.scaling is not None:
        mean, deviation = (a.astype(net.dtype) for a in net.targets.scaling)
        arrays |= {"y_mean": mean, "y_deviation": deviation}
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    place = None if path is None else Path(path)
    source = _source(net, packed.getvalue() if embed else None, None if place is None else place.stem)
    if place is not None:
        write_atomically(place, source.encode())
        if not embed:
            write_atomically(place.with_suffix(".npz"), packed.getvalue())
    return source


def _source(net: Portable, weights: bytes | None, stem: str | None) -> str:
    network = net.networks[0]
    names = [[name_of(net.where, f, "plain NumPy") for f in one.activations] for one in net.networks]
    if any(one != names[0] for one in names) or any(one.sizes != network.sizes for one in net.networks):
        raise ExportError(f"{net.where}: networks of different layers make no common module; export each of networks_")
    title = f"A network of {'-'.join(map(str, network.sizes))}, output {net.output}"
    if len(names) > 1:
        title = f"{len(names)} networks of {'-'.join(map(str, network.sizes))}, output {net.output}"
    imports = ["math"] * ("gelu" in names[0])
    if weights is None:
        imports.append("pathlib")
        text = f'WEIGHTS = dict(np.load(pathlib.Path(__file__).with_name("{stem}.npz")))'
    else:
        imports += ["base64", "io"]
        lines = base64.encodebytes(weights).decode().replace("\n", "\n    ").strip()
        text = f'WEIGHTS = dict(np.load(io.BytesIO(base64.b64decode("""\n    {lines}\n"""))))'
    functions = [f"def {name}(z):\n    return {EXPRESSIONS[name]}\n\n" for name in dict.fromkeys(names[0])]
    functions.append(f"def output(z):\n    {OUTPUTS[net.output]}\n\n")
    functions.append(f"HIDDEN = [{', '.join(names[0])}]\n")
    head = HEAD.format(
        title=title, imports="\n".join([*(f"import {name}" for name in sorted(imports)), "", "import numpy as np"]),
        weights=text, functions="\n".join(functions), networks=len(net.networks), depth=len(network.layers),
        last=len(network.layers) - 1, n_features=network.sizes[0],
        cast="" if net.inputs is None and net.dtype == "float32" else ", dtype=np.float64",
        inputs=_inputs(net),
    )  # fmt: skip
    return (head + _predict(net)).lstrip("\n")


def _inputs(net: Portable) -> str:
    cast = f".astype(np.{net.dtype})"
    return f"X{cast}" if net.inputs is None else f'((X - WEIGHTS["mean"]) / WEIGHTS["deviation"]){cast}'


def _predict(net: Portable) -> str:
    targets = net.targets
    if targets.kind == "numbers":
        undone = "h" if targets.scaling is None else 'WEIGHTS["y_mean"] + WEIGHTS["y_deviation"] * h'
        column, shape = ("[:, 0]", "(n,)") if targets.vector else ("", f"(n, {targets.n_outputs})")
        return NUMBERS.format(undone=f"({undone})" if column else undone, column=column, shape=shape)
    if targets.kind == "multilabel":
        form: dict[str, Any] = {"n_classes": targets.n_outputs, "probability": "output(z)",
                                "result": f"labels (n, {targets.n_outputs}) of 0 and 1",
                                "decided": "(predict_proba(X) > 0.5).astype(np.int64)"}  # fmt: skip
        return CLASSES.format(**form)
    assert targets.classes is not None
    k = len(targets.classes)
    both = "np.concatenate([output(-z), output(z)], axis=1)" if k == 2 else "np.ones_like(z)"
    lead = f"\nCLASSES = np.array({targets.classes.tolist()!r})\n\n"
    return lead + CLASSES.format(
        n_classes=k, probability=both if targets.kind == "binary" else "output(z)",
        result="label (n,) with the largest probability", decided="CLASSES[predict_proba(X).argmax(axis=1)]",
    )  # fmt: skip
