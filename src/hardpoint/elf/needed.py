"""An ElfFile -> the libraries that dlopen(3) would load along with it, in its order; nothing is loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..fields import Fields
from .constants import GLIBC
from .reader import ElfError, ElfFile, open_elf
from .search_path import find, find_hidden, is_system, loaded_path

if TYPE_CHECKING:
    from collections.abc import Iterator


class Needed(Fields):
    """One needed library."""

    name: str
    """Its DT_NEEDED entry."""
    path: str | None
    """Where it was found; None if it is not on the dynamic linker's search path."""
    direct: bool
    """True if the file itself needs it, False if only another library does."""
    elf: ElfFile | None
    """Its contents, open until the next library is asked for; None if it was not found, is unreadable (see `error`), or
    is one of the system's, which are trusted and not read."""
    error: ElfError | OSError | None
    """Why it cannot be read."""
    hidden: str | None = None
    """Another file of that name that its search path leads to: the process has loaded the one at `path` already."""

    @property
    def is_system(self) -> bool:
        """True if it lies in one of the system's folders."""
        return self.path is not None and self.elf is None and self.error is None


def needed(elf: ElfFile, origin: str | None) -> Iterator[Needed]:
    """Each library once and breadth first, as ld.so(8) does, without those of the C library.

    `origin` is the folder that $ORIGIN stands for, or None. Search paths are inherited (DT_RPATH), so those of the
    libraries that led to a library are searched too.
    """
    seen: set[str] = set()
    chains: list[tuple[tuple[ElfFile, str | None], ...]] = [((elf, origin),)]
    for chain in chains:  # which grows meanwhile
        by = chain[0][0]
        for name in (*by.needed, *by.filters, *by.auxiliary):
            if not name or name in seen or name in GLIBC or name.startswith("libc.musl-") or name == "libc.so":
                continue
            seen.add(name)
            path = next(filter(None, (find(name, each, folder) for each, folder in chain)), None)
            if path is None and name in by.auxiliary:  # as ld.so does
                continue
            direct = len(chain) == 1
            hidden = path and _hidden(name, path, chain)
            if path is None or (is_system(path) and os.path.isfile(path)):
                yield Needed(name, path, direct, None, None, hidden)
                continue
            try:
                with open_elf(path) as library:
                    yield Needed(name, path, direct, library, None, hidden)
            except (ElfError, OSError) as error:
                yield Needed(name, path, direct, None, error)
            else:
                chains.append(((library, os.path.dirname(path)), *chain))


def _hidden(name: str, path: str, chain: tuple[tuple[ElfFile, str | None], ...]) -> str | None:
    if "/" in name or loaded_path(name) != path:
        return None
    return next(filter(None, (find_hidden(name, path, by, folder) for by, folder in chain)), None)


def libraries(elf: ElfFile, origin: str | None) -> Iterator[tuple[str, str]]:
    """Yield name and path of each library that is found, those of the C library too."""
    for name in elf.needed:
        if name in GLIBC and (path := find(name, elf, origin)):
            yield name, path
    for library in needed(elf, origin):
        if library.path is not None:
            yield library.name, library.path
