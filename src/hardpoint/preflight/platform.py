"""Check an ElfFile against this system: the machine, the kernel's pages, the libc, stacks and thread-local storage."""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from ..elf.constants import (
    DF_1_NOOPEN,
    DF_STATIC_TLS,
    DF_TEXTREL,
    DT_FLAGS,
    DT_FLAGS_1,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_SONAME,
    DT_TEXTREL,
    EM_AARCH64,
    EM_X86_64,
    GLIBC,
    MACHINES,
    PAGE,
    PF_X,
    PT_GNU_PROPERTY,
    PT_GNU_STACK,
    PT_NOTE,
    PT_TLS,
    R_AARCH64_TLS_TPREL,
)
from ..elf.reader import ElfError
from ..errors import Problem

if TYPE_CHECKING:
    from ..elf.reader import ElfFile

_USUAL, _VERSION = b"\1" + bytes(9), b"\1\0\0\0"
"""The end of e_ident from EI_VERSION on, System V's ABI and padding, and e_version (gABI, "ELF Header")."""
_NOTES = {PT_NOTE, PT_GNU_PROPERTY}
_FEWER_RULES = (2, 36)
"""The first glibc that does not compare the note of the oldest kernel."""
_RELR = (2, 36)
"""The first glibc that relocates by DT_RELR."""
_NEWER_GLIBC = {"GLIBC_ABI_DT_RELR": _RELR}
_SMALL_TLS = 1024
"""Bytes of static thread-local storage that every host may have left."""


def host_glibc() -> tuple[int, int] | None:
    """Return the version of this process's glibc; None with another libc."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # as musl does
        return None
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


@cache
def host_machine() -> int | None:
    """Return the ELF machine of this process; None if hardpoint does not run on it."""
    machine = os.uname().machine if sys.maxsize > 1 << 32 else ""  # a 32-bit Python may run on a 64-bit kernel
    return {"x86_64": EM_X86_64, "aarch64": EM_AARCH64}.get(machine)


def check_host() -> list[Problem]:
    """Check the host itself: with one of these problems, no plugin can be loaded."""
    problems: list[Problem] = []
    if host_glibc() is None:
        import platform  # 3 ms that only this error pays

        found = " ".join(platform.libc_ver()).strip() or "another libc, such as Alpine's musl"
        problems.append(Problem.of("host-libc", found))
    if host_machine() is None:
        problems.append(Problem.of("host-machine", os.uname().machine))
    return problems


def check_system(elf: ElfFile, origin: str | None) -> list[Problem]:
    """Check whether the library can be loaded on this system. `origin` is the folder for $ORIGIN, or None."""
    problems = [*_check_machine(elf), *_check_header(elf), *_check_libc(elf), *_check_flags(elf)]
    if elf.machine == host_machine():  # the libraries here are not the other machine's
        problems += [*_check_level(elf), *_check_pages(elf), *_check_needed(elf, origin)]
    return problems


def _check_header(elf: ElfFile) -> list[Problem]:
    start, glibc = elf.read(6, 18, "the ELF header"), host_glibc()
    usual = start.startswith(_USUAL) and start.endswith(_VERSION)
    flags = elf.dynamic.get(DT_FLAGS, 0) & DF_TEXTREL or elf.dynamic.get(DT_FLAGS_1, 0) & DF_1_NOOPEN
    if usual and not flags and DT_TEXTREL not in elf.dynamic and (glibc is None or glibc >= _FEWER_RULES):
        return []
    from .header import check_header  # 0.4 ms, and most headers are like this one

    return check_header(elf, glibc)


def _check_level(elf: ElfFile) -> list[Problem]:
    if not [segment for segment in elf.segments if segment.align == 8 and segment.type in _NOTES]:
        return []
    from .cpu_level import check_level  # 0.3 ms, and few compilers write the note

    return check_level(elf)


def maps_code(target: int | str) -> bool:
    """True unless the file, a descriptor or a path, lies on a file system that is mounted noexec."""
    try:
        return not os.statvfs(target).f_flag & os.ST_NOEXEC
    except OSError:
        return True


def _check_needed(elf: ElfFile, origin: str | None) -> list[Problem]:
    if GLIBC.issuperset([*elf.needed, *elf.filters, *elf.auxiliary]):
        return []
    from .dependencies import check_needed  # 1 ms, and most plugins need no other library

    return check_needed(elf, origin)


def _check_machine(elf: ElfFile) -> list[Problem]:
    machine = host_machine()
    if machine is None or elf.machine == machine:
        return []
    found = MACHINES.get(elf.machine, f"machine {elf.machine}")
    return [Problem.of("elf-machine", found, machine=MACHINES[machine])]


def _check_pages(elf: ElfFile) -> list[Problem]:
    if fits_pages(elf, PAGE):
        return []
    return [Problem.of("page-size", "ones for smaller pages", size=PAGE)]


def fits_pages(elf: ElfFile, size: int) -> bool:
    """True if its segments can be mapped by pages of `size` bytes, none of them shared by two.

    Otherwise ld.so rejects the file, or maps segments over each other and crashes.
    """
    end = 0
    for load in elf.loads:
        if (load.address - load.offset) % size or load.address // size * size < end:
            return False
        end = -(-(load.address + load.memory_size) // size) * size
    return True


def oldest_glibc(elf: ElfFile) -> tuple[int, ...] | None:
    """Return the oldest glibc that has every symbol version the library needs; None if it needs none of glibc's."""
    numbers = (None if need.weak else _glibc_of(need.version) for need in elf.versions_needed())
    return max(filter(None, numbers), default=None)


@lru_cache(256)
def _glibc_of(version: str) -> tuple[int, ...] | None:
    """Return the first glibc with a symbol version, (2, 2, 5) for GLIBC_2.2.5; None if the name does not tell."""
    library, _, release = version.partition("_")
    numbers = release.split(".")
    if library == "GLIBC" and len(numbers) > 1 and release.isascii() and all(map(str.isdigit, numbers)):
        return tuple(map(int, numbers))
    return _NEWER_GLIBC.get(version)


def is_for_musl(elf: ElfFile) -> str | None:
    """Return the name of the musl library that it needs, or None."""
    for name in elf.needed:
        if name.startswith("libc.musl-") or name == "libc.so":
            return name if oldest_glibc(elf) is None else None
    return None


def _check_libc(elf: ElfFile) -> list[Problem]:
    here, newest = host_glibc(), oldest_glibc(elf)
    if musl := is_for_musl(elf):
        return [Problem.of("libc-musl", f"one built for musl (it needs {musl})")]
    if newest and here and newest[:2] > here:
        return [Problem.of("glibc-version", f"symbols of glibc {dotted(newest)}", version=dotted(here))]
    if DT_SONAME in elf.dynamic and (name := elf.text(DT_SONAME)) in GLIBC:
        return [Problem.of("soname-glibc", f"{name}, a library of glibc")]
    if DT_RELR in elf.dynamic and here and here >= _RELR and _lacks_relr(elf):
        return [Problem.of("relr-version", "packed relocations (DT_RELR) without it")]
    return []


def _lacks_relr(elf: ElfFile) -> bool:
    """True if it needs versions of the C library, and not the one that ld.so demands of a library with DT_RELR."""
    versions = {need.version for need in elf.versions_needed() if need.file.startswith("libc.so.")}
    return bool(versions) and "GLIBC_ABI_DT_RELR" not in versions


def dotted(version: tuple[int, ...]) -> str:
    """(2, 36) as "2.36"."""
    return ".".join(map(str, version))


def _check_flags(elf: ElfFile) -> list[Problem]:
    problems: list[Problem] = []
    if has_executable_stack(elf):
        problems.append(Problem.of("executable-stack", "a library that asks for an executable one"))
    return problems + check_static_tls(elf)


def check_static_tls(elf: ElfFile, whose: str = "") -> list[Problem]:
    """Warn of static thread-local storage, and refuse more of it than a process can have left (PT_TLS)."""
    if not has_static_tls(elf):
        return []
    size = sum([segment.memory_size for segment in elf.segments if segment.type == PT_TLS])
    found = f"{whose}{size} bytes of static TLS" if size else f"{whose}static TLS"
    most = _SMALL_TLS
    if size > most:
        from .static_tls import most_static_tls, takes_static_tls  # for few libraries

        most = most_static_tls() if takes_static_tls(elf) else size
    if size > most:
        return [Problem.of("static-tls-size", found, most=most)]
    return [Problem.of("static-tls", found)]


def has_executable_stack(elf: ElfFile) -> bool:
    """True if loading it would make the process's stacks executable (without PT_GNU_STACK, it would)."""
    return all(segment.flags & PF_X for segment in elf.segments if segment.type == PT_GNU_STACK)


def has_static_tls(elf: ElfFile) -> bool:
    """True if it uses static thread-local storage, of which a running process has little left."""
    if elf.dynamic.get(DT_FLAGS, 0) & DF_STATIC_TLS:
        return True
    if elf.machine != EM_AARCH64 or DT_RELA not in elf.dynamic:  # there, GNU ld sets no flag, but relocations tell
        return False
    try:
        table = elf.read_at(elf.dynamic[DT_RELA], elf.dynamic.get(DT_RELASZ, 0), "the relocations")
    except ElfError:  # reported by the check of all relocations
        return False
    return R_AARCH64_TLS_TPREL in {low | high << 8 for low, high in zip(table[8::24], table[9::24], strict=False)}
