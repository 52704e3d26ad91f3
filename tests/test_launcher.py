"""The command line of hardpoint's own processes: arguments, folders of imports, and what is imported before."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hardpoint import launcher

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
def main(*arguments):
    print(arguments, "hardpoint" in sys.modules, hasattr(sys.modules.get("hardpoint"), "load"), *sys.path, sep="\\n")
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "program.py").write_text(PROGRAM)
    return str(tmp_path)


def said(words: list[str]) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def test_main_gets_its_arguments_as_texts(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["a folder", *sys.path])
    arguments, imported, _, *path = said(launcher.command("program", 3, "two words", folders=[folder]))
    assert arguments == "('3', 'two words')"
    assert imported == "False"
    assert path == [*sys.path, folder]


def test_main_without_arguments(folder: str) -> None:
    assert said(launcher.command("program", folders=[folder]))[0] == "()"


def test_the_import_of_the_package_is_timed(folder: str) -> None:
    arguments, imported, whole, *_ = said(launcher.command("program", 7, setup=launcher.TIMED, folders=[folder]))
    text, nanoseconds = eval(arguments)
    assert (text, imported, whole) == ("7", "True", "True")
    assert 0 < nanoseconds < 60e9
