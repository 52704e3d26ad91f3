"""README and docs/: examples are run and their output compared, and generated pages are complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pages import ROOT, blocks, follow, written
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter, Transformer
from hardpoint.definition.canonical_text import contract_from_texts
from hardpoint.definition.decorators import contract_of
from hardpoint.definition.model import parse_version
from hardpoint.ffi.libc import ffi

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "contract/VERSIONING.md"]
)
STRANGERS = {"docs/writing-plugins.md", "docs/shipping.md"}  # they install packages: test_writing_plugins.py
WITH_CODE = [page for page in PAGES if blocks(page) and page not in STRANGERS]


@pytest.fixture
def folder(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the plugins that ./build.sh makes and the example contract, as docs/tour.md expects."""
    (tmp_path / "build/plugins").mkdir(parents=True)
    for source in (ROOT / "native_plugins").glob("*/*.c"):
        library = compiler.library(f"{source.parent.name}/{source.name}")
        shutil.copy(library, tmp_path / "build/plugins" / library.name)
    for file in (ROOT / "examples/scorer").glob("*.[pc]*"):
        shutil.copy(file, tmp_path)
    if find_spec("ray") is None:
        shutil.copy(ROOT / "tests/support/standin_ray.py", tmp_path / "ray.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


CLUSTER = pytest.param("docs/scaling.md", marks=pytest.mark.long)  # it starts several processes of Dask


@pytest.mark.parametrize("page", [CLUSTER if page == "docs/scaling.md" else page for page in WITH_CODE])
def test_everything_in_order(folder: Path, compiler: Compiler, page: str) -> None:
    follow(page, folder, compiler)


@pytest.mark.parametrize("page", WITH_CODE)
def test_every_written_file_is_used(page: str) -> None:
    """A page has to use each file that it writes: otherwise the example is not run."""
    there = blocks(page)
    for number, block in enumerate(there):
        if block.file is not None:
            word = re.compile(rf"\b{re.escape(Path(block.file).stem)}\b")
            assert any(word.search(later.text) for later in there[number + 1 :]), f"{page}:{block.line}"


def test_no_block_is_skipped() -> None:
    """The blocks that other files execute; `follow` checks that they do."""
    assert {(page, block.by) for page in PAGES for block in blocks(page) if block.by} == {
        ("CONTRIBUTING.md", ".ci/run"),
        ("README.md", ".ci/run"),
        ("docs/abi.md", "tests/test_docs.py"),
        ("docs/benchmarks.md", "tests/test_docs.py"),
        ("docs/container.md", "tests/test_container.py"),
        ("docs/languages.md", "tests/test_rust.py"),
        ("docs/tour.md", "tests/test_docs.py"),
        ("docs/shipping.md", "tests/test_writing_plugins.py"),
        ("docs/writing-plugins.md", "tests/test_writing_plugins.py"),
    }
    fences = {page: len(re.findall(r"^ *```+\w", written(page), re.MULTILINE)) for page in PAGES}
    assert {page: count for page, count in fences.items() if count != len(blocks(page))} == {}


def test_the_benchmarks_are_run_as_the_page_says() -> None:
    [block] = [block for block in blocks("docs/benchmarks.md") if block.by]
    run = [sys.executable, "-m", "benchmarks.run", "--help"]
    offered = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in block.text.splitlines():
        program, subcommand, *options = command.partition("#")[0].split()
        assert f"    {subcommand})" in (ROOT / program).read_text().splitlines()
        assert all(option in offered for option in options)


def _grammar(rules: dict[str, str], rule: str) -> str:
    """Translate a rule of an ABNF grammar (the subset in docs/abi.md) to a regular expression."""
    tokens = re.findall(r'"[^"]*"|%x\w\w-\w\w|\*\d+\(|[\w]+|[()\[\]/]', rules[rule])
    pattern, ends = "", list[str]()
    for token in tokens:
        if token.startswith('"'):
            pattern += re.escape(token[1:-1])
        elif token.startswith("%x"):
            pattern += f"[{chr(int(token[2:4], 16))}-{chr(int(token[5:], 16))}]"
        elif token.endswith("(") or token == "[":
            pattern += "(?:"
            ends.append(f"){{0,{token[1:-1]}}}" if token[0] == "*" else ")?" if token == "[" else ")")
        elif token in ")]":
            pattern += ends.pop()
        elif token == "/":
            pattern += "|"
        else:
            pattern += {"ALPHA": "[A-Za-z]", "DIGIT": "[0-9]"}.get(token) or f"(?:{_grammar(rules, token)})"
    return pattern


def test_the_grammar_of_the_abi_matches_the_texts_of_methods() -> None:
    [block] = [block for block in blocks("docs/abi.md") if block.by]
    text = re.sub(r" *;.*", "", block.text).replace("\n            ", " ")
    rules = dict(re.findall(r"^(\w+) += (.+)$", text, re.MULTILINE))
    method = re.compile(_grammar(rules, "text"))
    for contract in (Greeter, Transformer, Probe):
        for each in contract_of(contract).methods:
            assert method.fullmatch(each.text), each.text
    version = re.compile(_grammar(rules, "version"))
    for text in ("1.0", "9.10", "65535.65535"):
        assert version.fullmatch(text), text
        assert parse_version(text) == tuple(map(int, text.split(".")))
    for text in ("0.1", "01.0", "1.00", "1", "1.", ".1", "1.0.0", "1.-1", "1.123456"):
        assert not version.fullmatch(text), text
        with pytest.raises(ValueError, match="MAJOR"):
            parse_version(text)
    for text in ("mix(int, float, /, last: bool) -> None", "a() -> str", "a_1(b: bytearray) -> bytes"):
        assert method.fullmatch(text), text
        contract_from_texts("mixer", "1.0", (text,))
    for text in ("mix(/, a: bool) -> None", "a(b: str)", "a(None) -> str", "a(b: str, int) -> str", "1() -> int"):
        assert not method.fullmatch(text), text
        with pytest.raises(ValueError, match=r"\S"):
            contract_from_texts("mixer", "1.0", (text,))


@pytest.mark.parametrize("page", PAGES)
def test_its_prose_wraps_at_120(page: str) -> None:
    text = (ROOT / page).read_text()
    for block in blocks(page):
        text = text.replace(block.text, "\n")
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


# -- what is made from the code ----------------------------------------------------------------------------------------


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The modules that make pages, which stand beside them."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return import_module


def test_the_picture_is_up_to_date(tools: Callable[[str], Any]) -> None:
    """`python docs/stages.py` redraws it."""
    assert (ROOT / "docs/stages.svg").read_text() == tools("stages").picture()


@pytest.mark.parametrize("page", ["api.md", "command-line.md", "errors.md"])
def test_a_generated_page_is_what_the_code_says(tools: Callable[[str], Any], page: str) -> None:
    """`./build.sh docs`, or `python docs/generate.py` alone, writes it again."""
    assert (ROOT / "docs" / page).read_text() == tools("generate").generated(page)


def test_every_page_with_a_generated_part_is_written(tools: Callable[[str], Any]) -> None:
    found = {page.name for page in (ROOT / "docs").glob("*.md") if "<!-- generated: " in page.read_text()}
    assert found == set(tools("generate").PAGES)


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs/api.md").read_text()
    names = re.findall(r"^```python\n(?:class )?hardpoint\.(\w+)\b(?!\.)", page, re.MULTILINE)
    assert sorted([*names, "__version__"]) == sorted(hardpoint.__all__)
    assert "`hardpoint.__version__`" in page


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    listed = {
        name
        for block in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)
        for name in re.findall(r"^(?:.*<)?([\w-]+)>?$", block, re.MULTILINE)
    }
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= listed


@pytest.mark.parametrize("struct", ["hp_out", "hp_host"])
def test_the_abi_has_every_field_at_its_place(struct: str) -> None:
    page = (ROOT / "docs/abi.md").read_text()
    section = page.split(f"\n## {struct}\n")[1].split("\n## ")[0].split("\n### ")[0]
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
    fields = ffi.typeof(struct).fields
    assert [(name, int(offset)) for offset, name in rows] == [(name, field.offset) for name, field in fields]


def test_the_abi_has_every_field_of_the_vtable_at_its_place() -> None:
    page = (ROOT / "docs/abi.md").read_text()
    section = page.split("\n## The vtable\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| \d+ \| `([\w.]+)` \|", section, re.MULTILINE)
    there = {f"head.{name}": field.offset for name, field in ffi.typeof("hp_head").fields}
    there |= {name: field.offset for name, field in ffi.typeof("hp_vtable").fields if name != "head"}
    assert {name: int(offset) for offset, name in rows} == there
