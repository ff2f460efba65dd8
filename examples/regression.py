"""Predict an interval: networks for the median and for two quantiles, checked on held-out patients."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import xbackprop


def main():
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    center, spread = y_train.mean(), y_train.std()

    def net(**settings):
        common = {
            "hidden_layer_sizes": (16,),
            "random_state": 0,
            "alpha": 10.0,
            "learning_rate_init": 0.01,
            "max_iter": 300,
        }
        return xbackprop.MLPRegressor(**common, **settings).fit(X_train, (y_train - center) / spread)

    least_squares = net()
    r2 = least_squares.score(X_test, (y_test - center) / spread)
    low, median, high = (
        center + spread * net(loss="quantile", quantile=q, tol=1e-5).predict(X_test) for q in (0.1, 0.5, 0.9)
    )
    inside = np.mean((low <= y_test) & (y_test <= high))
    print(f"held-out R2 {r2:.3f}; between the 10% and the 90% quantile are {inside:.0%} of the held-out patients")
    print(f"mean absolute error of the median {np.mean(np.abs(median - y_test)):.1f}")
    assert r2 > 0.3
    assert 0.6 < inside < 0.95


if __name__ == "__main__":
    main()
