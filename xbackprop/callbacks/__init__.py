"""Callbacks: watch a training, log it, stop it, and choose the weights that it ends with."""

from xbackprop.callbacks.learning_rate import LearningRates, find_learning_rate
from xbackprop.callbacks.logs import CSVLog, JSONLog, TensorBoardLog
from xbackprop.callbacks.progress_bar import ProgressBar
from xbackprop.callbacks.protocol import Batch, Callback, Fit
from xbackprop.callbacks.watching import GradientNorm, KeepBest, TimeLimit
from xbackprop.training.loop import Epoch

__all__ = [
    "Batch",
    "CSVLog",
    "Callback",
    "Epoch",
    "Fit",
    "GradientNorm",
    "JSONLog",
    "KeepBest",
    "LearningRates",
    "ProgressBar",
    "TensorBoardLog",
    "TimeLimit",
    "find_learning_rate",
]
