"""Find a needed library as the dynamic linker would, by the rules of ld.so(8), without loading anything."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
from .constants import DT_RPATH, DT_RUNPATH, EM_AARCH64, EM_X86_64, SYSTEM_FOLDERS
from .reader import ElfError, open_elf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import ElfFile

_RTLD_DI_LINKMAP = 2
_CACHE = "/etc/ld.so.cache"
_LARGEST_CACHE = 64 << 20
"""Bytes; a system with 5,000 libraries has 0.4 MB."""
_MAGIC = b"glibc-ld.so.cache1.1"
_ENTRY = struct.Struct("<IIIIQ")  # flags, key, value, OS version, hwcap
_FLAGS = {EM_X86_64: 0x0303, EM_AARCH64: 0x0A03}  # FLAG_ELF_LIBC6, and the machine
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
        return next((path for path in _expand(name, origin) if os.path.isfile(path)), None)
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
    same = path is None or loaded.startswith(f"{os.path.dirname(path)}/") or not os.path.exists(loaded)
    return None if same or os.path.samefile(path or "", loaded) else path


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


def _without_blocking(path: str, flags: int) -> int:
    """An opener that does not wait for a FIFO that was put in a file's place."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


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
    listed = [elf.text(DT_RPATH) if runpath is None else None, at_start("LD_LIBRARY_PATH"), runpath]
    for folder in ":".join(text for text in listed if text).split(":"):
        if folder:
            yield from _expand(folder, origin)


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
            if os.path.isfile(candidate) and not _is_for_another(candidate, machine):
                return candidate
    return None


def _variants(folder: str, name: str) -> list[str]:
    """The paths of a name in a folder, and below it in those for processors (glibc-hwcaps)."""
    variants = os.path.join(folder, "glibc-hwcaps")
    known = os.listdir(variants) if os.path.isdir(variants) else []
    return [os.path.join(folder, name), *(os.path.join(variants, variant, name) for variant in known)]


def _is_for_another(path: str, machine: int) -> bool:
    """True if it is an ELF file for another processor: the dynamic linker skips those and continues."""
    try:
        with open(path, "rb", buffering=0, opener=_without_blocking) as file:
            start = file.read(20) or b""
    except OSError:
        return True
    return start.startswith(b"\x7fELF") and (start[4:6] != b"\2\1" or int.from_bytes(start[18:20], "little") != machine)


def _in_cache(name: str, machine: int) -> str | None:
    """Look in the cache of ldconfig(8), /etc/ld.so.cache, format 1.1: a header of 48 bytes, entries of 24, strings."""
    try:
        with open(_CACHE, "rb", opener=_without_blocking) as file:
            cache = file.read(_LARGEST_CACHE)
    except OSError:
        return None
    key, start = b"\0" + name.encode() + b"\0", cache.find(_MAGIC)
    if start < 0 or key not in cache:
        return None
    count = int.from_bytes(cache[start + 20 : start + 24], "little")
    for flags, at, value, _, _ in _ENTRY.iter_unpack(cache[start + 48 : start + 48 + 24 * count]):
        if flags == _FLAGS.get(machine) and cache.startswith(key[1:], start + at):
            path = cache[start + value : cache.find(b"\0", start + value)].decode("utf-8", "surrogateescape")
            if os.path.isfile(path):
                return path
    return None


def loaded_path(name: str) -> str | None:
    """Return the path of the library that dlopen would take for `name` (or a path) because it is loaded already.

    glibc is asked, since it goes by every name under which a library was ever requested, and not by its file's.
    """
    handle = libc.dlopen(os.fsencode(name), os.RTLD_LAZY | os.RTLD_NOLOAD) if name else ffi.NULL
    if handle == ffi.NULL:
        return None
    path = os.fsdecode(ffi.string(link_map(handle).l_name))
    libc.dlclose(handle)
    return path


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
