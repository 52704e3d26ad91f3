"""A Sphinx extension: links in included files of the repository, such as CONTRIBUTING.md, become the site's."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

_INCLUDE = re.compile(r"^```{include} (\S+)\n```$", re.MULTILINE)
_LINK = re.compile(r"\[([^][]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_PAGES = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "readme.md",
    "SECURITY.md": "security.md",
    "contract/VERSIONING.md": "versioning.md",
}
"""Files of the repository that are pages of the site."""
_INCLUDING = [page.removesuffix(".md") for page in _PAGES.values()]
"""Pages to read again in each build: Sphinx does not know which files they include."""


def _rewrite(_app: Sphinx, _page: str, source: list[str]) -> None:
    text = _linked(source[0], DOCS)
    text = _INCLUDE.sub(lambda include: _included(DOCS / include[1]), text)
    source[0] = text.replace("\n\n```\n", "\n```\n")  # a doctest ends in an empty line


def _included(page: Path) -> str:
    return _linked(page.read_text(), page.resolve().parent)


def _linked(text: str, folder: Path) -> str:
    """Make the links of a file in `folder` the site's. Those to a folder become its path: it is not a page."""

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            return match[0]  # Sphinx warns of it
        name = str(path.relative_to(ROOT))
        if path.is_dir():
            return f"`{name}/`"
        return f"[{words}]({_PAGES.get(name) or os.path.relpath(path, DOCS)}{anchor})"

    return _LINK.sub(link, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension. Sphinx calls it."""
    app.connect("source-read", _rewrite)
    app.connect("env-get-outdated", lambda *_: _INCLUDING)
    return {"parallel_read_safe": True, "version": "1"}
