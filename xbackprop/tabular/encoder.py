"""`TableEncoder`: a table as people have it to the float32 inputs of a network, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from xbackprop.tabular import dates
from xbackprop.tabular.blocks import Block, ColumnReport, in_words, numbers_of
from xbackprop.tabular.categories import learn_one_hot, learn_target_means
from xbackprop.tabular.columns import Column, Table, convert
from xbackprop.tabular.numbers import NumberCode, learn_numbers
from xbackprop.tabular.reading import has_names, read_table
from xbackprop.tabular.targets import TASKS, read_targets
from xbackprop.validation import integer, positive

BINS = ("auto", "tree", "quantile", "none")
INFINITE = ("missing", "error")
#: Of free text with more different values than this fraction of its rows each is taken for the name of a row.
NAMES = 0.5


class TableEncoder(TransformerMixin, BaseEstimator):
    """Encode a table of numbers, categories and dates as the float32 inputs of a network.

    Numbers get a robust scale with a smooth clip, z/√(1 + (z/3)²) with z = (x - median)/(q_75 - q_25), and beside it
    the piecewise-linear encoding e_t(x) = (x - b_{t-1})/(b_t - b_{t-1}), cut at 0 and 1; missing ones are 0, and a
    further column says so. Categories (text, booleans, pandas' and polars' categories) get a column for each level;
    with many levels, also the mean of the targets of each level, which is cross-fitted for the rows of `fit_transform`.
    Dates become their parts that vary, and the time elapsed. Columns with one value are dropped, and text that names
    each row. `columns_` says what became of each.

    Parameters
    ----------
    categorical, numeric, drop : names of columns to be read as categories, to be read as numbers, and to be left out.
    task : "classification" or "regression", the meaning of y; "auto" takes numbers with a fraction, and more than 20
        whole ones, for a regression.
    bins : "tree", edges are the thresholds of a decision tree on this column and y; "quantile", bins have equally many
        rows; "auto" takes a tree where y is given; "none" leaves out the piecewise-linear encoding.
    max_bins, min_bin : of bins between quantiles, the most of a column, and the fewest rows of one.
    max_leaves, min_leaf : of the bins of a tree, the same. It needs fewer, since y says where they are.
    clip : c, at which the scale of numbers levels off.
    max_levels : the most levels of a category that have a column each; with more, the most frequent have one.
    min_frequency : the fewest rows of a level with a column of its own; rarer ones share one.
    target_means : whether categories with more than `max_levels` levels also get the means of their targets.
    target_folds : the folds of their cross-fitting.
    infinite : "missing" takes infinite numbers for missing ones; "error" raises ValueError.
    max_width : the most columns of the result, at which bins and levels become fewer; each column of the table keeps
        at least one. max_bytes : the most memory of the result of `fit_transform`, with the same effect.
    random_state : the seed of the folds of target means.

    Attributes
    ----------
    columns_ : a mapping from the name of each column to its `ColumnReport`: kind, becomes, levels, missing, features.
    blocks_ : the encodings, in the order of the result's columns.
    n_features_in_, feature_names_in_ : the number of the table's columns, and their names.

    Raises
    ------
    ValueError : for a column that mixes kinds of values, or that has another kind than in `fit`; it names the column.

    Examples
    --------
    >>> table = {"age": [22.0, 38.0, None, 35.0], "sex": ["male", "female", "female", "male"]}
    >>> encoder = TableEncoder(bins="none").fit(table)
    >>> encoder.get_feature_names_out().tolist()
    ['age', 'age missing', 'sex=male']
    >>> encoder.transform({"age": 35.0, "sex": "female"})
    array([[0., 0., 0.]], dtype=float32)
    """

    columns_: dict[str, ColumnReport]
    blocks_: list[Block]

    def __init__(
        self,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        drop: Sequence[str] = (),
        task: str = "auto",
        bins: str = "auto",
        max_bins: int = 128,
        min_bin: int = 12,
        max_leaves: int = 32,
        min_leaf: int = 32,
        clip: float = 3.0,
        max_levels: int = 64,
        min_frequency: int = 3,
        target_means: bool = True,
        target_folds: int = 5,
        infinite: str = "missing",
        max_width: int = 1024,
        max_bytes: int = 2**29,
        random_state: int = 0,
    ) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self.drop = drop
        self.task = task
        self.bins = bins
        self.max_bins = max_bins
        self.min_bin = min_bin
        self.max_leaves = max_leaves
        self.min_leaf = min_leaf
        self.clip = clip
        self.max_levels = max_levels
        self.min_frequency = min_frequency
        self.target_means = target_means
        self.target_folds = target_folds
        self.infinite = infinite
        self.max_width = max_width
        self.max_bytes = max_bytes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the encoding of each column; y chooses the edges of bins and gives target means."""
        self._learn("fit", X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> np.ndarray:  # noqa: ARG002, scikit-learn's
        """Learn the encoding, and return that of the same rows; their target means are cross-fitted."""
        table, own = self._learn("fit_transform", X, y)
        return self._encoded(table, own)

    def transform(self, X: Any) -> np.ndarray:
        """Return the encoding (n_samples, width) in float32. Columns are found by name; others are ignored."""
        check_is_fitted(self)
        return self._encoded(self._table("transform", X), {})

    def pull_back(self, X: Any, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Return Σ_f g_f ∂h_f/∂x (n_samples,) for each column x of numbers, from the gradient g by `transform`'s h."""
        check_is_fitted(self)
        table, found, start = self._table("pull_back", X), {}, 0
        for block in self.blocks_:
            end = start + len(block.code.names)
            if block.kind == "number" and isinstance(block.code, NumberCode):
                slopes = block.code.derivative(table.columns[block.column].values)
                found[block.column] = np.sum(gradient[:, start:end] * slopes, axis=1)
            start = end
        return found

    def to_onnx(self, path: str | PathLike[str] | None = None, *, example: Any = None) -> Any:
        """Return the encoding as an ONNX model with the output `encoded` (n, width), and write it to `path`.

        The inputs are those of `BaseTabular.to_onnx`, a column each; `onnx_inputs(encoder, X)` makes them of a table.
        example : rows of a table, on which the model is run and held to `transform`.
        """
        from xbackprop.tabular.onnx_model import export_encoder  # which knows the models too

        check_is_fitted(self)
        return export_encoder(f"{type(self).__name__}.to_onnx", self, path, example)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002, the table has its own
        """Return the names of the columns of the result: the column's name, and its bin, level or part."""
        check_is_fitted(self)
        return np.array([name for block in self.blocks_ for name in block.names], dtype=object)

    def _learn(self, method: str, X: Any, y: Any) -> tuple[Table, dict[int, np.ndarray]]:
        """Learn the blocks; return the table, and by the number of a block the cross-fitted means of its rows."""
        where = self._check(method)
        given = read_table(where, X)
        if given.n < 1:
            raise ValueError(f"{where}: X must have at least one row, got {given.n}")
        for option in ("categorical", "numeric", "drop"):
            if missing := [name for name in getattr(self, option) if name not in given.columns]:
                raise ValueError(f"{where}: {option} names {missing[0]!r}; the columns are {', '.join(given.columns)}")
        targets, task = read_targets(where, y, given.n, self.task)
        self.n_features_in_ = len(given.columns)
        self.feature_names_in_ = np.array(list(given.columns), dtype=object)
        if not has_names(X):
            del self.feature_names_in_
        kinds: dict[str, str] = {}
        reports: dict[str, ColumnReport] = {}
        table = Table({name: self._as_asked(where, name, column) for name, column in given.columns.items()}, given.n)
        for name, column in table.columns.items():
            reason = self._reason_to_drop(name, column)
            kinds[name] = "dropped" if reason else column.kind
            if reason:
                reports[name] = ColumnReport("dropped", reason, (), int(column.missing.sum()), ())
        blocks, own = self._learn_blocks(table, kinds, targets, task)
        self.blocks_ = blocks
        self.columns_ = {name: reports.get(name) or self._report(name, table.columns[name]) for name in table.columns}
        return table, own

    def _as_asked(self, where: str, name: str, column: Column) -> Column:
        """Return the column as the kind that the user asks for, with infinite numbers missing."""
        if name in self.categorical:
            return convert(where, name, column, "category")._replace(is_text=False)
        if name in self.numeric:
            column = convert(where, name, column, "number")
        return self._finite(where, name, column)

    def _finite(self, where: str, name: str, column: Column) -> Column:
        if column.kind != "number" or not np.isinf(column.values).any():
            return column
        if self.infinite == "error":
            row = int(np.flatnonzero(np.isinf(column.values))[0])
            raise ValueError(f"{where}: column {name!r} must be finite, got {column.values[row]} in row {row}")
        return column._replace(values=np.where(np.isinf(column.values), np.nan, column.values))

    def _reason_to_drop(self, name: str, column: Column) -> str:
        """Return why a column has nothing to say, or "" if it may have."""
        if name in self.drop:
            return "as asked"
        known = column.values[~column.missing]
        if not len(known):
            return "no cell has a value"
        if len(known) == len(column.values) and (known == known[0]).all():
            return "one value in all rows"
        if column.is_text and name not in self.categorical and len(known) >= 10:
            different = len(np.unique(known))
            if different > NAMES * len(known):
                return f"text that names each row: {different:,} different ones in {len(known):,} rows"
        return ""

    def _learn_blocks(
        self, table: Table, kinds: dict[str, str], y: np.ndarray | None, task: str
    ) -> tuple[list[Block], dict[int, np.ndarray]]:
        sources: list[tuple[str, str, np.ndarray]] = []  # of numbers: the column, the part of a date, the values
        before: list[Block] = []
        own: dict[int, np.ndarray] = {}
        first_dates = [name for name, kind in kinds.items() if kind == "date"][:1]
        limit = self._limit(table.n)
        n_levels = {
            name: min(self.max_levels, len(table.columns[name].levels))
            for name, kind in kinds.items()
            if kind == "category"
        }
        most = _fitting(list(n_levels.values()), limit - sum(kind in ("number", "date") for kind in kinds.values()))
        for name, kind in kinds.items():
            column = table.columns[name]
            match kind:
                case "number":
                    sources.append((name, "", column.values))
                case "date":
                    sources += [
                        (name, part, dates.part_of(column.values, part)) for part in dates.varying_parts(column.values)
                    ]
                    for first in first_dates:
                        gap = dates.hours_between(column.values, table.columns[first].values)
                        if name != first and len(np.unique(gap[~np.isnan(gap)])) > 1:
                            sources.append((name, f"since {first}", gap))
                case "category":
                    one_hot = learn_one_hot(column.values, column.levels, most, self.min_frequency)
                    before.append(Block(name, kind, "", one_hot))
                    many = len(column.levels) > self.max_levels
                    if self.target_means and many and y is not None:
                        code, fitted = learn_target_means(
                            column.values, column.levels, y, task, self.target_folds, self.random_state
                        )
                        own[len(before)] = fitted
                        before.append(Block(name, kind, "", code))
        left = limit - sum(len(block.code.names) for block in before) - 2 * len(sources)
        chosen = y if self.bins in ("auto", "tree") else None
        most_bins = min(self.max_bins, table.n // self.min_bin) if chosen is None else self.max_leaves
        bins = min(most_bins, left // max(1, len(sources))) if self.bins != "none" else 0
        numbers = [
            Block(name, kinds[name], part, learn_numbers(values, bins, chosen, task, self.clip, self.min_leaf))
            for name, part, values in sources
        ]
        return [*before, *numbers], own

    def _limit(self, n: int) -> int:
        """Return the most columns of the result for n rows."""
        return int(min(self.max_width, self.max_bytes // (4 * n)))

    def _encoded(self, table: Table, own: dict[int, np.ndarray]) -> np.ndarray:
        widths = [len(block.code.names) for block in self.blocks_]
        ends = np.cumsum([0, *widths])
        out = np.empty((table.n, int(ends[-1])), dtype=np.float32)
        for i, block in enumerate(self.blocks_):
            part = out[:, ends[i] : ends[i + 1]]
            if i in own:
                part[:] = own[i]
                continue
            column = table.columns[block.column]
            match block.code:
                case NumberCode():
                    block.code.write(numbers_of(table, block), part)
                case _:
                    block.code.write(column.values, column.levels, part)
        return out

    def _table(self, method: str, X: Any) -> Table:
        """Read a table to encode: the columns that are used, each as the kind that it had in `fit`."""
        where = f"{type(self).__name__}.{method}"
        table = read_table(where, X)
        if not has_names(X) and len(table.columns) != self.n_features_in_:
            raise ValueError(
                f"X has {len(table.columns)} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input"
            )
        used = dict.fromkeys(block.column for block in self.blocks_)
        used |= {block.part.removeprefix("since "): None for block in self.blocks_ if block.part.startswith("since ")}
        if missing := [name for name in used if name not in table.columns]:
            raise ValueError(
                f"{where}: there is no column {missing[0]!r}, which the encoder was fitted with; the columns are "
                f"{', '.join(table.columns)}"
            )
        kinds = {name: self.columns_[name].kind for name in used}
        read = {name: convert(where, name, table.columns[name], kind) for name, kind in kinds.items()}
        return Table({name: self._finite(where, name, column) for name, column in read.items()}, table.n)

    def _report(self, name: str, column: Column) -> ColumnReport:
        """Say what became of a column."""
        mine = [block for block in self.blocks_ if block.column == name]
        features = tuple(feature for block in mine for feature in block.names)
        becomes = ", ".join(filter(None, (in_words(block) for block in mine)))
        return ColumnReport(column.kind, becomes, column.levels, int(column.missing.sum()), features)

    def _check(self, method: str) -> str:
        """Check the parameters; return the name of the call."""
        where = f"{type(self).__name__}.{method}"
        for name, known in (("task", TASKS), ("bins", BINS), ("infinite", INFINITE)):
            if getattr(self, name) not in known:
                raise ValueError(f"{where}: {name} must be one of {known}, got {getattr(self, name)!r}")
        counts = [
            "max_bins",
            "min_bin",
            "max_leaves",
            "min_leaf",
            "max_levels",
            "min_frequency",
            "max_width",
            "max_bytes",
        ]
        for name in (*counts, "target_folds"):
            integer(where, name, getattr(self, name), 2 if name == "target_folds" else 1)
        positive(where, "clip", self.clip)
        for option in ("categorical", "numeric", "drop"):
            if isinstance(getattr(self, option), str):
                raise ValueError(f"{where}: {option} must be a list of names, got {getattr(self, option)!r}")
        return where

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _fitting(widths: list[int], limit: int) -> int:
    """Return the largest number of levels with which categories of these widths fit into the limit; at least 1."""
    most = max(widths, default=1)
    while most > 1 and sum(min(width, most) + 2 for width in widths) > limit:
        most -= 1
    return most
