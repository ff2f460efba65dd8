"""Sphinx: the pages of this folder, README's picture, and a page for every public name, made of docstrings."""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import reference  # noqa: E402

project, author = "xbackprop", "the xbackprop developers"
version = release = importlib.import_module("xbackprop.version").__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
html_theme, html_title = "furo", "xbackprop"
html_theme_options = {"light_css_variables": {"color-brand-primary": "#33628c", "color-brand-content": "#33628c"}}
html_copy_source = html_show_sourcelink = False
#: Links from a page to a file of the repository, which stand as they are on GitHub.
suppress_warnings = ["myst.xref_missing"]


def setup(app):
    """Write the reference before the pages are read."""
    reference.write(HERE / "reference")
