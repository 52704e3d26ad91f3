"""Change single numbers in a library's structure, by name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from pathlib import Path


class Forge:
    """The bytes of a library, and the offsets of its parts."""

    def __init__(self, library: Path, target: Path) -> None:
        self.data, self.target = bytearray(library.read_bytes()), target
        with library.open("rb") as file:
            elf: Any = ELFFile(file)
            self.sections = {section.name: int(section["sh_offset"]) for section in elf.iter_sections()}
            self.sizes = {section.name: int(section["sh_size"]) for section in elf.iter_sections()}
            self.addresses = {section.name: int(section["sh_addr"]) for section in elf.iter_sections()}
            self.symbols = [symbol.name for symbol in elf.get_section_by_name(".dynsym").iter_symbols()]
            self.locals = int(elf.get_section_by_name(".dynsym")["sh_info"])
            self.segments = [str(segment["p_type"]) for segment in elf.iter_segments()]
            self.tags = [str(tag.entry["d_tag"]) for tag in elf.get_section_by_name(".dynamic").iter_tags()]

    def put(self, section: str, offset: int, layout: str, *values: int) -> None:
        struct.pack_into(layout, self.data, self.sections[section] + offset, *values)

    def get(self, section: str, offset: int, layout: str) -> int:
        return int(struct.unpack_from(layout, self.data, self.sections[section] + offset)[0])

    def entry(self, name: str, *, tag: int | None = None, value: int | None = None) -> None:
        """Change the tag or the value of a dynamic entry."""
        at = 16 * self.tags.index(f"DT_{name}")
        if tag is not None:
            self.put(".dynamic", at, "<Q", tag)
        if value is not None:
            self.put(".dynamic", at + 8, "<Q", value)

    def segment(self, kind: str, field: int, value: int, *, index: int = 0) -> None:
        """Change a field (an offset in the program header) of the index-th segment of a type.

        The first two fields have 4 bytes.
        """
        at = 64 + 56 * [number for number, found in enumerate(self.segments) if found == kind][index]
        struct.pack_into("<I" if field < 8 else "<Q", self.data, at + field, value)

    def header(self, section: str, field: int, value: int) -> None:
        """Change a field of a section's header: 4 type, 8 flags, 16 address, 24 offset, 32 size."""
        (table,) = struct.unpack_from("<Q", self.data, 40)
        at = table + 64 * [*self.sections].index(section) + field
        struct.pack_into("<I" if field < 8 else "<Q", self.data, at, value)

    def field(self, kind: str, field: int, *, index: int = 0) -> int:
        """Read a field of 8 bytes of the index-th segment of a type."""
        at = 64 + 56 * [number for number, found in enumerate(self.segments) if found == kind][index]
        return int(struct.unpack_from("<Q", self.data, at + field)[0])

    def relocation(self, section: str, kind: int, symbol: int | None = None) -> int:
        """Return the offset within the section of the first relocation of a type, or also by a symbol."""
        return next(
            at
            for at in range(0, self.sizes[section], 24)
            if self.get(section, at + 8, "<I") == kind and symbol in {None, self.get(section, at + 12, "<I")}
        )

    def vtable(self) -> int:
        """Return the address of the vtable of the greeter."""
        return self.get(".dynsym", 24 * self.symbols.index("hardpoint_greeter_v1") + 8, "<Q")

    def without_section_headers(self) -> None:
        struct.pack_into("<Q", self.data, 40, 0)
        struct.pack_into("<HHH", self.data, 58, 0, 0, 0)

    def write(self) -> Path:
        self.target.write_bytes(self.data)
        return self.target
