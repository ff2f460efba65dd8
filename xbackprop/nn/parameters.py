"""θ as one vector, and as layers: where each W_l and b_l lies in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xbackprop.arrays.backend import Array, Namespace

Layers = Sequence[tuple[Array, Array]]  # (W_l, b_l) for l = 1 … L


class Layout:
    """The place of each W_l and b_l in θ, one flat vector: first all the weights, then all the biases.

    Parameters
    ----------
    sizes : (n_0, n_1, …, n_L), the width of the input, of every hidden layer and of the output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.n_weights = sum(n_in * n_out for n_in, n_out in self.shapes)
        self.n_parameters = self.n_weights + sum(self.sizes[1:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.sizes == other.sizes

    def __hash__(self) -> int:
        return hash(self.sizes)

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield the ranges of W_l and b_l in θ, for l = 1 … L."""
        w, b = 0, self.n_weights
        for n_in, n_out in self.shapes:
            yield slice(w, w + n_in * n_out), slice(b, b + n_out)
            w, b = w + n_in * n_out, b + n_out

    def layers(self, xp: Namespace, theta: Array) -> list[tuple[Array, Array]]:
        """Split θ (..., P) into W_l (..., n_in, n_out) and b_l (..., 1, n_out): views, if the library has views."""
        lead = theta.shape[:-1]
        return [
            (xp.reshape(theta[..., w], (*lead, *shape)), xp.reshape(theta[..., b], (*lead, 1, shape[1])))
            for shape, (w, b) in zip(self.shapes, self.slices(), strict=True)
        ]

    def flatten(self, xp: Namespace, layers: Layers) -> Array:
        """Join layers into θ (..., P): the inverse of `layers`."""
        arrays = [*(W for W, _ in layers), *(b for _, b in layers)]
        return xp.concat([xp.reshape(a, (*a.shape[:-2], -1)) for a in arrays], axis=-1)

    def weights(self, theta: Array) -> Array:
        """Return the part of θ (..., P) that holds all the W_l, (..., n_weights)."""
        return theta[..., : self.n_weights]

    def tensors(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Return the range in θ and the shape of every W_l and b_l, by scikit-learn's names, such as ``coefs_[0]``."""
        found: dict[str, tuple[slice, tuple[int, ...]]] = {}
        for l, (shape, (w, b)) in enumerate(zip(self.shapes, self.slices(), strict=True)):
            found[f"coefs_[{l}]"], found[f"intercepts_[{l}]"] = (w, shape), (b, shape[1:])
        return found


def unflatten(xp: Namespace, theta: Array, layout: Layout) -> list[tuple[Array, Array]]:
    """Call `Layout.layers`: a function that a backend can bind, so that a compiler makes one call of all slices."""
    return layout.layers(xp, theta)


def flatten(xp: Namespace, layers: Layers, layout: Layout) -> Array:
    """Call `Layout.flatten`, as a function that a backend can bind."""
    return layout.flatten(xp, layers)


def per_network(x: Any) -> Any:
    """Return numbers (k,) of the networks of a stack as a column (k, 1), which goes with θ (k, P); else x itself."""
    return x[..., None] if getattr(x, "ndim", 0) else x
