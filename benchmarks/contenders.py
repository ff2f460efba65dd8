"""What takes part in the benchmark of training steps: one function per contender, each an epoch of steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

#: Layer widths and batch size.
NETS: dict[str, tuple[tuple[int, ...], int]] = {
    "64-32-10": ((64, 32, 10), 32),
    "30-100-2": ((30, 100, 2), 200),
    "64-100-10": ((64, 100, 10), 200),
    "784-256-128-10": ((784, 256, 128, 10), 128),
    "784-512-512-10": ((784, 512, 512, 10), 256),
    "1024-2048-2048-1024-10": ((1024, 2048, 2048, 1024, 10), 512),
}
SMALL, LARGE = list(NETS)[:3], list(NETS)[3:]
ALPHA = 1e-4

Work = Callable[[], int]


def steps_in(sizes: tuple[int, ...]) -> int:
    """Steps in one timed epoch: enough to see past the clock."""
    weights = sum(a * b for a, b in pairwise(sizes))
    return max(3, min(1000, int(2e7 / weights)))


def data(net: str) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal inputs and random labels, float32: what is learned does not matter to the clock."""
    sizes, batch_size = NETS[net]
    rng = np.random.RandomState(0)
    n = batch_size * steps_in(sizes)
    return rng.standard_normal((n, sizes[0])).astype(np.float32), rng.randint(0, sizes[-1], n)


def xbackprop_epoch(net: str, backend: str, solver: str, alpha: float = ALPHA, device: str | None = None) -> Work:
    from xbackprop.activations import ACTIVATIONS
    from xbackprop.backend import resolve
    from xbackprop.batches import minibatches
    from xbackprop.losses import LOSSES
    from xbackprop.network import Layout
    from xbackprop.objective import Objective
    from xbackprop.optimizers import SGD, Adam
    from xbackprop.training import read_epoch, run_epoch

    sizes, batch_size = NETS[net]
    X, labels = data(net)
    rng = np.random.RandomState(1)
    library = resolve(backend, device)
    layout = Layout(sizes)
    objective = Objective(library, layout, [ACTIVATIONS["relu"]] * (len(sizes) - 2), LOSSES["cross_entropy"], alpha)
    optimizer = Adam() if solver == "adam" else SGD(learning_rate_init=1e-3, momentum=0.0)
    with library.scope():
        X, y = library.asarray(X), library.asarray(np.eye(sizes[-1], dtype=np.float32)[labels])
        parameters = [library.asarray((0.03 * rng.standard_normal(layout.n_parameters)).astype(np.float32))]
        state = optimizer.start(library, parameters)
        workspace = objective.workspace(parameters[0], batch_size)

    def epoch() -> int:
        nonlocal parameters, state
        with library.scope():
            batches = minibatches(library, X, y, None, batch_size, rng.permutation(X.shape[0]))
            parameters, state, costs, totals = run_epoch(objective, optimizer, parameters, state, batches, workspace)
            read_epoch(library, parameters, costs, totals)
        return len(costs)

    return epoch


def sklearn_epoch(net: str) -> Work:
    from sklearn.neural_network import MLPClassifier

    sizes, batch_size = NETS[net]
    X, labels = data(net)
    classifier = MLPClassifier(sizes[1:-1], batch_size=batch_size, alpha=ALPHA, random_state=1)
    classes = np.arange(sizes[-1])

    def epoch() -> int:
        classifier.partial_fit(X, labels, classes=classes)  # one pass over X in minibatches
        return steps_in(sizes)

    return epoch


def torch_epoch(net: str, device: str = "cpu") -> Work:
    import torch

    torch.set_float32_matmul_precision("highest")
    sizes, batch_size = NETS[net]
    X, y = (torch.from_numpy(a).to(device) for a in data(net))
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device)
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": ALPHA / batch_size}, {"params": biases}]
    optimizer = torch.optim.Adam(groups, lr=1e-3, fused=True)

    def epoch() -> int:
        for rows in torch.randperm(len(X), device=device).split(batch_size):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(X[rows]), y[rows])
            loss.backward()
            optimizer.step()
        loss.item()
        return steps_in(sizes)

    return epoch


def products(net: str, library: str) -> Work:
    """The bare matrix products of steps over new rows of X each time, into arrays that are there already."""
    sizes, n = NETS[net]
    rng = np.random.RandomState(0)
    X, _ = data(net)
    W = [rng.standard_normal(shape).astype(np.float32) for shape in pairwise(sizes)]
    h = [rng.standard_normal((n, size)).astype(np.float32) for size in sizes]
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
