"""Dates as numbers: the parts of a date that vary, the time since the first one, and the time between two columns."""

from __future__ import annotations

import numpy as np

DAY = 86_400.0
#: For each part the number of it from dates as datetime64[us].
PARTS = ("elapsed", "year", "month", "day", "weekday", "hour")


def part_of(dates: np.ndarray, part: str) -> np.ndarray:
    """Return a part of dates (n,) as numbers, NaN where a date is missing.

    "elapsed" is in days since 1970, "day" that of the month, "weekday" is 0 on Mondays, "hour" has its minutes as a
    fraction.
    """
    known = ~np.isnat(dates)
    safe = np.where(known, dates, np.datetime64(0, "us"))
    days = safe.astype("datetime64[D]")
    months = safe.astype("datetime64[M]")
    numbers: np.ndarray
    match part:
        case "elapsed":
            numbers = safe.astype(np.int64) / (1e6 * DAY)
        case "year":
            numbers = safe.astype("datetime64[Y]").astype(np.int64) + 1970.0
        case "month":
            numbers = months.astype(np.int64) % 12 + 1.0
        case "day":
            numbers = (days - months.astype("datetime64[D]")).astype(np.int64) + 1.0
        case "weekday":
            numbers = (days.astype(np.int64) + 3.0) % 7.0
        case _:
            numbers = (safe - days.astype("datetime64[us]")).astype(np.int64) / 3.6e9
    return np.where(known, numbers, np.nan)


def varying_parts(dates: np.ndarray) -> list[str]:
    """Return the parts that differ among these dates."""
    known = dates[~np.isnat(dates)]
    return [part for part in PARTS if len(known) and np.ptp(part_of(known, part)) > 0]


def hours_between(dates: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the hours from `others` to `dates`, NaN where one is missing."""
    gap = dates - others
    return np.where(np.isnat(gap), np.nan, gap.astype("timedelta64[us]").astype(np.int64) / 3.6e9)
