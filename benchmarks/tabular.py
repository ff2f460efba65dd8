"""Score models for tables beside scikit-learn's MLP, its histogram gradient boosting, and LightGBM, on real tables.

python benchmarks/tabular.py FOLDER [--seeds 2] [--preset good] [--tables titanic,mpg]; FOLDER has the CSV files.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from xbackprop import TabularClassifier, TabularRegressor


class Case(NamedTuple):
    """A table: its file, the target, columns to leave out, the unit of the target, and whether the file has names."""

    file: str
    target: str
    drop: tuple[str, ...] = ()
    classes: bool = False
    unit: float = 1.0
    header: bool = True


CASES = {
    "titanic": Case("titanic.csv", "survived", ("alive",), classes=True),
    "penguins": Case("penguins.csv", "species", classes=True),
    "mpg": Case("mpg.csv", "mpg"),
    "taxis": Case("taxis.csv", "tip", ("total",)),
    "winequality-red": Case("winequality-red.csv", "12", header=False),
    "german": Case("german.csv", "21", classes=True, header=False),
    "horse-colic": Case("horse-colic.csv", "24", ("3", "25", "26", "27", "28"), classes=True, header=False),
    "california": Case("california.csv", "median_house_value", unit=1e5),
}


def load(folder: Path, case: Case) -> tuple[pd.DataFrame, pd.Series]:
    frame = pd.read_csv(folder / case.file, header=0 if case.header else None, na_values="?")
    if not case.header:
        frame.columns = [str(j + 1) for j in range(frame.shape[1])]
    frame = frame.drop(columns=list(case.drop))
    frame = frame[frame[case.target].notna()].reset_index(drop=True)
    y = frame.pop(case.target)
    return frame, y if case.classes else y.astype(float) / case.unit


def by_hand(X: pd.DataFrame) -> pd.DataFrame:
    """Prepare a frame as a person would for models that take no text: dates in parts, text as categories."""
    X = X.copy()
    for name in [name for name in X if X[name].dtype.kind not in "fiu"]:
        if name in ("pickup", "dropoff"):
            moment = pd.to_datetime(X[name])
            X[f"{name} hour"], X[f"{name} weekday"] = moment.dt.hour + moment.dt.minute / 60, moment.dt.weekday
            X[name] = moment.astype("int64") / 3.6e12
        else:
            X[name] = X[name].astype(str).where(X[name].notna(), "missing").astype("category")
    return X


def contenders(case: Case, X: pd.DataFrame, preset: str, seed: int) -> dict[str, Callable[[], Any]]:
    import lightgbm

    text = [name for name in X if isinstance(X[name].dtype, pd.CategoricalDtype)]
    numbers = [name for name in X if name not in text]

    def network() -> Any:
        columns = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore", max_categories=64, sparse_output=False), text),
        )
        if case.classes:
            return make_pipeline(columns, MLPClassifier(random_state=seed))
        pipeline = make_pipeline(columns, MLPRegressor(random_state=seed))
        return TransformedTargetRegressor(pipeline, transformer=StandardScaler())

    boosting = HistGradientBoostingClassifier if case.classes else HistGradientBoostingRegressor
    light = lightgbm.LGBMClassifier if case.classes else lightgbm.LGBMRegressor
    ours = TabularClassifier if case.classes else TabularRegressor
    return {
        "MLP": network,
        "HGB": lambda: boosting(categorical_features="from_dtype", random_state=seed),
        "LightGBM": lambda: light(verbose=-1, n_jobs=2, random_state=seed),
        "xbackprop": lambda: ours(preset=preset, backend="numba", random_state=seed),
    }


def error(case: Case, model: Any, X: pd.DataFrame, y: pd.Series) -> float:
    """Return the log-loss of a classification, the RMSE of a regression."""
    if not case.classes:
        return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))
    p = np.asarray(model.predict_proba(X))
    picked = p[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return float(-np.log(np.maximum(picked, 1e-7)).mean())


def measure(name: str, folder: Path, seeds: int, preset: str) -> None:
    case = CASES[name]
    raw, y = load(folder, case)
    prepared = by_hand(raw)
    coded = prepared.copy()  # HGB takes at most 255 levels
    for column in prepared.select_dtypes("category"):
        if prepared[column].nunique() > 200:
            coded[column] = prepared[column].cat.codes
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        train, test = train_test_split(
            np.arange(len(y)), test_size=0.25, random_state=seed, stratify=y if case.classes else None
        )
        for who, make in contenders(case, prepared, preset, seed).items():
            X = {"xbackprop": raw, "MLP": prepared}.get(who, coded)
            model, began = make(), time.perf_counter()
            model.fit(X.iloc[train], y.iloc[train])
            seconds = time.perf_counter() - began
            found.setdefault(who, []).append((error(case, model, X.iloc[test], y.iloc[test]), seconds))
    for who, results in found.items():
        errors, times = zip(*results, strict=True)
        each = ", ".join(f"{e:.4f}" for e in errors)
        print(f"{name:<16} {who:<10} {np.mean(errors):.4f} ({each}) in {np.mean(times):.1f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--preset", default="good")
    parser.add_argument("--tables", default=",".join(CASES))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.tables.split(","):
        measure(name, args.folder, args.seeds, args.preset)
