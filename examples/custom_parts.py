"""Write an activation and a loss of your own, and let `xbackprop.verify` check their derivatives.

An activation needs f and f′, a loss C and δ = ∂C/∂z. The gradient check passes if they belong together; the example
also shows that it fails for an f′ with a slip.
"""

import numpy as np

import xbackprop

# h = z / √(1 + z²), whose derivative is (1 + z²)^(-3/2) = (h/z)³, and (1 - h²)^(3/2) without the division.
isru = xbackprop.Activation(
    f=lambda xp, z: z / xp.sqrt(1.0 + z * z),
    df=lambda xp, z, h: (1.0 - h * h) ** 1.5,
    name="isru",
)


def log_cosh(xp, z, y, share):
    """C = Σ_x share_x Σ_k log cosh(z - y), δ = share tanh(z - y): like squares near zero, like |z - y| far from it.

    share : the weight of each sample, (n, 1); the weights of a batch sum to 1.
    """
    r = z - y
    cost = r + xp.log1p(xp.exp(-2.0 * r)) - np.log(2.0)
    return xp.sum(share * cost, axis=(-2, -1)), share * xp.tanh(r)


loss = xbackprop.Loss(log_cosh, output=lambda xp, z: z, name="log_cosh")
wrong = xbackprop.Activation(isru.f, df=lambda xp, z, h: (1.0 - h * h) ** 0.5, name="isru with a slip")


def main():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((200, 4))
    y = np.sin(X[:, 0]) + 0.3 * X[:, 1] * X[:, 2]
    settings = {"task": "regression", "loss": loss, "learning_rate_init": 0.02, "random_state": 0}
    net = xbackprop.MLP((24,), isru, max_iter=1000, **settings)
    net.initialize(X, y)
    report = xbackprop.verify(net, X[:20], y[:20], pictures=False)
    print(report.summary)
    assert report.passed

    slipped = xbackprop.MLP((24,), wrong, **settings).initialize(X, y)
    report = xbackprop.verify(slipped, X[:20], y[:20], pictures=False)
    print(report.summary)
    assert not report.passed

    net.fit(X, y)
    print(f"R2 after training {net.score(X, y):.3f}")
    assert net.score(X, y) > 0.8


if __name__ == "__main__":
    main()
