"""What one can ask a network with weights about its derivatives: the methods that `MLP` has of this kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xbackprop import validation
from xbackprop.arrays.backend import Array, dtype_name
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.arrays.threads import one_thread
from xbackprop.data import tables
from xbackprop.errors import GradientCheckError
from xbackprop.mlp.fitting import Fitting
from xbackprop.mlp.model import Model
from xbackprop.nn import derivatives
from xbackprop.nn.objective import Batch

if TYPE_CHECKING:
    from xbackprop.verification.methods.paper import GradientCheck

_DIRECTIONS = ("coef_directions", "intercept_directions")


class Gradients(Fitting):
    """Derivatives of C(θ) = loss + α/(2n) Σ‖W_l‖² and of the logits z_L(X; θ), all by hand.

    Lists of weights and biases come and go in the shapes of `coefs_` and `intercepts_`, in the network's library;
    what has a row per sample comes in the library and on the device of X.
    """

    def loss_and_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, list[Array], list[Array]]:
        """C(θ), ∂C/∂W_l and ∂C/∂b_l at the present weights, the penalty included, all samples in one batch."""
        model, batch = self._problem("MLP.loss_and_gradient", X, y, sample_weight)
        backend = model.objective.backend
        with backend.device_context():
            cost, gradient = model.objective.value_and_gradient(model.theta, batch)
        return (float(backend.to_host(cost)), *self._tensors(model, gradient))

    def jvp(self, X: Any, coef_directions: Any, intercept_directions: Any) -> Array:
        """ż_L = Jv (n_samples, n_outputs): how the logits change as the weights move along v = (V_l, v_l).

        ż_l = h_{l-1} V_l + v_l + ḣ_{l-1} W_l ,  ḣ_l = f′(z_l) ⊙ ż_l ,  ḣ_0 = 0: forward mode.
        """
        where = "MLP.jvp"
        model = self._fitted(where)
        backend = model.objective.backend
        X = tables.feature_table(where, X, model.objective.layout.sizes[0], self.feature_names_in_)
        direction = self._vector(where, model, _DIRECTIONS, coef_directions, intercept_directions)
        with backend.device_context():
            rows = transfer(X, backend_of(X), backend, dtype_name(model.theta))
            return transfer(derivatives.jvp(model.objective, model.theta, direction, rows), backend, backend_of(X))

    def hvp(
        self, X: Any, y: Any, coef_directions: Any, intercept_directions: Any, sample_weight: Any = None
    ) -> tuple[list[Array], list[Array]]:
        """Hv, the Hessian of C times v = (V_l, v_l), in as much time as two gradients: Pearlmutter's R-operator.

            (∂C/∂W_l)˙ = ḣ_{l-1}ᵀ δ_l + h_{l-1}ᵀ δ̇_l + α/n V_l ,    (∂C/∂b_l)˙ = Σ δ̇_l ,
            δ̇_{l-1} = (δ̇_l W_lᵀ + δ_l V_lᵀ) ⊙ f′(z_{l-1}) + (δ_l W_lᵀ) ⊙ f″(z_{l-1}) ⊙ ż_{l-1} .

        Raises
        ------
        ValueError : if an activation of the user's own has no `d2f`, or a loss no `delta_tangent`.
        """  # fmt: skip
        model, batch = self._problem("MLP.hvp", X, y, sample_weight)
        direction = self._vector("MLP.hvp", model, _DIRECTIONS, coef_directions, intercept_directions)
        with model.objective.backend.device_context():
            product = derivatives.hvp(model.objective, model.theta, direction, batch)
        return self._tensors(model, product)

    def input_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Array:
        """∂C/∂X = δ_1 W_1ᵀ, (n_samples, n_features)."""
        model, batch = self._problem("MLP.input_gradient", X, y, sample_weight)
        with model.objective.backend.device_context():
            gradient = derivatives.input_gradient(model.objective, model.theta, batch)
        return transfer(gradient, model.objective.backend, backend_of(X))

    def per_sample_gradients(self, X: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """∂C_x/∂W_l = h_{l-1}ᵀ δ_l (n_samples, n_in, n_out) and ∂C_x/∂b_l = δ_l (n_samples, n_out), for every sample.

        C_x is the sample's own cost: no 1/n, no penalty. With equal weights ∂C/∂W_l is their mean, plus α/n W_l.
        """
        model, batch = self._problem("MLP.per_sample_gradients", X, y)
        with model.objective.backend.device_context():
            layers = derivatives.per_sample_gradients(model.objective, model.theta, batch)
        return [W for W, _ in layers], [b[:, 0, :] for _, b in layers]

    def per_sample_gradient_norms(self, X: Any, y: Any) -> Array:
        """‖∂C_x/∂θ‖ (n_samples,), from Σ_l (‖h_{l-1}‖² + 1) ‖δ_l‖², without forming the gradients."""
        model, batch = self._problem("MLP.per_sample_gradient_norms", X, y)
        with model.objective.backend.device_context():
            norms = derivatives.per_sample_gradient_norms(model.objective, model.theta, batch)
        return transfer(norms, model.objective.backend, backend_of(X))

    def gradient_check(self, X: Any, y: Any, epsilon: float = 1e-5, tolerance: float = 1e-7) -> float:
        """The paper's check (Section 6) of every weight and bias, on the network's own backend, in float64.

        Parameters
        ----------
        epsilon : the step of the central differences, eq. 17.
        tolerance : what the relative error, eq. 18, must stay below.

        Returns
        -------
        The relative error. `gradient_check_` tells more: the error of each tensor, how many elements lay across a
        kink and were checked on one side of it, the worst element. `xbackprop.verify` tells more still.

        Raises
        ------
        GradientCheckError, an AssertionError : if the error is not below the tolerance; it names the worst element.
        """
        from xbackprop.verification.methods.paper import paper_check  # training needs no verification
        from xbackprop.verification.network import network_claim

        where = "MLP.gradient_check"
        epsilon, tolerance = (
            validation.positive(where, "epsilon", epsilon),
            validation.positive(where, "tolerance", tolerance),
        )
        model, batch = self._problem(where, X, y, None, "float64")
        with model.objective.backend.device_context(), one_thread(batch.X.shape[0] * model.objective.layout.n_weights):
            theta = model.objective.backend.asarray(model.theta, "float64")
            result = paper_check(network_claim(model.objective, theta, batch), epsilon=epsilon, tolerance=tolerance)
        self.gradient_check_: GradientCheck = result
        if not result.passed(tolerance):
            raise GradientCheckError(f"{where}: {result}, expected less than {tolerance:.0e}")
        return result.error

    def _problem(
        self, where: str, X: Any, y: Any, sample_weight: Any = None, dtype: str | None = None
    ) -> tuple[Model, Batch]:
        """The model, and the data as one batch."""
        model = self._fitted(where)
        data = self._same(where, X, y, sample_weight, dtype)
        with data.backend.device_context():
            return model, data.batch()

    @staticmethod
    def _tensors(model: Model, vector: Array) -> tuple[list[Array], list[Array]]:
        """A vector like θ as lists like `coefs_` and `intercepts_`."""
        layers = model.objective.layout.layers(model.objective.backend.xp, vector)
        return [W for W, _ in layers], [b[0, :] for _, b in layers]

    @staticmethod
    def _vector(where: str, model: Model, names: tuple[str, str], coefs: Any, intercepts: Any) -> Array:
        """A vector like θ (P,) out of lists like `coefs_` and `intercepts_`, which have these names."""
        backend, layout = model.objective.backend, model.objective.layout
        dtype = dtype_name(model.theta)
        biases = [shape[1:] for shape in layout.shapes]
        arrays = (
            tables.arrays_like(where, names[0], coefs, layout.shapes),
            tables.arrays_like(where, names[1], intercepts, biases),
        )
        with backend.device_context():
            moved = [[transfer(a, backend_of(a), backend, dtype) for a in part] for part in arrays]
            return layout.flatten(backend.xp, list(zip(*moved, strict=True)))
