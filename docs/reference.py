"""Write the reference, a page for each group of public names, from their docstrings; `docs/conf.py` calls it."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

#: Pages, and the names on them: of xbackprop, or of the module that stands before a colon.
PAGES = {
    "Networks": ["MLP", "MLPClassifier", "MLPRegressor", "fit_many", "set_default_backend"],
    "Tables": ["TableEncoder", "TabularClassifier", "TabularRegressor", "load_tabular", "tabular:onnx_inputs"],
    "Searches": [f"model_selection:{name}" for name in ("GridSearchCV", "RandomizedSearchCV", "HalvingRandomSearchCV")],
    "Activations, losses, starts": [
        "Activation", "Loss", "huber_loss", "quantile_loss", "ACTIVATIONS", "LOSSES", "INITIALIZERS",
    ],
    "Checking": [
        "verify", "check_gradient", "check_jvp", "check_vjp", "check_torch", "check_jax", "check_scipy", "Report",
        "Verdict",
    ],
    "Callbacks and displays": [
        *(f"callbacks:{name}" for name in importlib.import_module("xbackprop.callbacks").__all__), "LossCurveDisplay",
        "WeightsDisplay",
    ],
    "Backends": ["Backend"],
    "Many processes": ["distributed:Communicator", "distributed:simulate"],
    "Errors": [
        "BackendError", "ConvergenceWarning", "DivergenceError", "ExportError", "GradientCheckError", "ModelFileError",
        "NotFittedError", "RankError",
    ],
}  # fmt: skip
SECTION = re.compile(r"^(\w[\w ,]*)\n-{3,}$", re.M)
#: Methods that are there for others of xbackprop, and scikit-learn's for routing.
INTERNAL = re.compile(r"models?_|set_\w+_request")
ENTRY = re.compile(r"^([\w*, ]+?) : ", re.M)


def write(folder: Path) -> None:
    """Write the pages into a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for title, names in PAGES.items():
        parts = [f"# {title}", *(of_name(name) for name in names)]
        (folder / f"{slug(title)}.md").write_text("\n\n".join(parts) + "\n")
    listed = "\n".join(map(slug, PAGES))
    (folder / "index.md").write_text(
        f"# Reference\n\nEvery public name, from its docstring.\n\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n"
    )


def slug(title: str) -> str:
    """Return the name of a page's file."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def of_name(name: str) -> str:
    """Return the section of a public name."""
    home, _, short = name.rpartition(":")
    module = importlib.import_module(f"xbackprop.{home}" if home else "xbackprop")
    thing, path = getattr(module, short), f"{module.__name__}.{short}"
    if not callable(thing):
        return f"## `{path}`\n\nA mapping with the keys " + ", ".join(f"`{key}`" for key in thing) + "."
    parts = [f"## `{path}`", signature_of(thing, short), text_of(inspect.getdoc(thing) or "")]
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        parts += [of_member(short, key, member) for key, member in members_of(thing)]
    return "\n\n".join(part for part in parts if part)


def members_of(kind: type) -> list[tuple[str, Any]]:
    """Return the public methods and properties of a class that ours define, in the order of their names."""
    found = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("xbackprop"):
            found |= {key: member for key, member in vars(base).items() if not key.startswith("_")}
    usable = (inspect.isroutine, lambda member: isinstance(member, property | classmethod | staticmethod))
    shown = {key: member for key, member in found.items() if any(is_one(member) for is_one in usable)}
    return sorted((key, member) for key, member in shown.items() if not INTERNAL.fullmatch(key))


def of_member(owner: str, name: str, member: Any) -> str:
    """Return the part of a method or property."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    doc = inspect.getdoc(function) or ""
    if isinstance(member, property):
        return f"### `{owner}.{name}`\n\n{text_of(doc)}"
    return f"### `{owner}.{name}`\n\n{signature_of(function, name)}\n\n{text_of(doc)}"


def signature_of(thing: Any, name: str) -> str:
    """Return the signature as a block of code, without types, a parameter on a line where they do not fit into one."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    plain = [p for p in plain if p.name not in ("self", "cls")]
    whole = str(inspect.Signature(plain))
    if len(name) + len(whole) > 100:
        whole = "(\n    " + ",\n    ".join(map(str, plain)) + ",\n)"
    return f"```text\n{name}{whole}\n```"


def text_of(doc: str) -> str:
    """Turn a docstring into Markdown: sections become bold words, entries of them a list, examples code."""
    head, *rest = SECTION.split(doc)
    parts = [_paragraphs(head)]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        parts += [f"**{title}**", _paragraphs(body) if title == "Examples" else _entries(body)]
    return "\n\n".join(part for part in parts if part)


def _paragraphs(text: str) -> str:
    blocks = re.split(r"\n\s*\n", text.strip())
    code = (block.lstrip().startswith(">>>") for block in blocks)
    return "\n\n".join(
        f"```python\n{b}\n```" if is_code else _plain(b) for b, is_code in zip(blocks, code, strict=True)
    )


def _entries(body: str) -> str:
    """Return a section's "name : text" as a list; several may share a line, "a : …. b : …"."""
    body = re.sub(r"(?<=\. )(\w+(?:, \w+)*) : ", r"\n\1 : ", body.strip("\n"))
    lines = []
    for line in body.split("\n"):
        if ENTRY.match(line):
            stop = "." if " : default " in line else ""  # the text follows on a line of its own
            lines.append("- **`" + ENTRY.sub(r"\1`** : ", _plain(line), count=1) + stop)
        elif not line.strip():
            lines.append("")
        else:
            lines.append(f"  {_plain(line.strip())}" if lines and lines[-1].startswith(("- ", "  ")) else _plain(line))
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Keep Markdown from taking a star, or what stands in angle brackets, for its own, outside of code."""
    parts = re.split(r"(``.*?``|`.*?`)", text, flags=re.S)
    return "".join(p if i % 2 else p.replace("*", r"\*").replace("<", r"\<") for i, p in enumerate(parts))
