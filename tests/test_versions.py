"""Versions of the ABI and of contracts: the matrix in docs/abi.md, row by row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import ROOT

import hardpoint
from hardpoint.cli import main
from hardpoint.preflight import checks

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh

PAGE = ROOT / "docs/abi.md"


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
