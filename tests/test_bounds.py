"""Both sides of each limit that is documented: the last value that is taken, and the first that is not."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest

import hardpoint
from hardpoint import Isolation
from hardpoint.cli.options import count, seconds
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of
from hardpoint.definition.kinds import find_kind
from hardpoint.definition.model import MAX_MANIFEST, MAX_PARAMETERS, parse_version
from hardpoint.definition.reserved_names import owner_of
from hardpoint.isolation.options import bytes_of, checked
from hardpoint.preflight.manifest import Manifest, read_manifests

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

OPTIONS: list[tuple[str, Any, Any]] = [
    ("memory", 16 << 20, (16 << 20) - 1), ("memory", (1 << 63) - 1, 1 << 63), ("memory", "16MiB", "15MiB"),
    ("memory", "16384k", "16383k"), ("memory", None, 0), ("workers", 1, 0), ("workers", 4096, 4097),
    ("cpu", 1, 0), ("cpu", (1 << 31) - 1, 1 << 31), ("cpu", None, -1), ("files", 32, 31), ("files", None, 0),
    ("files", (1 << 31) - 1, 1 << 31), ("timeout", 1e-9, 0.0), ("timeout", None, -1), ("restart", "never", ""),
    ("sandbox", False, None), ("network", True, 1), ("processes", True, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), OPTIONS)
def test_isolation_options(name: str, good: Any, bad: Any) -> None:
    taken = checked(Isolation(**{name: good}))
    assert taken is not None
    assert getattr(taken, name) == good
    with pytest.raises(ValueError, match=rf"^Isolation\({name}=\.\.\.\) is .*, not "):
        checked(Isolation(**{name: bad}))


SIZES = {"67108864": 64 << 20, "64m": 64 << 20, "64MiB": 64 << 20, " 1 GiB ": 1 << 30, "2g": 2 << 30, "65536kib": 64 << 20,
         "100000000b": 100_000_000}  # fmt: skip


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert bytes_of(text) == SIZES[text]


@pytest.mark.parametrize("text", ["", "MiB", "1.5GiB", "-1", "64 Mi", "64mibb", "0x4000000", "1e9", "64kk"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="a number of bytes, a size such as '256MiB', or None"):
        bytes_of(text)


def test_options_of_the_command_line() -> None:
    assert (seconds("0.001"), seconds("999999999")) == (0.001, 999999999.0)
    for text in ("0", "-1", "1e9", "inf", "nan", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(text)
    assert (count("1"), count("4")) == (1, 4)
    for text in ("0", "-1", "1.0", "", "x", "²", "9" * 30):
        with pytest.raises(argparse.ArgumentTypeError):
            count(text)


def contract(name: str = "bounds", version: str = "1.0", parameters: int = 1, method: str = "act") -> Any:
    """Define a contract with one method."""
    scope: dict[str, Any] = {"Protocol": Protocol, "contract": hardpoint.contract, "checkable": runtime_checkable}
    words = ", ".join(["self", *(f"p{number}: int" for number in range(parameters))])
    source = f"@contract({name!r}, version={version!r})\nclass C(Protocol):\n    def {method}({words}) -> int: ...\n"
    exec(source, scope)
    return contract_of(scope["C"])


def test_contracts() -> None:
    assert contract("a" * 64).name == "a" * 64
    assert len(contract(parameters=MAX_PARAMETERS).methods[0].parameters) == 8
    assert contract(method="m" * 64).methods[0].name == "m" * 64
    assert (contract(version="1.65535").minor, contract(version="65535.0").major) == (65535, 65535)
    refused: list[dict[str, Any]] = [
        {"name": "a" * 65}, {"name": ""}, {"parameters": 9}, {"method": "m" * 65}, {"version": "1.65536"},
        {"version": "65536.0"}, {"version": "1"}, {"version": "01.0"}, {"version": "1.00"},
    ]  # fmt: skip
    for wrong in refused:
        with pytest.raises(hardpoint.DefinitionError):
            contract(**wrong)


VERSIONS = {"1.0": (1, 0), "65535.65535": (65535, 65535), "10.20": (10, 20), "1.9": (1, 9)}


def test_versions() -> None:
    assert {text: parse_version(text) for text in VERSIONS} == VERSIONS
    for text in ("65536.0", "1.65536", "0.1", "1", "1.", ".1", "1.0.0", "01.0", "1.01", "-1.0", "1.+1", " 1.0", "1.0 ",
                 "\u0661.0", "100000.0", "1.100000", "", 1.0, None):  # fmt: skip
        with pytest.raises(ValueError, match=r"version|MAJOR|."):
            parse_version(text)


RESERVED = {"int": "C or C++", "template": "C or C++", "errno": "C or C++", "size_t": "C or C++", "linux": "C or C++",
            "contract_assert": "C or C++", "typeof_unqual": "C or C++", "hp_vtable": "C or C++",
            "EOF": "C, where upper case is for macros", "hp_x": "the header's own prefix",
            "hardpoint_x": "the header's own prefix", "lambda": "Python"}  # fmt: skip
"""A name of each group that is taken, whatever it is the name of."""


def test_names_that_are_taken() -> None:
    for name, owner in RESERVED.items():
        for slot in (True, False):
            assert owner_of(name, slot=slot) == owner
    for name in ("head", "flags", "create", "destroy", "query"):
        assert (owner_of(name, slot=True), owner_of(name, slot=False)) == ("the generated header", None)
        with pytest.raises(hardpoint.DefinitionError, match="taken by the generated header"):
            contract(name=name)
    for name in ("self", "result", "out"):
        assert (owner_of(name, slot=False), owner_of(name, slot=True)) == ("the generated header", None)
    for name in ("hp", "hp_x", "stdio", "string", "class", "linux", "size_t", "x_v2"):
        with pytest.raises(hardpoint.DefinitionError, match="the name"):
            contract(name=name)
    for name in ("ok", "OK", "hpx", "x_v", "v2", "lambda_", "intx"):
        assert owner_of(name, slot=True) is None


def test_the_largest_contract() -> None:
    """One byte more than a manifest may have is refused where the contract is defined."""

    def sized(more: int) -> Any:
        scope: dict[str, Any] = {"Protocol": Protocol, "contract": hardpoint.contract}
        lines = ["@contract('large', version='1.0')", "class C(Protocol):"]
        lines += [f"    def m{number:03}({parameters()}) -> int: ..." for number in range(count)]
        lines += [f"    def {'z' * more}(self) -> int: ..."]
        exec("\n".join(lines), scope)
        return contract_of(scope["C"])

    def parameters() -> str:
        return ", ".join(["self", *(f"{letter}: int" for letter in "abcdefgh")])

    count = 0
    empty = sized(1).manifest_size
    count = 1
    each = sized(1).manifest_size - empty
    count = (MAX_MANIFEST - empty) // each
    rest = MAX_MANIFEST - sized(1).manifest_size
    assert sized(1 + rest).manifest_size == MAX_MANIFEST
    with pytest.raises(hardpoint.DefinitionError, match=f"{MAX_MANIFEST} are allowed"):
        sized(2 + rest)


def test_what_the_kit_tries_of_each_type() -> None:
    """The edges of what crosses, so that a plugin that cuts a number or loses a sign is found."""
    for edge in (0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, -(2**63)):
        assert edge in find_kind("int").extremes
    extremes = find_kind("float").extremes
    for number in (0.0, 1e308, 5e-324, float("inf"), float("-inf")):
        assert any(number == other or abs(other) > abs(number) > 1e300 for other in extremes), number
    assert any(math.isnan(number) for number in extremes)
    assert {True, False} <= set(find_kind("bool").extremes)


class Notes:
    """Stands for a file with one note."""

    def __init__(self, description: bytes) -> None:
        self._description = description

    def notes(self) -> list[Any]:
        return [argparse.Namespace(owner=b"hardpoint", type=1, description=self._description)]


def manifest(**changes: Any) -> Any:
    """Read a manifest with changes, padded with spaces to `size` bytes with its NUL if that is given."""
    size = changes.pop("size", 0)
    fields = {
        "abi": "1.0",
        "contract": "greeter",
        "version": "1.0",
        "plugin": "x",
        "release": "1",
        "methods": ["lang() -> str"],
    }
    text = json.dumps(fields | changes)
    text = text.ljust(size - 1)
    return read_manifests(Notes(text.encode() + b"\0"))[0]  # type: ignore[arg-type]


GOOD: list[dict[str, Any]] = [
    {"plugin": "a" * 64}, {"release": "1" * 64}, {"plugin": "a"}, {"release": "Z9.+_-"}, {"plugin": "a0_-"},
    {"version": "65535.65535"}, {"abi": "1.65535"}, {"size": MAX_MANIFEST},
]  # fmt: skip
BAD: list[dict[str, Any]] = [
    {"plugin": "a" * 65}, {"release": "1" * 65}, {"plugin": ""}, {"release": ""}, {"plugin": "0a"}, {"plugin": "-a"},
    {"plugin": "aA"}, {"release": "1 0"}, {"version": "65536.0"}, {"abi": "1.65536"}, {"size": MAX_MANIFEST + 1},
    {"methods": "x"}, {"methods": []}, {"plugin": 5}, {"abi": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_manifests_that_are_read(changes: dict[str, Any]) -> None:
    assert isinstance(manifest(**changes), Manifest)


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_manifests_that_are_not(changes: dict[str, Any]) -> None:
    found = manifest(**changes)
    assert isinstance(found, hardpoint.Problem)
    assert found.code == "manifest-malformed"


@pytest.mark.parametrize(
    ("mode", "fits"), [(0o755, True), (0o775, False), (0o757, False), (0o1777, False), (0o1757, False)]
)
def test_modes_of_a_file(english: Path, tmp_path: Path, alone: None, mode: int, fits: bool) -> None:
    """The sticky bit of a file protects nothing."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    (folder / "english.so").write_bytes(english.read_bytes())
    (folder / "english.so").chmod(mode)
    [found] = hardpoint.Registry([folder], allow=hardpoint.Allow())
    assert found.status == ("fits" if fits else "refused")


def test_user_ids() -> None:
    for good in (0, (1 << 32) - 2):
        hardpoint.Allow(owners=[good])
    for bad in (-1, (1 << 32) - 1, 1 << 32):
        with pytest.raises(ValueError, match="a user id is a number from 0 to 4294967294"):
            hardpoint.Allow(owners=[bad])


@pytest.mark.parametrize("more", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_digests_of_files_of_any_size(english: Path, tmp_path: Path, more: int) -> None:
    """Read in pieces of a mebibyte; what stands behind the library counts too."""
    path = tmp_path / "english.so"
    data = english.read_bytes()
    data = data.ljust((len(data) >> 20 << 20) + more, b"\1") if more else data
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    plugin = hardpoint.load(path, Greeter, sha256=digest)
    assert plugin.lang() == "English"
    with open(hardpoint.info(plugin).library, "rb") as file:
        assert file.read() == data
    other = tmp_path / "other.so"
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(hardpoint.IncompatibleError, match="another file"):
        hardpoint.load(other, Greeter, sha256=digest)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        hardpoint.load(path, Greeter, sha256=digest[:-1])
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        hardpoint.load(path, Greeter, sha256=digest + "0")


IGNORES_ALL = """
#include <signal.h>
#include "greeter.h"
__attribute__((constructor)) static void start(void) {
    for (int number = 1; number < 32; number++) {
        signal(number, number % 2 ? SIG_IGN : SIG_DFL);
    }
}
static hp_status greet(void *self, const char *name, size_t len, hp_out *out) { return (void)self, hp_write(out, name, len); }
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "none"); }
GREETER_PLUGIN("ignores", "1.0.0", .greet = greet, .lang = lang);
"""


def test_the_handler_of_every_signal_is_put_back(compiler: Compiler, run_python: RunPython) -> None:
    """From 1 to 31; those of SIGKILL and SIGSTOP cannot be changed."""
    library = compiler.text("ignores", IGNORES_ALL)
    code = f"""
import signal, warnings
import hardpoint
from hardpoint.contracts import Greeter
for number in set(range(1, 32)) - {{9, 19}}:
    signal.signal(number, signal.SIG_DFL if number % 2 else signal.SIG_IGN)
def handlers():
    with open("/proc/self/status") as file:
        return [line for line in file if line.startswith(("SigIgn", "SigCgt"))]
before = handlers()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    hardpoint.load({str(library)!r}, Greeter)
print(handlers() == before, len(caught))
"""
    assert run_python(code).stdout == "True 1\n"
