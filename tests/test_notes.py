"""Notes in a library's segments: where they may stand, and what would hide one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from notes import library, note
from test_manifest import GOOD, changed
from test_manifest import note as described

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter
from hardpoint.file import open_library
from hardpoint.preflight.checks import read_library

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

    from hardpoint.preflight.manifest import Manifest

GREETER, SINGER = described(GOOD), changed(contract="singer")


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
        assert refusal(tmp_path, data, capsys).startswith(
            f"elf-damaged: a note of {len(GREETER)} bytes in a segment of "
        )


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
