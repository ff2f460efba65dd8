"""`GridSearchCV` and its relatives: scikit-learn's, with the networks of all candidates and folds trained together.

scikit-learn asks for one fit after the other, and scores each. Here all are trained by `fit_many` before the first is
asked for, and the `fit` of the estimator that scikit-learn is shown hands them out. So splitting, scoring, ranking and
refitting are scikit-learn's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, Self

import numpy as np
from sklearn import model_selection
from sklearn.base import BaseEstimator, clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401, which makes the next import possible
from sklearn.model_selection import HalvingRandomSearchCV as HalvingSearch
from sklearn.pipeline import Pipeline

from xbackprop.estimators.base import BaseMLP
from xbackprop.mlp.many.fit_many import fit_nets
from xbackprop.mlp.many.tasks import Samples, take

Split = tuple[np.ndarray, np.ndarray]  # rows to train on, and rows to score


class _Splits:
    """Splits that were made already, as a splitter."""

    def __init__(self, splits: list[Split]) -> None:
        self.splits = splits

    def split(self, *samples: Any, **groups: Any) -> list[Split]:  # noqa: ARG002, they are made
        return self.splits


class _Together:
    """The part of a search that trains its networks together."""

    estimator: Any
    n_jobs: Any
    _checked_cv_orig: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train and score all candidates, then train the best on all rows, as scikit-learn's search does.

        The networks of all candidates and folds are trained as by `xbackprop.fit_many`, if the estimator is an
        `MLPClassifier`, an `MLPRegressor`, or a `Pipeline` that ends in one: then the steps before it are fitted once
        for each fold and each setting of theirs. With other estimators, and with other `params` than `groups` and a
        network's `sample_weight`, this is scikit-learn's search. `n_jobs` has no effect on networks, which take all
        cores; `joblib.parallel_config` sends them elsewhere.
        """
        own, jobs = self.estimator, self.n_jobs
        known = {"groups"} if isinstance(own, Pipeline) else {"sample_weight", "groups"}
        if not _is_ours(own) or params.keys() - known:
            return super().fit(X, y, **params)  # type: ignore[misc]
        groups = {name: params[name] for name in ("groups",) if name in params}
        self._search = _Search(f"{type(self).__name__}.fit", own, (X, y, params.get("sample_weight")), groups)
        try:
            self.estimator, self.n_jobs = self._search.handing_out(), None
            return super().fit(X, y, **params)  # type: ignore[misc]
        finally:
            self.estimator, self.n_jobs = own, jobs
            if hasattr(self, "best_estimator_"):
                self.best_estimator_.__class__ = type(own)
            del self._search

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None) -> None:
        """Train the networks of candidates before scikit-learn evaluates them."""

        def evaluate(candidates: Any, cv: Any = None, more_results: Any = None, **context: Any) -> Any:
            X, y, _ = self._search.table
            candidates, splits = (
                list(candidates),
                list((cv or self._checked_cv_orig).split(X, y, **self._search.groups)),
            )
            self._search.train(candidates, [train for train, _ in splits])
            return evaluate_candidates(candidates, _Splits(splits), more_results, **context)

        search = super()._run_search  # type: ignore[misc]
        context = {"callback_ctx": callback_ctx} if "callback_ctx" in signature(search).parameters else {}
        search(evaluate if hasattr(self, "_search") else evaluate_candidates, **context)

    def _format_results(self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None) -> Any:
        """Give each fit an equal share of the time that all took together."""
        if hasattr(self, "_search"):
            for result in out:
                result["fit_time"] = max(result["fit_time"], self._search.seconds)
        return super()._format_results(candidate_params, n_splits, out, more_results)  # type: ignore[misc]


def _is_ours(estimator: Any) -> bool:
    """Return whether an estimator is a network, or a pipeline that ends in one."""
    return isinstance(estimator, BaseMLP) or (type(estimator) is Pipeline and isinstance(estimator[-1], BaseMLP))


class _Search:
    """The networks of a search.

    where : the user's call. estimator : the user's own. table : X, y and the weights or None.
    groups : for the splitter.
    """

    def __init__(self, where: str, estimator: Any, table: Samples, groups: dict[str, Any]) -> None:
        self.where, self.estimator, self.table, self.groups = where, estimator, table, groups
        self.trained: list[Any] = []  # estimators that are trained, or the error of each, in the order of scikit-learn
        self.seconds = 0.0  # for each of them
        self._transformed: dict[Any, tuple[list[Any], Samples]] = {}
        self._candidates: list[Any] = []

    def handing_out(self) -> BaseEstimator:
        """Return the estimator as one of a subclass whose `fit` takes over the next of the trained ones.

        Without any left, which is when scikit-learn trains the best on all rows, it trains as ever.
        """
        kind, trained = type(self.estimator), self.trained

        def fit(own: Any, X: Any, y: Any = None, **parameters: Any) -> Any:
            if not trained:
                return kind.fit(own, X, y, **parameters)
            ready = trained.pop(0)
            if isinstance(ready, Exception):
                raise ready
            vars(own).update(vars(ready))
            return own

        shown = type(kind.__name__, (kind,), {"fit": fit, "__module__": kind.__module__})
        return shown(**self.estimator.get_params(deep=False))

    def train(self, candidates: Sequence[dict[str, Any]], folds: Sequence[np.ndarray]) -> None:
        """Train a network for each candidate on the rows of each fold."""
        began = time.perf_counter()
        self._candidates.append(candidates)  # whose values are recognised by their place in memory
        self._transformed.clear()
        found: list[Any] = []
        together: list[tuple[int, Any, Any]] = []  # the place among those found, the network, and its rows or samples
        for parameters in candidates:
            for j, rows in enumerate(folds):
                try:
                    estimator, given = self._prepared(parameters, j, rows)
                    if given is not None:
                        net = estimator[-1] if isinstance(estimator, Pipeline) else estimator
                        net.__trainable__(self.where)  # which checks its settings
                        together.append((len(found), net, given))
                except Exception as error:
                    estimator = error
                found.append(estimator)
        self._train_together(found, together)
        self.trained[:] = found
        self.seconds = (time.perf_counter() - began) / max(1, len(found))

    def _train_together(self, found: list[Any], together: Sequence[tuple[int, Any, Any]]) -> None:
        """Train the networks; where one fails, its error takes the place of the estimator."""
        failures: dict[int, Exception] = {}
        if together:
            places, nets, given = zip(*together, strict=True)
            if isinstance(self.estimator, Pipeline):
                fit_nets(self.where, nets, (None, None, None), data=given, failures=failures)
            else:
                fit_nets(self.where, nets, self.table, rows=given, failures=failures)
            for k, error in failures.items():
                found[places[k]] = error

    def _prepared(self, parameters: dict[str, Any], j: int, rows: np.ndarray) -> tuple[Any, Any]:
        """Return the estimator of a candidate, and what its network is to be trained on: the rows, or after a
        pipeline's other steps X, y and the weights. An estimator that does not end in a network is returned trained.
        """
        estimator = clone(self.estimator).set_params(**clone(parameters, safe=False))
        if not _is_ours(estimator):
            X, y, weight = (take(x, rows) for x in self.table)
            return estimator.fit(X, y, **({} if weight is None else {"sample_weight": weight})), None
        if not isinstance(estimator, Pipeline):
            return estimator, rows
        last = estimator.steps[-1]
        mine = ((name, id(value)) for name, value in parameters.items() if not name.startswith(f"{last[0]}__"))
        key = (j, *sorted(mine))
        if key not in self._transformed:
            X, y, weight = (take(x, rows) for x in self.table)
            front = Pipeline([*estimator.steps[:-1], (last[0], "passthrough")])
            X = front.fit_transform(X, y)
            self._transformed[key] = front.steps[:-1], (X, y, weight)
        steps, table = self._transformed[key]
        estimator.steps = [*steps, last]
        return estimator, table


class GridSearchCV(_Together, model_selection.GridSearchCV):
    """`sklearn.model_selection.GridSearchCV`, with the same parameters and results, and all networks trained together.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import xbackprop
    >>> X, y = load_iris(return_X_y=True)
    >>> net = xbackprop.MLPClassifier((16,), solver="lbfgs", random_state=0)
    >>> search = GridSearchCV(net, {"alpha": [0.01, 10.0]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'alpha': 0.01}
    """


class RandomizedSearchCV(_Together, model_selection.RandomizedSearchCV):
    """`sklearn.model_selection.RandomizedSearchCV`, with all networks trained together; see `GridSearchCV`."""


class HalvingRandomSearchCV(_Together, HalvingSearch):
    """`sklearn.model_selection.HalvingRandomSearchCV`, with the networks of a round trained together."""
