"""The parameters and attributes that both tabular models have, in words."""

from __future__ import annotations

from inspect import signature
from typing import TypeVar

PARAMETERS = """
preset : "fast", "good" or "best": how many candidates are trained, for how many epochs, and how many are kept at most,
    which takes some seconds, one or two minutes, or several on a table of 10,000 rows on two cores.
metric : what candidates are chosen by: "log_loss", "accuracy" or "auc", "rmse", "mae" or "r2", the name of a scorer of
    scikit-learn's, or a scorer; "auto" is the first of each, and for quantiles their loss.
n_networks, max_iter : the number of candidates, and the most epochs of each, in place of the preset's.
time_limit : seconds within which the model has to be there: no epoch begins after nine tenths of them.
folds : the number of folds: each candidate has a network for each, which validates on it and is trained on the others.
    1 is a single split. "auto" is 5 for tables that are not large, as the preset has it.
validation_fraction : the fraction of the rows that a single split validates on.
learning_rate, weight_decay, dropout, depth : from and to: what candidates' settings are drawn from. The first candidate
    has the middle of each. width : the width of the hidden layers.
bins : one or several of the `bins` of `TableEncoder`; with several, the first candidates have one each, and the others
    the best of these. activation{own} : one or several, which candidates take in turns.{auto}
ema_decay{other} : as `MLP` has {them}.
encoder : a `TableEncoder` with parameters of your choice; None for its defaults.
backend, device : as `MLP` has them. communicator : the same, of processes among which the networks are divided.
random_state : the seed, or a RandomState. The same one gives the same model, unless the time limit cut it short.
"""

ATTRIBUTES = """
leaderboard_ : a row for each candidate, the best first, as a dict: candidate, score, chosen (its place in the order of
    the selection, 0 if it is not in), epochs, learning_rate_init, weight_decay, dropout, activation, loss, depth, bins.
validation_score_, metric_ : the ensemble's score by the metric, on rows that its networks were not trained on; since
    the ensemble was chosen by it, it is a little too good.
validation_predictions_ : the ensemble's predictions for those rows, NaN for all others.
curves_ : for each network the training and the validation loss of its epochs, as {"loss": […], "validation": […]}.
evaluation_ : the last result of `evaluate`.
columns_ : what became of each column; of several folds, in the first. networks_ : the networks, each an `MLP`.
time_limit_reached_, fit_seconds_ : whether the time limit cut training short; the seconds that `fit` took.
n_iter_ : the most epochs of a network of the ensemble.
n_features_in_, feature_names_in_ : the number of the table's columns, and their names.
"""

Model = TypeVar("Model", bound=type)


def with_parameters(model: Model) -> Model:
    """Put the shared words into the docstring of a model."""
    if "label_smoothing" in signature(model).parameters:
        words = {"own": "", "auto": "", "other": ", label_smoothing", "them": "them"}
    else:
        auto = ' The loss\n    "auto" is huber and mean_squared_error, and for the metric "mae" absolute_error.'
        words = {"own": ", loss", "auto": auto, "other": "", "them": "it"}
    parameters = PARAMETERS
    for name, text in words.items():
        parameters = parameters.replace(f"{{{name}}}", text)
    for name, text in (("parameters", parameters), ("attributes", ATTRIBUTES)):
        model.__doc__ = (model.__doc__ or "").replace(f"{{{name}}}", text.strip().replace("\n", "\n    "))
    return model
