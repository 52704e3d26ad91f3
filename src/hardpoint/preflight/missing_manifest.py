"""Say why a library has no manifest: it is none of ours, or a tool such as strip(1) removed the note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elf.constants import PT_NOTE, SHF_ALLOC, SHT_NOTE, STT_OBJECT
from ..elf.integrity import examine
from ..elf.reader import ElfError
from ..errors import Problem

if TYPE_CHECKING:
    from ..elf.constants import Symbol
    from ..elf.reader import ElfFile

_REMOVED = "its section .note.hardpoint was left out or removed, as by `strip -R`, `objcopy` or a linker script"
_KEEP = "build it again, and keep that section: strip it without -R, or keep `*(.note.*)` in the linker script"


def missing_manifest(elf: ElfFile) -> Problem:
    """Make the problem of a library without a manifest."""
    if elf.symbols("PyInit_"):
        return Problem.of("manifest-missing", "a Python extension module, which is imported, not loaded")
    symbols = elf.symbols("hardpoint_")
    if not symbols:
        return Problem.of("manifest-missing", "none")
    found = f"none, though it has the symbol {symbols[0].name}"
    if is_note_lost(elf) or any(_is_alone(elf, symbol) for symbol in symbols):
        return Problem.of("manifest-missing", f"{found}: {_REMOVED}", fix=_KEEP)
    return Problem.of("manifest-missing", found)


def is_note_lost(elf: ElfFile) -> bool:
    """True if a program header for notes leads to a place where no section has any: tools remove only the sections."""
    starts = [address for kind, flags, address, _, _ in elf.sections if kind == SHT_NOTE and flags & SHF_ALLOC]
    notes = [segment for segment in elf.segments if segment.type == PT_NOTE and segment.file_size]
    return bool(elf.sections) and not all(
        any(note.address <= start < note.address + note.file_size for start in starts) for note in notes
    )


def _is_alone(elf: ElfFile, symbol: Symbol) -> bool:
    """True if a vtable leads to the copy of a manifest that is in no note, whoever owns that."""
    if symbol.type != STT_OBJECT:
        return False
    try:
        copy = examine(elf).get(symbol.address + 8)
        start = elf.read_at(copy, min(elf.room_at(copy), 128), "the manifest") if copy and copy > 0 else b""
        return start.startswith(b'{"') and not any(start[16:] in note.description for note in elf.notes())
    except ElfError:
        return False
