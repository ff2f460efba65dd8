"""Train on digits with every installed backend: the same seed gives the same network, up to rounding."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xbackprop
from xbackprop.cli.devices import installed


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    accuracies = {}
    for backend in installed():
        if backend.reason:
            print(f"{backend.name}: not available: {backend.reason.splitlines()[0]}")
            continue
        net = xbackprop.MLP((64,), learning_rate_init=0.01, max_iter=40, random_state=0, backend=backend.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
            net.fit(X_train, y_train)
        accuracies[backend.name] = net.score(X_test, y_test)
        print(f"{backend.name}: loss {net.loss_curve_[-1]:.6f}, held-out accuracy {accuracies[backend.name]:.3f}")
    assert min(accuracies.values()) > 0.95
    assert np.ptp(list(accuracies.values())) < 0.01


if __name__ == "__main__":
    main()
