"""Structures that no linker writes, one each: refused by `load`, and the same with the nearest good value is loaded."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

import pytest
from forge import Forge
from test_integrity import SEPARATE, THREAD_LOCAL

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

AARCH64 = os.uname().machine == "aarch64"
RELATIVE, INDIRECT, ADDRESS, DATA_SLOT, JUMP_SLOT = (1027, 1032, 257, 1025, 1026) if AARCH64 else (8, 37, 1, 6, 7)
OFFSET, STATIC_OFFSET = (1029, 1030) if AARCH64 else (17, 18)
PLAIN = ("-Wl,-z,lazy", "-Wl,-z,norelro", SEPARATE)
"""With a table of the PLT, and room behind each table."""


@pytest.fixture
def forge(compiler: Compiler, tmp_path: Path) -> Forge:
    return Forge(compiler.library("english/english.c", *PLAIN), tmp_path / "damaged.so")


def refused(forge: Forge, sentence: str, *, code: str = "elf-damaged") -> None:
    """Assert that the file is refused, with this in its first problem."""
    path = forge.write()
    kind = hardpoint.NotAPluginError if code.startswith("elf-") else hardpoint.IncompatibleError
    with pytest.raises(kind) as caught:
        hardpoint.load(path, Greeter)
    problem = caught.value.problems[0]
    assert problem.code == code
    assert re.search(sentence, problem.found), problem.found


def loads(forge: Forge) -> None:
    """Assert that it is loaded, from another file: this process keeps it mapped."""
    good = forge.target.with_name(f"good{len(list(forge.target.parent.iterdir()))}.so")
    good.write_bytes(forge.data)
    assert hardpoint.load(good, Greeter).lang()


def fits(forge: Forge) -> None:
    """Assert that it passes the checks, where to run it would harm this process."""
    assert main(["check", str(forge.write())]) == 0


# -- bounds: the last value that is right, and the first that is not -------------------------------------------------


def test_a_table_that_ends_one_byte_past_its_segment(forge: Forge) -> None:
    forge.without_section_headers()
    end = max(forge.sections[name] + forge.sizes[name] for name in (".rela.dyn", ".rela.plt"))
    for field in (32, 40):
        forge.segment("PT_LOAD", field, end)
    loads(forge)
    for field in (32, 40):
        forge.segment("PT_LOAD", field, end - 1)
    refused(forge, "^the relocations at address 0x[0-9a-f]+, outside of the file$")


def test_a_table_that_begins_one_byte_before_its_segment(forge: Forge) -> None:
    forge.without_section_headers()
    start = forge.addresses[".init_array"]
    assert forge.field("PT_LOAD", 16, index=-1) == start
    for field in (8, 16):
        forge.segment("PT_LOAD", field, forge.field("PT_LOAD", field, index=-1) + 1, index=-1)
    refused(forge, "(a list of start or end functions that points out of the file|which is not writable)$")


def test_a_file_that_ends_one_byte_into_a_segment(forge: Forge) -> None:
    forge.without_section_headers()
    end = forge.field("PT_LOAD", 8, index=-1) + forge.field("PT_LOAD", 32, index=-1)
    del forge.data[end:]
    loads(forge)
    del forge.data[-1]
    refused(forge, f"^{end - 1} bytes, while a segment would end at {end}$", code="elf-truncated")


def test_a_note_that_is_four_bytes_too_long(forge: Forge) -> None:
    last = forge.sections[".note.hardpoint"]
    at = 64 + 56 * forge.segments.index("PT_NOTE")
    start, size = (struct.unpack_from("<Q", forge.data, at + field)[0] for field in (8, 32))
    assert start + size == last + forge.sizes[".note.hardpoint"]
    forge.put(".note.hardpoint", 4, "<I", forge.get(".note.hardpoint", 4, "<I") + 4)
    refused(forge, f"^a note of [0-9]+ bytes in a segment of {size}$")


def test_thread_local_storage_outside_of_the_segments(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("local", THREAD_LOCAL, *PLAIN), tmp_path / "damaged.so")
    forge.without_section_headers()
    loads(forge)
    last = forge.field("PT_LOAD", 16, index=-1) + forge.field("PT_LOAD", 40, index=-1)
    size = forge.field("PT_TLS", 32)
    forge.segment("PT_TLS", 16, last - size + 1)
    refused(forge, "^thread-local storage that points out of the file's segments$")
    forge.segment("PT_TLS", 16, forge.field("PT_LOAD", 16, index=-1) - 1)
    refused(forge, "^thread-local storage that points out of the file's segments$")


def test_a_thread_local_variable_that_ends_past_the_storage(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("local", THREAD_LOCAL, *PLAIN), tmp_path / "damaged.so")
    at = 24 * forge.symbols.index("calls")
    room = forge.field("PT_TLS", 40)
    forge.put(".dynsym", at + 16, "<Q", room - forge.get(".dynsym", at + 8, "<Q"))
    fits(forge)
    forge.put(".dynsym", at + 16, "<Q", room - forge.get(".dynsym", at + 8, "<Q") + 1)
    refused(forge, "^a thread-local variable calls outside of the thread-local storage$")


def test_packed_relocations_of_nine_bytes(compiler: Compiler, tmp_path: Path) -> None:
    library = compiler.library("english/english.c", "-Wl,-z,pack-relative-relocs")
    forge = Forge(library, tmp_path / "damaged.so")
    if "DT_RELRSZ" not in forge.tags:
        pytest.skip("the linker packs no relocations")
    forge.entry("RELRSZ", value=9)
    refused(forge, "^a dynamic entry 0x23 of 9, not a multiple of 8$")


def test_a_version_one_past_the_last_that_is_known(forge: Forge) -> None:
    known = max(forge.get(".gnu.version", at, "<H") & 0x7FFF for at in range(0, forge.sizes[".gnu.version"], 2))
    forge.put(".gnu.version", 2 * forge.symbols.index("__cxa_finalize"), "<H", known + 1)
    refused(forge, "^a symbol of a version that is not in the table of versions$")


def test_a_relocation_by_the_symbol_after_the_last(forge: Forge) -> None:
    count = forge.sizes[".dynsym"] // 24
    forge.put(".rela.dyn", forge.relocation(".rela.dyn", DATA_SLOT) + 12, "<I", count)
    refused(forge, f"^a relocation by symbol {count} of {count}$")


def test_a_symbol_in_the_section_after_the_last(forge: Forge) -> None:
    at = 24 * forge.symbols.index("hardpoint_greeter_v1") + 6
    sections = len(forge.sections)
    forge.put(".dynsym", at, "<H", sections)
    refused(forge, f"^a symbol hardpoint_greeter_v1 in section {sections} of {sections}$")
    forge.put(".dynsym", at, "<H", sections - 1)
    loads(forge)


def test_a_symbol_one_byte_past_the_last_segment(forge: Forge) -> None:
    end = forge.field("PT_LOAD", 16, index=-1) + forge.field("PT_LOAD", 40, index=-1)
    at = 24 * forge.symbols.index("hardpoint_greeter_v1")
    forge.put(".dynsym", at + 8, "<Q", end + 1)
    refused(forge, f"^a symbol hardpoint_greeter_v1 at {end + 1:#x}, outside of the library$")


def test_segments_that_share_a_byte_of_the_file(forge: Forge) -> None:
    forge.without_section_headers()
    start = forge.field("PT_LOAD", 8, index=1)
    for field in (32, 40):
        forge.segment("PT_LOAD", field, start)
    loads(forge)
    for field in (32, 40):
        forge.segment("PT_LOAD", field, start - 0x800)
    forge.segment("PT_LOAD", 8, forge.field("PT_LOAD", 8, index=2) - 0x1000, index=2)
    refused(forge, "^segments that share bytes of the file, at offset 0x[0-9a-f]+$")


# -- relocations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "layout", "value", "sentence"),
    [
        (8, "<I", 0, "^a relocation of type 0 among those of functions$"),
        (8, "<I", RELATIVE, f"^a relocation of type {RELATIVE} among those of functions$"),
        (8, "<I", DATA_SLOT, f"^a relocation of type {DATA_SLOT} among those of functions$"),
        (12, "<I", 0, f"^a relocation of type {JUMP_SLOT} among those of functions$"),
        (12, "<I", "hardpoint_greeter_v1", "^a function that is a symbol of type 1$"),
    ],
)
def test_a_function_of_another_library(forge: Forge, field: int, layout: str, value: int | str, sentence: str) -> None:
    number = forge.symbols.index(value) if isinstance(value, str) else value
    forge.put(".rela.plt", field, layout, number)
    refused(forge, sentence)


@pytest.mark.parametrize("addend", [1, 8])
def test_the_addend_of_a_function_of_another_library(forge: Forge, addend: int) -> None:
    """On x86-64, ld.so ignores it, and -z mark-plt writes the address in the PLT there (Debian 13's own libraries)."""
    forge.put(".rela.plt", 16, "<Q", addend)
    if AARCH64:
        refused(forge, "^a relocation of 0x[0-9a-f]+ that is misaligned or repeats another$")
    else:
        loads(forge)


def two_functions(compiler: Compiler, tmp_path: Path) -> Forge:
    return Forge(compiler.text("local", THREAD_LOCAL, *PLAIN), tmp_path / "damaged.so")


@pytest.mark.parametrize("by", [8, -8, 4, 1 << 12])
def test_functions_of_other_libraries_that_are_out_of_line(compiler: Compiler, tmp_path: Path, by: int) -> None:
    forge = two_functions(compiler, tmp_path)
    assert forge.sizes[".rela.plt"] > 48
    forge.put(".rela.plt", 24, "<Q", forge.get(".rela.plt", 24, "<Q") + by)
    refused(forge, "^functions of other libraries that are out of line$")


def test_a_function_that_has_two_slots(compiler: Compiler, tmp_path: Path) -> None:
    forge = two_functions(compiler, tmp_path)
    forge.put(".rela.plt", 12, "<I", forge.get(".rela.plt", 24 + 12, "<I"))
    refused(forge, "^a relocation of 0x[0-9a-f]+ that is misaligned or repeats another$")


def test_a_relative_relocation_with_a_symbol(forge: Forge) -> None:
    forge.entry("RELACOUNT", value=0)
    forge.put(".rela.dyn", 12, "<I", 1)
    refused(forge, f"^a relocation of type {RELATIVE} by a symbol of type [0-9]+, which no linker writes$")


def test_a_relocation_without_a_type_that_fills_something(forge: Forge) -> None:
    at = forge.relocation(".rela.dyn", DATA_SLOT)
    forge.put(".rela.dyn", at + 8, "<Q", 0)
    refused(forge, "^a relocation of 0x[0-9a-f]+ without a type$")


def test_empty_relocations(forge: Forge) -> None:
    """As older versions of GNU ld left them, which had counted too many."""
    at = next(at for at in range(0, 24 * 9, 24) if forge.get(".rela.dyn", at, "<Q") == forge.addresses[".data"])
    forge.put(".rela.dyn", at, "<QQQ", 0, 0, 0)
    refused(forge, "^a relocation of 0x0 without a type$")
    forge.entry("RELACOUNT", value=at // 24)
    fits(forge)


def test_a_word_of_the_global_offset_table_that_is_left_out(forge: Forge) -> None:
    places = sorted(
        (forge.get(".rela.dyn", at, "<Q"), at)
        for at in range(0, forge.sizes[".rela.dyn"], 24)
        if forge.get(".rela.dyn", at + 8, "<I") == DATA_SLOT
    )
    place, at = places[1]
    forge.put(".rela.dyn", at, "<Q", forge.addresses[".data"] + forge.sizes[".data"] - 8 + 8)
    refused(forge, f"^(a word of the global offset table at {place:#x} without its relocation|a relocation of .*)$")


@pytest.mark.parametrize("by", [4, -4, 1, 7])
def test_a_relocation_that_overlaps_a_slot(forge: Forge, by: int) -> None:
    at = forge.sizes[".rela.dyn"] - 24
    slot = (
        next(
            forge.get(".rela.dyn", at, "<Q")
            for at in range(0, forge.sizes[".rela.dyn"], 24)
            if forge.get(".rela.dyn", at, "<Q") > forge.addresses["hardpoint"]
        )
        if "hardpoint" in forge.addresses
        else forge.get(".rela.dyn", 24 * 3, "<Q")
    )
    forge.put(".rela.dyn", at, "<QQQ", slot + by, RELATIVE, 0)
    refused(forge, "^a relocation of 0x[0-9a-f]+ that (spoils a vtable or a start function|overlaps another)$")


def test_a_relocation_that_refers_past_the_library(forge: Forge) -> None:
    end = forge.field("PT_LOAD", 16, index=-1) + forge.field("PT_LOAD", 40, index=-1)
    at = next(at for at in range(0, 24 * 9, 24) if forge.get(".rela.dyn", at, "<Q") == forge.addresses[".data"])
    forge.put(".rela.dyn", at + 16, "<Q", end)
    fits(forge)
    forge.put(".rela.dyn", at + 16, "<Q", end + 1)
    refused(forge, f"^a relocation that refers to {end + 1:#x}, outside of the library$")


def test_a_thread_local_offset_past_the_storage(compiler: Compiler, tmp_path: Path) -> None:
    forge = two_functions(compiler, tmp_path)
    number = forge.symbols.index("calls")
    at = forge.relocation(".rela.dyn", OFFSET, number)
    room = forge.field("PT_TLS", 40) - forge.get(".dynsym", 24 * number + 8, "<Q")
    forge.put(".rela.dyn", at + 16, "<Q", room)
    fits(forge)
    forge.put(".rela.dyn", at + 16, "<Q", room + 1)
    refused(forge, f"^a relocation of type {OFFSET} that refers to 0x[0-9a-f]+ in the thread-local storage$")


# -- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [1, 4, 8, 16, -1])
@pytest.mark.parametrize(
    "words", [(), ("-Wl,--strip-all",), ("-fno-asynchronous-unwind-tables",)], ids=["", "strip", "symbols"]
)
@pytest.mark.parametrize("tag", ["INIT", "FINI"])
def test_a_start_function_in_the_middle_of_one(
    compiler: Compiler, tmp_path: Path, tag: str, words: tuple[str, ...], by: int
) -> None:
    forge = Forge(compiler.library("english/english.c", *PLAIN, *words), tmp_path / "damaged.so")
    at = 16 * forge.tags.index(f"DT_{tag}") + 8
    forge.put(".dynamic", at, "<Q", forge.get(".dynamic", at, "<Q") + by * (4 if AARCH64 else 1))
    refused(forge, "^a start or end function at 0x[0-9a-f]+, where no function starts$")


@pytest.mark.parametrize("by", [1, 4, 5, 8, -1])
@pytest.mark.parametrize(
    "words", [(), ("-Wl,--strip-all",), ("-fno-asynchronous-unwind-tables",)], ids=["", "strip", "symbols"]
)
@pytest.mark.parametrize("index", [0, 1], ids=["init", "fini"])
def test_a_listed_function_in_the_middle_of_one(
    compiler: Compiler, tmp_path: Path, index: int, words: tuple[str, ...], by: int
) -> None:
    forge = Forge(compiler.library("english/english.c", *PLAIN, *words), tmp_path / "damaged.so")
    at = 24 * index + 16
    forge.put(".rela.dyn", at, "<Q", forge.get(".rela.dyn", at, "<Q") + by * (4 if AARCH64 else 1))
    refused(forge, "^a start or end function that is not in the file, listed at 0x[0-9a-f]+$")


@pytest.mark.parametrize(
    "words", [(), ("-Wl,--strip-all",), ("-fno-asynchronous-unwind-tables",)], ids=["", "strip", "symbols"]
)
def test_a_slot_in_the_middle_of_a_function(compiler: Compiler, tmp_path: Path, words: tuple[str, ...]) -> None:
    forge = Forge(compiler.library("english/english.c", *PLAIN, *words), tmp_path / "damaged.so")
    loads(forge)
    at = next(at for at in range(0, 24 * 9, 24) if forge.get(".rela.dyn", at, "<Q") - 48 == forge.vtable())
    forge.put(".rela.dyn", at + 16, "<Q", forge.get(".rela.dyn", at + 16, "<Q") + 4)
    refused(forge, "^a pointer into the middle of a function$", code="slot-not-code")


def test_a_query_that_points_at_data(forge: Forge) -> None:
    """The slot is optional and empty; a relocation fills it with the address of a constant."""
    at = next(at for at in range(0, 24 * 9, 24) if forge.get(".rela.dyn", at, "<Q") == forge.addresses[".data"])
    forge.put(".rela.dyn", at, "<QQQ", forge.vtable() + 40, RELATIVE, forge.addresses[".rodata"])
    refused(forge, "^a pointer to something else$", code="slot-not-code")


def test_a_plt_as_the_start_function(forge: Forge) -> None:
    forge.entry("INIT", value=forge.addresses[".plt"])
    refused(forge, "^a start or end function at 0x[0-9a-f]+, where no function starts$")


# -- names and values of symbols -------------------------------------------------------------------------------------


@pytest.fixture
def weak(compiler: Compiler, tmp_path: Path) -> Forge:
    """A library that calls a weak function of its own, as C++ does with inline functions."""
    code = (
        THREAD_LOCAL
        + """
__attribute__((weak, visibility("default"), noinline)) int own(int x) { return x + calls; }
__attribute__((constructor)) static void start(void) { calls = own(1); }
"""
    )
    return Forge(compiler.text("weak", code, *PLAIN), tmp_path / "damaged.so")


def test_a_weak_symbol_that_would_not_be_found(weak: Forge) -> None:
    loads(weak)
    name = weak.get(".dynsym", 24 * weak.symbols.index("own"), "<I")
    weak.put(".dynstr", name, "<B", ord("O"))
    refused(weak, "^a weak symbol Own that is not in the hash table$")


def test_a_function_in_the_middle_of_another(weak: Forge) -> None:
    at = 24 * weak.symbols.index("own") + 8
    weak.put(".dynsym", at, "<Q", weak.get(".dynsym", at, "<Q") + 4)
    refused(weak, "^a function own at 0x[0-9a-f]+, where none starts$")
    weak.put(".dynsym", at, "<Q", 0x100)
    refused(weak, "^a function own at 0x100, where none starts$")


def test_a_function_in_place_of_another(weak: Forge) -> None:
    """A compiler gives the same size to a function's symbol and to its entry in the unwinding table."""
    at = 24 * weak.symbols.index("own") + 16
    weak.put(".dynsym", at, "<Q", weak.get(".dynsym", at, "<Q") - 1)
    refused(weak, "^a function own of [0-9]+ bytes, where one of [0-9]+ is$")


def test_a_function_in_assembly_that_is_padded(compiler: Compiler, tmp_path: Path) -> None:
    """Its symbol has the padding too, as those of LLVM's OpenMP, and its entry in the unwinding table does not."""
    code = """
__attribute__((visibility("default"))) int padded(void);
__asm__(".text\\n.globl padded\\n.type padded, %function\\npadded:\\n.cfi_startproc\\n"
        ".byte 0xc3, 0, 0, 0\\n.cfi_endproc\\n.p2align 4\\n.size padded, . - padded\\n");
int (*volatile used)(void) = padded;
"""
    loads(Forge(compiler.text("padded", THREAD_LOCAL + code, *PLAIN), tmp_path / "padded.so"))


def test_a_function_that_reaches_over_the_start_of_another(weak: Forge) -> None:
    """Its symbol was moved into the room before it, where the unwinding table has nothing."""
    at = 24 * weak.symbols.index("own")
    start, size = (weak.get(".dynsym", at + field, "<Q") for field in (8, 16))
    text = weak.addresses[".text"]
    gap = next(
        place
        for place in range(start - 1, text, -1)
        if weak.data[weak.sections[".text"] + place - text - 1] in {0x90, 0xC3, 0x1F, 0x00, 0xD5}
    )
    if AARCH64:
        gap = start - 4
    weak.put(".dynsym", at + 8, "<QQ", gap, size + start - gap)
    refused(weak, "^a function own at 0x[0-9a-f]+(, where none starts| that reaches over the start of another)$")


@pytest.mark.parametrize("kind", [3, 4, 7])
def test_a_symbol_of_a_type_that_nothing_finds(weak: Forge, kind: int) -> None:
    """A weak one would be 0, without an error."""
    at = 24 * weak.symbols.index("own") + 4
    weak.put(".dynsym", at, "<B", 2 << 4 | kind)
    refused(weak, f"^a symbol own of binding 2 and type {kind}$")


def test_a_symbol_that_is_defined_and_undefined(weak: Forge) -> None:
    """A linker binds a reference to the definition that it has."""
    at = 24 * weak.symbols.index("memcpy" if "memcpy" in weak.symbols else "__cxa_finalize")
    weak.put(".dynsym", at, "<I", weak.get(".dynsym", 24 * weak.symbols.index("own"), "<I"))
    refused(weak, "^a symbol own that is both defined and undefined$")


def test_a_reference_into_a_function(compiler: Compiler, tmp_path: Path) -> None:
    code = (
        THREAD_LOCAL
        + """
__attribute__((visibility("default"))) int own(void) { return 1; }
int (*pointer)(void) = own;
"""
    )
    forge = Forge(compiler.text("into", code, *PLAIN), tmp_path / "damaged.so")
    loads(forge)
    at = forge.relocation(".rela.dyn", ADDRESS, forge.symbols.index("own"))
    forge.put(".rela.dyn", at + 16, "<Q", 4)
    refused(forge, "^a relocation of 0x[0-9a-f]+ that refers 4 bytes into a function$")


def test_a_variable_that_would_be_made_read_only(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("relro", THREAD_LOCAL, "-Wl,-z,relro", SEPARATE), tmp_path / "damaged.so")
    loads(forge)
    forge.segment("PT_GNU_RELRO", 40, forge.field("PT_GNU_RELRO", 40) + 0x1000)
    refused(forge, "^a section at 0x[0-9a-f]+ that PT_GNU_RELRO makes read-only in part$")


def test_a_function_at_an_absolute_address(weak: Forge) -> None:
    weak.put(".dynsym", 24 * weak.symbols.index("own") + 6, "<H", 0xFFF1)
    refused(weak, "^a function own at 0x[0-9a-f]+, where none starts$")


def test_two_symbols_of_one_name(forge: Forge) -> None:
    first, second = (24 * forge.symbols.index(name) for name in ("__gmon_start__", "_ITM_registerTMCloneTable"))
    forge.put(".dynsym", first, "<I", forge.get(".dynsym", second, "<I"))
    refused(forge, "^two symbols of one name and version$")


def test_a_function_that_claims_to_be_indirect(weak: Forge) -> None:
    at = 24 * weak.symbols.index("own") + 4
    weak.put(".dynsym", at, "<B", weak.get(".dynsym", at, "<B") & 0xF0 | 10)
    refused(weak, "^an indirect function at 0x[0-9a-f]+, where none starts$")


def test_a_name_that_is_the_end_of_one_that_nothing_has(forge: Forge) -> None:
    """As "exit" is of "__cxa_atexit": linkers share the end of a name, if the whole of it is in use."""
    at = 24 * forge.symbols.index("memcpy")
    forge.put(".dynsym", at, "<I", forge.get(".dynsym", at, "<I") + 3)
    refused(forge, "^a symbol cpy whose name is the end of one that nothing has$")


def test_an_optional_symbol_that_nothing_refers_to(forge: Forge) -> None:
    """_init calls __gmon_start__ if its word of the global offset table has another symbol's address."""
    at = forge.relocation(".rela.dyn", DATA_SLOT, forge.symbols.index("__gmon_start__"))
    forge.put(".rela.dyn", at + 12, "<I", forge.symbols.index("hardpoint_greeter_v1"))
    refused(forge, "^a weak symbol __gmon_start__ of another library that nothing refers to$")


def test_symbols_of_every_visibility_that_are_defined(forge: Forge) -> None:
    """gold and ld export hidden symbols now and then (libtorch_cpu.so has one): references bind to them here."""
    forge.put(".dynsym", 24 * forge.symbols.index("hardpoint_greeter_v1") + 5, "<B", 3)
    loads(forge)
