"""The paper: activations and losses, Algorithm 1, the cost C(θ), and every derivative of it."""
