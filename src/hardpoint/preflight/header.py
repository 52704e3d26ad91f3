"""Fields that ld.so tests before it maps a file (dl-load.c of glibc), and flags by which a file refuses dlopen."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ..elf.constants import DF_1_NOOPEN, DF_TEXTREL, DT_FLAGS, DT_FLAGS_1, DT_TEXTREL, HEADER, PAGE, PT_NOTE
from ..errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.reader import ElfFile

_CURRENT, _SYSV, _GNU, _ABI_VERSIONS = 1, 0, 3, 4  # EV_CURRENT, ELFOSABI_SYSV, ELFOSABI_GNU and its ABI versions
_SYSTEMS = {2: "NetBSD", 6: "Solaris", 9: "FreeBSD", 12: "OpenBSD"}
_ABI_TAG, _LINUX = 1, 0  # NT_GNU_ABI_TAG, ELF_NOTE_OS_LINUX
_TAG = struct.Struct("<IIII")  # system, and the oldest kernel: major, minor, patch


def check_header(elf: ElfFile, glibc: tuple[int, int] | None) -> list[Problem]:
    """Check what the file's header, segments, flags and ABI note say; `glibc` is the host's."""
    found = [*_header(elf.read(0, HEADER.size, "the ELF header"))]
    if glibc and glibc < (2, 36):
        found += _older_rules(elf, glibc)
    return [*(Problem.of("elf-header", each) for each in found), *_flags(elf)]


def _header(start: bytes) -> Iterator[str]:
    ident, _, _, version, *_ = HEADER.unpack(start)
    system, abi = ident[7], ident[8]
    if ident[6] != _CURRENT or version != _CURRENT:
        yield f"version {ident[6] if ident[6] != _CURRENT else version} of the format"
    if system not in {_SYSV, _GNU}:
        yield f"a library for {_SYSTEMS.get(system, f'system {system}')} (e_ident, OS/ABI {system})"
    elif abi and (system != _GNU or abi >= _ABI_VERSIONS):
        yield f"ABI version {abi} in e_ident"
    if any(ident[9:]):
        yield "nonzero padding in e_ident"


def _older_rules(elf: ElfFile, glibc: tuple[int, int]) -> Iterator[str]:
    """What older glibcs test besides: each segment's alignment until 2.34, the note of the oldest kernel until 2.35."""
    whose = f", which glibc {glibc[0]}.{glibc[1]} refuses"
    if glibc < (2, 35) and any(load.align & (PAGE - 1) for load in elf.loads):
        yield f"a segment that is aligned to less than a page{whose}"
    if glibc < (2, 36) and any(segment.type == PT_NOTE and segment.file_size >= 32 for segment in elf.segments):
        here = tuple(int(part) for part in os.uname().release.partition("-")[0].split(".") if part.isdigit())
        for note in elf.notes():
            if note.owner == b"GNU" and note.type == _ABI_TAG and len(note.description) >= _TAG.size:
                system, *kernel = _TAG.unpack_from(note.description)
                if system != _LINUX or tuple(kernel) > here:
                    wanted = f"Linux {'.'.join(map(str, kernel))}" if system == _LINUX else f"system {system}"
                    yield f"a library for {wanted} (NT_GNU_ABI_TAG){whose}"


def _flags(elf: ElfFile) -> Iterator[Problem]:
    if elf.dynamic.get(DT_FLAGS_1, 0) & DF_1_NOOPEN:
        yield Problem.of("no-dlopen", "one that was linked with -z nodlopen (DF_1_NOOPEN)")
    if has_text_relocations(elf):
        yield Problem.of("text-relocations", "code that the dynamic linker has to change (DT_TEXTREL)")


def has_text_relocations(elf: ElfFile) -> bool:
    """True if relocations change its read-only segments, which then cannot be shared and are writable for a moment."""
    return DT_TEXTREL in elf.dynamic or bool(elf.dynamic.get(DT_FLAGS, 0) & DF_TEXTREL)
