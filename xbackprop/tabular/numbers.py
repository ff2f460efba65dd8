"""Numbers as inputs of a network: a robust scale with a smooth clip, and the piecewise-linear encoding.

Scale: z = (x - median)/(q_75 - q_25), then z/√(1 + (z/c)²) with c = 3 (Holzmüller, Grinsztajn and Steinwart, "Better by
default", NeurIPS 2024). Encoding: e_t(x) = (x - b_{t-1})/(b_t - b_{t-1}), cut at 0 and 1, for bins b_0 < … < b_T
(Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", NeurIPS 2022). There
the outer bins are left open; here they are cut too, so that a number far outside of the training data does not decide a
prediction alone: the scale beside them goes on, up to ±c.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: Rows among which bins are looked for; more of them do not move the edges visibly, and take time.
ROWS = 50_000
QUARTILES = (0.25, 0.5, 0.75)


class NumberCode(NamedTuple):
    """The encoding of a column of numbers.

    centre, scale : the median, and 1/(q_75 - q_25), or 2/(max - min) where the quartiles coincide.
    edges : (T + 1,) of the piecewise-linear encoding, or (0,) where there is none.
    gaps : whether a column says where a number is missing. clip : c, at which the scale levels off.
    """

    centre: float
    scale: float
    edges: np.ndarray
    gaps: bool
    clip: float

    @property
    def names(self) -> list[str]:
        """What stands after the column's name in the names of the columns that are made of it."""
        edges = [f" {a:.6g}…{b:.6g}" for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)]
        return ["", *edges, *([" missing"] if self.gaps else [])]

    def write(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the encoding of numbers x (n,) to out (n, width); missing numbers are 0 in all but the last column."""
        z = (x - self.centre) * self.scale
        missing = np.isnan(z)
        with np.errstate(over="ignore"):  # 1e308 squared; the quotient of infinities is mended
            out[:, 0] = np.where(missing, 0.0, z / np.sqrt(1.0 + np.square(z / self.clip)))
        far = np.abs(z) > 1e150
        if far.any():
            out[far, 0] = np.sign(z[far]) * self.clip
        for t in range(1, len(self.edges)):
            low, high = self.edges[t - 1 : t + 1]
            out[:, t] = np.where(missing, 0.0, np.clip((x - low) / (high - low), 0.0, 1.0))
        if self.gaps:
            out[:, -1] = missing

    def derivative(self, x: np.ndarray) -> np.ndarray:
        """Return the derivative (n, width) of the encoding of numbers x (n,), from the right at the edges of bins.

        It is s (1 + (z/c)²)^(-3/2) of the scale s, 1/(b_t - b_{t-1}) inside a bin, and 0 where x is missing.
        """
        out = np.zeros((len(x), len(self.names)))
        with np.errstate(over="ignore"):
            z = np.nan_to_num((x - self.centre) * self.scale)
            out[:, 0] = self.scale * (1.0 + np.square(z / self.clip)) ** -1.5
        for t in range(1, len(self.edges)):
            low, high = self.edges[t - 1 : t + 1]
            out[:, t] = ((x >= low) & (x < high)) / (high - low)
        out[np.isnan(x)] = 0.0
        return out


def learn_numbers(x: np.ndarray, bins: int, y: np.ndarray | None, task: str, clip: float, min_leaf: int) -> NumberCode:
    """Learn the encoding of numbers x (n,), NaN where one is missing.

    bins : the most bins; fewer than 2 give none. y, task : the targets, whose tree chooses the edges; None for
    quantiles. min_leaf : the fewest rows of a bin of the tree.
    """
    known = ~np.isnan(x)
    values = x[known]
    low, middle, high = np.quantile(values, QUARTILES) if len(values) else (0.0, 0.0, 0.0)
    smallest, largest = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    with np.errstate(over="ignore"):
        spread = high - low if high > low else (largest - smallest) / 2.0
    spread = spread if np.isfinite(spread) else np.finfo(np.float64).max / 4.0
    edges = np.empty(0)
    if bins >= 2 and largest > smallest:
        inner = _quantiles(values, bins) if y is None else _tree_edges(values, y[known], bins, task, min_leaf)
        edges = np.unique([smallest, *inner, largest])
        with np.errstate(over="ignore"):
            widths = np.diff(edges)
        if len(edges) < 3 or not np.isfinite(widths).all():
            edges = np.empty(0)
    varies = spread > np.finfo(np.float64).tiny  # the inverse of less is infinite
    return NumberCode(float(middle), float(1.0 / spread) if varies else 0.0, edges, not known.all(), clip)


def _quantiles(values: np.ndarray, bins: int) -> np.ndarray:
    return np.quantile(values, np.linspace(0.0, 1.0, bins + 1)[1:-1])


def _tree_edges(x: np.ndarray, y: np.ndarray, bins: int, task: str, min_leaf: int) -> np.ndarray:
    """Return the thresholds of a decision tree on this column alone."""
    from sklearn import tree

    seen = ~np.isnan(y).any(axis=-1) if y.ndim == 2 else ~np.isnan(y)
    x, y = x[seen], y[seen]
    if len(x) < 2 * min_leaf:
        return np.empty(0)
    if len(x) > ROWS:
        some = np.random.RandomState(0).permutation(len(x))[:ROWS]
        x, y = x[some], y[some]
    kind: Any = tree.DecisionTreeClassifier if task == "classification" else tree.DecisionTreeRegressor
    centre = np.median(x)  # the tree computes in float32, in which large numbers with small differences are one
    width = float(np.max(np.abs(x - centre))) or 1.0
    grown = kind(max_leaf_nodes=bins, min_samples_leaf=min_leaf, random_state=0).fit(((x - centre) / width)[:, None], y)
    inner = grown.tree_.feature >= 0
    return np.sort(grown.tree_.threshold[inner]) * width + centre
