"""An epoch of training steps in one compiled call: Algorithm 1 of the paper, an update after each batch.

This file is the frame. `program` puts it behind the functions that belong to a certain step, which it writes from their
generic source, and behind `real`, the dtype; below the mark the text is compiled as it stands. Sizes and depth are
arguments, so that another network needs no compilation.

Layers lie one after another in flat arrays: (n, n_0), (n, n_1) … of `h`, of `z` and, with dropout, of `f` and `masks`,
n the rows of a batch; W_1, W_2 … and then b_1, b_2 … in θ and in its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.nn.dropout import LEVELS
from xbackprop_numba.passes import threefry_words

real: Any = np.float64
kernel: Callable[[Callable], Callable] = numba.njit
activate: Any = None  # z ← z + b, h ← f(z), by the number of the activation
slope: Any = None  # δ ← δ ⊙ f′(z)
loss: Any = None  # C, and δ_L
penalise: Any = None  # g ← g + ∂penalty/∂w
update_weights: Any = None  # with the penalty and the decay
update_biases: Any = None
IN_PLACE: tuple[bool, ...] = (False,)  # by the number of the activation: whether h may overwrite z
WEIGHTED = OF_TARGETS = DROPS = CLIPS = PENALISED = HAS_L1 = False

# ---- compiled from here on

BLOCK = 4096  # weights that fit into the first cache, with all that belongs to them


@kernel
def draw_mask(seed: int, layer: int, t: int, dropped: int, words: Array, mask: Array) -> None:
    """Fill in the mask of a hidden layer, a flat array: 0 with probability dropped/2¹⁶, else what keeps the mean."""
    threefry_words(seed, layer, t, words[: (mask.shape[0] + 3) // 4 * 4])
    kept = real(LEVELS / (LEVELS - dropped))
    for i in range(mask.shape[0]):
        mask[i] = kept if words[i] >= dropped else real(0.0)


@kernel
def take_rows(X: Array, rows: Array, out: Array) -> None:
    """Copy these rows of X."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(X.shape[1]):
            out[i, j] = X[row, j]


@kernel
def share_of_rows(weight: Array, rows: Array, share: Array) -> float:
    """share_i = w_i / Σw; return 1 / Σw, 0 where that is 0."""
    total = 0.0
    for i in range(rows.shape[0]):
        total += weight[rows[i]]
    inverse = 1.0 / total if total > 0.0 else 0.0
    for i in range(rows.shape[0]):
        share[i] = weight[rows[i]] * real(inverse)
    return inverse


@kernel
def share_of_targets(weight: Array, rows: Array, share: Array) -> float:
    """share_ik = w_ik / Σ_i w_ik; return 1 / Σ_i max_k w_ik, 0 where that is 0."""
    total = 0.0
    for i in range(rows.shape[0]):
        total += weight[rows[i]].max()
    for k in range(weight.shape[1]):
        of_output = 0.0
        for i in range(rows.shape[0]):
            of_output += weight[rows[i], k]
        inverse = real(1.0 / of_output if of_output > 0.0 else 0.0)
        for i in range(rows.shape[0]):
            share[i, k] = weight[rows[i], k] * inverse
    return 1.0 / total if total > 0.0 else 0.0


@kernel
def sum_rows(delta: Array, out: Array) -> None:
    """∂C/∂b = Σ_x δ."""
    for j in range(out.shape[0]):
        out[j] = delta[0, j]
    for i in range(1, delta.shape[0]):
        for j in range(out.shape[0]):
            out[j] += delta[i, j]


@kernel
def multiply_into(a: Array, b: Array) -> None:
    """a ← a ⊙ b."""
    for i in range(a.shape[0]):
        a[i] *= b[i]


@kernel
def penalty(w: Array, l2: float, l1: float) -> float:
    """½ l2 ‖w‖² + l1 Σ|w| of a block."""
    total = 0.5 * l2 * np.dot(w, w)
    if HAS_L1:
        for i in range(w.shape[0]):
            total += l1 * abs(w[i])
    return total


@kernel
def run_steps(  # type: ignore[no-untyped-def]
    theta, moments, gradient, X, y, weight, rows, rates, decays, emas, steps, seed, sizes, kinds, dropped, constants,
    l2, l1, limit, h, z, f, masks, words, deltas, target, share, scratch, costs,
):  # fmt: skip
    """Take a step for each row of `rows` (steps, n); C of each goes into `costs`."""
    L, n = sizes.shape[0] - 1, rows.shape[1]
    n_weights = 0
    for l in range(L):
        n_weights += sizes[l] * sizes[l + 1]
    y_n = target[: n * sizes[L]].reshape(n, sizes[L])
    slots = scratch.reshape(-1, sizes[L])
    for step in range(rows.shape[0]):
        now = rows[step]
        take_rows(X, now, h[: n * sizes[0]].reshape(n, sizes[0]))
        take_rows(y, now, y_n)
        inverse = 1.0 / n
        if WEIGHTED:
            inverse = share_of_targets(weight, now, share) if OF_TARGETS else share_of_rows(weight, now, share)

        # forward: z_l = h_{l-1} W_l + b_l, h_l = f_l(z_l) ⊙ mask_l
        place, w, b = 0, 0, n_weights
        for l in range(1, L + 1):
            n_in, n_out = sizes[l - 1], sizes[l]
            below = h[place : place + n * n_in].reshape(n, n_in)
            place += n * n_in
            end = place + n * n_out
            h_l = h[place:end].reshape(n, n_out)
            z_l = h_l if IN_PLACE[kinds[l - 1]] and not DROPS else z[place:end].reshape(n, n_out)
            f_l = f[place:end].reshape(n, n_out) if DROPS else h_l
            np.dot(below, theta[w : w + n_in * n_out].reshape(n_in, n_out), z_l)
            activate(kinds[l - 1], z_l, theta[b : b + n_out], f_l)
            if DROPS and l < L:
                draw_mask(seed, l - 1, steps[step], dropped[l - 1], words, masks[place:end])
                for i in range(place, end):
                    h[i] = f[i] * masks[i]
            w, b = w + n_in * n_out, b + n_out

        # loss, of the logits
        delta = deltas[0, : n * sizes[L]].reshape(n, sizes[L])
        cost = loss(z_l, y_n, share if WEIGHTED else inverse, delta, slots)

        # backward: ∂C/∂W_l = h_{l-1}ᵀ δ_l, ∂C/∂b_l = Σ δ_l, δ_{l-1} = (δ_l W_lᵀ) ⊙ f′(z_{l-1}) ⊙ mask_{l-1}
        for l in range(L, 0, -1):
            n_in, n_out = sizes[l - 1], sizes[l]
            w, b, end = w - n_in * n_out, b - n_out, place
            place -= n * n_in
            below = h[place:end].reshape(n, n_in)
            np.dot(below.T, delta, gradient[w : w + n_in * n_out].reshape(n_in, n_out))
            sum_rows(delta, gradient[b : b + n_out])
            if l > 1:
                out = deltas[(L - l + 1) % 2, : n * n_in].reshape(n, n_in)
                np.dot(delta, theta[w : w + n_in * n_out].reshape(n_in, n_out).T, out)
                z_l = below if IN_PLACE[kinds[l - 2]] and not DROPS else z[place:end].reshape(n, n_in)
                slope(kinds[l - 2], z_l, f[place:end].reshape(n, n_in) if DROPS else below, out)
                if DROPS:
                    multiply_into(out.reshape(-1), masks[place:end])
                delta = out

        # update
        rate, decay, ema = rates[step], decays[step], emas[step]
        a2, a1 = l2 * inverse, l1 * inverse
        if CLIPS:
            if PENALISED:
                penalise(theta[:n_weights], gradient[:n_weights], a2, a1)
            factor = real(limit / max(math.sqrt(np.dot(gradient, gradient)), limit))
            for i in range(gradient.shape[0]):
                gradient[i] *= factor
        for start in range(0, n_weights, BLOCK):
            end = min(start + BLOCK, n_weights)
            if PENALISED:
                cost += penalty(theta[start:end], a2, a1)
            update_weights(theta, gradient, moments, start, end, rate, decay, ema, a2, a1, constants)
        update_biases(theta, gradient, moments, n_weights, theta.shape[0], rate, ema, constants)
        costs[step] = cost
