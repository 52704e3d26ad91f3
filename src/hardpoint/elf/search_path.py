"""Find a needed library as the dynamic linker would, by the rules of ld.so(8), without loading anything."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from .constants import DT_RPATH, DT_RUNPATH, DT_SONAME, EM_AARCH64, EM_X86_64, SYSTEM_FOLDERS
from .reader import ElfError, open_elf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import ElfFile

_CACHE = "/etc/ld.so.cache"
_LARGEST_CACHE = 64 << 20
"""Bytes; a system with 5,000 libraries has 0.4 MB."""
_MAGIC = b"glibc-ld.so.cache1.1"
_ENTRY = struct.Struct("<IIIIQ")  # flags, key, value, OS version, hwcap
_FLAGS = {EM_X86_64: 0x0303, EM_AARCH64: 0x0A03}  # FLAG_ELF_LIBC6, and the machine
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
        _loaded(name)
        or _in_folders(name, _folders(elf, origin), elf.machine)
        or _in_cache(name, elf.machine)
        or _in_folders(name, _DEFAULTS, elf.machine)
        or _in_folders(name, _host_folders(), elf.machine)
    )


def uses_origin(elf: ElfFile) -> bool:
    """True if its search path depends on the folder that it lies in."""
    return any("ORIGIN" in text for text in [elf.text(DT_RPATH) or "", elf.text(DT_RUNPATH) or "", *elf.needed])


def is_loaded(name: str) -> bool:
    """True if the process has already loaded a library of that name."""
    return _loaded(name) is not None


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


def _library_path() -> str:
    """Return LD_LIBRARY_PATH as of the start of the process: ld.so ignores later changes."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return ""
    return next((os.fsdecode(entry[16:]) for entry in entries if entry.startswith(b"LD_LIBRARY_PATH=")), "")


def _folders(elf: ElfFile, origin: str | None) -> Iterator[str]:
    runpath = elf.text(DT_RUNPATH)
    listed = [elf.text(DT_RPATH) if runpath is None else None, _library_path(), runpath]
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
        candidates = [os.path.join(folder, name)]
        variants = os.path.join(folder, "glibc-hwcaps")
        if os.path.isdir(variants):
            candidates += [os.path.join(variants, variant, name) for variant in os.listdir(variants)]
        for candidate in candidates:
            if os.path.isfile(candidate) and not _is_for_another(candidate, machine):
                return candidate
    return None


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


def _loaded(name: str) -> str | None:
    """Return the path of a library of that name that is already loaded: the dynamic linker takes that one."""
    stem = "/" + name.partition(".so")[0]  # libstdc++.so.6 may be mapped as libstdc++.so.6.0.30
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            paths = {line[line.index("/") :].rstrip("\n") for line in maps if stem in line}
    except OSError:
        return None
    for path in paths:
        if os.path.basename(path) == name or _soname(path) == name:
            return path
    return None


def _soname(path: str) -> str | None:
    try:
        with open_elf(path) as elf:
            return elf.text(DT_SONAME)
    except (ElfError, OSError):
        return None


def versions_of(path: str) -> set[str] | None:
    """Return the symbol versions that the library at `path` defines; None if it cannot be read."""
    try:
        with open_elf(path) as elf:
            return {defined.version for defined in elf.versions_defined()}
    except (ElfError, OSError):
        return None
