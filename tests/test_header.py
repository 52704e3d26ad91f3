"""The C headers: every supported dialect under gcc and clang, and warnings for the usual mistakes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import pytest
from conftest import ROOT, TESTS, WARNINGS
from hypothesis import given
from hypothesis import strategies as st
from languages import zig

import hardpoint
from hardpoint import Buffer, WritableBuffer, contract, since
from hardpoint.authoring.c_header import render
from hardpoint.contracts import Greeter, Transformer
from hardpoint.definition.decorators import contract_of
from hardpoint.definition.reserved_names import owner_of

if TYPE_CHECKING:
    from pathlib import Path


@contract("everything", version="1.2")
class Everything(Protocol):
    """Every type of parameter and of result."""

    def text(self, value: str) -> str: ...
    def raw(self, value: bytes, view: Buffer) -> bytes: ...
    def change(self, value: bytearray, view: WritableBuffer) -> None: ...
    def whole(self, a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int: ...
    def real(self, a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float) -> float: ...
    def all(self, a: str, b: bytes, c: Buffer, d: bytearray, e: WritableBuffer, f: int, g: float, h: bool) -> bool: ...
    def unnamed(self, text: str, data: bytes, /) -> str: ...
    @since("1.1")
    def later(self, text: str) -> str: ...
    @since("1.2")
    def latest(self) -> int: ...


DOCSTRINGS = [
    "It ends */ here, or **// here",
    "It opens /* here, or /*/ here",
    "A backslash \\\nat an end \\ \nand at the last\\",
    "\\",
    "A trigraph ??/\nat an end \\??/ \nand at the last??/",
    "Escapes: \\u0041 \\x41 %s \" ' ??( //",
    "Right to left: \u202eolleh\u202c \u2066x\u2069",
    "¡Olé! 日本語 🛩️ non\u00a0breaking",
    "Controls: \0 \x1b[31m \x7f \x85 \u2028 \r \f \v \ud800",
    "/\n/\n*\n/",
]
_everything = contract_of(Everything)
DOCUMENTED = _everything._replace(
    name="documented",
    doc="\n".join(DOCSTRINGS),
    methods=tuple(
        _everything.methods[0]._replace(name=f"method_{index}", doc=doc) for index, doc in enumerate(DOCSTRINGS)
    ),
)


@contract("growing", version="1.1")
@runtime_checkable
class Growing(Protocol):
    def word(self) -> str: ...
    @since("1.1")
    def later(self) -> str:
        return f"not yet, says {self.word()}"


@contract("greeter", version="2.0")
@runtime_checkable
class Welcomer(Protocol):
    """The next major of greeter."""

    def welcome(self, name: str, times: int) -> str: ...


class Dialect(NamedTuple):
    """A compiler and a language standard."""

    command: tuple[str, ...]
    standard: str
    words: tuple[str, ...] = ()

    @property
    def cxx(self) -> bool:
        return "++" in self.standard


CC = tuple(shlex.split(os.environ.get("CC") or "cc"))
CXX = tuple(shlex.split(os.environ.get("CXX") or "c++"))
needs_cxx = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="there is no c++, and clang's tests go on")


def _dialects(*standards: str, words: tuple[str, ...] = ()) -> list[object]:
    """Return the parameters of a test: each standard with the system's compiler and with clang."""
    found: list[object] = []
    for standard in standards:
        cxx = "++" in standard
        name = "-".join((standard, *words))
        system = Dialect(CXX if cxx else CC, standard, words)
        clang = Dialect((*zig("c++"), "-nostdlib++") if cxx else (*zig("cc"),), standard, words)
        found.append(pytest.param(system, id=f"system-{name}", marks=[needs_cxx] if cxx else []))
        found.append(pytest.param(clang, id=f"clang-{name}"))
    return found


C = _dialects("c11", "c17", "gnu11")
DESIGNATED = [*_dialects("c11"), *_dialects("c++20")]
ASSIGNED = [*_dialects("c++17"), *_dialects("c++20", words=("-DHP_CXX17",))]
every_dialect = pytest.mark.parametrize("dialect", [*C, *_dialects("c++17", "c++20")])
designated = pytest.mark.parametrize("dialect", DESIGNATED)


class Build:
    """Compiles sources for one dialect, with the headers of the contracts above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, header in {
            "everything.h": render(_everything),
            "documented.h": render(DOCUMENTED),
            "growing.h": render(contract_of(Growing)),
            "greeter_v2.h": render(contract_of(Welcomer)),
        }.items():
            (folder / name).write_text(header, encoding="utf-8")

    def run(self, dialect: Dialect, source: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Compile a file of tests/plugins, or C code itself, and return the compiler's messages."""
        path = TESTS / "plugins" / source if source.endswith(".c") else self.folder / "source.c"
        if not source.endswith(".c"):
            path.write_text(source, encoding="utf-8")
        command = [*dialect.command, f"-std={dialect.standard}", *dialect.words, "-O2", *words]
        command += [f"-I{ROOT / 'contract'}", f"-I{self.folder}", "-x", "c++" if dialect.cxx else "c", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def library(self, dialect: Dialect, source: str, *words: str) -> Path:
        """Build a new library at each call, with every warning as an error."""
        target = self.folder / "library.so"
        done = self.run(
            dialect, source, "-fPIC", "-fvisibility=hidden", "-shared", *WARNINGS, "-o", str(target), *words
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return target

    def check(self, dialect: Dialect, source: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Compile to an object file, and discard it."""
        return self.run(dialect, source, "-c", *words, "-o", str(self.folder / "source.o"))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


@pytest.mark.parametrize("cls", [Greeter, Transformer])
def test_the_committed_header_is_the_one_that_its_contract_gives(cls: type) -> None:
    given_contract = contract_of(cls)
    committed = ROOT / "contract" / f"{given_contract.name}.h"
    assert committed.read_text(encoding="utf-8") == render(given_contract)


OWN = ["hardpoint.h", "hardpoint_json.h"]
HEADERS = [*OWN, "greeter.h", "transformer.h", "everything.h", "documented.h", "growing.h", "greeter_v2.h"]


@every_dialect
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_alone(build: Build, dialect: Dialect, header: str) -> None:
    strict = ("-Wshadow", "-Wconversion") if header in OWN else ()
    done = build.check(dialect, f'#include "{header}"\n#include "{header}"\n', *WARNINGS, *strict)
    assert (done.returncode, done.stderr) == (0, "")


def _without_comments(header: str) -> str:
    """Strip comments as C does: replace trigraphs and join lines first; comments do not nest."""
    joined = header.replace("??/", "\\").replace("\\\n", "")
    return " ".join(re.sub(r"/\*.*?\*/", " ", joined, flags=re.DOTALL).split())


PIECES = st.sampled_from(["*", "/", "*/", "/*", "\\\n", "?", "??/\n", "\n", "\r", " "]) | st.characters()


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_docstring_stays_within_its_comment(doc: str) -> None:
    methods = tuple(method._replace(doc=doc) for method in _everything.methods)
    header = render(_everything._replace(doc=doc, methods=methods))
    assert _without_comments(header) == _without_comments(render(_everything))
    assert not re.search(r"/\*(?:(?!\*/).)*/\*", header, flags=re.DOTALL), "-Wcomment: a comment in a comment"
    described, _, _ = header.partition("#define EVERYTHING_V1_METHODS")
    for line in described.split("\n"):
        assert line.isprintable()
        assert not line.endswith(("\\", "??/", " ")), "-Wcomment, -Wtrigraphs: a line that goes on in the next"


@designated
def test_a_plugin_compiles_and_greets(build: Build, dialect: Dialect) -> None:
    greeter = hardpoint.load(build.library(dialect, "header_greeter.c"), Greeter)
    assert (greeter.greet("¡World!"), greeter.lang()) == ("Hello, ¡World!", "dialect 1")


@pytest.mark.parametrize("dialect", ASSIGNED)
def test_a_plugin_without_designated_initialisers_compiles_and_greets(build: Build, dialect: Dialect) -> None:
    greeter = hardpoint.load(build.library(dialect, "header_greeter.c", "-DASSIGNED"), Greeter)
    assert (greeter.greet("World"), greeter.lang()) == ("Hello, World", "dialect 1")


@designated
def test_slots_that_may_be_empty_can_be_left_out(build: Build, dialect: Dialect) -> None:
    growing = hardpoint.load(build.library(dialect, "header_optional.c"), Growing)
    assert (growing.word(), growing.later()) == ("old", "not yet, says old")


@pytest.mark.parametrize("dialect", ASSIGNED)
def test_slots_that_may_be_empty_can_be_left_unassigned(build: Build, dialect: Dialect) -> None:
    growing = hardpoint.load(build.library(dialect, "header_optional.c", "-DASSIGNED"), Growing)
    assert (growing.word(), growing.later()) == ("old", "not yet, says old")


@pytest.mark.parametrize("dialect", _dialects("c++20"))
def test_a_required_slot_that_is_left_out_is_a_warning(build: Build, dialect: Dialect) -> None:
    words = ("-DWITHOUT_LANG", "-fPIC")
    assert build.check(dialect, "header_greeter.c", *words).returncode == 0
    done = build.check(dialect, "header_greeter.c", *words, *WARNINGS)
    assert done.returncode != 0
    assert re.search(
        r"error: missing (initializer for member .greeter_v1::lang.|field 'lang' initializer)", done.stderr
    )


@designated
def test_a_library_holds_plugins_for_two_contracts(build: Build, dialect: Dialect) -> None:
    library = build.library(dialect, "header_two_contracts.c")
    greeter, transformer = hardpoint.load(library, Greeter), hardpoint.load(library, Transformer)
    assert (greeter.greet("one"), transformer.transform("two")) == ("one", "<two>")
    assert [hardpoint.info(plugin).manifest.plugin for plugin in (greeter, transformer)] == ["both", "both-too"]


@designated
@pytest.mark.parametrize("order", [(), ("-DNEW_FIRST",)], ids=["old-first", "new-first"])
def test_a_library_holds_plugins_for_two_majors(build: Build, dialect: Dialect, order: tuple[str, ...]) -> None:
    library = build.library(dialect, "header_two_majors.c", *order)
    old, new = hardpoint.load(library, Greeter), hardpoint.load(library, Welcomer)
    assert (old.greet("World"), new.welcome("World", 3)) == ("World", "World, 3 times")
    manifests = [hardpoint.info(plugin).manifest for plugin in (old, new)]
    assert [(str(manifest), manifest.plugin) for manifest in manifests] == [
        ("greeter 1.0", "old"),
        ("greeter 2.0", "new"),
    ]


@pytest.mark.parametrize("dialect", _dialects("gnu11"))
def test_no_method_or_parameter_can_have_the_name_of_a_macro(build: Build, dialect: Dialect) -> None:
    done = build.run(dialect, '#include "hardpoint.h"\n', "-dM", "-E")
    macros = re.findall(r"^#define ([A-Za-z]\w*) ", done.stdout, flags=re.MULTILINE)
    assert {"errno", "unix", "EOF", "L_tmpnam"} <= set(macros)
    assert [name for name in macros if not owner_of(name, slot=False)] == []
    assert [name for name in macros if not owner_of(name, slot=True)] == []


@designated
def test_a_manifest_has_at_most_4096_bytes(build: Build, dialect: Dialect) -> None:
    rest = len(
        '{"abi": "1.0", "contract": "greeter", "version": "1.0", "plugin": "dialect", "release": "", "methods": }\0'
    )
    room = 4096 - rest - len('["greet(name: str) -> str", "lang() -> str"]')

    def of(size: int) -> subprocess.CompletedProcess[str]:
        return build.check(dialect, "header_greeter.c", "-fPIC", f'-DRELEASE="{"1" * size}"')

    assert (of(room).returncode, of(room).stderr) == (0, "")
    assert of(room + 1).returncode != 0
    assert "the manifest is longer than 4096 bytes" in of(room + 1).stderr


def _calling(call: str) -> str:
    function = "void f(hp_out *out, const hp_host *host)"
    return f'#include "hardpoint.h"\n{function};\n{function} {{ (void)out, (void)host; {call}; }}\n'


CHECKED = [
    "hp_reserve(out, 1)",
    'hp_write(out, "x", 1)',
    'hp_puts(out, "x")',
    'hp_printf(out, "x")',
    'hp_fail(out, HP_FAILED, "x")',
]


@every_dialect
@pytest.mark.parametrize("call", CHECKED, ids=lambda call: call.partition("(")[0])
def test_a_status_that_is_ignored_is_a_warning(build: Build, dialect: Dialect, call: str) -> None:
    assert build.check(dialect, _calling(f"if ({call}) {{ }}"), "-Werror").stderr == ""
    done = build.check(dialect, _calling(call), "-Werror=unused-result")
    assert done.returncode != 0
    assert "unused-result" in done.stderr


FORMATS = [
    'if (hp_printf(out, "%s", 1)) { }',
    'if (hp_fail(out, HP_FAILED, "%d", "x")) { }',
    'hp_log(host, HP_LOG_INFO, "%s")',
]


@every_dialect
@pytest.mark.parametrize("call", FORMATS, ids=["printf", "fail", "log"])
def test_formats_are_checked(build: Build, dialect: Dialect, call: str) -> None:
    done = build.check(dialect, _calling(call), "-Werror=format")
    assert done.returncode != 0
    assert "-Wformat" in done.stderr or "-Werror=format" in done.stderr
