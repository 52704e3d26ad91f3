"""native_plugins/english in other languages: each is built once with its Makefile, and behaves like the one in C."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT, how
from elftools.elf.elffile import ELFFile
from languages import LANGUAGES, Language, make, missing
from pages import blocks

import hardpoint
from hardpoint import conformance
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fresh, RunPython, Way

# Go's runtime installs signal handlers; a test below checks the warning.
pytestmark = pytest.mark.filterwarnings("ignore:loading .* changed the handler of signal 7")

NAMES = ["World", "", "Wörld", "日本語 🛩️", "a\0b", "%s%n{}", "x" * 511, "y" * 10_000, "ß" * 1_000_000]


@cache
def build(language: Language, scratch: Path) -> Path:
    folder = scratch / language
    make(ROOT / f"native_plugins/english_{language}", scratch, f"BUILD={folder}")
    return folder / "english.so"


@pytest.fixture(scope="session", params=LANGUAGES)
def port(request: pytest.FixtureRequest, scratch: Path) -> Path:
    """Build english.so in each language."""
    language: Language = request.param
    if why := missing(language):
        pytest.skip(why)
    return build(language, scratch)


def test_it_fits_and_says_so(port: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint", "check", str(port)], capture_output=True, text=True, check=False
    )
    first, *others = done.stdout.splitlines()
    assert (done.returncode, first) == (0, f"{port}: fits greeter 1.0 (english 1.0.0)"), done.stderr
    # Go's runtime uses static thread-local storage.
    assert [line for line in others if line.startswith("  warning")] == (
        ["  warning static-tls"] if port.parent.name == "go" else []
    )


def test_the_conformance_kit_finds_nothing(port: Path) -> None:
    """Except for static thread-local storage and signal handlers, which Go's runtime needs."""
    report = conformance.run(port, Greeter)
    assert [outcome for outcome in report.outcomes if outcome.status not in {"passed", "skipped", "warning"}] == []
    warned = {outcome.name for outcome in report.outcomes if outcome.status == "warning"}
    warned -= {"load.time"}  # the machine may be busy
    assert warned == ({"file.fits", "load.state"} if port.parent.name == "go" else set())


def test_it_exports_only_its_vtable(port: Path) -> None:
    with port.open("rb") as file:
        symbols: Any = ELFFile(file).get_section_by_name(".dynsym")
        exported = [s.name for s in symbols.iter_symbols() if s.name and s["st_shndx"] != "SHN_UNDEF"]
    assert exported == ["hardpoint_greeter_v1"]


def test_it_behaves_like_the_one_in_c(port: Path, english: Path, fresh: Fresh, way: Way) -> None:
    plugin = hardpoint.load(fresh(port), Greeter, **how(way))
    with hardpoint.loaded(fresh(english, "c.so"), Greeter) as reference:
        assert plugin.lang() == reference.lang() == "English"
        assert [plugin.greet(name) for name in NAMES] == [reference.greet(name) for name in NAMES]
        assert hardpoint.info(plugin).manifest == hardpoint.info(reference).manifest
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError):
        plugin.lang()


def test_it_refuses_a_config_like_the_one_in_c(port: Path, english: Path, fresh: Fresh, way: Way) -> None:
    for path in (fresh(port), fresh(english, "c.so")):
        with pytest.raises(hardpoint.CreateError, match="english takes no config, since it has no create"):
            hardpoint.load(path, Greeter, config="anything", **how(way))


def test_many_threads_call_one_instance_and_many(port: Path, fresh: Fresh, way: Way) -> None:
    path = fresh(port)
    with hardpoint.loaded(path, Greeter, **how(way)) as shared, ThreadPoolExecutor(8) as pool:

        def call(index: int) -> bool:
            name = f"{index}" * (index % 1000)
            with hardpoint.loaded(path, Greeter, **how(way)) if index % 50 == 0 else nullcontext(shared) as plugin:
                return plugin.greet(name) == f"Hello, {name}! Nice to meet you."

        assert all(pool.map(call, range(400)))


def test_a_worker_of_256_mebibytes_is_enough(port: Path, fresh: Fresh) -> None:
    how_isolated = hardpoint.Isolation(memory="256MiB", timeout=20)
    with hardpoint.loaded(fresh(port), Greeter, isolated=how_isolated) as plugin:
        assert [plugin.greet(name) for name in NAMES] == [f"Hello, {name}! Nice to meet you." for name in NAMES]


def test_handlers_are_restored_after_loading_go_with_a_warning(scratch: Path, run_python: RunPython) -> None:
    if why := missing("go"):
        pytest.skip(why)
    path = build("go", scratch)
    code = f"""
import signal, warnings, hardpoint, hardpoint.contracts
def interrupted(*_): print("interrupted")
signal.signal(signal.SIGINT, interrupted)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    plugin = hardpoint.load({str(path)!r}, hardpoint.contracts.Greeter)
print(*[warning.message for warning in caught])
signal.raise_signal(signal.SIGINT)
print(plugin.lang(), signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN, signal.getsignal(signal.SIGSEGV))
"""
    handlers = ", ".join(f"the handler of signal {number}" for number in (7, 8, 11, 13, 23))
    why = "Go's runtime does that in every plugin, and nothing is wrong with this one"
    said = f"{handlers} of the process; this was put back. {why}"
    assert run_python(code).stdout == f"loading {path} changed {said}\ninterrupted\nEnglish True 0\n"


def test_the_page_on_languages_shows_the_ports() -> None:
    shown = {block.language: block.text for block in blocks("docs/languages.md")}
    assert shown["zig"] == (ROOT / "native_plugins/english_zig/english.zig").read_text()
    assert shown["go"] == (ROOT / "native_plugins/english_go/src/english.go").read_text()
