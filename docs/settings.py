"""Write docs/settings.md from the table of settings: `python docs/settings.py`; with --print, to standard output."""

import sys
from pathlib import Path

from xbackprop.mlp.setting import CLASSES
from xbackprop.mlp.setting_table import SETTINGS

HEAD = """# Settings

Every parameter of `MLP`, `MLPClassifier` and `MLPRegressor`, their defaults side by side, and what each means. The
three classes share one table, `xbackprop/mlp/setting_table.py`; this page is written from it by `python
docs/settings.py`. A dash stands where a class does not have the parameter. "resume" marks what may be another value
when a run is resumed from a checkpoint; "file" marks what model files hold.

| parameter | MLP | MLPClassifier | MLPRegressor | resume | file | meaning in `MLP` |
|---|---|---|---|---|---|---|
"""


def row(setting):
    """A line of the table."""
    defaults = [f"`{setting.default_of(name)!r}`" if name in setting.classes else "–" for name in CLASSES]
    marks = ["✓" if setting.changes_on_resume else "", "✓" if setting.in_files else ""]
    meaning = setting.meaning.replace("|", "\\|")
    return f"| `{setting.name}` | {' | '.join([*defaults, *marks, meaning])} |"


def page():
    """The whole page: the table, and the meanings that differ in the estimators."""
    lines = [row(setting) for setting in SETTINGS]
    lines += ["", "In the estimators these differ:", "", "| parameter | class | meaning |", "|---|---|---|"]
    for setting in SETTINGS:
        for name, meaning in setting.meanings.items():
            text = meaning.replace("|", "\\|")
            lines.append(f"| `{setting.name}` | {name} | {text} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write(page())
    else:
        (Path(__file__).parent / "settings.md").write_text(page(), encoding="utf-8")
