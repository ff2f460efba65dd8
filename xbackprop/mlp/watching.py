"""Check what `fit` is given beside the samples: callbacks, and data to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xbackprop.callbacks.protocol import Callback


def watching(where: str, callbacks: Sequence[Callback], validation_data: Any) -> dict[str, Any]:
    """Check what `fit` is given beside the samples; return it as options of `prepare`."""
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    for one in callbacks:
        if isinstance(one, type) or not all(hasattr(one, f"on_{name}") for name in ("train_begin", "epoch_end")):
            raise ValueError(f"{where}: callbacks must be objects of xbackprop.callbacks.Callback, got {one!r}")
    if validation_data is not None and not (isinstance(validation_data, tuple) and len(validation_data) in (2, 3)):
        got = type(validation_data).__name__
        raise ValueError(f"{where}: validation_data must be (X, y) or (X, y, sample_weight), got {got}")
    return {"callbacks": callbacks, "validation": validation_data}
