"""What the build writes into the pages: what is made from code (the commands' help, problems, errors), and other files.

A page has `<!-- generated: NAME -->` where something of the code stands. What a page includes is a page of the repository's, such as
CONTRIBUTING.md, and the links in it are made the site's own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import problems

from hardpoint import cli, errors

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable
    from typing import Any

    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_INCLUDE = re.compile(r"^```{include} (\S+)\n```$", re.MULTILINE)
_LINK = re.compile(r"\[([^][]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_PAGES = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "readme.md",
    "SECURITY.md": "security.md",
    "contract/VERSIONING.md": "versioning.md",
}
"""Pages of the repository's that are pages of the site, too."""
# Sphinx cannot tell that what these are made of has changed.
_ANEW = ["api", "command-line", "errors", *(page.removesuffix(".md") for page in _PAGES.values())]


def commands() -> str:
    """Each command's --help: what is laid out in columns as it is printed, and prose as prose."""
    os.environ["COLUMNS"] = "88"
    parser = cli._parser()  # noqa: SLF001 - the one that main uses
    [choices] = [action.choices for action in parser._actions if isinstance(action.choices, dict)]  # noqa: SLF001
    parts = [_help(parser)]
    for name, command in choices.items():
        parts += [f"## hardpoint {name}", _help(command)]
    return "\n\n".join(parts)


def _help(parser: ArgumentParser) -> str:
    epilog, parser.epilog = parser.epilog or "", None
    rest = [_fenced(part) if "\n  " in part else _escaped(part) for part in epilog.strip().split("\n\n")]
    return "\n\n".join([_fenced(parser.format_help()), *rest])


def _fenced(text: str) -> str:
    return f"````text\n{text.rstrip()}\n````"


def tree() -> str:
    """The exception tree, as errors.py draws it."""
    drawn = (errors.__doc__ or "").split("\n\n")[1]
    return _fenced("\n".join(line[4:] for line in drawn.splitlines()))


_WRITERS: dict[str, Callable[[], str]] = {"commands": commands, "problems": problems.render, "tree": tree}


def _write(_app: Sphinx, _page: str, source: list[str]) -> None:
    text = _linked(source[0], DOCS)
    text = _INCLUDE.sub(lambda include: _included(DOCS / include[1]), text)
    text = _MARK.sub(lambda mark: _WRITERS[mark[1]](), text)
    source[0] = text.replace("\n\n```\n", "\n```\n")  # a doctest ends in an empty line


def _included(page: Path) -> str:
    return _linked(page.read_text(), page.resolve().parent)


def _linked(text: str, folder: Path) -> str:
    """The text of a file in `folder`, its links made the site's own; those to a folder become its path: it is no page."""

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            return match[0]  # Sphinx says so
        name = str(path.relative_to(ROOT))
        if path.is_dir():
            return f"`{name}/`"
        return f"[{words}]({_PAGES.get(name) or os.path.relpath(path, DOCS)}{anchor})"

    return _LINK.sub(link, text)


def _plain(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are prose: a star or an underscore in them is itself, as is what stands in backticks."""
    lines[:] = [_escaped(line) for line in lines]


def _escaped(line: str) -> str:
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|\\]|_\b)", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _fields(
    _app: Sphinx, _what: str, name: str, made: Any, _options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """A record is made of its fields; what only hardpoint makes, and what is a protocol, is shown without."""
    if name == "hardpoint.FoundPlugin" or getattr(made, "_is_protocol", False):
        return "", result
    if not isinstance(made, type) or not hasattr(made, "_field_defaults"):
        return signature, result
    if name not in {"hardpoint.Isolation", "hardpoint.Problem"}:
        return "", result
    given = made._field_defaults
    return f"({', '.join(f'{field}={given[field]!r}' if field in given else field for field in made._fields)})", result


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls: the pages that are made from code are made anew each time."""
    app.connect("source-read", _write)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("autodoc-process-signature", _fields)
    app.connect("env-get-outdated", lambda *_: _ANEW)
    return {"parallel_read_safe": True, "version": "1"}
