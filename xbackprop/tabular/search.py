"""Train candidates on splits of a table, and choose an ensemble among them by its validation score."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from xbackprop.distributed.launch import find_communicator
from xbackprop.errors import DivergenceError
from xbackprop.mlp.many.fit_many import fit_nets
from xbackprop.mlp.mlp import MLP
from xbackprop.tabular.candidates import Candidate
from xbackprop.tabular.columns import Table
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.selection import Metric, Step, select_greedily
from xbackprop.tabular.splits import Split
from xbackprop.training.loop import Epoch

#: The rows of a table from which on its encodings, of different bins, are not in memory at the same time.
LARGE = 200_000


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

    candidates : each with the bins that it has got. encoders : for each kind of bins one for each split.
    networks : ``networks[i][k]`` is that of candidate i and split k, None where it was not trained.
    scores : of each candidate alone, NaN where it was not trained. steps : the selection, in its order.
    validation : the mean of the chosen candidates' predictions, for rows that validated; NaN for all others.
    cut_short : whether the time limit ended training.
    """

    candidates: list[Candidate]
    encoders: dict[str, list[TableEncoder]]
    networks: list[list[MLP | None]]
    scores: list[float]
    steps: list[Step]
    validation: np.ndarray
    cut_short: bool


class Search(NamedTuple):
    """What all candidates of a search have in common.

    where : the user's call, for errors. splits : the rows to train on and to validate on, several for folds.
    encoder : with the user's parameters. fixed : the settings that all candidates share.
    deadline : the time after which no epoch begins. outside : validation rows that are not among the samples, in place
    of those of the only split. progress : told as an epoch ends how many networks are trained, parts counted, and of
    how many.
    """

    where: str
    samples: Samples
    splits: Sequence[Split]
    encoder: TableEncoder
    metric: Metric
    fixed: dict[str, Any]
    deadline: float | None = None
    outside: Samples | None = None
    progress: Callable[[float, int], None] | None = None

    @property
    def judged(self) -> Samples:
        """The rows on which candidates are compared."""
        return self.samples if self.outside is None else self.outside

    def rows_of(self, k: int) -> np.ndarray:
        """Return the numbers of the judged rows that split k validates on."""
        return self.splits[k].validation if self.outside is None else np.arange(self.outside.table.n)

    def score(self, predictions: np.ndarray) -> float:
        """Return the score of predictions for the judged rows, of those that there are."""
        seen = known_rows(predictions)
        weight = None if self.judged.weight is None else self.judged.weight[seen]
        return self.metric.score(self.judged.y[seen], predictions[seen], weight)

    def run(self, candidates: Sequence[Candidate], seeds: Sequence[Sequence[int]], most: int) -> Trained:
        """Train every candidate on every split, each with early stopping on the rows that validate, and choose.

        Each split has encoders of its own, which see its training rows alone.

        Parameters
        ----------
        seeds : for each candidate and split. most : the most candidates in the ensemble.
        """
        found: list[_Found] = []
        encoders: dict[str, list[TableEncoder]] = {}
        settled = list(candidates)
        for first, last in self._rounds(candidates):
            if found and self._is_late():
                found += [_Found([None] * len(self.splits), None, [])] * (last - first)
                continue
            if not candidates[first].bins:
                best = self._best(settled, found)
                settled[first:last] = [candidate._replace(bins=best) for candidate in settled[first:last]]
            done = first * len(self.splits), len(candidates) * len(self.splits)
            found += self._train(settled[first:last], seeds[first:last], encoders, done)
        return self._choose(settled, found, encoders, most)

    def _rounds(self, candidates: Sequence[Candidate]) -> list[tuple[int, int]]:
        """Return from which candidate to which to train together: the first ones, then those whose bins they decide.

        Of a large table there is one encoding at a time.
        """
        n_first = sum(candidate.bins != "" for candidate in candidates)
        large = self.samples.table.n > LARGE
        rounds = [(i, i + 1) for i in range(n_first)] if large else [(0, n_first)]
        return [*rounds, *([(n_first, len(candidates))] if n_first < len(candidates) else [])]

    def _best(self, candidates: Sequence[Candidate], found: Sequence[_Found]) -> str:
        """Return the bins of the best candidate of those that were trained."""
        scores = [self._own_score(of) for of in found]
        return candidates[int(np.nanargmax(scores))].bins if np.isfinite(scores).any() else candidates[0].bins

    def _own_score(self, found: _Found) -> float:
        return float("nan") if found.predictions is None else self.score(found.predictions)

    def _train(
        self, candidates: Sequence[Candidate], seeds: Sequence[Sequence[int]], encoders: dict[str, list[TableEncoder]],
        done: tuple[int, int],
    ) -> list[_Found]:  # fmt: skip
        """Train these candidates; `encoders` gets those that it lacks. done : networks before these, and of all."""
        training: dict[tuple[str, int], tuple[Any, ...]] = {}
        validation: dict[tuple[str, int], tuple[Any, ...]] = {}
        for k, split in enumerate(self.splits):
            rows = self.samples.take(split.train)
            held_out = self.samples.take(split.validation) if self.outside is None else self.outside
            for bins in dict.fromkeys(candidate.bins for candidate in candidates):
                own, encoded = self._encoder_of(bins, k, rows, encoders)
                training[bins, k] = encoded, rows.y, rows.weight
                validation[bins, k] = own.transform(held_out.table), held_out.y, held_out.weight
            del rows, held_out  # copies of the table, while the networks train
        n_classes, n_splits = self.samples.n_classes, len(self.splits)
        pairs = [(i, k) for i in range(len(candidates)) for k in range(n_splits)]
        places = [(candidates[i].bins, k) for i, k in pairs]
        nets = [MLP(**{**self.fixed, **candidates[i].settings}, random_state=seeds[i][k]) for i, k in pairs]
        options: list[dict[str, Any]] = [
            {"validation": validation[place], "deadline": self.deadline} for place in places
        ]
        for option, place in zip(options, places, strict=True):
            if len(np.unique(training[place][1])) < n_classes:  # a rare class may be missing from a fold
                option["classes"] = np.arange(n_classes)
        failures: dict[int, Exception] = {}
        noted: dict[int, int] = {}

        def tell(i: int, epoch: Epoch) -> None:
            noted[i] = epoch.number
            parts = [1.0 if hasattr(net, "n_iter_") else noted.get(j, 0) / net.max_iter for j, net in enumerate(nets)]
            if self.progress is not None:
                self.progress(done[0] + sum(parts), done[1])

        fit_nets(
            self.where, nets, (None, None, None), data=[training[place] for place in places], options=options,
            failures=failures, callback=None if self.progress is None else tell, quiet=True,
        )  # fmt: skip
        if self.progress is not None:
            self.progress(done[0] + len(nets), done[1])
        for error in failures.values():
            if not isinstance(error, DivergenceError):
                raise error
        kept = [None if j in failures or net.n_iter_ == 0 else net for j, net in enumerate(nets)]
        return [
            self._predict(
                kept[i * n_splits : (i + 1) * n_splits], [validation[candidate.bins, k][0] for k in range(n_splits)],
                list(failures.values()),
            )
            for i, candidate in enumerate(candidates)
        ]  # fmt: skip

    def _encoder_of(
        self, bins: str, k: int, rows: Samples, encoders: dict[str, list[TableEncoder]]
    ) -> tuple[TableEncoder, np.ndarray]:
        """Return the encoder of split k, and its rows encoded."""
        task = "classification" if self.samples.n_classes else "regression"
        own = clone(self.encoder).set_params(task=task, bins=bins)  # fitted again, it is the same
        encoded = own.fit_transform(rows.table, rows.y)
        of = encoders.setdefault(bins, [])
        if k == len(of):
            of.append(own)
        return of[k], encoded

    def _predict(
        self, networks: list[MLP | None], inputs: Sequence[np.ndarray], failures: Sequence[Exception]
    ) -> _Found:
        """Predict the rows that validate, each by the network that has not seen it."""
        predictions = None
        for k, (net, X) in enumerate(zip(networks, inputs, strict=True)):
            if net is not None:
                found = outputs(net, X, self.samples.n_classes)
                if predictions is None:
                    predictions = np.full((len(self.judged.y), *found.shape[1:]), np.nan)
                predictions[self.rows_of(k)] = found
        return _Found(networks, predictions, failures)

    def _choose(
        self, candidates: list[Candidate], found: Sequence[_Found], encoders: dict[str, list[TableEncoder]], most: int
    ) -> Trained:
        whole = [i for i, of in enumerate(found) if all(net is not None for net in of.networks)]
        if not whole:  # the time was too short for all splits of any candidate: those that are there must do
            counts = [sum(net is not None for net in of.networks) for of in found]
            if not any(counts):
                for of in found:
                    for error in of.failures:
                        raise error
                raise ValueError(
                    f"{self.where}: no network has trained for one epoch within time_limit; allow more seconds"
                )
            whole = [int(np.argmax(counts))]
        predictions: list[Any] = [found[i].predictions for i in whole]
        seen = known_rows(predictions[0])
        judged, weight = self.judged, None if self.judged.weight is None else self.judged.weight[seen]

        def score(p: np.ndarray) -> float:
            return self.metric.score(judged.y[seen], p, weight)

        steps = [
            step._replace(candidate=whole[step.candidate])
            for step in select_greedily([p[seen] for p in predictions], score, most)
        ]
        scores = [self._own_score(of) if i in whole else float("nan") for i, of in enumerate(found)]
        chosen = [predictions[whole.index(step.candidate)] for step in steps]
        networks = [of.networks for of in found]
        return Trained(candidates, encoders, networks, scores, steps, np.mean(chosen, axis=0), self._is_late())

    def _is_late(self) -> bool:
        """Return whether no epoch may begin any more, by the clock of the first rank."""
        ranks = find_communicator(self.where, self.fixed["communicator"])
        return ranks.broadcast(self.deadline is not None and time.time() >= self.deadline)


class _Found(NamedTuple):
    """A candidate's networks, one for each split or None, and their predictions for the rows that validate."""

    networks: list[MLP | None]
    predictions: np.ndarray | None
    failures: Sequence[Exception]


def known_rows(predictions: np.ndarray) -> np.ndarray:
    """Return for which rows there are predictions."""
    return ~np.isnan(predictions).reshape(len(predictions), -1).any(axis=1)


def outputs(net: MLP, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Return probabilities (n, K) of a classification, or values (n,) or (n, L), in float64."""
    found = np.asarray(net.predict_proba(X) if n_classes else net.predict(X), dtype=np.float64)
    return found / found.sum(axis=1, keepdims=True) if n_classes else found  # which sum to 1 in float32 alone
