"""`LossCurveDisplay`: the losses of networks over their epochs, as scikit-learn's displays have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from xbackprop.display.drawing import figure_of, style


class LossCurveDisplay:
    """The loss of each epoch, and with early stopping that of the held-out samples.

    Attributes
    ----------
    figure_, ax_, lines_ : what was drawn, by matplotlib.

    Examples
    --------
    >>> import xbackprop
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = xbackprop.MLP((8,), learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> xbackprop.LossCurveDisplay.from_estimator(net).ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, curves: Sequence[tuple[str, Sequence[float]]]) -> None:
        """Take names and losses, to be drawn by `plot`."""
        self.curves = list(curves)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, name: str | None = None) -> Self:
        """Draw the curves of an `MLP` or an estimator, of an ensemble those of each network."""
        networks = estimator.networks_
        names = (
            [name or "loss"] if len(networks) == 1 else [f"{name or 'network'} {i + 1}" for i in range(len(networks))]
        )
        return cls.from_networks(networks, names=names, ax=ax)

    @classmethod
    def from_networks(cls, networks: Sequence[Any], *, names: Sequence[str] | None = None, ax: Any = None) -> Self:
        """Draw the curves of several networks; names : one for each, for the legend."""
        networks = list(networks)
        names = [f"network {i + 1}" for i in range(len(networks))] if names is None else list(names)
        if len(names) != len(networks):
            raise ValueError(f"LossCurveDisplay: names must have one for each of {len(networks)} networks, got {names}")
        curves: list[tuple[str, Sequence[float]]] = []
        for name, net in zip(names, networks, strict=True):
            curves.append((name, net.loss_curve_))
            held_out = getattr(net, "validation_loss_curve_", None)
            if held_out:
                curves.append((f"{name}, held out", held_out))
        return cls(curves).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on the axes that are given, or on new ones."""
        with style():
            self.figure_ = figure_of((5.0, 3.4), "constrained") if ax is None else ax.figure
            self.ax_ = self.figure_.subplots() if ax is None else ax
            self.lines_, last = [], None
            for name, losses in self.curves:
                of_last = last is not None and name.endswith(", held out")
                how: dict[str, Any] = (
                    {"color": last.get_color(), "linestyle": "--"} if of_last and last is not None else {}
                )
                (last,) = self.ax_.plot(range(1, len(losses) + 1), losses, label=name, **how)
                self.lines_.append(last)
            self.ax_.set(xlabel="epoch", ylabel="loss")
            if len(self.curves) > 1:
                self.ax_.legend()
        return self
