"""The backend `numba`: an epoch of training on a CPU as one compiled call, in NumPy's arrays."""

from xbackprop_numba.backend import NumbaBackend

__all__ = ["NumbaBackend"]
