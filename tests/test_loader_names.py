"""Names in the dynamic linker's output: none hides a failure, and no legal one keeps a file from being asked about."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from test_loader import HELP, Check, check, english_object, found, library, plugin

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

__all__ = ["check", "english_object"]  # fixtures
LONG = "a_symbol_with_a_name_that_is_long_enough_for_every_other_that_is_put_in_its_place"
ODD = {
    "comma": b"a,b",
    "tab": b"a\tb",
    "empty": b"",
    "newline": b"a\nundefined symbol: memcpy\t(/lib/x.so)",
    "another's": b"a\t(/lib/x86_64-linux-gnu/libc.so.6)\nundefined symbol: memcpy",
    "a library": b"a\n\tlibfoo.so => not found",
    "an error": b"z\nx: error while loading shared libraries: q: BOO",
    "parentheses": b"a(b)\t(c)",
    "escapes": b"a\x1b]0;X\x07b",
    "bytes": b"a\xff\xfe",
    "a version": b"a, version GLIBC_2.2.5",
}


@pytest.mark.parametrize("name", ODD)
def test_a_symbol_that_nothing_defines_whatever_its_name(
    compiler: Compiler, tmp_path: Path, check: Check, name: str
) -> None:
    path = plugin(compiler, tmp_path / "x.so", HELP.replace("help", LONG))
    data, text = path.read_bytes(), LONG.encode()
    path.write_bytes(data.replace(text + b"\0", ODD[name].ljust(len(text) + 1, b"\0")))
    status, outcome = check(path)
    assert status == 1
    assert [code for code, _ in found(outcome)] == ["undefined-symbol"]
    with pytest.raises(hardpoint.LoadError):
        hardpoint.load(path, Greeter)


def test_a_symbol_of_a_library_that_is_needed(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    code = f"int {LONG}(void); int help(void); int help(void) {{ return {LONG}(); }}"
    helper = library(compiler, tmp_path / "libhelper.so", code)
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN")
    data, text = helper.read_bytes(), LONG.encode()
    helper.write_bytes(data.replace(text + b"\0", ODD["another's"].ljust(len(text) + 1, b"\0")))
    assert [code for code, _ in found(check(path)[1])] == ["undefined-symbol"]


NAMES = [b"new\nline", b"bytes\xff\xfe", b"tab\tx", b"escape\x1b[31m", b"=> not found", "\u202ereversed".encode()]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_is_asked_about_whatever_its_name(compiler: Compiler, tmp_path: Path, check: Check, name: bytes) -> None:
    fits, broken = plugin(compiler, tmp_path / "y.so", "extern int nothing;"), plugin(compiler, tmp_path / "x.so", HELP)
    shown = os.fsdecode(name)
    for folder, file in ((shown, "x.so"), ("folder", f"{shown}.so"), (shown, f"{shown}.so")):
        target = tmp_path / folder / file
        target.parent.mkdir(exist_ok=True)
        shutil.copy(fits, target)
        assert found(check(target)[1]) == []
        shutil.copy(broken, target)
        assert [code for code, _ in found(check(target)[1])] == ["undefined-symbol"]


def test_calling_a_file_whose_path_has_a_newline(
    english: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copy(english, tmp_path / "new\nline.so")
    assert main(["call", str(path), "greet", "you"]) == 0
    assert capsys.readouterr().out == "Hello, you! Nice to meet you.\n"
