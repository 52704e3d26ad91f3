"""The paths from which loading a file makes the dynamic linker load others."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..elf.needed import needed
from ..elf.reader import ElfError, ElfFile
from ..elf.search_path import looked_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..file import LibraryFile


def needed_paths(file: LibraryFile) -> Iterator[tuple[str, str]]:
    """Yield the absolute path of each library that a file needs, directly or not, with its name.

    And those where another library of that name would be taken, were it there. A damaged file, which is never loaded,
    has none.
    """
    here = os.getcwd()
    try:
        for path, name in _paths(ElfFile(file.fd), os.path.dirname(file.absolute)):
            yield os.path.join(here, path), name
    except (ElfError, OSError):
        return


def _paths(elf: ElfFile, origin: str) -> Iterator[tuple[str, str]]:
    yield from looked_at(elf, origin)
    for library in needed(elf, origin):
        for path in filter(None, (library.path, library.hidden)):
            yield path, library.name
        if library.elf is not None:
            with suppress(ElfError, OSError):  # the others count all the same
                yield from looked_at(library.elf, os.path.dirname(library.path or ""))
