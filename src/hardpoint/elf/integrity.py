"""Check everything in an ElfFile that could crash the dynamic linker, and return the addresses that relocations fill.

dlopen trusts a file: an index out of range, an unterminated table or an entry size that it asserts on kills the
process (each was seen with glibc 2.36 and damaged files). So all of them are checked here first. Not checked is what a
file is free to choose: which code is the start function, what a relocation adds, which symbol it refers to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .constants import (
    DT_FINI,
    DT_FINI_ARRAY,
    DT_FINI_ARRAYSZ,
    DT_GNU_HASH,
    DT_HASH,
    DT_INIT,
    DT_INIT_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_JMPREL,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_PREINIT_ARRAY,
    DT_REL,
    DT_RELA,
    DT_RELAENT,
    DT_RELASZ,
    DT_RELR,
    DT_RELRENT,
    DT_RELRSZ,
    DT_SYMENT,
    DT_SYMTAB,
    DT_VERDEF,
    DT_VERNEED,
    DT_VERSYM,
    PF_R,
    PF_W,
    PT_DYNAMIC,
    PT_GNU_EH_FRAME,
    PT_GNU_PROPERTY,
    PT_GNU_RELRO,
    PT_GNU_STACK,
    PT_NOTE,
    PT_PHDR,
    PT_TLS,
    SHF_ALLOC,
    SHF_TLS,
    SHF_WRITE,
    SHT_DYNSYM,
    SHT_FINI_ARRAY,
    SHT_GNU_HASH,
    SHT_GNU_VERDEF,
    SHT_GNU_VERNEED,
    SHT_GNU_VERSYM,
    SHT_HASH,
    SHT_INIT_ARRAY,
    SHT_NOBITS,
    SHT_RELA,
    SHT_RELR,
    Segment,
)
from .functions import is_code, is_exact, is_function
from .image import damaged
from .relocations import NOWHERE, RELOCATION_TYPES, SIZES, TABLES, Filled, Relocations
from .symbols import check_bindings, check_symbols, check_versions

if TYPE_CHECKING:
    from .constants import Segment
    from .reader import ElfFile

__all__ = ["Filled", "examine", "is_code", "is_function"]

_COMPANIONS = {
    DT_RELA: (DT_RELASZ, DT_RELAENT),
    DT_JMPREL: (DT_PLTRELSZ, DT_PLTREL),
    DT_PLTREL: (DT_JMPREL,),
    DT_RELR: (DT_RELRSZ, DT_RELRENT),
    DT_INIT_ARRAY: (DT_INIT_ARRAYSZ,),
    DT_FINI_ARRAY: (DT_FINI_ARRAYSZ,),
}
_STRANGE = {
    DT_REL: "relocations of a kind (DT_REL) that 64-bit machines do not have",
    DT_PREINIT_ARRAY: "start functions of a kind (DT_PREINIT_ARRAY) that only programs have",
}
_ASSERTED = {DT_RELAENT: 24, DT_SYMENT: 24, DT_PLTREL: DT_RELA, DT_RELRENT: 8}
_MULTIPLES = {DT_RELASZ: 24, DT_PLTRELSZ: 24, DT_RELRSZ: 8}  # ld.so reads a partial last entry in full
_SECTIONS = {
    SHT_HASH: (DT_HASH, 0),
    SHT_GNU_HASH: (DT_GNU_HASH, 0),
    SHT_DYNSYM: (DT_SYMTAB, 0),
    SHT_GNU_VERSYM: (DT_VERSYM, 0),
    SHT_GNU_VERNEED: (DT_VERNEED, 0),
    SHT_GNU_VERDEF: (DT_VERDEF, 0),
    SHT_INIT_ARRAY: (DT_INIT_ARRAY, DT_INIT_ARRAYSZ),
    SHT_FINI_ARRAY: (DT_FINI_ARRAY, DT_FINI_ARRAYSZ),
    SHT_RELR: (DT_RELR, DT_RELRSZ),
}
"""Section types, and the dynamic entries for the same table: its address and, unless 0, its size."""
_ONCE = {PT_DYNAMIC, PT_PHDR, PT_TLS, PT_GNU_STACK, PT_GNU_RELRO}
_HOUSED = {PT_DYNAMIC, PT_NOTE, PT_PHDR, PT_GNU_EH_FRAME, PT_GNU_PROPERTY, PT_GNU_RELRO}
_GOT_HEADER = 24
"""Bytes of .got.plt, at most, that GNU ld puts into the part that is made read-only: ld.so's own words."""
_PAGE, _ADDRESS_LIMIT, _TLS_LIMIT, _TLS_ALIGN_LIMIT = 0x1000, 1 << 47, 1 << 30, 1 << 16


def examine(elf: ElfFile) -> Filled:
    """Return what the relocations fill. ElfError (`elf-damaged`) for anything that could kill the process in dlopen."""
    _check_segments(elf)
    _check_dynamic(elf)
    if elf.machine in RELOCATION_TYPES:  # others are refused anyway
        _check_sections(elf)
    check_symbols(elf)
    check_versions(elf)
    if elf.machine not in RELOCATION_TYPES:
        return {}
    relocations = Relocations(elf)
    filled = relocations.read()
    check_bindings(elf, relocations.symbols, relocations.referred)
    _check_code_pointers(elf, filled)
    return filled


# -- segments and sections -------------------------------------------------------------------------------------------


def _check_segments(elf: ElfFile) -> None:
    end = 0
    for load in elf.loads:  # mapped by whole pages, over whatever is there already
        if load.address // _PAGE * _PAGE < end or load.file_size > load.memory_size or load.align & (load.align - 1):
            damaged(f"segments that overlap, are out of order or badly sized, at {load.address:#x}")
        if not load.flags & PF_R or (load.file_size != load.memory_size and not load.flags & PF_W):
            damaged(f"a segment at {load.address:#x} that is not readable, or is partly zeroed and not writable")
        end = -(-(load.address + load.memory_size) // _PAGE) * _PAGE
    if end >= _ADDRESS_LIMIT:
        damaged(f"segments that reach to {end:#x}, more than an address space holds")
    _check_overlap(elf)
    once = [segment.type for segment in elf.segments if segment.type in _ONCE]
    if len(set(once)) < len(once):
        damaged(f"more than one program header of type {max(once, key=once.count):#x}")
    for segment in elf.segments:
        if segment.type in _HOUSED:
            _check_home(elf, segment)
        elif segment.type == PT_TLS:
            _check_tls(elf, segment)
    elf.notes(PT_GNU_PROPERTY)  # ld.so reads these, and trusts their sizes


def _check_overlap(elf: ElfFile) -> None:
    """Require that each byte of the file is in one segment: what is written to one would not show in the other."""
    end = 0
    for offset, size in sorted([(load.offset, load.file_size) for load in elf.loads if load.file_size]):
        if offset < end:
            damaged(f"segments that share bytes of the file, at offset {offset:#x}")
        end = offset + size


def _check_home(elf: ElfFile, segment: Segment) -> None:
    """Require that a program header's address lies in a segment that is mapped."""
    start, size, relro = segment.address, segment.memory_size, segment.type == PT_GNU_RELRO
    end = (start + size) // _PAGE * _PAGE if relro else start + size  # ld.so rounds the read-only part so
    for home in elf.loads:
        there = home.address + home.memory_size
        if home.address <= start < there and end <= -(-there // _PAGE) * _PAGE and (home.flags & PF_W or not relro):
            break
    else:
        damaged(f"a program header of type {segment.type:#x} that points out of its segment")
    # For notes, binutils 2.35 counts the padding in the file but not in memory; ld.so reads the size in memory.
    other = size > segment.file_size if segment.type == PT_NOTE else size != segment.file_size
    if segment.type in {PT_DYNAMIC, PT_NOTE, PT_GNU_PROPERTY} and other:
        damaged(
            f"a program header of type {segment.type:#x} with {segment.file_size} bytes in the file, {size} in memory"
        )
    if segment.type == PT_DYNAMIC and segment.flags & PF_W and not home.flags & PF_W:
        damaged("a writable dynamic section in a segment that is not")
    if segment.type == PT_PHDR and (home.offset + start - home.address, size) != (
        elf.headers_at,
        56 * len(elf.segments),
    ):
        damaged("program headers that PT_PHDR places elsewhere")  # the unwinder reads them


def _check_tls(elf: ElfFile, segment: Segment) -> None:
    # It is allocated at the first use, where a failure ends the process; ld.so divides by the alignment.
    aligned = segment.align & (segment.align - 1) == 0 and 0 < segment.align <= _TLS_ALIGN_LIMIT
    if not aligned or not segment.file_size <= segment.memory_size <= _TLS_LIMIT:
        damaged(f"thread-local storage of {segment.memory_size} bytes aligned to {segment.align}")
    if segment.file_size and not any(_inside(load, segment) for load in elf.loads):
        damaged("thread-local storage that points out of the file's segments")


def _inside(load: Segment, segment: Segment) -> bool:
    start, end = segment.address, segment.address + segment.file_size
    return load.address <= start and end <= load.address + load.file_size


def _check_sections(elf: ElfFile) -> None:
    """Require that section headers agree with the program headers and the dynamic section."""
    tls, dynamic = elf.tls, elf.dynamic
    spans = _spans(elf.loads)
    tls_spans = _spans([tls]) if tls else spans
    home, _, shift, file_end = spans[0]
    relocations = [(dynamic[at], dynamic[at] + dynamic[size]) for at, size in TABLES if at in dynamic]
    protected, behind = _made_read_only(elf)
    for kind, flags, address, offset, size in elf.sections:
        if not flags & SHF_ALLOC or not size:
            continue
        last = address + size
        if protected <= address < behind and flags & (SHF_WRITE | SHF_TLS) == SHF_WRITE:
            straddles = last > behind and address < behind - _GOT_HEADER
            if straddles or (kind == SHT_NOBITS and last != behind):  # mold's padding is all that has no bytes
                damaged(f"a section at {address:#x} that PT_GNU_RELRO makes read-only in part")
        if address < home or offset - address != shift or offset + size > file_end or flags & SHF_TLS:
            for start, end, by, to in tls_spans if flags & SHF_TLS else spans:
                if (
                    last <= end
                    and start <= address
                    and (kind == SHT_NOBITS or (offset - address == by and offset + size <= to))
                ):
                    break
            else:
                damaged(f"a section at {address:#x} outside of every segment")
            if not flags & SHF_TLS:
                home, shift, file_end = start, by, to  # most sections lie in the segment of the one before
        if kind in _SECTIONS:
            at, length = _SECTIONS[kind]
            if dynamic.get(at) != address or (length and dynamic.get(length) != size):
                damaged(f"a section at {address:#x} that the dynamic entry {at:#x} contradicts")
        elif kind == SHT_RELA and not any(start <= address and last <= end for start, end in relocations):
            damaged(f"relocations at {address:#x} missing from the dynamic section")


def _made_read_only(elf: ElfFile) -> tuple[int, int]:
    """Return the bounds of the pages that ld.so makes read-only after the relocation; 0, 0 if there are none."""
    for segment in elf.segments:
        if segment.type == PT_GNU_RELRO:
            return segment.address, (segment.address + segment.memory_size) // _PAGE * _PAGE
    return 0, 0


def _spans(segments: list[Segment]) -> list[tuple[int, int, int, int]]:
    """Return each segment's start and end in memory, the difference to its offset in the file, and its end there."""
    return [(s.address, s.address + s.memory_size, s.offset - s.address, s.offset + s.file_size) for s in segments]


# -- the dynamic section ---------------------------------------------------------------------------------------------


def _check_dynamic(elf: ElfFile) -> None:
    dynamic = elf.dynamic
    for tag in _COMPANIONS.keys() & dynamic.keys():
        for companion in _COMPANIONS[tag]:
            if companion not in dynamic:
                damaged(f"a dynamic entry {tag:#x} without the entry {companion:#x}")
    for tag, value in _ASSERTED.items():
        if dynamic.get(tag, value) != value:
            damaged(f"a dynamic entry {tag:#x} of {dynamic[tag]}, which has to be {value}")
    for tag, unit in _MULTIPLES.items():
        if dynamic.get(tag, 0) % unit:
            damaged(f"a dynamic entry {tag:#x} of {dynamic[tag]}, not a multiple of {unit}")
    for tag in _STRANGE.keys() & dynamic.keys():
        damaged(_STRANGE[tag])
    if not elf.strings.endswith(b"\0"):
        damaged("an unterminated string table")


def _check_code_pointers(elf: ElfFile, filled: Filled) -> None:
    """Refuse a library whose start or end functions are not code."""
    for tag in (DT_INIT, DT_FINI):
        if tag in elf.dynamic and not is_exact(elf, elf.dynamic[tag]):
            damaged(f"a start or end function at {elf.dynamic[tag]:#x}, where no function starts")
    for table in (DT_INIT_ARRAY, DT_FINI_ARRAY):
        if table in elf.dynamic:
            start, size = elf.dynamic[table], elf.dynamic[SIZES[table]]
            for address in range(start, start + size // 8 * 8, 8):
                if not is_function(elf, filled.get(address, NOWHERE)):
                    damaged(f"a start or end function that is not in the file, listed at {address:#x}")
