"""Every check of the project: `nox` runs them all, `nox -s "tests(torch)"` one of them. See CONTRIBUTING.md."""

import os
from pathlib import Path

import nox

# Where nothing may write bytecode, each worker of each session would compile torch, SymPy, SciPy and the tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "minimal", "docs", "tests", "estimators"]

PROJECT = nox.project.load_toml("pyproject.toml")
#: What each session of `tests` runs the suite on; they are the names of the fixture in tests/conftest.py.
BACKENDS = {
    "numpy": "numpy,numpy-readonly",
    "strict": "strict,strict-device1",
    "torch": "torch,torch-cuda",
    "numba": "numba",
    "jax": "jax",
    "cupy": "cupy",
}


JAX = "jax==0.10.2"  # the newest for Python 3.11
#: Bytecode is written when a module is first imported, and not for all of torch, SymPy and SciPy beforehand.
INSTALL = ["--no-compile"]

#: Two workers, and a thread for each: on networks this small, threads only wait for each other.
IN_PARALLEL = ["-n", "2"]
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def group(name):
    return nox.project.dependency_groups(PROJECT, name)


def required(backend):
    return backend in os.environ.get("XBACKPROP_REQUIRE", "").split(",")


@nox.session
def lint(session):
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session):
    session.install(*group("types"), "numpy", "array-api-compat", "safetensors", "threadpoolctl")
    session.run("mypy")


@nox.session
def minimal(session):
    """The library with what it must have and nothing else: no torch, no scikit-learn, no rich.

    It is installed as from a package index: as the wheel that is made of the source distribution.
    """
    dist = session.create_tmp()
    session.install(*INSTALL, "build", "pytest", "mpmath", "hypothesis")
    session.run("python", "-m", "build", "--outdir", dist, ".", silent=True)
    wheels = sorted(Path(dist).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install(*INSTALL, "--force-reinstall", str(wheels[-1]))
    session.run("pytest", "tests/test_minimal.py", *session.posargs)


@nox.session
def docs(session):
    """The site, into docs/_build: a link that leads nowhere is an error. The tests run the code of its pages."""
    session.install(*INSTALL, *group("docs"), ".[sklearn]")
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")


#: What one of JAX's workers has compiled, the other one reads from a file, however quickly it was compiled. For a file
#: that is not yet whole JAX warns, and then compiles by itself.
EVERYTHING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
SHARING = ["-W", "ignore:Error reading persistent compilation cache:UserWarning"]
#: Nearly all of JAX's time goes to compiling thousands of small programs that run a few times each, which XLA does
#: faster when it optimises little. The tests of the compiled epoch and of training run as users run it.
QUICKLY = {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"}
AS_USED = ["tests/with_jax", "tests/training"]

#: Where the session `environment` has put its programs.
BIN = []


@nox.session(default=False)
def environment(session):
    """Install what `tests` and `estimators` share; they call for it. Once, since pip takes a minute and a half."""
    session.install(*INSTALL, *group("test"), *group("estimators"), JAX, ".[numba]")
    BIN.append(session.bin)


def run_pytest(session, *arguments, **variables):
    """pytest in the shared environment."""
    path = os.pathsep.join([BIN[-1], os.environ.get("PATH", "")])
    session.run(str(Path(BIN[-1]) / "pytest"), *arguments, *session.posargs, env={"PATH": path, **variables})


@nox.session(venv_backend="none", requires=["environment"])
@nox.parametrize("backend", [nox.param(name, id=name, tags=["gpu"] if name == "cupy" else []) for name in BACKENDS])
def tests(session, backend):
    """Every test that takes a backend, on this one; numpy's session also runs the tests that take none."""
    if backend == "cupy":
        if not required("cupy") and not has_gpu():
            session.skip("no NVIDIA GPU here: neither /proc/driver/nvidia/version nor nvidia-smi is there")
        session.run_install(str(Path(BIN[-1]) / "python"), "-m", "pip", "install", *INSTALL, ".[cupy-cuda13x]")
    how = [] if backend == "cupy" else IN_PARALLEL
    apart = ["tests/estimators"] if backend == "jax" else ["tests/estimators", "tests/with_jax"]
    variables = {"XBACKPROP_TEST_BACKENDS": BACKENDS[backend], **ONE_THREAD}
    if backend == "jax":
        how = [*how, *SHARING]
        variables |= {"JAX_COMPILATION_CACHE_DIR": str(Path(BIN[-1]).parent / "xla"), **EVERYTHING}
        if not session.posargs:  # which may name tests of either part
            run_pytest(session, *AS_USED, *how, **variables)
            apart += AS_USED
            variables |= QUICKLY
    run_pytest(session, *(f"--ignore={folder}" for folder in apart), *how, **variables)


@nox.session(venv_backend="none", requires=["environment"])
def estimators(session):
    """scikit-learn's checks and tests on our estimators, and the examples; SCIPY_ARRAY_API is for its array API."""
    run_pytest(session, "tests/estimators", *IN_PARALLEL, SCIPY_ARRAY_API="1", **ONE_THREAD)


#: The tests that show whether a library of the standard will do.
ANY_LIBRARY = ["tests/arrays", "tests/training", "tests/nn/test_objective.py", "tests/mlp/test_mlp.py",
               "tests/verification/test_check_gradient.py"]  # fmt: skip


@nox.session
def dpnp(session):
    """Not by default: a library that no backend of ours is for, on a device of its own, SYCL's for the CPU."""
    session.install(*INSTALL, ".", "dpnp", "pytest", "hypothesis", "mpmath", "pytest-xdist")
    lib = Path(session.bin).parent / "lib"  # where Intel's packages put what the system's loader does not find there
    device = {"OCL_ICD_FILENAMES": str(lib / "libintelocl.so"), "LD_LIBRARY_PATH": str(lib)}
    selected = {"XBACKPROP_TEST_BACKENDS": "dpnp", "XBACKPROP_REQUIRE": "dpnp"}
    session.run("pytest", *IN_PARALLEL, *(session.posargs or ANY_LIBRARY), env={**selected, **device})


@nox.session
def campaign(session):
    """Not by default: every fault, every rule, torch's and jax's checkers too. Writes docs/verification.md's table."""
    session.install(*group("test"), JAX, ".")
    session.run("python", "tests/mutation/campaign.py", "--write", *session.posargs)


@nox.session
def stress(session):
    """Not by default: files, tables, settings and running processes mistreated at random; `-- --tries 100` for less."""
    session.install(*INSTALL, ".[sklearn]")
    session.run("python", "tests/stress/stress.py", *session.posargs)


@nox.session
def bench(session):
    """Not by default: against scikit-learn, torch, JAX and the bare matrix products. Writes docs/benchmarks.md.

    `-- --compare` holds a new run to the published one; `-- --quick` prints and writes nothing.
    """
    session.install(*group("bench"), ".")
    session.run("python", "benchmarks/run.py", *session.posargs)
    if not {"--compare", "--net", "--dtype"} & set(session.posargs):
        for part in ("estimators", "many", "checkpointing", "memory", "scaling"):
            session.run("python", f"benchmarks/{part}.py", *session.posargs)


def has_gpu():
    import shutil

    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
