"""What `hardpoint new` writes: one module for each language, and what all of them share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from . import common

if TYPE_CHECKING:
    from .project import Project

LANGUAGES = {"c": "C", "cpp": "C++", "rust": "Rust", "zig": "Zig", "go": "Go"}
"""What `--lang` takes, and what it is called. Each is a module here."""


class Language(Protocol):
    """What a language's module has."""

    NEEDS: str
    """What has to be installed, as a sentence with the command."""

    def files(self, project: Project, /) -> dict[str, str]:
        """All that is the language's own: path in the project -> text. The source that the author goes on with is first.

        One of them is the Makefile, made by `makefile`, and `common.header` is among them if the language compiles with it.
        """
        ...


def language(name: str) -> Language:
    """The module of a language, imported now."""
    return cast("Language", import_module(f".{name}", __name__))


def files(project: Project, lang: str) -> dict[str, str]:
    """Every file of the project: path -> text, in the order to write them: what make makes of the contract's class is younger."""
    chosen = language(lang)
    own = chosen.files(project)
    return {**common.files(project, own, chosen.NEEDS), **own}
