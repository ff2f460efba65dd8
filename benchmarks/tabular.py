"""Score models for tables beside scikit-learn's MLP, its histogram gradient boosting, and LightGBM, on real tables.

python benchmarks/tabular.py FOLDER [--seeds 5] [--presets good] [--tables titanic,mpg] [--realmlp] [--json FILE]
python benchmarks/tabular.py FOLDER --picture FILE [--tables titanic,german,adult]  draws reliability alone

FOLDER has the CSV files. Each split is given to all contenders one after the other; mean errors with standard errors,
mean ranks and times follow as tables. RealMLP is that of pytabkit, with its defaults, where it is asked for.
"""

from __future__ import annotations

import argparse
import functools
import json
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
from xbackprop.display import drawing
from xbackprop.tabular.candidates import PRESETS
from xbackprop.tabular.evaluation import calibration_error, reliability
from xbackprop.tabular.plots import draw_reliability


class Case(NamedTuple):
    """A table: its file, the target, columns to leave out, the unit of the target, and whether the file has names.

    test : the file of the official test rows, which every split has then; its labels may end in a dot.
    published : whether to prepare the table as published figures do, and to split it 80/20.
    """

    file: str
    target: str
    drop: tuple[str, ...] = ()
    classes: bool = False
    unit: float = 1.0
    header: bool = True
    test: str = ""
    published: bool = False


CASES = {
    "titanic": Case("titanic.csv", "survived", ("alive",), classes=True),
    "penguins": Case("penguins.csv", "species", classes=True),
    "mpg": Case("mpg.csv", "mpg"),
    "taxis": Case("taxis.csv", "tip", ("total",)),
    "winequality-red": Case("winequality-red.csv", "12", header=False),
    "german": Case("german.csv", "21", classes=True, header=False),
    "horse-colic": Case("horse-colic.csv", "24", ("3", "25", "26", "27", "28"), classes=True, header=False),
    "california": Case("california.csv", "median_house_value", unit=1e5),
    "california 80/20": Case("california.csv", "median_house_value", ("ocean_proximity",), unit=1e5, published=True),
    "adult": Case("adult-train.csv", "15", classes=True, header=False, test="adult-test.csv"),
}
#: Divided by the number of households in the published version of california.
PER_HOUSEHOLD = ("total_rooms", "total_bedrooms")


def load(folder: Path, case: Case) -> tuple[pd.DataFrame, pd.Series]:
    frame = pd.read_csv(folder / case.file, header=0 if case.header else None, na_values="?", skipinitialspace=True)
    if case.published:  # with rooms, bedrooms and people of a household
        frame["people"] = frame["population"] / frame["households"]
        for name in PER_HOUSEHOLD:
            frame[name] = frame[name] / frame["households"]
        frame = frame.drop(columns="households")
    if not case.header:
        frame.columns = [str(j + 1) for j in range(frame.shape[1])]
    frame = frame.drop(columns=list(case.drop))
    frame = frame[frame[case.target].notna()].reset_index(drop=True)
    y = frame.pop(case.target)
    if case.test:
        y = y.str.removesuffix(".")
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


def contenders(case: Case, X: pd.DataFrame, args: argparse.Namespace, seed: int) -> dict[str, Callable[[], Any]]:
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

    def real() -> Any:
        from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

        cls = RealMLP_TD_Classifier if case.classes else RealMLP_TD_Regressor
        return cls(device="cpu", random_state=seed, n_threads=2)

    boosting = HistGradientBoostingClassifier if case.classes else HistGradientBoostingRegressor
    light = lightgbm.LGBMClassifier if case.classes else lightgbm.LGBMRegressor
    ours = TabularClassifier if case.classes else TabularRegressor
    found: dict[str, Callable[[], Any]] = {
        "MLP": network,
        "HGB": lambda: boosting(categorical_features="from_dtype", random_state=seed),
        "LightGBM": lambda: light(verbose=-1, n_jobs=2, random_state=seed),
    }
    for preset in args.presets.split(","):
        found[preset] = functools.partial(ours, preset=preset, backend="numba", random_state=seed)
    if args.realmlp:
        found["RealMLP"] = real
    return found


def errors(case: Case, model: Any, X: pd.DataFrame, y: pd.Series) -> tuple[float, float, float]:
    """Return log-loss, the part that is wrong, and the calibration error; of a regression RMSE, MAE and 0."""
    if not case.classes:
        off = np.asarray(model.predict(X)) - y
        return float(np.sqrt(np.mean(off**2))), float(np.abs(off).mean()), 0.0
    p = np.asarray(model.predict_proba(X), dtype=np.float64)
    true = np.searchsorted(model.classes_, y)
    picked = p[np.arange(len(y)), true]
    loss = float(-np.log(np.maximum(picked, 1e-7)).mean())
    return loss, float((p.argmax(axis=1) != true).mean()), calibration_error(reliability(true, p))


def split(case: Case, folder: Path, y: pd.Series, seed: int) -> tuple[Any, Any]:
    """Return the rows to train on and to test on; with official test rows these, the last of the table."""
    if case.test:
        n = len(pd.read_csv(folder / case.file, header=None))
        return np.arange(n), np.arange(n, len(y))
    part = 0.2 if case.published else 0.25
    return train_test_split(np.arange(len(y)), test_size=part, random_state=seed, stratify=y if case.classes else None)


def filled(X: pd.DataFrame, train: np.ndarray) -> pd.DataFrame:
    """Fill in the medians of the training rows, since RealMLP takes no missing numbers."""
    return X.fillna(X.iloc[train].median(numeric_only=True))


Results = dict[str, list[tuple[float, ...]]]


def whole(name: str, folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table with its official test rows, where it has some, at the end."""
    case = CASES[name]
    raw, y = load(folder, case)
    if not case.test:
        return raw, y
    more, labels = load(folder, case._replace(file=case.test))
    return pd.concat([raw, more], ignore_index=True), pd.concat([y, labels], ignore_index=True)


def measure(name: str, args: argparse.Namespace) -> Results:
    """Return for each contender the three errors and the seconds of training of each split."""
    case = CASES[name]
    raw, y = whole(name, args.folder)
    prepared = by_hand(raw)
    coded = prepared.copy()  # HGB takes at most 255 levels
    for column in prepared.select_dtypes("category"):
        if prepared[column].nunique() > 200:
            coded[column] = prepared[column].cat.codes
    found: Results = {}
    for seed in range(args.seeds):
        train, test = split(case, args.folder, y, seed)
        for who, make in contenders(case, prepared, args, seed).items():
            X = raw if who in PRESETS else {"MLP": prepared, "RealMLP": filled(prepared, train)}.get(who, coded)
            model, began = make(), time.perf_counter()
            model.fit(X.iloc[train], y.iloc[train])
            seconds = time.perf_counter() - began
            found.setdefault(who, []).append((*errors(case, model, X.iloc[test], y.iloc[test]), seconds))
    for who, results in found.items():
        first, second, _, times = np.array(results).T
        each = ", ".join(f"{e:.4f}" for e in first)
        print(
            f"{name:<16} {who:<9} {first.mean():.4f} ({each}), {second.mean():.4f} in {times.mean():.1f} s", flush=True
        )
    return found


def show(results: dict[str, Results]) -> None:
    """Print the results as tables in Markdown: mean errors with their standard errors, mean ranks, and times."""
    names = list(next(iter(results.values())))
    head = f"| {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    print(f"\n| table {head}")
    ranks = []
    for name, found in results.items():
        of = {who: np.array([r[0] for r in found[who]]) for who in names}
        means = np.array([e.mean() for e in of.values()])
        ranks.append(np.argsort(np.argsort(means)) + 1)
        cells = [f"{e.mean():.4f} ± {e.std(ddof=1) / np.sqrt(len(e)):.4f}" for e in of.values()]
        cells[int(means.argmin())] = f"**{cells[int(means.argmin())]}**"
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| mean rank | {' | '.join(f'{r:.2f}' for r in np.mean(ranks, axis=0))} |")
    print(f"\n| part wrong; calibration error {head}")
    for name in (name for name in results if CASES[name].classes):
        means = [np.mean(results[name][who], axis=0) for who in names]
        print(f"| {name} | {' | '.join(f'{wrong:.4f}; {gap:.3f}' for _, wrong, gap, _ in means)} |")
    print(f"\n| seconds of training {head}")
    for name, found in results.items():
        print(f"| {name} | {' | '.join(f'{np.median([r[3] for r in found[who]]):.1f}' for who in names)} |")


def draw(args: argparse.Namespace) -> None:
    """Draw what came true against what was predicted, on the test rows of all splits, with a panel for each table."""
    names = args.tables.split(",")
    with drawing.style():
        figure = drawing.figure_of((4.5 * len(names), 4.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
            case, (X, y) = CASES[name], whole(name, args.folder)
            pairs = []
            for seed in range(1 if case.test else args.seeds):
                train, test = split(case, args.folder, y, seed)
                model = TabularClassifier(preset=args.presets, backend="numba", random_state=seed)
                p = model.fit(X.iloc[train], y.iloc[train]).predict_proba(X.iloc[test])
                pairs.append((np.searchsorted(model.classes_, y.iloc[test]), p))
            true, p = map(np.concatenate, zip(*pairs, strict=True))
            bins = reliability(true, p)
            label = model.classes_[1]
            labels = f"probability of {label}", f"part that is {label}"
            draw_reliability(axes, bins, labels, calibration_error(bins))
            axes.set_title(f"{name}, {len(true):,} rows")
            print(f"{name}: calibration error {calibration_error(bins):.4f} of {len(true):,} rows", flush=True)
        figure.savefig(args.picture, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--presets", default="good", help="several with commas between them")
    parser.add_argument("--tables", default=",".join(CASES))
    parser.add_argument("--realmlp", action="store_true")
    parser.add_argument("--picture", type=Path, help="draw reliability here, and measure nothing")
    parser.add_argument("--json", type=Path, help="write the results here after each table")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.picture is not None:
        draw(args)
        raise SystemExit
    everything: dict[str, Results] = {}
    for name in args.tables.split(","):
        everything[name] = measure(name, args)
        if args.json is not None:
            args.json.write_text(json.dumps(everything, indent=1))
    show(everything)
