"""Candidates for an ensemble: networks whose settings are drawn at random, and how many of them a preset has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Range = tuple[float, float]


class Preset(NamedTuple):
    """The size of a search.

    candidates : the settings that are tried. kept : the most candidates in the ensemble. epochs : the most epochs.
    patience : the epochs without a better validation loss after which a network ends.
    folds_below : the number of rows below which candidates are trained on every fold, in place of one validation split.
    """

    candidates: int
    kept: int
    epochs: int
    patience: int
    folds_below: int


#: On a table of 10,000 rows these take some seconds, one or two minutes, and several, on two cores.
PRESETS = {
    "fast": Preset(candidates=2, kept=2, epochs=60, patience=8, folds_below=1_000),
    "good": Preset(candidates=8, kept=8, epochs=150, patience=16, folds_below=50_000),
    "best": Preset(candidates=32, kept=24, epochs=300, patience=24, folds_below=100_000),
}


class Ranges(NamedTuple):
    """What the settings of candidates are drawn from.

    learning_rate, weight_decay : log-uniform between two numbers. dropout : 0 with probability ½, else uniform.
    depth : the number of hidden layers, uniform among whole numbers. width : that of the hidden layers.
    bins : the encodings of numbers, of which the first candidates have one each, and the others the best of these.
    activation, loss : of which the first candidates have the first one, and the others take them in turns.
    """

    learning_rate: Range
    weight_decay: Range
    dropout: Range
    depth: tuple[int, int]
    width: int
    bins: tuple[str, ...]
    activation: tuple[Any, ...]
    loss: tuple[Any, ...]


class Candidate(NamedTuple):
    """The settings of a network, as `MLP` has them, and the bins of its encoder; "" for the best of those before."""

    bins: str
    settings: dict[str, Any]


def draw_candidates(ranges: Ranges, n: int, rng: np.random.RandomState) -> list[Candidate]:
    """Draw n candidates: the middle of every range with each kind of bins, then others, whose bins the first decide.

    Which encoding is the best depends on the table, and more than all else does. The ranges are those of TabPack (ICML
    2026), narrowed to what pays within the epochs of the presets.
    """
    middle = _settings(
        ranges, _log_mean(ranges.learning_rate), _log_mean(ranges.weight_decay), sum(ranges.dropout) / 4.0,
        sum(ranges.depth) // 2,
    )  # fmt: skip
    drawn = [
        _settings(
            ranges, _log_uniform(rng, ranges.learning_rate), _log_uniform(rng, ranges.weight_decay),
            float(rng.uniform(*ranges.dropout)) * bool(rng.randint(2)),
            int(rng.randint(ranges.depth[0], ranges.depth[1] + 1)),
        )
        for _ in range(n - len(ranges.bins))
    ]  # fmt: skip
    first = [Candidate(bins, {**middle, **_turn(ranges, 0)}) for bins in ranges.bins[:n]]
    return [*first, *(Candidate("", {**settings, **_turn(ranges, i)}) for i, settings in enumerate(drawn))]


def _turn(ranges: Ranges, i: int) -> dict[str, Any]:
    """Return what candidate i has of the settings that are taken in turns, so that all pairs come up."""
    k = len(ranges.activation)
    return {"activation": ranges.activation[i % k], "loss": ranges.loss[(i + i // k) % len(ranges.loss)]}


def _settings(ranges: Ranges, rate: float, decay: float, dropout: float, depth: int) -> dict[str, Any]:
    return {
        "hidden_layer_sizes": (ranges.width,) * depth,
        "learning_rate_init": rate,
        "weight_decay": decay,
        "dropout": dropout if depth else 0.0,
    }


def _log_mean(bounds: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(bounds)))) if min(bounds) > 0 else float(np.mean(bounds))


def _log_uniform(rng: np.random.RandomState, bounds: Sequence[float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds)))) if min(bounds) > 0 else float(rng.uniform(bounds[0], bounds[1]))
