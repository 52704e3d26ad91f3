"""Check the libraries that a library needs: they exist, define its symbol versions and are well-formed themselves."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..elf import search_path
from ..elf.constants import DF_1_NOOPEN, DT_FLAGS_1, PAGE
from ..elf.integrity import examine
from ..elf.needed import needed
from ..elf.reader import ElfError, open_elf
from ..errors import Problem, shortened
from .cpu_level import check_level
from .platform import check_static_tls, fits_pages, has_executable_stack, maps_code
from .sanitizers import is_sanitizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.needed import Needed
    from ..elf.reader import ElfFile


def check_needed(elf: ElfFile, origin: str | None) -> list[Problem]:
    """Check every library that `elf` needs, directly or not. `origin` is the folder for $ORIGIN, or None."""
    problems: list[Problem] = []
    for library in needed(elf, origin):
        if library.direct:  # of what the others lack, the dynamic linker says more
            problems += _check_direct(library, elf, origin)
        problems += _check_contents(library)
        if library.hidden:
            first = f"{library.path}{_damage_of(library.hidden)}"
            problems.append(loaded_before(library.name, library.hidden, first))
    return problems


def loaded_before(name: str, path: str, first: str) -> Problem:
    """Make the warning that `path`, which a plugin needs by `name`, is not loaded, since `first` is before it."""
    return Problem.of("soname-loaded", f"{first}, which is loaded before it under the same name, {name}", path=path)


def _damage_of(path: str) -> str:
    """Say that a file is damaged which this process does without, since other hosts refuse it; "" if it is not."""
    try:
        with open_elf(path) as elf:
            examine(elf)
    except ElfError as error:
        return f" (the other is damaged, with {error})"
    except OSError as error:
        return f" (the other is not readable: {error.strerror})"
    return ""


def _check_direct(library: Needed, elf: ElfFile, origin: str | None) -> Iterator[Problem]:
    name, path = library.name, library.path
    if is_sanitizer(name):
        if search_path.loaded_path(name) is None:  # it would end the process from within dlopen
            yield Problem.of("sanitizer", "one started without it", fix=_sanitize(name, elf), name=name)
    elif path is not None:
        yield from _check_versions(name, path, elf)
    elif origin is None and search_path.uses_origin(elf):
        yield Problem.of("pinned-origin", f"one that needs {name} beside it")
    else:
        yield Problem.of("needed-missing", "none on the dynamic linker's search path", name=shortened(name))


def _sanitize(name: str, elf: ElfFile) -> str:
    """The advice for a host: the C++ library goes with a sanitizer that has to find the functions of exceptions."""
    compiler = "clang" if "clang_rt" in name else "cc"
    preloaded = [name, *(each for each in elf.needed if each.startswith("libstdc++.so"))]
    words = " ".join(f"$({compiler} -print-file-name={each})" for each in preloaded)
    leaks = "ASAN_OPTIONS=detect_leaks=0 " if "asan" in name else ""  # Python's own would be reported at exit
    return f'start the host with {leaks}LD_PRELOAD="{words}", or build it without -fsanitize'


def _check_versions(name: str, path: str, elf: ElfFile) -> Iterator[Problem]:
    wanted = [need.version for need in elf.versions_needed() if need.file == name and not need.weak]
    defined = search_path.versions_of(path) if wanted else None
    missing = [version for version in wanted if defined is not None and version not in defined]
    if missing:
        found = f"{path} without {'it' if len(missing) == 1 else 'them'}"
        yield Problem.of("version-missing", found, versions=", ".join(missing), name=name)


def _check_contents(library: Needed) -> Iterator[Problem]:
    """A damaged library crashes the process as a damaged plugin does, whoever needs it; the system's are trusted."""
    name, path, error = library.name, library.path, library.error
    if library.elf is not None:
        try:
            examine(library.elf)
        except (ElfError, OSError) as damage:
            error = damage
    if isinstance(error, OSError):
        is_file = error.errno not in {errno.EINVAL, errno.EISDIR, errno.ENXIO}
        fix = "check its permissions" if is_file else "remove it, or take its folder off the search path"
        found, needs = f"{shortened(str(path))}: {error.strerror}", f"a readable library {shortened(name)}"
        yield Problem.of("needed-damaged", found, needs=needs, fix=fix)
    elif error is not None:
        yield Problem.of("needed-damaged", f"{path} with {error}", name=name)
    elif library.path is not None and not maps_code(library.path):
        yield Problem.of("noexec", f"{path} on one that is mounted noexec")
    elif library.elf is not None and (levels := check_level(library.elf, name)):
        yield from levels
    elif library.elf is not None and not fits_pages(library.elf, PAGE):
        needs = f"the library {name} with segments for this kernel's pages of {PAGE} bytes"
        fix = "link it with -Wl,-z,max-page-size=65536, or install one for this kernel"
        yield Problem.of("page-size", f"{path} with ones for smaller pages", needs=needs, fix=fix)
    elif library.elf is not None:
        problems = [*_check_flags(name, path, library.elf)]
        if problems and search_path.loaded_path(name) is None:  # of a loaded one nothing is left to refuse
            yield from problems


def _check_flags(name: str, path: str | None, elf: ElfFile) -> Iterator[Problem]:
    """Check the flags of a library that dlopen refuses, or that change the process."""
    if has_executable_stack(elf):
        needs = f"the library {name} with a non-executable stack"
        yield Problem.of("executable-stack", f"{path}, which asks for an executable one", needs=needs)
    if elf.dynamic.get(DT_FLAGS_1, 0) & DF_1_NOOPEN:
        needs = f"a library {name} that dlopen may open"
        yield Problem.of("no-dlopen", f"{path}, which was linked with -z nodlopen (DF_1_NOOPEN)", needs=needs)
    yield from (problem for problem in check_static_tls(elf, f"{path} with ") if problem.fatal)
