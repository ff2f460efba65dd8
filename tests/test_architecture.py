"""The surface: what is exported and documented, what importing costs, and that imports run one way."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xbackprop

PACKAGE = Path(xbackprop.__file__).parent
GROUND = {"errors", "version", "validation", "files"}
ROOT = Path(__file__).parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "xbackprop."))


def allowed():
    """For every folder of the table in docs/design.md the folders it may import; the ground is one of them."""
    page = (ROOT / "docs" / "design.md").read_text()
    table = re.findall(r"^\| (`.*?) \| .* \| (`.*`|nothing) \|$", page, re.M)
    ground, *folders = [(re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", others)) for names, others in table]
    rows = {name: {*others, name, *ground[0]} for (name,), others in folders}
    return {**{name: {*ground[0]} for name in ground[0]}, **rows}


def imported_by(path):
    """The folders of xbackprop that a file imports, at its top or within its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if modules == ["xbackprop"]:
            modules = [f"xbackprop.{alias.name}" for alias in node.names]
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (module.split(".")[1] for module in modules if module.startswith("xbackprop."))


def test_the_table_has_every_folder_once_and_imports_only_what_stands_above():
    table = allowed()
    there = {
        p.stem for p in PACKAGE.iterdir() if p.name not in ("__init__.py", "__main__.py", "__pycache__", "py.typed")
    }
    assert set(table) == there
    above = set()
    for name, others in table.items():
        assert others - {name} <= above | GROUND, name
        above.add(name)


def test_imports_run_one_way():
    table, wrong = allowed(), []
    arrows = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        folder = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if folder in ("__init__", "__main__"):
            continue
        for other in imported_by(path):
            arrows += other != folder
            if other not in table[folder]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong
    assert arrows > len(table)  # the script finds imports at all


NAMED_TUPLES = {"_replace", "_asdict", "_make", "_fields"}  # public, for all their underscores


@pytest.mark.parametrize("module", MODULES)
def test_underscored_names_stay_in_their_module(module):
    """A name with an underscore is imported by no other module, and but for `self` asked only where it is defined."""
    loaded = PACKAGE / (module.removeprefix("xbackprop.").replace(".", "/") + ".py")
    path = loaded if loaded.exists() else loaded.with_suffix("") / "__init__.py"
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    defined |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    ours = [n for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("xbackprop")]
    imported = {alias.name for n in ours for alias in n.names if alias.name.startswith("_")}
    of_others = (
        n for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) not in ("self", "cls", "super()")
    )
    asked = {n.attr for n in of_others if n.attr.startswith("_")} - NAMED_TUPLES - defined
    imported, asked = ({name for name in names if not name.startswith("__")} for names in (imported, asked))
    assert not imported
    assert not asked


def test_backends_stand_outside():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.startswith("xbackprop_")], path


def test_all_is_what_there_is():
    foreign = {"Any", "TYPE_CHECKING", "import_module"}
    here = {name for name, thing in vars(xbackprop).items() if not name.startswith("_") and not inspect.ismodule(thing)}
    assert set(xbackprop.__all__) == (here - foreign) | set(xbackprop._LATER)
    for name in xbackprop.__all__:
        assert getattr(xbackprop, name).__doc__
    with pytest.raises(AttributeError, match="module 'xbackprop' has no attribute 'nothing'"):
        xbackprop.nothing  # noqa: B018


def test_dir_lists_what_is_imported_later():
    """Editors and notebooks complete names from it."""
    assert set(xbackprop.__all__) <= set(dir(xbackprop))


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module):
    if module == "xbackprop.__main__":
        assert ast.get_docstring(ast.parse((PACKAGE / "__main__.py").read_text()))
        return
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    for name, thing in vars(loaded).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__doc__, f"{module}.{name}"
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    assert function.__doc__, f"{module}.{name}.{method}"


def test_no_file_is_longer_than_a_reader_can_hold():
    root = PACKAGE.parent
    for folder in ("xbackprop", "backends", "tests", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path


def test_importing_imports_no_other_library():
    others = ["torch", "cupy", "jax", "numba", "sklearn", "scipy", "rich", "safetensors", "matplotlib", "pandas"]
    code = f"import sys, xbackprop; print([m for m in {others} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_importing_imports_no_method_of_verification():
    code = "import sys, xbackprop; print([m for m in sys.modules if m.startswith('xbackprop.verification.methods')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_version_is_the_distribution_s():
    from importlib.metadata import version

    assert xbackprop.__version__ == version("xbackprop")
