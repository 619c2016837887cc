"""How the documentation is built: `make docs` (Sphinx with MyST and furo), without a warning or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "Sotto"
author = "the Sotto authors"
project_copyright = "the Sotto authors, Apache-2.0"
html_title = "Sotto"
html_theme = "furo"
html_static_path = ["looks"]
html_css_files = ["narrow.css"]
html_show_sourcelink = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "building.pages"]
exclude_patterns = ["building", "looks"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

default_role = "code"  # docstrings write names as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

linkcheck_timeout = 20
linkcheck_retries = 2
