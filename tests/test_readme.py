"""The Python of README and docs runs as it stands, and the commands are those of the project."""

import re
import warnings
from pathlib import Path

import pytest

import xbackprop
from xbackprop.mlp.setting_table import SOLVERS
from xbackprop.optim.schedules import SCHEDULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("sklearn", reason="a block has its estimators' data")
    namespace: dict = {}
    assert len(BLOCKS) == 5
    for number, block in enumerate(BLOCKS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=UserWarning)  # that max_iter was reached
            exec(compile(block, f"README block {number}", "exec"), namespace)


def test_the_block_of_the_page_on_verification_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "verification.md").read_text(), re.DOTALL)
    exec(compile(block, "verification.md", "exec"), {})


def test_ci_runs_the_readme_s_test_command():
    command = "python -m pip install nox && nox"
    assert f"\n{command}\n" in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(f"\n{command}")


def test_the_block_of_the_page_on_learning_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "learning.md").read_text(), re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        exec(compile(block, "learning.md", "exec"), {})


def test_the_page_on_learning_has_a_row_for_everything():
    page = (ROOT / "docs" / "learning.md").read_text()
    for name in (*xbackprop.LOSSES, *SOLVERS, *SCHEDULES):
        assert f"| `{name}` |" in page, name
    derivation = (ROOT / "docs" / "derivation.md").read_text()
    for name in xbackprop.ACTIVATIONS:
        assert f"| {name} |" in derivation, name


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize(
    "line", re.findall(r"^\| .* \| `(.*?)` \|$", README.split("## Why")[0].split("## Read")[1], re.M)
)
def test_the_equations_lines_stand_in_the_code(line):
    assert line in (ROOT / "xbackprop" / "nn" / "backprop.py").read_text()
