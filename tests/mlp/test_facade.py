"""`MLP` as an object: subclasses, copies, pickles, and what it holds of the user's."""

import pickle
import tracemalloc

import numpy as np
import pytest
from helpers import problem

from xbackprop import MLP

pytestmark = pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
X, LABELS = problem("classification", n=40)


class Own(MLP):
    """With a method that a scoring function calls."""

    def doubled(self, X, y):
        return 2.0 * self.score(X, y)


def test_a_subclass_is_what_scoring_sees_and_load_gives(tmp_path):
    net = Own((4,), max_iter=3, early_stopping=True, scoring=lambda net, X, y: net.doubled(X, y), random_state=0)
    net.limit = 0.3
    net.fit(X, LABELS)
    assert max(net.validation_scores_) <= 2.0
    net.scoring = lambda net, X, y: net.score(X, y) - net.limit
    assert max(net.fit(X, LABELS).validation_scores_) <= 0.7
    net.scoring = None
    net.save(tmp_path / "net.safetensors")
    assert type(Own.load(tmp_path / "net.safetensors")) is Own


def test_settings_of_the_past_do_not_hinder_a_pickle():
    net = MLP((4,), max_iter=3, early_stopping=True, scoring=lambda net, X, y: 1.0, random_state=0).fit(X, LABELS)
    net.scoring = None
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))


def test_a_mapping_that_is_changed_after_fit_changes_no_file(tmp_path):
    weights = {0: 1.0, 1: 2.0}
    net = MLP((4,), max_iter=2, class_weight=weights, random_state=0).fit(X, LABELS)
    weights[7] = 3.0
    net.save(tmp_path / "net.safetensors")
    assert MLP.load(tmp_path / "net.safetensors").class_weight == {0: 1.0, 1: 2.0}


def test_early_stopping_holds_the_data_once():
    """Beside the user's table in float64 the parts in float32, and not the whole of it as well."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((20_000, 50)), rng.randint(2, size=20_000)
    held = []
    net = MLP((4,), max_iter=2, batch_size=1000, dtype="float32", early_stopping=True, random_state=0)
    tracemalloc.start()
    try:
        net.fit(X, y, callback=lambda epoch: held.append(tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert held[-1] < 1.5 * X.size * 4


def test_names_come_with_the_first_frame():
    pandas = pytest.importorskip("pandas", reason="frames are pandas's")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    net = MLP((4,), random_state=0).partial_fit(X, LABELS).partial_fit(frame, LABELS)
    assert net.feature_names_in_ == list("abcd")
    with pytest.raises(ValueError, match="columns"):
        net.partial_fit(frame[list("dcba")], LABELS)


@pytest.mark.parametrize("rows", [40, 3000], ids=["one chunk", "chunks"])
def test_a_nan_in_a_sparse_table_is_found_in_its_cell(rows, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are SciPy's")
    net = MLP((4,), max_iter=2, dtype="float32", random_state=0).fit(X, LABELS)
    monkeypatch.setattr(type(net.model_.backend), "prediction_chunk", 1)
    table = np.tile(X, (rows // 40, 1)) * (np.arange(4) != 1)
    for bad, says in ((np.nan, "nan"), (1e39, r"1e\+39 \(infinite in float32\)")):
        table[rows - 2, 2] = bad
        with pytest.raises(ValueError, match=rf"^MLP\.predict: X must be finite, got {says} at \({rows - 2}, 2\)"):
            net.predict(sparse.csr_matrix(table))
