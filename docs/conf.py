"""Configure Sphinx: `./build.sh docs` writes the site to build/docs, and every warning is an error.

Sphinx with Furo was chosen over MkDocs with Material because Material for MkDocs 9.8 is marked inactive on PyPI
("7 - Inactive"), and its successor Zensical (0.1) is a beta that does not run MkDocs' plugins, which API pages need. Sphinx
makes the API pages from docstrings without an add-on, turns broken links into errors, and needs no network (2026-11).
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

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
# Names of the standard library would need its inventory, a download; private names have no page.
nitpick_ignore_regex = [(r"py:.*", r"(?!hardpoint\.).*|hardpoint\..*\._\w+")]

myst_enable_extensions = ["deflist", "attrs_block"]
myst_heading_anchors = 3
myst_html_meta = {
    "description": "hardpoint loads compiled plugins into Python: checked first, typed, fast, and isolated on request."
}

smartquotes = False  # would turn the two dashes of an option into one
default_role = "literal"  # docstrings have code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False

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
