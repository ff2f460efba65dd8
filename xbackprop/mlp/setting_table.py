"""Every setting of `MLP` and the estimators, declared once: name, default, check, meaning, and where it goes.

Checks, docstrings, model files, what a resumed run may change and the table in docs/settings.md follow from
`SETTINGS`. The constructors' signatures are written out for people and editors; a test holds them to the table.
"""

from __future__ import annotations

import math
import textwrap
from numbers import Real
from typing import Any

from xbackprop.mlp.setting import (
    ESTIMATORS,
    Setting,
    accept,
    activation,
    at_least,
    backend,
    choice,
    class_weight,
    closed,
    communicator,
    dropout_rate,
    flag,
    folder,
    interval,
    one_or_more,
    optional,
    precision,
    quantiles,
    random_state,
    schedule,
    scoring,
)  # fmt: skip
from xbackprop.nn.activations import Activation
from xbackprop.nn.initializers import INITIALIZERS
from xbackprop.optim.optimizers import OPTIMIZERS
from xbackprop.validation import fraction, layer_sizes, non_negative, positive

#: The loss of each task if none is named, a row of `losses.LOSSES`; and all the losses that suit the task.
TASKS = {"classification": "cross_entropy", "regression": "mean_squared_error"}
TASK_LOSSES = {
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "regression": ("mean_squared_error", "squared_error", "absolute_error", "huber", "poisson", "quantile"),
}
SOLVERS = (*OPTIMIZERS, "lbfgs")
COUNT = at_least(1)

# fmt: off
SETTINGS: tuple[Setting, ...] = (
    Setting("hidden_layer_sizes", (100,), layer_sizes,
        "Number of units in each hidden layer, from the input to the output: (64, 32) makes two layers, an "
        "integer makes one, () makes none, which leaves a linear model."),
    Setting("activation", "relu", one_or_more(activation, "a name, an xbackprop.Activation", (str, Activation)),
        "The function f of the hidden layers: a name from `xbackprop.ACTIVATIONS`, an `xbackprop.Activation` of "
        "your own, or a sequence with one of these for each hidden layer. The output's function belongs to the "
        "loss."),
    Setting("task", "classification", choice(TASKS),
        '"classification", where y holds labels, or "regression", where y holds numbers. It decides how y is read'
        " and which losses can be chosen.",
        classes=("MLP",)),
    Setting("loss", "auto", accept,
        'The function that training minimises: "auto" is cross_entropy for one label per row, '
        'binary_cross_entropy for columns of 0 and 1, mean_squared_error for a regression; "log_loss" is '
        "scikit-learn's; or a name from `xbackprop.LOSSES`, or an `xbackprop.Loss` of your own.",
        meanings={"MLPClassifier":
            'The function that training minimises: "log_loss", as in scikit-learn, gives two classes one logistic'
            ' output; "cross_entropy" gives each class its own; or "binary_cross_entropy", or an `xbackprop.Loss`'
            " of your own.",
            "MLPRegressor":
            'The function that training minimises: "squared_error", ½‖z - y‖², and "poisson", half the deviance, '
            'as in scikit-learn; "mean_squared_error" (without the ½), "absolute_error", "huber", "quantile"; or '
            "an `xbackprop.Loss` of your own."},
        defaults={"MLPClassifier": "log_loss", "MLPRegressor": "squared_error"}),
    Setting("quantile", 0.5, quantiles,
        'The quantile q, between 0 and 1, that loss="quantile" estimates; 0.5, the default, is the median. Several, in '
        "ascending order, are estimated by one network with an output for each, whose predictions never cross. Other "
        "losses ignore it.",
        classes=("MLP", "MLPRegressor")),
    Setting("label_smoothing", 0.0, fraction,
        "s in [0, 1), for classification: the targets become (1-s)·y + s/K for K classes, or (1-s)·y + s/2 where "
        "each output is a yes or no of its own. 0 leaves them as they are.",
        classes=("MLP", "MLPClassifier")),
    Setting("class_weight", None, class_weight,
        'Weights of the classes: "balanced" gives class k the weight n/(K·n_k), for `fit` alone; a mapping gives each '
        "label its weight, 1 to labels that it lacks; None weighs all classes equally. Multiplies `sample_weight`; "
        "needs one label per row.",
        classes=("MLP", "MLPClassifier")),
    Setting("soft_targets", False, flag,
        "Whether y of a classification has a row of probabilities (n_samples, n_classes) for each sample, as another "
        "model or several annotators give them: C = -1/n Σ_x Σ_k y_k log h_k. Classes are then 0, 1, …; `score` "
        "compares with the most probable one.",
        classes=("MLP",)),
    Setting("scale_inputs", False, flag,
        "Whether to standardise X: (x - μ)/σ, with the mean and the standard deviation of each column in the training "
        "data, which the network keeps and applies in float64. Not for sparse X."),
    Setting("scale_target", False, flag,
        "Whether to standardise the y of a regression for training; predictions are in the units of y. Losses and "
        "derivatives are in standardised units. For losses whose output is linear.",
        classes=("MLP", "MLPRegressor")),
    Setting("solver", "adam", choice(SOLVERS),
        'The optimizer: "adam", "adamw" (Adam with weight decay), "sgd", "rmsprop" or "adagrad" take a step per '
        "batch; \"lbfgs\" is SciPy's L-BFGS-B, which uses all samples at once and suits small data sets."),
    Setting("alpha", 1e-4, non_negative,
        "α ≥ 0, the strength of the penalty on the weights (biases are free). It is divided by n, the number of "
        "samples of the batch or the sum of their weights, as in scikit-learn."),
    Setting("l1_ratio", 0.0, closed,
        "ρ in [0, 1], the part of L1 in the penalty (elastic net): 0, the default, is a pure L2 penalty, 1 a pure"
        " L1 penalty. Has no effect where `alpha` is 0."),
    Setting("weight_decay", "auto", optional(non_negative, "auto"),
        "λ ≥ 0: before each step the weights, not the biases, are multiplied by 1 - ηλ, where η is the learning "
        'rate of the step; the gradient is left alone. "auto" is 0.01 for adamw, as in torch, and 0 for other '
        "solvers."),
    Setting("dropout", 0.0, one_or_more(dropout_rate, "a rate", (Real, str)),
        "Probability in [0, 1) with which a hidden unit is left out of a training step; a number for all hidden "
        "layers, or a sequence with one for each. Predictions use all units. Rounded to a multiple of 2**-16."),
    Setting("clip_norm", None, optional(positive),
        "Upper bound of the gradient's Euclidean norm over all parameters: a longer gradient is scaled down to "
        "it. None, the default, sets no bound."),
    Setting("ema_decay", None, optional(fraction),
        "β in [0, 1) of a moving average of the weights, θ̄ ← β θ̄ + (1-β) θ after each step, which begins as θ after "
        "the first one. Held-out samples are scored, and predictions made, with the average. None, the default, keeps "
        "none."),
    Setting("checkpoint_activations", None, interval,
        'Trade time for memory: k keeps the activations of every k-th layer only, "sqrt" takes k ≈ √L for L '
        "layers, and the backward pass computes the others again. Gradients stay the same bit by bit. None keeps "
        "all.",
        changes_on_resume=True),
    Setting("batch_size", "auto", optional(COUNT, "auto"),
        'Number of samples per step; the last batch of an epoch may be smaller. "auto" is min(200, n_samples), as'
        " in scikit-learn. lbfgs ignores it."),
    Setting("learning_rate", "constant", schedule,
        'How the rate changes during training: "constant", "invscaling", "adaptive" (divided by 5 when progress '
        'stalls), "step", "cosine", "one_cycle", or a function (epoch, epochs) -> factor that multiplies '
        "`learning_rate_init`.",
        meanings=dict.fromkeys(ESTIMATORS,
            'How the rate changes during training: "constant", "step", "cosine", "one_cycle" or a function '
            '(epoch, epochs) -> factor; "invscaling" and "adaptive" for sgd only (other solvers keep the rate '
            "constant), as in scikit-learn.")),
    Setting("learning_rate_init", 1e-3, positive,
        "η > 0, the step size, before `learning_rate` and `warmup` change it. The default, 0.001, suits adam on "
        "standardised inputs; sgd usually needs more. lbfgs ignores it."),
    Setting("power_t", 0.5, non_negative,
        'Exponent of learning_rate="invscaling": the rate is divided by (t + 1)**power_t, where t is the number '
        "of samples seen before the epoch. Other schedules ignore it."),
    Setting("step_epochs", 10, COUNT,
        'For learning_rate="step": the number of epochs after which the rate is multiplied by `step_factor`, '
        "again and again."),
    Setting("step_factor", 0.1, positive,
        'For learning_rate="step": the positive number that multiplies the rate every `step_epochs` epochs.'),
    Setting("warmup", 0.0, non_negative,
        "Number of epochs at the start of training, not necessarily whole, over which the rate rises in a "
        "straight line to its full value; it applies on top of any `learning_rate`. 0, the default, starts with "
        "the full rate."),
    Setting("max_iter", 200, COUNT,
        "Upper bound on the number of epochs of one call of `fit`; for lbfgs, of iterations. Training that "
        "reaches it before the loss has settled ends with a ConvergenceWarning.",
        changes_on_resume=True),
    Setting("max_fun", 15000, COUNT,
        "For lbfgs: upper bound on the number of evaluations of the loss in one call of `fit`."),
    Setting("momentum", 0.9, closed,
        "μ in [0, 1], for sgd: the part of the last step's velocity that goes into the next one. 0 is plain "
        "gradient descent."),
    Setting("nesterovs_momentum", True, flag,
        "For sgd with momentum: whether to take Nesterov's step, θ + μv - ηg with the new velocity v, in place of"
        " θ + v."),
    Setting("beta_1", 0.9, fraction,
        "For adam and adamw: β₁ in [0, 1), the decay rate of the moving mean of the gradient."),
    Setting("beta_2", 0.999, fraction,
        "For adam and adamw: β₂ in [0, 1), the decay rate of the moving mean of the squared gradient."),
    Setting("rho", 0.9, fraction,
        "For rmsprop: ρ in [0, 1), the decay rate of the moving mean of the squared gradient."),
    Setting("epsilon", 1e-8, positive,
        "For adam, adamw, rmsprop and adagrad: ε > 0, added to √v so that nothing is divided by zero. For adam "
        "this is √v without bias correction, as in scikit-learn; torch adds it to the corrected one."),
    Setting("init", "auto", choice(("auto", "sklearn", *INITIALIZERS)),
        'Distribution of the starting weights: a name from `xbackprop.INITIALIZERS`, with zero biases; "auto", '
        "which chooses He's for relu and its relatives, LeCun's for selu, Glorot's otherwise; or \"sklearn\", "
        "scikit-learn's, which draws biases too.",
        meanings=dict.fromkeys(ESTIMATORS,
            'Distribution of the starting weights: "sklearn", the default, draws weights and biases from '
            'U(±√(6/(n_in + n_out))), with 2 in place of 6 for logistic units, as scikit-learn does; "auto" suits'
            " the activation; or a name from `xbackprop.INITIALIZERS`, with zero biases."),
        defaults=dict.fromkeys(ESTIMATORS, "sklearn")),
    Setting("shuffle", True, optional(flag, "blocks"),
        "Whether to put the samples into a new random order for each epoch. \"blocks\" does so with blocks of 64 "
        "batches of neighbouring rows, and with the rows of each, for files that are slow to read at random. lbfgs "
        "ignores it, because it uses all samples at once."),
    Setting("tol", 1e-4, non_negative,
        "Smallest improvement of the best loss (with `early_stopping`, of the best score) that counts as "
        "progress, see `n_iter_no_change`. For lbfgs: training ends when no element of the gradient is larger.",
        changes_on_resume=True),
    Setting("n_iter_no_change", 10, optional(COUNT, math.inf),
        "Number of epochs in a row that may improve the best loss, or score, by less than `tol`; one more ends "
        "training. `math.inf` trains for `max_iter` epochs in any case.",
        changes_on_resume=True),
    Setting("early_stopping", False, flag,
        "Whether to hold out `validation_fraction` of the samples, to end training when their score stops "
        "improving, and to keep the weights with the best score. lbfgs ignores it."),
    Setting("validation_fraction", 0.1, fraction,
        "Fraction of the samples, in [0, 1), that `early_stopping` holds out. They are drawn at random once and "
        "stay the same for as long as the run goes on.",
        meanings=dict.fromkeys(ESTIMATORS,
            "Fraction of the samples that `early_stopping` holds out, stratified for two classes, as in "
            "scikit-learn. They stay the same for as long as the run goes on.")),
    Setting("scoring", None, scoring,
        'Score of the held-out samples for `early_stopping`: None is accuracy or R²; "loss" is the loss, negated;'
        " a function (net, X, y) -> number is a score of your own, the larger the better.",
        meanings={"MLPClassifier":
            'Score of the held-out samples for `early_stopping`: None is accuracy; "loss" is the loss, negated; '
            "or a scorer of scikit-learn, by its name or as a function (estimator, X, y) -> number, the larger "
            "the better.",
            "MLPRegressor":
            'Score of the held-out samples for `early_stopping`: None is R²; "loss" is the loss, negated; or a '
            "scorer of scikit-learn, by its name or as a function (estimator, X, y) -> number, the larger the "
            "better."}),
    Setting("n_networks", 1, COUNT,
        "Number of networks, M: more than one are an ensemble (deep ensembles, Lakshminarayanan et al., 2017), trained "
        "as by `fit_many`, whose probabilities or values are averaged. They differ in their seeds, drawn from "
        "`random_state`; the first is the network that 1 gives. In a checkpoint's folder each other one has a folder.",
        changes_on_resume=True),
    Setting("warm_start", False, flag,
        "Whether `fit` goes on from the present weights, with the optimizer's state and the random numbers, on the "
        "same data as if both calls were one run. On other data, and after a run that had converged, patience begins "
        "anew. Changed settings hold from now on; those that would give the outputs another meaning raise ValueError. "
        "False starts anew.",
        changes_on_resume=True),
    Setting("checkpoint", None, folder,
        'Folder in which training writes "checkpoint.safetensors", a model file that also holds the state of the '
        "run, for `resume`. None writes none. Not for lbfgs.",
        in_files=False),
    Setting("checkpoint_epochs", 1, COUNT,
        "Number of epochs between two checkpoints; the last epoch always writes one. Ignored where "
        "`checkpoint_minutes` is given.",
        changes_on_resume=True),
    Setting("checkpoint_minutes", None, optional(non_negative),
        "Write a checkpoint at the end of the first epoch that ends at least so many minutes after the last "
        "checkpoint. None, the default, counts epochs instead.",
        changes_on_resume=True),
    Setting("checkpoint_required", False, flag,
        "Whether training ends, with the weights of that epoch, if a checkpoint cannot be written, because the disk is "
        "full, say. False only warns, and tries again when the next one is due.",
        in_files=False),
    Setting("resume", False, flag,
        "Whether `fit` goes on from the file in the folder `checkpoint`, if there is one; it ends with the "
        "weights of a run that was never stopped. A file of other samples, weights or settings, also of another "
        "`random_state` where one is given, raises ValueError; functions are not compared.",
        in_files=False),
    Setting("backend", None, backend,
        'Where to compute: "numpy", "numba", "torch", "jax", "cupy", the name of another installed backend, or a '
        "`Backend`. None, the default, uses the array library of X, and for NumPy's arrays what "
        "`xbackprop.set_default_backend` or the environment variable XBACKPROP_BACKEND names.",
        in_files=False),
    Setting("device", None, accept,
        'Device of the backend, in the words of its library: "cuda:1" for torch, 0 for CuPy. None is the device '
        "of X if X belongs to the backend's library, and that library's default device otherwise.",
        in_files=False),
    Setting("threads", None, optional(COUNT),
        "Upper bound on the threads that training uses, for matrix products and updates; None leaves it to the "
        "library, but torch takes one for steps of less than two million multiplications. Where several networks train "
        "side by side, use cores divided by networks (joblib's workers do). JAX raises BackendError.",
        in_files=False),
    Setting("communicator", None, communicator,
        'The processes that train one network together, each on its part of every batch: "mpi", "torch", "jax", an '
        '`xbackprop.distributed.Communicator`, or "auto" for those of the launcher (mpiexec, torchrun), one process '
        "without one. The network is that of one process. None trains alone.",
        in_files=False),
    Setting("shard", False, flag,
        "Whether each of several processes has rows of its own in X and y; False means that each has all rows.",
        in_files=False),
    Setting("dtype", None, optional(precision),
        '"float32" or "float64", the precision of weights and of all computation. None, the default, keeps that '
        "of X: integers become float64, half precision float32.",
        meanings=dict.fromkeys(ESTIMATORS,
            '"float32" or "float64", the precision of weights and of all computation. None, the default, keeps '
            "that of X; NumPy arrays of other types become float64, as in scikit-learn.")),
    Setting("random_state", None, random_state,
        "Seed, a whole number below 2**32, of starting weights, shuffling, held-out samples and dropout; or a "
        "`numpy.random.RandomState`, which is drawn from; or None for a new seed each time. Equal seeds give "
        "equal runs on every library, to rounding.",
        meanings=dict.fromkeys(ESTIMATORS,
            "Seed, a whole number below 2**32, of starting weights, shuffling, held-out samples and dropout; or a"
            " `numpy.random.RandomState`, which is drawn from; or None for NumPy's global generator, as in "
            "scikit-learn.")),
    Setting("verbose", False, flag,
        "Whether to print a line for each epoch: its loss, the score of held-out samples if any, samples per "
        "second.",
        meanings=dict.fromkeys(ESTIMATORS,
            "Whether to print the loss of each epoch, and the score of held-out samples if any, in scikit-learn's"
            " lines."),
        changes_on_resume=True),
)
# fmt: on


def defaults_of(owner: str = "MLP") -> dict[str, Any]:
    """Return the settings of a class, "MLP" or an estimator's name, with their defaults, in the table's order."""
    return {s.name: s.default_of(owner) for s in SETTINGS if owner in s.classes}


def parameters_in_words(owner: str) -> str:
    """Return the text that lists the parameters of a class in its docstring."""
    lines = []
    for s in SETTINGS:
        if owner in s.classes:
            lines.append(f"{s.name} : default {s.default_of(owner)!r}")
            lines += textwrap.wrap(
                s.meaning_in(owner), 108, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    return "\n".join(lines)
