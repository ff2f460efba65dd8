"""Write docs/settings.md from the table of settings: `python docs/settings.py`; with --print, to standard output."""

import sys
from pathlib import Path

from xbackprop.cli import train
from xbackprop.cli.main import make_parser
from xbackprop.mlp.setting import CLASSES
from xbackprop.mlp.setting_table import SETTINGS

HEAD = """# Settings

Every parameter of `MLP`, `MLPClassifier` and `MLPRegressor`, their defaults side by side, and what each means; and what
`xbackprop train` sets, for a classification or a regression, where no option says otherwise. They share one table,
`xbackprop/mlp/setting_table.py`; this page is written from it by `python docs/settings.py`. A dash stands where a class
does not have the parameter. "resume" marks what may be another value when a run is resumed from a checkpoint; "file"
marks what model files hold.

| parameter | MLP | MLPClassifier | MLPRegressor | `xbackprop train` | resume | file | meaning in `MLP` |
|---|---|---|---|---|---|---|---|
"""


def of_command():
    """What the command sets, by the name of the setting, in words."""
    args = make_parser().parse_args(["train", "digits"])
    found = [train.settings_of(args, task, None) for task in ("classification", "regression")]
    found = [{**how, "hidden_layer_sizes": args.hidden, "backend": args.backend} for how in found]
    return {name: " or ".join(dict.fromkeys(f"`{how[name]!r}`" for how in found)) for name in found[0]}


COMMAND = of_command()


def row(setting):
    """A line of the table."""
    defaults = [f"`{setting.default_of(name)!r}`" if name in setting.classes else "–" for name in CLASSES]
    defaults.append(COMMAND.get(setting.name, defaults[0]))
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
