"""Categories as inputs of a network: a column of 0 and 1 for each level, and the mean of the targets of a level."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

MISSING, RARE = "missing", "rare"


class OneHotCode(NamedTuple):
    """A column of 0 and 1 for each of some levels.

    levels : those that have a column. rare : those that share one, called "rare". gaps : whether a column says where a
    cell is missing. A level that is none of these is 0 in all columns.
    """

    levels: tuple[str, ...]
    rare: tuple[str, ...]
    gaps: bool

    @property
    def names(self) -> list[str]:
        """What stands after the column's name in the names of the columns that are made of it."""
        others = [RARE] * bool(self.rare) + [MISSING] * self.gaps
        return [f"={level}" for level in self.levels] + [f" {other}" for other in others]

    def write(self, codes: np.ndarray, levels: tuple[str, ...], out: np.ndarray) -> None:
        """Write the columns of codes (n,) into these levels to out (n, width)."""
        place = {level: j for j, level in enumerate(self.levels)}
        place |= dict.fromkeys(self.rare, len(self.levels))
        width = out.shape[1]
        # a code of -1 takes the last place of all
        places = np.array([*(place.get(level, width) for level in levels), width - 1 if self.gaps else width])
        out[:] = 0.0
        column = places[codes]
        known = column < width
        out[np.flatnonzero(known), column[known]] = 1.0


class TargetCode(NamedTuple):
    """The mean of the targets of each level, standardised over the training rows.

    levels : (L,) and means (L, K), for K classes or outputs, one for two classes. default : (K,), of every other level
    and of missing cells. centre, scale : (K,).
    """

    levels: tuple[str, ...]
    means: np.ndarray
    default: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    @property
    def names(self) -> list[str]:
        """What stands after the column's name in the names of the columns that are made of it."""
        k = len(self.default)
        return [" target mean"] if k == 1 else [f" target mean {i}" for i in range(k)]

    def write(self, codes: np.ndarray, levels: tuple[str, ...], out: np.ndarray) -> None:
        """Write the standardised means of codes (n,) into these levels to out (n, K)."""
        known = dict(zip(self.levels, self.means, strict=True))
        out[:] = self.scaled(np.array([*(known.get(level, self.default) for level in levels), self.default])[codes])

    def scaled(self, means: np.ndarray) -> np.ndarray:
        """Standardise means (n, K)."""
        return (means - self.centre) * self.scale


def learn_one_hot(codes: np.ndarray, levels: tuple[str, ...], most: int, rarest: int) -> OneHotCode:
    """Choose the levels that have a column: the `most` most frequent ones, of those with at least `rarest` rows.

    The others share a column if they have that many rows together. Two levels without a gap share one column.
    """
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    seen = sorted((-int(c), level) for c, level in zip(counts, levels, strict=True) if c)
    kept = [level for c, level in seen if -c >= rarest][:most]
    rest = [(c, level) for c, level in seen if level not in set(kept)]
    share = sum(-c for c, _ in rest) >= rarest and len(kept) > 0
    rare = tuple(level for _, level in rest) if share else ()
    gaps = bool((codes < 0).any())
    if len(kept) == 2 and not rest and not gaps:
        kept = kept[1:]
    return OneHotCode(tuple(sorted(kept)), rare, gaps)


def learn_target_means(
    codes: np.ndarray, levels: tuple[str, ...], y: np.ndarray, task: str, folds: int, seed: int
) -> tuple[TargetCode, np.ndarray]:
    """Return the encoding by the means of targets y (n,) or (n, K), and the means (n, K) of the training rows.

    These are cross-fitted, a row's mean being one of other rows, by scikit-learn's `TargetEncoder`; rows whose target
    is missing have the mean of all others of their level.
    """
    found = [_of_one_target(codes, column, task, folds, seed) for column in (y.T if y.ndim == 2 else [y])]
    used = np.unique(codes)
    means, default, fitted = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    centre, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    scale = np.where(deviation > 1e-12 * (1.0 + np.abs(centre)), 1.0 / np.where(deviation > 0, deviation, 1.0), 0.0)
    names = tuple(levels[code] for code in used if code >= 0)
    code = TargetCode(names, means[used >= 0], default, centre, scale)
    return code, code.scaled(fitted)


def _of_one_target(codes: np.ndarray, y: np.ndarray, task: str, folds: int, seed: int) -> list[np.ndarray]:
    """Return the means of the codes that occur, in order, the mean of all, and the cross-fitted means of the rows."""
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    kind: Any = "continuous"
    if task == "classification":
        kind = "binary" if len(np.unique(y)) <= 2 else "multiclass"

    def fitted_on(rows: np.ndarray) -> Any:
        return TargetEncoder(categories=[np.arange(-2.0, codes.max() + 1.0)], target_type=kind).fit(X[rows], y[rows])

    X, seen = codes[:, None].astype(np.float64), np.flatnonzero(~np.isnan(y))
    encoder = fitted_on(seen)
    fitted = encoder.transform(X)  # for rows without a target
    if len(seen) >= folds:
        for train, rest in KFold(folds, shuffle=True, random_state=seed).split(seen):
            if kind == "continuous" or len(np.unique(y[seen[train]])) == len(np.unique(y)):
                fitted[seen[rest]] = fitted_on(seen[train]).transform(X[seen[rest]])
    unknown = encoder.transform(np.array([[-2.0]]))  # a code that no row has
    return [encoder.transform(np.unique(codes)[:, None].astype(np.float64)), unknown[0], fitted]
