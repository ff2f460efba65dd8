"""The digest of samples: the same for the same rows in the same places, however they are split among computers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

SIZE = 16  # bytes
ROWS = 4096  # rows that are put side by side at a time


def sum_of_row_hashes(arrays: Sequence[np.ndarray], first_row: int = 0) -> int:
    """Return Σ_i H(i, row i of all the arrays) mod 2^128, with H = BLAKE2b salted with the number of the row.

    A sum over all rows is the sum of the sums over parts of them, so that each part may be hashed where it lies.

    Parameters
    ----------
    arrays : NumPy arrays (n, …) with the same n. first_row : the number of their first row in the whole table.
    """
    n, total = arrays[0].shape[0], 0
    for start in range(0, n, ROWS):
        parts = [np.ascontiguousarray(a[start : start + ROWS]).reshape(min(ROWS, n - start), -1) for a in arrays]
        rows = np.concatenate([part.view(np.uint8) for part in parts], axis=1)
        for number, row in enumerate(rows, first_row + start):
            hashed = blake2b(row.data, digest_size=SIZE, salt=number.to_bytes(SIZE, "little"))
            total += int.from_bytes(hashed.digest(), "little")
    return total % 2 ** (8 * SIZE)
