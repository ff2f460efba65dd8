"""Describe the likely mistake in a wrong gradient, from its ratio to the right one and from their difference."""

from __future__ import annotations

import numpy as np

CLOSE = 1e-4  # the largest relative error of a pattern that is named


def diagnose(
    analytic: np.ndarray, numeric: np.ndarray, theta: np.ndarray, shape: tuple[int, ...], n: int | None = None
) -> str:
    """Return one sentence that names the mistake, or an empty text if no pattern fits.

    Parameters
    ----------
    analytic, numeric, theta : the elements of one tensor, as claimed, as measured, and the parameters themselves.
    shape : the shape of the tensor. n : the number of samples, or None if there are none.
    """
    if not np.all(np.isfinite(analytic)):
        return "the gradient has elements that are not finite"
    if not np.any(analytic):
        return "the gradient is zero everywhere: a term or a whole layer is missing"
    if not np.any(numeric):
        return "the slope of C is zero everywhere, and the gradient is not"
    ratio = float(analytic @ numeric / (numeric @ numeric))
    if abs(ratio - 1) > CLOSE and _fits(analytic, ratio * numeric):
        return _ratio_in_words(ratio, n)
    if len(shape) == 2 and shape[0] == shape[1] and _fits(analytic, numeric.reshape(shape).T.ravel()):
        return "analytic is the transpose of numeric"
    difference = analytic - numeric
    if np.any(theta):
        rate = float(difference @ theta / (theta @ theta))
        if _fits(difference, rate * theta):
            return f"analytic - numeric is {rate:.3g} times the parameter: a regulariser, missing or doubled"
    wrong = np.abs(difference) > 0.01 * np.max(np.abs(difference))
    if 0 < wrong.sum() < len(wrong):
        return f"{int(wrong.sum())} of {len(wrong)} elements are off, the others are right" + _where(wrong, shape)
    return ""


def _fits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.linalg.norm(a - b) <= CLOSE * np.linalg.norm(a))


def _ratio_in_words(ratio: float, n: int | None) -> str:
    def near(value: float) -> bool:
        return abs(ratio - value) <= CLOSE * abs(value)

    text = f"analytic is {ratio:.6g} times numeric"
    if near(-1.0):
        return f"{text}: a sign"
    if n is not None and n > 2:
        if near(n):
            return f"{text}, the number of samples: a mean is missing"
        if near(1 / n):
            return f"{text}, one over the number of samples: a mean is taken twice"
        if near(n / (n - 1)) or near((n - 1) / n):
            return f"{text}: n - 1 stands for n, or n for n - 1"
    if near(2.0):
        return f"{text}: the 2 of a square, or a term counted twice"
    if near(0.5):
        return f"{text}: the 2 of a square is missing"
    return f"{text}: a constant factor"


def _where(wrong: np.ndarray, shape: tuple[int, ...]) -> str:
    """Name the rows or the columns that are wrong, if all others are right."""
    if len(shape) != 2:
        return ""
    grid = wrong.reshape(shape)
    for axis, what in ((1, "rows"), (0, "columns")):
        lines = np.flatnonzero(np.any(grid, axis=axis))
        if len(lines) <= 3 and len(lines) < grid.shape[1 - axis]:
            return f": those in {what} {', '.join(map(str, lines))}"
    return ""
