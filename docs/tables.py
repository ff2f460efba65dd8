"""Run docs/tables.md from top to bottom, and draw its pictures anew: python docs/tables.py."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xbackprop.cli import main

DOCS = Path(__file__).parent
PICTURES = ("curves", "residuals", "importance")


def steps() -> Iterator[tuple[str, str]]:
    """Yield the page's blocks in their order: "python" and the text, or "sh" and a command."""
    page = (DOCS / "tables.md").read_text("utf-8")
    for kind, text in re.findall(r"```(python|sh)\n(.*?)```", page, re.DOTALL):
        yield from ((kind, line) for line in ([text] if kind == "python" else text.splitlines()))


def run(kind: str, text: str) -> None:
    """Run a block of Python, or a command, in the present folder."""
    if kind == "python":
        exec(compile(text, "docs/tables.md", "exec"), {})
        return
    program, *arguments = shlex.split(text)
    assert program == "xbackprop"
    code = main.main(arguments)
    assert code == 0, f"{text} ended with {code}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind, text in steps():
            run(kind, text)
            sys.stdout.flush()
        for name in PICTURES:
            shutil.copy(Path("pictures") / f"{name}.png", DOCS / f"tables-{name}.png")
