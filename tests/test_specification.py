"""docs/abi.md: every requirement has a test, and its algorithms and tables say what the host does."""

from __future__ import annotations

import ast
import keyword
import re
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest
from conftest import ROOT, TESTS
from forge import Forge
from notes import library, note
from pages import blocks
from test_manifest import ACCEPTED, GOOD, MALFORMED, changed
from test_manifest import note as described

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter
from hardpoint.definition.canonical_text import contract_from_texts
from hardpoint.file import open_library
from hardpoint.preflight import checks
from hardpoint.preflight.checks import read_library
from hardpoint.preflight.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler, Fresh

PAGE = ROOT / "docs/abi.md"
GREETER, SINGER = described(GOOD), changed(contract="singer")


# -- notes -------------------------------------------------------------------------------------------------------------


def refusal(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the problem that `hardpoint check` finds first in a library with these bytes, as "code: found"."""
    path = tmp_path / "forged.so"
    path.write_bytes(data)
    assert main(["check", str(path)]) in {1, 4}
    shown = capsys.readouterr()
    found = re.search(r"problem ([\w-]+)\n +needs .*\n +found  (.*)\n", shown.out)
    assert found, shown
    return f"{found[1]}: {found[2]}"


@pytest.mark.parametrize("align", [0, 1, 2, 16, 32, 3])
def test_notes_with_another_alignment_than_4_and_8_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], align: int
) -> None:
    said = f"note-alignment: notes at 0x440, aligned to {align}"
    assert refusal(tmp_path, library(note(GREETER), align=align), capsys) == said


@pytest.mark.parametrize(("align", "shift"), [(4, 2), (8, 4)])
def test_a_segment_of_notes_at_an_address_that_is_not_aligned_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], align: int, shift: int
) -> None:
    said = f"note-alignment: notes at {0x440 + shift:#x}, aligned to {align}"
    assert refusal(tmp_path, library(note(GREETER, step=align), align=align, shift=shift), capsys) == said


TWO = """
#include "greeter.h"
#define TEXT(contract) HP_MANIFEST_(contract, "1.0", "two", "1.0.0", GREETER_V1_METHODS)
#define NOTE(name, text) \\
    static const struct { uint32_t sizes[3]; char owner[12], description[sizeof(text)]; } name \\
    __attribute__((section(".note.hardpoint"), used, aligned(16))) = {{10, sizeof(text), 1}, "hardpoint", text}
NOTE(first, TEXT("greeter"));
NOTE(second, TEXT("singer"));
static const char copy[] = TEXT("greeter");
static hp_status greet(void *self, const char *name, size_t len, hp_out *out) { return (void)self, hp_write(out, name, len); }
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "Two"); }
HP_EXPORT_ extern const greeter_v1 hardpoint_greeter_v1;
const greeter_v1 hardpoint_greeter_v1 = {.head = {sizeof(greeter_v1), 1, 0, copy}, .greet = greet, .lang = lang};
"""


def test_a_contract_does_not_vanish_in_the_gap_between_two_notes(
    compiler: Compiler, capsys: pytest.CaptureFixture[str]
) -> None:
    """It did, and `check` said that the library fits the other one."""
    path = compiler.text("two", TWO)
    with pytest.raises(hardpoint.NotAPluginError) as caught:
        hardpoint.load(path, Greeter)
    [problem] = caught.value.problems
    assert re.fullmatch("notes at 0x[0-9a-f]+, aligned to 16", problem.found)
    assert problem[:2] == ("note-alignment", "notes that are aligned to 4 or 8 bytes")
    assert problem.fix.startswith("align the note's section to 4 bytes: __attribute__((aligned(4)))")
    for command in ("check", "doctor", "list"):
        assert main([command, str(path if command != "list" else path.parent)]) in {1, 4}
        assert "note-alignment" in capsys.readouterr().out


@pytest.mark.parametrize("gap", [4, 8, 12, 16, 20, 24, 36])
def test_a_gap_of_zeros_between_two_notes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gap: int
) -> None:
    data = library(note(GREETER) + bytes(gap) + note(SINGER))
    assert re.fullmatch(r"elf-damaged: \d+ bytes after the last note that are not 0", refusal(tmp_path, data, capsys))


TAILS = [b"\1", b"\0\0\0\1", b"\0\0\0\0\1\0\0\0\0\0\0", bytes(12) + b"\1", bytes(40) + b"\1"]


@pytest.mark.parametrize("tail", TAILS, ids=len)
@pytest.mark.parametrize("step", [4, 8])
def test_bytes_after_the_last_note_are_refused_unless_they_are_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tail: bytes, step: int
) -> None:
    data = library(note(GREETER, step=step) + tail, align=step)
    said = f"elf-damaged: {len(tail)} bytes after the last note that are not 0"
    assert refusal(tmp_path, data, capsys) == said
    assert [str(each) for each in read(tmp_path, library(note(GREETER, step=step) + bytes(len(tail)), align=step))] == [
        "greeter 1.2"
    ]


def test_a_note_that_ends_after_its_segment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = note(GREETER)
    assert len(read(tmp_path, library(whole[: 24 + len(GREETER)]))) == 1, "the padding of the last may be missing"
    for size in (1, 4):
        data = library(whole[: 24 + len(GREETER) - size])
        assert refusal(tmp_path, data, capsys).startswith(f"elf-damaged: a note of {len(GREETER)} bytes in a segment of ")


def read(tmp_path: Path, data: bytes) -> list[Manifest | hardpoint.Problem]:
    """Read the manifests as the host does."""
    (tmp_path / "read.so").write_bytes(data)
    with open_library(tmp_path / "read.so") as file:
        return read_library(file)[1]


def test_notes_of_others_are_skipped_and_every_segment_is_read(tmp_path: Path) -> None:
    others = [
        note(b"anything", owner=b"GNU\0", kind=3),
        note(b"\xff", owner=b"hardpointed\0"),
        note(b"\xff", kind=2),
        note(SINGER, owner=b"hardpoint"),
        note(b"", owner=b"x"),
    ]
    found = read(tmp_path, library(b"".join(others), note(GREETER), align=4))
    assert [str(each) for each in found] == ["singer 1.2", "greeter 1.2"]
    padded = note(GREETER).replace(b"hardpoint\0\0\0", b"hardpoint\0xx")
    assert len(read(tmp_path, library(padded))) == 1, "the contents of padding have no meaning"


def test_a_library_for_a_later_abi_alone_says_so(tmp_path: Path) -> None:
    path = tmp_path / "later.so"
    path.write_bytes(library(note(b"\xff whatever", kind=2)))
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(path, Greeter)
    assert str(caught.value) == (
        f"{path} does not fit this host: needs a plugin for ABI 1, found only notes of ABI 2; "
        "use a newer hardpoint, or an older plugin [abi-major]"
    )


def test_a_note_in_a_section_of_data_is_not_found(compiler: Compiler) -> None:
    """From a section of the type SHT_NOTE alone, linkers make a segment of notes."""
    with pytest.raises(hardpoint.NotAPluginError, match="manifest-missing"):
        hardpoint.load(compiler.text("data", TWO.replace(".note.hardpoint", ".data.hardpoint")), Greeter)


# -- the page's own reader ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_the_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[dict[str, Any]]]:
    """The function `manifests` of the page."""
    folder, names = tmp_path_factory.mktemp("page"), dict[str, Any]({"__name__": "page"})
    [code] = [block.text for block in blocks("docs/abi.md") if block.file == "manifests.py"]
    [words] = [block.text for block in blocks("docs/abi.md") if block.file == "words"]
    (folder / "words").write_text(words)
    exec(compile(code.replace('"words"', repr(str(folder / "words"))), "manifests.py", "exec"), names)
    return cast("Callable[[bytes], list[dict[str, Any]]]", names["manifests"])


def _cases() -> dict[str, bytes]:
    """Libraries, good and bad, by what is special about them."""
    cases = {f"manifest: {name}": library(note(case[0])) for name, case in MALFORMED.items()}
    cases |= {
        f"manifest: {name}": library(note(changed(**fields).replace(b"Infinity", b"1e999")))
        for name, fields in ACCEPTED.items()
    }
    cases |= {f"without {name}": library(note(described({k: v for k, v in GOOD.items() if k != name}))) for name in GOOD}
    for align in (0, 1, 2, 3, 4, 8, 16, 1 << 63):
        for shift in (0, 2, 4):
            segment = note(GREETER, step=8 if align == 8 else 4)
            cases[f"align {align}, shift {shift}"] = library(segment, note(SINGER), align=align, shift=shift)
            cases[f"empty, align {align}, shift {shift}"] = library(b"", align=align, shift=shift)
    for size in range(0, 40, 4):
        cases[f"gap of {size}"] = library(note(GREETER) + bytes(size) + note(SINGER))
        cases[f"tail of {size}"] = library(note(GREETER) + bytes(size) + b"\1")
    whole = library(note(GREETER), note(SINGER))
    cases |= {f"cut to {size}": whole[:size] for size in range(0, len(whole), 37)}
    for at in range(0x440, 0x460, 4):
        for value in (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
            data = bytearray(whole)
            data[at : at + 4] = value.to_bytes(4, "little")
            cases[f"{value:#x} at {at:#x}"] = bytes(data)
    return cases


def test_the_pages_reader_and_the_host_accept_the_same_libraries(
    tmp_path: Path, by_the_page: Callable[[bytes], list[dict[str, Any]]]
) -> None:
    differ: dict[str, Any] = {}
    accepted = 0
    for name, data in _cases().items():
        try:
            theirs: Any = [(each["contract"], tuple(each["methods"])) for each in by_the_page(data)]
        except (ValueError, struct.error):
            theirs = None
        try:
            found = read(tmp_path, data)
            ours: Any = (
                None
                if any(isinstance(each, hardpoint.Problem) for each in found)
                else [(each.contract, each.methods) for each in found if isinstance(each, Manifest)]
            )
        except hardpoint.HardpointError as error:
            ours = [] if "manifest-missing" in str(error) else None
        accepted += bool(ours)
        if ours != theirs:
            differ[name] = (ours, theirs)
    assert differ == {}
    assert 20 < accepted


# -- versions ----------------------------------------------------------------------------------------------------------


@hardpoint.contract("letters", version="3.2")
class Letters(Protocol):
    def a(self) -> int: ...

    @hardpoint.since("3.1")
    def b(self) -> int: ...

    @hardpoint.since("3.2")
    def c(self) -> int: ...


LETTERS = """
#include "hardpoint.h"
typedef struct { hp_head head; uint64_t flags; void *life[3]; hp_status (*slots[COUNT])(void *, int64_t *, hp_out *); } letters;
#define TEXT HP_MANIFEST_("letters", VERSION, "letters", "1.0.0", METHODS)
HP_NOTE_(note, TEXT);
static const char copy[] = TEXT;
static hp_status answer(void *self, int64_t *result, hp_out *out) { (void)self, (void)out; *result = 7; return HP_OK; }
HP_EXPORT_ extern const letters SYMBOL;
const letters SYMBOL = {.head = {sizeof(letters), ABI_MAJOR, 9, copy}, .slots = {SLOTS}};
"""


def letters(compiler: Compiler, abi: str, version: str, methods: str, slots: str = "") -> Path:
    """Compile a plugin with this manifest, and by default with a function in each slot."""
    texts = ", ".join(f'\\"{name}() -> int\\"' for name in methods.split())
    count, (major, _, _) = len(methods.split()), version.partition(".")
    words = {"HP_NEEDS_ABI": f'"{abi}"', "VERSION": f'"{version}"', "METHODS": f'"[{texts}]"', "COUNT": count,
             "ABI_MAJOR": abi[0], "SYMBOL": f"hardpoint_letters_v{major}", "SLOTS": slots or ", ".join(["answer"] * count)}  # fmt: skip
    return compiler.text("letters", LETTERS, *(f"-D{name}={value}" for name, value in words.items()))


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the page."""
    part = PAGE.read_text().split(f"\n### {heading}\n")[1].split("\n#")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
    return cells[2:]


@pytest.mark.parametrize("row", rows("A matrix"), ids=lambda row: " ".join(row[:3]))
def test_the_matrix_of_versions(
    compiler: Compiler, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, row: list[str]
) -> None:
    monkeypatch.setattr(checks, "ABI", (1, 2))
    abi, version, methods, outcome = row
    path = fresh(letters(compiler, abi, version, methods))
    if outcome.startswith("refused"):
        with pytest.raises(hardpoint.IncompatibleError) as caught:
            hardpoint.load(path, Letters)
        assert outcome.endswith(f"(`{caught.value.problems[0].code}`)")
        return
    plugin = hardpoint.load(path, Letters)
    there = set(methods.split()) & {"a", "b", "c"}
    absent = {name for name in "abc" if name not in there}
    assert {name for name in "abc" if re.search(rf"\b{name}\b.*absent", outcome)} == absent
    assert outcome.startswith("fits")
    assert [getattr(plugin, name)() for name in sorted(there)] == [7] * len(there)
    for name in absent:
        with pytest.raises(hardpoint.CallError, match="which came with letters"):
            getattr(plugin, name)()
    assert not hasattr(plugin, "d")


def test_a_method_that_is_newer_than_its_manifest_is_refused_by_the_host_and_the_kit(
    compiler: Compiler, capsys: pytest.CaptureFixture[str]
) -> None:
    path = letters(compiler, "1.0", "3.0", "a b c")
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(path, Letters)
    assert [problem[:3] for problem in caught.value.problems] == [
        ("method-unknown", "only the methods of letters 3.0", "b() -> int"),
        ("method-unknown", "only the methods of letters 3.0", "c() -> int"),
    ]
    command = ["test", str(path), "--contract", f"{__name__}:Letters", "--only", "file.fits"]
    assert main(command) == 1
    assert "needs only the methods of letters 3.0, found b() -> int" in capsys.readouterr().out


HOLES = {"a": "NULL, answer, answer", "b": "answer, NULL, answer", "c": "answer, answer, NULL"}


@pytest.mark.parametrize("empty", HOLES)
def test_a_slot_of_minor_0_is_never_empty_and_later_ones_may_be(compiler: Compiler, fresh: Fresh, empty: str) -> None:
    path = fresh(letters(compiler, "1.0", "3.2", "a b c", HOLES[empty]))
    if empty == "a":
        with pytest.raises(hardpoint.IncompatibleError, match="slot-empty"):
            hardpoint.load(path, Letters)
        return
    plugin = hardpoint.load(path, Letters)
    assert plugin.a() == 7
    with pytest.raises(hardpoint.CallError, match=f"does not have {empty}"):
        getattr(plugin, empty)()


# -- libraries ---------------------------------------------------------------------------------------------------------


def test_a_version_that_only_weak_symbols_need_is_not_required(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VER_FLG_WEAK: ld.so opens the library without it."""
    helper, source = tmp_path / "libweakly.so", tmp_path / "use.c"
    source.write_text("int help(void) __attribute__((weak)); int use(void); int use(void) { return help ? help() : 5; }")
    (tmp_path / "help.c").write_text("int help(void); int help(void) { return 7; } int more(void); int more(void) { return 8; }")

    def make(versions: str) -> None:
        (tmp_path / "map").write_text(versions)
        words = ["-Wl,-soname,libweakly.so", f"-Wl,--version-script={tmp_path / 'map'}", str(tmp_path / "help.c")]
        compiler.run("-shared", "-fPIC", "-o", str(helper), *words)

    make("WEAKLY_1 { global: more; }; WEAKLY_2 { global: help; local: *; };")
    words = [str(source), "-Wl,--no-as-needed", str(helper), f"-Wl,-rpath,{tmp_path}"]
    forge = Forge(compiler.library("english/english.c", *words), tmp_path / "weak.so")
    make("WEAKLY_1 { global: more; local: *; };")
    name = forge.data.index(b"WEAKLY_2\0") - forge.sections[".dynstr"]
    [at] = [at for at in range(0, forge.sizes[".gnu.version_r"], 16) if forge.get(".gnu.version_r", at + 8, "<I") == name]
    for flags, fits in ((0, False), (2, True)):
        forge.put(".gnu.version_r", at + 4, "<H", flags)
        assert main(["check", str(forge.write())]) == (0 if fits else 1)
        assert ("problem version-missing" in capsys.readouterr().out) != fits
    assert hardpoint.load(forge.target, Greeter).lang() == "English"


def test_a_version_of_glibc_that_only_weak_symbols_need_is_not_the_oldest(
    english: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge = Forge(english, tmp_path / "weak.so")
    for at in range(16, forge.sizes[".gnu.version_r"], 16):  # one library, then its versions
        forge.put(".gnu.version_r", at + 4, "<H", 2)
    assert main(["inspect", "--json", str(forge.write())]) == 0
    assert '"oldest_glibc": null' in capsys.readouterr().out


def test_reserved_words_do_not_depend_on_the_version_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is frozen: a keyword of a later Python is a name like others, and one that is dropped stays reserved."""
    monkeypatch.setattr(keyword, "kwlist", ["newword"])
    monkeypatch.setattr(keyword, "iskeyword", "newword".__eq__)
    for name in ("newword", "match", "type"):
        contract_from_texts("letters", "1.0", (f"{name}() -> int",))
    with pytest.raises(ValueError, match="taken by Python"):
        contract_from_texts("letters", "1.0", ("lambda() -> int",))
