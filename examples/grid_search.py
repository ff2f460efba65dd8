"""Search a grid of parameters of a pipeline, as with scikit-learn's own search; all networks are trained together."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xbackprop
from xbackprop.model_selection import GridSearchCV


def main():
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    classifier = xbackprop.MLPClassifier((32,), learning_rate_init=0.005, max_iter=500, random_state=0)
    grid = {
        "mlpclassifier__alpha": [1.0, 10.0],
        "mlpclassifier__dropout": [0.0, 0.3],
        "mlpclassifier__activation": ["relu", "mish"],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier), grid, cv=3).fit(X_train, y_train)
    accuracy = search.score(X_test, y_test)
    print(f"best of {len(search.cv_results_['params'])}: {search.best_params_}")
    print(f"held-out accuracy {accuracy:.3f}")
    assert accuracy > 0.93


if __name__ == "__main__":
    main()
