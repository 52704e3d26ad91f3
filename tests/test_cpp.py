"""Plugins in C++: what hardpoint.hpp makes of every type, of exceptions and of methods that do not match."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, TESTS, WARNINGS, how
from kinds import Kinds

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh, Way

LIBRARY = ("-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,defs,-z,noexecstack", *WARNINGS)
COMPILERS = {"g++": ["g++"], "zig": [sys.executable, "-m", "ziglang", "c++"]}


@cache
def missing(compiler: str) -> str | None:
    """Why nothing can be compiled with it here; None if it can."""
    if compiler == "zig":
        return None if find_spec("ziglang") else "there is no ziglang"
    return None if shutil.which(compiler) else f"there is no {compiler}"


def compile_cpp(compiler: str, standard: str, folder: Path, source: Path) -> str:
    """Compile a source to lib.so in `folder`, which has the headers; what the compiler said if it failed, or ""."""
    if why := missing(compiler):
        pytest.skip(why)
    command = [*COMPILERS[compiler], f"-std={standard}", *LIBRARY, f"-I{folder}", f"-I{ROOT / 'contract'}"]
    done = subprocess.run(
        [*command, str(source), "-o", str(folder / "lib.so")], capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="session", params=["g++ c++17", "g++ c++20", "zig c++17", "zig c++20"])
def kinds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, compiler: Compiler) -> Path:
    compiler.header(Kinds)
    folder = tmp_path_factory.mktemp("kinds")
    shutil.copy(compiler.folder / "kinds.h", folder)
    name, standard = request.param.split()
    assert compile_cpp(name, standard, folder, TESTS / "plugins/kinds.cpp") == ""
    return folder / "lib.so"


@pytest.fixture
def plugin(kinds: Path, fresh: Fresh, way: Way) -> Kinds:
    return hardpoint.load(fresh(kinds), Kinds, config="é", **how(way))


def test_every_type_goes_there_and_back(plugin: Kinds) -> None:
    assert (plugin.text("日本\0"), plugin.text(""), plugin.text("x" * 10_000)) == ("日本\0", "", "x" * 10_000)
    assert (plugin.raw(b"\xff\0x"), plugin.raw(b""), plugin.raw(bytes(100_000))) == (b"\xff\0x", b"", bytes(100_000))
    value = bytearray(b"\x01\x80")
    plugin.flip(value)
    plugin.flip(bytearray())
    assert value == b"\xfe\x7f"
    filled = bytearray(3)
    assert plugin.all(-1, 2.5, True, "é", b"\1\2", 3.5, 4, filled) == "-1 2.500000 true é 2 1 3.500000 4"
    assert filled == b"\7\7\7"
    assert plugin.all(0, 0.5, False, "", b"", 1.5, 0, bytearray()) == "0 0.500000 false  0 1.500000 0"
    assert (plugin.half(3.0), plugin.negate(True), plugin.unnamed(5, 3)) == (1.5, False, 2)
    assert plugin.fn(100, crate=1, crate_=2, Some=3, match=4, defer=5, func=6, var=7) == 72
    plugin.Self()
    assert (plugin.config(), plugin.comptime(), plugin.go(1)) == ("config: é", "the contract's", 2)


def test_two_buffers_of_a_call_may_be_the_same_memory(plugin: Kinds) -> None:
    value = bytearray(b"abcdef")
    assert plugin.join(memoryview(value)[:5], memoryview(value)[1:]) == 5  # type: ignore[arg-type]
    assert value == b"aabcde"


@pytest.mark.parametrize(
    ("way_to_fail", "status", "text"),
    [
        ("invalid", 2, "not this"),
        ("status", 1, "no status"),
        ("memory", 4, "out of memory"),
        ("format", 1, "%s%n {}"),
        ("long", 1, "x" * 100_000),
        ("int", 1, "an exception that is no std::exception"),
    ],
)
def test_exceptions_are_reasons(plugin: Kinds, way_to_fail: str, status: int, text: str) -> None:
    with pytest.raises(hardpoint.CallError) as failed:
        plugin.fail(way_to_fail)
    assert (failed.value.status, failed.value.text) == (status, text)
    assert plugin.text("and on it goes") == "and on it goes"


@pytest.mark.parametrize("way_to_fail", ["length", "std"])
def test_the_standard_librarys_exceptions_say_what_they_say(plugin: Kinds, way_to_fail: str) -> None:
    with pytest.raises(hardpoint.CallError, match=r"fail failed with status 1 \(HP_FAILED\): basic_string"):
        plugin.fail(way_to_fail)


def test_a_status_of_its_own(plugin: Kinds) -> None:
    with pytest.raises(hardpoint.CallError, match=r"unnamed failed with status 263 .*: too far apart"):
        plugin.unnamed(-(2**63), 1)


def test_what_was_written_before_an_exception_is_gone(kinds: Path, fresh: Fresh, way: Way) -> None:
    with hardpoint.loaded(fresh(kinds), Kinds, config="half", **how(way)) as plugin:
        with pytest.raises(hardpoint.CallError) as failed:
            plugin.config()
        assert failed.value.text == "only half of it was written"


def test_a_constructor_takes_the_config_or_refuses_it(kinds: Path, fresh: Fresh, way: Way) -> None:
    path = fresh(kinds)
    refusals = {
        "refuse": r"2 \(HP_INVALID\): the config says refuse",
        "whatever": r"1 .*: an exception that is no std::",
    }
    for config, reason in refusals.items():
        with pytest.raises(hardpoint.CreateError, match=f"create failed with status {reason}"):
            hardpoint.load(path, Kinds, config=config, **how(way))
    for given, result in ((None, "absent"), ("", "config: ")):
        with hardpoint.loaded(path, Kinds, config=given, **how(way)) as plugin:
            assert plugin.config() == result


def test_threads_share_an_instance(plugin: Kinds) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: plugin.count(), range(1000)))
    assert sorted(counts) == list(range(1, 1001))


def test_it_logs_and_its_instance_is_destroyed(
    kinds: Path, fresh: Fresh, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        with hardpoint.loaded(fresh(kinds), Kinds, **how(way)) as plugin:
            plugin.fail("log")
        deadline = time.monotonic() + 10
        while "ended" not in caplog.messages and time.monotonic() < deadline:
            time.sleep(0.005)
    assert [(r.levelno, r.message) for r in caplog.records if r.name == "hardpoint.plugin.kinds"] == [
        (logging.WARNING, "absent"),
        (logging.ERROR, "x" * 1021 + "..."),
        (logging.INFO, "ended"),
    ]


def test_a_thread_can_be_cancelled_in_a_method(compiler: Compiler, tmp_path: Path) -> None:
    compiler.header(Kinds)
    shutil.copy(compiler.folder / "kinds.h", tmp_path)
    assert compile_cpp("g++", "c++17", tmp_path, TESTS / "plugins/kinds.cpp") == ""
    compiler.run(str(TESTS / "plugins/cancel.c"), "-o", str(tmp_path / "cancel"), "-pthread", "-ldl", "-D_GNU_SOURCE")
    done = subprocess.run(
        [tmp_path / "cancel", tmp_path / "lib.so"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "waiting\ncancelled\n", "")


def test_english_in_cpp_says_what_the_one_in_c_says(english: Path, tmp_path: Path, fresh: Fresh, way: Way) -> None:
    assert compile_cpp("g++", "c++17", tmp_path, ROOT / "native_plugins/english_cpp/english_cpp.cpp") == ""
    names = ["World", "", "日本語 🛩️", "a\0b", "%s%n{}", "x" * 511, "ß" * 1_000_000]
    with (
        hardpoint.loaded(tmp_path / "lib.so", Greeter, **how(way)) as plugin,
        hardpoint.loaded(fresh(english), Greeter) as reference,
    ):
        assert plugin.lang() == reference.lang()
        assert [plugin.greet(name) for name in names] == [reference.greet(name) for name in names]


WRONG = {
    "few": ("std::string greet() { return {}; }", "the method has another number of parameters"),
    "many": (
        "std::string greet(std::string_view, int64_t) { return {}; }",
        "the method has another number of parameters",
    ),
    "type": ("std::string greet(hp::Bytes) { return {}; }", "a parameter of the method is not what the contract says"),
    "reference": ("std::string greet(std::string_view &) { return {}; }", "a parameter of the method is not what"),
    "number": ("double greet(std::string_view) { return 0; }", "the method's result is not what the contract says"),
    "class": (
        "bool greet(std::string_view) { return {}; } English(int) {}",
        "the class needs a constructor that takes",
    ),
}


@pytest.mark.parametrize("compiler", ["g++", "zig"])
@pytest.mark.parametrize(("method", "sentence"), WRONG.values(), ids=WRONG)
def test_a_method_that_does_not_match_is_a_sentence(compiler: str, method: str, sentence: str, tmp_path: Path) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text(
        f'#include "greeter.h"\n#include "hardpoint.hpp"\nstruct English {{ {method} const char *lang() {{ return ""; }} }};\n'
        "using plugin = hp::Plugin<English>;\n"
        'GREETER_PLUGIN("wrong", "1", p.create = plugin::create, p.destroy = plugin::destroy, '
        "p.greet = plugin::method<&English::greet>, p.lang = plugin::method<&English::lang>);\n"
    )
    said = compile_cpp(compiler, "c++17", tmp_path, source)
    assert sum("error:" in line for line in said.splitlines()) <= 2, said
    assert f"hardpoint: {sentence}" in said


NUMBERS = {
    "narrow": ("int64_t join(hp::Bytes, hp::Bytes) { return 0; }", "a parameter of the method is not what"),
    "int": ("int64_t unnamed(int, int64_t) { return 0; }", "a parameter of the method is not what"),
    "float": ("int64_t unnamed(int64_t, double) { return 0; }", "a parameter of the method is not what"),
    "result": ("double unnamed(int64_t, int64_t) { return 0; }", "the method's result is not the number"),
    "unsigned": ("uint64_t unnamed(int64_t, int64_t) { return 0; }", "the method's result is not the number"),
    "void": ("void unnamed(int64_t, int64_t) {}", "the method's result is not the number"),
    "bool": ("int negate(bool) { return 0; }", "the method's result is not the number"),
}


@pytest.mark.parametrize(("method", "sentence"), NUMBERS.values(), ids=NUMBERS)
def test_no_number_is_narrowed(method: str, sentence: str, tmp_path: Path, compiler: Compiler) -> None:
    compiler.header(Kinds)
    shutil.copy(compiler.folder / "kinds.h", tmp_path)
    name = method.partition("(")[0].split()[1]
    source = tmp_path / "wrong.cpp"
    source.write_text(
        f'#include "kinds.h"\n#include "hardpoint.hpp"\nstruct Wrong {{ {method} }};\n'
        f"void assign(kinds_v2 &p) {{ p.{name} = hp::Plugin<Wrong>::method<&Wrong::{name}>; }}\n"
    )
    said = compile_cpp("g++", "c++17", tmp_path, source)
    assert f"hardpoint: {sentence}" in said
