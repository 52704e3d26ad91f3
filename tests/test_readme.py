"""The README, done as it says: its files are written, its commands run and its output compared."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from conftest import Compiler

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str


BLOCKS = [Block(*match) for match in FENCE.findall((ROOT / "README.md").read_text())]


def blocks(language: str) -> list[str]:
    return [block.text for block in BLOCKS if block.language == language]


@pytest.fixture
def folder(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the plugins that ./build.sh makes, and the files that the README shows."""
    (tmp_path / "build/plugins").mkdir(parents=True)
    for source in (ROOT / "native_plugins").glob("*/*.c"):
        library = compiler.library(f"{source.stem}/{source.name}")
        shutil.copy(library, tmp_path / "build/plugins" / library.name)
    [lowgerman] = blocks("c")
    (tmp_path / "lowgerman.c").write_text(lowgerman)
    for file in (ROOT / "examples/scorer").glob("*.[pc]*"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console block with what it prints."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def test_everything_in_order(folder: Path) -> None:
    shared: dict[str, object] = {}
    for language, text in BLOCKS:
        if language == "console":
            for command, printed in commands(text):
                where = ROOT if command.startswith("./build.sh") else folder
                done = subprocess.run(["bash", "-c", command], cwd=where, capture_output=True, text=True, check=False)
                errors = done.stderr if where == folder else ""
                assert (command, done.stdout + errors) == (command, printed)
        elif language == "pycon":
            test = doctest.DocTestParser().get_doctest(text, shared, "README.md", None, None)
            report: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=report.append, clear_globs=False)
            shared.update(test.globs)
            assert not report, "".join(report)


def test_what_it_shows_is_what_there_is() -> None:
    assert blocks("python") == [(ROOT / "examples/scorer/scorer.py").read_text()]
    assert {block.language for block in BLOCKS} == {"console", "sh", "pycon", "c", "python"}
    assert blocks("sh") == ["./build.sh test\n"]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
