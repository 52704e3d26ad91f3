"""The libraries that a library needs: whether they are there, have its symbol versions and are in good order themselves."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..elf import search_path
from ..elf.constants import GLIBC, PAGE
from ..elf.integrity import examine
from ..elf.reader import ElfError, ElfFile
from ..errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SANITIZER = r"lib[atl]san\.so.*|libhwasan\.so.*|libclang_rt\..*san.*"
_SYSTEM = ("/usr/lib/", "/usr/lib64/", "/lib/", "/lib64/")


def check_needed(elf: ElfFile, origin: str | None) -> list[Problem]:
    """What speaks against the libraries that `elf` needs. `origin` is what $ORIGIN stands for, or None."""
    seen: set[str] = set()
    return [problem for name in _unseen(elf, seen) for problem in _check(name, elf, origin, seen)]


def _unseen(elf: ElfFile, seen: set[str]) -> Iterator[str]:
    for name in elf.needed:
        if name not in seen and name not in GLIBC and not name.startswith("libc.musl-") and name != "libc.so":
            seen.add(name)
            yield name


def _check(name: str, elf: ElfFile, origin: str | None, seen: set[str]) -> Iterator[Problem]:
    if re.fullmatch(_SANITIZER, name):
        if not search_path.is_loaded(name):  # it would end the process from within dlopen
            fix = f'start the host with LD_PRELOAD="$(cc -print-file-name={name})", or build it without -fsanitize'
            yield Problem("sanitizer", f"a host that runs with {name}", "one without", fix)
        return
    path = search_path.find(name, elf, origin)
    if path is None:
        yield _missing(name, elf, origin)
        return
    yield from _check_versions(name, path, elf)
    yield from _check_order(name, path, seen)


def _missing(name: str, elf: ElfFile, origin: str | None) -> Problem:
    if origin is None and search_path.uses_origin(elf):
        fix = "load it without sha256= and without a lock, or link the plugin with what it needs statically"
        return Problem("pinned-origin", "a pinned library that stands alone", f"one that needs {name} beside it", fix)
    fix = "install it (apt-file search finds the package), or put its folder into the plugin's RUNPATH"
    return Problem("needed-missing", f"the library {name}", "it nowhere that the dynamic linker looks", fix)


def _check_versions(name: str, path: str, elf: ElfFile) -> Iterator[Problem]:
    wanted = [need.version for need in elf.versions_needed() if need.file == name]
    there = search_path.versions_of(path) if wanted else None
    missing = [version for version in wanted if there is not None and version not in there]
    if missing:
        fix = f"install a newer {name}, or build the plugin on an older system"
        yield Problem("version-missing", f"{', '.join(missing)} of {name}", f"a {path} without", fix)


def _check_order(name: str, path: str, seen: set[str]) -> Iterator[Problem]:
    """A damaged library beside the plugin kills the process as surely as a damaged plugin; the system's own are trusted.

    What such a library lacks in turn is the dynamic loader's to say: it knows search paths that are inherited.
    """
    if os.path.realpath(path).startswith(_SYSTEM):
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        yield Problem("needed-damaged", f"the library {name}", f"{path}: {error.strerror}", "check its permissions")
        return
    try:
        elf = ElfFile(fd)
        examine(elf)
    except (ElfError, OSError) as error:
        yield Problem("needed-damaged", f"the library {name} in good order", f"{path} with {error}", "install it again")
    else:
        if not elf.fits_pages(PAGE):
            needs = f"the library {name} with segments for this kernel's pages of {PAGE} bytes"
            fix = "link it with -Wl,-z,max-page-size=65536, or install one for this kernel"
            yield Problem("page-size", needs, f"{path} with ones for smaller pages", fix)
        for further in _unseen(elf, seen):
            if found := search_path.find(further, elf, os.path.dirname(path)):
                yield from _check_order(further, found, seen)
    finally:
        os.close(fd)
