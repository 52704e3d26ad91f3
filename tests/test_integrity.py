"""Damaged libraries: refused with a reason, without crashing the process."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import SUPPORT
from forge import Forge
from probe import Probe

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler

CXX = """
#include <string>
#include "greeter.h"
static std::string language("English, in a string that is too long to stand in the object itself");
static hp_status greet(void *, const char *name, size_t size, hp_out *out) {
    try {
        const std::string text = "Hello, " + std::string(name, size);
        return hp_write(out, text.data(), text.size());
    } catch (...) {
        return HP_NO_MEMORY;
    }
}
static hp_status lang(void *, hp_out *out) { return hp_puts(out, language.c_str()); }
GREETER_PLUGIN("cxx", "1.0.0", .greet = greet, .lang = lang);
"""
THREAD_LOCAL = """
#include "greeter.h"
static __thread char buffer[100] = "x";
__attribute__((visibility("default"))) __thread int calls = 7;
static hp_status create(const hp_host *host, const char *config, size_t size, void **self, hp_out *out) {
    (void)host, (void)config, (void)size, (void)out;
    *self = buffer;
    calls++;
    return HP_OK;
}
static hp_status greet(void *self, const char *name, size_t size, hp_out *out) {
    return (void)self, hp_write(out, name, size);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, buffer); }
GREETER_PLUGIN("local", "1.0.0", .create = create, .greet = greet, .lang = lang);
"""
GREETER = "hardpoint.contracts:Greeter"


def _cxx(compiler: Compiler) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    source, target = compiler.folder / "cxx.cc", compiler.folder / "cxx.so"
    if not target.exists():
        source.write_text(CXX)
        flags = ["-std=gnu++20", "-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,noexecstack"]
        compiler.run(*flags, "-o", str(target), str(source), "-lstdc++")
    return target


def _probe(compiler: Compiler) -> Path:
    compiler.header(Probe)
    return compiler.library("probe.c", "-pthread")


def _linked(source: str, linker: str, *words: str) -> Callable[[Compiler], Path]:
    """Build a greeter with another linker; skip where it is missing."""

    def make(compiler: Compiler) -> Path:
        from test_elf_linkers import link  # which imports this module

        folder = compiler.folder / f"{source}-{linker}"
        folder.mkdir(exist_ok=True)
        return link(folder, source, linker, ("-O2", *words))

    return make


LIBRARIES: dict[str, tuple[Callable[[Compiler], Path], str]] = {
    "plain": (lambda compiler: compiler.library("english/english.c"), GREETER),
    "sysv-hash": (lambda compiler: compiler.library("english/english.c", "-Wl,--hash-style=sysv"), GREETER),
    "packed": (lambda compiler: compiler.library("english/english.c", "-Wl,-z,pack-relative-relocs"), GREETER),
    "thread-local": (lambda compiler: compiler.text("local", THREAD_LOCAL), GREETER),
    "c++": (_cxx, GREETER),
    "threads": (_probe, "probe:Probe"),
}


LINKED = {
    f"{source}-{linker}": (_linked(source, linker, *words), GREETER)
    for source, words in {
        "c": (),
        "thread-local": ("-mtls-dialect=gnu2",) if os.uname().machine == "x86_64" else (),
        "indirect": ("-s",),
        "c++": (),
        "large-c++": ("-s",),
    }.items()
    for linker in ("bfd", "gold", "lld", "mold")
}
MUTATIONS = int(os.environ.get("HARDPOINT_MUTATIONS", "800"))
"""For each library, in long tests; with 4000, more than 100,000 in all."""


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, 80) for name in ("plain", "thread-local", "c++")),
        *(pytest.param(name, MUTATIONS, marks=pytest.mark.long) for name in (*LIBRARIES, *LINKED)),
    ],
)
def test_a_damaged_library_never_kills_the_process(compiler: Compiler, tmp_path: Path, name: str, count: int) -> None:
    make, contract = (LIBRARIES | LINKED)[name]
    library = make(compiler)
    words = [sys.executable, str(SUPPORT / "damage.py"), str(library), contract, "20", str(count)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    # Those that a linker could have written are not counted. Left are pointers within a stripped library that relative
    # relocations set to other code, as in its vtables.
    assert len(result["deaths"]) <= count // 800, result["deaths"]
    assert result["outcomes"].get("could be meant", 0) <= max(1, count // 400)
    assert result["outcomes"]["NotAPluginError"] > count / 4
    assert result["outcomes"]["loaded"] > count / 8


def test_a_truncated_library_is_refused_at_every_length(english: Path, tmp_path: Path) -> None:
    data, target = english.read_bytes(), tmp_path / "cut.so"
    size = len(data)
    for length in [*range(1024), *range(1024, size - 1024, 97), *range(size - 1024, size)]:
        target.write_bytes(data[:length])
        with pytest.raises(hardpoint.NotAPluginError) as caught:
            hardpoint.load(target, Greeter)
        assert caught.value.problems[0].code in {"elf-truncated", "elf-magic"}


# -- one damage each -------------------------------------------------------------------------------------------------


SEPARATE = "-Wl,-z,separate-code,-z,max-page-size=4096"  # as linkers do by themselves for x86-64
OFFSET_TABLE, THREAD_LOCAL_OFFSET, INDIRECT = (1025, 1030, 1032) if os.uname().machine == "aarch64" else (6, 18, 37)


@pytest.fixture
def forge(compiler: Compiler, tmp_path: Path) -> Forge:
    return Forge(compiler.library("english/english.c", SEPARATE), tmp_path / "damaged.so")


def _refused(path: Path, sentence: str) -> None:
    """Assert that loading is refused with `elf-damaged`, and this in the message."""
    with pytest.raises(hardpoint.NotAPluginError) as caught:
        hardpoint.load(path, Greeter)
    problem = caught.value.problems[0]
    assert (caught.value.path, problem.code, problem.needs) == (
        str(path),
        "elf-damaged",
        "a well-formed shared object",
    )
    assert re.search(sentence, problem.found), problem.found
    assert str(caught.value) == f"{path} is not a plugin: {problem}"


def test_the_forge_changes_nothing_by_itself(forge: Forge) -> None:
    assert hardpoint.load(forge.write(), Greeter).lang() == "English"


def test_a_string_table_without_an_end(forge: Forge) -> None:
    forge.put(".dynstr", forge.sizes[".dynstr"] - 1, "<B", 0x41)
    _refused(forge.write(), "(an unterminated string table|a name at [0-9]+ in a string table of [0-9]+ bytes)$")


def test_a_string_table_elsewhere(forge: Forge) -> None:
    forge.entry("STRTAB", value=1 << 40)
    _refused(forge.write(), "the string table at address 0x100000000[0-9a-f]+, outside of the file$")


def test_a_dynamic_section_of_zeros(forge: Forge) -> None:
    for at in range(0, forge.sizes[".dynamic"], 8):
        forge.put(".dynamic", at, "<Q", 0)
    _refused(forge.write(), "^a dynamic section without strings or symbols$")


def test_more_sections_of_code_than_any_linker_makes(forge: Forge) -> None:
    """Each function pointer is looked up in all of them."""
    struct.pack_into("<Q", forge.data, 40, len(forge.data))
    struct.pack_into("<HH", forge.data, 60, 200, 0)
    forge.data += struct.pack("<IIQQQQIIQQ", 0, 1, 4, 0x1000, 0x1000, 1, 0, 0, 1, 0) * 200
    _refused(forge.write(), "200 sections of code")


def test_relocations_that_end_nowhere_in_a_library_for_another_machine(
    forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not read, since it cannot be loaded here; nor does it have a valid manifest to check."""
    other = {"x86_64": 183, "aarch64": 62}[os.uname().machine]
    struct.pack_into("<H", forge.data, 18, other)
    forge.entry("RELASZ", value=1 << 40)
    forge.data = forge.data.replace(b'{"abi"', b'["abi"')
    path = forge.write()
    for command in ("check", "doctor"):
        assert main([command, str(path)]) == 1
        assert "elf-machine" in capsys.readouterr().out


def test_static_tls_without_its_flag(forge: Forge, capsys: pytest.CaptureFixture[str]) -> None:
    """GNU ld for AArch64 sets no flag; only R_AARCH64_TLS_TPREL relocations tell."""
    struct.pack_into("<H", forge.data, 18, 183)
    forge.put(".rela.dyn", 8, "<I", 1030)
    assert main(["inspect", "--json", str(forge.write())]) == 0
    assert json.loads(capsys.readouterr().out)["static_tls"] is True


def test_a_dynamic_section_without_an_end(forge: Forge) -> None:
    for at in range(0, forge.sizes[".dynamic"], 16):
        if forge.get(".dynamic", at, "<Q") == 0:
            forge.put(".dynamic", at, "<QQ", 21 + (1 << 32), 0)
    _refused(forge.write(), "^an unterminated dynamic section$")


@pytest.mark.parametrize(
    ("entry", "value", "sentence"),
    [
        ("SYMENT", 25, "a dynamic entry 0xb of 25, which has to be 24"),
        ("RELAENT", 0, "a dynamic entry 0x9 of 0, which has to be 24"),
        ("PLTREL", 17, "a dynamic entry 0x14 of 17, which has to be 7"),
        ("RELASZ", 25, "a dynamic entry 0x8 of 25, not a multiple of 24"),
        ("RELASZ", 24, "relocations at 0x[0-9a-f]+ missing from the dynamic section"),
        ("INIT_ARRAYSZ", 0, "a section at 0x[0-9a-f]+ that the dynamic entry 0x19 contradicts"),
        ("INIT", 1, "a start or end function at 0x1, where no function starts"),
        ("GNU_HASH", 0x238, "a section at 0x[0-9a-f]+ that the dynamic entry 0x6ffffef5 contradicts"),
        ("SYMTAB", 8, "a section at 0x[0-9a-f]+ that the dynamic entry 0x6 contradicts"),
        ("RELACOUNT", 4000, "4000 relative relocations in a shorter table"),
        ("RELACOUNT", 9, f"a relocation of type {OFFSET_TABLE} among the relative ones"),
    ],
)
def test_a_dynamic_entry_with_a_wrong_value(forge: Forge, entry: str, value: int, sentence: str) -> None:
    forge.entry(entry, value=value)
    _refused(forge.write(), sentence + "$")


@pytest.mark.parametrize(
    ("entry", "tag", "sentence"),
    [
        ("RELASZ", 0x6FFFFEF0, "a dynamic entry 0x7 without the entry 0x8"),
        ("RELAENT", 0x6FFFFEF0, "a dynamic entry 0x7 without the entry 0x9"),
        ("PLTRELSZ", 0x6FFFFEF0, "a dynamic entry 0x17 without the entry 0x2"),
        ("PLTREL", 0x6FFFFEF0, "a dynamic entry 0x17 without the entry 0x14"),
        ("JMPREL", 0x6FFFFEF0, "a dynamic entry 0x14 without the entry 0x17"),
        ("INIT_ARRAYSZ", 0x6FFFFEF0, "a dynamic entry 0x19 without the entry 0x1b"),
        ("VERSYM", 0x6FFFFEF0, "a section at 0x[0-9a-f]+ that the dynamic entry 0x6ffffff0 contradicts"),
        ("FINI", 17, r"relocations of a kind \(DT_REL\) that 64-bit machines do not have"),
        ("FINI", 32, r"start functions of a kind \(DT_PREINIT_ARRAY\) that only programs have"),
        ("FINI", 0x7FFFFFFF, "a name at [0-9]+ in a string table of [0-9]+ bytes"),
        ("FINI", 0x7FFFFFFD, "a name at [0-9]+ in a string table of [0-9]+ bytes"),
        ("FINI", 1, "a name at [0-9]+ in a string table of [0-9]+ bytes"),
        ("FINI", 14, "a name at [0-9]+ in a string table of [0-9]+ bytes"),
        ("VERNEED", 0x6FFFFEF0, "a section at 0x[0-9a-f]+ that the dynamic entry 0x6ffffffe contradicts"),
    ],
)
def test_a_dynamic_entry_of_another_kind(forge: Forge, entry: str, tag: int, sentence: str) -> None:
    forge.entry(entry, tag=tag)
    _refused(forge.write(), sentence + "$")


# Fields of a program header: 0 type, 4 flags, 8 offset, 16 address, 32 size in the file, 40 in memory, 48 align.
@pytest.mark.parametrize(
    ("kind", "field", "value", "sentence"),
    [
        ("PT_LOAD", 40, 0x1800, "a segment at 0x0 that is not readable, or is partly zeroed and not writable"),
        ("PT_LOAD", 48, 3, "segments that overlap, are out of order or badly sized, at 0x0"),
        ("PT_LOAD", 4, 0, "a segment at 0x0 that is not readable, or is partly zeroed and not writable"),
        ("PT_LOAD", 16, 1 << 50, "^the string table at address 0x[0-9a-f]+, outside of the file$"),
        ("PT_DYNAMIC", 40, 16, "a program header of type 0x2 with [0-9]+ bytes in the file, 16 in memory"),
        ("PT_NOTE", 40, 1 << 30, "a program header of type 0x4 that points out of its segment"),
        ("PT_GNU_RELRO", 16, 0x1000, "a program header of type 0x6474e552 that points out of its segment"),
        ("PT_GNU_STACK", 0, 0x6474E552, "more than one program header of type 0x6474e552"),
        ("PT_GNU_EH_FRAME", 16, 0x999999, "a program header of type 0x6474e550 that points out of its segment"),
        ("PT_GNU_EH_FRAME", 0, 6, "program headers that PT_PHDR places elsewhere"),
    ],
)  # fmt: skip
def test_a_damaged_program_header(forge: Forge, kind: str, field: int, value: int, sentence: str) -> None:
    forge.segment(kind, field, value)
    _refused(forge.write(), sentence)


def test_notes_that_are_padded_in_the_file_alone(forge: Forge) -> None:
    """As binutils 2.35 writes them for a build id whose length is not a multiple of 4."""
    at = 64 + 56 * forge.segments.index("PT_NOTE")
    (size,) = struct.unpack_from("<Q", forge.data, at + 40)
    forge.segment("PT_NOTE", 40, size - 2)
    assert hardpoint.load(forge.write(), Greeter).lang() == "English"


def test_segments_that_overlap(forge: Forge) -> None:
    forge.segment("PT_LOAD", 16, 0x1000, index=2)
    _refused(forge.write(), "^segments that overlap, are out of order or badly sized, at 0x1000$")


def test_a_segment_of_other_bytes_of_the_file(forge: Forge) -> None:
    forge.segment("PT_LOAD", 8, 0, index=1)
    _refused(forge.write(), "^segments that share bytes of the file, at offset 0x0$")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0, 6, 1, 6), "a GNU hash table of 0 buckets and 1 filter words"),
        ((1, 6, 0, 6), "a GNU hash table of 1 buckets and 0 filter words"),
        ((1, 6, 3, 6), "a GNU hash table of 1 buckets and 3 filter words"),
        ((1 << 20, 6, 1, 6), "the GNU hash table at address 0x[0-9a-f]+, outside of the file"),
        ((2, 7, 1, 6), "a GNU hash table that points (before its first|past the last) symbol"),
    ],
)
def test_a_damaged_gnu_hash_table(forge: Forge, values: tuple[int, ...], sentence: str) -> None:
    forge.put(".gnu.hash", 0, "<IIII", *values)
    _refused(forge.write(), f"^{sentence}$")


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [
        (0, 0, "a hash table that points past the last symbol"),
        (8, 99, "a hash table that points past the last symbol"),
        (4, 1 << 31, "the hash table at address 0x[0-9a-f]+, outside of the file"),
    ],
)
def test_a_damaged_hash_table(compiler: Compiler, tmp_path: Path, at: int, value: int, sentence: str) -> None:
    forge = Forge(compiler.library("english/english.c", "-Wl,--hash-style=sysv"), tmp_path / "damaged.so")
    forge.put(".hash", at, "<I", value)
    _refused(forge.write(), f"^{sentence}$")


def test_a_hash_table_with_a_circle(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.library("english/english.c", "-Wl,--hash-style=sysv"), tmp_path / "damaged.so")
    buckets, count = forge.get(".hash", 0, "<I"), forge.get(".hash", 4, "<I")
    for chain in range(1, count):
        forge.put(".hash", 8 + 4 * (buckets + chain), "<I", chain)
    _refused(forge.write(), "^a hash table with a circular chain$")


# Fields of a symbol: 0 name, 4 binding and type, 5 visibility, 6 section, 8 value, 16 size.
@pytest.mark.parametrize(
    ("field", "layout", "value", "sentence"),
    [
        (0, "<I", 0xFFFFFF, "a symbol whose name is at 16777215 of [0-9]+ bytes of strings"),
        (4, "<B", 0x02, r"an undefined symbol \w+ that is marked as defined"),
        (5, "<B", 3, r"an undefined symbol \w+ that is marked as defined"),
        (8, "<Q", 0x1000, r"an undefined symbol \w+ that is marked as defined"),
        (4, "<IQ", 0x0001001A, "an indirect function at 0x0, where none starts"),
        (4, "<IQ", 0x00010006, r"a thread-local variable \w* outside of the thread-local storage"),
        (4, "<IQ", 0x00010052, r"a symbol \w+ of binding 5 and type 2"),
    ],
)
def test_a_damaged_symbol(forge: Forge, field: int, layout: str, value: int, sentence: str) -> None:
    undefined = forge.locals * 24  # the first that is global
    forge.put(".dynsym", undefined + field, layout, *([value, 0] if layout == "<IQ" else [value]))
    _refused(forge.write(), f"^{sentence}$")


def test_a_first_symbol_that_is_not_empty(forge: Forge) -> None:
    forge.put(".dynsym", 8, "<Q", 0x1000)
    _refused(forge.write(), "^a non-empty first symbol$")


def test_a_version_that_is_not_in_the_table(forge: Forge) -> None:
    forge.put(".gnu.version", 2, "<H", 77)
    _refused(forge.write(), "^a symbol of a version that is not in the table of versions$")


def test_a_version_of_a_library_that_is_not_needed(forge: Forge) -> None:
    forge.put(".gnu.version_r", 4, "<I", forge.get(".gnu.version_r", 16 + 8, "<I"))
    _refused(
        forge.write(), r"^a version GLIBC_2\.[0-9.]+ of GLIBC_2\.[0-9.]+, which is not among the needed libraries$"
    )


# Fields of a relocation: 0 address, 8 type, 12 symbol, 16 what is added.
@pytest.mark.parametrize(
    ("index", "field", "layout", "value", "sentence"),
    [
        (1, 0, "<Q", 0x10, "a relocation of 0x10, which is not writable"),
        (1, 8, "<I", 5, "a relocation of type 5 among the relative ones"),
        (-1, 8, "<I", 5, "a relocation of type 5 by a symbol of type [0-9]+, which no linker writes"),
        (
            -1,
            8,
            "<I",
            THREAD_LOCAL_OFFSET,
            "a relocation of type [0-9]+ by a symbol of type [0-9]+, which no linker writes",
        ),
        (-1, 8, "<Q", THREAD_LOCAL_OFFSET, "a relocation of missing thread-local storage"),
        (-1, 8, "<Q", INDIRECT, "an indirect function at 0x0, where none starts"),
        (-1, 12, "<I", 900, "a relocation by symbol 900 of [0-9]+"),
        (0, 16, "<Q", 8, "a start or end function that is not in the file, listed at 0x[0-9a-f]+"),
    ],
)
def test_a_damaged_relocation(forge: Forge, index: int, field: int, layout: str, value: int, sentence: str) -> None:
    at = (index if index >= 0 else forge.sizes[".rela.dyn"] // 24 + index) * 24
    forge.put(".rela.dyn", at + field, layout, value)
    _refused(forge.write(), f"^{sentence}$")


def test_a_relocation_of_the_dynamic_section(forge: Forge) -> None:
    at = forge.sizes[".rela.dyn"] - 24
    forge.put(".rela.dyn", at, "<Q", forge.sections[".dynamic"] + 0x1000 + 8)
    _refused(forge.write(), "^a relocation of 0x[0-9a-f]+, which is not writable$")


def test_two_relocations_of_one_word(forge: Forge) -> None:
    at = forge.sizes[".rela.dyn"] - 24
    forge.put(".rela.dyn", at, "<Q", forge.get(".rela.dyn", at - 24, "<Q"))
    _refused(forge.write(), "^two relocations of one address$")


def test_packed_relocations_that_go_back_and_out(compiler: Compiler, tmp_path: Path) -> None:
    library = compiler.library("english/english.c", "-Wl,-z,pack-relative-relocs")
    forge = Forge(library, tmp_path / "damaged.so")
    if ".relr.dyn" not in forge.sections:
        pytest.skip("the linker packs no relocations")
    forge.put(".relr.dyn", 8, "<Q", 0x10)
    _refused(forge.write(), "^a relocation of 0x10, which is not writable$")
    forge.put(".relr.dyn", 8, "<Q", (1 << 64) - 1)
    _refused(forge.write(), "^a relocation")


def test_thread_local_storage_that_cannot_be_allocated(compiler: Compiler, tmp_path: Path) -> None:
    library = compiler.text("local", THREAD_LOCAL)
    for field, value in ((40, 1 << 40), (48, 0), (48, 3), (48, 1 << 40)):
        forge = Forge(library, tmp_path / "damaged.so")
        forge.segment("PT_TLS", field, value)
        _refused(forge.write(), "^thread-local storage of [0-9]+ bytes aligned to [0-9]+$")


def test_without_section_headers_everything_else_is_still_looked_at(forge: Forge) -> None:
    forge.without_section_headers()
    shutil.copy(forge.write(), forge.target.with_name("whole.so"))
    assert hardpoint.load(forge.target.with_name("whole.so"), Greeter).lang() == "English"
    forge.entry("VERSYM", tag=0x6FFFFEF0)
    _refused(forge.write(), "^symbol versions without the table that uses them$")
    forge.entry("VERSYM", tag=0x6FFFFFF0)
    forge.entry("INIT_ARRAY", value=0x10)
    _refused(forge.write(), "^a start or end function that is not in the file, listed at 0x10$")
