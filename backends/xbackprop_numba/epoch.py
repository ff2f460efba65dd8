"""An epoch of training steps in one compiled call: Algorithm 1 of the paper, an update after each batch.

This file is the frame. `program` puts it behind the functions that belong to a certain step, which it writes from their
generic source, and behind `real`, the dtype; below the mark the text is compiled as it stands. Sizes and depth are
arguments, so that another network needs no compilation.

A step is taken by one worker or by several, each a thread: each takes its part of the rows forward and backward, waits
for the others, computes its part of the gradient from all rows, and updates these weights. Every element is computed by
one worker, and costs are added up unit by unit, so that their number changes no order of summation here.

Layers lie one after another in flat arrays: (n, n_0), (n, n_1) … of `h`, `z`, `deltas` and, with dropout, of `f` and
`masks`, n the rows of a batch; W_1, W_2 … and then b_1, b_2 … in θ and in its gradient. `at` has the places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.nn.dropout import LEVELS
from xbackprop_numba.blas import gemm
from xbackprop_numba.passes import threefry_words
from xbackprop_numba.places import UNIT
from xbackprop_numba.workers import gather, meet

real: Any = np.float64
kernel: Callable[[Callable], Callable] = numba.njit
inner: Callable[[Callable], Callable] = numba.njit
activate: Any = None  # z ← z + b, h ← f(z), by the number of the activation
slope: Any = None  # δ ← δ ⊙ f′(z)
loss: Any = None  # C, and δ_L
penalise: Any = None  # g ← g + ∂penalty/∂w
update_weights: Any = None  # with the penalty and the decay
update_biases: Any = None
IN_PLACE: tuple[bool, ...] = (False,)  # by the number of the activation: whether h may overwrite z
WEIGHTED = OF_TARGETS = DROPS = CLIPS = PENALISED = HAS_L1 = False

# ---- compiled from here on


@inner
def share_of(units: int, worker: int, workers: int) -> tuple[int, int]:
    """Return from which unit to which a worker works."""
    return units * worker // workers, units * (worker + 1) // workers


@inner
def fill_mask(words: Array, dropped: int, mask: Array) -> None:
    """Fill in the mask of a hidden layer, or a part of it: 0 with probability dropped/2¹⁶, else what keeps the mean."""
    kept = real(LEVELS / (LEVELS - dropped))
    for i in range(mask.shape[0]):
        mask[i] = kept if words[i] >= dropped else real(0.0)


@inner
def take_rows(X: Array, rows: Array, out: Array) -> None:
    """Copy these rows of X."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(X.shape[1]):
            out[i, j] = X[row, j]


@inner
def share_of_rows(weight: Array, rows: Array, first: int, last: int, share: Array) -> float:
    """share_i = w_i / Σw of the rows from first to last; return 1 / Σw, 0 where that is 0."""
    total = 0.0
    for i in range(rows.shape[0]):
        total += weight[rows[i]]
    inverse = 1.0 / total if total > 0.0 else 0.0
    for i in range(first, last):
        share[i] = weight[rows[i]] * real(inverse)
    return inverse


@inner
def share_of_targets(weight: Array, rows: Array, first: int, last: int, share: Array) -> float:
    """share_ik = w_ik / Σ_i w_ik of the rows from first to last; return 1 / Σ_i max_k w_ik, 0 where that is 0."""
    total = 0.0
    for i in range(rows.shape[0]):
        total += weight[rows[i]].max()
    for k in range(weight.shape[1]):
        of_output = 0.0
        for i in range(rows.shape[0]):
            of_output += weight[rows[i], k]
        inverse = real(1.0 / of_output if of_output > 0.0 else 0.0)
        for i in range(first, last):
            share[i, k] = weight[rows[i], k] * inverse
    return 1.0 / total if total > 0.0 else 0.0


@inner
def sum_rows(delta: Array, first: int, last: int, out: Array) -> None:
    """∂C/∂b = Σ_x δ, of the columns from first to last."""
    flat, own = delta.reshape(-1), out[first:last]
    for j in range(own.shape[0]):  # from 0: then Numba knows that no index is negative
        own[j] = delta[0, first + j]
    for i in range(1, delta.shape[0]):
        row = flat[i * delta.shape[1] + first :]
        for j in range(own.shape[0]):
            own[j] += row[j]


@inner
def multiply_into(out: Array, a: Array, b: Array) -> None:
    """out ← a ⊙ b."""
    for i in range(out.shape[0]):
        out[i] = a[i] * b[i]


@inner
def multiply(a: Array, factor: float) -> None:
    """a ← factor · a."""
    for i in range(a.shape[0]):
        a[i] *= factor


@inner
def penalty(w: Array, l2: float, l1: float) -> float:
    """½ l2 ‖w‖² + l1 Σ|w| of a block."""
    total = 0.5 * l2 * np.dot(w, w)
    if HAS_L1:
        for i in range(w.shape[0]):
            total += l1 * abs(w[i])
    return total


@inner
def layer(flat: Array, start: int, n: int, width: int) -> Array:
    """Return n rows of a layer, from this place on."""
    return flat[start : start + n * width].reshape(n, width)


@inner
def piece(wide: bool, n: int, width: int, worker: int, workers: int) -> tuple[int, int, int, int, int]:
    """Return what a worker computes of a layer: some of its rows, or if it is wide some of its columns.

    They are runs of m rows and w columns that lie together: their number, m, w, where they begin in the layer, and the
    column.
    """
    if wide:
        c, last = share_of(width, worker, workers)
        return n, 1, last - c, c, c
    unit, last = share_of((n + UNIT - 1) // UNIT, worker, workers)
    return 1, min(last * UNIT, n) - unit * UNIT, width, unit * UNIT * width, 0


@inner
def forward(  # type: ignore[no-untyped-def]
    blas, theta, h, z, f, masks, words, at, sizes, kinds, dropped, n, worker, workers, arrivals, expected,
):  # fmt: skip
    """z_l = h_{l-1} W_l + b_l, h_l = f_l(z_l) ⊙ mask_l."""
    for l in range(1, sizes.shape[0]):
        n_in, n_out = sizes[l - 1], sizes[l]
        if at.wide[l - 1] or at.wide[l]:
            expected = meet(arrivals, expected, workers)
        runs, m, w, start, c = piece(at.wide[l], n, n_out, worker, workers)
        below = 0 if at.wide[l] else start // n_out * n_in
        start += at.h[l]
        out = h if IN_PLACE[kinds[l - 1]] and not DROPS else z
        gemm(blas, False, False, w, runs * m, n_in, theta[at.W[l] + c :], n_out, h[at.h[l - 1] + below :], n_in,
             out[start:], n_out)  # fmt: skip
        for _ in range(runs):
            h_l = layer(h, start, m, w)
            z_l = h_l if IN_PLACE[kinds[l - 1]] and not DROPS else layer(z, start, m, w)
            activate(kinds[l - 1], z_l, theta[at.b[l] + c : at.b[l] + c + w], layer(f, start, m, w) if DROPS else h_l)
            if DROPS and l < sizes.shape[0] - 1:
                own = slice(start, start + m * w)
                fill_mask(words[at.words[l] + start - at.h[l] :], dropped[l - 1], masks[own])
                multiply_into(h[own], f[own], masks[own])
            start += n_out
    return expected


@inner
def backward(  # type: ignore[no-untyped-def]
    blas, theta, h, z, f, masks, deltas, at, sizes, kinds, n, worker, workers, arrivals, expected,
):  # fmt: skip
    """δ_{l-1} = (δ_l W_lᵀ) ⊙ f′(z_{l-1}) ⊙ mask_{l-1}."""
    for l in range(sizes.shape[0] - 1, 1, -1):
        n_in, n_out = sizes[l - 1], sizes[l]
        if at.wide[l - 1] or at.wide[l]:
            expected = meet(arrivals, expected, workers)
        runs, m, w, start, c = piece(at.wide[l - 1], n, n_in, worker, workers)
        above = 0 if at.wide[l - 1] else start // n_in * n_out
        start += at.h[l - 1]
        gemm(blas, True, False, w, runs * m, n_out, theta[at.W[l] + c * n_out :], n_out, deltas[at.h[l] + above :],
             n_out, deltas[start:], n_in)  # fmt: skip
        for _ in range(runs):
            h_l, delta = layer(h, start, m, w), layer(deltas, start, m, w)
            z_l = h_l if IN_PLACE[kinds[l - 2]] and not DROPS else layer(z, start, m, w)
            slope(kinds[l - 2], z_l, layer(f, start, m, w) if DROPS else h_l, delta)
            if DROPS:
                own = slice(start, start + m * w)
                multiply_into(deltas[own], deltas[own], masks[own])
            start += n_in
    return expected


@inner
def differentiate(  # type: ignore[no-untyped-def]
    blas, theta, gradient, h, deltas, at, sizes, l, n, numbers, worker, workers,
):  # fmt: skip
    """∂C/∂W_l = h_{l-1}ᵀ δ_l of this worker's rows of W_l, ∂C/∂b_l = Σ δ_l of its columns; with penalties to clip."""
    n_in, n_out = sizes[l - 1], sizes[l]
    i, j = share_of(at.blocks[l], worker, workers)
    r, last = i * at.block[l], min(j * at.block[l], n_in)
    delta, own = layer(deltas, at.h[l], n, n_out), slice(at.W[l] + r * n_out, at.W[l] + last * n_out)
    gemm(blas, False, True, n_out, last - r, n, delta, n_out, h[at.h[l - 1] + r :], n_in, gradient[own], n_out)
    if CLIPS and PENALISED:
        penalise(theta[own], gradient[own], numbers[3], numbers[4])
    i, j = share_of(n_out, worker, workers)
    sum_rows(delta, i, j, gradient[at.b[l] : at.b[l] + n_out])


@inner
def update(  # type: ignore[no-untyped-def]
    theta, gradient, moments, at, sizes, l, numbers, factor, constants, part, worker, workers,
):  # fmt: skip
    """Update what this worker has the gradient of, block by block; the penalties go into `part`."""
    n_in, n_out = sizes[l - 1], sizes[l]
    rate, decay, ema, l2, l1 = numbers
    i, j = share_of(at.blocks[l], worker, workers)
    for block in range(i, j):
        start = at.W[l] + block * at.block[l] * n_out
        end = at.W[l] + min((block + 1) * at.block[l], n_in) * n_out
        if PENALISED:
            part[at.part[l] + block] = penalty(theta[start:end], l2, l1)
        if CLIPS:
            multiply(gradient[start:end], factor)
        update_weights(theta, gradient, moments, start, end, rate, decay, ema, l2, l1, constants)
    i, j = share_of(n_out, worker, workers)
    if CLIPS:
        multiply(gradient[at.b[l] + i : at.b[l] + j], factor)
    update_biases(theta, gradient, moments, at.b[l] + i, at.b[l] + j, rate, ema, constants)


@kernel
def run_steps(  # type: ignore[no-untyped-def]
    worker, workers, arrivals, blas,
    theta, moments, gradient, X, y, weight, rows, rates, decays, emas, steps, seed, at, sizes, kinds, dropped,
    constants, l2, l1, limit, h, z, f, masks, words, deltas, target, share, scratch, parts, costs,
):  # fmt: skip
    """Take a step for each row of `rows` (steps, n), as one of the workers; C of each goes into `costs`.

    blas : the address of its matrix product. arrivals : (2,), for all workers: how many have come to meetings, and
    whether some never will. parts : of costs, by unit of rows and by block of weights, for two steps, since worker 0
    adds those of one up while others begin the next.
    """
    L, n = sizes.shape[0] - 1, rows.shape[1]
    units = (n + UNIT - 1) // UNIT
    unit, last_unit = share_of(units, worker, workers)
    first, last = unit * UNIT, min(last_unit * UNIT, n)
    x_n, y_n, slots = layer(h, 0, n, sizes[0]), layer(target, 0, n, sizes[L]), scratch[worker]
    logits = layer(h if IN_PLACE[kinds[L - 1]] and not DROPS else z, at.h[L], n, sizes[L])
    delta = layer(deltas, at.h[L], n, sizes[L])
    expected, factor = workers, real(1.0)
    if not gather(arrivals, workers):
        return
    for step in range(rows.shape[0]):
        now, part = rows[step], parts[step % 2]
        take_rows(X, now[first:last], x_n[first:last])
        take_rows(y, now[first:last], y_n[first:last])
        inverse = 1.0 / n
        if WEIGHTED:
            if OF_TARGETS:
                inverse = share_of_targets(weight, now, first, last, share)
            else:
                inverse = share_of_rows(weight, now, first, last, share)
        numbers = rates[step], decays[step], emas[step], l2 * inverse, l1 * inverse
        if DROPS:
            for l in range(1, L):
                of_layer = words[at.words[l] : at.words[l + 1]]
                begin, end = share_of(of_layer.shape[0] // 4, worker, workers)
                threefry_words(seed, l - 1, steps[step], begin, end, of_layer)
            expected = meet(arrivals, expected, workers)

        expected = forward(
            blas, theta, h, z, f, masks, words, at, sizes, kinds, dropped, n, worker, workers, arrivals, expected
        )
        for u in range(unit, last_unit):
            own = slice(u * UNIT, min((u + 1) * UNIT, n))
            part[u] = loss(logits[own], y_n[own], share[own] if WEIGHTED else inverse, delta[own], slots)
        expected = backward(
            blas, theta, h, z, f, masks, deltas, at, sizes, kinds, n, worker, workers, arrivals, expected
        )
        expected = meet(arrivals, expected, workers)

        for l in range(1, L + 1):
            differentiate(blas, theta, gradient, h, deltas, at, sizes, l, n, numbers, worker, workers)
            if not CLIPS:
                update(theta, gradient, moments, at, sizes, l, numbers, factor, constants, part, worker, workers)
        if CLIPS:
            expected = meet(arrivals, expected, workers)
            factor = real(limit / max(math.sqrt(np.dot(gradient, gradient)), limit))
            expected = meet(arrivals, expected, workers)
            for l in range(1, L + 1):
                update(theta, gradient, moments, at, sizes, l, numbers, factor, constants, part, worker, workers)
        expected = meet(arrivals, expected, workers)
        if worker == 0:
            cost = 0.0
            for i in range(parts.shape[1] if PENALISED else units):
                cost += part[i]
            costs[step] = cost
