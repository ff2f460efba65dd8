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


#: On a table of 10,000 rows these take some seconds, a minute, and some minutes, on two cores.
PRESETS = {
    "fast": Preset(candidates=2, kept=2, epochs=60, patience=8, folds_below=1_000),
    "good": Preset(candidates=8, kept=8, epochs=150, patience=16, folds_below=20_000),
    "best": Preset(candidates=32, kept=24, epochs=300, patience=24, folds_below=50_000),
}


class Ranges(NamedTuple):
    """What the settings of candidates are drawn from.

    learning_rate, weight_decay : log-uniform between two numbers. dropout : 0 with probability ½, else uniform.
    depth : the number of hidden layers, uniform among whole numbers. width : that of the hidden layers.
    bins, activation : taken in turns: the encodings of numbers, and the activations.
    """

    learning_rate: Range
    weight_decay: Range
    dropout: Range
    depth: tuple[int, int]
    width: int
    bins: tuple[str, ...]
    activation: tuple[Any, ...]


class Candidate(NamedTuple):
    """The settings of a network, as `MLP` has them, and the bins of its encoder."""

    bins: str
    settings: dict[str, Any]


def draw_candidates(ranges: Ranges, n: int, rng: np.random.RandomState) -> list[Candidate]:
    """Draw n candidates; the first has the middle of every range, which is good by itself.

    The ranges are those of TabPack (ICML 2026), narrowed to what pays within the epochs of the presets.
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
        for _ in range(n - 1)
    ]  # fmt: skip
    return [
        Candidate(
            ranges.bins[i % len(ranges.bins)], {**settings, "activation": ranges.activation[i % len(ranges.activation)]}
        )
        for i, settings in enumerate([middle, *drawn])
    ]


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
