"""Time the paper's gradient check of a 64-32-10 net on 10 samples: its loop over parameters against our stacks."""

from __future__ import annotations

import time

import numpy as np

SIZES, SAMPLES = (64, 32, 10), 10


class PaperMLP:
    """The network of the paper's appendix, with the parts that its check needs: W (n_out, n_in), log(p + 1e-12)."""

    def __init__(self, rng: np.random.RandomState) -> None:
        shapes = list(zip(SIZES[1:], SIZES[:-1], strict=True))
        self.weights = [rng.randn(*shape) * np.sqrt(2 / shape[1]) for shape in shapes]
        self.biases = [np.zeros(shape[0]) for shape in shapes]

    def forward(self, X: np.ndarray) -> None:
        self.Z, self.A = [], [X]
        for W, b in zip(self.weights, self.biases, strict=True):
            self.Z.append(np.dot(self.A[-1], W.T) + b)
            self.A.append(np.maximum(0, self.Z[-1]))
        e = np.exp(self.Z[-1] - np.max(self.Z[-1], axis=1, keepdims=True))
        self.A[-1] = e / np.sum(e, axis=1, keepdims=True)

    def loss(self, y: np.ndarray) -> float:
        return -np.mean(np.log(self.A[-1][np.arange(len(y)), y] + 1e-12))

    def gradient(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        self.forward(X)
        one_hot = np.zeros_like(self.A[-1])
        one_hot[np.arange(len(y)), y] = 1
        dZ = (self.A[-1] - one_hot) / len(y)
        dW, db = [], []
        for l in reversed(range(len(self.weights))):
            dW.insert(0, np.dot(dZ.T, self.A[l]))
            db.insert(0, np.sum(dZ, axis=0))
            if l > 0:
                dZ = np.dot(dZ, self.weights[l]) * np.where(self.Z[l - 1] > 0, 1, 0)
        return np.concatenate([g.ravel() for g in dW + db])

    def gradient_check(self, X: np.ndarray, y: np.ndarray, epsilon: float = 1e-5) -> float:
        analytic, numeric = self.gradient(X, y), []
        for tensor in self.weights + self.biases:
            for index in np.ndindex(tensor.shape):
                original = tensor[index]
                costs = []
                for shift in (epsilon, -epsilon):
                    tensor[index] = original + shift
                    self.forward(X)
                    costs.append(self.loss(y))
                tensor[index] = original
                numeric.append((costs[0] - costs[1]) / (2 * epsilon))
        difference = np.linalg.norm(analytic - np.array(numeric))
        return difference / (np.linalg.norm(analytic) + np.linalg.norm(numeric) + 1e-12)


def compare(rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of the paper's loop and of `MLP.gradient_check` in each round."""
    import xbackprop

    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((SAMPLES, SIZES[0])), np.arange(SAMPLES) % SIZES[-1]
    paper = PaperMLP(rng)
    net = xbackprop.MLP(SIZES[1:-1], alpha=0.0, random_state=0).initialize(X, y)
    theirs, ours = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        assert paper.gradient_check(X, y) < 1e-7
        middle = time.perf_counter()
        net.gradient_check(X, y)
        theirs.append(middle - began)
        ours.append(time.perf_counter() - middle)
    return theirs, ours


if __name__ == "__main__":
    theirs, ours = compare(7)
    print(f"paper {np.median(theirs):.3f} s, stacks {np.median(ours):.3f} s, {np.median(np.divide(theirs, ours)):.1f}x")
