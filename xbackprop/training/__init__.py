"""Steps, epochs, stopping rules and checkpoints."""

from xbackprop.training.loop import Epoch

__all__ = ["Epoch"]
