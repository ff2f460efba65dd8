"""Train candidates on splits of a table, and choose an ensemble among them by its validation score."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from xbackprop.errors import DivergenceError
from xbackprop.mlp.many.fit_many import fit_nets
from xbackprop.mlp.mlp import MLP
from xbackprop.tabular.candidates import Candidate
from xbackprop.tabular.columns import Table
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.selection import Metric, Step, select_greedily
from xbackprop.tabular.splits import Split


class Samples(NamedTuple):
    """The rows to learn from.

    y : class numbers (n,), or values (n,) or (n, L). weight : (n,) or None. n_classes : K, or 0 for values.
    """

    table: Table
    y: np.ndarray
    weight: np.ndarray | None
    n_classes: int

    def take(self, rows: np.ndarray) -> Samples:
        """Return the samples of these rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Samples(self.table.take(rows), self.y[rows], weight, self.n_classes)


class Trained(NamedTuple):
    """The result of a search.

    encoders : for each kind of bins one for each split. networks : ``networks[i][k]`` is that of candidate i and split
    k, None where it was not trained. scores : of each candidate alone, NaN where it was not trained.
    steps : the selection, in its order.
    validation : the mean of the chosen candidates' predictions, for rows that validated; NaN for all others.
    cut_short : whether the time limit ended training.
    """

    encoders: dict[str, list[TableEncoder]]
    networks: list[list[MLP | None]]
    scores: list[float]
    steps: list[Step]
    validation: np.ndarray
    cut_short: bool


Progress = Callable[[int, int], None]  # told the number of networks that have ended, and of all


def search(
    where: str,
    samples: Samples,
    splits: Sequence[Split],
    encoder: TableEncoder,
    candidates: Sequence[Candidate],
    metric: Metric,
    *,
    fixed: dict[str, Any],
    most: int,
    seeds: Sequence[Sequence[int]],
    deadline: float | None = None,
    outside: Samples | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train every candidate on every split, each with early stopping on the rows that validate, and choose.

    Each split has encoders of its own, which see its training rows alone.

    Parameters
    ----------
    fixed : the settings that all candidates share. seeds : for each candidate and split.
    most : the most candidates in the ensemble. deadline : the time after which no epoch begins.
    outside : validation rows that are not among the samples, in place of those of the only split.
    """
    encoders: dict[str, list[TableEncoder]] = {candidate.bins: [] for candidate in candidates}
    training: dict[tuple[str, int], tuple[Any, ...]] = {}
    validation: dict[tuple[str, int], tuple[Any, ...]] = {}
    task = "classification" if samples.n_classes else "regression"
    for k, split in enumerate(splits):
        rows = samples.take(split.train)
        held_out = samples.take(split.validation) if outside is None else outside
        for bins, of in encoders.items():
            own = clone(encoder).set_params(task=task, bins=bins)
            training[bins, k] = own.fit_transform(rows.table, rows.y), rows.y, rows.weight
            validation[bins, k] = own.transform(held_out.table), held_out.y, held_out.weight
            of.append(own)
    pairs = [(i, k) for i in range(len(candidates)) for k in range(len(splits))]
    places = [(candidates[i].bins, k) for i, k in pairs]
    nets = [MLP(**{**fixed, **candidates[i].settings}, random_state=seeds[i][k]) for i, k in pairs]
    options: list[dict[str, Any]] = [{"validation": validation[place], "deadline": deadline} for place in places]
    for option, place in zip(options, places, strict=True):
        if len(np.unique(training[place][1])) < samples.n_classes:  # a rare class may be missing from a fold
            option["classes"] = np.arange(samples.n_classes)
    failures: dict[int, Exception] = {}
    data = [training[place] for place in places]
    ended = None if progress is None else lambda done: progress(done, len(nets))
    fit_nets(where, nets, (None, None, None), data=data, options=options, failures=failures, ended=ended, quiet=True)
    for error in failures.values():
        if not isinstance(error, DivergenceError):
            raise error
    done = [j not in failures and net.n_iter_ > 0 for j, net in enumerate(nets)]
    if not any(done):
        if failures:
            raise next(iter(failures.values()))
        raise ValueError(f"{where}: no network has trained for one epoch within time_limit; allow more seconds")
    networks: list[list[MLP | None]] = [[None] * len(splits) for _ in candidates]
    for (i, k), net, is_done in zip(pairs, nets, done, strict=True):
        networks[i][k] = net if is_done else None
    whole = [i for i, of in enumerate(networks) if all(of)]
    if not whole:  # the time was too short for all splits of any candidate: those that are there must do
        first = max(range(len(networks)), key=lambda i: sum(net is not None for net in networks[i]))
        whole = [first]
    of_splits = [split.validation for split in splits] if outside is None else [np.arange(outside.table.n)]
    judged = samples if outside is None else outside
    predictions = [
        _out_of_fold(
            networks[i], [validation[candidates[i].bins, k][0] for k in range(len(splits))], of_splits, judged,
            samples.n_classes,
        )
        for i in whole
    ]  # fmt: skip
    seen = ~np.isnan(predictions[0]).reshape(len(predictions[0]), -1).any(axis=1)
    weight = None if judged.weight is None else judged.weight[seen]

    def score(p: np.ndarray) -> float:
        return metric.score(judged.y[seen], p, weight)

    steps = [
        step._replace(candidate=whole[step.candidate])
        for step in select_greedily([p[seen] for p in predictions], score, most)
    ]
    scores = [float("nan")] * len(candidates)
    for i, p in zip(whole, predictions, strict=True):
        scores[i] = score(p[seen])
    chosen = [predictions[whole.index(step.candidate)] for step in steps]
    cut_short = deadline is not None and time.time() >= deadline
    return Trained(encoders, networks, scores, steps, np.mean(chosen, axis=0), cut_short)


def outputs(net: MLP, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Return probabilities (n, K) of a classification, or values (n,) or (n, L), in float64."""
    found = net.predict_proba(X) if n_classes else net.predict(X)
    return np.asarray(found, dtype=np.float64)


def _out_of_fold(
    networks: Sequence[MLP | None], inputs: Sequence[np.ndarray], rows: Sequence[np.ndarray], judged: Samples,
    n_classes: int,
) -> np.ndarray:  # fmt: skip
    """Return a candidate's predictions for the rows that validate, each by the network that has not seen it."""
    shape = (len(judged.y), n_classes) if n_classes else judged.y.shape
    found = np.full(shape, np.nan)
    for net, X, of in zip(networks, inputs, rows, strict=True):
        if net is not None:
            found[of] = outputs(net, X, n_classes)
    return found
