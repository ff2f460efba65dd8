"""The cost of a training step: operations, bytes and time."""

from xbackprop.complexity.counting import Complexity, Memory, Work, count, matrix_rate

__all__ = ["Complexity", "Memory", "Work", "count", "matrix_rate"]
