"""The paper's Algorithm 1 as one piece, in numbers and lists alone: what it says, and nothing faster."""

import math


def algorithm_1(layers, x, y):
    """Return z, h and the gradients of C = ‖h_L - y‖² for one sample: tanh in the hidden layers, a linear output.

    layers : for each layer (W, b), W[j][i] from unit j below to unit i. The gradients have the same form.
    """
    h, z = [list(x)], []
    for l, (W, b) in enumerate(layers, start=1):
        z.append([sum(W[j][i] * h[-1][j] for j in range(len(W))) + b[i] for i in range(len(b))])
        h.append([math.tanh(v) if l < len(layers) else v for v in z[-1]])
    dh = [2 * (a - t) for a, t in zip(h[-1], y, strict=True)]  # ∂C/∂h_L
    gradients = []
    for l in range(len(layers), 0, -1):
        slope = [1 - math.tanh(v) ** 2 if l < len(layers) else 1.0 for v in z[l - 1]]
        delta = [a * s for a, s in zip(dh, slope, strict=True)]  # ∂C/∂z_l
        dW = [[h[l - 1][j] * delta[i] for i in range(len(delta))] for j in range(len(h[l - 1]))]
        W = layers[l - 1][0]
        dh = [sum(W[j][i] * delta[i] for i in range(len(delta))) for j in range(len(W))]  # ∂C/∂h_{l-1}
        gradients.insert(0, (dW, delta))
    return z, h, gradients


if __name__ == "__main__":
    layers = [([[0.5, -0.5], [1.0, 0.5]], [0.0, 0.1]), ([[1.0], [-2.0]], [0.5])]
    z, h, gradients = algorithm_1(layers, [1.0, 2.0], [2.0])
    for l, (dW, db) in enumerate(gradients, start=1):
        print(f"layer {l}: z = {z[l - 1]}, ∂C/∂W = {dW}, ∂C/∂b = {db}")
