"""docs/by-hand.md: its code runs from top to bottom and prints what it says, as a page and as a notebook."""

import importlib.util
import json
import re
from pathlib import Path

from test_readme import promised

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "by-hand.md").read_text("utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_the_page_runs_from_top_to_bottom(capsys):
    names = {}
    for block in CODE:
        exec(compile(block, "docs/by-hand.md", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        expected = promised(block)
        assert printed[: len(expected)] == expected


def test_the_algorithm_on_the_page_is_that_of_the_example():
    example = (ROOT / "examples" / "algorithm_1.py").read_text("utf-8")
    body = example[example.index("def algorithm_1") : example.index("\n\nif __name__")]
    assert any(body.strip() in block for block in CODE)


def test_the_notebook_is_the_page():
    spec = importlib.util.spec_from_file_location("by_hand", ROOT / "docs" / "by_hand.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "by-hand.ipynb").read_text("utf-8")
    assert written == module.notebook(TEXT), "python docs/by_hand.py writes it anew"
    cells = json.loads(written)["cells"]
    assert ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"] == [b.strip("\n") for b in CODE]
