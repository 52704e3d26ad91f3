"""hardpoint new in Rust, Zig and Go: each project builds, passes its tests and makes a wheel at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from conftest import TESTS
from test_languages import LANGUAGES, Language, make, missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    New = Callable[..., Path]

SOURCES = {"rust": "src/lib.rs", "zig": "own.zig", "go": "src/plugin.go"}


@pytest.fixture(params=LANGUAGES)
def lang(request: pytest.FixtureRequest) -> Language:
    language: Language = request.param
    if why := missing(language):
        pytest.skip(why)
    return language


@pytest.fixture
def new(tmp_path: Path, lang: Language) -> New:
    """Start a project in the language; its folder."""

    def command(name: str, contract: str) -> Path:
        shutil.copy(TESTS / "kinds.py", tmp_path)
        words = ["new", name, "--contract", contract, "--lang", lang]
        subprocess.run([sys.executable, "-m", "hardpoint", *words], cwd=tmp_path, check=True, capture_output=True)
        return tmp_path / name

    return command


@pytest.mark.parametrize("contract", ["greeter", "kinds:Kinds"])
def test_it_builds_and_passes_its_tests_at_once(new: New, lang: Language, contract: str, scratch: Path) -> None:
    folder = new("own", contract)
    assert re.search(r"^own\.so: fits \w+ \d\.\d \(own 0\.1\.0\)$", make(folder, scratch), re.MULTILINE)
    methods = (folder / SOURCES[lang]).read_text().count("TODO") - 1  # the first is about all of it
    assert f" {methods + 1} passed" in make(folder, scratch, "test")
    assert make(folder, scratch, "-q") == ""  # nothing is made twice
    assert not list(folder.glob("*/*.new"))


def test_the_readme_says_where_the_release_stands(new: New, lang: Language) -> None:
    place = {"rust": "Cargo.toml", "zig": "own.zig", "go": "src/plugin.c"}[lang]
    folder = new("own", "kinds:Kinds")
    assert f"The release stands in [{place}]({place}) and in [pyproject.toml]" in (folder / "README.md").read_text()
    assert '"0.1.0"' in (folder / place).read_text()


def test_a_contract_that_has_changed_is_taken_anew(new: New, lang: Language, scratch: Path) -> None:
    folder = new("own", "kinds:Kinds")
    module = folder / "contract/kinds.py"
    module.write_text(module.read_text().replace('version="2.3"', 'version="2.4"'))
    assert "own.so: fits kinds 2.4 (own 0.1.0)" in make(folder, scratch)


def test_the_wheel_has_the_library_and_no_python(new: New, scratch: Path) -> None:
    folder = new("low-german", "greeter")
    make(folder, scratch, "wheel")
    [wheel] = folder.glob("dist/*-py3-none-linux_*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert names == ["hardpoint_plugins/low-german/low-german.so"]


@pytest.mark.parametrize("name", ["hp", "self", "write", "fn"])
def test_names_that_languages_have_words_for(new: New, name: str, scratch: Path) -> None:
    """The contract has methods called fn, go, comptime and Self."""
    assert f"{name}.so: fits kinds 2.3 ({name} 0.1.0)" in make(new(name, "kinds:Kinds"), scratch)
