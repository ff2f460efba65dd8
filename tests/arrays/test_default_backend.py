"""The backend of NumPy's arrays where none is named: NumPy, unless the process or its environment names another."""

import array_api_compat.numpy
import numpy as np
import pytest

import xbackprop
from xbackprop.arrays.discovery import VARIABLE, backend_class, get_backend

HOST = [np.zeros((2, 1)), [[0.0], [1.0]], None]


class Mine(xbackprop.Backend):
    """A backend of a third party, on NumPy's arrays."""

    name = "mine"

    def __init__(self, device=None):
        super().__init__(array_api_compat.numpy, device)


@pytest.fixture(autouse=True)
def one_more_backend(monkeypatch):
    from xbackprop.arrays import discovery

    monkeypatch.delenv(VARIABLE, raising=False)
    backend_class("numpy")  # is known from here on
    loaded = discovery._loaded
    monkeypatch.setattr(discovery, "_installed", lambda: {"numpy": None, "mine": None})
    monkeypatch.setattr(discovery, "_loaded", lambda name: Mine if name == "mine" else loaded(name))
    discovery._named.cache_clear()
    yield
    xbackprop.set_default_backend(None)
    discovery._named.cache_clear()


@pytest.mark.parametrize("like", HOST, ids=["array", "list", "nothing"])
def test_the_process_names_it_before_the_environment(like, monkeypatch):
    assert type(get_backend(None, like=like)) is backend_class("numpy")
    monkeypatch.setenv(VARIABLE, "mine")
    assert type(get_backend(None, like=like)) is Mine
    xbackprop.set_default_backend("numpy")
    assert type(get_backend(None, like=like)) is backend_class("numpy")
    xbackprop.set_default_backend(None)
    assert type(get_backend(None, like=like)) is Mine


def test_a_network_is_trained_with_it_and_stays_with_it():
    X, y = np.random.RandomState(0).standard_normal((20, 3)), [0, 1] * 10
    plain = xbackprop.MLP((4,), max_iter=2, random_state=0, tol=0).initialize(X, y)
    xbackprop.set_default_backend("mine")
    net = xbackprop.MLP((4,), random_state=0).initialize(X, y)
    assert type(net.model_.backend) is Mine
    assert type(plain.model_.backend) is not Mine
    xbackprop.set_default_backend(None)
    np.testing.assert_array_equal(net.partial_fit(X, y).predict(X).shape, (20,))
    assert type(net.model_.backend) is Mine


def test_what_is_named_and_what_belongs_to_another_library_is_not_touched():
    xbackprop.set_default_backend("mine")
    assert type(get_backend("numpy", like=HOST[0])) is backend_class("numpy")
    strict = pytest.importorskip("array_api_strict", reason="it stands for another library")
    assert get_backend(None, like=strict.zeros(2)).library == "array_api_strict"


def test_a_name_that_is_not_there_is_an_error_that_says_where_it_stands(monkeypatch):
    with pytest.raises(xbackprop.BackendError, match="unknown backend 'nump'"):
        xbackprop.set_default_backend("nump")
    assert type(get_backend(None)) is backend_class("numpy")
    monkeypatch.setenv(VARIABLE, "nump")
    with pytest.raises(xbackprop.BackendError, match="environment variable XBACKPROP_BACKEND=nump: backend: unknown"):
        xbackprop.MLP((3,), max_iter=1).fit([[0.0], [1.0]], [0, 1])
