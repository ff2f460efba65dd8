"""The network of the paper: activations, losses, Algorithm 1, the cost C(θ), and its derivatives."""
