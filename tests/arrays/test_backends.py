"""How a backend is found, what it refuses, and the door that third parties use."""

import os
import subprocess
import sys
import textwrap

import array_api_compat.numpy
import numpy as np
import pytest
from helpers import make_backend

import xbackprop
from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class, backend_names, backend_of, get_backend, library_of, transfer

BACKEND = textwrap.dedent("""
    import array_api_strict
    from xbackprop import Backend


    class Strict(Backend):
        name = "array_api_strict"

        def __init__(self, device=None):
            super().__init__(array_api_strict, device)
""")


def test_the_three_are_installed():
    assert {"numpy", "torch", "cupy"} <= set(backend_names())


def test_none_follows_the_library_of_X():
    assert type(get_backend(None, like=np.ones(2))) is backend_class("numpy")
    assert type(get_backend(None, like=[[1.0]])) is backend_class("numpy")
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    followed = get_backend(None, like=strict.ones(2, device=strict.Device("device1")))
    assert (followed.xp, followed.device) == (strict, strict.Device("device1"))


def test_torch_is_followed_to_its_device():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    meta = torch.ones(2, device="meta")
    assert get_backend(None, like=meta).device == torch.device("meta")
    assert get_backend("torch", like=meta).device == torch.device("meta")
    assert get_backend("torch", device="cpu", like=meta).device == torch.device("cpu")
    assert get_backend("torch", like=np.ones(2)).device == torch.device("cpu")


def test_an_instance_is_itself():
    backend = Backend(array_api_compat.numpy)
    assert get_backend(backend) is backend
    with pytest.raises(xbackprop.BackendError, match=r"device: .* has its own device"):
        get_backend(backend, device="elsewhere")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(xbackprop.BackendError, match=r"unknown backend 'numpi'; expected one of: .*numpy.*torch"):
        xbackprop.MLP(backend="numpi")


@pytest.mark.parametrize("device", ["cuda", 0])
def test_numpy_has_no_device_but_the_cpu(device):
    with pytest.raises(xbackprop.BackendError, match=f"device: NumPy has no device but 'cpu', got {device!r}"):
        xbackprop.MLP(backend="numpy", device=device).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("device", ["cuda:99", "nowhere"])
def test_torch_says_which_device_is_not_there(device):
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(xbackprop.BackendError, match=f"device: torch has no device {device!r} here"):
        xbackprop.MLP(backend="torch", device=device).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.backends("torch-cuda")
def test_what_comes_to_the_host_is_whole_when_it_is_there():
    """torch can hand out memory of the host that a GPU, which has work before it, is yet to fill."""
    on_gpu, on_host = make_backend("torch-cuda"), backend_class("torch")(device="cpu")
    x = on_gpu.xp.ones((4096, 4096), device=on_gpu.device)
    for _ in range(50):
        x = x @ x / 4096.0
    assert float(on_host.asarray(x[:100, :100]).min()) == 1.0


def test_arrays_go_there_and_back(backend):
    x = np.arange(12.0).reshape(3, 4)
    there = backend.asarray(x, "float32")
    assert library_of(there) == backend.library
    back = backend.to_host(there)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(backend.to_host(transfer(there, backend, backend, "float64")), x)


@pytest.mark.parametrize("awkward", ["reversed", "fortran", "read-only", "big-endian", "float16", "strided"])
def test_arrays_of_every_make_go_there(backend, awkward):
    x = np.arange(12.0).reshape(3, 4)
    made = {
        "reversed": x[::-1],
        "fortran": np.asfortranarray(x),
        "read-only": np.broadcast_to(x, x.shape),
        "big-endian": x.astype(">f8"),
        "float16": x.astype(np.float16),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
    }[awkward]
    np.testing.assert_array_equal(backend.to_host(backend.asarray(made, "float64")), made)


def test_a_copy_shares_no_memory(backend):
    x = backend.asarray(np.ones(3))
    y = backend.copy(x)
    host = np.array(backend.to_host(x))
    try:
        y[...] = 2.0
    except (ValueError, TypeError):
        return  # an array that cannot be written shares nothing that could be
    np.testing.assert_array_equal(backend.to_host(x), host)


def test_following_a_table_leads_to_numpy():
    assert backend_of({"a": 1}).library == "numpy"


def test_a_backend_of_another_distribution_comes_in_by_the_entry_point(tmp_path):
    """A distribution of a third party: a module and an entry point, on the path of a new process."""
    pytest.importorskip(
        "array_api_strict", reason="array-api-strict, the library behind that backend, is not installed"
    )
    (tmp_path / "thirdparty_backend.py").write_text(BACKEND)
    info = tmp_path / "thirdparty_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xbackprop.backends]\narray_api_strict = thirdparty_backend:Strict\n")
    code = textwrap.dedent("""
        import array_api_strict as xp, numpy as np, warnings, xbackprop
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        X, y = np.random.RandomState(0).standard_normal((30, 3)), np.arange(30) % 2
        names = ("array_api_strict", "numpy")
        nets = [xbackprop.MLP((4,), max_iter=5, backend=b, random_state=0).fit(X, y) for b in names]
        assert type(nets[0].coefs_[0]) is xp._array_object.Array
        for a, b in zip(nets[0].coefs_, nets[1].coefs_):
            np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=1e-9)
        followed = xbackprop.MLP((4,), max_iter=1).fit(xp.asarray(X), y)  # None follows X there, too
        print(type(followed._model.objective.backend).__module__)
    """)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path, "PATH": ""}
    )
    assert out.stdout.strip() == "thirdparty_backend", out.stderr
