"""Train a model for tables for the command ``xbackprop train``: any table, no option but its target."""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from xbackprop.cli.backend_choice import choose_backend
from xbackprop.cli.screen import bar, clear_line, progress_line
from xbackprop.cli.table_model import cells_of
from xbackprop.cli.tables import infer_target
from xbackprop.cli.words import report
from xbackprop.mlp.many.tasks import about_seconds
from xbackprop.tabular import TableEncoder, TabularClassifier, TabularRegressor
from xbackprop.tabular.base import BaseTabular
from xbackprop.tabular.candidates import PRESETS
from xbackprop.tabular.columns import Column, Table
from xbackprop.tabular.evaluation import score_with_interval
from xbackprop.tabular.files import read_table_file
from xbackprop.tabular.selection import Metric, find_metric
from xbackprop.tabular.splits import Split, make_splits

#: The most rows that the linear model is fitted to; more change it little.
LINEAR_ROWS = 50_000
#: Epochs of a network and inputs that are expected before anything is known, to choose the backend.
EPOCHS, INPUTS = 60, 200


class Labelled(NamedTuple):
    """Rows of a table whose target is known: the features, the target and its task, and columns for splitting."""

    table: Table
    y: np.ndarray
    task: str
    dropped: int
    group: Column | None = None
    time: Column | None = None


def run(args: argparse.Namespace) -> int:
    """Train on a part of the rows, save the model, and score it on the others beside two baselines."""
    data = read_labelled(args, args.data)
    split = _held_out(args, data)
    train, held_out = data.table.take(split.train), data.table.take(split.validation)
    y, n = data.y[split.train], data.table.n
    columns = len(data.table.columns)
    data = data._replace(table=Table({}, n))  # of which there are copies now
    lost = f", {data.dropped} without a target left out" if data.dropped else ""
    goal = f"regression of {args.target}" if data.task == "regression" else f"{len(np.unique(data.y))} classes"
    shape = f"{n + data.dropped:,} rows, {columns} columns"
    report("data", f"{args.data}: {shape}{lost}; {goal}; {held_out.n:,} held out")
    size = PRESETS[args.preset]
    nets = size.candidates * (5 if train.n < size.folds_below else 1)
    seconds = nets * about_seconds(EPOCHS, train.n, 256, INPUTS * 128 + 128 * 128)
    backend, reason = choose_backend(args, seconds)
    report("backend", f"{backend.name} {backend.version}, device {backend.device or 'cpu'}{reason}")
    cls = TabularRegressor if data.task == "regression" else TabularClassifier
    encoder = TableEncoder(categorical=_named(args.text, train), numeric=_named(args.number, train))
    model = cls(
        preset=args.preset, metric=args.metric or "auto", time_limit=args.time_limit, encoder=encoder, backend=backend,
        random_state=args.seed, communicator=args.communicator,
    )  # fmt: skip
    options: dict[str, Any] = {"groups": _labels_of(data.group, split.train)}
    if data.time is not None:
        options["time_order"] = data.time.values[split.train]
    if args.validation is not None:
        own = read_labelled(args, args.validation, data.task)
        options["validation_data"] = (own.table, own.y)
    show = progress_line()
    began = time.perf_counter()

    def note(done: float, of: int) -> None:
        left = (time.perf_counter() - began) * (of - done) / max(done, 1e-3)
        if show is not None:
            show(f"training   {bar(done / of)} {int(done)} of {of} networks, at most {left:.0f} s left")

    model.fit(train, y, progress=None if show is None else note, **options)
    clear_line()
    _show_columns(model)
    _show_leaderboard(model)
    if args.out is not None:
        model.backend = None  # which is an object, and chosen anew where the file is read
        model.save(args.out)
    report("model", str(args.out or "not saved: --out model.safetensors would keep it"))
    _show_scores(args, model, train, y, held_out, data.y[split.validation])
    _show_importance(model, held_out, data.y[split.validation], args.seed)
    if args.out is not None:
        model.save(args.out)  # with the evaluation, for `xbackprop plot`
    return 0


def read_labelled(args: argparse.Namespace, path: str, task: str | None = None) -> Labelled:
    """Read a table, take its target apart, and leave out the rows that have none."""
    names = [*_split(args.drop), *_split(args.text), *_split(args.number)]
    aside = [name for name in (args.group, args.time_column) if name]
    table = read_table_file(path, not args.no_header, _split(args.text), _split(args.number))
    known = ", ".join(table.columns)
    if args.target is None:
        raise ValueError(f"{path}: say with --target which column to predict; there are {known}")
    for name in (args.target, *names, *aside):
        if name not in table.columns:
            raise ValueError(f"{path}: there is no column {name!r}; the columns are {known}")
    target = table.columns[args.target]
    present = np.flatnonzero(~target.missing)
    if not len(present):
        raise ValueError(f"{path}: column {args.target!r} is empty in all rows")
    y, found = infer_target(path, args.target, cells_of(target.take(present)), task or args.task)
    rest = table.take(present)
    group, time_column = (rest.columns[name] if name else None for name in (args.group, args.time_column))
    features = rest.without([args.target, *_split(args.drop), *([args.group] if args.group else [])])
    if not features.columns:
        raise ValueError(f"{path}: there must be a column beside the target {args.target!r}")
    return Labelled(features, y, found, table.n - len(present), group, time_column)


def _held_out(args: argparse.Namespace, data: Labelled) -> Split:
    """Hold out rows as the user asks: at random, whole groups, or the last ones."""
    if not 0 < args.held_out < 1:
        raise ValueError(f"--held-out must be a number between 0 and 1, got {args.held_out}")
    if round(args.held_out * data.table.n) < 1:
        raise ValueError(f"{data.table.n} samples are too few to hold out a fraction of {args.held_out} of them")
    y = np.unique(data.y, return_inverse=True)[1] if data.task == "classification" else data.y
    if data.task == "classification" and len(np.unique(y)) < 2:
        raise ValueError(
            f"{args.data}: column {args.target!r} has one class, {str(data.y[0])!r}; there is nothing to learn"
        )
    time_column = None if data.time is None else data.time.values.astype(np.float64)
    groups, rng = _labels_of(data.group, np.arange(data.table.n)), np.random.RandomState(args.seed)
    (split,) = make_splits("--held-out", y, data.task, 1, args.held_out, rng, groups, time_column)
    return split


def _labels_of(column: Column | None, rows: np.ndarray) -> np.ndarray | None:
    return None if column is None else np.array(cells_of(column.take(rows)))


def _named(text: str | None, table: Table) -> list[str]:
    return [name for name in _split(text) if name in table.columns]


def _split(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _show_columns(model: BaseTabular) -> None:
    width = max(len(name) for name in model.columns_)
    for i, (name, column) in enumerate(model.columns_.items()):
        levels = f", {len(column.levels)} levels" if column.levels else ""
        gaps = f", {column.missing} missing" if column.missing else ""
        report("columns" if i == 0 else "", f"{name:<{width}}  {column.kind}{levels}{gaps}: {column.becomes}")


def _show_leaderboard(model: BaseTabular) -> None:
    rows = model.leaderboard_
    limit = ", cut short by --time-limit" if model.time_limit_reached_ else ""
    chosen = sum(row["chosen"] > 0 for row in rows)
    ensemble = f"the ensemble has {chosen} of them, {len(model.networks_)} networks"
    report("trained", f"{len(rows)} candidates in {model.fit_seconds_:.1f} s{limit}; {ensemble}")
    losses = any(row["loss"] != "auto" for row in rows)
    head = ("in", "rate", "decay", "dropout", "layers", "activation", "bins", "epochs")
    line = "{:<9} {:<3} {:<7} {:<7} {:<7} {:<8} {:<10} {:<8} {:>6}".format
    report("best", line(model.metric_, *head) + "  loss" * losses)
    for row in rows[:5]:
        cells = (
            f"{row['score']:.4f}", row["chosen"] or "–", f"{row['learning_rate_init']:.1e}",
            f"{row['weight_decay']:.1e}", f"{row['dropout']:.2f}", f"{row['depth']} × {model.width}",
            str(row["activation"]), row["bins"], f"{row['epochs']:.0f}",
        )  # fmt: skip
        report("", line(*cells) + f"  {row['loss']}" * losses)
    report("ensemble", f"{model.metric_} {model.validation_score_:.4f} on rows that its networks did not see")


def _show_scores(
    args: argparse.Namespace, model: Any, train: Table, y: np.ndarray, table: Table, truth: np.ndarray
) -> None:
    """Print the scores of the model and of two baselines on the held-out rows, with intervals of 95%."""
    classes = model.classes_ if model.n_classes_ else None
    if train.n > LINEAR_ROWS:
        some = np.sort(np.random.RandomState(args.seed).permutation(train.n)[:LINEAR_ROWS])
        train, y = train.take(some), y[some]
    plain = TableEncoder(bins="none", categorical=model.encoder.categorical, numeric=model.encoder.numeric)
    inputs, numbers = plain.fit_transform(train, y), y
    if classes is not None:
        numbers, truth = np.searchsorted(classes, y), np.searchsorted(classes, truth)
        shares = np.bincount(numbers, minlength=len(classes)) / len(numbers)
        linear = LogisticRegression(max_iter=1000).fit(inputs, numbers)
        always, what = np.tile(shares, (table.n, 1)), f"always {classes[shares.argmax()]}"
        found = {
            "held-out": model.predict_proba(table),
            what: always,
            "linear": linear.predict_proba(plain.transform(table)),
        }
    else:
        linear = Ridge().fit(inputs, numbers)
        found = {
            "held-out": model.predict(table), "always the mean": np.full(table.n, numbers.mean()),
            "linear": linear.predict(plain.transform(table)),
        }  # fmt: skip
    second = ("accuracy",) if classes is not None else ("r2",)
    metrics = [
        find_metric("xbackprop train", name, ("regression" if classes is None else "classification"), classes)
        for name in (args.metric or "auto", *second)
    ]
    metrics = list({metric.name: metric for metric in metrics}.values())
    for name, p in found.items():
        print(f"{name:<16} " + ", ".join(score_in_words(metric, truth, p, args.seed) for metric in metrics))


def _show_importance(model: Any, table: Table, y: np.ndarray, seed: int) -> None:
    """Print the columns without which the score would lose most."""
    evaluation = model.evaluate(table, y, seed=seed)
    most = list(evaluation.importance.items())[:5]
    report("importance", ", ".join(f"{name} {mean:.3g}" for name, (mean, _) in most) + f" of {evaluation.metric}")


def score_in_words(metric: Metric, y: np.ndarray, p: np.ndarray, seed: int) -> str:
    """Return a score with its interval of 95%, from resampled rows."""
    score = score_with_interval(metric, y, p, None, np.random.RandomState(seed))
    return f"{metric.name} {score.value:.4f} ({score.low:.4f} to {score.high:.4f})"
