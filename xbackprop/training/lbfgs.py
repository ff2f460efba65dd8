"""L-BFGS: run SciPy's optimizer on the host, with C(θ) and its gradient computed on any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, dtype_name
from xbackprop.errors import BackendError
from xbackprop.nn.objective import Batch, Objective

#: SciPy's status of a minimisation that its callback has ended.
STOPPED = 99


def minimise(
    objective: Objective,
    theta: Array,
    batch: Batch,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    callback: Callable[[float, Array], str],
) -> tuple[Array, str, str]:
    """Minimise C(θ) over all the rows at once; only θ and the gradient pass through the host.

    Parameters
    ----------
    max_iter : the most iterations. max_fun : the most evaluations of C.
    tol : training has converged once no element of the gradient is larger.
    callback : called with C and θ after each iteration; a text ends the minimisation.

    Returns
    -------
    θ; the reason why it ended, "converged", "max_iter", "stopped" or "interrupted"; and SciPy's message.

    Raises
    ------
    BackendError : if SciPy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise BackendError("solver 'lbfgs' needs SciPy, which is not installed: pip install scipy") from error
    backend, dtype = objective.backend, dtype_name(theta)
    workspace = objective.workspace(theta, batch.X.shape[0])
    reached = np.array(backend.to_host(theta), dtype=np.float64)

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        cost, g = objective.value_and_gradient(backend.asarray(point, dtype), batch, workspace)
        return float(backend.to_host(cost)), np.array(backend.to_host(g), dtype=np.float64)

    def note(intermediate_result: Any) -> None:
        reached[:] = intermediate_result.x
        if callback(float(intermediate_result.fun), backend.asarray(reached, dtype)):
            raise StopIteration  # as SciPy has it

    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    try:
        result = minimize(
            value_and_gradient, reached.copy(), method="L-BFGS-B", jac=True, options=options, callback=note
        )
    except KeyboardInterrupt:
        return backend.copy(backend.asarray(reached, dtype)), "interrupted", ""
    end = {0: "converged", STOPPED: "stopped"}.get(result.status, "max_iter")
    return backend.copy(backend.asarray(result.x, dtype)), end, str(result.message)
