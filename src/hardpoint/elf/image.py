"""Read an open file as ELF64: its headers, its segments, and bytes by offset or by address. No offset is trusted.

Like the dynamic linker, it goes by the program headers, not by the sections.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import one_line
from .constants import (
    ET_DYN,
    ET_EXEC,
    FILE_TYPES,
    HEADER,
    MACHINES,
    MAGICS,
    PF_X,
    PT_LOAD,
    PT_TLS,
    SECTION,
    SEGMENT,
    SHF_EXECINSTR,
    SHT_NOBITS,
    Segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = 1 << 16
"""Files up to this many bytes are read at once, larger ones in parts as needed: with 1 << 20, reading 500 manifests
from files of 0.9 MB took twice the time, and all checks of a library in between a tenth more."""
# Limits that no linker reaches: each bounds the work that a small crafted file can cause.
_MOST_SEGMENTS, _MOST_SECTIONS, _MOST_BYTES = 128, 4096, 1 << 26


class ElfError(Exception):
    """The file is not a well-formed ELF64 shared object. The message is a problem's `found`, `code` its code."""

    def __init__(self, code: str, found: str) -> None:
        super().__init__(one_line(found))
        self.code = code


class Cached:
    """functools.cached_property without the lock that it has until Python 3.11, which takes 1 us."""

    def __init__(self, get: Callable[[Any], Any]) -> None:
        self.get, self.__doc__ = get, get.__doc__

    def __get__(self, owner: Any, kind: type) -> Any:
        value = owner.__dict__[self.get.__name__] = self.get(owner)
        return value


class Image:
    """The headers and bytes of a shared object or a program. `fd` must stay open while the object is used."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._whole = os.pread(fd, self.size, 0) if self.size <= WHOLE else b""
        header = HEADER.unpack(self._identify())
        self.type: int = header[1]
        self.machine: int = header[2]
        if self.type not in {ET_EXEC, ET_DYN}:
            raise ElfError("elf-type", FILE_TYPES.get(self.type, f"an ELF file of type {self.type}"))
        self.headers_at: int = header[5]
        segments, sections = header[10], header[12]
        if (segments and header[9] != SEGMENT.size) or (sections and header[11] != SECTION.size):
            raise ElfError("elf-damaged", "an ELF header whose tables have entries of another size than the ABI's")
        if segments > _MOST_SEGMENTS:  # the loader copies them to its stack
            raise ElfError("elf-damaged", f"{segments} program headers")
        limit("section headers", sections, _MOST_SECTIONS)
        data = self.read(header[6], SECTION.size * sections, "the table of section headers")
        self.sections = list(SECTION.iter_unpack(data))
        """Type, flags, address, offset, size of each (gABI, Elf64_Shdr). A library works without any."""
        data = self.read(self.headers_at, SEGMENT.size * segments, "the table of program headers")
        self.segments = list(map(Segment._make, SEGMENT.iter_unpack(data)))
        self.loads = [segment for segment in self.segments if segment.type == PT_LOAD]
        self.tls = next((segment for segment in self.segments if segment.type == PT_TLS and segment.memory_size), None)
        """The segment of thread-local storage, or None; an empty one is ignored, as by the dynamic linker."""
        executable = [section for section in self.sections if section[1] & SHF_EXECINSTR]
        self.code = self._code(executable)
        """The address ranges of code."""
        self.code_starts = {start for start, _ in self.code}
        # Before the segments: those of a .debug companion (objcopy --only-keep-debug) may lie beyond the file's end.
        if {section[0] for section in executable} == {SHT_NOBITS}:
            raise ElfError("elf-debug", "debug information without the code")
        for load in self.loads:
            self._within(load.offset, load.file_size, "a segment")
        self.mapped = [(load.address, load.address + load.file_size, load.offset - load.address) for load in self.loads]
        """Where the bytes of the file are in memory: start, end, and the difference to their offset in the file."""

    @property
    def has_code(self) -> bool:
        """True if a part of it is executable; a library of data alone, such as ICU's libicudata, has none."""
        return any(load.flags & PF_X and load.file_size for load in self.loads)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Read `size` bytes at `offset` of the file. ElfError naming `what` if the file ends before that."""
        self._within(offset, size, what)
        if size > _MOST_BYTES:
            limit(f"bytes in {what}", size, _MOST_BYTES)
        data = self._whole[offset : offset + size] if self._whole else os.pread(self._fd, size, offset)
        if len(data) != size:
            raise ElfError("elf-truncated", f"a file that ends within {what}")
        return data

    def read_at(self, address: int, size: int, what: str) -> bytes:
        """Read the `size` bytes that the file maps at `address`. ElfError naming `what` if it maps none there."""
        last = address + size
        for start, end, shift in self.mapped:
            if last <= end and start <= address:
                at = address + shift
                return self._whole[at : last + shift] if self._whole else self.read(at, size, what)
        raise ElfError("elf-damaged", f"{what} at address {address:#x}, outside of the file")

    def start_of(self, address: int, most: int) -> bytes:
        """Read the bytes that the file maps from `address` on, at most so many."""
        return self.read_at(address, min(self.room_at(address), most), "code")

    def room_at(self, address: int) -> int:
        """Count the bytes that the file maps from `address` to the end of its segment."""
        for start, end, _ in self.mapped:
            if start <= address < end:
                return end - address
        return 0

    def _within(self, offset: int, size: int, what: str) -> None:
        if offset + size > self.size:
            raise ElfError("elf-truncated", f"{self.size} bytes, while {what} would end at {offset + size}")

    def _identify(self) -> bytes:
        start = self._whole[: HEADER.size] if self._whole else os.pread(self._fd, HEADER.size, 0)
        if not start:
            raise ElfError("elf-magic", "an empty file")
        if not start.startswith(b"\x7fELF"):
            raise ElfError("elf-magic", _describe(start))
        if len(start) < HEADER.size:
            raise ElfError("elf-truncated", f"an ELF file of {len(start)} bytes, shorter than its own header")
        machine = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
        if start[4:6] != b"\x02\x01":
            bits, order = {1: "32-bit", 2: "64-bit"}.get(start[4], "?"), {1: "little", 2: "big"}.get(start[5], "?")
            raise ElfError(
                "elf-class", f"a {bits} {order}-endian ELF file for {MACHINES.get(machine, f'machine {machine}')}"
            )
        return start

    def _code(self, executable: list[tuple[int, ...]]) -> list[tuple[int, int]]:
        """Return the executable sections, or else segments: on AArch64, these also hold constants."""
        segments = [(load.address, load.address + load.memory_size) for load in self.loads if load.flags & PF_X]
        if not executable:
            return segments
        if len(executable) > _MOST_SEGMENTS:  # each function is looked for in all of them
            raise ElfError("elf-damaged", f"{len(executable)} sections of code")
        return [
            (at, at + size)
            for _, _, at, _, size in executable
            for start, end in segments
            if start <= at and at + size <= end
        ]


def damaged(found: str) -> NoReturn:
    """Refuse the file as damaged."""
    raise ElfError("elf-damaged", found)


def limit(what: str, found: int, most: int) -> None:
    """Refuse a table larger than any that a linker writes: a sparse file of 20 KiB can have one of gigabytes."""
    if found > most:
        raise ElfError("elf-too-large", f"{found} {what}, where at most {most} are read")


def _describe(start: bytes) -> str:
    """Name the format of a file that is not ELF, by its first bytes."""
    for magic, name in MAGICS.items():
        if start.startswith(magic):
            return name
    return f"a file that starts with {start[:8]!r}"
