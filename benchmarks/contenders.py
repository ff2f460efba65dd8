"""The contenders of the benchmark of training steps: one function for each, which returns an epoch of steps to time.

All take the same batches of the same data: relu, softmax cross-entropy, an L2 penalty α/(2n) Σ‖W‖² on the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

#: Layer widths and batch size.
NETS: dict[str, tuple[tuple[int, ...], int]] = {
    "64-32-10": ((64, 32, 10), 32),
    "30-100-2": ((30, 100, 2), 200),
    "64-100-10": ((64, 100, 10), 200),
    "784-256-128-10": ((784, 256, 128, 10), 128),
    "784-512-512-10": ((784, 512, 512, 10), 256),
    "1024-2048-2048-1024-10": ((1024, 2048, 2048, 1024, 10), 512),
    "20 × 256": ((256, *[256] * 20, 10), 256),
    "4096-wide": ((1024, 4096, 4096, 10), 256),
}
SMALL, LARGE = list(NETS)[:3], list(NETS)[3:6]
SIX = SMALL + LARGE
ALPHA, ETA = 1e-4, 1e-3

Work = Callable[[], int]


def steps_in(sizes: tuple[int, ...], gpu: bool = False) -> int:
    """Return the steps in one timed epoch: enough for the clock, and on a GPU to hide the start of an epoch."""
    weights = sum(a * b for a, b in pairwise(sizes))
    return max(100, min(400, int(2e7 / weights))) if gpu else max(3, min(1000, int(2e7 / weights)))


def data(net: str, dtype: str, gpu: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw standard normal inputs and random labels, since the data do not change the time of a step."""
    sizes, batch_size = NETS[net]
    rng = np.random.RandomState(0)
    n = batch_size * steps_in(sizes, gpu)
    return rng.standard_normal((n, sizes[0])).astype(dtype), rng.randint(0, sizes[-1], n)


def xbackprop_epoch(
    net: str, dtype: str, backend: str, solver: str = "adam", alpha: float = ALPHA, stack: int | None = None
) -> Work:
    """Train one network, or a stack of so many, each on batches of its own."""
    from xbackprop.arrays.discovery import get_backend
    from xbackprop.nn.activations import ACTIVATIONS
    from xbackprop.nn.losses import LOSSES
    from xbackprop.nn.objective import Objective
    from xbackprop.nn.parameters import Layout
    from xbackprop.optim.optimizers import SGD, Adam
    from xbackprop.training.step import Step, StepNumbers, read_epoch, run_epoch

    sizes, batch_size = NETS[net]
    name, _, device = backend.partition(":")
    X, labels = data(net, dtype, gpu=name == "cupy" or "cuda" in device)
    rng = np.random.RandomState(1)
    library = _compiled_torch(device) if name == "torch-compiled" else get_backend(name, device or None)
    layout = Layout(sizes)
    objective = Objective(library, layout, (ACTIVATIONS["relu"],) * (len(sizes) - 2), LOSSES["cross_entropy"], alpha)
    optimizer = Adam() if solver == "adam" else SGD(momentum=0.0)
    step = Step(objective, optimizer)
    with library.device_context():
        samples = library.asarray(X), library.asarray(np.eye(sizes[-1], dtype=dtype)[labels]), None
        shape = (*([stack] if stack else []), layout.n_parameters)
        theta = library.copy(library.asarray((0.03 * rng.standard_normal(shape)).astype(dtype)))
        state, workspace = optimizer.start(library, theta), objective.workspace(theta, batch_size)

    def epoch() -> int:
        nonlocal theta, state
        order = np.stack([rng.permutation(len(X)) for _ in range(stack)]) if stack else rng.permutation(len(X))
        with library.device_context():
            theta, state, costs, rows = run_epoch(
                step, theta, state, samples, batch_size, order,
                lambda _, t, m: StepNumbers(optimizer.rate(np.arange(t + 1, t + m + 1), ETA) + np.zeros(m)), workspace,
            )  # fmt: skip
            read_epoch(library, theta, costs, rows)
        return len(rows)

    return epoch


def _compiled_torch(device: str) -> Any:
    from xbackprop_torch_compiled import CompiledTorchBackend

    return CompiledTorchBackend(device or None)


def sklearn_epoch(net: str, dtype: str) -> Work:
    from sklearn.neural_network import MLPClassifier

    sizes, batch_size = NETS[net]
    X, labels = data(net, dtype)
    classifier = MLPClassifier(sizes[1:-1], batch_size=batch_size, alpha=ALPHA, random_state=1)
    classes = np.arange(sizes[-1])

    def epoch() -> int:
        classifier.partial_fit(X, labels, classes=classes)  # one pass over X in minibatches
        return steps_in(sizes)

    return epoch


def _torch_model(sizes: tuple[int, ...], dtype: Any, device: str) -> Any:
    import torch

    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out, dtype=dtype), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(device)


def _torch_adam(named: dict[str, Any], batch_size: int) -> Any:
    """Return torch's fused Adam with the penalty on the weights."""
    import torch

    weights = [p for name, p in named.items() if name.endswith("weight")]
    biases = [p for name, p in named.items() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": ALPHA / batch_size}, {"params": biases}]
    return torch.optim.Adam(groups, lr=ETA, fused=True)


def torch_epoch(net: str, dtype: str, device: str = "cpu", compiled: bool = False) -> Work:
    """Train with `nn.Sequential`, autograd and torch's fused Adam, or with passes through `torch.compile`, which are
    CUDA graphs on a GPU.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    sizes, batch_size = NETS[net]
    gpu = device != "cpu"
    X, y = (torch.from_numpy(a).to(device) for a in data(net, dtype, gpu))
    model = _torch_model(sizes, X.dtype, device)
    optimizer = _torch_adam(dict(model.named_parameters()), batch_size)

    def loss_of(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(x), labels)

    forward = torch.compile(loss_of, mode="reduce-overhead" if gpu else None) if compiled else loss_of

    def epoch() -> int:
        for rows in torch.randperm(len(X), device=device).split(batch_size):
            optimizer.zero_grad()
            loss = forward(X[rows], y[rows])
            loss.backward()
            optimizer.step()
        loss.item()
        return steps_in(sizes, gpu)

    return epoch


def torch_stack_epoch(net: str, dtype: str, stack: int, device: str) -> Work:
    """Train as many networks at once by `torch.func`: `stack_module_state`, and `vmap` of the gradient."""
    import torch
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap

    torch.set_float32_matmul_precision("highest")
    sizes, batch_size = NETS[net]
    gpu = device != "cpu"
    X, y = (torch.from_numpy(a).to(device) for a in data(net, dtype, gpu))
    models = [_torch_model(sizes, X.dtype, device) for _ in range(stack)]
    parameters, _ = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    optimizer = _torch_adam(parameters, batch_size)

    def loss_of(parameters: dict[str, torch.Tensor], x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(functional_call(skeleton, parameters, (x,)), labels)

    gradient = vmap(grad_and_value(loss_of))

    def epoch() -> int:
        order = torch.rand(stack, len(X), device=device).argsort(dim=1)
        for rows in order.split(batch_size, dim=1):
            gradients, losses = gradient({name: p.detach() for name, p in parameters.items()}, X[rows], y[rows])
            for name, p in parameters.items():
                p.grad = gradients[name]
            optimizer.step()
        losses.sum().item()
        return steps_in(sizes, gpu)

    return epoch


def optax_epoch(net: str, dtype: str, gpu: bool = False) -> Work:
    """Train with `jax.grad` and optax's Adam in one jitted scan over the epoch, the carry donated."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32, as in torch and CuPy
    sizes, batch_size = NETS[net]
    X, y = map(jnp.asarray, data(net, dtype, gpu))
    rng = np.random.RandomState(1)
    layers = [(jnp.asarray(0.03 * rng.standard_normal(s), dtype), jnp.zeros(s[1], dtype)) for s in pairwise(sizes)]
    adam = optax.adam(ETA)

    def loss(layers: list, x: jax.Array, labels: jax.Array) -> jax.Array:
        h = x
        for W, b in layers[:-1]:
            h = jax.nn.relu(h @ W + b)
        W, b = layers[-1]
        costs = optax.softmax_cross_entropy_with_integer_labels(h @ W + b, labels)
        return costs.mean() + 0.5 * ALPHA / batch_size * sum(jnp.vdot(W, W) for W, _ in layers)

    def step(carry: tuple, rows: jax.Array) -> tuple:
        layers, state = carry
        cost, gradient = jax.value_and_grad(loss)(layers, X[rows], y[rows])
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(layers, updates), state), cost

    run = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows), donate_argnums=0)
    carry = (layers, adam.init(layers))

    def epoch() -> int:
        nonlocal carry
        rows = rng.permutation(len(X)).reshape(-1, batch_size)
        carry, costs = run(carry, rows)
        np.asarray(costs)
        return len(rows)

    return epoch


def nerva_epoch(net: str) -> Work:
    """Train with nerva-numpy, the same derivation in NumPy: plain SGD, no penalty, float32."""
    from nerva_numpy.loss_functions import parse_loss_function
    from nerva_numpy.multilayer_perceptron import parse_multilayer_perceptron

    sizes, batch_size = NETS[net]
    X, labels = data(net, "float32")
    T = np.eye(sizes[-1], dtype="float32")[labels]
    rng, depth = np.random.RandomState(1), len(sizes) - 1
    kinds = ["ReLU"] * (depth - 1) + ["Linear"]
    model = parse_multilayer_perceptron(kinds, list(sizes), ["GradientDescent"] * depth, ["XavierUniform"] * depth)
    loss = parse_loss_function("SoftmaxCrossEntropy")

    def epoch() -> int:
        for rows in rng.permutation(len(X)).reshape(-1, batch_size):
            Y = model.feedforward(X[rows])
            model.backpropagate(Y, loss.gradient(Y, T[rows]) / batch_size)
            model.optimize(ETA)
        return steps_in(sizes)

    return epoch


def products(net: str, dtype: str, library: str = "numpy") -> Work:
    """Compute only the matrix products of steps, over new rows of X each time, into arrays that exist already."""
    sizes, n = NETS[net]
    rng = np.random.RandomState(0)
    X, _ = data(net, dtype)
    W = [rng.standard_normal(shape).astype(dtype) for shape in pairwise(sizes)]
    h = [rng.standard_normal((n, size)).astype(dtype) for size in sizes]
    if library == "torch":
        import torch

        X, W, h = torch.from_numpy(X), [torch.from_numpy(a) for a in W], [torch.from_numpy(a) for a in h]
        matmul, like = torch.matmul, torch.empty_like
    else:
        matmul, like = np.matmul, np.empty_like
    z, gradients = [like(a) for a in h], [like(a) for a in W]

    def steps() -> int:
        for step in range(steps_in(sizes)):
            h[0] = X[step * n : (step + 1) * n]
            for l in range(len(W)):
                matmul(h[l], W[l], out=z[l + 1])
            for l in reversed(range(len(W))):
                matmul(h[l].T, h[l + 1], out=gradients[l])
                if l > 0:
                    matmul(h[l + 1], W[l].T, out=z[l])
        return steps_in(sizes)

    return steps
