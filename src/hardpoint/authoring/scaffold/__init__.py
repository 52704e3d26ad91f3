"""The files that `hardpoint new` writes: a module for each language, and what the languages share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from . import common

if TYPE_CHECKING:
    from .project import Needs, Project

LANGUAGES = {"c": "C", "cpp": "C++", "rust": "Rust", "zig": "Zig", "go": "Go"}
"""The values of `--lang`, each a module here, and the languages' names."""


class LanguageModule(Protocol):
    """The interface of a language's module."""

    NEEDS: Needs

    def files(self, project: Project, /) -> dict[str, str]:
        """The files of this language alone: path in the project -> text. The source that the author edits is first.

        They include CMakeLists.txt, the Makefile, and copies of those files of hardpoint that the build needs.
        """
        ...


def language_module(name: str) -> LanguageModule:
    """Import the module of a language."""
    return cast("LanguageModule", import_module(f".{name}", __name__))


def files(project: Project, lang: str) -> dict[str, str]:
    """Render every file of the project: path -> text. Write them in this order: make compares their times."""
    chosen = language_module(lang)
    own = chosen.files(project)
    return {**common.files(project, own, chosen.NEEDS), **own}
