"""Where a step's layers lie in its flat arrays, and into which pieces its work is cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from xbackprop.nn.parameters import Layout

UNIT = 8  # rows that a worker takes at a time
BLOCK = 1024  # weights that fit into the first cache, with all that belongs to them


class Places(NamedTuple):
    """By the number of a layer, in arrays: where it begins, and the blocks of its weights.

    h : among the layers, (n, n_0), (n, n_1) … W, b : in θ. words : among the random words of masks, which are drawn by
    four. part : of its penalties among the parts of a cost, behind those of the units of rows. block : rows of W that
    are updated at a time. blocks : how many of these W has. wide : whether workers share its columns, and not its rows.
    """

    h: np.ndarray
    W: np.ndarray
    b: np.ndarray
    words: np.ndarray
    part: np.ndarray
    block: np.ndarray
    blocks: np.ndarray
    wide: np.ndarray

    @classmethod
    def of(cls, layout: Layout, n: int, workers: int) -> Places:
        """Return the places for batches of n rows, with one more than there are layers: where the last one ends."""
        sizes = layout.sizes
        W, b = zip(*layout.slices(), strict=True)
        block = [max(1, BLOCK // width) for width in sizes[1:]]
        blocks = [-(-height // rows) for height, rows in zip(sizes[:-1], block, strict=True)]
        columns = (
            begin(n * width for width in sizes),
            [0, *(w.start for w in W)],
            [0, *(bias.start for bias in b)],
            begin(-(-n * width // 4) * 4 for width in sizes),
            [0, *begin(blocks, -(-n // UNIT))],
            [0, *block],
            [0, *blocks],
            [False, *(workers > 1 and width > n for width in sizes[1:-1]), False],
        )
        return cls(*map(np.array, columns))


def begin(lengths: Iterable[int], first: int = 0) -> list[int]:
    """Return where each begins when one comes after the other, and where the last one ends."""
    return list(accumulate(lengths, initial=first))
