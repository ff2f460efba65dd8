"""With the mandatory packages alone: what `nox -s minimal` runs where no torch, scikit-learn or rich is installed."""

import subprocess
import sys

SCRIPT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        absent = "torch cupy jax numba mpi4py sklearn scipy rich pandas matplotlib"
        if name.split(".")[0] in absent.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run(code):
    return subprocess.run([sys.executable, "-c", SCRIPT + code], capture_output=True, text=True)


def test_a_network_trains_checks_itself_and_is_saved(tmp_path):
    done = run(f"""
import numpy as np, xbackprop
X = np.random.RandomState(0).standard_normal((60, 4))
y = (X[:, 0] > 0).astype(int)
net = xbackprop.MLP((8,), "gelu", batch_size=10, max_iter=50, tol=0.0, n_iter_no_change=50, random_state=0,
                    learning_rate_init=0.02, backend="numpy").initialize(X, y)
assert net.gradient_check(X, y) < 1e-7
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
    net.fit(X, y)
assert net.score(X, y) > 0.9
path = {str(tmp_path / "net.safetensors")!r}
net.save(path)
assert (xbackprop.MLP.load(path).predict_proba(X) == net.predict_proba(X)).all()
print("trained")
""")
    assert done.stdout.strip() == "trained", done.stderr


def test_a_library_that_is_missing_is_named_with_what_to_install():
    for name, hint in (("torch", "pip install torch"), ("cupy", "pip install cupy-cuda12x")):
        done = run(f"import xbackprop; xbackprop.MLP(backend={name!r})")
        assert done.returncode != 0
        assert f"backend {name!r}" in done.stderr
        assert hint in done.stderr


def test_the_command_lists_what_is_there_and_why_the_rest_is_not():
    done = run("from xbackprop.cli.main import main; raise SystemExit(main(['backends']))")
    assert done.returncode == 0, done.stderr
    assert "numpy" in done.stdout
    assert "pip install torch" in done.stdout


def test_a_data_set_of_scikit_learn_says_what_to_install():
    done = run("from xbackprop.cli.main import main; raise SystemExit(main(['train', 'digits']))")
    assert done.returncode == 2
    assert "pip install scikit-learn" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_communicator_whose_library_is_missing_says_what_to_install():
    done = run("""
import xbackprop
for name in ("mpi", "torch", "jax"):
    try:
        xbackprop.MLP(communicator=name).fit([[0.0], [1.0]], [0, 1])
    except xbackprop.BackendError as error:
        print(error)
""")
    lines = done.stdout.splitlines()
    assert [line.split(" needs ")[0] for line in lines] == [
        f"communicator {name!r}" for name in ("mpi", "torch", "jax")
    ]
    assert all("pip install" in line for line in lines), done.stderr
