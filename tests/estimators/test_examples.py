"""The examples run, and what they assert holds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xbackprop

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_they_are_all_there():
    assert {p.stem for p in EXAMPLES} >= {
        "custom_parts", "digits_on_every_backend", "grid_search", "regression", "stop_and_resume",
    }  # fmt: skip


def test_the_page_on_many_networks(capsys):
    """Its blocks run, and print what their comments say."""
    page = (Path(__file__).parents[2] / "docs" / "many-networks.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        exec(compile(block, "many-networks.md", "exec"), {})
    said = [line.split("#")[1].strip() for line in page.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out.splitlines() == said


def test_the_page_for_those_who_come_from_scikit_learn(recwarn):
    page = (Path(__file__).parents[2] / "docs" / "scikit-learn.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "scikit-learn.md", "exec"), {})
    for cls in (xbackprop.MLPClassifier, xbackprop.MLPRegressor):
        for parameter in cls().get_params():
            assert f"`{parameter}`" in page, parameter
