"""Plugins built with make, pkg-config, CMake and Meson, which find hardpoint with `hardpoint include`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, make_wheel

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BESIDE = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
ENGLISH = (ROOT / "native_plugins/english/english.c").read_text()
ENGLISH_CPP = (ROOT / "native_plugins/english_cpp/english_cpp.cpp").read_text()


def need(*tools: str) -> None:
    """Skip if a tool is missing; tools from wheels in the environment count."""
    for tool in tools:
        if shutil.which(tool, path=BESIDE) is None:
            pytest.skip(f"there is no {tool}")


@pytest.fixture(scope="session", params=["editable", "wheel"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables to run `hardpoint` of this tree (its headers are behind a symlink) or of the wheel."""
    environment = {**os.environ, "PATH": BESIDE, "HARDPOINT": f"{sys.executable} -P -m hardpoint"}
    if request.param == "wheel":
        folder = tmp_path_factory.mktemp("with a blank")
        where = folder / "site"
        words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(where), str(make_wheel(folder))]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
        environment["PYTHONPATH"] = str(where)
    return environment


def run(words: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def include(environment: dict[str, str], folder: Path, *words: str) -> str:
    return run([*environment["HARDPOINT"].split(), "include", *words], folder, environment).rstrip("\n")


def greets(library: Path) -> None:
    """Check that the library fits, exports only its vtable, and can be called."""
    command = [sys.executable, "-m", "hardpoint", "check", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    names = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in names.splitlines()] == ["hardpoint_greeter_v1"]
    with hardpoint.loaded(library, Greeter) as plugin:
        assert plugin.greet("World") == "Hello, World! Nice to meet you."


def test_make_with_the_flags(installed: dict[str, str], tmp_path: Path) -> None:
    need("make", "cc")
    (tmp_path / "english.c").write_text(ENGLISH)
    (tmp_path / "Makefile").write_text(
        "english.so: english.c\n\teval $(CC) $$($(HARDPOINT) include --cflags --ldflags) -o $@ $<\n"
    )
    run(["make"], tmp_path, installed)
    greets(tmp_path / "english.so")


@pytest.mark.parametrize("program", ["pkg-config", "pkgconf"])
def test_make_with_pkg_config(installed: dict[str, str], tmp_path: Path, program: str) -> None:
    need("make", "cc", program)
    (tmp_path / "english.c").write_text(ENGLISH)
    (tmp_path / "Makefile").write_text(
        f"english.so: english.c\n\teval $(CC) -shared -fPIC $$({program} --cflags hardpoint) -o $@ $< "
        f"$$({program} --libs hardpoint)\n"
    )
    run(["make"], tmp_path, {**installed, "PKG_CONFIG_PATH": include(installed, tmp_path, "--pkgconfigdir")})
    greets(tmp_path / "english.so")


CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(english LANGUAGES {language})
find_package(hardpoint 0.1 CONFIG REQUIRED)
hardpoint_add_plugin(english {source})
message(STATUS "hardpoint is ${{hardpoint_VERSION}}")
"""


@pytest.mark.parametrize(("language", "source", "text"), [("C", "a.c", ENGLISH), ("CXX", "a.cpp", ENGLISH_CPP)])
def test_cmake(installed: dict[str, str], tmp_path: Path, language: str, source: str, text: str) -> None:
    need("cmake", "ninja", "cc" if language == "C" else "c++")
    (tmp_path / source).write_text(text)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(language=language, source=source))
    found = f"-Dhardpoint_DIR={include(installed, tmp_path, '--cmakedir')}"
    assert f"-- hardpoint is {hardpoint.__version__}\n" in run(
        ["cmake", "-G", "Ninja", "-B", "build", found], tmp_path, installed
    )
    run(["cmake", "--build", "build"], tmp_path, installed)
    greets(tmp_path / "build/english.so")


def test_cmake_refuses_a_version_that_is_not_there(tmp_path: Path) -> None:
    need("cmake", "ninja", "cc")
    environment = {**os.environ, "PATH": BESIDE, "HARDPOINT": f"{sys.executable} -m hardpoint"}
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(language="C", source="a.c").replace("0.1", "99.0"))
    found = f"-Dhardpoint_DIR={include(environment, tmp_path, '--cmakedir')}"
    done = subprocess.run(
        ["cmake", "-G", "Ninja", "-B", "build", found], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'compatible with requested version "99.0"' in " ".join(done.stderr.split())


MESON = """\
project('english', '{language}')
shared_module('english', '{source}', name_prefix: '', dependencies: dependency('hardpoint'))
"""


@pytest.mark.parametrize(("language", "source", "text"), [("c", "a.c", ENGLISH), ("cpp", "a.cpp", ENGLISH_CPP)])
def test_meson(installed: dict[str, str], tmp_path: Path, language: str, source: str, text: str) -> None:
    need("meson", "ninja", "pkg-config", "cc" if language == "c" else "c++")
    (tmp_path / source).write_text(text)
    (tmp_path / "meson.build").write_text(MESON.format(language=language, source=source))
    environment = {**installed, "PKG_CONFIG_PATH": include(installed, tmp_path, "--pkgconfigdir")}
    run(["meson", "setup", "build"], tmp_path, environment)
    run(["meson", "compile", "-C", "build"], tmp_path, environment)
    greets(tmp_path / "build/english.so")


@pytest.mark.parametrize("path", ["pkgconfig/hardpoint.pc", "cmake/hardpointConfigVersion.cmake"])
def test_they_have_the_packages_version(path: str) -> None:
    text = (ROOT / "contract" / path).read_text()
    assert text.count(hardpoint.__version__) == 1
    assert f"Version: {hardpoint.__version__}\n" in text or f"set(PACKAGE_VERSION {hardpoint.__version__})\n" in text
