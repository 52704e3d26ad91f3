"""Plugins in C++ with hardpoint.hpp: every type, exceptions, and methods that do not match."""

from __future__ import annotations

import logging
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from alike import Alike
from conftest import ROOT, TESTS, WARNINGS, how
from kinds import Kinds
from languages import cannot_link, zig

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh, Way

COMPILED = ("-O2", "-fPIC", "-fvisibility=hidden", *WARNINGS)
LINKED = ("-shared", "-Wl,-z,defs,-z,noexecstack")
COMPILERS = {"g++": ["g++"], "zig": zig("c++")}


@cache
def missing(compiler: str) -> str | None:
    """Return the reason why the compiler cannot be used here, or None."""
    if compiler == "zig":
        return None if find_spec("ziglang") else "there is no ziglang"
    return cannot_link(compiler)


def compile_cpp(compiler: str, standard: str, folder: Path, source: Path) -> str:
    """Compile a source to lib.o in `folder`, which has the headers. Return the errors, or "" on success."""
    if why := missing(compiler):
        pytest.skip(why)
    words = [f"-std={standard}", *COMPILED, f"-I{folder}", f"-I{ROOT / 'contract'}", "-c", str(source)]
    command = [*COMPILERS[compiler], *words, "-o", str(folder / "lib.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def build_cpp(compiler: str, standard: str, folder: Path, source: Path) -> Path:
    """Build the library; the source has to compile without warnings."""
    assert compile_cpp(compiler, standard, folder, source) == ""
    if compiler == "zig" and missing("g++"):
        pytest.skip(
            "it compiles, and is not linked: there is no g++, and zig would make a C++ library first, for minutes"
        )
    library = folder / "lib.so"
    subprocess.run([*COMPILERS[compiler], *LINKED, str(folder / "lib.o"), "-o", str(library)], check=True)
    return library


LONG = [pytest.param(each, marks=pytest.mark.long) for each in ("g++ c++17", "zig c++17", "zig c++20")]
"""zig makes a libc++ first."""


@pytest.fixture(scope="session", params=["g++ c++20", *LONG])
def kinds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, compiler: Compiler) -> Path:
    compiler.header(Kinds)
    folder = tmp_path_factory.mktemp("kinds")
    shutil.copy(compiler.folder / "kinds.h", folder)
    name, standard = request.param.split()
    return build_cpp(name, standard, folder, TESTS / "plugins/kinds.cpp")


@pytest.fixture
def plugin(kinds: Path, fresh: Fresh, way: Way) -> Kinds:
    return hardpoint.load(fresh(kinds), Kinds, config="é", **how(way))


class TestAlike(Alike):
    logged = ((logging.WARNING, "absent"), (logging.ERROR, "x" * 1021 + "..."), (logging.INFO, "ended"))


@pytest.mark.parametrize(
    ("way_to_fail", "status", "text"),
    [
        ("invalid", 2, "not this"),
        ("status", 1, "no status"),
        ("memory", 4, "out of memory"),
        ("format", 1, "%s%n {}"),
        ("long", 1, "x" * 100_000),
        ("int", 1, "an exception that is not a std::exception"),
    ],
)
def test_exceptions_are_reasons(plugin: Kinds, way_to_fail: str, status: int, text: str) -> None:
    with pytest.raises(hardpoint.CallError) as failed:
        plugin.fail(way_to_fail)
    assert (failed.value.status, failed.value.text) == (status, text)
    assert plugin.text("and on it goes") == "and on it goes"


@pytest.mark.parametrize("way_to_fail", ["length", "std"])
def test_what_of_a_standard_exception_is_the_reason(plugin: Kinds, way_to_fail: str) -> None:
    with pytest.raises(hardpoint.CallError, match=r"fail failed with status 1 \(HP_FAILED\): basic_string"):
        plugin.fail(way_to_fail)


def test_an_exception_discards_a_partial_result(kinds: Path, fresh: Fresh, way: Way) -> None:
    with hardpoint.loaded(fresh(kinds), Kinds, config="half", **how(way)) as plugin:
        with pytest.raises(hardpoint.CallError) as failed:
            plugin.config()
        assert failed.value.text == "only half of it was written"


def test_a_constructor_may_throw_any_type(kinds: Path, fresh: Fresh, way: Way) -> None:
    with pytest.raises(
        hardpoint.CreateError, match=r"create failed with status 1 .*: an exception that is not a std::"
    ):
        hardpoint.load(fresh(kinds), Kinds, config="whatever", **how(way))


def test_a_thread_can_be_cancelled_in_a_method(compiler: Compiler, tmp_path: Path) -> None:
    compiler.header(Kinds)
    shutil.copy(compiler.folder / "kinds.h", tmp_path)
    library = build_cpp("g++", "c++17", tmp_path, TESTS / "plugins/kinds.cpp")
    compiler.run(str(TESTS / "plugins/cancel.c"), "-o", str(tmp_path / "cancel"), "-pthread", "-ldl", "-D_GNU_SOURCE")
    done = subprocess.run([tmp_path / "cancel", library], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "waiting\ncancelled\n", "")


@pytest.fixture(scope="module")
def english_cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("english_cpp")
    return build_cpp("g++", "c++17", folder, ROOT / "native_plugins/english_cpp/english_cpp.cpp")


def test_english_in_cpp_behaves_like_the_one_in_c(english_cpp: Path, english: Path, fresh: Fresh, way: Way) -> None:
    library = fresh(english_cpp, "cpp.so")
    names = ["World", "", "日本語 🛩️", "a\0b", "%s%n{}", "x" * 511, "ß" * 1_000_000]
    with (
        hardpoint.loaded(library, Greeter, **how(way)) as plugin,
        hardpoint.loaded(fresh(english), Greeter) as reference,
    ):
        assert plugin.lang() == reference.lang()
        assert [plugin.greet(name) for name in names] == [reference.greet(name) for name in names]


WRONG = {
    "few": ("std::string greet() { return {}; }", "the number of the method's parameters does not match"),
    "many": (
        "std::string greet(std::string_view, int64_t) { return {}; }",
        "the number of the method's parameters does not match",
    ),
    "type": ("std::string greet(hp::Bytes) { return {}; }", "a parameter of the method does not match the contract"),
    "reference": ("std::string greet(std::string_view &) { return {}; }", "a parameter of the method does not match"),
    "number": (
        "double greet(std::string_view) { return 0; }",
        "the method's result does not match the contract; it needs std::string",
    ),
    "class": (
        "bool greet(std::string_view) { return {}; } English(int) {}",
        "the class needs a constructor that takes",
    ),
}


@pytest.mark.parametrize("compiler", ["g++", "zig"])
@pytest.mark.parametrize(("method", "sentence"), WRONG.values(), ids=WRONG)
def test_a_method_that_does_not_match_is_an_error(compiler: str, method: str, sentence: str, tmp_path: Path) -> None:
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
    "narrow": ("int64_t join(hp::Bytes, hp::Bytes) { return 0; }", "a parameter of the method does not match"),
    "int": ("int64_t unnamed(int, int64_t) { return 0; }", "a parameter of the method does not match"),
    "float": ("int64_t unnamed(int64_t, double) { return 0; }", "a parameter of the method does not match"),
    "result": (
        "double unnamed(int64_t, int64_t) { return 0; }",
        "the method's result does not match the contract; it needs int64_t",
    ),
    "unsigned": (
        "uint64_t unnamed(int64_t, int64_t) { return 0; }",
        "the method's result does not match the contract; it needs int64_t",
    ),
    "void": ("void unnamed(int64_t, int64_t) {}", "the method's result does not match the contract; it needs int64_t"),
    "bool": ("int negate(bool) { return 0; }", "the method's result does not match the contract; it needs int64_t"),
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
