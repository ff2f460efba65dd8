"""`MLP`, the network class for users, and its model files."""

from xbackprop.mlp.mlp import MLP

__all__ = ["MLP"]
