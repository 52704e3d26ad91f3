"""The runtimes of C, C++, Rust, Zig and Go under `sandbox="strict"`, which allows the system calls on a list alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
from conftest import LIBRARY, ROOT, TESTS
from languages import BESIDE, OFFLINE, missing

import hardpoint
from hardpoint.contracts import Greeter, Transformer
from hardpoint.isolation.options import Isolation

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

Runtime = Literal["c", "c++", "rust", "zig", "go"]
SOURCES, CONTRACT = TESTS / "plugins/runtime", ROOT / "contract"


def run(folder: Path, *command: str | Path, **environment: str) -> None:
    env = {**os.environ, **OFFLINE, **BESIDE, **environment}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build_c(folder: Path, compiler: Compiler) -> None:
    compiler.run(*LIBRARY, str(SOURCES / "runtime.c"), "-o", str(folder / "runtime.so"), "-pthread")


def build_cxx(folder: Path, _: Compiler) -> None:
    command = ("c++", "-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", f"-I{CONTRACT}")
    run(folder, *command, SOURCES / "runtime.cpp", "-o", "runtime.so")


def build_rust(folder: Path, _: Compiler) -> None:
    for each in (CONTRACT / "greeter.rs", CONTRACT / "hardpoint.rs", SOURCES / "runtime.rs"):
        shutil.copy(each, folder)
    run(folder, "rustc", "--edition=2021", "--crate-type=cdylib", "-O", "runtime.rs", "-o", "runtime.so")


def build_zig(folder: Path, _: Compiler) -> None:
    zig, target = (sys.executable, "-m", "ziglang"), ("-target", f"{os.uname().machine}-linux-gnu", "-lc")
    env = {**os.environ, **OFFLINE}
    translate = [*zig, "translate-c", *target, f"-I{CONTRACT}", str(CONTRACT / "greeter.h")]
    (folder / "c.zig").write_bytes(subprocess.run(translate, env=env, capture_output=True, check=True).stdout)
    modules = (
        "--dep", "c", "--dep", "hardpoint", f"-Mroot={SOURCES / 'runtime.zig'}",
        "--dep", "c", f"-Mhardpoint={CONTRACT / 'hardpoint.zig'}", "-Mc=c.zig",
    )  # fmt: skip
    run(folder, *zig, "build-lib", "-dynamic", "-O", "ReleaseSafe", *target, "-femit-bin=runtime.so", *modules)


def build_go(folder: Path, _: Compiler) -> None:
    shutil.copytree(ROOT / "native_plugins/english_go/src", folder / "src")  # a plugin of the same slots
    shutil.copy(SOURCES / "runtime.go", folder / "src/english.go")
    flags = f"-extldflags '-Wl,--version-script={CONTRACT / 'hardpoint.map'}'"
    command = ("go", "build", "-buildmode=c-shared", "-buildvcs=false", f"-ldflags={flags}")
    environment = {"CGO_ENABLED": "1", "CGO_CFLAGS": f"-O2 -I{CONTRACT}", "GOCACHE": str(folder / "cache")}
    run(folder / "src", *command, "-o", folder / "runtime.so", ".", **environment)


BUILD = {"c": build_c, "c++": build_cxx, "rust": build_rust, "zig": build_zig, "go": build_go}


@pytest.fixture(scope="module", params=get_args(Runtime))
def library(request: pytest.FixtureRequest, compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "c++" and shutil.which("c++") is None:
        pytest.skip("there is no c++")
    if request.param in {"rust", "zig", "go"} and (why := missing(request.param)):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("runtime")
    BUILD[request.param](folder, compiler)
    return folder / "runtime.so"


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "strict": {"sandbox": "strict"},
    "strict, with the network": {"sandbox": "strict", "network": True},
    "strict, with processes": {"sandbox": "strict", "processes": True},
}


@pytest.mark.filterwarnings("ignore:.*Go's runtime does that:hardpoint.HardpointWarning")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_threads_files_time_and_memory(library: Path, options: dict[str, Any], tmp_path: Path) -> None:
    with hardpoint.loaded(library, Greeter, isolated=Isolation(write=tmp_path, timeout=60, **options)) as plugin:
        assert [plugin.greet(str(tmp_path)) for _ in range(2)] == ["done", "done"]
    assert not list(tmp_path.iterdir())


PLUGINS: dict[str, tuple[type[Any], str, str]] = {
    "english/english.c": (Greeter, "greet", "Hello, World! Nice to meet you."),
    "spanish/spanish.c": (Greeter, "greet", "¡Hola, World! Mucho gusto."),
    "reverse/reverse.c": (Transformer, "transform", "dlroW"),
    "uppercase/uppercase.c": (Transformer, "transform", "WORLD"),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_plugins_of_the_repository(name: str, compiler: Compiler) -> None:
    cls, method, result = PLUGINS[name]
    with hardpoint.loaded(compiler.library(name), cls, isolated=Isolation(sandbox="strict")) as plugin:
        assert getattr(plugin, method)("World") == result
