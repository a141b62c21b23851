"""Settings of the documentation, built by ``make docs``; nothing is fetched from the network."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

project = "NFD-World"
author = "The NFD-World developers"
copyright = author
version = release = installed_version("nfd-world")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"NFD-World {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]

# `make docs` stops at warnings, so that a link to nowhere is noticed.
nitpicky = False
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 4
# Pages that live elsewhere are included, and link to files of the repository.
suppress_warnings = ["myst.xref_missing"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def _formulas_line_by_line(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Shows an indented block after a colon, a formula or a command, line by line."""
    for i in range(len(lines) - 2):
        ends, below = lines[i].rstrip(), lines[i + 2]
        indented = len(below) - len(below.lstrip()) > len(ends) - len(ends.lstrip())
        if ends.endswith(":") and not ends.endswith("::") and not lines[i + 1].strip() and indented:
            lines[i] = ends + ":"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _formulas_line_by_line, priority=100)
