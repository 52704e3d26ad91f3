"""README and docs/: what they show is done and compared, and what is made from the code is whole."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import ROOT, blocks, follow

if TYPE_CHECKING:
    from conftest import Compiler

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "contract/VERSIONING.md"]
)
STRANGERS = {"docs/writing-plugins.md", "docs/shipping.md"}  # they install packages: test_writing_plugins.py
WITH_CODE = [page for page in PAGES if blocks(page) and page not in STRANGERS]


@pytest.fixture
def folder(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the plugins that ./build.sh makes and the example of a contract, as the pages have it."""
    (tmp_path / "build/plugins").mkdir(parents=True)
    for source in (ROOT / "native_plugins").glob("*/*.c"):
        library = compiler.library(f"{source.parent.name}/{source.name}")
        shutil.copy(library, tmp_path / "build/plugins" / library.name)
    for file in (ROOT / "examples/scorer").glob("*.[pc]*"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize("page", WITH_CODE)
def test_everything_in_order(folder: Path, compiler: Compiler, page: str) -> None:
    follow(page, folder, compiler)


def test_what_the_readme_shows_is_what_there_is() -> None:
    assert [block.text for block in blocks("README.md") if block.language == "python"] == [
        (ROOT / "examples/scorer/scorer.py").read_text()
    ]


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target
