"""The command ``xbackprop``: train, predict, verify, complexity, backends."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.arrays.discovery import get_backend
from xbackprop.cli import verify
from xbackprop.cli.devices import installed, parse_device
from xbackprop.cli.progress_bar import progress
from xbackprop.cli.scaling import Scale, fold_inputs, fold_outputs
from xbackprop.cli.tables import BUNDLED, hold_out, read_dataset, read_features
from xbackprop.complexity.counting import count, matrix_rate
from xbackprop.errors import ConvergenceWarning, DivergenceError, GradientCheckError
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.settings import SOLVERS, TASKS
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.optim.optimizers import OPTIMIZERS
from xbackprop.version import __version__

USER_ERRORS = (ValueError, ImportError, OSError, DivergenceError)  # BackendError and ModelFileError are among them

# The gradient check before training takes a small copy of the network, in which central differences are quick, and
# shallow enough for them to be accurate.
CHECK_SAMPLES, CHECK_FEATURES, CHECK_WIDTH, CHECK_DEPTH, CHECK_TOLERANCE = 10, 64, 16, 3, 1e-7


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 1 where a gradient is wrong, 2 for what the user can mend, 130 after Ctrl-C."""
    try:
        args = _parser().parse_args(argv)
        status = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush at exit succeeds
        return 1
    except KeyboardInterrupt:
        print("xbackprop: interrupted", file=sys.stderr)
        return 130
    except GradientCheckError as error:
        print(f"xbackprop: error: {error}", file=sys.stderr)
        return 1
    except USER_ERRORS as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"xbackprop: error: {text}", file=sys.stderr)
        return 2
    return int(status)


def train(args: argparse.Namespace) -> int:
    """Train on a part of the data, save, and score on the rest."""
    if args.out is not None and not args.out.parent.is_dir():  # said before training, not after it
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.parent}")
    data = read_dataset(args.data, args.target, args.task)
    rows, held_out = hold_out(data, args.held_out, args.seed)
    inputs = Scale.of(data.X[rows])
    X, y = inputs.apply(data.X[rows]), data.y[rows]
    outputs = Scale.of(y[:, None]) if data.task == "regression" else None
    if outputs is not None:
        y = outputs.apply(y)
    backend = get_backend(args.backend, parse_device(args.device))
    settings = {
        "activation": args.activation,
        "task": data.task,
        "solver": args.solver,
        "alpha": args.alpha,
        "batch_size": args.batch_size,
        "learning_rate_init": args.learning_rate,
        "max_iter": args.max_iter,
        "backend": backend,
        "dtype": args.dtype,
        "random_state": args.seed,
    }
    net = MLP(args.hidden, **settings).initialize(X, y)

    learnt = f"{net.n_outputs_} classes" if outputs is None else f"target {data.target}"
    _say("data", f"{args.data}: {len(data.y):,} samples, {X.shape[1]} features, {learnt}; {len(held_out)} held out")
    _say("network", f"{_shape(net)}, {args.activation}, {_size(net):,} parameters")
    _say("backend", f"{backend.name} {backend.version}, device {backend.device or 'cpu'}, {args.dtype}")
    _check_small_copy(args.hidden, settings, X, y)
    began = time.perf_counter()
    settled = _fit(net, X, y)
    seconds = time.perf_counter() - began

    fold_inputs(net, inputs)
    if outputs is not None:
        fold_outputs(net, outputs)
    net.feature_names_in_ = data.features
    end = "settled" if settled else f"still falling at --max-iter {args.max_iter}"
    rate = len(y) * net.n_iter_ / seconds
    _say(
        "trained",
        f"{net.n_iter_} epochs in {seconds:.1f} s, {rate:,.0f} samples/s; loss {net.loss_curve_[-1]:.4g}, {end}",
    )
    if args.out is not None:
        net.save(args.out)
    _say("model", str(args.out or "not saved: --out model.safetensors would keep it"))
    score = net.score(data.X[held_out], data.y[held_out])
    print(f"held-out {'accuracy' if outputs is None else 'R2'} {score:.3f}")
    return 0


def predict(args: argparse.Namespace) -> int:
    """Print or write what a saved network predicts for every row."""
    net = MLP.load(args.model, backend=args.backend, device=parse_device(args.device))
    X = read_features(args.data, net.feature_names_in_, net.n_features_in_)
    if args.proba:
        values, header = net.predict_proba(X), [str(label) for label in net.classes_]
    else:
        values = net.predict(X).reshape(len(X), -1)
        header = ["prediction"] if values.shape[1] == 1 else [f"prediction {i + 1}" for i in range(values.shape[1])]
    with nullcontext(sys.stdout) if args.out is None else open(args.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if args.proba or args.out is not None:
            writer.writerow(header)
        writer.writerows(values)
    return 0


def complexity(args: argparse.Namespace) -> int:
    """Print what a training step of a network costs."""
    counted = count(
        args.sizes, args.batch_size, activation=args.activation, solver=args.solver, dropout=args.dropout,
        checkpoint_activations=args.checkpoint, dtype=args.dtype, backend=get_backend(args.backend),
    )  # fmt: skip
    rate = matrix_rate(args.backend, args.dtype, parse_device(args.device))
    print(counted)
    print(
        f"\nthe matrix products of a step at {rate / 1e9:,.1f}e9 multiply-adds a second, measured here: "
        f"{counted.seconds(rate) * 1e3:,.3g} ms"
    )
    return 0


def backends(args: argparse.Namespace) -> int:
    """Print the backends that are installed."""
    for name, version, devices, reason in installed():
        print(
            f"{name:<9} {version:<14} {', '.join(devices)}" if reason is None else f"{name:<9} not available: {reason}"
        )
    return 0


def _fit(net: MLP, X: np.ndarray, y: np.ndarray) -> bool:
    """Train, and say whether the loss has settled."""
    with progress(net.max_iter) as show, warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # it is the last thing that fit does
        try:
            net.fit(X, y, callback=show)
        except ConvergenceWarning:
            return False
    return True


def _check_small_copy(hidden: Sequence[int], settings: dict[str, Any], X: np.ndarray, y: np.ndarray) -> None:
    """The paper's gradient check of a network like the one to train, on a few samples with all kinds of labels."""
    first_of_each = np.unique(y, return_index=True)[1][:CHECK_SAMPLES]
    few = np.union1d(first_of_each, np.arange(min(CHECK_SAMPLES, len(y))))
    X, y = X[few, :CHECK_FEATURES], y[few]
    small = MLP([min(width, CHECK_WIDTH) for width in hidden[:CHECK_DEPTH]], **settings).initialize(X, y)
    error = small.gradient_check(X, y, tolerance=CHECK_TOLERANCE)
    copy = f"a {_shape(small)} copy, {len(y)} samples"
    _say("gradients", f"right to {error:.1e} by the paper's check, < {CHECK_TOLERANCE:.0e} ({copy})")


def _say(what: str, text: str) -> None:
    print(f"{what:<10} {text}", flush=True)


def _shape(net: MLP) -> str:
    return "-".join(str(n) for n in [*(W.shape[0] for W in net.coefs_), net.n_outputs_])


def _size(net: MLP) -> int:
    return sum((W.shape[0] + 1) * W.shape[1] for W in net.coefs_)


def _hidden(text: str) -> tuple[int, ...]:
    """ "64,32" as (64, 32); nothing, or "none", as ()."""
    return () if text.strip() in ("", "none") else _widths(text)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as in 64,32, or none, got {text!r}") from None


def _number_or(word: str) -> Callable[[str], int | str]:
    """How an option reads a whole number, or this word."""

    def read(text: str) -> int | str:
        try:
            return text if text == word else int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number or {word}, got {text!r}") from None

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "xbackprop", description="A multi-layer perceptron with hand-derived gradients, on any array library."
    )
    parser.add_argument("--version", action="version", version=f"xbackprop {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str) -> Any:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        return sub.add_argument

    def place(add: Any, backend: str | None) -> None:
        add(
            "--backend",
            metavar="NAME",
            default=backend,
            help=f"one that the command backends lists (default {backend or 'all'})",
        )
        add("--device", metavar="NAME", help="as the library calls it: cuda:1 for torch, 0 for CuPy")

    sources = f"a CSV file, or a data set of scikit-learn's: {', '.join(BUNDLED)}"
    add = command("train", train, "train a network on a table, and score it on held-out rows")
    add("data", metavar="DATA", help=sources)
    add("--target", metavar="COLUMN", help="the column of the CSV file to predict")
    add("--task", choices=list(TASKS), help="if it is not the one that the target suggests")
    add("--out", type=Path, metavar="FILE", help="write the model here, as safetensors; it takes raw inputs")
    add("--hidden", type=_hidden, metavar="WIDTHS", default="100", help="as in 64,32, or none (default %(default)s)")
    names = ", ".join(ACTIVATIONS)
    add(
        "--activation", choices=list(ACTIVATIONS), metavar="NAME", default="relu", help=f"{names} (default %(default)s)"
    )
    add("--max-iter", type=int, metavar="N", default=200, help="the most epochs (default %(default)s)")
    add(
        "--seed",
        type=int,
        metavar="N",
        default=0,
        help="of split, starting weights and shuffling (default %(default)s)",
    )
    add(
        "--held-out",
        type=float,
        metavar="SHARE",
        default=0.2,
        help="of the samples, not trained on (default %(default)s)",
    )
    add("--solver", choices=SOLVERS, default="adam", help="(default %(default)s)")
    add("--learning-rate", type=float, metavar="RATE", default=1e-3, help="the step size (default %(default)s)")
    add("--alpha", type=float, metavar="STRENGTH", default=0.1, help="of the L2 penalty (default %(default)s)")
    add(
        "--batch-size",
        type=_number_or("auto"),
        metavar="N",
        default=32,
        help="samples a step, or auto (default %(default)s)",
    )
    add("--dtype", choices=["float32", "float64"], default="float64", help="(default %(default)s)")
    place(add, "numpy")

    add = command("predict", predict, "print what a model predicts for every row of a table")
    add("model", metavar="MODEL", help="a file that train wrote")
    add("data", metavar="DATA", help=f"{sources}; columns that the model does not know are left out")
    add("--proba", action="store_true", help="print the probability of every class")
    add("--out", type=Path, metavar="FILE", help="write a CSV file instead")
    place(add, "numpy")

    says = "verify gradients; exits with 0 if all passed, 1 if one failed, 2 if undecided under --strict, 3 if not run"
    verify.add_arguments(command("verify", verify.run, says))
    add = command("complexity", complexity, "count what a training step costs: operations, bytes, time")
    add("sizes", type=_widths, metavar="SIZES", help="of all layers, from the input to the output, as in 784,256,10")
    add("--batch-size", type=int, metavar="M", default=200, help="samples a step (default %(default)s)")
    add("--activation", choices=list(ACTIVATIONS), metavar="NAME", default="relu", help="(default %(default)s)")
    add("--solver", choices=list(OPTIMIZERS), default="adam", help="(default %(default)s)")
    add("--dropout", type=float, metavar="RATE", default=0.0, help="(default %(default)s)")
    add("--checkpoint", type=_number_or("sqrt"), metavar="K", help="keep the activations of every K-th layer; or sqrt")
    add("--dtype", choices=["float32", "float64"], default="float32", help="(default %(default)s)")
    place(add, "numpy")

    command("backends", backends, "list the array libraries that can be used, and their devices")
    return parser
