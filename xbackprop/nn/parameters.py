"""θ as one vector, and as layers: where each W_l and b_l lies in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xbackprop.arrays.backend import Array, Namespace

Layers = Sequence[tuple[Array, Array]]  # (W_l, b_l) for l = 1 … L


class Layout:
    """Where each W_l and b_l lies in θ, one flat vector: first all the weights, then all the biases.

    Parameters
    ----------
    sizes : (n_0, n_1, …, n_L), the width of the input, of every hidden layer and of the output.

    Parameters and gradients come as a list of arrays: [θ], or for compilers that prefer leaves to one vector
    [W_1 … W_L, b_1 … b_L].
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
        """The ranges of W_l and b_l in θ, for l = 1 … L."""
        w, b = 0, self.n_weights
        for n_in, n_out in self.shapes:
            yield slice(w, w + n_in * n_out), slice(b, b + n_out)
            w, b = w + n_in * n_out, b + n_out

    def layers(self, xp: Namespace, theta: Array) -> list[tuple[Array, Array]]:
        """(W_l, b_l) of θ (..., P): W_l (..., n_in, n_out), b_l (..., 1, n_out); views where the library has views."""
        lead = theta.shape[:-1]
        return [
            (xp.reshape(theta[..., w], (*lead, *shape)), xp.reshape(theta[..., b], (*lead, 1, shape[1])))
            for shape, (w, b) in zip(self.shapes, self.slices(), strict=True)
        ]

    def flatten(self, xp: Namespace, layers: Layers) -> Array:
        """θ (P,) from its layers: the inverse of `layers`."""
        return self.join(xp, self.apart(layers))

    def leaves(self, xp: Namespace, theta: Array) -> list[Array]:
        """[W_1 … W_L, b_1 … b_L] of θ."""
        return self.apart(self.layers(xp, theta))

    def join(self, xp: Namespace, leaves: Sequence[Array]) -> Array:
        """θ (P,) from its leaves."""
        return xp.concat([xp.reshape(leaf, (-1,)) for leaf in leaves])

    @staticmethod
    def apart(layers: Layers) -> list[Array]:
        """The leaves of the layers: first all the weights, then all the biases, as they lie in θ."""
        return [W for W, _ in layers] + [b for _, b in layers]

    def split(self, parameters: list[Array]) -> tuple[list[Array], list[Array]]:
        """The weights and the biases of parameters in either form: [θ_w], [θ_b], or [W_1 …], [b_1 …]."""
        if len(parameters) == 1:
            return [parameters[0][..., : self.n_weights]], [parameters[0][..., self.n_weights :]]
        return parameters[: len(self.shapes)], parameters[len(self.shapes) :]

    def merge(self, xp: Namespace, weights: list[Array], biases: list[Array]) -> list[Array]:
        """The inverse of `split`."""
        return [xp.concat([*weights, *biases])] if len(weights) == 1 and weights[0].ndim == 1 else [*weights, *biases]

    def tensors(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """The range in θ and the shape of every W_l and b_l, under scikit-learn's names for them."""
        found: dict[str, tuple[slice, tuple[int, ...]]] = {}
        for l, (shape, (w, b)) in enumerate(zip(self.shapes, self.slices(), strict=True)):
            found[f"coefs_[{l}]"], found[f"intercepts_[{l}]"] = (w, shape), (b, shape[1:])
        return found


def unflatten(xp: Namespace, theta: Array, layout: Layout) -> list[tuple[Array, Array]]:
    """`Layout.layers`, as a function that a backend can bind: a compiler makes one call of all the cuts."""
    return layout.layers(xp, theta)


def flatten(xp: Namespace, layers: Layers, layout: Layout) -> Array:
    """`Layout.flatten`, in the same way."""
    return layout.flatten(xp, layers)
