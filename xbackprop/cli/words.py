"""Lines that commands print: a label, and what there is to say."""

from __future__ import annotations


def report(label: str, text: str) -> None:
    """Print a line with a label before it, at once."""
    print(f"{label:<10} {text}", flush=True)
