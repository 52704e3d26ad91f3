"""The recipe of a worker: the bytes that the host makes of a file that fits, and of the options."""

from __future__ import annotations

import os
import resource
import struct
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE
from probe import Probe

import hardpoint
from hardpoint.definition.decorators import contract_of
from hardpoint.file import open_library, pin
from hardpoint.isolation.host import landlock, sandbox
from hardpoint.isolation.host.recipe import Recipe, make_recipe
from hardpoint.isolation.options import Isolation, checked
from hardpoint.preflight.checks import require_fit

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

DATA, CPU, FILES, CORE = resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE


class Reader:
    """Takes the recipe apart, as `_recipe.c` does."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values

    def text(self) -> bytes:
        return self.raw(*self.take("I"))

    def raw(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def rows(self, form: str) -> list[tuple[Any, ...]]:
        return [self.take(form) for _ in range(*self.take("I"))]

    @property
    def is_done(self) -> bool:
        return self._at == len(self._data)


@pytest.fixture(scope="module")
def library(compiler: Compiler) -> Path:
    compiler.header(Probe)
    return compiler.library("probe.c", "-pthread")


def recipe_for(library: Path, config: bytes | None = None, *, sha256: str | None = None, **options: Any) -> Recipe:
    isolation = checked(Isolation(**options))
    assert isolation is not None
    with open_library(library) as file:
        checked_file = file if sha256 is None else pin(file, sha256)
        with checked_file:
            return make_recipe(checked_file, require_fit(checked_file, contract_of(Probe)), isolation, config)


def test_its_bytes(library: Path) -> None:
    reader = Reader(recipe_for(library, b"config", cpu=9).data)
    magic, flags = reader.take("II")
    assert magic == int.from_bytes(b"HPR1", "little")
    assert flags & ~4 == 1 | 8  # the sandbox, a configuration; how it is opened depends on what it contains
    assert [reader.text() for _ in range(3)] == [b"hardpoint: probe", os.fsencode(library), b"hardpoint_probe_v1"]
    status = library.stat()
    assert reader.take("QQQQ") == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    assert reader.rows("IQQ") == [(CORE, 0, 0), (DATA, 1 << 30, 1 << 30), (CPU, 9, 10), (FILES, 1024, 1024)]
    abi, *_ = reader.take("IQQQ")
    assert abi == landlock.version()
    rules = [(reader.take("Q"), reader.text()) for _ in range(*reader.take("I"))]
    assert (os.fsencode(library) in {path for _, path in rules}) is bool(abi)
    kept, place = reader.take("II")
    assert kept == 0b110
    filtered = reader.text()
    assert struct.pack("<I", place) in filtered
    assert len(filtered) % 8 == 0
    _, head, _ = reader.take("QQQ")
    slots = 3 + len(contract_of(Probe).methods)
    assert head == 24 + slots * 8 | 1 << 32
    assert b'"probe"' in reader.text()
    assert all(start < end for start, end in reader.rows("QQ"))
    assert len(reader.rows("Q")) == slots
    methods = reader.rows("IBBc8s")
    assert [slot for slot, *_ in methods] == list(range(3, slots))
    assert [bool(required) for _, required, *_ in methods] == [
        not method.since for method in contract_of(Probe).methods
    ]
    for method, (_, _, count, result, kinds) in zip(contract_of(Probe).methods, methods, strict=True):
        assert kinds[:count].decode() == "".join(each.kind.letter for each in method.parameters)
        assert kinds[count:] == bytes(8 - count)
        assert result.decode() == method.result.letter
    assert reader.text() == b"config"
    assert reader.text() == hardpoint.__version__.encode()
    assert reader.is_done


def test_the_vtables_numbers_are_one_word(library: Path) -> None:
    with open_library(library) as file:
        fit = require_fit(file, contract_of(Probe))
        fit = fit._replace(vtable=fit.vtable._replace(size=16, abi=(2, 3)))
        data = make_recipe(file, fit, Isolation(sandbox=False), None).data
    assert struct.pack("<QIHH", fit.vtable.address, 16, 2, 3) in data


def test_methods_that_the_plugin_does_not_have(compiler: Compiler) -> None:
    compiler.header(Probe)
    data = recipe_for(compiler.library("probe.c", "-pthread", "-DWITHOUT_NEW", "-Wno-unused-function")).data
    rows = [row for row in (Reader(data[at:]).take("IB") for at in range(len(data) - 14)) if row == (0xFFFFFFFF, 0)]
    assert len(rows) == sum(bool(method.since) for method in contract_of(Probe).methods) > 0


FLAGS: list[tuple[dict[str, Any], int]] = [
    ({}, 1),
    ({"sandbox": False}, 0),
    ({"sandbox": "required"}, 3),
    ({"sandbox": "strict"}, 3),
]


@pytest.mark.parametrize(("options", "flags"), FLAGS, ids=str)
def test_its_flags(options: dict[str, Any], flags: int, library: Path) -> None:
    import hashlib

    sha256 = hashlib.sha256(library.read_bytes()).hexdigest()
    assert Reader(recipe_for(library, **options).data).take("II")[1] & ~4 == flags
    assert Reader(recipe_for(library, sha256=sha256, **options).data).take("II")[1] == flags | 4 | 16


def test_without_a_sandbox_nothing_is_confined(library: Path) -> None:
    recipe = recipe_for(library, sandbox=False)
    assert recipe.lines((0, 0, 0)) == [
        "no core dumps",
        "memory: 1024 MiB of private writable memory; what is shared or mapped from files is not counted",
        "open files: 1024",
        "lacking: sandbox=False leaves files, network and processes to the plugin",
    ]
    assert len(recipe.data) < len(recipe_for(library).data)


@pytest.mark.parametrize("abi", range(12))
def test_a_ruleset_has_the_rights_of_its_version(abi: int) -> None:
    made = landlock.ruleset(abi, ["/r"], ["/w"], network=False, processes=False)
    added = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15, 9: 1 << 16}
    assert made.handled == ((1 << 13) - 1 + sum(right for since, right in added.items() if abi >= since) if abi else 0)
    assert made.tcp == (3 if abi >= 4 else 0)
    assert made.scopes == (3 if abi >= 6 else 0)
    if abi:
        (reading, _), (writing, _) = made.rules
        assert reading == 1 << 2 | 1 << 3  # files and folders
        refused = 1 << 0 | 1 << 6 | 1 << 11 | 1 << 15 | 1 << 16  # programs, devices, their ioctl, Unix sockets
        assert writing == made.handled & ~refused
        others = landlock.ruleset(abi, ["/r"], [], network=True, processes=True)
        assert (others.tcp, others.rules) == (0, ((reading | 1, "/r"),))


def test_limits_stay_below_the_hosts_own(run_python: RunPython) -> None:
    done = run_python(f"""
import resource, sys
sys.path[:0] = {IMPORTABLE!r}
from hardpoint.isolation.host.sandbox import limits
from hardpoint.isolation.options import Isolation
for number, hard in ((resource.RLIMIT_DATA, 1 << 29), (resource.RLIMIT_CPU, 60), (resource.RLIMIT_NOFILE, 512)):
    resource.setrlimit(number, (hard, hard))
print(limits(Isolation(cpu=60)), limits(Isolation(cpu=100)), limits(Isolation(memory="64MiB", cpu=9, files=64)), sep="\\n")
""")
    high = [(CORE, 0, 0), (DATA, 1 << 29, 1 << 29), (CPU, 60, 60), (FILES, 512, 512)]
    low = [(CORE, 0, 0), (DATA, 1 << 26, 1 << 26), (CPU, 9, 10), (FILES, 64, 64)]
    for line, rows in zip(done.stdout.splitlines(), (high, high, low), strict=True):
        assert line.startswith(f"Limits(rows={rows}, lines=['no core dumps', 'memory: {rows[1][1] >> 20} MiB of ")
        assert line.endswith(f"'processor time: {rows[2][1]} s', 'open files: {rows[3][1]}'])")


def test_no_limits() -> None:
    made = sandbox.limits(Isolation(memory=None, files=None))
    assert made == ([(CORE, 0, 0)], ["no core dumps"])


def test_a_sanitizer_takes_what_memory_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libasan.so.8")
    made = sandbox.limits(Isolation(files=None))
    assert made.rows == [(CORE, 0, 0)]
    assert made.lines == ["no core dumps", "lacking: the limit of memory, since a sanitizer reserves terabytes"]
