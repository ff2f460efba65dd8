"""The errors and warnings of xbackprop, each also a kind of the built-in error a caller would expect."""


class BackendError(ImportError):
    """An array library is unknown, not installed, or has no such device."""


class ConvergenceWarning(UserWarning):
    """Training reached max_iter while the loss was still falling by more than tol."""


class DivergenceError(ArithmeticError):
    """The loss or the weights are no longer finite; the network keeps its last finite weights."""


class GradientCheckError(AssertionError):
    """The analytical gradient and the numerical one disagree."""


class ModelFileError(ValueError):
    """A model file is damaged, comes from elsewhere, or is of a newer format."""


class ExportError(ValueError):
    """A format cannot hold a network, or the exported one computes something else."""


class RankError(RuntimeError):
    """Another rank has failed, or the ranks do not agree; the message says which."""


class NotFittedError(ValueError, AttributeError):
    """The network has no weights yet: call fit or initialize first."""
