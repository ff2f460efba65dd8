"""Inverted dropout: a unit stays with probability 1-p, and is then divided by 1-p (Srivastava et al., 2014).

The masks come from a counter-based generator, Threefry-2x32 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
as easy as 1, 2, 3", 2011): bits are a function of a key, (seed, layer), and of a counter, (place in the mask, step). So
they are the same on every library, are made on the device, and a resumed run finds them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xbackprop.arrays.backend import Array, Backend, Namespace

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
ROUNDS = 13  # the fewest that passed every test of BigCrush in the paper
WORD, HALF = 0xFFFFFFFF, 0xFFFF
LEVELS = 2**16  # the bits of a word serve two units, so that p is a multiple of 2**-16


def threefry(x: Array, y: Array, key: tuple[Any, Any], rounds: int = ROUNDS) -> tuple[Array, Array]:
    """Compute Threefry-2x32 of the counters (x, y), integers below 2**32: two integers below 2**32 for each.

    Additions, rotations and exclusive ors of 32 bits, in integers of 64, in which no intermediate overflows.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x, y = (x + keys[0]) & WORD, (y + keys[1]) & WORD
    for i in range(rounds):
        turn = ROTATIONS[i % 8]
        x = (x + y) & WORD
        y = (((y << turn) & WORD) | (y >> (32 - turn))) ^ x
        if i % 4 == 3:
            j = i // 4 + 1
            x, y = (x + keys[j % 3]) & WORD, (y + (keys[(j + 1) % 3] + j)) & WORD
    return x, y


def uniform_bits(xp: Namespace, key: tuple[Any, Any], step: Array | int, n: int, device: Any) -> Array:
    """Draw n integers, uniform in [0, 2**16), by their key and step; for a stack, whose seeds are (k, 1), (k, n)."""
    place = xp.arange((n + 3) // 4, dtype=xp.int64, device=device)
    x, y = threefry(place, xp.zeros_like(place) + step, key)
    return xp.concat([x & HALF, x >> 16, y & HALF, y >> 16], axis=-1)[..., :n]


def bits_at(xp: Namespace, key: tuple[Any, Any], step: Array | int, n: int, places: Array) -> Array:
    """Draw those of the n integers of `uniform_bits` that are at these places."""
    quarter = (n + 3) // 4
    place = places % quarter
    x, y = threefry(place, xp.zeros_like(place) + step, key)
    word = xp.where(places < 2 * quarter, x, y)
    return xp.where((places // quarter) % 2 == 0, word & HALF, word >> 16)


@dataclass(frozen=True)
class Masks(Sequence[Array]):
    """The dropout masks of a step: for each hidden layer an array (rows, n_l), 0 with probability p_l, else 1/(1-p_l).

    A mask is made each time it is asked for, and is the same each time.

    seed, step : whole numbers below 2**32; for a stack of networks columns (k, 1), and masks are (k, rows, n_l).
    rates : p_l, rounded to a multiple of 2**-16.
    """

    backend: Backend
    seed: Array | int
    step: Array | int
    rows: int
    widths: Sequence[int]
    rates: Sequence[float]
    dtype: Any

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, layer: Any) -> Array:
        width, dropped, xp = self.widths[layer], round(self.rates[layer] * LEVELS), self.backend.xp
        bits = self.bits((self.seed, layer), width)
        stays = xp.reshape(bits >= dropped, (*bits.shape[:-1], self.rows, width))
        return xp.astype(stays, self.dtype) * (LEVELS / (LEVELS - dropped))

    def bits(self, key: tuple[Any, Any], width: int) -> Array:
        """Draw a number for each unit of the rows in a layer of this width, whole numbers below 2¹⁶."""
        return self.backend.bind(uniform_bits)(key, self.step, self.rows * width, self.backend.device)


@dataclass(frozen=True)
class PartOfMasks(Masks):
    """Some rows of the masks of a larger batch, bit by bit what they are there.

    places : the numbers of the rows in the batch, an array of indices (rows,). whole : the rows of the batch.
    """

    places: Array
    whole: int

    def bits(self, key: tuple[Any, Any], width: int) -> Array:
        """Draw the numbers of these rows alone."""
        xp = self.backend.xp
        units = xp.reshape(self.places, (-1, 1)) * width + xp.arange(width, dtype=xp.int64, device=self.backend.device)
        return self.backend.bind(bits_at)(key, self.step, self.whole * width, xp.reshape(units, (-1,)))
