"""A compiled epoch ends where the generic steps end, whatever the steps do; those it cannot compile are looped over."""

import importlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_objective, problem, random_theta, workers_of_a_step
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.nn.parameters import Layout
from xbackprop.optim.optimizers import SGD, Adagrad, Adam, RMSProp
from xbackprop.training.step import Step, StepNumbers

pytest.importorskip("numba", reason="numba is not installed")
compiled = importlib.import_module("xbackprop_numba.backend")
tracing = importlib.import_module("xbackprop_numba.tracing")

pytestmark = pytest.mark.backends("numba")

OPTIMIZERS = (Adam(), SGD(momentum=0.0), SGD(), SGD(nesterovs_momentum=False), RMSProp(), Adagrad())
ETA, ROWS, BATCH = 1e-3, 40, 20


def run(step, theta, samples, rows):
    """θ and moments after steps on these rows (m, n), and the costs, all in NumPy's arrays."""
    backend = step.objective.backend
    state = step.optimizer.start(backend, theta)
    moments = [0.1 + m for m in state.moments]  # for Adagrad: a first step of g/|g| knows no small g
    m = len(rows)
    at = StepNumbers(np.full(m, ETA), np.full(m, 0.1 * ETA), np.arange(m), np.full(m, 7))
    with backend.device_context():
        (theta, moments), costs = backend.compile(step)((backend.copy(theta), moments), samples, rows, at, None)
    return [np.asarray(a) for a in (theta, *moments)], np.array(costs, np.float64)


def both(step, dtype="float64", epochs=1, weighted=False, workers=1):
    """The results of the compiled epoch, and of the generic functions in a loop; of one step, or of some epochs."""
    backend, sizes = step.objective.backend, step.objective.layout.sizes
    rng = RandomState(0)
    X, y = rng.standard_normal((ROWS, sizes[0])).astype(dtype), rng.uniform(0, 1, (ROWS, sizes[-1])).astype(dtype)
    samples = (X, y, rng.uniform(0, 2, ROWS).astype(dtype) if weighted else None)
    for a in (X, y):
        a.flags.writeable = False
    rows = np.concatenate([rng.permutation(ROWS) for _ in range(epochs)]).reshape(-1, BATCH)
    rows = rows[:1] if epochs == 1 else rows
    theta = random_theta(step.objective).astype(dtype)
    generic = replace(step, objective=replace(step.objective, backend=backend.generic()))
    assert not compiled.why_not(step)
    with workers_of_a_step(workers):
        ours = run(step, theta, samples, rows)
    return ours, run(generic, theta, samples, rows)


@pytest.fixture(scope="module")
def numba_backend():
    return backend_class("numba")()


def make_step(backend, hidden, loss, optimizer, l1_ratio, clip, decays, drops, sizes=(5, 7, 4, 3)):
    objective = replace(
        make_objective(backend, sizes), hidden=tuple(ACTIVATIONS[name] for name in hidden), loss=LOSSES[loss],
        alpha=0.0 if l1_ratio is None else 0.1, l1_ratio=l1_ratio or 0.0,
    )  # fmt: skip
    return Step(objective, optimizer, clip, decays, (0.3, 0.0) if drops else ())


anything = {
    "hidden": st.tuples(*[st.sampled_from(sorted(ACTIVATIONS))] * 2),
    "loss": st.sampled_from(sorted(LOSSES)),
    "optimizer": st.sampled_from(OPTIMIZERS),
    "l1_ratio": st.sampled_from([None, 0.0, 0.3, 1.0]),
    "clip": st.sampled_from([None, 0.05, 100.0]),
    "decays": st.booleans(),
    "drops": st.booleans(),
}


@settings(max_examples=10)  # each compiles for some seconds
@given(
    **anything,
    weighted=st.booleans(),
    workers=st.sampled_from((1, 2, 3, 7)),
    sizes=st.sampled_from([(5, 7, 4, 3), (5, 7, 33, 3), (5, 50, 33, 3)]),
)  # of which some are wider than the batch
def test_a_step_is_the_generic_step(weighted, workers, sizes, **how):
    step = make_step(backend_class("numba")(), **how, sizes=sizes)
    (ours, our_costs), (theirs, their_costs) = both(step, weighted=weighted, workers=workers)
    np.testing.assert_allclose(our_costs, their_costs, rtol=10 * np.finfo(float).eps * ROWS)
    for a, b in zip(ours, theirs, strict=True):
        for w, bias in step.objective.layout.slices():
            for part in (w, bias):
                assert np.abs(a[part] - b[part]).max() <= 10 * np.finfo(float).eps * np.abs(b[part]).max()


#: All activations, two to a program.
PAIRS = [sorted(ACTIVATIONS)[i : i + 2] for i in range(0, len(ACTIVATIONS), 2)]


@pytest.mark.parametrize(("hidden", "dtype", "bound"), [(pair, "float64", 1e-9) for pair in PAIRS]
                         + [(pair, "float32", 1e-4) for pair in PAIRS[::3]])  # fmt: skip
def test_twenty_epochs_end_where_the_generic_steps_end(numba_backend, hidden, dtype, bound):
    step = make_step(numba_backend, (*hidden, hidden[0])[:2], "cross_entropy", Adam(), 0.0, None, False, False)
    (ours, our_costs), (theirs, their_costs) = both(step, dtype, epochs=20)
    np.testing.assert_allclose(our_costs, their_costs, rtol=bound)
    if dtype == "float64":
        np.testing.assert_allclose(ours[0], theirs[0], atol=bound)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_an_update_has_the_bits_of_the_generic_one(numba_backend, optimizer):
    """With one row and one weight to a unit, products have one term and no order of summation."""
    step = make_step(numba_backend, (), "squared_error", optimizer, 0.0, None, True, False, sizes=(1, 1))
    rows = np.arange(ROWS).reshape(-1, 1)
    X, y = RandomState(0).standard_normal((2, ROWS, 1)).astype("float32")
    generic = replace(step, objective=replace(step.objective, backend=numba_backend.generic()))
    theta = np.array([0.3, -0.2], "float32")
    (ours, _), (theirs, _) = (run(s, theta, (X, y, None), rows) for s in (step, generic))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_functions_of_ones_own_are_compiled(numba_backend):
    softsign = Activation(lambda xp, z: z / (1 + xp.abs(z)), lambda xp, z, h: 1 / (1 + xp.abs(z)) ** 2, "softsign")

    def log_cosh(xp, z, y, share):
        return xp.sum(share * xp.log(xp.cosh(z - y)), axis=(-2, -1)), share * xp.tanh(z - y)

    step = make_step(numba_backend, ("tanh", "relu"), "squared_error", Adam(), None, None, False, False)
    own = replace(step.objective, hidden=(softsign, softsign), loss=Loss(log_cosh, lambda xp, z: z, "log_cosh"))
    (ours, _), (theirs, _) = both(replace(step, objective=own), epochs=3)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)


def test_a_function_that_cannot_be_traced_takes_the_loop_and_says_why(numba_backend):
    def f(xp, z):
        return xp.tanh(z) if xp.any(z > 0) else xp.sinh(z) / xp.cosh(z)

    branching = Activation(f, ACTIVATIONS["tanh"].df, "branching")
    step = make_step(numba_backend, ("tanh", "tanh"), "squared_error", Adam(), None, None, False, False)
    other = replace(step, objective=replace(step.objective, hidden=(branching, branching)))
    assert "any" in compiled.why_not(other)
    X, y = problem("regression", n=ROWS, features=5)
    rows = np.arange(ROWS).reshape(-1, 8)
    (looped, _), (whole, _) = (run(s, random_theta(s.objective), (X, y, None), rows) for s in (other, step))
    np.testing.assert_allclose(looped[0], whole[0], rtol=1e-10)


def test_a_loss_that_can_be_traced_without_weights_alone_takes_the_loop(numba_backend):
    def unweighted(xp, z, y, share):
        residual = z - y
        return share * xp.sum(residual * residual, axis=(-2, -1)), 2.0 * share * residual

    step = make_step(numba_backend, ("tanh", "tanh"), "mean_squared_error", Adam(), None, None, False, False)
    own = replace(step.objective, loss=Loss(unweighted, lambda xp, z: z, "unweighted"))
    other = replace(step, objective=own)
    assert compiled.why_not(other)
    assert numba_backend.not_compiled(other) == compiled.why_not(other)
    assert not numba_backend.not_compiled(step)
    X, y = problem("regression", n=ROWS, features=5)
    rows = np.arange(ROWS).reshape(-1, 8)
    (looped, _), (whole, _) = (run(s, random_theta(s.objective), (X, y, None), rows) for s in (other, step))
    np.testing.assert_allclose(looped[0], whole[0], rtol=1e-10)


def test_verbose_says_why_steps_are_not_compiled(numba_backend, capsys):
    branching = Activation(lambda xp, z: xp.tanh(z) if xp.any(z > 0) else z, ACTIVATIONS["tanh"].df, "branching")
    X, y = problem("regression", n=ROWS, features=5)
    for activation in ("tanh", branching):
        net = xbackprop.MLP((3,), activation, task="regression", max_iter=1, verbose=True, backend=numba_backend)
        with pytest.warns(xbackprop.ConvergenceWarning):
            net.fit(X, y)
    said = [line for line in capsys.readouterr().out.splitlines() if "one by one" in line]
    assert len(said) == 1
    assert said[0].startswith("MLP.fit: steps are taken one by one: a function of the step cannot be traced: ")


def test_another_width_depth_rate_or_strength_compiles_nothing(numba_backend):
    step = make_step(numba_backend, ("relu", "relu"), "cross_entropy", Adam(), 0.0, None, False, False)
    both(step)
    program, _ = compiled.program_of(compiled._kind(step, "float64", False))
    before = len(program.run_steps.signatures)
    for sizes in ((3, 4, 2), (9, 8, 7, 6, 5)):
        wider = replace(step.objective, layout=Layout(sizes), hidden=(ACTIVATIONS["relu"],) * (len(sizes) - 2))
        other = replace(step, objective=replace(wider, alpha=0.7), optimizer=Adam(beta_1=0.5))
        both(other)
        assert compiled.program_of(compiled._kind(other, "float64", False))[0] is program
    assert len(program.run_steps.signatures) == before == 1


def test_programs_are_kept_on_the_disk_and_only_so_many(numba_backend, tmp_path, monkeypatch):
    program = importlib.import_module("xbackprop_numba.program")
    monkeypatch.setattr(program, "_folder", lambda: tmp_path)
    monkeypatch.setattr(program, "KEPT", 3)
    for i in range(5):
        assert program._loaded.__wrapped__(f"number = {i}\n").number == i
    assert len(list(tmp_path.glob("*.py"))) == 3
    kept = sorted(tmp_path.glob("*.py"), key=lambda path: path.stat().st_mtime)[-1]
    kept.write_text("number = 'changed by somebody'\n")
    assert program._loaded.__wrapped__("number = 4\n").number == 4  # what is run is what was written


def test_a_cache_that_cannot_be_written_does_not_stop_training(tmp_path):
    (tmp_path / "xbackprop").write_text("a file where the folder would be")
    code = (
        "import numpy as np, warnings, xbackprop; warnings.simplefilter('ignore');"
        "net = xbackprop.MLP((3,), max_iter=2, random_state=0, backend='numba');"
        "print(net.fit(np.eye(4), [0, 1, 0, 1]).n_iter_)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "2", done.stderr


def test_a_trace_takes_pythons_numbers_in_the_dtype_of_the_arrays():
    """float32(0.1)·z and not 0.1·z in float64: what the array API says of Python's numbers."""
    value = tracing.trace(lambda xp, z: 0.1 * z, tracing.Value("z", level=tracing.ELEMENT))
    before, lines, (name,) = tracing.elementwise([value], 1)
    assert before == ["    c1 = real(0.1)"]
    assert lines == [f"    {name} = (c1 * z)"]
