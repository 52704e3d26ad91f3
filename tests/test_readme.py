"""README and docs/isolation.md, done as they say: files are written, commands run and their output compared."""

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


PAGES = {
    page: [Block(*match) for match in FENCE.findall((ROOT / page).read_text())]
    for page in ("README.md", "docs/isolation.md")
}


def blocks(page: str, language: str) -> list[str]:
    return [block.text for block in PAGES[page] if block.language == language]


@pytest.fixture
def folder(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the plugins that ./build.sh makes, and the files that the pages show."""
    (tmp_path / "build/plugins").mkdir(parents=True)
    for source in (ROOT / "native_plugins").glob("*/*.c"):
        library = compiler.library(f"{source.stem}/{source.name}")
        shutil.copy(library, tmp_path / "build/plugins" / library.name)
    for page in PAGES:
        [code] = blocks(page, "c")
        [name] = re.findall(r'_PLUGIN\("(\w+)"', code)
        (tmp_path / f"{name}.c").write_text(code)
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


@pytest.mark.parametrize("page", PAGES)
def test_everything_in_order(folder: Path, page: str) -> None:
    shared: dict[str, object] = {}
    for language, text in PAGES[page]:
        if language == "console":
            for command, printed in commands(text):
                where = ROOT if command.startswith("./build.sh") else folder
                done = subprocess.run(["bash", "-c", command], cwd=where, capture_output=True, text=True, check=False)
                errors = done.stderr if where == folder else ""
                assert (command, done.stdout + errors) == (command, printed)
        elif language == "pycon":
            test = doctest.DocTestParser().get_doctest(text, shared, page, None, None)
            report: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=report.append, clear_globs=False)
            shared.update(test.globs)
            assert not report, "".join(report)


def test_what_it_shows_is_what_there_is() -> None:
    assert blocks("README.md", "python") == [(ROOT / "examples/scorer/scorer.py").read_text()]
    assert {block.language for block in PAGES["README.md"]} == {"console", "sh", "pycon", "c", "python"}
    assert blocks("README.md", "sh") == ["./build.sh test\n"]


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target
