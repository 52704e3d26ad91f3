"""Plugins in Rust with `hardpoint header --lang rust` and hardpoint.rs: every type, errors, panics and threads."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from alike import Alike
from conftest import ROOT, TESTS, how
from kinds import Kinds
from languages import missing
from pages import blocks

import hardpoint
from hardpoint.authoring.rust_module import render
from hardpoint.contracts import Greeter, Transformer
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fresh, Way


def compile_rust(folder: Path, code: str, cls: type, *words: str, good: bool = True, edition: str = "2021") -> str:
    """Compile lib.rs and the modules it needs to lib.so, all in `folder`. Return the compiler's messages."""
    if why := missing("rust"):
        pytest.skip(why)
    contract = contract_of(cls)
    (folder / "lib.rs").write_text(code)
    (folder / f"{contract.name}.rs").write_text(render(contract))
    (folder / "hardpoint.rs").write_text((ROOT / "contract/hardpoint.rs").read_text())
    command = ["rustc", f"--edition={edition}", "--crate-type=cdylib", "-Dwarnings", *words, "lib.rs", "-o", "lib.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == good, done.stderr
    return done.stderr


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    compile_rust(folder, (TESTS / "plugins/kinds.rs").read_text(), Kinds, "-O")
    return folder / "lib.so"


@pytest.fixture
def plugin(kinds: Path, fresh: Fresh, way: Way) -> Kinds:
    return hardpoint.load(fresh(kinds), Kinds, config="é", **how(way))


@pytest.mark.parametrize("cls", [Greeter, Transformer], ids=lambda cls: cls.__name__)
def test_the_committed_modules_are_what_the_command_prints(cls: type) -> None:
    command = [sys.executable, "-m", "hardpoint", "header", f"hardpoint.contracts:{cls.__name__}", "--lang", "rust"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == (ROOT / f"contract/{cls.__name__.lower()}.rs").read_text()


class TestAlike(Alike):
    # A NUL is replaced, and a text that is too long is truncated at the end of a character.
    logged = (
        (logging.WARNING, "hardpoint absent"),
        (logging.ERROR, "x\ufffd" + "é" * 508 + "..."),
        (logging.INFO, "ended"),
    )


@pytest.mark.parametrize(
    ("way_to_fail", "status", "text"),
    [
        ("parse", 1, "invalid digit found in string"),
        ("panic", 1, "panicked at lib.rs:LINE: at the disco"),
        ("format", 1, "panicked at lib.rs:LINE: at the format"),
        ("value", 1, "panicked at lib.rs:LINE: with a value that is not text"),
        ("index", 1, "panicked at lib.rs:LINE: index out of bounds: the len is 2 but the index is 5"),
        ("long", 3, "é" * 100_000),
        ("memory", 4, ""),
        ("status", 1, "no status"),
    ],
)
def test_errors_and_panics_are_reasons(plugin: Kinds, way_to_fail: str, status: int, text: str) -> None:
    with pytest.raises(hardpoint.CallError) as failed:
        plugin.fail(way_to_fail)
    where = re.sub(r"\d+:\d+", "LINE", failed.value.text, count=1)
    assert (failed.value.status, where) == (status, text)
    assert plugin.text("and on it goes") == "and on it goes"


def test_a_panic_in_create_is_a_reason(kinds: Path, fresh: Fresh, way: Way) -> None:
    with pytest.raises(hardpoint.CreateError, match=r'panicked at lib.rs:\d+:\d+: the config says Some\("panic"\)$'):
        hardpoint.load(fresh(kinds), Kinds, config="panic", **how(way))


def test_the_exam_of_the_page_on_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples/scorer")
    from scorer import Scorer

    [code] = [block.text for block in blocks("docs/languages.md") if block.language == "rust"]
    compile_rust(tmp_path, code, Scorer)
    exam = hardpoint.load(tmp_path / "lib.so", Scorer, config="5", **how(way))
    assert (exam.score(b"forty-two", 10, 1.5, strict=True), exam.score(b"no", 10, 1.5, strict=False)) == (15.0, 7.5)
    text = bytearray(b"room 101")
    assert (exam.censor(text), bytes(text), exam.grade(50.0)) == (3, b"room xxx", "pass")
    with pytest.raises(hardpoint.CallError, match=r"status 2 \(HP_INVALID\): -1 points cannot be earned$"):
        exam.score(b"", -1, 1.0, strict=True)
    with pytest.raises(hardpoint.CreateError, match=r"status 1 \(HP_FAILED\): invalid digit found in string$"):
        hardpoint.load(tmp_path / "lib.so", Scorer, config="a long story", **how(way))


COUNTER = """
mod greeter;
mod hardpoint;
use hardpoint::{Create, Error, Host, Text};
struct Counter(std::cell::Cell<u64>);
impl Create for Counter {
    fn create(_config: Option<&str>, _host: Host) -> Result<Self, Error> { Ok(Self(0.into())) }
}
impl greeter::Greeter for Counter {
    fn greet(&self, _name: &str, out: &mut Text) -> Result<(), Error> {
        self.0.set(self.0.get() + 1);
        write!(out, "{}", self.0.get())
    }
    fn lang(&self, out: &mut Text) -> Result<(), Error> { out.push_str("numbers") }
}
greeter::plugin!(Counter, "counter", "1.0.0"OPTION);
"""


def test_an_instance_that_threads_cannot_share_is_refused_by_the_compiler(tmp_path: Path) -> None:
    said = compile_rust(tmp_path, COUNTER.replace("OPTION", ""), Greeter, good=False)
    assert "`Cell<u64>` cannot be shared between threads safely" in said
    assert "called_on_several_threads_at_once" in said


def test_serial_allows_an_instance_that_threads_cannot_share(tmp_path: Path) -> None:
    compile_rust(tmp_path, COUNTER.replace("OPTION", ", serial"), Greeter)
    plugin = hardpoint.load(tmp_path / "lib.so", Greeter)
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: int(plugin.greet("")), range(1000)))
    assert sorted(counts) == list(range(1, 1001))


def test_an_instance_with_state_without_create_is_refused_by_the_compiler(tmp_path: Path) -> None:
    code = (
        COUNTER.replace("OPTION", ", serial").replace("impl Create for", "impl").replace("fn create", "pub fn create")
    )
    said = compile_rust(tmp_path, code.replace("Create, ", ""), Greeter, good=False)
    assert "an instance that has state must implement hardpoint::Create" in said


def test_a_panic_that_would_abort_is_refused_by_the_compiler(tmp_path: Path) -> None:
    code = COUNTER.replace("OPTION", ", serial")
    assert 'with panic = "abort" a panic would end the host' in compile_rust(
        tmp_path, code, Greeter, "-Cpanic=abort", good=False
    )


def test_a_later_edition_takes_the_same_modules(tmp_path: Path) -> None:
    if why := missing("rust", (1, 85)):
        pytest.skip(why)
    compile_rust(tmp_path, COUNTER.replace("OPTION", ", serial"), Greeter, edition="2024")
