"""How the pages become a site: `./build.sh docs` writes it to build/docs, with every warning an error.

Why Sphinx with Furo, and not MkDocs with Material: Material for MkDocs 9.8 is marked inactive on PyPI ("7 - Inactive"), and
its successor Zensical (0.1) is a beta that MkDocs' plugins, API pages among them, do not run on. Sphinx makes the API's
pages from docstrings without an add-on, turns every broken link into an error, and needs no network (2026-11).
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
# The standard library's inventory would have to be downloaded, and what is private has no page.
nitpick_ignore_regex = [(r"py:.*", r"(?!hardpoint\.).*|hardpoint\..*\._\w+")]

myst_enable_extensions = ["deflist", "attrs_block"]
myst_heading_anchors = 3
myst_html_meta = {
    "description": "hardpoint loads compiled plugins into Python: checked first, typed, fast, or in a sandbox."
}

smartquotes = False  # options start with two dashes, in prose too
default_role = "literal"  # docstrings are prose, with code in single backticks
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
