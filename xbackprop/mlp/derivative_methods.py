"""The methods of `MLP` that return derivatives, check them, and count what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xbackprop import validation
from xbackprop.arrays.backend import Array
from xbackprop.errors import GradientCheckError
from xbackprop.mlp import derivatives
from xbackprop.mlp.model import Model
from xbackprop.mlp.settings import read_settings

if TYPE_CHECKING:
    from xbackprop.complexity.counting import Complexity
    from xbackprop.verification.methods.paper import GradientCheck


class Derivatives:
    """The part of `MLP` that has to do with derivatives."""

    def _fitted(self, where: str) -> Model:
        """Return the network; raise NotFittedError if it has no weights."""
        raise NotImplementedError

    def models_(self, where: str) -> list[Model]:
        """Return the network, or those of an ensemble."""
        raise NotImplementedError

    def loss_and_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, list[Array], list[Array]]:
        """Return C(θ), ∂C/∂W_l and ∂C/∂b_l, as lists like `coefs_`; the penalty included, all samples in one batch."""
        return derivatives.loss_and_gradient(self._fitted("MLP.loss_and_gradient"), X, y, sample_weight)

    def jvp(self, X: Any, coef_directions: Any, intercept_directions: Any) -> Array:
        """Return ż_L = Jv (n_samples, n_outputs): the change of the logits as the weights move along v = (V_l, v_l).

        ż_l = h_{l-1} V_l + v_l + ḣ_{l-1} W_l ,  ḣ_l = f′(z_l) ⊙ ż_l ,  ḣ_0 = 0: forward mode.
        """
        return derivatives.jvp(self._fitted("MLP.jvp"), X, coef_directions, intercept_directions)

    def hvp(
        self, X: Any, y: Any, coef_directions: Any, intercept_directions: Any, sample_weight: Any = None
    ) -> tuple[list[Array], list[Array]]:
        """Return Hv, the Hessian of C times v = (V_l, v_l), in the time of two gradients: Pearlmutter's R-operator.

            (∂C/∂W_l)˙ = ḣ_{l-1}ᵀ δ_l + h_{l-1}ᵀ δ̇_l + α/n V_l ,    (∂C/∂b_l)˙ = Σ δ̇_l ,
            δ̇_{l-1} = (δ̇_l W_lᵀ + δ_l V_lᵀ) ⊙ f′(z_{l-1}) + (δ_l W_lᵀ) ⊙ f″(z_{l-1}) ⊙ ż_{l-1} .

        Raises
        ------
        ValueError : if an activation of the user's own has no `d2f`, or a loss no `delta_tangent`.
        """  # fmt: skip
        model = self._fitted("MLP.hvp")
        return derivatives.hvp(model, X, y, coef_directions, intercept_directions, sample_weight)

    def input_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Array:
        """Return ∂C/∂X = δ_1 W_1ᵀ (n_samples, n_features), in the library and on the device of X."""
        return derivatives.input_gradient(self._fitted("MLP.input_gradient"), X, y, sample_weight)

    def per_sample_gradients(self, X: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return the gradient of every sample's own cost C_x, which has no 1/n and no penalty.

        ∂C_x/∂W_l = h_{l-1}ᵀ δ_l (n_samples, n_in, n_out) and ∂C_x/∂b_l = δ_l (n_samples, n_out). With equal weights
        ∂C/∂W_l is their mean, plus α/n W_l.
        """
        return derivatives.per_sample_gradients(self._fitted("MLP.per_sample_gradients"), X, y)

    def per_sample_gradient_norms(self, X: Any, y: Any) -> Array:
        """Return ‖∂C_x/∂θ‖ (n_samples,), from Σ_l (‖h_{l-1}‖² + 1) ‖δ_l‖², without forming the gradients."""
        return derivatives.per_sample_gradient_norms(self._fitted("MLP.per_sample_gradient_norms"), X, y)

    def gradient_check(self, X: Any, y: Any, epsilon: float = 1e-5, tolerance: float = 1e-7) -> float:
        """Check every weight and bias as the paper does (Section 6), on the network's own backend, in float64.

        Parameters
        ----------
        epsilon, tolerance : the step of the central differences, eq. 17, and the bound of the relative error, eq. 18.

        Returns
        -------
        The relative error, of an ensemble that of the worst network.
        `gradient_check_` also has the error of each tensor, the number of elements whose
        difference crosses a kink and was taken on one side of it, and the worst element. See `xbackprop.verify` too.

        Raises
        ------
        GradientCheckError, an AssertionError : if the error is not below the tolerance; it names the worst element.
        """
        checks = [
            derivatives.gradient_check(model, X, y, epsilon, tolerance) for model in self.models_("MLP.gradient_check")
        ]
        result = max(checks, key=lambda check: check.error)
        self.gradient_check_: GradientCheck = result
        if not result.passed(tolerance):
            raise GradientCheckError(f"MLP.gradient_check: {result}, expected less than {tolerance:.0e}")
        return result.error

    def complexity(self, batch_size: int | None = None) -> Complexity:
        """Count multiply-adds, operations and bytes of a training step of this network; see `xbackprop.complexity`.

        batch_size : m, by default that of the settings.
        """
        from xbackprop.complexity.counting import count_step  # imported here, since training does not need it

        model, plan = self._fitted("MLP.complexity"), read_settings("MLP.complexity", vars(self)).plan
        m = plan.batch_size if batch_size is None else validation.integer("MLP.complexity", "batch_size", batch_size, 1)
        return count_step(model.objective, plan.optimizer, m, model.dtype, any(plan.dropout))
