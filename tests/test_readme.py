"""The Python of README and docs runs as it stands, and the commands are those of the project."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest

import xbackprop
from xbackprop.mlp.setting_table import SOLVERS
from xbackprop.optim.schedules import SCHEDULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = [
    (page.name, block)
    for page in (
        ROOT / "README.md",
        *(
            ROOT / "docs" / f"{name}.md"
            for name in (
                "backends",
                "checking",
                "exports",
                "large-data",
                "learning",
                "many-machines",
                "verification",
                "watching",
            )
        ),
    )
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


def promised(block):
    """The texts that a block says its `print(...)` print: "..." stands for anything, and ":" begins a remark."""
    return [text.split(": ")[0] if "..." not in text else text for text in re.findall(r"print\(.*\)  # (.*)", block)]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_block_runs_alone_and_prints_what_it_says(page, block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for library in ("sklearn", "array_api_strict", "torch", "onnx"):
        if library in block:
            pytest.importorskip(library, reason=f"the block uses {library}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        exec(compile(block, page, "exec"), {})
    printed = " ".join(capsys.readouterr().out.split())
    expected = [re.escape(text).replace(r"\.\.\.", ".*") for text in promised(block)]
    assert not expected or re.fullmatch(" ".join(expected), printed)


def test_the_tutorial_on_tables_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    for library in ("pandas", "matplotlib", "sklearn"):
        pytest.importorskip(library, reason=f"the tutorial uses {library}")
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tutorial = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tutorial)
    monkeypatch.chdir(tmp_path)
    kinds = []
    for kind, text in tutorial.steps():
        capsys.readouterr()
        tutorial.run(kind, text)
        kinds.append(kind)
        if expected := promised(text):
            assert capsys.readouterr().out.split("\n")[:-1] == expected
    assert kinds.count("sh") == 4
    assert kinds.count("python") == 3
    assert all((tmp_path / "pictures" / f"{name}.png").exists() for name in tutorial.PICTURES)


def test_the_reference_has_every_public_name():
    pytest.importorskip("sklearn", reason="the reference imports the estimators")
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    names = [name for names in reference.PAGES.values() for name in names]
    assert len(set(names)) == len(names)
    assert {name for name in names if ":" not in name} == set(xbackprop.__all__)
    assert all(len(reference.of_name(name).splitlines()) >= 3 for name in names)


def test_ci_runs_the_readme_s_test_command():
    command = "python -m pip install nox && nox"
    assert f"\n{command}\n" in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(f"\n{command}")


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
