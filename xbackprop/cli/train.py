"""The command ``xbackprop train``: train a network on a table, save it, and score it on held-out rows."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import VARIABLE
from xbackprop.callbacks.progress_bar import ProgressBar
from xbackprop.cli.backend_choice import choose_backend
from xbackprop.cli.options import DATA_HELP, add_activation, add_dtype, add_place, integer_or, widths
from xbackprop.cli.ranks import add_communicator, on_ranks
from xbackprop.cli.tables import NO_SUCH_FILE, hold_out, is_bundled, read_dataset
from xbackprop.cli.words import report
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp.many.tasks import about_seconds
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.setting_table import SOLVERS, TASKS
from xbackprop.mlp.settings import AUTO_BATCH
from xbackprop.nn.parameters import Layout

HELP = "train a network on a table, and score it on held-out rows"

# The gradient check before training takes a small copy of the network, in which central differences are quick, and
# shallow enough for them to be accurate.
CHECK_SAMPLES, CHECK_FEATURES, CHECK_WIDTH, CHECK_DEPTH, CHECK_TOLERANCE = 10, 64, 16, 3, 1e-7

#: Options of a single network: each of them, and --plain, stands for that one in place of a model for tables.
OF_A_NETWORK = (
    "--hidden", "--activation", "--max-iter", "--solver", "--learning-rate", "--alpha", "--batch-size", "--dtype",
    "--threads", "--plain",
)  # fmt: skip


#: Options of a model for tables.
OF_TABLES = (
    "--preset", "--metric", "--time-limit", "--no-header", "--drop", "--text", "--number", "--group", "--time-column",
    "--validation",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the table, the network and the way to train it."""
    add = parser.add_argument
    add("data", metavar="DATA", help=DATA_HELP)
    add("--target", metavar="COLUMN", help="the column of the CSV file to predict")
    add("--task", choices=list(TASKS), help="the kind of target (default: by the values in its column)")
    add("--out", type=Path, metavar="FILE", help="save the model here, as safetensors; it takes unscaled inputs")
    add(
        "--hidden", type=_hidden_widths, metavar="WIDTHS", default="100",
        help="widths of the hidden layers, as in 64,32, or none (default %(default)s)",
    )  # fmt: skip
    add_activation(parser)
    add("--max-iter", type=int, metavar="N", default=200, help="train for at most N epochs (default %(default)s)")
    add(
        "--seed", type=int, metavar="N", default=0,
        help="seed of the split, the starting weights and the shuffling (default %(default)s)",
    )  # fmt: skip
    add(
        "--held-out", type=float, metavar="FRACTION", default=0.2,
        help="fraction of the samples that are kept from training, to score the network on (default %(default)s)",
    )  # fmt: skip
    add("--solver", choices=SOLVERS, default="adam", help="optimizer (default %(default)s)")
    add("--learning-rate", type=float, metavar="RATE", default=1e-3, help="step size (default %(default)s)")
    add(
        "--alpha", type=float, metavar="STRENGTH", default=0.1,
        help="strength of the L2 penalty on the weights (default %(default)s)",
    )  # fmt: skip
    add(
        "--batch-size", type=integer_or("auto"), metavar="N", default=32,
        help="samples per step; auto is at most 200 (default %(default)s)",
    )  # fmt: skip
    add_dtype(parser, "float64")
    add_place(parser, chosen=f"${VARIABLE}, or numba where it is installed and the work exceeds its start, or numpy")
    add_communicator(parser)
    add("--threads", type=int, metavar="N", help="most threads to train with (default: what suits the network)")
    add(
        "--plain", action="store_true",
        help="train a single network on numbers, without the encoding of a table; implied by the options of a network: "
        f"{', '.join(OF_A_NETWORK[:-1])}",
    )  # fmt: skip
    tables = parser.add_argument_group("models for tables", "options of the ensemble that is trained by default")
    add = tables.add_argument
    add("--preset", choices=("fast", "good", "best"), default="good", help="how much to train (default %(default)s)")
    add("--metric", metavar="NAME", help="what to choose networks by: log_loss, accuracy, auc, rmse, mae, r2, a scorer")
    add("--time-limit", type=float, metavar="SECONDS", help="the most seconds of training")
    add("--no-header", action="store_true", help="the first line has values; columns are called 1, 2, …")
    add("--drop", metavar="COLUMNS", help="columns to leave out, as in id,name")
    add("--text", metavar="COLUMNS", help="columns of categories, whatever they look like")
    add("--number", metavar="COLUMNS", help="columns of numbers, whatever they look like")
    add("--group", metavar="COLUMN", help="rows with one value of it stay together, and it is no input")
    add("--time-column", metavar="COLUMN", help="train on earlier rows, validate and score on later ones")
    add("--validation", metavar="TABLE", help="rows to validate on, in place of some of DATA")


def run(args: argparse.Namespace) -> int:
    """Train on a part of the rows, save the model, and score it on the other rows; report each step in a line."""
    return on_ranks(_train, args)


def _train(args: argparse.Namespace) -> int:
    plain = [name for name in OF_A_NETWORK if any(word.split("=")[0] == name for word in args.argv)]
    tabular = [name for name in OF_TABLES if any(word.split("=")[0] == name for word in args.argv)]
    if plain and tabular:
        raise ValueError(f"{plain[0]} is for a single network, and {tabular[0]} for a model for tables; leave one out")
    if args.out is not None and not args.out.parent.is_dir():  # checked before training, not after it
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.parent}")
    if not (plain or is_bundled(args.data)):
        if not Path(args.data).exists():
            raise FileNotFoundError(f"{args.data}: {NO_SUCH_FILE}")
        try:
            from xbackprop.cli import train_table  # which needs scikit-learn
        except ImportError as error:
            raise ImportError(f"{error}; --plain trains a single network without it") from error
        return train_table.run(args)
    data = read_dataset(args.data, args.target, args.task)
    rows, held_out = hold_out(data, args.held_out, args.seed)
    X, y, regression = data.X[rows], data.y[rows], data.task == "regression"
    batch = min(len(X), AUTO_BATCH if args.batch_size == "auto" else args.batch_size)
    products = Layout((X.shape[1], *args.hidden, 1)).n_weights
    backend, reason = choose_backend(args, about_seconds(args.max_iter, len(X), batch, products))
    settings = settings_of(args, data.task, backend)
    net = MLP(args.hidden, **settings).initialize(X, y)

    goal = f"regression of {data.target}" if regression else f"{net.n_outputs_} classes"
    report("data", f"{args.data}: {len(data.y):,} samples, {X.shape[1]} features, {goal}; {len(held_out)} held out")
    report("network", f"{_shape(net)}, {args.activation}, {_n_parameters(net):,} parameters")
    report("backend", f"{backend.name} {backend.version}, device {backend.device or 'cpu'}, {args.dtype}{reason}")
    _check_small_copy(args.hidden, settings, X, y)
    began = time.perf_counter()
    settled, rate = _fit(net, X, y)
    seconds = time.perf_counter() - began

    net.feature_names_in_ = data.features
    report("trained", f"{net.n_iter_} epochs in {seconds:.1f} s, {rate:,.0f} samples/s")
    end = "settled" if settled else f"still falling at --max-iter {args.max_iter}"
    units = f", in units of the standard deviation of {data.target}" if regression else ""
    report("loss", f"{net.loss_curve_[-1]:.4g}, {end}{units}")
    if args.out is not None:
        net.save(args.out)
    report("model", str(args.out or "not saved: --out model.safetensors would keep it"))
    score = net.score(data.X[held_out], data.y[held_out])
    print(f"held-out {'R2' if regression else 'accuracy'} {score:.3f}")
    return 0


def settings_of(args: argparse.Namespace, task: str, backend: Backend) -> dict[str, Any]:
    """Return the settings of `MLP` that the options ask for, without the hidden layers."""
    return {
        "activation": args.activation,
        "task": task,
        "scale_inputs": True,
        "scale_target": task == "regression",
        "solver": args.solver,
        "alpha": args.alpha,
        "batch_size": args.batch_size,
        "learning_rate_init": args.learning_rate,
        "max_iter": args.max_iter,
        "backend": backend,
        "threads": args.threads,
        "communicator": args.communicator,
        "dtype": args.dtype,
        "random_state": args.seed,
    }


def _check_small_copy(hidden: Sequence[int], settings: dict[str, Any], X: np.ndarray, y: np.ndarray) -> None:
    """Apply the paper's gradient check to a smaller network with these settings, on a few samples of every class."""
    first_of_each = np.unique(y, return_index=True)[1][:CHECK_SAMPLES]
    few = np.union1d(first_of_each, np.arange(min(CHECK_SAMPLES, len(y))))
    X, y = X[few, :CHECK_FEATURES], y[few]
    small = MLP([min(width, CHECK_WIDTH) for width in hidden[:CHECK_DEPTH]], **settings).initialize(X, y)
    error = small.gradient_check(X, y, tolerance=CHECK_TOLERANCE)
    copy = f"{_shape(small)} copy, {len(y)} samples"
    report("gradients", f"relative error {error:.1e}, limit {CHECK_TOLERANCE:.0e} ({copy})")


def _fit(net: MLP, X: np.ndarray, y: np.ndarray) -> tuple[bool, float]:
    """Train; return whether the loss has settled before --max-iter, and the samples per second."""
    bar = ProgressBar()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # fit warns at its very end, so the network is trained
        try:
            net.fit(X, y, callbacks=[bar])
        except ConvergenceWarning:
            return False, bar.rate_
        except DivergenceError as error:  # in the words of the command's options
            raise DivergenceError(
                f"the loss or a weight became infinite or NaN in epoch {net.n_iter_ + 1}; try a smaller "
                f"--learning-rate than {net.learning_rate_init:g}"
            ) from error
    return True, bar.rate_


def _shape(net: MLP) -> str:
    """Return the widths of all layers, as in 64-100-10."""
    return "-".join(str(n) for n in [*(W.shape[0] for W in net.coefs_), net.n_outputs_])


def _n_parameters(net: MLP) -> int:
    return sum((W.shape[0] + 1) * W.shape[1] for W in net.coefs_)


def _hidden_widths(text: str) -> tuple[int, ...]:
    """Read --hidden: "64,32" is (64, 32); an empty text, or "none", is ()."""
    return () if text.strip() in ("", "none") else widths(text)
