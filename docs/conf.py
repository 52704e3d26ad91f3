"""Sphinx's configuration: `./build.sh docs` writes the site to build/docs; every warning is an error.

Sphinx with Furo was chosen over MkDocs with Material because Material for MkDocs 9.8 is marked inactive on PyPI
("7 - Inactive"), and its successor Zensical (0.1) is a beta. Sphinx turns every broken link into an error and needs no
network (2026-11). docs/generate.py writes the API page, not autodoc, so that it can be read in the repository too.
"""

import sys
from pathlib import Path

from hardpoint.version import __version__

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

project = "hardpoint"
author = "the authors of hardpoint"
project_copyright = "the authors of hardpoint, MIT licence"
version = release = __version__

extensions = ["myst_parser", "repository_links"]

myst_heading_anchors = 4
myst_html_meta = {
    "description": "hardpoint loads compiled plugins into Python: checked first, typed, fast, and isolated on request."
}

smartquotes = False  # would turn the two dashes of an option into one

html_theme = "furo"
html_title = f"hardpoint {release}"
html_static_path = ["_static"]
html_css_files = ["hardpoint.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7cb7de", "color-brand-content": "#7cb7de"},
    "navigation_with_keys": True,
}
