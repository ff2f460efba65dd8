"""Count the lines of code of a package by folder, without docstrings, comments and blank lines.

`python benchmarks/code_size.py` counts `xbackprop`; another folder may be named.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

IGNORED = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(source: str) -> int:
    """Count the lines that hold a token of code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in IGNORED:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "xbackprop"
    folders: Counter[str] = Counter()
    for path in sorted(root.rglob("*.py")):
        folders[str(path.parent.relative_to(root))] += lines_of_code(path.read_text("utf-8"))
    for folder, count in sorted(folders.items()):
        print(f"{folder:<24}{count:>7,}")
    print(f"{'all':<24}{sum(folders.values()):>7,}")


if __name__ == "__main__":
    main()
