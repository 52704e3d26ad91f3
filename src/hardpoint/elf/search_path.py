"""Find a needed library as the dynamic linker would, by the rules of ld.so(8), without loading anything."""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
from .constants import DT_RPATH, DT_RUNPATH, SYSTEM_FOLDERS
from .linker_cache import cached, without_blocking
from .processor import older_variants, variants
from .reader import ElfError, open_elf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import ElfFile

_RTLD_DI_LINKMAP = 2
_SKIPPED = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG}
"""Errors of open(2) after which ld.so looks on (after ENAMETOOLONG it says that there is no such library)."""
_ALWAYS_LOADED = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
_SYSTEM = tuple(f"{folder}/" for folder in SYSTEM_FOLDERS)
_DEFAULTS = (
    *SYSTEM_FOLDERS,
    *(f"{folder}/{machine}-linux-gnu" for machine in ("x86_64", "aarch64") for folder in ("/lib", "/usr/lib")),
)


def find(name: str, elf: ElfFile, origin: str | None) -> str | None:
    """Return the path of the library that `name` (a DT_NEEDED of `elf`) resolves to, or None.

    `origin` is the folder that $ORIGIN stands for; with None, paths with $ORIGIN are ignored.
    """
    if "/" in name:
        return next((path for path in _expand(name, origin) if _is_taken(path)), None)
    return (
        loaded_path(name)
        or _in_folders(name, _folders(elf, origin), elf.machine)
        or _in_cache(name, elf.machine)
        or _in_folders(name, _DEFAULTS, elf.machine)
        or _in_folders(name, _host_folders(), elf.machine)
    )


def find_hidden(name: str, loaded: str, elf: ElfFile, origin: str | None) -> str | None:
    """Return the path where `elf` would find `name` if the process had not `loaded` another file of that name.

    The libraries of the program itself, such as Conda's, come before the system's everywhere: those are not meant.
    """
    path = _in_folders(name, _folders(elf, origin), elf.machine)
    if path is None and not is_system(loaded):
        path = _in_cache(name, elf.machine) or _in_folders(name, _DEFAULTS, elf.machine)
        if path is not None and _in_folders(name, _host_folders(), elf.machine) is not None:
            return None
    # A variant for this processor lies in a folder below (glibc-hwcaps).
    below = os.path.join(os.path.dirname(path or ""), "" if is_system(loaded) else "glibc-hwcaps/")
    same = path is None or loaded.startswith(below) or not os.path.exists(loaded)
    return None if same or (os.path.exists(path or "") and os.path.samefile(path or "", loaded)) else path


def looked_at(elf: ElfFile, origin: str | None) -> Iterator[tuple[str, str]]:
    """Yield each path where `elf`'s own search path has the dynamic linker look for a library, and the library's name.

    Nothing need be there. Libraries that every process with hardpoint has loaded are not looked for.
    """
    runpath = elf.text(DT_RUNPATH)
    listed = elf.text(DT_RPATH) if runpath is None else runpath
    # An empty entry is the working directory.
    folders = [each for folder in listed.split(":") for each in _expand(folder or ".", origin)] if listed else []
    for name in {*elf.needed, *elf.filters, *elf.auxiliary} - _ALWAYS_LOADED:
        paths = _expand(name, origin) if "/" in name else [path for each in folders for path in _variants(each, name)]
        yield from ((path, name) for path in paths)


def is_system(path: str) -> bool:
    """True if the file lies in one of the system's folders."""
    return os.path.realpath(path).startswith(_SYSTEM)


def uses_origin(elf: ElfFile) -> bool:
    """True if its search path depends on the folder that it lies in."""
    return any("ORIGIN" in text for text in [elf.text(DT_RPATH) or "", elf.text(DT_RUNPATH) or "", *elf.needed])


def _expand(path: str, origin: str | None) -> list[str]:
    """Expand a path (ld.so(8), "Dynamic string tokens"); $LIB varies by distribution, so all values are tried."""
    if origin is None and "ORIGIN" in path:
        return []
    machine = os.uname().machine
    for token, value in {"ORIGIN": origin or "", "PLATFORM": machine}.items():
        path = path.replace(f"${{{token}}}", value).replace(f"${token}", value)
    if "$LIB" not in path and "${LIB}" not in path:
        return [path]
    return [path.replace("${LIB}", lib).replace("$LIB", lib) for lib in (f"lib/{machine}-linux-gnu", "lib64", "lib")]


@cache
def at_start(name: str) -> str:
    """Return an environment variable as of the start of the process, "" if unset: ld.so ignores later changes."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return ""
    start = os.fsencode(f"{name}=")
    return next((os.fsdecode(entry[len(start) :]) for entry in entries if entry.startswith(start)), "")


def _folders(elf: ElfFile, origin: str | None) -> Iterator[str]:
    runpath = elf.text(DT_RUNPATH)
    listed = [elf.text(DT_RPATH) if runpath is None else None, at_start("LD_LIBRARY_PATH").replace(";", ":"), runpath]
    for folder in ":".join(text for text in listed if text).split(":") if any(listed) else ():
        yield from _expand(folder, origin) if folder else ["."]


def _host_folders() -> Iterator[str]:
    """Yield the search path of the program itself, which its libraries inherit (DT_RPATH; Conda's python has one)."""
    program = os.path.realpath("/proc/self/exe")
    try:
        with open_elf(program) as elf:
            yield from _folders(elf, os.path.dirname(program))
    except (ElfError, OSError):
        return


def _in_folders(name: str, folders: Iterator[str] | tuple[str, ...], machine: int) -> str | None:
    for folder in folders:
        for candidate in _variants(folder, name):
            if _is_taken(candidate) and not _is_for_another(candidate, machine):
                return candidate
    return None


def _variants(folder: str, name: str) -> list[str]:
    """Return where ld.so looks for a name in a folder: for this processor below it (glibc-hwcaps), then in itself."""
    special = os.path.join(folder, "glibc-hwcaps")
    below = [os.path.join(special, variant) for variant in variants()] if os.path.isdir(special) else []
    return [os.path.join(each, name) for each in (*below, *_older(folder), folder)]


def _older(folder: str) -> list[str]:
    names = older_variants()
    there = {name for name in names if "/" not in name and os.path.isdir(os.path.join(folder, name))}
    return [os.path.join(folder, name) for name in names if name.partition("/")[0] in there]


def _is_taken(path: str) -> bool:
    """True if the dynamic linker would open this path and look no further, be it a library or not."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno not in _SKIPPED
    return stat.S_ISREG(mode) or os.access(path, os.R_OK)


def _is_for_another(path: str, machine: int) -> bool:
    """True if it is an ELF file for another processor: the dynamic linker skips those and continues."""
    try:
        with open(path, "rb", buffering=0, opener=without_blocking) as file:
            start = file.read(20) or b""
    except OSError as error:
        return error.errno in _SKIPPED
    return start.startswith(b"\x7fELF") and (start[4:6] != b"\2\1" or int.from_bytes(start[18:20], "little") != machine)


def _in_cache(name: str, machine: int) -> str | None:
    return next(filter(_is_taken, cached(name, machine)), None)


def loaded_path(name: str) -> str | None:
    """Return the path of the library that dlopen would take for `name` (or a path) because it is loaded already.

    glibc is asked, since it goes by every name under which a library was ever requested, and not by its file's.
    """
    if not name or _would_block(name):
        return None
    handle = libc.dlopen(os.fsencode(name), os.RTLD_LAZY | os.RTLD_NOLOAD)
    if handle == ffi.NULL:
        return None
    path = os.fsdecode(ffi.string(link_map(handle).l_name))
    libc.dlclose(handle)
    return path


def _would_block(name: str) -> bool:
    """True if dlopen would find a FIFO or the like by this name: it opens what it finds, even for RTLD_NOLOAD."""
    if "/" in name:
        return os.path.exists(name) and not os.path.isfile(name)
    listed = at_start("LD_LIBRARY_PATH").replace(";", ":")
    for folder in listed.split(":") if listed else ():
        path = os.path.join(folder or ".", name)
        if os.path.exists(path):
            return not os.path.isfile(path)
    return False


def link_map(handle: Any) -> Any:
    """Return glibc's entry for an open library (dlinfo(3)); the first is the program's."""
    answer = ffi.new("struct link_map **")
    libc.dlinfo(handle, _RTLD_DI_LINKMAP, answer)
    return answer[0]


def versions_of(path: str) -> set[str] | None:
    """Return the symbol versions that the library at `path` defines; None if it cannot be read."""
    try:
        with open_elf(path) as elf:
            return {defined.version for defined in elf.versions_defined()}
    except (ElfError, OSError):
        return None
