"""The surface: what is exported and documented, what importing costs, and that imports run one way."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import xbackprop

PACKAGE = Path(xbackprop.__file__).parent
#: docs/design.md's list: no module imports one that stands below it.
ORDER = [
    "errors", "storage", "backend", "special", "activations", "losses", "initializers", "network", "objective",
    "tangent", "derivatives",
    "verification.verdicts", "verification.diagnosis", "verification.subject", "verification.network_subject",
    "verification.threads", "verification.paper", "verification.richardson", "verification.complex_step",
    "verification.taylor", "verification.problem", "verification.rounding", "verification.dot_product",
    "verification.oracle", "verification.reference", "verification.point", "verification.results",
    "verification.wording", "verification.text", "verification.plots", "verification.page",
    "verification.report", "verification.curves", "verification.outcome", "verification.examine",
    "optimizers", "schedules", "dropout", "batches", "steps", "training", "checkpoints", "checks", "settings",
    "operations", "ledger", "complexity", "metrics", "targets", "data", "lbfgs", "model", "prediction", "fitting",
    "gradients", "mlp", "sklearn_base", "estimators", "verification.functions", "verification.products",
    "verification.verify", "verification.matrix", "datasets", "scaling", "progress", "verify_command", "cli",
    "__main__",
]  # fmt: skip
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "xbackprop."))


def imported_by(path):
    """The xbackprop modules that a file imports, at its top or within its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "xbackprop":
            inside = node.module.removeprefix("xbackprop").removeprefix(".")
            for alias in node.names:
                whole = f"{inside}.{alias.name}".lstrip(".")
                yield whole if whole in ORDER else inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("xbackprop."):
                    yield alias.name.removeprefix("xbackprop.")


@pytest.mark.parametrize("module", ORDER)
def test_imports_run_one_way(module):
    path = PACKAGE / (module.replace(".", "/") + ".py")
    assert path.exists(), f"{module} is in the list and not in the package"
    below = ORDER[ORDER.index(module) :]
    assert not [name for name in imported_by(path) if name in below]


def test_every_module_is_in_the_list():
    packages = {"verification"}
    assert {m.removeprefix("xbackprop.") for m in MODULES} - packages == set(ORDER)


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


def test_the_version_is_the_distribution_s():
    from importlib.metadata import version

    assert xbackprop.__version__ == version("xbackprop")
