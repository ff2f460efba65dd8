"""What a step is said to cost, against what others count and what is measured while it runs."""

import gc
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from helpers import problem
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.complexity.counting import count, count_step, matrix_rate
from xbackprop.complexity.operations import operations
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import Objective, make_batch
from xbackprop.nn.parameters import Layout
from xbackprop.optim.optimizers import OPTIMIZERS, adam_step, momentum_step, sgd_step
from xbackprop.training.loop import train, train_alone
from xbackprop.training.plan import Plan, start_progress

DEEP = (48, *[64] * 12, 10)
widths = st.lists(st.integers(1, 40), min_size=2, max_size=7)


def make(backend, sizes, activation, checkpoint_every=0, loss="cross_entropy"):
    return Objective(
        backend,
        Layout(sizes),
        (ACTIVATIONS[activation],) * (len(sizes) - 2),
        LOSSES[loss],
        1e-4,
        checkpoint_every=checkpoint_every,
    )


@given(widths, st.integers(1, 300))
def test_the_products_are_the_papers_sum(sizes, m):
    """m Σ n_{l-1} n_l forward; backward as much for ∂C/∂W, and for δ all but the first layer's."""
    found = count(sizes, m)
    products = [m * a * b for a, b in pairwise(sizes)]
    assert found.forward.products == sum(products)
    assert found.backward.products == sum(products) + sum(products[1:])
    assert found.update.products == found.recompute.products == 0


@given(widths, st.integers(1, 60), st.sampled_from([None, 1, 2, 3, "sqrt"]))
def test_torch_counts_the_same_floating_point_operations(sizes, m, checkpoint_every):
    """Two for a multiply-add; with checkpointing those that come again, too."""
    torch = pytest.importorskip("torch", reason="its FlopCounterMode is the oracle")
    from torch.utils.flop_counter import FlopCounterMode

    found = count(sizes, m, checkpoint_activations=checkpoint_every, backend="torch")
    objective = make(backend_class("torch")(device="meta"), tuple(sizes), "relu", found.checkpoint_every)
    theta, X, y = (
        torch.empty(shape, device="meta") for shape in (objective.layout.n_parameters, (m, sizes[0]), (m, sizes[-1]))
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        objective.value_and_gradient(theta, make_batch(objective.backend, X, y))
    assert 2 * found.products == counter.get_total_flops()


def test_a_step_of_an_optimizer_has_the_operations_of_its_equation():
    """θ - ηg has two; v ← μv - ηg, θ + v four; Adam's three lines 4 + 5 + 5, √ and ÷ among them."""
    assert operations(sgd_step, 2, 0.1) == 2
    assert operations(momentum_step, 3, 0.1, 0.9) == 4
    assert operations(adam_step, 4, 0.1, 0.9, 0.999, 1e-8) == 3 + 4 + 5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_loss_can_be_counted(activation):
    f = ACTIVATIONS[activation]
    assert operations(f.f, 1) >= (activation != "identity")
    for loss in LOSSES.values():
        assert operations(loss.value_and_delta, 3) > 3


def test_what_cannot_be_counted_says_so():
    own = xbackprop.Activation(lambda xp, z: z @ z, lambda xp, z, h: z, name="mine")
    with pytest.raises(ValueError, match="its operations cannot be counted, it is not elementwise"):
        count((3, 4, 2), activation=own)


def peak(objective, optimizer, m, dtype, dropout):
    """Bytes that training for an epoch allocates at most, on top of what the user has."""
    backend, sizes, rng = objective.backend, objective.layout.sizes, RandomState(0)
    theta = (0.05 * rng.standard_normal(objective.layout.n_parameters)).astype(dtype)
    X, labels = rng.standard_normal((3 * m, sizes[0])).astype(dtype), rng.randint(0, sizes[-1], 3 * m)
    y = np.eye(sizes[-1], dtype=dtype)[labels]
    plan = Plan(optimizer, batch_size=m, max_iter=1, dropout=(0.2,) * (len(sizes) - 2) if dropout else ())

    def run():
        with backend.device_context():
            progress = start_progress(backend, plan, theta, RandomState(0))
            train_alone(train(objective, plan, theta, progress, len(X)), (X, y, None))

    run()  # scratch memory that is made once and kept
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


#: Large enough for Python's own objects not to count; on the generic backend also small enough for NumPy not to spare
#: temporaries, which another library would make.
SHAPES = {
    "numpy": [(DEEP, 512), ((100, 300, 200, 10), 400), ((20, 500, 3), 1000), ((200, 400, 10), 50)],
    "generic": [(DEEP, 200), ((100, 200, 150, 10), 200), ((20, 200, 3), 300)],
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "identity"])
@pytest.mark.parametrize("checkpoint_every", [0, 3])
@pytest.mark.parametrize("dropout", [False, True], ids=["", "dropout"])
def test_memory_is_what_the_allocator_sees(kind, activation, checkpoint_every, dropout):
    backend = backend_class("numpy")() if kind == "numpy" else backend_class("numpy")().generic()
    for sizes, m in SHAPES[kind]:
        objective = make(backend, sizes, activation, checkpoint_every)
        found = count_step(objective, OPTIMIZERS["adam"](), m, "float32", dropout)
        assert found.memory.total == pytest.approx(
            peak(objective, OPTIMIZERS["adam"](), m, "float32", dropout), rel=0.1
        )


@pytest.mark.parametrize("solver", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_with_every_solver_and_dtype(solver, dtype):
    objective = make(backend_class("numpy")(), (100, 300, 200, 10), "tanh")
    found = count_step(objective, OPTIMIZERS[solver](), 300, dtype)
    assert found.memory.total == pytest.approx(peak(objective, OPTIMIZERS[solver](), 300, dtype, False), rel=0.1)


def test_memory_does_not_grow_with_the_steps():
    objective = make(backend_class("numpy")(), (20, 30, 3), "tanh")
    backend, plan = objective.backend, Plan(OPTIMIZERS["adam"](), batch_size=5, max_iter=50, tol=0.0, patience=np.inf)
    rng = RandomState(0)
    theta, X = rng.standard_normal(objective.layout.n_parameters), rng.standard_normal((1000, 20))
    y = np.eye(3)[rng.randint(0, 3, 1000)]
    progress = start_progress(backend, plan, theta, rng)
    sizes = []
    tracemalloc.start()
    try:
        with backend.device_context():
            training = train(objective, plan, theta, progress, len(X), callback=lambda *_: sizes.append(_held()))
            train_alone(training, (X, y, None))
    finally:
        tracemalloc.stop()
    assert len(sizes) == 50  # of 200 steps each
    assert max(sizes[2:]) - sizes[1] < 48 * 200  # a byte a step: for each epoch its loss, and what is noted here


def _held():
    gc.collect()  # which also gives back what Python keeps for the next tuples
    return tracemalloc.get_traced_memory()[0]


def test_checkpointing_takes_memory_of_the_order_of_the_root_of_the_depth():
    """Four times as deep: four times the activations without it, twice with it."""
    depth = [count([64] * (L + 1), 1000, checkpoint_activations=None).memory.activations for L in (64, 256)]
    root = [count([64] * (L + 1), 1000, checkpoint_activations="sqrt").memory.activations for L in (64, 256)]
    assert depth[1] / depth[0] == pytest.approx(4, rel=0.05)
    assert root[1] / root[0] == pytest.approx(2, rel=0.1)


def test_a_network_says_what_its_own_steps_cost(backend):
    X, y = problem("classification", n=30)
    net = xbackprop.MLP((7, 6), "tanh", solver="sgd", momentum=0.0, batch_size=10, backend=backend, random_state=0)
    with pytest.raises(xbackprop.NotFittedError, match=r"MLP\.complexity"):
        net.complexity()
    found = net.initialize(X, y).complexity()
    assert (found.sizes, found.batch_size, found.dtype) == ((4, 7, 6, 3), 10, "float64")
    assert found.memory.state == 0
    assert net.complexity(20).forward.products == 2 * found.forward.products
    assert str(found).splitlines()[0] == "4-7-6-3, batches of 10, float64"
    with pytest.raises(ValueError, match=r"MLP\.complexity: batch_size must be a whole number of at least 1, got 0"):
        net.complexity(0)


def test_intensity_and_time():
    """One layer: three products, but for δ_0, so 2·2m n_0 n_1 operations on twice m n_0 + n_0 n_1 + m n_1 numbers."""
    m, a, b = 50, 30, 20
    found = count((a, b), m, dtype="float64")
    assert found.intensity == pytest.approx(2 * 2 * m * a * b / (8 * 2 * (m * a + a * b + m * b)))
    assert found.seconds(1e6) == pytest.approx(2 * m * a * b / 1e6)
    assert matrix_rate("numpy", "float64", n=64) > 0


@pytest.mark.parametrize(
    ("sizes", "how", "message"),
    [
        ((5,), {}, r"sizes must be at least 2 whole numbers, got \(5,\)"),
        ((5, 0), {}, r"sizes\[1\] must be a whole number of at least 1, got 0"),
        ((5, 2), {"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ((5, 2), {"activation": "reul"}, "activation must be one of .*, got 'reul'"),
        ((5, 2), {"solver": "lbfgs"}, "solver must be one of .*, got 'lbfgs'"),
        (
            (5, 2),
            {"checkpoint_activations": "all"},
            "checkpoint_activations must be a whole number, 'sqrt' or None, got 'all'",
        ),
        ((5, 2), {"checkpoint_activations": 0}, "checkpoint_activations must be a whole number of at least 1, got 0"),
        ((5, 2), {"dtype": "int8"}, "dtype must be"),
    ],
)
def test_bad_input_is_named(sizes, how, message):
    with pytest.raises(ValueError, match=rf"complexity\.count: {message}"):
        count(sizes, **how)
