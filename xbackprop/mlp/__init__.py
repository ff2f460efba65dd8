"""`MLP`, the network that users hold, and its files."""

from xbackprop.mlp.mlp import MLP

__all__ = ["MLP"]
